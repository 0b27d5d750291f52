"""What of the coordinator's files goes when a run has ended, and that nothing goes before."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from enlisted import consents, with_keys

from cohortium.data.columns import Boolean
from cohortium.data.schema import Schema
from cohortium.errors import FederationError
from cohortium.ledger.receipt import Receipt
from cohortium.study.generators import Sweep
from cohortium.study.study import Privacy, Study
from cohortium.system import failpoints
from cohortium.system.checks import taken
from cohortium_server import desired_state
from cohortium_server.flower.tidying import Tidying, make_shrinkable, shrink, tidy_runs
from cohortium_server.membership.federation import Federation, FederationFile, Head, Invited
from cohortium_server.rounds.folder_journal import REMOVED, FolderJournal
from cohortium_server.rounds.journal import Aggregate, Begun

STUDY = Study(
    name="tidy",
    schema=Schema(columns=(Boolean(name="a"), Boolean(name="b"))),
    privacy=Privacy(epsilon=1.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=with_keys("north"),
)
RECEIPT = (Receipt("north", "ab" * 32, "cd" * 32, "ef" * 64),)
LARGE = 1 << 20


def federation(folder: Path, keep_sums: int | None = None) -> Federation:
    head = Head(name="f", address="127.0.0.1:1", keep_sums=keep_sums)  # type: ignore[arg-type]
    made = Federation(folder, FederationFile(federation=head, institution=(Invited(name="north"),)))
    made.state.mkdir(exist_ok=True)
    return made


def received(number: int) -> Aggregate:
    return Aggregate(number, 0, np.arange(5, dtype=np.int64) + number, RECEIPT)


def run(made: Federation, rounds: int = 2) -> Path:
    """A run that was ordered, with complete rounds, as a version before left it, and one that is under way."""
    with closing(
        FolderJournal.begin(made.runs, STUDY, consents(STUDY), 1, {"out": str(made.folder / "out")})
    ) as journal:
        for number in range(rounds):
            journal.remember(received(number))
            journal.remember_state(number, b"state")
            journal.remember_begun(number, Begun(0, b"board"))
        journal.remember_state(rounds, b"state")
        desired_state.give(journal.folder, "go")
        return journal.folder


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.glob("0*")}


def test_of_a_complete_round_nothing_stays_but_its_sum(tmp_path: Path) -> None:
    with closing(FolderJournal.begin(tmp_path, STUDY, consents(STUDY), 1, {})) as journal:
        journal.remember_state(0, b"state")
        journal.remember_begun(0, Begun(0, b"board"))
        journal.remember(received(0))
        assert names(journal.folder) == {"0000.sum"}


def test_what_goes_on_is_left_alone(tmp_path: Path) -> None:
    made = federation(tmp_path, keep_sums=1)
    folder = run(made)
    before = names(folder)
    tidy_runs(made)
    assert names(folder) == before
    desired_state.end(folder, None)
    with closing(FolderJournal(folder)):  # somebody has it open
        tidy_runs(made)
        assert names(folder) == before
    desired_state.give(folder, "go")  # ordered anew, and not ended since
    tidy_runs(made)
    assert names(folder) == before


def test_what_older_versions_left_goes_and_the_sums_stay(tmp_path: Path) -> None:
    made = federation(tmp_path)
    folder = run(made)
    desired_state.end(folder, None)
    os.utime(folder / desired_state.END, (0, 0))
    tidy_runs(made)
    assert names(folder) == {"0000.sum", "0001.sum", "0002.asked"}
    with closing(FolderJournal(folder)) as journal:
        assert journal.aggregate(1) is not None


@pytest.mark.parametrize(
    "error", [None, FederationError("E_RUN", "it", "failed", "Resume it.")], ids=["released", "failed"]
)
@pytest.mark.parametrize("days", [9, 11])
def test_sums_go_so_many_days_after_their_release(tmp_path: Path, days: int, error: FederationError | None) -> None:
    made = federation(tmp_path, keep_sums=10)
    folder = run(made)
    desired_state.end(folder, error)
    then = (folder / desired_state.END).stat().st_mtime - days * 86400
    os.utime(folder / desired_state.END, (then, then))
    tidy_runs(made)
    gone = days > 10 and error is None
    assert (folder / REMOVED).exists() is gone
    assert ("0000.sum" in names(folder)) is not gone
    with closing(FolderJournal(folder)) as journal:
        assert journal.rounds_done == 2
        if gone:
            with pytest.raises(FederationError, match=r"E_RUN.*keep_sums"):
                journal.aggregate(0)


def test_a_coordinator_killed_while_sums_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = federation(tmp_path, keep_sums=1)
    folder = run(made)
    desired_state.end(folder, None)
    os.utime(folder / desired_state.END, (0, 0))

    def killed(place: str) -> None:
        if place == "sums given up":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(failpoints, "reached", killed)
        tidy_runs(made)
    with closing(FolderJournal(folder)) as journal:
        assert journal.rounds_done == 2
        with pytest.raises(FederationError, match=r"E_RUN.*keep_sums"):
            journal.aggregate(0)
    (folder / "0000.asked").touch()
    tidy_runs(made)
    assert names(folder) == {"0002.asked"}


# Flower's database


def filled(database: Path) -> sqlite3.Connection:
    """Open, as the link has it, after a large message came and went."""
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE IF NOT EXISTS objects (content BLOB)")
    db.execute("INSERT INTO objects VALUES (zeroblob(?))", (4 * LARGE,))
    db.execute("INSERT INTO objects VALUES ('kept')")
    db.execute("DELETE FROM objects WHERE content <> 'kept'")
    return db


def test_the_links_database_shrinks_while_it_is_used(tmp_path: Path) -> None:
    made = federation(tmp_path)
    make_shrinkable(made.link_database)
    with closing(filled(made.link_database)) as link:
        assert taken(made.link_database) > 4 * LARGE
        tidying = Tidying(made)
        tidying.look(busy=True)
        assert taken(made.link_database) > 4 * LARGE
        tidying.look(busy=False)
        assert taken(made.link_database) < LARGE
        assert link.execute("SELECT content FROM objects").fetchall() == [("kept",)]
        link.execute("INSERT INTO objects VALUES ('more')")


def test_others_write_while_it_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it at once took seconds with a large study's; who could not write by then had failed."""
    database, written = tmp_path / "superlink.db", list[float]()
    make_shrinkable(database)
    with closing(filled(database)) as link:
        link.execute("PRAGMA busy_timeout = 0")

        def pause(seconds: float) -> None:
            link.execute("INSERT INTO objects VALUES ('more')")
            written.append(seconds)

        monkeypatch.setattr("cohortium_server.flower.tidying.time.sleep", pause)
        shrink(database)
        assert len(written) >= 3
        assert link.execute("SELECT count(*) FROM objects").fetchone() == (1 + len(written),)
        assert taken(database) < LARGE


def test_one_of_an_older_version_shrinks_when_the_link_starts(tmp_path: Path) -> None:
    database = tmp_path / "superlink.db"
    filled(database).close()
    shrink(database)
    assert taken(database) > 4 * LARGE
    make_shrinkable(database)
    assert taken(database) < LARGE
    with closing(filled(database)):
        shrink(database)
        assert taken(database) < LARGE


def test_a_database_that_is_locked_or_none_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohortium_server.flower.tidying._WAIT", 0.01)
    database = tmp_path / "superlink.db"
    shrink(database)
    assert not database.exists()
    make_shrinkable(database)
    with closing(filled(database)) as link:
        link.execute("BEGIN IMMEDIATE")
        shrink(database)
        make_shrinkable(database)
        link.execute("ROLLBACK")
    database.write_bytes(b"no database" * 1000)
    for other in ("-wal", "-shm"):
        database.with_name(database.name + other).unlink(missing_ok=True)
    make_shrinkable(database)
    shrink(database)
    assert database.read_bytes() == b"no database" * 1000


def test_it_is_looked_at_now_and_then_while_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    monkeypatch.setattr("cohortium_server.flower.tidying.tidy_runs", looks.append)
    clock = iter([0.0, 10.0, 4000.0, 4000.0])
    monkeypatch.setattr("cohortium_server.flower.tidying.time.monotonic", lambda: next(clock))
    tidying = Tidying(federation(tmp_path))
    for _ in range(3):
        tidying.look(busy=False)
    assert len(looks) == 2
