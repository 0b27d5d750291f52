"""The audit's statistical tests: pure functions of outputs, each with its source.

A and B bound from below what the outputs reveal about who was included; C and D examine the noise. Every function returns
either a bound that is wrong with probability at most ``alpha``, or a p-value: the probability of something as extreme under
a correct pipeline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.signal import fftconvolve
from scipy.special import ndtr, ndtri

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
GUESSES = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)  # fixed before anything is seen
THRESHOLDS = np.linspace(0.02, 0.98, 49)
MOST_EPSILON = 60.0
Words = npt.NDArray[np.uint32] | npt.NDArray[np.uint64]
EXPECTED = 100  # values in a cell of a chi-square test, at least
WIDE = 4096.0  # a scale from which on the Gaussian's own chances do: they differ by less than 1 / WIDE**2


# A: how many of its surest guesses an attacker gets right, in one run


def one_run_chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Upper bound on the chance of ``right`` or more right guesses of ``guesses`` under (epsilon, delta)-DP.

    Steinke, Nasr, Jagielski 2023 (arXiv 2305.08846), Theorem 5.2, for guesses that name a side: the number of right
    ones is dominated by Bin(guesses, e^epsilon / (1 + e^epsilon)) but for a term of 2 canaries delta. It needs no
    assumption on the mechanism, only that inclusion bits are fair randomness and guesses a function of the output.
    """
    sure = 1 / (1 + math.exp(-epsilon))
    tail = float(stats.binom.sf(right - 1, guesses, sure))
    below = stats.binom.pmf(np.arange(right - 1, -1, -1), guesses, sure)
    slack = float(np.max(np.cumsum(below) / np.arange(1, right + 1))) if right else 0.0
    return min(1.0, tail + 2 * canaries * delta * slack)


def one_run_bound(scores: FloatArray, included: BoolArray, delta: float, alpha: float) -> float:
    """Lower bound on epsilon at ``delta``: the best of ``GUESSES`` (half of them "in", half "out"), Bonferroni."""
    order = np.argsort(-scores, kind="stable")
    counts = [r for r in GUESSES if r <= len(scores)]
    return max((_one_run(included[order], r, delta, alpha / len(counts)) for r in counts), default=0.0)


def _one_run(ranked: BoolArray, guesses: int, delta: float, alpha: float) -> float:
    half, canaries = guesses // 2, len(ranked)
    right = int(ranked[:half].sum()) + int((~ranked[-half:]).sum())
    if one_run_chance(canaries, guesses, right, 0.0, delta) >= alpha:
        return 0.0
    low, high = 0.0, MOST_EPSILON
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if one_run_chance(canaries, guesses, right, middle, delta) < alpha else (low, middle)
    return low


# B: how well one threshold separates who was included from who was not


@dataclass(frozen=True)
class Separation:
    """Of one threshold, confidence limits: at most ``false_positives``, and at least ``true_positives``."""

    false_positives: float
    true_positives: float

    @property
    def mu(self) -> float:
        """The least sensitivity over noise of a Gaussian mechanism that would allow it; below 0 where the bound is void."""
        return float(ndtri(self.true_positives) - ndtri(self.false_positives))


def separation(scores: FloatArray, included: BoolArray, alpha: float) -> Separation:
    """The attacker's best threshold, chosen on one half of the canaries and judged on the other.

    Nasr et al. 2023 (arXiv 2302.07956): limits on both error rates, read on the trade-off curve of the mechanism that
    is claimed (Dong, Roth, Su 2019, arXiv 1905.02383, for Gaussian ones). Limits are Clopper and Pearson's (1934), each
    at alpha / 2. Assumes that canaries' scores are independent and alike, which their cells are made for.
    """
    half = len(scores) // 2
    first, second = (scores[:half], included[:half]), (scores[half:], included[half:])
    threshold = max(np.quantile(first[0], THRESHOLDS), key=lambda t: _separation(*first, t, alpha).mu)
    return _separation(*second, threshold, alpha)


def _separation(scores: FloatArray, included: BoolArray, threshold: float, alpha: float) -> Separation:
    claimed = scores > threshold
    false = upper_limit(int((claimed & ~included).sum()), int((~included).sum()), alpha / 2)
    missed = upper_limit(int((~claimed & included).sum()), int(included.sum()), alpha / 2)
    return Separation(false, 1 - missed)


def upper_limit(hits: int, trials: int, alpha: float) -> float:
    """Clopper and Pearson's upper limit on a rate; wrong with a chance of at most ``alpha``."""
    return 1.0 if hits >= trials else float(stats.beta.isf(alpha, hits + 1, trials - hits))


def expected_mu(mu: float, canaries: int, alpha: float) -> float:
    """About what ``separation`` will show of a Gaussian mechanism of ``mu``: limits at the expected counts."""
    tried = canaries // 4
    if tried == 0:
        return 0.0
    wrong = upper_limit(round(tried * float(ndtr(-mu / 2))), tried, alpha / 2)
    return max(0.0, -2 * float(ndtri(wrong)))


@dataclass(frozen=True)
class Shift:
    """By how much canaries that are there score higher on average: confidence limits; infinite where there are few."""

    low: float
    high: float


def shift_limits(scores: FloatArray, included: BoolArray, alpha: float) -> Shift:
    """The difference of two means with its standard error and degrees of freedom (Welch 1947)."""
    groups = (scores[included], scores[~included])
    if min(map(len, groups)) < 2:
        return Shift(-math.inf, math.inf)
    errors = [float(g.var(ddof=1)) / len(g) for g in groups]
    shift, total = float(groups[0].mean() - groups[1].mean()), sum(errors)
    if total == 0:
        return Shift(shift, shift)
    freedom = total**2 / sum(e**2 / (len(g) - 1) for e, g in zip(errors, groups, strict=True))
    error = math.sqrt(total) * float(stats.t.isf(alpha / 2, freedom))
    return Shift(shift - error, shift + error)


# C: the law of the noise


@dataclass(frozen=True)
class Scale:
    """Confidence limits on the noise's scale over the claimed one, each wrong with a chance of at most alpha."""

    low: float
    high: float


def scale_limits(squares: float, freedom: int, alpha: float) -> Scale:
    """From the sum of squares of ``freedom`` residuals over their claimed scale: chi-square limits.

    Exact for Gaussian noise. Discrete Gaussians of scale 3 and more have the same variance and kurtosis to 1e-70
    (Canonne, Kamath, Steinke 2020, arXiv 2004.00010, by Poisson summation).
    """
    high = math.sqrt(squares / stats.chi2.ppf(alpha, freedom))
    return Scale(math.sqrt(squares / stats.chi2.isf(alpha, freedom)), high)


def scale_chance(squares: float, freedom: int) -> float:
    """The two-sided chance of a sum of squares as far from its ``freedom``, for one of many parts of an answer."""
    return min(1.0, 2 * float(min(stats.chi2.cdf(squares, freedom), stats.chi2.sf(squares, freedom))))


def chances(sigma: float) -> tuple[IntArray, FloatArray]:
    """The discrete Gaussian of scale ``sigma``: its integers within 12 scales, and their chances."""
    reach = math.ceil(12 * sigma)
    integers = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (integers / sigma) ** 2)
    return integers, weights / weights.sum()


def shape_chance(noise: IntArray, sigma: float, bins: int = 40) -> float:
    """Pearson's chi-square test of integers against the exact chances of the discrete Gaussian, in about equal bins."""
    bins = max(1, min(bins, len(noise) // EXPECTED))
    if bins == 1:
        return 1.0
    firsts, chance = _bins(sigma, bins)
    place = np.searchsorted(firsts, noise, side="right")
    return _pearson(np.bincount(place, minlength=len(chance)), chance * len(noise))


def _bins(sigma: float, bins: int) -> tuple[IntArray, FloatArray]:
    """The first integer of every bin but the lowest, and the chances of all."""
    wanted = np.arange(1, bins) / bins
    if sigma > WIDE:
        firsts = np.unique(np.rint(sigma * ndtri(wanted)).astype(np.int64))
        below = ndtr((firsts - 0.5) / sigma)
        return firsts, np.diff(below, prepend=0.0, append=1.0)
    integers, chance = chances(sigma)
    edges = np.unique(np.searchsorted(np.cumsum(chance), wanted))
    return integers[edges], np.add.reduceat(chance, np.concatenate([[0], edges]))


def residue_chance(noise: IntArray, sigma: float) -> float:
    """The same test of the last digits, in which noise on a coarser grid, or rounded twice, shows.

    Modulo the largest power of two that is at most sigma / 2: the classes are equally likely to 1e-33 then.
    """
    modulus = 2 ** min(4, max(0, math.floor(math.log2(sigma / 2))))
    while modulus > 1 and len(noise) < EXPECTED * modulus:
        modulus //= 2
    found = np.bincount(noise % modulus, minlength=modulus)
    return _pearson(found, np.full(modulus, len(noise) / modulus))


def _pearson(found: IntArray, expected: FloatArray) -> float:
    if len(expected) < 2:
        return 1.0
    return float(stats.chi2.sf(((found - expected) ** 2 / expected).sum(), len(expected) - 1))


def repeats_chance(noise: IntArray, sigma: float) -> float:
    """The two-sided p-value of the number of pairs of equal values; 1 where too few are expected to decide.

    The number of pairs is a U-statistic; its variance follows from the exact chances (Hoeffding 1948), and with a
    thousand pairs or more it is as good as Gaussian.
    """
    n, (same, thrice) = len(noise), _alike(sigma)
    pairs = n * (n - 1) / 2
    if pairs * same < 1000:
        return 1.0
    variance = pairs * same * (1 - same) + n * (n - 1) * (n - 2) * (thrice - same**2)
    counts = np.unique(noise, return_counts=True)[1].astype(np.float64)
    z = ((counts * (counts - 1) / 2).sum() - pairs * same) / math.sqrt(variance)
    return 2 * float(stats.norm.sf(abs(z)))


def _alike(sigma: float) -> tuple[float, float]:
    """The chances that two draws are equal, and three."""
    if sigma > WIDE:
        return 1 / (2 * sigma * math.sqrt(math.pi)), 1 / (2 * math.sqrt(3) * math.pi * sigma**2)
    _, chance = chances(sigma)
    return float((chance**2).sum()), float((chance**3).sum())


# D: whether noise was used before


@dataclass(frozen=True)
class Likeness:
    """The largest correlation of two noises, at any shift against each other, and the chance of one as large."""

    correlation: float
    chance: float


def likeness(one: FloatArray, two: FloatArray) -> Likeness:
    """Of two independent noises, at any circular shift; equal counters that started apart show at their distance.

    one, two: (coordinates,) of mean 0 and the same scale. Of n independent Gaussian pairs the square of the
    correlation (about 0) has the Beta distribution with 1/2 and (n - 1)/2 (Fisher 1915); Bonferroni over the n shifts.
    """
    return _largest(_correlations(one, two), len(one))


def self_likeness(noise: FloatArray) -> Likeness:
    """The same of a noise with itself, shifted: noise that repeats within one answer.

    Shifts of less than half its length: at half of it every product comes twice.
    """
    return _largest(_correlations(noise, noise)[1 : (len(noise) + 1) // 2], len(noise))


def _correlations(one: FloatArray, two: FloatArray) -> FloatArray:
    """(coordinates,) the correlation at each circular shift."""
    norm = math.sqrt(float(one @ one) * float(two @ two))
    if norm == 0:  # no noise at all
        return np.ones(len(one))
    both = fftconvolve(np.concatenate([one, one]), two[::-1])[len(two) - 1 : 2 * len(two) - 1]
    found: FloatArray = both / norm
    return found


def _largest(found: FloatArray, pairs: int) -> Likeness:
    if len(found) == 0 or pairs < 2:
        return Likeness(0.0, 1.0)
    most = float(found[np.argmax(np.abs(found))])
    return Likeness(most, min(1.0, len(found) * float(stats.beta.sf(min(1.0, most**2), 0.5, (pairs - 1) / 2))))


# F: whether masked answers look like nothing


def uniform_chance(words: Words) -> float:
    """Pearson's chi-square test of the highest and of the lowest bits of words that should be uniform."""
    bits = min(4, max(0, math.floor(math.log2(len(words) / EXPECTED)))) if len(words) else 0
    if bits == 0:
        return 1.0
    expected = np.full(2**bits, len(words) / 2**bits)
    parts = (words >> (8 * words.itemsize - bits), words & (2**bits - 1))
    found = [_pearson(np.bincount(p.astype(np.int64), minlength=2**bits), expected) for p in parts]
    return min(1.0, 2 * min(found))
