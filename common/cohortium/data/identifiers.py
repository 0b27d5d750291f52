r"""Whose a row is: persons are distinguished exactly, by one rule for all sources.

Two rows are one person's if and only if their identifiers are the same text after this:

| identifier                                            | the text it is compared as                        |
|-------------------------------------------------------|---------------------------------------------------|
| text                                                  | in normal form C, without blanks at its ends      |
| text of digits with a point and zeros, ``12.0``     | without them: ``12``                              |
| a whole number, of whatever type: 12, 12.0, 12.00     | its digits: ``12``                                |
| another number                                        | the shortest decimal that is the number: ``1.5``  |
| ``-0``, ``-0.0``                                      | ``0``                                             |
| bytes that are UTF-8; other bytes                     | as text; their digits behind ``\x``               |
| a UUID                                                | small letters and dashes                          |
| ``007`` and ``7`` as texts; ``Ab`` and ``ab``         | two persons each: they stay as they are           |
| missing, "", ``NA`` and the like (``MISSING_WORDS``)  | nobody's: the row is left out                     |
| text longer than MAX_IDENTIFIER, with a NUL byte, or  | nobody's: the row is left out                     |
| no Unicode; a whole number of more than 300 digits    |                                                   |

Identifiers are not hashed. If two persons could be taken for one, one of them would displace rows of the other and move a
sum by more than the sensitivity that the noise is scaled to; with a hash whose key is known, an attacker could search for
such a collision.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cohortium.data.columns.values import MISSING_WORDS
from cohortium.data.readers.cells import plain

MAX_IDENTIFIER = 1024  # characters, or bits
_WHOLE = re.compile(r"(-?[0-9]+)\.0*")
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Identifiers:
    """Whose the rows of a part are. distinct: identifiers, each once. places: (rows,) where each row's is, -1 for nobody's."""

    distinct: pa.Array
    places: npt.NDArray[np.int32]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        return self.places >= 0

    def at(self, kept: npt.NDArray[np.bool_]) -> Identifiers:
        return Identifiers(self.distinct, self.places[kept])


def identifier(value: object) -> str | None:
    """The text that identifies a person; None where a row is nobody's."""
    text = value if isinstance(value, str) else _text(value)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    text = text.strip()
    if "." in text and (whole := _WHOLE.fullmatch(text)):
        text = whole[1]
    if text == "-0":
        return "0"
    return None if text.lower() in MISSING_WORDS or not _is_text(text) else text


def _text(value: object) -> str:
    value = value.item() if isinstance(value, np.generic) else plain(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    too_long = isinstance(value, int) and value.bit_length() > MAX_IDENTIFIER
    return "" if too_long or value is None else str(value)


def _is_text(text: str) -> bool:
    if len(text) > MAX_IDENTIFIER or "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def identifiers_of(values: pd.Series) -> Identifiers:
    """Whose each row is; computed once for each distinct value where pandas distinguishes those exactly."""
    if values.dtype == object:
        texts = [identifier(v) for v in values.to_numpy()]
        places: npt.NDArray[np.int64] = np.arange(len(texts))
    elif values.dtype.kind in "iu" and isinstance(values.dtype, np.dtype):
        places, numbers = pd.factorize(values.to_numpy())
        return Identifiers(pa.array(numbers).cast(pa.large_string()), places.astype(np.int32))
    else:
        places, distinct = pd.factorize(values, use_na_sentinel=True)
        texts = [*(identifier(v) for v in distinct), None]  # a missing value has the place -1, the last
    at: dict[str, int] = {}
    found = np.array([-1 if t is None else at.setdefault(t, len(at)) for t in texts], np.int32)
    return Identifiers(pa.array(list(at), pa.large_string()), found[places])


def numbered(parts: Sequence[Identifiers | None], rows: int) -> IntArray:
    """(rows,) the number of each row's person, over all parts, of which no row is nobody's; None: each is its own person's."""
    whose = [part for part in parts if part is not None]
    return np.arange(rows, dtype=np.int64) if not whose else _together(whose)[0]


def ranked(parts: Sequence[Identifiers]) -> IntArray:
    """(rows,) as ``numbered``, with numbers in the order of the identifiers' texts, which no order of rows changes."""
    if not parts:
        return np.empty(0, np.int64)
    places, texts = _together(parts)
    ranks = np.empty(len(texts), np.int64)
    ranks[pc.array_sort_indices(texts).to_numpy()] = np.arange(len(texts))
    return ranks[places]


def _together(parts: Sequence[Identifiers]) -> tuple[IntArray, pa.Array]:
    """(rows,) the place of each row's identifier over all parts, and the identifiers, each once."""
    encoded = [pa.DictionaryArray.from_arrays(pa.array(p.places), p.distinct) for p in parts]
    together = pa.chunked_array(encoded).unify_dictionaries()  # compares texts, and not hashes of them alone
    places = np.concatenate([chunk.indices.to_numpy() for chunk in together.chunks]).astype(np.int64)
    return places, together.chunk(0).dictionary
