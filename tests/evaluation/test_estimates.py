"""Shares, means and their jackknife: against slow, obvious versions, and against the interval that theory gives."""

from __future__ import annotations

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.evaluation.estimates import GROUPS, Estimate, jackknifed, means, shares

SEEDS = st.integers(0, 2**31)


@settings(max_examples=examples(50))
@given(SEEDS, st.integers(1, 300), st.integers(1, 9))
def test_shares_are_those_of_all_rows_and_then_of_all_but_each_group(seed: int, rows: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    cells, groups = rng.integers(0, size, rows), rng.integers(0, GROUPS, rows)
    found = shares(cells, groups, size)
    for k in range(GROUPS + 1):
        kept = cells[groups != k - 1]
        expected = np.bincount(kept, minlength=size) / max(1, len(kept))
        assert np.allclose(found[k], expected)


@settings(max_examples=examples(50))
@given(SEEDS, st.integers(1, 300))
def test_means_are_those_of_all_rows_and_then_of_all_but_each_group(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    values, groups = rng.normal(size=rows), rng.integers(0, GROUPS, rows)
    found = means(values, groups)
    for k in range(GROUPS + 1):
        kept = values[groups != k - 1]
        assert found[k] == pytest.approx(kept.mean() if len(kept) else 0.0)


def test_the_interval_of_a_mean_is_as_wide_as_that_of_student() -> None:
    rng, rows = np.random.default_rng(0), 2000
    groups = np.arange(rows) % GROUPS
    widths = []
    for _ in range(200):
        found = jackknifed(means(rng.normal(size=rows), groups))
        widths.append(found.high - found.low)
    theory = 2 * 2.093 / np.sqrt(rows)  # t of 19 degrees of freedom
    assert np.mean(widths) == pytest.approx(theory, rel=0.05)


def test_an_interval_holds_the_mean_in_95_of_100_draws_and_a_narrower_one_does_not() -> None:
    rng, groups = np.random.default_rng(1), np.arange(400) % GROUPS
    found = [jackknifed(means(rng.exponential(size=400), groups)) for _ in range(600)]
    held = np.mean([f.low <= 1 <= f.high for f in found])
    narrow = np.mean([abs(f.value - 1) <= 0.7 * (f.high - f.value) for f in found])
    assert 0.92 <= held <= 0.98
    assert narrow < 0.9


def test_an_interval_is_cut_to_what_a_measure_can_be() -> None:
    assert Estimate(0.1, -0.2, 1.3).within(0.0, 1.0) == Estimate(0.1, 0.0, 1.0)
