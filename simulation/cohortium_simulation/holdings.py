"""What a simulated institution holds: a table, or where the schema has tables of events, a table for each of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, Union

import pandas as pd

from cohortium.data.encoding import Codes, check_columns, encode
from cohortium.data.events import PERSONS
from cohortium.data.identifiers import identifiers_of
from cohortium.data.linked import encode_linked, require_parts
from cohortium.data.readers.frames import as_table, is_table
from cohortium.data.schema import Schema
from cohortium.errors import InputError
from cohortium.system.arguments import described, refused

Held: TypeAlias = Union[pd.DataFrame, Mapping[str, pd.DataFrame]]  # noqa: UP007 - as frames.Table


def as_held(tables: Any, name: str, schema: Schema) -> Held:
    """The table of institution ``name``, or its tables by name; of files the schema's columns and no others are read.

    Raises InputError E_ARGUMENT for anything else, and what ``as_table`` and ``require_parts`` raise.
    """
    if not schema.tables:
        return as_table(tables, f"table of {name}", wanted_of(schema))
    if not isinstance(tables, Mapping) or is_table(tables):
        raise _not_by_name(name, tables, schema)
    require_parts(tables, schema)
    return {
        part: as_table(tables[part], f"table {part} of {name}", wanted_of(one)) for part, one in schema.parts.items()
    }


def wanted_of(schema: Schema) -> list[str]:
    """The columns that are read of a table, that of the person included."""
    return [*schema.names, *([schema.person] if schema.person else [])]


def parts_of(held: Held, name: str, schema: Schema) -> Mapping[str, pd.DataFrame]:
    """What institution ``name`` holds, by the schema's parts."""
    if not schema.tables and isinstance(held, pd.DataFrame):
        return {PERSONS: held}
    if isinstance(held, pd.DataFrame):
        raise _not_by_name(name, held, schema)
    require_parts(held, schema)
    return held


def encoded(held: Held, name: str, schema: Schema) -> Codes:
    parts = parts_of(held, name, schema)
    return encode_linked(parts, schema) if schema.tables else encode(parts[PERSONS], schema)


def persons_of(held: Held, name: str, schema: Schema) -> Iterable[str]:
    """The identifiers of its persons, each once: of the table of persons, where there is one."""
    parts = parts_of(held, name, schema)
    found: dict[str, None] = {}
    for part in [PERSONS] if PERSONS in schema.parts else schema.parts:
        found |= dict.fromkeys(_distinct(parts[part], schema.parts[part]))
    return found


def _distinct(table: pd.DataFrame, schema: Schema) -> list[str]:
    check_columns(table.columns, schema)
    distinct: list[str] = identifiers_of(table[schema.person]).distinct.to_pylist()
    return distinct


def _not_by_name(name: str, given: object, schema: Schema) -> InputError:
    what = f"it is {described(given)}, and the schema has the tables {', '.join(schema.parts)}"
    fix = "Pass a mapping of their names to tables: {" + ", ".join(f"{part!r}: table" for part in schema.parts) + "}."
    return refused(f"tables of {name}", what, fix)
