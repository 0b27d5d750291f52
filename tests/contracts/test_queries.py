"""What every query must keep: its sensitivity in exact integers, its shape, and the account of its noise.

A new query joins ``CASES`` and gets a ``before_noise``: the integer vector that noise is added to.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from scipy import stats

from cohortium.coins import Coins, SecureCoins
from cohortium.encoding import Codes
from cohortium.errors import StudyError, WireError
from cohortium.neural.made import Made
from cohortium.neural.state import write_state
from cohortium.noise import LARGEST, Bounded, Noised, discrete_gaussian, noise_multiplier
from cohortium.persons import at_most
from cohortium.privacy.accounting import Events
from cohortium.queries import Query, local_training, marginals
from cohortium.queries.local_training import LocalTraining, clipped_sum
from cohortium.queries.marginals import Marginals, fitted_to_grid

ALPHA = 1e-7
MULTIPLIER = 5.0
HUGE = 3e38


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


def before_noise(query: Query, codes: Codes, salt: int) -> np.ndarray:
    """The integer vector that gets noise; for training, of one step at the query's state."""
    if isinstance(query, Marginals):
        return query.contribute(codes, row_coins(codes, salt)).values
    assert isinstance(query, LocalTraining)
    people = query._people(codes, row_coins(codes, salt))
    units = query.clip_units(MULTIPLIER)
    return query._step_sum(people, local_training_parameters(query), units, person_coins(codes, salt))


def local_training_parameters(query: LocalTraining) -> torch.Tensor:
    from cohortium.neural.state import read_state

    parameters = read_state(query.state, query._lengths)["parameters"]
    return torch.tensor(parameters, dtype=torch.float64, device=query.model.device)


def squared_change(query: Query, one: np.ndarray, other: np.ndarray) -> Fraction:
    """Squared L2 norm of the change over the relative scale of the noise, exactly."""
    change = [int(a) - int(b) for a, b in zip(one, other, strict=True)]
    if isinstance(query, Marginals):
        weights = [Fraction(w) for w, n in zip(query.weights, query.lengths, strict=True) for _ in range(n)]
    else:
        weights = [Fraction(1)] * len(change)
    return sum((w * c * c for w, c in zip(weights, change, strict=True)), Fraction(0))


def squared_sensitivity(query: Query) -> Fraction:
    if isinstance(query, Marginals):
        return Fraction(query.sensitivity) ** 2
    assert isinstance(query, LocalTraining)
    return Fraction(query.clip_units(MULTIPLIER)) ** 2


def training(sizes: tuple[int, ...], order: tuple[int, ...], **changes: Any) -> LocalTraining:
    query = LocalTraining(sizes, order, **{"steps": 3, "sampling_rate": 0.7, "clip": 0.8, **changes})
    return query.with_state(state_of(query, np.zeros(query.model.parameters)))


def state_of(query: LocalTraining, parameters: np.ndarray, rate: float = 0.1) -> bytes:
    return write_state({"parameters": parameters.astype(np.float32), "rate": np.array([rate])})


def always_sampled(query: Query) -> Query:
    return replace(query, sampling_rate=1.0) if isinstance(query, LocalTraining) else query


PAIRS = ((0, 1), (0, 2), (1, 2))
CASES: dict[str, Query] = {
    "one column": Marginals((4,), ((0,),), (1.0,)),
    "pairs": Marginals((2, 3, 5), PAIRS, (1.0, 1.0, 1.0)),
    "weighted, on a grid": Marginals((2, 3, 5), (*PAIRS, (0, 1, 2)), (1.0, 0.3, 7.0, 0.01), 1, 16),
    "pairs, three rows a person": Marginals((2, 3, 5), (*PAIRS, (1,)), (1.0, 0.1, 1.0, 2.0), 3, 4),
    "pairs, equal persons": Marginals((2, 3, 5), (*PAIRS, (1,)), (1.0, 0.1, 1.0, 2.0), 1, 64, "persons"),
    "equal persons on a coarse grid": Marginals((2, 3), ((0,), (0, 1)), (1.0, 3.0), 1, 3, "persons"),
    "training": training((2, 3, 5), (2, 0, 1)),
    "training, hardly clipped": training((2, 3, 5), (0, 1, 2), clip=50.0, sampling_rate=1.0),
    "training, four rows a person": training((4, 3, 2, 6), (3, 1, 0, 2), rows_per_person=4, clip=1.5),
    "training, equal persons": training((4, 3, 2, 6), (3, 1, 0, 2), equal_weight="persons", clip=1.5),
    "training, many columns": training((3,) * 16, tuple(range(16)), sampling_rate=1.0, clip=4.0),
    "training, wide": training((70, 2, 33), (1, 0, 2), sampling_rate=1.0),
}
ALL = pytest.mark.parametrize("query", CASES.values(), ids=CASES.keys())


def table(query: Query, rows: int, people: int, seed: int, kind: str = "any") -> Codes:
    rng = np.random.default_rng(seed)
    sizes: tuple[int, ...] = query.sizes  # type: ignore[attr-defined]
    values = {
        "any": lambda s: rng.integers(0, s, rows),
        "first": lambda s: np.zeros(rows),
        "last": lambda s: np.full(rows, s - 1),
    }[kind]
    columns = np.stack([values(s) for s in sizes], 1).astype(np.int16)
    return Codes(columns, rng.integers(0, people, rows).astype(np.int64) * 7919 - 5, sizes)


def with_person(codes: Codes, rows: Codes, seed: int) -> Codes:
    """``codes`` and, strewn among them, ``rows`` of one person who was not there."""
    places = np.random.default_rng(seed).integers(0, len(codes) + 1, len(rows))
    newcomer = int(np.random.default_rng(seed).choice([-(2**62), 2**62, 7919 * 3 + 1]))
    values = np.insert(codes.values, places, rows.values, axis=0)
    return replace(codes, values=values, persons=np.insert(codes.persons, places, newcomer))


def states(query: Query, seed: int) -> list[Query]:
    """The query at states nobody would train to, but a coordinator might send."""
    if not isinstance(query, LocalTraining):
        return [query]
    count, rng = query.model.parameters, np.random.default_rng(seed)
    drawn = rng.normal(0, 1, count)
    mixed = np.where(rng.random(count) < 0.1, HUGE * np.sign(drawn), drawn)
    wild = [np.zeros(count), drawn, 1e6 * drawn, np.full(count, HUGE), HUGE * np.sign(drawn), mixed, 1e-40 * drawn]
    return [query.with_state(state_of(query, w)) for w in wild]


@ALL
class TestContract:
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(
        rows=st.integers(0, 60),
        people=st.integers(1, 40),
        theirs=st.integers(1, 12),
        kind=st.sampled_from(["any", "first", "last"]),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_one_person_changes_it_by_its_sensitivity_at_most(
        self, query: Query, rows: int, people: int, theirs: int, kind: str, seed: int
    ) -> None:
        without = table(query, rows, people, seed)
        others = with_person(without, table(query, theirs, 1, seed + 1, kind), seed)
        for asked in states(query, seed):
            one = before_noise(asked, without, seed)
            other = before_noise(asked, others, seed)
            assert one.dtype == other.dtype == np.int64
            assert len(one) == len(other)
            assert squared_change(asked, one, other) <= squared_sensitivity(asked)

    @pytest.mark.parametrize("seed", range(3))
    def test_among_thousands_nobody_nudges_anybody_elses_rounding(self, query: Query, seed: int) -> None:
        without = table(query, 3000, 2000, seed)
        others = with_person(without, table(query, 1, 1, seed + 1), seed)
        for asked in states(query, seed):
            one = before_noise(asked, without, seed)
            other = before_noise(asked, others, seed)
            assert squared_change(asked, one, other) <= squared_sensitivity(asked)

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
        monkeypatch.setattr(local_training._People, "micro_batch", 5)
        without = table(query, 400, 40, 7)
        singles = table(query, 30, 10**9, 8)
        persons = np.concatenate([without.persons, singles.persons])
        without = replace(without, values=np.concatenate([without.values, singles.values]), persons=persons)
        others = with_person(without, table(query, theirs, 1, 9, kind), 9)
        for asked in states(always_sampled(query), 6)[:3]:
            one, other = before_noise(asked, without, 4), before_noise(asked, others, 4)
            assert squared_change(asked, one, other) <= squared_sensitivity(asked)

    @pytest.mark.parametrize("rows", [0, 1, 500])
    def test_the_answer_has_the_querys_width_whatever_the_data(self, query: Query, rows: int) -> None:
        noised = query.answer(table(query, rows, 50, 1), MULTIPLIER, SecureCoins())
        assert isinstance(noised, Noised)
        assert noised.values.dtype == np.int64
        assert noised.values.shape == (query.width,)

    def test_wild_states_never_raise(self, query: Query) -> None:
        with np.errstate(over="ignore"):
            for asked in states(query, 2):
                assert len(asked.answer(table(query, 30, 20, 1), MULTIPLIER, SecureCoins()).values) == query.width

    def test_answers_differ(self, query: Query) -> None:
        codes = table(query, 100, 50, 1)
        many = [query.answer(codes, MULTIPLIER, SecureCoins()).values.tobytes() for _ in range(12)]
        assert len(set(many)) > 6  # of four counts two answers may be equal, but not half of them

    @pytest.mark.parametrize("rows", [0, 1, 300])
    @pytest.mark.parametrize("multiplier", [0.4, 5.0, 40.0])
    def test_the_noise_that_is_drawn_is_the_noise_that_is_charged(
        self, query: Query, rows: int, multiplier: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the data, an empty sample included: as many noised sums as events, none with less noise."""
        if isinstance(query, Marginals):
            query = fitted_to_grid(query, multiplier)
        drawn: list[tuple[Bounded, float]] = []
        original = marginals.add_noise

        def spy(bounded: Bounded, noise: float, coins: Coins) -> Noised:
            drawn.append((bounded, noise))
            return original(bounded, noise, coins)

        for module in (marginals, local_training):
            monkeypatch.setattr(module, "add_noise", spy)
        query.answer(table(query, rows, 200, 1), multiplier, SecureCoins())
        worth = [noise_multiplier(noise, b.sensitivity, b.scales) for b, noise in drawn]
        charged = [e.noise_multiplier for e in query.events(multiplier) for _ in range(e.count)]
        assert worth == pytest.approx(charged, rel=1e-12)
        count, largest = query.draws(multiplier)
        assert count == sum(len(b.values) for b, _ in drawn)
        assert max(n * b.sensitivity * s for b, n in drawn for _, s in b.scales.runs) <= largest * (1 + 1e-12)
        assert largest <= LARGEST

    def test_events_cost_more_for_less_noise(self, query: Query) -> None:
        def worth(events: Events) -> float:
            return min(e.noise_multiplier for e in events)

        if isinstance(query, Marginals):
            query = fitted_to_grid(query, 1.0)
        assert worth(query.events(1.0)) < worth(query.events(2.0)) <= 2.0
        assert all(not isinstance(v, np.ndarray) for v in query.describe().values())


# Marginals


def test_counts_are_counts() -> None:
    query = Marginals((2, 3), ((0,), (1,), (0, 1)), (1.0, 1.0, 1.0), 1, 8)
    values = np.array([[0, 2], [1, 2], [1, 2], [1, 0]], np.int16)
    counted = query.split(query.contribute(Codes(values, np.arange(4), (2, 3)), SecureCoins()).values)
    assert counted[(0,)].tolist() == [1, 3]
    assert counted[(1,)].tolist() == [1, 0, 3]
    assert counted[(0, 1)].tolist() == [[0, 0, 1], [1, 0, 2]]


def test_each_table_gets_the_noise_of_its_weight() -> None:
    query = fitted_to_grid(Marginals((50, 60), ((0,), (1,), (0, 1)), (1.0, 0.25, 4.0)), 3.0)
    empty = Codes(np.zeros((0, 2), np.int16), np.zeros(0, np.int64), (50, 60))
    many = [query.split(query.answer(empty, 3.0, SecureCoins()).values) for _ in range(200)]
    for t, sigma in zip(query.tables, query.sigmas(3.0), strict=True):
        drawn = np.concatenate([one[t].ravel() for one in many])
        low, high = stats.chi2.ppf([ALPHA, 1 - ALPHA], len(drawn)) / len(drawn)
        assert low < (drawn**2).mean() / sigma**2 < high
        assert 0.81 < low < high < 1.21  # 0.9 and 1.1 of the noise would be noticed
    assert query.sigmas(3.0)[0] == pytest.approx(3.0 * math.sqrt(5.25))


def test_counts_have_no_state() -> None:
    query = Marginals((2,), ((0,),), (1.0,))
    assert query.with_state(b"") == query
    with pytest.raises(WireError, match="E_STATE_SHAPE"):
        query.with_state(b"x")


@pytest.mark.parametrize(
    ("tables", "weights", "code"),
    [
        ((), (), "E_PLAN_LIMIT"),
        (((1, 0),), (1.0,), "E_PLAN_LIMIT"),
        (((0, 0),), (1.0,), "E_PLAN_LIMIT"),
        (((0, 9),), (1.0,), "E_PLAN_LIMIT"),
        (((-1,),), (1.0,), "E_PLAN_LIMIT"),
        (((0,), (0,)), (1.0, 1.0), "E_PLAN_LIMIT"),
        (((0, 1, 2, 3),), (1.0,), "E_PLAN_LIMIT"),
        (((0, 1, 2),), (1.0,), "E_PLAN_LIMIT"),  # 4096 ** 3 cells
        (((0,),), (0.0,), "E_PLAN_PRIVACY"),
        (((0,),), (-1.0,), "E_PLAN_PRIVACY"),
        (((0,),), (math.nan,), "E_PLAN_PRIVACY"),
        (((0,),), (math.inf,), "E_PLAN_PRIVACY"),
        (((0,),), (1.0, 1.0), "E_PLAN_PRIVACY"),
    ],
)
def test_tables_and_weights_out_of_range_are_refused(tables: Any, weights: Any, code: str) -> None:
    with pytest.raises(StudyError, match=code):
        Marginals((4096,) * 4, tables, weights)


def test_the_rows_of_a_person_are_chosen_evenly() -> None:
    persons = np.array([1] * 6 + [2] * 2 + [3])
    codes = Codes(np.arange(9, dtype=np.int16)[:, None], persons, (9,))
    trials = 6000
    kept = Counter(v for _ in range(trials) for v in at_most(codes, 2, SecureCoins()).values[:, 0].tolist())
    assert [kept[v] for v in (6, 7, 8)] == [trials] * 3
    assert sum(kept[v] for v in range(6)) == 2 * trials
    for v in range(6):
        assert stats.binomtest(kept[v], trials, 1 / 3).pvalue > ALPHA


def test_a_person_with_many_rows_weighs_as_much_as_one_with_one() -> None:
    """Exactly so in every table's total, and up to a unit a row in every cell."""
    query = Marginals((4, 3), ((0,), (0, 1)), (1.0, 1.0), 1, 1000, "persons")
    values = np.array([[0, 0]] + [[1, 0]] * 7 + [[j % 4, j % 3] for j in range(5000)], np.int16)
    codes = Codes(values, np.repeat([5, 3, 4], [1, 7, 5000]), (4, 3))
    counted = query.contribute(codes, SecureCoins()).values
    assert counted[:4].sum() == counted[4:].sum() == 3000
    many = replace(codes, values=values[8:], persons=codes.persons[8:])
    rest = replace(codes, values=values[:8], persons=codes.persons[:8])
    assert query.contribute(many, SecureCoins()).values[:4].sum() == 1000
    assert query.contribute(rest, SecureCoins()).values[:4].tolist() == [1000, 1000, 0, 0]


def test_where_persons_weigh_the_same_their_units_are_as_fine_as_the_sampler_allows() -> None:
    rows = Marginals((2, 3, 5), (*PAIRS, (1,)), (1.0, 0.5, 1.0, 2.0))
    for multiplier in (0.1, 0.5, 3.0, 17.0, 900.0):
        persons = fitted_to_grid(replace(rows, equal_weight="persons"), multiplier)
        assert persons.grid >= fitted_to_grid(rows, multiplier).grid
        assert LARGEST / 2.3 < persons.draws(multiplier)[1] < 0.91 * LARGEST
        assert persons.sigmas(multiplier) == pytest.approx(fitted_to_grid(rows, multiplier).sigmas(multiplier))


# Local training


SIZES, ORDER = (3, 4, 2), (1, 0, 2)


@pytest.fixture(scope="module")
def query() -> LocalTraining:
    return training(SIZES, ORDER, sampling_rate=1.0)


def normal(query: LocalTraining, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(0, scale, query.model.parameters))


def summed(
    query: LocalTraining, codes: Codes, parameters: torch.Tensor, units: int, coins: Coins | None = None
) -> np.ndarray:
    return query._step_sum(local_training._People(codes), parameters, units, coins or SecureCoins())


def likelihood_gradient(model: Made, parameters: torch.Tensor, values: np.ndarray) -> np.ndarray:
    wanted = parameters.clone().requires_grad_()
    (-model.log_likelihood(wanted, torch.tensor(values, dtype=torch.long)).sum()).backward()
    assert wanted.grad is not None
    return wanted.grad.numpy()


def test_unclipped_on_a_fine_grid_it_is_the_gradient(query: LocalTraining) -> None:
    wide = replace(query, clip=5.0)
    codes, parameters, units = table(query, 200, 10**6, 1), normal(query), 80_000
    found = summed(wide, codes, parameters, units) * (5.0 / units)
    exact = likelihood_gradient(query.model, parameters, codes.values)
    assert np.abs(found - exact).max() < 200 * (5.0 / units + 2**-18)
    assert np.abs(exact).max() > 5


def test_a_long_gradient_is_shortened_and_keeps_its_direction(query: LocalTraining) -> None:
    short, parameters, units = replace(query, clip=0.1), normal(query), 80_000
    for seed in range(20):
        codes = table(query, 1, 1, seed)
        exact = likelihood_gradient(query.model, parameters, codes.values)
        found = summed(short, codes, parameters, units)
        norm = np.linalg.norm(exact)
        assert np.linalg.norm(found) <= units
        if norm > 0.11:
            assert np.linalg.norm(found) > 0.999 * units
            assert found @ exact / norm / np.linalg.norm(found) > 0.9999


def test_the_micro_batch_changes_nothing(query: LocalTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, parameters = table(query, 500, 120, 1), normal(query)
    everything = summed(query, codes, parameters, 800)
    for size in (1, 2, 17, 100):
        monkeypatch.setattr(local_training._People, "micro_batch", size)
        np.testing.assert_array_equal(summed(query, codes, parameters, 800), everything)


def test_the_sum_is_the_sum_of_single_persons(query: LocalTraining) -> None:
    codes, parameters = table(query, 60, 20, 1), normal(query)
    alone = [codes.persons == p for p in np.unique(codes.persons)]
    parts = [
        summed(query, replace(codes, values=codes.values[a], persons=codes.persons[a]), parameters, 800) for a in alone
    ]
    np.testing.assert_array_equal(sum(parts), summed(query, codes, parameters, 800))


def equal_persons(**changes: Any) -> LocalTraining:
    return training(SIZES, ORDER, equal_weight="persons", sampling_rate=1.0, **changes)


def summed_persons(query: LocalTraining, codes: Codes, parameters: torch.Tensor, units: int) -> np.ndarray:
    return query._step_sum(query._people(codes, row_coins(codes, 1)), parameters, units, person_coins(codes, 1))


@pytest.mark.parametrize("clip", [0.3, 1.0, 50.0])
@pytest.mark.parametrize("rows", [2, 3, 8])
def test_equal_persons_contribute_the_clipped_average_of_their_rows(clip: float, rows: int) -> None:
    """Against automatic differentiation in floating point, person by person, on a fine grid."""
    asked, units = equal_persons(clip=clip), 80_000
    for seed in range(6):
        codes, parameters = table(asked, rows, 1, seed), normal(asked, seed)
        average = likelihood_gradient(asked.model, parameters, codes.values) / rows
        exact = average * min(1.0, clip / np.linalg.norm(average))
        found = summed_persons(asked, codes, parameters, units)
        assert sum(int(v) ** 2 for v in found) <= units**2
        assert np.abs(found * (clip / units) - exact).max() < 0.003 * clip + 4 * rows * clip / units + 2**-15


def test_equal_persons_of_thousands_of_rows_count_like_anybody() -> None:
    """Each with a gradient as long as the clip: nobody is lost to rounding, however many rows."""
    asked, units = equal_persons(clip=0.1), 800
    for rows in (1, 2, 100, 5000):
        found = summed_persons(asked, table(asked, rows, 1, rows), normal(asked, scale=3.0), units)
        assert 0.98 * units < np.linalg.norm(found) <= units


def test_equal_persons_do_not_depend_on_the_micro_batch_or_on_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = equal_persons()
    several, singles = table(asked, 500, 60, 1), table(asked, 50, 10**9, 2)
    codes = replace(
        several,
        values=np.concatenate([several.values, singles.values]),
        persons=np.concatenate([several.persons, singles.persons]),
    )
    parameters = normal(asked)
    everything = summed_persons(asked, codes, parameters, 800)
    for size in (1, 17, 100):
        monkeypatch.setattr(local_training._People, "micro_batch", size)
        np.testing.assert_array_equal(summed_persons(asked, codes, parameters, 800), everything)
    alone = [codes.persons == p for p in np.unique(codes.persons)]
    parts = [
        summed_persons(asked, replace(codes, values=codes.values[a], persons=codes.persons[a]), parameters, 800)
        for a in alone
    ]
    np.testing.assert_array_equal(sum(parts), everything)


@pytest.mark.parametrize("rows", [2, 5, 8])
def test_no_rounding_and_no_cancelling_makes_an_average_longer_than_the_clip(rows: int) -> None:
    """Coarse grids, and rows that cancel one another under a tiny clip, where integers would leave what is exact."""
    asked = training((6, 5, 4, 3), (0, 1, 2, 3), equal_weight="persons", sampling_rate=1.0)
    for clip in (1e-6, 1e-3, 0.8):
        for units in (1, 2, 3, 10, 50, 80_000):
            for seed in range(4):
                codes = table(asked, rows, 1, seed)
                if seed == 0:  # two cells, each in half of the rows, of even chances
                    codes.values[:] = np.arange(rows)[:, None] % 2
                chosen = replace(asked, clip=clip)
                found = summed_persons(chosen, codes, normal(chosen, seed, scale=float(seed)), units)
                assert sum(int(v) ** 2 for v in found) <= units**2


@pytest.mark.parametrize("seed", range(5))
def test_the_norm_of_rows_together_is_exact_or_infinite(query: LocalTraining, seed: int) -> None:
    rng = np.random.default_rng(seed)
    owners = np.sort(rng.integers(0, 4, 12))
    owners = np.unique(owners, return_inverse=True)[1]
    codes = torch.tensor(table(query, 12, 1, seed).values, dtype=torch.long)
    integers = rng.integers(-(2**18), 2**18, (12, query.model.cells))
    together = local_training._Together(query.model, codes, torch.tensor(owners))
    inputs = query.model.one_hot(codes).numpy().astype(int)
    for person, found in enumerate(together.squares(torch.tensor(integers, dtype=torch.float64)).tolist()):
        mine = owners == person
        weights = (integers[mine].T @ inputs[mine]) * query.model.mask.numpy()
        parts = [int(v) ** 2 for v in (*weights.ravel(), *integers[mine].sum(0))]
        assert found == sum(parts)
    vast = torch.tensor(integers, dtype=torch.float64) * 2.0**14  # beyond what is exact, though rows may cancel
    assert torch.isinf(together.squares(vast)).all()


def test_rounding_hands_on_what_it_leaves_to_the_persons_next_row(query: LocalTraining) -> None:
    """A person's cells add up to what they should, to half a unit, though every row's part is below one."""
    owners = torch.tensor([0] * 8 + [1] * 3 + [2])
    codes = torch.tensor(table(query, 12, 1, 1).values, dtype=torch.long)
    numbers = torch.tensor(np.random.default_rng(1).uniform(-0.49, 0.49, (12, query.model.cells)))
    integers = local_training._Together(query.model, codes, owners).rounded(numbers)
    assert torch.equal(integers, integers.round())
    assert integers[:8].any()
    for person in range(3):
        mine = owners == person
        assert (integers[mine].sum(0) - numbers[mine].sum(0)).abs().max() <= 0.5 + 1e-12


def test_equal_persons_rows_without_a_finite_gradient_weigh_as_zero(query: LocalTraining) -> None:
    """And poison nobody: not the person's other rows, and not another person's."""
    asked, model = equal_persons(), query.model
    weights = torch.zeros(model.cells, model.cells)
    first, last = model.starts[ORDER[0]], model.starts[ORDER[2]]
    weights[last : last + 2, first + 1] = math.inf
    parameters = model.pack(weights, torch.zeros(model.cells)).double()
    codes = table(asked, 60, 15, 1)
    poisoned = codes.values[:, ORDER[0]] == 1
    hit = np.isin(codes.persons, codes.persons[poisoned])
    assert 0 < hit.sum() < 60
    whole = summed_persons(asked, codes, parameters, 800)
    healthy = replace(codes, values=codes.values[~hit], persons=codes.persons[~hit])
    ill = replace(codes, values=codes.values[hit], persons=codes.persons[hit])
    parts = [summed_persons(asked, c, parameters, 800) for c in (healthy, ill)]
    np.testing.assert_array_equal(whole, parts[0] + parts[1])
    assert parts[0].any() and parts[1].any()


def test_an_average_that_stays_too_long_counts_as_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever rounding does: what is checked is what is added up."""
    asked, away = equal_persons(), lambda self, numbers: numbers.sign() * (numbers.abs().ceil() + 50)
    monkeypatch.setattr(local_training._Together, "rounded", away)
    for rows in (2, 5, 100):
        assert not summed_persons(asked, table(asked, rows, 1, rows), normal(asked), 30).any()


@pytest.mark.parametrize("sizes", [(2, 3), (31, 33, 7), (1025, 5), (4096, 3), (40,) * 24])
@pytest.mark.parametrize("threads", [1, 2])
def test_chances_of_a_row_do_not_depend_on_the_batch_to_the_last_bit(sizes: tuple[int, ...], threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = Made(sizes, tuple(range(len(sizes))))
        rng = np.random.default_rng(1)
        parameters = torch.tensor(rng.normal(0, 2, model.parameters), dtype=torch.float32)
        codes = torch.tensor(np.stack([rng.integers(0, s, 333) for s in sizes], 1))
        whole = model.chances(parameters, codes)
        for first, last in ((0, 1), (5, 6), (3, 8), (100, 333), (332, 333)):
            part = model.chances(parameters, codes[first:last])
            assert torch.equal(part.view(torch.int32), whole[first:last].view(torch.int32))
    finally:
        torch.set_num_threads(before)


def test_rows_without_a_finite_gradient_contribute_nothing(query: LocalTraining) -> None:
    model = query.model
    weights = torch.zeros(model.cells, model.cells)
    first, last = model.starts[ORDER[0]], model.starts[ORDER[2]]
    weights[last : last + 2, first + 1] = math.inf  # what a sum of finite states may come to
    parameters = model.pack(weights, torch.zeros(model.cells))
    codes = table(query, 300, 10**6, 1)
    poisoned = codes.values[:, ORDER[0]] == 1
    assert 0 < poisoned.sum() < 300
    healthy = replace(codes, values=codes.values[~poisoned], persons=codes.persons[~poisoned])
    np.testing.assert_array_equal(summed(query, codes, parameters, 800), summed(query, healthy, parameters, 800))
    assert summed(query, codes, parameters, 800).any()


def test_the_longest_exact_sum_stays_below_two_to_the_53rd() -> None:
    """As many columns as are allowed, every error as large as it can be: norms are still exact integers."""
    columns = local_training.MAX_COLUMNS
    worst = 2 * (local_training.FIXED + 1) ** 2  # of a column: one chance is 1 and it is the wrong one
    assert worst * columns * (columns + 1) / 2 < 2**53
    at_once = local_training.ROWS_AT_ONCE
    longest = math.sqrt(2 * columns * (columns + 1) / 2) * (local_training.FIXED / at_once + 1)
    assert at_once * (longest + 1) < 2**26  # of all rows of a person together, as _Together has it
    with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
        LocalTraining((2,) * (columns + 1), tuple(range(columns + 1)), 1, 0.5, 1.0)


@pytest.mark.parametrize("rows", [2, 5, 100])
def test_rounding_never_makes_a_person_longer_than_the_clip(rows: int) -> None:
    """Coarse grids, where rounding to the nearest would: the person is then cut, and counted in exact integers."""
    query = training((6, 5, 4, 3), (0, 1, 2, 3))
    for units in (1, 2, 3, 10, 50):
        for seed in range(10):
            values = torch.tensor(table(query, rows, 1, seed).values, dtype=torch.long)
            found = clipped_sum(
                query.model, normal(query, seed).float(), values, torch.zeros(rows, dtype=torch.long), 0.8, units
            )
            assert sum(int(v) ** 2 for v in found) <= units**2


@pytest.mark.parametrize(
    "changes",
    [
        {"clip": 0.0}, {"clip": -1.0}, {"clip": math.nan}, {"clip": math.inf}, {"clip": 1e304}, {"clip": 1e-300},
        {"steps": 0}, {"sampling_rate": 0.0}, {"sampling_rate": 1.01}, {"sampling_rate": math.nan}, {"rows_per_person": 0},
    ],
)  # fmt: skip
def test_training_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        training(SIZES, ORDER, **changes)


def test_rare_samples_leave_a_count_that_can_be_drawn() -> None:
    rare = training(SIZES, ORDER, sampling_rate=1e-4, steps=1)
    assert rare.draws(50.0)[1] <= LARGEST
    assert len(rare.answer(table(rare, 10, 10, 1), 50.0, SecureCoins()).values) == rare.width


@pytest.mark.parametrize("good", ["parameters", "rate"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_state_that_is_not_finite_is_refused(query: LocalTraining, good: str, bad: float) -> None:
    tensors = {"parameters": np.zeros(query.model.parameters, np.float32), "rate": np.ones(1, np.float32)}
    tensors[good][-1] = bad
    with pytest.raises(WireError, match="E_STATE_INVALID"):
        query.with_state(save(tensors))


def wrong_states(query: LocalTraining) -> dict[str, bytes]:
    p, rate = np.zeros(query.model.parameters, np.float32), np.ones(1, np.float32)
    good = save({"parameters": p, "rate": rate})
    return {
        "nothing": b"",
        "garbage": b"\x00" * 100,
        "pickle": b"\x80\x04\x95" + bytes(50),
        "cut": good[:-1],
        "longer": good + b"\x00",
        "one more": save({"parameters": np.append(p, p[:1]), "rate": rate}),
        "one less": save({"parameters": p[1:], "rate": rate}),
        "square": save({"parameters": p[:, None], "rate": rate}),
        "doubles": save({"parameters": p.astype(np.float64), "rate": rate}),
        "halves": save({"parameters": p.astype(np.float16), "rate": rate}),
        "integers": save({"parameters": p.astype(np.int32), "rate": rate}),
        "no rate": save({"parameters": p}),
        "extra": save({"parameters": p, "rate": rate, "more": rate}),
    }


@pytest.mark.parametrize("name", wrong_states(training(SIZES, ORDER)))
def test_a_state_of_another_shape_is_refused(query: LocalTraining, name: str) -> None:
    with pytest.raises(WireError, match="E_STATE_SHAPE"):
        query.with_state(wrong_states(query)[name])


# Poisson samples

PEOPLE, RATE, TRIALS = 30, 0.3, 6000


def inclusions(rate: float) -> np.ndarray:
    """(TRIALS, PEOPLE) who was in each sample; row by row one sample."""
    codes = Codes(np.arange(2 * PEOPLE, dtype=np.int16)[:, None] // 2, np.arange(2 * PEOPLE) // 2, (PEOPLE,))
    people = local_training._People(codes)
    who = np.zeros((TRIALS, PEOPLE), bool)
    coins = SecureCoins()
    for trial in who:
        for values, owners in people.sampled(rate, coins):
            assert np.array_equal(np.bincount(owners), np.full(owners.max(initial=-1) + 1, 2))  # whole persons
            trial[values[:, 0]] = True
    return who


def size_agreement(sizes: np.ndarray, rate: float) -> float:
    expected = stats.binom.pmf(np.arange(PEOPLE + 1), PEOPLE, rate) * len(sizes)
    observed = np.bincount(sizes, minlength=PEOPLE + 1)
    group = np.minimum(np.cumsum(expected) // 20, len(sizes) // 20 - 1).astype(int)  # at least some 20 in each
    group = np.unique(group, return_inverse=True)[1]
    grouped = np.bincount(group, observed), np.bincount(group, expected)
    return float(stats.chisquare(grouped[0], grouped[1] * len(sizes) / grouped[1].sum()).pvalue)


def test_samples_are_poisson_samples() -> None:
    who = inclusions(RATE)
    assert size_agreement(who.sum(1), RATE) > ALPHA
    for person in range(PEOPLE):
        assert stats.binomtest(int(who[:, person].sum()), TRIALS, RATE).pvalue > ALPHA / PEOPLE
    together = np.corrcoef(who.T)[np.triu_indices(PEOPLE, 1)]
    assert np.abs(together).max() < stats.norm.isf(ALPHA / len(together)) / math.sqrt(TRIALS)
    in_a_row = np.corrcoef(who[:-1].ravel(), who[1:].ravel())[0, 1]
    assert abs(in_a_row) < stats.norm.isf(ALPHA) / math.sqrt(who[1:].size)


def test_the_test_of_samples_has_power() -> None:
    """Rates of 0.9 and 1.1 of it, and shuffled batches of a fixed size, are told from Poisson samples."""
    for wrong in (0.9 * RATE, 1.1 * RATE):
        assert size_agreement(inclusions(wrong).sum(1), RATE) < ALPHA
    assert size_agreement(np.full(TRIALS, int(PEOPLE * RATE)), RATE) < ALPHA


@pytest.mark.parametrize("rate", [1.0, RATE])
def test_equal_persons_take_part_with_some_rows_drawn_evenly(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Persons of 1 to 5 rows, three at once: whoever is sampled has all or three, any with the same chance, every time."""
    monkeypatch.setattr(local_training, "ROWS_AT_ONCE", 3)
    many = np.arange(PEOPLE) % 5 + 1
    persons = np.repeat(np.arange(PEOPLE), many)
    codes = Codes(np.arange(len(persons), dtype=np.int16)[:, None], persons, (len(persons),))
    seen, sizes, coins = np.zeros(len(persons), int), np.zeros(TRIALS, int), SecureCoins()
    people = training((2, 3), (0, 1), equal_weight="persons")._people(codes, coins)
    assert people.count == PEOPLE
    for trial in range(TRIALS):
        for values, owners in people.sampled(rate, coins):
            rows = values[:, 0]
            assert len(set(rows.tolist())) == len(rows)
            assert np.array_equal(np.unique(persons[rows], return_inverse=True)[1], owners)
            assert np.array_equal(np.bincount(owners), np.minimum(many, 3)[np.unique(persons[rows])])
            seen[rows] += 1
            sizes[trial] += owners[-1] + 1
    if rate == 1:
        assert (sizes == PEOPLE).all()
    else:
        assert size_agreement(sizes, rate) > ALPHA
    for row, person in enumerate(persons):
        chance = rate * min(3, many[person]) / many[person]
        assert stats.binomtest(int(seen[row]), TRIALS, chance).pvalue > ALPHA / len(persons)


def test_an_empty_sample_is_answered_with_noise_alone() -> None:
    """Nobody is there: the answer is what noise makes of nothing, of the same width, step by step."""
    query = training((2, 3), (0, 1), steps=40, sampling_rate=0.01)
    empty = Codes(np.zeros((0, 2), np.int16), np.zeros(0, np.int64), (2, 3))
    assert np.count_nonzero(query.answer(empty, 1.0, SecureCoins()).values[1:]) > 0


def test_the_count_is_noised_as_charged() -> None:
    query = training((2, 3), (0, 1), steps=10, sampling_rate=0.5)
    sigma = query._count_multiplier(MULTIPLIER)
    people = local_training._People(table(query, 5000, 10**6, 1))
    counts = np.array([query._noised_count(people, MULTIPLIER, SecureCoins()) for _ in range(4000)])
    low, high = stats.chi2.ppf([ALPHA, 1 - ALPHA], len(counts)) / len(counts)
    assert low < ((counts - people.count) ** 2).mean() / sigma**2 < high * 1.01
    assert 0.81 < low < high < 1.21
    assert discrete_gaussian(64.0, 1, SecureCoins()).shape == (1,)


@pytest.mark.parametrize("name", ["pairs, three rows a person", "training, four rows a person"])
def test_the_contract_finds_a_bound_that_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bound on rows, or without the clip, ten thousand rows are over the sensitivity."""
    query = always_sampled(CASES[name])
    monkeypatch.setattr(marginals, "at_most", lambda codes, *_: codes)
    monkeypatch.setattr(local_training._Ladder, "norms_of_persons", lambda self, n: torch.zeros(len(n)).double())
    crowd, empty = table(query, 10_000, 1, 3), table(query, 0, 1, 3)
    one, nothing = (before_noise(query, codes, 1) for codes in (crowd, empty))
    assert squared_change(query, one, nothing) > squared_sensitivity(query)
