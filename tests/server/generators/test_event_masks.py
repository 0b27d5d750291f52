"""Rules across events hold exactly in whatever is drawn, and in the fit, and the gate looks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.encoding import Events
from cohortium.data.event_rules import Final, Once, Ordered
from cohortium.data.events import EventTable
from cohortium.data.linked import encode_linked
from cohortium.data.schema import Schema, with_events
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.contexts import Context
from cohortium.queries.steps import Asked
from cohortium.study.generators import Histories
from cohortium.study.histories import track_of
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium_server.gate import _linked
from cohortium_server.generators import Sum, generator_class
from cohortium_server.generators.cells import Cells
from cohortium_server.generators.step_model import Beginnings, StepModel
from cohortium_server.release.linked import drawn_rows

KINDS = ("a", "b", "c", "d", "end")
CLOCK = Continuous(name="day", lower=0, upper=60)
RULES = (
    Once(column="kind", categories=("a", "b")),
    Ordered(column="kind", earlier=("b",), later=("c",)),
    Final(column="kind", categories=("end",)),
)


def table(*rules: Any, nullable: bool = False, **more: Any) -> EventTable:
    kind = Categorical(name="kind", categories=KINDS, nullable=nullable)
    return EventTable(name="t", person="id", time="day", columns=(CLOCK, kind), rules=rules, **more)


ALL = table(Once(column="kind"), *RULES[1:])
SOME = table(*RULES)
BLANK = table(Once(column="kind"), nullable=True)


def model(of: EventTable, seed: int, merged: int) -> StepModel:
    """One whose kinds are drawn with strong likings that no rule knows of, in so many merged cells."""
    rng = np.random.default_rng(seed)
    kinds = of.steps[1].size
    cells = Cells(of.sizes, np.concatenate([np.arange(of.sizes[0]), np.arange(kinds) % merged]), np.ones(sum(of.sizes)))
    track = track_of(of).merged((of.sizes[0], merged))
    asked = (Asked(0, Context("previous", 1), 1),)
    bias = np.zeros(of.sizes[0]), rng.normal(0, 4, merged)
    return StepModel(of, track, cells, asked, bias, (rng.normal(0, 4, (merged, merged)),))


@pytest.mark.parametrize("of", [ALL, SOME, BLANK], ids=["all", "some", "blank"])
@pytest.mark.parametrize("merged", [5, 2])
@given(seed=st.integers(0, 999))
def test_what_is_drawn_keeps_the_rules_and_has_as_many_events_as_it_should(
    of: EventTable, merged: int, seed: int
) -> None:
    rng, kinds = np.random.default_rng(seed), of.steps[1].size
    first = rng.integers(0, kinds, 40)
    length = np.minimum(rng.integers(0, 9, 40), 1 + of.capacity(first[:, None]))
    values = np.column_stack([np.zeros(40, np.int64), first])
    begin = Beginnings(np.zeros((40, 0), np.int64), length, rng.integers(0, 60, 40), values)
    events = model(of, seed, merged).roll(begin, rng)
    assert np.bincount(events.persons, minlength=40).tolist() == length.tolist()
    assert not of.broken(events.persons, events.values[:, 1:]).any()
    assert (events.values[:, 1] < kinds).all()


def test_a_mask_changes_nothing_where_all_is_allowed() -> None:
    """With a rule about what hardly happens, the others are drawn as often as without."""
    shares = []
    for of in (table(), table(Final(column="kind", categories=("end",)))):
        one = model(of, 3, 5)
        bias = one.bias[0], np.array([0.0, 1.0, 0.5, 0.0, -40.0])
        one = replace(one, bias=bias, effects=(np.zeros((5, 5)),))
        many = 4000
        begin = Beginnings(
            np.zeros((many, 0), np.int64), np.full(many, 4), np.zeros(many, np.int64), np.zeros((many, 2), np.int64)
        )
        kinds = one.roll(begin, np.random.default_rng(0)).values[:, 1]
        shares.append(np.bincount(kinds, minlength=5) / len(kinds))
    assert np.abs(shares[0] - shares[1]).max() < 0.02


SCHEMA: Schema = with_events(
    Schema(name="s", person="id", columns=(Categorical(name="sex", categories=("f", "m")),)), (replace(SOME, most=6),)
)


def rows(persons: int) -> dict[str, pd.DataFrame]:
    rng, made = np.random.default_rng(0), []
    for person in range(persons):
        days = np.sort(rng.integers(0, 60, rng.integers(0, 6))).tolist()
        made += [(person, day, KINDS[int(rng.integers(0, 5))]) for day in days]
    people = pd.DataFrame({"id": range(persons), "sex": ["f", "m"] * (persons // 2)})
    return {"persons": people, "t": pd.DataFrame(made, columns=["id", "day", "kind"])}


@pytest.mark.usefixtures("short_fits")
def test_a_fitted_generators_release_keeps_the_rules_under_much_noise() -> None:
    """Also of persons drawn by a model that knows no constraint, whose events are simulated in the fit."""
    agreed = Study(
        name="s", schema=SCHEMA, privacy=Privacy(epsilon=0.5, delta=1e-5), generator=Histories(components=20),
        institutions=(Institution(name="one"),),
    )  # fmt: skip
    generator, codes = generator_class("histories")(agreed, 1), encode_linked(rows(600), SCHEMA)
    for phase in plan(agreed).phases:
        query = generator.ask()
        assert query is not None
        answer = query.answer(codes, phase.multiplier, SecureRandomness())
        generator.tell(Sum(query, answer.values, 1, phase.multiplier))
    drawn = drawn_rows(generator, SCHEMA, 800, np.random.default_rng(2))
    (events,) = drawn.events
    (of,) = SCHEMA.tables
    assert not of.broken(events.persons, events.values[:, 1:]).any()
    lengths = drawn.index[:, SCHEMA.index("t_rows")]
    assert np.bincount(events.persons, minlength=800).tolist() == lengths.tolist()


def test_the_gate_lets_no_event_through_that_a_rule_forbids() -> None:
    outcome: Any = SimpleNamespace(study=SimpleNamespace(schema=SCHEMA))
    persons = np.zeros((2, len(SCHEMA.columns)), np.int16)
    for kinds, passed in (([2, 3, 4], True), ([4, 3, 3], False), ([0, 0, 3], False), ([2, 1, 3], False)):
        values = np.column_stack([np.zeros(3, np.int64), kinds])
        events = Events(values, np.zeros(3, np.int64), np.arange(3))
        (found,) = _linked(outcome, persons, (events,))
        assert found.passed == passed
