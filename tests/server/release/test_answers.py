"""Answers with errors: the arithmetic of noised tables, what is learnt in a rehearsal, and a user's questions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cohortium import between, other_than
from cohortium.cli import build
from cohortium.data.columns import Boolean, Categorical, Continuous, Ordinal
from cohortium.data.conditions.selection import everything
from cohortium.data.encoding import Codes, decode, encode
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError
from cohortium.queries.counts import Counts
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium.system.progress import Progress
from cohortium_server.generators import Generator, Measured, Sum, generator_class
from cohortium_server.generators.counted import CountedGenerator
from cohortium_server.release import Release, load_release
from cohortium_server.release.answers import Answers, stored
from cohortium_server.release.answers.errors import GROWTH, SCALES, Law, _grown
from cohortium_server.release.answers.noised import Noised
from cohortium_server.release.answers.products import Components, Products, Rows, Units
from cohortium_server.release.answers.rehearsal import rehearsed
from cohortium_server.release.answers.values import numbers

SCHEMA = Schema(
    columns=(
        Continuous(name="age", lower=0, upper=100, nullable=True),
        Categorical(name="ward", categories=("a", "b", "c")),
        Ordinal(name="pain", categories=(0, 1, 2, 3)),
        Boolean(name="sick", target=True),
    )
)
STUDY = Study(
    name="answers",
    schema=SCHEMA,
    privacy=Privacy(epsilon=1.0, delta=1e-6),
    generator=Sweep(components=20),
    institutions=(Institution(name="one"),),
)


@cache
def people(rows: int = 3000) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """Codes in which the sick are older, in more pain, and not in ward c."""
    rng = np.random.default_rng(3)
    sick = (rng.random(rows) < 0.3).astype(int)
    age = np.where(rng.random(rows) < 0.1, 101, np.clip(rng.normal(40 + 20 * sick, 12, rows).round(), 0, 100))
    ward = np.where(sick, rng.integers(0, 2, rows), rng.integers(1, 3, rows))
    return np.stack([age, ward, rng.binomial(3, 0.2 + 0.4 * sick), sick], 1).astype(np.int16)


def given_sums(study: Study, rows: np.ndarray[Any, np.dtype[np.int16]], seed: int) -> Generator:
    """A generator that was given sums of ``rows`` with noise of the study's law, which here a seed repeats."""
    rng, generator = np.random.default_rng(seed), generator_class(study.generator.kind)(study, seed)
    number, codes = 0, Codes(rows, np.arange(len(rows)), study.schema.sizes)
    while isinstance(query := generator.ask(), Counts):
        multiplier = plan(study).phase(number).multiplier
        scales = np.repeat(query.sigmas(multiplier), query.lengths) * query.grid
        values = query.contribute(codes, _Coins()).values + rng.normal(0, scales)
        generator.tell(Sum(query, np.rint(values).astype(np.int64), 1, multiplier))
        number += 1
    return generator


class _Coins:
    def words(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        return np.arange(count, dtype=np.uint64)


@cache
def answers() -> Answers:
    return Answers.of(STUDY, given_sums(STUDY, people(), 1))


QUESTIONS: tuple[tuple[Mapping[str, Any], str | None, Any], ...] = (
    ({}, None, lambda t: np.ones(len(t))),
    ({"sick": True}, None, lambda t: t[:, 3] == 1),
    ({"ward": "c", "sick": True}, None, lambda t: (t[:, 1] == 2) & (t[:, 3] == 1)),
    ({"age": None}, None, lambda t: t[:, 0] == 101),
    ({"age": between(40, 60)}, None, lambda t: (t[:, 0] >= 40) & (t[:, 0] <= 60)),
    ({"age": between(50), "ward": ["a", "b"]}, None, lambda t: (t[:, 0] >= 50) & (t[:, 0] < 101) & (t[:, 1] < 2)),
    ({"age": between(None, 30), "ward": other_than("a"), "pain": 0}, None,
     lambda t: (t[:, 0] <= 30) & (t[:, 1] > 0) & (t[:, 2] == 0)),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
def test_counts_and_shares_are_near_the_real_ones(number: int) -> None:
    """Within intervals of a level that hardly any miss, and which are no wider than the table."""
    where, _, real = QUESTIONS[number]
    count = float(real(people()).sum())
    answer = answers().answer(where, level=0.999)
    slack = 2 * (answer.high - answer.low)  # eight standard deviations and more: never, but for a fault
    assert answer.low - slack <= count <= answer.high + slack
    assert answer.high - answer.low < 900
    share = answers().answer(where, kind="share", level=0.999)
    assert share.estimate == pytest.approx(min(1.0, answer.estimate / answers().noised.rows))


def test_means_are_near_the_real_ones() -> None:
    for where, held in (({}, people()), ({"sick": True}, people()[people()[:, 3] == 1])):
        known = held[held[:, 0] < 101, 0]
        answer = answers().answer(where, of="age")
        assert abs(answer.estimate - known.mean()) < 8 * (answer.high - answer.low) / 4
        assert answer.low <= answer.estimate <= answer.high and answer.high - answer.low < 20
    pain = answers().answer({"age": between(50)}, of="pain")
    assert 0 <= pain.low < pain.high <= 3


@cache
def table() -> pd.DataFrame:
    """The people themselves, as rows that a release might have."""
    return decode(people(), SCHEMA, np.random.default_rng(0))


def of_rows(rows: pd.DataFrame) -> Answers:
    return replace(answers(), released=lambda: rows)


def test_a_mean_is_that_of_the_released_rows_where_nothing_contradicts_them() -> None:
    old = table()["age"] >= 50
    for where, own in (({}, table()["age"].mean()), ({"age": between(50)}, table()["age"][old].mean())):
        answer = of_rows(table()).answer(where, of="age")
        assert answer.estimate == pytest.approx(own) and answer.how == "the released rows and the noised counts"
        assert answer.low <= answer.estimate <= answer.high
    pain = pd.to_numeric(table()["pain"])
    assert of_rows(table()).answer({}, of="pain").estimate == pytest.approx(pain.mean())


def test_a_mean_of_rows_that_the_noised_tables_contradict_is_not_believed() -> None:
    """The interval is that of the noised tables, whatever was released; it reaches no further than to an estimate that noise allows."""
    wrong = table().assign(age=90.0)
    right, told_of = of_rows(table()).answer({}, of="age"), of_rows(wrong).answer({}, of="age")
    assert told_of.estimate == pytest.approx(told_of.high) and told_of.high < 70
    assert told_of.low == pytest.approx(right.low) and right.high <= told_of.high
    assert told_of.high - told_of.low < 2 * (right.high - right.low)


def test_the_mean_of_a_few_released_rows_is_too_random_to_be_answered() -> None:
    few = of_rows(table().assign(age=47.0).head(100)).answer({}, of="age")
    assert few == answers().answer({}, of="age") and few.how == "the model and the noised counts"


def test_a_mean_in_wide_bounds_is_as_narrow_as_nonnegative_counts_allow() -> None:
    """Bounds a hundred times too wide: half of what least squares of the noised counts would say, or less."""
    wide = replace(SCHEMA, columns=(replace(SCHEMA.columns[0], upper=10_000), *SCHEMA.columns[1:]))
    study, known = replace(STUDY, schema=wide), table()["age"].dropna()
    rows = encode(table(), wide).values
    value, weights = numbers(wide.columns[0], everything(wide.columns[0])), np.ones(wide.sizes[0])
    weights[-1] = 0  # of missing values
    narrower = []
    for seed in (9, 10, 11):
        answer = (asked := Answers.of(study, given_sums(study, rows, seed))).answer({}, of="age")
        _, (variance,) = asked.noised.sums(Products((0,), ((weights * (value.mean - known.mean()))[None],)))
        assert answer.low <= known.mean() <= answer.high
        narrower.append((answer.high - answer.low) / (2 * 1.96 * variance**0.5 / len(known)))
    assert np.median(narrower) < 1 / 2


def test_counts_at_all_levels_are_put_together_by_least_squares() -> None:
    """As the whole system of equations, solved without a short cut, would have it; values and variances."""
    rng = np.random.default_rng(1)
    cells = [None, np.arange(30) // 4, np.arange(30) // 15, np.sort(rng.integers(0, 5, 30))]
    cells[3] = np.unique(cells[3], return_inverse=True)[1]
    maps = [np.eye(30)[c] if c is None else np.eye(c.max() + 1)[c] for c in (np.arange(30), *cells[1:])]
    sigmas, true = [3.0, 2.0, 1.0, 0.7], rng.integers(0, 50, 30).astype(float)
    counts = [m.T @ true + rng.normal(0, s, m.shape[1]) for m, s in zip(maps, sigmas, strict=True)]
    tables = [Measured((0,), n, s, (c,)) for n, s, c in zip(counts, sigmas, cells, strict=True)]
    precision = sum(m @ m.T / s**2 for m, s in zip(maps, sigmas, strict=True))
    best = np.linalg.solve(precision, sum(m @ n / s**2 for m, n, s in zip(maps, counts, sigmas, strict=True)))
    weights = rng.normal(size=(4, 30))
    value, variance = Noised((30, 2), tables).sums(Products((0,), (weights,)))
    np.testing.assert_allclose(value, weights @ best)
    np.testing.assert_allclose(variance, np.einsum("qi,ij,qj->q", weights, np.linalg.inv(precision), weights))


def test_counts_at_all_levels_are_stored_as_they_are() -> None:
    """Whichever cells each is over: single ones, those of pairs, and the groups of levels."""
    wide = replace(SCHEMA, columns=(replace(SCHEMA.columns[0], upper=10_000), *SCHEMA.columns[1:]))
    study = replace(STUDY, schema=wide)
    noised = Answers.of(study, given_sums(study, encode(table(), wide).values, 9)).noised
    assert len({0 if t.cells[0] is None else len(t.counts) for t in noised.tables if t.columns == (0,)}) == 3
    again, _ = stored.read(wide.sizes, stored.tensors(noised))
    for one, other in zip(noised.tables, again.tables, strict=True):
        assert (one.columns, one.sigma) == (other.columns, pytest.approx(other.sigma))
        np.testing.assert_allclose(one.counts, other.counts, rtol=1e-6)
        for mine, theirs in zip(one.cells, other.cells, strict=False):
            assert (mine is None) == (theirs is None) and (mine is None or np.array_equal(mine, theirs))


@pytest.mark.parametrize("edition", [1, 2])
def test_a_release_that_is_loaded_is_fitted_again_to_the_tables_of_pairs(edition: int) -> None:
    """As the one that was fitted is: the tables of single columns, which come first, are over other cells."""
    study = replace(STUDY, edition=edition)
    fitted = given_sums(study, encode(table(), SCHEMA).values, 9)
    loaded = generator_class("sweep").from_tensors(study, fitted.tensors())
    assert isinstance(fitted, CountedGenerator) and isinstance(loaded, CountedGenerator)
    one, other = (g.refitted(fitted.measured, 1).tensors() for g in (fitted, loaded))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_higher_level_is_a_wider_interval() -> None:
    for where, _, _ in QUESTIONS:
        widths = [a.high - a.low for a in (answers().answer(where, level=p) for p in (0.5, 0.9, 0.95, 0.99))]
        assert widths == sorted(widths) and widths[0] < widths[-1]


def test_no_answer_is_beyond_what_can_be() -> None:
    nobody = {"age": between(99), "ward": "c", "sick": True}
    assert answers().answer(nobody).low == 0
    assert 0 <= answers().answer(nobody, kind="share").low <= answers().answer(nobody, kind="share").high <= 1
    lost = answers().answer({"ward": "c", "sick": True}, of="age")
    assert (lost.low, lost.high) == (0, 100) or 0 <= lost.low < lost.high <= 100


def test_too_few_rows_for_a_mean_give_the_bounds() -> None:
    lost = answers().answer({"age": between(98, 99), "ward": "c"}, of="pain")
    assert (lost.low, lost.high) == (0, 3)
    assert lost.how.startswith("the column's bounds")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"where": {"nothing": 1}}, "E_CONDITION"),
        ({"where": {"ward": "z"}}, "E_CONDITION"),
        ({"where": {}, "of": "nothing"}, "E_CONDITION"),
        ({"where": {}, "of": "ward"}, "E_ANSWER"),
        ({"where": {}, "of": "age", "kind": "count"}, "E_ANSWER"),
        ({"where": {}, "kind": "mean"}, "E_ANSWER"),
        ({"where": {}, "kind": "median"}, "E_ANSWER"),
        ({"where": {}, "level": 1.0}, "E_ANSWER"),
        ({"where": {"ward": "a", "pain": 1, "sick": True}, "of": "age"}, "E_ANSWER"),
        ({"where": {"ward": "a", "pain": 1, "sick": True, "age": 3}}, "E_ANSWER"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, Any], code: str) -> None:
    with pytest.raises(ReleaseError) as error:
        answers().answer(**asked)
    assert error.value.code == code


def test_what_is_stored_answers_alike() -> None:
    again = Answers.read(SCHEMA, answers().generator, answers().tensors())
    for where, _, _ in QUESTIONS:
        one, two = answers().answer(where), again.answer(where)
        assert (one.low, one.estimate, one.high) == pytest.approx((two.low, two.estimate, two.high), abs=0.01)


@pytest.mark.parametrize("name", ["counts", "sigma", "columns", "cells"])
def test_stored_tables_of_another_shape_are_refused(name: str) -> None:
    tensors = answers().tensors()
    for broken in (tensors[name][:-1], np.full(tensors[name].shape, np.nan), None):
        touched = {k: v for k, v in {**tensors, name: broken}.items() if v is not None}
        with pytest.raises(ReleaseError) as error:
            stored.read(SCHEMA.sizes, touched)
        assert error.value.code == "E_RELEASE_TOUCHED"


def test_a_trained_kind_answers_single_columns_and_no_more() -> None:
    study = replace(STUDY, generator=Autoregressive(rounds=1))
    generator = given_sums(study, people(), 5)  # the first round alone: its noised columns
    by_noise = Answers.of(study, generator)
    assert not by_noise.errors[0]
    answer = by_noise.answer({"ward": ["a", "b"]}, level=0.999)
    assert answer.how == "the noised counts"
    assert abs(answer.estimate - (people()[:, 1] < 2).sum()) < 3 * (answer.high - answer.low)
    with pytest.raises(ReleaseError) as error:
        by_noise.answer({"ward": "a", "sick": True})
    assert error.value.code == "E_ANSWER"


# The noised tables by themselves


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_rows_and_noiseless_tables_say_the_same(seed: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = (3, 4, 2)
    rows = rng.integers(0, sizes, (40, 3)).astype(np.int16)
    columns = tuple(sorted(rng.choice(3, order, replace=False).tolist()))
    products = Products(columns, tuple(rng.normal(size=(5, sizes[j])) for j in columns))
    counts = np.zeros(sizes)
    np.add.at(counts, tuple(rows.T), 1)
    value, variance = Noised(sizes, (Measured((0, 1, 2), counts, 2.0),)).sums(products)
    assert value == pytest.approx(len(rows) * Rows(rows, sizes).expected(products), abs=1e-9)
    others = np.prod([k for j, k in enumerate(sizes) if j not in columns])
    assert variance == pytest.approx(4 * others * np.prod([(w**2).sum(1) for w in products.weights], axis=0))


@given(st.integers(0, 2**32))
def test_fine_and_merged_counts_together_are_least_squares(seed: int) -> None:
    """Against the normal equations, written down."""
    rng = np.random.default_rng(seed)
    cells = np.array([0, 0, 1, 2, 2, 2])
    sizes, fine, merged = (6, 2), rng.normal(20, 5, 6), rng.normal(40, 5, (3, 2))
    tables = (Measured((0,), fine, 3.0), Measured((0, 1), merged, 1.5, (cells, None)))
    weights = rng.normal(size=(4, 6))
    value, variance = Noised(sizes, tables).sums(Products((0,), (weights,)))
    group = (cells == np.arange(3)[:, None]).astype(float)
    precision = np.eye(6) / 9 + group.T @ group / (2 * 1.5**2)
    best = np.linalg.solve(precision, fine / 9 + group.T @ merged.sum(1) / (2 * 1.5**2))
    assert value == pytest.approx(weights @ best)
    assert variance == pytest.approx(np.einsum("ni,ij,nj->n", weights, np.linalg.inv(precision), weights))


def test_a_sum_within_a_merged_cell_is_not_estimated_from_pairs() -> None:
    cells = np.array([0, 0, 1])
    noised = Noised((3, 2), (Measured((0, 1), np.ones((2, 2)), 1.0, (cells, None)),))
    weights = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    _, variance = noised.sums(Products((0, 1), (weights, np.ones((2, 2)))))
    assert np.isfinite(variance).tolist() == [True, False]


@given(st.integers(0, 2**32))
def test_components_and_their_rows_expect_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chances = [rng.dirichlet(np.ones(k), 3) for k in (2, 4)]
    model = Components(2, lambda j: chances[j])
    weights = Products((0, 1), (np.eye(2)[:1], np.eye(4)[2:3]))
    assert model.expected(weights) == pytest.approx((chances[0][:, 0] * chances[1][:, 2]).mean())
    assert model.profile(1, {0: np.array([1.0, 0.0])})[2] == pytest.approx(model.expected(weights)[0])
    drawn = Rows(model.drawn(4000, rng), (2, 4))
    assert drawn.expected(weights) == pytest.approx(model.expected(weights), abs=6 * 0.5 / 4000**0.5)
    assert drawn.profile(1, {0: np.array([1.0, 0.0])})[2] == pytest.approx(drawn.expected(weights)[0])


def test_the_mean_of_a_cell_lies_in_it() -> None:
    column = Continuous(name="x", lower=-10, upper=1000, scale="asinh", points=(0.0,), bins=20, nullable=True)
    values = numbers(column, everything(column))
    steps = np.arange(column.grid) + column.lower
    for cell, (first, last) in enumerate(zip(column.cuts[:-1], column.cuts[1:] - 1, strict=True)):
        inside = steps[first : last + 1]
        assert inside[0] - 1e-9 <= values.mean[cell] <= inside[-1] + 1e-9
        assert values.reach[cell] <= (inside[-1] - inside[0]) / 2 + 1e-9
    assert values.mean[len(column.cuts) - 1] == 0 and values.mean[-1] == 0


# The rehearsal


def test_a_rehearsal_has_as_many_rows_and_the_same_noise() -> None:
    generator = given_sums(STUDY, people(), 2)
    assert isinstance(generator, CountedGenerator)
    (rehearsal,) = rehearsed(generator, Noised(SCHEMA.sizes, generator.measured), [7])
    assert len(rehearsal.truth.codes) == generator.rows
    for twin, table in zip(rehearsal.noised.tables, generator.measured, strict=True):
        assert (twin.columns, twin.sigma, twin.counts.shape) == (table.columns, table.sigma, table.counts.shape)
    column = Products((1,), (np.eye(3),))
    _, noises, variance = rehearsal.errors(column)
    assert (np.abs(noises) < 8 * np.sqrt(variance)).all()


def test_rehearsals_side_by_side_are_what_they_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit: a release's bytes follow from its seed, on any number of processors."""
    generator = given_sums(STUDY, people(), 2)
    beside = Answers.of(STUDY, generator).tensors(learn=True)

    def in_turn(works: Sequence[Callable[[Progress], Units]], progress: Progress) -> list[Units]:
        return [work(progress) for work in works]

    monkeypatch.setattr("cohortium_server.release.answers.rehearsal.side_by_side", in_turn)
    alone = Answers.of(STUDY, generator).tensors(learn=True)
    assert beside.keys() == alone.keys()
    assert all(beside[name].tobytes() == alone[name].tobytes() for name in alone)


def test_laws_are_of_positive_variance_and_tails_are_chances() -> None:
    laws, tails = answers().errors
    assert set(laws) == {"2", "3", "3 apart"}
    assert tails.shape == SCALES.shape and tails.sum() == pytest.approx(1)
    for law in laws.values():
        g = law.variance(np.stack([law.centre, law.centre + 100 * law.scale]))
        assert (law.grown(g) >= g).all() and (g > 0).all()
        assert 0 <= law.overlap <= 1


def test_growth_is_found_in_gaps_that_noise_does_not_hide() -> None:
    """Errors four times as large as rehearsed, and noise of a tenth of that."""
    rng, one = np.random.default_rng(4), np.ones(1)
    g = np.exp(rng.normal(3, 1, 20_000))
    gaps = rng.normal(0, np.sqrt(4 * g)) + rng.normal(0, np.sqrt(0.4 * g))
    law = _grown(Law(one, one, one, overlap=0.0, middle=(3.0, 1.0)), g, gaps, 0.4 * g, np.ones(len(g)))
    assert law.grown(g) == pytest.approx(4 * g, rel=0.2)


def test_growth_that_noise_hides_is_the_usual_and_more() -> None:
    g, one = np.full(2000, 1.0), np.ones(1)
    gaps = np.random.default_rng(4).normal(0, 100, len(g))
    law = _grown(Law(one, one, one, overlap=0.0), g, gaps, np.full(len(g), 1e4), np.ones(len(g)))
    assert law.grown(g[:1])[0] == pytest.approx(math.exp(GROWTH[0] + GROWTH[1]), rel=0.05)


def test_single_columns_and_noised_tables_alone_need_no_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release's report asks so, and single columns are always answered so."""
    monkeypatch.setattr(CountedGenerator, "refitted", lambda *_: pytest.fail("it was fitted again"))
    generator = given_sums(STUDY, people(), 4)
    for where in ({}, {"sick": True}, {"age": between(20, 33)}):
        assert Answers.of(STUDY, generator).answer(where).how == "the noised counts"
    assert Answers.of(STUDY, generator).answer({}, "age").how == "the model and the noised counts"
    alone = Answers.of(STUDY, generator, alone=True)
    assert alone.answer({"ward": "a", "sick": True}).how == "the noised counts"
    assert alone.answer({"age": between(20, 33), "sick": True}).how == "the noised counts"


def test_what_differs_within_merged_cells_is_estimated_from_fine_counts() -> None:
    """Independent columns, hardly any noise, and a range that ends within merged cells: the truth."""
    study = replace(STUDY, privacy=Privacy(epsilon=20.0, delta=1e-6))
    rng = np.random.default_rng(8)
    age = np.where(rng.random(6000) < 0.5, rng.integers(0, 10, 6000), rng.integers(0, 101, 6000))
    rows = np.stack([age, rng.integers(0, 3, 6000), rng.integers(0, 4, 6000), rng.integers(0, 2, 6000)], 1)
    alone = Answers.of(study, given_sums(study, rows.astype(np.int16), 6), alone=True)
    cells = alone.model.merged[0]
    first = next(k for k in range(40, 60) if cells[k] == cells[k - 1])
    answer = alone.answer({"age": between(first, 80), "ward": "a"}, level=0.999)
    real = int(((age >= first) & (age <= 80) & (rows[:, 1] == 0)).sum())
    assert abs(answer.estimate - real) < 2 * (answer.high - answer.low) < 200


def test_the_same_question_has_the_same_answer() -> None:
    again = Answers.of(STUDY, given_sums(STUDY, people(), 1))
    for where, _, _ in QUESTIONS:
        assert again.answer(where) == answers().answer(where)


# As a user


def test_a_user_asks_a_release(release: Release) -> None:
    loaded = load_release(release.path)
    name = next(c.name for c in loaded.schema.columns if isinstance(c, Categorical))
    value = loaded.synthetic[name].mode()[0]
    answer = loaded.query({name: value}, kind="share")
    assert answer.low <= answer.estimate <= answer.high
    typed = ["query", str(release.path), "--where", f"{name}={value}", "--kind", "share"]
    shown = CliRunner().invoke(build(), [*typed, "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout) == asdict(answer)
    words = CliRunner().invoke(build(), typed)
    assert "with a chance of 0.95" in words.stdout


def test_a_release_without_tables_has_no_answers(release: Release, tmp_path: Path) -> None:
    bare = replace(release, path=tmp_path)
    with pytest.raises(ReleaseError) as error:
        bare.query({})
    assert error.value.code == "E_ANSWER"
