"""What every generator keeps; a new one inherits ``GeneratorContract``."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import TypeAdapter
from visits import everybody

from cohortium.data.encoding import encode
from cohortium.data.schema import Schema, schema_from_document
from cohortium.errors import ReleaseError
from cohortium.privacy.randomness import SecureRandomness
from cohortium.study.generators import GeneratorPlan
from cohortium.study.plan import plan
from cohortium.study.study import Study
from cohortium_server.generators import Generator, Sum, generator_class

SHORT = {"rounds": 4, "steps": 5}
QUICK: dict[str, dict[str, Any]] = {
    "sweep": {"components": 60},
    "histories": {"components": 60},
    "pgm": {"method": "mst"},
    "autoregressive": SHORT,
    "diffusion": {"rounds": 12, "steps": 5},  # the momentum of changes takes some rounds to settle
    "tvae": {**SHORT, "hidden": 16},
}
APART = {"diffusion": 0.09}  # each of its conditionals is learnt by itself: they agree as far as they are learnt
CODES = np.int16


def fitted(study: Study, tables: dict[str, Any], seed: int = 1) -> Generator:
    """A generator that has received everything it asks for."""
    generator: Generator = generator_class(study.generator.kind)(study, seed)
    codes = [encode(tables[name], study.schema) for name in study.institution_names]
    agreed, number = plan(study), 0
    while (query := generator.ask()) is not None:
        phase = agreed.phase(number)
        assert query.with_state(b"") if not query.state else query.state, "the query is the plan's"
        assert replace_state(query) == replace_state(phase.query)
        answers = [query.answer(c, phase.multiplier, SecureRandomness()).values for c in codes]
        generator.tell(Sum(query, np.sum(answers, axis=0), len(answers), phase.multiplier))
        number += 1
    assert number == agreed.rounds
    return generator


def replace_state(query: Any) -> Any:
    return replace(query, state=b"") if query.state else query


@functools.cache
def fitted_once(study: Study) -> Generator:
    """For tests that only draw from it."""
    return fitted(study, everybody())


class GeneratorContract:
    """``kind`` is the generator's; a subclass may have a ``study`` of its own."""

    @pytest.fixture
    def study(self, kind: str, study: Study) -> Study:
        chosen = TypeAdapter(GeneratorPlan).validate_python({"kind": kind, **QUICK.get(kind, {})})
        return replace(study, generator=chosen)

    @pytest.fixture
    def generator(self, study: Study) -> Generator:
        return fitted_once(study)

    def test_samples_have_the_rows_and_cells_asked_for(self, generator: Generator, study: Study) -> None:
        for rows in (1, 2, 777):
            codes = generator.sample(rows, np.random.default_rng(0), {})
            assert codes.shape == (rows, len(study.schema.columns))
            assert codes.dtype == CODES
            assert (codes >= 0).all()
            assert (codes < np.array(study.schema.sizes)).all()

    def test_a_seed_repeats_a_sample_and_another_does_not(self, generator: Generator) -> None:
        one, two, three = (generator.sample(200, np.random.default_rng(s), {}) for s in (5, 5, 6))
        assert (one == two).all()
        assert (one != three).any()

    def test_conditions_hold_in_every_row_and_none_is_missing(self, generator: Generator, study: Study) -> None:
        sizes = study.schema.sizes
        rare = np.zeros(sizes[2])
        rare[-1] = 0.5
        some = np.zeros(sizes[1])
        some[[0, 3]] = 1, 0.01
        codes = generator.sample(300, np.random.default_rng(0), {1: some, 2: rare})
        assert len(codes) == 300
        assert set(codes[:, 1]) <= {0, 3}
        assert set(codes[:, 2]) == {sizes[2] - 1}

    @pytest.mark.parametrize(
        "allowed", [{5: np.array([0.0, 1.0])}, {1: np.array([0.1, 0, 0, 0.4, 1]), 5: np.array([0.25, 1.0])}]
    )
    def test_conditioning_is_bayes_rule(
        self, generator: Generator, kind: str, allowed: dict[int, npt.NDArray[np.float64]]
    ) -> None:
        """A conditioned sample is distributed as a plain sample's rows, each kept with the chance that is allowed."""
        everything, rng = generator.sample(60_000, np.random.default_rng(1), {}), np.random.default_rng(3)
        chances = np.prod([weights[everything[:, j]] for j, weights in allowed.items()], axis=0)
        met = everything[rng.random(len(everything)) < chances]
        conditioned = generator.sample(20_000, np.random.default_rng(2), allowed)
        for column in range(6):
            shares = [np.bincount(t[:, column], minlength=8) / len(t) for t in (met, conditioned)]
            assert 0.5 * np.abs(shares[0] - shares[1]).sum() < APART.get(kind, 0.03)

    def test_what_is_impossible_still_gives_rows(self, generator: Generator, study: Study) -> None:
        """The release looks at them, and says what is wrong."""
        allowed = {5: np.zeros(2), 2: np.zeros(study.schema.sizes[2])}
        assert len(generator.sample(50, np.random.default_rng(0), allowed)) == 50

    def test_the_noised_rows_are_near_and_measurements_are_kept(self, generator: Generator) -> None:
        assert 3000 < generator.rows < 3600  # 3,300 persons, one row each
        assert generator.measured
        assert all(m.sigma > 0 and np.isfinite(m.counts).all() for m in generator.measured)

    def test_single_columns_are_learnt(self, generator: Generator, tables: dict[str, Any], study: Study) -> None:
        real = np.concatenate([encode(t, study.schema).values for t in tables.values()])
        synthetic = generator.sample(20_000, np.random.default_rng(0), {})
        for column, size in enumerate(study.schema.sizes):
            shares = [np.bincount(t[:, column], minlength=size) / len(t) for t in (real, synthetic)]
            assert 0.5 * np.abs(shares[0] - shares[1]).sum() < 0.1

    def test_rows_are_completed_and_what_is_known_stays(self, generator: Generator, study: Study) -> None:
        rng, sizes = np.random.default_rng(0), study.schema.sizes
        codes = generator.sample(400, rng, {})
        known = rng.random(codes.shape) < 0.5
        known[0], known[1] = True, False
        kept = np.zeros(sizes[1])
        kept[:2] = 1, 0.2
        filled = generator.complete(np.where(known, codes, 0).astype(CODES), known, rng, {1: kept})
        assert filled.dtype == CODES
        assert (filled[known] == codes[known]).all()
        assert (filled < np.array(sizes)).all()
        assert (filled[~known[:, 1], 1] < 2).all()

    def test_what_is_filled_in_is_distributed_as_the_model_has_it(self, generator: Generator) -> None:
        """The last column given the others, against rows drawn whole."""
        codes = generator.sample(20_000, np.random.default_rng(1), {})
        known = np.ones(codes.shape, bool)
        known[:, 5] = False
        filled = generator.complete(codes, known, np.random.default_rng(2), {})
        for column in range(5):
            shares = [np.bincount(2 * t[:, column] + t[:, 5], minlength=40) / len(t) for t in (codes, filled)]
            assert 0.5 * np.abs(shares[0] - shares[1]).sum() < 0.05

    def test_its_curves_are_numbers(self, generator: Generator) -> None:
        for curve in generator.curves:
            assert np.isfinite(curve.values).all()

    def test_tensors_bring_the_same_generator_back(self, generator: Generator, study: Study) -> None:
        again = generator_class(study.generator.kind).from_tensors(study, generator.tensors())
        one, two = (g.sample(500, np.random.default_rng(3), {}) for g in (generator, again))
        assert (one == two).mean() > 0.99

    def test_foreign_tensors_are_refused(self, generator: Generator, study: Study) -> None:
        own = generator_class(study.generator.kind)
        (name, tensor), *_ = generator.tensors().items()
        for wrong in ({}, {name: tensor[..., :-1]}, {"x": tensor}, {name: np.full_like(tensor, np.nan)}):
            with pytest.raises(ReleaseError):
                own.from_tensors(study, wrong)

    def test_a_table_without_rows_still_gives_rows(self, study: Study, tables: dict[str, Any]) -> None:
        generator = fitted(study, {name: t.iloc[:0] for name, t in tables.items()})
        assert len(generator.sample(10, np.random.default_rng(0), {})) == 10
        assert generator.rows >= 1

    def test_one_column_is_enough(self, study: Study, tables: dict[str, Any]) -> None:
        single: Schema = schema_from_document({"column": [{"name": "urgent", "kind": "boolean"}]})
        generator = fitted(replace(study, schema=single), tables)
        share = generator.sample(4000, np.random.default_rng(0), {}).mean()
        real = np.concatenate([t["urgent"] for t in tables.values()]).mean()
        assert abs(share - real) < 0.1
