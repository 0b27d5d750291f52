"""Persons' events are drawn as they follow on each other, as many as they have, and never outside the time there is."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from cohortium.data.columns.encoding import cells_at
from cohortium.data.encoding import Events
from cohortium.data.linked import encode_linked
from cohortium.data.schema import Schema, schema_from_document
from cohortium.errors import ReleaseError
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.steps import Steps
from cohortium.study.generators import Histories as HistoriesPlan
from cohortium.study.generators import Sweep as SweepPlan
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium_server.generators import Sum, generator_class
from cohortium_server.generators.histories import Histories
from cohortium_server.release.linked import DrawnRows, drawn_rows

DAYS, MOST = 200, 12
KINDS = ["a", "b", "c"]
CHAIN = np.array([[0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.6, 0.2, 0.2]])
SCHEMA: Schema = schema_from_document(
    {
        "name": "patients",
        "column": [
            {"name": "id", "person": True},
            {"name": "sex", "kind": "categorical", "categories": ["f", "m"]},
        ],
        "table": [
            {
                "name": "visits",
                "most": MOST,
                "column": [
                    {"name": "id", "person": True},
                    {
                        "name": "day",
                        "time": True,
                        "kind": "continuous",
                        "lower": 0.0,
                        "upper": DAYS - 1.0,
                        "decimals": 0,
                    },
                    {"name": "kind", "kind": "categorical", "categories": KINDS},
                ],
            }
        ],
    }
)
FLAT = schema_from_document({"column": [{"name": n, "kind": "boolean"} for n in ("x", "y")]})


def study_of(schema: Schema, privacy: Privacy, generator: Any) -> Study:
    return Study(
        name="s",
        schema=schema,
        privacy=privacy,
        generator=generator,
        institutions=(Institution(name="one"),),
        edition=2,
    )


STUDY = study_of(SCHEMA, Privacy(epsilon=10.0, delta=1e-5), HistoriesPlan(components=60))


def people(persons: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Up to eight visits each: men come every second day or so, women every ten; kinds are a chain."""
    rng = np.random.default_rng(seed)
    rows = []
    sexes = rng.integers(0, 2, persons)
    for person, sex in enumerate(sexes.tolist()):
        day, kind = int(rng.integers(0, 40)), int(rng.integers(0, 3))
        for _ in range(int(rng.integers(0, 9))):
            rows.append((person, day, KINDS[kind]))
            day += 1 + int(rng.integers(0, 3) if sex else rng.integers(6, 13))
            kind = int(rng.choice(3, p=CHAIN[kind]))
    patients = pd.DataFrame({"id": np.arange(persons), "sex": np.array(["f", "m"])[sexes]})
    return {"persons": patients, "visits": pd.DataFrame(rows, columns=["id", "day", "kind"])}


def fitted(study: Study, tables: dict[str, pd.DataFrame], seed: int = 1) -> Histories:
    generator, codes = generator_class("histories")(study, seed), encode_linked(tables, study.schema)
    for phase in plan(study).phases:
        query = generator.ask()
        assert query is not None
        answer = query.answer(codes, phase.multiplier, SecureRandomness())
        generator.tell(Sum(query, answer.values, 1, phase.multiplier))
    assert generator.ask() is None
    assert isinstance(generator, Histories)
    return generator


@functools.cache
def once() -> Histories:
    return fitted(STUDY, people(3000))


def drawn(generator: Histories, persons: int, seed: int = 3) -> DrawnRows:
    return drawn_rows(generator, SCHEMA, persons, np.random.default_rng(seed))


def column(index: npt.NDArray[np.int64], name: str) -> npt.NDArray[np.int64]:
    return index[:, SCHEMA.index(name)]


def numbers(events: Events) -> npt.NDArray[np.int64]:
    starts = np.flatnonzero(np.diff(events.persons, prepend=-1))
    return np.arange(len(events)) - np.repeat(starts, np.diff(starts, append=len(events)))


def test_what_is_asked_is_about_persons_then_steps_and_steps_are_no_tables_of_persons() -> None:
    generator = once()
    assert [p.name for p in plan(STUDY).phases] == ["columns", "events", "pairs", "steps"]
    assert {j for m in generator.measured for j in m.columns} == set(range(len(SCHEMA.columns)))
    assert generator.steps is not None
    assert isinstance(generator.steps.query, Steps)


def test_a_chain_is_recovered() -> None:
    (events,) = drawn(once(), 4000).events
    after = np.flatnonzero(numbers(events) > 0)
    kinds = events.values[:, 1].astype(np.int64)
    counts = np.zeros((3, 3))
    np.add.at(counts, (kinds[after - 1], kinds[after]), 1)
    assert np.abs(counts / counts.sum(axis=1, keepdims=True) - CHAIN).max() < 0.06


def test_gaps_depend_on_the_person() -> None:
    found = drawn(once(), 4000)
    (events,) = found.events
    after = np.flatnonzero(numbers(events) > 0)
    gaps, men = events.ticks[after] - events.ticks[after - 1], column(found.index, "sex")[events.persons[after]] == 1
    assert gaps[men].mean() == pytest.approx(2, abs=1.0)
    assert gaps[~men].mean() == pytest.approx(10, abs=1.5)


def test_each_person_has_as_many_events_as_drawn_and_the_first_one_that_was_drawn() -> None:
    found = drawn(once(), 1000)
    (events,) = found.events
    lengths = column(found.index, "visits_rows")
    assert (np.bincount(events.persons, minlength=1000) == lengths).all()
    assert lengths.min() == 0
    assert lengths.max() > 5
    first = numbers(events) == 0
    whose = events.persons[first]
    assert (events.ticks[first] == column(found.index, "visits_first_day")[whose]).all()
    assert (events.values[first, 1] == column(found.index, "visits_first_kind")[whose]).all()
    assert (events.values[first, 0] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_events_are_in_order_within_the_window_and_gaps_say_how_far_apart(seed: int) -> None:
    (events,) = drawn(once(), 500, seed).events
    assert (np.diff(events.persons) >= 0).all()
    assert events.persons.max() < 500
    assert events.ticks.min() >= 0
    assert events.ticks.max() < DAYS
    after = np.flatnonzero(numbers(events) > 0)
    gaps = events.ticks[after] - events.ticks[after - 1]
    assert gaps.min() >= 0
    assert (events.values[after, 0] == cells_at(SCHEMA.tables[0].steps[0], gaps)).all()
    assert (events.values < np.array(SCHEMA.tables[0].sizes)).all()


def test_many_events_late_in_the_window_stay_inside() -> None:
    index = drawn(once(), 50).index.copy()
    index[:, SCHEMA.index("visits_rows")] = MOST
    index[:, SCHEMA.index("visits_first_day")] = DAYS - 1
    index[:, SCHEMA.index("visits_first_kind")] = 0
    (events,) = once().events(index, np.random.default_rng(0))
    assert len(events) == 50 * MOST
    assert (events.ticks == DAYS - 1).all()


def test_nobody_has_no_events() -> None:
    (events,) = once().events(np.empty((0, len(SCHEMA.columns)), np.int64), np.random.default_rng(0))
    assert len(events) == 0


def test_a_restored_model_draws_the_same() -> None:
    again = Histories.from_tensors(STUDY, once().tensors())
    one, two = (drawn(generator, 300) for generator in (once(), again))
    assert (one.index == two.index).all()
    for ours, theirs in zip(one.events, two.events, strict=True):
        assert (ours.persons == theirs.persons).all()
        assert (ours.ticks == theirs.ticks).mean() > 0.99
        assert (ours.values == theirs.values).mean() > 0.99


def test_foreign_tensors_are_refused() -> None:
    own = once().tensors()
    for name in (n for n in own if n.startswith("steps.")):
        for wrong in (own[name][..., :-1], np.full_like(own[name], np.nan)):
            with pytest.raises(ReleaseError):
                Histories.from_tensors(STUDY, {**own, name: wrong})
        with pytest.raises(ReleaseError):
            Histories.from_tensors(STUDY, {k: v for k, v in own.items() if k != name})
    with pytest.raises(ReleaseError):
        Histories.from_tensors(STUDY, {**own, "steps.1.bias.0": own["steps.0.bias.0"]})


def test_a_seed_repeats_the_draw_of_events_and_another_does_not() -> None:
    one, two, other = (drawn(once(), 100, seed).events[0].ticks for seed in (5, 5, 6))
    assert (one == two).all()
    assert len(one) != len(other) or (one != other).any()


@pytest.mark.parametrize("tables", [people(40), {**people(30), "visits": people(30)["visits"].iloc[:0]}])
def test_much_noise_and_few_events_still_give_persons(tables: dict[str, pd.DataFrame]) -> None:
    noisy = replace(STUDY, privacy=Privacy(epsilon=0.1, delta=1e-6))
    generator = fitted(noisy, tables)
    found = drawn(generator, 200)
    assert len(found.index) == 200
    (events,) = found.events
    assert (np.bincount(events.persons, minlength=200) == column(found.index, "visits_rows")).all()


def test_on_a_schema_without_events_it_is_sweep() -> None:
    privacy = Privacy(epsilon=3.0, delta=1e-6)
    one = study_of(FLAT, privacy, HistoriesPlan(components=60))
    two = study_of(FLAT, privacy, SweepPlan(components=60))
    assert plan(one).phases == plan(two).phases
    sweep, histories = generator_class("sweep")(two, 1), generator_class("histories")(one, 1)
    for phase in plan(one).phases:
        query = sweep.ask()
        assert query == histories.ask()
        assert query is not None
        total = Sum(query, np.arange(query.width, dtype=np.int64) * 1000, 1, phase.multiplier)
        sweep.tell(total)
        histories.tell(total)
    samples = [g.sample(200, np.random.default_rng(0), {}) for g in (sweep, histories)]
    assert (samples[0] == samples[1]).all()
    assert sweep.tensors().keys() == histories.tensors().keys()
    assert isinstance(histories, Histories)
    assert histories.steps is None
    assert histories.events(np.zeros((3, 2), np.int64), np.random.default_rng(0)) == ()
