"""A run that stops goes on where it stood: the same sums, the same questions, nothing charged twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from enlisted import agree, consents, custodian, key_of, with_keys
from local_federation import (
    NAMES,
    SWEEP,
    TRAINING,
    Federation,
    Start,
    begin,
    go,
    start_fixture,  # noqa: F401 (fixtures)
    table,
)

from cohortium.errors import FederationError
from cohortium.ledger.location import home
from cohortium.ledger.receipt import Receipt, sign_receipt
from cohortium.ledger.store import Ledger
from cohortium.study.plan import plan
from cohortium.system import failpoints
from cohortium_server.rounds import folder_journal as journal_module
from cohortium_server.rounds.folder_journal import FolderJournal
from cohortium_server.rounds.journal import Aggregate, BriefJournal, Journal
from cohortium_server.rounds.receipts import Receipts
from cohortium_server.rounds.rounds import Outcome

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

KINDS = {"sweep": SWEEP, "autoregressive": TRAINING}


class Unreachable:
    """What a run that has received everything never needs."""

    def announce(self, request: bytes) -> None:
        pass

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        raise AssertionError("a recorded round was requested again")


def same(one: Outcome, other: Outcome) -> bool:
    """To the last bit."""
    a, b = one.generator.tensors(), other.generator.tensors()
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() and a[k].dtype == b[k].dtype for k in a)


def told_at_once(journal: FolderJournal, tmp_path: Path) -> Outcome:
    """What comes of the same sums and seed, had nothing ever been interrupted."""
    shutil.copytree(journal.folder, tmp_path / "copy")
    return go(FolderJournal(tmp_path / "copy"), Unreachable())


class StopError(BaseException):
    """The process ends."""


def stop_at(place: str, times: int) -> Callable[[str], None]:
    """Stop when ``place`` is passed for the ``times``-th time."""
    left = [times]

    def reached(name: str) -> None:
        left[0] -= name == place
        if name == place and left[0] == 0:
            raise StopError

    return reached


PLACES = ("round asked", "round added up", "checkpoint written")
STOPS = [(kind, place, round_) for kind, s in KINDS.items() for place in PLACES for round_ in range(plan(s).rounds)]


@pytest.mark.parametrize(("kind", "place", "round_"), STOPS)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, place: str, round_: int
) -> None:
    study = KINDS[kind]
    federation, journal = start(study), begin(tmp_path, study)
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reached", stop_at(place, round_ + 1))
        with pytest.raises(StopError):
            go(journal, federation)
    done = round_ + (place == "checkpoint written")
    assert journal.rounds_done == done
    outcome = go(FolderJournal(journal.folder), federation)
    assert federation.charges == [plan(study).rounds] * 2  # nothing twice
    assert all(ledger.verify() == 1 + plan(study).rounds for ledger in federation.ledgers.values())
    assert [a.round for a in outcome.answered] == list(range(plan(study).rounds))
    assert [len(a.receipts) for a in outcome.answered] == [2] * plan(study).rounds
    assert (outcome.run, outcome.study.digest) == (journal.run, study.digest)
    assert same(outcome, told_at_once(journal, tmp_path))


def test_a_run_stopped_after_every_round_ends_as_well(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, journal = start(TRAINING), begin(tmp_path, TRAINING)
    journal.close()
    with monkeypatch.context() as patch:
        for done in range(plan(TRAINING).rounds):
            patch.setattr(failpoints, "reached", stop_at("checkpoint written", 1))
            with pytest.raises(StopError):
                go(FolderJournal(journal.folder), federation)
            assert journal.rounds_done == done + 1
    outcome = go(FolderJournal(journal.folder), Unreachable())
    assert len(federation.received) == plan(TRAINING).rounds
    assert same(outcome, told_at_once(journal, tmp_path))


def test_another_seed_is_another_run(start: Start, tmp_path: Path) -> None:
    """So that the comparison above could fail."""
    journal = begin(tmp_path, SWEEP)
    first = go(journal, start(SWEEP))
    assert same(go(FolderJournal(journal.folder), Unreachable()), first)
    edit(journal.folder / "run.json", seed=8)
    assert not same(go(FolderJournal(journal.folder), Unreachable()), first)


@pytest.mark.parametrize("round_", range(3))
def test_a_round_in_flight_is_asked_again_and_answered_byte_by_byte(start: Start, tmp_path: Path, round_: int) -> None:
    """South does not answer; when it is there again, north says the same bytes and is charged nothing."""
    federation, journal = start(TRAINING), begin(tmp_path, TRAINING)
    calls = []

    class Failing:
        def announce(self, request: bytes) -> None:
            pass

        def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
            calls.append(request)
            federation.silent = {"south"} if len(calls) == round_ + 1 else set()
            return federation.exchange(request, timeout)

    with pytest.raises(FederationError, match=r"E_MISSING_INSTITUTION.*south"):
        go(journal, Failing())
    first, federation.silent = federation.sent[-1], set()
    assert federation.charges == [round_ + 1, round_]
    federation.sent.clear()
    go(FolderJournal(journal.folder), federation)
    assert federation.sent[0] == first
    asked = federation.received[round_ : round_ + 2]
    assert asked[0].question == asked[1].question
    assert asked[0].state == asked[1].state
    assert federation.charges == [3, 3]


def test_a_round_is_asked_again_at_the_state_it_was_asked_at(start: Start, tmp_path: Path) -> None:
    """Even if the generator would ask at another by now: it would be a replay with other content."""
    federation, journal = start(TRAINING), begin(tmp_path, TRAINING)
    go_on = start_second_round(federation, journal)
    again = go_on()
    first = again.aggregate(0)
    assert first is not None
    again.remember(replace(first, values=first.values[::-1].copy()))  # as if the generator came to another place
    go(again, federation)
    assert federation.received[1].state == federation.received[2].state != b""
    assert federation.charges == [3, 3]
    assert not (journal.folder / "0001.asked").exists()  # it was needed until the round was complete
    (journal.folder / "0001.sum").unlink()
    with pytest.raises(FederationError, match="E_REPLAY"):  # indeed it comes to another place
        go(go_on(), federation)


# What is remembered

RECEIPTS = tuple(sign_receipt(key_of(n), n, "12" * 32, "34" * 32) for n in NAMES)
HEARD = Aggregate(0, 1, np.array([0, -1, 2**63 - 1, -(2**63)], np.int64), RECEIPTS)


@pytest.fixture(params=["brief", "folder"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    return BriefJournal(7) if request.param == "brief" else begin(tmp_path, SWEEP)


def test_a_journal_returns_what_was_recorded(journal: Journal) -> None:
    assert (journal.aggregate(0), journal.state(0)) == (None, None)
    journal.remember(HEARD)
    journal.remember_state(1, b"")
    journal.remember_state(2, b"\x00state")
    read = journal.aggregate(0)
    assert read is not None
    assert read.values.dtype == np.int64
    assert np.array_equal(read.values, HEARD.values)
    assert (read.round, read.attempt, read.receipts) == (0, 1, RECEIPTS)
    assert journal.aggregate(1) is None
    assert [journal.state(k) for k in range(4)] == [None, b"", b"\x00state", None]  # an empty state is one, too
    assert journal.seed == 7
    assert len(journal.run) == 32


def test_a_run_is_begun_with_the_study_its_signatures_and_its_settings(tmp_path: Path) -> None:
    first = begin(tmp_path, TRAINING)
    first.close()
    again = FolderJournal(first.folder)
    assert (again.run, again.seed, again.settings) == (first.run, 7, {"out": "release"})
    assert again.study == TRAINING
    assert again.consents == consents(TRAINING)


def test_runs_have_numbers_and_seeds_of_their_own() -> None:
    journals = [BriefJournal() for _ in range(20)]
    assert len({j.run for j in journals}) == 20
    assert len({j.seed for j in journals}) > 10


def test_a_run_without_its_last_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = journal_module.write_whole

    def full(path: Path, content: bytes, *more: Any) -> None:
        if path.name == "run.json":
            raise OSError(28, "no space")
        real(path, content, *more)

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "write_whole", full)
        with pytest.raises(OSError, match="no space"):
            begin(tmp_path, SWEEP)
    (folder,) = (tmp_path / "runs").iterdir()
    with pytest.raises(FederationError, match="E_RUN"):
        FolderJournal(folder)


@pytest.mark.parametrize("name", [".0000.sum.k3x9", ".0001.asked.77", "0000.sum.tmp", ".run.json.abc"])
def test_files_that_were_being_written_are_not_read(tmp_path: Path, name: str) -> None:
    first = begin(tmp_path, SWEEP)
    first.close()
    (first.folder / name).write_bytes(b"half a fi")
    again = FolderJournal(first.folder)
    assert again.aggregate(0) is None
    assert again.state(1) is None
    assert again.rounds_done == 0


def test_two_coordinators_cannot_have_one_run(tmp_path: Path) -> None:
    first = begin(tmp_path, SWEEP)
    script = (
        "import sys; from pathlib import Path; from cohortium.errors import FederationError\n"
        "from cohortium_server.rounds.folder_journal import FolderJournal\n"
        "try: FolderJournal(Path(sys.argv[1])); print('opened')\n"
        "except FederationError as error: print(error.code, error.what)"
    )

    def other() -> str:
        command = [sys.executable, "-c", script, str(first.folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with pytest.raises(FederationError, match=r"E_RUN.*another coordinator"):
        FolderJournal(first.folder)
    assert other() == "E_RUN another coordinator has it open"
    first.close()
    assert other() == "opened"


# Damage


def edit(path: Path, **changes: Any) -> None:
    document = {k: v for k, v in (json.loads(path.read_bytes()) | changes).items() if v is not None}
    path.write_text(json.dumps(document))


DAMAGED: dict[str, Callable[[Path], object]] = {
    "no run.json": lambda f: (f / "run.json").unlink(),
    "an empty run.json": lambda f: (f / "run.json").write_bytes(b""),
    "a run.json cut short": lambda f: (f / "run.json").write_bytes((f / "run.json").read_bytes()[:-3]),
    "a run.json that is no text": lambda f: (f / "run.json").write_bytes(b"\xff\xfe\x00"),
    "a run.json nested beyond measure": lambda f: (f / "run.json").write_bytes(b"[" * 100_000),
    "a list": lambda f: (f / "run.json").write_bytes(b"[]"),
    "another format": lambda f: edit(f / "run.json", format="cohortium-run-0"),
    "no run": lambda f: edit(f / "run.json", run=None),
    "a run that is no identifier": lambda f: edit(f / "run.json", run="../x"),
    "a run that is a number": lambda f: edit(f / "run.json", run=7),
    "no seed": lambda f: edit(f / "run.json", seed=None),
    "a seed that is a text": lambda f: edit(f / "run.json", seed="seven"),
    "a seed that is a list": lambda f: edit(f / "run.json", seed=[7]),
    "no settings": lambda f: edit(f / "run.json", settings=None),
    "settings that are a list": lambda f: edit(f / "run.json", settings=[]),
    "no study's digest": lambda f: edit(f / "run.json", study=None),
    "another study's digest": lambda f: edit(f / "run.json", study="00" * 32),
    "no study": lambda f: (f / "study.toml").unlink(),
    "an empty study": lambda f: (f / "study.toml").write_bytes(b""),
    "a study that is not TOML": lambda f: (f / "study.toml").write_bytes(b"[[["),
    "a study with another epsilon": lambda f: replaced(f / "study.toml", "epsilon = 3.0", "epsilon = 4.0"),
    "a study with an impossible epsilon": lambda f: replaced(f / "study.toml", "epsilon = 3.0", "epsilon = -3.0"),
    "a schema with another category": lambda f: replaced(f / "schema.toml", '"z"', '"zz"'),
    "no schema": lambda f: (f / "schema.toml").unlink(),
}


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_run_is_refused(tmp_path: Path, name: str) -> None:
    journal = begin(tmp_path, SWEEP)
    journal.close()
    DAMAGED[name](journal.folder)
    with pytest.raises(FederationError, match="E_RUN"):
        FolderJournal(journal.folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(FederationError, match="E_RUN"):
            FolderJournal(folder)


def as_sum(values: np.ndarray, reported: Any, name: str = "sum", metadata: str = "heard") -> bytes:
    from safetensors.numpy import save

    return bytes(save({name: values}, {metadata: reported if isinstance(reported, str) else json.dumps(reported)}))


SOUND = {"attempt": 0, "receipts": [asdict(r) for r in RECEIPTS]}
NUMBERS = HEARD.values
BROKEN_SUMS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut short": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "another length": lambda data: b"\xff" + data[1:],
    "a pickle": lambda _: b"\x80\x04\x95" + bytes(40),
    "a number changed by one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "its attempt changed": lambda data: data.replace(b'\\"attempt\\": 1', b'\\"attempt\\": 2'),
    "other metadata": lambda _: as_sum(NUMBERS, SOUND, metadata="gossip"),
    "metadata that is no JSON": lambda _: as_sum(NUMBERS, "{"),
    "metadata that is a list": lambda _: as_sum(NUMBERS, []),
    "no receipts": lambda _: as_sum(NUMBERS, {"attempt": 0}),
    "receipts that are none": lambda _: as_sum(NUMBERS, {"attempt": 0, "receipts": [{"rows": 7}]}),
    "no attempt": lambda _: as_sum(NUMBERS, {"receipts": []}),
    "another tensor": lambda _: as_sum(NUMBERS, SOUND, name="sums"),
    "floating point": lambda _: as_sum(NUMBERS.astype(np.float64), SOUND),
    "two dimensions": lambda _: as_sum(NUMBERS.reshape(2, 2), SOUND),
}


@pytest.mark.parametrize("name", BROKEN_SUMS)
def test_a_damaged_sum_is_refused(tmp_path: Path, name: str) -> None:
    """It never reaches the generator: a sum with one bit changed would be a release nobody measured."""
    journal = begin(tmp_path, SWEEP)
    journal.remember(HEARD)
    path = journal.folder / "0000.sum"
    genuine = path.read_bytes()
    path.write_bytes(BROKEN_SUMS[name](genuine))
    assert path.read_bytes() != genuine
    with pytest.raises(FederationError, match=r"E_RUN.*0000\.sum"):
        journal.aggregate(0)
    path.write_bytes(genuine)
    assert journal.aggregate(0) is not None


def test_a_sum_of_another_round_is_refused(tmp_path: Path) -> None:
    journal = begin(tmp_path, SWEEP)
    journal.remember(HEARD)
    (journal.folder / "0000.sum").rename(journal.folder / "0001.sum")
    with pytest.raises(FederationError, match=r"E_RUN.*0001\.sum"):
        journal.aggregate(1)


def test_a_state_that_was_changed_is_refused_by_whoever_has_answered_it(start: Start, tmp_path: Path) -> None:
    federation, journal = start(TRAINING), begin(tmp_path, TRAINING)
    journal.remember_state(0, b"")
    go_on = start_second_round(federation, journal)
    asked = journal.folder / "0001.asked"
    asked.write_bytes(asked.read_bytes()[:-1] + b"\x3d")
    with pytest.raises(FederationError, match=r"E_INSTITUTION_REFUSED.*north \(E_REPLAY\)"):
        go(go_on(), federation)


def start_second_round(federation: Federation, journal: FolderJournal) -> Callable[[], FolderJournal]:
    """Round 0 is done, round 1 has been answered by north alone."""

    class Failing:
        calls = 0

        def announce(self, request: bytes) -> None:
            pass

        def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
            self.calls += 1
            federation.silent = {"south"} if self.calls == 2 else set()
            return federation.exchange(request, timeout)

    with pytest.raises(FederationError):
        go(journal, Failing())
    federation.silent = set()
    return lambda: FolderJournal(journal.folder)


# Receipts


def test_every_request_shows_the_newest_receipts(start: Start, tmp_path: Path) -> None:
    federation = start(TRAINING)
    outcome = go(begin(tmp_path, TRAINING), federation)
    for number, request in enumerate(federation.received):
        received = [r for a in outcome.answered[:number][-Receipts.KEPT :] for r in a.receipts]
        assert sorted(r.head for r in request.receipts) == sorted(r.head for r in received)
    keys = {i.name: i.key for i in TRAINING.institutions}
    assert all(r.is_of(keys[r.institution]) for r in outcome.answered[-1].receipts)
    again = begin(tmp_path, TRAINING)
    go(again, federation)  # another run is shown what this one received last
    assert set(outcome.answered[-1].receipts) <= set(federation.received[3].receipts)


def test_a_ledger_that_is_rolled_back_between_two_runs_is_detected(start: Start, tmp_path: Path) -> None:
    federation = start(SWEEP)
    go(begin(tmp_path, SWEEP), federation)
    with Ledger(tmp_path / "fresh.sqlite") as fresh:  # with its witness, so that north itself knows nothing
        agree(fresh, SWEEP)
        federation.custodians["north"] = custodian(fresh, table, SWEEP, name="north")
        with pytest.raises(FederationError, match=r"north \(E_LEDGER_ROLLED_BACK\)"):
            go(begin(tmp_path, SWEEP), federation)
        assert fresh.charges() == []
        assert [c.run for c in federation.ledgers["south"].charges()][1:] != []


def test_receipts_are_kept_by_key_and_an_older_one_does_not_displace_the_newest(tmp_path: Path) -> None:
    store = Receipts(tmp_path / "receipts")
    assert store.of(SWEEP) == ()
    store.remember(SWEEP, RECEIPTS[:1])
    assert store.of(SWEEP) == RECEIPTS[:1]
    newer = sign_receipt(key_of("north"), "north", "56" * 32, "78" * 32)
    store.remember(SWEEP, (newer, RECEIPTS[1]))
    assert Receipts(tmp_path / "receipts").of(SWEEP) == (RECEIPTS[0], newer, RECEIPTS[1])
    late = [sign_receipt(key_of("north"), "north", "56" * 32, f"{k:064x}") for k in range(2)]
    store.remember(SWEEP, (late[0], RECEIPTS[0]))  # answers of a run that was resumed
    assert newer in store.of(SWEEP)
    store.remember(SWEEP, (late[1],))
    assert store.of(SWEEP) == (newer, *late, RECEIPTS[1])  # so many of each and no more
    other = replace(SWEEP, institutions=(replace(with_keys("west")[0], name="north"), *with_keys("south")))
    assert store.of(other) == (RECEIPTS[1],)  # north is somebody else there


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"institution":"north"}', b"[" * 100_000])
def test_a_damaged_receipt_is_reported_by_its_file(tmp_path: Path, content: bytes) -> None:
    store = Receipts(tmp_path / "receipts")
    store.remember(SWEEP, RECEIPTS)
    path = next(p for p in (tmp_path / "receipts").iterdir() if b'"north"' in p.read_bytes())
    path.write_bytes(content)
    with pytest.raises(FederationError, match=f"E_RUN.*{path.name}"):
        store.of(SWEEP)


def test_receipts_lie_in_the_coordinators_home(start: Start, tmp_path: Path) -> None:
    outcome = go(begin(tmp_path, SWEEP), start(SWEEP))
    kept = [Receipt(**r) for p in (home() / "receipts").iterdir() for r in json.loads(p.read_bytes())]
    assert sorted(r.institution for r in kept) == list(NAMES)
    assert {r.head for r in kept} == {r.head for r in outcome.answered[0].receipts}
