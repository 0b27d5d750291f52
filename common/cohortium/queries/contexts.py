"""What is known of a person just before an event: the contexts that a step's columns are counted, and drawn, in.

Institutions count real persons and the coordinator simulates made-up ones with these very functions, so that what is asked and
what is drawn can never differ. All of it follows from the study but the merged cells, which are public: a context is a
number of cells, and each step is in one of them, in none or, for what was seen before, in several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from cohortium.queries.contribution_bounding import runs

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Kind = Literal[
    "previous", "mean", "seen", "here", "person", "pace", "length", "when", "window", "weekday", "hour", "any"
]
PARTS = 12  # of the window of time, and of what is told apart of a pace
WIDEST_PACE = 200.0  # the window's length over the smallest pace that is told from none
GROWTH = 1.5  # from one group of lengths to the next
MOST_SEEN = 64  # cells of a column of which it is asked which were seen before
NONE = -1
DAYS, HOURS = 7, 24


@dataclass(frozen=True)
class Track:
    """What is public of a table of events, as counts need it.

    sizes: cells of each column of a step (``EventTable.steps``), merged ones where they are merged. ordered: how many cells
    of each, the first ones, lie in an order. grid: ticks of the window of time, 1 of a set. most: events of a person. day: ticks of a day, 0
    where time has no days. weekday: of tick 0, Monday is 0.
    """

    sizes: tuple[int, ...]
    ordered: tuple[int, ...]
    grid: int
    most: int
    day: int = 0
    weekday: int = 0

    def merged(self, sizes: Sequence[int]) -> Track:
        return replace(self, sizes=tuple(sizes))

    @property
    def asked(self) -> range:
        """The columns of a step that are asked about: all but the time since the event before, where that is always 0."""
        return range(int(self.grid == 1), len(self.sizes))

    @cached_property
    def lengths(self) -> IntArray:
        """Where the groups of lengths begin: 1, 2, 3, 5, 8, 11, ..."""
        ladder = [1]
        while (higher := max(ladder[-1] + 1, round(ladder[-1] * GROWTH))) <= self.most:
            ladder.append(higher)
        return np.array(ladder, np.int64)

    @cached_property
    def paces(self) -> IntArray:
        """Where the groups of paces begin but the first one, in ticks."""
        powers = np.arange(1, PARTS) / PARTS - 1
        return np.unique(np.ceil(self.grid * WIDEST_PACE**powers)).astype(np.int64)


@dataclass(frozen=True)
class Context:
    """One thing that is known. column: of the step, or of the person; -1 where it is about none.

    previous: the column of the event before; for the time since, one more cell means that this was the first. mean: of the
    column's cells so far, rounded. seen: every cell of the column that occurred before. here: a column of the event itself that
    comes before the next one. person: a column of the person. pace: how much time is left for each event that is left.
    length: the number of events. when: the part of the window that the event before was in. any: nothing is.
    Of the event's own time, which follows from the one before and the gap: the part of the window, the weekday, the hour.
    """

    kind: Kind
    column: int = -1

    @property
    def lands(self) -> bool:
        """Whether it is about the event's own time."""
        return self.kind in ("window", "weekday", "hour")


@dataclass(frozen=True)
class Known:
    """Of n steps what contexts are computed from; all columns in merged cells.

    person: (n, columns). previous, here: (n, steps). number: (n,) events so far, from 1. length: (n,) events in all. before,
    tick: (n,) the time of the event before and of its own. sums: (n, steps) of the cells so far. seen: by column, (n, cells)
    whether a cell occurred so far.
    """

    person: IntArray
    previous: IntArray
    here: IntArray
    number: IntArray
    length: IntArray
    before: IntArray
    tick: IntArray
    sums: IntArray
    seen: Mapping[int, BoolArray]


def size_of(context: Context, track: Track, persons: Sequence[int]) -> int:
    """Cells of a context. persons: cells of each of a person's columns."""
    match context.kind:
        case "previous":
            return track.sizes[context.column] + int(context.column == 0)
        case "mean" | "seen" | "here":
            return track.sizes[context.column]
        case "person":
            return persons[context.column]
        case "pace":
            return len(track.paces) + 1
        case "length":
            return len(track.lengths)
        case "when" | "window":
            return PARTS
        case "weekday":
            return DAYS
        case "hour":
            return HOURS
        case "any":
            return 1


def cells_of(context: Context, known: Known, track: Track) -> IntArray:
    """(n, cells at once) the cells of a context that each step is in, NONE for none: one a step, but for ``seen``."""
    if context.kind == "seen":
        seen = known.seen[context.column]
        return np.where(seen, np.arange(seen.shape[1]), NONE)
    return _cell(context, known, track)[:, None]


def _cell(context: Context, known: Known, track: Track) -> IntArray:
    match context.kind:
        case "previous":
            return known.previous[:, context.column]
        case "mean":
            return (2 * known.sums[:, context.column] + known.number) // (2 * known.number)
        case "here":
            return known.here[:, context.column]
        case "person":
            return known.person[:, context.column]
        case "pace":
            pace = (track.grid - known.before) // (known.length - known.number + 1)
            return np.searchsorted(track.paces, pace, side="right")
        case "length":
            return np.searchsorted(track.lengths, known.length, side="right") - 1
        case "when":
            return known.before * PARTS // track.grid
        case "any" | "seen":
            return np.zeros(len(known.number), np.int64)
        case _:
            return landing(context, known.tick, track)


def landing(context: Context, tick: IntArray, track: Track) -> IntArray:
    """The cells of a context of the event's own time, in the shape of ``tick``."""
    match context.kind:
        case "window":
            return tick * PARTS // track.grid
        case "weekday":
            return (tick // track.day + track.weekday) % DAYS
        case "hour":
            return tick % track.day * HOURS // track.day
        case _:
            raise ValueError(context.kind)


def steps_of(persons: IntArray, ticks: IntArray, values: IntArray, of_person: IntArray, track: Track) -> Known:
    """What is known at every event but each person's first, in their order.

    persons: (events,) ascending. ticks: (events,). values: (events, steps) merged cells. of_person: (events, columns) merged
    cells of each event's person. track: with merged sizes.
    """
    starts, lengths = runs(persons)
    number = np.arange(len(persons)) - np.repeat(starts, lengths)
    after = np.flatnonzero(number > 0)
    previous = values[after - 1].astype(np.int64)
    previous[number[after] == 1, 0] = track.sizes[0]
    counted = values.astype(np.int64)
    counted[starts, 0] = 0  # nothing is before the first event
    so_far = np.cumsum(counted, axis=0)
    sums = so_far[after - 1] - np.repeat(so_far[starts] - counted[starts], lengths, axis=0)[after]
    return Known(
        of_person[after],
        previous,
        values[after].astype(np.int64),
        number[after],
        np.repeat(lengths, lengths)[after],
        ticks[after - 1],
        ticks[after],
        sums,
        {j: _seen(values[:, j], k, starts, lengths)[after] for j, k in enumerate(track.sizes) if asks_seen(track, j)},
    )


def _seen(cells: IntArray, size: int, starts: IntArray, lengths: IntArray) -> BoolArray:
    """(events, size) whether each cell occurred at an event of the person before."""
    here = np.zeros((len(cells), size), np.int64)
    here[np.arange(len(cells)), cells] = 1
    before = np.cumsum(here, axis=0) - here
    seen: BoolArray = before > np.repeat(before[starts], lengths, axis=0)
    return seen


def asks_seen(track: Track, column: int) -> bool:
    """Whether it is asked which cells of a column of a step were seen before: of short lists without an order."""
    return column > 0 and track.ordered[column] == 0 and track.sizes[column] <= MOST_SEEN
