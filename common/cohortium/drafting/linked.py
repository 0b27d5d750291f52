"""A first schema of persons with their events, from several tables: which one is of persons, what orders the others, how many rows count.

As with one table, everything that follows from rows is marked, and no extreme is written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cohortium.data.columns import Categorical, Column, Continuous, Datetime
from cohortium.data.events import EventTable, require_name
from cohortium.data.schema import Schema
from cohortium.drafting.draft import READ, READ_OF_TABLE, Draft, Proposed, nothing_left, proposed, table_name
from cohortium.drafting.facts import check_names
from cohortium.drafting.found import Note
from cohortium.drafting.keys import Given, is_once_a_person, keys_of
from cohortium.drafting.names import words_of
from cohortium.drafting.tally import Tally
from cohortium.drafting.unchanging import Unchanging
from cohortium.errors import SchemaError

MOST = 50_000  # rows of a person that are proposed to count
NEARLY_ALL = 0.99  # of the rows count where a person has as many as are proposed
READ_OF_EVENTS = ("name", "most", "columns")
UNITS = ("day", "date", "time", "hour", "minute", "week", "month", "year")
_TIMES = frozenset({*UNITS, *(f"{unit}s" for unit in UNITS), "timestamp"})
_AS_TIME = READ[Continuous]
_STATIC = "no person has two values of it: if it is a property of persons, move it to their table, in the files as well"
_SET = "a set, as no column seems to order a person's rows; if one does, name it with --time"


@dataclass(frozen=True)
class _Read:
    """A table that was read. clocks: its columns that are named as times. unchanging: those that say the same in all rows of a person."""

    name: str
    key: str
    clocks: Sequence[str]
    found: Proposed
    unchanging: frozenset[str]


def draft_linked(
    tables: Mapping[str, Given],
    targets: Sequence[str] = (),
    persons: Sequence[str] = (),
    drop: Sequence[str] = (),
    clocks: Sequence[str] = (),
) -> Draft:
    """A schema proposed from several tables. persons: names of the column that says whose a row is. clocks: of those of time.

    The first table in which nearly every row is a person's only one is that of persons; where there is none, persons have no
    columns of their own. Raises SchemaError E_SCHEMA_MISSING for a name that no table has, E_SCHEMA_INVALID where it cannot be told
    whose rows are, or where a column of ``clocks`` orders none.
    """
    check_names([*targets, *persons, *drop, *clocks], [name for given in tables.values() for name in given.names])
    keys = keys_of(tables, persons)
    read = [_read(name, given, keys[name], targets, drop, clocks) for name, given in tables.items()]
    owner = next((one for one in read if is_once_a_person(one.found.tally)), None)
    events = [one for one in read if one is not owner]
    if not events:
        raise nothing_left(keys[read[0].name])
    own = tuple(replace(c, target=c.name in targets) for c in owner.found.columns) if owner else ()
    made = [_event_table(one, [c.name for c in own]) for one in events]
    schema = Schema(
        name=table_name(owner.name if owner else read[0].name),
        person=owner.key if owner else read[0].key,
        columns=(*own, *(c for table, _ in made for c in table.derived)),
        constraints=tuple(rule for table, _ in made for rule in table.implied),
        tables=tuple(table for table, _ in made),
        review=READ_OF_TABLE,
    )
    notes = (*(owner.found.notes if owner else ()), *(note for _, of_table in made for note in of_table))
    return Draft(schema, notes, tallies={one.name: one.found.tally for one in read})


def _read(
    name: str, given: Given, key: str, targets: Sequence[str], drop: Sequence[str], clocks: Sequence[str]
) -> _Read:
    here = [one for one in given.names if one not in drop or one in (*targets, *clocks, key)]
    watch = Unchanging(key)
    parts = watch.through(given.read(here))
    named = [one for one in clocks if one in here]
    kept = [*(one for one in targets if one in here), *named]  # which no look of theirs drops
    found = proposed(parts, kept, key, [d for d in drop if d in here])
    return _Read(name, key, named, found, watch.names)


def _event_table(read: _Read, own: Sequence[str]) -> tuple[EventTable, tuple[Note, ...]]:
    """A table of events, and why it is as it is. own: the persons' columns."""
    require_name(read.name)
    found, notes = read.found, list(read.found.notes)
    clock = _clock(read)
    time = "" if clock is None else clock.name
    repeated = [c.name for c in found.columns if c.name in own and c.name in read.unchanging and c.name != time]
    kept = [clock if clock and c.name == time else c for c in found.columns if c.name not in repeated]
    notes += [Note(name, "dropped: a column of persons says the same", dropped=True) for name in repeated]
    notes += [Note(c.name, _STATIC) for c in kept if c.name in read.unchanging and c is not clock]
    notes.append(Note(time, _SET if clock is None else _ordering(clock, found.columns)))
    most, why = _most(found.tally)
    notes.append(why)
    table = EventTable(
        name=read.name,
        person=read.key,
        time=time or None,
        columns=tuple(kept),
        most=most,
        review=READ_OF_EVENTS,
    )
    return table, tuple(replace(note, table=read.name) for note in notes)


def _clock(read: _Read) -> Continuous | Datetime | None:
    """The column of time: a named one, else the first of moments, else the first number that is called a time, if any."""
    columns = read.found.columns
    asked = [c for c in columns if c.name in read.clocks]
    moments = [c for c in columns if isinstance(c, Datetime) and not c.of_day]
    numbers = [c for c in columns if isinstance(c, Continuous) and not _TIMES.isdisjoint(words_of(c.name))]
    ranked: Sequence[Column] = asked if read.clocks else sorted([*moments, *numbers], key=lambda c: c.nullable)
    for column in ranked:
        if (plain := _plain(column)) is not None:
            return plain
    if read.clocks:
        what = f"{read.clocks[0]!r} cannot order a person's rows"
        raise SchemaError("E_SCHEMA_INVALID", f"table {read.name!r}", what, "Name a column of dates, or of numbers.")
    return None


def _plain(column: Column) -> Continuous | Datetime | None:
    """A column as one of time: in steps of equal length, never missing or special; None where it cannot be one."""
    match column:
        case Datetime():
            return replace(column, nullable=False, special=(), target=False)
        case Continuous() if column.digits is None:
            step = None if column.endings else column.step
            return replace(column, nullable=False, special=(), points=(), endings=(), step=step, target=False)
        case Categorical() if len(column.categories) > 1 and all(isinstance(c, int) for c in column.categories):
            ends = sorted(map(int, column.categories))
            return Continuous(name=column.name, missing=column.missing, lower=ends[0], upper=ends[-1], review=_AS_TIME)
    return None


def _ordering(clock: Column, columns: Sequence[Column]) -> str:
    others = [c.name for c in columns if isinstance(c, Datetime) and c.name != clock.name]
    perhaps = f"; others may: {', '.join(map(repr, others))}" if others else ""
    return f"orders a person's rows{perhaps}; rows without it, or outside its bounds, are left out"


def _most(tally: Tally) -> tuple[int, Note]:
    """How many rows of a person count: a round number with which nearly all rows do."""
    enough = max(2, tally.enough_for(NEARLY_ALL))
    ladder = (digit * 10**power for power in range(5) for digit in (1, 2, 5))
    most = next((step for step in ladder if step >= enough), MOST)
    text = "most is a round number with which nearly all rows count; of a person with more, the first so many do"
    return most, Note("", text, seen=f"{tally.counted(most)} of {tally.fitting} rows count, of {tally.persons} persons")
