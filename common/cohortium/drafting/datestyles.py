"""How a column writes its dates, as far as all but a few persons' do it alike.

``05/03/2020`` is a day in March or in May. Only unambiguous dates show which comes first. If many persons' dates show one
order and many the other, the rest cannot be known: the draft asks, and never guesses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cohortium.data.columns import Resolution
from cohortium.data.columns.moments import first_of, pattern_of

UNCLEAR = 'it is unclear whether the day or the month comes first: declare format, for example format = "%d/%m/%Y"'
MIXED = "some dates have the day first and some the month: write them all one way, year-month-day is best"
_WHOLE = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_YEAR_FIRST = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class DateStyle:
    """pattern: as a column's ``format``, empty where there is nothing to declare. notes: for the person who reviews it."""

    pattern: str = ""
    notes: tuple[str, ...] = ()


def whole_pattern(word: str) -> str | None:
    """The pattern of a date that is written as a whole number: of its length."""
    return _WHOLE.get(len(word)) if word.isascii() and word.isdigit() else None


def style(counts: Mapping[str, int], least: int) -> DateStyle:
    """How a column's dates are written. counts: how many persons have each text. least: the persons needed to count as many."""
    if pattern := _common({w: n for w, n in counts.items() if whole_pattern(w)}, counts, whole_pattern, least):
        return DateStyle(pattern, (f"whole numbers are read as dates, {pattern}",))
    others = {w: n for w, n in counts.items() if not _YEAR_FIRST.match(w)}
    if sum(others.values()) < least:
        return DateStyle()
    order = Counter[str | None]()
    for word, count in others.items():
        order[first_of(word)] += count
    if min(order["day"], order["month"]) >= least:
        return DateStyle(notes=(MIXED,))
    first = next((f for f in ("day", "month") if order[f] >= least), None)
    if first is None:
        return DateStyle(notes=(UNCLEAR,)) if order[""] else DateStyle()
    pattern = _common(others, others, lambda word: pattern_of(word, first), least)
    if pattern is None:
        return DateStyle(
            notes=(f"the {first} comes first, but dates are written in several ways: write them as year-month-day",)
        )
    return DateStyle(pattern, (f"dates are read with the {first} first, {pattern}",))


def _common(
    words: Mapping[str, int], among: Mapping[str, int], read: Callable[[str], str | None], least: int
) -> str | None:
    """The pattern that all but a few have, if any."""
    found = Counter[str]()
    for word, count in words.items():
        if pattern := read(word):
            found[pattern] += count
    if not found:
        return None
    pattern, persons = found.most_common(1)[0]
    return pattern if sum(among.values()) - persons < max(least, sum(among.values()) / 20) else None


def finest(pattern: str) -> Resolution:
    """The finest resolution that moments so written have."""
    return "second" if "%S" in pattern else "minute" if "%M" in pattern else "hour" if "%H" in pattern else "day"
