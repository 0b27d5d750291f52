"""The tables of a release: one of persons, or of rows, and of persons one more for each table of their events.

Persons get new numbers, from 1 on, so that keys always fit and are nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns import Column
from cohortium.data.columns.encoding import INVALID, cells_at, draw_index, values_at
from cohortium.data.encoding import Events, table_at
from cohortium.data.events import PERSONS, EventTable
from cohortium.data.schema import Schema
from cohortium_server.generators import DrawsEvents, Generator
from cohortium_server.release.rows import EVERYTHING, Selections, drawn_indices

IntArray = npt.NDArray[np.int64]
SYNTHETIC = "synthetic"  # the only table of a release, and the file of the persons' where there are several


@dataclass(frozen=True)
class DrawnRows:
    """What was drawn from a model: (rows, columns) grid indices over the schema's columns, and the events of each table."""

    index: IntArray
    events: tuple[Events, ...] = ()


def drawn_rows(
    generator: Generator, schema: Schema, rows: int, rng: np.random.Generator, selections: Selections = EVERYTHING
) -> DrawnRows:
    """Exactly so many rows, or persons with their events; raises as ``drawn_indices``."""
    index = drawn_indices(generator, schema, rows, rng, selections)
    return DrawnRows(index, drawn_events(generator, schema, index, rng))


def drawn_events(generator: Generator, schema: Schema, index: IntArray, rng: np.random.Generator) -> tuple[Events, ...]:
    """The events of persons at grid ``index``; none where the schema has no tables of them."""
    return generator.events(index, rng) if schema.tables and isinstance(generator, DrawsEvents) else ()


def tables_of(drawn: DrawnRows, schema: Schema, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """The tables to release, by name: ``SYNTHETIC`` alone, or ``PERSONS`` and those of their events."""
    table = table_at(drawn.index, schema)
    if not schema.tables:
        return {SYNTHETIC: table}
    numbers = pd.DataFrame({schema.person: np.arange(1, len(table) + 1)})
    own = pd.concat([numbers, table[list(schema.own_names)]], axis=1)
    each = zip(schema.tables, drawn.events, strict=True)
    return {PERSONS: own, **{t.name: _event_table(t, events, drawn.index, schema, rng) for t, events in each}}


def file_of(name: str) -> str:
    """The file of a table in a release, without its ending."""
    return SYNTHETIC if name == PERSONS else name


def _event_table(
    table: EventTable, events: Events, index: IntArray, schema: Schema, rng: np.random.Generator
) -> pd.DataFrame:
    columns = {table.person: events.persons + 1}
    for column in table.columns:
        found = events.ticks if column.name == table.time else _indices(table, column, events, index, schema, rng)
        missing = found == INVALID
        columns[column.name] = values_at(column, np.where(missing, 0, found), missing)
    return pd.DataFrame(columns)


def _indices(
    table: EventTable, column: Column, events: Events, index: IntArray, schema: Schema, rng: np.random.Generator
) -> IntArray:
    """(events,) the grid index of each event's value; a person's first event has the person's own."""
    cells = events.values[:, table.steps.index(column)].astype(np.int64)
    missing = cells >= column.values
    drawn = np.where(missing, INVALID, draw_index(column, np.where(missing, 0, cells), rng))
    first = index[events.persons, schema.index(table.first_name(column.name))]
    return np.where(~events.follows & ~missing & (cells_at(column, first) == cells), first, drawn)
