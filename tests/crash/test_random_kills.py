"""A sample of what ``make crash`` does at night: kills at random times. Each named place has its own test beside this."""

from __future__ import annotations

import numpy as np
from effort import draws
from random_kills import Tally, outlive


def test_killed_at_random_times() -> None:
    kills = draws(20, 10)  # ten in each study
    tally = outlive(kills, Tally(), np.random.default_rng())
    assert (tally.kills, tally.studies) == (kills, kills // 10)
    assert (tally.uncounted, tally.differing) == (0, 0)
    assert tally.answers >= 2 * (
        1 + 3 * (tally.studies - 1)
    )  # each institution, in each round of one and of the other study
