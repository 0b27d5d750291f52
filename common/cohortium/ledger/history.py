"""The verified entries and what follows from them: who has spent what, and which consents still hold."""

from __future__ import annotations

from collections import Counter

from cohortium.ledger.amendment import Amendment
from cohortium.ledger.records import GENESIS, Charge, Consent, Entry
from cohortium.ledger.restoration import Presumption, Restoration
from cohortium.privacy.accounting import Events

ALL_COLLUDING = "bare"  # the account towards somebody who knows what all others sent; no study has this digest
Account = tuple[str, str | None]  # a population, and one of its studies, None for all, or ``ALL_COLLUDING``


class History:
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
            self._count((population, ALL_COLLUDING), entry.record.bare or events)

    def _restored(self, restoration: Restoration) -> None:
        """Earlier charges are part of the presumption; lost heads are recorded as such, and earlier consents end."""
        self.presumed = restoration.request.presumed
        self.events.clear()
        self.heads |= set(restoration.request.lost)
        self.closed |= self.consented | set(restoration.request.studies)

    def _amended(self, amendment: Amendment) -> None:
        """Some entries no longer count as evidence of the time. Nothing else changes, least of all what is spent."""
        self.amended |= set(amendment.entries)
        self.ended |= self.consented - set(amendment.kept)
        self.latest = max(e.at for e in self.entries if e.number not in self.amended)

    def goes_on_with(self, entry: Entry) -> bool:
        """Whether a signed restoration or amendment is about this chain."""
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
