"""Studies of events: what they may combine, what their plan costs a person, and that nothing of it follows from data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from linked import LABS, LINKED, STAYS

from cohortium.data.schema import with_events
from cohortium.errors import StudyError
from cohortium.privacy.accounting import gaussian_epsilon
from cohortium.queries.clipped import Clipped
from cohortium.queries.counts import Tables
from cohortium.queries.steps import Steps
from cohortium.study.generators import Autoregressive, GeneratorPlan, Histories, Pgm, Sweep
from cohortium.study.histories import tracks_of
from cohortium.study.plan import MOST_PERSONS, plan, ring
from cohortium.study.study import Institution, Privacy, Study


def study(**privacy: Any) -> Study:
    return Study(
        name="h",
        schema=LINKED,
        privacy=Privacy(**({"epsilon": 2.0, "delta": 1e-6} | privacy)),
        generator=Histories(),
        institutions=tuple(Institution(name=f"i{k}") for k in range(5)),
    )


@pytest.mark.parametrize("generator", [Sweep(), Pgm(), Autoregressive()], ids=lambda g: g.kind)
def test_events_are_for_histories_alone(generator: GeneratorPlan) -> None:
    with pytest.raises(StudyError, match=r"E_PLAN_INVALID.*generator\.kind"):
        replace(study(), generator=generator)


def test_events_are_of_edition_two() -> None:
    with pytest.raises(StudyError, match=r"E_PLAN_INVALID.*edition"):
        replace(study(), edition=1)


@pytest.mark.parametrize("privacy", [{"rows_per_person": 2}, {"equal_weight": "persons"}])
@pytest.mark.parametrize("mode", [{}, {"mode": "none", "epsilon": 0.0, "delta": 0.0}], ids=["private", "none"])
def test_a_person_of_events_has_one_row(privacy: dict[str, Any], mode: dict[str, Any]) -> None:
    """Elsewhere it would be said that so many rows count, or persons weigh the same, which is not true of events."""
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        study(**privacy, **mode)


@pytest.mark.parametrize("trust", ["local", "secure-sum"])
@pytest.mark.parametrize("g", [1, 3])
def test_a_persons_events_cost_the_whole_promise_and_no_more(trust: str, g: int) -> None:
    """Worked out here: g messages under their own noise, or g clipped parts of a sum under that of all; by the closed form alone."""
    agreed = plan(one := study(trust=trust, institutions_per_person=g))
    moved = g if trust == "local" else g * g / 5
    squares = sum(moved / phase.multiplier**2 for phase in agreed.phases)
    assert 0.99 * one.privacy.epsilon < gaussian_epsilon(math.sqrt(squares), 1e-6) <= agreed.cost.epsilon + 1e-6
    assert agreed.cost.epsilon <= one.privacy.epsilon
    for phase in agreed.phases:  # what is drawn, over how far a person reaches, is what was charged
        query = phase.query
        assert isinstance(query, Tables)
        for sigma, weight in zip(query.sigmas(phase.multiplier), query.weights, strict=True):
            if weight > 0:
                sensitivity = query.sensitivity / query.grid
                assert sigma == pytest.approx(phase.multiplier * sensitivity / math.sqrt(weight))


@pytest.mark.parametrize("population", [None, 1000])
def test_no_masked_sum_of_events_is_larger_than_its_ring(population: int | None) -> None:
    """Were all persons in as many institutions as they may be, and each as far in one cell as one can be."""
    one = study(trust="secure-sum", institutions_per_person=2, population=population)
    for phase in plan(one).phases:
        query = phase.query
        if isinstance(query, Clipped):
            furthest = 2 * (population or MOST_PERSONS) * query.sensitivity
            assert 2 * furthest < 2.0 ** ring(one, phase).bits


def test_the_plan_follows_from_what_is_declared_of_events() -> None:
    """Also how many count, which is signed: another number is another study."""
    more = replace(study(), schema=with_events(LINKED, (replace(LABS, most=4), STAYS)))
    assert more.digest != study().digest and more != study()
    (steps,) = (p.query for p in plan(more).phases if isinstance(p.query, Steps))
    assert [track.most for track in steps.tracks] == [4, 100]
    assert [track.sizes for track in tracks_of(LINKED)] == [LABS.sizes, STAYS.sizes]
    assert "at most 4 of labs, 100 of stays" in more.counted


def test_the_most_events_and_the_longest_clip_that_may_be_set_can_be_added_up() -> None:
    """What a study may say is within the limits of the queries' arithmetic."""
    many = with_events(LINKED, (replace(LABS, most=100_000), replace(STAYS, most=100_000)))
    for clip in (0.1, 1000.0):
        for epsilon in (0.1, 10.0):
            one = replace(study(epsilon=epsilon), schema=many, generator=Histories(clip=clip))
            assert plan(one).cost.epsilon <= epsilon
