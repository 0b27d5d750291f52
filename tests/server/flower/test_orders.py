"""What is wanted of a run and how it ended; the reconciler that sees to it; the commands that only write it down."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from threading import Timer
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from enlisted import agree, consents, custodian, key_of
from local_federation import NAMES, SWEEP, table
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.errors import BudgetError, FederationError, MembershipError, ReleaseError
from cohortium.federation.membership import apply, dumps
from cohortium.ledger.location import home as ledger_home
from cohortium.ledger.store import Ledger
from cohortium.study.consent import write_signature
from cohortium.study.plan import plan
from cohortium.study.study import dumps_schema, dumps_study
from cohortium.system import locks
from cohortium.system.supervision import forked
from cohortium_server import app as coordinator_side
from cohortium_server import desired_state
from cohortium_server.commands import running
from cohortium_server.flower import reconciler as keeping
from cohortium_server.flower.control import Node
from cohortium_server.flower.reconciler import Reconciler
from cohortium_server.flower.roster import nodes_of, pem
from cohortium_server.membership import presence
from cohortium_server.membership.federation import load_federation
from cohortium_server.membership.presence import home_of, use_home
from cohortium_server.rounds.folder_journal import FolderJournal
from cohortium_server.rounds.rounds import run_study

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

NODE = (
    ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
)
FEDERATION = '[federation]\nname = "f"\naddress = "127.0.0.1:8443"\n[[institution]]\nname = "north"\n'


def test_an_end_belongs_to_the_order_it_ended(tmp_path: Path) -> None:
    assert desired_state.desired(tmp_path) is None
    assert desired_state.give(tmp_path, "go").number == 1
    assert desired_state.ended(tmp_path) is None
    error = BudgetError("E_BUDGET", "here", "it is too much", "Ask for less.")
    desired_state.end(tmp_path, error)
    raised = desired_state.ended(tmp_path)
    assert raised is not None
    again = raised.raised()
    assert isinstance(again, BudgetError)
    assert again.as_dict() == error.as_dict()
    assert desired_state.give(tmp_path, "stop").number == 1
    assert desired_state.ended(tmp_path) is not None
    older = (tmp_path / desired_state.END).read_bytes()
    assert desired_state.give(tmp_path, "go").number == 2
    assert desired_state.ended(tmp_path) is None
    (tmp_path / desired_state.END).write_bytes(older)  # by a process that had not seen the newer order
    assert desired_state.ended(tmp_path) is None
    desired_state.end(tmp_path, None)
    ended = desired_state.ended(tmp_path)
    assert ended is not None
    assert ended.raised() is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b"[" * 100_000, b"{}", b'{"number":[],"wanted":1}'])
def test_a_damaged_order_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "order.json").write_bytes(content)
    with pytest.raises(FederationError, match="E_RUN"):
        desired_state.desired(tmp_path)


def test_a_run_is_held_as_long_as_its_process_lives(tmp_path: Path) -> None:
    journal = FolderJournal.begin(tmp_path, SWEEP, {}, 1, {})
    assert desired_state.is_held(journal.folder)
    assert FolderJournal(journal.folder, alone=False).run == journal.run
    with pytest.raises(FederationError, match="E_RUN"):
        FolderJournal(journal.folder)
    journal.close()
    assert not desired_state.is_held(journal.folder)


# The reconciler


@dataclass
class Link:
    """Stands for the link."""

    registered: dict[bytes, Node] = field(default_factory=dict)
    runs: dict[str, list[int]] = field(default_factory=dict)
    stopped: list[int] = field(default_factory=list)
    started: int = 0

    def nodes(self) -> list[Node]:
        return list(self.registered.values())

    def register(self, key: bytes, name: str) -> None:
        self.registered[key] = Node(len(self.registered) + 1, key, True)

    def unregister(self, number: int) -> None:
        (key,) = (k for k, n in self.registered.items() if n.number == number)
        del self.registered[key]

    def start(self, config: dict[str, str]) -> int:
        self.started += 1
        self.runs.setdefault(config["resume"], []).append(self.started)
        return self.started

    def stop(self, number: int) -> None:
        self.stopped.append(number)
        self.runs = {run: [n for n in numbers if n != number] for run, numbers in self.runs.items()}

    def unfinished(self) -> dict[str, list[int]]:
        return {run: numbers for run, numbers in self.runs.items() if numbers}


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    made = Link()

    @contextmanager
    def control(_: object) -> Iterator[Link]:
        yield made

    monkeypatch.setattr(keeping, "control", control)
    return made


@pytest.fixture
def reconciler(tmp_path: Path) -> Reconciler:
    (tmp_path / "federation.toml").write_text(FEDERATION)
    for name in ("members", "revoked", "runs"):
        (tmp_path / name).mkdir()
    return Reconciler(load_federation(tmp_path), clock=count(0, 1000).__next__)  # whatever is waited for has come


def begun(reconciler: Reconciler) -> Path:
    journal = FolderJournal.begin(reconciler.federation.runs, SWEEP, {}, 1, {"out": "out", "seed": 1})
    journal.close()
    return journal.folder


def test_an_ordered_run_is_started_once_and_stopped_on_order(reconciler: Reconciler, link: Link) -> None:
    run = begun(reconciler)
    reconciler.look()
    assert link.started == 0
    desired_state.give(run, "go")
    for _ in range(3):
        reconciler.look()
    assert link.started == 1
    desired_state.give(run, "stop")
    reconciler.look()
    reconciler.look()
    assert link.stopped == [1]
    desired_state.give(run, "go")
    reconciler.look()
    assert link.started == 2
    desired_state.end(run, None)
    link.runs.clear()
    reconciler.look()
    assert link.started == 2


def test_a_run_whose_process_died_is_started_again_before_flower_notices(reconciler: Reconciler, link: Link) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    reconciler.look()
    process = forked(lambda: (FolderJournal(run), signal.pause()), "study")
    while not desired_state.is_held(run):
        pass
    reconciler.look()
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    reconciler.look()
    assert link.stopped == [1]
    reconciler.look()
    assert link.started == 2


def test_what_went_on_when_the_coordinator_ended_is_started_again_at_once_and_only_then(
    reconciler: Reconciler, link: Link
) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    reconciler.look()
    Reconciler(reconciler.federation).look()  # the reconciler alone died
    assert link.stopped == []
    reconciler.federation.state.mkdir()
    (reconciler.federation.state / presence.BEGUN).touch()
    for _ in range(2):
        Reconciler(reconciler.federation).look()
        assert (link.stopped, link.started) == ([1], 2)


def test_a_run_that_lives_is_not_started_again_where_flower_has_given_it_up(reconciler: Reconciler, link: Link) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    reconciler.look()
    held = FolderJournal(run)
    link.runs.clear()  # Flower missed its heartbeats
    for _ in range(2 * desired_state.MOST_FALLS):
        reconciler.look()
    assert link.started == 1
    assert desired_state.ended(run) is None
    held.close()


def test_a_damaged_order_is_one_runs_trouble(reconciler: Reconciler, link: Link) -> None:
    damaged, sound = begun(reconciler), begun(reconciler)
    (damaged / "order.json").write_text("[]")
    desired_state.give(sound, "go")
    reconciler.look()
    assert list(link.runs) == [sound.name]


def test_who_looks_for_a_moment_keeps_nobody_out(tmp_path: Path) -> None:
    looking = locks.hold(tmp_path / "lock")
    assert looking is not None
    assert locks.hold(tmp_path / "lock") is None
    Timer(0.05, os.close, [looking]).start()
    held = locks.hold(tmp_path / "lock")
    assert held is not None
    assert locks.is_held(tmp_path / "lock")
    os.close(held)
    assert not locks.is_held(tmp_path / "lock")


def test_who_serves_waits_for_what_was_killed_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = presence.hold(tmp_path)
    assert dying is not None
    (tmp_path / presence.LOCK).write_text("0")  # nobody's number: as the forks of one that was killed
    Timer(1.0, os.close, [dying]).start()
    assert presence.hold(tmp_path) is not None
    (tmp_path / presence.LOCK).write_text("0")
    monkeypatch.setattr(presence, "LAST_BREATH", 0.0)
    assert presence.hold(tmp_path) is None


def test_who_lives_and_serves_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LAST_BREATH", 1e9)
    assert presence.hold(tmp_path) is not None
    assert presence.hold(tmp_path) is None
    assert presence.holder(tmp_path) == f"process {os.getpid()}"


# Processes that fall


def test_what_dies_at_once_each_time_is_given_up(reconciler: Reconciler, link: Link) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    for _ in range(5 * desired_state.MOST_FALLS):
        reconciler.look()
        link.runs.clear()  # Flower says that it has failed
    assert link.started == desired_state.MOST_FALLS
    end = desired_state.ended(run)
    assert end is not None
    assert (error := end.raised()) is not None
    assert error.code == "E_PROCESS"
    assert "was killed, or ended without a word" in str(error)


def test_each_start_after_the_second_comes_later_than_the_one_before(reconciler: Reconciler, link: Link) -> None:
    run, now, starts = begun(reconciler), 0.0, list[float]()
    reconciler.clock = lambda: now
    desired_state.give(run, "go")
    while now < 200:
        before = link.started
        reconciler.look()
        link.runs.clear()
        starts += [now] * (link.started - before)
        now += 1.0
    pauses = [b - a for a, b in pairwise(starts)]
    assert pauses[0] == 1.0, "a process that was killed comes back at once"
    assert pauses == sorted(pauses)
    assert len(starts) <= 10
    (run / "0000.sum").touch()  # a round is complete: what comes now is the first again
    reconciler.look()
    link.runs.clear()
    reconciler.look()
    assert link.started >= len(starts) + 2


def falling(run: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's process comes as far as ``error``."""

    class Finishing:
        diary = None

        def finish(self, outcome: object) -> None:
            raise error

    monkeypatch.setattr(coordinator_side, "folder_job", lambda config: Finishing())
    monkeypatch.setattr(coordinator_side, "run_federation", lambda grid, job: None)
    config = {"federation": str(run.parent.parent.absolute()), "resume": run.name}
    with pytest.raises(type(error)):
        coordinator_side.run_folder(None, config)  # type: ignore[arg-type] # nobody is asked


def test_the_third_equal_end_of_a_studys_process_ends_its_run_which_can_be_resumed(
    reconciler: Reconciler, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    for number in range(3):
        assert desired_state.ended(run) is None
        reconciler.look()  # sees that it is to be started again,
        reconciler.look()  # and does when it is due
        assert link.started == number + 1
        falling(run, ValueError("SECRET-CANARY"), monkeypatch)
        link.runs.clear()
    for _ in range(5):
        reconciler.look()
    assert link.started == 3
    end = desired_state.ended(run)
    assert end is not None
    assert (error := end.raised()) is not None
    assert error.code == "E_PROCESS"
    assert "ended 3 times" in error.what
    assert "ValueError at" in error.what
    assert "test_orders.py" in error.what, "the place"
    assert f"cohortium coordinator resume {run}" in error.fix
    assert "SECRET-CANARY" not in (run / desired_state.FALLS).read_text() + (run / desired_state.END).read_text()
    desired_state.give(run, "go")  # as resume does
    assert desired_state.ended(run) is None
    assert desired_state.falls(run) == []
    reconciler.look()
    assert link.started == 4, "an order of its own"


def test_ends_that_differ_or_have_a_round_between_them_are_tried_again(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    for error in (ValueError("a"), ValueError("a"), KeyError("b"), ValueError("a"), ValueError("a")):
        falling(run, error, monkeypatch)
    assert desired_state.ended(run) is None
    (run / "0000.sum").touch()
    assert desired_state.falls(run) == []
    falling(run, ValueError("a"), monkeypatch)
    assert desired_state.ended(run) is None
    assert len(desired_state.falls(run)) == 1


def test_kills_are_borne_longer_than_errors(tmp_path: Path) -> None:
    desired_state.give(tmp_path, "go")
    error = FederationError("E_RUN", "run", "it was killed", "Look.")
    for _ in range(desired_state.MOST_FALLS - 1):
        desired_state.fell(tmp_path, error)
    assert desired_state.ended(tmp_path) is None
    desired_state.fell(tmp_path, error)
    assert desired_state.ended(tmp_path) is not None


def test_what_the_link_says_of_a_run_it_has_given_up_is_no_fault_of_the_run(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    for _ in range(desired_state.SAME + 1):
        falling(run, httpx.ReadError("gone"), monkeypatch)
    assert desired_state.ended(run) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_refuses_ends_the_run_at_once(
    reconciler: Reconciler, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    falling(run, OSError(number, os.strerror(number), "/nowhere/release"), monkeypatch)
    end = desired_state.ended(run)
    assert end is not None
    assert (error := end.raised()) is not None
    assert (error.code, error.where) == ("E_IO", "release")


def test_a_run_that_is_stopped_has_not_fallen(tmp_path: Path) -> None:
    desired_state.give(tmp_path, "go")
    desired_state.give(tmp_path, "stop")
    desired_state.fell(tmp_path, FederationError("E_RUN", "run", "it was killed", "Look."), "cause")
    assert desired_state.falls(tmp_path) == []


def test_who_waits_for_a_run_and_who_looks_at_it_see_its_falls(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    falling(run, ValueError("SECRET-CANARY"), monkeypatch)
    result = cli("coordinator", "status", run, "--json")
    status = json.loads(result.output)
    assert status["state"] == "being started again"
    assert [f["code"] for f in status["falls"]] == ["E_RUN"]
    assert "ValueError at" in cli("coordinator", "status", run).output
    assert running._print_falls(run, 0, False) == 1
    assert running._print_falls(run, 1, False) == 1
    said = capsys.readouterr().err
    assert said.count("ValueError at") == 1
    assert "SECRET-CANARY" not in said
    for _ in range(2):
        falling(run, ValueError("SECRET-CANARY"), monkeypatch)
    assert json.loads(cli("coordinator", "status", run, "--json").output)["state"] == "failed"
    result = cli("coordinator", "status", run)
    assert "E_PROCESS" in result.output
    assert "resume" in result.output


def test_a_damaged_list_of_falls_is_one_runs_trouble_and_reported_once(
    reconciler: Reconciler, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    run = begun(reconciler)
    desired_state.give(run, "go")
    (run / desired_state.FALLS).write_text('{"falls": [{}]}')
    for _ in range(5):
        reconciler.look()
    assert link.started == 0
    assert [r.levelname for r in caplog.records if "E_RUN" in r.getMessage()] == ["ERROR"]
    (run / desired_state.END).write_text("{}")
    with pytest.raises(FederationError, match="E_RUN"):
        desired_state.ended(run)
    desired_state.give(run, "go")  # as resume does
    reconciler.look()
    assert link.started == 1


def test_a_link_that_does_not_answer_is_reported_once_it_has_had_time_to_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    trouble = keeping.Trouble(clock=lambda: now)
    while now < 3 * keeping.STARTING:
        trouble.report(FederationError("E_LINK", "coordinator", "it does not answer", "Start it."))
        assert len(caplog.records) == (now >= keeping.STARTING)
        now += 1.0
    trouble.report(FederationError("E_FEDERATION", "fed", "it is wrong", "Mend it."))
    assert len(caplog.records) == 2


def test_members_are_registered_and_who_is_one_no_more_is_removed(
    reconciler: Reconciler, link: Link, tmp_path: Path
) -> None:
    application = apply("f", "00" * 32, "north", key_of("north"), NODE, None)
    reconciler.look()
    assert link.registered == {}
    assert reconciler.online == {}
    (reconciler.federation.members / "north.json").write_bytes(dumps(application))
    reconciler.look()
    reconciler.look()
    assert list(link.registered) == [pem(NODE)]
    assert reconciler.online == {"north": True}
    (reconciler.federation.members / "north.json").unlink()
    reconciler.look()
    assert link.registered == {}


def test_only_members_by_the_studys_keys_are_asked(reconciler: Reconciler) -> None:
    folder = reconciler.federation.folder
    for name, key, reported in (
        ("none", "north", "north: it is no member"),
        ("north", "else", "by another key"),
        ("north", "north", "south"),
    ):
        application = apply("f", "00" * 32, name, key_of(key), NODE, None)
        (reconciler.federation.members / f"{name}.json").write_bytes(dumps(application))
        with pytest.raises(MembershipError, match=reported):
            nodes_of(folder, SWEEP)
    south = apply("f", "00" * 32, "south", key_of("south"), NODE, None)
    (reconciler.federation.members / "south.json").write_bytes(dumps(south))
    assert set(nodes_of(folder, SWEEP) or {}) == {pem(NODE)}
    assert nodes_of(folder / "runs", SWEEP) is None


# Commands


def cli(*words: object) -> Any:
    return CliRunner().invoke(build(), [str(w) for w in words])


def test_a_run_that_is_complete_is_released_without_anybody(tmp_path: Path) -> None:
    ledgers = {name: Ledger(tmp_path / f"{name}.sqlite") for name in NAMES}
    for ledger in ledgers.values():
        agree(ledger, SWEEP)
    answering = [custodian(ledger, table, SWEEP, name=name) for name, ledger in ledgers.items()]
    signatures = consents(SWEEP)

    class Here:
        def announce(self, request: bytes) -> None:
            pass

        def exchange(self, request: bytes, timeout: float) -> list[bytes]:
            return [one.answer(request) for one in answering]

    settings = {"out": str(tmp_path / "out"), "seed": 1, "at": str(tmp_path)}
    journal = FolderJournal.begin(tmp_path / "runs", SWEEP, signatures, 1, settings)
    status = cli("coordinator", "status", journal.folder, "--json")
    assert json.loads(status.output)["state"] == "running"
    journal.close()
    result = cli("coordinator", "release", journal.folder, "--out", tmp_path / "early")
    assert result.exit_code == FederationError.exit_code
    assert not (tmp_path / "early").exists()

    again = FolderJournal(journal.folder)
    run_study(SWEEP, signatures, Here(), again)
    again.close()
    result = cli("coordinator", "release", journal.folder, "--out", tmp_path / "release", "--json")
    assert result.exit_code == 0, result.output
    assert cli("verify", tmp_path / "release").exit_code == 0
    status = json.loads(cli("coordinator", "status", journal.folder, "--json").output)
    assert (status["done"], status["state"]) == (plan(SWEEP).rounds, "not running")


def test_a_run_overwrites_its_own_release_and_others_only_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers = {name: Ledger(tmp_path / f"{name}.sqlite") for name in NAMES}
    for ledger in ledgers.values():
        agree(ledger, SWEEP)
    answering = [custodian(ledger, table, SWEEP, name=name) for name, ledger in ledgers.items()]
    asked = list[bytes]()

    class Here:
        def exchange(self, request: bytes, timeout: float) -> list[bytes]:
            asked.append(request)
            return [one.answer(request) for one in answering]

        def announce(self, request: bytes) -> None:
            pass

    def engine(_: str) -> Any:
        return lambda study, consents, sockets, journal, progress: run_study(study, consents, Here(), journal, progress)

    monkeypatch.setattr("cohortium_server.engines.engine", engine)
    file, out = tmp_path / "study.toml", tmp_path / "release"
    file.write_text(dumps_study(SWEEP))
    (tmp_path / "schema.toml").write_text(dumps_schema(SWEEP.schema))
    for name, signature in consents(SWEEP).items():
        write_signature(file, SWEEP, name, signature)
    run = ("coordinator", "run", file, "--out", out, "--json")

    first = json.loads(cli(*run).output)["run"]
    times = len(asked)
    refused = cli(*run)
    assert (refused.exit_code, len(asked)) == (ReleaseError.exit_code, times), "nobody is asked for what has no place"
    assert json.loads(refused.output)["error"]["code"] == "E_RELEASE_EXISTS"

    second = json.loads(cli(*run, "--replace").output)["run"]
    assert json.loads((out / "manifest.json").read_text())["run"] == second != first
    runs = tmp_path / "runs"
    states = [json.loads(cli("coordinator", "status", runs / r, "--json").output)["state"] for r in (first, second)]
    assert states == ["not running", "released"], "of the first there is no release any more"

    for words in (("resume", runs / first), ("release", runs / first, "--out", out)):
        assert cli("coordinator", *words).exit_code == ReleaseError.exit_code
    assert cli("coordinator", "resume", runs / second).exit_code == 0, "it may make its own again"
    assert cli("coordinator", "release", runs / first, "--out", out, "--replace").exit_code == 0
    assert json.loads((out / "manifest.json").read_text())["run"] == first
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".release", "release-"))]


def test_stopping_writes_it_down(tmp_path: Path) -> None:
    journal = FolderJournal.begin(
        tmp_path, SWEEP, {}, 1, {"out": str(tmp_path / "out"), "seed": 1, "at": str(tmp_path)}
    )
    journal.close()
    desired_state.give(journal.folder, "go")
    assert cli("coordinator", "stop", journal.folder).exit_code == 0
    last = desired_state.desired(journal.folder)
    assert last is not None
    assert last.wanted == "stop"


def test_a_run_of_no_federation_is_stopped_where_it_runs(tmp_path: Path) -> None:
    journal = FolderJournal.begin(tmp_path, SWEEP, {}, 1, {"out": str(tmp_path / "out"), "seed": 1, "connect": []})
    journal.close()
    result = cli("coordinator", "stop", journal.folder)
    assert result.exit_code == FederationError.exit_code
    assert desired_state.desired(journal.folder) is None


def test_a_federation_remembers_its_runs_itself(tmp_path: Path) -> None:
    assert cli("coordinator", "run", tmp_path / "study.toml", "--at", tmp_path, "--runs", tmp_path).exit_code == 2


def test_a_release_made_again_is_signed_by_the_federations_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COHORTIUM_HOME", "elsewhere")
    assert home_of(tmp_path) == Path("elsewhere")
    monkeypatch.delenv("COHORTIUM_HOME")
    assert home_of(tmp_path) == tmp_path / "home"
    use_home(tmp_path)
    assert ledger_home() == tmp_path / "home"
    monkeypatch.delenv("COHORTIUM_HOME")
