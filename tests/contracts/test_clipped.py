"""Counts that are clipped together: their noise, the limits of their arithmetic, and what would be found without the clip.

Their sensitivity is that of every query (test_queries.py), and what is counted is a law (laws/test_counting_steps.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from steps import OWN, STAYS, TWO, as_declared, asking, at_merged, in_one_context, lived

from cohortium.data.encoding import Codes, Events
from cohortium.errors import StudyError, WireError
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries import clipped
from cohortium.queries.clipped import EXACT, FINE, LARGEST, Clipped
from cohortium.queries.contexts import Context, Track
from cohortium.queries.counts import fitted_to_grid
from cohortium.queries.event_histograms import EventHistograms
from cohortium.queries.steps import Asked, Steps

ALPHA = 1e-7
BOTH = pytest.mark.parametrize(
    "query", [EventHistograms(TWO, 1.0, 16), asking(*TWO, clip=1.0, grid=16)], ids=["events", "steps"]
)
ONE = (Context("any"), 1, 1)


def squared(query: Clipped, added: np.ndarray) -> Fraction:
    """Squared length of what a person adds over the relative scale of the noise, exactly."""
    weights = [w for w, n in zip(query.weights, query.lengths, strict=True) for _ in range(n)]
    return Fraction(sum(w * int(k) ** 2 for w, k in zip(weights, added, strict=True)))


def repeating(track: Track, cells: tuple[int, ...], events: int) -> Codes:
    """One person with so many events, all alike and all at once."""
    values = np.tile(np.array(cells, np.uint16), (events, 1))
    one = Events(values, np.zeros(events, np.int64), np.zeros(events, np.int64))
    return Codes(np.zeros((1, len(OWN)), np.uint8), np.zeros(1, np.int64), OWN, events=(one,))


# Noise


def test_each_table_gets_the_noise_of_its_weight() -> None:
    """Of weights 9 and 1, three times as much; 0.9 and 1.1 of it would be noticed."""
    asked = (Context("previous", 0), 0, 9), (Context("here", 0), 2, 1)
    query = fitted_to_grid(in_one_context(STAYS, *asked), 3.0)
    empty = lived((STAYS,), OWN, 0, 1, 1)
    many = np.stack([query.answer(empty, 3.0, SecureRandomness()).values for _ in range(30)])
    for part, sigma, weight in zip(np.split(many, [query.lengths[0]], axis=1), query.sigmas(3.0), (9, 1), strict=True):
        drawn = part.ravel() / query.grid
        assert sigma == pytest.approx(3.0 * 2.0 * math.sqrt(10) / math.sqrt(weight))
        low, high = stats.chi2.ppf([ALPHA, 1 - ALPHA], len(drawn)) / len(drawn)
        assert 0.81 < low < (drawn**2).mean() / sigma**2 < high < 1.21


@BOTH
@given(seed=st.integers(-2, 2**32), steps=st.integers(0, 60), people=st.sampled_from([1, 9]))
def test_nothing_of_the_persons_and_no_state_changes_what_an_answer_costs(
    query: Clipped, seed: int, steps: int, people: int
) -> None:
    other = at_merged(query, seed) if isinstance(query, Steps) else query
    for name in ("width", "sensitivity", "scales", "lengths", "weights"):
        assert getattr(other, name) == getattr(query, name)
    assert other.events(50.0) == query.events(50.0) and other.draws(50.0) == query.draws(50.0)
    assert other.reach(9) == query.reach(9)
    bounded = other.contribute(lived(TWO, OWN, steps, people, abs(seed)), SecureRandomness())
    assert (bounded.sensitivity, bounded.scales, len(bounded.values)) == (query.sensitivity, query.scales, query.width)


# How far one person reaches


@pytest.mark.parametrize("clip", [0.1, 1.0, 2.0, 50.0])
@pytest.mark.parametrize("grid", [1, 64, 4096])
def test_ten_thousand_events_of_one_person_reach_no_further_than_two(clip: float, grid: int) -> None:
    """All alike, or all different: never beyond the length, and a person who is clipped hardly short of it."""
    track = replace(STAYS, most=10_000)
    query = as_declared(asking(track, clip=clip, grid=grid))
    for codes in (
        repeating(track, (1, 2, 3), 10_000),
        lived((track,), OWN, 10_000, 1, 1),
        lived((track,), OWN, 1, 1, 1),
    ):
        length = squared(query, query.count(codes))
        assert length <= Fraction(query.sensitivity) ** 2
    alike = squared(query, query.count(repeating(track, (1, 2, 3), 10_000)))
    assert grid < 64 or float(alike) > 0.8 * query.sensitivity**2


def test_a_person_who_is_alone_reaches_what_is_promised_and_no_mask_is_too_small() -> None:
    """One table and one cell: all of the length in a single number, which is as far as ``reach`` says."""
    query = in_one_context(STAYS, ONE, clip=3.0, grid=100)
    added = query.count(repeating(STAYS, (0, 1, 0), 20))
    assert added.max() == added.sum() in (299, 300)
    assert query.reach(1) >= added.max() and query.reach(7) >= 7 * added.max()


# Limits of the arithmetic


def wide(most: int, weight: int, **more: Any) -> Steps:
    return in_one_context(replace(STAYS, most=most), (Context("any"), 1, weight), **more)


def test_at_the_limits_a_persons_counts_are_still_exact() -> None:
    """The most events and the largest weight that there may be, against Python's own integers."""
    most = 100_000
    weight = (EXACT - 1) // most**2
    query = wide(most, weight, clip=0.25)
    codes = repeating(replace(STAYS, most=most), (0, 1, 0), most)
    added, n = int(query.count(codes).max()), most - 1
    length = math.isqrt(weight * n * n * FINE * FINE - 1) + 1
    reach = math.floor(0.25 * math.sqrt(weight) * FINE)
    assert n * reach // (length + 2) <= added <= n * reach // length
    assert squared(query, query.count(codes)) <= Fraction(query.sensitivity) ** 2
    with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
        wide(most, weight + 1, clip=0.25)


def test_what_was_seen_before_counts_as_often_as_it_may_in_that_limit() -> None:
    """An event may be in 64 cells of such a table at once, so that a person has 64 times the squares."""
    track, most = Track((9, 64), (9, 0), 50, 100_000), 100_000
    fits, seen = (EXACT - 1) // most**2, (EXACT - 1) // (64 * most**2)
    in_one_context(track, (Context("any"), 1, fits), clip=0.25)
    in_one_context(track, (Context("seen", 1), 1, seen), clip=0.25)
    with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
        in_one_context(track, (Context("seen", 1), 1, seen + 1), clip=0.25)


def test_products_and_sums_of_a_block_are_below_what_is_exact() -> None:
    """The longest clip that is let through is far within 64 bits, and one over it is refused."""
    longest = (EXACT * FINE - 1) // (2 * clipped._BLOCK)
    for most, limit in ((2, longest), (100_000, LARGEST // 100_000)):
        grid = limit // FINE
        query = wide(most, 1, clip=1.0, grid=grid)
        assert query._longest * most < LARGEST and 2 * clipped._BLOCK * query.sensitivity < EXACT * 1.001
        with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
            wide(most, 1, clip=1.0, grid=grid + 2)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf, 1e300, 1e-300, 1e-9])
@pytest.mark.parametrize("made", [lambda clip: EventHistograms((STAYS,), clip), lambda clip: asking(STAYS, clip=clip)])
def test_a_clip_that_is_none_is_refused(clip: float, made: Callable[[float], Clipped]) -> None:
    with pytest.raises(StudyError, match=r"E_PLAN_(PRIVACY|LIMIT)"):
        made(clip)


@pytest.mark.parametrize("weight", [0, -1, 0.5, 1.0, math.nan])
def test_a_weight_that_is_no_whole_number_is_refused(weight: Any) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        in_one_context(STAYS, (Context("any"), 1, weight))


def test_merged_cells_that_are_too_many_or_not_for_every_column_are_refused() -> None:
    for merged in ((*OWN, 40, 3), (*OWN, 40, 3, 5, 1), (*OWN, 41, 3, 5), (*OWN, 40, 0, 5)):
        with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
            Steps(OWN, (STAYS,), (Asked(0, Context("any"), 1),), merged, 1.0)


def test_tables_of_too_many_cells_are_refused() -> None:
    track = Track((5000, 5000), (5000, 5000), 365, 10)
    with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
        in_one_context(track, (Context("previous", 0), 1, 1))


def test_counts_that_depend_on_no_state_take_none() -> None:
    query = EventHistograms((STAYS,), 1.0)
    assert query.with_state(b"") is query
    with pytest.raises(WireError, match="E_STATE_SHAPE"):
        query.with_state(b"\x00")


# What the contract would find


@BOTH
def test_without_the_clip_one_person_would_be_found(query: Clipped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clipped, "_added", lambda self, whose, cells, often, persons: often * self.grid)
    assert squared(query, query.count(lived(TWO, OWN, 10_000, 1, 3))) > Fraction(query.sensitivity) ** 2


@BOTH
def test_clipping_each_table_by_itself_would_be_found(query: Clipped, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Clipped._added

    def apart(self: Clipped, whose: np.ndarray, cells: np.ndarray, often: np.ndarray, persons: int) -> np.ndarray:
        table = np.searchsorted(np.cumsum(self.lengths), cells, side="right")
        return together(self, whose * len(self.lengths) + table, cells, often, persons * len(self.lengths))

    monkeypatch.setattr(Clipped, "_added", apart)
    assert squared(query, query.count(lived(TWO, OWN, 10_000, 1, 3))) > Fraction(query.sensitivity) ** 2
