"""A fit is never released where the noised columns by themselves are nearer, and always where it tells something of a target."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.system.progress import Silent
from cohortium_server.gate import _contested
from cohortium_server.generators.contest import Contest
from cohortium_server.generators.fitting import Fitted, fit
from cohortium_server.generators.mixture import component_chances
from cohortium_server.generators.shares import Table

SIZES = (*[6] * 7, 2)
TARGET = 7


def measured(seed: int, dependent: float = 0.0, aimed: bool = False, sigma: float = 0.03) -> list[Table]:
    """All pairs of columns, noised; how far they depend on one another. aimed: those with the target alone."""
    rng = np.random.default_rng(seed)
    alone = [rng.dirichlet(np.full(k, 5.0)) for k in SIZES]
    tables = []
    for i, j in itertools.combinations(range(len(SIZES)), 2):
        truth = np.outer(alone[i], alone[j])
        if not aimed or j == TARGET:
            a, b = (np.linspace(-1, 1, SIZES[c]) - np.linspace(-1, 1, SIZES[c]) @ alone[c] for c in (i, j))
            truth = truth * (1 + dependent * np.outer(a, b))
        tables.append(Table((i, j), truth + rng.normal(0, sigma, truth.shape), sigma))
    return tables


def fitted(tables: list[Table], seed: int) -> Fitted:
    return fit(SIZES, tables, 200, seed, "cpu", Silent(), (TARGET,))


def test_where_tables_are_noise_around_independent_columns_these_are_released_mostly() -> None:
    """Of twelve tables: by chance a fit may be nearer to what was held out, and hardly ever to most."""
    found = [fitted(measured(seed, sigma=0.01), seed) for seed in range(12)]
    assert all(len(f.logits) == 1 for f in found if f.contest.independent_wins)
    assert sum(f.contest.independent_wins for f in found) >= 6
    assert all(f.contest.held_out for f in found)


def test_a_fit_that_tells_of_the_target_is_released_however_little_it_tells_of_other_pairs() -> None:
    for seed in range(6):
        found = fitted(measured(seed, 0.95, aimed=True), seed)
        assert not found.contest.independent_wins and len(found.logits) > 1
        assert found.contest.target < 0


def test_a_fit_that_tells_of_pairs_is_released() -> None:
    for seed in range(6):
        assert len(fitted(measured(seed, 0.95), seed).logits) > 1


def test_with_little_noise_the_fit_is_released_and_the_verdict_says_that_nothing_was_held_out() -> None:
    found = fitted(measured(0, 0.9, sigma=1e-4), 0)
    assert not found.contest.held_out and not found.contest.independent_wins
    assert found.contest.everywhere < -1000


def test_what_is_released_instead_has_the_noised_columns() -> None:
    tables = measured(0, sigma=0.01)
    found = fitted(tables, 0)
    assert found.contest.independent_wins
    alone = np.split(component_chances(found.logits, SIZES)[0], np.cumsum(SIZES)[:-1])
    told = [tables[0].shares.sum(1), tables[0].shares.sum(0)]
    for j in (0, 1):
        assert np.abs(alone[j] - told[j]).max() < 0.1 and alone[j].sum() == pytest.approx(1, abs=1e-4)


def test_a_share_of_a_class_is_what_was_measured() -> None:
    """The fit alone moves it away: all logits move by like steps, and it stops before they have settled."""
    for seed in range(3):
        tables = measured(seed, 0.95)
        found = fitted(tables, seed)
        precise = [t.shares.sum(0) for t in tables if TARGET in t.columns]
        sigma = tables[0].sigma * np.sqrt(6 / len(precise))
        share = component_chances(found.logits, SIZES)[:, -2:].mean(0)
        assert (np.abs(share - np.mean(precise, axis=0)) <= 2 * sigma + 1e-3).all()


numbers = st.floats(-1e6, 1e6)


@given(numbers, numbers, st.booleans(), st.booleans())
def test_the_gate_passes_the_winner_alone_and_says_which_it_was(
    everywhere: float, target: float, held_out: bool, independent: bool
) -> None:
    contest = Contest(everywhere, target, held_out)
    (found,) = _contested(outcome(contest, independent))
    assert contest.independent_wins == (everywhere > 0 and target >= 0)
    assert found.passed == (independent == contest.independent_wins)
    assert found.value.startswith("noised independent columns are" if independent else "the fit is")
    assert ("held out" in found.value) == held_out


def test_a_generator_without_such_a_choice_is_not_asked() -> None:
    assert _contested(outcome(None, False)) == ()


def outcome(contest: Contest | None, independent: bool) -> Any:
    return SimpleNamespace(generator=SimpleNamespace(contest=contest, is_independent=independent))
