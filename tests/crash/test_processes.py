"""Custodians and coordinators as processes among other things that go wrong: ledgers, clocks, signals, late answers."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import date, timedelta
from pathlib import Path
from unittest import mock

import pytest
from invariants import check, check_finished
from launcher import PATIENCE, Mischief, Process, killing
from processes import SWEEP, TRAINING, Federation, federation, study

from cohortium.errors import LedgerError, StudyError
from cohortium.ledger.records import Consent
from cohortium.study.study import Study

Begin = Callable[[Study], Federation]
KILLED = -signal.SIGKILL
NOBODY = 65534


@pytest.fixture
def begin() -> Iterator[Begin]:
    with ExitStack() as stack:
        yield lambda agreed: stack.enter_context(federation(agreed))


def ends(process: Process, status: int, saying: str = "") -> None:
    assert process.wait() == status, process.output
    assert saying in process.output
    assert "Traceback" not in process.output


def await_stopped(process: Process) -> None:
    """Until it stands still."""
    until = time.monotonic() + PATIENCE
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert process.running and time.monotonic() < until, process.output
        time.sleep(0.005)


def charges(running: Federation, name: str = "north") -> int:
    with running.ledger(name) as ledger:
        return len(ledger.charges())


# Two custodians


def test_a_second_custodian_of_a_folder_is_refused(begin: Begin) -> None:
    running = begin(study(SWEEP))
    running.serve_all()
    ends(running.start("north"), 14, "E_LEDGER_UNAVAILABLE")
    running.finish()
    check_finished(running)


def test_a_second_custodian_of_a_ledger_is_refused_wherever_it_serves(begin: Begin) -> None:
    running = begin(study(SWEEP))
    running.serve_all()
    twin = running.files / "twin"
    shutil.copytree(running.folder("north"), twin, ignore=shutil.ignore_patterns("*.sock*", "ledger*"))
    described = (twin / "institution.toml").read_text()
    ledger = running.folder("north") / "ledger.sqlite"
    (twin / "institution.toml").write_text(f'ledger = "{ledger}"\n{described}')
    serve = ("institution", "serve", twin)
    ends(Process(running.home, *serve), 14, "E_LEDGER_UNAVAILABLE")
    running.custodians["north"].kill()
    with Process(running.home, *serve) as heir:  # the lock ends with the process, however that ends
        running.custodians["north"] = heir
        while "custodian of" not in heir.output:
            assert heir.running
            time.sleep(0.01)
        ends(running.start("north"), 14, "E_LEDGER_UNAVAILABLE")


# Ledgers that are not what they were


def files_of(running: Federation) -> dict[str, bytes]:
    return {name: (running.folder("north") / name).read_bytes() for name in ("ledger.sqlite", "ledger.sqlite.head")}


def test_a_read_only_ledger_is_refused_at_the_start_and_is_used_again_later(begin: Begin) -> None:
    """As nobody where the tests run as root, whom no mode stops."""
    running = begin(study(SWEEP))
    as_user = give_away(running)
    ledger = running.folder("north") / "ledger.sqlite"
    ledger.chmod(0o444)
    before = files_of(running)
    ends(running.start("north", as_user), 14, "E_LEDGER_UNAVAILABLE")
    assert files_of(running) == before
    running.serve("south")
    for part in ledger.parent.glob("ledger.sqlite*"):  # SQLite has given its own files the same rights
        part.chmod(0o600)
    running.serve("north", as_user)
    running.finish()
    check_finished(running)


def give_away(running: Federation) -> Mischief:
    """Let another user than root have north's folder; the user that its custodian is to run as."""
    if os.geteuid() != 0:
        return Mischief()
    described = running.folder("north") / "institution.toml"
    described.write_text("relay_uid = 0\n" + described.read_text())
    running.files.chmod(0o755)
    for path in (running.folder("north"), *running.folder("north").rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return Mischief(uid=NOBODY)


def interrupted(running: Federation, place: str = "witness written") -> Path:
    """North has charged an answer and was killed before it left; the ledger."""
    running.serve("north", killing(place))
    running.serve("south")
    ends(running.go_on(), 16)
    ends(running.custodians["north"], KILLED)
    assert charges(running) == 1
    return running.folder("north") / "ledger.sqlite"


def stopped(running: Federation) -> Path:
    """North has answered and ended; all is in the ledger's one file."""
    running.finish()
    running.custodians["north"].send(signal.SIGTERM)
    ends(running.custodians["north"], 0)
    return running.folder("north") / "ledger.sqlite"


@pytest.mark.parametrize("left", [0.0, 0.9])
def test_a_truncated_wal_is_a_rollback(begin: Begin, left: float) -> None:
    running = begin(study(SWEEP))
    wal = interrupted(running).with_name("ledger.sqlite-wal")
    os.truncate(wal, int(left * wal.stat().st_size))
    for _ in range(2):  # and the refusal mends nothing
        ends(running.start("north"), 14, "E_LEDGER_ROLLED_BACK")
    ends(Process(running.home, "study", "sign", running.study_file, "--as", running.folder("north")), 14, "ROLLED_BACK")
    check_nothing_new(running)


def check_nothing_new(running: Federation) -> None:
    """South alone can still answer, and the run does not come to an end without north."""
    ends(running.go_on(), 16)
    assert not running.release.exists()


def test_a_wal_truncated_before_the_witness_knew_of_it_loses_only_what_nobody_saw(begin: Begin) -> None:
    running = begin(study(SWEEP))
    wal = interrupted(running, "ledger committed").with_name("ledger.sqlite-wal")
    os.truncate(wal, wal.stat().st_size - 100)
    assert charges(running) == 0
    running.finish()
    check_finished(running)


def test_a_lost_ledger_is_not_begun_anew(begin: Begin) -> None:
    running = begin(study(SWEEP))
    ledger = stopped(running)
    ledger.unlink()
    ends(running.start("north"), 14, "E_LEDGER_ROLLED_BACK")
    assert not ledger.exists()


def test_an_older_copy_is_a_rollback(begin: Begin) -> None:
    running = begin(study(SWEEP))
    ledger = running.folder("north") / "ledger.sqlite"
    older = ledger.read_bytes()
    stopped(running)
    ledger.write_bytes(older)
    ends(running.start("north"), 14, "E_LEDGER_ROLLED_BACK")
    assert ledger.read_bytes() == older


def test_a_ledger_lost_with_its_witness_is_detected_by_the_receipts(begin: Begin) -> None:
    """The institution signs anew and knows nothing; the coordinator shows what it has signed before."""
    running = begin(study(SWEEP))
    for part in stopped(running).parent.glob("ledger.sqlite*"):
        part.unlink()
    shutil.rmtree(running.release)
    running.agree(study(SWEEP, name="another"))
    running.serve_all()
    ends(running.go_on(), 16, "refused by north (E_LEDGER_ROLLED_BACK)")
    assert "E_LEDGER_ROLLED_BACK" in running.custodians["north"].output
    assert charges(running) == 0


def test_overwritten_pages_are_refused_and_left_alone(begin: Begin) -> None:
    running = begin(study(SWEEP))
    ledger = stopped(running)
    damaged = bytearray(ledger.read_bytes())
    damaged[4096:] = b"\xaa" * (len(damaged) - 4096)
    ledger.write_bytes(bytes(damaged))
    before = files_of(running)
    ends(running.start("north"), 14, "E_LEDGER_")
    ends(Process(running.home, "ledger", "verify", "--ledger", ledger), 14, "E_LEDGER_")
    assert files_of(running) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE entry SET content = replace(content, '\"count\":1', '\"count\":0') WHERE number = 2", "entry 2"),
        ("UPDATE entry SET at = '1999-01-01' WHERE number = 1", "entry 1"),
        ("DELETE FROM entry WHERE number = 1", "entry 1"),
        ("UPDATE message SET bytes = x'00'", "message of entry 2"),
    ],
)
def test_a_wrong_chain_is_refused_and_its_first_bad_row_named(begin: Begin, change: str, named: str) -> None:
    running = begin(study(SWEEP))
    described = running.folder("north") / "institution.toml"
    described.write_text(described.read_text() + '\n[ledger]\nkeep_answers = "for-ever"\n')
    ledger = stopped(running)
    with closing(sqlite3.connect(ledger, isolation_level=None)) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            raw.execute(f"DROP TRIGGER {name}")
        assert raw.execute(change).rowcount == 1
    ends(Process(running.home, "ledger", "verify", "--ledger", ledger), 14, named)
    if "message" not in named:  # which is read, and refused, when it is asked for
        ends(running.start("north"), 14, named)
        return
    running.serve_all()
    shutil.rmtree(running.release)
    (running.run_folder or ledger).joinpath("0000.sum").unlink()
    ends(running.go_on(), 16, "refused by north (E_LEDGER_CORRUPT)")


# Clocks


def test_a_clock_ten_years_ahead_refuses_what_has_expired(begin: Begin) -> None:
    running = begin(study(SWEEP, expires=date.today() + timedelta(days=30)))
    running.serve("north", Mischief(years=10))
    running.serve("south")
    ends(running.go_on(), 16, "refused by north (E_EXPIRED)")
    assert "it was agreed until" in running.custodians["north"].output
    assert charges(running) == 0
    check(running)


def test_a_clock_ten_years_behind_changes_nothing(begin: Begin) -> None:
    running = begin(study(TRAINING, expires=date.today() + timedelta(days=30)))
    running.serve("north", Mischief(years=-10))
    running.finish()
    check_finished(running)


def test_a_clock_set_back_prolongs_nothing(begin: Begin) -> None:
    """North's ledger has an entry of a year ahead; the study expires before that."""
    running = begin(study(SWEEP))
    running.serve("north", Mischief(years=1))
    running.finish()
    shutil.rmtree(running.release)
    running.custodians["north"].kill()
    another = study(SWEEP, name="another", expires=date.today() + timedelta(days=30))
    with pytest.raises(StudyError, match="E_EXPIRED"):
        running.agree(another)  # not even signed
    with mock.patch("cohortium_client.custodian.answerable._require_time_left"):  # by a version that did not look
        running.agree(another)
    for years in (0, -10):
        running.serve("north", Mischief(years=years))
        ends(running.go_on(), 16, "refused by north (E_EXPIRED)")
        running.custodians["north"].kill()
    assert charges(running) == 1


# Signals and late answers


def test_sigterm_lets_an_answer_finish(begin: Begin) -> None:
    running = begin(study(SWEEP))
    north = running.serve("north", Mischief(at="answer computed", do="term"))
    running.serve("south")
    ends(running.go_on(), 0)
    ends(north, 0, "stopped")
    assert not (running.folder("north") / "custodian.sock").exists()
    check_finished(running)


def test_a_coordinator_killed_while_an_institution_computes(begin: Begin) -> None:
    """The answer, which nobody receives, is charged; resumed, the coordinator gets the same one."""
    running = begin(study(SWEEP))
    north = running.serve("north", Mischief(at="answer computed", do="stop"))
    running.serve("south")
    coordinator = running.go_on()
    await_stopped(north)
    coordinator.kill()
    north.send(signal.SIGCONT)
    running.settle()
    until = time.monotonic() + PATIENCE
    while charges(running) == 0:
        assert time.monotonic() < until
        time.sleep(0.02)
    check(running)
    running.finish()
    check_finished(running)


def test_one_straggler_is_named_and_waited_for_no_longer(begin: Begin) -> None:
    """The run stops, and goes on once it answers again; whoever was in time is not charged twice."""
    running = begin(study(TRAINING))
    north = running.serve("north", Mischief(at="request accepted", nth=2, do="stop"))
    running.serve("south")
    coordinator = running.go_on(Mischief(timeout=3))
    await_stopped(north)
    ends(coordinator, 16, "E_MISSING_INSTITUTION: round 1: no answer from north")
    assert charges(running, "south") == 2
    north.send(signal.SIGCONT)
    running.finish()
    check_finished(running)


# Randomness

FORKED = """
import os
from cohortium.privacy.randomness import SecureRandomness
randomness = SecureRandomness()
randomness.words(3)
reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, randomness.words(4).tobytes())
    os._exit(0)
os.wait()
print(os.read(reading, 32).hex(), randomness.words(4).tobytes().hex())
"""


def test_coins_are_not_shared_with_a_fork() -> None:
    result = subprocess.run([sys.executable, "-c", FORKED], check=True, capture_output=True, text=True, timeout=120)
    childs, parents = result.stdout.split()
    assert len(childs) == len(parents) == 64
    assert childs != parents


def test_a_custodian_that_cannot_verify_its_ledger_refuses_in_process(begin: Begin) -> None:
    """The copy that these tests look at is judged as the ledger itself would be."""
    running = begin(study(SWEEP))
    with running.ledger("north") as ledger:
        assert ledger.verify() == 1
        assert isinstance(ledger.entries()[0].record, Consent)
    (running.folder("north") / "ledger.sqlite.head").write_text("ab" * 32)
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        running.ledger("north")
