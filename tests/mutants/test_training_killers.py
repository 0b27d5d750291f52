"""What kills the mutants of training that no other test does: exact, small, and quick."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from cohortium.data.encoding import Codes
from cohortium.neural import clipping
from cohortium.neural.architecture import Architecture
from cohortium.neural.clipping import CANCELLING, FIXED, PARTS, Batch, clipped_sum, to_units
from cohortium.neural.exact import INPUT_GRID, LARGEST_INPUT, WIDEST
from cohortium.neural.network import Layer, Recorded, length
from cohortium.neural.state import write_state
from cohortium.privacy.discrete_gaussian import look_ups
from cohortium.privacy.randomness import SecureRandomness, happens
from cohortium.queries import gradients
from cohortium.queries.gradients import ENTRIES_AT_ONCE, FINEST, MIN_CLIP, GradientSum, People, Step
from cohortium.queries.local_training import LocalTraining

ALPHA = 1e-7
SIZES, ORDER = (3, 4, 2), (1, 0, 2)
NETWORKS = {
    "autoregressive": Architecture("autoregressive", SIZES, ORDER, hidden=3),
    "diffusion": Architecture("diffusion", SIZES, ORDER, hidden=3, views=3),
    "tvae": Architecture("tvae", SIZES, ORDER, hidden=3, latent=2),
    "ctgan": Architecture("ctgan", SIZES, ORDER),
}
EVERY_NETWORK = pytest.mark.parametrize("of", NETWORKS.values(), ids=NETWORKS.keys())
WEIGHED = pytest.mark.parametrize("weighed", ["rows", "persons"])


def batch_of(of: Architecture, owners: list[int], seed: int) -> Batch:
    rng, network = np.random.default_rng(seed), of.network
    codes = torch.tensor(np.stack([rng.integers(0, k, len(owners)) for k in of.sizes], 1))
    return Batch(codes, torch.tensor(owners), torch.tensor(rng.random((len(owners) * network.views, network.draws))))


def parameters(of: Architecture, seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, length(of.network)).astype(np.float32).astype(np.float64)


def step(of: Architecture, **changes: Any) -> Step:
    return Step(**{"sizes": of.sizes, "architecture": of, "sampling_rate": 1.0, "clip": 0.5, **changes})


def asked(of: Architecture, seed: int = 0, **changes: Any) -> GradientSum:
    query = GradientSum(step(of, **changes))
    return query.with_state(write_state({"parameters": parameters(of, seed)}))


def table(of: Architecture, persons: np.ndarray, seed: int = 0) -> Codes:
    rng = np.random.default_rng(seed)
    return Codes(np.stack([rng.integers(0, k, len(persons)) for k in of.sizes], 1).astype(np.int16), persons, of.sizes)


class Overheard:
    """Secret randomness whose every word is kept."""

    def __init__(self) -> None:
        self.randomness, self.drawn = SecureRandomness(), list[np.ndarray]()

    def words(self, count: int) -> np.ndarray:
        self.drawn.append(self.randomness.words(count))
        return self.drawn[-1]


# The clip


@EVERY_NETWORK
@WEIGHED
def test_a_person_is_never_longer_than_the_clip(of: Architecture, weighed: str) -> None:
    """In exact integers, at parameters of all sizes and on grids so coarse that rounding is all there is."""
    seen = 0
    for units in (3, 12, 100, 819, FINEST):
        for seed in range(8):
            batch = batch_of(of, [0] * (1, 1, 2, 5)[seed % 4], seed)
            flat = torch.tensor(parameters(of, seed, 0.1 * 3**seed))
            found = clipped_sum(of.network, flat, batch, 0.02, units, weighed == "persons")
            assert sum(int(v) ** 2 for v in found) <= (units * PARTS) ** 2
            seen += bool(found.any())
    assert seen > 10


def opposites(persons: int) -> tuple[Layer, torch.Tensor, torch.Tensor]:
    """A wide layer, and of every person two entries that are each other's opposite but for one digit: inputs and errors."""
    rng, layer = np.random.default_rng(persons), Layer("one", 1, WIDEST)
    numbers = rng.integers(2**20, 2**21, (persons, layer.outputs))
    others = -numbers
    others[:, 0] += 1
    inputs = rng.integers(2**18, int(INPUT_GRID * LARGEST_INPUT), (persons, 1)).repeat(2, 0)
    errors = np.stack([numbers, others], 1).reshape(-1, layer.outputs)
    return layer, torch.tensor(inputs).double() / INPUT_GRID, torch.tensor(errors).double() / FIXED


class OneLayer:
    sizes, views, draws = (2,), 1, 0

    def __init__(self, layer: Layer) -> None:
        self.layers = (layer,)


def of_opposites(persons: range, seed: int, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Their sum at the smallest clip there is."""
    layer, inputs, errors = opposites(seed)
    part = slice(2 * persons.start, 2 * persons.stop)
    monkeypatch.setattr(clipping, "errors", lambda *_: [(layer, inputs[part], errors[part])])
    owners = torch.arange(len(persons)).repeat_interleave(2)
    batch = Batch(torch.zeros(len(owners), 1, dtype=torch.long), owners, torch.zeros(len(owners), 0))
    network: Any = OneLayer(layer)
    return clipped_sum(network, torch.zeros(layer.parameters), batch, MIN_CLIP, FINEST, True)


def test_rows_that_cancel_are_no_shorter_than_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of two long rows is a last digit, which products of long numbers do not hold."""
    for person in range(60):
        found = of_opposites(range(person, person + 1), 60, monkeypatch)
        assert sum(int(v) ** 2 for v in found) <= (FINEST * PARTS) ** 2


def test_sums_have_room_where_rows_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a micro-batch of such persons adds up, signs aside: below what float64 adds up exactly."""
    added: list[float] = []
    original = clipping._Entries.scaled_sum

    def spy(self: clipping._Entries, scale: torch.Tensor) -> torch.Tensor:
        slopes = self.errors.mul(scale[:, None]).round().abs()
        added.append(float((slopes.T @ self.inputs.abs()).max()) * INPUT_GRID)
        return original(self, scale)

    monkeypatch.setattr(clipping._Entries, "scaled_sum", spy)
    of_opposites(range(16), 16, monkeypatch)
    assert added[0] * ENTRIES_AT_ONCE / 32 < 2**53
    assert CANCELLING * FINEST * ENTRIES_AT_ONCE * INPUT_GRID < 2**53


class Twice(OneLayer):
    def loss(self, tape: Recorded, codes: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        x = torch.ones(len(codes), 1, dtype=torch.float64)
        return (tape.linear("one", x) + tape.linear("one", 2 * x)).sum(1)


def test_a_layer_that_is_used_twice_is_refused() -> None:
    network: Any = Twice(Layer("one", 1, 3))
    batch = Batch(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, dtype=torch.long), torch.zeros(1, 0))
    with pytest.raises(ValueError, match="twice"):
        clipped_sum(network, torch.zeros(6), batch, 1.0, 819, False)


# Sums


@EVERY_NETWORK
@WEIGHED
def test_the_sum_is_that_of_single_persons(of: Architecture, weighed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digit, in micro-batches of any size; nothing is divided by how many there are."""
    query = asked(of, equal_weight=weighed)
    rows = np.arange(40) if weighed == "rows" else np.arange(40) // 2
    codes, flat = table(of, rows), parameters(of, 0)
    views = np.random.default_rng(1).random((of.network.views, of.network.draws))
    monkeypatch.setattr(gradients, "_uniforms", lambda entries, *_: np.tile(views, (entries // of.network.views, 1)))
    total = torch.zeros(query.width, dtype=torch.long)
    for person in np.unique(rows):
        mine = torch.tensor(codes.values[rows == person].astype(np.int64))
        one = Batch(mine, torch.zeros(len(mine), dtype=torch.long), torch.tensor(np.tile(views, (len(mine), 1))))
        total += clipped_sum(of.network, torch.tensor(flat), one, 0.5, query.step.units(5.0), weighed == "persons")
    for at_once in (1, 10, 2048):
        monkeypatch.setattr(gradients, "ENTRIES_AT_ONCE", at_once)
        found = query.step.bounded(query.step.people(codes, {}, SecureRandomness()), flat, 5.0, SecureRandomness())
        np.testing.assert_array_equal(found.values, to_units(total.numpy()))
    assert total.any()


@pytest.mark.parametrize("columns", [2, 200])
def test_weights_are_put_on_their_grid(columns: int) -> None:
    """Where sums are added up in float32, and where they are not."""
    layer = Layer("one", 5, 3, True)
    network = replace_sizes(OneLayer(layer), (2,) * columns)
    _, weights, biases = Recorded(network, torch.rand(18, dtype=torch.float64) * 1e3)._layers["one"]  # type: ignore[arg-type]
    for numbers, grid in ((weights, 2.0**17), (biases, 2.0**29)):
        assert ((numbers.double() * (2.0**14 if columns == 2 else grid)) % 1 == 0).all()
        assert numbers.abs().max() <= LARGEST_INPUT
    assert weights.abs().max() <= 2.0**5


def replace_sizes(network: OneLayer, sizes: tuple[int, ...]) -> OneLayer:
    network.sizes = sizes  # type: ignore[assignment]
    return network


# Samples


@pytest.mark.parametrize("at_once", [None, 2])
def test_everybody_takes_part_by_a_coin_of_their_own_in_every_step(at_once: int | None) -> None:
    codes = Codes(np.arange(400, dtype=np.int16)[:, None] // 2, np.arange(400) // 2, (200,))
    people, randomness = People(codes, at_once), Overheard()
    for _ in range(3):
        randomness.drawn.clear()
        chosen = {int(v) for values, _ in people.sampled(0.3, 1, randomness) for v in values[:, 0]}
        assert randomness.drawn and len(randomness.drawn[0]) == people.count == 200
        assert chosen == set(np.flatnonzero(randomness.drawn[0] < np.uint64(int(0.3 * 2**64))).tolist())
    assert happens(1.0, 3, SecureRandomness()).all()


@pytest.mark.parametrize("kind", ["sum", "training"])
def test_samples_are_drawn_at_the_rate_that_is_accounted_for(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sample; and the count of persons, which is of all, is accounted for as one of all."""
    of, rates = NETWORKS["ctgan"], list[float]()
    query: Any = asked(of, sampling_rate=0.3)
    if kind == "training":
        query = LocalTraining(query.step, 4)
        query = query.with_state(write_state({"parameters": parameters(of, 0), "rate": np.ones(1)}))

    def spy(rate: float, count: int, randomness: Any) -> np.ndarray:
        rates.append(rate)
        return happens(rate, count, randomness)

    monkeypatch.setattr(gradients, "happens", spy)
    query.answer(table(of, np.arange(20)), 5.0, SecureRandomness())
    accounted = [e.sampling_rate for e in query.events(5.0) for _ in range(e.count)]
    assert sorted(accounted) == (rates if kind == "sum" else [*rates, 1.0])


def test_nobody_may_be_in_a_sample() -> None:
    codes = Codes(np.zeros((4, 1), np.int16), np.arange(4), (2,))
    many = [sum(len(owners) for _, owners in People(codes).sampled(0.2, 1, SecureRandomness())) for _ in range(200)]
    assert {0, 1, 2} <= set(many)


def test_no_word_of_the_coins_is_used_twice() -> None:
    """As many are drawn as persons and numbers of noise: samples and noise have words of their own."""
    of = NETWORKS["autoregressive"]
    query, randomness = asked(of, sampling_rate=0.5), Overheard()
    query.answer(table(of, np.arange(70)), 5.0, randomness)
    drawn = np.concatenate(randomness.drawn)
    assert len(drawn) == len(np.unique(drawn)) == 70 + look_ups(5.0 * query.step.sensitivity(5.0), query.width)


# Noise


@pytest.mark.parametrize("people", [0, 1, 30])
@pytest.mark.parametrize("multiplier", [0.5, 300.0])
def test_an_answer_is_a_sum_and_its_noise(people: int, multiplier: float) -> None:
    """Of integers, at any number of persons, drawn anew every time."""
    of = NETWORKS["autoregressive"]
    query, codes = asked(of), table(of, np.arange(people))
    sums = query.step.bounded(
        query.step.people(codes, {}, SecureRandomness()), parameters(of, 0), multiplier, SecureRandomness()
    )
    answers = [query.answer(codes, multiplier, SecureRandomness()).values for _ in range(40)]
    noise = np.stack([a - sums.values for a in answers]).astype(np.float64)
    sigma = multiplier * query.step.sensitivity(multiplier)
    low, high = stats.chi2.ppf([ALPHA, 1 - ALPHA], noise.size) / noise.size
    assert low < (noise**2).mean() / sigma**2 < high
    assert 0.8 < low < high < 1.2
    assert {a.dtype for a in answers} == {np.dtype(np.int64)}
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 6 / math.sqrt(noise.size - 1)


def test_the_grid_is_never_finer_than_the_noise_can_be_drawn_for() -> None:
    for of in NETWORKS.values():
        for multiplier in (0.1, 100.0, 150.0, 5000.0):
            count, sigma = asked(of).draws(multiplier)
            assert count == length(of.network)
            assert sigma <= 2.0**24


def test_a_steps_noise_is_worth_what_integers_leave() -> None:
    """Where the noise is a few units: the largest loss at scale σ is that of continuous noise of sqrt(σ² - 4)."""
    query = asked(NETWORKS["ctgan"])
    multiplier = 6.0 / query.step.sensitivity(1.0)
    (event,) = query.events(multiplier)
    assert event.noise_multiplier == pytest.approx(multiplier * math.sqrt(1 - 4 / 36), rel=1e-12)


@EVERY_NETWORK
def test_the_sensitivity_is_the_clip_and_the_last_rounding(of: Architecture) -> None:
    """A unit for each weight whose inputs are no zeros and ones: there sums have fractions."""
    fractions = sum(int(layer.mask.sum()) for layer in of.network.layers if not (layer.one_hot or layer.constant))
    assert (of.kind == "ctgan") == (fractions == 0)
    for multiplier in (1.0, 300.0):
        asked_for = step(of)
        wanted = asked_for.units(multiplier) + math.sqrt(fractions)
        assert wanted <= asked_for.sensitivity(multiplier) <= wanted * (1 + 1e-9)


# The table and the state


def test_the_table_says_nothing_about_which_cells_are_merged() -> None:
    """Two tables of other persons: what a person adds is the same in both."""
    of = NETWORKS["ctgan"]
    query = GradientSum(step(of, sizes=(9, 8, 2)))
    merged = np.concatenate([np.arange(9) // 3, np.arange(8) // 2, np.arange(2)])
    query = query.with_state(write_state({"parameters": parameters(of, 1), "cells": merged.astype(np.float64)}))
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(0, k, 30) for k in (9, 8, 2)], 1).astype(np.int16)
    everybody = Codes(values, np.arange(30), (9, 8, 2))

    def before_noise(codes: Codes) -> np.ndarray:
        state = query.step.read(query.state)
        people = query.step.people(codes, state, SecureRandomness())
        return query.step.bounded(people, state["parameters"].astype(np.float64), 5.0, SecureRandomness()).values

    singles = [before_noise(replace(everybody, values=values[i : i + 1], persons=np.arange(1))) for i in range(30)]
    np.testing.assert_array_equal(before_noise(everybody), sum(singles))
