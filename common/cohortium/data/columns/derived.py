"""Derived columns, found while a draft reads a table: for example ``target`` is ``num > 0`` in every row.

Predicting one from the other is no prediction, and counting both pays twice. That a column is derived is read off rows, so
it is shown on the institution's own screen and written down nowhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns.categories import category_key
from cohortium.data.columns.values import normalized

MOST = 256  # distinct values of a column that is considered
OFTEN = 10  # rows that each value of the one must have on average, or no relation is reported
AT_LEAST = 10  # rows with each of two values of the other: of a nearly constant column everything seems to follow
FIRST = 1024  # rows in which most pairs contradict themselves
Codes = npt.NDArray[np.int64]


class Following:
    """Examines the parts of a table as they pass. out: columns to ignore, such as the person's."""

    def __init__(self, out: Collection[str] = ()) -> None:
        self._out = frozenset(out)
        self._values: dict[str, dict[str, int]] = {}
        self._counts: dict[str, Codes] = {}
        self._follows: dict[tuple[str, str], Codes] | None = None  # (values of the first,) that of the second, or -1

    def through(self, parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The same parts, each examined."""
        for part in parts:
            for rows in (part.iloc[:FIRST], part.iloc[FIRST:]):
                if len(rows):
                    self._look(rows)
            yield part

    def described(self, columns: Sequence[str], targets: Collection[str] = ()) -> list[tuple[str, str]]:
        """(column, remark) for each of ``columns`` that follows from another one of them."""
        found = {pair for pair in self._follows or () if {*pair} <= {*columns} and self._is_sure(*pair)}
        lines = []
        for one, other in sorted(found, key=lambda pair: (columns.index(pair[1]), columns.index(pair[0]))):
            both = (other, one) in found
            if both and columns.index(one) > columns.index(other):
                continue  # reported once
            lines.append((other, _words(one, other, both, targets)))
        return lines

    def _is_sure(self, one: str, other: str) -> bool:
        counts, others = self._counts[one], self._counts[other]
        return bool(counts.sum() >= OFTEN * len(counts) and (others >= AT_LEAST).sum() > 1)

    def _look(self, rows: pd.DataFrame) -> None:
        codes = {name: found for name in map(str, rows.columns) if (found := self._coded(name, rows)) is not None}
        if self._follows is None:
            self._follows = {(a, b): np.full(MOST, -1) for a in codes for b in codes if a != b}
        for pair, known in list(self._follows.items()):
            if not ({*pair} <= codes.keys() and _agree(codes[pair[0]], codes[pair[1]], known)):
                del self._follows[pair]

    def _coded(self, name: str, rows: pd.DataFrame) -> Codes | None:
        """(rows,) numbers of a column's values, missing ones included; None of a column with too many."""
        if name in self._out or len(self._values.get(name, ())) > MOST or not rows.columns.is_unique:
            return None
        numbers, distinct = pd.factorize(normalized(rows[name]), use_na_sentinel=True)
        known = self._values.setdefault(name, {})
        places = [known.setdefault(key, len(known)) for key in [*map(category_key, distinct), ""]]
        if len(known) > MOST:
            return None
        codes = np.array(places, np.int64)[numbers]
        seen = np.bincount(codes, minlength=len(known))
        before = self._counts.get(name, np.zeros(0, np.int64))
        self._counts[name] = seen + np.pad(before, (0, len(seen) - len(before)))
        return codes


def _agree(one: Codes, other: Codes, known: Codes) -> bool:
    """Whether each value of ``one`` occurs with a single value of ``other``; ``known`` accumulates the pairs seen."""
    values, first = np.unique(one, return_index=True)
    expected = known[values]
    known[values] = np.where(expected < 0, other[first], expected)
    return bool((known[one] == other).all())


def _words(one: str, other: str, both: bool, targets: Collection[str]) -> str:
    words = f"in every row it says the same as {one!r}" if both else f"in every row it follows from {one!r}"
    if other in targets or one in targets:
        left = one if other in targets else other
        return f"{words}: whoever predicts the target from it predicts nothing. Leave it out (--drop {left})"
    return f"{words}. Leave one of them out (--drop), or keep both if both are to be released"
