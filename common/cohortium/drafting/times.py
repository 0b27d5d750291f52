"""Times of day, days of the week and months: columns of their own, that come back as they are written.

A time of day has no date. As text (``13:45``) it is a moment of the first of January 1900, which its format leaves out; a moment
that comes with a date, and always the same one, has bounds of that day alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cohortium.data.columns import Datetime, Ordinal, Resolution
from cohortium.data.columns.absent import AMONG_NUMBERS
from cohortium.data.columns.patterns import DAY
from cohortium.drafting.facts import RARE, ColumnFacts
from cohortium.drafting.found import Found

_TIME = re.compile(r"(?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?")
_STEPS = (60, 30, 20, 15, 10, 5)  # minutes
_WIDE = 2  # digits of an hour
TIMES = "times of day; they come back as they are written"
STEPPED = "times of day, all on the same steps of an hour"
IN_ORDER = "days or months in the order of the calendar; names are compared in the letters that they are written with"
_WEEKS = (
    "monday tuesday wednesday thursday friday saturday sunday", "mon tue wed thu fri sat sun", "montag dienstag mittwoch donnerstag freitag samstag sonntag",
    "lundi mardi mercredi jeudi vendredi samedi dimanche", "lunes martes miércoles jueves viernes sábado domingo",
)  # fmt: skip
_YEARS = (
    "january february march april may june july august september october november december",
    "jan feb mar apr may jun jul aug sep oct nov dec",
    "januar februar märz april mai juni juli august september oktober november dezember",
)
_CALENDAR = tuple(tuple(words.split()) for words in (*_WEEKS, *_YEARS))


@dataclass(frozen=True)
class _Clock:
    """How times are written: padded to two digits of the hour, and with seconds."""

    padded: bool
    seconds: bool

    def write(self, minute: int) -> str:
        hour, rest = divmod(minute, 60)
        return f"{hour:0{_WIDE if self.padded else 1}d}:{rest:02d}" + (":00" if self.seconds else "")


def times_column(name: str, facts: ColumnFacts) -> Found | None:
    """A column of times of day as text, or of days of the week or months; None for others."""
    return _calendar_column(name, facts) or _clock_column(name, facts)


def _clock_column(name: str, facts: ColumnFacts) -> Found | None:
    found = {word: _TIME.fullmatch(word) for word in facts.counts}
    times = {word: m for word, m in found.items() if m}
    other = sum(n for w, n in facts.counts.items() if w not in times)
    if len(times) < 2 or other >= min(RARE, facts.valid / 20):
        return None
    with_seconds = {m["second"] is not None for m in times.values()}
    single, led = (
        any(len(m["hour"]) == 1 for m in times.values()),
        any(m["hour"][0] == "0" and len(m["hour"]) == _WIDE for m in times.values()),
    )
    if len(with_seconds) > 1 or (single and led):
        return None
    clock = _Clock(not single, with_seconds.pop())
    exact = not clock.seconds or all(m["second"] == "00" for m in times.values())
    minutes = {60 * int(m["hour"]) + int(m["minute"]) for m in times.values()}
    step = next((s for s in _STEPS if exact and all(minute % s == 0 for minute in minutes)), 1)
    nullable = facts.nullable or other > 0
    if exact and (step > 1 or single):
        words = tuple(clock.write(minute) for minute in range(0, 24 * 60, step))
        return Found(
            Ordinal(name=name, nullable=nullable, categories=words),
            (STEPPED if step > 1 else TIMES,),
            taken=AMONG_NUMBERS,
        )
    if single:
        return None
    return Found(_day_column(name, nullable, clock, exact), (TIMES,), taken=AMONG_NUMBERS)


def _day_column(name: str, nullable: bool, clock: _Clock, exact: bool) -> Datetime:
    pattern, resolution = "%H:%M:%S" if clock.seconds else "%H:%M", "minute" if exact else "second"
    kind: Resolution = "minute" if resolution == "minute" else "second"
    return Datetime(
        name=name,
        nullable=nullable,
        lower=DAY,
        upper=DAY.replace(hour=23, minute=59, second=59),
        resolution=kind,
        format=pattern,
    )


def _calendar_column(name: str, facts: ColumnFacts) -> Found | None:
    words = list(facts.counts)
    known = next((k for k in _CALENDAR if {w.lower().rstrip(".") for w in words} <= {*k}), None)
    if known is None or len(facts.shared) < 2 or len({w.lower().rstrip(".") for w in words}) < len(words):
        return None
    shared = sorted(facts.shared, key=lambda w: known.index(w.lower().rstrip(".")))
    if facts.rare:
        shared = _whole(known, facts.counts.most_common(1)[0][0])
    nullable = facts.nullable or not {*words} <= {*shared}
    return Found(Ordinal(name=name, nullable=nullable, categories=tuple(shared)), (IN_ORDER,))


def _whole(known: Sequence[str], like: str) -> list[str]:
    """All of the week or year, in the letters of one of its names."""
    style = str.upper if like.isupper() else str.title if like.istitle() else str.lower
    return [style(word) + ("." if like.endswith(".") else "") for word in known]
