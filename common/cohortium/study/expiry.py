"""Until when a study is answered: one rule for whoever signs it, checks it, orders it and answers it.

``expires`` is a day, which ends when it ends in UTC, wherever a machine stands and whatever its people set their clocks to
in summer. Moments are aware of their zone throughout: a change to or from daylight-saving time moves none of them.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cohortium.errors import StudyError
from cohortium.study.study import Study

ANEW = "Agree on it anew: a later expires, a higher serial, and everybody's signature."


def has_expired(study: Study, moment: datetime) -> bool:
    """Whether the study's last day was over at ``moment``, which is aware of its zone."""
    return study.expires is not None and moment.astimezone(UTC).date() > study.expires


def require_unexpired(study: Study) -> None:
    """StudyError E_EXPIRED if the study's last day is over by this machine's clock."""
    now = datetime.now(UTC)
    if has_expired(study, now):
        raise expired(study, f"and here it is {now:%Y-%m-%d} (UTC)", ANEW)


def expired(study: Study, why: str, fix: str) -> StudyError:
    """What is said of a study that has expired; ``why`` goes on after the day that it was agreed until."""
    until = f"it was agreed until {study.expires}, {why}"
    return StudyError("E_EXPIRED", f"study {study.name!r}, serial {study.serial}", until, fix)
