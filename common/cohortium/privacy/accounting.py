"""Step 7: events to (epsilon, delta), each computed by two independent methods.

Everything this project does to data is a Gaussian mechanism on a bounded sum over persons, sometimes on a Poisson
sample of the persons; neighbours differ by adding or removing one person. An event records what was done; its cost is
computed here, when it is needed:

* without sampling all events compose to one Gaussian, whose curve is known in closed form
  (Balle and Wang 2018, arXiv 1805.06530, Theorem 8); the second method is Rényi DP (Mironov 2017, arXiv 1702.07476);
* with sampling the privacy loss distribution (Koskela et al. 2020, arXiv 1906.03049; dp_accounting's pessimistic
  discretisation, an upper bound) is checked against Rényi DP of the sampled Gaussian (Mironov et al. 2019,
  arXiv 1908.10530).

The first method gives the claim; the second is an upper bound that the claim may never exceed. If either fails, or if they
contradict each other, AccountingError E_ACCOUNTING is raised. The convolution loses some of delta to floating-point error;
that much is reserved, and where delta is too small for it, Rényi DP gives the claim.

What an attacker can do is not one point (epsilon, delta) but the whole curve: ``profile`` gives delta at any epsilon,
``attack_rate`` the largest true-positive rate of any membership test that the curve leaves room for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from cohortium.errors import AccountingError, StudyError

RESERVE = 1e-3  # part of delta kept for the noise sampler's own error (noise.SLACK per draw; plan.py checks it)
MIN_DELTA, MAX_DELTA = 1e-12, 1e-4
MIN_EPSILON, MAX_EPSILON = 1e-3, 100.0
ROUNDING = 1e-16  # of delta, lost to floating-point numbers per step convolved; ten times what was ever measured
INTERVAL = 1e-3  # coarsest grid of privacy losses; a coarser one only makes the upper bound larger
ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 512, 1024)  # whole orders have an exact formula under sampling
RELATION = "add or remove one person"
FALSE_POSITIVES = 0.01  # of the attacker whose success is reported
LEAST_LOSS, LARGEST_LOSS = 1e-6, 20.0  # epsilons between which a test's limit is looked for; outside it hardly moves


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

    @property
    def bound(self) -> float | None:
        """epsilon; None where nothing bounds it, as after a restoration of a ledger (restoration.py)."""
        return self.epsilon if math.isfinite(self.epsilon) else None


FREE = Cost(0.0, 0.0, "nothing was answered", 0.0, "nothing was answered")


def repeated(events: Events, times: int) -> Events:
    """The events of doing ``events`` ``times`` over."""
    return tuple(replace(e, count=e.count * times) for e in events)


def composed(events: Iterable[Gaussian]) -> Events:
    """The same events in a normal form: one entry per (noise, rate)."""
    counts: Counter[tuple[float, float]] = Counter()
    for e in events:
        counts[e.noise_multiplier, e.sampling_rate] += e.count
    return tuple(Gaussian(z, q, n) for (z, q), n in sorted(counts.items()))


def within(part: Events, whole: Events) -> bool:
    """Whether all of ``part`` (merged) is in ``whole`` (merged), so that it costs no more."""
    counts = {(e.noise_multiplier, e.sampling_rate): e.count for e in whole}
    return all(e.count <= counts.get((e.noise_multiplier, e.sampling_rate), 0) for e in part)


def cost(events: Iterable[Gaussian], delta: float) -> Cost:
    """The smallest epsilon both ways support at ``delta``; raises AccountingError where they do not."""
    if not MIN_DELTA <= delta <= MAX_DELTA:
        raise StudyError(
            "E_PLAN_PRIVACY",
            "delta",
            f"it must lie between {MIN_DELTA:g} and {MAX_DELTA:g}",
            "Choose a delta well below one over the number of persons.",
        )
    return _cost(composed(events), delta)


@lru_cache(maxsize=512)
def _cost(events: Events, delta: float) -> Cost:
    if not events:
        return replace(FREE, delta=delta)
    usable = delta * (1 - RESERVE)
    lost = _lost(events)
    check = rdp_epsilon(events, usable)
    if _unsampled(events):
        epsilon, method = gaussian_epsilon(total_mu(events), usable), "closed form"
    elif lost < usable / 2:
        epsilon, method = pld_epsilon(events, usable - lost), "privacy loss distribution"
    else:
        epsilon, method = check, "Rényi DP"
    if not (math.isfinite(epsilon) and math.isfinite(check) and 0 <= epsilon <= check * (1 + 1e-6) + 1e-9):
        raise _contradiction(f"{method} and Rényi DP")
    return Cost(epsilon, delta, method, check, "Rényi DP")


def _unsampled(events: Events) -> bool:
    return all(e.sampling_rate == 1 for e in events)


def _lost(events: Events) -> float:
    """Of delta, to floating-point numbers in the convolution of all events."""
    return ROUNDING * (100 + sum(e.count for e in events))


def _contradiction(ways: str) -> AccountingError:
    return AccountingError(
        "E_ACCOUNTING",
        "accounting",
        f"{ways} do not support the same claim",
        "Do not release; choose other noise or fewer steps.",
    )


def profile(events: Iterable[Gaussian], epsilons: Sequence[float]) -> tuple[float, ...]:
    """Upper bounds on delta at each of ``epsilons`` >= 0, for adding and for removing a person.

    Closed form or privacy loss distribution, plus what floating-point numbers may take; AccountingError E_ACCOUNTING
    where one of them is above what Rényi DP allows.
    """
    done = composed(events)
    if not done:
        return (0.0,) * len(epsilons)
    lost = _lost(done)
    claims = _deltas(done, epsilons)
    for claim, check in zip(claims, rdp_deltas(done, epsilons), strict=True):
        # "not within" instead of "beyond", so that NaN is refused as well
        if not -lost <= claim <= check * (1 + 1e-6) + lost:
            raise _contradiction("the privacy profile and Rényi DP")
    return tuple(min(1.0, max(0.0, claim) + lost) for claim in claims)


def _deltas(events: Events, epsilons: Sequence[float]) -> list[float]:
    if _unsampled(events):
        return [gaussian_delta(total_mu(events), epsilon) for epsilon in epsilons]
    losses = _distribution(events)
    return [float(losses.get_delta_for_epsilon(epsilon)) for epsilon in epsilons]


def max_true_positive_rate(false_positives: float, epsilons: Sequence[float], deltas: Sequence[float]) -> float:
    """The largest true-positive rate that (epsilon, delta) pairs, all of them holding, leave to any test.

    Each pair gives two lines (Kairouz, Oh, Viswanath 2015, arXiv 1311.0776, Theorem 2.1), one from each direction:
    with a = Pr[test says "took part" | did not] and b = Pr[the same | did], b <= exp(epsilon) a + delta, and
    1 - a <= exp(epsilon) (1 - b) + delta. Every pair is a bound by itself, so fewer pairs can only give a larger one.
    """
    lines = [1.0]
    for epsilon, delta in zip(epsilons, deltas, strict=True):
        lines.append(math.exp(epsilon) * false_positives + delta)
        lines.append(1 - math.exp(-epsilon) * (1 - delta - false_positives))
    return min(lines)


def attack_rate(events: Iterable[Gaussian], delta: float, false_positives: float = FALSE_POSITIVES) -> float:
    """Upper bound on the true-positive rate of any test of whether a person took part, at a false-positive rate.

    Without sampling Φ(Φ⁻¹(false positives) + total_mu), exactly (Dong, Roth, Su 2019, arXiv 1905.02383, Section 2.2),
    which may not pass what the profile allows; with sampling the best bound of the profile. delta: the promise's; the
    part of it that is kept for the noise sampler is added to both rates. That is enough: noise whose distance from
    ideal noise is at most t moves either rate by at most t, and t (1 + exp(epsilon)) fits into the part (plan.py).
    Raises AccountingError where the two ways contradict each other.
    """
    if not (0 < false_positives < 1 and 0 <= delta <= 1):
        raise StudyError("E_PLAN_PRIVACY", "attack rate", "a rate or delta is out of range", "Correct the study.")
    return _attack_rate(composed(events), delta, false_positives)


@lru_cache(maxsize=512)
def _attack_rate(events: Events, delta: float, false_positives: float) -> float:
    from scipy.special import ndtr, ndtri

    if not events:
        return false_positives
    sampler = RESERVE * delta
    wrong = min(1.0, false_positives + sampler)
    bound = _profile_rate(events, wrong)
    exact = float(ndtr(ndtri(wrong) + total_mu(events))) if _unsampled(events) else bound
    if not wrong * (1 - 1e-9) <= exact <= bound * (1 + 1e-9):
        raise _contradiction("the trade-off function and the privacy profile")
    return min(1.0, exact * (1 + 1e-9) + sampler)


def _profile_rate(events: Events, false_positives: float) -> float:
    """The profile's bound: epsilons spread over their range, then twice between the neighbours of the best."""
    best, low, high = 1.0, LEAST_LOSS, LARGEST_LOSS
    for _ in range(3):
        epsilons = [low * (high / low) ** (k / 47) for k in range(48)]
        pairs = zip(epsilons, profile(events, epsilons), strict=True)
        bounds = [max_true_positive_rate(false_positives, (epsilon,), (delta,)) for epsilon, delta in pairs]
        at = bounds.index(min(bounds))
        best = min(best, bounds[at])
        low, high = epsilons[max(0, at - 1)], epsilons[min(47, at + 1)]
    return best


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
    return smallest(lambda epsilon: gaussian_delta(mu, epsilon) <= delta, 1e-9, mu * (mu + 40))


def pld_epsilon(events: Events, delta: float) -> float:
    """Upper bound on epsilon from discretised privacy loss distributions, composed by convolution."""
    return float(_distribution(events).get_epsilon_for_delta(delta)) if events else 0.0


@lru_cache(maxsize=4)
def _distribution(events: Events) -> Any:
    """The privacy loss distribution of all ``events``, of which there is at least one; it holds both directions."""
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
    return total


def _interval(events: Events) -> float:
    """A tenth of a step's typical loss, or ``INTERVAL``: many small steps would add up what a coarse grid adds to each."""
    squares = sum(e.count * e.sampling_rate**2 * math.expm1(min(e.noise_multiplier**-2, 50.0)) for e in events)
    return min(INTERVAL, math.sqrt(squares / max(1, sum(e.count for e in events))) / 10)


def rdp_epsilon(events: Events, delta: float) -> float:
    """Upper bound on epsilon from Rényi DP: the best of many orders."""
    return float(_renyi(events).get_epsilon(delta))


def rdp_deltas(events: Events, epsilons: Sequence[float]) -> list[float]:
    """Upper bounds on delta at each of ``epsilons`` from Rényi DP: the best of many orders each."""
    accountant = _renyi(events)
    return [float(accountant.get_delta(epsilon)) for epsilon in epsilons]


@lru_cache(maxsize=4)
def _renyi(events: Events) -> Any:
    """dp_accounting's Rényi accountant after all ``events``."""
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant() if _unsampled(events) else RdpAccountant(ORDERS)
    for e in events:
        noise: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(e.noise_multiplier)
        one = noise if e.sampling_rate == 1 else dp_accounting.PoissonSampledDpEvent(e.sampling_rate, noise)
        accountant.compose(dp_accounting.SelfComposedDpEvent(one, e.count))
    return accountant


def smallest(holds: Callable[[float], bool], low: float, high: float, precision: float = 1e-9) -> float:
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
