"""Tables of events: how what follows on what in the synthetic ones compares with what was counted with noise.

Real persons' steps were clipped before they were counted, so synthetic persons' are clipped by the same query, and both compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import Column
from cohortium.data.encoding import Codes, Events
from cohortium.data.events import EventTable
from cohortium.data.schema import Schema
from cohortium.queries.contexts import Context
from cohortium.queries.steps import Asked, Steps
from cohortium.study.carrying import noise_distance
from cohortium_server.generators import Sum
from cohortium_server.release.page.cells import both_grouped, cells_of
from cohortium_server.release.page.columns import ColumnView, Row
from cohortium_server.release.page.evidence import NORMAL_95, FloatArray
from cohortium_server.release.page.pairs import Contrast, Pair

WORDS = {
    "previous": "{} of the event before",
    "mean": "mean {} so far",
    "seen": "{} seen before",
    "here": "{} of the event",
    "person": "{} of the person",
    "pace": "time left for each event left",
    "length": "number of events",
    "when": "part of the time passed",
    "window": "part of the time it falls into",
    "weekday": "weekday",
    "hour": "hour of the day",
}


@dataclass(frozen=True)
class StepTable:
    """One table of what follows on what. difference, noise: as in ``pairs.Pair``."""

    context: str
    column: str
    pair: Pair


@dataclass(frozen=True)
class EventView:
    """What is shown of one table of events. transitions: of each column from one event to the next."""

    table: EventTable
    rows: int
    columns: Sequence[ColumnView]
    transitions: Sequence[Contrast]
    steps: Sequence[StepTable]


@dataclass(frozen=True)
class _Table:
    """A table of shares, (context's cells, column's cells): synthetic ones, and measured ones with noise of ``sd``."""

    asked: Asked
    synthetic: FloatArray
    measured: FloatArray
    sd: float

    @property
    def pair(self) -> Pair:
        difference = float(np.abs(self.synthetic - self.measured).sum()) / 2
        noise = noise_distance(self.measured.size, self.sd, 1)
        return Pair((0, 1), min(1.0, difference), min(1.0, noise))


def event_views(
    schema: Schema, synthetic: npt.NDArray[np.int16], events: tuple[Events, ...], steps: Sum | None
) -> list[EventView]:
    """One a table of the schema; none where nothing was counted."""
    if steps is None or not isinstance(query := steps.query, Steps):
        return []
    persons = Codes(synthetic, np.arange(len(synthetic), dtype=np.int64), schema.sizes, events=events)
    measured, drawn = query.split(steps.values), query.split(query.count(persons))
    growth = math.sqrt(steps.institutions)
    sigmas = [growth * sigma for sigma in query.sigmas(steps.multiplier)]
    tables = [_compared(*one) for one in zip(query.asked, drawn, measured, sigmas, strict=True)]
    return [_view(schema, t, len(events[t]), query, tables) for t in range(len(schema.tables))]


def _compared(asked: Asked, drawn: FloatArray, measured: FloatArray, sigma: float) -> _Table:
    """Both as shares; of a context that a step may be in several times, of all that was counted."""
    total = max(float(measured.sum()), sigma)
    return _Table(asked, drawn / max(1.0, float(drawn.sum())), measured / total, sigma / total)


def _view(schema: Schema, t: int, rows: int, query: Steps, tables: Sequence[_Table]) -> EventView:
    table, ours = schema.tables[t], [one for one in tables if one.asked.track == t]
    columns = {j: _column(table.steps[j], j, _groups(query, t, j), ours) for j in query.tracks[t].asked}
    steps = [StepTable(_words(schema, table, o.asked.context), _next(table, o.asked), o.pair) for o in ours]
    ranked = sorted(steps, key=lambda s: -s.pair.beyond)
    maps = [_transition(columns[o.asked.next], o) for o in ours if _is_transition(o.asked)]
    return EventView(table, rows, list(columns.values()), maps, ranked)


def _groups(query: Steps, t: int, j: int) -> list[list[int]]:
    """The cells of each merged cell of a column of a step."""
    starts = np.cumsum([0, *query.cells_of_each])
    k = len(query.sizes) + sum(len(track.sizes) for track in query.tracks[:t]) + j
    first, last = list(pairwise(starts))[k]
    merged = query.cells[first:last]
    return [np.flatnonzero(merged == cell).tolist() for cell in range(int(merged.max()) + 1)]


def _column(column: Column, j: int, groups: list[list[int]], tables: Sequence[_Table]) -> ColumnView:
    """A column of a step by itself, from all tables that count each step once, weighted by precision."""
    holding = [t for t in tables if t.asked.next == j and t.asked.context.kind != "seen"]
    weights = np.array([1 / (len(t.measured) * t.sd**2) for t in holding])
    weights /= weights.sum()
    synthetic, measured = (
        sum(w * shares.sum(axis=0) for w, shares in zip(weights, found, strict=True))[: len(groups)]
        for found in ([t.synthetic for t in holding], [t.measured for t in holding])
    )
    sd = math.sqrt(sum(w**2 * len(t.measured) * t.sd**2 for w, t in zip(weights, holding, strict=True)))
    cells = cells_of(column, synthetic, groups)
    within = NORMAL_95 * sd * np.sqrt(cells.counts)
    lines = zip(
        cells.labels, cells.grouped(synthetic).tolist(), cells.grouped(measured).tolist(), within.tolist(), strict=True
    )
    inside = int((np.abs(synthetic - measured) <= NORMAL_95 * sd).sum())
    return ColumnView(column, cells, [Row(*line) for line in lines], inside, len(groups))


def _is_transition(asked: Asked) -> bool:
    return asked.context == Context("previous", asked.next) and asked.next > 0


def _transition(column: ColumnView, table: _Table) -> Contrast:
    cells, used = column.cells, len(column.cells.bar)
    synthetic, measured = (both_grouped(cells, cells, t[:used, :used]) for t in (table.synthetic, table.measured))
    within = NORMAL_95 * table.sd * np.sqrt(np.outer(cells.counts, cells.counts))
    names = (f"{column.column.name} before", f"{column.column.name} after")
    return Contrast(table.pair, names, (cells, cells), synthetic, measured, within)


def _words(schema: Schema, table: EventTable, context: Context) -> str:
    names = schema.names if context.kind == "person" else tuple(c.name for c in table.steps)
    return WORDS[context.kind].format(repr(names[context.column]) if context.column >= 0 else "")


def _next(table: EventTable, asked: Asked) -> str:
    return table.steps[asked.next].name if asked.next >= 0 else "when the event is"
