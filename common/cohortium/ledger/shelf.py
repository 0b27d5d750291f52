"""Many ledgers in one file, for the institutions of a simulation.

Every institution has a ledger file of its own, and so do simulated ones where they are few. A thousand would need thousands of
files and disk flushes. A *shelf* therefore holds the chains of many institutions in one SQLite file, in WAL mode with
synchronous=FULL, with their keys beside them. ``Ledger`` still defines what an entry is and how entries are chained, counted
and capped; a ``ShelvedLedger`` only reads and writes elsewhere.

Charges made ``together`` become durable together, in one flush, and no answer is released before. Each such *batch* is chained
to the one before it and its head is written to a witness: a shelf that lacks a batch it once had is refused
(E_LEDGER_ROLLED_BACK), as a ledger that lacks entries is.

No message is stored. A simulation ends with its process, so nobody can ask again; within the process messages are in memory.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.errors import LedgerError, WireError
from cohortium.ledger.amendment import Amendment
from cohortium.ledger.location import rolled_back, unavailable, witness_of
from cohortium.ledger.records import GENESIS, Charge, Entry
from cohortium.ledger.restoration import Restoration
from cohortium.ledger.store import Ledger
from cohortium.system import failpoints, locks
from cohortium.system.canonical import digest
from cohortium.system.files import make_once, open_database, open_to_overwrite, overwrite, write_database

FILE = "_institutions.sqlite"  # no institution's name begins so
_PATIENCE = 60_000  # milliseconds that one who writes is waited for
FORMAT = 101  # no ledger's: versions without shelves refuse one, and overlook nothing that was spent
_TABLES = """
CREATE TABLE IF NOT EXISTS entry (
    institution TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, content TEXT NOT NULL, attempt TEXT,
    at TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL, batch INTEGER NOT NULL,
    PRIMARY KEY (institution, number), UNIQUE (institution, attempt), UNIQUE (institution, previous)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_of_batch ON entry (batch);
CREATE TABLE IF NOT EXISTS batch (number INTEGER PRIMARY KEY, previous TEXT NOT NULL UNIQUE, head TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS key (institution TEXT PRIMARY KEY, private BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS entries_last BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS batches_stay BEFORE DELETE ON batch BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS batches_last BEFORE UPDATE ON batch BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


class Shelf:
    """The file at ``path``, opened or made; closed by ``close`` or at the end of a ``with``.

    LedgerError: E_LEDGER_UNAVAILABLE where it cannot be used, E_LEDGER_ROLLED_BACK where it is older than its witness,
    E_VERSION where another version wrote it. One thread at a time writes; several processes may.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.witness = path, witness_of(path)
        self._ledgers: dict[str, ShelvedLedger] = {}
        self._one, self._open, self._changed = RLock(), False, list[ShelvedLedger]()
        try:
            if self.witness.exists() and not path.exists():
                raise rolled_back(path)
            make_once(path, partial(write_database, begin=f"PRAGMA user_version = {FORMAT}; {_TABLES}"))
            self.db = open_database(path)
            self.db.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
            self._check_format()
            self._check_witness()
        except (sqlite3.Error, OSError):
            raise unavailable(path) from None

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.db.close()

    def _check_format(self) -> None:
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            what = f"it is written in format {version}, this version of cohortium reads format {FORMAT} of such files"
            raise LedgerError("E_VERSION", self.path.name, what, "Open it with the version that wrote it.")

    def _check_witness(self) -> None:
        seen = self.witness.read_text(encoding="ascii", errors="replace") if self.witness.exists() else ""
        if seen and not self.db.execute("SELECT 1 FROM batch WHERE head = ?", (seen,)).fetchone():
            raise rolled_back(self.path)

    # Institutions

    def institutions(self) -> list[str]:
        """Who has entries here, sorted."""
        return [name for (name,) in self.read("SELECT DISTINCT institution FROM entry ORDER BY institution")]

    def __contains__(self, institution: str) -> bool:
        """Whether it was enrolled, as it is before its first entry."""
        return bool(self.read("SELECT 1 FROM key WHERE institution = ?", institution))

    def ledger(self, institution: str) -> ShelvedLedger:
        """Its ledger, maybe without entries."""
        if institution not in self._ledgers:
            self._ledgers[institution] = ShelvedLedger(self, institution)
        return self._ledgers[institution]

    def enrol(self, institutions: Iterable[str]) -> None:
        """Draw private keys for those that have none yet; of several processes that do so the first one's count."""
        with self.together() as db:
            known = {name for (name,) in db.execute("SELECT institution FROM key")}
            fresh = [(n, Ed25519PrivateKey.generate().private_bytes_raw()) for n in institutions if n not in known]
            db.executemany("INSERT INTO key VALUES (?, ?)", fresh)

    def key(self, institution: str) -> Ed25519PrivateKey:
        """Its private key; KeyError unless it was enrolled."""
        found = self.read("SELECT private FROM key WHERE institution = ?", institution)
        if not found:
            raise KeyError(institution)
        return Ed25519PrivateKey.from_private_bytes(found[0][0])

    def read(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of a query, one thread after the other: threads that read share the connection and its prepared statements."""
        with self._one:
            return self.db.execute(query, parameters).fetchall()

    # Batches

    @contextmanager
    def together(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, by whichever ledger of the shelf, is durable at the end, or none of it is."""
        with self._one:
            if self._open:
                yield self.db
                return
            try:
                self.db.execute("BEGIN IMMEDIATE")
                self._open = True
                try:
                    yield self.db
                    written = self._seal()
                    failpoints.passed("batch written")
                    self.db.execute("COMMIT")
                except BaseException:
                    if self.db.in_transaction:
                        self.db.execute("ROLLBACK")
                    for ledger in self._changed:
                        ledger.forget()  # what it has cached may not have become durable
                    raise
                finally:
                    self._open, self._changed = False, []
                failpoints.passed("batch committed")
                if written:
                    self._testify()
            except (sqlite3.Error, OSError):
                raise unavailable(self.path) from None

    @property
    def batch(self) -> int:
        """The number of the batch that is being written, 1, 2, ..."""
        return int(self._last()[0]) + 1

    def changed(self, ledger: ShelvedLedger) -> None:
        self._changed.append(ledger)

    def _last(self) -> tuple[int, str]:
        found = self.db.execute("SELECT number, head FROM batch ORDER BY number DESC LIMIT 1").fetchone()
        return found or (0, GENESIS)

    def _seal(self) -> bool:
        """Chain what was written to the batch before; whether anything was."""
        number, previous = self._last()
        head = self._head(number + 1, previous)
        if head is not None:
            self.db.execute("INSERT INTO batch VALUES (?, ?, ?)", (number + 1, previous, head))
        return head is not None

    def _head(self, number: int, previous: str) -> str | None:
        query = "SELECT institution, number, hash FROM entry WHERE batch = ? ORDER BY institution, number"
        entries = self.db.execute(query, (number,)).fetchall()
        return digest([previous, number, [list(e) for e in entries]]) if entries else None

    def _testify(self) -> None:
        """Write the newest head over the one before it. A witness that lags is harmless."""
        descriptor = open_to_overwrite(self.witness)
        try:
            with locks.alone(descriptor):
                overwrite(descriptor, self._last()[1].encode())
        finally:
            os.close(descriptor)

    def verify(self) -> int:
        """Read everything anew; the number of entries. LedgerError E_LEDGER_CORRUPT names the first place that is wrong."""
        previous = GENESIS
        for number, before, head in self.db.execute("SELECT * FROM batch ORDER BY number").fetchall():
            if before != previous or self._head(number, before) != head:
                raise self.corrupt(f"batch {number}")
            previous = head
        self._check_witness()
        return sum(self.ledger(name).verify() for name in self.institutions())

    def head(self) -> str:
        """The head of the last batch."""
        return self._last()[1]

    def corrupt(self, place: str) -> LedgerError:
        fix = "Stop, keep the file, and put its newest copy back; or name another folder of ledgers."
        return LedgerError("E_LEDGER_CORRUPT", self.path.name, f"the chain is broken at {place}", fix)


class ShelvedLedger(Ledger):
    """One institution's ledger on a shelf, which it is closed with."""

    def __init__(self, shelf: Shelf, institution: str) -> None:
        self._begin(shelf.path, shelf.witness)
        self.institution, self._shelf = institution, shelf
        self.remembering = False
        self._messages: dict[int, bytes] = {}

    def close(self) -> None:
        """The shelf closes it."""

    @property
    def key(self) -> Ed25519PrivateKey:
        """The institution's private key."""
        return self._shelf.key(self.institution)

    def forget(self) -> None:
        """Read the file anew when something is asked next."""
        self._begin(self.path, self.witness)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._shelf.together() as db:
            self._shelf.changed(self)
            yield db

    def _insert(self, db: sqlite3.Connection, fields: tuple[object, ...]) -> None:
        if not db.in_transaction:  # a full disk may have ended it: nothing is to become durable by itself
            raise sqlite3.OperationalError("the batch is over")
        row = (self.institution, *fields, self._shelf.batch)
        db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _rows(self, first: int) -> list[tuple[Any, ...]]:
        columns = "number, kind, content, attempt, at, previous, hash"
        query = f"SELECT {columns} FROM entry WHERE institution = ? AND number >= ? ORDER BY number"  # noqa: S608 - no input
        try:
            return self._shelf.read(query, self.institution, first)
        except sqlite3.OperationalError:
            raise self._unavailable() from None
        except sqlite3.DatabaseError:
            raise self._corrupt("its pages") from None

    def _remember_head(self) -> None:
        """The shelf does that, for the whole batch."""
        self._testified = self.head()

    def _check_witness(self) -> None:
        """The shelf does that, when it is opened."""

    def _corrupt(self, place: str) -> LedgerError:
        return self._shelf.corrupt(f"{place} of {self.institution}")

    # Messages

    def _store(self, db: sqlite3.Connection, entry: Entry, message: bytes) -> None:
        """In memory until the process ends, where ``remembering`` is set: for repeated requests. Else nowhere."""
        if self.remembering:
            self._messages[entry.number] = message

    def message(self, entry: Entry) -> bytes:
        """The bytes that this process holds; WireError E_REPLAY where it holds none."""
        found = self._messages.get(entry.number)
        wanted = entry.record.message if isinstance(entry.record, Charge) else ""
        if found is None or hashlib.sha256(found).hexdigest() != wanted:
            what = "this attempt was answered, and a simulation keeps no answers"
            raise WireError("E_REPLAY", self.institution, what, "Begin a new run, which is charged.")
        return found

    def verify(self) -> int:
        self.forget()
        return len(self.entries())

    def restored(self, restoration: Restoration) -> Entry:
        what = "a simulation's ledgers are not restored by two persons"
        raise LedgerError("E_RESTORE", self.path.name, what, "Put back a copy of the whole file, if there is one.")

    def amended(self, amendment: Amendment) -> Entry:
        what = "no key of an institution of its own vouches for a simulation's moments"
        raise LedgerError("E_CLOCK", self.path.name, what, "Name another folder of ledgers.")

    def runs_with_answers(self) -> dict[str, str]:
        return {}

    def stored_answers(self) -> int:
        return 0

    def drop(self, runs: Collection[str]) -> int:
        """Nothing is stored that could be dropped."""
        return 0

    def shrink(self, whole: bool = False) -> None:
        """Nor is there room to be given back."""

    def copy_to(self, path: Path) -> None:
        require_alone(self.path)

    def writable(self) -> None:
        with self._shelf.together():
            return


def is_shelf(path: Path) -> bool:
    """Whether a file, or what its lost witness records, is one of many ledgers."""
    return path.name == FILE


def require_alone(path: Path) -> None:
    """LedgerError E_LEDGER_UNAVAILABLE for a file of many ledgers, where one is asked for."""
    if is_shelf(path):
        what = "it holds the ledgers of many simulated institutions, and no institution's own"
        raise LedgerError("E_LEDGER_UNAVAILABLE", path.name, what, "Copy the folder while no simulation runs.")


@contextmanager
def opened(path: Path) -> Iterator[list[tuple[str, Ledger]]]:
    """The ledgers of a file by what they are called: one, or all that are on a shelf."""
    if is_shelf(path):
        with Shelf(path) as shelf:
            yield [(name, shelf.ledger(name)) for name in shelf.institutions()]
    else:
        with Ledger(path) as ledger:
            yield [(path.stem, ledger)]
