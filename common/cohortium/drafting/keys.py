"""Whose the rows of several tables are: the column that identifies persons in all of them, by what is named or by what is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from cohortium.drafting.facts import MOSTLY
from cohortium.drafting.names import about, names_persons
from cohortium.drafting.tally import Tally, Tallying
from cohortium.errors import SchemaError

NAME_IT = "Name it with --person, once for each name that it has."


@dataclass(frozen=True)
class Given:
    """A table to propose from. names: of its columns. read: some of them in parts, anew each time. look: likewise, saying nothing."""

    names: Sequence[str]
    read: Callable[[Sequence[str]], Iterable[pd.DataFrame]]
    look: Callable[[Sequence[str]], Iterable[pd.DataFrame]]


def is_once_a_person(tally: Tally) -> bool:
    """Whether all but a few of the rows are the only ones of their persons, as in a table of persons."""
    return tally.fitting > 0 and tally.persons >= MOSTLY * tally.fitting


def keys_of(tables: Mapping[str, Given], named: Sequence[str]) -> dict[str, str]:
    """By table the column of persons. named: its names; without one it is looked for among the columns that all tables have.

    SchemaError E_SCHEMA_MISSING where a table has none of ``named``, E_SCHEMA_INVALID where it has two, or where none is found.
    """
    if named:
        return {table: _named(table, given.names, named) for table, given in tables.items()}
    first, *others = (given.names for given in tables.values())
    shared = [name for name in first if all(name in names for names in others)]
    if not shared:
        raise _unclear("no column is in all of the tables", NAME_IT)
    found = _likely(shared, _tallies(tables, shared))
    if len(found) != 1:
        listed = ", ".join(map(repr, found or shared))
        what = "may" if found else "are in all of them, and none seems to"
        raise _unclear(f"{listed} {what} say whose the rows are", NAME_IT)
    return dict.fromkeys(tables, found[0])


def _named(table: str, names: Sequence[str], named: Sequence[str]) -> str:
    found = [name for name in named if name in names]
    if not found:
        what = f"table {table!r} has no column {' or '.join(map(repr, named))}"
        raise SchemaError("E_SCHEMA_MISSING", "--person", what, NAME_IT)
    if len(found) > 1:
        what = f"table {table!r} has both {found[0]!r} and {found[1]!r}"
        raise SchemaError("E_SCHEMA_INVALID", "--person", what, "Name the one that says whose a row is.")
    return found[0]


def _tallies(tables: Mapping[str, Given], shared: Sequence[str]) -> list[list[Tally]]:
    """Of each shared column, by table, how many different values it has."""
    return [list(of_column) for of_column in zip(*(_of_table(given, shared) for given in tables.values()), strict=True)]


def _of_table(given: Given, shared: Sequence[str]) -> list[Tally]:
    watches = [Tallying(name) for name in shared]
    for part in given.look(shared):
        for watch in watches:
            list(watch.over([part]))
    return [watch.tally for watch in watches]


def _likely(shared: Sequence[str], tallies: Sequence[Sequence[Tally]]) -> list[str]:
    """Columns that may say whose a row is: there once a person in one table and more often in others, or by their name."""
    once = {name: sum(map(is_once_a_person, of)) for name, of in zip(shared, tallies, strict=True)}
    tables = len(tallies[0])
    for found in (
        [name for name in shared if once[name] and once[name] < tables],
        [name for name in shared if once[name]],
        [name for name in shared if about(name) == "identifier" or names_persons(name)],
    ):
        if found:
            return [name for name in found if names_persons(name)] or found
    return []


def _unclear(what: str, fix: str) -> SchemaError:
    return SchemaError("E_SCHEMA_INVALID", "draft", what, fix)
