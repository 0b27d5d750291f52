"""Step 2: tables to codes and back.

``encode`` maps each row by itself: its codes depend on that row and the schema alone, so one person's rows change nobody
else's codes, and nothing is inferred from the table (docs/threat-model.md P10 to P12). ``decode`` emits only values that the
schema declares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns import Column
from cohortium.data.columns.dequantization import Ranges
from cohortium.data.columns.encoding import INVALID, IntArray, cells_at, draw_index, index_column, inside, values_at
from cohortium.data.identifiers import Identifiers, identifiers_of, numbered
from cohortium.data.schema import Schema
from cohortium.errors import SchemaError

CodeArray = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]
HeldArray = npt.NDArray[np.integer[Any]]  # as small as the cells allow


@dataclass(frozen=True)
class Events:
    """One table of the persons' events in codes, in the order of persons, and of time within each.

    values: (rows, steps) small integers, cells of ``EventTable.steps``: the time since the event before, 0 for a person's
    first, and then the other columns. persons: (rows,) int64 the position of each row's person in ``Codes.values``,
    ascending. ticks: (rows,) int64 the time of each as the index of its grid, ascending within a person.
    """

    values: HeldArray
    persons: IntArray
    ticks: IntArray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def follows(self) -> BoolArray:
        """(rows,) whether the event before is the same person's: all but each person's first."""
        found: BoolArray = np.diff(self.persons, prepend=-1) == 0
        return found


@dataclass(frozen=True)
class Census:
    """What became of the rows of one of several linked tables: for the institution's own eyes.

    rows: that were read. unfit: those that do not fit by themselves. repeated: of a person who is in the table of persons
    already. strangers: of a person who is not. counted: those that count. persons: whose these are. forbidden: those that an earlier
    event of the person forbids. The rest are beyond the table's ``most``.
    """

    rows: int
    unfit: int
    repeated: int
    strangers: int
    counted: int
    persons: int
    forbidden: int = 0

    @property
    def left_out(self) -> int:
        return self.unfit + self.repeated + self.strangers + self.forbidden

    @property
    def beyond(self) -> int:
        """Rows of persons who have more of them than count."""
        return self.rows - self.left_out - self.counted


@dataclass(frozen=True)
class Codes:
    """An institution's table in codes. Private: it never leaves the custodian.

    values: (rows, columns) small integers, each in 0 .. sizes[column] - 1; int16, or the type of ``held_type``.
    persons: (rows,) int64 from 0, equal for rows of one person and for no others.
    left_out: rows outside the table, for the institution's own eyes. breaking: how many of them break a constraint and are
    valid otherwise. events: of each of the schema's tables of events, in its order; then ``values`` has one row a person, and
    ``census`` counts by table what became of its rows.
    """

    values: HeldArray
    persons: IntArray
    sizes: tuple[int, ...]
    left_out: int = 0
    breaking: int = 0
    events: tuple[Events, ...] = ()
    census: Mapping[str, Census] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


def encode(table: pd.DataFrame, schema: Schema) -> Codes:
    """Codes of every row that fits the schema.

    Columns may come in any order and may be more than the schema's; a column that is missing raises SchemaError
    E_SCHEMA_MISSING. No value raises: numbers beyond the bounds are clipped, undeclared categories go to ``other`` or
    count as missing, what cannot be read counts as missing, and a row with a missing value in a column that is not
    nullable is left out, as is a row that has no person or breaks one of the schema's constraints.
    """
    require_flat(schema)
    codes, identifiers = _encoded(table, schema)
    return replace(codes, persons=numbered([identifiers], len(codes)))


def encode_parts(parts: Iterable[pd.DataFrame], schema: Schema) -> Codes:
    """Like ``encode`` over a table that comes in parts; holds one or two bytes a cell in memory, never the table.

    It holds the persons' identifiers until all parts have arrived, and then their numbers.
    """
    require_flat(schema)
    held = held_type(schema.sizes)
    codes: list[Codes] = []
    identifiers: list[Identifiers | None] = []
    for part in parts:
        one, theirs = _encoded(part, schema)
        codes.append(replace(one, values=one.values.astype(held)))
        identifiers.append(theirs)
    left_out, breaking = sum(c.left_out for c in codes), sum(c.breaking for c in codes)
    values = _joined(codes, np.empty((sum(map(len, codes)), len(schema.columns)), held))
    return Codes(values, numbered(identifiers, len(values)), schema.sizes, left_out, breaking)


def _encoded(table: pd.DataFrame, schema: Schema) -> tuple[Codes, Identifiers | None]:
    """Codes without persons, and the identifiers of the rows; None where each row is a person of its own."""
    found = judged(table, schema)
    values = np.ascontiguousarray(found.values[found.kept])
    left_out = int((~found.kept).sum())
    return Codes(values, np.empty(0, np.int64), schema.sizes, left_out, found.breaking), found.whose


@dataclass(frozen=True)
class Judged:
    """Rows of a table, and which of them fit. index, values: (rows, columns) the grid index of each value, and its code.

    kept: (rows,) whether a row fits. whose: of those; None where each row is a person of its own. breaking: as in ``Codes``.
    """

    index: IntArray
    values: CodeArray
    kept: BoolArray
    whose: Identifiers | None
    breaking: int


def judged(table: pd.DataFrame, schema: Schema, clock: Column | None = None) -> Judged:
    """Each row is judged by itself. clock: a column of which values beyond the bounds are outside the table, and not clipped.

    Raises SchemaError E_SCHEMA_MISSING or E_SCHEMA_DUP for a column, and for no value.
    """
    check_columns(table.columns, schema)
    index = indices(table, schema)
    values = codes_at(index, schema)
    persons = None if schema.person is None else identifiers_of(table[schema.person])
    fits = (values != INVALID).all(axis=1)
    if persons is not None:
        fits &= persons.known
    if clock is not None:
        fits &= inside(clock, table[clock.name])
    kept = fits & ~schema.rules.broken(index) if schema.constraints else fits
    breaking = int((fits & ~kept).sum())
    return Judged(index, values, kept, None if persons is None else persons.at(kept), breaking)


def require_flat(schema: Schema) -> None:
    """SchemaError E_SCHEMA_INVALID where a schema has tables of events: one table cannot be all of them."""
    if schema.tables:
        names = ", ".join(repr(t.name) for t in schema.tables)
        what = f"the schema has tables of events beside ({names}), and this is one table"
        fix = "Pass all of its tables by name, as docs/histories.md says."
        raise SchemaError("E_SCHEMA_INVALID", "table", what, fix)


def held_type(sizes: tuple[int, ...]) -> np.dtype[Any]:
    """The smallest type that holds every column's codes."""
    return np.dtype(np.uint8 if max(sizes) <= 256 else np.uint16)


def _joined(codes: list[Codes], values: HeldArray) -> HeldArray:
    """The values of all parts, in ``values``. The list is emptied on the way: few rows are ever held twice."""
    end = len(values)
    while codes:  # from the last on, which is what was allocated last
        part = codes.pop()
        start = end - len(part)
        values[start:end] = part.values
        end = start
    return values


def decode(
    values: npt.NDArray[np.integer[Any]],
    schema: Schema,
    rng: np.random.Generator,
    within: Mapping[int, Ranges] = MappingProxyType({}),
) -> pd.DataFrame:
    """A table from (rows, columns) codes: values of a bin are drawn evenly on the column's scale and grid.

    within: for some columns the grid indices that values are drawn from, wherever the bin has some of them.
    """
    return table_at(draw_indices(values, schema, rng, within), schema)


def indices(table: pd.DataFrame, schema: Schema) -> IntArray:
    """(rows, columns) grid index of every value of a table, INVALID where a row has no valid value."""
    found = np.empty((len(table), len(schema.columns)), np.int64)
    for j, column in enumerate(schema.columns):
        found[:, j] = index_column(column, table[column.name])
    return found


def codes_at(index: IntArray, schema: Schema) -> CodeArray:
    """(rows, columns) codes of the values at grid ``index``; INVALID where a value is missing that may not be."""
    values = np.empty(index.shape, np.int16)
    for j, column in enumerate(schema.columns):
        cells = cells_at(column, index[:, j])
        values[:, j] = np.where(cells == INVALID, column.values if column.nullable else INVALID, cells)
    return values


def draw_indices(
    values: npt.NDArray[np.integer[Any]],
    schema: Schema,
    rng: np.random.Generator,
    within: Mapping[int, Ranges] = MappingProxyType({}),
) -> IntArray:
    """(rows, columns) a grid index in every cell of (rows, columns) codes, INVALID for a missing value. within: as in ``decode``."""
    drawn = np.empty(values.shape, np.int64)
    for j, column in enumerate(schema.columns):
        cells = values[:, j].astype(np.int64)
        missing = cells >= column.values
        drawn[:, j] = np.where(missing, INVALID, draw_index(column, np.where(missing, 0, cells), rng, within.get(j)))
    return drawn


def table_at(index: IntArray, schema: Schema) -> pd.DataFrame:
    """The table of the values at (rows, columns) grid ``index``, missing where INVALID."""
    columns = {}
    for j, column in enumerate(schema.columns):
        missing = index[:, j] == INVALID
        columns[column.name] = values_at(column, np.where(missing, 0, index[:, j]), missing)
    return pd.DataFrame(columns)


def check_columns(names: Iterable[str], schema: Schema) -> None:
    """SchemaError E_SCHEMA_DUP or E_SCHEMA_MISSING unless every declared column is there exactly once."""
    names = list(names)
    wanted = [*schema.names, *([schema.person] if schema.person else [])]
    for name in wanted:
        if names.count(name) > 1:
            raise SchemaError("E_SCHEMA_DUP", "table", f"column {name!r} occurs twice", "Rename or remove one of them.")
        if name not in names:
            raise SchemaError(
                "E_SCHEMA_MISSING",
                "table",
                f"column {name!r} of the schema is missing",
                "Add it, or map another column to it.",
            )
