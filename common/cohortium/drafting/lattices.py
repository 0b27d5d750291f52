"""Which grid numbers lie on: how many decimals, which step, which endings, how many significant digits.

A grid is proposed if all but a few persons' numbers lie on it, and if that would be unlikely by chance.
Steps are tried from a public list, and endings as well as they recur; nothing of one person's number decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
SURE = 4.0  # powers of ten against chance
MOST_ENDINGS = 12
DECADES = 5  # from the lowest to the highest number, for a grid of significant digits
MOST_DIGITS = 6
_NOISE = 15  # significant digits that floating point keeps
_BASES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 25, 32, 64, 75, 125, 625, 3125, 15625)
_STEPS = tuple(sorted({b * 10**k for b in _BASES for k in range(10)} - {1}, reverse=True))
_HOURS, _MONTHS = tuple(range(60)), tuple(range(1, 13))


@dataclass(frozen=True)
class Lattice:
    """step and endings as in ``schema.Continuous``. name: of a known use of such numbers, in words; bounds: that follow from it."""

    step: float | None = None
    endings: tuple[float, ...] = ()
    name: str = ""
    bounds: tuple[float, float] | None = None

    @property
    def density(self) -> float:
        """Values a unit."""
        return math.inf if self.step is None else max(1, len(self.endings)) / self.step


def needs(number: float) -> tuple[int, int]:
    """The decimals, and the significant digits, that a finite number needs; floating-point residue at the end is ignored."""
    exact = Decimal(f"{number:.{_NOISE}g}").normalize()
    _, digits, exponent = exact.as_tuple()
    return max(0, -int(exponent)), len(digits)


@dataclass(frozen=True)
class _Seen:
    """units: (distinct,) numbers in the finest decimals. persons: (distinct,) how many have each. few: so many persons may not be anywhere
    else. least: persons that share what is nobody's alone.
    """

    units: IntArray
    persons: IntArray
    few: int
    least: int

    def most_on(self, step: int) -> tuple[int, bool]:
        """The remainder of most numbers, and whether all but a few have it, and surely not by chance."""
        rest = self.units % step
        remainders, at = np.unique(rest, return_inverse=True)
        most = int(np.argmax(np.bincount(at, self.persons)))
        on = at == most
        off = int(self.persons[~on].sum())
        chance = math.log10(math.comb(len(on), int(on.sum()))) if off else 0.0
        return int(remainders[most]), off < self.few and (int(on.sum()) - 1) * math.log10(step) - chance >= SURE


def lattice(counts: Mapping[float, int], decimals: int, least: int) -> Lattice:
    """What all but a few persons' numbers have in common: fewer than ``least``, and than one in twenty.

    counts: how many have each.
    """
    seen = _seen(counts, decimals, least)
    if len(seen.units) < 5 or seen.persons.sum() < 2 * least:
        return Lattice()
    step = next((s for s in _candidates(seen) if seen.most_on(s)[1]), 1)
    rest = seen.most_on(step)[0] if step > 1 else 0
    plain = Lattice(_number(step, decimals), (_number(rest, decimals),) if rest else ()) if step > 1 else Lattice()
    known = _clock(seen, decimals) or _calendar(seen, decimals) or _endings(seen, decimals) or Lattice()
    return known if 2 * known.density < plain.density else plain


def _seen(counts: Mapping[float, int], decimals: int, least: int) -> _Seen:
    numbers = np.array(list(counts), np.float64)
    persons = np.array(list(counts.values()), np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = numbers * 10.0**decimals
        kept = (np.abs(scaled) < 2**53) & (np.abs(scaled - np.rint(scaled)) <= 1e-6 + 1e-11 * np.abs(scaled))
    units, at = np.unique(np.rint(scaled[kept]).astype(np.int64), return_inverse=True)
    few = min(least, int(persons.sum()) // 20 + 1) - int(persons[~kept].sum())
    return _Seen(units, np.bincount(at, persons[kept], len(units)).astype(np.int64), max(0, few), least)


def _candidates(seen: _Seen) -> list[int]:
    """Steps from the largest on: of the list, and the one that all numbers that are no few persons' have in common."""
    shared = seen.units[seen.persons >= seen.least]
    common = reduce(math.gcd, (np.diff(shared)).tolist(), 0) if len(shared) > 2 else 0
    wide = int(seen.units[-1] - seen.units[0])
    return sorted({s for s in (*_STEPS, common) if 1 < s <= wide / 2}, reverse=True)


def _number(units: int, decimals: int) -> float:
    return float(Decimal(units).scaleb(-decimals))


def _fits(seen: _Seen, good: npt.NDArray[np.bool_]) -> bool:
    return int(seen.persons[~good].sum()) < seen.few


def _clock(seen: _Seen, decimals: int) -> Lattice | None:
    """Times of day as whole numbers: 930 for half past nine."""
    units = seen.units
    good = (units >= 0) & (units < 2400) & (units % 100 < 60)
    many = int(good.sum()) >= 20 and len(np.unique(units[good] // 100)) >= 8
    if decimals or not many or not _fits(seen, good):
        return None
    return Lattice(100.0, tuple(map(float, _HOURS)), "times of day (HHMM)", (0.0, 2359.0))


def _calendar(seen: _Seen, decimals: int) -> Lattice | None:
    """Months as whole numbers: 202003."""
    years, months = np.divmod(seen.units, 100)
    good = (years >= 1800) & (years < 2200) & (months >= 1) & (months <= 12)
    if decimals or int(good.sum()) < 6 or not _fits(seen, good):
        return None
    return Lattice(100.0, tuple(map(float, _MONTHS)), "months (YYYYMM)")


def _endings(seen: _Seen, decimals: int) -> Lattice | None:
    """Few endings that recur, each of no few persons: prices in .49 and .99. Of several turns that fit, that of the fewest values."""
    turns = sorted({10**decimals, 10, 100, 1000} - {1})
    fitting = [found for turn in turns if (found := _endings_of(seen, turn, decimals))]
    return min(fitting, key=lambda found: found.density, default=None)


def _endings_of(seen: _Seen, turn: int, decimals: int) -> Lattice | None:
    remainders, at = np.unique(seen.units % turn, return_inverse=True)
    shared = np.bincount(at, seen.persons) >= seen.least
    good, count = shared[at], int(shared.sum())
    surplus = (int(good.sum()) - 2 * count) * math.log10(turn / max(count, 1))
    if not (1 < count <= min(MOST_ENDINGS, turn // 4) and _fits(seen, good) and surplus >= SURE + 2):
        return None
    return Lattice(_number(turn, decimals), tuple(_number(int(r), decimals) for r in remainders[shared]))


def within(lattice: Lattice, lower: float, upper: float, decimals: int) -> tuple[float, float]:
    """Bounds on the lattice, beyond those given or on them; zero is not crossed."""
    assert lattice.step is not None  # noqa: S101 - the caller asks where there is one
    step = Decimal(repr(lattice.step))
    endings = [Decimal(repr(e)) for e in lattice.endings or (0.0,)]
    below, above = Decimal(repr(lower)), Decimal(repr(upper))
    low = max(_turn(below - e, step) * step + e for e in endings)
    high = min(-_turn(e - above, step) * step + e for e in endings)
    if low < 0 <= below:
        low = min(-_turn(e - below, step) * step + e for e in endings)
    if high > 0 >= above:
        high = max(_turn(above - e, step) * step + e for e in endings)
    return round(float(low), decimals) + 0.0, round(float(high), decimals) + 0.0


def _turn(number: Decimal, step: Decimal) -> int:
    return math.floor(number / step)


def significant(persons: Mapping[int, int], few: int) -> int:
    """The significant digits that all but fewer than ``few`` persons' numbers need, at most MOST_DIGITS. persons: by digits."""
    return next((d for d in range(1, MOST_DIGITS) if sum(n for k, n in persons.items() if k > d) < few), MOST_DIGITS)


def spans(low: float, high: float, digits: int, decimals: int) -> bool:
    """Whether numbers from ``low`` to ``high`` are better described by significant digits than by one number of decimals."""
    if not 1e-280 < low < high < 1e280 or math.log10(high) - math.log10(low) < DECADES:
        return False
    return math.floor(math.log10(high)) + 1 + decimals >= digits + 4


def decades(low: float, high: float) -> tuple[float, float]:
    """Powers of ten beyond both, and on neither."""
    return float(f"1e{math.ceil(math.log10(low)) - 1}"), float(f"1e{math.floor(math.log10(high)) + 1}")
