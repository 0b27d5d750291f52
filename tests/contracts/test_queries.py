"""What every query must keep: its sensitivity in exact integers, its shape, and the account of its noise.

A new query joins ``CASES``, or is a subclass of ``QueryContract`` (test_examples.py): its ``contribute`` gives the integer vector
that noise is added to. A new network joins ``NETWORKS``, and with it all tests of training.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import pytest
import torch
from adding import Adding
from hypothesis import given
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from query_contract import (
    HUGE,
    MULTIPLIER,
    ORDER,
    SIZES,
    QueryContract,
    Trained,
    always_sampled,
    at_cells,
    before_noise,
    part,
    squared_change,
    squared_sensitivity,
    state_of,
    states,
    step,
    summing,
    table,
    training,
)
from safetensors.numpy import save
from scipy import stats
from steps import FEWER, LABS, STAYS, TWO, asking, in_one_context
from torch import nn
from torch.nn import functional as F

from cohortium.data.encoding import Codes
from cohortium.errors import StudyError, WireError
from cohortium.neural import clipping, exact
from cohortium.neural.architecture import Architecture, Kind
from cohortium.neural.clipping import FIXED, PARTS, Batch, clipped_sum, to_units
from cohortium.neural.network import Layer, Network, errors, length, split
from cohortium.neural.state import write_state
from cohortium.privacy.discrete_gaussian import (
    LARGEST,
    LARGEST_TABLE,
    discrete_gaussian,
)
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries import Query, counts, gradients
from cohortium.queries.contexts import Context, Track
from cohortium.queries.contribution_bounding import at_most
from cohortium.queries.counts import fitted_to_grid
from cohortium.queries.event_histograms import EventHistograms
from cohortium.queries.gradients import People, Step
from cohortium.queries.histograms import NestedHistograms
from cohortium.queries.local_training import LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium.queries.steps import Steps

ALPHA = 1e-7


def merging(sizes: tuple[int, ...], merged: tuple[int, ...], *rest: Any, **more: Any) -> Marginals:
    return at_cells(Marginals(sizes, *rest, merged=merged, **more), 0)


NETWORKS: dict[str, Architecture] = {
    "autoregressive": Architecture("autoregressive", SIZES, ORDER),
    "autoregressive, hidden": Architecture("autoregressive", SIZES, ORDER, hidden=7),
    "diffusion": Architecture("diffusion", SIZES, ORDER),
    "diffusion, hidden, three views": Architecture("diffusion", SIZES, ORDER, hidden=5, views=3),
    "tvae": Architecture("tvae", SIZES, ORDER, latent=2),
    "tvae, hidden": Architecture("tvae", SIZES, ORDER, hidden=5, latent=3),
    "ctgan": Architecture("ctgan", SIZES, ORDER),
}
EVERY_NETWORK = pytest.mark.parametrize("of", NETWORKS.values(), ids=NETWORKS.keys())
WEIGHED = pytest.mark.parametrize("weighed", ["rows", "persons"])
PAIRS = ((0, 1), (0, 2), (1, 2))
MANY = Architecture("autoregressive", (3,) * 16, tuple(range(16)))  # too many columns for sums in float32
CHOICES = ((0.2, 0.5, 0.3), (0.0, 0.9, 0.1), (0.25, 0.25, 0.5))
CASES: dict[str, Query] = {
    "one column": Marginals((4,), ((0,),), (1.0,)),
    "pairs": Marginals((2, 3, 5), PAIRS, (1.0, 1.0, 1.0)),
    "weighted, on a grid": Marginals((2, 3, 5), (*PAIRS, (0, 1, 2)), (1.0, 0.3, 7.0, 0.01), 1, 16),
    "pairs, three rows a person": Marginals((2, 3, 5), (*PAIRS, (1,)), (1.0, 0.1, 1.0, 2.0), 3, 4),
    "pairs, equal persons": Marginals((2, 3, 5), (*PAIRS, (1,)), (1.0, 0.1, 1.0, 2.0), 1, 64, "persons"),
    "equal persons on a coarse grid": Marginals((2, 3), ((0,), (0, 1)), (1.0, 3.0), 1, 3, "persons"),
    "pairs, merged cells": merging((7, 4, 9), (3, 4, 2), PAIRS, (1.0, 0.1, 1.0), 2, 4),
    "triples, merged cells, equal persons": merging(
        (7, 4, 9), (2, 4, 2), ((0, 1, 2), (2,)), (1.0, 2.0), 1, 64, "persons"
    ),
    "some tables without a weight": Marginals((2, 3, 5), (*PAIRS, (1,)), (0.0, 0.3, 1.0, 0.0), 2, 4),
    "merged cells, chosen weights": merging((7, 4, 9), (3, 4, 2), PAIRS, CHOICES[0], 3, 4, choices=CHOICES),
    "chosen weights, equal persons": merging((2, 3, 5), (), PAIRS, CHOICES[0], 1, 64, "persons", choices=CHOICES),
    "histograms": NestedHistograms((4, 70, 300), (0, 66, 299)),
    "histograms, three rows a person": NestedHistograms((4, 70, 300), (3, 70, 300), 3, 4),
    "histograms, equal persons": NestedHistograms((1, 40), (1, 33), 1, 64, "persons"),
    "events": EventHistograms(TWO, 2.0),
    "events, on a grid": EventHistograms((Track((300, 4), (299, 0), 365, 10),), 0.7, 64),
    "events, hardly clipped": EventHistograms(TWO, 1000.0, 3),
    "steps": asking(*TWO),
    "steps, merged cells on a grid": asking(*TWO, fewer=FEWER, grid=64),
    "steps, short": asking(STAYS, clip=0.1, grid=16),
    "steps, hardly clipped": asking(*TWO, clip=1000.0, grid=5),
    "steps, no columns of persons": asking(LABS, own=(), grid=8),
    "steps, one table": in_one_context(STAYS, (Context("any"), 1, 1), grid=32),
    "steps, weighted": in_one_context(STAYS, (Context("previous", 1), 2, 9), (Context("here", 1), 2, 1), grid=7),
    "steps, what was seen": in_one_context(Track((9, 64), (9, 0), 50, 30_000), (Context("seen", 1), 1, 2), grid=16),
    **{f"gradients, {name}": summing(of) for name, of in NETWORKS.items()},
    **{f"gradients, {name}, 4 rows": summing(of, rows_per_person=4, clip=1.5) for name, of in NETWORKS.items()},
    **{f"gradients, {name}, equal persons": summing(of, equal_weight="persons") for name, of in NETWORKS.items()},
    "gradients, merged cells": summing(NETWORKS["autoregressive, hidden"], sizes=(7, 4, 9)),
    "gradients, hardly clipped": summing(NETWORKS["autoregressive, hidden"], clip=50.0, sampling_rate=1.0),
    "gradients, many columns": summing(MANY, sampling_rate=1.0, clip=4.0),
    "gradients, wide": summing(Architecture("diffusion", (70, 2, 33), (1, 0, 2), hidden=3), sampling_rate=1.0),
    "training": training(NETWORKS["autoregressive"]),
    "training, hidden": training(NETWORKS["autoregressive, hidden"], rows_per_person=2),
    "training, equal persons": training(NETWORKS["diffusion"], equal_weight="persons"),
    "training, merged cells": training(NETWORKS["tvae"], sizes=(3, 9, 5)),
}
ALL = pytest.mark.parametrize("query", CASES.values(), ids=CASES.keys())
TRAINED = {name: query for name, query in CASES.items() if isinstance(query, Trained)}


def test_every_network_is_tried() -> None:
    assert {of.kind for of in NETWORKS.values()} == set(get_args(Kind))


@ALL
class TestContract(QueryContract):
    """Those that the product asks."""


# Marginals


def test_counts_are_counts() -> None:
    query = Marginals((2, 3), ((0,), (1,), (0, 1)), (1.0, 1.0, 1.0), 1, 8)
    values = np.array([[0, 2], [1, 2], [1, 2], [1, 0]], np.int16)
    counted = query.split(query.contribute(Codes(values, np.arange(4), (2, 3)), SecureRandomness()).values)
    assert counted[(0,)].tolist() == [1, 3]
    assert counted[(1,)].tolist() == [1, 0, 3]
    assert counted[(0, 1)].tolist() == [[0, 0, 1], [1, 0, 2]]


def test_each_table_gets_the_noise_of_its_weight() -> None:
    query = fitted_to_grid(Marginals((50, 60), ((0,), (1,), (0, 1)), (1.0, 0.25, 4.0)), 3.0)
    empty = Codes(np.zeros((0, 2), np.int16), np.zeros(0, np.int64), (50, 60))
    many = [query.split(query.answer(empty, 3.0, SecureRandomness()).values) for _ in range(200)]
    for t, sigma in zip(query.tables, query.sigmas(3.0), strict=True):
        drawn = np.concatenate([one[t].ravel() for one in many])
        low, high = stats.chi2.ppf([ALPHA, 1 - ALPHA], len(drawn)) / len(drawn)
        assert low < (drawn**2).mean() / sigma**2 < high
        assert 0.81 < low < high < 1.21  # 0.9 and 1.1 of the noise would be noticed
    assert query.sigmas(3.0)[0] == pytest.approx(3.0 * math.sqrt(5.25))


def test_merged_cells_are_counted_as_one() -> None:
    """What is counted at a state is the coarse table that it makes; unused merged cells hold nobody."""
    query = Marginals((4, 3), ((0, 1), (0,)), (1.0, 1.0), 1, 8, merged=(3, 3))
    codes = Codes(np.array([[0, 2], [1, 2], [3, 1], [2, 0]], np.int16), np.arange(4), (4, 3))
    reported = query.with_state(write_state({"cells": np.array([0.0, 0, 1, 1, 0, 1, 2])}))
    counted = reported.split(reported.contribute(codes, SecureRandomness()).values)
    assert counted[(0, 1)].tolist() == [[0, 0, 2], [1, 1, 0], [0, 0, 0]]
    assert counted[(0,)].tolist() == [2, 2, 0]
    assert reported.width == query.width == 12


@given(seeds=st.tuples(st.integers(-2, 2**32), st.integers(-2, 2**32)), data=st.integers(0, 2**32 - 1))
def test_no_state_changes_what_an_answer_costs(seeds: tuple[int, int], data: int) -> None:
    """Width, sensitivity, noise and charge are the study's; every person is in every table at every state."""
    query = CASES["pairs, merged cells"]
    assert isinstance(query, Marginals)
    one, other = (at_cells(query, seed) for seed in seeds)
    for name in ("width", "sensitivity", "scales", "lengths"):
        assert getattr(one, name) == getattr(other, name)
    assert one.events(50.0) == other.events(50.0) and one.draws(50.0) == other.draws(50.0)
    assert one.reach(9) == other.reach(9)
    codes = table(query, 50, 50, data)
    for asked in (one, other):
        totals = {t: part.sum() for t, part in asked.split(before_noise(asked, codes, 1)).items()}
        assert set(totals.values()) == {before_noise(query, codes, 1).sum() / query.grid / len(query.tables)}


@pytest.mark.parametrize("merged", [(3,), (3, 4, 2, 1), (8, 4, 9), (0, 4, 9), (7, 4, 10)])
def test_merged_sizes_that_there_cannot_be_are_refused(merged: tuple[int, ...]) -> None:
    with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
        Marginals((7, 4, 9), PAIRS, (1.0, 1.0, 1.0), merged=merged)


def test_a_choice_of_weights_costs_no_more_than_was_planned() -> None:
    """What is charged before anything is chosen covers each choice, and so do the ring's width and the sampler's table."""
    asked = fitted_to_grid(Marginals((7, 4, 9), PAIRS, CHOICES[0], choices=CHOICES), 5.0)
    (planned,), (count, widest) = asked.events(5.0), asked.draws(5.0)
    found = [asked.with_state(write_state({"choice": np.array([k])})) for k in (0.0, 1.0, 2.0)]
    assert [query.weights for query in found] == list(CHOICES)
    assert min(query.events(5.0)[0].noise_multiplier for query in found) == pytest.approx(planned.noise_multiplier)
    assert max(query.draws(5.0)[1] for query in found) == pytest.approx(widest)
    assert {query.width for query in found} == {asked.width, count}
    assert {round(query.sensitivity / asked.sensitivity, 9) for query in found} == {1.0}
    assert [query.weights for query in asked.each_choice] == list(CHOICES)


def test_a_table_without_a_weight_holds_noise_alone() -> None:
    query = fitted_to_grid(Marginals((7, 4, 9), PAIRS, (0.0, 0.9, 0.1)), 5.0)
    counted = query.split(before_noise(query, table(query, 500, 10**9, 1), 1))
    assert not counted[(0, 1)].any() and counted[(0, 2)].sum() == counted[(1, 2)].sum() == 500
    assert [t for t, _, _ in query.noises(5.0)] == [(0, 2), (1, 2)]
    noised = query.answer(table(query, 0, 1, 1), 5.0, SecureRandomness()).values[: 7 * 4]
    assert noised.any()


@pytest.mark.parametrize("bad", [-1.0, 0.5, 3.0, 2.0**40, -(2.0**63)])
def test_a_choice_that_there_is_not_is_refused(bad: float) -> None:
    query = Marginals((7, 4, 9), PAIRS, CHOICES[0], choices=CHOICES)
    with pytest.raises(WireError, match="E_STATE_INVALID"):
        query.with_state(write_state({"choice": np.array([bad])}))


@pytest.mark.parametrize(
    "other", [(0.2, 0.5, 0.4), (1.0, 0.0), (1.0, 1.0, -1.0), (math.nan, 0.5, 0.5), (0.0, 0.0, 0.0)]
)
def test_choices_that_would_cost_something_else_are_refused(other: tuple[float, ...]) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        Marginals((7, 4, 9), PAIRS, CHOICES[0], choices=(CHOICES[0], other))


def test_histograms_are_counts_of_neighbours() -> None:
    """Wide groups, finer ones, and cells by themselves; what lies in no order is itself at every level."""
    query = NestedHistograms((300, 3), (299, 0))
    codes = table(query, 2000, 10**9, 1)
    levels = query.in_rows(before_noise(query, codes, 1))
    fine = np.bincount(codes.values[:, 0], minlength=300)
    assert [len(level) for level in levels] == [17, 129, 300, 3]
    assert levels[2].tolist() == fine.tolist()
    assert levels[3].tolist() == np.bincount(codes.values[:, 1], minlength=3).tolist()
    for k, level in zip((16, 128), levels, strict=False):
        group = np.arange(299) * k // 299
        assert level.tolist() == [*np.bincount(group, fine[:299]), fine[299]]
        assert np.ptp(np.bincount(group)) <= 1
    assert math.fsum(query.weights) == pytest.approx(2.0)
    assert query.weights[0] > query.weights[1] > query.weights[2] and query.weights[3] == 1.0


@pytest.mark.parametrize(
    ("sizes", "ordered"), [((3,), (4,)), ((3,), (-1,)), ((3, 3), (3,)), ((), ()), ((2**25,), (0,))]
)
def test_histograms_that_there_cannot_be_are_refused(sizes: tuple[int, ...], ordered: tuple[int, ...]) -> None:
    with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
        NestedHistograms(sizes, ordered)


def test_merged_cells_that_were_never_sent_are_refused() -> None:
    query = Marginals((7, 4, 9), PAIRS, (1.0, 1.0, 1.0), merged=(2, 4, 2))
    with pytest.raises(WireError, match="E_STATE_SHAPE"):
        query.answer(table(query, 10, 10, 1), MULTIPLIER, SecureRandomness())


def test_counts_have_no_state() -> None:
    query = Marginals((2,), ((0,),), (1.0,))
    assert query.with_state(b"") == query
    for stateless in (query, NestedHistograms((2,), (2,))):
        with pytest.raises(WireError, match="E_STATE_SHAPE"):
            stateless.with_state(b"x")


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
    kept = Counter(v for _ in range(trials) for v in at_most(codes, 2, SecureRandomness()).values[:, 0].tolist())
    assert [kept[v] for v in (6, 7, 8)] == [trials] * 3
    assert sum(kept[v] for v in range(6)) == 2 * trials
    for v in range(6):
        assert stats.binomtest(kept[v], trials, 1 / 3).pvalue > ALPHA


def test_a_person_with_many_rows_weighs_as_much_as_one_with_one() -> None:
    """Exactly so in every table's total, and up to a unit a row in every cell."""
    query = Marginals((4, 3), ((0,), (0, 1)), (1.0, 1.0), 1, 1000, "persons")
    values = np.array([[0, 0]] + [[1, 0]] * 7 + [[j % 4, j % 3] for j in range(5000)], np.int16)
    codes = Codes(values, np.repeat([5, 3, 4], [1, 7, 5000]), (4, 3))
    counted = query.contribute(codes, SecureRandomness()).values
    assert counted[:4].sum() == counted[4:].sum() == 3000
    many = replace(codes, values=values[8:], persons=codes.persons[8:])
    rest = replace(codes, values=values[:8], persons=codes.persons[:8])
    assert query.contribute(many, SecureRandomness()).values[:4].sum() == 1000
    assert query.contribute(rest, SecureRandomness()).values[:4].tolist() == [1000, 1000, 0, 0]


def test_where_persons_weigh_the_same_their_units_are_as_fine_as_the_sampler_allows() -> None:
    rows = Marginals((2, 3, 5), (*PAIRS, (1,)), (1.0, 0.5, 1.0, 2.0))
    for multiplier in (0.1, 0.5, 3.0, 17.0, 900.0):
        persons = fitted_to_grid(replace(rows, equal_weight="persons"), multiplier)
        assert persons.grid >= fitted_to_grid(rows, multiplier).grid
        assert LARGEST_TABLE / 2.3 < persons.draws(multiplier)[1] < 0.91 * LARGEST_TABLE
        assert persons.sigmas(multiplier) == pytest.approx(fitted_to_grid(rows, multiplier).sigmas(multiplier))


# Training: gradients


class Reference:
    """A tape in float64 with torch's own linear layers and gradients; inputs and weights on the grids of ``exact``."""

    def __init__(self, network: Network, flat: torch.Tensor) -> None:
        self._layers = {layer.name: layer.unpack(part) for layer, part in split(network, flat)}

    def linear(self, name: str, inputs: torch.Tensor) -> torch.Tensor:
        return F.linear(exact.as_input(inputs), *self._layers[name])

    def centred(self, name: str, one_hot: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
        return self.linear(name, one_hot - centre)

    def constant(self, name: str) -> torch.Tensor:
        return self._layers[name][1].detach()


def normal(of: Architecture | Step, seed: int = 0, scale: float = 0.3) -> torch.Tensor:
    """Parameters on the coarsest of the grids, small enough that no error is cut."""
    network = of.architecture.network if isinstance(of, Step) else of.network
    drawn = torch.tensor(np.random.default_rng(seed).normal(0, scale, length(network)))
    return exact.on_grid(drawn, 2.0**12, exact.LARGEST_WEIGHT)


def views_of(of: Architecture, rows: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.integers(0, 2**32, (rows * of.network.views, of.network.draws)) / 2.0**32)


def batch_of(of: Architecture, rows: int, seed: int, people: int | None = None) -> Batch:
    rng = np.random.default_rng(seed)
    codes = torch.tensor(np.stack([rng.integers(0, s, rows) for s in of.sizes], 1))
    owners = (
        np.arange(rows) if people is None else np.sort(np.append(rng.integers(0, people, rows - people), range(people)))
    )
    return Batch(codes, torch.tensor(owners), views_of(of, rows, seed))


def row_gradient(of: Architecture, flat: torch.Tensor, batch: Batch, row: int) -> np.ndarray:
    """(parameters,) by automatic differentiation, the average over the row's views."""
    one, wanted = part(batch, [row], of.network.views), flat.clone().requires_grad_()
    codes = one.codes.repeat_interleave(of.network.views, 0)
    loss = of.network.loss(Reference(of.network, wanted), codes, one.uniforms).mean()
    (found,) = torch.autograd.grad(loss, wanted)
    return found.numpy()


def ordinary(logits: torch.Tensor, reported: torch.Tensor, sizes: Any, weights: Any = None) -> torch.Tensor:
    """Cross entropy as torch has it, in float64: a value, and torch's own slopes."""
    return exact._ordinary_cross_entropy(logits, reported, sizes, weights)


def person_gradients(of: Architecture, flat: torch.Tensor, batch: Batch, weighed: str) -> list[np.ndarray]:
    """Of every person the sum, or the average, of the rows' gradients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "cross_entropy", ordinary)
        rows = np.stack([row_gradient(of, flat, batch, i) for i in range(len(batch.codes))])
    owners = batch.owners.numpy()
    mine = [rows[owners == p] for p in range(owners[-1] + 1)]
    return [m.sum(0) if weighed == "rows" else m.mean(0) for m in mine]


def of_everybody(
    of: Architecture, flat: torch.Tensor, batch: Batch, clip: float, units: int, weighed: str
) -> np.ndarray:
    """(parameters,) in whole units and their parts, as a number."""
    return clipped_sum(of.network, flat, batch, clip, units, weighed == "persons").numpy() / PARTS


UNITS = gradients.FINEST
WIDE = 1000.0


@EVERY_NETWORK
@WEIGHED
def test_unclipped_it_is_the_gradient_of_automatic_differentiation(of: Architecture, weighed: str) -> None:
    """Person by person; what is left is the rounding of errors to their grid."""
    for seed in range(3):
        flat, batch = normal(of, seed), batch_of(of, 12, seed, 5)
        for person, wanted in enumerate(person_gradients(of, flat, batch, weighed)):
            mine = part(batch, np.flatnonzero(batch.owners == person), of.network.views)
            clip = 4.0 * float(np.linalg.norm(wanted)) + 1.0
            found = of_everybody(of, flat, mine, clip, 2**40, weighed) * (clip / 2**40)
            assert np.linalg.norm(found - wanted) < 5e-5 * (1 + np.linalg.norm(wanted))
            assert np.linalg.norm(wanted) > 1e-3


@EVERY_NETWORK
@WEIGHED
def test_a_long_gradient_is_shortened_and_keeps_its_direction(of: Architecture, weighed: str) -> None:
    clip = 0.05
    for seed in range(3):
        flat, batch = normal(of, seed), batch_of(of, 6, seed)
        for person, wanted in enumerate(person_gradients(of, flat, batch, weighed)):
            found = of_everybody(of, flat, part(batch, [person], of.network.views), clip, UNITS, weighed)
            assert np.linalg.norm(found) <= UNITS
            if np.linalg.norm(wanted) > 0.06:
                assert np.linalg.norm(found) > 0.998 * UNITS
                assert found @ wanted / np.linalg.norm(wanted) / np.linalg.norm(found) > 0.999


@pytest.mark.parametrize("hidden", [0, 7])
def test_equal_persons_contribute_the_clipped_average_of_their_rows(hidden: int) -> None:
    of = replace(NETWORKS["autoregressive"], hidden=hidden)
    for clip in (0.3, 1.0, 50.0):
        for rows in (2, 3, 8):
            flat, batch = normal(of, rows), batch_of(of, rows, rows, 1)
            (average,) = person_gradients(of, flat, batch, "persons")
            wanted = average * min(1.0, clip / float(np.linalg.norm(average)))
            found = of_everybody(of, flat, batch, clip, UNITS, "persons") * (clip / UNITS)
            assert np.linalg.norm(found - wanted) < 0.003 * clip + 1e-4


@EVERY_NETWORK
@WEIGHED
def test_a_person_is_never_longer_than_the_clip_on_any_grid(of: Architecture, weighed: str) -> None:
    """Before the last rounding, in exact integers. Coarse grids, and rows that cancel one another under a tiny clip."""
    seen = 0
    for clip in (1e-6, 1e-3, 0.8):
        for units in (1, 3, 50, 800, UNITS):
            for seed in range(4):
                batch = batch_of(of, (1, 2, 5, 8)[seed], seed, 1)
                if seed == 0:  # the same few rows against one another
                    batch = replace(batch, codes=torch.arange(1)[:, None] % torch.tensor(of.sizes))
                found = clipped_sum(of.network, normal(of, seed, float(seed)), batch, clip, units, weighed == "persons")
                assert sum(int(v) ** 2 for v in found) <= (units * PARTS) ** 2
                seen += bool(found.any())
    assert seen > 5


@EVERY_NETWORK
def test_a_person_of_rows_that_cancel_is_never_longer_than_the_clip(of: Architecture) -> None:
    """Two rows whose gradients are nearly each other's opposite, at parameters that make them so."""
    network, cancelled = of.network, 0
    for seed in range(40):
        flat, batch = normal(of, seed, 0.02), batch_of(of, 8, seed, 1)
        found = clipped_sum(network, flat, batch, 1e-4, UNITS, True)
        assert sum(int(v) ** 2 for v in found) <= (UNITS * PARTS) ** 2
        cancelled += not found.any()
    assert cancelled < 40


@EVERY_NETWORK
@WEIGHED
def test_the_sum_is_the_sum_of_single_persons_in_any_batch(of: Architecture, weighed: str) -> None:
    flat, batch = normal(of), batch_of(of, 400, 1, 90)
    everybody = clipped_sum(of.network, flat, batch, 0.8, UNITS, weighed == "persons")
    owners, total = batch.owners.numpy(), torch.zeros_like(everybody)
    for person in range(90):
        mine = part(batch, np.flatnonzero(owners == person), of.network.views)
        total += clipped_sum(of.network, flat, mine, 0.8, UNITS, weighed == "persons")
    assert torch.equal(total, everybody)
    halves = [np.flatnonzero(owners < 31), np.flatnonzero(owners >= 31)]
    parts = [
        clipped_sum(of.network, flat, part(batch, h, of.network.views), 0.8, UNITS, weighed == "persons")
        for h in halves
    ]
    assert torch.equal(parts[0] + parts[1], everybody)


@EVERY_NETWORK
@WEIGHED
def test_the_micro_batch_changes_nothing(of: Architecture, weighed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query = always_sampled(summing(of, equal_weight=weighed, rows_per_person=3 if weighed == "rows" else 1))
    asked = states(query, 1)[1]
    codes = table(asked, 500, 120, 1)
    everything = before_noise(asked, codes, 1)
    for size in (1, 2, 17, 100):
        monkeypatch.setattr(gradients, "ENTRIES_AT_ONCE", size)
        np.testing.assert_array_equal(before_noise(asked, codes, 1), everything)


@pytest.mark.parametrize("query", TRAINED.values(), ids=TRAINED.keys())
def test_no_digit_of_a_sum_depends_on_the_order_of_adding(query: Trained) -> None:
    """From codes to clipped integers, at states that training reaches and at wild ones; nobody's clip does, either."""
    codes = table(query, 40, 20, 1)
    for asked in states(always_sampled(query), 1):
        everything = before_noise(asked, codes, 1, parts=True)
        with Adding():
            again = before_noise(asked, codes, 1, parts=True)
        np.testing.assert_array_equal(again, everything)


def test_equal_persons_of_thousands_of_rows_count_like_anybody() -> None:
    """Each with a gradient longer than the clip: nobody is lost to rounding, however many rows."""
    asked = summing(NETWORKS["autoregressive"], equal_weight="persons", sampling_rate=1.0, clip=0.02)
    asked = asked.with_state(state_of(asked, np.random.default_rng(0).normal(0, 3, asked.width)))
    for rows in (1, 2, 100, 5000):
        found = before_noise(asked, table(asked, rows, 1, rows), 1)
        assert 0.98 * asked.step.units(MULTIPLIER) < np.linalg.norm(found) <= asked.step.sensitivity(MULTIPLIER)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_errors_that_are_no_numbers_weigh_as_zero_and_poison_nobody(
    bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, original = NETWORKS["autoregressive, hidden"], clipping.errors
    flat, batch = normal(of), batch_of(of, 60, 1, 20)

    def poisoned(network: Network, flat: torch.Tensor, codes: torch.Tensor, uniforms: torch.Tensor) -> Any:
        hit = (codes[:, 0] == 1)[:, None]
        return [
            (layer, x, torch.where(hit, bad, slope)) for layer, x, slope in original(network, flat, codes, uniforms)
        ]

    healthy = clipped_sum(of.network, flat, batch, 0.8, UNITS, False)
    monkeypatch.setattr(clipping, "errors", poisoned)
    found = clipped_sum(of.network, flat, batch, 0.8, UNITS, False)
    owners, hit = batch.owners.numpy(), (batch.codes[:, 0] == 1).numpy()
    well = np.flatnonzero(~np.isin(owners, owners[hit]))
    ill = np.flatnonzero(np.isin(owners, owners[hit]))
    assert len(well) and len(ill)
    sums = [clipped_sum(of.network, flat, part(batch, rows, 1), 0.8, UNITS, False) for rows in (well, ill)]
    assert torch.equal(sums[0] + sums[1], found)
    monkeypatch.setattr(clipping, "errors", original)
    assert torch.equal(sums[0], clipped_sum(of.network, flat, part(batch, well, 1), 0.8, UNITS, False))
    assert not torch.equal(found, healthy)


def test_what_is_rounded_is_counted() -> None:
    """A coordinate that one person can move by less than a unit, and the others' sum lies just below a half."""
    parts = np.array([PARTS // 2 - 1, -PARTS // 2, PARTS // 2, 0, -1, 5 * PARTS])
    assert to_units(parts).tolist() == [0, 0, 1, 0, 0, 5]
    assert (to_units(parts + 1) - to_units(parts)).tolist() == [1, 0, 0, 0, 0, 0]
    of = NETWORKS["autoregressive, hidden"]
    weights = sum(len(layer.places) for layer in of.network.layers if not (layer.one_hot or layer.constant))
    assert step(of).sensitivity(5.0) == pytest.approx(UNITS + math.sqrt(weights), rel=1e-9)
    assert step(NETWORKS["ctgan"]).sensitivity(5.0) == pytest.approx(UNITS, rel=1e-9)


def test_the_grid_gets_coarser_where_the_noise_could_not_be_drawn() -> None:
    for of in NETWORKS.values():
        for multiplier in (1e-3, 1.0, 127.0, 128.0, 256.0, 1e4, 2.0**20):
            asked = summing(of)
            assert 1 <= asked.step.units(multiplier) <= UNITS
            assert multiplier > 1e5 or asked.draws(multiplier)[1] <= LARGEST


# Training: against Opacus


class Twin(nn.Module):
    """An autoregressive network or a diffusion's one as an ordinary module: logits of all cells."""

    def __init__(self, layers: dict[str, Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({f"{n}_": nn.Linear(layer.inputs, layer.outputs) for n, layer in layers.items()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.layers["skip_"](x)
        if "in_" in self.layers:
            logits = logits + self.layers["out_"](exact.as_input(torch.relu(self.layers["in_"](x))))
        return logits

    def load(self, network: Network, flat: torch.Tensor) -> None:
        for layer, p in split(network, flat):
            if not layer.constant:
                weights, biases = layer.unpack(p)
                self.layers[f"{layer.name}_"].load_state_dict({"weight": weights, "bias": biases})


def what_opacus_sees(of: Architecture, flat: torch.Tensor, batch: Batch) -> tuple[dict[str, Layer], torch.Tensor, Any]:
    """The trained layers, the module's inputs, and the loss of its logits, (rows,), on the same views."""
    seen: dict[str, Any] = {}

    class Spy(Reference):
        def linear(self, name: str, inputs: torch.Tensor) -> torch.Tensor:
            seen.setdefault("x", inputs.detach().double()) if name == "skip" else None
            return super().linear(name, inputs)

    def kept(logits: torch.Tensor, reported: torch.Tensor, sizes: Any, weights: Any = None) -> torch.Tensor:
        seen["loss"] = lambda others: exact._ordinary_cross_entropy(others, reported, sizes, weights)
        seen["logits"] = logits.detach()
        return exact._ordinary_cross_entropy(logits, reported, sizes, weights)

    network = of.network
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "cross_entropy", kept)
        total = network.loss(Spy(network, flat), batch.codes, batch.uniforms)
    factor = total.detach() / seen["loss"](seen["logits"])
    reported = [part for layer, part in split(network, flat) if layer.constant]
    shift = reported[0] if reported else 0.0
    layers = {layer.name: layer for layer in network.layers if not layer.constant}
    return layers, exact.as_input(seen["x"]), lambda logits: seen["loss"](logits + shift) * factor


OPACUS = [Architecture("autoregressive", (3, 4, 2), (1, 0, 2), hidden=h) for h in (0, 7)]
OPACUS += [Architecture("diffusion", (3, 4, 2), (1, 0, 2), hidden=h) for h in (0, 5)]


@pytest.mark.filterwarnings("ignore:Full backward hook", "ignore:Initializing zero-element")
@pytest.mark.parametrize("of", OPACUS, ids=lambda of: f"{of.kind}, {of.hidden} hidden")
def test_every_rows_gradient_is_that_of_opacus(of: Architecture) -> None:
    flat, batch = normal(of, 3), batch_of(of, 40, 3)
    layers, x, loss = what_opacus_sees(of, flat, batch)
    twin = Twin(layers).double()
    twin.load(of.network, flat)
    sampled = GradSampleModule(twin, loss_reduction="sum")
    loss(sampled(x)).sum().backward()
    found = {
        layer.name: (inputs, slopes) for layer, inputs, slopes in errors(of.network, flat, batch.codes, batch.uniforms)
    }
    for name, layer in layers.items():
        theirs = twin.layers[f"{name}_"]
        inputs, slopes = found[name]
        weights = slopes[:, :, None] * inputs[:, None]
        expected = theirs.weight.grad_sample * layer.mask
        size = 1 + expected.flatten(1).norm(dim=1)
        assert ((weights * layer.mask - expected).flatten(1).norm(dim=1) / size).max() < 4e-5
        assert ((slopes - theirs.bias.grad_sample).norm(dim=1) / size).max() < 4e-5
        assert expected.norm() > 0.5


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("hidden", [0, 5])
def test_every_rows_length_is_that_of_opacus_ghost_clipping(hidden: int) -> None:
    of = Architecture("diffusion", (3, 4, 2), (1, 0, 2), hidden=hidden)  # no masks: the ghost norm is the norm
    flat, batch = normal(of, 4), batch_of(of, 40, 4)
    layers, x, loss = what_opacus_sees(of, flat, batch)
    twin = Twin(layers).double()
    twin.load(of.network, flat)
    ghost = GradSampleModuleFastGradientClipping(twin, loss_reduction="sum", max_grad_norm=1.0, use_ghost_clipping=True)
    loss(ghost(x)).sum().backward()
    groups = clipping._Groups(batch.owners, 1, False)
    entries = [
        clipping._Entries(layer, inputs, clipping._fixed(slopes))
        for layer, inputs, slopes in errors(of.network, flat, batch.codes, batch.uniforms)
    ]
    lengths, apart = groups.lengths(entries)
    torch.testing.assert_close(lengths / FIXED, ghost.get_norm_sample().double(), rtol=1e-4, atol=2e-5)
    assert torch.equal(lengths, apart) or (lengths - apart).abs().max() <= 1


# Training: norms


@EVERY_NETWORK
@pytest.mark.parametrize("seed", range(3))
def test_a_persons_length_is_never_underestimated(of: Architecture, seed: int) -> None:
    """Against Fractions: the norms of random integers ⊗ inputs on their grid, rows that cancel one another among them."""
    rng, network = np.random.default_rng(seed), of.network
    batch = batch_of(of, 9, seed, 3)
    owners = batch.owners.repeat_interleave(network.views)
    codes = batch.codes.repeat_interleave(network.views, 0)
    entries = []
    for layer, x, _ in errors(network, normal(of, seed), codes, batch.uniforms):
        numbers = torch.tensor(rng.integers(-(2**21), 2**21 + 1, (len(x), layer.outputs))).double()
        numbers[1::2] = -numbers[0 : 2 * (len(x) // 2) : 2]  # neighbours that take each other off
        entries.append(clipping._Entries(layer, x, numbers))
    for together in (False, True):
        lengths, apart = clipping._Groups(owners, network.views, together).lengths(entries)
        for person in range(3):
            mine = np.flatnonzero(owners == person)
            groups = [mine] if together else [mine[i : i + network.views] for i in range(0, len(mine), network.views)]
            true = sum(_length(entries, group) for group in groups)
            alone = sum(_length(entries, [i]) for i in mine)
            assert true <= lengths[person] <= true + 2e-6 * alone + len(groups) + 1
            assert alone - 1 <= apart[person] <= alone * (1 + 1e-9) + len(mine)


def _length(entries: list[Any], group: Sequence[int] | np.ndarray) -> float:
    """The norm of the sum of some entries' gradients, rounded down by less than 1e-9 of it."""
    square = Fraction(0)
    for e in entries:
        bias = [sum(int(e.errors[i, o]) for i in group) for o in range(e.layer.outputs)]
        square += sum(b * b for b in bias)
        for o, j in zip(*np.nonzero(e.layer.mask.numpy()), strict=True):
            square += sum((int(e.errors[i, o]) * Fraction(float(e.inputs[i, j])) for i in group), Fraction(0)) ** 2
    return math.isqrt(int(square * 2**40)) / 2**20


@pytest.mark.parametrize("name", ["inputs", "errors"])
def test_a_layer_at_its_limits_still_adds_up_exactly(name: str) -> None:
    """As wide as is allowed, all errors and inputs the largest: products and squares are still exact integers."""
    largest = int(FIXED * clipping.LARGEST_ERROR)
    assert exact.WIDEST * largest**2 < 2**53
    rng = np.random.default_rng(1)
    layer = Layer("wide", 4, exact.WIDEST) if name == "errors" else Layer("wide", exact.WIDEST, 3)
    numbers = rng.choice([-largest, largest, largest - 1], (3, layer.outputs))
    inputs = rng.choice([2**19, 2**19 - 1, -(2**19)], (3, layer.inputs))
    of = clipping._Entries(layer, torch.tensor(inputs).double() / 2.0**12, torch.tensor(numbers).double())
    for apart in (0, 1):
        for i, found in enumerate(of.inner(apart)):
            slopes = sum(int(a) * int(b) for a, b in zip(numbers[i], numbers[i + apart], strict=True))
            seen = sum(int(a) * int(b) for a, b in zip(inputs[i], inputs[i + apart], strict=True))
            true = Fraction(slopes) * (Fraction(seen, 2**24) + 1)
            assert abs(Fraction(float(found)) - true) <= abs(true) / 2**52


def test_layers_too_wide_for_exact_sums_are_refused() -> None:
    with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
        step(Architecture("autoregressive", (600, 600), (0, 1))).parameters  # noqa: B018 - what is asked for raises
    assert step(Architecture("diffusion", (512, 500), (0, 1))).parameters > 0


# Training: studies and states


@pytest.mark.parametrize(
    "changes",
    [
        {"clip": 0.0}, {"clip": -1.0}, {"clip": math.nan}, {"clip": math.inf}, {"clip": 1e304}, {"clip": 1e-300},
        {"sampling_rate": 0.0}, {"sampling_rate": 1.01}, {"sampling_rate": math.nan}, {"rows_per_person": 0},
    ],
)  # fmt: skip
def test_a_step_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        step(NETWORKS["autoregressive"], **changes)


def test_training_without_steps_is_refused() -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        training(NETWORKS["autoregressive"], steps=0)


def test_rare_samples_leave_a_count_that_can_be_drawn() -> None:
    rare = training(NETWORKS["autoregressive"], steps=1, sampling_rate=1e-4)
    assert rare.draws(50.0)[1] <= LARGEST
    assert len(rare.answer(table(rare, 10, 10, 1), 50.0, SecureRandomness()).values) == rare.width


TOLD: dict[str, Trained | Marginals | Steps] = {
    "counts, merged": merging((7, 4, 9), (3, 4, 2), PAIRS, (1.0, 1.0, 1.0)),
    "counts, chosen weights": merging((7, 4, 9), (), PAIRS, CHOICES[0], choices=CHOICES),
    "gradients": summing(NETWORKS["autoregressive"]),
    "gradients, merged": summing(NETWORKS["autoregressive"], sizes=(7, 4, 9)),
    "training, merged": training(NETWORKS["autoregressive"], sizes=(7, 4, 9)),
    "steps, merged": asking(STAYS, own=(7, 4), fewer=(3, 4, 6, 3, 5)),
}


def tensors_of(query: Trained | Marginals | Steps) -> dict[str, np.ndarray]:
    more = {"rate": 1} if isinstance(query, LocalTraining) else {}
    lengths = query.state_lengths if isinstance(query, Marginals | Steps) else {**query.step.lengths, **more}
    return {name: np.zeros(n, np.float32) for name, n in lengths.items()}


@pytest.mark.parametrize("query", TOLD.values(), ids=TOLD.keys())
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_state_that_is_not_finite_is_refused(query: Trained | Marginals | Steps, bad: float) -> None:
    for good in tensors_of(query):
        tensors = tensors_of(query)
        tensors[good][-1] = bad
        with pytest.raises(WireError, match="E_STATE_INVALID"):
            query.with_state(save(tensors))


@pytest.mark.parametrize("name", ["gradients, merged", "counts, merged", "steps, merged"])
@pytest.mark.parametrize("bad", [-1.0, 0.5, 3.0, HUGE, -HUGE, 2.0**63, 2.0**31, -(2.0**63)])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_merged_cells_that_there_are_not_are_refused(name: str, bad: float) -> None:
    query = TOLD[name]
    tensors = tensors_of(query)
    query.with_state(save(tensors))
    tensors["cells"][2] = bad  # of a column that has three
    with pytest.raises(WireError, match="E_STATE_INVALID"):
        query.with_state(save(tensors))


def wrong_states(query: Trained | Marginals | Steps) -> dict[str, bytes]:
    tensors = tensors_of(query)
    first, *others = tensors
    p, good = tensors[first], save(tensors)

    def changed(values: np.ndarray) -> bytes:
        return save({**tensors, first: values})

    return {
        "nothing": b"",
        "garbage": b"\x00" * 100,
        "pickle": b"\x80\x04\x95" + bytes(50),
        "cut": good[:-1],
        "longer": good + b"\x00",
        "one more": changed(np.append(p, p[:1])),
        "one less": changed(p[1:]),
        "square": changed(p[:, None]),
        "doubles": changed(p.astype(np.float64)),
        "halves": changed(p.astype(np.float16)),
        "integers": changed(p.astype(np.int32)),
        f"no {first}": save({k: t for k, t in tensors.items() if k != first} or {"x": p}),
        "extra": save({**tensors, "more": p}),
        **{f"no {name}": save({k: t for k, t in tensors.items() if k != name}) for name in others},
    }


@pytest.mark.parametrize("query", TOLD.values(), ids=TOLD.keys())
def test_a_state_of_another_shape_is_refused(query: Trained | Marginals | Steps) -> None:
    for name, state in wrong_states(query).items():
        with pytest.raises(WireError, match="E_STATE_SHAPE"):
            query.with_state(state)
            pytest.fail(name)


def test_merged_cells_are_what_the_network_sees() -> None:
    """A finely declared table with merged cells answers as the coarse table that they make of it."""
    query, of = TOLD["gradients, merged"], NETWORKS["autoregressive"]
    assert isinstance(query, Trained)
    rng = np.random.default_rng(5)
    merged = [rng.integers(0, k, s) for s, k in zip((7, 4, 9), of.sizes, strict=True)]
    at = rng.normal(0, 1, query.width).astype(np.float32)
    fine = always_sampled(
        query.with_state(save({"parameters": at, "cells": np.concatenate(merged).astype(np.float32)}))
    )
    coarse = always_sampled(summing(of).with_state(save({"parameters": at})))
    codes = table(fine, 200, 10**6, 1)
    seen = np.stack([m[codes.values[:, j]] for j, m in enumerate(merged)], 1).astype(np.int16)
    wanted = before_noise(coarse, replace(codes, values=seen, sizes=of.sizes), 1)
    np.testing.assert_array_equal(before_noise(fine, codes, 1), wanted)
    assert wanted.any()


# Poisson samples

PEOPLE, RATE, TRIALS = 30, 0.3, 6000


def inclusions(rate: float) -> np.ndarray:
    """(TRIALS, PEOPLE) who was in each sample; row by row one sample."""
    codes = Codes(np.arange(2 * PEOPLE, dtype=np.int16)[:, None] // 2, np.arange(2 * PEOPLE) // 2, (PEOPLE,))
    people = People(codes)
    who = np.zeros((TRIALS, PEOPLE), bool)
    randomness = SecureRandomness()
    for trial in who:
        for values, owners in people.sampled(rate, 1, randomness):
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
    """Rates of 0.9 and 1.1 of it, and shuffled batches of a fixed size, are distinguished from Poisson samples."""
    for wrong in (0.9 * RATE, 1.1 * RATE):
        assert size_agreement(inclusions(wrong).sum(1), RATE) < ALPHA
    assert size_agreement(np.full(TRIALS, int(PEOPLE * RATE)), RATE) < ALPHA


@pytest.mark.parametrize("rate", [1.0, RATE])
def test_equal_persons_take_part_with_some_rows_drawn_evenly(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Persons of 1 to 5 rows, three at once: whoever is sampled has all or three, any with the same chance, every time."""
    monkeypatch.setattr(gradients, "ROWS_AT_ONCE", 3)
    many = np.arange(PEOPLE) % 5 + 1
    persons = np.repeat(np.arange(PEOPLE), many)
    codes = Codes(np.arange(len(persons), dtype=np.int16)[:, None], persons, (len(persons),))
    seen, sizes, randomness = np.zeros(len(persons), int), np.zeros(TRIALS, int), SecureRandomness()
    people = step(NETWORKS["autoregressive"], equal_weight="persons").people(codes, {}, randomness)
    assert people.count == PEOPLE
    for trial in range(TRIALS):
        for values, owners in people.sampled(rate, 1, randomness):
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


@pytest.mark.parametrize("at_once", [1, 5, 64])
@pytest.mark.parametrize("views", [1, 3])
def test_micro_batches_are_as_small_as_they_should_be_and_hold_whole_persons(
    at_once: int, views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "ENTRIES_AT_ONCE", at_once)
    codes = table(step(NETWORKS["autoregressive"]), 300, 70, 1)
    people, seen = People(codes), 0
    most = int(people.rows.max())
    for values, owners in people.sampled(1.0, views, SecureRandomness()):
        assert len(values) * views <= max(at_once, most * views)
        assert np.array_equal(np.unique(owners), np.arange(owners[-1] + 1))
        seen += len(values)
    assert seen == 300


def test_the_uniform_numbers_of_views_are_uniform_and_independent() -> None:
    for draws in (1, 2, 5):
        drawn = gradients._uniforms(40_000, draws, SecureRandomness())
        assert drawn.shape == (40_000, draws)
        assert drawn.min() >= 0 and drawn.max() < 1
        assert np.array_equal(drawn * 2.0**32, np.floor(drawn * 2.0**32))
        for column in drawn.T:
            assert stats.kstest(column, "uniform").pvalue > ALPHA
        pairs = [drawn[1:, 0], drawn[:-1, 0]] if draws == 1 else [drawn[:, 0], drawn[:, 1]]
        assert abs(np.corrcoef(*pairs)[0, 1]) < stats.norm.isf(ALPHA) / math.sqrt(len(drawn) - 1)
    assert gradients._uniforms(7, 0, SecureRandomness()).shape == (7, 0)


def test_an_empty_sample_is_answered_with_noise_alone() -> None:
    """Nobody is there: the answer is what noise makes of nothing, of the same width, step by step."""
    query = training(NETWORKS["autoregressive"], steps=40, sampling_rate=0.01)
    empty = Codes(np.zeros((0, 3), np.int16), np.zeros(0, np.int64), SIZES)
    assert np.count_nonzero(query.answer(empty, 1.0, SecureRandomness()).values[1:]) > 0
    for of in NETWORKS.values():
        alone = summing(of)
        drawn = np.concatenate(
            [alone.answer(empty, 2.0, SecureRandomness()).values for _ in range(2000 // alone.width + 1)]
        )
        sigma = 2.0 * alone.step.sensitivity(2.0)
        low, high = stats.chi2.ppf([ALPHA, 1 - ALPHA], len(drawn)) / len(drawn)
        assert low < (drawn.astype(float) ** 2).mean() / sigma**2 < high
        assert 0.81 < low < high < 1.21


def test_the_count_is_noised_as_charged() -> None:
    query = training(NETWORKS["autoregressive"], steps=10, sampling_rate=0.5)
    sigma = query._count_multiplier(MULTIPLIER)
    people = People(table(query, 5000, 10**6, 1))
    counts = np.array([query._noised_count(people, MULTIPLIER, SecureRandomness()) for _ in range(4000)])
    low, high = stats.chi2.ppf([ALPHA, 1 - ALPHA], len(counts)) / len(counts)
    assert low < ((counts - people.count) ** 2).mean() / sigma**2 < high * 1.01
    assert 0.81 < low < high < 1.21
    assert discrete_gaussian(64.0, 1, SecureRandomness()).shape == (1,)


# What the contract would find


@pytest.mark.parametrize("name", ["pairs, three rows a person", "gradients, autoregressive, hidden, 4 rows"])
def test_the_contract_finds_a_bound_that_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bound on rows, or without the clip, ten thousand rows are over the sensitivity."""
    query = always_sampled(CASES[name])
    monkeypatch.setattr(counts, "at_most", lambda codes, *_: codes)
    original = clipping._Groups.lengths

    def no_length(self: Any, layers: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(torch.zeros_like(found) for found in original(self, layers))  # type: ignore[return-value]

    monkeypatch.setattr(clipping._Groups, "lengths", no_length)
    crowd, empty = table(query, 10_000, 1, 3), table(query, 0, 1, 3)
    one, nothing = (before_noise(query, codes, 1) for codes in (crowd, empty))
    assert squared_change(query, one, nothing) > squared_sensitivity(query)


def test_the_contract_finds_sums_that_are_rounded_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One person shifts who is in which micro-batch: hundreds of roundings differ, not one."""
    query = states(always_sampled(CASES["gradients, autoregressive, hidden"]), 1)[1]
    original = clipping.clipped_sum

    def rounded(*args: Any) -> torch.Tensor:
        return to_units(original(*args)) * PARTS

    def change() -> tuple[np.ndarray, np.ndarray]:
        without = table(query, 600, 10**6, 1)
        first = replace(table(query, 1, 1, 2), persons=np.array([-(2**62)]))
        others = replace(
            without,
            values=np.concatenate([first.values, without.values]),
            persons=np.concatenate([first.persons, without.persons]),
        )
        return before_noise(query, without, 1), before_noise(query, others, 1)

    monkeypatch.setattr(gradients, "ENTRIES_AT_ONCE", 2)
    monkeypatch.setattr(Step, "units", lambda self, multiplier: 8)
    assert squared_change(query, *change()) <= squared_sensitivity(query)
    monkeypatch.setattr(clipping, "clipped_sum", rounded)
    assert squared_change(query, *change()) > squared_sensitivity(query)
