"""Step 7: events to (epsilon, delta), each computed by two independent ways.

Everything this project does to data is a Gaussian mechanism on a bounded sum over persons, sometimes on a Poisson
sample of the persons; neighbours differ by adding or removing one person. An event records what was done; what it
costs is computed here, whenever somebody asks:

* without sampling all events compose to one Gaussian, whose curve is known in closed form
  (Balle and Wang 2018, arXiv 1805.06530, Theorem 8); the second way is Rényi DP (Mironov 2017, arXiv 1702.07476);
* with sampling the privacy loss distribution (Koskela et al. 2020, arXiv 1906.03049; dp_accounting's pessimistic
  discretisation, an upper bound) is checked against Rényi DP of the sampled Gaussian (Mironov et al. 2019,
  arXiv 1908.10530).

The first way is the claim; the second is an upper bound that the claim may never exceed. If either fails or they
contradict each other AccountingError E_ACCOUNTING is raised. The convolution loses some of delta to floating-point
numbers; that much is set aside, and where delta is too small for it Rényi DP is the claim.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from cohortium.errors import AccountingError, StudyError

RESERVE = 1e-3  # part of delta kept for the noise sampler's own error (noise.SLACK per draw; plan.py checks it)
MIN_DELTA, MAX_DELTA = 1e-12, 1e-4
MIN_EPSILON, MAX_EPSILON = 1e-3, 100.0
ROUNDING = 1e-16  # of delta, lost to floating-point numbers per step convolved; ten times what was ever measured
INTERVAL = 1e-3  # coarsest grid of privacy losses; a coarser one only makes the upper bound larger
ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 512, 1024)  # whole orders have an exact formula under sampling
RELATION = "add or remove one person"


@dataclass(frozen=True)
class Gaussian:
    """``count`` Gaussian mechanisms, each on a Poisson sample of the persons with ``sampling_rate``.

    noise_multiplier: the noise's standard deviation over the L2 sensitivity.
    """

    noise_multiplier: float
    sampling_rate: float = 1.0
    count: int = 1

    def __post_init__(self) -> None:
        positive = math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0
        if not (positive and 0 < self.sampling_rate <= 1 and self.count >= 1):
            raise StudyError(
                "E_PLAN_PRIVACY", "event", "a noise, sampling rate or count is out of range", "Correct the study."
            )


Events = tuple[Gaussian, ...]


@dataclass(frozen=True)
class Cost:
    """epsilon at delta, per person; ``check`` is the second way's upper bound."""

    epsilon: float
    delta: float
    method: str
    check: float
    check_method: str


FREE = Cost(0.0, 0.0, "nothing was answered", 0.0, "nothing was answered")


def repeated(events: Events, times: int) -> Events:
    """The events of doing ``events`` ``times`` over."""
    return tuple(replace(e, count=e.count * times) for e in events)


def merged(events: Iterable[Gaussian]) -> Events:
    """The same events in a normal form: one entry per (noise, rate)."""
    counts: Counter[tuple[float, float]] = Counter()
    for e in events:
        counts[e.noise_multiplier, e.sampling_rate] += e.count
    return tuple(Gaussian(z, q, n) for (z, q), n in sorted(counts.items()))


def cost(events: Iterable[Gaussian], delta: float) -> Cost:
    """The smallest epsilon both ways support at ``delta``; raises AccountingError where they do not."""
    if not MIN_DELTA <= delta <= MAX_DELTA:
        raise StudyError(
            "E_PLAN_PRIVACY",
            "delta",
            f"it must lie between {MIN_DELTA:g} and {MAX_DELTA:g}",
            "Choose a delta well below one over the number of persons.",
        )
    return _cost(merged(events), delta)


@lru_cache(maxsize=512)
def _cost(events: Events, delta: float) -> Cost:
    if not events:
        return replace(FREE, delta=delta)
    usable = delta * (1 - RESERVE)
    lost = ROUNDING * (100 + sum(e.count for e in events))
    check = rdp_epsilon(events, usable)
    if all(e.sampling_rate == 1 for e in events):
        epsilon, method = gaussian_epsilon(total_mu(events), usable), "closed form"
    elif lost < usable / 2:
        epsilon, method = pld_epsilon(events, usable - lost), "privacy loss distribution"
    else:
        epsilon, method = check, "Rényi DP"
    if not (math.isfinite(epsilon) and math.isfinite(check) and 0 <= epsilon <= check * (1 + 1e-6) + 1e-9):
        raise AccountingError(
            "E_ACCOUNTING",
            "accounting",
            f"{method} and Rényi DP do not support the same claim",
            "Do not release; choose other noise or fewer steps.",
        )
    return Cost(epsilon, delta, method, check, "Rényi DP")


def total_mu(events: Events) -> float:
    """Sensitivity over noise of the one Gaussian mechanism that unsampled events compose to."""
    return math.sqrt(sum(e.count / e.noise_multiplier**2 for e in events))


def gaussian_delta(mu: float, epsilon: float) -> float:
    """delta(epsilon) of the Gaussian mechanism with sensitivity over noise ``mu`` (Balle and Wang 2018, Theorem 8)."""
    from scipy.special import log_ndtr

    return math.exp(log_ndtr(mu / 2 - epsilon / mu)) - math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon with gaussian_delta(mu, epsilon) <= delta, rounded up."""
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    return _smallest(lambda epsilon: gaussian_delta(mu, epsilon) <= delta, 1e-9, mu * (mu + 40))


def pld_epsilon(events: Events, delta: float) -> float:
    """Upper bound on epsilon from discretised privacy loss distributions, composed by convolution."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    total, interval = None, _interval(events)
    for e in events:
        one = pld.from_gaussian_mechanism(
            e.noise_multiplier,
            sampling_prob=e.sampling_rate,
            value_discretization_interval=interval,
            use_connect_dots=True,
        )
        part = one.self_compose(e.count)
        total = part if total is None else total.compose(part)
    return float(total.get_epsilon_for_delta(delta)) if total is not None else 0.0


def _interval(events: Events) -> float:
    """A tenth of a step's typical loss, or ``INTERVAL``: many small steps would add up what a coarse grid adds to each."""
    squares = sum(e.count * e.sampling_rate**2 * math.expm1(min(e.noise_multiplier**-2, 50.0)) for e in events)
    return min(INTERVAL, math.sqrt(squares / max(1, sum(e.count for e in events))) / 10)


def rdp_epsilon(events: Events, delta: float) -> float:
    """Upper bound on epsilon from Rényi DP: the best of many orders."""
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    sampled = any(e.sampling_rate < 1 for e in events)
    accountant = RdpAccountant(ORDERS) if sampled else RdpAccountant()
    for e in events:
        noise: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(e.noise_multiplier)
        one = noise if e.sampling_rate == 1 else dp_accounting.PoissonSampledDpEvent(e.sampling_rate, noise)
        accountant.compose(dp_accounting.SelfComposedDpEvent(one, e.count))
    return float(accountant.get_epsilon(delta))


def calibrate(events_at: Callable[[float], Events], epsilon: float, delta: float) -> float:
    """The smallest noise multiplier, to 0.1 %, at which ``cost(events_at(multiplier), delta)`` is within ``epsilon``."""
    if not MIN_EPSILON <= epsilon <= MAX_EPSILON:
        raise StudyError(
            "E_PLAN_PRIVACY",
            "epsilon",
            f"it must lie between {MIN_EPSILON:g} and {MAX_EPSILON:g}",
            "Choose an epsilon in this range.",
        )

    def affordable(multiplier: float) -> bool:
        try:
            return cost(events_at(multiplier), delta).epsilon <= epsilon
        except ValueError:  # the noise is too fine for the grid
            return False

    # from 1 outwards: far from the answer the accountants are slow, and it is never far
    low, high = 1.0, 1.0
    while low > 0.05 and affordable(low):
        low /= 2
    while high < 1e5 and not affordable(high):
        high *= 2
    return _smallest(affordable, low, high, precision=1e-3)


def _smallest(holds: Callable[[float], bool], low: float, high: float, precision: float = 1e-9) -> float:
    """The smallest x in [low, high] with ``holds(x)``, rounded up by ``precision``, for a monotone condition."""
    if not holds(high):
        raise AccountingError(
            "E_ACCOUNTING",
            "accounting",
            "no value in range satisfies the guarantee",
            "Choose a larger epsilon or fewer steps.",
        )
    while high / low > 1 + precision:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
