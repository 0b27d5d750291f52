"""Records that entries of an institution's ledger have wrong times, because its machine's clock once ran ahead.

Afterwards nobody can distinguish a clock that ran ahead from one that is set back to gain time. An amendment therefore helps
only future studies: every study signed so far that had expired by the amended times stays expired, and so does one whose file,
which could have shown otherwise, is missing. Spend does not depend on time and stays (docs/custodian.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from cohortium.errors import LedgerError
from cohortium.ledger.amendment import Amendment
from cohortium.ledger.records import Consent
from cohortium.ledger.store import Ledger
from cohortium.study.expiry import has_expired
from cohortium.study.study import Study
from cohortium_client.custodian.answerable import agreed_to
from cohortium_client.custodian.identity import Identity
from cohortium_client.custodian.institution import Institution


@dataclass(frozen=True)
class Amended:
    """The entries whose times were wrong, the latest of these, and the digests of the studies that are no longer answered."""

    entries: tuple[int, ...]
    latest: str
    ended: tuple[str, ...]


def amend_clock(institution: Institution, today: date) -> Amended:
    """Apply ``amend`` to an institution's ledger and studies, signed with its key."""
    with institution.ledger() as ledger:
        return amend(ledger, institution.identity, institution.agreements, today)


def amend(ledger: Ledger, identity: Identity, studies: Mapping[str, Study], today: date) -> Amended:
    """Record that entries ahead of the clock have wrong times; ``today`` is the day in UTC that a person vouches for.

    studies: by digest, to show which had not expired. Raises LedgerError E_CLOCK where no entry is ahead, or
    the clock shows another day; as ``Ledger`` where the ledger cannot be used.
    """
    now = datetime.now(UTC)
    if now.date() != today:
        what = f"this machine's clock says {now:%Y-%m-%d} (UTC), and you say {today}"
        raise LedgerError("E_CLOCK", "clock", what, "Set the machine's clock, or name the day that it is in UTC.")
    wrong, head, latest = ledger.ahead_of(now), ledger.head(), ledger.latest
    if not wrong or latest is None:
        what = "no entry of the ledger is ahead of this machine's clock"
        raise LedgerError("E_CLOCK", ledger.path.name, what, "Nothing needs to be amended.")
    signed = {e.record.study for e in ledger.entries() if isinstance(e.record, Consent)}
    kept = {d for d, study in studies.items() if d in signed and not has_expired(study, latest)}
    ended = {d for d in signed - kept if d not in studies or agreed_to(ledger, studies[d])}
    numbers = tuple(e.number for e in wrong)
    ledger.amended(Amendment(head, numbers, today.isoformat(), tuple(sorted(kept))).signed(identity.key))
    return Amended(numbers, max(e.at for e in wrong), tuple(sorted(ended)))
