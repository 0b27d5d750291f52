"""Policies: every rule, exactly where it begins to bite, and files that say something else."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from linked import LINKED

from cohortium.data.columns import Boolean
from cohortium.data.schema import Schema
from cohortium.errors import InputError, PolicyError, SchemaError
from cohortium.ledger.caps import Cap
from cohortium.privacy.accounting import MAX_DELTA, MIN_DELTA, cost
from cohortium.study.generators import Autoregressive, Histories, Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium_client.custodian.policy import Policy, load_policy

STUDY = Study(
    name="ruled",
    schema=Schema(person="who", columns=tuple(Boolean(name=n) for n in ("age", "result", "ward"))),
    privacy=Privacy(epsilon=2.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=tuple(Institution(name=n) for n in ("north", "south", "west")),
)
EVENTS = replace(STUDY, schema=LINKED, generator=Histories())
LABS, STAYS = ("test", "day", "value"), ("admitted", "ward")
TRAINED = replace(STUDY, generator=Autoregressive(rounds=2, steps=2))


def with_epsilon(epsilon: float) -> Study:
    return replace(STUDY, privacy=replace(STUDY.privacy, epsilon=epsilon))


RULES: list[tuple[str, Policy, Study, bool]] = [
    ("epsilon_per_study", Policy(), with_epsilon(100.0), True),
    ("epsilon_per_study", Policy(epsilon_per_study=2.0), STUDY, True),
    ("epsilon_per_study", Policy(epsilon_per_study=2.0), with_epsilon(2.0000001), False),
    ("epsilon_per_study", Policy(epsilon_per_study=1.9999999), STUDY, False),
    ("generators", Policy(), TRAINED, True),
    ("generators", Policy(generators=("sweep",)), STUDY, True),
    ("generators", Policy(generators=("sweep",)), TRAINED, False),
    ("generators", Policy(generators=("sweep", "autoregressive")), TRAINED, True),
    ("generators", Policy(generators=("swee",)), STUDY, False),
    ("generators", Policy(generators=()), STUDY, False),
    ("columns", Policy(columns=("age", "result", "ward")), STUDY, True),
    ("columns", Policy(columns=("ward", "more", "age", "result")), STUDY, True),
    ("columns", Policy(columns=("age", "result")), STUDY, False),
    ("columns", Policy(columns=("Age", "result", "ward")), STUDY, False),
    ("columns", Policy(columns=()), STUDY, False),
    ("columns", Policy(columns=("sex", "enrolled"), events={"labs": LABS, "stays": STAYS}), EVENTS, True),
    ("columns", Policy(columns=("sex",), events={"labs": LABS, "stays": STAYS}), EVENTS, False),
    ("events", Policy(), EVENTS, True),
    ("events", Policy(events={}), STUDY, True),
    ("events", Policy(events={}), EVENTS, False),
    ("events", Policy(events={"labs": LABS}), EVENTS, False),
    ("events", Policy(events={"labs": LABS, "stays": STAYS, "more": ()}), EVENTS, True),
    ("events", Policy(events={"labs": LABS[:2], "stays": STAYS}), EVENTS, False),
    ("events", Policy(events={"labs": (*LABS, *STAYS), "stays": ("ward",)}), EVENTS, False),
    ("minimum_institutions", Policy(minimum_institutions=3), STUDY, True),
    ("minimum_institutions", Policy(minimum_institutions=4), STUDY, False),
    ("minimum_institutions", Policy(), replace(STUDY, institutions=STUDY.institutions[:1]), True),
]


@pytest.mark.parametrize(("rule", "policy", "study", "allowed"), RULES)
def test_a_rule_allows_up_to_its_bound_and_no_further(rule: str, policy: Policy, study: Study, allowed: bool) -> None:
    if allowed:
        policy.check(study)
    else:
        with pytest.raises(PolicyError, match="E_POLICY") as caught:
            policy.check(study)
        assert caught.value.where == f"policy.toml, {rule}"
        assert "'ruled'" in caught.value.what


def test_a_column_that_is_not_allowed_is_named() -> None:
    with pytest.raises(PolicyError, match="'result', 'ward'"):
        Policy(columns=("age",)).check(STUDY)


def test_who_named_columns_before_there_were_events_has_allowed_none() -> None:
    """Nor by the names of the persons' columns that follow from events, whatever other table once had columns of these names."""
    for columns in (("sex", "enrolled"), LINKED.names, (*LINKED.names, *LABS, *STAYS)):
        with pytest.raises(PolicyError, match="'labs'") as caught:
            Policy(columns=columns).check(EVENTS)
        assert caught.value.where == "policy.toml, events"


def test_what_is_not_allowed_of_events_is_named() -> None:
    with pytest.raises(PolicyError, match="'value' of 'labs', the table of events 'stays'"):
        Policy(events={"labs": ("test", "day")}).check(EVENTS)


def test_tables_of_events_are_read_from_a_file(tmp_path: Path) -> None:
    text = "epsilon_per_population = 9.0\n[events]\nlabs = ['test', 'day', 'value']\n"
    (tmp_path / "policy.toml").write_text(text, encoding="utf-8")
    assert load_policy(tmp_path / "policy.toml").events == {"labs": LABS}


def test_the_column_that_tells_persons_apart_need_not_be_allowed() -> None:
    """It never leaves, and says only which rows are one person's."""
    Policy(columns=("age", "result", "ward")).check(STUDY)


def test_every_rule_that_checks_a_study_is_tested() -> None:
    checked = {rule for rule, *_ in RULES}
    others = {
        "epsilon_per_population",
        "epsilon_if_all_collude",
        "delta",
        "require_approval",
        "repeatable",
    }  # of caps and of runs
    assert {f.name for f in fields(Policy)} == checked | others


# What may be spent


@pytest.mark.parametrize("study", [STUDY, TRAINED], ids=["sweep", "autoregressive"])
def test_a_study_may_spend_what_its_plan_costs_once(study: Study) -> None:
    caps = Policy(epsilon_per_population=9.0, delta=1e-5).caps(study)
    assert caps.population == Cap(9.0, 1e-5)
    events = [e for p in plan(study).phases for e in p.events]
    assert caps.study == Cap(cost(events, 1e-6).epsilon, 1e-6)
    assert caps.study.epsilon <= study.privacy.epsilon


def test_a_person_in_two_institutions_is_charged_half_here() -> None:
    """The plan's cost is that of both institutions; this one's own part is less, and all it may spend."""
    twice = replace(STUDY, privacy=replace(STUDY.privacy, institutions_per_person=2))
    own = Policy().caps(twice).study
    assert own is not None
    assert own.epsilon < 0.8 * plan(twice).cost.epsilon


@pytest.mark.parametrize(
    ("policy", "population", "study"),
    [
        (Policy(repeatable=True), None, None),
        (Policy(repeatable=True, epsilon_per_population=3.0), Cap(3.0, 1e-6), None),
        (Policy(repeatable=True, epsilon_per_study=5.0), None, Cap(5.0, 1e-6)),
        (Policy(repeatable=True, epsilon_per_population=3.0, epsilon_per_study=5.0), Cap(3.0, 1e-6), Cap(5.0, 1e-6)),
    ],
)
def test_a_study_that_may_be_repeated_stays_within_the_policys_own_caps(
    policy: Policy, population: Cap | None, study: Cap | None
) -> None:
    assert (policy.caps(STUDY).population, policy.caps(STUDY).study) == (population, study)


def test_the_strictest_is_the_default() -> None:
    """Whoever says nothing is asked once, and not by a policy that lets anything through unseen."""
    assert Policy().repeatable is False
    assert Policy().caps(STUDY).study is not None


# Files

WRONG: dict[str, tuple[str, str]] = {
    "nothing about the population": ("", "epsilon_per_population"),
    "only about a study": ("epsilon_per_study = 1.0", "epsilon_per_population"),
    "an epsilon of nothing": ("epsilon_per_population = 0.0", "epsilon_per_population"),
    "a negative epsilon": ("epsilon_per_population = -1.0", "epsilon_per_population"),
    "no number": ("epsilon_per_population = nan", "epsilon_per_population"),
    "infinite": ("epsilon_per_population = inf", "epsilon_per_population"),
    "events that are no table": ('epsilon_per_population = 9.0\nevents = ["labs"]', "events"),
    "a text": ('epsilon_per_population = "8"', "epsilon_per_population"),
    "true": ("epsilon_per_population = true", "epsilon_per_population"),
    "a study's epsilon of nothing": ("epsilon_per_population = 1.0\nepsilon_per_study = 0", "epsilon_per_study"),
    "a study's infinite epsilon": ("epsilon_per_population = 1.0\nepsilon_per_study = inf", "epsilon_per_study"),
    "a delta of nothing": ("epsilon_per_population = 1.0\ndelta = 0.0", "delta"),
    "a delta just too small": (f"epsilon_per_population = 1.0\ndelta = {MIN_DELTA * 0.99}", "delta"),
    "a delta just too large": (f"epsilon_per_population = 1.0\ndelta = {MAX_DELTA * 1.01}", "delta"),
    "a misspelt rule": ("epsilon_per_population = 1.0\nminimum_institution = 3", "minimum_institution"),
    "a rule in a section": ("[policy]\nepsilon_per_population = 1.0", "policy"),
    "no institutions": ("epsilon_per_population = 1.0\nminimum_institutions = 0", "minimum_institutions"),
    "half an institution": ("epsilon_per_population = 1.0\nminimum_institutions = 2.5", "minimum_institutions"),
    "an approval in words": ('epsilon_per_population = 1.0\nrequire_approval = "yes"', "require_approval"),
    "an approval as a number": ("epsilon_per_population = 1.0\nrequire_approval = 1", "require_approval"),
    "repeatable as a number": ("epsilon_per_population = 1.0\nrepeatable = 0", "repeatable"),
    "a generator that is no list": ('epsilon_per_population = 1.0\ngenerators = "sweep"', "generators"),
    "a generator that is a number": ("epsilon_per_population = 1.0\ngenerators = [7]", "generators.0"),
    "columns that are numbers": ("epsilon_per_population = 1.0\ncolumns = [1]", "columns.0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_policy_is_refused_by_its_place(tmp_path: Path, name: str) -> None:
    content, place = WRONG[name]
    (tmp_path / "policy.toml").write_text(content)
    with pytest.raises(PolicyError, match="E_POLICY") as caught:
        load_policy(tmp_path / "policy.toml")
    assert caught.value.where == f"policy.toml, {place}"


@pytest.mark.parametrize(
    ("content", "error"), [(b"epsilon_per_population = ", SchemaError), (b"\xff", SchemaError), (None, InputError)]
)
def test_a_policy_that_cannot_be_read_is_refused_by_its_name(
    tmp_path: Path, content: bytes | None, error: type[Exception]
) -> None:
    if content is not None:
        (tmp_path / "policy.toml").write_bytes(content)
    with pytest.raises(error, match=r"policy\.toml"):
        load_policy(tmp_path / "policy.toml")


@pytest.mark.parametrize("delta", [MIN_DELTA, MAX_DELTA])
def test_a_whole_policy_is_read_as_it_was_written(tmp_path: Path, delta: float) -> None:
    wanted: dict[str, Any] = {
        "epsilon_per_population": 10,
        "delta": delta,
        "epsilon_if_all_collude": 20.0,
        "epsilon_per_study": 3.0,
        "generators": ["sweep"],
        "columns": ["age", "result"],
        "events": {"labs": ["test", "day"]},
        "minimum_institutions": 3,
        "require_approval": True,
        "repeatable": True,
    }
    import tomli_w

    (tmp_path / "policy.toml").write_text(tomli_w.dumps(wanted))
    lists = {"generators": ("sweep",), "columns": ("age", "result"), "events": {"labs": ("test", "day")}}
    assert load_policy(tmp_path / "policy.toml") == Policy(**(wanted | lists))
    assert set(wanted) == {f.name for f in fields(Policy)}
