"""How a column's cells are drawn: each as a bar, or in groups where there are many; and their labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import SECONDS, Boolean, Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.data.columns.patterns import written
from cohortium_server.release.page.evidence import FloatArray
from cohortium_server.release.page.numerals import signed

IntArray = npt.NDArray[np.int64]
Group = list[int]
MOST_BARS = 24  # a column of more cells is drawn in groups
MOST_POINTS = 6


@dataclass(frozen=True)
class Cells:
    """A label for every bar, and the bar of every measured cell (``Evidence``)."""

    labels: tuple[str, ...]
    bar: IntArray
    note: str

    @property
    def counts(self) -> IntArray:
        """The number of measured cells in each bar."""
        return np.bincount(self.bar)

    def grouped(self, values: FloatArray) -> FloatArray:
        """Sums over the cells of each bar, along the first axis."""
        member = self.bar == np.arange(len(self.labels))[:, None]
        total: FloatArray = np.einsum("bc,c...->b...", member, values)
        return total


def both_grouped(first: Cells, second: Cells, values: FloatArray) -> FloatArray:
    """(bars of first, bars of second) sums of a pair's table."""
    return second.grouped(first.grouped(values).T).T


def cells_of(column: Column, shares: FloatArray, measured: Sequence[Group]) -> Cells:
    """At most MOST_BARS bars, and some for special cells and the missing one. measured: the cells that each measured cell holds."""
    bins, ends = sum(cells[0] < _bins(column) for cells in measured), _ends(column)
    plain = [[k] for k in range(bins)] if bins <= MOST_BARS else _groups(column, shares, bins)
    points = list(range(bins, len(measured) - int(column.nullable)))
    groups = [*plain, *([[k] for k in points] if len(points) <= MOST_POINTS else [points])]
    labels = [_label(column, [cell for k in group for cell in measured[k]], ends) for group in groups]
    if column.nullable:
        groups, labels = [*groups, [len(measured) - 1]], [*labels, "missing"]
    bar = np.empty(len(measured), np.int64)
    for k, group in enumerate(groups):
        bar[group] = k
    return Cells(tuple(labels), bar, "" if len(plain) == bins else f"drawn in {len(plain)} bars")


def _bins(column: Column) -> int:
    """Cells that are neither special points nor missing."""
    return len(column.cuts) - 1 if isinstance(column, Continuous | Datetime) else column.values


def _groups(column: Column, shares: FloatArray, bins: int) -> list[Group]:
    """Neighbours together where cells have an order; otherwise the largest cells alone and all others in one bar."""
    if not isinstance(column, Categorical):
        width = math.ceil(bins / MOST_BARS)  # the same for all bars, or their lengths would mislead
        return [list(range(k, min(k + width, bins))) for k in range(0, bins, width)]
    ranked = np.argsort(-shares[:bins], kind="stable")
    alone, others = np.sort(ranked[: MOST_BARS - 1]), np.sort(ranked[MOST_BARS - 1 :])
    return [*([k] for k in alone.tolist()), others.tolist()]


def _label(column: Column, group: Group, ends: Sequence[tuple[str, str]]) -> str:
    special = group[0] >= _bins(column)
    if len(group) > 1 and (special or isinstance(column, Categorical)):
        return f"{len(group)} special values" if special else f"{len(group)} other categories"
    first, last = ends[group[0]][0], ends[group[-1]][1]
    if special:
        return f"exactly {first}"
    if first == last:
        return first
    return f"{first} to {_new_in(last, first) if isinstance(column, Datetime) else last}"


def _new_in(last: str, first: str) -> str:
    """A moment without the day, or otherwise the year, that it shares with an earlier one."""
    same_day = first[:10] == last[:10] != last
    return last.removeprefix(first[: 11 if same_day else 5])


def _ends(column: Column) -> list[tuple[str, str]]:
    """The first and the last value of every cell but the missing one."""
    match column:
        case Boolean():
            return [("false", "false"), ("true", "true")]
        case Categorical() | Ordinal():
            return [(str(c), str(c)) for c in column.categories]
        case Continuous():
            values = [*_spans(column.cuts), *((k, k) for k in column.point_indices.tolist())]
            return [(_grid_number(column, a), _grid_number(column, b)) for a, b in values]
        case Datetime():
            special = [_moment(column, moment) for moment in column.special]
            spans = [(_grid_moment(column, a), _grid_moment(column, b)) for a, b in _spans(column.cuts)]
            return [*spans, *((moment, moment) for moment in special)]


def _spans(cuts: IntArray) -> Iterator[tuple[int, int]]:
    """First and last grid index of every bin."""
    return ((int(a), int(b) - 1) for a, b in itertools.pairwise(cuts))


def _grid_number(column: Continuous, index: int) -> str:
    return signed(f"{float(column.numbers_at(np.array([index]))[0]):.15g}")


def _grid_moment(column: Datetime, index: int) -> str:
    return _moment(column, column.lower + timedelta(seconds=index * SECONDS[column.resolution]))


def _moment(column: Datetime, moment: datetime) -> str:
    if column.of_day:
        return written(moment, column.format)
    start = column.lower
    if column.resolution == "day" and not (start.hour or start.minute or start.second):
        return moment.date().isoformat()
    return moment.isoformat(" ", "seconds" if column.resolution == "second" or start.second else "minutes")
