"""Step 4: exact integer noise.

The discrete Gaussian of scale σ on the integers, Pr[x] ∝ exp(-x² / 2σ²) (Canonne, Kamath, Steinke 2020,
arXiv 2004.00010, Definition 1), drawn from a table of its distribution function with 128-bit secret words. No
floating-point number is ever released (Mironov 2012).

Formal guarantee. Let a query change by v, an integer vector, when one person is added or removed, and let coordinate
c get noise of scale σ_c. The answer is, up to a factor 1 ± 1e-33 per coordinate in probability, a post-processing of
the continuous Gaussian mechanism with scales sqrt(σ_c² - 4): add N(0, σ_c² - 4), then round to an integer k with
probability ∝ exp(-(k - y)² / 8). The mixture of the two is the discrete Gaussian because the rounding's normaliser is
constant up to 2 exp(-8 π²) < 1e-33 (Poisson summation). So every theorem about Gaussian noise holds for ours with
σ_c² - 4 in the place of σ_c², whatever v is, with Poisson sampling and composition included; ``noise_multiplier``
accounts for exactly that. What remains is at most ``SLACK`` of statistical distance per look-up: the tail beyond 12 σ
(3.6e-33), 24 σ table entries each cut at 2**-128 (5.8e-34 at the largest σ) and the normaliser (1.1e-34). So many
of them (``look_ups``) add (1 + exp(epsilon)) look_ups SLACK to delta; a plan that does not fit into its reserve is refused
(plan.py).

A scale beyond the tables is drawn in two parts, fine + c coarse, of scales 4 c and s, 16 c² + c² s² = σ². That is the
discrete Gaussian of scale σ up to a factor 1 ± 1e-130: Pr[n] is the sum over b of exp(-b²/2s² - (n - cb)²/32c²), which is
exp(-n²/2σ²) times the sum over b of exp(-(b - μ(n))²/2r), r = 1/(1/s² + 1/16), and that is constant up to
4 exp(-2 π² r), r being above 15 (Poisson summation; Micciancio and Walter 2017, eprint 2017/259, section 4).

Edge cases: σ below ``SMALLEST`` or above ``LARGEST`` is refused (ValueError); an empty vector draws nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cohortium.privacy.randomness import Randomness, WordArray

IntArray = npt.NDArray[np.int64]
SMALLEST, LARGEST_TABLE, LARGEST = 3.0, 8192.0, 2.0**24
ROUNDING_VARIANCE = 4.0
SLACK = 1e-32  # statistical distance per look-up: cut tail, table digits and the rounding's normaliser together
_TAIL = 12
_BITS = 128
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Scales:
    """How the noise of a vector is shaped: ``runs`` of (length, relative scale), in the order of the vector."""

    runs: tuple[tuple[int, float], ...]

    @property
    def width(self) -> int:
        return sum(length for length, _ in self.runs)

    @property
    def smallest(self) -> float:
        return min(scale for _, scale in self.runs)

    @property
    def largest(self) -> float:
        return max(scale for _, scale in self.runs)


@dataclass(frozen=True)
class Bounded:
    """A query's un-noised answer. Private: it lives between two lines of the custodian and nowhere else.

    values: (width,) int64.
    sensitivity: L2 bound on the change of values / relative scale when one person is added or removed.
    """

    values: IntArray
    sensitivity: float
    scales: Scales


@dataclass(frozen=True)
class Noised:
    """An answer that may leave the institution. values: (width,) int64."""

    values: IntArray


def add_noise(bounded: Bounded, multiplier: float, randomness: Randomness) -> Noised:
    """Add discrete Gaussian noise of scale multiplier x sensitivity x relative scale to every coordinate.

    Guarantee: one Gaussian mechanism of noise multiplier ``noise_multiplier(multiplier, sensitivity, scales)``.
    """
    if bounded.scales.width != len(bounded.values):
        raise ValueError("the noise's shape is not the vector's")
    base = multiplier * bounded.sensitivity
    noise = [discrete_gaussian(base * scale, length, randomness) for length, scale in bounded.scales.runs]
    return Noised(bounded.values + np.concatenate(noise) if noise else bounded.values)


def noise_multiplier(multiplier: float, sensitivity: float, scales: Scales) -> float:
    """The continuous Gaussian noise multiplier that the discrete noise is worth: its largest loss is sqrt(1 - 4/σ²)."""
    smallest = multiplier * sensitivity * scales.smallest
    if smallest < SMALLEST:
        raise ValueError("the noise is too fine for the integer grid")
    return multiplier * math.sqrt(1 - ROUNDING_VARIANCE / smallest**2)


def sum_error(sigma: float, institutions: int) -> float:
    """How far, as a factor less 1, chances of the sum of discrete Gaussians are from the discrete Gaussian of their variance.

    sigma: scale of each, in grid units, above 0. Infinite where the bound is void (study/guarantee.py, step 2).
    """
    if institutions == 1:
        return 0.0
    q = math.exp(-((math.pi * sigma) ** 2))
    t = -2 * q / math.expm1(-((math.pi * sigma) ** 2))
    return math.expm1(2 * (institutions - 1) * math.atanh(t)) if t < 1 else math.inf


def look_ups(sigma: float, count: int) -> int:
    """How many look-ups ``count`` draws of scale ``sigma`` take."""
    return count if sigma <= LARGEST_TABLE else 2 * count


def discrete_gaussian(sigma: float, count: int, randomness: Randomness) -> IntArray:
    """(count,) int64 independent draws of the discrete Gaussian of scale ``sigma``, in grid units."""
    if not SMALLEST <= sigma <= LARGEST:
        raise ValueError(f"the noise's scale must lie between {SMALLEST:g} and {LARGEST:g} grid units")
    if sigma <= LARGEST_TABLE:
        return _looked_up(sigma, count, randomness)
    step = _step(sigma)
    coarse = _looked_up(math.sqrt((sigma / step) ** 2 - 16), count, randomness)
    return _looked_up(4.0 * step, count, randomness) + step * coarse


def _step(sigma: float) -> int:
    """A power of two c that keeps both scales, 4 c and about σ / c, small: small tables are looked up faster."""
    return int(min(2.0 ** round(math.log2(sigma / 4) / 2), LARGEST_TABLE / 4))


def _looked_up(sigma: float, count: int, randomness: Randomness) -> IntArray:
    table = _table(float(sigma))
    noise = np.empty(count, np.int64)
    for start in range(0, count, _BLOCK):
        high = randomness.words(min(_BLOCK, count - start))
        noise[start : start + len(high)] = table.look_up(high, randomness)
    return noise


@dataclass(frozen=True)
class _Table:
    """The distribution function in units of 2**-128, high and low words; entry i is Pr[x <= first + i]."""

    high: WordArray
    low: WordArray
    first: int

    def look_up(self, words: WordArray, randomness: Randomness) -> IntArray:
        """The inverse of the distribution function at ``words``; where the high word ties, a second word decides."""
        index = np.searchsorted(self.high, words, side="right")
        ties = np.flatnonzero(self.high[np.maximum(index, 1) - 1] == words)
        for place, low in zip(ties, randomness.words(len(ties)), strict=True):
            index[place] = self._exact(int(words[place]), int(low))
        return index + self.first

    def _exact(self, high: int, low: int) -> int:
        start = int(np.searchsorted(self.high, np.uint64(high), side="left"))
        end = int(np.searchsorted(self.high, np.uint64(high), side="right"))
        return start + int(np.searchsorted(self.low[start:end], np.uint64(low), side="right"))


@lru_cache(maxsize=64)
def _table(sigma: float) -> _Table:
    """Cumulative weights of -12σ .. 12σ - 1 by the recurrence w(x+1) = w(x) r(x), r(x+1) = r(x) r², in integers."""
    reach = math.ceil(_TAIL * sigma)
    half = _weights(sigma, reach)
    weights = [*reversed(half), *half[1:]]
    total, running, cumulative = sum(weights), 0, []
    for weight in weights[:-1]:
        running += weight
        cumulative.append((running << _BITS) // total)
    high = np.array([c >> 64 for c in cumulative], np.uint64)
    low = np.array([c & (2**64 - 1) for c in cumulative], np.uint64)
    return _Table(high, low, -reach)


def _weights(sigma: float, reach: int) -> list[int]:
    """exp(-x² / 2σ²) for x = 0 .. reach as multiples of 2**-320."""
    with localcontext() as context:
        context.prec = 120
        step = -1 / (2 * Decimal(sigma) ** 2)
        ratio, growth = (int((k * step).exp() * 2**320) for k in (1, 2))
    weights = [1 << 320]
    for _ in range(reach):
        weights.append((weights[-1] * ratio) >> 320)
        ratio = (ratio * growth) >> 320
    return weights
