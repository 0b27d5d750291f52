"""Attacks find a generator that copies, and nothing where rows are drawn anew; what they prove is what theory says."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from cohorts import COHORT, cohort
from effort import draws, examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from cohortium.evaluation.attacks.findings import LEVEL, Attack, Finding, judge, rate
from cohortium.evaluation.attacks.inference import inference, linkability
from cohortium.evaluation.attacks.membership import by_density, by_distance, copies, expected
from cohortium.evaluation.attacks.singling_out import TRIES, conditions, singling_out
from cohortium.evaluation.attacks.targets import Targets, targets
from cohortium.evaluation.evaluation import Asked, evaluate
from cohortium.evaluation.samples import sides

ILL = COHORT.index("ill")
PROMISED = (1.0, 1e-6)
PERSONS = 8000


def attacked(synthetic: pd.DataFrame, real: pd.DataFrame, held: pd.DataFrame, seed: int = 0) -> Targets:
    return targets(sides(COHORT, synthetic, real, held, np.random.default_rng(seed)))


def world(seed: int, copied: float, persons: int = PERSONS) -> Targets:
    """Synthetic rows drawn anew, but for a share that is copied from real ones."""
    rng = np.random.default_rng(seed)
    real, held, made = (cohort(persons, rng, first) for first in (0, persons, 0))
    stolen = round(copied * persons)
    made = pd.concat([made.iloc[stolen:], real.sample(stolen, random_state=seed)], ignore_index=True)
    return attacked(made, real, held, seed)


def all_attacks(of: Targets, seed: int = 0) -> Iterator[Attack]:
    rng = np.random.default_rng(seed)
    yield copies(of)
    yield from by_distance(of)
    yield from by_density(of)
    yield from singling_out(of, COHORT, of.space.sides.ordered, rng)
    yield from linkability(of, rng)
    yield from inference(of, (ILL,), COHORT.names)


def test_a_generator_that_copies_one_row_in_a_hundred_is_found_nearly_always() -> None:
    """Power at least .99, with all other attacks beside it, which make each interval wider."""
    tries = draws(300, 40)
    others = list(all_attacks(world(0, 0.0, 600)))[1:]
    missed = sum(
        not next(f for f in judge([copies(world(seed, 0.01)), *others], PROMISED) if f.name == "copies").breaks
        for seed in range(tries)
    )
    assert missed <= tries // 100


def test_what_is_copied_ever_so_often_is_found_by_distance_and_linking_too() -> None:
    found = {(f.name, f.of): f for f in judge(list(all_attacks(world(1, 0.5, 2000))), PROMISED)}
    for name in (("copies", ""), ("membership by distance", "1 % false alarms")):
        assert found[name].breaks and found[name].leaks, name
        assert "MORE than the guarantee allows" in found[name].sentence
    assert found["linkability", ""].leaks
    assert found["singling out", "4 columns"].leaks and not found["singling out", "4 columns"].breaks


def test_many_rows_like_a_persons_are_found_by_their_density() -> None:
    rng = np.random.default_rng(6)
    real, held = cohort(2000, rng), cohort(2000, rng, 2000)
    near = pd.concat([real.head(400)] * 6, ignore_index=True)
    near["age"] = (near["age"] + rng.normal(0, 0.05, len(near))).clip(0, 100).round(2)
    found = judge(list(by_density(attacked(near, real.head(400), held))), PROMISED)
    assert found[0].breaks and found[1].leaks


def test_rows_drawn_anew_give_nobody_away() -> None:
    """All attacks together are wrong at most once in 20 times; half of that is for the other end of the intervals."""
    tries = draws(60, 8)
    leaking = sum(
        any(f.leaks or f.breaks for f in judge(list(all_attacks(world(s, 0.0, 900))), PROMISED)) for s in range(tries)
    )
    assert binomtest(leaking, tries, LEVEL).pvalue > 0.01 or leaking == 0


def test_an_exact_mechanism_at_its_epsilon_stays_inside_and_one_beyond_is_found() -> None:
    """Randomised response: a person's bit is told with chance e^eps / (1 + e^eps), and no mechanism gives away more at that epsilon."""
    rng, rows = np.random.default_rng(4), 20_000

    def finding(epsilon: float) -> Finding:
        truly = math.exp(epsilon) / (1 + math.exp(epsilon))
        hits = [rng.random(rows) < chance for chance in (truly, 1 - truly)]
        return judge([Attack("randomised response", "", *hits, 0, "Who guesses is")], (1.0, 0.0))[0]

    inside = [finding(1.0) for _ in range(40)]
    assert sum(f.breaks for f in inside) <= 4 and all(f.leaks for f in inside)
    assert all(f.allowed == pytest.approx(math.e * f.others.share) or f.allowed is not None for f in inside)
    assert all(finding(1.3).breaks for _ in range(10))


@settings(max_examples=examples(100))
@given(st.floats(0.0, 6.0), st.floats(0.0, 0.2), st.integers(0, 400))
def test_what_is_allowed_is_the_bound_of_a_test_of_hypotheses(epsilon: float, delta: float, hits: int) -> None:
    """Kairouz, Oh and Viswanath (2015): p <= e^eps q + delta, and (1 - q) <= e^eps (1 - p) + delta."""
    others, members = rate(hits, 400, 0.01), rate(0, 400, 0.01)
    allowed = Finding("", "", "", members, others, 0, epsilon, delta).allowed
    assert allowed is not None
    q = hits / 400
    assert q <= allowed + 1e-12 <= 1 + 2e-12
    assert allowed <= math.exp(epsilon) * q + delta + 1e-9
    assert 1 - q <= math.exp(epsilon) * (1 - allowed) + delta + 1e-9


@settings(max_examples=examples(100))
@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.001, 0.2))
def test_rates_have_the_interval_of_clopper_and_pearson(hits: int, tries: int, level: float) -> None:
    hits = min(hits, tries)
    found = rate(hits, tries, level)
    exact = binomtest(hits, tries).proportion_ci(1 - 2 * level, "exact")
    assert (found.low, found.high) == (pytest.approx(exact.low, abs=1e-9), pytest.approx(exact.high, abs=1e-9))


def test_the_more_attacks_there_are_the_wider_is_each_interval() -> None:
    hits = np.arange(1000) < 30
    one = Attack("copies", "", hits, hits, 0, "Who guesses is")
    alone, beside = judge([one], None)[0], judge([one] * 10, None)[0]
    assert beside.members.low < alone.members.low and beside.members.high > alone.members.high
    assert alone.members.high == rate(30, 1000, LEVEL / 2).high
    assert alone.allowed is None and not alone.breaks


def test_thresholds_are_set_by_persons_who_are_not_tested() -> None:
    of = world(3, 0.0, 900)
    setting, tested = of.others_halved
    assert not set(setting.rows.persons.tolist()) & set(tested.rows.persons.tolist())
    assert not set(of.known.rows.persons.tolist()) & set(of.others.rows.persons.tolist())
    assert all(len(a.others) == len(tested) for a in by_distance(of))


def test_a_row_that_others_may_have_by_chance_is_no_copy() -> None:
    rng = np.random.default_rng(2)
    real, held = cohort(900, rng), cohort(900, rng, 900)
    of = attacked(real, real, held)
    assert copies(of).members.mean() > 0.85 and copies(of).others.mean() < 0.01
    same = pd.concat([held.drop(columns="pid").head(1)] * 900, ignore_index=True).assign(pid=range(900))
    of = attacked(same, same, same.assign(pid=range(900, 1800)))
    assert not copies(of).members.any() and not copies(of).others.any()


def test_rows_are_expected_as_often_as_independent_columns_would_have_them() -> None:
    known = np.array([[0, 1], [0, 2], [1, 2], [0, 2]])
    rows = np.array([[0, 2], [1, 1], [5, 2], [5, 5]])
    assert expected(rows, known).tolist() == [9 / 16, 1 / 16, 3 / 16, 1 / 16]


def test_conditions_fit_exactly_one_synthetic_row_and_what_was_drawn_in_vain_is_counted() -> None:
    of = world(5, 0.0, 900)
    rng = np.random.default_rng(0)
    values = np.column_stack([of.synthetic.rows.index[:, j] for j in range(4)]).astype(float)
    found, skipped = conditions(values, of.space.sides.ordered, 3, rng)
    assert found and all(c.fulfilled(values).sum() == 1 for c in found)
    assert len(found) <= TRIES and skipped >= 0
    none, drawn = conditions(np.zeros((50, 2)), (0, 0), 1, rng)
    assert not none and drawn == 10 * TRIES


def test_an_evaluation_judges_by_the_guarantee_it_is_given() -> None:
    rng = np.random.default_rng(8)
    real, held = cohort(800, rng), cohort(800, rng, 800)
    promised, nothing = (evaluate(COHORT, real, real, held, Asked(guarantee=g)).findings for g in (PROMISED, None))
    assert any(f.breaks for f in promised) and not any(f.breaks for f in nothing)
    assert any(f.leaks for f in nothing)
    assert {f.name for f in promised} == {
        "copies", "membership by distance", "membership by density", "singling out", "linkability", "attribute inference",
    }  # fmt: skip
