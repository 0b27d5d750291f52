"""Counts of the steps from one event to the next: each column of an event in each context; a person's all clipped together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cohortium.data.binning import merge, read_merged
from cohortium.data.encoding import Codes, Events
from cohortium.errors import StudyError
from cohortium.neural.state import read_state
from cohortium.queries.clipped import Clipped
from cohortium.queries.contexts import NONE, Context, Known, Track, asks_seen, cells_of, size_of, steps_of

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """A table: the cells of a context times those of the step's column ``next``; -1 where the context alone is counted."""

    track: int
    context: Context
    next: int
    weight: int = 1


@dataclass(frozen=True)
class Steps(Clipped):
    """One table per entry of ``asked``: how often the next event had a value in a context.

    sizes: cells of the persons' columns. merged: merged cells of those, and then of the columns of each track's steps. state: the
    merged cell of every cell, in the same order (safetensors, one tensor ``cells``).

    Formal guarantee: that of ``Clipped``, at every state: whatever cells are merged, the length is that of the counts in the
    merged cells. A step that a context is not about adds nothing there, and one that has seen several cells adds to each:
    both are in the length.
    """

    sizes: tuple[int, ...]
    tracks: tuple[Track, ...]
    asked: tuple[Asked, ...]
    merged: tuple[int, ...]
    clip: float
    grid: int = 1
    state: bytes = b""
    kind = "steps"

    def __post_init__(self) -> None:
        cells = self.cells_of_each
        if len(self.merged) != len(cells) or any(not 1 <= k <= n for k, n in zip(self.merged, cells, strict=True)):
            raise StudyError("E_PLAN_LIMIT", "steps", "a column has more merged cells than cells", "Correct them.")
        self.require_weights()

    @property
    def cells_of_each(self) -> tuple[int, ...]:
        """Cells of the persons' columns, and of each track's."""
        return (*self.sizes, *(size for track in self.tracks for size in track.sizes))

    @cached_property
    def _bounds(self) -> list[int]:
        """Where in ``cells_of_each`` the persons' columns end, and each track's."""
        return list(accumulate((len(t.sizes) for t in self.tracks), initial=len(self.sizes)))

    @cached_property
    def seen_tracks(self) -> tuple[Track, ...]:
        """The tracks with merged cells."""
        return tuple(t.merged(self.merged[a:b]) for t, (a, b) in zip(self.tracks, pairwise(self._bounds), strict=True))

    @property
    def seen_persons(self) -> tuple[int, ...]:
        """Merged cells of the persons' columns."""
        return self.merged[: len(self.sizes)]

    def shape(self, asked: Asked) -> tuple[int, int]:
        """Cells of the context, and of the column in it."""
        track = self.seen_tracks[asked.track]
        return size_of(asked.context, track, self.seen_persons), 1 if asked.next < 0 else track.sizes[asked.next]

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        return tuple(a * b for a, b in map(self.shape, self.asked))

    @cached_property
    def weights(self) -> tuple[int, ...]:  # type: ignore[override]  # of what is asked
        return tuple(asked.weight for asked in self.asked)

    @property
    def counted_at_once(self) -> tuple[tuple[int, int], ...]:
        """Where it is asked what was seen before, a step may be counted in each of the context's cells."""
        asked = zip(self.asked, map(self.shape, self.asked), strict=True)
        return tuple((one.track, cells if one.context.kind == "seen" else 1) for one, (cells, _) in asked)

    @property
    def state_lengths(self) -> dict[str, int]:
        return {"cells": sum(self.cells_of_each)}

    @cached_property
    def cells(self) -> IntArray:
        """(sum of cells,) the merged cell of every cell; WireError for an invalid state."""
        numbers = read_state(self.state, self.state_lengths)["cells"]
        return read_merged(numbers, self.cells_of_each, self.merged)

    def with_state(self, state: bytes) -> Self:
        at_state = replace(self, state=state)
        return at_state if len(at_state.cells) else self

    def known(self, codes: Codes, events: tuple[Events, ...], first: int, track: int) -> tuple[IntArray, Known]:
        """(n,) whose the steps of a track are, and what is known at each."""
        one, persons = events[track], codes.values[first:][events[track].persons]
        ends = np.cumsum([0, *self.cells_of_each]).tolist()
        cut = [ends[b] for b in (0, *self._bounds)]
        of_person = merge(persons, self.sizes, self.cells[: cut[1]]).astype(np.int64)
        values = merge(one.values, self.tracks[track].sizes, self.cells[cut[track + 1] : cut[track + 2]])
        after = np.flatnonzero(one.follows)
        found = steps_of(one.persons, one.ticks, values.astype(np.int64), of_person, self.seen_tracks[track])
        return one.persons[after], found

    def _happened(self, codes: Codes, events: tuple[Events, ...], first: int) -> Iterator[tuple[IntArray, IntArray]]:
        at = [self.known(codes, events, first, track) for track in range(len(self.tracks))]
        starts = np.cumsum([0, *self.lengths[:-1]])
        for start, asked in zip(starts.tolist(), self.asked, strict=True):
            whose, known = at[asked.track]
            cells = cells_of(asked.context, known, self.seen_tracks[asked.track])
            steps, places = np.nonzero(cells != NONE)
            found = cells[steps, places]
            if asked.next >= 0:
                found = found * self.shape(asked)[1] + known.here[steps, asked.next]
            yield whose[steps], start + found

    def split(self, values: npt.NDArray[Any]) -> list[FloatArray]:
        """(context's cells, column's cells) of each table, in events that were not scaled down, from one answer or a sum."""
        parts = zip(self.asked, self.in_rows(values), strict=True)
        return [part.reshape(self.shape(asked)) for asked, part in parts]

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "tables": len(self.asked),
            "cells": sum(self.cells_of_each),
            "merged_cells": sum(self.merged),
            "clip": self.clip,
        }


def contexts_of(track: Track, own: tuple[int, ...], landing: bool) -> Iterator[tuple[Context, int, int]]:
    """What is asked of the steps of a track: context, column and weight. own: the persons' columns that were declared.

    The gap: from the time that is left, the gap before, the number of events, the part of the window and the event before. Each other column: from
    its own past, from what comes before it in the event, and from the person. Of a set nothing is asked of time.
    """
    personal = 2 if len(own) <= 2 else 1
    if 0 in track.asked:
        gap = [Context("pace"), Context("previous", 0), Context("length"), Context("when")]
        gap += [Context("previous", j) for j in range(1, len(track.sizes))]
        yield from ((context, 0, 2) for context in gap)
    for j in range(1, len(track.sizes)):
        past = Context("seen", j) if asks_seen(track, j) else Context("mean", j)
        yield from ((context, j, 2) for context in (Context("previous", j), past, Context("length")))
        yield from ((Context("here", k), j, 2) for k in track.asked if k < j)
    for j in track.asked:
        yield from ((Context("person", k), j, personal) for k in own)
    if landing:
        yield Context("window"), -1, 2
        yield from ((Context(kind), -1, 2) for kind in _calendar(track))


def _calendar(track: Track) -> Iterator[Any]:
    if track.day:
        yield "weekday"
    if track.day >= 24:
        yield "hour"
