"""A first schema for a table in Python: ``cohortium schema draft`` without files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cohortium.data.readers.frames import Table, as_table, parts_of
from cohortium.drafting.draft import Draft, draft
from cohortium.drafting.facts import check_names
from cohortium.system.arguments import described, names, refused


def draft_schema(
    table: Table,
    *,
    targets: str | Iterable[str] = (),
    person: str | None = None,
    drop: str | Iterable[str] = (),
    name: str | None = None,
) -> Draft:
    """A schema proposed from ``table``, for a person to review: it is read off rows, and rows may be private.

    targets: columns to predict. person: the column that identifies whose row it is, which no release holds. drop: columns to
    leave out. name: the table's; of a file its own, otherwise "table". What is proposed and why is in ``.notes``, the schema
    in ``.schema``; after reviewing all of it, call ``draft.schema.reviewed()``.
    Raises InputError E_ARGUMENT for what is no table, SchemaError E_SCHEMA_MISSING for a column that is not there.

    >>> import cohortium
    >>> visits = {"age": [30, 41, 56, 62] * 50, "result": ["positive", "negative"] * 100}
    >>> proposal = cohortium.draft_schema(visits, targets="result")
    >>> proposal.schema
    <Schema 'table': 2 columns, 3 still to review>
    >>> proposal.schema.reviewed()
    <Schema 'table': 2 columns>
    """
    if person is not None and not isinstance(person, str):
        raise refused("person", f"it is {described(person)}, not the name of a column", 'Pass person="patient_id".')
    read = as_table(table)
    wanted, left = names("targets", targets), names("drop", drop)
    check_names([*wanted, *([] if person is None else [person]), *left], list(read.columns))
    called = name or (Path(table).stem if isinstance(table, str | os.PathLike) else "table")
    return draft(parts_of(read), called, wanted, person, left)
