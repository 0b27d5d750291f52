"""The SQLite file of a ledger: its transactions, its size and its backups.

It runs in WAL mode with synchronous=FULL: a transaction is durable once it has ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cohortium.errors import LedgerError
from cohortium.ledger.format import INCREMENTAL
from cohortium.ledger.location import unavailable
from cohortium.system import failpoints


class Database:
    """What is open at ``path``. LedgerError E_LEDGER_UNAVAILABLE where the disk refuses, E_LEDGER_CORRUPT where it is damaged."""

    path: Path
    _db: sqlite3.Connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable at the end, alone among writers."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error:
            raise self._unavailable() from None

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.OperationalError:
            raise self._unavailable() from None
        except sqlite3.DatabaseError:
            raise self._corrupt("its pages") from None

    def _pragma(self, name: str) -> int:
        return int(self._read(f"PRAGMA {name}")[0][0])

    def shrink(self, whole: bool = False) -> None:
        """Give free room in the file, and the log beside it, back to the disk, as far as others who use it let that happen.

        whole: also where an older version made the file. It is then written anew once, for which the disk needs room for
        twice what it holds. LedgerError E_LEDGER_UNAVAILABLE where the disk refuses, or another process writes for long; then
        the file is as it was.
        """
        try:
            if self._pragma("auto_vacuum") == INCREMENTAL:
                self._db.executescript("PRAGMA incremental_vacuum")  # ``execute`` frees one page alone
            elif whole:
                self._db.execute("VACUUM")
            failpoints.passed("ledger shrunk")
            self._db.execute(
                "PRAGMA wal_checkpoint(TRUNCATE)"
            ).fetchall()  # who reads meanwhile leaves it to a later one
        except sqlite3.Error:
            raise self._unavailable() from None

    def holds_bytes(self) -> int:
        """How many bytes the file needs for what is in it."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def free_bytes(self) -> int:
        """How many bytes of the file hold nothing."""
        return self._pragma("freelist_count") * self._pragma("page_size")

    def copy_to(self, path: Path) -> None:
        """Write the ledger as it is at one moment into a new file, whoever else writes to it meanwhile."""
        try:
            with closing(sqlite3.connect(path)) as copy:
                self._db.backup(copy)
        except sqlite3.Error:
            raise self._unavailable() from None

    def _unavailable(self) -> LedgerError:
        return unavailable(self.path)

    def _corrupt(self, place: str) -> LedgerError:
        return LedgerError(
            "E_LEDGER_CORRUPT",
            self.path.name,
            f"the chain is broken at {place}",
            "Stop, keep the file, and restore the ledger from a backup with two persons (docs/backup.md).",
        )
