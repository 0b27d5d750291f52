r"""How a table is written into a file: what its owner declares, and what its first line shows.

What separates the cells follows from the header line alone, never from a row, so nobody's row changes how the others are
read. An ambiguous header is not guessed at: E_FORM names what was seen and how to declare what is meant.

| the first line                                            | cells are separated by                    |
|-----------------------------------------------------------|-------------------------------------------|
| any, where ``separator`` is declared                      | the declared one                          |
| ``sep=;``, as Excel writes it; the names are the next one | the one it names                          |
| can be split into several names by one of ``,`` ``;`` tab | that one                                  |
| ``|`` alone                                               |                                           |
| by several; the names that are wanted are there by one    | that one                                  |
| by several                                                | E_FORM                                    |
| by none; it looks separated by something else             | E_FORM                                    |
| by none                                                   | it is one column, and each line is a cell |
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from cohortium.data.readers.lines import cells_of
from cohortium.errors import InputError

SEPARATORS = (b",", b";", b"\t", b"|")
_OTHERS = (b"^", b"~", b"\x1f", b"\x01", b"!", b"#", b":")  # of which a heading of one name is asked about
_SEPARATOR_LINE = re.compile(rb"sep=(.)", re.IGNORECASE)
_WORDS = {b"\t": "tab", b" ": "blanks", b"\x1f": "the byte 1F", b"\x01": "the byte 01"}
_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "blank": " ", "space": " "}


@dataclass(frozen=True, kw_only=True)
class Form:
    r"""What is declared about how a file is written; None where the file itself decides.

    separator: one character, or ``tab``, ``\t``, ``comma``, ``semicolon``, ``pipe``, ``blank``. sheet: of a workbook.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    separator: str | None = None
    sheet: str | None = None

    def __post_init__(self) -> None:
        """InputError E_FORM for what separates nothing."""
        if self.separator is not None:
            object.__setattr__(self, "separator", _separator(self.separator))


def _separator(given: str) -> str:
    text = _NAMES.get(given.lower(), given)
    if len(text) != 1 or not text.isascii() or text.isalnum() or text in "\"\r\n\0._-+'":
        fix = "Give one character such as ; or the word tab."
        raise InputError("E_FORM", "separator", f"cells cannot be separated by {given!r}", fix)
    return text


def separator_line(line: bytes) -> bytes | None:
    """The separator of a line ``sep=;``; None of another line."""
    found = _SEPARATOR_LINE.fullmatch(line)
    return found[1] if found else None


def separator_of(line: bytes, form: Form, wanted: Collection[str], where: str) -> bytes:
    """What separates the names of a heading. wanted: columns that are known to be there. InputError E_FORM for a choice."""
    if form.separator is not None:
        return form.separator.encode()
    parsed = {one: cells for one in SEPARATORS if (cells := cells_of(line, one)) is not None}
    if wanted and (fitting := [one for one, cells in parsed.items() if _are_there(wanted, cells)]):
        return fitting[0]
    several = [one for one, cells in parsed.items() if len(cells) > 1]
    several = [one for one in several if _has_marks_at_ends(line, one)] or several
    if len(several) > 1:
        seen = " or ".join(f"{in_words(one)} ({len(parsed[one])} columns)" for one in several)
        raise ambiguous(where, f"its names may be separated by {seen}", several[0])
    if several:
        return several[0]
    if other := next((one for one in _OTHERS if _parts(line, one)), None):
        raise ambiguous(where, f"it looks separated by {in_words(other)}", other, " For a single column pass comma.")
    return b","


def _are_there(wanted: Collection[str], cells: list[bytes]) -> bool:
    names = {cell.decode(errors="replace").strip() for cell in cells} | {
        cell.decode(errors="replace") for cell in cells
    }
    return names.issuperset(wanted)


def _has_marks_at_ends(line: bytes, separator: bytes) -> bool:
    """Whether quotation marks stand around whole names only, as they do by what really separates them."""
    name = rb'(?:[ \t]*"(?:[^"]|"")*"[ \t]*|[^"%s]*)' % re.escape(separator)
    return re.fullmatch(rb"%s(?:%s%s)*" % (name, re.escape(separator), name), line) is not None


def _parts(line: bytes, separator: bytes) -> bool:
    cells = cells_of(line, separator)
    return cells is not None and len(cells) > 1 and all(cell.strip() for cell in cells)


def looks_blank_separated(name: bytes, rows: list[bytes]) -> bool:
    """Whether a file of one column, by what its first rows hold, has several that are separated by blanks."""
    words = len(name.split())
    return words > 1 and len(rows) > 0 and all(len(row.split()) == words for row in rows)


def ambiguous(where: str, what: str, separator: bytes, more: str = "") -> InputError:
    named = "blank" if separator == b" " else _WORDS.get(separator, separator.decode())
    fix = f"Pass --separator '{named}', or in institution.toml set separator = '{named}'.{more}"
    return InputError("E_FORM", where, what, fix)


def in_words(separator: bytes) -> str:
    return _WORDS.get(separator) or separator.decode()
