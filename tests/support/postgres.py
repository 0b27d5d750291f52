"""A throw-away PostgreSQL for tests: one cluster a session, on a Unix socket in a folder of its own.

Tests ask for the fixture ``postgresql`` and import it from here; they are skipped, saying so, where PostgreSQL or its
driver is not installed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

OWNER, READER = "owner", "reader"
PASSWORDS = {OWNER: "owner's word", READER: "reader's word"}


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL with a database ``clinic``, an account that owns it and one that may only read."""

    folder: Path

    def url(self, account: str = READER) -> str:
        """An address without a password."""
        return f"postgresql://{account}@/clinic?host={self.folder}"

    def connect(self, account: str = OWNER) -> Any:
        import psycopg

        where = {"host": str(self.folder), "dbname": "clinic", "autocommit": True}
        return psycopg.connect(user=account, password=PASSWORDS[account], **where)

    def execute(self, *statements: str) -> None:
        with contextlib.closing(self.connect()) as connection:
            for statement in statements:
                connection.execute(statement)


def password_file(folder: Path, account: str = READER) -> str:
    """A file of mode 0600 with the account's password; its name."""
    path = folder / f"{account}.password"
    path.touch(mode=0o600)
    path.write_text(PASSWORDS[account] + "\n")
    return path.name


@pytest.fixture(scope="session")
def postgresql() -> Cluster:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if _program("initdb") is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    return _cluster()


def _program(name: str) -> str | None:
    elsewhere = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))  # where Debian keeps them off the PATH
    return shutil.which(name) or (str(elsewhere[-1]) if elsewhere else None)


@functools.cache
def _cluster() -> Cluster:
    """Started once, stopped when Python ends."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path must be short
    atexit.register(_stop, folder)
    secret = folder / "secret"
    secret.write_text(PASSWORDS[OWNER])
    if os.getuid() == 0:
        for path in (folder, secret):
            shutil.chown(path, "nobody")
    how = ["--auth=scram-sha-256", f"--username={OWNER}", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"]
    _run("initdb", "--no-sync", *how, f"--pgdata={folder / 'data'}", folder=folder)
    options = f"-c listen_addresses='' -c fsync=off -c unix_socket_directories={folder}"
    _run("pg_ctl", "-w", "-D", "data", "-l", "log", "-o", options, "start", folder=folder)
    with contextlib.closing(_maintenance(folder)) as connection:
        connection.execute("CREATE DATABASE clinic")
    cluster = Cluster(folder)
    cluster.execute(
        f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORDS[READER].replace(chr(39), chr(39) * 2)}'",
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {READER}",
    )
    return cluster


def _maintenance(folder: Path) -> Any:
    import psycopg

    return psycopg.connect(host=str(folder), user=OWNER, password=PASSWORDS[OWNER], dbname="postgres", autocommit=True)


def _run(name: str, *arguments: str, folder: Path) -> None:
    """PostgreSQL refuses to run as root, so that there it runs as nobody."""
    user = "nobody" if os.getuid() == 0 else None
    program = _program(name)
    assert program is not None
    with (folder / f"{name}.out").open("w+") as out:  # a pipe would be held open by the server
        done = subprocess.run([program, *arguments], user=user, cwd=folder, stdout=out, stderr=out, check=False)
        out.seek(0)
        assert done.returncode == 0, out.read()


def _stop(folder: Path) -> None:
    with contextlib.suppress(AssertionError):
        _run("pg_ctl", "-D", "data", "-m", "immediate", "stop", folder=folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def table_name(postgresql: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name that no other test uses; a table of that name is dropped afterwards."""
    name = f"t{abs(hash(request.node.nodeid))}"
    yield name
    postgresql.execute(f'DROP TABLE IF EXISTS "{name}"')
