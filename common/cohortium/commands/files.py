"""Which file is which table, where a command reads several: NAME=FILE says it, else a file's own name without its endings.

``persons`` is the persons' own table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cohortium.data.events import NAME, PERSONS, require_name
from cohortium.errors import StudyError
from cohortium.system.nearest import offered

if TYPE_CHECKING:
    from cohortium.data.schema import Schema


def named(given: str | Path) -> tuple[str, Path]:
    """The name that is written before a file, or nothing, and the file."""
    name, sign, rest = str(given).partition("=")
    if sign and rest and re.fullmatch(NAME, name) and not Path(given).exists():
        return name, Path(rest)
    return "", Path(given)


def own_name(path: Path) -> str:
    return path.name.partition(".")[0]


def files_of(data: Sequence[str | Path], schema: Schema) -> dict[str, Path]:
    """The file of each of the schema's tables: of events that of the table's name, and of persons the other one.

    Raises StudyError E_PLAN_INVALID where a table has no file or several, or a file no table.
    """
    names = {table.name for table in schema.tables}
    found: dict[str, list[Path]] = {name: [] for name in schema.parts}
    for given in data:
        name, path = named(given)
        if name and name not in {*names, PERSONS}:
            raise StudyError("E_PLAN_INVALID", "--data", f"the schema has no table {name!r}", offered(name, found))
        found.setdefault(name or (stem if (stem := own_name(path)) in names else PERSONS), []).append(path)
    for name, paths in found.items():
        if name not in schema.parts or len(paths) != 1:
            raise _unclear(name, paths, schema)
    return {name: path for name, (path,) in found.items()}


def _unclear(name: str, paths: Sequence[Path], schema: Schema) -> StudyError:
    listed = ", ".join(path.name for path in paths)
    if not schema.tables:
        what, fix = f"{listed}: the schema is of one table", "Pass one file, or a schema with tables of events."
    elif name not in schema.parts:
        what, fix = f"{listed}: the schema has only tables of events", f"Name files as {', '.join(schema.parts)}."
    elif not paths:
        what = f"no file is for the table {name!r}"
        fix = f"Pass --data {name}=FILE: it, or a file's name, says which table of events it is; the other one is of persons."
    else:
        what = f"{listed}: {len(paths)} files are for the table {name!r}"
        tables = ", ".join(table.name for table in schema.tables)
        fix = f"Pass one of persons, and one for each table of events, named as it is: {tables}."
    return StudyError("E_PLAN_INVALID", "--data", what, fix)


def tables_of(data: Sequence[str | Path]) -> dict[str, Path]:
    """The files by name, where no schema says which tables there are. StudyError E_PLAN_INVALID for two of one name."""
    found: dict[str, Path] = {}
    for given in data:
        name, path = named(given)
        name = name or own_name(path)
        if name in found:
            raise StudyError("E_PLAN_INVALID", "--data", f"two files are named {name!r}", "Write NAME=FILE.")
        found[name] = path
    return found


def with_persons(data: Sequence[str | Path]) -> tuple[Path | None, dict[str, Path]]:
    """The persons' file, and those of events by name: ``persons``, else the first that has no name written before it.

    SchemaError E_SCHEMA_INVALID for a name that can be no table's.
    """
    tables = tables_of(data)
    first = next((name for name, given in zip(tables, data, strict=True) if not named(given)[0]), "")
    persons = PERSONS if PERSONS in tables else first
    others = {name: path for name, path in tables.items() if name != persons}
    for name in others:
        require_name(name)
    return tables.get(persons), others
