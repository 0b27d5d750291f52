"""When a study expires: one rule for signing, checking, starting and answering it.

``expires`` is a day, and it ends at midnight UTC, whatever the local time zone. All times here are timezone-aware, so
daylight-saving changes do not move them.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cohortium.errors import StudyError
from cohortium.study.study import Study

ANEW = "Agree on it anew: a later expires, a higher serial, and everybody's signature."


def has_expired(study: Study, moment: datetime) -> bool:
    """Whether the study's last day was over at ``moment``, which is timezone-aware."""
    return study.expires is not None and moment.astimezone(UTC).date() > study.expires


def require_unexpired(study: Study) -> None:
    """StudyError E_EXPIRED if the study's last day is over by this machine's clock."""
    now = datetime.now(UTC)
    if has_expired(study, now):
        raise expired(study, f"and here it is {now:%Y-%m-%d} (UTC)", ANEW)


def expired(study: Study, why: str, fix: str) -> StudyError:
    """The error of an expired study; ``why`` continues the sentence after the day of expiry."""
    until = f"it was agreed until {study.expires}, {why}"
    return StudyError("E_EXPIRED", f"study {study.name!r}, serial {study.serial}", until, fix)
