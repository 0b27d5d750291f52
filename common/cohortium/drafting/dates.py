"""Columns of dates and times: resolution, bounds, placeholders."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pandas as pd

from cohortium.data import columns
from cohortium.data.columns import Datetime
from cohortium.data.columns.moments import moments_of
from cohortium.data.columns.patterns import trouble
from cohortium.drafting.datestyles import finest, style
from cohortium.drafting.facts import RARE, RARE_SPECIAL, ColumnFacts
from cohortium.drafting.found import Found
from cohortium.drafting.numbers import wide_bounds
from cohortium.drafting.placeholders import placeholder_day, placeholder_of

ONE_DAY = "all moments are of one day: bounds are that day's, and only the time is drawn"
ONE_WEEK = "all days are of one week, as days of the week are written: bounds are that week's"
WEEK = timedelta(days=7)
LAST_YEAR = 9999  # of which the last week has no end


def moment_column(name: str, facts: ColumnFacts) -> Found:
    """Dates and times within round years, or of one day or week where all of them are."""
    if (found := _narrow_column(name, facts)) is not None:
        return found
    first, last = facts.first_years.last, facts.last_years.last
    if first is None or last is None:
        return Found(None, (f"dropped: fewer than {RARE} {facts.unit} have a date that can be read",))
    written = style(facts.counts, RARE)
    special, (low, high) = _special_days(facts, written.pattern, first, max(-last, first))
    lower, upper = (min(max(int(year), 1), 9999) for year in wide_bounds(low, high, 0))
    resolution = _resolution(facts.timed, written.pattern)
    column = Datetime(
        name=name,
        nullable=facts.nullable or facts.moments < facts.valid,
        lower=datetime(lower, 1, 1),
        upper=datetime(upper, 12, 31) if resolution == "day" else datetime(upper, 12, 31, 23, 59, 59),
        resolution=resolution,
        special=special,
        format=written.pattern,
    )
    texts = [f"bounds are round years beyond what all but fewer than {RARE} {facts.unit} have", *written.notes]
    if special:
        texts.append("special days seem to stand for something other than a day")
    return Found(column, tuple(texts), _rare_days(facts))


def _narrow_column(name: str, facts: ColumnFacts) -> Found | None:
    """Of moments that are all of one day, or days that are all of one week; None of others."""
    written = style(facts.counts, RARE)
    read = moments_of(pd.Series(list(facts.counts), dtype="str"), written.pattern).dropna()
    certain = 2 * RARE <= facts.valid == facts.moments and 2 <= facts.distinct == len(read)
    if not certain or (written.notes and not written.pattern):  # which of two days it is cannot be told
        return None
    first, last, apart = read.min().to_pydatetime(), read.max().to_pydatetime(), read - read.dt.normalize()
    day = datetime(first.year, first.month, first.day)
    monday = day - timedelta(days=day.weekday())
    resolution: columns.Resolution = "day"
    if first.date() == last.date():
        resolution, bounds, text = _finest(apart), (day, day + timedelta(days=1, seconds=-1)), ONE_DAY
    elif last - monday < WEEK and last.year < LAST_YEAR and not (apart > pd.Timedelta(0)).any():
        bounds, text = (monday, monday + timedelta(days=6)), ONE_WEEK
    else:
        return None
    if written.pattern and trouble(written.pattern, resolution):
        return None
    lower, upper = bounds
    column = Datetime(
        name=name, nullable=facts.nullable, lower=lower, upper=upper, resolution=resolution, format=written.pattern
    )
    return Found(column, (text, *written.notes))


def _finest(apart: pd.Series) -> columns.Resolution:
    """The resolution that moments need which are so far from the beginning of their day."""
    seconds = apart.dt.total_seconds()
    return "second" if (seconds % 60 > 0).any() else "minute" if (seconds % 3600 > 0).any() else "hour"


def _resolution(timed: tuple[int, int, int], pattern: str) -> columns.Resolution:
    """The finest that all but a few need, as far as it is written."""
    needed: list[columns.Resolution] = ["day", "hour", "minute", "second"]
    place = sum(count >= RARE for count in timed)
    return needed[min(place, needed.index(finest(pattern)))] if pattern else needed[place]


def _special_days(
    facts: ColumnFacts, pattern: str, first: float, last: float
) -> tuple[tuple[datetime, ...], tuple[float, float]]:
    """Days that stand for something else, and the first and last year of the others.

    They lie outside the others' years, or more have one than any other day.
    """
    days, others = _placeholders(facts, pattern)
    most = max(others.values(), default=0)
    shared = {day: count for day, count in days.items() if count >= RARE}
    special = sorted(day for day, count in shared.items() if not first <= day.year <= last or count > 3 * most)
    years = [first, last, *(day.year for day in shared if day not in special)]
    return tuple(special), (min(years), max(years))


def _placeholders(facts: ColumnFacts, pattern: str) -> tuple[Counter[datetime], Counter[str]]:
    """How many have each placeholder day, and each other text."""
    words = list(facts.counts)
    read = moments_of(pd.Series(words, dtype="str"), pattern).to_numpy().astype("datetime64[s]").tolist()
    days, others = Counter[datetime](), Counter[str]()
    for word, moment in zip(words, read, strict=True):
        if moment is not None and (day := placeholder_of(moment)):
            days[day] += facts.counts[word]
        else:
            others[word] += facts.counts[word]
    return days, others


def _rare_days(facts: ColumnFacts) -> str:
    """Which placeholder days few have: for the institution's own screen."""
    rare = sorted(w for w, count in facts.counts.items() if count < RARE and placeholder_day(w))
    shown = ", ".join(rare[:5])
    return RARE_SPECIAL.format(RARE, facts.unit, shown) if rare else ""
