"""Guarantees per adversary against independent computations: likelihood-ratio tests, exact sums of discrete noise.

``best_test`` is the Neyman-Pearson lemma on two lists of chances: no attacker does better, and one does as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy import special, stats

from cohortium.errors import AccountingError, StudyError
from cohortium.privacy import accounting
from cohortium.privacy.accounting import (
    FALSE_POSITIVES,
    RESERVE,
    Events,
    Gaussian,
    attack_rate,
    composed,
    cost,
    gaussian_delta,
    gaussian_epsilon,
    max_true_positive_rate,
    pld_epsilon,
    profile,
    repeated,
    total_mu,
)
from cohortium.privacy.discrete_gaussian import SLACK, SMALLEST
from cohortium.queries.gradients import GradientSum
from cohortium.queries.local_training import LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium.study import guarantee
from cohortium.study.generators import Autoregressive, Ctgan, GeneratorPlan, Tvae
from cohortium.study.guarantee import ADVERSARIES, Guarantee, guarantees, in_hundred, risk_words, sum_error
from cohortium.study.plan import Phase, plan
from cohortium.study.study import Institution, Study
from cohortium.system.canonical import canonical_json

Chances = npt.NDArray[np.float64]
RATES = (0.001, 0.01, 0.1, 0.5)
EPSILONS = (0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 4.0)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Some tests make the accountants lie; no lie outlives its test."""
    yield
    for remembered in (accounting._attack_rate, accounting._cost, accounting._distribution, accounting._renyi):
        remembered.cache_clear()


def best_test(absent: Chances, present: Chances, false_positives: float) -> float:
    """The largest chance under ``present`` of a set, the last outcome by a coin, with this chance under ``absent``."""
    with np.errstate(divide="ignore", over="ignore"):
        order = np.argsort(-np.where(absent > 0, present / np.where(absent > 0, absent, 1), np.inf), kind="stable")
    wrong = np.concatenate([[0.0], np.cumsum(absent[order])])
    right = np.concatenate([[0.0], np.cumsum(present[order])])
    return float(np.interp(false_positives, wrong, right)) if wrong[-1] > false_positives else 1.0


def divergence(one: Chances, other: Chances, epsilon: float) -> float:
    """The larger of the two hockey-stick divergences: the smallest delta at ``epsilon``."""
    factor = math.exp(epsilon)
    return max(float(np.maximum(0, a - factor * b).sum()) for a, b in ((one, other), (other, one)))


def summed(sigma: float, institutions: int, reach: float = 14) -> Chances:
    """Chances of the sum of discrete Gaussians by convolution, symmetric around the middle of the list."""
    x = np.arange(-math.ceil(reach * sigma), math.ceil(reach * sigma) + 1)
    one = np.exp(-(x**2) / (2 * sigma**2))
    total = one = one / math.fsum(one)
    for _ in range(institutions - 1):
        total = np.convolve(total, one)
    return total


def apart(chances: Chances, shift: int) -> tuple[Chances, Chances]:
    """The chances without and with a person who moves the outcome by ``shift``."""
    return np.pad(chances, (0, shift)), np.pad(chances, (shift, 0))


# The limit of a test, from pairs (epsilon, delta)


DISTRIBUTION = st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda p: sum(p) > 0.01)


@given(DISTRIBUTION, DISTRIBUTION, st.sampled_from(RATES))
def test_no_test_on_any_mechanism_passes_the_bound(one: list[float], other: list[float], rate: float) -> None:
    p, q = (np.array(x) / math.fsum(x) for x in (one, other))
    bound = max_true_positive_rate(rate, EPSILONS, [divergence(p, q, epsilon) for epsilon in EPSILONS])
    assert max(best_test(p, q, rate), best_test(q, p, rate)) <= bound + 1e-12


@pytest.mark.parametrize(("sigma", "shift"), [(0.8, 1), (3.0, 1), (3.0, 4), (3.0, 16), (8.0, 5)])
@pytest.mark.parametrize("rate", RATES)
def test_for_a_symmetric_mechanism_the_bound_is_the_best_test(sigma: float, shift: int, rate: float) -> None:
    """With a pair at every likelihood ratio nothing is given away; without the best ones something is."""
    absent, present = apart(summed(sigma, 1, 9), shift)
    both = (absent > 0) & (present > 0)
    epsilons = sorted({abs(float(e)) for e in np.log(present[both] / absent[both])})
    deltas = [divergence(absent, present, epsilon) for epsilon in epsilons]
    exact = best_test(absent, present, rate)
    assert max_true_positive_rate(rate, epsilons, deltas) == pytest.approx(exact, rel=1e-9)
    assert max_true_positive_rate(rate, epsilons[:1], deltas[:1]) >= max_true_positive_rate(rate, epsilons, deltas)


def test_a_single_pair_gives_away_more_than_the_curve() -> None:
    """The point (epsilon, delta) that was promised is a poor witness: that is why the curve is used."""
    events = (Gaussian(2.0),)
    spent = cost(events, 1e-6)
    assert max_true_positive_rate(0.01, (spent.epsilon,), (1e-6,)) > 2 * attack_rate(events, 1e-6)


# The privacy profile


@pytest.mark.parametrize("mu", [1e-4, 0.01, 0.3, 1.0, 3.0, 9.0, 40.0])
def test_without_sampling_the_profile_is_the_closed_form(mu: float) -> None:
    deltas = profile((Gaussian(1 / mu),), EPSILONS)
    for epsilon, delta in zip(EPSILONS, deltas, strict=True):
        assert gaussian_delta(mu, epsilon) <= delta <= gaussian_delta(mu, epsilon) + 1e-13


SAMPLED: list[Events] = [
    (Gaussian(1.0, 0.1, 50),),
    (Gaussian(0.7, 0.01, 200),),
    (Gaussian(12.0, 1.0, 1), Gaussian(4.0, 0.1, 200)),
    (Gaussian(300.0, 0.1, 100),),
]


@pytest.mark.parametrize("events", SAMPLED)
@pytest.mark.parametrize("delta", [1e-6, 1e-3, 0.05])
def test_the_profile_is_the_inverse_of_epsilon(events: Events, delta: float) -> None:
    """pld_epsilon is bracketed by an independent computation in test_accounting.py."""
    epsilon = pld_epsilon(events, delta)
    reached = profile(events, (epsilon,))[0]
    assert reached == pytest.approx(delta, rel=1e-6) if epsilon > 0 else reached <= delta


def test_nothing_answered_helps_no_test() -> None:
    assert profile((), (0.0, 1.0)) == (0.0, 0.0)
    assert attack_rate((), 1e-6) == FALSE_POSITIVES


# The attack rate


@pytest.mark.parametrize("mu", [1e-4, 0.01, 0.3, 1.0, 3.0, 6.0, 20.0])
@pytest.mark.parametrize("rate", RATES)
def test_the_trade_off_function_and_the_profile_agree_without_sampling(mu: float, rate: float) -> None:
    exact = special.ndtr(special.ndtri(rate) + mu)
    by_profile = accounting._profile_rate((Gaussian(1 / mu),), rate)
    assert exact * (1 - 1e-9) <= by_profile <= exact + 1e-3 * (exact - rate) + 1e-9


@pytest.mark.parametrize("noise", [0.4, 1.0, 4.0, 50.0])
def test_the_route_through_loss_distributions_agrees_without_sampling(
    monkeypatch: pytest.MonkeyPatch, noise: float
) -> None:
    closed = attack_rate((Gaussian(noise),), 1e-6)
    accounting._attack_rate.cache_clear()
    monkeypatch.setattr(accounting, "_unsampled", lambda events: False)
    assert closed * (1 - 1e-9) <= attack_rate((Gaussian(noise),), 1e-6) <= closed * 1.001


def test_the_samplers_part_of_delta_is_added_to_both_rates() -> None:
    for delta in (1e-12, 1e-6, 1e-4):
        part = RESERVE * delta
        ideal = float(special.ndtr(special.ndtri(FALSE_POSITIVES + part) + 0.5)) + part
        assert ideal <= attack_rate((Gaussian(2.0),), delta) <= ideal * (1 + 1e-8)
    assert attack_rate((Gaussian(2.0),), 1e-4) > attack_rate((Gaussian(2.0),), 1e-12)


def one_step(noise: float, sampling_rate: float, rate: float) -> tuple[float, float, Chances, Chances]:
    """The best tests for presence and for absence after one sampled answer, and both laws on a fine grid.

    The likelihood ratio of (1 - q) N(0, z²) + q N(1, z²) against N(0, z²) rises with the outcome, so the best tests
    are thresholds, and their rates values of the normal distribution function.
    """

    def mixed(x: npt.ArrayLike) -> Chances:
        parts = (1 - sampling_rate) * stats.norm.cdf(x, 0, noise) + sampling_rate * stats.norm.cdf(x, 1, noise)
        return np.asarray(parts)

    found = 1 - float(mixed(stats.norm.isf(rate, 0, noise)))
    low, high = -40 * noise, 40 * noise + 1
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if float(mixed(middle)) < rate else (low, middle)
    edges = np.linspace(-12 * noise, 12 * noise + 1, 40_001)
    laws = np.diff(stats.norm.cdf(edges, 0, noise)), np.diff(mixed(edges))
    return found, float(stats.norm.cdf(high, 0, noise)), *laws


@pytest.mark.parametrize(("noise", "sampling_rate"), [(0.4, 0.02), (0.7, 0.3), (1.0, 0.1), (2.0, 0.9), (5.0, 0.5)])
@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_one_sampled_answer_against_the_likelihood_ratio_test(noise: float, sampling_rate: float, rate: float) -> None:
    """Never below the best test in either direction, and no more above than one curve for both directions costs."""
    claimed = attack_rate((Gaussian(noise, sampling_rate),), 1e-12, rate)
    presence, absence, without, having = one_step(noise, sampling_rate, rate)
    assert claimed >= presence and claimed >= absence
    epsilons = np.linspace(0, 8, 401).tolist()
    curve = [divergence(without, having, epsilon) for epsilon in epsilons]
    assert claimed <= max_true_positive_rate(rate, epsilons, curve) * 1.002


def test_the_likelihood_ratio_test_would_find_a_claim_that_is_too_low() -> None:
    presence, _, _, _ = one_step(1.0, 0.1, 0.01)
    assert attack_rate((Gaussian(1.0, 0.09),), 1e-12) < presence < attack_rate((Gaussian(1.0, 0.1),), 1e-12)
    assert attack_rate((Gaussian(1.1, 0.1),), 1e-12) < presence


def test_two_sampled_answers_against_the_likelihood_ratio_test() -> None:
    """All pairs of outcomes on a grid so fine that putting them into cells loses next to nothing."""
    for noise, sampling_rate in ((0.8, 0.3), (1.5, 0.6)):
        edges = np.concatenate([[-np.inf], np.linspace(-5 * noise, 5 * noise + 1, 1500), [np.inf]])
        without = np.diff(stats.norm.cdf(edges, 0, noise))
        having = (1 - sampling_rate) * without + sampling_rate * np.diff(stats.norm.cdf(edges, 1, noise))
        laws = np.outer(without, without).ravel(), np.outer(having, having).ravel()
        claimed = attack_rate((Gaussian(noise, sampling_rate, 2),), 1e-12)
        reached = max(best_test(*laws, FALSE_POSITIVES), best_test(*laws[::-1], FALSE_POSITIVES))
        assert reached <= claimed <= 1.1 * reached


NOISE = st.floats(0.3, 100)


@settings(deadline=None)
@given(NOISE, NOISE, st.integers(1, 40), st.floats(0.001, 0.5))
def test_more_noise_helps_less_and_more_answers_help_more(one: float, other: float, count: int, rate: float) -> None:
    low, high = sorted((one, other))
    assert attack_rate((Gaussian(high),), 1e-6, rate) <= attack_rate((Gaussian(low),), 1e-6, rate)
    more = attack_rate((Gaussian(low, 1.0, count), Gaussian(high)), 1e-6, rate)
    assert rate < attack_rate((Gaussian(low, 1.0, count),), 1e-6, rate) <= more * (1 + 1e-12) <= 1 + 1e-12
    assert attack_rate((Gaussian(low),), 1e-6, rate) <= attack_rate((Gaussian(low),), 1e-6, min(0.9, 1.1 * rate))


@settings(max_examples=examples(15), deadline=None)
@given(st.floats(0.5, 20), st.floats(0.005, 0.9), st.integers(1, 200))
def test_with_sampling_too(noise: float, sampling_rate: float, count: int) -> None:
    """As monotone as a search among finitely many epsilons is."""
    here = attack_rate((Gaussian(noise, sampling_rate, count),), 1e-6)
    unsampled = attack_rate((Gaussian(noise, 1.0, count),), 1e-6)
    assert FALSE_POSITIVES < here <= unsampled * (1 + 1e-3)
    assert attack_rate((Gaussian(1.2 * noise, sampling_rate, count),), 1e-6) <= here * (1 + 1e-3)
    assert attack_rate((Gaussian(noise, sampling_rate, 2 * count),), 1e-6) >= here * (1 - 1e-3)


@pytest.mark.parametrize("lie", [0.5, math.nan, -1.0])
@pytest.mark.parametrize("events", [(Gaussian(1.0),), (Gaussian(1.0, 0.1, 20),)])
def test_a_profile_beyond_its_check_is_refused(monkeypatch: pytest.MonkeyPatch, events: Events, lie: float) -> None:
    monkeypatch.setattr(accounting, "rdp_deltas", lambda events, epsilons: [lie * x for x in profile_of(epsilons)])

    def profile_of(epsilons: Sequence[float]) -> list[float]:
        return accounting._deltas(events, epsilons)

    with pytest.raises(AccountingError, match="E_ACCOUNTING"):
        attack_rate(events, 1e-6)


@pytest.mark.parametrize("lie", [2.0, math.nan, -math.inf])
def test_a_profile_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, lie: float) -> None:
    monkeypatch.setattr(accounting, "_deltas", lambda events, epsilons: [lie] * len(epsilons))
    with pytest.raises(AccountingError, match="E_ACCOUNTING"):
        attack_rate((Gaussian(1.0, 0.1, 20),), 1e-6)


@pytest.mark.parametrize("rate", [0.009, 0.05, math.nan])
def test_a_trade_off_function_beyond_the_profile_is_refused(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    monkeypatch.setattr(accounting, "_profile_rate", lambda events, at: rate)
    with pytest.raises(AccountingError, match="E_ACCOUNTING"):
        attack_rate((Gaussian(1.0),), 1e-6)  # 9.2 in 100


@pytest.mark.parametrize("rates", [(0.0, 1e-6), (1.0, 1e-6), (math.nan, 1e-6), (0.01, -1e-6), (0.01, math.nan)])
def test_rates_out_of_range_are_refused(rates: tuple[float, float]) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        attack_rate((Gaussian(1.0),), rates[1], rates[0])


# The sum of the institutions' noises


@pytest.mark.parametrize("institutions", [2, 3, 5, 12])
@pytest.mark.parametrize("sigma", [0.35, 0.4, 0.5, 0.6, 0.8, 1.0])
def test_the_sum_of_discrete_gaussians_is_nearly_one(sigma: float, institutions: int) -> None:
    """Within the bound at every integer; and at these small scales the error is there to be seen."""
    with mp.workdps(40):
        x = range(-30, 31)
        one = [mpmath.exp(-(mpf(i) ** 2) / (2 * mpf(sigma) ** 2)) for i in x]
        total = one = [w / mpmath.fsum(one) for w in one]
        for _ in range(institutions - 1):
            total = convolved(total, one)
        middle, variance = len(total) // 2, institutions * mpf(sigma) ** 2
        everywhere = range(-len(total), len(total) + 1)
        scale = mpmath.fsum(mpmath.exp(-(mpf(i) ** 2) / (2 * variance)) for i in everywhere)
        near = range(-round(6 * sigma * institutions**0.5), round(6 * sigma * institutions**0.5) + 1)
        ratios = [total[middle + i] * scale / mpmath.exp(-(mpf(i) ** 2) / (2 * variance)) for i in near]
        worst = float(max(max(r, 1 / r) for r in ratios) - 1)
    assert worst <= sum_error(sigma, institutions)
    if institutions == 2 and sum_error(sigma, 2) < 0.5:  # with more, later errors smooth out the first
        assert worst > sum_error(sigma, 2) / 3


def convolved(one: list[mpf], other: list[mpf]) -> list[mpf]:
    total = [mpf(0)] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            total[i + j] += a * b
    return total


def test_where_the_error_of_the_sum_stops_being_tiny() -> None:
    assert sum_error(SMALLEST, 1000) < SLACK / 500
    assert sum_error(2.0, 2) > SLACK
    assert 1e-4 < sum_error(1.0, 2) < 1e-3
    assert sum_error(0.2, 2) == math.inf
    assert sum_error(0.2, 1) == 0.0


@given(st.floats(0.5, 3), st.integers(2, 999))
def test_more_noise_makes_the_sum_better_and_more_institutions_worse(sigma: float, institutions: int) -> None:
    assert sum_error(1.1 * sigma, institutions) <= sum_error(sigma, institutions) <= sum_error(sigma, institutions + 1)


# Studies


def federation(study: Study, institutions: int, held_by: int, **changes: float) -> Study:
    names = tuple(Institution(name=f"institution {k}") for k in range(institutions))
    privacy = replace(study.privacy, institutions_per_person=held_by, **changes)
    return replace(study, institutions=names, privacy=privacy)


def by_name(study: Study) -> dict[str, Guarantee]:
    return {g.adversary: g for g in guarantees(study, plan(study))}


@settings(max_examples=examples(40), deadline=None)
@given(st.data())
def test_towards_whoever_sees_less_no_less_is_promised(study: Study, data: st.DataObject) -> None:
    institutions = data.draw(st.integers(1, 40))
    held_by = data.draw(st.integers(1, institutions))
    one = federation(study, institutions, held_by, epsilon=data.draw(st.floats(0.2, 10)))
    public, *others = guarantees(one, plan(one))
    assert [g.adversary for g in (public, *others)] == list(ADVERSARIES)
    for other in others:
        assert other.cost == plan(one).cost
        assert public.cost.epsilon <= other.cost.epsilon <= one.privacy.epsilon
        assert FALSE_POSITIVES < public.attack_rate <= other.attack_rate < 1
    if institutions == 1:
        assert public.cost == others[0].cost and public.attack_rate == others[0].attack_rate
    if institutions == held_by:
        assert public.cost.epsilon == pytest.approx(others[0].cost.epsilon, rel=2e-3)


@pytest.mark.parametrize(("institutions", "held_by"), [(2, 1), (3, 2), (10, 3), (40, 1)])
def test_the_public_meets_the_noise_of_all_and_the_change_of_g(study: Study, institutions: int, held_by: int) -> None:
    one = federation(study, institutions, held_by)
    (phase,) = plan(one).phases
    assert isinstance(phase.query, Marginals)
    finest = phase.query.grid * min(phase.query.sigmas(phase.multiplier))
    squared = phase.multiplier**2 * (institutions - 4 / finest**2)
    mu = held_by / math.sqrt(squared)
    public = by_name(one)["public"]
    assert public.cost.epsilon == pytest.approx(gaussian_epsilon(mu, 1e-6 * (1 - RESERVE)), rel=1e-7)
    assert public.attack_rate == pytest.approx(special.ndtr(special.ndtri(0.01) + mu), rel=1e-6)


@pytest.mark.parametrize("held_by", [1, 3])
def test_training_is_no_cheaper_before_the_public(training_study: Study, held_by: int) -> None:
    one = federation(training_study, 6, held_by)
    columns, training = plan(one).phases
    assert isinstance(training.query, LocalTraining)
    reported = by_name(one)
    alone = repeated(training.events, held_by)
    assert cost(alone, 1e-6).epsilon < reported["public"].cost.epsilon < reported["coordinator"].cost.epsilon
    (counted,) = guarantee._summed(columns, one)
    assert reported["public"].cost == cost(composed((counted, *alone)), 1e-6)
    assert reported["public"].attack_rate < reported["coordinator"].attack_rate


@pytest.mark.parametrize("held_by", [1, 2])
@pytest.mark.parametrize(
    "chosen", [Autoregressive(rounds=3, steps=1, sampling_rate=0.2), Ctgan(rounds=1)], ids=lambda chosen: chosen.kind
)
def test_sums_of_gradients_carry_the_noise_of_all_before_the_public(
    study: Study, chosen: GeneratorPlan, held_by: int
) -> None:
    """Messages that are private by themselves, and add up: K noises, in g parts, each of a sample of its own."""
    one = replace(federation(study, 6, held_by), generator=chosen)
    columns, training = plan(one).phases
    assert isinstance(training.query, GradientSum)
    whole = training.query.events(math.sqrt(6) * training.multiplier)
    parts = [replace(e, noise_multiplier=e.noise_multiplier / math.sqrt(held_by)) for e in whole]
    expected = (*guarantee._summed(columns, one), *repeated(tuple(parts), held_by * training.rounds))
    reported = by_name(one)
    assert reported["public"].cost == cost(expected, one.privacy.delta)
    assert reported["public"].cost.epsilon < reported["coordinator"].cost.epsilon / 1.5
    assert reported["coordinator"].cost == plan(one).cost


@pytest.mark.parametrize("held_by", [1, 2])
@pytest.mark.parametrize("colluders", [0, 1])
@pytest.mark.parametrize(
    "chosen", [Autoregressive(rounds=3, sampling_rate=0.2), Tvae(rounds=2, sampling_rate=1.0)], ids=lambda c: c.kind
)
def test_under_masks_who_knows_more_of_the_noise_is_promised_less(
    study: Study, chosen: GeneratorPlan, held_by: int, colluders: int
) -> None:
    one = federation(study, 6, held_by)
    one = replace(one, generator=chosen, privacy=replace(one.privacy, trust="secure-sum", colluders=colluders))
    public, coordinator, some, all_others = guarantees(one, plan(one))
    assert public.cost == coordinator.cost == plan(one).cost
    assert coordinator.cost.epsilon <= one.privacy.epsilon < all_others.cost.epsilon
    assert (some.cost == coordinator.cost) == (colluders > 0)
    assert coordinator.cost.epsilon <= some.cost.epsilon < all_others.cost.epsilon
    bare = [replace(e, count=e.count * held_by * p.rounds) for p in plan(one).phases for e in p.collusion_events]
    assert all_others.cost == cost(bare, one.privacy.delta)


@pytest.mark.parametrize(
    ("institutions", "held_by", "multiplier"), [(2, 1, 1.0), (3, 2, 1.5), (4, 4, 2.0), (6, 1, 0.75)]
)
def test_the_claim_for_the_public_against_the_exact_law_of_the_sum(
    study: Study, institutions: int, held_by: int, multiplier: float
) -> None:
    """One count on a grid of 4 units, where integers show. The truth is below the claim, and would not be below more."""
    query = Marginals((2,), ((0,),), (1.0,), 1, 4)
    one = federation(study, institutions, held_by)
    (event,) = guarantee._summed(Phase("counts", query, 1, multiplier), one)
    mu = total_mu((event,))
    laws = apart(summed(4 * multiplier, institutions), 4 * held_by)
    for epsilon in EPSILONS:
        exact = divergence(*laws, epsilon)
        assert exact <= gaussian_delta(mu, epsilon) + 1e-12
        if exact > 1e-6:
            assert exact > gaussian_delta(mu / 1.25, epsilon)
    for rate in RATES:
        found = best_test(*laws, rate)
        assert found <= attack_rate((event,), 1e-12, rate) + 1e-12
        assert found > special.ndtr(special.ndtri(rate) + mu / 1.25)


def test_rounds_of_counts_add_up_before_the_public(study: Study) -> None:
    one = federation(study, 5, 2)
    (phase,) = plan(one).phases
    (event,) = guarantee._summed(phase, one)
    assert guarantee._summed(replace(phase, rounds=7), one) == (replace(event, count=7 * event.count),)
    assert event.count == 2  # a part of the noise for each institution that holds the person


def test_the_public_gains_only_if_the_noise_of_all_is_near_enough_to_ideal(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim relies on K + 1 draws a number; one that would fit for the g institutions alone is not enough."""
    one = federation(study, 8, 1)
    (phase,) = plan(one).phases
    gained = by_name(one)
    assert gained["public"].cost.epsilon < gained["coordinator"].cost.epsilon
    factor = phase.query.width * (1 + math.exp(gained["public"].cost.epsilon))
    just = RESERVE * one.privacy.delta / factor / 9
    monkeypatch.setattr(guarantee, "SLACK", just * (1 - 1e-9))
    assert by_name(one) == gained
    monkeypatch.setattr(guarantee, "SLACK", just * (1 + 1e-9))
    assert by_name(one)["public"].cost == gained["coordinator"].cost
    assert by_name(one)["public"].attack_rate == gained["coordinator"].attack_rate


def test_the_public_gains_nothing_from_a_sum_that_is_no_discrete_gaussian(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarantee, "SMALLEST", 1.0)
    reported = by_name(federation(study, 8, 1))
    assert reported["public"].cost == reported["coordinator"].cost


# Words


@given(st.floats(0, 1))
def test_a_rate_is_rounded_up(rate: float) -> None:
    reported = float(in_hundred(rate)) / 100
    assert rate - 1e-12 <= reported <= rate + 0.001 + 1e-9


def test_the_risk_in_words() -> None:
    assert risk_words(0.0721) == (
        "Whoever tests whether a given person took part, and is wrong about 1 in 100 who did not, "
        "is right about at most 7.3 in 100 who did."
    )


def test_a_guarantee_is_written_in_full(study: Study) -> None:
    for g in guarantees(study, plan(study)):
        document = json.loads(canonical_json(g.document()))
        assert document["adversary"] == g.adversary
        assert (document["epsilon"], document["delta"], document["check"]) == (
            g.cost.epsilon,
            g.cost.delta,
            g.cost.check,
        )
        assert document["attack_rate"] == g.attack_rate
        assert document["words"] == risk_words(g.attack_rate)
        assert (document["sees"], document["towards"]) == (g.sees, g.towards)


def test_who_asks_again_computes_nothing(study: Study) -> None:
    one = replace(study, generator=Autoregressive())
    first = guarantees(one, plan(one))
    computed = accounting._attack_rate.cache_info().misses
    assert guarantees(one, plan(one)) == first
    assert computed > 0
    assert accounting._attack_rate.cache_info().misses == computed
