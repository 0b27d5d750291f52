"""What holds across a person's events of one table: the blocks ``[[table.rule]]`` of a ``schema.toml``.

    once    each of ``categories`` of a column happens to a person at most once; without them every declared one but ``other``
    order   no event of ``earlier`` comes after one of ``later``
    final   nothing comes after an event of ``categories``

All are of one form: after an event in one cell of a column there is none in another (``Ban.forbids``). Of real events those
are left out that come after one that forbids them (``Ban.broken``); events of one time are in an order in which as few as possible
do. Made-up ones are drawn among those that nothing forbids and that leave enough for those to come (``Ban.open``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cohortium.data.columns import Boolean, Categorical, Column, Ordinal
from cohortium.data.columns.categories import reader
from cohortium.data.conditions.constraints import BaseConstraint, Entry
from cohortium.errors import SchemaError

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Entries = Annotated[tuple[Entry, ...], Field(min_length=1)]
UNLIMITED = 1 << 40  # events


@dataclass(frozen=True, kw_only=True)
class Once(BaseConstraint):
    kind: Literal["once"] = "once"
    column: str
    categories: Entries | None = None

    def __str__(self) -> str:
        return f"once a person: {_listed(self.categories) if self.categories else 'each'} of {self.column}"


@dataclass(frozen=True, kw_only=True)
class Ordered(BaseConstraint):
    kind: Literal["order"] = "order"
    column: str
    earlier: Entries
    later: Entries

    def __str__(self) -> str:
        return f"{self.column}: no {_listed(self.earlier)} after {_listed(self.later)}"


@dataclass(frozen=True, kw_only=True)
class Final(BaseConstraint):
    kind: Literal["final"] = "final"
    column: str
    categories: Entries

    def __str__(self) -> str:
        return f"{self.column}: nothing after {_listed(self.categories)}"


EventRule = Annotated[Once | Ordered | Final, Field(discriminator="kind")]


def _listed(entries: Sequence[object]) -> str:
    return ", ".join(map(str, entries))


@dataclass(frozen=True, eq=False)
class Ban:
    """All rules about one column. column: its place among those of a step.

    forbids: (cells, cells) whether after an event in the one cell there is none in the other. final: (cells,) whether nothing comes
    after. rank: (cells,) in which order events of one time stand.
    """

    column: int
    forbids: BoolArray
    final: BoolArray
    rank: IntArray

    def broken(self, persons: IntArray, cells: IntArray) -> BoolArray:
        """(events,) which ones come after one that forbids them. persons: ascending, and each one's events in their order."""
        keys = persons * len(self.rank) + cells
        _, first = np.unique(keys, return_index=True)
        again = np.ones(len(keys), bool)
        again[first] = False
        broken = again & self.forbids.diagonal()[cells]
        for whose, which in self._groups:
            broken |= _after(persons, whose[cells]) & which[cells]
        return broken

    @cached_property
    def _groups(self) -> list[tuple[BoolArray, BoolArray]]:
        """Cells that forbid the same others, and these."""
        others = self.forbids & ~np.eye(len(self.rank), dtype=bool)
        patterns, which = np.unique(others, axis=0, return_inverse=True)
        return [(which.ravel() == k, pattern) for k, pattern in enumerate(patterns) if pattern.any()]

    @cached_property
    def capacity(self) -> IntArray:
        """(cells,) how many events can come after a first one in each, UNLIMITED where some may be repeated for ever."""
        room: IntArray = self.left(np.ones((1, len(self.rank)), bool))[0]
        return room

    def left(self, allowed: BoolArray) -> IntArray:
        """(persons, cells) how many events can follow on one in each cell, of those that ``allowed`` says. (persons, cells) bool.

        Those that may happen but once can all happen, in the order of their ranks, as no cell forbids one of a higher rank.
        """
        if self._endless:
            room: IntArray = np.broadcast_to(np.where(self.final, 0, UNLIMITED), allowed.shape)
            return room
        stays = ~self.forbids.T  # (cells, cells of the event before)
        again = ~self.forbids.diagonal()
        endless = _counted(allowed & again & ~self.final, stays) > 0
        single = _counted(allowed & ~again & ~self.final, stays)
        last = _counted(allowed & self.final, stays) > 0
        found: IntArray = np.where(endless, UNLIMITED, single + last)
        found[:, self.final] = 0
        return found

    @cached_property
    def _endless(self) -> bool:
        """Whether some cell may be repeated whatever came before, but for what is final."""
        return bool((~self.forbids[~self.final].any(axis=0) & ~self.final).any())

    def open(self, allowed: BoolArray, to_come: IntArray) -> BoolArray:
        """(persons, cells) what the next event may be, if after it so many are to come. to_come: (persons,)."""
        found: BoolArray = allowed & (self.left(allowed) >= to_come[:, None])
        return found


def _counted(cells: BoolArray, stays: BoolArray) -> IntArray:
    found: IntArray = (cells.astype(np.float64) @ stays.astype(np.float64)).astype(np.int64)
    return found


def _after(persons: IntArray, hits: BoolArray) -> BoolArray:
    """(events,) whether an event of the person before is one of ``hits``."""
    so_far: IntArray = np.cumsum(hits, dtype=np.int64) - hits
    starts = np.flatnonzero(np.diff(persons, prepend=-1))
    before: IntArray = np.repeat(so_far[starts], np.diff(np.append(starts, len(persons))))
    found: BoolArray = so_far > before
    return found


def bans(rules: Sequence[Once | Ordered | Final], steps: Sequence[Column], where: str) -> tuple[Ban, ...]:
    """What the rules forbid, one ``Ban`` a column. steps: the columns of an event, of which the first is the time since the one before.

    SchemaError E_SCHEMA_INVALID for a rule about what is not there, or rules that contradict each other.
    """
    named = {c.name: j for j, c in enumerate(steps) if j}
    for rule in rules:
        if rule.column not in named:
            what = f"a rule is about {rule.column!r}, which is none of its columns of values"
            raise SchemaError("E_SCHEMA_INVALID", where, what, "Name a column of categories.")
    columns = sorted({named[rule.column] for rule in rules})
    return tuple(_ban(j, steps[j], [r for r in rules if named[r.column] == j], where) for j in columns)


def _ban(j: int, column: Column, rules: Sequence[Once | Ordered | Final], where: str) -> Ban:
    if not isinstance(column, Categorical | Ordinal | Boolean):
        raise SchemaError("E_SCHEMA_INVALID", where, f"a rule is about {column.name!r}", "Rules are about categories.")
    forbids, final = np.zeros((column.size, column.size), bool), np.zeros(column.size, bool)
    for rule in rules:
        match rule:
            case Once():
                cells = _all_but_other(column) if rule.categories is None else _cells(column, rule.categories, where)
                forbids[cells, cells] = True
            case Ordered():
                earlier, later = (_cells(column, names, where) for names in (rule.earlier, rule.later))
                forbids[np.ix_(later, earlier)] = True
                if {*earlier} & {*later}:
                    raise _contradiction(column, where)
            case Final():
                cells = _cells(column, rule.categories, where)
                final[cells] = True
                forbids[cells] = True
    if forbids[np.ix_(~final, final)].any():
        raise _contradiction(column, where)
    return Ban(j, forbids, final, _ranks(forbids, final, column, where))


def _cells(column: Categorical | Ordinal | Boolean, entries: Sequence[Entry], where: str) -> list[int]:
    """The cells of declared categories; true and false as such for a boolean."""
    place = reader([*map(str, getattr(column, "categories", ("False", "True")))])
    found = [place(str(entry)) for entry in entries]
    if None in found:
        what = f"a rule names {str(entries[found.index(None)])!r}, which {column.name!r} does not declare"
        raise SchemaError("E_SCHEMA_INVALID", where, what, "Name its categories as they are declared.")
    return [cell for cell in found if cell is not None]


def _all_but_other(column: Categorical | Ordinal | Boolean) -> list[int]:
    """Every declared category but the one that stands for many things."""
    names = getattr(column, "categories", ("False", "True"))
    return [cell for cell, name in enumerate(names) if name != getattr(column, "other", None)]


def _ranks(forbids: BoolArray, final: BoolArray, column: Column, where: str) -> IntArray:
    """(cells,) each above those that may not come after it; the final ones above all."""
    above = forbids & ~np.eye(len(forbids), dtype=bool) & ~final[:, None] & ~final[None]
    rank = np.zeros(len(forbids), np.int64)
    for _ in range(len(forbids) + 1):
        higher = np.maximum(rank, (np.where(above, rank[None] + 1, 0)).max(axis=1, initial=0))
        if (higher == rank).all():
            return np.where(final, rank.max(initial=0) + 1, rank)
        rank = higher
    raise _contradiction(column, where)


def _contradiction(column: Column, where: str) -> SchemaError:
    what = f"the rules about the order of {column.name!r} go round in a circle"
    return SchemaError("E_SCHEMA_INVALID", where, what, "Say of each two categories only once which comes earlier.")
