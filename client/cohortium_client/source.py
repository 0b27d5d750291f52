"""Where an institution's data live: files and databases to codes of the study's schema.

The section ``[source]`` of ``institution.toml``:

    path = "table.csv"               # CSV or Parquet, relative to the institution's folder

or, with one SELECT and never a password in the file,

    url = "postgresql://reader@db.example/clinic"
    query = "SELECT patient, sex, age FROM visits"
    password_file = "password"       # mode 0600, relative to the folder

Columns the schema does not ask for are never kept. However many rows there are, they come in parts of bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from pydantic import ConfigDict

from cohortium.encoding import Codes, encode_parts
from cohortium.errors import InputError
from cohortium.schema import Schema
from cohortium.tables import read_parts as read_file
from cohortium_client.database import check_query, database_url, query_parts, read_password
from cohortium_client.mapping import Mapping, apply_mapping, check_mapping, check_rules, origin

_PLAIN = frozenset({type(None), bool, int, float, str})
_WHOLE_DIGITS = 40  # a whole number of more digits is out of every bound and nobody's identifier


@dataclass(frozen=True, kw_only=True)
class Source:
    """path, or url and query; ``mapping`` by the schema's names of the columns.

    drop_bad_rows: rows of a CSV file with too few or too many cells are kept with every cell missing.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    path: str | None = None
    drop_bad_rows: bool = False
    url: str | None = None
    query: str | None = None
    password_file: str | None = None
    mapping: Mapping = field(default_factory=dict)

    def __post_init__(self) -> None:
        """InputError E_SOURCE, SecretError E_SECRET or SchemaError E_MAPPING name what contradicts itself."""
        if self.url is not None:
            database_url(self.url)
        if (self.path is None) == (self.url is None):
            raise _contradiction("it names not exactly one of path and url", "Name a file, or a database.")
        if (self.url is None) != (self.query is None):
            raise _contradiction("url and query belong together", "Give both for a database, neither for a file.")
        if self.url is None and self.password_file is not None:
            raise _contradiction("password_file belongs to a database", "Remove it.")
        if self.query is not None:
            check_query(self.query)
        check_rules(self.mapping)


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
    return given


def _given(block: Any) -> dict[str, Any]:
    values = {f.name: getattr(block, f.name) for f in fields(block)}
    return {k: v for k, v in values.items() if v is not None and v is not False and v != {}}


def load_source(source: Source, folder: Path, schema: Schema) -> Codes:
    """The source's table as codes; relative paths are relative to ``folder``."""
    return encode_parts(read_parts(source, folder, schema), schema)


def read_parts(source: Source, folder: Path, schema: Schema) -> Iterator[pd.DataFrame]:
    """The table in the schema's columns, the person's included, in parts; at least one.

    Raises SchemaError E_MAPPING, E_SCHEMA_MISSING and E_SCHEMA_DUP, InputError for what cannot be read, SecretError
    for a password that others may read. No value raises.
    """
    check_mapping(source.mapping, schema)
    names = [*schema.names, *([schema.person] if schema.person is not None else [])]
    origins = {name: origin(name, source.mapping) for name in names}
    for part in _stored_parts(source, folder, list(dict.fromkeys(origins.values()))):
        yield pd.DataFrame({name: _column(part[origins[name]], name, source.mapping) for name in names})


def _stored_parts(source: Source, folder: Path, wanted: list[str]) -> Iterator[pd.DataFrame]:
    if source.path is not None:
        return read_file(folder / source.path, wanted, drop_bad_rows=source.drop_bad_rows)
    password = None if source.password_file is None else read_password(folder / source.password_file)
    return query_parts(database_url(source.url or ""), source.query or "", wanted, folder=folder, password=password)


def _column(values: pd.Series, name: str, mapping: Mapping) -> pd.Series:
    if values.dtype == object and not set(map(type, values.to_numpy())) <= _PLAIN:
        values = pd.Series([plain(v) for v in values], values.index, dtype=object)
    return apply_mapping(mapping[name], values) if name in mapping else values


def plain(value: object) -> object:
    r"""A driver's value as None, a bool, an int, a float or text, which is what ``encoding`` reads.

    Whole decimals become whole numbers, however long: they may be identifiers. Bytes are UTF-8 text, else their
    hexadecimal digits behind ``\x``. Dates, moments, times and UUIDs are written in the ISO way. Lists and records
    are no values: missing.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(bytes(value))
    return None if isinstance(value, list | tuple | dict | set | frozenset) else str(value)


def _number(value: Decimal) -> int | float | None:
    if value.is_snan():
        return None
    whole = value.is_finite() and value.adjusted() < _WHOLE_DIGITS and value == value.to_integral_value()
    return int(value) if whole else float(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "\\x" + value.hex()
