"""Grids of numbers: the values that a column can have, numbered from 0 in ascending order.

    Even       lower, lower + step, lower + 2 step, ...
    Endings    every number that differs from a multiple of ``step`` by one of some endings: 0.49, 0.99, 1.49, 1.99, ...
    Digits     every number of a given number of significant digits: 0.10, 0.11, ..., 0.99, 1.0, 1.1, ... 9.9, 10, 11, ...

An index becomes an exact decimal that is rounded once: what is declared as 8.05e-07 comes back as 8.05e-07.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
EXACT = 2**53  # whole numbers up to it are floats
EXACT_TENS = 22  # powers of ten up to that one are floats


class Grid(Protocol):
    """count: of values, the indices 0 .. count - 1. whole: whether all of them are whole numbers."""

    @property
    def count(self) -> int: ...

    @property
    def whole(self) -> bool: ...

    def numbers(self, index: IntArray) -> FloatArray:
        """The values at some indices."""
        ...

    def nearest(self, numbers: FloatArray) -> IntArray:
        """The indices of the values that are nearest to numbers between the first and the last."""
        ...

    def exact(self, index: int) -> Decimal:
        """The value at an index."""
        ...


def decimal(number: float) -> Decimal:
    """The shortest decimal that is the number."""
    return Decimal(repr(float(number))).normalize()


def places(number: Decimal) -> int:
    """Digits behind the point that a decimal needs."""
    return max(0, -int(number.normalize().as_tuple().exponent))


def ends(grid: Grid, number: Decimal) -> tuple[int, int]:
    """The first index whose value is not below a number, and the last whose value is not above it: -1 or count beyond the ends."""
    below, there = -1, grid.count  # of values below the number the last, of the others the first
    while there - below > 1:
        middle = (below + there) // 2
        below, there = (middle, there) if grid.exact(middle) < number else (below, middle)
    return there, there if there < grid.count and grid.exact(there) == number else there - 1


def holds(grid: Grid, number: float) -> bool:
    """Whether a number is one of the values."""
    first, last = ends(grid, decimal(number))
    return first == last


def scaled(units: npt.NDArray[Any], digits: int) -> FloatArray:
    """Whole numbers of units of ``10**-digits`` as floats, each rounded once."""
    if digits <= EXACT_TENS and not (np.abs(units) > EXACT).any():
        return units / 10.0**digits + 0.0  # no minus zero
    distinct, at = np.unique(units, return_inverse=True)
    each = np.array([float(f"{unit}e{-digits}") for unit in distinct.tolist()], np.float64)
    return each[at] + 0.0


@dataclass(frozen=True)
class Even:
    """lower + i * step. decimals: the step is 10**-decimals, and no step is declared."""

    lower: float
    upper: float
    decimals: int
    step: float | None = None

    @property
    def exact_step(self) -> Decimal:
        return Decimal(1).scaleb(-self.decimals) if self.step is None else decimal(self.step)

    @cached_property
    def count(self) -> int:
        if self.step is None:
            return round((self.upper - self.lower) * 10.0**self.decimals) + 1
        return int((decimal(self.upper) - decimal(self.lower)) / self.exact_step) + 1

    @property
    def whole(self) -> bool:
        return self.decimals == 0 and float(self.lower).is_integer() and float(self.step or 1).is_integer()

    @cached_property
    def _units(self) -> tuple[int, int, int]:
        """The first value and the step in units of a power of ten, and how many digits behind the point that is."""
        low, step = decimal(self.lower), self.exact_step
        digits = max(places(low), places(step), self.decimals)
        return int(low.scaleb(digits)), int(step.scaleb(digits)), digits

    def numbers(self, index: IntArray) -> FloatArray:
        low, step, digits = self._units
        if abs(low) + step * self.count > 2**62:
            return self.number(index)
        return scaled(low + index * step, digits)

    def number(self, index: npt.NDArray[Any]) -> FloatArray:
        """The values at indices that may lie between whole ones."""
        offset = index / 10**self.decimals if self.step is None else index * self.step
        found: FloatArray = self.lower + offset
        return found

    def index(self, numbers: npt.NDArray[Any]) -> FloatArray:
        """The indices of numbers, of those between two values between two indices."""
        apart = numbers - self.lower
        found: FloatArray = apart * 10**self.decimals if self.step is None else apart / self.step
        return found

    def nearest(self, numbers: FloatArray) -> IntArray:
        return self.index(numbers).round().astype(np.int64)

    def exact(self, index: int) -> Decimal:
        return decimal(self.lower) + index * self.exact_step


@dataclass(frozen=True)
class Endings:
    """The numbers k * step + ending from ``lower`` on. endings: ascending, from 0 to less than the step."""

    lower: float
    upper: float
    decimals: int
    step: float
    endings: tuple[float, ...]

    @cached_property
    def _digits(self) -> int:
        return max(self.decimals, *(places(decimal(x)) for x in (self.step, *self.endings)))

    @cached_property
    def _ends(self) -> IntArray:
        return np.array([int(decimal(e).scaleb(self._digits)) for e in self.endings], np.int64)

    @cached_property
    def _step(self) -> int:
        return int(decimal(self.step).scaleb(self._digits))

    def _before(self, number: float) -> int:
        """How many values there are from 0 to below a number; of a negative one less than none."""
        turns, rest = divmod(int(decimal(number).scaleb(self._digits)), self._step)
        return turns * len(self._ends) + int(np.searchsorted(self._ends, rest))

    @cached_property
    def first(self) -> int:
        return self._before(self.lower)

    @cached_property
    def count(self) -> int:
        return self._before(self.upper) - self.first + 1

    @property
    def whole(self) -> bool:
        return self.decimals == 0

    def _units(self, index: IntArray) -> IntArray:
        turns, rest = np.divmod(index + self.first, len(self._ends))
        found: IntArray = turns * self._step + self._ends[rest]
        return found

    def numbers(self, index: IntArray) -> FloatArray:
        return scaled(self._units(index), self._digits)

    def nearest(self, numbers: FloatArray) -> IntArray:
        units = numbers * 10.0**self._digits
        turns = np.floor(units / self._step)
        around = np.array([self._ends[-1] - self._step, *self._ends, self._ends[0] + self._step])
        place = np.searchsorted((around[:-1] + around[1:]) / 2, units - turns * self._step) - 1
        index: IntArray = turns.astype(np.int64) * len(self._ends) + place - self.first
        return np.clip(index, 0, self.count - 1)

    def exact(self, index: int) -> Decimal:
        return Decimal(int(self._units(np.array([index]))[0])).scaleb(-self._digits)


@dataclass(frozen=True)
class Digits:
    """Every number of ``digits`` significant digits from ``lower``, above zero, to ``upper``."""

    lower: float
    upper: float
    digits: int

    @property
    def _tens(self) -> int:
        return int(10 ** (self.digits - 1))

    def _place(self, number: Decimal) -> int:
        """A number's place among all of so many digits, that of 1 being 0."""
        power = number.adjusted()
        return power * 9 * self._tens + int(number.scaleb(self.digits - 1 - power)) - self._tens

    @cached_property
    def first(self) -> int:
        return self._place(decimal(self.lower))

    @cached_property
    def count(self) -> int:
        return self._place(decimal(self.upper)) - self.first + 1

    @property
    def whole(self) -> bool:
        return decimal(self.lower).adjusted() >= self.digits - 1 and self.upper < EXACT

    def _parts(self, index: IntArray) -> tuple[IntArray, IntArray]:
        """The digits as a whole number, and the power of ten of the last of them."""
        power, rest = np.divmod(index + self.first, 9 * self._tens)
        return rest + self._tens, power - (self.digits - 1)

    def numbers(self, index: IntArray) -> FloatArray:
        distinct, at = np.unique(index, return_inverse=True)
        parts = (part.tolist() for part in self._parts(distinct))
        each = [float(f"{units}e{power}") for units, power in zip(*parts, strict=True)]
        return np.array(each, np.float64)[at]

    def nearest(self, numbers: FloatArray) -> IntArray:
        power = np.floor(np.log10(numbers))
        units = np.rint(numbers / 10.0 ** (power - self.digits + 1))
        low = units < self._tens  # the logarithm was rounded up
        power = power - low
        units = np.where(low, np.rint(numbers / 10.0 ** (power - self.digits + 1)), units)
        place = (
            power * 9 * self._tens + units - self._tens
        )  # ten times too many units are the next power's first number
        return np.clip(place.astype(np.int64) - self.first, 0, self.count - 1)

    def exact(self, index: int) -> Decimal:
        units, power = self._parts(np.array([index]))
        return Decimal(int(units[0])).scaleb(int(power[0]))
