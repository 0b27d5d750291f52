"""Laws of counts estimated from noised histograms, and what they are for: a shape comes back, and noise becomes no values."""

from __future__ import annotations

import numpy as np
import pytest
from column_shapes import distance, shape
from effort import draws
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data.schema import Schema, schema_from_document
from cohortium.queries.histograms import NestedHistograms
from cohortium_server.generators import Measured
from cohortium_server.generators.densities import estimated, nearest_shares

NOISED = st.lists(st.floats(-500, 5000), min_size=1, max_size=200)


SIGMA = 50.0


def columns(*ordered: int, lists: tuple[int, ...] = ()) -> Schema:
    """Of so many ordered cells each, then lists of categories."""
    reported = [
        {"name": f"x{j}", "kind": "ordinal", "categories": list(map(str, range(n)))} for j, n in enumerate(ordered)
    ]
    reported += [
        {"name": f"c{j}", "kind": "categorical", "categories": list(map(str, range(n)))} for j, n in enumerate(lists)
    ]
    return schema_from_document({"name": "t", "column": reported})


def noised(schema: Schema, counts: list[np.ndarray], sigma: float, seed: int, nested: bool = True) -> list[Measured]:
    """Histograms with the noise of levels that share the weight of one table of noise ``sigma``; or just that table."""
    rng, ordered = np.random.default_rng(seed), tuple(c.values if c.kind == "ordinal" else 0 for c in schema.columns)
    if not nested:
        return [Measured((j,), n + rng.normal(0, sigma, len(n)), sigma) for j, n in enumerate(counts)]
    found = []
    for column, cells, weight in NestedHistograms(schema.sizes, ordered).levels:
        level = np.bincount(cells, counts[column]) + rng.normal(0, sigma / np.sqrt(weight), cells[-1] + 1)
        found.append(Measured((column,), level, sigma / np.sqrt(weight), (cells,)))
    return found


def one(true: np.ndarray, sigma: float = SIGMA, seed: int = 0, nested: bool = True) -> np.ndarray:
    schema = columns(len(true))
    return estimated(schema, noised(schema, [true], sigma, seed, nested))[0]


@given(
    sizes=st.lists(st.integers(2, 200), min_size=1, max_size=3),
    lists=st.lists(st.integers(2, 40), max_size=2),
    rows=st.floats(0, 1e5),
    sigma=st.floats(0.01, 500),
    seed=st.integers(0, 99),
)
def test_they_are_counts_of_the_same_rows_in_all_columns(
    sizes: list[int], lists: list[int], rows: float, sigma: float, seed: int
) -> None:
    schema = columns(*sizes, lists=tuple(lists))
    true = [rows * np.random.default_rng(seed).dirichlet(np.ones(n)) for n in schema.sizes]
    found = estimated(schema, noised(schema, true, sigma, seed))
    assert [len(n) for n in found] == list(schema.sizes)
    assert all((n >= 0).all() and np.isfinite(n).all() for n in found)
    assert [n.sum() for n in found] == pytest.approx([max(1.0, found[0].sum())] * len(found), rel=1e-6)


@given(counts=st.lists(st.integers(0, 5000), min_size=1, max_size=200), nested=st.booleans())
def test_without_noise_they_stay_as_they_are(counts: list[int], nested: bool) -> None:
    values = np.array([*counts, 1], float)
    np.testing.assert_allclose(one(values, 1e-6, nested=nested), values, atol=1e-2)


@pytest.mark.parametrize("kind", ["bell", "two bells", "falling", "steps", "narrow"])
def test_a_shape_comes_back(kind: str) -> None:
    """36,000 rows, a thousand cells, noise of 50: closer than the noised counts, and within a hundredth or two."""
    true, far = shape(kind), []
    for seed in range(5):
        found = one(true, seed=seed)
        clipped = np.maximum(true + np.random.default_rng(seed).normal(0, SIGMA, len(true)), 0.0)
        far.append((distance(true, found), distance(true, clipped)))
        assert found.sum() == pytest.approx(true.sum(), rel=0.1)
    ours, others = np.mean(far, axis=0)
    assert ours < min(0.025, 0.3 * others)


@pytest.mark.parametrize("kind", ["bell", "two bells", "falling", "steps", "narrow"])
def test_sums_of_many_cells_need_few_rows(kind: str) -> None:
    """2,000 rows under the same noise, where single cells alone say next to nothing."""
    true = shape(kind, rows=2000)
    levels = np.mean([distance(true, one(true, seed=seed)) for seed in range(8)])
    alone = np.mean([distance(true, one(true, seed=seed, nested=False)) for seed in range(8)])
    assert levels < 0.25 and levels < 0.6 * alone


def test_a_value_that_many_rows_share_stays_a_value() -> None:
    true = shape("bell", rows=30_000)
    true[[0, 700]] += (6000, 1500)
    found = one(true, seed=1)
    assert found[0] == pytest.approx(6000, abs=600)
    assert found[700] > 10 * max(found[690], found[710])


def test_where_nobody_is_there_is_next_to_nothing() -> None:
    """Wide bounds, a column that fills a part of them: what lies beyond is not made of noise."""
    for seed in range(5):
        found = one(shape("narrow"), seed=seed)
        assert np.r_[found[:256], found[-256:]].sum() < 0.005 * found.sum()


def test_noise_alone_is_a_flat_column() -> None:
    """20 rows a cell under noise of 50: what noise explains is not believed."""
    assert np.mean([distance(np.ones(400), one(np.full(400, 20.0), seed=seed)) for seed in range(20)]) < 0.05


def test_all_columns_say_how_many_rows_there_are() -> None:
    """One column alone does not know, and knows with nine others."""
    true = shape("bell", 1024, 400)
    schema = columns(*[1024] * 10)
    seeds = range(draws(20, 8))
    together = [estimated(schema, noised(schema, [true] * 10, SIGMA, seed))[0].sum() for seed in seeds]
    alone = [one(true, seed=seed).sum() for seed in seeds]
    assert np.std(together) < 0.6 * np.std(alone)


@given(counts=NOISED, total=st.floats(1, 1e5))
def test_shares_are_the_nearest_ones(counts: list[float], total: float) -> None:
    """Of the simplex: nothing is below 0, the sum is right, and what is left has lost the same everywhere."""
    values = np.array(counts)
    found = nearest_shares(values, total)
    assert (found >= 0).all() and found.sum() == pytest.approx(total)
    lost = (values - found)[found > 0]
    assert np.ptp(lost) < 1e-6 * (1 + np.abs(values).max())
    assert (values[found == 0] <= lost.max() + 1e-6 * (1 + np.abs(values).max())).all()


def test_rare_categories_are_none_where_noise_explains_them() -> None:
    schema = columns(lists=(5,))
    found = estimated(schema, [Measured((0,), np.array([5.0, -3.0, 21.0, 900.0, 1.0]), 10.0)])[0]
    assert found[1] == 0 and found[3] > 890
