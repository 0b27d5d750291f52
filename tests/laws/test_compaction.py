"""A compacted ledger proves what it proved before; what was dropped is neither answered nor charged again."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from effort import examples
from enlisted import with_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Boolean
from cohortium.data.schema import Schema
from cohortium.errors import LedgerError, WireError
from cohortium.ledger import format as ledger_format
from cohortium.ledger import store as ledger_module
from cohortium.ledger.backup import back_up, finish, lies_ready, make_ready, reading
from cohortium.ledger.format import FORMAT, NEWER
from cohortium.ledger.records import Charge, Consent, Entry
from cohortium.ledger.store import Ledger
from cohortium.privacy.accounting import Gaussian
from cohortium.study.generators import Sweep
from cohortium.study.study import Privacy, Study
from cohortium.system import checks
from cohortium_client.custodian.keeping import SILENT_FOR, compacted, over

LARGE = 1 << 18  # bytes of a message
FORMATS = Path(__file__).parents[1] / "vectors" / "formats"
STUDY = Study(
    name="kept",
    schema=Schema(columns=(Boolean(name="a"), Boolean(name="b"))),
    privacy=Privacy(epsilon=1.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=with_keys("north", "south"),
    expires=date(2026, 6, 30),
)


def charge(run: str, number: int, attempt: int = 0) -> Charge:
    asked = hashlib.sha256(f"{run}{number}{attempt}".encode()).hexdigest()
    events = (Gaussian(4.0 + number),)
    return Charge("people", STUDY.digest, run, number, attempt, asked, "", events, 1e-6, (Gaussian(3.0), *events))


def put(ledger: Ledger, one: Charge, size: int = 100) -> tuple[Entry, bytes]:
    sent = f"answer {one.place} ".encode().ljust(size, b".")
    return ledger.charge(replace(one, message=hashlib.sha256(sent).hexdigest()), sent)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


def proves(ledger: Ledger) -> list[object]:
    """All that is ever reported of a ledger, read anew."""
    delta = 1e-5
    return [
        ledger.verify(),
        ledger.head(),
        ledger.entries(),
        ledger.charges(),
        ledger.populations(),
        ledger.spent("people", delta),
        ledger.spent_if_all_collude("people", delta),
        ledger.events("people", STUDY.digest),
        all(ledger.holds(e.hash) for e in ledger.entries()),
    ]


places = st.tuples(st.sampled_from(["aa", "bb", "cc"]), st.integers(0, 3), st.integers(0, 1))


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(places, unique=True, max_size=8), st.sets(st.sampled_from(["aa", "bb", "cc", "none"])))
def test_a_compacted_ledger_proves_the_same(asked: list[tuple[str, int, int]], ended: set[str]) -> None:
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "l.sqlite") as ledger:
        ledger.record(Consent(STUDY.digest, STUDY.name, STUDY.serial))
        sent = {place: put(ledger, charge(*place)) for place in asked}
        before = proves(ledger)
        assert ledger.drop(ended) == sum(run in ended for run, _, _ in asked)
        ledger.shrink()
        with Ledger(ledger.path) as again:
            assert proves(ledger) == proves(again) == before
        for place in asked:
            if place[0] in ended:
                with pytest.raises((WireError, LedgerError)) as caught:
                    put(ledger, charge(*place))
                assert caught.value.code == "E_ENDED"
            else:
                assert put(ledger, charge(*place)) == sent[place]
            with pytest.raises(WireError, match="E_REPLAY"):
                put(ledger, replace(charge(*place), request="0" * 64))
        assert proves(ledger) == before


def test_dropping_nothing_writes_nothing(ledger: Ledger, path: Path) -> None:
    put(ledger, charge("aa", 0))
    assert ledger.drop({"bb"}) == 0
    assert version(path) == FORMAT


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as raw:
        return int(raw.execute("PRAGMA user_version").fetchone()[0])


def test_another_process_drops_what_a_custodian_was_about_to_send(ledger: Ledger, path: Path) -> None:
    """The one that has the ledger open neither takes it for a broken chain nor answers anew."""
    put(ledger, charge("aa", 0))
    with Ledger(path) as other:
        other.drop({"aa"})
    with pytest.raises(WireError, match="E_ENDED"):
        put(ledger, charge("aa", 0))
    with pytest.raises(WireError, match="E_ENDED"):
        ledger.sent("aa/0/0")
    put(ledger, charge("aa", 1))
    assert ledger.verify() == 2


def test_a_message_that_is_lost_and_not_dropped_is_still_found(ledger: Ledger, path: Path) -> None:
    for number in range(2):
        put(ledger, charge("aa", number))
    put(ledger, charge("bb", 0))
    ledger.drop({"aa"})
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for statement in ("DELETE FROM message", "DELETE FROM dropped", "UPDATE dropped SET number = 3"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                raw.execute(statement)
        raw.execute("DROP TRIGGER messages_stay")
        raw.execute("DELETE FROM message WHERE number = 3")
    with pytest.raises(LedgerError, match=r"E_LEDGER_CORRUPT.*entry 3"):
        ledger.verify()


def test_room_is_given_back_while_others_use_the_ledger(ledger: Ledger, path: Path) -> None:
    for number in range(8):
        put(ledger, charge("aa", number), LARGE)
    with Ledger(path) as custodian:
        put(custodian, charge("bb", 0))
        before = checks.taken(path)
        done = compacted(ledger, {}, SILENT_FOR, ["aa"])
        assert (done.dropped, done.kept, done.before) == (8, 1, before)
        assert done.after == checks.taken(path) < LARGE < before
        assert custodian.verify() == done.entries == 9
        put(custodian, charge("bb", 1))
        assert custodian.head() == ledger.head()


def test_a_reader_in_the_middle_of_reading_is_not_disturbed(ledger: Ledger, path: Path) -> None:
    for number in range(3):
        put(ledger, charge("aa", number), LARGE)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM message").fetchone() == (3,)
        ledger._db.execute("PRAGMA busy_timeout = 50")
        ledger.drop({"aa"})
        ledger.shrink()  # what it gives back now is not all
        assert reader.execute("SELECT count(*) FROM message").fetchone() == (3,)
        reader.execute("COMMIT")
    ledger.shrink()
    assert checks.taken(path) < LARGE


def test_a_long_writer_is_reported_and_nothing_is_lost(ledger: Ledger, path: Path) -> None:
    put(ledger, charge("aa", 0))
    ledger._db.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
            ledger.drop({"aa"})
        writer.execute("ROLLBACK")
    assert put(ledger, charge("aa", 0))[1].startswith(b"answer aa/0/0")


# Of older versions


def older(path: Path) -> None:
    """As a version before wrote it: without a way to drop, and without one to shrink."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for statement in (
            "DROP TABLE dropped",
            "DROP TRIGGER messages_stay",
            "CREATE TRIGGER messages_stay BEFORE DELETE ON message BEGIN SELECT RAISE(ABORT, 'append only'); END",
            "PRAGMA journal_mode = DELETE",
            "PRAGMA auto_vacuum = NONE",
            "VACUUM",
        ):
            raw.execute(statement)


def test_a_ledger_of_an_older_version_is_compacted(path: Path) -> None:
    with Ledger(path) as ledger:
        for number in range(4):
            put(ledger, charge("aa", number), LARGE)
        before = proves(ledger)
    older(path)
    with Ledger(path) as ledger:
        ledger.drop({"aa"})
        ledger.shrink()
        assert checks.taken(path) > LARGE  # it would have to be written anew, which is nothing for in between
        compacted(ledger, {}, None)
        assert checks.taken(path) < LARGE
        assert proves(ledger) == before


def test_committed_ledgers_prove_the_same(tmp_path: Path) -> None:
    for file in FORMATS.glob("1/*h.sqlite"):
        shutil.copy(file, tmp_path / file.name)
        with Ledger(tmp_path / file.name) as ledger:
            before = ledger.verify(), ledger.head(), ledger.entries(), ledger.spent("customers", 1e-6)
            runs = {c.run for c in ledger.charges()}
            assert compacted(ledger, {}, SILENT_FOR, runs).dropped == len(ledger.charges()) > 0
            assert (ledger.verify(), ledger.head(), ledger.entries(), ledger.spent("customers", 1e-6)) == before


def test_an_older_version_refuses_a_compacted_ledger_and_calls_it_not_broken(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ledger, charge("aa", 0))
    ledger.drop({"aa"})
    assert version(path) == NEWER
    monkeypatch.setattr(ledger_format, "FORMATS", (2, 3))
    with pytest.raises(LedgerError, match="E_VERSION"):
        Ledger(path)


def test_too_little_room_on_the_disk_is_reported(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ledger, charge("aa", 0))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(LedgerError, match=r"E_LEDGER_UNAVAILABLE.*1 bytes left"):
        compacted(ledger, {}, None, ["aa"])
    assert ledger.stored_answers() == 0


# Backups


def test_a_compacted_ledger_is_backed_up_and_comes_back(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    for run in ("aa", "bb"):
        put(ledger, charge(run, 0), LARGE)
    ledger.drop({"aa"})
    ledger.shrink()
    made, before = back_up(ledger, tmp_path / "backup"), proves(ledger)
    assert (made.entries, made.head) == (2, ledger.head())
    assert (tmp_path / "backup").stat().st_size < 2 * LARGE
    with reading(tmp_path / "backup", tmp_path) as copy:
        assert proves(copy) == before
        with pytest.raises(WireError, match="E_ENDED"):
            put(copy, charge("aa", 0))
    ledger.close()
    path.write_bytes(b"")
    make_ready(tmp_path / "backup", path, made.head)
    finish(path, ledger.witness, made.head)
    assert lies_ready(path) is None
    with Ledger(path) as restored:
        assert proves(restored) == before
        assert version(path) == NEWER


def test_a_backup_of_before_brings_the_same_bytes_back_and_no_other(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    sent = put(ledger, charge("aa", 0))
    made = back_up(ledger, tmp_path / "backup")
    ledger.drop({"aa"})
    ledger.close()
    path.unlink()
    make_ready(tmp_path / "backup", path, made.head)
    finish(path, ledger.witness, made.head)
    with Ledger(path) as restored:
        assert put(restored, charge("aa", 0)) == sent


# What is over


NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set the clock by which entries are dated."""

    def set_clock(moment: datetime) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
                return moment

        monkeypatch.setattr(ledger_module, "datetime", Clock)

    return set_clock


def test_a_run_is_over_when_its_study_has_expired(ledger: Ledger, at: Callable[[datetime], None]) -> None:
    at(NOW - timedelta(days=2))
    put(ledger, charge("aa", 0))
    later = replace(STUDY, expires=None)
    put(ledger, replace(charge("bb", 0), study=later.digest))
    studies = {s.digest: s for s in (STUDY, later)}
    assert over(ledger, studies, SILENT_FOR, NOW - timedelta(days=1)) == set()  # on its last day it is still answered
    assert over(ledger, studies, SILENT_FOR, NOW) == {"aa"}
    assert over(ledger, {}, SILENT_FOR, NOW) == set()
    assert over(ledger, studies, None, NOW) == set()


def test_a_run_is_over_when_nothing_was_answered_for_so_many_days(
    ledger: Ledger, at: Callable[[datetime], None]
) -> None:
    for days, run in ((31, "aa"), (31, "bb"), (29, "bb"), (29, "cc")):
        at(NOW - timedelta(days=days))
        put(ledger, charge(run, days))
    assert over(ledger, {}, SILENT_FOR, NOW) == {"aa"}
    assert over(ledger, {}, 10, NOW) == {"aa", "bb", "cc"}
    assert over(ledger, {}, None, NOW + timedelta(days=9999)) == set()
    ledger.drop({"aa"})
    assert over(ledger, {}, SILENT_FOR, NOW) == set()


def test_a_moment_in_the_ledger_that_lies_ahead_drops_nothing(ledger: Ledger, at: Callable[[datetime], None]) -> None:
    """A clock that once ran ahead may have been wrong; what it would drop cannot be had again."""
    put(ledger, charge("aa", 0))
    at(NOW + timedelta(days=800))
    put(ledger, charge("bb", 0))
    assert over(ledger, {STUDY.digest: STUDY}, SILENT_FOR, NOW - timedelta(days=10)) <= {"aa"}
