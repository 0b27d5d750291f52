"""What an attack found: how often it was right about persons who took part, and about persons who did not.

With (epsilon, delta)-differential privacy whatever an attacker says of a person who took part they would say with a chance p of at
most e^epsilon q + delta had the person not taken part (Dwork and Roth 2014; Kairouz, Oh and Viswanath 2015 for tests). Persons held
out stand for those: drawn as the others were, they are as easy to guess. So hits that are more frequent than that, by more than
chance, prove a guarantee wrong; hits that are more frequent at all show what the release gives away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
LEVEL = 0.05  # the chance that any interval of an evaluation's attacks is wrong, all together


@dataclass(frozen=True)
class Rate:
    """hits of tries, and the interval of Clopper and Pearson (1934) for their chance."""

    hits: int
    tries: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.hits / self.tries if self.tries else 0.0


def rate(hits: int, tries: int, level: float) -> Rate:
    """level: the chance that an end is wrong."""
    from scipy.stats import beta

    low = float(beta.ppf(level, hits, tries - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - level, hits + 1, tries - hits)) if hits < tries else 1.0
    return Rate(hits, tries, low, high)


@dataclass(frozen=True)
class Attack:
    """Before it is judged. members, others: (tries,) whether it was right. skipped: tries at which it had nothing to say.
    bounded: whether a try is about one person, so that the guarantee says how much more often it may be right.
    """

    name: str
    of: str
    members: BoolArray
    others: BoolArray
    skipped: int
    words: str
    bounded: bool = True


@dataclass(frozen=True)
class Finding:
    """epsilon, delta: the guarantee for whoever sees the release; None where nothing was promised."""

    name: str
    of: str
    words: str
    members: Rate
    others: Rate
    skipped: int
    epsilon: float | None
    delta: float | None

    @property
    def allowed(self) -> float | None:
        """The largest rate among persons who took part, given that among the others."""
        if self.epsilon is None or self.delta is None:
            return None
        q, e = self.others.share, min(700.0, self.epsilon)
        return max(0.0, min(1.0, math.exp(e) * q + self.delta, 1 - math.exp(-e) * (1 - q - self.delta)))

    @property
    def shown(self) -> float:
        """The least epsilon that is compatible with what was found, at the guarantee's delta; 0 where chance explains it."""
        delta = self.delta or 0.0
        more = _shown(self.members.low - delta, self.others.high)
        return max(0.0, more, _shown(1 - self.others.high - delta, 1 - self.members.low))

    @property
    def leaks(self) -> bool:
        """Whether it is more often right about persons who took part, by more than chance."""
        return self.members.low > self.others.high

    @property
    def breaks(self) -> bool:
        """Whether that is more than the guarantee allows, by more than chance."""
        return self.epsilon is not None and self.shown > self.epsilon

    @property
    def risk(self) -> float:
        """What having taken part adds to the chance of a hit, as Giomi et al. (2023) put it: 0 is nothing, 1 certainty."""
        q = self.others.share
        return max(0.0, (self.members.share - q) / (1 - q)) if q < 1 else 0.0

    @property
    def sentence(self) -> str:
        rates = f"right about {_percent(self.members)} of persons who took part, and {_percent(self.others)} of others"
        if self.breaks:
            return f"{self.words}: {rates}. That is MORE than the guarantee allows: at least epsilon {self.shown:.2f}."
        if self.leaks:
            return f"{self.words}: {rates}. More than chance, and within what the guarantee allows."
        return f"{self.words}: {rates}. No more than chance explains."

    def document(self) -> dict[str, Any]:
        sides = {
            side: vars(found) | {"share": found.share}
            for side, found in (("members", self.members), ("others", self.others))
        }
        judged = {
            "allowed": self.allowed,
            "shown": min(self.shown, 1e3),
            "leaks": self.leaks,
            "breaks": self.breaks,
            "risk": self.risk,
        }
        return {"attack": self.name, "of": self.of, **sides, "skipped": self.skipped, **judged}


def _shown(right: float, wrong: float) -> float:
    if right <= 0:
        return 0.0
    return math.inf if wrong <= 0 else math.log(right / wrong)


def _percent(found: Rate) -> str:
    return f"{100 * found.share:.3g} % (of {found.tries})"


def judge(attacks: list[Attack], guarantee: tuple[float, float] | None) -> list[Finding]:
    """All attacks share ``LEVEL``: their intervals are the wider the more there are. guarantee: epsilon and delta."""
    level = LEVEL / max(1, 2 * len(attacks))
    return [_judged(attack, level, guarantee if attack.bounded else None) for attack in attacks]


def _judged(attack: Attack, level: float, guarantee: tuple[float, float] | None) -> Finding:
    members, others = (rate(int(hits.sum()), len(hits), level) for hits in (attack.members, attack.others))
    epsilon, delta = guarantee or (None, None)
    return Finding(attack.name, attack.of, attack.words, members, others, attack.skipped, epsilon, delta)
