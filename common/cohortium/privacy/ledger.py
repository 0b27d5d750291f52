"""The durable record of every answer ever given from a population.

One SQLite file per institution, in WAL mode with synchronous=FULL. A row is an event, never an epsilon: what was done,
for which study, run, round and attempt. It is committed before anything leaves; the message itself is stored beside it,
so a lost message is sent again byte by byte and a new attempt is a new charge. Nothing is ever taken back. Every row
carries the hash of the row before it, so a change or a gap in the middle is found.

The spend belongs to the population, not to the run: a new study on the same people goes on where the last one stopped.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cohortium.canonical import digest
from cohortium.errors import BudgetError, LedgerError, StudyError, WireError
from cohortium.privacy.accounting import Cost, Events, Gaussian, cost, merged

FORMAT = 1
GENESIS = "0" * 64
_TABLES = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, population TEXT NOT NULL, study TEXT NOT NULL, run TEXT NOT NULL,
    round INTEGER NOT NULL, attempt INTEGER NOT NULL, request TEXT NOT NULL, events TEXT NOT NULL, delta REAL NOT NULL,
    at TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, UNIQUE (run, round, attempt)
) STRICT;
CREATE TABLE IF NOT EXISTS message (number INTEGER PRIMARY KEY REFERENCES entry (number), bytes BLOB NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS entries_last BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS messages_last BEFORE UPDATE ON message BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


@dataclass(frozen=True)
class Charge:
    """One answer about to be given: its events, and the digest of the request it answers."""

    population: str
    study: str
    run: str
    round: int
    attempt: int
    request: str
    events: Events
    delta: float


@dataclass(frozen=True)
class Cap:
    """The most a population may ever spend: epsilon at delta."""

    epsilon: float
    delta: float


@dataclass(frozen=True)
class Entry:
    number: int
    charge: Charge
    at: str
    previous: str
    hash: str


class Ledger:
    """A ledger file. ``Ledger(path)`` opens or creates it; it is closed by ``close`` or at the end of a ``with``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.executescript(_TABLES)
        except (sqlite3.Error, OSError):
            raise self._unavailable() from None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def _unavailable(self) -> LedgerError:
        return LedgerError(
            "E_LEDGER_UNAVAILABLE",
            self.path.name,
            "it cannot be opened, locked or written",
            "Check the disk, the rights and that no other custodian uses it; nothing was sent.",
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable at the end, alone among writers."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error:
            raise self._unavailable() from None

    def charge(self, charge: Charge, cap: Cap | None) -> tuple[Entry, bool]:
        """Commit one charge. Returns (entry, True), or (the entry it already has, False) for the same attempt again.

        Raises BudgetError E_BUDGET if the population would pass ``cap``, WireError E_REPLAY if the attempt was
        charged for another request, LedgerError if the chain is broken or the disk refuses; then nothing is written.
        """
        with self._transaction():
            entries = self.entries()
            for entry in entries:
                if (entry.charge.run, entry.charge.round, entry.charge.attempt) == (
                    charge.run,
                    charge.round,
                    charge.attempt,
                ):
                    return _same_request(entry, charge), False
            _check_cap(events_of(entries, charge.population), charge.population, charge.events, cap)
            return self._append(charge, entries), True

    def afford(self, population: str, events: Events, cap: Cap | None) -> None:
        """A dry run: BudgetError E_BUDGET if charging ``events`` would pass ``cap``. Nothing is written."""
        _check_cap(events_of(self.entries(), population), population, events, cap)

    def _append(self, charge: Charge, entries: list[Entry]) -> Entry:
        previous = entries[-1].hash if entries else GENESIS
        at = datetime.now(UTC).isoformat(timespec="seconds")
        number = len(entries) + 1
        entry = Entry(number, charge, at, previous, _hash(number, charge, at, previous))
        fields = (charge.population, charge.study, charge.run, charge.round, charge.attempt, charge.request)
        row = (number, *fields, json.dumps([asdict(e) for e in charge.events]), charge.delta, at, previous, entry.hash)
        self._db.execute(f"INSERT INTO entry VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - only question marks
        return entry

    def store_message(self, entry: Entry, message: bytes) -> None:
        """Keep the bytes that answer ``entry``, before they are sent."""
        with self._transaction() as db:
            db.execute("INSERT INTO message VALUES (?, ?)", (entry.number, message))

    def message(self, entry: Entry) -> bytes | None:
        """The bytes that answered ``entry``; None if the custodian stopped between charging and answering."""
        row = self._db.execute("SELECT bytes FROM message WHERE number = ?", (entry.number,)).fetchone()
        return None if row is None else bytes(row[0])

    def entries(self) -> list[Entry]:
        """All entries in order; LedgerError E_LEDGER_CORRUPT names the first that does not fit the chain."""
        try:
            rows = self._db.execute("SELECT * FROM entry ORDER BY number").fetchall()
        except sqlite3.DatabaseError:
            raise self._corrupt("its pages") from None
        entries, previous = [], GENESIS
        for expected, row in enumerate(rows, start=1):
            entry = self._entry(row)
            if entry.number != expected or entry.previous != previous or not _fits(entry):
                raise self._corrupt(f"entry {expected}")
            entries.append(entry)
            previous = entry.hash
        return entries

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        number, population, study, run, round_, attempt, request, events, delta, at, previous, chain = row
        try:
            parsed = tuple(Gaussian(**e) for e in json.loads(events))
        except (ValueError, TypeError, StudyError):
            raise self._corrupt(f"entry {number}") from None
        return Entry(
            number, Charge(population, study, run, round_, attempt, request, parsed, delta), at, previous, chain
        )

    def _corrupt(self, place: str) -> LedgerError:
        return LedgerError(
            "E_LEDGER_CORRUPT",
            self.path.name,
            f"the chain is broken at {place}",
            "Stop, keep the file, and restore the ledger from a backup with a second person.",
        )

    def head(self) -> str:
        """The hash of the last entry."""
        entries = self.entries()
        return entries[-1].hash if entries else GENESIS

    def populations(self) -> list[str]:
        return sorted({e.charge.population for e in self.entries()})

    def spent(self, population: str, delta: float) -> Cost:
        """What the population has spent, over all studies, at ``delta``."""
        return cost(events_of(self.entries(), population), delta)


def events_of(entries: list[Entry], population: str) -> Events:
    return merged(e for entry in entries if entry.charge.population == population for e in entry.charge.events)


def _same_request(entry: Entry, charge: Charge) -> Entry:
    if entry.charge.request != charge.request:
        raise WireError(
            "E_REPLAY",
            "ledger",
            "this attempt was charged for another request",
            "Ask again as a new attempt, which is charged.",
        )
    return entry


def _check_cap(before: Events, population: str, events: Events, cap: Cap | None) -> None:
    if cap is None:
        return
    spent = cost(before, cap.delta).epsilon
    after = cost((*before, *events), cap.delta).epsilon
    if not after <= cap.epsilon:  # a cap that is no number allows nothing
        remaining = max(0.0, cap.epsilon - spent)
        raise BudgetError(
            "E_BUDGET",
            f"population {population!r}",
            f"epsilon would come to {after:.3f} at delta {cap.delta:g}, over the cap of {cap.epsilon:g}; {spent:.3f} is spent and {remaining:.3f} remains",
            "Ask for a smaller epsilon, or decide on a higher cap.",
        )


def _fits(entry: Entry) -> bool:
    try:
        return entry.hash == _hash(entry.number, entry.charge, entry.at, entry.previous)
    except ValueError:  # an infinite number
        return False


def _hash(number: int, charge: Charge, at: str, previous: str) -> str:
    return digest({"format": FORMAT, "number": number, "at": at, "previous": previous, "charge": asdict(charge)})


def home() -> Path:
    """Where ledgers and keys lie unless told otherwise: $COHORTIUM_HOME or ~/.cohortium."""
    return Path(os.environ.get("COHORTIUM_HOME") or Path.home() / ".cohortium")
