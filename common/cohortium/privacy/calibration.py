"""Calibration: the least noise at which events cost no more than an epsilon.

Every accountant's answer takes a good part of a second, so few noises are tried: secants of log cost over log noise come
near the answer from both sides, and bisection between powers of two then has most of its steps decided by the noises tried
before, since more noise never costs more. What is found follows from the bisection alone: every institution finds the same. Its own cost
is computed last, so that nothing rests on that inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from cohortium.errors import AccountingError, StudyError
from cohortium.privacy.accounting import MAX_EPSILON, MIN_EPSILON, Events, cost, smallest
from cohortium.system.progress import Progress, listener

TRIED = 8  # noises that are tried, about, before the smallest is found
PRECISION = 1e-3  # of the noise that is found
NEAR = 1e-4  # how far, relatively, on either side of the answer the last secants aim
MOST_SECANTS = 6
MOST_STEPS = 10  # from the noise found to one whose own cost is affordable
STEEPEST, FLATTEST = -4.0, -0.25  # slopes of log cost over log noise that a secant is believed to have


def calibrate(events_at: Callable[[float], Events], epsilon: float, delta: float) -> float:
    """The smallest noise multiplier, to 0.1 %, at which ``cost(events_at(multiplier), delta)`` is within ``epsilon``."""
    if not MIN_EPSILON <= epsilon <= MAX_EPSILON:
        raise StudyError(
            "E_PLAN_PRIVACY",
            "epsilon",
            f"it must lie between {MIN_EPSILON:g} and {MAX_EPSILON:g}",
            "Choose an epsilon in this range.",
        )
    progress = listener()
    progress.start(TRIED, "finding the noise")
    search = _Search(events_at, epsilon, delta, progress)
    search.narrow()
    # from 1 outwards: far from the answer the accountants are slow, and it is never far
    low, high = 1.0, 1.0
    while low > 0.05 and search.affords(low):
        low /= 2
    while high < 1e5 and not search.affords(high):
        high *= 2
    found = search.confirmed(smallest(search.affords, low, high, PRECISION))
    progress.done()
    return found


class _Search:
    """Which noise multipliers are affordable: those up to ``fails`` are not, those from ``holds`` on are."""

    def __init__(self, events_at: Callable[[float], Events], epsilon: float, delta: float, progress: Progress) -> None:
        self._events_at, self._epsilon, self._delta, self._progress = events_at, epsilon, delta, progress
        self.fails, self.holds = 0.0, math.inf

    def affords(self, multiplier: float) -> bool:
        if self.fails < multiplier < self.holds:
            self._spent(multiplier)
        return multiplier >= self.holds

    def _spent(self, multiplier: float) -> float:
        """Epsilon at this noise, which is tried; infinite where the noise is too fine for the grid."""
        self._progress.advance()
        try:
            spent = cost(self._events_at(multiplier), self._delta).epsilon
        except ValueError:
            spent = math.inf
        if spent <= self._epsilon:
            self.holds = min(self.holds, multiplier)
        else:
            self.fails = max(self.fails, multiplier)
        return spent

    def confirmed(self, found: float) -> float:
        """The noise that was found, or the next one that is affordable where an accountant's rounding made its cost rise with the noise."""
        for steps in range(MOST_STEPS):
            multiplier = found * (1 + PRECISION) ** steps
            if multiplier == self.holds or self._spent(multiplier) <= self._epsilon:
                return multiplier
        raise AccountingError(
            "E_ACCOUNTING", "noise", "its cost does not fall with the noise", "Report this: it is a bug."
        )

    def narrow(self) -> None:
        """Try noises nearer and nearer to the answer, until one on either side is within about twice ``NEAR`` of the other."""
        at, slope, before = 1.0, -1.0, (0.0, 0.0)
        for tried in range(MOST_SECANTS):
            spent = self._spent(at)
            if not 0 < spent < math.inf or self.holds < self.fails * (1 + 4 * NEAR):
                return
            here = math.log(at), math.log(spent / self._epsilon)
            if tried and here[0] != before[0]:
                slope = min(FLATTEST, max(STEEPEST, (here[1] - before[1]) / (here[0] - before[0])))
            before, step = here, -here[1] / slope
            beyond = NEAR if spent > self._epsilon else -NEAR
            at *= math.exp(min(math.log(16), max(-math.log(2), step + beyond)))
