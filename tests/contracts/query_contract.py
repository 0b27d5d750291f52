"""What every query keeps; a new one inherits ``QueryContract``."""

from __future__ import annotations

import hashlib
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from steps import at_merged, lived

from cohortium.data.encoding import Codes
from cohortium.data.encoding import Events as Table
from cohortium.neural import clipping
from cohortium.neural.architecture import Architecture
from cohortium.neural.clipping import Batch
from cohortium.neural.state import write_state
from cohortium.privacy.accounting import Events
from cohortium.privacy.discrete_gaussian import LARGEST, Bounded, Noised, noise_multiplier
from cohortium.privacy.randomness import Randomness, SecureRandomness
from cohortium.queries import Query, clipped, counts, gradients, histograms, local_training, marginals
from cohortium.queries.clipped import Clipped
from cohortium.queries.counts import Tables, fitted_to_grid
from cohortium.queries.gradients import GradientSum, Step
from cohortium.queries.local_training import LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium.queries.steps import Steps

MULTIPLIER = 5.0
HUGE = 3e38
Trained = GradientSum | LocalTraining


@dataclass
class KeyedCoins:
    """Words that follow from keys, so that a person's own stay the same whoever else is there."""

    keys: list[str]
    calls: int = 0

    def words(self, count: int) -> np.ndarray:
        assert count == len(self.keys)
        self.calls += 1
        names = (f"{self.calls}/{key}".encode() for key in self.keys)
        return np.array([int.from_bytes(hashlib.sha256(n).digest()[:8], "little") for n in names], np.uint64)


def row_coins(codes: Codes, salt: int) -> KeyedCoins:
    """One word for each row: of its person, and of how many of the person's rows come before it."""
    seen: Counter[int] = Counter()
    keys = []
    for person in codes.persons.tolist():
        keys.append(f"{salt}/{person}, row {seen[person]}")
        seen[person] += 1
    return KeyedCoins(keys)


def person_coins(codes: Codes, salt: int) -> KeyedCoins:
    """One word for each person."""
    return KeyedCoins([f"{salt}/{person}" for person in np.unique(codes.persons)])


def before_noise(query: Query, codes: Codes, salt: int, parts: bool = False) -> np.ndarray:
    """The integer vector that gets noise; for training, of one step at the query's state.

    Randomness is a person's own. The views of a row are drawn anew for every ``salt``, and are the same for every row.
    parts: of training, before the sum is rounded to whole units.
    """
    if not isinstance(query, Trained):
        return counted(query).contribute(codes, row_coins(codes, salt)).values
    step, state = step_of(query), read(query)
    people = step.people(codes, state, row_coins(codes, salt))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradients, "_uniforms", same_views(step, salt))
        if parts:
            patch.setattr(clipping, "to_units", lambda total: total)
        at = state["parameters"].astype(np.float64)
        return step.bounded(people, at, MULTIPLIER, person_coins(codes, salt)).values


def same_views(step: Step, salt: int) -> Any:
    network = step.architecture.network
    one_row = np.random.default_rng(salt).random((network.views, network.draws))
    return lambda entries, draws, randomness: np.tile(one_row, (entries // network.views, 1))


def step_of(query: Query) -> Step:
    assert isinstance(query, Trained)
    return query.step


def read(query: Query) -> dict[str, np.ndarray]:
    more = local_training.RATE if isinstance(query, LocalTraining) else None
    return step_of(query).read(query.state, more)


def squared_change(query: Query, one: np.ndarray, other: np.ndarray) -> Fraction:
    """Squared L2 norm of the change over the relative scale of the noise, exactly."""
    change = [int(a) - int(b) for a, b in zip(one, other, strict=True)]
    if isinstance(query, Tables):
        weights = [Fraction(w) for w, n in zip(query.weights, query.lengths, strict=True) for _ in range(n)]
    else:
        weights = [Fraction(1)] * len(change)
    return sum((w * c * c for w, c in zip(weights, change, strict=True)), Fraction(0))


def squared_sensitivity(query: Query) -> Fraction:
    if not isinstance(query, Trained):
        return Fraction(counted(query).sensitivity) ** 2
    return Fraction(query.step.sensitivity(MULTIPLIER)) ** 2


def counted(query: Query) -> Any:
    """A query that is not trained has these beside what the coordinator sees: ``sizes``, ``scales``, ``sensitivity``, ``contribute``."""
    assert not isinstance(query, Trained)
    return query


def step(of: Architecture, **changes: Any) -> Step:
    return Step(**{"sizes": of.sizes, "architecture": of, "sampling_rate": 0.7, "clip": 0.8, **changes})


def summing(of: Architecture, **changes: Any) -> GradientSum:
    query = GradientSum(step(of, **changes))
    return query.with_state(state_of(query, np.zeros(query.width)))


def training(of: Architecture, steps: int = 3, **changes: Any) -> LocalTraining:
    query = LocalTraining(step(of, **changes), steps)
    return query.with_state(state_of(query, np.zeros(query.step.parameters)))


def state_of(query: Trained, parameters: np.ndarray, rate: float = 0.1, seed: int = 0) -> bytes:
    """With merged cells drawn at random, where the query has such."""
    tensors = {"parameters": parameters.astype(np.float32)}
    if "cells" in query.step.lengths:
        rng = np.random.default_rng(seed)
        sizes = zip(query.step.sizes, query.step.architecture.sizes, strict=True)
        tensors["cells"] = np.concatenate([rng.integers(0, merged, single) for single, merged in sizes])
    if isinstance(query, LocalTraining):
        tensors["rate"] = np.array([rate])
    return write_state(tensors)


def at_cells(query: Marginals, seed: int) -> Marginals:
    """The query at merged cells drawn at random, neighbours or not, and at weights; first and last ones at negative seeds."""
    rng = np.random.default_rng(abs(seed))
    ends = {-1: lambda k, n: np.zeros(n), -2: lambda k, n: np.full(n, k - 1)}
    choice = ends.get(seed, lambda k, n: rng.integers(0, k, n))
    cells = [choice(k, n) for k, n in zip(query.merged, query.sizes, strict=True)] if query.merged else []
    chosen = [choice(len(query.choices), 1)] if query.choices else []
    state = {name: np.concatenate(parts) for name, parts in (("cells", cells), ("choice", chosen)) if parts}
    return query.with_state(write_state({name: values.astype(np.float64) for name, values in state.items()}))


def always_sampled(query: Query) -> Query:
    return replace(query, step=replace(query.step, sampling_rate=1.0)) if isinstance(query, Trained) else query


SIZES, ORDER = (3, 4, 2), (1, 0, 2)


def table(query: Query | Step, rows: int, people: int, seed: int, kind: str = "any") -> Codes:
    if isinstance(query, Clipped):
        return lived(query.tracks, query.sizes if isinstance(query, Steps) else (3,), rows, people, seed, kind)
    rng = np.random.default_rng(seed)
    sizes: tuple[int, ...] = query.step.sizes if isinstance(query, Trained) else query.sizes  # type: ignore[union-attr]
    values = {
        "any": lambda s: rng.integers(0, s, rows),
        "first": lambda s: np.zeros(rows),
        "last": lambda s: np.full(rows, s - 1),
    }[kind]
    columns = np.stack([values(s) for s in sizes], 1).astype(np.int16)
    return Codes(columns, rng.integers(0, people, rows).astype(np.int64) * 7919 - 5, sizes)


def joined(codes: Codes, others: Codes) -> Codes:
    """Both, one after the other."""
    events = tuple(
        Table(
            *(
                np.concatenate(two)
                for two in ((a.values, b.values), (a.persons, b.persons + len(codes)), (a.ticks, b.ticks))
            )
        )
        for a, b in zip(codes.events, others.events, strict=True)
    )
    persons = np.concatenate([codes.persons, others.persons])
    return replace(codes, values=np.concatenate([codes.values, others.values]), persons=persons, events=events)


def among(events: Table, theirs: Table, place: int) -> Table:
    """The events of some persons, and of one more at position ``place`` of them."""
    at = np.searchsorted(events.persons, place)
    behind = events.persons + (events.persons >= place)
    return Table(
        np.insert(events.values, at, theirs.values, axis=0),
        np.insert(behind, at, theirs.persons + place),
        np.insert(events.ticks, at, theirs.ticks),
    )


def with_person(codes: Codes, rows: Codes, seed: int) -> Codes:
    """``codes`` and, strewn among them, ``rows`` of one person who was not there; of events, that person with them."""
    places = np.random.default_rng(seed).integers(0, len(codes) + 1, len(rows))
    newcomer = int(np.random.default_rng(seed).choice([-(2**62), 2**62, 7919 * 3 + 1]))
    if rows.events:
        (place,) = places
        events = tuple(among(a, b, place) for a, b in zip(codes.events, rows.events, strict=True))
        codes = replace(codes, events=events)
    values = np.insert(codes.values, places, rows.values, axis=0)
    return replace(codes, values=values, persons=np.insert(codes.persons, places, newcomer))


def states(query: Query, seed: int) -> list[Query]:
    """The query at states nobody would train to, but a coordinator might send."""
    if isinstance(query, Marginals):
        return [at_cells(query, k) for k in (seed, -1, -2)] if query.state_lengths else [query]
    if isinstance(query, Steps):
        return [at_merged(query, k) for k in (seed, -1, -2)]
    if not isinstance(query, Trained):
        return [query]
    count, rng = query.step.parameters, np.random.default_rng(seed)
    drawn = rng.normal(0, 1, count)
    mixed = np.where(rng.random(count) < 0.1, HUGE * np.sign(drawn), drawn)
    wild = [np.zeros(count), drawn, 8 * drawn, np.full(count, HUGE), HUGE * np.sign(drawn), mixed, 1e-40 * drawn]
    return [query.with_state(state_of(query, w, seed=seed)) for w in wild]


class QueryContract:
    """``query`` is the one that is tried. Of a query that is not trained, ``contribute`` is what gets noise."""

    @settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(
        rows=st.integers(0, 60),
        people=st.integers(1, 40),
        theirs=st.integers(1, 12),
        kind=st.sampled_from(["any", "first", "last"]),
        at_once=st.sampled_from([1, 7, 31, 2048]),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_one_person_changes_it_by_its_sensitivity_at_most(
        self, query: Query, rows: int, people: int, theirs: int, kind: str, at_once: int, seed: int
    ) -> None:
        """However small the micro-batches: a person shifts who is in which."""
        without = table(query, rows, people, seed)
        others = with_person(without, table(query, theirs, 1, seed + 1, kind), seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gradients, "ENTRIES_AT_ONCE", at_once)
            patch.setattr(clipped, "_BLOCK", at_once)
            for asked in states(query, seed):
                one = before_noise(asked, without, seed)
                other = before_noise(asked, others, seed)
                assert one.dtype == other.dtype == np.int64
                assert len(one) == len(other)
                assert squared_change(asked, one, other) <= squared_sensitivity(asked)

    @pytest.mark.parametrize("seed", range(2))
    def test_among_thousands_nobody_nudges_anybody_elses_rounding(self, query: Query, seed: int) -> None:
        """But for the last rounding, what one person adds is what that person is alone, to the last digit."""
        without = table(query, 3000, 2000, seed)
        theirs = table(query, 1, 1, seed + 1)
        others = with_person(without, theirs, seed)
        alone = replace(theirs, persons=others.persons[~np.isin(others.persons, without.persons)])
        for asked in states(query, seed)[: 2 + 5 * seed]:
            one = before_noise(asked, without, seed, parts=True)
            other = before_noise(asked, others, seed, parts=True)
            np.testing.assert_array_equal(other - one, before_noise(asked, alone, seed, parts=True))

    @pytest.mark.parametrize("kind", ["any", "first", "last"])
    def test_ten_thousand_rows_of_one_person_are_bounded(self, query: Query, kind: str) -> None:
        crowd = table(query, 10_000, 1, 3, kind)
        empty = table(query, 0, 1, 3)
        for asked in states(always_sampled(query), 5):
            one = before_noise(asked, crowd, 1)
            nothing = before_noise(asked, empty, 1)
            assert not nothing.any()
            assert squared_change(asked, one, nothing) <= squared_sensitivity(asked)

    @pytest.mark.parametrize("theirs", [1, 2, 1000, 5000])
    @pytest.mark.parametrize("kind", ["any", "first"])
    def test_one_person_of_any_number_of_rows_changes_it_by_its_sensitivity_at_most(
        self, query: Query, theirs: int, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Among others with one row and with many; blocks and micro-batches so small that persons lie across them."""
        monkeypatch.setattr(marginals, "_BLOCK", 97)
        monkeypatch.setattr(histograms, "_BLOCK", 97)
        monkeypatch.setattr(clipped, "_BLOCK", 97)
        monkeypatch.setattr(gradients, "ENTRIES_AT_ONCE", 41)
        without = joined(table(query, 400, 40, 7), table(query, 30, 10**9, 8))
        others = with_person(without, table(query, theirs, 1, 9, kind), 9)
        for asked in states(always_sampled(query), 6)[:3]:
            one, other = before_noise(asked, without, 4), before_noise(asked, others, 4)
            assert squared_change(asked, one, other) <= squared_sensitivity(asked)

    @pytest.mark.parametrize("rows", [0, 1, 500])
    def test_the_answer_has_the_querys_width_whatever_the_data(self, query: Query, rows: int) -> None:
        noised = query.answer(table(query, rows, 50, 1), MULTIPLIER, SecureRandomness())
        assert isinstance(noised, Noised)
        assert noised.values.dtype == np.int64
        assert noised.values.shape == (query.width,)

    def test_wild_states_never_raise(self, query: Query) -> None:
        with np.errstate(over="ignore"):
            for asked in states(query, 2):
                assert len(asked.answer(table(query, 30, 20, 1), MULTIPLIER, SecureRandomness()).values) == query.width

    def test_answers_differ(self, query: Query) -> None:
        codes = table(query, 100, 50, 1)
        many = [query.answer(codes, MULTIPLIER, SecureRandomness()).values.tobytes() for _ in range(12)]
        assert len(set(many)) > 6  # of four counts two answers may be equal, but not half of them

    @pytest.mark.parametrize("rows", [0, 1, 300])
    @pytest.mark.parametrize("multiplier", [0.4, 5.0, 256.0, 9000.0])
    def test_the_noise_that_is_drawn_is_the_noise_that_is_charged(
        self, query: Query, rows: int, multiplier: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the data, an empty sample included: as many noised sums as events, none with less noise."""
        if isinstance(query, Tables):
            multiplier = min(multiplier, 40.0)
            query = fitted_to_grid(query, multiplier)
        drawn: list[tuple[Bounded, float]] = []
        original = counts.add_noise

        def spy(bounded: Bounded, noise: float, randomness: Randomness) -> Noised:
            drawn.append((bounded, noise))
            return original(bounded, noise, randomness)

        for module in {counts, gradients, local_training, sys.modules[type(query).__module__]}:
            if hasattr(module, "add_noise"):
                monkeypatch.setattr(module, "add_noise", spy)
        query.answer(table(query, rows, 200, 1), multiplier, SecureRandomness())
        worth = [noise_multiplier(noise, b.sensitivity, b.scales) for b, noise in drawn]
        charged = [e.noise_multiplier for e in query.events(multiplier) for _ in range(e.count)]
        assert worth == pytest.approx(charged, rel=1e-12)
        count, largest = query.draws(multiplier)
        assert count == sum(len(b.values) for b, _ in drawn)
        assert max(n * b.sensitivity * s for b, n in drawn for _, s in b.scales.runs) <= largest * (1 + 1e-12)
        assert largest <= LARGEST

    def test_what_several_institutions_share_is_worth_no_less_than_is_charged(self, query: Query) -> None:
        """A sum of H answers, each at its part of the multiplier, against the events at the whole multiplier."""
        if not query.shares_noise:
            with pytest.raises(ValueError, match="no sums"):
                query.reach(3)
            return
        for whole_noise, honest in ((1.0, 3), (5.0, 10), (300.0, 4), (9000.0, 9)):
            part = whole_noise / math.sqrt(honest)
            asked = fitted_to_grid(query, part) if isinstance(query, Tables) else query
            trained = isinstance(asked, Trained)
            sensitivity = step_of(asked).sensitivity(part) if trained else counted(asked).sensitivity
            scales = step_of(asked).scales if trained else counted(asked).scales
            worth = noise_multiplier(math.sqrt(honest) * part, sensitivity, scales)
            assert {e.noise_multiplier <= worth * (1 + 1e-12) for e in asked.events(whole_noise)} == {True}

    def test_no_sum_reaches_further_than_it_says(self, query: Query) -> None:
        if query.shares_noise:
            crowd = table(query, 500, 50, 2)
            for asked in states(query, 3)[:3]:
                sizes = np.abs(before_noise(always_sampled(asked), crowd, 1))
                assert sizes.max() <= query.reach(len(np.unique(crowd.persons)))

    def test_events_cost_more_for_less_noise(self, query: Query) -> None:
        def worth(events: Events) -> float:
            return min(e.noise_multiplier for e in events)

        if isinstance(query, Tables):
            query = fitted_to_grid(query, 1.0)
        assert worth(query.events(1.0)) < worth(query.events(2.0)) <= 2.0
        assert all(not isinstance(v, np.ndarray) for v in query.describe().values())


def part(batch: Batch, rows: Sequence[int] | np.ndarray, views: int) -> Batch:
    """Some rows of a batch, in order; their owners numbered anew."""
    at = torch.tensor(np.asarray(rows, np.int64))
    owners = torch.unique(batch.owners[at], return_inverse=True)[1]
    entries = (at[:, None] * views + torch.arange(views)).flatten()
    return Batch(batch.codes[at], owners, batch.uniforms[entries])
