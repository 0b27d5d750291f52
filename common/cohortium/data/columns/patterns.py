"""How moments are written, as a pattern: ``%d/%m/%Y``, ``%Y%m%d``, ``%Y-%m-%d %H:%M``.

A pattern without a day, ``%H:%M``, is of times of day: they are moments of ``DAY``, which nobody writes.
"""

from __future__ import annotations

import re
from datetime import datetime

_WIDTHS = {"%Y": 4, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2}
_KNOWN = {*_WIDTHS, "%y", "%b"}
_NEEDED = (
    ("day", ({"%Y", "%y"}, {"%m", "%b"}, {"%d"})),
    ("hour", ({"%H"},)),
    ("minute", ({"%M"},)),
    ("second", ({"%S"},)),
)
DAY = datetime(1900, 1, 1)  # of which a time is that is written without a day
_PART = re.compile(r"%.?")


def trouble(pattern: str, resolution: str) -> str:
    """Why moments of a resolution cannot be written so and read back, in words; empty if they can."""
    parts = _PART.findall(pattern)
    if unknown := sorted({*parts} - _KNOWN):
        return f"has {unknown[0]}; what there is: {', '.join(sorted(_KNOWN))}"
    if len(set(parts)) < len(parts):
        return "says something twice"
    if re.search(r"[^\x20-\x7e]", pattern) or re.search(r"[0-9A-SU-Za-z]", _PART.sub("", pattern)):  # T, as in ISO 8601
        return "has letters that are no part of a moment"
    for finest, needed in _NEEDED[1:] if is_time(pattern) and resolution != "day" else _NEEDED:
        if any(not options & {*parts} for options in needed):
            return f"does not say the {finest}, but the column's resolution is {resolution}"
        if finest == resolution:
            return ""
    return ""


def is_time(pattern: str) -> bool:
    """Whether it is of times of day: an hour, and nothing of the day."""
    parts = {*_PART.findall(pattern)}
    return "%H" in parts and not parts & {"%Y", "%y", "%m", "%b", "%d"}


def is_whole(pattern: str) -> bool:
    """Whether it makes whole numbers: digits alone, the year first, so that no zero is lost in front."""
    return pattern.startswith("%Y") and set(_PART.findall(pattern)) <= set(_WIDTHS) and not _PART.sub("", pattern)


def width(pattern: str) -> int:
    """Digits of a whole number so written."""
    return sum(_WIDTHS[part] for part in _PART.findall(pattern))


def written(moment: datetime, pattern: str) -> str:
    """The moment by the pattern, with four digits of the year also before 1000, on every system."""
    return moment.strftime(pattern.replace("%Y", f"{moment.year:04d}"))
