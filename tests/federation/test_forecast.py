"""What is forecast before anything runs, of studies that train: which noise for this epsilon, these steps and this sampling."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from linked import LINKED
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.commands.device import print_device
from cohortium.data.columns import Boolean, Continuous
from cohortium.data.schema import Schema
from cohortium.federation.forecast import forecast
from cohortium.neural import device
from cohortium.privacy.accounting import Gaussian, pld_epsilon, rdp_epsilon
from cohortium.queries.clipped import Clipped
from cohortium.queries.counts import Tables
from cohortium.queries.gradients import GradientSum
from cohortium.queries.local_training import LocalTraining
from cohortium.study.generators import Autoregressive, Histories, Sweep
from cohortium.study.plan import person_events, plan
from cohortium.study.study import Institution, Privacy, Study, dumps_schema, dumps_study
from cohortium_client.source.preview import _bound

SCHEMA = Schema(name="t", columns=(Continuous(name="x", lower=0, upper=10, bins=8), Boolean(name="y")))
CHOSEN = Autoregressive(rounds=30, sampling_rate=0.2)


def study(trust: Any, generator: Any = CHOSEN, g: int = 1) -> Study:
    privacy = Privacy(epsilon=2.0, delta=1e-6, trust=trust, institutions_per_person=g)
    return Study(
        name="s",
        schema=SCHEMA,
        privacy=privacy,
        generator=generator,
        institutions=tuple(Institution(name=f"i{k}") for k in range(5)),
    )


LOCAL = study("local", replace(CHOSEN, rounds=3, steps=10))
MASKED = study("secure-sum")


def training_of(one: Study) -> dict[str, Any]:
    found: dict[str, Any] = forecast(one)["training"]
    return found


@pytest.mark.parametrize("one", [LOCAL, MASKED], ids=["local", "secure-sum"])
def test_steps_and_sampling_are_the_plans(one: Study) -> None:
    found, query = training_of(one), plan(one).phases[-1].query
    assert isinstance(query, GradientSum if one is MASKED else LocalTraining)
    assert (found["query"], found["parameters"]) == (query.kind, query.step.parameters)
    assert (found["steps"], found["sampling_rate"], found["steps_of_a_person"]) == (30, 0.2, pytest.approx(6.0))
    assert found["rounds"] * found["steps_a_round"] == 30
    assert found["clip"] == query.step.clip


def test_a_whole_noise_is_made_of_shares() -> None:
    phase, found = plan(MASKED).phases[-1], training_of(MASKED)
    assert found["noise_shares"] == 5
    assert found["noise_multiplier_of_one"] == phase.multiplier
    assert found["noise_multiplier"] == pytest.approx(math.sqrt(5) * phase.multiplier)
    alone = training_of(LOCAL)
    assert alone["noise_shares"] == 1
    assert alone["noise_multiplier"] == alone["noise_multiplier_of_one"]


@pytest.mark.parametrize("g", [1, 3])
def test_both_accountants_confirm_the_noise_that_is_reported(g: int) -> None:
    """Of the training alone: with g institutions that hold a person, one noise that each moves by its own sample."""
    one = study("secure-sum", g=g)
    found = training_of(one)
    worth = found["noise_multiplier"] / math.sqrt(g)
    events = (Gaussian(worth, 0.2, 30 * g),)
    assert found["epsilon"] == pytest.approx(pld_epsilon(events, 1e-6), rel=0.01)
    assert found["check"] == pytest.approx(rdp_epsilon(events, 1e-6), rel=0.01)
    assert "Rényi" in found["check_method"] and "loss distribution" in found["method"]
    assert found["epsilon"] < forecast(one)["cost"]["epsilon"] <= 2.0
    assert forecast(one)["phases"][-1]["epsilon"] == found["epsilon"]
    assert sum(e.count for e in person_events(one, plan(one).phases[-1].events)) == 30 * g


def test_less_noise_is_forecast_for_a_larger_epsilon() -> None:
    more = replace(MASKED, privacy=replace(MASKED.privacy, epsilon=8.0))
    assert training_of(more)["noise_multiplier"] < 0.7 * training_of(MASKED)["noise_multiplier"]


def test_where_nothing_is_trained_there_is_no_forecast_of_training() -> None:
    assert forecast(study("secure-sum", Sweep()))["training"] is None


@pytest.mark.parametrize("one", [LOCAL, MASKED], ids=["local", "secure-sum"])
def test_the_command_shows_it_to_people_and_machines(
    one: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "schema.toml").write_text(dumps_schema(one.schema))
    (tmp_path / "study.toml").write_text(dumps_study(one))
    path = str(tmp_path / "study.toml")
    shown = CliRunner().invoke(build(), ["study", "show", path])
    assert shown.exit_code == 0, shown.stderr
    words, found = " ".join(shown.stdout.split()), training_of(one)
    for part in (
        "30 noised steps in all",
        "a random 20 % of the persons",
        "expected to be in 6 of",
        f"Noise of a whole step: {found['noise_multiplier']:.4f}",
        f"epsilon {found['epsilon']:.4f} by {found['method']}",
        f"{found['check']:.4f} by {found['check_method']}",
    ):
        assert part in words
    share = f"each institution adds {found['noise_multiplier_of_one']:.4f}, a share of one in 5"
    assert (share in words) == (one is MASKED)
    printed = CliRunner().invoke(build(), ["study", "show", path, "--json"])
    assert json.loads(printed.stdout)["training"] == found


def test_an_institution_is_shown_how_far_one_person_moves_a_sum() -> None:
    phase = plan(MASKED).phases[-1]
    assert isinstance(phase.query, GradientSum)
    units = phase.query.step.sensitivity(phase.multiplier)
    assert f"at most {units:,.0f} grid units" in _bound(phase)
    assert "in each step" in _bound(plan(LOCAL).phases[-1])
    assert "of them a row" in _bound(plan(MASKED).phases[0])


def test_the_device_is_named_where_there_is_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    print_device([study("secure-sum", Sweep())])
    assert capsys.readouterr().err == ""
    print_device([study("secure-sum", Sweep()), MASKED])
    assert capsys.readouterr().err == "training runs on the CPU\n"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Some GPU")
    assert device.device_words() == "CUDA device Some GPU"
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")  # products in fewer bits: no exact sums
    assert device.best_device() == "cpu"


# Studies of events

EVENTS = replace(LOCAL, schema=LINKED, generator=Histories())
MASKED_EVENTS = replace(MASKED, schema=LINKED, generator=Histories())


@pytest.mark.parametrize("one", [EVENTS, MASKED_EVENTS], ids=["local", "secure-sum"])
def test_the_noise_of_events_is_stated_in_events_and_nothing_is_trained(one: Study) -> None:
    """A count of events is no row, and its noise no multiple of a gradient's clip."""
    found = forecast(one)
    words = {phase["name"]: phase["noise_words"] for phase in found["phases"]}
    assert [*words] == ["columns", "events", "pairs", "steps"] and found["training"] is None
    for phase in plan(one).phases:
        unit = "events" if isinstance(phase.query, Clipped) else "rows"
        assert unit in words[phase.name] and "clip" not in words[phase.name]
        assert ("a share of one in 5" in words[phase.name]) == (one is MASKED_EVENTS)
    steps = plan(one).phases[-1]
    assert f"{min(steps.query.sigmas(steps.multiplier)):.1f}" in words["steps"]  # type: ignore[attr-defined]
    assert sum("events (19 times in 20)" in line for line in found["buys"]) == 2
    assert "at most 3 of labs, 100 of stays" in found["unit"]


def test_of_events_an_institution_is_shown_how_far_one_person_reaches() -> None:
    for phase in plan(EVENTS).phases:
        query = phase.query
        assert isinstance(query, Tables)
        assert f"one person moves it by at most {query.sensitivity:,.0f} grid units (L2" in _bound(phase)
        assert ("however many" in _bound(phase)) == isinstance(query, Clipped)
