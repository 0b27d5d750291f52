"""The chain of a ledger's entries, verified as they are first read, and the witness that records its newest head.

Every entry carries the hash of the entry before it, and a charge the hash of its message, so a change or a gap in the middle
is detected. A chain cannot show that its end was cut off, or that an older copy replaced the whole file. The newest head is
therefore also written to a second file, the *witness*, and a ledger whose chain lacks the witnessed head is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from cohortium.errors import LedgerError, StudyError
from cohortium.ledger.database import Database
from cohortium.ledger.history import History
from cohortium.ledger.location import rolled_back
from cohortium.ledger.records import GENESIS, Charge, Entry, entry_hash, record_of
from cohortium.ledger.restoration import Restoration
from cohortium.system import locks
from cohortium.system.documents import parse_json
from cohortium.system.files import open_to_overwrite, overwrite


class Chain(Database):
    """The entries at ``path`` in order, and the file ``witness`` with the newest head."""

    def _begin(self, path: Path, witness: Path) -> None:
        """Nothing has been read yet, and nothing is open."""
        self.path, self.witness = path, witness
        self._known = History()
        self._witness: int | None = None
        self._testified, self._testifying = "", Lock()

    def entries(self) -> list[Entry]:
        """All entries in order; LedgerError E_LEDGER_CORRUPT names the first that does not fit the chain."""
        self._refresh()
        return list(self._known.entries)

    def head(self) -> str:
        """The hash of the last entry."""
        self._refresh()
        return self._known.head

    def holds(self, head: str) -> bool:
        """Whether ``head`` is, or once was, the head of this ledger."""
        self._refresh()
        return head in self._known.heads

    def _refresh(self) -> None:
        """Read and verify new entries. The last known entry is read again: if it is gone, the chain was cut."""
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

    def _verified(self, row: tuple[Any, ...]) -> Entry:
        expected, previous = len(self._known.entries) + 1, self._known.head
        try:
            number, kind, content, attempt, at, before, chain = row
            record = record_of(kind, parse_json(content.encode()))
            entry = Entry(number, record, at, before, chain)
            sound = number == expected and before == previous and chain == entry_hash(number, record, at, before)
            sound = sound and attempt == (record.place if isinstance(record, Charge) else None)
            sound = sound and self._known.goes_on_with(entry)
        except (ValueError, TypeError, KeyError, AttributeError, StudyError):
            sound = False
        if not sound:
            raise self._corrupt(f"entry {expected}")
        return entry

    def _check_witness(self) -> None:
        try:
            seen = self.witness.read_text(encoding="ascii") if self.witness.exists() else ""
        except (OSError, ValueError):
            raise self._unavailable() from None
        if not self.holds(seen or GENESIS):  # it is empty for a moment, before the first head is in it
            raise self.rolled_back()

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

    def rolled_back(self) -> LedgerError:
        return rolled_back(self.path)

    # What follows from the entries

    def is_closed(self, study: str) -> bool:
        """Whether the study was signed before a restoration: what was answered of it since the backup is unknown."""
        self._refresh()
        return study in self._known.closed

    def has_ended(self, study: str) -> bool:
        """Whether the study was signed before an amendment and had expired by the amended times, or may have."""
        self._refresh()
        return study in self._known.ended

    @property
    def latest(self) -> datetime | None:
        """The latest time of an entry, amended ones excepted; None where there is none."""
        self._refresh()
        return None if not self._known.latest else datetime.fromisoformat(self._known.latest)

    def ahead_of(self, at: datetime) -> tuple[Entry, ...]:
        """The entries dated after ``at``, amended ones excepted."""
        moment = at.astimezone(UTC).isoformat(timespec="seconds")
        return tuple(e for e in self.entries() if e.at > moment and e.number not in self._known.amended)

    @property
    def restored_at(self) -> str | None:
        """When the last restoration was; None if there was none."""
        times = [e.at for e in self.entries() if isinstance(e.record, Restoration)]
        return times[-1] if times else None
