"""Fills blanks in a user's table from a released model; existing values are never overwritten.

| a cell                                                          | keep        | blank     | refuse          |
|-----------------------------------------------------------------|-------------|-----------|-----------------|
| missing                                                         | filled in   | filled in | filled in       |
| a value that the schema declares                                | stays       | stays     | stays           |
| a number or moment beyond the bounds, known to the model as one | stays       | stays     | E_UNDECLARED    |
| anything else: undeclared, or not readable as the column's kind | stays       | filled in | E_UNDECLARED    |
| of a column that is not in the schema, such as the person's     | stays       | stays     | stays           |

A value that stays although the model does not know it has no influence on the other cells of its row. Columns keep their order,
dtype and spelling; columns of the schema that the table lacks come last. A blank that the rest of its row implies stays blank (constraints).

Where the schema has tables of events, ``table`` is one of persons: what follows from events is filled in where the table has it, and
never added, since no events are made up that it would fit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns import SECONDS, Column, Continuous, Datetime
from cohortium.data.columns.absent import are_missing, as_declared, with_blanks
from cohortium.data.columns.encoding import INVALID, index_column, values_at
from cohortium.data.columns.moments import moments_of
from cohortium.data.columns.values import numbers_of
from cohortium.data.readers.cells import column as cells_of
from cohortium.data.readers.cells import plain
from cohortium.data.schema import Schema
from cohortium.errors import InputError, SchemaError
from cohortium_server.generators import Generator
from cohortium_server.release.constrained_sampling import completed
from cohortium_server.release.spelling import are_absent, are_texts, as_arrow, filled

Undeclared = Literal["keep", "blank", "refuse"]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
SHOWN = 5  # values and rows named of a column
_PLAIN = frozenset({type(None), bool, int, float, str})


@dataclass(frozen=True)
class Account:
    """The result for a column's cells. These are counts of the user's own rows, for the user only.

    filled: blanks, or with ``blank`` undeclared cells, that hold a value now. blank: those that stay, as the row implies them.
    undeclared: cells that are no value of the schema. beyond: values beyond the bounds. retyped: the dtype, where it had to change.
    """

    column: str
    filled: int = 0
    blank: int = 0
    undeclared: int = 0
    beyond: int = 0
    retyped: str = ""


@dataclass(frozen=True)
class Imputed:
    """The table, and the result for each of its columns. seen: some undeclared values of each, for the owner's screen only."""

    table: pd.DataFrame
    columns: tuple[Account, ...]
    seen: dict[str, tuple[str, ...]]

    def lines(self, undeclared: str) -> list[str]:
        """A line for each column that did not fit the schema throughout, for the owner's screen."""
        return [f"{a.column!r}: {'; '.join(lines)}" for a in self.columns if (lines := self._changes(a, undeclared))]

    def _changes(self, a: Account, undeclared: str) -> list[str]:
        lines = []
        if a.undeclared:
            values = ", ".join(json.dumps(v, ensure_ascii=False) if v != "..." else v for v in self.seen[a.column])
            became = "were filled in like blanks" if undeclared == "blank" else "stay as they are"
            lines.append(f"cells that hold no value of the schema {became}: {a.undeclared} ({values})")
        if a.beyond:
            lines.append(f"cells beyond the bounds stay as they are: {a.beyond}")
        if a.blank:
            lines.append(f"blanks stay, as the rest of their rows implies them: {a.blank}")
        if a.retyped:
            lines.append(f"its type had to become {a.retyped}")
        return lines


@dataclass(frozen=True)
class _Given:
    """A table's values, by the schema's columns: (rows, columns) each.

    index: grid index of every value, INVALID where there is none. strange: where a cell holds no value of the schema.
    beyond: where a value is beyond the bounds.
    """

    index: IntArray
    strange: BoolArray
    beyond: BoolArray

    @property
    def known(self) -> BoolArray:
        there: BoolArray = self.index != INVALID
        return there


def imputed(
    generator: Generator,
    schema: Schema,
    table: pd.DataFrame,
    rng: np.random.Generator,
    undeclared: Undeclared = "keep",
) -> pd.DataFrame:
    """(rows, the table's columns and then the schema's others) ``table`` with blanks filled in; its ``attrs["imputed"]`` count them."""
    made = fill_in(generator, schema, table, rng, undeclared)
    made.table.attrs["imputed"] = {
        a.column: {k: v for k, v in asdict(a).items() if k != "column"} for a in made.columns
    }
    return made.table


def fill_in(
    generator: Generator,
    schema: Schema,
    table: pd.DataFrame,
    rng: np.random.Generator,
    undeclared: Undeclared = "keep",
) -> Imputed:
    """``table`` with blanks filled in, and an account.

    Raises E_SCHEMA_DUP, SchemaError E_SCHEMA_MISSING for a table of something else than the schema's persons, and InputError
    E_UNDECLARED under ``refuse``.
    """
    _check(table, undeclared)
    _require_persons(schema, table)
    given = _read(schema, table)
    if undeclared == "refuse":
        _refuse(schema, given)
    index = completed(generator, schema, given.index, rng, _values(schema, table)) if len(table) else given.index
    wanted = ~given.known if undeclared == "blank" else ~given.known & ~given.strange
    columns, accounts = {name: table[name] for name in table.columns}, []
    for j, column in enumerate(schema.columns):
        where = wanted[:, j] & (index[:, j] != INVALID)
        if column.name not in table:
            if j >= len(schema.own):
                continue
            columns[column.name] = values_at(column, np.where(where, index[:, j], 0), ~where).set_axis(table.index)
            continue
        before = table[column.name]
        after = filled(column, before, given.index[:, j], index[:, j], where)
        columns[column.name] = after
        accounts.append(
            Account(
                column.name,
                int(where.sum()),
                int((wanted[:, j] & ~where).sum()),
                int(given.strange[:, j].sum()),
                int(given.beyond[:, j].sum()),
                "" if before.dtype == after.dtype else str(after.dtype),
            )
        )
    return Imputed(pd.DataFrame(columns, index=table.index), tuple(accounts), _seen(schema, table, given))


def _check(table: pd.DataFrame, undeclared: str) -> None:
    if undeclared not in get_args(Undeclared):
        what = f"it is no way to treat undeclared values; the ways are {', '.join(get_args(Undeclared))}"
        raise InputError("E_UNDECLARED", "undeclared", what, "Choose one of them.")
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise SchemaError("E_SCHEMA_DUP", "table", f"column {twice!r} occurs twice", "Rename or remove one of them.")


def _require_persons(schema: Schema, table: pd.DataFrame) -> None:
    if schema.tables and not any(name in table for name in schema.names):
        what = "it has no column of persons, and the blanks of events are not filled in"
        raise SchemaError("E_SCHEMA_MISSING", "table", what, "Pass a table of persons.")


def _refuse(schema: Schema, given: _Given) -> None:
    bad = given.strange | given.beyond
    if not bad.any():
        return
    lines = []
    for j in np.flatnonzero(bad.any(axis=0)):
        rows = np.flatnonzero(bad[:, j]) + 1
        first = ", ".join(map(str, rows[:SHOWN])) + (", ..." if len(rows) > SHOWN else "")
        lines.append(f"{schema.names[j]!r} has {len(rows)} such cells (row {first} of the data)")
    raise InputError(
        "E_UNDECLARED",
        "table",
        f"it has values that the schema does not declare: {'; '.join(lines)}",
        "Correct them; or let them stay (--undeclared keep), or be filled in like blanks (--undeclared blank).",
    )


# Existing values


def _read(schema: Schema, table: pd.DataFrame) -> _Given:
    shape = len(table), len(schema.columns)
    index, strange, beyond = np.full(shape, INVALID, np.int64), np.zeros(shape, bool), np.zeros(shape, bool)
    for j, column in enumerate(schema.columns):
        if column.name in table:
            values = readable(table[column.name])
            index[:, j] = index_column(column, values)
            strange[:, j] = (index[:, j] == INVALID) & ~_is_blank(column, table[column.name], values)
            beyond[:, j] = _is_beyond(column, values, index[:, j])
    return _Given(index, strange, beyond)


def readable(values: pd.Series) -> pd.Series:
    """The column as ``encoding`` reads it, whatever dtype it has."""
    if isinstance(values.dtype, pd.ArrowDtype):
        return cells_of(as_arrow(values), lambda kind, place: None).set_axis(values.index)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if values.dtype == object and not set(map(type, values.to_numpy())) <= _PLAIN:
        return pd.Series([None if v is pd.NA or v is pd.NaT else plain(v) for v in values], values.index, dtype=object)
    return values


def _is_blank(column: Column, raw: pd.Series, values: pd.Series) -> BoolArray:
    """(rows,) where a cell is empty or a word for missing. A cell that cannot be read is not blank."""
    unread = values.isna().to_numpy(bool) & ~are_absent(raw)
    return are_missing(column, values) & ~unread


def _is_beyond(column: Column, values: pd.Series, index: IntArray) -> BoolArray:
    """(rows,) where a value is beyond a bound; the model counts it as the bound."""
    found = np.zeros(len(values), bool)
    if not isinstance(column, Continuous | Datetime):
        return found
    ends = np.flatnonzero((index == 0) | (index == column.grid - 1))
    there = values.iloc[ends]
    if isinstance(column, Continuous):
        numbers = numbers_of(as_declared(column, there))
        found[ends] = (numbers < column.lower) | (numbers > column.upper)
    else:
        moments = moments_of(with_blanks(column, there), column.format)
        day_after = pd.Timestamp(column.upper) + pd.Timedelta(seconds=SECONDS[column.resolution])
        found[ends] = (moments < column.lower) | (moments >= day_after)
    return found


def _values(schema: Schema, table: pd.DataFrame) -> dict[int, npt.NDArray[np.float64]]:
    """Per column 1 for the cells that may fill a blank: not the missing one, and where only numbers fit not the one for others."""
    allowed = {j: np.append(np.ones(c.values), 0.0) for j, c in enumerate(schema.columns) if c.nullable}
    for j, column in enumerate(schema.columns):
        other = getattr(column, "other", None)
        if other is not None and column.name in table and not are_texts(table[column.name]):
            allowed.setdefault(j, np.ones(column.size))[column.categories.index(other)] = 0.0  # type: ignore[union-attr]
    return allowed


def _seen(schema: Schema, table: pd.DataFrame, given: _Given) -> dict[str, tuple[str, ...]]:
    seen = {}
    for j, name in enumerate(schema.names):
        if given.strange[:, j].any():
            values = list(dict.fromkeys(str(v) for v in table[name][given.strange[:, j]]))
            seen[name] = (*values[:SHOWN], *(["..."] if len(values) > SHOWN else []))
    return seen
