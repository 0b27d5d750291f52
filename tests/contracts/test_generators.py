"""What every installed generator must do. A new one joins by being installed (entry points cohortium.generators), or as a
subclass of ``GeneratorContract`` (test_examples.py).
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
from generator_contract import QUICK, GeneratorContract, fitted
from pydantic import TypeAdapter
from scipy import stats

from cohortium.neural.drawing import resampled, sobol
from cohortium.study.generators import GeneratorPlan
from cohortium.study.plan import plan
from cohortium.study.study import Study

KINDS = sorted(e.name for e in entry_points(group="cohortium.generators"))
COUNTED = {"sweep", "pgm", "histories"}  # which are fitted to counts alone


@pytest.mark.parametrize("kind", KINDS)
class TestEveryGenerator(GeneratorContract):
    """Those that are installed."""


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in COUNTED])
def test_a_warm_start_is_paid_from_the_same_budget(kind: str, study: Study, tables: dict[str, Any]) -> None:
    chosen = TypeAdapter(GeneratorPlan).validate_python({"kind": kind, **QUICK.get(kind, {}), "warm_start": 0.4})
    warm = replace(study, generator=chosen)
    cold = replace(study, generator=replace(chosen, warm_start=0.0))
    assert [p.name for p in plan(warm).phases] == ["columns", "pairs", "training"]
    assert plan(warm).cost.epsilon <= study.privacy.epsilon
    assert plan(warm).phases[-1].multiplier > plan(cold).phases[-1].multiplier
    generator = fitted(warm, tables)
    assert {len(m.columns) for m in generator.measured} >= {1, 2}
    assert generator.sample(50, np.random.default_rng(0), {}).shape == (50, len(study.schema.columns))


def test_resampling_a_sobol_sequence_fills_the_cube() -> None:
    """Every eighth point of one does not: at equal weights the chosen ones must spread as all of them do."""
    (points,) = sobol(1 << 14, 4, np.random.default_rng(0))
    chosen = points[resampled(np.zeros(1 << 14), 1 << 11, np.random.default_rng(1))]
    counts = np.bincount((chosen > 0.5) @ np.array([1, 2, 4, 8]), minlength=16)
    assert counts.sum() == 1 << 11
    assert stats.chisquare(counts).pvalue > 1e-7
    weights = np.where(points[:, 0] > 0.75, 0.0, -np.inf)
    assert (points[resampled(weights, 500, np.random.default_rng(1)), 0] > 0.75).all()


def test_all_generators_are_installed() -> None:
    assert {"sweep", "autoregressive", "diffusion", "tvae", "ctgan"} <= set(KINDS)
