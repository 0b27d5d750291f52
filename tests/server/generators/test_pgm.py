"""Graphical models: their algebra against brute force, what is chosen, how it is fitted, and a study from one end to the other.

Fitting needs the extra ``pgm``; what does is skipped where it is not installed.
"""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.encoding import encode
from cohortium.data.schema import schema_from_document
from cohortium.errors import ReleaseError, StudyError
from cohortium.privacy.randomness import SecureRandomness
from cohortium.study.generators import Pgm as PgmPlan
from cohortium.study.generators import Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Study
from cohortium.system.progress import Silent
from cohortium_server.generators import Sum, generator_class
from cohortium_server.generators.choosing import gain, misfits, more, tree
from cohortium_server.generators.chordal import Chordal, Step, conditional, drawing_order, largest, model_cells, shape
from cohortium_server.generators.pgm import Pgm, estimated
from cohortium_server.generators.shares import Table, single_columns

fitting = pytest.mark.skipif(find_spec("mbi") is None, reason="the extra pgm is not installed")
SIZES = (2, 3, 2, 4, 3)
FloatArray = npt.NDArray[np.float64]
cliques = st.lists(
    st.lists(st.integers(0, len(SIZES) - 1), min_size=2, max_size=3, unique=True).map(lambda c: tuple(sorted(c))),
    max_size=6,
)


def random_model(wanted: Any, seed: int, sizes: tuple[int, ...] = SIZES) -> Chordal:
    rng, steps = np.random.default_rng(seed), drawing_order(wanted, sizes)
    return Chordal(sizes, steps, tuple(conditional(rng.gamma(0.5, size=shape(s, sizes))) for s in steps))


def joint(model: Chordal) -> FloatArray:
    """(cells of every column ...) the model's chance of every row, multiplied out."""
    rows = np.indices(model.sizes)
    whole = np.ones(model.sizes)
    for step, chances in zip(model.steps, model.chances, strict=True):
        whole *= chances[tuple(rows[j] for j in step.scope)]
    return whole


def counted(codes: npt.NDArray[np.int16], sizes: tuple[int, ...] = SIZES) -> FloatArray:
    cells = np.ravel_multi_index(tuple(codes.astype(np.int64).T), sizes)
    return np.bincount(cells, minlength=math.prod(sizes)).reshape(sizes) / len(codes)


def apart(one: FloatArray, other: FloatArray) -> float:
    return float(0.5 * np.abs(one - other).sum())


def noised(model: Chordal, tables: list[tuple[int, ...]], sigma: float, seed: int = 0) -> list[Table]:
    rng, whole = np.random.default_rng(seed), joint(model)
    reported = []
    for columns in tables:
        shares = whole.sum(tuple(j for j in range(whole.ndim) if j not in columns))
        reported.append(Table(columns, shares + rng.normal(0, sigma, shares.shape), sigma))
    return reported


def nobody(columns: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.zeros([SIZES[j] for j in columns], bool)


class TestChordal:
    @given(cliques)
    def test_elimination_gives_a_chordal_order(self, wanted: list[tuple[int, ...]]) -> None:
        steps = drawing_order(wanted, SIZES)
        assert sorted(s.column for s in steps) == list(range(len(SIZES)))
        before: list[Step] = []
        for step in steps:
            assert set(step.parents) <= {s.column for s in before}
            assert not step.parents or any(set(step.parents) <= set(s.scope) for s in before)
            before.append(step)
        for clique in wanted:
            assert any(set(clique) <= set(s) for s in largest(steps))
        assert model_cells(steps, SIZES) == sum(math.prod(SIZES[j] for j in c) for c in largest(steps))

    def test_a_tree_stays_a_tree(self) -> None:
        steps = drawing_order([(0, 1), (1, 2), (1, 3), (3, 4)], SIZES)
        assert set(map(len, largest(steps))) == {2}

    @settings(max_examples=examples(8))
    @given(cliques, st.integers(0, 99))
    def test_rows_are_drawn_as_the_model_has_them(self, wanted: list[tuple[int, ...]], seed: int) -> None:
        model = random_model(wanted, seed)
        assert apart(counted(model.draw(1 << 15, np.random.default_rng(seed), {})), joint(model)) < 0.04

    @settings(max_examples=examples(8))
    @given(cliques, st.integers(0, 99))
    def test_weights_of_cells_multiply_the_chances(self, wanted: list[tuple[int, ...]], seed: int) -> None:
        model = random_model(wanted, seed)
        weights = {1: np.array([0.0, 1, 0.3]), 3: np.array([1, 0.1, 0, 0.5])}
        reported = joint(model) * weights[1][:, None, None, None] * weights[3][:, None]
        drawn = counted(model.draw(1 << 15, np.random.default_rng(seed), weights))
        assert drawn[:, 0].sum() == drawn[:, :, :, 2].sum() == 0
        assert apart(drawn, reported / reported.sum()) < 0.04

    @settings(max_examples=examples(8))
    @given(cliques, st.integers(0, 99), st.sets(st.integers(0, len(SIZES) - 1)))
    def test_blanks_are_filled_as_bayes_has_it(self, wanted: list[tuple[int, ...]], seed: int, known: set[int]) -> None:
        """Rows of one kind, at whatever is known; then of many kinds at once."""
        model, rng, rows = random_model(wanted, seed), np.random.default_rng(seed), 1 << 14
        row = np.array([rng.integers(k) for k in SIZES], np.int16)
        mask = np.isin(np.arange(len(SIZES)), list(known))
        filled = model.fill(np.tile(row, (rows, 1)), np.tile(mask, (rows, 1)), rng, {})
        assert (filled[:, mask] == row[mask]).all()
        at = tuple(row[j] if j in known else slice(None) for j in range(len(SIZES)))
        reported = np.zeros(SIZES)
        reported[at] = joint(model)[at] / joint(model)[at].sum()
        assert apart(counted(filled), reported) < 0.09

    def test_blanks_of_all_kinds_leave_the_model_as_it_is(self) -> None:
        model, rng = random_model([(0, 1, 2), (2, 3), (3, 4)], 1), np.random.default_rng(1)
        codes = model.draw(1 << 15, rng, {})
        known = rng.random(codes.shape) < 0.5
        filled = model.fill(np.where(known, codes, 0).astype(np.int16), known, rng, {})
        assert (filled[known] == codes[known]).all()
        assert apart(counted(filled), joint(model)) < 0.05

    def test_what_cannot_be_is_answered_all_the_same(self) -> None:
        steps = drawing_order([(0, 1), (1, 2)], SIZES)
        model = Chordal(SIZES, steps, tuple(conditional(np.zeros(shape(s, SIZES))) for s in steps))
        never = random_model([(0, 1)], 0).draw(20, np.random.default_rng(0), {1: np.zeros(3), 4: np.zeros(3)})
        known = np.ones((3, len(SIZES)), bool)
        known[:, 2] = False
        assert never.shape == (20, len(SIZES))
        assert model.fill(np.zeros((3, len(SIZES)), np.int16), known, np.random.default_rng(0), {}).shape == (
            3,
            len(SIZES),
        )
        assert (
            model.fill(
                np.zeros((0, len(SIZES)), np.int16), np.zeros((0, len(SIZES)), bool), np.random.default_rng(0), {}
            ).shape[0]
            == 0
        )

    @pytest.mark.parametrize(
        "steps",
        [
            (Step(0), Step(1)),
            (Step(0), Step(1), Step(1)),
            (Step(0, (1,)), Step(1), Step(2)),
            (Step(0), Step(1), Step(2, (1, 0))),
            (Step(0), Step(1), Step(2, (0, 1))),  # 0 and 1 are in no scope together
        ],
    )
    def test_other_graphs_are_refused(self, steps: tuple[Step, ...]) -> None:
        sizes = (2, 3, 2)
        with pytest.raises(ValueError, match=r"columns|parents"):
            Chordal(sizes, steps, tuple(np.full(shape(s, sizes), 0.5) for s in steps))

    def test_tables_of_another_shape_or_below_zero_are_refused(self) -> None:
        steps = (Step(0), Step(1, (0,)))
        for tables in ((np.ones(2), np.ones((3, 2))), (np.ones(2), -np.ones((2, 3)))):
            with pytest.raises(ValueError, match="chances"):
                Chordal((2, 3), steps, tables)


class TestChoosing:
    def test_single_columns_are_averaged_by_precision(self) -> None:
        model = random_model([(0, 1), (1, 2)], 3)
        exact = [
            Table(t.columns, t.shares, s)
            for t, s in zip(noised(model, [(0, 1), (0, 2)], 0.0), (0.01, 0.1), strict=True)
        ]
        spoilt = replace(exact[1], shares=exact[1].shares + 0.5)
        first = single_columns((2, 3, 2), [exact[0], spoilt])[0]
        weight = (1 / (3 * 0.01**2), 1 / (2 * 0.1**2))  # cells summed into one
        assert first.sigma == pytest.approx(sum(weight) ** -0.5)
        assert first.shares == pytest.approx(exact[0].shares.sum(1) + weight[1] / sum(weight))

    def test_a_true_model_has_no_misfit_and_another_has_its_distance(self) -> None:
        model, pairs = random_model([(0, 1), (2, 3)], 5), [(0, 1), (2, 3), (1, 3)]
        reported = noised(model, pairs, 1e-3)
        found = misfits(model, reported, np.random.default_rng(0))
        bound = [6 * t.sigma**2 * math.sqrt(2 * t.shares.size) + 1e-5 for t in reported]  # six standard deviations
        assert all(abs(f) < b for f, b in zip(found, bound, strict=True))
        apart_ = Chordal.independent(
            [t.shares.clip(1e-9) / t.shares.clip(1e-9).sum() for t in single_columns(SIZES[:4], reported)]
        )
        wrong = misfits(apart_, reported, np.random.default_rng(0))
        product = np.outer(joint(model).sum((1, 2, 3, 4)), joint(model).sum((0, 2, 3, 4)))
        assert wrong[0] == pytest.approx(((reported[0].shares - product) ** 2).sum(), rel=0.1, abs=1e-4)
        assert gain(reported[0], wrong[0]) > 0 > gain(reported[2], wrong[2])

    @given(st.lists(st.floats(-1, 1), min_size=10, max_size=10))
    def test_the_tree_is_a_maximum_spanning_forest(self, scores: list[float]) -> None:
        tables = [Table(p, np.ones((2, 2)), 1.0) for p in itertools.combinations(range(5), 2)]
        found = dict(zip([t.columns for t in tables], scores, strict=True))
        chosen = [t.columns for t in tree([*tables, Table((0, 1, 2), np.ones((2, 2, 2)), 1.0)], [*scores, 9.0])]
        best = max(
            math.fsum(found[p] for p in some)
            for k in range(5)
            for some in itertools.combinations(found, k)
            if _forest(some)
        )
        assert math.fsum(found[p] for p in chosen) == pytest.approx(best)
        assert _forest(chosen)

    def test_more_takes_the_largest_gains_that_fit(self) -> None:
        tables = [Table(p, np.ones((3, 3)), 0.01) for p in itertools.combinations(range(4), 2)]
        sizes, found = (3,) * 4, [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
        chosen = tables[:2]
        assert more(tables, found, chosen, sizes, 10**6) == tables[2:4]  # as many as there are
        assert more(tables, [0.0] * 6, chosen, sizes, 10**6) == []
        assert (
            more(tables, found, chosen, sizes, 27) == tables[2:3]
        )  # (0, 1), (0, 2), (0, 3): pairs; all else makes a triangle more
        assert more(tables, found, chosen, sizes, 18) == []


def _forest(pairs: Any) -> bool:
    group: dict[int, int] = {j: j for j in range(5)}
    for a, b in pairs:
        if group[a] == group[b]:
            return False
        old = group[b]
        group = {j: group[a] if g == old else g for j, g in group.items()}
    return True


@pytest.fixture(scope="module")
def fits() -> dict[str, Any]:
    """Three columns that depend on one another and two more, measured almost exactly: each method's model.

    zeros: of rows of which none are in a cell that is known to be impossible, but for noise.
    """
    truth = random_model([(0, 1), (1, 2), (0, 2), (2, 3), (3, 4)], 7)
    without = [
        np.where(np.arange(4) == 1, 0.0, c) if s.column == 3 else c
        for s, c in zip(truth.steps, truth.chances, strict=True)
    ]
    never = Chordal(SIZES, truth.steps, tuple(map(conditional, without)))
    tables = [*itertools.combinations(range(5), 2), (0, 1, 2)]

    def fitted(rounds: int, of: Chordal = truth, impossible: Any = nobody) -> Chordal:
        reported = noised(of, tables, 1e-3)
        return estimated(reported, SIZES, impossible, rounds, 1000, np.random.default_rng(0), Silent())

    return {"truth": truth, "mst": fitted(0), "aim": fitted(3), "zeros": fitted(0, never, _without_a_cell)}


def _without_a_cell(columns: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Nobody is in cell 1 of column 3."""
    found = nobody(columns)
    if 3 in columns:
        found[(slice(None),) * columns.index(3) + (1,)] = True
    return found


@fitting
class TestEstimating:
    def test_a_tree_of_pairs_is_fitted(self, fits: dict[str, Any]) -> None:
        model = fits["mst"]
        assert set(map(len, largest(model.steps))) == {2}
        for pair in largest(model.steps):
            others = tuple(j for j in range(5) if j not in pair)
            assert apart(joint(model).sum(others), joint(fits["truth"]).sum(others)) < 0.01

    def test_what_a_tree_misses_is_found(self, fits: dict[str, Any]) -> None:
        errors = {kind: apart(joint(fits[kind]), joint(fits["truth"])) for kind in ("mst", "aim")}
        assert errors["aim"] < 0.04
        assert errors["aim"] < 0.5 * errors["mst"]

    def test_what_is_impossible_has_no_chance(self, fits: dict[str, Any]) -> None:
        assert joint(fits["zeros"])[:, :, :, 1].sum() < 1e-9
        assert joint(fits["aim"])[:, :, :, 1].sum() > 1e-3

    def test_a_fit_is_nearer_to_the_truth_than_the_noised_tables(self) -> None:
        truth = random_model([(0, 1), (1, 2)], 8, (5, 6, 5))
        reported = noised(truth, [(0, 1), (1, 2), (0, 2)], 0.02)
        model = estimated(
            reported,
            (5, 6, 5),
            lambda c: np.zeros([(5, 6, 5)[j] for j in c], bool),
            0,
            1000,
            np.random.default_rng(0),
            Silent(),
        )
        for table in reported[:2]:
            others = tuple(j for j in range(3) if j not in table.columns)
            exact, fitted = joint(truth).sum(others), joint(model).sum(others)
            assert apart(fitted, exact) < 0.8 * apart(table.shares, exact)


@pytest.fixture
def pgm_study(study: Study) -> Study:
    return replace(study, generator=PgmPlan(method="mst"))


class TestStudies:
    def test_it_asks_what_sweep_asks(self, study: Study, pgm_study: Study) -> None:
        swept = replace(study, generator=Sweep())
        assert plan(pgm_study).phases == plan(swept).phases

    def test_without_the_extra_nothing_is_asked(self, pgm_study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cohortium_server.generators.estimating.find_spec", lambda name: None)
        with pytest.raises(StudyError, match=r"pip install .*\[pgm\]") as caught:
            generator_class("pgm")(pgm_study).ask()
        assert caught.value.code == "E_GENERATOR"

    @fitting
    def test_rows_are_drawn_without_the_extra(
        self, pgm_study: Study, tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fitted, (phase,) = Pgm(pgm_study, seed=1), plan(pgm_study).phases
        answers = [
            phase.query.answer(encode(t, pgm_study.schema), phase.multiplier, SecureRandomness())
            for t in tables.values()
        ]
        fitted.tell(Sum(phase.query, np.sum([a.values for a in answers], axis=0), len(answers), phase.multiplier))
        tensors = fitted.tensors()
        for name in ("mbi", "jax"):
            monkeypatch.setitem(sys.modules, name, None)
        again, rng, ward = Pgm.from_tensors(pgm_study, tensors), np.random.default_rng(0), np.array([1.0, 0, 0, 0])
        codes = again.sample(4000, rng, {2: ward})
        known = np.ones(codes.shape, bool)
        known[:, 1] = False
        for age in (codes[:, 1], again.complete(codes, known, rng, {})[:, 1]):
            assert (age >= 3).mean() > 0.9  # everybody in ward a is above 60


def _tensors(pgm_study: Study) -> dict[str, Any]:
    generator = Pgm(pgm_study)
    generator._model = random_model([(0, 1), (1, 2, 5), (3, 4)], 0, generator.sizes)
    return generator.tensors()


class TestTensors:
    def test_they_bring_the_model_back(self, pgm_study: Study) -> None:
        tensors = _tensors(pgm_study)
        again = Pgm.from_tensors(pgm_study, tensors)
        assert all((again.tensors()[k] == t).all() for k, t in tensors.items())

    @pytest.mark.parametrize(
        "change", ["column", "below", "repeated", "empty", "parents", "longer", "negative", "flat"]
    )
    def test_touched_ones_are_refused(self, pgm_study: Study, change: str) -> None:
        tensors = {k: t.copy() for k, t in _tensors(pgm_study).items()}
        steps, chances = tensors["steps"], tensors["chances"]
        match change:
            case "column":
                steps[0, 0] = len(steps)
            case "below":
                steps[0, -1] = -7
            case "repeated":
                steps[1] = steps[0]
            case "empty":
                steps[2] = -1
            case "parents":
                steps[:] = steps[::-1].copy()
            case "longer":
                tensors["chances"] = np.append(chances, 1).astype(np.float32)
            case "negative":
                chances[0] = -1
            case "flat":
                tensors["chances"] = chances[None]
        with pytest.raises(ReleaseError):
            Pgm.from_tensors(pgm_study, tensors)

    def test_one_column_is_a_model_too(self, pgm_study: Study) -> None:
        single = replace(pgm_study, schema=schema_from_document({"column": [{"name": "urgent", "kind": "boolean"}]}))
        generator = Pgm(single)
        generator._model = Chordal.independent([np.array([0.25, 0.75])])
        again = Pgm.from_tensors(single, generator.tensors())
        assert abs(again.sample(4096, np.random.default_rng(0), {}).mean() - 0.75) < 0.02
