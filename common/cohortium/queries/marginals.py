"""Counts of the cells of chosen tables of one to three columns, person-bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cohortium.data.binning import merge, read_merged, single_cells
from cohortium.data.encoding import Codes, HeldArray
from cohortium.errors import StudyError, WireError
from cohortium.neural.state import read_state
from cohortium.queries.contribution_bounding import EqualWeight
from cohortium.queries.counts import Counts

IntArray = npt.NDArray[np.int64]
MAX_ORDER = 3
_BLOCK = 1 << 15  # rows at a time: a processor keeps their positions in a table at hand


@dataclass(frozen=True)
class Marginals(Counts):
    """One table per entry of ``tables``: how many rows fall into each combination of its columns' cells.

    merged: cells of every column as the tables have it, where ``state`` puts neighbouring cells together; else empty.
    choices: public weights of all tables, of which ``state`` chooses one, where there is anything to choose; else empty.
    state: the merged cell of every cell, column after column, and which of the choices (safetensors, ``state_lengths``).
    tables: column positions of each table, ascending, one to three of them.

    Formal guarantee: that of ``Counts``. Whatever the state, a row is in one merged cell of each column, and any
    choice of weights has the same sum: the bound holds at every state, and the width is that of ``merged``. Before
    there is a state, ``events`` and ``draws`` are those of the choice that has the finest, and the widest noise. In a
    masked sum all answers are to one state, as masks are bound to it (masking): its noise is that of one choice.
    """

    sizes: tuple[int, ...]
    tables: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]
    rows_per_person: int = 1
    grid: int = 1
    equal_weight: EqualWeight = "rows"
    merged: tuple[int, ...] = ()
    choices: tuple[tuple[float, ...], ...] = ()
    state: bytes = b""
    kind = "marginals"

    def __post_init__(self) -> None:
        ordered = all(1 <= len(t) <= MAX_ORDER and list(t) == sorted(set(t)) for t in self.tables)
        known = all(t[0] >= 0 and t[-1] < len(self.sizes) for t in self.tables)
        if not (self.tables and ordered and known) or len(set(self.tables)) < len(self.tables):
            raise StudyError(
                "E_PLAN_LIMIT", "marginals", "a table is not one to three different columns", "Correct the tables."
            )
        if not all(map(self._weigh, (self.weights, *self.choices))):
            raise StudyError(
                "E_PLAN_PRIVACY",
                "marginals",
                "every table needs a weight, none below 0, and all choices the same sum",
                "Correct the weights.",
            )
        if self.merged and not _fewer(self.merged, self.sizes):
            raise StudyError(
                "E_PLAN_LIMIT", "marginals", "a column has more merged cells than cells", "Correct the merged sizes."
            )
        self.require_room()

    def _weigh(self, weights: tuple[float, ...]) -> bool:
        """Whether these are weights of the tables, with the sum that the sensitivity is computed from."""
        known = len(weights) == len(self.tables) and all(math.isfinite(w) and w >= 0 for w in weights)
        return known and max(weights) > 0 and math.isclose(math.fsum(weights), math.fsum(self.weights), rel_tol=1e-12)

    @property
    def counted(self) -> tuple[int, ...]:
        """Cells of every column as the tables have it."""
        return self.merged or self.sizes

    @property
    def state_lengths(self) -> dict[str, int]:
        """The tensors of a state."""
        cells = {"cells": sum(self.sizes)} if self.merged else {}
        return cells | ({"choice": 1} if self.choices else {})

    @cached_property
    def _read(self) -> dict[str, npt.NDArray[np.float32]]:
        return read_state(self.state, self.state_lengths)

    @cached_property
    def cells(self) -> IntArray:
        """(sum of sizes,) the cell that every cell of the schema is counted in; WireError for an invalid state."""
        return read_merged(self._read["cells"], self.sizes, self.merged) if self.merged else single_cells(self.sizes)

    def _chosen(self) -> tuple[float, ...]:
        """The weights that the state chooses; WireError E_STATE_INVALID where there is no such choice."""
        number = float(self._read["choice"][0])
        if number not in range(len(self.choices)):
            raise WireError("E_STATE_INVALID", "model state", "it makes a choice there is not", "Restart the study.")
        return self.choices[int(number)]

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Cells of each table."""
        return tuple(math.prod(self.shape(t)) for t in self.tables)

    @cached_property
    def finest(self) -> float:
        return 1 / math.sqrt(max(map(max, self._possible)))

    @cached_property
    def widest(self) -> float:
        return 1 / math.sqrt(min(w for weights in self._possible for w in weights if w > 0))

    @property
    def _possible(self) -> tuple[tuple[float, ...], ...]:
        """The weights that an answer may have: at a state, those that it chooses."""
        return self.choices if self.choices and not self.state else (self.weights,)

    @property
    def each_choice(self) -> tuple[Self, ...]:
        return tuple(replace(self, weights=weights, choices=()) for weights in self._possible)

    def with_state(self, state: bytes) -> Self:
        if state and not self.state_lengths:
            raise WireError("E_STATE_SHAPE", "marginals", "counts depend on no model state", "Send none.")
        at_state = replace(self, state=state)
        if self.choices:
            at_state = replace(at_state, weights=at_state._chosen())
        return at_state if len(at_state.cells) else self

    def _count(self, codes: Codes, units: IntArray | None = None) -> IntArray:
        counts = {of: np.zeros(math.prod(self.shape(of)), np.int64) for of in map(self._within.__getitem__, self.asked)}
        for start in range(0, len(codes), _BLOCK):
            part = slice(start, start + _BLOCK)
            block = self._merged(codes.values[part]).T.astype(np.int64, order="C")  # each column in one piece
            weights = None if units is None else units[part].astype(np.float64)
            for table, total in counts.items():
                total += np.bincount(self._cells(block, table), weights, len(total)).astype(np.int64)
        asked = set(self.asked)
        parts = zip(self.tables, self.lengths, strict=True)
        return np.concatenate([self._read_off(counts, t) if t in asked else np.zeros(n, np.int64) for t, n in parts])

    @cached_property
    def asked(self) -> tuple[tuple[int, ...], ...]:
        """The tables that are counted: those that have a weight."""
        return tuple(t for t, w in zip(self.tables, self.weights, strict=True) if w > 0)

    @cached_property
    def _within(self) -> dict[tuple[int, ...], tuple[int, ...]]:
        """For every table the one that is counted for it: itself, or another that has all of its columns."""
        within: dict[tuple[int, ...], tuple[int, ...]] = {}
        for table in sorted(self.asked, key=len, reverse=True):
            for order in range(1, len(table) + 1):
                for part in combinations(table, order):
                    within.setdefault(part, table)
        return within

    def _read_off(self, counts: dict[tuple[int, ...], IntArray], table: tuple[int, ...]) -> IntArray:
        """(cells,) a table's counts, summed over the columns that only the one counted for it has."""
        of = self._within[table]
        others = tuple(axis for axis, j in enumerate(of) if j not in table)
        found: IntArray = counts[of].reshape(self.shape(of)).sum(axis=others).ravel()
        return found

    def _merged(self, values: HeldArray) -> HeldArray:
        return merge(values, self.sizes, self.cells) if self.merged else values

    def _cells(self, block: IntArray, table: tuple[int, ...]) -> IntArray:
        """(rows,) position of each row's cell in the table, the last column running fastest."""
        cells: IntArray = block[table[0]]
        for j in table[1:]:
            cells = cells * self.counted[j]
            cells += block[j]
        return cells

    def split(self, values: npt.NDArray[Any]) -> dict[tuple[int, ...], npt.NDArray[np.float64]]:
        """Tables in rows (in persons, where those weigh the same), in their own shapes, from one answer or a sum."""
        return {t: part.reshape(self.shape(t)) for t, part in zip(self.tables, self.in_rows(values), strict=True)}

    def describe(self) -> dict[str, Any]:
        possible = self.tables if self.choices else self.asked
        orders = {k: sum(len(t) == k for t in possible) for k in (1, 2, 3)}
        document: dict[str, Any] = {
            "kind": self.kind,
            "tables": len(possible),
            "tables_by_columns": {k: n for k, n in orders.items() if n},
        }
        if self.choices:
            document["choices"] = len(self.choices)
        return {**document, "cells": sum(self.sizes), "merged_cells": sum(self.merged)} if self.merged else document


def _fewer(merged: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    return len(merged) == len(sizes) and all(1 <= k <= n for k, n in zip(merged, sizes, strict=True))
