"""Epsilon against independent computations: integrals, and a privacy loss distribution of our own.

``true_epsilon`` brackets the truth: losses rounded down give a lower bound, losses rounded up an upper one. It shares
no code with the product or with dp_accounting.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from effort import cases
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from cohortium.errors import AccountingError, StudyError
from cohortium.privacy import accounting
from cohortium.privacy.accounting import (
    FREE,
    MAX_DELTA,
    MIN_DELTA,
    RESERVE,
    ROUNDING,
    Gaussian,
    composed,
    cost,
    gaussian_delta,
    gaussian_epsilon,
    pld_epsilon,
    profile,
    rdp_epsilon,
    repeated,
    total_mu,
)
from cohortium.privacy.calibration import PRECISION, TRIED, calibrate
from cohortium.study.generators import Autoregressive, Ctgan, Diffusion, GeneratorPlan, Sweep, Tvae
from cohortium.study.plan import (
    all_person_events,
    charged,
    charged_in_all,
    collusion_events_in_all,
    person_events,
    plan,
)
from cohortium.study.study import Study


def integrated_delta(mu: float, epsilon: float) -> float:
    """The hockey-stick divergence of N(mu, 1) from N(0, 1) as an integral."""

    def excess(x: float) -> float:
        return float(stats.norm.pdf(x - mu) - math.exp(epsilon) * stats.norm.pdf(x))

    start = epsilon / mu + mu / 2
    value, _ = integrate.quad(excess, start, start + mu + 40, epsabs=0, epsrel=1e-11, limit=500)
    return float(value)


def true_epsilon(events: Iterable[Gaussian], delta: float, guess: float) -> tuple[float, float]:
    """A lower and an upper bound on the smallest epsilon, over adding and removing a person."""
    events = list(events)
    width = 5e-3 * guess / sum(e.count for e in events)
    cells = 1 << math.ceil(math.log2(16 * (guess + 1e-3) / width))
    both = [_one_way(events, delta, width, cells, adding) for adding in (False, True)]
    return max(low for low, _ in both), max(high for _, high in both)


def _one_way(events: list[Gaussian], delta: float, width: float, cells: int, adding: bool) -> tuple[float, float]:
    places = np.arange(cells) - cells // 2
    chances = np.ones(cells // 2 + 1, complex)
    for e in events:
        edges = np.append(places, places[-1] + 1) * width
        mass = np.diff(_below(edges, e, adding))  # of losses in [edge, next edge)
        chances = chances * np.fft.rfft(np.fft.ifftshift(mass)) ** e.count
    mass = np.fft.fftshift(np.fft.irfft(chances, cells))
    up = sum(e.count for e in events)  # as many times a loss was rounded down by less than one cell
    return _solve(mass, places * width, delta), _solve(mass, (places + up) * width, delta)


def _below(loss: np.ndarray, e: Gaussian, adding: bool) -> np.ndarray:
    """Chance that one step's privacy loss is below ``loss``."""
    q, z = e.sampling_rate, e.noise_multiplier
    if adding:  # outputs without the person, loss log(without / with)
        with np.errstate(divide="ignore", invalid="ignore"):
            x = z**2 * np.log((np.expm1(-loss) + q) / q) + 0.5
        return np.where(np.expm1(-loss) + q > 0, stats.norm.sf(x / z), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = z**2 * np.log((np.expm1(loss) + q) / q) + 0.5
    cdf = (1 - q) * special.ndtr(x / z) + q * special.ndtr((x - 1) / z)
    return np.where(np.expm1(loss) + q > 0, cdf, 0.0)


def _solve(mass: np.ndarray, losses: np.ndarray, delta: float) -> float:
    low, high = 0.0, float(losses[-1])
    for _ in range(60):
        middle = (low + high) / 2
        above = losses > middle
        reached = float(mass[above] @ -np.expm1(middle - losses[above]))
        low, high = (middle, high) if reached > delta else (low, middle)
    return high


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 3.0, 9.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 8.0])
def test_the_closed_form_is_the_integral(mu: float, epsilon: float) -> None:
    assert gaussian_delta(mu, epsilon) == pytest.approx(integrated_delta(mu, epsilon), rel=1e-7, abs=1e-17)


@given(st.floats(0.01, 20), st.floats(1e-12, 1e-4))
def test_the_inverse_of_the_closed_form_is_rounded_up(mu: float, delta: float) -> None:
    epsilon = gaussian_epsilon(mu, delta)
    assert gaussian_delta(mu, epsilon) <= delta
    assert epsilon == 0 or gaussian_delta(mu, epsilon * (1 - 1e-6)) > delta


@pytest.mark.parametrize(
    ("noise", "count", "delta"), [(10.0, 100, 1e-5), (0.5, 1, 1e-6), (40.0, 1000, 1e-10), (700.0, 50, 1e-6)]
)
def test_unsampled_events_cost_the_same_in_both_accountants(noise: float, count: int, delta: float) -> None:
    events = (Gaussian(noise, 1.0, count),)
    exact = gaussian_epsilon(total_mu(events), delta)
    assert exact * (1 - 1e-9) <= pld_epsilon(events, delta) <= exact * 1.002
    assert exact <= rdp_epsilon(events, delta) <= 1.25 * exact


GOLDEN = [  # noise, rate, steps, delta, epsilon, and that of Rényi DP of whole orders
    (10.0, 1.0, 100, 1e-5, 4.377, 4.729),
    (1.0, 1.0, 1, 1e-6, 4.886, 5.221),
    (0.5, 0.01, 100, 1e-5, 6.476, 10.662),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "delta", "epsilon", "check"), GOLDEN)
def test_golden_values(noise: float, rate: float, steps: int, delta: float, epsilon: float, check: float) -> None:
    found = cost((Gaussian(noise, rate, steps),), delta)
    assert found.epsilon == pytest.approx(epsilon, abs=1.5e-3)
    assert found.check == pytest.approx(check, abs=1.5e-3)


BRACKETED = [
    ((Gaussian(1.0, 0.1, 50),), 1e-6),
    ((Gaussian(0.7, 0.01, 200),), 1e-5),
    ((Gaussian(5.0, 0.2, 300),), 1e-6),
    ((Gaussian(2.0, 0.5, 20),), 1e-8),
    ((Gaussian(12.0, 1.0, 1), Gaussian(4.0, 0.1, 200)), 1e-6),
    ((Gaussian(300.0, 0.1, 100),), 1e-6),  # so little a step that a coarse grid of losses would drown it
    ((Gaussian(580.0, 0.1, 100),), 1e-10),
    ((Gaussian(14.0, 0.01, 20),), 1e-6),
]


@pytest.mark.parametrize(("events", "delta"), BRACKETED)
def test_nothing_is_reported_as_cheaper_than_it_is(events: tuple[Gaussian, ...], delta: float) -> None:
    claimed = pld_epsilon(events, delta)
    low, high = true_epsilon(events, delta, claimed)
    assert low <= high <= 1.01 * low
    assert low <= claimed <= 1.01 * high


def test_a_cheaper_claim_would_be_found_out() -> None:
    """The bracket has power: the claim for a rate or a noise off by a twentieth lies outside."""
    low, high = true_epsilon((Gaussian(1.0, 0.1, 50),), 1e-6, 4.0)
    assert pld_epsilon((Gaussian(1.05, 0.1, 50),), 1e-6) < low
    assert pld_epsilon((Gaussian(1.0, 0.095, 50),), 1e-6) < low
    assert pld_epsilon((Gaussian(1.0, 0.105, 50),), 1e-6) > high


NOISES, RATES, STEPS, DELTAS = (0.7, 1.5, 4.0, 20.0), (0.01, 0.1, 0.4, 1.0), (1, 20, 200), (1e-5, 1e-7, 1e-10)


@pytest.fixture(scope="module")
def grid() -> dict[tuple[float, float, int, float], tuple[float, float]]:
    points = itertools.product(NOISES, RATES, STEPS, DELTAS)
    return {p: (pld_epsilon((Gaussian(*p[:3]),), p[3]), rdp_epsilon((Gaussian(*p[:3]),), p[3])) for p in points}


def test_on_a_grid_the_claim_is_within_the_check_and_monotone(
    grid: dict[tuple[float, float, int, float], tuple[float, float]],
) -> None:
    assert len(grid) >= 100
    for (noise, rate, steps, delta), (claim, check) in grid.items():
        assert 0 <= claim <= check * (1 + 1e-6) + 1e-9
        if rate == 1:
            exact = gaussian_epsilon(math.sqrt(steps) / noise, delta)
            assert exact * (1 - 1e-6) <= claim <= exact * 1.01 + 1e-3
    for index, values in enumerate((NOISES, RATES, STEPS, DELTAS)):
        for point in grid:
            at = values.index(point[index])
            if at + 1 < len(values):
                other = (*point[:index], values[at + 1], *point[index + 1 :])
                cheaper, dearer = (other, point) if index in (0,) else (point, other)
                if index == 3:  # a smaller delta costs more
                    cheaper, dearer = point, other
                assert grid[cheaper][0] <= grid[dearer][0] * (1 + 1e-6), (cheaper, dearer)


EVENT = st.builds(Gaussian, st.sampled_from([2.0, 5.0, 9.5]), st.just(1.0), st.integers(1, 30))


@given(st.lists(EVENT, max_size=6), st.randoms(use_true_random=False))
def test_order_and_grouping_of_events_do_not_matter(events: list[Gaussian], random: object) -> None:
    shuffled = sorted(events, key=lambda _: random.random())  # type: ignore[attr-defined]
    one_by_one = [replace(e, count=1) for e in shuffled for _ in range(e.count)]
    assert composed(events) == composed(shuffled) == composed(one_by_one)
    assert cost(events, 1e-6) == cost(one_by_one, 1e-6)


def test_two_institutions_cost_what_two_answers_cost() -> None:
    events = (Gaussian(4.0), Gaussian(2.0, 0.1, 10))
    assert composed(repeated(events, 2)) == composed((*events, *events))


def test_nothing_answered_costs_nothing() -> None:
    assert cost((), 1e-6) == replace(FREE, delta=1e-6)


def test_a_part_of_delta_is_kept_for_the_sampler() -> None:
    events = (Gaussian(2.0),)
    assert cost(events, 1e-6).epsilon == gaussian_epsilon(0.5, 1e-6 * (1 - RESERVE)) > gaussian_epsilon(0.5, 1e-6)
    sampled = (Gaussian(2.0, 0.1, 10),)
    rounding = ROUNDING * 110
    assert cost(sampled, 1e-6).epsilon == pld_epsilon(sampled, 1e-6 * (1 - RESERVE) - rounding)


ROUNDED = [
    (1.5, 200),
    (0.7, 20),
    (20.0, 200),
    (300.0, 10_000),
    (2400.0, 10_000),
    (500.0, 100_000),
    (30_000.0, 10**6),
]


@pytest.mark.parametrize(("noise", "steps"), ROUNDED)
@pytest.mark.parametrize("delta", [1e-6, 1e-9, 1e-12])
def test_what_convolution_loses_to_rounding_is_set_aside(noise: float, steps: int, delta: float) -> None:
    """Without sampling the truth is known: what the convolution claims is short of it by less than is set aside."""
    events = (Gaussian(noise, 1.0, steps),)
    reached = gaussian_delta(total_mu(events), pld_epsilon(events, delta))
    assert reached <= delta + ROUNDING * (100 + steps)


def test_where_delta_is_too_small_for_the_convolution_renyi_is_the_claim() -> None:
    events = (Gaussian(100.0, 0.1, 20_000),)
    assert cost(events, 1e-12).method == "Rényi DP"
    assert cost(events, 1e-12).epsilon == rdp_epsilon(events, 1e-12 * (1 - RESERVE)) > pld_epsilon(events, 1e-12)
    assert cost(events, 1e-9).method == "privacy loss distribution"


@pytest.mark.parametrize("delta", [0.0, -1e-6, MIN_DELTA / 2, MAX_DELTA * 2, 1.0, math.nan, math.inf])
def test_a_delta_out_of_range_is_refused(delta: float) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        cost((Gaussian(1.0),), delta)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 1e-4, 101.0, math.nan, math.inf, -math.inf])
def test_an_epsilon_out_of_range_is_refused(epsilon: float) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        calibrate(lambda noise: (Gaussian(noise),), epsilon, 1e-6)


@pytest.mark.parametrize(
    "event",
    [
        (0.0,),
        (-1.0,),
        (math.nan,),
        (math.inf,),
        (1.0, 0.0),
        (1.0, 1.1),
        (1.0, math.nan),
        (1.0, 0.5, 0),
        (1.0, 0.5, -1),
    ],
)
def test_an_event_out_of_range_is_refused(event: tuple[float, ...]) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        Gaussian(*event)  # type: ignore[arg-type]


SHAPES: list[Callable[[float], tuple[Gaussian, ...]]] = [
    lambda noise: (Gaussian(noise),),
    lambda noise: (Gaussian(3 * noise, 1.0, 20), Gaussian(noise, 0.1, 200)),
    lambda noise: (Gaussian(40.0), Gaussian(noise, 0.01, 1000)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("epsilon", [0.2, 1.0, 8.0])
@pytest.mark.parametrize("delta", cases([1e-6, 1e-10], 2))
def test_calibration_keeps_to_epsilon_and_wastes_little(
    shape: Callable[[float], tuple[Gaussian, ...]], epsilon: float, delta: float
) -> None:
    spent = cost(shape(calibrate(shape, epsilon, delta)), delta).epsilon
    assert 0.995 * epsilon <= spent <= epsilon


@pytest.mark.parametrize("epsilon", [1e-3, 0.01, 0.05])
def test_small_epsilons_need_no_more_noise_under_sampling_than_theory_says(epsilon: float) -> None:
    """For small epsilon a hundred steps at a tenth are worth about one unsampled answer."""
    sampled = calibrate(lambda noise: (Gaussian(noise, 0.1, 100),), epsilon, 1e-6)
    assert sampled == pytest.approx(calibrate(lambda noise: (Gaussian(noise),), epsilon, 1e-6), rel=0.02)


@given(
    count=st.integers(1, 1000),
    epsilon=st.floats(1e-3, 100.0),
    delta=st.floats(1e-11, 1e-5),
    other=st.none() | st.floats(0.5, 50.0),
)
def test_what_is_found_is_what_bisection_alone_finds(
    count: int, epsilon: float, delta: float, other: float | None
) -> None:
    """Institutions that search in other ways must not arrive at other noise."""
    more = () if other is None else (Gaussian(1.0 + other / epsilon),)

    def affords(noise: float) -> bool:
        return cost((Gaussian(noise, 1.0, count), *more), delta).epsilon <= epsilon

    low = next((2.0**-k for k in range(5) if not affords(2.0**-k)), 2.0**-5)
    high = next((2.0**k for k in range(18) if affords(2.0**k)), None)
    if high is None:
        with pytest.raises(AccountingError, match="E_ACCOUNTING"):
            calibrate(lambda noise: (Gaussian(noise, 1.0, count), *more), epsilon, delta)
        return
    while high / low > 1 + PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if affords(middle) else (middle, high)
    assert calibrate(lambda noise: (Gaussian(noise, 1.0, count), *more), epsilon, delta) == high


def test_noise_that_was_inferred_is_never_taken_where_its_own_cost_is_too_much() -> None:
    """An accountant whose rounding makes the cost rise with the noise, just where the answer is."""
    answer = calibrate(lambda noise: (Gaussian(noise),), 1.0, 1e-6)
    tried: list[float] = []

    def dented(noise: float) -> tuple[Gaussian, ...]:
        tried.append(noise)
        inferred = len(tried) > 1 and abs(noise / answer - 1) < 1e-6
        return (Gaussian(noise * 0.99 if inferred else noise),)

    found = calibrate(dented, 1.0, 1e-6)
    assert found == tried[-1] or found in tried
    assert cost((Gaussian(found * (0.99 if abs(found / answer - 1) < 1e-6 else 1)),), 1e-6).epsilon <= 1.0


def test_few_noises_are_tried() -> None:
    tried: list[float] = []

    def sampled(noise: float) -> tuple[Gaussian, ...]:
        tried.append(noise)
        return (Gaussian(noise, 0.2, 6),)

    calibrate(sampled, 5.0, 1e-6)
    assert len(tried) <= TRIED


def test_no_noise_in_range_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(AccountingError, match="E_ACCOUNTING"):
        calibrate(lambda noise: (Gaussian(noise, 1.0, 10**12),), 1e-3, 1e-12)
    with pytest.raises(AccountingError, match="E_ACCOUNTING"):
        calibrate(lambda noise: (Gaussian(1.0),), 0.1, 1e-6)


@pytest.mark.parametrize("lie", [0.5, math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("liar", ["rdp_epsilon", "pld_epsilon"])
def test_accountants_that_contradict_each_other_are_believed_neither(
    monkeypatch: pytest.MonkeyPatch, liar: str, lie: float
) -> None:
    accounting._cost.cache_clear()
    reported = {"rdp_epsilon": 3.0, "pld_epsilon": 2.0, liar: lie if liar == "rdp_epsilon" or lie != 0.5 else 3.5}
    for name, value in reported.items():
        monkeypatch.setattr(accounting, name, lambda *_, value=value: value)
    with pytest.raises(AccountingError, match="E_ACCOUNTING"):
        cost((Gaussian(1.0, 0.5, 3),), 1e-6)
    accounting._cost.cache_clear()


# What a plan adds: the sampler's own error, and noise that can be drawn


def test_an_epsilon_beyond_the_samplers_precision_is_refused(with_privacy: Callable[..., Study]) -> None:
    """At such an epsilon the tail the sampler cuts off is not small against exp(-epsilon) delta any more."""
    with pytest.raises(StudyError, match=r"E_PLAN_PRIVACY.*precision"):
        plan(with_privacy(epsilon=90.0))


def test_noise_wider_than_the_table_is_refused_before_anything_is_charged(
    with_privacy: Callable[..., Study],
) -> None:
    with pytest.raises(StudyError, match=r"E_PLAN_LIMIT.*noise"):
        plan(with_privacy(epsilon=1e-3, rows_per_person=10_000))


@pytest.mark.parametrize("institutions", [1, 2, 3])
@pytest.mark.parametrize(
    "chosen",
    [
        Sweep(components=10),
        Autoregressive(rounds=2, steps=3),
        Autoregressive(rounds=3, steps=1, hidden=4, warm_start=0.2),
        Diffusion(rounds=2, steps=1, views=2, hidden=3),
        Tvae(rounds=2, steps=2),
        Ctgan(rounds=1),
    ],
    ids=lambda chosen: f"{chosen.kind}, {getattr(chosen, 'steps', 0)}",
)
def test_a_plan_counts_every_round_of_every_institution_a_person_is_in(
    with_privacy: Callable[..., Study], chosen: GeneratorPlan, institutions: int
) -> None:
    study = replace(with_privacy(institutions_per_person=institutions), generator=chosen)
    agreed = plan(study)
    person_events = [
        event
        for phase in agreed.phases
        for _ in range(phase.rounds * institutions)
        for event in phase.query.events(phase.multiplier)
    ]
    assert agreed.cost == cost(person_events, study.privacy.delta)
    assert 0.99 * study.privacy.epsilon <= agreed.cost.epsilon <= study.privacy.epsilon


# Masked sums: one noise for all institutions that hold a person

TRAINED = [
    Sweep(components=10),
    Autoregressive(rounds=3),
    Diffusion(rounds=2, sampling_rate=0.3, hidden=4),
    Tvae(rounds=2, sampling_rate=1.0),
    Ctgan(rounds=2),
]
BY_KIND = pytest.mark.parametrize("chosen", TRAINED, ids=lambda chosen: chosen.kind)


@BY_KIND
@pytest.mark.parametrize("held_by", [1, 2, 3])
def test_a_masked_sum_costs_g_answers_with_a_part_of_the_noise_each(
    with_privacy: Callable[..., Study], chosen: GeneratorPlan, held_by: int
) -> None:
    study = replace(with_privacy(trust="secure-sum", institutions_per_person=held_by), generator=chosen)
    agreed = plan(study)
    expected = []
    for phase in agreed.phases:
        assert phase.honest == study.honest == 3
        for e in phase.query.events(math.sqrt(3) * phase.multiplier):
            expected += phase.rounds * held_by * [replace(e, noise_multiplier=e.noise_multiplier / math.sqrt(held_by))]
    assert composed(all_person_events(study)) == composed(expected)
    assert composed(repeated(charged_in_all(study), held_by)) == composed(expected)
    assert agreed.cost == cost(expected, study.privacy.delta)
    assert 0.98 * study.privacy.epsilon <= agreed.cost.epsilon <= study.privacy.epsilon
    bare = [e for p in agreed.phases for e in p.query.events(p.multiplier) for _ in range(p.rounds)]
    assert collusion_events_in_all(study) == composed(bare)


@BY_KIND
@pytest.mark.parametrize("trust", ["local", "secure-sum"])
def test_what_is_met_is_what_g_institutions_are_charged(
    with_privacy: Callable[..., Study], chosen: GeneratorPlan, trust: str
) -> None:
    study = replace(with_privacy(trust=trust, institutions_per_person=2), generator=chosen)
    for phase in plan(study).phases:
        assert person_events(study, phase.events) == repeated(charged(study, phase.events), 2)
        if trust == "local":
            assert charged(study, phase.events) == phase.events


def test_without_sampling_g_parts_are_one_answer_that_is_moved_g_times() -> None:
    for held_by in (1, 2, 7):
        for noise in (0.8, 3.0, 40.0):
            parts = (Gaussian(noise / math.sqrt(held_by), 1.0, held_by),)
            assert total_mu(parts) == pytest.approx(held_by / noise, rel=1e-12)


def mixture_epsilon(noise: float, held_by: int, rate: float, steps: int, delta: float) -> float:
    """Upper bound for sums moved by as many units as of g institutions have sampled the person, each by its own coin."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    chances = stats.binom.pmf(range(held_by + 1), held_by, rate)
    one = pld.from_mixture_gaussian_mechanism(
        noise, list(range(held_by + 1)), list(chances / chances.sum()), value_discretization_interval=1e-3
    )
    return float(one.self_compose(steps).get_epsilon_for_delta(delta))


MIXTURES = [
    (noise, held_by, rate, steps)
    for noise in (1.0, 2.0, 6.0)
    for held_by in (2, 3, 5)
    for rate in (0.05, 0.3, 0.8)
    for steps in (1, 30)
    if noise * 2 > held_by  # what lies beyond costs more than a hundred, and the accountant is slow there
]


@pytest.mark.parametrize(("noise", "held_by", "rate", "steps"), cases(MIXTURES, 7))
def test_g_sampled_parts_cost_no_less_than_the_sum_that_is_seen(
    noise: float, held_by: int, rate: float, steps: int
) -> None:
    """What is seen is one noise, moved by a mixture. What is charged is never less, and, but for rare samples, little more."""
    seen = mixture_epsilon(noise, held_by, rate, steps, 1e-6)
    charge = pld_epsilon((Gaussian(noise / math.sqrt(held_by), rate, steps * held_by),), 1e-6)
    assert seen <= charge * (1 + 1e-6)
    if rate > 0.5:
        assert charge < 1.05 * seen
    undivided = pld_epsilon((Gaussian(noise, rate, steps * held_by),), 1e-6)
    assert undivided < 0.9 * seen  # charging the whole noise to each would be found out


@pytest.mark.parametrize(("noise", "held_by", "rate"), [(1.0, 2, 0.3), (2.0, 3, 0.1), (4.0, 5, 0.5), (1.5, 2, 0.9)])
def test_the_mixture_itself_by_integration(noise: float, held_by: int, rate: float) -> None:
    """One round, by no one's accountant: the divergence of Σ Bin(g, q) N(k, z²) from N(0, z²), both ways."""
    step = noise / 400
    x = np.arange(-30 * noise, 30 * noise + held_by, step)
    without = stats.norm.pdf(x, 0, noise) * step
    chances = stats.binom.pmf(range(held_by + 1), held_by, rate)
    having = sum(c * stats.norm.pdf(x, k, noise) * step for k, c in enumerate(chances))
    parts = (Gaussian(noise / math.sqrt(held_by), rate, held_by),)
    for epsilon in (0.1, 0.5, 1.0, 3.0):
        exact = max(
            float(np.maximum(0, a - math.exp(epsilon) * b).sum()) for a, b in ((having, without), (without, having))
        )
        (claim,) = profile(parts, (epsilon,))
        assert exact <= claim * (1 + 1e-6) + 1e-9
        (too_little,) = profile((Gaussian(noise, rate, held_by),), (epsilon,))
        assert exact < 1e-9 or too_little < exact
