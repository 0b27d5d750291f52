"""Numbers written as text, which a draft detects: money, percent, decimal commas.

The first part of the table with a value decides how a column is written; the other parts are read the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from cohortium.data.columns.absent import AMONG_NUMBERS
from cohortium.data.columns.written import Written, inferred_format, is_plain, read_numbers, three_digits_behind

LOOKED_AT = 5_000  # different texts of a column


@dataclass
class Disguises:
    """How columns are written: by name, None for one without disguised numbers. share: the share of texts that must be numbers."""

    share: float
    known: dict[str, Written | None] = field(default_factory=dict)
    two_ways: set[str] = field(default_factory=set)

    def numbers(self, name: str, values: pd.Series) -> pd.Series | None:
        """The column's numbers, written plainly as text, if they are in disguise."""
        if values.dtype.kind in "iufbmM":
            return None
        if name not in self.known:
            texts = _texts(values)
            if not texts:
                return None
            self.known[name] = how = self._found(texts)
            if how is not None and how.group and three_digits_behind(texts, how.group):
                self.two_ways.add(name)
        found = self.known[name]
        return None if found is None else _plainly(read_numbers(values, found))

    def _found(self, texts: list[str]) -> Written | None:
        if sum(map(is_plain, texts)) >= self.share * len(texts):
            return None
        return inferred_format(texts, self.share)

    def note(self, name: str) -> str:
        """The note on a column of disguised numbers."""
        how = self.known[name]
        if how is None:
            raise KeyError(name)
        text = f"numbers in disguise: written as {_quoted(how.text)}, by which they are read and released"
        if name not in self.two_ways:
            return text
        other = Written(how.before, "", how.group, how.behind, how.brackets, how.sign_last).text
        return f"{text}. If what parts thousands here is a decimal sign, it is {_quoted(other)}"


def _plainly(numbers: pd.Series) -> pd.Series:
    """Numbers as text, whole ones without a decimal point; None for missing ones."""
    texts = {x: f"{int(x)}" if x.is_integer() else repr(x) for x in numbers.dropna().unique().tolist()}
    return pd.Series([texts.get(x) for x in numbers.tolist()], numbers.index, dtype=object)


def _texts(values: pd.Series) -> list[str]:
    """Different texts that may be values, the first of them."""
    distinct = values.dropna().unique()[:LOOKED_AT]
    texts = (value.strip() for value in distinct if isinstance(value, str))
    return [text for text in texts if text and text.lower() not in AMONG_NUMBERS]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def may_part_thousands(counts: Mapping[str, int], decimals: int) -> bool:
    """Whether numbers that read as decimals may be thousands with a point, as 1.234: each point has three digits behind it."""
    return decimals == 3 and three_digits_behind(counts, ".")
