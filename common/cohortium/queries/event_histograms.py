"""Counts of every column of every step by itself, at several resolutions at once; a person's all clipped together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Codes, Events
from cohortium.errors import WireError
from cohortium.queries.clipped import Clipped
from cohortium.queries.contexts import Track
from cohortium.queries.histograms import groups

IntArray = npt.NDArray[np.int64]
WEIGHTS = {
    1: (16,),
    2: (10, 6),
    3: (8, 5, 3),
}  # of a column's levels, from coarse to fine: as histograms.FALL, in whole numbers


class StepLevel(NamedTuple):
    """A table of one column of the steps of one track. cells: (cells,) the cell of the table that each is counted in."""

    track: int
    column: int
    cells: IntArray
    weight: int


@dataclass(frozen=True)
class EventHistograms(Clipped):
    """Of every column of every step a few histograms, as ``NestedHistograms`` has them of persons' columns.

    Formal guarantee: that of ``Clipped``.
    """

    tracks: tuple[Track, ...]
    clip: float
    grid: int = 1
    state: bytes = b""
    kind = "event histograms"

    def __post_init__(self) -> None:
        self.require_weights()

    @cached_property
    def levels(self) -> tuple[StepLevel, ...]:
        """Track by track, of every column from coarse to fine."""
        return tuple(
            StepLevel(t, j, cells, weight)
            for t, track in enumerate(self.tracks)
            for j in track.asked
            for cells, weight in _weighed(groups(track.ordered[j], track.sizes[j]))
        )

    @cached_property
    def weights(self) -> tuple[int, ...]:  # type: ignore[override]  # of the levels, which nobody chooses
        return tuple(level.weight for level in self.levels)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        return tuple(int(level.cells.max()) + 1 for level in self.levels)

    @property
    def counted_at_once(self) -> tuple[tuple[int, int], ...]:
        return tuple((level.track, 1) for level in self.levels)

    def with_state(self, state: bytes) -> Self:
        if state:
            raise WireError("E_STATE_SHAPE", self.kind, "counts depend on no model state", "Send none.")
        return self

    def _happened(self, codes: Codes, events: tuple[Events, ...], first: int) -> Iterator[tuple[IntArray, IntArray]]:
        starts = np.cumsum([0, *self.lengths[:-1]])
        for start, level in zip(starts.tolist(), self.levels, strict=True):
            one = events[level.track]
            after = np.flatnonzero(one.follows)
            yield one.persons[after], start + level.cells[one.values[after, level.column]]

    def describe(self) -> dict[str, Any]:
        columns = sum(len(t.asked) for t in self.tracks)
        cells = sum(t.sizes[j] for t in self.tracks for j in t.asked)
        return {"kind": self.kind, "columns": columns, "tables": len(self.levels), "cells": cells}


def _weighed(levels: list[IntArray]) -> Iterator[tuple[IntArray, int]]:
    return zip(levels, WEIGHTS[len(levels)], strict=True)
