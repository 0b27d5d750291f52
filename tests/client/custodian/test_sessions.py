"""What masked sums need remembered: paid for before it is kept, bounded, given up in time, and never older than it was."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from enlisted import ANYTHING, agree, consents, identity
from masked_federation import Federation, stopping, study

from cohortium.errors import FederationError, LedgerError, MaskingError
from cohortium.federation import wire
from cohortium.ledger.backup import back_up
from cohortium.ledger.records import Approval
from cohortium.ledger.store import Ledger
from cohortium.masking.derivation import Secrets
from cohortium.masking.statements import Leg
from cohortium.privacy.accounting import cost
from cohortium.study.plan import charged_in_all
from cohortium.study.study import Study
from cohortium_client.custodian import sessions as module
from cohortium_client.custodian.custodian import Custodian, Holding
from cohortium_client.custodian.policy import Policy
from cohortium_client.custodian.sessions import KEPT_FOR, MOST_OPEN, Sessions, remove_sessions, witness_of

RUN = "ab" * 16
WHOLE, FOUR = study(3), study(4, 1, 1)
Open = Callable[..., Sessions]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite"


@pytest.fixture
def open_at(path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def opened(where: Path = path, **options: Any) -> Sessions:
            sessions = Sessions(where, **options)
            stack.callback(sessions.close)
            return sessions

        yield opened


def run_of(number: int) -> str:
    return f"{number:032x}"


def kept(path: Path) -> int:
    return sum(p.stat().st_size for p in path.parent.glob(f"{path.name}*"))


# Before the first leg


def custodian(path: Path, stack: ExitStack, one: Study, policy: Policy) -> Custodian:
    ledger = stack.enter_context(Ledger(path.with_name("ledger.sqlite")))
    agree(ledger, one)
    sessions = Sessions(path)
    stack.callback(sessions.close)
    return Custodian(identity("i00"), {one.digest: one}, Holding("people", pytest.fail, ledger, sessions), policy)


def asked(one: Study, leg: Leg, run: str = RUN) -> bytes:
    return wire.encode_request(wire.Request(one.digest, run, 0, 0, consents=consents(one), leg=leg))


@pytest.mark.parametrize("one", [WHOLE, FOUR], ids=["without dropouts", "with dropouts"])
@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (Policy(epsilon_per_population=0.001), "E_BUDGET"),
        (Policy(epsilon_per_population=10.0, epsilon_if_all_collude=1.0), "E_BUDGET"),
        (replace(ANYTHING, require_approval=True), "E_APPROVAL"),
        (replace(ANYTHING, generators=("pgm",)), "E_POLICY"),
    ],
)
def test_what_will_not_be_answered_leaves_nothing_behind(path: Path, one: Study, policy: Policy, code: str) -> None:
    with ExitStack() as stack:
        behind = custodian(path, stack, one, policy)
        before = kept(path)
        for number in range(20):
            for leg in ("advertise", "share"):
                reported = wire.refused(behind.answer(asked(one, leg, run_of(number))))  # type: ignore[arg-type]
                assert reported is not None and reported.code in (code, "E_ROUND_ORDER")
        assert behind._holding.sessions is not None and behind._holding.sessions.open_runs() == 0
        assert kept(path) == before


def test_an_approved_run_is_opened(path: Path) -> None:
    with ExitStack() as stack:
        behind = custodian(path, stack, WHOLE, replace(ANYTHING, require_approval=True))
        behind._ledger.record(Approval(WHOLE.digest, RUN))
        assert wire.refused(behind.answer(asked(WHOLE, "advertise"))) is None


def test_what_was_said_is_said_again_although_nothing_more_can_be_paid_for(path: Path) -> None:
    with ExitStack() as stack:
        cap = cost(charged_in_all(WHOLE), 1e-6).epsilon
        behind = custodian(path, stack, WHOLE, Policy(epsilon_per_population=cap, repeatable=True))
        reported = behind.answer(asked(WHOLE, "advertise"))
        behind._policy = replace(behind._policy, epsilon_per_population=0.001)
        assert behind.answer(asked(WHOLE, "advertise")) == reported
        assert wire.refused(behind.answer(asked(WHOLE, "advertise", run_of(1)))) == wire.Refusal("i00", "E_BUDGET")


# How many, and for how long


def test_so_many_runs_are_open_and_no_more(path: Path) -> None:
    with ExitStack() as stack:
        behind = custodian(path, stack, WHOLE, ANYTHING)
        first = behind.answer(asked(WHOLE, "advertise", run_of(0)))
        for number in range(1, MOST_OPEN):
            assert wire.refused(behind.answer(asked(WHOLE, "advertise", run_of(number)))) is None
        for number in range(MOST_OPEN, MOST_OPEN + 200):
            reported = wire.refused(behind.answer(asked(WHOLE, "advertise", run_of(number))))
            assert reported == wire.Refusal("i00", "E_OPEN_RUNS")
        sessions = behind._holding.sessions
        assert sessions is not None and sessions.open_runs() == MOST_OPEN
        assert behind.answer(asked(WHOLE, "advertise", run_of(0))) == first
        sessions.forget(run_of(0))
        assert kept(path) < 200_000
        assert wire.refused(behind.answer(asked(WHOLE, "advertise", run_of(MOST_OPEN)))) is None


def test_a_run_that_nobody_asks_about_is_forgotten_and_no_other(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, now = open_at(most=2), datetime.now(UTC)
    for number in range(2):
        sessions.secrets(run_of(number))
        sessions.store(f"{run_of(number)}/0/0/advertise", "asked", b"said")
    just = now + KEPT_FOR - timedelta(minutes=1)
    assert sessions.expire(just) == []
    monkeypatch.setattr(module, "_now", lambda: just.isoformat(timespec="seconds"))
    sessions.store(f"{run_of(1)}/0/0/share", "asked", b"said")
    assert sessions.expire(now + KEPT_FOR + timedelta(minutes=1)) == [run_of(0)]
    assert not sessions.has_secrets(run_of(0)) and sessions.statement(f"{run_of(0)}/0/0/advertise") is None
    assert sessions.has_secrets(run_of(1)) and sessions.statement(f"{run_of(1)}/0/0/share") is not None


def test_room_is_made_for_a_new_run_by_those_whose_time_is_over(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = open_at(most=1)
    long_ago = (datetime.now(UTC) - KEPT_FOR - timedelta(days=1)).isoformat(timespec="seconds")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_now", lambda: long_ago)
        sessions.secrets(run_of(0))
    assert fits(sessions, run_of(1))
    with pytest.raises(MaskingError, match=r"E_OPEN_RUNS.*30 days"):
        sessions.secrets(run_of(2))


def fits(sessions: Sessions, run: str) -> bool:
    try:
        return bool(sessions.secrets(run))
    except MaskingError:
        return False


@pytest.mark.parametrize("end", ["forget", "expire"])
def test_what_is_forgotten_is_on_the_disk_no_more(open_at: Open, path: Path, end: str) -> None:
    sessions = open_at()
    secret = sessions.secrets(RUN)
    for number in range(300):
        sessions.store(f"{RUN}/{number}/0/share", "asked", os.urandom(4000))
    others = sessions.secrets(run_of(1))
    assert kept(path) > 1_000_000
    if end == "forget":
        sessions.forget(RUN)
    else:
        sessions.expire(datetime.now(UTC) + KEPT_FOR + timedelta(days=1))
        assert kept(path) < 100_000
    assert all(secret.seed not in p.read_bytes() for p in path.parent.glob(f"{path.name}*"))
    assert (sessions.secrets(run_of(1)) == others) is (end == "forget")


def test_a_run_that_was_answered_and_forgotten_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loudly: no other secrets are drawn for it, and nothing new is said."""
    with ExitStack() as stack:
        federation = Federation(FOUR, tmp_path, stack, stops=stopping(*FOUR.institution_names, legs=["confirm"]))
        with pytest.raises(FederationError):
            federation.ask()
        sessions = federation.custodians["i00"]._holding.sessions
        assert sessions is not None
        sessions.expire(datetime.now(UTC) + KEPT_FOR + timedelta(days=1))
        federation.stops = lambda name, request: False
        received = federation.ask()  # t of the others are enough
        assert "i00" in {r.institution for r in received.receipts}
        for leg in ("advertise", "confirm", "reveal"):
            reported = federation.custodians["i00"].answer(asked(FOUR, leg, federation.journal.run))  # type: ignore[arg-type]
            assert wire.refused(reported) == wire.Refusal("i00", "E_LEDGER_ROLLED_BACK")
        assert not sessions.has_secrets(federation.journal.run)


# Older copies


def copied(path: Path, place: Path, with_witness: bool) -> None:
    place.mkdir()
    with sqlite3.connect(path) as source, sqlite3.connect(place / path.name) as target:
        source.backup(target)
    source.close()
    target.close()
    if with_witness:
        shutil.copy(witness_of(path), place)


def put_back(path: Path, place: Path) -> None:
    for end in ("-wal", "-shm", ""):
        path.with_name(path.name + end).unlink(missing_ok=True)
    for one in place.iterdir():
        shutil.copy(one, path.parent)


def spoken(sessions: Sessions, number: int) -> None:
    sessions.secrets(RUN)
    sessions.store(f"{RUN}/{number}/0/reveal", "asked", b"said")


@pytest.mark.parametrize("before", [0, 1, 5])
def test_an_older_copy_is_noticed(path: Path, tmp_path: Path, before: int) -> None:
    sessions = Sessions(path)
    for number in range(before):
        spoken(sessions, number)
    copied(path, tmp_path / "copy", with_witness=False)
    spoken(sessions, before)
    sessions.close()
    Sessions(path).close()
    put_back(path, tmp_path / "copy")
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        Sessions(path)


def test_a_file_that_was_deleted_is_not_replaced_by_an_empty_one(path: Path) -> None:
    sessions = Sessions(path)
    spoken(sessions, 0)
    sessions.close()
    path.unlink()
    with pytest.raises(LedgerError, match=r"E_LEDGER_ROLLED_BACK.*sessions.sqlite.head"):
        Sessions(path)
    assert not path.exists()
    remove_sessions(path)
    Sessions(path).close()


def test_another_file_that_has_said_as_much_is_not_taken_for_it(path: Path, tmp_path: Path) -> None:
    for where in (path, tmp_path / "other" / path.name):
        sessions = Sessions(where)
        spoken(sessions, 0)
        sessions.close()
    shutil.copy(tmp_path / "other" / path.name, path)
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        Sessions(path)


@pytest.mark.parametrize("text", ["gossip", "0" * 47, "0" * 48, "zz" * 24])
def test_a_witness_that_is_none_is_not_believed(path: Path, text: str) -> None:
    sessions = Sessions(path)
    spoken(sessions, 0)
    sessions.close()
    witness_of(path).write_text(text)
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        Sessions(path)


def test_it_is_noticed_before_anything_is_said(open_at: Open, path: Path) -> None:
    """By a custodian that runs all the time: whoever shares the witness has said more."""
    sessions = open_at()
    spoken(sessions, 0)
    mark = sessions._mark()
    witness_of(path).write_text(replace(mark, count=mark.count + 1).text())
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        spoken(sessions, 1)
    assert sessions.statement(f"{RUN}/1/0/reveal") is None


def test_a_witness_that_lags_is_harmless(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the statement was kept, before the witness knew."""
    sessions = Sessions(path)
    spoken(sessions, 0)

    def killed(_: Sessions) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Sessions, "_testify", killed)
        spoken(sessions, 1)
    sessions.close()
    again = Sessions(path)
    assert again.statement(f"{RUN}/1/0/reveal") is not None
    spoken(again, 2)
    again.close()


@pytest.mark.parametrize("leg", ["advertise", "share", "mask"])
def test_an_older_copy_with_its_witness_is_held_against_the_ledger(tmp_path: Path, leg: Leg) -> None:
    """What was charged was masked: sessions that know of no shares for it are older, whatever their witness says.

    A copy from after the shares knows all that the ledger can prove: what was confirmed and revealed since is not noticed.
    """
    with ExitStack() as stack:
        silent = stopping(*FOUR.institution_names, legs=[leg])
        federation = Federation(FOUR, tmp_path, stack, stops=silent)
        with pytest.raises(FederationError):
            federation.ask()
        path = tmp_path / "i00.s"
        has_witness = witness_of(path).exists()
        federation.stops = stopping(*FOUR.institution_names, legs=["confirm"])
        copied(path, tmp_path / "copy", has_witness)
        with pytest.raises(FederationError):
            federation.ask()
        sessions = federation.custodians["i00"]._holding.sessions
        assert sessions is not None
        sessions.close()
        remove_sessions(path)
        put_back(path, tmp_path / "copy")
        federation.custodians["i00"] = federation.custodian("i00")
        federation.stops = lambda name, request: False
        (begun,) = [federation.journal.begun(0)]
        assert begun is not None
        reported = federation.custodians["i00"].answer(
            wire.encode_request(
                replace(wire.decode_request(asked(FOUR, "confirm", federation.journal.run)), board=begun.board)
            )
        )
        refused = wire.refused(reported)
        assert (refused is None) is (leg == "mask")
        assert refused is None or refused.code == "E_LEDGER_ROLLED_BACK"


def test_files_of_older_versions_are_read_and_dated(path: Path) -> None:
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE secret (run TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT")
        old.execute("CREATE TABLE said (place TEXT PRIMARY KEY, asked TEXT NOT NULL, bytes BLOB NOT NULL) STRICT")
        old.execute("INSERT INTO secret VALUES (?, ?)", (RUN, Secrets(bytes(32)).to_bytes()))
        old.execute("INSERT INTO said VALUES (?, 'asked', x'00')", (f"{run_of(7)}/0/0/share",))
    old.close()
    sessions = Sessions(path)
    assert sessions.secrets(RUN) == Secrets(bytes(32))
    assert sessions.expire() == []
    assert sorted(sessions.expire(datetime.now(UTC) + KEPT_FOR + timedelta(days=1))) == [run_of(7), RUN]
    sessions.close()


# Entropy


def test_the_secrets_of_a_run_are_all_that_was_asked_of_the_operating_system(
    open_at: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 bits for each run, none of them used twice, none of them left out."""
    sessions, given = open_at(), []
    really = os.urandom

    def spy(count: int) -> bytes:
        given.append(really(count))
        return given[-1]

    monkeypatch.setattr(os, "urandom", spy)
    seeds = [sessions.secrets(run_of(k)).seed for k in range(3)]
    assert [len(g) * 8 for g in given] == [256] * 3
    assert seeds == given
    assert [sessions.secrets(run_of(k)).seed for k in range(3)] == seeds
    assert len(given) == 3


# Every database


def test_every_database_that_is_kept_is_durable_and_overwrites_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever connections a round of masked sums, a backup and a restoration's copy open for good: one law for all of them."""
    opened: list[tuple[str, sqlite3.Connection]] = []
    connect = sqlite3.connect

    def spy(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append((str(database), connect(database, *arguments, **options)))
        return opened[-1][1]

    monkeypatch.setattr(sqlite3, "connect", spy)
    with ExitStack() as stack:
        federation = Federation(FOUR, tmp_path, stack)
        federation.ask()
        back_up(federation.ledgers["i00"], tmp_path / "backup.sqlite")
        found = {}
        for name, connection in opened:
            try:
                found[name] = {
                    pragma: connection.execute(f"PRAGMA {pragma}").fetchone()[0]
                    for pragma in ("journal_mode", "synchronous", "secure_delete", "temp_store", "foreign_keys")
                }
            except sqlite3.ProgrammingError:
                continue  # closed: nothing is kept through it any more
        sessions = {n: p for n, p in found.items() if n.endswith(".s")}
        ledgers = {n: p for n, p in found.items() if n.endswith(".sqlite")}
        assert len(sessions) == len(ledgers) == 4 and len(found) == 8
        assert all((p["journal_mode"], p["synchronous"]) == ("wal", 2) for p in found.values())
        assert all((p["secure_delete"], p["temp_store"]) == (1, 2) for p in sessions.values())
        assert all(p["foreign_keys"] == 1 for p in ledgers.values())
        assert all((p.stat().st_mode & 0o077) == 0 for n in found for p in [Path(n)])


def test_there_are_no_other_databases() -> None:
    """Whoever opens another one puts it under the law above."""
    root = Path(__file__).parents[3]
    places = [p for room in ("common", "client", "server", "simulation") for p in (root / room).rglob("*.py")]
    opening = {p.name: p.read_text().count("sqlite3.connect(") for p in places if "sqlite3.connect(" in p.read_text()}
    assert opening == {
        "database.py": 1,
        "backup.py": 3,
        "files.py": 2,
        "tidying.py": 2,
    }  # the last one Flower's, which is shrunk
