"""Columns of dates and times on a grid, in cells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cohortium.data.columns import patterns
from cohortium.data.columns.base import MAX_CELLS, BaseColumn, without_empty

FINE_MOMENTS = 4000  # of a column of moments: ten years' days, as there is no zero around which to be finer
Resolution = Literal["second", "minute", "hour", "day"]
SECONDS: dict[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, kw_only=True)
class Datetime(BaseColumn):
    """Moments on the grid ``lower + i * resolution``; UTC without a zone; values beyond are clipped to the bounds.

    ``bins`` cells of equal length, at most one a moment; FINE_MOMENTS by default. Each of ``special`` (a placeholder such
    as 9999-12-31 for "still here") has a cell of its own. ``format`` is how moments are written where they are text or
    whole numbers, in the table and in the release, as in ``moments``. A format without a day is of times of day, and the bounds
    are of the first of January 1900.
    """

    kind: Literal["datetime"] = "datetime"
    lower: datetime
    upper: datetime
    resolution: Resolution = "day"
    bins: Annotated[int, Field(ge=1, le=MAX_CELLS)] | None = None
    special: tuple[datetime, ...] = ()
    format: str = ""

    def __post_init__(self) -> None:
        if any(moment.tzinfo for moment in (self.lower, self.upper, *self.special)):
            raise self.invalid("bounds must be without a time zone", "State them in UTC, without an offset.")
        if any(moment.microsecond for moment in (self.lower, self.upper, *self.special)):
            raise self.invalid("bounds must be whole seconds", "State them without fractions.")
        if not self.lower < self.upper:
            raise self.invalid("lower must be before upper", "Declare the bounds the public knows.")
        if len({self._ticks(moment) for moment in self.special}) < len(self.special):
            raise self.invalid(f"two special moments are the same {self.resolution}", "Remove one of them.")
        if self.format and (what := patterns.trouble(self.format, self.resolution)):
            raise self.invalid(f"format {self.format!r} {what}", 'Write it as in format = "%d/%m/%Y" or "%Y%m%d".')
        if self.of_day and any(
            moment.date() != patterns.DAY.date() for moment in (self.lower, self.upper, *self.special)
        ):
            fix = "Write bounds such as 1900-01-01T00:00:00 and 1900-01-01T23:59:59, or add the day to the format."
            raise self.invalid("its format is of times of day, its bounds are not of the first of January 1900", fix)

    @property
    def of_day(self) -> bool:
        """Whether its moments are times of day, of which the day is not told."""
        return patterns.is_time(self.format)

    def _ticks(self, moment: datetime) -> int:
        """The step of the grid that a moment is in, also beyond its ends."""
        return int((moment - self.lower).total_seconds() // SECONDS[self.resolution])

    @cached_property
    def taken(self) -> npt.NDArray[np.int64]:
        """(some,) ascending indices of the grid that are never drawn in a bin: their moments are special ones."""
        ticks = sorted(self._ticks(moment) for moment in self.special)
        return np.array([tick for tick in ticks if 0 <= tick < self.grid], np.int64)

    @cached_property
    def point_indices(self) -> npt.NDArray[np.int64]:
        """Of the special moments, behind the grid."""
        return self.grid + np.arange(len(self.special))

    @property
    def grid(self) -> int:
        return int((self.upper - self.lower) / timedelta(seconds=SECONDS[self.resolution])) + 1

    @cached_property
    def cuts(self) -> npt.NDArray[np.int64]:
        bins = min(self.bins or FINE_MOMENTS, self.grid)
        return without_empty(np.unique(np.linspace(0, self.grid, bins + 1).round().astype(np.int64)), self.taken)

    @property
    def summary(self) -> str:
        if self.of_day:
            return " to ".join(patterns.written(x, self.format) for x in (self.lower, self.upper))
        return " to ".join(str(x).removesuffix(" 00:00:00") for x in (self.lower, self.upper))

    @property
    def values(self) -> int:
        return len(self.cuts) - 1 + len(self.special)
