"""Single columns of a fit are within two standard deviations of what was measured, and move no further than that."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium_server.generators.mixture import component_chances
from cohortium_server.generators.raking import DOUBT, nearest_within, raked
from cohortium_server.generators.shares import Table


def shares(weights: list[int]) -> npt.NDArray[np.float64]:
    return np.array(weights, np.float64) / sum(weights)


pairs_of_shares = st.integers(2, 12).flatmap(
    lambda k: st.tuples(*[st.lists(st.integers(1, 1000), min_size=k, max_size=k).map(shares)] * 2)
)


@given(pairs_of_shares, st.floats(1e-4, 0.5))
@settings(max_examples=examples(200))
def test_the_nearest_shares_keep_their_limits_and_no_others_are_nearer(
    both: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]], reach: float
) -> None:
    """Projections on a convex set: no way from the nearest point to another one of the set leads towards what was projected."""
    model, measured = both
    found = nearest_within(model, measured - reach, measured + reach)
    assert found.sum() == pytest.approx(1)
    assert (np.abs(found - measured) <= reach + 1e-9).all() and (found >= 0).all()
    for other in (measured, nearest_within(measured[::-1], measured - reach, measured + reach)):
        assert (model - found) @ (other - found) <= 1e-9
    if (np.abs(model - measured) <= reach).all():
        assert found == pytest.approx(model, abs=1e-9)


def test_limits_that_leave_no_shares_still_give_some() -> None:
    for measured in (np.zeros(3), np.full(3, 0.9), np.array([-5.0, -1.0, -2.0])):
        found = nearest_within(np.array([0.2, 0.3, 0.5]), measured - 0.01, measured + 0.01)
        assert np.isfinite(found).all() and (found >= 0).all()


@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0.002, 0.1))
@settings(max_examples=examples(60))
def test_a_raked_mixture_has_the_single_columns_that_were_measured(seed: int, components: int, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    sizes = (2, 5, 9)
    logits = rng.normal(0, 2, (components, sum(sizes))).astype(np.float32)
    alone = [Table((j,), rng.dirichlet(np.ones(k)), sigma) for j, k in enumerate(sizes)]
    moved = raked(logits, sizes, alone)
    before, after = (np.split(component_chances(x, sizes).mean(0), np.cumsum(sizes)[:-1]) for x in (logits, moved))
    for j, table in enumerate(alone):
        assert (np.abs(after[j] - table.shares) <= DOUBT * sigma + 1e-3).all()
        if (np.abs(before[j] - table.shares) <= DOUBT * sigma).all():
            assert after[j] == pytest.approx(before[j], abs=1e-5)


def test_raking_a_column_leaves_the_odds_of_components_alone() -> None:
    """One factor a cell: how much likelier a cell is in one component than in another, relative to a second cell, stays."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4, 3)).astype(np.float32)
    moved = raked(logits, (3,), [Table((0,), np.array([0.8, 0.1, 0.1]), 0.001)])
    apart = moved - logits
    assert apart - apart[:, :1] == pytest.approx(np.broadcast_to((apart - apart[:, :1])[0], apart.shape), abs=1e-4)
    assert np.abs(apart[:, 0] - apart[:, 1]).min() > 0.1
