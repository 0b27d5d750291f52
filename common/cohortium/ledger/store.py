"""The durable record of every answer given from a population, and of every consent under which it was given.

There is one SQLite file per institution, in WAL mode with synchronous=FULL. A charge records an event, never an epsilon: what
was done, for which study, run, round and attempt. A charge and the message it pays for are committed together, before
anything leaves: no message exists without its charge, and no charge whose message was lost. A lost message is therefore
resent byte by byte, and a new attempt is a new charge. Nothing is ever refunded.

``chain.py`` verifies the entries and keeps the witness; the witnessed head travels with every answer, so that a ledger that was
rolled back is refused (E_LEDGER_ROLLED_BACK). An older copy continues only under a Restoration, in which two persons have
signed what it is then presumed to have spent. An Amendment records that the times of some entries were wrong and refunds
nothing. Both are ordinary entries of the chain.

A message is needed as long as its run may ask for it again. After that it can be *dropped*: the entry keeps its charge and the
digest of the message, and chain, receipts and spend stay as they are. An attempt whose message was dropped is neither
answered nor charged again (E_ENDED).
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cohortium.errors import LedgerError, WireError
from cohortium.ledger import format as formats
from cohortium.ledger.accounts import Accounts
from cohortium.ledger.amendment import Amendment
from cohortium.ledger.caps import NO_CAPS, Caps
from cohortium.ledger.history import History
from cohortium.ledger.location import half_restored, hold_alone, pending, witness_of
from cohortium.ledger.records import Approval, Charge, Consent, Entry, Record, Withdrawal, entry_hash, kind_of
from cohortium.ledger.restoration import Restoration
from cohortium.system import failpoints
from cohortium.system.canonical import canonical_json
from cohortium.system.files import make_once, open_database, write_database


class Ledger(Accounts):
    """A ledger file. ``Ledger(path)`` opens or creates it; it is closed by ``close`` or at the end of a ``with``.

    witness: the file with the newest head; by default beside the ledger, better where backups do not reach.
    Raises LedgerError: E_LEDGER_UNAVAILABLE where it cannot be used, E_LEDGER_ROLLED_BACK where it is older than its
    witness. Reading and adding entries read only what is new since the last time. A ledger that is open therefore does not
    notice a changed old entry, and is not misled by it either: spend is counted from the entries it has verified.
    """

    def __init__(self, path: Path, witness: Path | None = None) -> None:
        self._begin(path, witness or witness_of(path))
        try:
            if pending(path).exists():
                raise half_restored(path)
            if self.witness.exists() and not path.exists():
                raise self.rolled_back()  # and no empty ledger is put in the place of the lost one
            make_once(path, partial(write_database, begin=formats.BEGIN))
            self._db = open_database(path)
            self._db.execute("PRAGMA foreign_keys = ON")
            formats.require_known(self._db, path.name)
            self._db.executescript(formats.TABLES)
        except (sqlite3.Error, OSError):
            raise self._unavailable() from None
        self._check_witness()

    def _begin(self, path: Path, witness: Path) -> None:
        super()._begin(path, witness)
        self._held: int | None = None

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
        """Hold the ledger alone until it is closed or its process ends."""
        self._held = hold_alone(self.path)
        return self

    # Charges

    def charge(self, charge: Charge, message: bytes, caps: Caps = NO_CAPS) -> tuple[Entry, bytes]:
        """Commit a charge and its message. Returns the entry and the message to send.

        For an attempt that was charged before, these are the stored entry and message, and nothing is written.
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
            self._store(db, entry, message)
            failpoints.passed("ledger written")
        self._added(entry)
        return entry, message

    def answered(self, charge: Charge) -> tuple[Entry, bytes] | None:
        """The stored entry and message of an attempt; None where it was not charged.

        WireError E_REPLAY if they answer another request, E_ENDED if the message was dropped.
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
        if self._testified != self.head():  # a custodian was killed before the witness recorded what is sent now
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

    # Messages that no run can ask for again

    def runs_with_answers(self) -> dict[str, str]:
        """The runs of which messages are stored, and when each was charged last."""
        self._refresh()
        numbers = {number for (number,) in self._read("SELECT number FROM message")}
        entries = (e for e in self._known.entries if e.number in numbers)
        return {e.record.run: e.at for e in entries if isinstance(e.record, Charge)}

    def stored_answers(self) -> int:
        """How many answers are stored."""
        return int(self._read("SELECT count(*) FROM message")[0][0])

    def drop(self, runs: Collection[str]) -> int:
        """Drop the messages of ``runs``, all or none; returns how many. Their charges stay.

        Later messages reuse the space; ``shrink`` gives it back to the disk.
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
        db.execute(f"PRAGMA user_version = {formats.NEWER}")
        db.execute("DROP TRIGGER messages_stay")  # an older version's forbids every deletion
        db.execute(formats.MESSAGES_STAY)
        db.executemany("INSERT INTO dropped VALUES (?)", gone)
        db.executemany("DELETE FROM message WHERE number = ?", gone)

    # Agreements

    def record(self, record: Consent | Withdrawal | Approval) -> Entry:
        """Add an entry that costs nothing."""
        with self._transaction() as db:
            self._refresh()
            entry = self._add(db, record)
        self._added(entry)
        return entry

    def restored(self, restoration: Restoration) -> Entry:
        """Continue under what two persons have signed; LedgerError E_RESTORE if it is not about this chain."""
        if not restoration.continues(self.head()):
            raise LedgerError(
                "E_RESTORE",
                self.path.name,
                "the request is about another backup, or too few have signed it",
                "Make a new request.",
            )
        with self._transaction() as db:
            formats.mark(db, formats.RESTORED)
            entry = self._add(db, restoration)
        self._added(entry)
        return entry

    def amended(self, amendment: Amendment) -> Entry:
        """Record that the times of some entries were wrong; LedgerError E_CLOCK if it is not about this chain and this day."""
        with self._transaction() as db:
            self._refresh()
            entry = self._add(db, amendment)
            if not self._known.goes_on_with(entry):
                raise LedgerError(
                    "E_CLOCK",
                    self.path.name,
                    "the amendment is about another chain or day, or somebody wrote at the same time",
                    "Run the command again.",
                )
            formats.mark(db, formats.NEWER)
        self._added(entry)
        return entry

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
        entry = Entry(number, record, at, previous, entry_hash(number, record, at, previous))
        attempt = record.place if isinstance(record, Charge) else None
        fields = (number, kind_of(record), canonical_json(asdict(record)).decode(), attempt, at, previous, entry.hash)
        self._insert(db, fields)
        return entry

    def _insert(self, db: sqlite3.Connection, fields: tuple[object, ...]) -> None:
        db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", fields)

    def _store(self, db: sqlite3.Connection, entry: Entry, message: bytes) -> None:
        """Store the message beside its charge, for as long as it may be asked for again."""
        db.execute("INSERT INTO message VALUES (?, ?)", (entry.number, message))

    def _added(self, entry: Entry) -> None:
        """The entry is durable: add it to the history and update the witness. A witness that lags is harmless."""
        failpoints.passed("ledger committed")
        self._learn(entry)
        self._remember_head()
        failpoints.passed("witness written")

    def verify(self) -> int:
        """Read everything anew, stored messages included; returns the number of entries. LedgerError names the first that is wrong."""
        self._known = History()
        for entry in self.entries():
            if isinstance(entry.record, Charge):
                self._message(entry)
        self._check_witness()
        return len(self._known.entries)


class _NotMeantError(Exception):
    """Undoes a transaction that was only tried."""


def _ended(run: str) -> WireError:
    return WireError(
        "E_ENDED",
        f"run {run}",
        "its answers are no longer stored: it has ended, its study has expired, or nobody has asked for long",
        "Begin a new run, which is charged.",
    )
