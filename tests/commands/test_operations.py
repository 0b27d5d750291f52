"""Preflights on both sides, where everything fits and where one thing does not, and the exit codes of every command."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from click import Command, Group
from click.exceptions import Exit
from click.testing import CliRunner as ClickRunner
from enrolment import admitted, joined, written
from readiness import (
    ACTIVATE,
    BROKEN,
    HARMED,
    Relay,
    Statuses,
    answering,
    failing,
    free_ports,
    lines,
    provisioned,
    relay_fixture,  # noqa: F401 (fixtures)
)
from typer.main import get_command
from typer.testing import CliRunner

from cohortium import errors, flower_names
from cohortium.cli import build
from cohortium.errors import CohortiumError, MembershipError
from cohortium.federation.probe import ask
from cohortium.flower.internals import private
from cohortium.flower_names import Api, Call
from cohortium.system import checks, logs
from cohortium.system.address import Address
from cohortium.system.checks import in_units, lasting, memory_left
from cohortium.system.output import guarded
from cohortium_client import relay_preflight as relay_side
from cohortium_client.preflight import preflight as institution_preflight
from cohortium_server import preflight as coordinator_side
from cohortium_server.commands import running
from cohortium_server.membership import authority, presence
from cohortium_server.membership.federation import Federation
from cohortium_server.membership.provisioning import provision

runner = CliRunner()


# The institution's side


def test_a_relay_that_is_ready(relay: Relay) -> None:
    """The coordinator refuses to make the node active for no time, and so has found it."""
    found = relay.checked_over({ACTIVATE: 400})
    assert failing(found) == {}
    names = ["relay's folder", "relay's key", "relay's user", "relay's socket", "root certificate", "Flower"]
    assert [c.name for c in found] == [*names, "proxy", "coordinator", "clocks", "membership"]
    reported = {c.name: c.found for c in found}
    assert relay.joined.application.fingerprint in reported["relay's key"]
    assert "5 s ahead or 305 s behind" in reported["clocks"]


@pytest.mark.parametrize(
    ("status", "what"),
    [(412, "has not admitted"), (401, "does not believe"), (404, "HTTP 404"), (200, "HTTP 200"), (503, "HTTP 503")],
)
def test_what_the_coordinator_says_of_the_node(relay: Relay, status: int, what: str) -> None:
    failed = failing(relay.checked_over({ACTIVATE: status}))
    assert list(failed) == ["membership"]
    assert what in failed["membership"]


@pytest.mark.parametrize(
    ("ahead", "sound"), [(0, True), (-3, True), (50, True), (-6, False), (-1000, False), (70, False), (400, False)]
)
def test_clocks_that_differ(relay: Relay, ahead: float, sound: bool) -> None:
    """ahead: by how much the coordinator's clock is; the institution's may be behind it for longer than ahead of it."""
    failed = failing(relay.checked_over({ACTIVATE: 400}, ahead))
    assert list(failed) == ([] if sound else ["clocks"])


def test_nobody_answers(relay: Relay) -> None:
    failed = failing(relay.checked())
    assert list(failed) == ["coordinator"]
    assert "E_LINK" in failed["coordinator"]


def test_another_ca(relay: Relay, tmp_path: Path) -> None:
    other = provision(written(tmp_path / "other", address="localhost:1"), tmp_path / "other" / "fed").federation
    with answering(other, {}) as port:
        relay.lead_to(port)
        failed = failing(relay.checked())
    assert list(failed) == ["coordinator"]
    assert "E_CERTIFICATE" in failed["coordinator"]


def test_a_server_of_another_name(relay: Relay, tmp_path: Path) -> None:
    with answering(relay.fed, {}) as port, pytest.raises(MembershipError, match="E_CERTIFICATE"):
        ask(Address("127.0.0.1", port), "/", relay.fed.root_certificate, "elsewhere.example.org")


@pytest.mark.parametrize(("days", "sound"), [(31, True), (29, False), (-1, False)])
def test_a_root_certificate_that_ends(relay: Relay, days: int, sound: bool) -> None:
    began = datetime.now(UTC) - timedelta(days=authority.ROOT_DAYS - days)
    root = authority.root_certificate("clinics", "localhost", authority.new_private_key(), began)
    (relay.folder / "root.crt").write_bytes(authority.pem(root))
    failed = failing(relay.checked())
    assert ("root certificate" in failed) is not sound
    if not sound:
        assert ("expired" if days < 0 else "expires") in failed["root certificate"]


def test_a_certificate_of_tomorrow() -> None:
    root = authority.root_certificate(
        "clinics", "localhost", authority.new_private_key(), datetime.now(UTC) + timedelta(days=1)
    )
    with pytest.raises(MembershipError, match="not valid before"):
        lasting(root, "root.crt", "Wait.")


@pytest.mark.parametrize("what", BROKEN)
def test_a_relays_folder_that_is_broken(relay: Relay, what: str) -> None:
    change, line = BROKEN[what]
    change(relay)
    assert line in failing(relay.checked())


def test_another_relays_key(relay: Relay, tmp_path: Path) -> None:
    other = joined(relay.fed, "south", tmp_path / "south")
    (relay.folder / "node.key").write_bytes(other.relay.key.read_bytes())
    assert "application.json" in failing(relay.checked())["relay's key"]


@pytest.mark.parametrize(
    ("mode", "owner", "uid", "may"),
    [
        (0o600, 0, None, True),
        (0o400, 0, None, False),
        (0o060, 0, None, False),  # the owner's bits count for the owner, whatever others may
        (0o600, 1, None, False),
        (0o606, 1, None, True),
        (0o600, 1, 0, True),  # root
    ],
)
def test_what_a_user_may(tmp_path: Path, mode: int, owner: int, uid: int | None, may: bool) -> None:
    """owner: 0 for the user asked about, 1 for another one."""
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    asked = 4321 if uid is None else uid
    fake = os.stat_result((path.stat().st_mode, 0, 0, 0, 4321 if owner == 0 else 1234, 99999, 0, 0, 0, 0))

    class Seen:
        def stat(self) -> os.stat_result:
            return fake

    assert relay_side._may(Seen(), asked, os.R_OK | os.W_OK) is may  # type: ignore[arg-type]


def test_a_relays_user_who_cannot_read_its_key(relay: Relay) -> None:
    path = relay.folder.parent / "institution.toml"
    path.write_text(f"relay_uid = 54321\n{path.read_text()}")
    failed = failing(list(institution_preflight(relay.folder.parent)))
    assert {"relay's key", "relay's user"} <= set(failed)


def test_an_institutions_check_is_its_relays_too(relay: Relay) -> None:
    with answering(relay.fed, {ACTIVATE: 400}) as port:
        relay.lead_to(port)
        found = list(institution_preflight(relay.folder.parent))
    assert failing(found) == {}
    assert {"ledger", "disk", "membership"} <= {c.name for c in found}
    (files,) = (c.found for c in found if c.name == "files")
    assert "with the answers of 0 runs" in files


def test_a_relay_of_another_institution_or_socket(relay: Relay) -> None:
    relay.change('institution = "north"', 'institution = "south"')
    assert "south" in failing(list(institution_preflight(relay.folder.parent)))["relay's folder"]
    relay.change('institution = "south"', 'institution = "north"')
    relay.change("custodian.sock", "other.sock")
    assert "other.sock" in failing(list(institution_preflight(relay.folder.parent)))["relay's socket"]


def test_a_relays_folder_is_checked_by_itself(relay: Relay) -> None:
    found = list(institution_preflight(relay.folder))
    assert [c.name for c in found] == [c.name for c in relay.checked()]


def test_a_folder_of_another_user_is_left_to_that_one(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    def unseen(folder: Path) -> bool:
        if folder.name == "relay":
            raise PermissionError(13, "Permission denied", str(folder))
        return False

    monkeypatch.setattr("cohortium_client.preflight.has_joined", unseen)
    found = list(institution_preflight(relay.folder.parent))
    assert failing(found) == {}
    assert "another user's" in found[-1].found


def test_who_has_not_joined_is_not_asked_for_a_relay(tmp_path: Path) -> None:
    fed = provision(written(tmp_path), tmp_path / "fed").federation
    made = joined(fed, "north", tmp_path / "north")
    made.relay.folder.rename(tmp_path / "elsewhere")
    assert [c.name for c in institution_preflight(tmp_path / "north")] == [
        "folder", "rights", "relay", "ledger", "sessions", "disk", "files", "clock"
    ]  # fmt: skip


# The coordinator's side


@pytest.fixture
def fed(tmp_path: Path) -> Federation:
    return provisioned(tmp_path, 1, 2)


@contextmanager
def served(
    folder: Path, outer: Statuses | None = None, inner: Statuses | None = None, everywhere: bool = False
) -> Iterator[Federation]:
    """A federation whose doors answer so, and which is held as served."""
    certified = provisioned(folder, 1, 2)
    with ExitStack() as stack:
        one = stack.enter_context(answering(certified, outer or {}))
        health = {"/health": 200} if inner is None else inner
        two = stack.enter_context(answering(certified, health, host="0.0.0.0" if everywhere else "127.0.0.1"))  # noqa: S104 - that is looked for
        fed = provisioned(folder, one, two)
        lock = presence.hold(fed.state)
        assert lock is not None
        stack.callback(os.close, lock)
        yield fed


def test_a_folder_before_it_is_served(tmp_path: Path) -> None:
    free = free_ports(2)
    fed = provisioned(tmp_path, *free)
    admitted(fed, joined(fed))
    found = lines(fed)
    assert failing(found) == {}
    reported = {c.name: c.found for c in found}
    assert reported["members"] == "1 admitted; not yet: south"
    assert "free; nobody serves now" in reported["listen"]
    assert reported["files"].startswith("0 runs ") and "superlink.db" in reported["files"]
    assert set(reported) == {
        "federation", "rights", "secrets", "root certificate", "server's certificate", "members", "disk", "files", "receipts",
        "clock", "Flower", "listen", "control",
    }  # fmt: skip


def test_a_federation_that_is_served(tmp_path: Path) -> None:
    with served(tmp_path) as fed:
        admitted(fed, joined(fed))
        (fed.state / presence.ONLINE).write_text('{"north":true}')
        found = lines(fed)
    assert failing(found) == {}
    reported = {c.name: c.found for c in found}
    assert reported["members"] == "1 admitted, 1 of them online (north); not yet: south"
    assert reported["listen"].endswith(f"nothing but {Api.FLEET}")
    assert "leads here" in reported["address"]


@pytest.mark.parametrize(
    "path", [Api.HEALTH, Call.LIST_RUNS, Call.ACQUIRE_TASK, "/"], ids=["health", "list-runs", "acquire-task", "root"]
)
def test_an_outer_door_that_knows_more_than_it_should(tmp_path: Path, path: str) -> None:
    with served(tmp_path, outer={path: 405}) as fed:
        assert path in failing(lines(fed)).get("listen", "")


def test_a_link_that_is_not_well(tmp_path: Path) -> None:
    with served(tmp_path, inner={"/health": 503}) as fed:
        assert list(failing(lines(fed))) == ["link"]


def test_a_private_door_that_others_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_side, "_hosts", lambda: ["127.0.0.2"])
    with served(tmp_path, everywhere=True) as fed:
        assert list(failing(lines(fed))) == ["control"]
    with served(tmp_path / "again") as fed:
        assert failing(lines(fed)) == {}


def test_an_address_at_which_somebody_else_answers(tmp_path: Path) -> None:
    other = provisioned(tmp_path / "other", 1, 2)
    with served(tmp_path) as fed, answering(other, {}) as port:
        text = (fed.folder / "federation.toml").read_text()
        changed = text.replace(str(fed.address), f"localhost:{port}")
        (fed.folder / "federation.toml").write_text(changed)
        assert list(failing(lines(fed))) == ["address"]


def test_ports_that_somebody_else_has(tmp_path: Path) -> None:
    certified = provisioned(tmp_path, 1, 2)
    with answering(certified, {}) as one, answering(certified, {}) as two, answering(certified, {}) as three:
        fed = provisioned(tmp_path, one, two, metrics=f"127.0.0.1:{three}")
        assert list(failing(lines(fed))) == ["listen", "control", "metrics"]


@pytest.mark.parametrize("what", HARMED)
def test_a_coordinators_folder_that_is_harmed(fed: Federation, what: str) -> None:
    harm, line = HARMED[what]
    harm(fed)
    assert line in failing(lines(fed))


def test_a_ca_key_may_be_kept_elsewhere(fed: Federation) -> None:
    fed.root_key.unlink()
    reported = {c.name: c for c in lines(fed)}["secrets"]
    assert reported.passed and "elsewhere" in reported.found


def test_a_servers_certificate_that_ends_soon(tmp_path: Path) -> None:
    fed = provisioned(tmp_path, 1, 2, days=29)
    assert "expires on" in failing(lines(fed))["server's certificate"]


def test_a_version_of_flower_that_is_not_allowed(fed: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohortium.flower.internals.version_of", lambda _: "1.40.0")
    assert "E_FLOWER" in failing(lines(fed))["Flower"]


def test_a_private_name_of_flowers_that_is_gone(fed: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(private(flower_names.CONTROL), "ControlHttpClient")
    assert "ControlHttpClient" in failing(lines(fed))["Flower"]


def test_little_room(fed: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ROOM", 1 << 60)
    assert "left" in failing(lines(fed))["disk"]


# Small parts


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (5 << 20, "5 MiB"), (3 << 29, "1.5 GiB")],
)
def test_bytes_as_people_read_them(count: int, words: str) -> None:
    assert in_units(count) == words


def test_memory_is_the_least_of_machine_and_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       1000 kB\n")
    monkeypatch.setattr(checks, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(checks, "_LIMIT", tmp_path)
    assert memory_left() == 1000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory_left() == 1000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory_left() == 4000
    monkeypatch.setattr(checks, "_MEMORY", tmp_path / "nothing")
    (tmp_path / "memory.max").unlink()
    assert memory_left() is None


# Exit codes

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, CohortiumError)]
KINDS = [c for c in CLASSES if c is not CohortiumError]
DOCS = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()


def commands(of: Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command that does something, as its words."""
    if not isinstance(of, Group):
        return [path]
    return [words for name, one in of.commands.items() for words in commands(one, (*path, name))]


BUILT = get_command(build())
COMMANDS = commands(BUILT)


def test_there_are_commands() -> None:
    assert {("institution", "check"), ("coordinator", "check"), ("coordinator", "serve")} <= set(COMMANDS)


def test_every_exit_code_is_in_the_docs_and_one_kind_of_errors_own() -> None:
    documented = [int(code) for code in re.findall(r"^\| (\d+) \|", DOCS, re.M)]
    own = [kind.exit_code for kind in KINDS]
    assert len(set(own)) == len(own)
    assert documented == [0, 1, 2, *sorted(own), 129, 130, 143]
    for kind in KINDS:
        assert re.search(rf"── {kind.__name__} .*exit {kind.exit_code}$", errors.__doc__ or "", re.M)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_json", [False, True])
def test_every_kind_of_error_ends_a_command_with_its_code(
    kind: type[CohortiumError], as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as caught, guarded(as_json):
        raise kind("E_IO", "here", "it is so", "Do this.")
    assert caught.value.exit_code == kind.exit_code
    out, err = capsys.readouterr()
    if as_json:
        assert json.loads(out)["error"] == {"code": "E_IO", "where": "here", "what": "it is so", "fix": "Do this."}
    else:
        assert (out, err) == ("", "E_IO: here: it is so. Do this.\n")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_that_is_not_written_rightly_ends_with_2(words: tuple[str, ...]) -> None:
    assert ClickRunner().invoke(BUILT, [*words, "--no-such-option"]).exit_code == 2
    assert ClickRunner().invoke(BUILT, [*words, "--help"]).exit_code == 0


def test_a_check_that_finds_something_ends_with_1(relay: Relay, fed: Federation) -> None:
    fed.control_secret.chmod(0o644)
    for words in (["institution", "check", relay.folder.parent], ["coordinator", "check", fed.folder]):
        result = runner.invoke(build(), list(map(str, words)))
        assert result.exit_code == 1
        assert "FAIL" in result.stdout and "Traceback" not in result.output
        result = runner.invoke(build(), [*map(str, words), "--json"])
        assert result.exit_code == 1
        document = json.loads(result.stdout)
        assert document["ready"] is False
        assert set(document["checks"][0]) == {"name", "passed", "found", "fix"}


def test_a_check_that_finds_nothing_ends_with_0(tmp_path: Path) -> None:
    fed = provisioned(tmp_path, *free_ports(2))
    result = runner.invoke(build(), ["coordinator", "check", str(fed.folder), "--json"])
    assert result.exit_code == 0, result.stdout
    assert json.loads(result.stdout)["ready"] is True


def test_who_stops_waiting_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "_awaited", interrupted)
    with pytest.raises(Exit) as caught, guarded():
        running._ordered(SimpleNamespace(run="ab", folder=tmp_path), False)  # type: ignore[arg-type]
    assert caught.value.exit_code == 130
    assert "the run goes on" in capsys.readouterr().err


def test_metrics_that_others_could_read_end_serve_with_10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "set_up", lambda *_, **__: None)  # this is no process of its own
    result = runner.invoke(build(), ["institution", "serve", str(tmp_path), "--metrics", "0.0.0.0:9465"])
    assert result.exit_code == 10
    assert "E_METRICS" in result.output
