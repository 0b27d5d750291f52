"""histories: persons as sweep fits any table, and their events one after the other by what was counted of the steps between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.data.columns.encoding import draw_index
from cohortium.data.encoding import Codes, Events, codes_at
from cohortium.data.events import EventTable
from cohortium.data.ordering import reordered
from cohortium.data.schema import Schema
from cohortium.neural.state import write_state
from cohortium.queries import Query
from cohortium.queries.event_histograms import EventHistograms
from cohortium.queries.steps import Steps
from cohortium.study.histories import step_schema
from cohortium.study.plan import Phase
from cohortium.study.study import Study
from cohortium.system.progress import Progress
from cohortium_server.generators import Measured, Sum, Tensors
from cohortium_server.generators.cells import Cells
from cohortium_server.generators.matched_sums import begun, few_enough, matched, targets
from cohortium_server.generators.step_model import Beginnings, StepModel, restored, tensors_of
from cohortium_server.generators.sweep import Sweep

IntArray = npt.NDArray[np.int64]
PREFIX = "steps."


class Histories(Sweep):
    """Sweep for persons; for their events a ``StepModel`` a table, fitted by matched sums. Without tables of events, sweep."""

    def __init__(self, study: Study, seed: int | None = None, progress: Progress | None = None) -> None:
        super().__init__(study, seed, progress)
        self._schema: Schema = study.schema
        self._step_cells = [Cells.single(table.sizes) for table in study.schema.tables]
        self._steps: Sum | None = None
        self._models: list[StepModel] | None = None

    # Asking and telling

    def asked(self, phase: Phase) -> Query:
        if not isinstance(phase.query, Steps):
            return super().asked(phase)
        merged = np.concatenate([self._cells.merged, *(cells.merged for cells in self._step_cells)])
        return phase.query.with_state(write_state({"cells": merged.astype(np.float64)}))

    def learn(self, phase: Phase, total: Sum) -> None:
        match total.query:
            case EventHistograms() as query:
                self._step_cells = self._merged_steps(query, total)
            case Steps():
                self._steps = total
                self._fit_steps(total.query, total)
            case _:
                super().learn(phase, total)

    def _merged_steps(self, query: EventHistograms, total: Sum) -> list[Cells]:
        """The cells of each table's columns put together by the noised counts of single columns."""
        growth = math.sqrt(total.institutions)
        measured: list[list[Measured]] = [[] for _ in self._schema.tables]
        levels = zip(query.levels, query.in_rows(total.values), query.sigmas(total.multiplier), strict=True)
        for level, counts, sigma in levels:
            alone = (level.cells == np.arange(len(level.cells))).all()
            cells = (None if alone else level.cells,)
            measured[level.track].append(Measured((level.column,), counts, growth * sigma, cells))
        bins, tables = self._study.generator.bins, self._schema.tables
        for told, track in zip(measured, query.tracks, strict=True):
            told += [
                Measured((j,), np.eye(track.sizes[j])[0], 1.0) for j in range(len(track.sizes)) if j not in track.asked
            ]
        return [Cells.of(step_schema(table), bins, told) for table, told in zip(tables, measured, strict=True)]

    def _fit_steps(self, query: Steps, total: Sum) -> None:
        rng = np.random.default_rng(self._seed)
        found = targets(query, total.values, total.institutions, total.multiplier)
        persons = self._made_up(rng)
        times = self.rows / max(1, len(persons))

        def roll(models: Sequence[StepModel], rng: np.random.Generator) -> tuple[Codes, float]:
            events = self._rolled(models, persons, rng)
            return replace(persons, events=reordered(self._schema.tables, events)), times

        self._models = matched(begun(self._blank(query), found), query, found, roll, rng, self._progress)

    def _made_up(self, rng: np.random.Generator) -> Codes:
        """Persons as the model has them, as many as are looked at in a round of the fit."""
        few = self.sample(min(self.rows, 1000), rng, {})
        lengths = sum((self._lengths(table, few) for table in self._schema.tables), np.zeros(len(few), np.int64))
        codes = self.sample(few_enough(min(self.rows, 20_000), lengths), rng, {})
        return Codes(codes, np.arange(len(codes), dtype=np.int64), self._schema.sizes)

    def _lengths(self, table: EventTable, codes: npt.NDArray[np.integer]) -> IntArray:
        """(persons,) how many events each has."""
        j = self._schema.index(table.rows_name)
        return draw_index(self._schema.columns[j], codes[:, j].astype(np.int64), np.random.default_rng(0))

    # Models

    def _blank(self, query: Steps) -> list[StepModel]:
        """Models that say nothing yet, of the shapes of what is asked."""
        found = []
        for t, table in enumerate(self._schema.tables):
            asked = tuple(one for one in query.asked if one.track == t)
            track = query.seen_tracks[t]
            bias = tuple(np.zeros(size) for size in track.sizes)
            effects = tuple(np.zeros(query.shape(one)) for one in asked)
            found.append(StepModel(table, track, self._step_cells[t], asked, bias, effects))
        return found

    @cached_property
    def _step_query(self) -> Steps | None:
        """What the plan asks of steps."""
        return next((p.query for p in self._plan.phases if isinstance(p.query, Steps)), None)

    @property
    def steps(self) -> Sum | None:
        """The noised counts of steps."""
        return self._steps

    def tensors(self) -> Tensors:
        return {**super().tensors(), **(tensors_of(self._models) if self._models else {})}

    def restore(self, tensors: Tensors) -> None:
        ours = {name: value for name, value in tensors.items() if name.startswith(PREFIX)}
        super().restore({name: value for name, value in tensors.items() if name not in ours})
        if self._step_query is None:
            if ours:
                raise ValueError("steps")
            return
        self._step_cells = [self._read_cells(t, ours) for t in range(len(self._schema.tables))]
        blank = self._blank(self._step_query)
        self._models = [restored(model, ours, t) for t, model in enumerate(blank)]
        if ours.keys() != tensors_of(self._models).keys():
            raise ValueError("steps")

    def _read_cells(self, t: int, tensors: Tensors) -> Cells:
        parts = {name: tensors[f"{PREFIX}{t}.{name}"] for name in ("cells", "counts")}
        return Cells.read(step_schema(self._schema.tables[t]), self._study.generator.bins, parts)

    # Drawing

    def events(self, index: IntArray, rng: np.random.Generator) -> tuple[Events, ...]:
        codes = codes_at(index, self._schema)
        persons = Codes(codes, np.arange(len(codes), dtype=np.int64), self._schema.sizes)
        return self._rolled(self._models or (), persons, rng, index)

    def _rolled(
        self, models: Sequence[StepModel], persons: Codes, rng: np.random.Generator, index: IntArray | None = None
    ) -> tuple[Events, ...]:
        merged = self._cells.merge(persons.values.astype(np.int16)).astype(np.int64)
        return tuple(m.roll(self._beginnings(m.table, merged, persons.values, index, rng), rng) for m in models)

    def _beginnings(
        self,
        table: EventTable,
        merged: IntArray,
        codes: npt.NDArray[np.integer],
        index: IntArray | None,
        rng: np.random.Generator,
    ) -> Beginnings:
        """What each person's events begin with. Who has events and no first one, as a model may draw it, gets another person's."""
        columns = [self._schema.index(c.name) for c in table.derived]
        cells = codes[:, columns].astype(np.int64)
        lengths = self._lengths(table, codes) if index is None else np.maximum(index[:, columns[0]], 0)
        at = len(columns) - len(table.others)
        certain = [j for j in range(1, len(columns)) if j < at or (at == 1 and not table.others[j - at].nullable)]
        whole = (cells[:, certain] < [table.derived[j].values for j in certain]).all(axis=1) & (lengths > 0)
        donors = np.flatnonzero(whole)
        whose = np.arange(len(cells))
        lacking = np.flatnonzero((lengths > 0) & ~whole)
        if len(lacking):
            whose[lacking] = rng.choice(donors, len(lacking)) if len(donors) else 0
        ticks = self._first_ticks(table, cells[whose, 1], None if index is None else index[whose, columns[1]], rng)
        values = np.column_stack([np.zeros(len(cells), np.int64), cells[whose, at:]])
        values = np.minimum(values, np.array(table.sizes) - 1)
        possible = np.minimum(lengths, 1 + table.capacity(values[:, 1:]))  # a model knows no constraint
        return Beginnings(merged, possible, ticks, values)

    def _first_ticks(
        self, table: EventTable, cells: IntArray, index: IntArray | None, rng: np.random.Generator
    ) -> IntArray:
        if table.clock is None:
            return np.zeros(len(cells), np.int64)
        if index is not None:
            return np.maximum(index, 0)
        return draw_index(table.clock, np.minimum(cells, table.clock.values - 1), rng)
