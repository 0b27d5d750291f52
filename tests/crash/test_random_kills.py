"""A sample of what ``make crash`` does at night: kills at random times. Each named place has its own test beside this."""

from __future__ import annotations

import numpy as np
from random_kills import Tally, outlive


def test_killed_at_random_times() -> None:
    tally = outlive(20, Tally(), np.random.default_rng())
    assert (tally.kills, tally.studies) == (20, 2)
    assert (tally.uncounted, tally.differing) == (0, 0)
    assert tally.answers >= 2 * (1 + 3)  # each institution, in each round of both studies
