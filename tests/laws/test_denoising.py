"""Laws of denoised counts, and what they are for: a column's shape comes back, and noise alone becomes no values."""

from __future__ import annotations

import numpy as np
import pytest
from column_shapes import distance, shape
from hypothesis import given
from hypothesis import strategies as st

from cohortium_server.generators.denoising import counted, denoised, denoised_list, falling

NOISED = st.lists(st.floats(-500, 5000), min_size=1, max_size=200)


@given(counts=NOISED, sigma=st.floats(0.01, 500))
def test_they_are_counts(counts: list[float], sigma: float) -> None:
    for found in (denoised(np.array(counts), sigma), denoised_list(np.array(counts), sigma)):
        assert found.shape == (len(counts),)
        assert np.isfinite(found).all()
        assert (found >= 0).all()


@given(counts=st.lists(st.integers(0, 5000), min_size=1, max_size=200))
def test_without_noise_they_stay_as_they_are(counts: list[int]) -> None:
    values = np.array(counts, float)
    np.testing.assert_allclose(denoised(values, 1e-9), values, atol=1e-6)
    np.testing.assert_allclose(denoised_list(values, 1e-9), values)


@pytest.mark.parametrize("kind", ["bell", "two bells", "falling", "steps", "narrow"])
def test_a_shape_comes_back(kind: str) -> None:
    """36,000 rows, a thousand cells, noise of 50: closer than the noised counts, and within some hundredths."""
    true, far = shape(kind), []
    for seed in range(5):
        noised = true + np.random.default_rng(seed).normal(0, 50, len(true))
        found = denoised(noised, 50.0)
        far.append((distance(true, found), distance(true, np.maximum(noised, 0.0))))
        assert found.sum() == pytest.approx(true.sum(), rel=0.25)
    ours, clipped = np.mean(far, axis=0)
    assert ours < min(0.06, 0.7 * clipped)


def test_a_value_that_many_rows_share_stays_a_value() -> None:
    true = shape("bell", rows=30_000)
    true[[0, 700]] += (6000, 900)
    found = denoised(true + np.random.default_rng(1).normal(0, 50, len(true)), 50.0)
    assert found[0] == pytest.approx(6000, abs=400)
    assert found[700] > 10 * max(found[690], found[710])


def test_where_nobody_is_there_is_next_to_nothing() -> None:
    """Wide bounds, a column that fills a tenth of them: what lies beyond is not made of noise."""
    for seed in range(5):
        found = denoised(shape("narrow") + np.random.default_rng(seed).normal(0, 50, 1024), 50.0)
        beyond = np.r_[found[:256], found[-256:]]
        assert beyond.sum() < 0.001 * found.sum()


def test_noise_alone_is_a_flat_column() -> None:
    """20 rows a cell under noise of 50: what noise explains is not believed."""
    drawn = [denoised(np.random.default_rng(seed).normal(20, 50, 400), 50.0) for seed in range(20)]
    assert np.mean([distance(np.ones(400), found) for found in drawn]) < 0.1


@given(counts=NOISED)
def test_falling_counts_fall_and_are_nearest(counts: list[float]) -> None:
    """Isotonic regression: levels are means, so the sum stays; and falling ones stay."""
    found = falling(np.array(counts))
    assert (np.diff([total / cells for total, cells in found]) < 1e-9).all()
    assert sum(cells for _, cells in found) == len(counts)
    assert sum(total for total, _ in found) == pytest.approx(sum(counts), abs=1e-6)
    down = np.sort(np.abs(counts))[::-1]
    again = np.concatenate([np.full(cells, total / cells) for total, cells in falling(down)])
    np.testing.assert_allclose(again, down)


def test_stretches_that_noise_explains_are_not_counted() -> None:
    """The chance that any of a column's stretches is taken for more is some thousandths."""
    drawn = [counted(np.random.default_rng(seed).normal(0, 1, 1024), 1.0).any() for seed in range(20)]
    assert sum(drawn) <= 1
    values = np.zeros(1024)
    values[300:332] = 1.2
    there = np.flatnonzero(counted(values, 1.0))
    assert 284 <= there.min() <= 308 and 316 <= there.max() < 348


def test_a_list_without_anything_common_keeps_what_there_is() -> None:
    assert denoised_list(np.array([5.0, -3.0, 1.0]), 10.0).tolist() == [5.0, 0.0, 1.0]
    assert denoised_list(np.array([5.0, -3.0, 21.0]), 10.0).tolist() == [0.0, 0.0, 21.0]
