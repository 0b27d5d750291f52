"""Tables of events: what a schema declares of a person's rows over time, and what follows from them about the person.

A schema with tables of events describes persons: its columns are a person's, and each ``EventTable`` has any number of
rows of that person, in the order of a column of time. Beside the columns that are declared, a person then has some that
follow from the events (``derived``): how many there are, when the first one is, and what it holds. What follows after it
are steps: the columns of an event given the one before (``EventTable.steps``).

A table without a time is a set: its rows are in no order, and stand in one that is as good as drawn (``linked.py``). What is said of
the first event is then said of a row drawn from the set, and the time between two is always 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, Strict

from cohortium.data.columns import STRICT, BaseColumn, Column, Continuous, Datetime
from cohortium.data.columns.grids import Even
from cohortium.data.conditions.constraints import Implies, to_block
from cohortium.data.event_rules import UNLIMITED, Ban, EventRule, Once, bans
from cohortium.errors import SchemaError
from cohortium.system.texts import trouble

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
MOST = 100  # rows of a person that count, where a table declares nothing else
GAPS = 48  # cells of that time at most
GAP = "gap"  # the column that every step begins with: the time since the event before
PERSONS = "persons"  # the name of the persons' own table, where one is needed
RESERVED = ("synthetic", PERSONS)  # names of a release's other tables
NAME = r"^[A-Za-z][A-Za-z0-9_]{0,39}$"  # of a table of events


@dataclass(frozen=True, kw_only=True)
class EventTable:
    """A table of events: any number of rows a person, in the order of a column of time.

    person: the column with the person of each row, as in the persons' own table. time: the name of one of ``columns``, of
    numbers or moments on an even grid; it orders a person's rows. None for a set. most: of a person with more rows the first so many count.
    rules: what holds across a person's events. review: its own entries that a person has yet to review, like a column's.
    Raises SchemaError E_SCHEMA_INVALID or E_SCHEMA_DUP, which name the contradiction.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Annotated[str, Field(pattern=NAME)]
    person: Annotated[str, Field(min_length=1, max_length=200)]
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    time: str | None = None
    most: Annotated[int, Strict(), Field(ge=1, le=100_000)] = MOST
    rules: tuple[EventRule, ...] = ()
    review: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [self.person, *(c.name for c in self.columns)]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise SchemaError("E_SCHEMA_DUP", self.where, f"column {twice[0]!r} is declared twice", "Remove one.")
        if what := trouble(self.person):
            raise self._invalid(f"the name {self.person!r} {what}", "Choose another name.")
        if self.name.lower() in RESERVED:
            raise self._invalid("a release has another table of that name", "Choose another name.")
        if GAP in names:
            what = f"a column is named {GAP!r}, as the time between two events is"
            raise self._invalid(what, "Choose another name.")
        if self.time is not None:
            if self.time not in names[1:]:
                what = f"there is no column {self.time!r}"
                raise self._invalid(what, "Write time = true in the block of one column.")
            _check_clock(self)
        if self.time is None and not all(isinstance(rule, Once) for rule in self.rules):
            what = "a rule says what comes before what, and it is a set, without a time"
            raise self._invalid(what, "Write time = true in the block of one column, or leave the rule out.")
        _ = self.bans  # which are checked as they are made

    @property
    def where(self) -> str:
        return f"table {self.name!r}"

    @cached_property
    def clock(self) -> Continuous | Datetime | None:
        """The column of time; None of a set."""
        if self.time is None:
            return None
        (column,) = (c for c in self.columns if c.name == self.time)
        assert isinstance(column, Continuous | Datetime)  # noqa: S101 - checked when it was made
        return column

    @property
    def grid(self) -> int:
        """Ticks of the time there is: 1 of a set."""
        return 1 if self.clock is None else self.clock.grid

    @property
    def others(self) -> tuple[Column, ...]:
        """The columns but that of time."""
        return tuple(c for c in self.columns if c.name != self.time)

    @cached_property
    def steps(self) -> tuple[Column, ...]:
        """What an event is, given the one before: the time since, in steps of the time's grid, and its other columns."""
        last = max(1, self.grid - 1)
        gap = Continuous(name=GAP, lower=0.0, upper=float(last), edges=_gap_edges(last))
        return (gap, *self.others)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Cells of each column of a step."""
        return tuple(c.size for c in self.steps)

    @cached_property
    def bans(self) -> tuple[Ban, ...]:
        """What the rules forbid, one a column that any is about."""
        return bans(self.rules, self.steps, self.where)

    def broken(self, persons: IntArray, others: npt.NDArray[np.integer]) -> BoolArray:
        """(events,) which break a rule: an earlier one forbids them. persons: as in ``Events``. others: (events, columns but the time)."""
        found = np.zeros(len(others), bool)
        for ban in self.bans:
            found |= ban.broken(persons, others[:, ban.column - 1].astype(np.int64))
        return found

    def ranks(self, others: npt.NDArray[np.integer]) -> list[IntArray]:
        """What comes before their values in the order of events of one time. others: as in ``broken``."""
        return [ban.rank[others[:, ban.column - 1]] for ban in self.bans]

    def capacity(self, others: npt.NDArray[np.integer]) -> IntArray:
        """(persons,) how many events can come after a first one. others: as in ``broken``."""
        found = np.full(len(others), UNLIMITED, np.int64)
        for ban in self.bans:
            found = np.minimum(found, ban.capacity[others[:, ban.column - 1]])
        return found

    @cached_property
    def derived(self) -> tuple[Column, ...]:
        """A person's columns that follow from the events: their number, and the time and the values of the first."""
        rows = Continuous(name=self.rows_name, lower=0.0, upper=float(self.most))
        clock = () if self.clock is None else (self.clock,)
        return (rows, *(_of_first(self, column) for column in (*clock, *self.others)))

    @property
    def rows_name(self) -> str:
        """The column of a person with the number of events."""
        return f"{self.name}_rows"

    def first_name(self, column: str) -> str:
        """The column of a person that holds the first event's value of ``column``."""
        return f"{self.name}_first_{column}"

    @cached_property
    def implied(self) -> tuple[Implies, ...]:
        """What holds of the derived columns: who has no events has no first one, who has them has, and rules leave enough to come."""
        first = [self.first_name(c.name) for c in self.columns]
        certain = [self.first_name(c.name) for c in self.columns if not c.nullable]
        return (
            Implies(when=(f"{self.rows_name}=0",), then=tuple(f"{name}=missing" for name in first)),
            Implies(when=(f"{self.rows_name}>=1",), then=tuple(f"{name}!=missing" for name in certain)),
            *(one for ban in self.bans for one in self._enough(ban)),
        )

    def _enough(self, ban: Ban) -> Iterator[Implies]:
        """Whose first event leaves room for few has no more of them."""
        column = self.steps[ban.column]
        names = [str(name) for name in getattr(column, "categories", ("false", "true"))]
        room = ban.capacity[: len(names)]
        for few in sorted({int(n) for n in room if n + 2 <= self.most}):
            those = (name for name, n in zip(names, room, strict=True) if n == few)
            then = tuple(f"{self.first_name(column.name)}!={name}" for name in those)
            yield Implies(when=(f"{self.rows_name}>={few + 2}",), then=then)

    @property
    def marks(self) -> tuple[str, ...]:
        """What nobody has reviewed yet, in words."""
        own = (f"{self.name}, the table: {', '.join(self.review)}",) if self.review else ()
        return own + tuple(f"{self.name}, {c.name!r}: {', '.join(c.review)}" for c in self.columns if c.review)

    def reviewed(self) -> EventTable:
        return replace(self, columns=tuple(replace(c, review=()) for c in self.columns), review=())

    def document(self, block: Any) -> dict[str, Any]:
        """The content of its block ``[[table]]``, defaults left out. block: of a column."""
        blocks = [{"name": self.person, "person": True}]
        blocks += [block(c) | ({"time": True} if c.name == self.time else {}) for c in self.columns]
        most = {"most": self.most} if self.most != MOST else {}
        review = {"review": list(self.review)} if self.review else {}
        rules = {"rule": [to_block(rule) for rule in self.rules]} if self.rules else {}
        return {"name": self.name, **most, **review, "column": blocks, **rules}

    def _invalid(self, what: str, fix: str) -> SchemaError:
        return SchemaError("E_SCHEMA_INVALID", self.where, what, fix)


def require_name(name: str) -> None:
    """SchemaError E_SCHEMA_INVALID for what cannot be the name of a table of events."""
    if not re.fullmatch(NAME, name):
        fix = "Name it with up to 40 letters, digits and _, for a command as in --data NAME=FILE."
        raise SchemaError("E_SCHEMA_INVALID", f"table {name!r}", "its name is not plain", fix)


def _check_clock(table: EventTable) -> None:
    (column,) = (c for c in table.columns if c.name == table.time)
    match column:
        case Continuous():
            even = isinstance(column.axis, Even) and not (column.special or column.points)
        case Datetime():
            even = not column.special
        case _:
            even = False
    if not even or column.nullable:
        what = "time is in steps of equal length, and never missing or special"
        raise SchemaError(
            "E_SCHEMA_INVALID", f"{table.where}, column {column.name!r}", what, "Declare a plain range of it."
        )


def _gap_edges(last: int) -> tuple[float, ...]:
    """Where the cells of gaps up to ``last`` ticks begin but the first: single ticks, then in proportion to their length."""
    places = (math.ceil((last + 1) ** (k / GAPS)) for k in range(GAPS))
    return tuple(sorted({float(place) for place in places if 0 < place <= last}))


def _of_first(table: EventTable, column: BaseColumn) -> Any:
    """The first event's value of a column, as a person's: missing where there is no event."""
    return replace(column, name=table.first_name(column.name), nullable=True, target=False, review=())


def derived(tables: Sequence[EventTable]) -> tuple[Column, ...]:
    """A person's columns that follow from all tables of events, table after table."""
    return tuple(column for table in tables for column in table.derived)


def implied(tables: Sequence[EventTable]) -> tuple[Implies, ...]:
    """What holds of these columns, whatever the events are."""
    return tuple(rule for table in tables for rule in table.implied)
