"""Counts of what happens to persons, all that one person adds clipped together to one length, in exact integers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Codes, Events
from cohortium.errors import StudyError
from cohortium.privacy.discrete_gaussian import Bounded
from cohortium.privacy.randomness import Randomness
from cohortium.queries.contexts import Track
from cohortium.queries.counts import Tables

IntArray = npt.NDArray[np.int64]
FINE = 1 << 20  # parts of a unit in which lengths are compared
LARGEST = 1 << 62  # what 64 bits hold of one person's
EXACT = 1 << 53  # up to where float64 has every whole number
_BLOCK = 1 << 16  # events at a time


class Clipped(Tables):
    """Tables of the events of persons, in whose cells each person counts as often as it happened to them, up to a length.

    tracks: the tables of events, as they are public. weights: whole numbers, the relative precision of each table. clip: how
    long a person's counts may be, as the root mean square over tables of the lengths in each, weighted; a person with longer
    ones counts with all of them, scaled down. grid: an event counts so much.

    Formal guarantee. Let n(c) be how often something that is counted in cell c happened to a person, and w(c) the weight
    of its table. The person adds k(c) = floor(n(c) A / s), or n(c) grid where that is less, with integers A = ``_longest`` and
    s >= FINE sqrt(sum of w n²). So sum of w k² <= sum of w n² A² / s² <= A² / FINE², whatever and how much happened: adding or
    removing a person changes values / relative scale, which is 1 / sqrt(w), by at most A / FINE in L2, ``sensitivity``. k
    depends on that person alone, and on no more than the first ``Track.most`` events of each track.

    All of it is exact (``require_exact``): n is at most ``most``, so that sum of w n² is below 2**53, and a float's root of it,
    times FINE, is off by less than 1, which s allows for; n A is below 2**62; and the persons of a block, each of whom has
    an event, add less than 2**53 to any cell.

    Edge cases: no persons, or none with events, give the noise alone; no value in ``codes`` raises.
    """

    tracks: tuple[Track, ...]
    weights: tuple[int, ...]
    clip: float
    grid: int
    kind: ClassVar[str]
    split_finely: ClassVar[bool] = True

    @abstractmethod
    def _happened(self, codes: Codes, events: tuple[Events, ...], first: int) -> Iterator[tuple[IntArray, IntArray]]:
        """Of some persons, from position ``first`` of ``codes`` on: (n,) whose, from 0, and (n,) in which cell of the answer."""
        ...

    @property
    @abstractmethod
    def counted_at_once(self) -> tuple[tuple[int, int], ...]:
        """Of each table its track, and the most cells of it that one event is counted in."""
        ...

    def require_weights(self) -> None:
        """StudyError where a table has no whole weight, nothing may be added, or numbers are too large to be exact."""
        good = all(isinstance(w, int) and w > 0 for w in self.weights) and len(self.weights) == len(self.lengths)
        if not (good and self.weights and self.clip > 0 and self.grid >= 1):
            raise StudyError("E_PLAN_PRIVACY", self.kind, "a table has no whole weight", "Correct the weights.")
        self.require_exact()
        self.require_room()

    def require_exact(self) -> None:
        """StudyError E_PLAN_LIMIT where a person's counts, or those of a block of persons, may be beyond what is exact."""
        most = [track.most for track in self.tracks]
        tables = zip(self.counted_at_once, self.weights, strict=True)
        squares = sum(weight * cells * most[track] ** 2 for (track, cells), weight in tables)
        exact = squares < EXACT and math.isfinite(self._length) and self._longest > 0
        products = exact and self._longest * max(most) < LARGEST and 2 * _BLOCK * self._longest < EXACT * FINE
        if not products:
            what = "a person's counts are too long, or too short, to add up"
            raise StudyError("E_PLAN_LIMIT", self.kind, what, "Change clip, or lower most.")

    @property
    def _length(self) -> float:
        return self.clip * math.sqrt(sum(self.weights)) * self.grid * FINE

    @cached_property
    def _longest(self) -> int:
        return math.floor(self._length)

    @property
    def sensitivity(self) -> float:
        return self._longest / FINE * (1 + 1e-12)

    def reach(self, persons: int) -> int:
        return persons * math.ceil(self.sensitivity)

    def contribute(self, codes: Codes, randomness: Randomness) -> Bounded:
        """The bounded counts, un-noised."""
        return Bounded(self.count(codes), self.sensitivity, self.scales)

    def count(self, codes: Codes) -> IntArray:
        """(width,) the sum over persons of what each adds."""
        total = np.zeros(self.width, np.int64)
        for first, last, events in blocks(codes, self.tracks):
            happened = list(self._happened(codes, events, first))
            keys = np.concatenate([np.zeros(0, np.int64), *(whose * self.width + cell for whose, cell in happened)])
            distinct, often = np.unique(keys, return_counts=True)
            whose, cells = distinct // self.width, distinct % self.width
            added = self._added(whose, cells, often.astype(np.int64), last - first)
            total += np.bincount(cells, added.astype(np.float64), self.width).astype(np.int64)
        return total

    def _added(self, whose: IntArray, cells: IntArray, often: IntArray, persons: int) -> IntArray:
        """(n,) what each person adds to a cell, given how often it happened: integers below 2**53, exact in float64."""
        squares = self._cell_weights[cells] * often**2
        length = np.sqrt(np.bincount(whose, squares.astype(np.float64), persons))
        above = (
            np.ceil(length * FINE).astype(np.int64) + 1
        )  # than the length times FINE, which a float rounds by less than 1
        added: IntArray = np.minimum(often * self.grid, often * self._longest // above[whose])
        return added

    @cached_property
    def _cell_weights(self) -> IntArray:
        return np.repeat(np.array(self.weights, np.int64), self.lengths)


def blocks(codes: Codes, tracks: Sequence[Track]) -> Iterator[tuple[int, int, tuple[Events, ...]]]:
    """Of all persons some at a time: the first, the one behind the last, and the events of theirs that count, in every track."""
    if not codes.events:
        return
    events = [_first(one, track.most) for one, track in zip(codes.events, tracks, strict=True)]
    each = sum(np.bincount(e.persons, minlength=len(codes)) for e in events)
    places = np.cumsum(each) // _BLOCK
    edges = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(codes)]
    for first, last in pairwise(edges):
        yield first, last, tuple(_between(e, first, last) for e in events)


def _first(events: Events, most: int) -> Events:
    """The first ``most`` events of each person: more never count, whatever the codes were made by."""
    counts = np.bincount(events.persons)
    if counts.max(initial=0) <= most:
        return events
    number = np.arange(len(events)) - (np.cumsum(counts) - counts)[events.persons]
    return _at(events, number < most)


def _between(events: Events, first: int, last: int) -> Events:
    start, end = np.searchsorted(events.persons, [first, last])
    found = _at(events, slice(int(start), int(end)))
    return replace(found, persons=found.persons - first)


def _at(events: Events, rows: slice | npt.NDArray[np.bool_]) -> Events:
    return Events(events.values[rows], events.persons[rows], events.ticks[rows])
