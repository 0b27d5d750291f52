"""How long the ledger keeps the bytes of answers: as long as their run may ask for them again, and no longer.

A coordinator that restarts asks again and gets the same bytes; after the end of the run they are of no use. An institution
learns that a run has ended in three ways: the coordinator announces it once it has the last sum (the leg ``end``); the study
expires or was closed by a restoration, so that nothing of it is answered any more; or the run has been silent for long. A
request for dropped bytes is refused (E_ENDED): neither new noise nor a new charge ever takes their place.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict

from cohortium.errors import InputError, LedgerError
from cohortium.ledger.records import Charge
from cohortium.ledger.store import Ledger
from cohortium.study.study import Study
from cohortium.system.checks import in_units, taken

SILENT_FOR = 30  # days; statements of masked sums are forgotten after as many
MOST_DAYS = 36500
_WORDS = {"until-end": SILENT_FOR, "for-ever": None}


def _days(given: Any) -> int | None:
    """The setting as days of silence; None is for ever."""
    if isinstance(given, str) and given in _WORDS:
        return _WORDS[given]
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= MOST_DAYS:
        return given
    raise ValueError('it is neither "until-end", "for-ever" nor a number of days')


Keep = Annotated[int | None, BeforeValidator(_days)]
"""Days after its last answer after which a run is over; None where answers are kept for ever."""


@dataclass(frozen=True)
class LedgerSection:
    """``[ledger]`` of institution.toml.

    file: the ledger's. keep_answers: ``until-end``, where a run counts as over after ``SILENT_FOR`` days without an answer;
    a number of days to replace that one; or ``for-ever``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    file: str = "ledger.sqlite"
    keep_answers: Keep = SILENT_FOR


def section(given: Any) -> Any:
    """Older files give only the name of the ledger's file."""
    return {"file": given} if isinstance(given, str) else given


def over(ledger: Ledger, studies: Mapping[str, Study], keep: Keep, now: datetime) -> set[str]:
    """The runs whose answers the ledger keeps although nobody will ask for them again. studies: those that were signed here."""
    if keep is None:
        return set()
    kept, last = ledger.runs_with_answers(), (now - timedelta(days=keep)).isoformat(timespec="seconds")
    expired = {c.run for c in ledger.charges() if c.run in kept and _is_over(c, ledger, studies, now)}
    return expired | {run for run, at in kept.items() if at < last}


@dataclass(frozen=True)
class Compacted:
    """A ledger whose answers were dropped. kept: how many are still stored. before, after: bytes on the disk, with the log beside it."""

    ledger: str
    entries: int
    head: str
    dropped: int
    kept: int
    before: int
    after: int


def compacted(ledger: Ledger, studies: Mapping[str, Study], keep: int | None, ended: Collection[str] = ()) -> Compacted:
    """Drop the answers of runs that are over or listed in ``ended``, and give the space back to the disk.

    InputError E_ARGUMENT if nothing is stored of a run in ``ended``; LedgerError E_LEDGER_UNAVAILABLE where the disk
    has too little room for that, or somebody writes for long. What was dropped stays so.
    """
    entries, before, kept = ledger.verify(), taken(ledger.path), ledger.runs_with_answers()
    for run in ended:
        if run not in kept:
            what = "no answer of such a run is kept"
            raise InputError("E_ARGUMENT", f"run {run}", what, "Look for it: cohortium ledger export --ledger FILE.")
    dropped = ledger.drop(over(ledger, studies, keep, datetime.now(UTC)) | set(ended))
    _require_room(ledger)
    ledger.shrink(whole=True)
    return Compacted(
        ledger.path.name, entries, ledger.head(), dropped, ledger.stored_answers(), before, taken(ledger.path)
    )


def _require_room(ledger: Ledger) -> None:
    """Shrinking writes the file anew beside the old one, and once more into the log."""
    needed, free = 2 * ledger.holds_bytes(), shutil.disk_usage(ledger.path.absolute().parent).free
    if free < needed:
        raise LedgerError(
            "E_LEDGER_UNAVAILABLE",
            ledger.path.name,
            f"its disk has {in_units(free)} left, and to shrink it takes {in_units(needed)}",
            "Free that much and run it again; what was dropped stays dropped, and its space is reused meanwhile.",
        )


def _is_over(charge: Charge, ledger: Ledger, studies: Mapping[str, Study], now: datetime) -> bool:
    """Whether its study is no longer answered at all. By the clock alone: a time in the ledger may be wrong."""
    if ledger.is_closed(charge.study):
        return True
    study = studies.get(charge.study)
    return study is not None and study.expires is not None and f"{now:%Y-%m-%d}" > study.expires.isoformat()
