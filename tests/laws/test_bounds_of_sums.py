"""Sums over counts that cannot be negative: what is least and most, against least squares, and against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium_server.release.answers.bounds import ColumnCounts, MergedCounts

CELLS, SIGMA, NORMAL = 200, 8.0, 1.96
SEED = st.integers(0, 2**32)


def measured(truth: np.ndarray[tuple[int], np.dtype[np.float64]], rng: np.random.Generator) -> ColumnCounts:
    """Noised cells, noised sums of ten of them, and all rows."""
    cells = np.arange(CELLS) // 10
    merged = np.bincount(cells, truth) + rng.normal(0, SIGMA / 2, CELLS // 10)
    rows = np.array([truth.sum() + rng.normal(0, SIGMA)])
    whole = MergedCounts(np.zeros(CELLS, np.int64), rows, SIGMA**2)
    return ColumnCounts(
        truth + rng.normal(0, SIGMA, CELLS), SIGMA**2, (MergedCounts(cells, merged, SIGMA**2 / 4), whole)
    )


def core(rows: float = 800.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Everybody in the first ten of 200 cells, as where bounds are much too wide."""
    return np.where(np.arange(CELLS) < 10, rows / 10, 0.0)


@given(SEED)
@settings(max_examples=examples(25))
def test_where_all_cells_are_full_it_is_least_squares(seed: int) -> None:
    """Against the normal equations, written down."""
    rng, weights = np.random.default_rng(seed), np.random.default_rng(seed + 1).normal(size=CELLS)
    counts = measured(np.full(CELLS, 1e6), rng)
    groups = np.vstack([np.arange(20)[:, None] == np.arange(CELLS) // 10, np.ones((1, CELLS))])
    noise = np.array([SIGMA**2 / 4] * 20 + [SIGMA**2])
    precision = np.eye(CELLS) / SIGMA**2 + (groups.T / noise) @ groups
    seen = np.concatenate([level.counts for level in counts.levels])
    best = np.linalg.solve(precision, counts.counts / SIGMA**2 + (groups.T / noise) @ seen)
    deviation = np.sqrt(weights @ np.linalg.solve(precision, weights))
    low, high = counts.between(weights, np.full(CELLS, 1e6), NORMAL)
    assert (low + high) / 2 == pytest.approx(weights @ best, rel=1e-6, abs=1e-6 * deviation)
    assert high - low == pytest.approx(2 * NORMAL * deviation, rel=1e-3)


@given(SEED)
@settings(max_examples=examples(25))
def test_without_noise_a_bound_holds_whatever_is_expected(seed: int) -> None:
    """No combination weighs a cell less than is asked: an expectation that is wrong makes it wide, and never false."""
    rng = np.random.default_rng(seed)
    truth = rng.exponential(3.0, CELLS) * (rng.random(CELLS) < 0.3)
    cells = np.arange(CELLS) // 10
    exact = ColumnCounts(truth, SIGMA**2, (MergedCounts(cells, np.bincount(cells, truth), SIGMA**2 / 4),))
    weights, expected = rng.normal(size=CELLS), rng.exponential(3.0, CELLS) * (rng.random(CELLS) < 0.3)
    for deviations in (0.01, NORMAL):
        low, high = exact.between(weights, expected, deviations)
        assert low - 1e-6 <= weights @ truth <= high + 1e-6


def test_in_wide_bounds_it_is_much_narrower_than_least_squares_and_holds_at_its_rate() -> None:
    """Of 400 intervals about 95 in 100 hold the truth, and they are less than half as wide."""
    values, truth, held, widths = np.arange(CELLS, dtype=np.float64), core(), [], []
    weights = values - values[:10].mean()
    for seed in range(400):
        counts = measured(truth, np.random.default_rng(seed))
        low, high = counts.between(weights, counts.there(truth, CELLS), NORMAL)
        held.append(low <= weights @ truth <= high)
        widths.append(high - low)
    least, most = counts.between(weights, np.full(CELLS, 1e6), NORMAL)  # where all cells are full it is least squares
    assert np.mean(held) >= 0.93 and 2 * np.mean(widths) < most - least


def test_a_bound_at_a_higher_level_is_wider() -> None:
    counts, weights = measured(core(), np.random.default_rng(3)), np.arange(CELLS, dtype=np.float64)
    ends = [counts.between(weights, core(), z) for z in (0.7, 1.0, 1.96, 3.3)]
    widths = [high - low for low, high in ends]
    assert widths == sorted(widths)


def test_what_a_model_makes_of_noise_at_the_ends_is_not_expected_there() -> None:
    counts = measured(core(), np.random.default_rng(5))
    junk = core() + np.where(np.arange(CELLS) >= 100, 0.05, 0.0)
    there = counts.there(junk, CELLS)
    assert there[100:].sum() == 0 and there[:10] == pytest.approx(core()[:10])
    much = core() + np.where(np.arange(CELLS) >= 190, 20.0, 0.0)
    assert counts.there(much, CELLS)[190:].sum() == pytest.approx(200)
    assert counts.there(np.full(CELLS, 1e-3), CELLS).sum() == pytest.approx(CELLS * 1e-3)  # nothing is left: all stay
