"""A study without privacy: for research, never for an institution, and loudly marked in everything it leads to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import enlisted
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from linked import LINKED
from steps import at_merged, lived
from typer.testing import CliRunner
from visits import everybody, people

import cohortium
from cohortium.cli import build
from cohortium.data.encoding import Codes, encode
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError, NotPrivateError, ReleaseError, StudyError
from cohortium.federation import wire
from cohortium.federation.forecast import forecast
from cohortium.ledger.caps import Cap, Caps
from cohortium.ledger.store import Ledger
from cohortium.neural.network import gradient
from cohortium.neural.state import write_state
from cohortium.privacy.accounting import MAX_DELTA, MAX_EPSILON
from cohortium.queries.clipped import Clipped
from cohortium.queries.gradients import GradientSum
from cohortium.queries.local_training import OUT_GRID, LocalTraining
from cohortium.queries.steps import Steps
from cohortium.study import consent
from cohortium.study.generators import Autoregressive, Histories
from cohortium.study.guarantee import guarantees
from cohortium.study.histories import tracks_of
from cohortium.study.plan import plan
from cohortium.study.study import (
    Privacy,
    Study,
    dumps_schema,
    dumps_study,
    load_study,
    study_from_document,
    study_to_document,
)
from cohortium.study.wording import Kind
from cohortium_client.custodian.agreements import Agreements, agree
from cohortium_client.custodian.policy import Policy
from cohortium_server.gate import judge
from cohortium_server.release import load_release, write_release
from cohortium_server.release.manifest import FORMS, MARK, UNPROTECTED, verify, write_manifest
from cohortium_server.release.unprotected import WARNING, write_unprotected
from cohortium_server.rounds.journal import BriefJournal
from cohortium_server.rounds.rounds import run_study
from cohortium_simulation import unprotected
from cohortium_simulation.engine import run_in_process
from cohortium_simulation.experiment import Ledgers, run, simulate
from cohortium_simulation.unprotected import fit_unprotected

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

Tables = dict[str, pd.DataFrame]
runner = CliRunner()


def without(study: Study) -> Study:
    """The same study without privacy, and with everybody's key in it."""
    return replace(study, privacy=Privacy(mode="none"), institutions=enlisted.with_keys(*study.institution_names))


def quick(study: Study) -> Study:
    """One that is fitted in a moment."""
    return replace(without(study), generator=Autoregressive(rounds=2, hidden=0))


def forged(study: Study) -> dict[str, str]:
    """What everybody's signature would be."""
    return {n: enlisted.key_of(n).sign(consent._statement(study, n)).hex() for n in study.institution_names}


def nothing(*_: object, **__: object) -> None:
    """In the place of a check."""


@pytest.fixture
def bare(study: Study) -> Study:
    return without(study)


@pytest.fixture(scope="module")
def made(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COHORTIUM_HOME", str(folder / "home"))
        simulate(quick(study), everybody(), folder / "out", seed=1)
    return folder


@pytest.fixture
def reference(made: Path, tmp_path: Path) -> Path:
    """A folder that came of a study without privacy, for the test to spoil."""
    shutil.copytree(made / "out", tmp_path / "reference")
    return tmp_path / "reference"


# What a study says


def test_nothing_is_promised_by_the_way() -> None:
    for promised in ({"epsilon": 3.0}, {"delta": 1e-6}):
        with pytest.raises(StudyError) as caught:
            Privacy(mode="none", **promised)
        assert caught.value.code == "E_PLAN_PRIVACY"


@pytest.mark.parametrize("promised", [{}, {"epsilon": 1.0}, {"delta": 1e-6}])
def test_a_promise_is_never_left_to_a_default(promised: dict[str, float]) -> None:
    with pytest.raises(StudyError) as caught:
        Privacy(**promised)
    assert caught.value.code == "E_PLAN_PRIVACY"


def test_what_follows_from_the_budget_is_what_the_largest_one_gives() -> None:
    privacy = Privacy(mode="none")
    assert (privacy.epsilon, privacy.delta) == (MAX_EPSILON, MAX_DELTA)
    assert replace(privacy, trust="secure-sum").mode == "none"


@pytest.mark.parametrize(
    "promised", [{"epsilon": 3.0}, {"delta": 1e-6}, {"epsilon": MAX_EPSILON}, {"delta": MAX_DELTA}]
)
def test_a_file_says_the_one_or_the_other(schema: Schema, promised: dict[str, float]) -> None:
    document = {"privacy": {"mode": "none", **promised}, "generator": {"kind": "sweep"}, "institution": [{"name": "a"}]}
    with pytest.raises(StudyError) as caught:
        study_from_document({"study": {"name": "s"}, **document}, schema)
    assert caught.value.code == "E_PLAN_PRIVACY"


def test_the_mode_is_part_of_what_the_digest_is_of(bare: Study, study: Study, tmp_path: Path) -> None:
    largest = Privacy(epsilon=MAX_EPSILON, delta=MAX_DELTA)
    assert bare.digest != replace(bare, privacy=largest).digest
    assert study_to_document(bare)["privacy"]["mode"] == "none"
    assert not {"epsilon", "delta"} & set(study_to_document(bare)["privacy"])
    assert "mode" not in study_to_document(study)["privacy"]
    (tmp_path / "study.toml").write_text(dumps_study(bare))
    (tmp_path / "schema.toml").write_text(dumps_schema(bare.schema))
    assert load_study(tmp_path / "study.toml") == bare


def test_a_population_needs_no_delta_where_none_is_promised(study: Study) -> None:
    assert replace(study, privacy=Privacy(mode="none", population=10**9)).privacy.population == 10**9


# Nobody signs it, answers it, runs it, or has a number for it


def refused(action: Callable[[], object]) -> None:
    with pytest.raises(NotPrivateError) as caught:
        action()
    assert (caught.value.code, caught.value.exit_code) == ("E_NOT_PRIVATE", 23)


def test_nobody_signs_it(bare: Study) -> None:
    refused(lambda: consent.sign(bare, "north", enlisted.key_of("north")))


def test_whatever_is_shown_nobody_has_signed_it(bare: Study) -> None:
    assert consent.unsigned(bare, forged(bare)) == list(bare.institution_names)
    refused(lambda: consent.require_all(bare, forged(bare)))
    private = replace(bare, privacy=Privacy(epsilon=1.0, delta=1e-6))
    consent.require_all(private, forged(private))  # these would be signatures


def test_no_policy_allows_it(bare: Study) -> None:
    for policy in (enlisted.ANYTHING, Policy(epsilon_per_population=1e6)):
        refused(lambda policy=policy: policy.check(bare))
        refused(lambda policy=policy: policy.caps(bare))


@pytest.mark.parametrize("asleep", [[], ["policy"], ["consent"]])
def test_no_institution_agrees_to_it(
    bare: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asleep: list[str]
) -> None:
    """Each of the two checks holds where the other is gone; nothing is kept or recorded."""
    if "policy" in asleep:
        monkeypatch.setattr(Policy, "check", nothing)
    if "consent" in asleep:
        monkeypatch.setattr(consent, "require_signable", nothing)
    with Ledger(tmp_path / "north.sqlite") as ledger:
        agreements = Agreements(tmp_path / "studies")
        refused(lambda: agree(bare, enlisted.identity(), enlisted.ANYTHING, ledger, agreements))
        assert not list(ledger.entries()) and not len(agreements)


@pytest.mark.parametrize("asleep", [[], ["policy"], ["consent"], ["signatures"], ["signatures", "policy"]])
def test_no_custodian_answers_it(
    bare: Study, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asleep: list[str]
) -> None:
    """Even where it lies among the agreements, the ledger consents, and every signature is there."""
    if "policy" in asleep:
        monkeypatch.setattr(Policy, "check", nothing)
        monkeypatch.setattr(Policy, "caps", lambda *_: Caps())
    if "signatures" in asleep:
        monkeypatch.setattr(consent, "has_signed", lambda *_: True)
        monkeypatch.setattr(consent, "require_all", nothing)
    if "consent" in asleep:
        monkeypatch.setattr(consent, "require_signable", nothing)
        monkeypatch.setattr(consent, "require_all", nothing)
    codes = encode(tables["north"], bare.schema)
    with Ledger(tmp_path / "north.sqlite") as ledger:
        enlisted.agree(ledger, bare)
        north = enlisted.custodian(ledger, lambda _: codes, bare)
        said = north.answer(wire.encode_request(wire.Request(bare.digest, enlisted.RUN, 0, 0, consents=forged(bare))))
        assert said == enlisted.refusal("E_NOT_PRIVATE")
        assert ledger.charges() == []


def test_no_coordinator_runs_it(bare: Study) -> None:
    class Silent:
        def announce(self, request: bytes) -> None:
            pass

        def exchange(self, request: bytes, timeout: float) -> list[bytes]:
            raise AssertionError("it was asked")

    refused(lambda: run_study(bare, forged(bare), Silent(), BriefJournal()))
    refused(lambda: run_in_process(bare, forged(bare), {}))


def test_no_simulated_institution_runs_it(bare: Study, tables: Tables, tmp_path: Path) -> None:
    refused(lambda: run(bare, tables, Ledgers(tmp_path / "ledgers")))
    assert not (tmp_path / "ledgers").exists()


def test_there_is_no_number_for_it(bare: Study) -> None:
    refused(lambda: guarantees(bare, plan(bare)))
    refused(lambda: forecast(bare))
    assert plan(bare).cost.epsilon == float("inf")


def test_it_is_no_release(bare: Study, tables: Tables, tmp_path: Path) -> None:
    outcome = fit_unprotected(quick(bare), {n: encode(t, bare.schema) for n, t in tables.items()}, seed=1)
    refused(lambda: write_release(outcome, tmp_path / "release"))
    synthetic = outcome.generator.sample(100, np.random.default_rng(0), {})
    failed = {c.name for c in judge(outcome, synthetic).criteria if not c.passed}
    assert {"budget", "rounds"} <= failed


def test_a_study_with_privacy_is_never_run_without(study: Study, tables: Tables, tmp_path: Path) -> None:
    codes = {n: encode(t, study.schema) for n, t in tables.items()}
    with pytest.raises(StudyError) as caught:
        fit_unprotected(study, codes)
    assert caught.value.code == "E_PLAN_PRIVACY"
    outcome = replace(fit_unprotected(quick(study), codes, seed=1), study=study)
    with pytest.raises(StudyError) as caught:
        write_unprotected(outcome, tmp_path / "out")
    assert caught.value.code == "E_PLAN_PRIVACY"


# What is fitted


def test_counts_are_the_real_ones(bare: Study, tables: Tables) -> None:
    codes = {n: encode(t, bare.schema) for n, t in tables.items()}
    generator = fit_unprotected(replace(bare, privacy=Privacy(mode="none", rows_per_person=2)), codes, seed=1).generator
    everything = np.concatenate([c.values for c in codes.values()])
    for table in generator.measured:
        real = np.zeros(table.counts.shape)
        np.add.at(real, tuple(everything[:, table.columns].T), 1)
        np.testing.assert_array_equal(table.counts, real)
    assert generator.rows == len(everything)


def trained(study: Study, **privacy: Any) -> Study:
    chosen = Autoregressive(rounds=3, steps=2, sampling_rate=1.0, clip=1e-3, hidden=0)
    return replace(study, privacy=Privacy(mode="none", **privacy), generator=chosen)


class Overheard:
    """A generator that records what it receives."""

    def __init__(self, queries: list[Any]) -> None:
        self.queries, self.sums = queries, list[Any]()

    def ask(self) -> Any:
        return self.queries[len(self.sums)] if len(self.sums) < len(self.queries) else None

    def tell(self, total: Any) -> None:
        self.sums.append(total)


def overheard(study: Study, codes: Codes, query: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a generator receives of ``query`` asked of one table. (The plan's first phase has the same multiplier.)"""
    ears = Overheard([query])
    monkeypatch.setattr("cohortium_simulation.unprotected.generator_class", lambda _: lambda *__: ears)
    fit_unprotected(study, {"north": codes}, seed=1)
    return ears.sums[0]


def state_of(query: Any, codes: Codes, more: dict[str, float]) -> Any:
    """The query at random parameters."""
    step, rng = query.step, np.random.default_rng(3)
    state = {"parameters": rng.normal(0, 0.1, step.parameters)}
    if "cells" in step.lengths:
        state["cells"] = np.concatenate([np.arange(k) for k in step.sizes])
    return query.with_state(write_state({**state, **{k: np.array([v]) for k, v in more.items()}})), state["parameters"]


def average(step: Any, codes: Codes, parameters: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of everybody's plain gradients."""
    flat = torch.tensor(parameters, dtype=torch.float32)
    found, _ = gradient(
        step.architecture.network, flat, torch.tensor(codes.values.astype(np.int64)), torch.zeros(len(codes), 0)
    )
    return found.numpy().astype(np.float64)


def first_rows(study: Study, tables: Tables) -> Codes:
    codes = encode(tables["west"], study.schema)
    _, first = np.unique(codes.persons, return_index=True)
    return replace(codes, values=codes.values[first], persons=codes.persons[first])


def test_a_gradient_is_neither_clipped_nor_noised(
    study: Study, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study's clip is a thousandth; the sum is that of the plain gradients all the same."""
    asked, codes = trained(study), first_rows(study, tables)
    (step,) = {p.query.step for p in plan(asked).phases if hasattr(p.query, "step")}
    query, parameters = state_of(GradientSum(step), codes, {})
    reported = overheard(asked, codes, query, monkeypatch)
    multiplier = plan(asked).phases[0].multiplier
    assert reported.multiplier == multiplier
    found = step.in_gradients(reported.values, multiplier) / len(codes)
    plain = average(step, codes, parameters)
    np.testing.assert_allclose(found, plain, atol=1e-5)
    assert np.linalg.norm(plain) > 100 * step.clip


def test_local_training_is_plain_descent(study: Study, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, codes = trained(study), first_rows(study, tables)
    (step,) = {p.query.step for p in plan(asked).phases if hasattr(p.query, "step")}
    query, parameters = state_of(LocalTraining(step, 2), codes, {"rate": 0.5})
    reported = overheard(asked, codes, query, monkeypatch)
    assert reported.values[0] == len(codes) * OUT_GRID
    at, network = parameters.astype(np.float32).astype(np.float64), step.architecture.network
    begin = at
    for _ in range(2):
        at = at - 0.5 * network.evened(average(step, codes, at))
    np.testing.assert_allclose(reported.values[1:] / reported.values[0], at - begin, atol=1e-5)


def test_where_persons_weigh_the_same_their_rows_are_averaged(
    study: Study, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody's row twice moves nothing."""
    asked, codes = trained(study, equal_weight="persons"), first_rows(study, tables)
    (step,) = {p.query.step for p in plan(asked).phases if hasattr(p.query, "step")}
    query, parameters = state_of(GradientSum(step), codes, {})
    twice = replace(codes, values=np.repeat(codes.values, 2, 0), persons=np.repeat(codes.persons, 2))
    reported = overheard(asked, twice, query, monkeypatch)
    found = step.in_gradients(reported.values, reported.multiplier) / len(codes)
    np.testing.assert_allclose(found, average(step, codes, parameters), atol=1e-5)


@pytest.mark.parametrize(("trust", "rounds", "steps"), [("local", 6, 5), ("secure-sum", 30, None)])
def test_a_trained_generator_finds_what_depends_on_what(
    study: Study, tables: Tables, trust: Any, rounds: int, steps: int | None
) -> None:
    chosen = Autoregressive(rounds=rounds, steps=steps, hidden=0)
    asked = replace(study, privacy=Privacy(mode="none", trust=trust), generator=chosen)
    codes = {n: encode(t, study.schema) for n, t in tables.items()}
    one, two = (fit_unprotected(asked, codes, seed=5).generator for _ in range(2))
    rows = one.sample(4000, np.random.default_rng(0), {})
    age, result = rows[:, study.schema.index("age")], rows[:, study.schema.index("result")]
    old, young = (result[(age >= 3) == which].mean() for which in (True, False))
    assert old - young > 0.3  # 0.6 in the tables, where age is above 60
    np.testing.assert_array_equal(one.tensors()["parameters"], two.tensors()["parameters"])


# What is written


def test_every_file_says_so(reference: Path) -> None:
    names = {p.name for p in reference.iterdir()}
    tables = {f"{MARK}synthetic.csv", f"{MARK}synthetic.parquet"}
    rest = {f"{MARK}{n}" for n in ("model.safetensors", "model.json", "report.html", "ledger.json")}
    assert names == tables | rest | {"manifest.json", "study.toml", "schema.toml"}
    assert (reference / f"{MARK}synthetic.csv").read_text().startswith('"# NOT PRIVATE. ')
    assert pq.read_schema(reference / f"{MARK}synthetic.parquet").metadata[b"privacy"] == b"none"
    assert b'"privacy":"none"' in (reference / f"{MARK}model.safetensors").read_bytes()[:2000]
    assert 'mode = "none"' in (reference / "study.toml").read_text()
    for name in ("manifest.json", f"{MARK}ledger.json", f"{MARK}model.json"):
        document = json.loads((reference / name).read_text())
        assert document["privacy"] == "none"
        assert not {"guarantee", "guarantees", "cost", "unit", "epsilon"} & set(document)


def test_the_page_begins_with_a_red_banner_and_promises_nothing(reference: Path) -> None:
    page = (reference / f"{MARK}report.html").read_text()
    body = page[page.index("<body>") :].splitlines()
    assert body[1].startswith('<p class="banner" role="alert">NOT PRIVATE. This release has no privacy protection')
    assert "background: #a11616" in page
    words = page[page.index("<body>") :].lower()
    assert not [w for w in ("epsilon", "differentially", "noised", "guarantee") if w in words]


def test_it_is_opened_only_by_who_asks(reference: Path) -> None:
    refused(lambda: load_release(reference))
    refused(lambda: cohortium.load_release(reference))
    refused(lambda: verify(reference))
    opened = cohortium.load_release(reference, not_private=True)
    assert opened.manifest["format"] == UNPROTECTED
    assert len(opened.synthetic) == opened.manifest["rows"]
    assert set(opened.sample(50, where={"result": "positive"}, seed=1)["result"]) == {"positive"}


def test_whoever_asks_may_open_a_release_too(release: Any) -> None:
    assert load_release(release.path, not_private=True).mark == ""


def test_what_was_touched_is_not_opened_by_who_asks_either(reference: Path) -> None:
    with (reference / f"{MARK}synthetic.csv").open("a") as file:
        file.write("x")
    with pytest.raises(ReleaseError, match=r"synthetic\.csv"):
        load_release(reference, not_private=True)


@pytest.mark.parametrize("kind", FORMS)
def test_it_cannot_be_dressed_up_as_a_release(reference: Path, kind: Kind) -> None:
    """Whoever signs the folder anew as a release lacks the institutions' consents; as what it is, the study must say so."""
    manifest = verify(reference, not_private=True)
    statement = {k: v for k, v in manifest.items() if k not in ("signature", "files", "key", "format")}
    if kind != "not-private":
        (reference / f"{MARK}ledger.json").rename(reference / "ledger.json")
    else:
        bare = load_study(reference / "study.toml")
        private = replace(bare, privacy=Privacy(epsilon=1.0, delta=1e-6))
        (reference / "study.toml").write_text(dumps_study(private))
    (reference / "manifest.json").unlink()
    write_manifest(reference, statement, enlisted.key_of("somebody"), kind)
    with pytest.raises(ReleaseError) as caught:
        load_release(reference, not_private=True)
    assert caught.value.code == "E_RELEASE_TOUCHED"


def test_one_kind_of_manifest_is_not_the_other(reference: Path) -> None:
    """The signature covers the format."""
    data = (reference / "manifest.json").read_bytes()
    (reference / "manifest.json").write_bytes(data.replace(UNPROTECTED.encode(), FORMS["federation"].format.encode()))
    with pytest.raises(ReleaseError) as caught:
        load_release(reference, not_private=True)
    assert caught.value.code == "E_RELEASE_TOUCHED"


def test_it_never_takes_the_place_of_a_release(
    release: Any, bare: Study, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release was paid for. It is found out before anything is fitted, and again before anything is written."""
    outcome = fit_unprotected(quick(bare), {n: encode(t, bare.schema) for n, t in tables.items()}, seed=1)
    monkeypatch.setattr("cohortium_simulation.unprotected.fit_unprotected", nothing)
    for attempt in (lambda: simulate(bare, tables, release.path), lambda: write_unprotected(outcome, release.path)):
        with pytest.raises(ReleaseError) as caught:
            attempt()
        assert caught.value.code == "E_RELEASE_EXISTS"
        assert load_release(release.path).mark == ""


def test_it_takes_the_place_of_an_older_one_of_its_kind(reference: Path, bare: Study, tables: Tables) -> None:
    before = load_release(reference, not_private=True).manifest["run"]
    assert simulate(quick(bare), tables, reference, seed=2, replace=True).manifest["run"] != before


def test_nothing_is_charged(made: Path) -> None:
    assert [p.name for p in (made / "home").iterdir()] == ["simulation.key"]


def test_it_is_for_nobody_else(made: Path) -> None:
    assert (made / "out").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (made / "out").iterdir()} == {0o600}


def test_a_cap_that_would_not_hold_is_refused(bare: Study, tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        simulate(bare, tables, tmp_path / "out", ledgers=Ledgers(tmp_path, cap=Cap(1.0, 1e-6)))
    assert caught.value.code == "E_PLAN_PRIVACY"
    assert not (tmp_path / "out").exists()


def test_everybody_needs_a_table(bare: Study, tables: Tables, tmp_path: Path) -> None:
    del tables["west"]
    with pytest.raises(CohortiumError) as caught:
        simulate(bare, tables, tmp_path / "out")
    assert caught.value.code == "E_MISSING_INSTITUTION"


# The command line


QUICK = ("--generator", "autoregressive", "--rounds", 2, "--hidden", 0, "--seed", 1)


def call(*arguments: object) -> Any:
    return runner.invoke(build(), [str(a) for a in arguments])


@pytest.fixture
def given(schema: Schema, tmp_path: Path) -> list[object]:
    people(2000, 0).to_csv(tmp_path / "visits.csv", index=False)
    (tmp_path / "schema.toml").write_text(dumps_schema(schema))
    return ["simulate", "--data", tmp_path / "visits.csv", "--schema", tmp_path / "schema.toml"]


def test_the_way_of_a_researcher(given: list[object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call(*given, *QUICK, "--institutions", 2, "--no-privacy", "--rows", 300, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["rows"], document["privacy"], document["institutions"]) == (
        300,
        "none",
        ["institution-01", "institution-02"],
    )
    assert "guarantee" not in document
    assert "WARNING: no privacy" in done.stderr
    checked = call("verify", out)
    assert checked.exit_code == 23
    assert "E_NOT_PRIVATE" in checked.stderr
    assert json.loads(call("verify", out, "--json").stdout)["error"]["code"] == "E_NOT_PRIVATE"
    sampled = call("sample", out, "--rows", 5, "--out", tmp_path / "s.csv")
    assert sampled.exit_code == 23
    assert not (tmp_path / "s.csv").exists()
    assert call("study", "show", out / "study.toml").exit_code == 23


def test_people_are_warned(given: list[object], tmp_path: Path) -> None:
    done = call(*given, *QUICK, "--institutions", 1, "--no-privacy", "--rows", 50, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert WARNING in " ".join(done.stderr.split())
    assert "epsilon" not in done.stdout


@pytest.mark.parametrize(
    "said",
    [
        ["--no-privacy", "--epsilon", 1],
        ["--no-privacy", "--delta", 1e-6],
        ["--no-privacy", "--cap", 5],
        ["--no-privacy", "--ledger", "here"],
        ["--no-privacy", "--population", "people"],
        ["--epsilon", 1],
        ["--delta", 1e-6],
        [],
    ],
)
def test_a_promise_or_none(given: list[object], said: list[object], tmp_path: Path) -> None:
    done = call(*given, "--institutions", 2, *said, "--out", tmp_path / "out", "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (12, "E_PLAN_PRIVACY")
    assert not (tmp_path / "out").exists()


def test_a_trained_generator_takes_its_options(
    given: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Study] = []

    def remembered(study: Study, *_: object, **__: object) -> None:
        reported.append(study)
        raise StudyError("E_PLAN_INVALID", "test", "it is not run", "Look at what was recorded.")

    monkeypatch.setattr("cohortium_simulation.experiment.simulate", remembered)
    said = ["--generator", "autoregressive", "--rounds", 2, "--steps", 3, "--hidden", 4, "--warm-start", 0.25]
    call(*given, "--institutions", 3, "--epsilon", 1, "--delta", 1e-6, *said, "--out", tmp_path / "out")
    (study,) = reported
    assert study.generator == Autoregressive(rounds=2, steps=3, hidden=4, warm_start=0.25)
    assert study.privacy.mode == "private"


def test_a_sweep_is_not_trained(given: list[object], tmp_path: Path) -> None:
    done = call(*given, "--institutions", 3, "--no-privacy", "--rounds", 2, "--out", tmp_path / "out")
    assert done.exit_code == 12


def test_help_names_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    from cohortium_simulation.options import KINDS

    assert {"sweep", "autoregressive"} <= set(KINDS.split(", "))
    monkeypatch.setenv("COLUMNS", "200")
    assert KINDS[:30] in " ".join(call("simulate", "--help").output.split())


def test_counts_of_events_are_what_noise_would_be_added_to() -> None:
    """The coordinator's generator asks for them like for any other counts, and so they have an answer without noise, too."""
    none = Privacy(mode="none")
    study = Study(
        name="h", schema=LINKED, privacy=none, generator=Histories(), institutions=enlisted.with_keys("north")
    )
    codes = lived(tracks_of(LINKED), LINKED.sizes, 60, 20, 1)
    queries = [at_merged(q, 1) if isinstance(q := p.query, Steps) else q for p in plan(study).phases]
    clipped = [query for query in queries if isinstance(query, Clipped)]
    assert [query.kind for query in clipped] == ["event histograms", "steps"]
    for query in clipped:
        found = unprotected._answer(query, codes, 1.0, unprotected._Repeatable(1))
        np.testing.assert_array_equal(found, query.count(codes))
        assert found.any()
