"""Step 2 for several tables: a table of persons and tables of their events to codes.

What counts of a person follows from that person's own rows, in whatever order they stand:

    persons   of a person's rows that fit the one with the smallest codes; the others are left out
    events    those that fit, whose time is within its bounds, and whose person is in the table of persons, in the order of
              time and then of their codes, but for those that an earlier one forbids (``event_rules.py``); of these the
              first ``most`` of a person. Rows of a set are in an order that is as good as drawn and follows from the
              person's identifier and the row alone, so that its first ``most`` are any
    whole     a person who breaks a constraint with what follows from the events is left out, with all events

Where the schema declares no columns of persons there is no such table, and the persons are those who have events. Persons are
in the order of their identifiers, compared by the rules of ``identifiers.py`` over all tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns.dequantization import grid_of
from cohortium.data.columns.encoding import INVALID, IntArray, cells_at
from cohortium.data.conditions.rules import Rule, broken_by
from cohortium.data.encoding import BoolArray, Census, Codes, Events, HeldArray, held_type, judged
from cohortium.data.events import PERSONS, EventTable
from cohortium.data.identifiers import Identifiers, ranked
from cohortium.data.ordering import Hashes, by_chance, drawn_order
from cohortium.data.schema import Schema
from cohortium.errors import SchemaError
from cohortium.system.nearest import offered

_BLOCK = 1 << 16  # persons whose constraints are looked at together


def encode_linked(tables: Mapping[str, pd.DataFrame], schema: Schema) -> Codes:
    """Codes of persons and their events. tables: by the names of ``Schema.parts``.

    Raises SchemaError E_SCHEMA_MISSING for a table or column that is not there, E_SCHEMA_DUP for a column that is there twice,
    and nothing for any value.
    """
    return encode_linked_parts({name: [table] for name, table in tables.items()}, schema)


def encode_linked_parts(tables: Mapping[str, Iterable[pd.DataFrame]], schema: Schema) -> Codes:
    """Like ``encode_linked`` over tables that come in parts; holds one or two bytes a cell in memory, and never a table.

    It holds the identifiers until all parts have arrived, and then a number for the person and the time of each event.
    """
    require_parts(tables, schema)
    across = _Across.of(schema)
    rows = [_read(tables[name], _Layout.of(name, schema, across)) for name in schema.parts]
    whose = _apart(ranked([part for one in rows for part in one.whose]), rows)
    for one in rows:
        one.whose.clear()
    persons = _persons(rows[0], whose[0]) if schema.own else _without_rows(whose)
    events = []
    for place, table in enumerate(schema.tables, 1 if schema.own else 0):
        events.append(_events(table, rows[place], whose[place], persons.ranks))
        rows[place] = rows[place].without_values()  # few events are ever held twice
    kept = across.kept(persons, events, schema)
    return _put_together(rows, persons.at(kept), [one.at(kept) for one in events], int((~kept).sum()), schema)


def require_parts(names: Iterable[str], schema: Schema) -> None:
    """SchemaError E_SCHEMA_MISSING or E_SCHEMA_INVALID unless ``names`` are those of the schema's tables."""
    given, wanted = list(names), list(schema.parts)
    if missing := [name for name in wanted if name not in given]:
        what = f"there is no table {missing[0]!r}"
        raise SchemaError("E_SCHEMA_MISSING", "tables", what, "Pass a table for each of the schema's.")
    if others := [name for name in given if name not in wanted]:
        fix = offered(str(others[0]), wanted, "Tables are")
        raise SchemaError("E_SCHEMA_INVALID", "tables", f"the schema has no table {str(others[0])!r}", fix)


@dataclass(frozen=True)
class _Across:
    """Rules about persons and their events together. needed: columns of the schema whose values they judge."""

    rules: tuple[Rule, ...]
    needed: tuple[int, ...]

    @classmethod
    def of(cls, schema: Schema) -> _Across:
        each = schema.rules.each[: len(schema.own_constraints)]
        mixed = [rules for rules in each if any(j >= len(schema.own) for rule in rules for j in rule.columns)]
        rules = tuple(rule for rules in mixed for rule in rules)
        return cls(rules, tuple(sorted({j for rule in rules for j in rule.columns})))

    def kept(self, persons: _Persons, events: Sequence[_Ordered], schema: Schema) -> BoolArray:
        """(persons,) who keeps them."""
        kept = np.ones(len(persons.ranks), bool)
        if not self.rules:
            return kept
        columns = dict(zip(self._own(schema), persons.exact.T, strict=True))
        at = len(schema.own)
        for one in events:
            columns |= {at + j: values for j, values in one.derived_exact().items()}
            at += len(one.table.derived)
        for start in range(0, len(kept), _BLOCK):
            index = np.zeros((len(kept[start : start + _BLOCK]), len(schema.columns)), np.int64)
            for j in self.needed:
                index[:, j] = columns[j][start : start + _BLOCK]
            kept[start : start + _BLOCK] = ~broken_by(self.rules, index)
        return kept

    def _own(self, schema: Schema) -> list[int]:
        return [j for j in self.needed if j < len(schema.own)]


@dataclass(frozen=True)
class _Layout:
    """What is held of a table. cells: columns whose cells are. exact: columns of which the grid indices are, too."""

    schema: Schema
    table: EventTable | None
    cells: list[int]
    exact: list[int]

    @classmethod
    def of(cls, name: str, schema: Schema, across: _Across) -> _Layout:
        part = schema.parts[name]
        if name == PERSONS:
            return cls(part, None, list(range(len(part.columns))), across._own(schema))
        table, at = _placed(name, schema)
        clock = None if table.time is None else part.index(table.time)
        first = {table.first_name(c.name): j for j, c in enumerate(part.columns) if j != clock}
        needed = [
            first[n] for j in across.needed if (n := schema.names[j]) in first and at <= j < at + len(table.derived)
        ]
        cells = [j for j in range(len(part.columns)) if j != clock]
        return cls(part, table, cells, needed if clock is None else [clock, *needed])

    @property
    def is_set(self) -> bool:
        return self.table is not None and self.table.time is None

    def exact_of(self, index: IntArray) -> HeldArray:
        """(rows, exact) of the (rows, columns) grid indices of a table; of a set a time that is always 0 comes first."""
        ticks = np.zeros((len(index), int(self.is_set)), self.exact_type)
        return np.column_stack([ticks, index[:, self.exact].astype(self.exact_type)])

    @property
    def exact_type(self) -> np.dtype[Any]:
        small = all(grid_of(self.schema.columns[j]) < 2**31 for j in self.exact)
        return np.dtype(np.int32 if small else np.int64)

    @property
    def type(self) -> np.dtype[Any]:
        return held_type(self.schema.sizes if self.table is None else self.table.sizes)


def _placed(name: str, schema: Schema) -> tuple[EventTable, int]:
    """A table of events, and where the columns that follow from it begin."""
    at = len(schema.own)
    for table in schema.tables:
        if table.name == name:
            return table, at
        at += len(table.derived)
    raise KeyError(name)


@dataclass(frozen=True)
class _Rows:
    """The rows of a table that fit. values: (rows, cells). exact: (rows, exact) grid indices; of events the time comes first.

    whose: by part. read: rows of the table. chance: (rows,) of a set by what they are ordered, else none.
    """

    layout: _Layout
    values: HeldArray
    exact: HeldArray
    whose: list[Identifiers]
    read: int
    breaking: int
    chance: Hashes

    def __len__(self) -> int:
        return len(self.values)

    def without_values(self) -> _Rows:
        """What is reported of the rows, without them."""
        nothing = np.empty((len(self), 0), np.uint8)
        return replace(self, values=nothing, exact=nothing, chance=self.chance[:0])


def _read(parts: Iterable[pd.DataFrame], layout: _Layout) -> _Rows:
    clock = None if layout.table is None else layout.table.clock
    values, exact = (
        [np.empty((0, len(layout.cells)), layout.type)],
        [layout.exact_of(np.empty((0, len(layout.schema.columns)), np.int64))],
    )
    chance = [np.empty(0, np.uint64)]
    whose: list[Identifiers] = []
    read = breaking = 0
    for part in parts:
        found = judged(part, layout.schema, clock)
        assert found.whose is not None  # noqa: S101 - a schema with tables of events has persons
        values.append(found.values[found.kept][:, layout.cells].astype(layout.type))
        exact.append(layout.exact_of(found.index[found.kept]))
        whose.append(found.whose)
        if layout.is_set:
            chance.append(by_chance(found.whose, np.column_stack([values[-1], exact[-1]])))
        read, breaking = read + len(part), breaking + found.breaking
    return _Rows(layout, np.concatenate(values), np.concatenate(exact), whose, read, breaking, np.concatenate(chance))


def _apart(whose: IntArray, rows: Sequence[_Rows]) -> list[IntArray]:
    """Whose the rows of each table are, from whose those of all are."""
    ends = accumulate((len(one) for one in rows), initial=0)
    return [whose[start:end] for start, end in pairwise(ends)]


@dataclass(frozen=True)
class _Persons:
    """ranks: (persons,) ascending, of their identifiers. values, exact: (persons, ...) of the rows that count."""

    ranks: IntArray
    values: HeldArray
    exact: HeldArray

    def at(self, kept: BoolArray) -> _Persons:
        return self if kept.all() else _Persons(self.ranks[kept], self.values[kept], self.exact[kept])


def _persons(rows: _Rows, whose: IntArray) -> _Persons:
    """Of each person the row with the smallest codes."""
    order = np.lexsort((*rows.exact.T[::-1], *rows.values.T[::-1], whose))
    ranks, first = np.unique(whose[order], return_index=True)
    chosen = order[first]
    return _Persons(ranks, rows.values[chosen], rows.exact[chosen])


def _without_rows(whose: Sequence[IntArray]) -> _Persons:
    """Persons who have no table of their own: all that have events."""
    ranks = np.unique(np.concatenate(whose))
    return _Persons(ranks, np.empty((len(ranks), 0), np.uint8), np.empty((len(ranks), 0), np.int64))


@dataclass(frozen=True)
class _Ordered:
    """The events of a table that count, in the order of persons, of time and of their cells.

    persons: (rows,) positions of their persons. count: of these. known: rows that fit, of persons who are in the table. forbidden:
    those of them that break a rule.
    """

    table: EventTable
    layout: _Layout
    values: HeldArray
    exact: HeldArray
    persons: IntArray
    count: int
    known: int
    forbidden: int

    @property
    def ticks(self) -> IntArray:
        return self.exact[:, 0].astype(np.int64)

    @property
    def counts(self) -> IntArray:
        """(persons,) events of each."""
        return np.bincount(self.persons, minlength=self.count).astype(np.int64)

    @property
    def starts(self) -> IntArray:
        """(persons,) where those of each begin."""
        counts = self.counts
        return np.cumsum(counts) - counts

    def of_first(self, values: npt.NDArray[np.integer], nothing: int) -> IntArray:
        """(persons,) the value of each one's first event, or ``nothing``."""
        there = self.counts > 0
        found = np.full(self.count, nothing, np.int64)
        found[there] = values[self.starts[there]]
        return found

    def derived(self) -> Iterable[IntArray]:
        """(persons,) the cells of each of ``EventTable.derived``."""
        yield cells_at(self.table.derived[0], self.counts)
        if (clock := self.table.clock) is not None:
            cells = cells_at(clock, self.of_first(self.exact[:, 0], INVALID))
            yield np.where(cells == INVALID, clock.values, cells)
        for j, column in enumerate(self.table.others):
            yield self.of_first(self.values[:, j], column.values)

    def derived_exact(self) -> dict[int, IntArray]:
        """By position in ``EventTable.derived`` the (persons,) grid indices that are held."""
        found, others = {0: self.counts}, self.layout.exact
        if not self.layout.is_set:
            found[1], others = self.of_first(self.exact[:, 0], INVALID), others[1:]
        for k, j in enumerate(others, 1):
            found[len(self.table.derived) - len(self.layout.cells) + self.layout.cells.index(j)] = self.of_first(
                self.exact[:, k], INVALID
            )
        return found

    def at(self, kept: BoolArray) -> _Ordered:
        """The events of some persons alone."""
        if kept.all():
            return self
        rows, places = kept[self.persons], np.cumsum(kept) - 1
        known = self.known - int((~rows).sum())
        left = self.values[rows], self.exact[rows], places[self.persons[rows]]
        return _Ordered(self.table, self.layout, *left, int(kept.sum()), known, self.forbidden)

    def events(self) -> Events:
        gap, later = self.table.steps[0], np.zeros(len(self.values), bool)
        later[1:] = self.persons[1:] == self.persons[:-1]
        since = np.where(later, np.diff(self.ticks, prepend=0), 0)
        cells = cells_at(gap, since).astype(self.values.dtype)
        return Events(np.column_stack([cells, self.values]), self.persons, self.ticks)


def _events(table: EventTable, rows: _Rows, whose: IntArray, ranks: IntArray) -> _Ordered:
    """The first ``most`` events of each person who is there that no rule forbids."""
    order, persons = _in_order(table, rows, whose, ranks)
    known = len(order)
    if table.bans:
        allowed = ~table.broken(persons, rows.values[order])
        order, persons = order[allowed], persons[allowed]
    allowed_rows, counts = len(order), np.bincount(persons, minlength=len(ranks))
    if counts.max(initial=0) > table.most:
        counted = np.arange(allowed_rows) - (np.cumsum(counts) - counts)[persons] < table.most
        order, persons = order[counted], persons[counted]
    values, exact, forbidden = rows.values[order], rows.exact[order], known - allowed_rows
    return _Ordered(table, rows.layout, values, exact, persons, len(ranks), known, forbidden)


def _in_order(table: EventTable, rows: _Rows, whose: IntArray, ranks: IntArray) -> tuple[IntArray, IntArray]:
    """Which rows are of persons who are there, by person, time and cells; and the position of each one's person."""
    places = np.searchsorted(ranks, whose)
    known = places < len(ranks)
    known[known] = ranks[places[known]] == whose[known]
    there = np.flatnonzero(known)
    # what is sorted by is copied for no longer than that
    held = rows.values[there]
    if table.time is None:
        order = there[drawn_order(places[there], rows.chance[there])]
        return order, places[order]
    by_value = *rows.exact[there, 1:].T[::-1], *held.T[::-1], *table.ranks(held)[::-1]
    later = np.lexsort((*by_value, rows.exact[there, 0], places[there]))
    del held, by_value
    order = there[later]
    return order, places[order]


def _put_together(
    rows: Sequence[_Rows], persons: _Persons, events: Sequence[_Ordered], broken: int, schema: Schema
) -> Codes:
    """broken: persons who are left out because of a constraint about them and their events."""
    values = np.empty((len(persons.ranks), len(schema.columns)), held_type(schema.sizes))
    values[:, : len(schema.own)] = persons.values
    for j, cells in enumerate((cells for one in events for cells in one.derived()), len(schema.own)):
        values[:, j] = cells
    census = {}
    if schema.own:
        count, read = len(values), rows[0]
        census[PERSONS] = Census(read.read, read.read - len(read) + broken, len(read) - broken - count, 0, count, count)
    for one, read in zip(events, rows[len(census) :], strict=True):
        census[one.table.name] = _counted(one, read)
    left_out = sum(one.left_out for one in census.values())
    breaking = broken + sum(one.breaking for one in rows) + sum(one.forbidden for one in events)
    held = tuple(one.events() for one in events)
    return Codes(values, np.arange(len(values)), schema.sizes, left_out, breaking, held, census)


def _counted(events: _Ordered, rows: _Rows) -> Census:
    counted, persons = len(events.values), int((events.counts > 0).sum())
    strangers = len(rows) - events.known
    return Census(rows.read, rows.read - len(rows), 0, strangers, counted, persons, events.forbidden)
