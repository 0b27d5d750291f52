"""Rows are moved towards the model's tables, and towards nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium_server.generators import swap_refinement as module
from cohortium_server.generators.mixture import draw
from cohortium_server.generators.swap_refinement import Drawn, levelled

SIZES = (2, 3, 7, 5)
STARTS = np.cumsum([0, *SIZES])


def mixture(components: int, seed: int) -> npt.NDArray[np.float32]:
    """(components, cells) chances, some near nothing."""
    rng = np.random.default_rng(seed)
    return np.hstack([rng.dirichlet(np.full(k, 0.4), components) for k in SIZES]).astype(np.float32)


def drawn(
    chances: npt.NDArray[np.float32], rows: int, seed: int
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    owners = np.arange(rows) * len(chances) // max(rows, 1)
    codes = [
        [rng.choice(k, p=p / p.sum()) for k, p in zip(SIZES, np.split(chances[b], STARTS[1:-1]), strict=True)]
        for b in owners
    ]
    return np.array(codes, np.int16).reshape(rows, len(SIZES)), owners


def model(codes: npt.NDArray[np.int16], owners: npt.NDArray[np.int64], chances: npt.NDArray[np.float32]) -> Drawn:
    return Drawn(codes, owners, np.full(len(chances), 1 / len(chances)), chances, SIZES)


def hot(codes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.eye(STARTS[-1])[STARTS[:-1] + codes].sum(1)


def pair_error(codes: npt.NDArray[Any], chances: npt.NDArray[np.float32], within: int | None = None) -> float:
    """Sum over the cells of all tables of two columns, of the squared error in rows; within a cell of the first column."""
    x, p = hot(codes), chances.astype(np.float64)
    inside = (1.0, 1.0) if within is None else (x[:, [within]], p[:, [within]])
    gap = (inside[0] * x).T @ x - len(codes) / len(p) * (inside[1] * p).T @ p
    for a, b in itertools.pairwise(STARTS):
        gap[a:b, a:b] = 0
    if within is not None:
        gap[: SIZES[0]] = gap[:, : SIZES[0]] = 0
    return float((gap**2).sum())


@pytest.mark.parametrize("rows", [60, 500, 2_000])
def test_tables_of_pairs_come_closer_and_crossed_ones_too(rows: int) -> None:
    chances = mixture(20, 1)
    codes, owners = drawn(chances, rows, 2)
    plain, crossed = (levelled(model(codes, owners, chances), c, np.random.default_rng(3)) for c in ((), (0,)))
    assert pair_error(plain, chances) < pair_error(codes, chances) / 2
    assert pair_error(crossed, chances) < pair_error(codes, chances) / 2
    assert pair_error(crossed, chances, 1) < pair_error(codes, chances, 1) / 2
    assert pair_error(crossed, chances, 1) < pair_error(plain, chances, 1)


def test_more_rows_than_are_looked_at_are_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    chances = mixture(20, 1)
    codes, owners = drawn(chances, 4_000, 2)
    monkeypatch.setattr(module, "LOOKED", 800)
    moved = levelled(model(codes, owners, chances), (), np.random.default_rng(3))
    assert (moved != codes).any(1).sum() <= 800
    assert pair_error(moved, chances) < pair_error(codes, chances) / 3


def test_too_many_features_leave_the_crossed_tables_out(monkeypatch: pytest.MonkeyPatch) -> None:
    chances = mixture(20, 1)
    codes, owners = drawn(chances, 500, 2)
    monkeypatch.setattr(module, "FEATURES", 2 * sum(SIZES))
    crossed, plain = (levelled(model(codes, owners, chances), c, np.random.default_rng(3)) for c in ((0,), ()))
    assert (crossed == plain).all()


@given(st.integers(0, 2**32), st.integers(2, 40), st.sampled_from([(), (0,), (0, 1), (1, 3)]))
@settings(max_examples=examples(40), deadline=None)
def test_the_gap_is_always_that_of_the_rows(seed: int, rows: int, crossed: tuple[int, ...]) -> None:
    chances = mixture(3, seed)
    codes, owners = drawn(chances, rows, seed)

    def gap(rows_now: npt.NDArray[np.int16]) -> Any:
        return module._Gap(model(rows_now, owners, chances), crossed, np.random.default_rng(seed))

    rng, kept, free = np.random.default_rng(seed), gap(codes), [j for j in range(len(SIZES)) if j not in crossed]
    for j in free:
        swaps = kept.narrowed(j, codes, np.arange(rows // 2 * 2).reshape(2, -1), rng)
        codes[swaps.rows[0], j], codes[swaps.rows[1], j] = swaps.new, swaps.old
    recounted = gap(codes)._gap
    for j in free:
        others = np.ones(len(recounted), bool)
        for s in range(1 + sum(SIZES[t] for t in crossed)):  # a column and itself: never read
            others[s * STARTS[-1] + STARTS[j] : s * STARTS[-1] + STARTS[j + 1]] = False
        cells = kept.cells(j)
        np.testing.assert_allclose(kept._gap[others, cells], recounted[others, cells], atol=1e-3)


@pytest.mark.parametrize("rows", [1, 40, 3_000])
def test_single_columns_are_within_a_row_of_what_is_expected(rows: int) -> None:
    chances = mixture(6, 1)
    codes, owners = drawn(chances, rows, 2)
    counts = hot(levelled(model(codes, owners, chances), (), np.random.default_rng(3))).sum(0)
    assert (np.abs(counts - rows * chances.mean(0)) < 1).all()


def test_cells_without_a_chance_stay_empty() -> None:
    chances = mixture(5, 4)
    chances[:, [3, 9]] = 0
    codes, owners = drawn(chances, 300, 5)
    moved = levelled(model(codes, owners, chances), (), np.random.default_rng(6))
    assert not hot(moved)[:, [3, 9]].any()


def test_a_few_rows_at_a_time_are_distributed_as_the_model_has_it() -> None:
    chances = mixture(4, 7)
    logits, times, rows = np.log(np.maximum(chances, 1e-9)), 200, 8
    seen = np.array([hot(draw(logits, SIZES, rows, np.random.default_rng(k), {})) for k in range(times)])
    counts, pairs = seen.sum(1), np.einsum("tra,trb->tab", seen, seen)
    error = (counts.mean(0) - rows * chances.mean(0)) / (counts.std(0) / np.sqrt(times) + 1e-3)
    assert (np.abs(error) < 6).all()
    assert np.abs(pairs.mean(0) - rows * chances.T @ chances / len(chances))[0:2, 2:].max() < 0.05 * rows


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one(rows: int) -> None:
    chances = mixture(3, 8)
    codes, owners = drawn(chances, rows, 9)
    assert levelled(model(codes, owners, chances), (0,), np.random.default_rng(1)).shape == (rows, 4)


def test_the_same_seed_moves_the_same_rows_and_what_was_given_stays() -> None:
    chances = mixture(3, 8)
    codes, owners = drawn(chances, 200, 9)
    before = codes.copy()
    one, two = (levelled(model(codes, owners, chances), (), np.random.default_rng(1)) for _ in range(2))
    assert (one == two).all() and (codes == before).all() and (one != before).any()
