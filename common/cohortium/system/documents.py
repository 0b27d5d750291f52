"""Untrusted JSON and TOML, read within bounds. Nothing else reads either format.

Parsers accept too much. Deep nesting ends a recursive one in RecursionError, in a stack overflow, or, since Python 3.14, in
a value that the next function cannot traverse. Of two fields with one name, one reader takes the last and another the first;
NaN and infinity are not JSON; half a surrogate pair cannot be written again. So length and depth are checked before anything
is parsed, and all of these are refused.

A refusal is a ValueError that states what is wrong and quotes nothing; the caller turns it into an error with a code.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from array import array
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from cohortium.errors import SchemaError
from cohortium.system.canonical import canonical_json
from cohortium.system.files import unread

MAX_DEPTH = 32  # lists and objects within each other; nothing that is written here goes beyond 12
MAX_JSON = 256 << 20  # bytes
MAX_TOML = 16 << 20  # bytes
_BRACKETS = b"[]{}"
_STEPS = bytes.maketrans(_BRACKETS, bytes((1, 255, 1, 255)))  # as signed bytes: one level in, one level out
_OTHERS = bytes(set(range(256)) - set(_BRACKETS))
_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")  # or a whole one
_TOML_TEXT = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+"{0,5}'
    r"|'''(?:[^']++|'(?!''))*+'{0,5}"
    r'|"(?:[^"\\\n]++|\\.)*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+",
    re.DOTALL,
)
_LONG_NAME = re.compile(rf"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){{{MAX_DEPTH}}}")


def read_within(path: Path, longest: int) -> bytes:
    """The content of a file of at most ``longest`` bytes; ValueError for a longer one, of which no more is read."""
    with path.open("rb") as file:
        content = file.read(longest + 1)
    if len(content) > longest:
        raise ValueError("it is too long")
    return content


def parse_json(data: bytes, longest: int = MAX_JSON) -> Any:
    """The value of a JSON text in UTF-8 of at most ``longest`` bytes and ``MAX_DEPTH`` levels; ValueError for all else.

    All its numbers are finite, no object has two fields of one name, and it can be written as canonical JSON.
    """
    if len(data) > longest:
        raise ValueError("it is too long")
    if _depth(_without_strings(data)) > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    value = _JSON.decode(data.decode("utf-8-sig"))
    if _HALF_A_PAIR.search(data):
        canonical_json(value)  # UnicodeEncodeError, a ValueError, if it is half a pair
    return value


def load_json(path: Path, longest: int = MAX_JSON) -> Any:
    """``parse_json`` of a file; OSError if it cannot be read."""
    return parse_json(read_within(path, longest), longest)


def parse_toml(data: bytes) -> dict[str, Any]:
    """The document of a TOML text in UTF-8 of at most ``MAX_TOML`` bytes; ValueError for all else.

    Brackets are nested at most ``MAX_DEPTH`` deep, and no name has more parts.
    """
    if len(data) > MAX_TOML:
        raise ValueError("it is too long")
    text = data.decode("utf-8-sig")
    stripped = _TOML_TEXT.sub("_", text)
    if _depth(stripped.encode()) > MAX_DEPTH or _LONG_NAME.search(stripped):
        raise ValueError("it is nested too deeply")
    return tomllib.loads(text)


def _without_strings(data: bytes) -> bytes:
    """A JSON text without its strings; an unclosed string extends to the end."""
    marks = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(marks.split(b'"')[::2])


def _depth(stripped: bytes) -> int:
    """How deep brackets are nested in a text without strings and comments."""
    levels = accumulate(array("b", stripped.translate(_STEPS, _OTHERS)))
    return max(levels, default=0)


def _object(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(fields)
    if len(document) != len(fields):
        raise ValueError("two fields of an object have one name")
    return document


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite)


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a TOML file; InputError if it is not there or not TOML."""
    return read_toml_text(path)[0]


def read_toml_text(path: Path) -> tuple[dict[str, Any], str]:
    """The document in a TOML file, and its text."""
    try:
        content = read_within(path, MAX_TOML)
        return parse_toml(content), content.decode("utf-8-sig")
    except OSError as error:
        raise unread(path, error) from None
    except ValueError as error:
        raise SchemaError(
            "E_SCHEMA_INVALID", path.name, f"it is not TOML: {error}", "Correct the line named."
        ) from None
