"""Persons with numbers and words that go together, as many as one wants: rows to evaluate synthetic ones by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cohortium.data.columns import Boolean, Categorical, Continuous
from cohortium.data.schema import Schema

WARDS = ("a", "b", "c")
COHORT = Schema(
    name="cohort",
    person="pid",
    columns=(
        Categorical(name="ward", categories=WARDS),
        Continuous(name="age", lower=0, upper=100, decimals=2),
        Continuous(name="crp", lower=0, upper=400, decimals=3, nullable=True),
        Boolean(name="ill", target=True),
    ),
)


def cohort(persons: int, rng: np.random.Generator, first: int = 0) -> pd.DataFrame:
    """A row each; the older and the more crp, the likelier ill. first: the smallest identifier."""
    age = rng.normal(55, 18, persons).clip(0, 100).round(2)
    ward = np.array(WARDS)[np.minimum(2, rng.integers(0, 2, persons) + (age > 70))]
    crp = pd.Series((rng.gamma(1.5, 20, persons) + age / 4).clip(0, 400).round(3)).mask(rng.random(persons) < 0.1)
    ill = rng.random(persons) < 1 / (1 + np.exp(6 - age / 15 - crp.fillna(20) / 30))
    return pd.DataFrame({"pid": np.arange(first, first + persons), "ward": ward, "age": age, "crp": crp, "ill": ill})
