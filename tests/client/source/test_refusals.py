"""Every way in which a database is not reached or refuses is reported with its own cause, and without a word of the database's."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import struct
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from enrolment import written
from hidden_value import NUMBERS, refusal
from postgres import PASSWORDS, READER, Cluster, password_file, postgresql
from readiness import free_ports
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError
from study_document import document
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.data.columns import Boolean
from cohortium.data.readers.tables import read_table
from cohortium.data.schema import Schema, load_schema
from cohortium.errors import CODES, InputError, MembershipError, StudyError
from cohortium.federation.kit import load_kit
from cohortium.federation.membership import load_application
from cohortium.federation.probe import load_certificate
from cohortium.study.study import Study, study_from_document
from cohortium_client.custodian.institution import load_institution
from cohortium_client.source.refusals import not_reached, place_of, refused
from cohortium_client.source.source import Source, load_source
from cohortium_server.membership.provisioning import provision

__all__ = ["postgresql"]
runner = CliRunner()
CANARY = "SECRET-CANARY"
pytest.importorskip("psycopg")


class PostgreSQL:
    """Something that answers as PostgreSQL does until it refuses. state and text: of its refusal. tls: what it shows."""

    def __init__(
        self, state: str = "", text: str = "", tls: ssl.SSLContext | None = None, silent: bool = False
    ) -> None:
        self.state, self.text, self.tls, self.silent = state, text, tls, silent
        self.listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> int:
        Thread(target=self._serve, daemon=True).start()
        return int(self.listener.getsockname()[1])

    def __exit__(self, *about: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._answer(self.listener.accept()[0])

    def _answer(self, caller: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error), caller:  # who only looks sends nothing
            if self.silent:
                caller.recv(1)
                caller.recv(4096)
                caller.recv(1)
            length, code = struct.unpack(">II", caller.recv(8))
            while code in (80877103, 80877104):  # SSLRequest, GSSENCRequest
                offered = self.tls is not None and code == 80877103
                caller.sendall(b"S" if offered else b"N")
                if offered:
                    assert self.tls is not None
                    caller = self.tls.wrap_socket(caller, server_side=True)
                length, code = struct.unpack(">II", caller.recv(8))
            caller.recv(length - 8)
            fields = {b"S": "FATAL", b"V": "FATAL", b"C": self.state, b"M": self.text}
            body = b"".join(name + value.encode() + b"\0" for name, value in fields.items()) + b"\0"
            if self.state:
                caller.sendall(b"E" + struct.pack(">I", len(body) + 4) + body)


def refused_at(port: int, folder: Path, options: str = "") -> InputError:
    """The refusal for a database at a port of this machine."""
    error = refusal(Source(url=f"postgresql://reader@127.0.0.1:{port}/clinic{options}", query="SELECT 1 AS n"), folder)
    assert error.code == "E_DATABASE"
    assert error.where == "source.url"
    assert CANARY not in f"{error}"
    assert error.fix.endswith(".")
    return error  # type: ignore[return-value]


# Not reached


def test_its_code_says_nothing_of_a_file() -> None:
    assert "file" not in CODES["E_DATABASE"]


def test_a_database_that_is_stopped(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    error = refused_at(port, tmp_path)
    assert error.what == f"the database at 127.0.0.1:{port} does not answer: Connection refused"
    assert error.fix.startswith("Start the database")


def test_a_database_that_is_stopped_behind_a_socket(tmp_path: Path) -> None:
    error = refusal(Source(url=f"postgresql://reader@/x?host={tmp_path}", query="SELECT 1"), tmp_path)
    assert (error.code, error.what) == ("E_DATABASE", f"no database listens at the socket in {tmp_path}")


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    with PostgreSQL(silent=True) as port:
        assert refused_at(port, tmp_path, "?connect_timeout=2").what.endswith(
            f"127.0.0.1:{port} does not answer: timed out"
        )


def test_something_else_that_answers(tmp_path: Path) -> None:
    with PostgreSQL() as port:
        assert "hangs up before it has let anybody in" in refused_at(port, tmp_path).what


def test_a_database_without_tls(tmp_path: Path) -> None:
    with PostgreSQL() as port:
        assert "offers no TLS, which sslmode asks for" in refused_at(port, tmp_path, "?sslmode=require").what


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path, Path]:
    """What a database shows that is localhost and 127.0.0.1, whom to trust for it, and somebody else."""
    folder = tmp_path_factory.mktemp("tls")
    fed = provision(written(folder, address="localhost:1"), folder / "fed").federation
    (folder / "other").mkdir()
    other = provision(written(folder / "other", address="localhost:1"), folder / "other" / "fed").federation
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(fed.server_certificate, fed.server_key)
    return context, fed.root_certificate, other.root_certificate


def test_a_certificate_that_is_not_trusted(tmp_path: Path, certificates: tuple[ssl.SSLContext, Path, Path]) -> None:
    context, _, other = certificates
    with PostgreSQL(tls=context) as port:
        error = refused_at(port, tmp_path, f"?sslmode=verify-full&sslrootcert={other}")
        assert "is not to be trusted" in error.what and "sslrootcert" in error.fix


def test_a_certificate_of_another_host(tmp_path: Path, certificates: tuple[ssl.SSLContext, Path, Path]) -> None:
    context, root, _ = certificates
    with PostgreSQL("28P01", "password authentication failed", context) as port:
        url = (
            f"postgresql://reader@elsewhere.example:{port}/x?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={root}"
        )
        error = refusal(Source(url=url, query="SELECT 1"), tmp_path)
        assert error.what == f"the certificate of the database at elsewhere.example:{port} is another host's"


def test_a_certificate_that_is_not_there(tmp_path: Path, certificates: tuple[ssl.SSLContext, Path, Path]) -> None:
    with PostgreSQL(tls=certificates[0]) as port:
        error = refused_at(port, tmp_path, f"?sslmode=verify-full&sslrootcert={tmp_path}/none.pem")
        assert "sslrootcert cannot be read" in error.what


ADMITTED = {
    "password": ("28P01", 'password authentication failed for user "{0}"', "account 'reader' (SQLSTATE 28P01, invalid authorization specification)"),
    "peer": ("28000", 'Peer authentication failed for user "{0}"', "does not believe that this is account 'reader'"),
    "rule": ("28000", 'no pg_hba.conf entry for host "10.0.0.1", user "{0}", database "{0}"', "no rule of its pg_hba.conf lets account 'reader' in"),
    "rule without TLS": ("28000", 'no pg_hba.conf entry for host "10.0.0.1", user "{0}", no encryption', "wants TLS, or lets in no account 'reader'"),
    "account": ("28000", 'role "{0}" does not exist', "has no account 'reader'"),
    "login": ("28000", 'role "{0}" is not permitted to log in', "account 'reader' may not log in"),
    "database": ("3D000", 'database "{0}" does not exist', "has no open database 'clinic' (SQLSTATE 3D000, invalid catalog name)"),
    "right": ("42501", 'permission denied for database "{0}"', "may not connect to database 'clinic'"),
    "room": ("53300", "sorry, too many clients already", "has no connection left (SQLSTATE 53300, insufficient resources)"),
    "starting": ("57P03", "the database system is starting up", "is starting or stopping"),
    "another language": ("28P01", "Passwort-Authentifizierung für Benutzer »{0}« fehlgeschlagen", "does not let account 'reader' into 'clinic'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ADMITTED)
def test_an_account_that_is_not_admitted(kind: str, tmp_path: Path) -> None:
    state, text, what = ADMITTED[kind]
    with PostgreSQL(state, text.format(CANARY)) as port:
        error = refused_at(port, tmp_path)
        assert what in error.what
        assert f"127.0.0.1:{port}" in error.what


def test_a_database_of_postgresql_itself(tmp_path: Path, postgresql: Cluster) -> None:
    (tmp_path / "wrong").touch(mode=0o600)
    (tmp_path / "wrong").write_text(CANARY)
    url, query = postgresql.url(), "SELECT 1 AS n"
    right = password_file(tmp_path)
    for source, what in (
        (Source(url=url, query=query, password_file="wrong"), "does not take the password of account 'reader'"),
        (Source(url=url, query=query), "asks for a password, and password_file names none"),
        (Source(url=url.replace("/clinic", "/none"), query=query, password_file=right), "no open database 'none'"),
        (Source(url=url.replace("reader@", "nobody@"), query=query, password_file=right), "account 'nobody'"),
    ):
        error = refusal(source, tmp_path)
        assert (error.code, what in error.what) == ("E_DATABASE", True), error
        assert PASSWORDS[READER] not in str(error) and CANARY not in str(error)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('could not translate host name "db.example" to address: Name or service not known', "the name server does not know the host of db.example:5432"),
        ("connection to server at 10.0.0.1, port 5432 failed: No route to host", "No route to host"),
        ("connection failed: Network is unreachable", "Network is unreachable"),
        ("connection failed: SSL error: tlsv1 alert internal error", "TLS fails with the database at db.example:5432"),
        ('private key file "/x" has group or world access', "others may read the key"),
    ],
)  # fmt: skip
def test_what_a_network_does(text: str, what: str) -> None:
    error = not_reached(
        make_url("postgresql://reader@db.example/clinic"), OperationalError(None, None, Exception(text))
    )
    assert (error.code, what in error.what) == ("E_DATABASE", True)


def test_other_drivers_databases_are_looked_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    strange = OperationalError(None, None, Exception(f"2003: {CANARY}"))
    error = not_reached(make_url(f"mysql+pymysql://reader@127.0.0.1:{port}/clinic"), strange)
    assert error.what == f"the database at 127.0.0.1:{port} does not answer: Connection refused"
    with socket.create_server(("127.0.0.1", port)):
        error = not_reached(make_url(f"mysql+pymysql://reader@127.0.0.1:{port}/clinic"), strange)
    assert "does not let account 'reader' into 'clinic'" in error.what

    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = not_reached(make_url("mysql+pymysql://reader@db.example/clinic"), strange)
    assert error.what == "the name server does not know the host of db.example:3306"
    assert CANARY not in str(error)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://r@db.example/x", "db.example:5432"),
        ("postgresql://r@[2001:db8::1]:7/x", "[2001:db8::1]:7"),
        ("postgresql://r@/x?host=/run/postgresql", "the socket in /run/postgresql"),
        ("postgresql:///x", "this machine's own socket"),
        ("postgresql://r@/x?host=a&host=b&port=1&port=2", "a:1 or b:2"),
        ("postgresql://r@/x?host=a,b", "a:5432 or b:5432"),
    ],
)
def test_where_a_database_is(url: str, place: str) -> None:
    assert place_of(make_url(url)) == place


@pytest.mark.parametrize(
    ("make", "what"), [(lambda p: None, "there is no such file"), (lambda p: p.mkdir(), "it is no file")]
)
def test_a_file_of_sqlite_is_a_file(make: Any, what: str, tmp_path: Path) -> None:
    make(tmp_path / "t.sqlite")
    error = refusal(Source(url="sqlite:///t.sqlite", query="SELECT 1 AS n"), tmp_path)
    assert (error.code, error.where, error.what) == ("E_INPUT_NOT_FOUND", "t.sqlite", what)


# Refused


def asked(postgresql: Cluster, folder: Path, query: str, options: str = "") -> InputError:
    source = Source(url=postgresql.url() + options, query=query, password_file=password_file(folder))
    error = refusal(source, folder)
    assert CANARY not in str(error)
    return error  # type: ignore[return-value]


@pytest.mark.parametrize("before", ["", "SELECT n FROM generate_series(1, 20000) n UNION ALL "])
def test_a_statement_that_takes_too_long(before: str, tmp_path: Path, postgresql: Cluster) -> None:
    """At once, and after parts of it were read."""
    options = "&options=-c%20statement_timeout%3D100"
    error = asked(postgresql, tmp_path, before + "SELECT 1 AS n FROM pg_sleep(30)", options)  # noqa: S608
    assert error.code == "E_SOURCE"
    assert "took longer than the database allows" in error.what
    assert "(SQLSTATE 57014, operator intervention)" in error.what
    assert "statement_timeout" in error.fix


@pytest.mark.parametrize(
    ("query", "state"),
    [
        ("SELECT 1 / 0 AS n", "SQLSTATE 22012, data exception"),
        (f"SELECT '{CANARY}'::text::int AS n", "SQLSTATE 22P02, data exception"),
        ("SELECT n FROM nowhere", "SQLSTATE 42P01, syntax error or access rule violation"),
        ("SELECT n FROM nowhere.nobody", "SQLSTATE 42P01, syntax error or access rule violation"),
        ("SELECT nobody() AS n", "SQLSTATE 42883, syntax error or access rule violation"),
    ],
)
def test_a_query_that_is_refused_says_its_sqlstate(query: str, state: str, tmp_path: Path, postgresql: Cluster) -> None:
    assert f"({state})" in asked(postgresql, tmp_path, query).what


def test_a_sqlstate_that_somebody_made_up_is_not_shown(tmp_path: Path, postgresql: Cluster) -> None:
    """It may be anything, a value too; its class, which is public, is reported where it has one."""
    for state, shown in (("22ABC", "SQLSTATE of class 22, data exception"), ("K7391", "")):
        raises = f"BEGIN RAISE EXCEPTION '{CANARY}' USING ERRCODE = '{state}'; END"
        postgresql.execute(f"CREATE OR REPLACE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS $${raises}$$")
        error = asked(postgresql, tmp_path, "SELECT broken() AS n")
        assert state not in str(error)
        assert error.what == f"the database refused it{f' ({shown})' if shown else ''}"


def test_a_lost_connection_is_reported_as_lost() -> None:
    class OperationalError(Exception):
        sqlstate = None

    url, error = make_url("postgresql://r@db.example/x"), Exception()
    error.orig = OperationalError(CANARY)  # type: ignore[attr-defined]
    reported = refused(url, error, "the database refused it")
    assert reported.what == "the connection to the database at db.example:5432 was lost before all was read"


def test_a_locked_file_is_reported_by_its_number(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "t.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as holder:
        holder.execute("CREATE TABLE t AS SELECT 1 AS n")
        holder.commit()
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        error = refusal(Source(url="sqlite:///t.sqlite?timeout=0.1", query="SELECT n FROM t"), tmp_path)
    assert error.what == "the database refused it: another program keeps the database locked (SQLITE_BUSY)"


# Where the password lies


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return provision(written(tmp_path), tmp_path / "fed").federation.kits / "north.zip"


def joining(kit: Path, folder: Path, *words: str) -> Any:
    url, query = "postgresql://reader@db.example/clinic", "SELECT 1 AS n"
    return runner.invoke(
        build(), ["institution", "join", str(kit), str(folder), "--url", url, "--query", query, *words]
    )


def test_join_takes_a_password_file(kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "pw"
    secret.touch(mode=0o600)
    secret.write_text(f"{CANARY}\n")
    monkeypatch.chdir(tmp_path)
    done = joining(kit, tmp_path / "site", "--password-file", "pw", "--json")
    assert done.exit_code == 0, done.output
    assert load_institution(tmp_path / "site").file.source.password_file == str(secret)
    assert CANARY not in done.output + (tmp_path / "site" / "institution.toml").read_text()


@pytest.mark.parametrize(("mode", "content"), [(0o644, "x"), (0o640, "x"), (0o600, ""), (0o600, "a\nb"), (None, "")])
def test_join_makes_nothing_with_a_password_that_is_none(
    kit: Path, tmp_path: Path, mode: int | None, content: str
) -> None:
    if mode is not None:
        (tmp_path / "pw").write_text(content)
        (tmp_path / "pw").chmod(mode)
    done = joining(kit, tmp_path / "site", "--password-file", str(tmp_path / "pw"))
    assert done.exit_code == 18
    assert "E_SECRET" in done.output
    assert not (tmp_path / "site").exists()


def test_init_takes_it_too_and_a_file_has_no_password(tmp_path: Path) -> None:
    secret = tmp_path / "pw"
    secret.touch(mode=0o600)
    secret.write_text(CANARY)
    words = ["institution", "init", str(tmp_path / "site"), "--name", "north", "--password-file", str(secret), "--json"]
    refused = runner.invoke(build(), [*words, "--data", "a.csv"])
    assert json.loads(refused.stdout)["error"]["what"] == "password_file belongs to a database"
    database = ["--url", "postgresql://reader@db.example/clinic", "--query", "SELECT 1 AS n"]
    assert runner.invoke(build(), [*words, *database]).exit_code == 0


def test_what_join_wrote_is_read(kit: Path, tmp_path: Path, postgresql: Cluster) -> None:
    words = [
        "--url",
        postgresql.url(),
        "--query",
        "SELECT 5 AS n",
        "--password-file",
        str(tmp_path / password_file(tmp_path)),
    ]
    done = runner.invoke(build(), ["institution", "join", str(kit), str(tmp_path / "site"), *words])
    assert done.exit_code == 0, done.output
    source = load_institution(tmp_path / "site").file.source
    assert len(load_source(source, tmp_path / "site", NUMBERS)) == 1


# Words that whoever wrote a file can use


@pytest.mark.parametrize(
    "written", [datetime(2027, 6, 30, 12), datetime(2027, 6, 30), "2027-06-30T12:00:00", "2027-06-30 12:00", "12:00"]
)
def test_an_expiry_with_a_time_is_refused(written: object) -> None:
    said = {**document(), "study": {"name": "s", "expires": written}}
    with pytest.raises(StudyError, match=r"E_PLAN_INVALID: study, expires: it has a time.*write the day alone"):
        study_from_document(said, Schema(columns=(Boolean(name="a"),)))


@pytest.mark.parametrize("written", [20270630, 1e9, 1893456000, True, [1], {"a": 1}, "30.06.2027"])
def test_an_expiry_that_is_no_date_is_refused(written: object) -> None:
    """Not even a number of seconds that would be one."""
    said = {**document(), "study": {"name": "s", "expires": written}}
    with pytest.raises(StudyError, match="study, expires: it is not a date such as 2026-01-31"):
        study_from_document(said, Schema(columns=(Boolean(name="a"),)))


def test_an_expiry_in_python_is_a_date(study: Study) -> None:
    from dataclasses import replace

    assert replace(study, expires=date(2030, 1, 1)).expires == date(2030, 1, 1)
    with pytest.raises(StudyError, match=r"study\.expires: it has a time"):
        replace(study, expires=datetime(2030, 1, 1))


@pytest.fixture
def study() -> Study:
    return study_from_document(document(), Schema(columns=(Boolean(name="a"), Boolean(name="b"))))


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("localhost", "it is not host:port"),
        ("a:70000", "its port is not between"),
        ("1.2.3.999:1", "its host is neither a DNS name nor"),
    ],
)
def test_an_invalid_address_is_refused_with_the_reason(address: str, what: str, tmp_path: Path) -> None:

    with pytest.raises(MembershipError, match=re.escape(f"federation.address: {what}")):
        provision(written(tmp_path, address=address), tmp_path / "fed")


# A file that is there is not called absent


READERS: dict[str, Callable[[Path], object]] = {
    "schema.toml": lambda path: load_schema(path),
    "kit.zip": lambda path: load_kit(path),
    "application.json": lambda path: load_application(path),
    "table.csv": lambda path: read_table(path),
    "root.crt": lambda path: load_certificate(path),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read_is_not_called_absent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("x")

    def refuse(self: Path, *_: object, **__: object) -> Any:  # root may read everything
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=f"E_INPUT_NOT_FOUND: {name}: this user may not read it"):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize("name", [n for n in READERS if n != "root.crt"])
def test_a_folder_and_a_missing_file_are_distinguished(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        READERS[name](tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        READERS[name](tmp_path / name)
