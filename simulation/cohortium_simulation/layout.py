"""The layout: how one table is split into the tables of several institutions, decided publicly before a row is read."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.events import PERSONS
from cohortium.data.identifiers import identifiers_of
from cohortium.data.schema import Schema
from cohortium.errors import StudyError
from cohortium.system.nearest import nearest
from cohortium_simulation.partition import (
    NOWHERE,
    Tables,
    by_column,
    declared_categories,
    iid,
    numbered,
    skewed,
    valid_name,
)


@dataclass(frozen=True)
class Layout:
    """Which institutions there are, and whose a row is.

    institutions: by name, the values of column ``by`` whose rows they hold; without ``by`` persons are assigned at random.
    skew: unevenly in the schema's first target, by a Dirichlet distribution of this alpha.
    """

    institutions: Mapping[str, Sequence[object]] | int
    by: str | None = None
    skew: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return numbered(self.institutions if isinstance(self.institutions, int) else tuple(self.institutions))

    def columns(self, schema: Schema, part: str = PERSONS) -> list[str]:
        """What is read of a table. part: which of the schema's tables it is."""
        schema, by = schema.parts[part], self.by if part == PERSONS else None
        beside = [name for name in (schema.person, by) if name]
        return list(dict.fromkeys([*schema.names, *beside]))

    def split_linked(
        self, tables: Mapping[str, pd.DataFrame], schema: Schema, rng: np.random.Generator
    ) -> dict[str, dict[str, pd.DataFrame]]:
        """The tables of each institution: all rows of a person go where the table of persons, split as a flat one, has that person.

        Who is in several parts of it goes to the first of these institutions. Where there is no such table, persons who have
        events are assigned at random.
        """
        if PERSONS in schema.parts:
            parts = self.split(tables[PERSONS], schema.parts[PERSONS], rng)
            whose = {name: _identifiers(part, schema.person) for name, part in parts.items()}
        else:
            everybody = sorted({who for t in schema.tables for who in _identifiers(tables[t.name], t.person)})
            dealt = iid(pd.DataFrame({"who": pd.Series(everybody, dtype=object)}), self.names, rng, "who")
            whose = {name: part["who"].tolist() for name, part in dealt.items()}
        homes: dict[str, int] = {}
        for number, persons in enumerate(whose.values()):
            for who in persons:
                homes.setdefault(who, number)
        placed = {name: _places(table, schema.parts[name].person, homes) for name, table in tables.items()}
        return {
            institution: {name: table[placed[name] == number] for name, table in tables.items()}
            for number, institution in enumerate(self.names)
        }

    def split(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Tables:
        """A table for each institution, maybe without rows."""
        if isinstance(self.institutions, Mapping) and self.by is not None:
            return by_column(table, self.by, self.institutions, schema)
        if self.skew is not None:
            return skewed(table, self.names, schema.targets[0], self.skew, rng, schema.person)
        return iid(table, self.names, rng, schema.person)


def _identifiers(table: pd.DataFrame, person: str | None) -> list[str]:
    whose = identifiers_of(table[person])
    texts: list[str] = whose.distinct.take(np.unique(whose.places[whose.known])).to_pylist()
    return texts


def _places(table: pd.DataFrame, person: str | None, homes: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """(rows,) the number of the institution that each row's person is in, or NOWHERE."""
    whose = identifiers_of(table[person])
    places = np.array([*(homes.get(who, NOWHERE) for who in whose.distinct.to_pylist()), NOWHERE], np.int64)
    return places[whose.places]


def laid_out(
    schema: Schema,
    number: int | None = None,
    by: str | None = None,
    declared: Sequence[str] = (),
    skew: float | None = None,
    study: Sequence[str] | None = None,
) -> Layout:
    """The layout asked for: a number of institutions, those of a study, or those declared for a column.

    declared: ``NAME=VALUE,VALUE`` each, or ``NAME`` of which the value is the same. study: the names of a study's institutions.
    Raises StudyError E_PLAN_INVALID, or E_NOT_IN_STUDY for an institution that the study has not.
    """
    if skew is not None and (by is not None or not schema.targets):
        what = "skew needs a number of institutions and a target in the schema"
        raise StudyError("E_PLAN_INVALID", "simulate", what, "Pass --institutions K, and mark a column target = true.")
    if by is not None and PERSONS not in schema.parts:
        what = "the schema declares no column of persons to split by"
        raise StudyError("E_PLAN_INVALID", f"--by {by}", what, "Pass --institutions K.")
    schema = schema.parts.get(PERSONS, schema)  # an institution follows from no event
    if declared and by is None:
        fix = "Pass --by COLUMN: the column that holds the values."
        raise StudyError("E_PLAN_INVALID", "--institution", "no column is named for its values", fix)
    if study is not None:
        if number is not None:
            raise StudyError(
                "E_PLAN_INVALID", "--institutions", "the study decides how many there are", "Leave it out."
            )
        return Layout(_of_study(study, read_declared(declared)), by, skew)
    if (number is None) == (by is None):
        what = "either a number of institutions or a column to split by is needed"
        raise StudyError("E_PLAN_INVALID", "simulate", what, "Pass --institutions K or --by COLUMN.")
    if by is None:
        return Layout(number or 1, None, skew)
    institutions = read_declared(declared) or declared_categories(schema, by)
    if institutions is None:
        raise undeclared(by, schema)
    return Layout(institutions, by)


def undeclared(column: str, schema: Schema) -> StudyError:
    """The error names no value of the column: its values are personal data."""
    meant = None if column in schema.names else nearest(column, schema.names)
    perhaps = f" Perhaps {meant} is meant." if meant else ""
    return StudyError(
        "E_PLAN_INVALID",
        f"--by {column}",
        "nobody has declared its institutions, and they are never read off the rows, because a study is public",
        "Declare each with --institution NAME=VALUE, or the column's categories in the schema, or pass --study."
        + perhaps,
    )


def _of_study(names: Sequence[str], declared: Mapping[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    if strangers := [name for name in declared if name not in names]:
        what = f"the study has no {', '.join(strangers)}"
        raise StudyError("E_NOT_IN_STUDY", "--institution", what, "Name its institutions as it does.")
    return {name: declared.get(name, (name,)) for name in names}


def read_declared(texts: Sequence[str]) -> dict[str, tuple[object, ...]]:
    """Institutions from ``NAME=VALUE,VALUE`` and ``NAME``; the same name again adds values. Quotes keep a comma in a value."""
    found: dict[str, tuple[object, ...]] = {}
    for text in texts:
        name, sign, values = text.strip().partition("=")
        name = name.strip()
        if valid_name(name) != name:
            fix = f"Name it with plain letters, as in --institution '{valid_name(name)}={values or name}'."
            raise StudyError("E_PLAN_INVALID", "--institution", f"{name!r} cannot be an institution's name", fix)
        read = next(csv.reader([values], skipinitialspace=True), []) if sign else [name]
        if not all(value.strip() for value in read) or not read:
            raise StudyError("E_PLAN_INVALID", f"--institution {name}", "a value is empty", "Write NAME=VALUE,VALUE.")
        found[name] = (*found.get(name, ()), *read)
    return found
