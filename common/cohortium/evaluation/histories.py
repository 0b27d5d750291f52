"""How near synthetic histories are to real ones, for whoever may see the real ones.

Everything is compared in the cells of the schema, those of ordered columns in at most ``GROUPS`` groups of equally many real events.
Distances are total variation distances: 0 is equal, 1 has nothing in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.binning import ordered_cells
from cohortium.data.columns import SECONDS, Categorical, Column, Continuous, Datetime
from cohortium.data.columns.encoding import INVALID, cells_at, index_column
from cohortium.data.events import EventTable
from cohortium.data.identifiers import identifiers_of
from cohortium.data.schema import Schema

IntArray = npt.NDArray[np.int64]
Tables = Mapping[str, pd.DataFrame]
GROUPS = 16
PARTS = 12


@dataclass(frozen=True)
class Timeline:
    """The events of a table in the order of persons and of time. cells: by column, (events,) cells, a missing one behind the others."""

    persons: IntArray
    ticks: IntArray
    cells: Mapping[str, IntArray]

    @property
    def follows(self) -> npt.NDArray[np.bool_]:
        """(events,) whether the event before is the same person's."""
        found: npt.NDArray[np.bool_] = np.diff(self.persons, prepend=-1) == 0
        return found

    @property
    def gaps(self) -> IntArray:
        """(events but first ones,) ticks since the event before."""
        return np.diff(self.ticks, prepend=0)[self.follows]


def timeline(table: EventTable, rows: pd.DataFrame) -> Timeline:
    """The events of a table of values; rows without a person or a time are left out."""
    whose = identifiers_of(rows[table.person])
    ticks = np.zeros(len(rows), np.int64)
    if table.clock is not None:
        ticks = index_column(table.clock, rows[table.clock.name])
    cells = {c.name: _cells(c, rows[c.name]) for c in table.others}
    kept = whose.known & (ticks != INVALID)
    order = np.lexsort((*reversed([v[kept] for v in cells.values()]), ticks[kept], whose.places[kept]))
    ranked = {name: found[kept][order] for name, found in cells.items()}
    return Timeline(whose.places[kept][order].astype(np.int64), ticks[kept][order], ranked)


def _cells(column: Column, values: pd.Series) -> IntArray:
    cells = cells_at(column, index_column(column, values))
    return np.where(cells == INVALID, column.values, cells)


def distances(schema: Schema, real: Tables, synthetic: Tables) -> list[dict[str, Any]]:
    """One row a comparison: table, what is compared, and the distance; columns of events, and how they follow on each other.

    real, synthetic: by table, as ``Release.tables``: the persons' own is not looked at.
    """
    found = []
    for table in schema.tables:
        one, other = timeline(table, real[table.name]), timeline(table, synthetic[table.name])
        persons = len(next(iter(real.values()))), len(next(iter(synthetic.values())))
        found += [
            {"table": table.name, "what": what, "distance": d} for what, d in _compared(table, one, other, persons)
        ]
    return found


def _compared(
    table: EventTable, real: Timeline, synthetic: Timeline, persons: tuple[int, int]
) -> Iterator[tuple[str, float]]:
    yield "events of a person", _apart(_lengths(real, persons[0]), _lengths(synthetic, persons[1]))
    if table.clock is not None:
        edges = _edges(real.gaps)
        yield "time between events", _apart(*(np.searchsorted(edges, t.gaps) for t in (real, synthetic)))
        for what, of in _calendar(table.clock):
            yield what, _apart(of(real.ticks), of(synthetic.ticks))
    for column in table.others:
        one, other = _grouped(column, real.cells[column.name], synthetic.cells[column.name])
        yield f"{column.name}", _apart(one, other)
        for length, words in ((2, "from one event to the next"), (3, "over three events")):
            runs = (_runs(cells, t.follows, length) for cells, t in ((one, real), (other, synthetic)))
            yield f"{column.name} {words}", _apart(*runs)


def _lengths(line: Timeline, persons: int) -> IntArray:
    """(persons,) how many events each has."""
    found = np.bincount(line.persons) if len(line.persons) else np.zeros(0, np.int64)
    return np.concatenate([found, np.zeros(max(0, persons - len(found)), np.int64)])


def _calendar(clock: Continuous | Datetime) -> Iterator[tuple[str, Any]]:
    yield "part of the time", lambda ticks: ticks * PARTS // clock.grid
    if isinstance(clock, Datetime):
        day, start = SECONDS["day"] // SECONDS[clock.resolution], clock.lower.weekday()
        yield "weekday", lambda ticks: (ticks // day + start) % 7
        if day >= 24:
            yield "hour", lambda ticks: ticks % day * 24 // day


def _grouped(column: Column, real: IntArray, synthetic: IntArray) -> tuple[IntArray, IntArray]:
    """Cells of a column, ordered ones in groups."""
    ordered = ordered_cells(column)
    if isinstance(column, Categorical) or ordered <= GROUPS:
        return real, synthetic
    edges = _edges(real[real < ordered])
    one, other = (
        np.where(c < ordered, np.searchsorted(edges, c, "left"), GROUPS + c - ordered) for c in (real, synthetic)
    )
    return one, other


def _edges(numbers: IntArray) -> npt.NDArray[np.float64]:
    """Between groups of equally many of some numbers."""
    return np.unique(np.quantile(numbers, np.linspace(0, 1, GROUPS + 1)[1:-1])) if len(numbers) else np.zeros(0)


def _runs(cells: IntArray, follows: npt.NDArray[np.bool_], length: int) -> IntArray:
    """One number for every run of so many events of one person."""
    found, inside = cells[length - 1 :].copy(), np.ones(max(0, len(cells) - length + 1), bool)
    for back in range(1, length):
        inside &= follows[length - back : len(cells) - back + 1]
        found = found + cells[length - 1 - back : len(cells) - back] * (1 << 20) ** back
    return found[inside]


def _apart(one: IntArray, other: IntArray) -> float:
    """Total variation distance of two samples of numbers."""
    if not len(one) or not len(other):
        return float(len(one) != len(other))
    values, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    shares = [np.bincount(p, minlength=len(values)) / len(p) for p in (places[: len(one)], places[len(one) :])]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def halves(schema: Schema, tables: Tables, own: str, rng: np.random.Generator) -> tuple[dict[str, pd.DataFrame], ...]:
    """The tables of two random halves of the persons. own: the name of the persons' own table."""
    keys = {own: schema.person, **{t.name: t.person for t in schema.tables}}
    people = tables[own][schema.person]
    first = set(people[rng.permutation(len(people))[: len(people) // 2]])
    inside = {name: tables[name][key].isin(first) for name, key in keys.items()}
    return {n: tables[n][inside[n]] for n in keys}, {n: tables[n][~inside[n]] for n in keys}


def independent(schema: Schema, tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """The tables with each column of events, their time apart, shuffled over all events by itself."""
    found = dict(tables)
    for table in schema.tables:
        rows = tables[table.name].copy()
        for column in table.others:
            rows[column.name] = rows[column.name].to_numpy()[rng.permutation(len(rows))]
        found[table.name] = rows
    return found
