"""The noise is the discrete Gaussian it claims to be: exactly where that can be computed, by its law elsewhere.

Statistical tests accept the right scale but for ALPHA, and are large enough to reject 0.9 or 1.1 of it for sure.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Sequence
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from effort import draws
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy import stats

from cohortium.privacy import discrete_gaussian as noise
from cohortium.privacy.discrete_gaussian import Bounded, Noised, Scales, add_noise, discrete_gaussian, noise_multiplier
from cohortium.privacy.randomness import SecureRandomness, happens

ALPHA = 1e-7
DRAWS = draws(200_000, 50_000)
WORD = 2**64
SIGMAS = (3.0, 4.7, 64.0, 1000.5, 4096.0, 8192.0)
WIDE = (8192.001, 20_000.7, 131_072.0, 2.0**20 + 0.3, 2.0**24)  # drawn in two parts


class Rigged:
    """Randomness whose words are written down beforehand."""

    def __init__(self, *answers: Sequence[int]) -> None:
        self._answers = list(answers)

    def words(self, count: int) -> np.ndarray:
        answer = np.array(self._answers.pop(0), np.uint64)
        assert len(answer) == count
        return answer


def pmf(sigma: float, x: np.ndarray) -> np.ndarray:
    """The definition: exp(-x² / 2σ²) over its sum."""
    everywhere = np.arange(-math.ceil(20 * sigma), math.ceil(20 * sigma) + 1)
    return np.exp(-(x**2) / (2 * sigma**2)) / math.fsum(np.exp(-(everywhere**2) / (2 * sigma**2)))


def agreement(drawn: np.ndarray, sigma: float) -> float:
    """p-value of a chi-square test of the draws against the definition, in some fifty groups of integers."""
    edges = np.unique(np.round(stats.norm.ppf(np.linspace(0, 1, 51)[1:-1]) * sigma)).astype(int)
    expected = _grouped(sigma, edges) * len(drawn)
    observed = np.bincount(np.searchsorted(edges, drawn), minlength=len(expected))
    return float(stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue)


def _grouped(sigma: float, edges: np.ndarray) -> np.ndarray:
    """Chances of the groups of integers up to each of ``edges``, and of the rest.

    Of a wide scale by the normal distribution function half a unit on: its error, the midpoint rule's, is below 1e-8.
    """
    if sigma > noise.LARGEST_TABLE:
        return np.diff(stats.norm.cdf(edges + 0.5, 0, sigma), prepend=0.0, append=1.0)
    reach = math.ceil(15 * sigma)
    x = np.arange(-reach, reach + 1)
    return np.bincount(np.searchsorted(edges, x), pmf(sigma, x))


@pytest.mark.parametrize("sigma", (*SIGMAS, *WIDE))
def test_draws_follow_the_definition(sigma: float) -> None:
    drawn = discrete_gaussian(sigma, DRAWS, SecureRandomness())
    assert drawn.dtype == np.int64
    assert abs(drawn).max() <= 12.1 * sigma * (1 if sigma <= noise.LARGEST_TABLE else math.sqrt(2))
    assert agreement(drawn, sigma) > ALPHA


@pytest.mark.parametrize("sigma", [4.0, 64.0, 4096.0, 20_000.0, 2.0**22])
@pytest.mark.parametrize("wrong", [0.9, 1.1])
def test_the_test_has_power_wrong_scales_are_rejected(sigma: float, wrong: float) -> None:
    assert agreement(discrete_gaussian(sigma * wrong, DRAWS, SecureRandomness()), sigma) < ALPHA


@pytest.mark.parametrize("sigma", (*SIGMAS, *WIDE))
def test_mean_and_variance(sigma: float) -> None:
    drawn = discrete_gaussian(sigma, DRAWS, SecureRandomness()).astype(float)
    assert abs(drawn.mean()) < stats.norm.isf(ALPHA) * sigma / math.sqrt(DRAWS)
    low, high = stats.chi2.ppf([ALPHA, 1 - ALPHA], DRAWS) / DRAWS
    assert low < (drawn**2).mean() / sigma**2 < high
    assert 0.95 < low < high < 1.05  # so a scale of 0.9 or 1.1 would fail


def test_every_integer_within_four_sigma_occurs() -> None:
    drawn = discrete_gaussian(3.0, 500_000, SecureRandomness())
    assert set(range(-12, 13)) <= set(drawn.tolist())


def reference(sigma: float) -> list[int]:
    """The distribution function at -12σ .. 12σ - 1 in units of 2**-128, by definition with 80 digits."""
    with mp.workdps(80):
        reach = math.ceil(12 * sigma)
        weights = [mpmath.exp(-(mpf(x) ** 2) / (2 * mpf(sigma) ** 2)) for x in range(-reach, reach + 1)]
        total, running, steps = mpmath.fsum(weights), mpf(0), []
        for weight in weights[:-1]:
            running += weight
            steps.append(int(mpmath.floor(running / total * 2**128)))
        return steps


@pytest.mark.parametrize("sigma", [3.0, 3.3, 17.0])
def test_the_table_is_the_exact_inverse_of_the_distribution_function(sigma: float) -> None:
    """Words that equal the table's high words, so that the low word decides: at every step and just below."""
    steps = reference(sigma)
    first = -math.ceil(12 * sigma)
    wanted, highs, lows = [], [], []
    for i, (before, step) in enumerate(pairwise([-1, *steps])):
        for number, x in ((step, first + i + 1), (step - 1, first + i)):
            if number == step - 1 and (step - 1 <= before or step % WORD == 0):
                continue  # an entry of no probability, or no tie
            wanted.append(x)
            highs.append(number // WORD)
            lows.append(number % WORD)
    last = {step: first + i + 1 for i, step in enumerate(steps)}  # of equal steps the last one counts
    wanted = [last.get(h * WORD + low, x) for h, low, x in zip(highs, lows, wanted, strict=True)]
    assert discrete_gaussian(sigma, len(highs), Rigged(highs, lows)).tolist() == wanted


@given(st.integers(0, 2**128 - 1))
def test_any_word_is_looked_up_as_a_slow_search_would(number: int) -> None:
    steps = _REFERENCE
    x = -36 + sum(step <= number for step in steps)
    ties = [number % WORD] if any(step // WORD == number // WORD for step in steps) else []
    assert discrete_gaussian(3.0, 1, Rigged([number // WORD], ties)).tolist() == [x]


_REFERENCE = reference(3.0)


@pytest.mark.parametrize("sigma", [3.0, 5.5, 100.0, 8192.0])
def test_the_table_is_monotone_and_sums_to_one(sigma: float) -> None:
    table = noise._table(sigma)
    numbers = [int(h) * WORD + int(low) for h, low in zip(table.high, table.low, strict=True)]
    assert len(numbers) == 2 * math.ceil(12 * sigma) == -2 * table.first
    assert all(a <= b for a, b in pairwise([0, *numbers, 2**128 - 1]))
    # symmetric up to what the cut at 2**-128 takes
    assert all(abs(a + b - 2**128) <= 1 for a, b in zip(numbers, reversed(numbers), strict=True))


@pytest.mark.parametrize("sigma", [3.0, 3.3, 64.0, 700.0])
def test_the_slack_covers_tail_digits_and_normaliser(sigma: float) -> None:
    """The statistical distance of the table to the untruncated definition, exactly."""
    table = noise._table(sigma)
    numbers = [0, *(int(h) * WORD + int(low) for h, low in zip(table.high, table.low, strict=True)), 2**128]
    with mp.workdps(80):
        reach = -table.first
        weights = [mpmath.exp(-(mpf(x) ** 2) / (2 * mpf(sigma) ** 2)) for x in range(2 * reach)]
        total = 2 * mpmath.fsum(weights) - 1
        drawn = [mpf(b - a) / 2**128 for a, b in pairwise(numbers)]
        apart = [abs(chance - weights[abs(x)] / total) for x, chance in enumerate(drawn, -reach)]
        distance = (mpmath.fsum(apart) + 2 * mpmath.fsum(weights[reach + 1 :]) / total) / 2
        largest_table = mpf(24 * noise.LARGEST_TABLE + 1) / 2**128
        normaliser = 2 * mpmath.exp(-8 * mpmath.pi**2)
        assert distance + largest_table + normaliser < noise.SLACK


# Noise in two parts


def weights(sigma: mpf, reach: int) -> list[mpf]:
    """exp(-x² / 2σ²) over its sum, x = -reach .. reach."""
    half = [mpmath.exp(-(mpf(x) ** 2) / (2 * sigma**2)) for x in range(reach + 1)]
    total = 2 * mpmath.fsum(half) - 1
    return [half[abs(x)] / total for x in range(-reach, reach + 1)]


def in_two_parts(step: int, coarse: mpf, n: int, digits: int) -> mpf:
    """The chance of n as fine + step * coarse, of scales 4 step and ``coarse``, by its definition."""
    reach = math.ceil(float(coarse) * math.sqrt(2 * digits * math.log(10))) + 1
    of_coarse = weights(coarse, reach)
    fine = 4 * mpf(step)
    most = math.ceil(float(fine) * math.sqrt(2 * digits * math.log(10))) + 1
    total = mpmath.fsum(mpmath.exp(-(mpf(x) ** 2) / (2 * fine**2)) for x in range(-most, most + 1))
    terms = (
        chance * mpmath.exp(-(mpf(n - step * b) ** 2) / (2 * fine**2))
        for b, chance in enumerate(of_coarse, -reach)
        if abs(n - step * b) <= most
    )
    return mpmath.fsum(terms) / total


@pytest.mark.parametrize(("step", "coarse"), [(1, 2.0), (3, 3.0), (4, 16.0), (2, 63.9)])
def test_two_parts_are_the_discrete_gaussian_of_their_variance(step: int, coarse: float) -> None:
    """Within the bound of discrete_gaussian.py at every integer that is looked at: 4 exp(-2 π² r), and not by far more exact."""
    digits = 300 if coarse > 10 else 80
    with mp.workdps(digits + 20):
        sigma = mpmath.sqrt(16 * mpf(step) ** 2 + mpf(step) ** 2 * mpf(coarse) ** 2)
        r = 1 / (1 / mpf(coarse) ** 2 + mpf(1) / 16)
        bound = 4 * mpmath.exp(-2 * mpmath.pi**2 * r)
        whole = weights(sigma, math.ceil(float(sigma) * math.sqrt(2 * digits * math.log(10))) + 1)
        middle, worst = len(whole) // 2, mpf(0)
        for n in (*range(2 * step + 1), round(2 * float(sigma)), round(5 * float(sigma)) + 1):
            worst = max(worst, abs(in_two_parts(step, mpf(coarse), n, digits) / whole[middle + n] - 1))
        assert worst <= bound
        assert worst > bound / 1000  # at these scales the error is there to be seen
        if coarse > 60:
            assert bound < mpf("1e-130")


@given(st.floats(noise.LARGEST_TABLE, noise.LARGEST, exclude_min=True))
def test_both_parts_can_be_drawn_and_have_the_variance_together(sigma: float) -> None:
    step = noise._step(sigma)
    coarse = math.sqrt((sigma / step) ** 2 - 16)
    assert math.log2(step).is_integer()
    assert noise.SMALLEST <= 4 * step <= noise.LARGEST_TABLE
    assert 60 < coarse <= noise.LARGEST_TABLE
    assert math.sqrt(16 * step**2 + step**2 * coarse**2) == pytest.approx(sigma, rel=1e-14)
    assert 1 / (1 / coarse**2 + 1 / 16) > 15  # r of discrete_gaussian.py


def test_two_parts_are_drawn_as_documented() -> None:
    """Fine + step * coarse, each from words of its own."""
    sigma = 20_000.0
    step = noise._step(sigma)
    coarse = math.sqrt((sigma / step) ** 2 - 16)
    one, other = [2**60, 2**63 + 5**25, 2**64 - 2**59], [2**62, 2**63 - 3**37, 2**61]
    parts = discrete_gaussian(coarse, 3, Rigged(one, [])), discrete_gaussian(4.0 * step, 3, Rigged(other, []))
    assert parts[0].all() and parts[1].all()
    found = discrete_gaussian(sigma, 3, Rigged(one, [], other, []))
    assert found.tolist() == (parts[1] + step * parts[0]).tolist()
    assert noise.look_ups(8192.0, 7) == 7
    assert noise.look_ups(8192.001, 7) == noise.look_ups(2.0**24, 7) == 14


def test_as_many_look_ups_are_counted_as_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = noise._Table.look_up

    def counting(self: noise._Table, words: np.ndarray, randomness: SecureRandomness) -> np.ndarray:
        made.append(len(words))
        return original(self, words, randomness)

    monkeypatch.setattr(noise._Table, "look_up", counting)
    for sigma in (3.0, 8192.0, 8193.0, 2.0**24):
        made.clear()
        discrete_gaussian(sigma, 1000, SecureRandomness())
        assert sum(made) == noise.look_ups(sigma, 1000)


def test_every_residue_occurs_in_wide_noise() -> None:
    """The fine part fills what the coarse one leaves: no residue of the step is told apart."""
    sigma = 2.0**20
    step = noise._step(sigma)
    drawn = discrete_gaussian(sigma, DRAWS, SecureRandomness())
    assert stats.chisquare(np.bincount(np.mod(drawn, step), minlength=step)).pvalue > ALPHA


@pytest.mark.parametrize("sigma", [3.0, 3.7, 8.0, 64.0])
@pytest.mark.parametrize("shift", [0, 5])
def test_discrete_noise_is_continuous_noise_that_was_rounded(sigma: float, shift: int) -> None:
    """The guarantee of discrete_gaussian.py: N(v, σ² - 4), rounded to k with probability ∝ exp(-(k - y)² / 8)."""
    with mp.workdps(60):
        variance = mpf(sigma) ** 2 - noise.ROUNDING_VARIANCE
        everywhere = range(-int(20 * sigma), int(20 * sigma) + 1)
        total = mpmath.fsum(mpmath.exp(-(mpf(x) ** 2) / (2 * mpf(sigma) ** 2)) for x in everywhere)
        for k in (shift, shift + 1, shift - round(3 * sigma), shift + round(6 * sigma)):
            # a Gaussian around its peak times a function of period 1: trapezoids are exact to 1e-50
            peak = shift + (k - shift) * variance / mpf(sigma) ** 2
            norms = [normaliser(peak + mpf(i) / 8) for i in range(8)]
            steps = [(peak + mpf(i) / 8, norms[i % 8]) for i in range(-260, 261)]
            terms = (mpmath.exp(-((y - shift) ** 2) / (2 * variance) - (k - y) ** 2 / 8) / n for y, n in steps)
            mixture = mpmath.fsum(terms)
            mixture /= 8 * mpmath.sqrt(2 * mpmath.pi * variance)
            exact = mpmath.exp(-(mpf(k - shift) ** 2) / (2 * mpf(sigma) ** 2)) / total
            assert abs(mixture / exact - 1) < mpf("1e-33")


def normaliser(y: mpf) -> mpf:
    near = int(mpmath.nint(y))
    return mpmath.fsum(mpmath.exp(-((j - y) ** 2) / 8) for j in range(near - 34, near + 35))


def test_the_rounding_may_not_take_more_than_the_noise_has() -> None:
    """The loss is exactly sqrt(1 - 4/σ²) in the worst coordinate; no noise below 3 grid units is drawn."""
    scales = Scales(((1, 2.0), (1, 1.0)))
    assert noise_multiplier(2.0, 8.0, scales) == pytest.approx(2.0 * math.sqrt(1 - 4 / 16.0**2), rel=1e-15)
    assert noise_multiplier(1.0, 3.0, scales) == pytest.approx(math.sqrt(5) / 3)
    with pytest.raises(ValueError, match="too fine"):
        noise_multiplier(1.0, 2.999, scales)


@pytest.mark.parametrize("sigma", [2.999, 2.0**24 + 1, 0.0, -5.0, math.nan, math.inf])
def test_scales_that_cannot_be_drawn_are_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        discrete_gaussian(sigma, 1, SecureRandomness())


def test_nothing_is_drawn_for_an_empty_vector() -> None:
    assert discrete_gaussian(5.0, 0, SecureRandomness()).shape == (0,)


def test_blocks_do_not_repeat_and_calls_are_independent() -> None:
    randomness = SecureRandomness()
    count = 2 * noise._BLOCK
    one = discrete_gaussian(50.0, count, randomness)
    two, other = discrete_gaussian(50.0, count, randomness), discrete_gaussian(50.0, count, SecureRandomness())
    bound = stats.norm.isf(ALPHA / 2) / math.sqrt(count / 2)
    halves = one[: count // 2], one[count // 2 :]
    for a, b in ((one, two), (one, other), (two, other), halves, (one[:-1], one[1:])):
        assert abs(np.corrcoef(a, b)[0, 1]) < bound


def test_each_run_of_a_vector_gets_its_own_scale() -> None:
    scales = Scales(((DRAWS, 1.0), (DRAWS, 2.5)))
    values = np.arange(2 * DRAWS)
    noised = add_noise(Bounded(values, 4.0, scales), 3.0, SecureRandomness())
    assert isinstance(noised, Noised)
    assert noised.values.dtype == np.int64
    apart = noised.values - values
    assert agreement(apart[:DRAWS], 12.0) > ALPHA
    assert agreement(apart[DRAWS:], 30.0) > ALPHA


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        add_noise(Bounded(np.zeros(3, np.int64), 4.0, Scales(((2, 1.0),))), 3.0, SecureRandomness())


# Randomness


def test_secure_randomness_takes_no_seed_and_does_not_repeat() -> None:
    assert not inspect.signature(SecureRandomness).parameters
    randomness, other = SecureRandomness(), SecureRandomness()
    seen = np.concatenate([randomness.words(200_000), randomness.words(200_000), other.words(200_000)])
    assert len(np.unique(seen)) == len(seen)  # chance of a repeat: 1e-8


def test_words_are_uniform() -> None:
    octets = SecureRandomness().words(1 << 17).view(np.uint8)
    assert stats.chisquare(np.bincount(octets, minlength=256)).pvalue > ALPHA


def test_a_forked_child_draws_other_words() -> None:
    randomness = SecureRandomness()
    randomness.words(3)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, randomness.words(16).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = np.frombuffer(os.read(read, 128), np.uint64)
    assert len(theirs) == 16
    assert not set(theirs.tolist()) & set(randomness.words(64).tolist())


@pytest.mark.parametrize("probability", [1e-3, 0.1, 0.5, 0.999])
def test_events_happen_as_often_as_they_should(probability: float) -> None:
    count = 400_000
    happened = happens(probability, count, SecureRandomness())
    assert stats.binomtest(int(happened.sum()), count, probability).pvalue > ALPHA


def test_sure_events_and_impossible_ones() -> None:
    assert happens(1.0, 1000, SecureRandomness()).all()
    assert not happens(0.0, 1000, SecureRandomness()).any()
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="probability"):
            happens(wrong, 1, SecureRandomness())


def test_a_chance_is_never_rounded_up() -> None:
    half = Rigged([2**63 - 1, 2**63, 0])
    assert happens(0.5, 3, half).tolist() == [True, False, True]
