"""Tables of made-up people who visit a hospital, one for each institution."""

from __future__ import annotations

import numpy as np
import pandas as pd

NAMES = ("north", "south", "west")


def people(count: int, seed: int) -> pd.DataFrame:
    """A table in which age, ward, urgency and result depend on one another."""
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 101, count)
    ward = np.where(age > 60, "a", rng.choice(["b", "c"], count)).astype(object)
    ward[rng.random(count) < 0.1] = None
    positive = rng.random(count) < 0.1 + 0.6 * (age > 60)
    return pd.DataFrame(
        {
            "id": np.arange(count) // 2 + 1_000_000 * seed,  # nobody is in two institutions
            "sex": rng.choice(["f", "m"], count),
            "age": age,
            "ward": ward,
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 366, count), "D"),
            "urgent": rng.random(count) < 0.2 + 0.5 * positive,
            "result": np.where(positive, "positive", "negative"),
        }
    )


def everybody() -> dict[str, pd.DataFrame]:
    """A table for each institution."""
    return {name: people(count, seed) for seed, (name, count) in enumerate(zip(NAMES, (4000, 2000, 600), strict=True))}
