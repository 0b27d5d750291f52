"""Where an institution's data live: files and databases to codes of the study's schema.

The section ``[source]`` of ``institution.toml``:

    path = "table.csv"               # CSV, Parquet or .xlsx, relative to the institution's folder
    separator = ";"                  # where the file's first line leaves a choice; sheet, where a workbook does

or, with one SELECT and never a password in the file,

    url = "postgresql://reader@db.example/clinic"
    query = "SELECT patient, sex, age FROM visits"
    password_file = "password"       # mode 0600, relative to the folder

Database libraries are loaded for these alone: files are opened, and refused, sooner without them.

Where the study has tables of events, each has a section of its own with the same keys, and ``[source]`` is the persons' table:

    [source.tables.diagnoses]
    path = "diagnoses.csv"

Columns the schema does not ask for are never kept. However many rows there are, they are read in parts of bounded memory.
What cannot be read of a row is skipped: whether there is an answer depends on no row.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Named
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pandas as pd
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from cohortium.data.columns import Column
from cohortium.data.encoding import Codes, encode_parts
from cohortium.data.events import PERSONS
from cohortium.data.linked import encode_linked_parts
from cohortium.data.readers.cells import plain
from cohortium.data.readers.faults import Faults
from cohortium.data.readers.forms import Form
from cohortium.data.readers.tables import AS_IT_IS
from cohortium.data.readers.tables import look as look_at_file
from cohortium.data.readers.tables import read_parts as read_file
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError, InputError
from cohortium_client.source.mapping import ColumnMapping, Mapping, apply_mapping, check_mapping, check_rules, origin

if TYPE_CHECKING:
    from cohortium.drafting.checking import Fit

_PLAIN = frozenset({type(None), bool, int, float, str})


def _each_named(tables: Any) -> Any:
    """The sections of tables, of which an error says which one it is in."""
    return {n: _named(n, t) for n, t in tables.items()} if isinstance(tables, dict) else tables


def _named(name: str, block: Any) -> Any:
    if isinstance(block, Source):
        return block
    with placed(name):
        try:
            return TypeAdapter(Source).validate_python(block)
        except ValidationError:
            return block  # which is refused once more, with its place


@contextmanager
def placed(table: str) -> Iterator[None]:
    """Errors about the source inside are about the section of ``table``."""
    try:
        yield
    except CohortiumError as error:
        if table == PERSONS:
            raise
        rest = error.where.removeprefix("source")
        where = f"source.tables.{table}" + (rest if rest.startswith(".") else f", {rest}" if rest else "")
        raise type(error)(error.code, where, error.what, error.fix) from None


@dataclass(frozen=True, kw_only=True)
class Source:
    """path, or url and query; ``mapping`` by the schema's names of the columns. tables: those of events, by name.

    drop_bad_rows: has no effect any more, as a custodian always skips what cannot be read; older files may have it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    path: str | None = None
    separator: str | None = None
    sheet: str | None = None
    drop_bad_rows: bool = False
    url: str | None = None
    query: str | None = None
    password_file: str | None = None
    mapping: Mapping = field(default_factory=dict)
    tables: Annotated[Named[str, Source], BeforeValidator(_each_named)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """InputError E_SOURCE, SecretError E_SECRET or SchemaError E_MAPPING name what contradicts itself."""
        if self.url is not None:
            from cohortium_client.source.database import database_url

            database_url(self.url)
        if any(table.tables for table in self.tables.values()):
            raise _contradiction("a table of it has tables itself", "Write all of them in [source.tables.NAME].")
        if (self.path is None) == (self.url is None) and (self.here or not self.tables):
            raise _contradiction("it names not exactly one of path and url", "Name a file, or a database.")
        if (self.url is None) != (self.query is None):
            raise _contradiction("url and query belong together", "Give both for a database, neither for a file.")
        if self.url is None and self.password_file is not None:
            raise _contradiction("password_file belongs to a database", "Remove it.")
        said = self.form != AS_IT_IS
        if said and self.path is None:
            raise _contradiction("separator and sheet belong to a file", "Remove them.")
        if self.query is not None:
            from cohortium_client.source.database import check_query

            check_query(self.query)
        check_rules(self.mapping)

    @property
    def here(self) -> bool:
        """Whether it has a table of its own beside ``tables``: where persons have no columns, there is none."""
        return self.path is not None or self.url is not None

    @property
    def form(self) -> Form:
        """How the file is written, as far as the section says; InputError E_FORM for a separator that separates nothing."""
        return Form(separator=self.separator, sheet=self.sheet)


def _contradiction(what: str, fix: str) -> InputError:
    return InputError("E_SOURCE", "source", what, fix)


def source_to_document(source: Source) -> dict[str, Any]:
    """The content of ``[source]``, defaults left out."""
    given = _given(source)
    if source.mapping:
        given["mapping"] = {
            name: {"from" if k == "origin" else k: v for k, v in _given(rule).items()}
            for name, rule in source.mapping.items()
        }
    if source.tables:
        given["tables"] = {name: source_to_document(table) for name, table in source.tables.items()}
    return given


def _given(block: Any) -> dict[str, Any]:
    values = {f.name: getattr(block, f.name) for f in fields(block)}
    return {k: v for k, v in values.items() if v is not None and v is not False and v != {}}


def load_source(source: Source, folder: Path, schema: Schema, faults: Faults | None = None) -> Codes:
    """The source's table, or tables, as codes; relative paths are relative to ``folder``. faults: as in ``read_parts``."""
    together = dict.fromkeys(schema.parts, faults or Faults("source"))
    return _encoded(read_tables(source, folder, schema, together), schema)


def load_and_look(
    source: Source, folder: Path, schema: Schema, faults: Named[str, Faults] | None = None
) -> tuple[Codes, dict[str, Fit]]:
    """As ``load_source``, and by table why rows do not fit, for the institution's own screen. Each table is read once.

    faults: by table (``faults_of``).
    """
    from cohortium.drafting.checking import fittings

    by_table = fittings(schema)
    tables = read_tables(source, folder, schema, faults or faults_of(schema))
    codes = _encoded({name: by_table[name].over(parts) for name, parts in tables.items()}, schema)
    return codes, {name: fitting.found for name, fitting in by_table.items()}


def _encoded(tables: Named[str, Iterator[pd.DataFrame]], schema: Schema) -> Codes:
    return encode_linked_parts(tables, schema) if schema.tables else encode_parts(tables[PERSONS], schema)


def faults_of(schema: Schema) -> dict[str, Faults]:
    """What will take note of faults in each of the schema's tables."""
    return {name: Faults("source") for name in schema.parts}


def read_tables(
    source: Source, folder: Path, schema: Schema, faults: Named[str, Faults]
) -> dict[str, Iterator[pd.DataFrame]]:
    """Each of the schema's tables in parts, as ``read_parts`` gives them; nothing is read before it is asked for.

    Raises InputError E_SOURCE where the source has not all of them.
    """
    return {
        name: _read_table(name, one, folder, schema.parts[name], faults[name])
        for name, one in sources_of(source, schema).items()
    }


def _read_table(name: str, source: Source, folder: Path, schema: Schema, faults: Faults) -> Iterator[pd.DataFrame]:
    with placed(name):
        yield from read_parts(source, folder, schema, faults)


def sources_of(source: Source, schema: Schema) -> dict[str, Source]:
    """The section of each of the schema's tables; further ones may be for other studies. InputError E_SOURCE where one is missing."""
    if PERSONS in schema.parts and not source.here:
        what = "the study has a table of persons, and no file or query is named for it"
        raise _contradiction(what, "Name path, or url and query, in [source].")
    if absent := [table.name for table in schema.tables if table.name not in source.tables]:
        what = f"the study has a table {absent[0]!r}, and the section for it is missing"
        raise _contradiction(what, f"Write [source.tables.{absent[0]}] with its path, or its url and query.")
    return {name: source if name == PERSONS else source.tables[name] for name in schema.parts}


def read_parts(source: Source, folder: Path, schema: Schema, faults: Faults | None = None) -> Iterator[pd.DataFrame]:
    """The table in the schema's columns, the person's included, in parts; at least one.

    Raises what ``look`` raises, and InputError for a file, disk or database that fails on the way. No value raises:
    a row that cannot be split into cells is left out, a cell that cannot be read is missing, and ``faults`` records both.
    """
    check_mapping(source.mapping, schema)
    origins, columns = _origins(source, schema), {column.name: column for column in schema.columns}
    faults = faults or Faults("source")
    for part in _stored_parts(source, folder, list(dict.fromkeys(origins.values())), faults):
        yield pd.DataFrame(
            {name: _column(part[origins[name]], source.mapping.get(name), columns.get(name)) for name in origins}
        )


def look(source: Source, folder: Path, schema: Schema | None = None) -> None:
    """Open the source's tables and read no row of them; with a schema, also whether each file has its columns.

    Raises SchemaError E_MAPPING, E_SCHEMA_MISSING, E_SCHEMA_DUP and E_SCHEMA_INVALID, InputError for what cannot be
    opened or is no table at all, SecretError for a password that others may read. A database is reached, and no query run.
    """
    if schema is None:
        tables = {PERSONS: source} if source.here else {}
        tables |= source.tables
    else:
        tables = sources_of(source, schema)
    for name, table in tables.items():
        with placed(name):
            _look(table, folder, None if schema is None else schema.parts[name])


def _look(source: Source, folder: Path, schema: Schema | None) -> None:
    wanted: list[str] = []
    if schema is not None:
        check_mapping(source.mapping, schema)
        wanted = list(dict.fromkeys(_origins(source, schema).values()))
    if source.path is not None:
        look_at_file(folder / source.path, wanted, source.form)
    else:
        from cohortium_client.source import database

        database.look(database.database_url(source.url or ""), folder=folder, password=_password(source, folder))


def _origins(source: Source, schema: Schema) -> dict[str, str]:
    """The table's names of the schema's columns, the person's included."""
    names = [*schema.names, *([schema.person] if schema.person is not None else [])]
    return {name: origin(name, source.mapping) for name in names}


def _stored_parts(source: Source, folder: Path, wanted: list[str], faults: Faults) -> Iterator[pd.DataFrame]:
    if source.path is not None:
        return read_file(folder / source.path, wanted, form=source.form, faults=faults)
    from cohortium_client.source import database

    url, query, password = database.database_url(source.url or ""), source.query or "", _password(source, folder)
    return database.query_parts(url, query, wanted, folder=folder, password=password, faults=faults)


def _password(source: Source, folder: Path) -> str | None:
    if source.password_file is None:
        return None
    from cohortium_client.source.database import read_password

    return read_password(folder / source.password_file)


def _column(values: pd.Series, rule: ColumnMapping | None, column: Column | None) -> pd.Series:
    if values.dtype == object and not set(map(type, values.to_numpy())) <= _PLAIN:
        values = pd.Series([plain(v) for v in values], values.index, dtype=object)
    return values if rule is None else apply_mapping(rule, values, column)
