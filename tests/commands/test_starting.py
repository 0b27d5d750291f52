"""What serves looks first and refuses at once, in one line: before anything is started, and before anybody knocks anywhere."""

from __future__ import annotations

import errno
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from enrolment import admitted, joined, written
from readiness import (
    BROKEN,
    HARMED,
    Relay,
    answering,
    free_ports,
    provisioned,
    relay_fixture,  # noqa: F401 (fixtures)
)
from typer.testing import CliRunner

from cohortium import flower_names
from cohortium.cli import build
from cohortium.errors import CohortiumError, FederationError, InputError, LedgerError, MembershipError, SecretError
from cohortium.system import checks, logs
from cohortium.system.supervision import Child
from cohortium_client.custodian.institution import load_institution
from cohortium_client.flower import knocking
from cohortium_client.flower.knocking import Knocking
from cohortium_client.flower.relay import require_alone
from cohortium_client.metrics import require_watchable
from cohortium_client.preflight import require_ready as require_institution
from cohortium_client.relay import load_relay
from cohortium_client.relay_preflight import require_ready as require_relay
from cohortium_client.socket.gate import LONGEST_SOCKET, claimed, listening, require_short
from cohortium_server.flower.knocks import MOST, WHILE, Knocks
from cohortium_server.flower.roster import pem
from cohortium_server.flower.serving import take
from cohortium_server.membership import authority, presence
from cohortium_server.membership.federation import Federation
from cohortium_server.membership.members import load_members
from cohortium_server.membership.provisioning import provision
from cohortium_server.preflight import require_ready as require_coordinator

TMP = Path("/tmp")  # noqa: S108 - the paths of sockets must be short


def cli(*words: object) -> Any:
    return CliRunner().invoke(build(), [str(w) for w in words])


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts a process, serves or sets up this process' logs is found out."""

    def started(*_: object, **__: object) -> None:
        raise AssertionError("something was started")

    for where in (
        "cohortium.system.supervision.supervise",
        "cohortium_client.flower.relay.supervise",
        "cohortium_client.socket.service.serve",
        "cohortium_server.flower.serving.supervise",
        "os.fork",
    ):
        monkeypatch.setattr(where, started)
    monkeypatch.setattr(logs, "set_up", lambda *_, **__: None)


def one_line(reported: Any, error: type[CohortiumError], code: str) -> str:
    """What a refusal says: one line, with a code, and that kind's exit code."""
    assert reported.exit_code == error.exit_code, reported.output
    (line,) = reported.output.splitlines()
    assert line.startswith(f"{code}: "), line
    assert line.endswith("."), "the next step"
    return line


# The coordinator


@pytest.fixture
def fed(tmp_path: Path) -> Federation:
    made = provisioned(tmp_path, *free_ports(2))
    admitted(made, joined(made))
    return made


def expire(fed: Federation, days: int) -> None:
    """Give the server a certificate of ``days`` days that begins now, or ended as long ago."""
    root, key = authority.load_certificate(fed.root_certificate), authority.load_private_key(fed.root_key, "")
    own = authority.load_private_key(fed.server_key, "")
    now = datetime.now(UTC) if days > 0 else datetime.now(UTC) + timedelta(days=days - 1)
    made = authority.server_certificate(root, key, fed.address.host, own.public_key(), now, max(days, 1))
    fed.server_certificate.write_bytes(authority.pem(made))


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("what", HARMED)
def test_a_coordinator_whose_folder_is_harmed_is_not_served(fed: Federation, what: str) -> None:
    HARMED[what][0](fed)
    result = cli("coordinator", "serve", fed.folder)
    assert result.exit_code >= InputError.exit_code, result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.usefixtures("nothing_starts")
def test_an_expired_certificate_is_refused_and_one_that_expires_soon_is_reported(
    fed: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    expire(fed, -1)
    assert "expired on" in one_line(cli("coordinator", "serve", fed.folder), MembershipError, "E_CERTIFICATE")
    expire(fed, 5)
    presence.home_of(fed.state)
    require_coordinator(fed)
    assert "E_CERTIFICATE: server.crt: it expires on" in caplog.text


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("door", ["listen", "control", "metrics"])
def test_a_port_that_somebody_else_has(tmp_path: Path, door: str) -> None:
    ports = dict(zip(("listen", "control", "metrics"), free_ports(3), strict=True))
    with socket.create_server(("127.0.0.1", ports[door])):
        made = provisioned(tmp_path, ports["listen"], ports["control"], metrics=f"127.0.0.1:{ports['metrics']}")
        result = cli("coordinator", "serve", made.folder)
    assert f"127.0.0.1:{ports[door]}" in one_line(result, FederationError, "E_LINK")


@pytest.mark.usefixtures("nothing_starts")
def test_a_federation_that_is_served_already(fed: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LAST_BREATH", 1e9)  # who lives is not waited for
    lock = presence.hold(fed.state)
    assert lock is not None
    result = cli("coordinator", "serve", fed.folder)
    os.close(lock)
    assert f"process {os.getpid()}" in one_line(result, FederationError, "E_FEDERATION")


def refuse_writes(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checks.os, "fsync", fsync)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_nothing(fed: Federation, number: int, monkeypatch: pytest.MonkeyPatch, relay: Relay) -> None:
    refuse_writes(monkeypatch, number)
    for look in (
        lambda: take(fed),
        lambda: require_relay(load_relay(relay.folder)),
        lambda: require_institution(load_institution(relay.folder.parent)),
    ):
        with pytest.raises(InputError, match=f"E_IO.*{os.strerror(number)}"):
            look()


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3"])
def test_what_the_link_remembers_is_looked_at(fed: Federation, content: bytes) -> None:
    require_coordinator(fed)
    fed.link_database.write_bytes(content)
    with pytest.raises(FederationError, match=r"E_LINK: superlink\.db"):
        require_coordinator(fed)
    fed.link_database.write_bytes(b"")
    require_coordinator(fed)


# The institution


@pytest.fixture
def site(relay: Relay) -> Path:
    return relay.folder.parent


def ready(site: Path) -> None:
    require_institution(load_institution(site))


def named(site: Path, text: str) -> None:
    path = site / "institution.toml"
    path.write_text(f"{text}\n{path.read_text()}")


def another_socket(path: Path) -> None:
    path.write_text(path.read_text().replace("custodian.sock", "other.sock"))


Broken = Callable[[Path], object]
UNFIT: dict[str, tuple[Broken, type[CohortiumError], str]] = {
    "no table": (lambda s: (s / "table.csv").unlink(), InputError, "E_INPUT_NOT_FOUND"),
    "a table of no bytes": (lambda s: (s / "table.csv").write_text(""), InputError, "E_EMPTY"),
    "no policy": (lambda s: (s / "policy.toml").unlink(), InputError, "E_INPUT_NOT_FOUND"),
    "no key": (lambda s: (s / "institution.key").unlink(), SecretError, "E_SECRET"),
    "a key that others read": (lambda s: (s / "institution.key").chmod(0o644), SecretError, "E_SECRET"),
    "a folder that others write": (lambda s: s.chmod(0o777), InputError, "E_INSTITUTION"),
    "a socket whose path is too long": (lambda s: named(s, f'socket = "{"x" * 100}"'), FederationError, "E_SOCKET"),
    "a socket in no folder": (lambda s: named(s, 'socket = "no/custodian.sock"'), FederationError, "E_SOCKET"),
    "a file where the socket goes": (lambda s: (s / "custodian.sock").touch(), FederationError, "E_SOCKET"),
    "a ledger that is none": (lambda s: (s / "ledger.sqlite").write_bytes(b"x" * 4096), LedgerError, "E_LEDGER_UNAVAILABLE"),
    "a ledger in no folder": (lambda s: named(s, 'ledger = "no/ledger.sqlite"'), InputError, "E_IO"),
    "a relay's key that everybody reads": (lambda s: (s / "relay/node.key").chmod(0o644), SecretError, "E_SECRET"),
    "a relay of another socket": (lambda s: another_socket(s / "relay/relay.toml"), InputError, "E_INSTITUTION"),
}  # fmt: skip


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("what", UNFIT)
def test_an_institution_that_is_not_fit_is_not_served(short: Path, what: str) -> None:
    harm, error, code = UNFIT[what]
    harm(short)
    one_line(cli("institution", "serve", short), error, code)


@pytest.fixture
def short(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An institution that has joined, with a table, where the path of its socket is short enough."""
    with tempfile.TemporaryDirectory(prefix="st-", dir=TMP) as folder:
        site = relay.folder.parent.rename(Path(folder) / "north")
        (site / "table.csv").write_text("a,b\n1,2\n")
        text = (site / "institution.toml").read_text()
        (site / "institution.toml").write_text(text.replace(source_of(text), 'path = "table.csv"'))
        ready(site)
        yield site


def source_of(text: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith("path = "))
    return line


@pytest.mark.usefixtures("nothing_starts")
def test_an_institution_that_is_served_already(short: Path) -> None:
    opened = load_institution(short)
    with opened.ledger().hold():
        result = cli("institution", "serve", short)
        assert "another process holds it" in one_line(result, LedgerError, "E_LEDGER_UNAVAILABLE")
    with claimed(opened.socket.absolute()):
        result = cli("institution", "serve", short, "--without-relay")
        assert "another custodian" in one_line(result, FederationError, "E_SOCKET")


@pytest.mark.usefixtures("nothing_starts")
def test_a_relay_connects_when_its_custodian_serves(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Child] = []
    monkeypatch.setattr("cohortium.system.supervision.supervise", lambda children, **_: started.extend(children) or 0)
    result = cli("institution", "serve", short)
    assert result.exit_code == 0, result.output
    custodian, carrier = started
    assert (custodian.name, carrier.name) == ("custodian", "relay")
    assert custodian.after()
    assert not carrier.after()
    with listening(load_institution(short).socket.absolute(), 0o600):
        assert carrier.after()
    assert not carrier.after()


@pytest.mark.usefixtures("nothing_starts")
def test_metrics_where_somebody_else_listens(short: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        assert at in one_line(cli("institution", "serve", short, "--metrics", at), InputError, "E_METRICS")
    result = cli("institution", "serve", short, "--metrics-file", tmp_path / "no" / "x.prom")
    one_line(result, InputError, "E_IO")
    require_watchable(None, tmp_path / "x.prom")


def test_the_longest_path_of_a_socket_is_the_one_that_can_be_served() -> None:
    for length, fits in ((LONGEST_SOCKET, True), (LONGEST_SOCKET + 1, False)):
        path = TMP / ("x" * (length - len(f"{TMP}/")))
        if fits:
            require_short(path)
            with claimed(path) as inner, socket.socket(socket.AF_UNIX) as probe:
                probe.bind(str(inner / "grpc"))
                (inner / "grpc").unlink()
            inner.rmdir()
        else:
            with pytest.raises(FederationError, match=f"E_SOCKET.*{length} bytes.*{LONGEST_SOCKET}"):
                require_short(path)


def test_joining_warns_of_a_path_that_is_too_long(tmp_path: Path) -> None:
    fed = provision(written(tmp_path), tmp_path / "fed").federation
    (tmp_path / "t.csv").write_text("a\n1\n")
    for folder, warned in ((tmp_path / ("x" * 99), True), (Path(os.path.relpath(tmp_path / "n")), False)):
        result = CliRunner().invoke(
            build(),
            ["institution", "join", str(fed.kits / "north.zip"), str(folder), "--data", str(tmp_path / "t.csv")],
        )
        assert result.exit_code == 0, result.output
        too_long = len(os.fsencode((folder / "custodian.sock").absolute())) > LONGEST_SOCKET
        assert ("serve will refuse this: E_SOCKET" in result.output) is too_long
        assert too_long or not warned


# The relay


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("what", sorted(set(BROKEN) - {"no application"}))
def test_a_relay_that_is_not_fit_is_not_served(relay: Relay, what: str) -> None:
    relay.change("../custodian.sock", str(TMP / "c.sock"))
    require_relay(load_relay(relay.folder))
    BROKEN[what][0](relay)
    result = cli("institution", "relay", relay.folder)
    assert result.exit_code >= InputError.exit_code
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith("E_")


def test_an_application_that_was_moved_away_is_no_reason_not_to_serve(relay: Relay) -> None:
    relay.change("../custodian.sock", str(TMP / "c.sock"))
    (relay.folder / "application.json").unlink()
    require_relay(load_relay(relay.folder))


def test_a_relays_root_certificate_that_has_expired(relay: Relay) -> None:
    relay.change("../custodian.sock", str(TMP / "c.sock"))
    began = datetime.now(UTC) - timedelta(days=authority.ROOT_DAYS + 1)
    root = authority.root_certificate("clinics", "localhost", authority.new_private_key(), began)
    (relay.folder / "root.crt").write_bytes(authority.pem(root))
    with pytest.raises(MembershipError, match=r"E_CERTIFICATE.*expired"):
        require_relay(load_relay(relay.folder))


def test_a_relay_is_served_once(relay: Relay) -> None:
    opened = load_relay(relay.folder)
    require_alone(opened)
    with pytest.raises(InputError, match=f"E_INSTITUTION.*process {os.getpid()} serves this relay"):
        require_alone(opened)


# What is temporary is waited for


def response(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "https://localhost")
    return httpx.HTTPStatusError("SECRET-CANARY", request=request, response=httpx.Response(status, request=request))


def knocked(relay: Relay, *answers: Any, caplog: pytest.LogCaptureFixture) -> tuple[list[float], list[str]]:
    """How long a node waits between knocks that are answered so, and what it writes down."""
    caplog.set_level(logging.INFO)
    waited: list[float] = []
    reported = iter(answers)

    def knock(client: object, request: object) -> object:
        if isinstance(answer := next(reported), Exception):
            raise answer
        return answer

    door = Knocking(load_relay(relay.folder), knock, waited.append)
    assert door("client", SimpleNamespace(heartbeat_interval=10.0)) == "in"
    return waited, [r.getMessage() for r in caplog.records if r.name == "cohortium.node"]


def test_a_node_waits_for_a_coordinator_that_is_not_there_with_one_line(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    waited, lines = knocked(relay, *[httpx.ConnectError("SECRET-CANARY")] * 20, "in", caplog=caplog)
    assert len(lines) == 2
    assert lines[0].startswith("E_LINK: localhost:1: nobody answers over TLS")
    assert lines[0].endswith("Trying again until it succeeds.")
    assert "admitted the node" in lines[1]
    assert waited == sorted(waited)
    assert waited[0] <= 1.0
    assert waited[-1] == knocking.LONGEST
    assert "SECRET-CANARY" not in "".join(lines)


def test_a_node_says_why_it_is_kept_out_once_for_each_reason(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    with answering(relay.fed, {flower_names.Call.ACTIVATE_NODE: 412}) as port:
        relay.lead_to(port)
        _, lines = knocked(relay, *[response(412)] * 5, response(503), response(503), "in", caplog=caplog)
    assert [line.partition(": ")[0] for line in lines[:-1]] == ["E_MEMBER", "E_LINK"]
    assert "has not admitted" in lines[0]
    assert "HTTP 503" in lines[1]


def test_a_node_that_is_counted_still_says_so(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    with answering(relay.fed, {flower_names.Call.ACTIVATE_NODE: 400}) as port:
        relay.lead_to(port)
        _, lines = knocked(relay, *[response(412)] * 5, "in", caplog=caplog)
    assert len(lines) == 2
    assert "still counts the previous node" in lines[0]


def test_a_certificate_that_is_not_to_be_trusted_is_waited_for(
    relay: Relay, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = provision(written(tmp_path / "other", address="localhost:1"), tmp_path / "other" / "fed").federation
    with answering(other, {}) as port:
        relay.lead_to(port)
        _, lines = knocked(relay, *[httpx.ConnectError("certificate verify failed")] * 3, "in", caplog=caplog)
    assert lines[0].startswith("E_CERTIFICATE")
    assert len(lines) == 2


def test_who_only_asks_whether_a_node_is_known_waits_for_nothing(relay: Relay) -> None:
    def knock(client: object, request: object) -> object:
        raise response(412)

    with pytest.raises(httpx.HTTPStatusError):
        Knocking(load_relay(relay.folder), knock)("client", SimpleNamespace(heartbeat_interval=0.0))


def test_attempts_to_reach_who_is_not_there_are_one_line() -> None:
    stream = StringIO()
    logs.set_up("node", quoting=True, stream=stream)
    flower = logging.getLogger(flower_names.MODULE)
    for _ in range(2):
        for pause in (1.0, 2.0, 4.0):
            flower.warning(flower_names.RETRYING, pause)
        flower.info(flower_names.RECONNECTED, 7.0, 4)
    reported = stream.getvalue().splitlines()
    assert ["retrying" in line for line in reported] == [True, False, True, False]


# What the coordinator's log says of nodes that knock


def knock_of(key: bytes, code: int = 2004) -> logging.LogRecord:
    """As Flower reports a node that it has refused."""
    text = f"[{flower_names.Call.ACTIVATE_NODE}][ApiError:{code}] {flower_names.KNOCKED}{key!r}, exception: No SuperNode found."
    return logging.LogRecord(flower_names.MODULE, logging.ERROR, "http.py", 77, text, (), None)


def told_of(knocks: Knocks, *records: logging.LogRecord) -> list[tuple[str, str]]:
    return [(r.levelname, r.getMessage()) for r in records if knocks.filter(r)]


def test_a_node_that_knocks_again_and_again_is_one_line_at_info(fed: Federation) -> None:
    now = 0.0
    knocks = Knocks(fed, lambda: now)
    key = pem(load_members(fed)["north"].node)
    reported = told_of(knocks, *(knock_of(key) for _ in range(6)))
    assert len(reported) == 1
    level, line = reported[0]
    assert level == "INFO"
    assert "north" in line
    assert "BEGIN PUBLIC KEY" not in line
    assert told_of(knocks, knock_of(key, 2003)) == [], "that is institution check"
    now += WHILE + 1
    assert len(told_of(knocks, *(knock_of(key) for _ in range(6)))) == 1
    other = logging.LogRecord(flower_names.MODULE, logging.ERROR, "x.py", 1, "something else", (), None)
    assert told_of(knocks, other) == [("ERROR", "something else")]


def test_strangers_cannot_fill_the_log(fed: Federation) -> None:
    knocks = Knocks(fed, lambda: 0.0)
    reported = told_of(knocks, *(knock_of(f"-----BEGIN PUBLIC KEY-----\n{n}".encode()) for n in range(5 * MOST)))
    assert len(reported) == MOST
    assert all(level == "INFO" and "no member's" in line and "BEGIN" not in line for level, line in reported)
    assert told_of(Knocks(fed, lambda: 0.0), knock_of(b"x" * 9, 2004))
    assert Knocks(fed, lambda: 0.0).filter(logging.LogRecord("x", 40, "x", 1, flower_names.KNOCKED, (), None))


def test_no_line_holds_a_key_whoever_writes_it() -> None:
    stream = StringIO()
    logs.set_up("link", quoting=True, stream=stream)
    body = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE"
    for key in (f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----", f"-----BEGIN PUBLIC KEY-----\n{body}"):
        logging.getLogger(flower_names.MODULE).error("refused %s", key.encode())
    assert body not in stream.getvalue()
    assert stream.getvalue().count("(a key)") == 2
