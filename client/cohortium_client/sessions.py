"""What an institution must not forget between the legs of the masking protocol: its secrets, and what it has said.

A file of its own, mode 0600, beside the ledger; the secrets of a run are removed when its last round is answered.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cohortium.errors import LedgerError
from cohortium.masking.derivation import Secrets

_TABLES = """
CREATE TABLE IF NOT EXISTS secret (run TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS said (place TEXT PRIMARY KEY, asked TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Said:
    """What was said in a leg, and the digest of what was asked."""

    asked: str
    message: bytes


def remove_sessions(path: Path) -> None:
    """Forget everything: no mask can be made, and nothing be said, a second time. The file comes last, its log before it."""
    for end in ("-wal", "-shm", ""):
        path.with_name(path.name + end).unlink(missing_ok=True)


class Sessions:
    """A durable store; what it returns was committed. LedgerError E_LEDGER_UNAVAILABLE where it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._usable():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.executescript(_TABLES)

    def close(self) -> None:
        self._db.close()

    def secrets(self, run: str) -> Secrets:
        """The run's secrets, drawn when first asked for."""
        with self._usable():
            fresh = Secrets.draw(os.urandom(32)).to_bytes()
            self._db.execute("INSERT OR IGNORE INTO secret VALUES (?, ?)", (run, fresh))
            (kept,) = self._db.execute("SELECT bytes FROM secret WHERE run = ?", (run,)).fetchone()
        return Secrets.from_bytes(bytes(kept))

    def said(self, place: str) -> Said | None:
        """What was said at a place: a run, round, attempt and leg."""
        with self._usable():
            row = self._db.execute("SELECT asked, bytes FROM said WHERE place = ?", (place,)).fetchone()
        return None if row is None else Said(row[0], bytes(row[1]))

    def say(self, place: str, asked: str, message: bytes) -> Said:
        """Keep what is about to be said."""
        with self._usable():
            self._db.execute("INSERT INTO said VALUES (?, ?, ?)", (place, asked, message))
        return Said(asked, message)

    def forget(self, run: str) -> None:
        """Remove the run's secrets: nothing more is to be said in it."""
        with self._usable():
            self._db.execute("DELETE FROM secret WHERE run = ?", (run,))
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

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
