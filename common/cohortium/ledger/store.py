"""The durable record of every answer ever given from a population, and of every agreement it was given under.

One SQLite file per institution, in WAL mode with synchronous=FULL. A charge is an event, never an epsilon: what was
done, for which study, run, round and attempt. The charge and the message it pays for are committed together, before
anything leaves: there is never a message without its charge, nor a charge whose message was lost. So a lost message is
sent again byte by byte, and a new attempt is a new charge. Nothing is ever taken back.

Every entry carries the hash of the entry before it and a charge the hash of its message, so a change or a gap in the
middle is found. What a chain cannot show is an end that was cut off, or a whole file that an older copy replaced: the
newest head is also written to a second file, the *witness*, and travels with every answer, so that a ledger whose
chain lacks a head once seen is refused (E_LEDGER_ROLLED_BACK). An older copy goes on only where two persons have signed
what it is then presumed to have spent: a Restoration, which is an entry of the chain like all others. So is an Amendment,
which says that the moments of some entries were wrong, and takes nothing back.

A message's bytes are needed as long as its run may ask for them again. After that they can be *dropped*: the entry, with
its charge and the digest of its message, stays as it is, and so do the chain, the receipts and what is spent; an attempt
whose bytes are gone is neither answered nor charged again (E_ENDED).

The spend belongs to the population, not to the run: a new study on the same people goes on where the last one stopped.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from cohortium.errors import BudgetError, LedgerError, PolicyError, StudyError, WireError
from cohortium.ledger.amendment import Amendment, amendment_of
from cohortium.ledger.restoration import Presumption, Restoration, cost_after, restoration_of
from cohortium.privacy.accounting import Cost, Events, Gaussian, composed, cost, within
from cohortium.system import failpoints, locks
from cohortium.system.canonical import canonical_json, digest
from cohortium.system.documents import parse_json
from cohortium.system.files import make_once, open_database, open_to_overwrite, overwrite, write_database

FORMAT = 2
RESTORED = 3  # the same with a restoration in it: a version that knows none refuses it, and calls it no broken chain
NEWER = 4  # either of them with an amendment in it, or with messages dropped, for the same reason
FORMATS = (FORMAT, RESTORED, NEWER)
GENESIS = "0" * 64
_MESSAGES_STAY = """
CREATE TRIGGER IF NOT EXISTS messages_stay BEFORE DELETE ON message WHEN OLD.number NOT IN (SELECT number FROM dropped)
    BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""
_TABLES = f"""
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, content TEXT NOT NULL, attempt TEXT UNIQUE,
    at TEXT NOT NULL, previous TEXT NOT NULL UNIQUE, hash TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS message (number INTEGER PRIMARY KEY REFERENCES entry (number), bytes BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS dropped (number INTEGER PRIMARY KEY REFERENCES entry (number)) STRICT;
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS entries_last BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
{_MESSAGES_STAY}
CREATE TRIGGER IF NOT EXISTS messages_last BEFORE UPDATE ON message BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS dropped_stay BEFORE DELETE ON dropped BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS dropped_last BEFORE UPDATE ON dropped BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""
_AUTO_VACUUM = 2  # incremental: room is given back when that is asked for
_BEGIN = f"PRAGMA user_version = {FORMAT}; {_TABLES}"


@dataclass(frozen=True)
class Charge:
    """One answer: its events, the digest of the request it answers, and the digest of its own bytes.

    events: what it costs towards the coordinator. bare: what it costs towards somebody who knows what all other
    institutions sent, where that is more, as under a mask.
    """

    population: str
    study: str
    run: str
    round: int
    attempt: int
    request: str
    message: str
    events: Events
    delta: float
    bare: Events = ()

    @property
    def place(self) -> str:
        """What an attempt is known by; the ledger holds each once."""
        return f"{self.run}/{self.round}/{self.attempt}"


@dataclass(frozen=True)
class Consent:
    """The institution has signed a study: its digest, and the name and serial by which a later one replaces it."""

    study: str
    name: str
    serial: int


@dataclass(frozen=True)
class Withdrawal:
    """The institution answers this study no longer."""

    study: str


@dataclass(frozen=True)
class Approval:
    """A person at the institution has let one run of a study go ahead."""

    study: str
    run: str


Record = Charge | Consent | Withdrawal | Approval | Restoration | Amendment
_KINDS: dict[str, type[Record]] = {
    c.__name__.lower(): c for c in (Charge, Consent, Withdrawal, Approval, Restoration, Amendment)
}


@dataclass(frozen=True)
class Entry:
    number: int
    record: Record
    at: str
    previous: str
    hash: str


@dataclass(frozen=True)
class Cap:
    """The most that may ever be spent: epsilon at delta. rule: of the policy, whose cap it is.

    once: it is what a study's whole plan costs; whoever would pass it asks for answers a second time.
    """

    epsilon: float
    delta: float
    rule: str = field(default="", compare=False)
    once: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Caps:
    """What a charge must stay within: of its population over all studies, and of its study over all runs.

    bare: of its population over all studies, towards somebody who knows what all other institutions sent.
    """

    population: Cap | None = None
    study: Cap | None = None
    bare: Cap | None = None


NO_CAPS = Caps()
BARE = "bare"  # no study's digest
Account = tuple[str, str | None]  # a population, and one of its studies, all of them, or all of them ``BARE``


class Ledger:
    """A ledger file. ``Ledger(path)`` opens or creates it; it is closed by ``close`` or at the end of a ``with``.

    witness: the file that remembers the newest head; by default beside the ledger, better where backups do not reach.
    Raises LedgerError: E_LEDGER_UNAVAILABLE where it cannot be used, E_LEDGER_ROLLED_BACK where it is older than its
    witness. Reading and adding entries read only what is new since the last time; a changed old entry can therefore
    not be noticed by a ledger that is open, and cannot mislead it either: what it spends is counted from what it
    verified.
    """

    def __init__(self, path: Path, witness: Path | None = None) -> None:
        self._begin(path, witness or witness_of(path))
        try:
            if pending(path).exists():
                raise self._half_restored()
            if self.witness.exists() and not path.exists():
                raise self.rolled_back()  # and no empty ledger is put in the place of the lost one
            make_once(path, partial(write_database, begin=_BEGIN))
            self._db = open_database(path)
            self._db.execute("PRAGMA foreign_keys = ON")
            self._check_format()
            self._db.executescript(_TABLES)
        except (sqlite3.Error, OSError):
            raise self._unavailable() from None
        self._check_witness()

    def _begin(self, path: Path, witness: Path) -> None:
        """Nothing is known yet, and nothing open."""
        self.path, self.witness = path, witness
        self._known = _Known()
        self._affordable: dict[tuple[Account, Cap], Events] = {}
        self._held: int | None = None
        self._witness: int | None = None
        self._testified, self._testifying = "", Lock()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()
        for descriptor in (self._held, self._witness):
            if descriptor is not None:
                os.close(descriptor)
        self._held = self._witness = None

    def hold(self) -> Ledger:
        """Make this the only custodian of the ledger until it is closed or its process ends."""
        self._held = hold_alone(self.path)
        return self

    def _check_format(self) -> None:
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        version = self._format()  # after the tables, which come in one with it
        if version == 0 and tables == 0:  # an empty file, as a version before left one when it was stopped
            self._db.executescript(f"BEGIN IMMEDIATE; {_BEGIN} COMMIT;")
        elif version not in FORMATS:
            raise LedgerError(
                "E_VERSION",
                self.path.name,
                f"it is written in format {version}, this version of cohortium reads formats {FORMAT} to {FORMATS[-1]}",
                "Open it with the version that wrote it.",
            )

    def _format(self) -> int:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _check_witness(self) -> None:
        try:
            seen = self.witness.read_text(encoding="ascii") if self.witness.exists() else ""
        except (OSError, ValueError):
            raise self._unavailable() from None
        if not self.holds(seen or GENESIS):  # it is empty for a moment, before the first head is in it
            raise self.rolled_back()

    def rolled_back(self) -> LedgerError:
        return rolled_back(self.path)

    def _unavailable(self) -> LedgerError:
        return unavailable(self.path)

    def _half_restored(self) -> LedgerError:
        return LedgerError(
            "E_LEDGER_UNAVAILABLE",
            self.path.name,
            "restoring it was broken off",
            "Say cohortium ledger restore again: it finishes what was begun.",
        )

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

    # Charges

    def charge(self, charge: Charge, message: bytes, caps: Caps = NO_CAPS) -> tuple[Entry, bytes]:
        """Commit a charge and its message. Returns the entry and the message to send.

        For an attempt that was charged before, these are the entry and the message it has, and nothing is written.
        Raises BudgetError E_BUDGET if a cap would be passed, WireError E_REPLAY if the attempt was charged for another
        request, LedgerError if the chain is broken or the disk refuses; then nothing is written.
        """
        failpoints.passed("ledger begun")
        with self._transaction() as db:
            kept = self.answered(charge)
            if kept is not None:
                return kept
            self.afford(charge.population, charge.study, charge.events, caps, charge.bare)
            entry = self._add(db, charge)
            self._keep(db, entry, message)
            failpoints.passed("ledger written")
        self._added(entry)
        return entry, message

    def answered(self, charge: Charge) -> tuple[Entry, bytes] | None:
        """The entry and the message that an attempt already has.

        WireError E_REPLAY if they are another request's, E_ENDED if the message was dropped.
        """
        self._refresh()
        entry = self._known.attempts.get(charge.place)
        if entry is None:
            return None
        if not isinstance(entry.record, Charge) or entry.record.request != charge.request:
            raise WireError(
                "E_REPLAY",
                "ledger",
                "this attempt was charged for another request",
                "Ask again as a new attempt, which is charged.",
            )
        if self._testified != self.head():  # a custodian was killed before the witness knew of what is said now
            self._remember_head()
        return entry, self.message(entry)

    def sent(self, place: str) -> bytes:
        """The message that an attempt was answered with.

        WireError E_ROUND_ORDER if it was not answered, E_ENDED if the message was dropped.
        """
        self._refresh()
        if place not in self._known.attempts:
            raise WireError("E_ROUND_ORDER", "ledger", "this attempt was not answered", "Ask the legs in order.")
        return self.message(self._known.attempts[place])

    def message(self, entry: Entry) -> bytes:
        """The bytes that were charged as ``entry``.

        LedgerError E_LEDGER_CORRUPT if they are not those any more, WireError E_ENDED if they were dropped.
        """
        kept = self._message(entry)
        if kept is None:
            raise _ended(entry.record.run if isinstance(entry.record, Charge) else "")
        return kept

    def _message(self, entry: Entry) -> bytes | None:
        """The bytes, verified; None if they were dropped, which another process may have done just now."""
        row = self._read("SELECT bytes FROM message WHERE number = ?", entry.number)
        if not row and self._read("SELECT 1 FROM dropped WHERE number = ?", entry.number):
            return None
        wanted = entry.record.message if isinstance(entry.record, Charge) else ""
        if not row or hashlib.sha256(row[0][0]).hexdigest() != wanted:
            raise self._corrupt(f"the message of entry {entry.number}")
        return bytes(row[0][0])

    # Messages that are needed no more

    def kept(self) -> dict[str, str]:
        """The runs of which messages are kept, and when each was charged last."""
        self._refresh()
        numbers = {number for (number,) in self._read("SELECT number FROM message")}
        entries = (e for e in self._known.entries if e.number in numbers)
        return {e.record.run: e.at for e in entries if isinstance(e.record, Charge)}

    def answers_kept(self) -> int:
        """Of how many answers the bytes are there."""
        return int(self._read("SELECT count(*) FROM message")[0][0])

    def drop(self, runs: Collection[str]) -> int:
        """Drop the messages of ``runs`` at once, or none of them; how many. What they cost stays charged.

        The room they took is used again by later messages; ``shrink`` gives it back to the disk.
        """
        if not runs:
            return 0
        failpoints.passed("drop begun")
        with self._transaction() as db:
            self._refresh()
            kept = {number for (number,) in db.execute("SELECT number FROM message")}
            charges = ((e.number, e.record) for e in self._known.entries if e.number in kept)
            gone = [(number,) for number, record in charges if isinstance(record, Charge) and record.run in runs]
            if gone:
                self._drop(db, gone)
            failpoints.passed("messages dropped")
        return len(gone)

    def _drop(self, db: sqlite3.Connection, gone: list[tuple[int]]) -> None:
        db.execute(f"PRAGMA user_version = {NEWER}")
        db.execute("DROP TRIGGER messages_stay")  # an older version's knows of nothing that may go
        db.execute(_MESSAGES_STAY)
        db.executemany("INSERT INTO dropped VALUES (?)", gone)
        db.executemany("DELETE FROM message WHERE number = ?", gone)

    def shrink(self, whole: bool = False) -> None:
        """Give free room in the file, and the log beside it, back to the disk, as far as others who use it let that happen.

        whole: also where an older version made the file. It is then written anew once, for which the disk needs room for
        twice what it holds. LedgerError E_LEDGER_UNAVAILABLE where the disk refuses, or another process writes for long; then
        the file is as it was.
        """
        try:
            if self._pragma("auto_vacuum") == _AUTO_VACUUM:
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

    def _pragma(self, name: str) -> int:
        return int(self._read(f"PRAGMA {name}")[0][0])

    def afford(self, population: str, study: str, events: Events, caps: Caps, bare: Events = ()) -> None:
        """A dry run: BudgetError E_BUDGET if charging ``events``, or ``bare``, would pass a cap. Nothing is written.

        PolicyError E_ANSWERED where they are of a study that may be answered once, and was. That is told first: no other
        cap's size would help.
        """
        if caps.study is not None:
            self._check_cap(f"study {study[:16]}", (population, study), events, caps.study)
        if caps.population is not None:
            self._check_cap(f"population {population!r}", (population, None), events, caps.population)
        if caps.bare is not None:
            where = f"population {population!r}, if all others collude"
            self._check_cap(where, (population, BARE), bare or events, caps.bare)

    def _check_cap(self, where: str, account: Account, events: Events, cap: Cap) -> None:
        """What was once found affordable need not be computed again for a part of it."""
        before = self.events(*account)
        after = composed((*before, *events))
        if within(after, self._affordable.get((account, cap), ())):
            return
        total = self._cost(account, after, cap.delta).epsilon
        if not total <= cap.epsilon:  # a cap that is no number allows nothing
            if cap.once and before:
                raise answered_once(where)
            spent = self._cost(account, before, cap.delta).epsilon
            raise BudgetError(
                "E_BUDGET",
                where,
                f"epsilon would come to {total:.3f} at delta {cap.delta:g}, over the cap of {cap.epsilon:g}; "
                f"{spent:.3f} is spent and {max(0.0, cap.epsilon - spent):.3f} remains",
                f"Ask for a smaller epsilon, or decide on a higher cap{f' ({cap.rule} in policy.toml)' if cap.rule else ''}"
                + ("." if self.presumed is None else " at a larger delta: the ledger was restored (docs/backup.md)."),
            )
        self._affordable[account, cap] = after

    # Agreements

    def record(self, record: Consent | Withdrawal | Approval) -> Entry:
        """Add an entry that costs nothing."""
        with self._transaction() as db:
            self._refresh()
            entry = self._add(db, record)
        self._added(entry)
        return entry

    def restored(self, restoration: Restoration) -> Entry:
        """Go on from here under what two persons have signed; LedgerError E_RESTORE if it is not about this chain."""
        if not restoration.continues(self.head()):
            raise LedgerError(
                "E_RESTORE",
                self.path.name,
                "the request is about another backup, or too few have signed it",
                "Make a new request.",
            )
        with self._transaction() as db:
            self._mark_format(db, RESTORED)
            entry = self._add(db, restoration)
        self._added(entry)
        return entry

    def amended(self, amendment: Amendment) -> Entry:
        """Go on knowing that some moments were wrong; LedgerError E_CLOCK if it is not about this chain and this day."""
        with self._transaction() as db:
            self._refresh()
            entry = self._add(db, amendment)
            if not self._known.goes_on_with(entry):
                raise LedgerError(
                    "E_CLOCK",
                    self.path.name,
                    "the amendment is about another chain or day, or somebody wrote at the same time",
                    "Say it again.",
                )
            self._mark_format(db, NEWER)
        self._added(entry)
        return entry

    def _mark_format(self, db: sqlite3.Connection, wanted: int) -> None:
        """Let versions that do not know what is in it refuse it."""
        (version,) = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {max(version, wanted)}")

    def writable(self) -> None:
        """LedgerError E_LEDGER_UNAVAILABLE unless an entry could be added now; none is."""
        try:
            with self._transaction() as db:
                number, head = len(self.entries()) + 1, self.head()
                db.execute("INSERT INTO entry VALUES (?, '', '', NULL, '', ?, '')", (number, head))
                raise _NotMeantError
        except _NotMeantError:
            return

    # The chain

    def _add(self, db: sqlite3.Connection, record: Record) -> Entry:
        previous, number = self.head(), len(self._known.entries) + 1
        at = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Entry(number, record, at, previous, _hash(number, record, at, previous))
        attempt = record.place if isinstance(record, Charge) else None
        fields = (number, _kind(record), canonical_json(asdict(record)).decode(), attempt, at, previous, entry.hash)
        self._insert(db, fields)
        return entry

    def _insert(self, db: sqlite3.Connection, fields: tuple[object, ...]) -> None:
        db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", fields)

    def _keep(self, db: sqlite3.Connection, entry: Entry, message: bytes) -> None:
        """What may be asked for again, beside its charge."""
        db.execute("INSERT INTO message VALUES (?, ?)", (entry.number, message))

    def _added(self, entry: Entry) -> None:
        """The entry is durable: remember it, and let the witness remember it. A witness that lags is harmless."""
        failpoints.passed("ledger committed")
        self._learn(entry)
        self._remember_head()
        failpoints.passed("witness written")

    def _remember_head(self) -> None:
        try:
            self._testify()
        except OSError:
            raise self._unavailable() from None

    def _testify(self) -> None:
        """Write the head over the one before it: 64 bytes in one place, which a disk writes whole or not at all.

        One process at a time, each the newest head there is, so that none writes an older one over it.
        """
        if self._witness is None:
            self._witness = open_to_overwrite(self.witness)
        with self._testifying, locks.alone(self._witness):  # threads share the descriptor, and with it the lock
            head = self.head()
            overwrite(self._witness, head.encode())
        self._testified = head

    def entries(self) -> list[Entry]:
        """All entries in order; LedgerError E_LEDGER_CORRUPT names the first that does not fit the chain."""
        self._refresh()
        return list(self._known.entries)

    def _refresh(self) -> None:
        """Read and verify what is new. The last entry known is read again: if it is gone, so is what it stood on."""
        known = len(self._known.entries)
        rows = self._rows(known)
        if known and (not rows or rows[0][-1] != self._known.head):
            raise self._corrupt(f"entry {known}")
        for row in rows[1 if known else 0 :]:
            self._learn(self._verified(row))

    def _rows(self, first: int) -> list[tuple[Any, ...]]:
        """The entries from ``first`` on, in order, as they are written."""
        return self._read("SELECT * FROM entry WHERE number >= ? ORDER BY number", first)

    def _learn(self, entry: Entry) -> None:
        self._known.add(entry)
        if isinstance(entry.record, Restoration):
            self._affordable.clear()  # it was affordable before what is presumed now

    def _verified(self, row: tuple[Any, ...]) -> Entry:
        expected, previous = len(self._known.entries) + 1, self._known.head
        try:
            number, kind, content, attempt, at, before, chain = row
            record = _record(kind, parse_json(content.encode()))
            entry = Entry(number, record, at, before, chain)
            sound = number == expected and before == previous and chain == _hash(number, record, at, before)
            sound = sound and attempt == (record.place if isinstance(record, Charge) else None)
            sound = sound and self._known.goes_on_with(entry)
        except (ValueError, TypeError, KeyError, AttributeError, StudyError):
            sound = False
        if not sound:
            raise self._corrupt(f"entry {expected}")
        return entry

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.OperationalError:
            raise self._unavailable() from None
        except sqlite3.DatabaseError:
            raise self._corrupt("its pages") from None

    def _corrupt(self, place: str) -> LedgerError:
        return LedgerError(
            "E_LEDGER_CORRUPT",
            self.path.name,
            f"the chain is broken at {place}",
            "Stop, keep the file, and restore the ledger from a backup with two persons (docs/backup.md).",
        )

    def head(self) -> str:
        """The hash of the last entry."""
        self._refresh()
        return self._known.head

    def holds(self, head: str) -> bool:
        """Whether ``head`` is, or once was, the head of this ledger."""
        self._refresh()
        return head in self._known.heads

    def verify(self) -> int:
        """Read everything anew, messages that are kept included; the number of entries. LedgerError names the first that is wrong."""
        self._known = _Known()
        for entry in self.entries():
            if isinstance(entry.record, Charge):
                self._message(entry)
        self._check_witness()
        return len(self._known.entries)

    # Accounts

    def charges(self, population: str | None = None) -> list[Charge]:
        """All charges in order, of one population or of all."""
        records = (e.record for e in self.entries())
        return [r for r in records if isinstance(r, Charge) and population in (None, r.population)]

    def populations(self) -> list[str]:
        """Whose privacy was spent here, or is presumed to have been."""
        presumed = (e.record.request.population for e in self.entries() if isinstance(e.record, Restoration))
        return sorted({*presumed, *(c.population for c in self.charges())})

    @property
    def presumed(self) -> Presumption | None:
        """What every population counts as having spent before the last restoration; None if there was none."""
        self._refresh()
        return self._known.presumed

    @property
    def restored_at(self) -> str | None:
        """When the last restoration was; None if there was none."""
        times = [e.at for e in self.entries() if isinstance(e.record, Restoration)]
        return times[-1] if times else None

    def is_closed(self, study: str) -> bool:
        """Whether it was agreed to before a restoration: what was answered of it since the backup is not known."""
        self._refresh()
        return study in self._known.closed

    def has_ended(self, study: str) -> bool:
        """Whether it was agreed to before an amendment, and had expired by the moments that were amended, or may have."""
        self._refresh()
        return study in self._known.ended

    @property
    def latest(self) -> datetime | None:
        """The latest moment of an entry, but for those that were wrong; None where there is none."""
        self._refresh()
        return None if not self._known.latest else datetime.fromisoformat(self._known.latest)

    def ahead_of(self, at: datetime) -> tuple[Entry, ...]:
        """The entries of a moment after ``at``, but for those that are known to be wrong."""
        moment = at.astimezone(UTC).isoformat(timespec="seconds")
        return tuple(e for e in self.entries() if e.at > moment and e.number not in self._known.amended)

    def events(self, population: str, study: str | None = None) -> Events:
        """All events of a population's charges since the last restoration, of one study, of all, or of all ``BARE``."""
        self._refresh()
        counted = self._known.events.get((population, study), Counter())
        return composed(Gaussian(z, q, n) for (z, q), n in counted.items())

    def spent(self, population: str, delta: float, more: Events = ()) -> Cost:
        """What the population has spent towards the coordinator, over all studies, and ``more``, at ``delta``.

        Infinite after a restoration at a delta that what was presumed leaves nothing of.
        """
        return self._cost((population, None), composed((*self.events(population), *more)), delta)

    def spent_bare(self, population: str, delta: float) -> Cost:
        """The same towards somebody who knows what all other institutions sent."""
        return self._cost((population, BARE), self.events(population, BARE), delta)

    def _cost(self, account: Account, events: Events, delta: float) -> Cost:
        """A study's own account has nothing presumed in it: one that a restoration has closed is answered no more."""
        presumed, study = self.presumed, account[1]
        if presumed is None or study not in (None, BARE):
            return cost(events, delta)
        bare = math.inf if presumed.bare is None else presumed.bare
        return cost_after(bare if study == BARE else presumed.epsilon, presumed.delta, events, delta)

    # Copies

    def copy_to(self, path: Path) -> None:
        """Write the ledger as it is at one moment into a new file, whoever else writes to it meanwhile."""
        try:
            with closing(sqlite3.connect(path)) as copy:
                self._db.backup(copy)
        except sqlite3.Error:
            raise self._unavailable() from None


class _NotMeantError(Exception):
    """Undoes a transaction that was only tried."""


class _Known:
    """The entries verified so far, and what is looked up among them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.heads = {GENESIS}
        self.attempts: dict[str, Entry] = {}
        self.events: dict[Account, Counter[tuple[float, float]]] = {}
        self.presumed: Presumption | None = None
        self.consented: set[str] = set()
        self.closed: set[str] = set()
        self.ended: set[str] = set()
        self.amended: set[int] = set()
        self.latest = ""

    @property
    def head(self) -> str:
        return self.entries[-1].hash if self.entries else GENESIS

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.heads.add(entry.hash)
        self.latest = max(self.latest, entry.at)
        if isinstance(entry.record, Amendment):
            self._amended(entry.record)
        if isinstance(entry.record, Consent):
            self.consented.add(entry.record.study)
        if isinstance(entry.record, Restoration):
            self._restored(entry.record)
        if isinstance(entry.record, Charge):
            self.attempts[entry.record.place] = entry
            population, study, events = entry.record.population, entry.record.study, entry.record.events
            self._count((population, None), events)
            self._count((population, study), events)
            self._count((population, BARE), entry.record.bare or events)

    def _restored(self, restoration: Restoration) -> None:
        """What was charged before is in what is presumed; lost heads are known as such, and old agreements end."""
        self.presumed = restoration.request.presumed
        self.events.clear()
        self.heads |= set(restoration.request.lost)
        self.closed |= self.consented | set(restoration.request.studies)

    def _amended(self, amendment: Amendment) -> None:
        """What time it is no longer follows from some entries. Nothing else changes; least of all what is spent."""
        self.amended |= set(amendment.entries)
        self.ended |= self.consented - set(amendment.kept)
        self.latest = max(e.at for e in self.entries if e.number not in self.amended)

    def goes_on_with(self, entry: Entry) -> bool:
        """Whether what persons have signed is about this chain."""
        match entry.record:
            case Restoration() as record:
                return record.continues(self.head)
            case Amendment() as record:
                return record.continues(self.head, entry.at, [e.at for e in self.entries])
        return True

    def _count(self, account: Account, events: Events) -> None:
        counted = self.events.setdefault(account, Counter())
        for e in events:
            counted[e.noise_multiplier, e.sampling_rate] += e.count


def _kind(record: Record) -> str:
    return type(record).__name__.lower()


def _record(kind: str, content: dict[str, Any]) -> Record:
    """The record of a row; raises ValueError, TypeError, KeyError or StudyError where it is none."""
    if kind == "charge":
        for name in ("events", "bare"):
            content[name] = tuple(Gaussian(**e) for e in content[name])
    if kind == "restoration":
        return restoration_of(content)
    if kind == "amendment":
        return amendment_of(content)
    return _KINDS[kind](**content)


def _hash(number: int, record: Record, at: str, previous: str) -> str:
    content = {"kind": _kind(record), "content": asdict(record)}
    return digest({"format": FORMAT, "number": number, "at": at, "previous": previous, **content})


def answered_once(where: str) -> PolicyError:
    """Why a study is not answered a second time; no lack of budget."""
    return PolicyError(
        "E_ANSWERED",
        where,
        "it has been answered here, and the policy lets a study be answered once",
        "Resume the run that it answered, or agree on a higher serial; repeatable = true in policy.toml lets it be answered "
        "again, at its cost again.",
    )


def _ended(run: str) -> WireError:
    return WireError(
        "E_ENDED",
        f"run {run}",
        "its answers are kept no more: it has ended, its study has expired, or nobody asked for long",
        "Begin a new run, which is charged.",
    )


def rolled_back(path: Path) -> LedgerError:
    return LedgerError(
        "E_LEDGER_ROLLED_BACK",
        path.name,
        "it lacks entries that it once had: it was deleted, cut off or replaced by an older copy",
        "Stop, and put back the newest ledger there is, or restore a backup with two persons (docs/backup.md).",
    )


def unavailable(path: Path) -> LedgerError:
    return LedgerError(
        "E_LEDGER_UNAVAILABLE",
        path.name,
        "it cannot be opened, locked or written",
        "Check the disk, the rights and that no other custodian uses it; nothing was sent.",
    )


def hold_alone(path: Path) -> int:
    """The lock of the ledger at ``path``, whether the file is there or not; LedgerError where somebody else has it.

    It is given back when the descriptor is closed, or the process ends.
    """
    try:
        lock = locks.hold(path.with_name(path.name + ".lock"))
    except OSError:
        raise unavailable(path) from None
    if lock is None:
        raise taken(path)
    return lock


def require_free(path: Path) -> None:
    """LedgerError where another process holds the ledger alone."""
    try:
        held = locks.is_held(path.with_name(path.name + ".lock"))
    except OSError:
        raise unavailable(path) from None
    if held:
        raise taken(path)


def taken(path: Path) -> LedgerError:
    what, fix = "another process holds it", "Stop that one, the custodian that serves it: a ledger has one."
    return LedgerError("E_LEDGER_UNAVAILABLE", path.name, what, fix)


def witness_of(path: Path) -> Path:
    """Where the newest head is remembered unless told otherwise."""
    return path.with_name(path.name + ".head")


def pending(path: Path) -> Path:
    """Where a restored ledger lies, whole, until it is in its place; the ledger is not opened meanwhile."""
    return path.with_name(path.name + ".restoring")


def home() -> Path:
    """Where ledgers and keys lie unless told otherwise: $COHORTIUM_HOME or ~/.cohortium."""
    return Path(os.environ.get("COHORTIUM_HOME") or Path.home() / ".cohortium")
