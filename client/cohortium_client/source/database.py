"""An SQL database as a source: the rows of one query, in parts, in a transaction that cannot write.

SQLAlchemy speaks to any database it has a driver for. PostgreSQL and SQLite are opened read-only, so that the database
itself refuses a query that writes; whatever the database, nothing is ever committed. Rows come through a cursor at
the database's side, ``ROWS`` at a time. Database errors quote values and statements, so none of their texts is passed
on: our messages are looked up by the error's public number (refusals.py).
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import URL, Connection, CursorResult, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from cohortium.data.readers.cells import Unreadable, text_or_why_not
from cohortium.data.readers.faults import ENCODING, Faults
from cohortium.errors import InputError, SchemaError, SecretError
from cohortium.system.extras import how_to_install
from cohortium.system.platforms import others_may
from cohortium_client.source.refusals import not_reached, refused

ROWS = 10_000
MAX_PASSWORD = 4096
CONNECT_SECONDS = 10
_LOG = "cohortium_source"
# Moments, durations and times that Python's own types cannot hold (infinity, years before 1 and after 9999, 24:00)
# would end the query, as would JSON that is too deep; as text they are read, or missing, row by row. So is text of a
# database that does not know its encoding (SQL_ASCII). 18 is "char", 0 every type that the driver does not know.
_AS_TEXT: tuple[str | int, ...] = (
    *("date", "timestamp", "timestamptz", "time", "timetz", "interval", "json", "jsonb"),
    *("text", "varchar", "bpchar", "name", 18, 0),
)
_FIRST = {"postgresql": ("SET LOCAL DateStyle = 'ISO'", "SET LOCAL TimeZone = 'UTC'")}
_SELECT = re.compile(r"(\s|--[^\n]*(\n|$)|/\*.*?\*/|\()*(select|with)\b", re.IGNORECASE | re.DOTALL)
_SECRET_KEY = re.compile(r"passw|pwd|secret|token", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(passw(or)?d|pwd)\s*=", re.IGNORECASE)


def database_url(text: str) -> URL:
    """The address in ``url``; SecretError E_SECRET if a password is part of it, InputError E_SOURCE if it is none."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        fix = 'Write it like "postgresql://reader@db.example/clinic" or "sqlite:///table.sqlite".'
        raise _source_error("source.url", "it is not the address of a database", fix) from None
    values = [v for value in url.query.values() for v in ([value] if isinstance(value, str) else value)]
    in_options = any(_SECRET_KEY.search(k) for k in url.query) or any(_SECRET_VALUE.search(v) for v in values)
    if url.password is not None or in_options:
        fix = "Take it out, change it, and put the new one into a file of mode 0600 that password_file names."
        raise SecretError("E_SECRET", "source.url", "a password is written into it", fix)
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def check_query(query: str) -> None:
    """InputError E_SOURCE unless ``query`` begins as a SELECT does. The database ensures that it only reads."""
    if not _SELECT.match(query):
        raise _source_error("source.query", "it is not a SELECT", "Write one SELECT that gives the study's columns.")


def read_password(path: Path) -> str:
    """The file's only line; SecretError E_SECRET unless it is a file that nobody but its owner may read."""
    try:
        if not path.is_file():
            raise _bad_secret("there is no such file", f"Write the password into it and run chmod 600 {path.name}.")
        with path.open("rb") as file:
            if others_may(os.fstat(file.fileno()).st_mode, 0o077):
                raise _bad_secret("others may read it", f"Run chmod 600 {path.name}, and change the password.")
            password = file.read(MAX_PASSWORD).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise _bad_secret("it cannot be read as text", "Check its owner, and that it is UTF-8.") from None
    if not password or "\n" in password or "\0" in password:
        raise _bad_secret("it does not hold one line", "Write the password into its first line, and nothing else.")
    return password


def query_parts(
    url: URL,
    query: str,
    wanted: Sequence[str],
    *,
    folder: Path,
    password: str | None = None,
    faults: Faults | None = None,
) -> Iterator[pd.DataFrame]:
    """The columns ``wanted`` of the query's rows in parts of at most ROWS rows, at least one; cells are objects.

    faults: records texts that cannot be read, which count as missing. A relative SQLite file lies in ``folder``.
    Raises InputError E_DATABASE if the database cannot be reached, E_INPUT_NOT_FOUND if it is a
    file that does not exist, E_SOURCE if it refuses or aborts the query, and SchemaError E_SCHEMA_MISSING or E_SCHEMA_DUP.
    """
    engine = _engine(_address(url, folder, password))
    try:
        with _transaction(engine) as connection:
            result = _executed(connection, query)
            places = _places(list(result.keys()), wanted)
            rows, first, faults = _fetched(url, result), 1, faults or Faults("source.query")
            yield _part(rows, places, first, faults)
            while rows := _fetched(url, result):
                first += ROWS
                yield _part(rows, places, first, faults)
    finally:
        engine.dispose()


def look(url: URL, *, folder: Path, password: str | None = None) -> None:
    """Reach the database and begin a transaction; raises as ``query_parts`` does. The query is not run: it may take long."""
    engine = _engine(_address(url, folder, password))
    try:
        with _transaction(engine):
            pass
    finally:
        engine.dispose()


def _part(rows: Sequence[Sequence[Any]], places: dict[str, int], first: int, faults: Faults) -> pd.DataFrame:
    def cell(value: Any, row: int, name: str) -> Any:
        if isinstance(value, str):
            value = text_or_why_not(value)
        if isinstance(value, Unreadable):
            faults.note(value.kind, row, name)
            return None
        return value

    return pd.DataFrame(
        {
            name: pd.Series([cell(row[i], number, name) for number, row in enumerate(rows, first)], dtype=object)
            for name, i in places.items()
        }
    )


def _places(names: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
    """Where the wanted columns stand in the result."""
    for name in wanted:
        if name not in names:
            what, fix = f"column {name!r} is not in its result", "Add it, or map another column to it."
            raise SchemaError("E_SCHEMA_MISSING", "source.query", what, fix)
        if names.count(name) > 1:
            what, fix = f"column {name!r} is twice in its result", "Name the columns one by one, with AS."
            raise SchemaError("E_SCHEMA_DUP", "source.query", what, fix)
    return {name: names.index(name) for name in wanted}


# The database


def _address(url: URL, folder: Path, password: str | None) -> URL:
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise _source_error("source.url", "it names no file", 'Write it like "sqlite:///table.sqlite".')
        path = (folder / url.database).resolve()
        return url.set(database=path.as_uri()).update_query_dict({"mode": "ro", "uri": "true"})
    if backend == "postgresql" and "PGPASSWORD" in os.environ:
        fix = "Unset it, change the password, and put the new one into a file that password_file names."
        raise SecretError("E_SECRET", "PGPASSWORD", "a password lies in the environment", fix)
    return url if password is None else url.set(password=password)


def _engine(url: URL) -> Engine:
    """An engine that connects once and keeps nothing; E_SOURCE where Python lacks the driver."""
    logging.getLogger(f"sqlalchemy.engine.Engine.{_LOG}").setLevel(logging.WARNING)  # below, it writes down every row
    mine = url.drivername == "postgresql+psycopg"
    options: dict[str, Any] = {"client_encoding": "utf8"} if mine else {}
    if mine and "connect_timeout" not in url.query:
        options["connect_timeout"] = CONNECT_SECONDS
    try:
        engine = create_engine(url, poolclass=NullPool, logging_name=_LOG, connect_args=options)
    except (ImportError, NoSuchModuleError):
        raise _no_driver(url) from None
    except (SQLAlchemyError, ValueError, TypeError):
        raise _source_error("source.url", "its options are not understood", "Remove what follows the ?.") from None
    if engine.dialect.is_async:
        raise _source_error("source.url", "its driver is an asynchronous one", "Name another driver, or none.")
    if mine:
        event.listen(engine, "connect", _as_text)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _any_text)
    return engine


def _as_text(connection: Any, _record: object) -> None:
    """Text as PostgreSQL stores it, decoded here cell by cell: the server would raise an error for what it cannot convert."""
    from psycopg.adapt import Loader  # an optional dependency

    encoding = connection.info.parameter_status("server_encoding")
    connection.autocommit = True
    connection.execute(f"SET client_encoding TO '{encoding}'")
    connection.autocommit = False
    codec = "utf-8" if encoding == "SQL_ASCII" else connection.info.encoding  # the former does not know its own

    class AnyText(Loader):
        def load(self, data: Any) -> str | Unreadable:
            try:
                return text_or_why_not(bytes(data).decode(codec))
            except UnicodeDecodeError:
                return Unreadable(ENCODING)

    for kind in _AS_TEXT:
        connection.adapters.register_loader(kind, AnyText)


def _any_text(connection: Any, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.text_factory = text_or_why_not


def _no_driver(url: URL) -> InputError:
    kind = url.drivername.partition("+")[0]
    fix = f"Install SQLAlchemy's driver for {kind}, or correct the address."
    if kind in ("postgresql", "postgres"):
        fix = f"Begin the address with postgresql://, and install the driver. {how_to_install('postgresql')}"
    return _source_error("source.url", f"no driver for {kind} databases is installed", fix)


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that reads only, and is rolled back whatever happens."""
    backend = engine.dialect.name
    try:
        connection = engine.connect()
    except (SQLAlchemyError, ValueError, TypeError) as error:
        raise not_reached(engine.url, error) from None
    with connection:
        try:
            if backend == "postgresql":
                connection = connection.execution_options(postgresql_readonly=True)
            for statement in _FIRST.get(backend, ()):
                connection.exec_driver_sql(statement)
        except SQLAlchemyError as error:
            raise refused(engine.url, error, "the database does not start reading") from None
        yield connection  # leaving ``with`` rolls back: nothing here ever commits


def _executed(connection: Connection, query: str) -> CursorResult[Any]:
    """The query as it is written (no placeholder in it is special), with a cursor at the database's side."""
    options = {"yield_per": ROWS, "no_parameters": True}
    try:
        result = connection.exec_driver_sql(query.strip().rstrip(";"), execution_options=options)
    except (SQLAlchemyError, ValueError) as error:
        raise refused(connection.engine.url, error, "the database refused it") from None
    if not result.returns_rows:
        raise _source_error("source.query", "it gives no table", "Write one SELECT that gives the study's columns.")
    return result


def _fetched(url: URL, result: CursorResult[Any]) -> Sequence[Sequence[Any]]:
    try:
        return result.fetchmany(ROWS)
    except (SQLAlchemyError, ValueError) as error:
        raise refused(url, error, "the database broke it off after it had begun") from None


# Errors


def _source_error(where: str, what: str, fix: str) -> InputError:
    return InputError("E_SOURCE", where, what, fix)


def _bad_secret(what: str, fix: str) -> SecretError:
    return SecretError("E_SECRET", "source.password_file", what, fix)
