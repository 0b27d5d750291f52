"""The durable state of the masking protocol between its legs: an institution's secrets and its statements.

It is a file of its own, mode 0600, beside the ledger. A run's secrets are removed when its last round is answered, its statements
when nobody has asked about the run for ``KEPT_FOR``; at most ``MOST_OPEN`` runs have secrets at a time.

Somebody who put an older copy of the file back could make the institution sign two different statements in one leg. Statements
are therefore counted, and the newest count is also written to a second file, the *witness*: sessions that lack statements they
once had are refused (E_LEDGER_ROLLED_BACK), when they are opened and before a statement is made.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cohortium.errors import LedgerError, MaskingError
from cohortium.ledger.location import witness_of
from cohortium.masking.derivation import Secrets
from cohortium.system.files import make_once, open_database, open_to_overwrite, overwrite, write_database

MOST_OPEN = 64  # runs with secrets
KEPT_FOR = timedelta(days=30)  # after the last statement of a run
_log = logging.getLogger("cohortium.custodian")  # the institution's own log; nothing of it is sent anywhere
_TABLES = """
CREATE TABLE IF NOT EXISTS secret (run TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS said (place TEXT PRIMARY KEY, asked TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS used (run TEXT PRIMARY KEY, at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS mark (only INTEGER PRIMARY KEY CHECK (only = 1), epoch TEXT NOT NULL, count INTEGER NOT NULL) STRICT;
"""
_DATED = """
INSERT OR IGNORE INTO used
SELECT run, ? FROM (SELECT run FROM secret UNION SELECT substr(place, 1, instr(place, '/') - 1) FROM said)
"""  # statements that older versions stored without a date


@dataclass(frozen=True)
class StoredStatement:
    """A statement made in a leg, and the digest of the request it answers."""

    asked: str
    message: bytes


@dataclass(frozen=True)
class _Mark:
    """The file's identity (drawn at random when it was made), and how many statements were made from it."""

    epoch: str
    count: int

    def text(self) -> str:
        """Always 48 characters: a disk writes them whole or not at all."""
        return f"{self.epoch}{self.count:016d}"

    @staticmethod
    def of(text: str) -> _Mark | None:
        return _Mark(text[:32], int(text[32:])) if len(text) == 48 and text[32:].isdigit() else None


def remove_sessions(path: Path, witness: Path | None = None) -> None:
    """Forget everything: no mask and no statement can be made a second time. The log is removed first, the file last."""
    (witness or witness_of(path)).unlink(missing_ok=True)
    for end in ("-wal", "-shm", ""):
        path.with_name(path.name + end).unlink(missing_ok=True)


class Sessions:
    """A durable store of secrets and statements; what it returns is committed.

    most: runs that may have secrets at a time. LedgerError E_LEDGER_UNAVAILABLE where it cannot be used,
    E_LEDGER_ROLLED_BACK where it is older than its witness.
    """

    def __init__(self, path: Path, witness: Path | None = None, most: int = MOST_OPEN) -> None:
        self.path, self.witness, self.most = path, witness or witness_of(path), most
        with self._usable():
            if self.witness.exists() and not path.exists():
                raise self.rolled_back()
            make_once(path, partial(write_database, begin=_TABLES))
            self._db = open_database(path)
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.execute("PRAGMA temp_store = MEMORY")  # no secret lies in a temporary file while room is made
            self._db.executescript(_TABLES)
            self._db.execute("INSERT OR IGNORE INTO mark VALUES (1, ?, 0)", (os.urandom(16).hex(),))
            self._db.execute(_DATED, (_now(),))
            self._check_witness()

    def close(self) -> None:
        self._db.close()

    # Secrets

    def secrets(self, run: str) -> Secrets:
        """The run's secrets, drawn when first asked for. MaskingError E_OPEN_RUNS where too many runs have some."""
        with self._usable():
            kept = self._secrets(run)
            if kept is None:
                self.expire()
                if self.open_runs() >= self.most:
                    raise _too_many(self.most)
                with self._transaction():
                    fresh = Secrets.draw(os.urandom(32)).to_bytes()
                    self._db.execute("INSERT OR IGNORE INTO secret VALUES (?, ?)", (run, fresh))
                    self._use(run)
                kept = self._secrets(run) or fresh
        return Secrets.from_bytes(kept)

    def _secrets(self, run: str) -> bytes | None:
        row = self._db.execute("SELECT bytes FROM secret WHERE run = ?", (run,)).fetchone()
        return None if row is None else bytes(row[0])

    def has_secrets(self, run: str) -> bool:
        """Whether the run was opened and is not over."""
        with self._usable():
            return self._secrets(run) is not None

    def open_runs(self) -> int:
        """How many runs have secrets."""
        with self._usable():
            (count,) = self._db.execute("SELECT count(*) FROM secret").fetchone()
        return int(count)

    # Statements

    def statement(self, place: str) -> StoredStatement | None:
        """The statement made at a place: a run, round, attempt and leg."""
        with self._usable():
            row = self._db.execute("SELECT asked, bytes FROM said WHERE place = ?", (place,)).fetchone()
        return None if row is None else StoredStatement(row[0], bytes(row[1]))

    def statements_in(self, run: str, leg: str) -> set[tuple[int, int]]:
        """The rounds and attempts of a run in which a statement of this leg was made."""
        with self._usable():
            rows = self._db.execute("SELECT place FROM said WHERE place > ? AND place < ?", _between(run)).fetchall()
        places = [place.split("/") for (place,) in rows if place.endswith(f"/{leg}")]
        return {(int(number), int(attempt)) for _, number, attempt, _ in places if number.isdigit()}

    def store(self, place: str, asked: str, message: bytes) -> StoredStatement:
        """Store a statement before it is sent, count it, and update the witness. A witness that lags is harmless."""
        with self._usable():
            self._check_witness()
            with self._transaction():
                self._db.execute("INSERT INTO said VALUES (?, ?, ?)", (place, asked, message))
                self._db.execute("UPDATE mark SET count = count + 1")
                self._use(place.partition("/")[0])
            self._testify()
        return StoredStatement(asked, message)

    # The end of a run

    def forget(self, run: str) -> None:
        """Remove the run's secrets: no new statement can be made in it. Stored statements can be sent again."""
        with self._usable():
            if self._secrets(run) is not None:
                self._db.execute("DELETE FROM secret WHERE run = ?", (run,))
                self._make_room()

    def expire(self, now: datetime | None = None) -> list[str]:
        """Remove all runs that nobody has asked about for ``KEPT_FOR``; returns their names.

        One that was answered is not opened again: the ledger has its charges (``Masking``).
        """
        today = now or datetime.now(UTC)
        last, at = (moment.isoformat(timespec="seconds") for moment in (today - KEPT_FOR, today))
        with self._usable():
            # a time in the future, from a clock that ran ahead, would keep a run open until then
            self._db.execute("UPDATE used SET at = ? WHERE at > ?", (at, at))
            old = [run for (run,) in self._db.execute("SELECT run FROM used WHERE at < ?", (last,)).fetchall()]
            if old:
                with self._transaction():
                    for run in old:
                        self._db.execute("DELETE FROM secret WHERE run = ?", (run,))
                        self._db.execute("DELETE FROM said WHERE place > ? AND place < ?", _between(run))
                        self._db.execute("DELETE FROM used WHERE run = ?", (run,))
                self._make_room()
                _log.warning("%d runs that nobody has asked about for %d days were forgotten", len(old), KEPT_FOR.days)
        return old

    def _make_room(self) -> None:
        """Return the freed space to the disk; ``secure_delete`` has overwritten what was removed."""
        self._db.execute("VACUUM")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _use(self, run: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO used VALUES (?, ?)", (run, _now()))

    # Older copies

    def _mark(self) -> _Mark:
        return _Mark(*self._db.execute("SELECT epoch, count FROM mark").fetchone())

    def _check_witness(self) -> None:
        if self.witness.exists():
            text, mark = self.witness.read_text(encoding="ascii", errors="replace"), self._mark()
            seen = _Mark.of(text)
            if text and (seen is None or seen.epoch != mark.epoch or seen.count > mark.count):
                raise self.rolled_back()

    def _testify(self) -> None:
        descriptor = open_to_overwrite(self.witness)
        try:
            overwrite(descriptor, self._mark().text().encode())
        finally:
            os.close(descriptor)

    def rolled_back(self) -> LedgerError:
        return LedgerError(
            "E_LEDGER_ROLLED_BACK",
            self.path.name,
            "it lacks statements of masked sums that were made from it: it was deleted or replaced by an older copy",
            f"Put the newest one back. If there is none, remove it and {self.witness.name}: the runs under way are then over.",
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, durable at the end, alone among writers."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError):
            raise LedgerError(
                "E_LEDGER_UNAVAILABLE",
                self.path.name,
                "it cannot be opened, locked or written",
                "Check the disk and the rights; nothing was sent.",
            ) from None


def _between(run: str) -> tuple[str, str]:
    """The range of a run's places: 0 comes after / in ASCII."""
    return f"{run}/", f"{run}0"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _too_many(most: int) -> MaskingError:
    return MaskingError(
        "E_OPEN_RUNS",
        "sessions",
        f"{most} runs of masked sums are open already",
        f"Let them end; one that nobody asks about for {KEPT_FOR.days} days is forgotten.",
    )
