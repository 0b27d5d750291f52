"""What a release carries: judged by noised numbers alone, in the report, the manifest and ``verify``, and expected before a study is run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.data.columns import Boolean, Categorical, Continuous
from cohortium.data.schema import Schema
from cohortium.study.carrying import FIT, NOISE, Noises, expected, expected_words, noise_distance
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study, dumps_schema, dumps_study
from cohortium_server.generators import Measured
from cohortium_server.release import Release, load_release
from cohortium_server.release.carried import Carried, carried
from cohortium_server.release.page.evidence import Evidence

AMOUNT, FRAUD = 0, 2
SCHEMA = Schema(
    columns=(
        Continuous(name="amount", lower=0, upper=1000, edges=(20, 50, 100, 200)),
        Categorical(name="shop", categories=("food", "travel", "web")),
        Categorical(name="fraud", categories=("no", "yes"), target=True),
    )
)
PAYMENTS, FRAUDS = 20_000, 150
STUDY = Study(
    name="payments",
    schema=SCHEMA,
    privacy=Privacy(epsilon=1.0, delta=1e-6, population=PAYMENTS),
    generator=Sweep(components=20),
    institutions=(Institution(name="one"),),
)
Rows = np.ndarray[tuple[int, int], np.dtype[np.int16]]


@cache
def payments(kept: bool = True) -> Rows:
    """Amounts of frauds are large; unless ``kept``, those of all others, as a generator makes them that lost the class."""
    rng = np.random.default_rng(2)
    fraud = np.arange(PAYMENTS) < FRAUDS
    small, large = (rng.choice(5, PAYMENTS, p=p) for p in ((0.6, 0.3, 0.08, 0.02, 0.0), (0.0, 0.0, 0.1, 0.6, 0.3)))
    amount = np.where(fraud & kept, large, small)
    return np.stack([amount, rng.integers(0, 3, PAYMENTS), fraud], 1).astype(np.int16)


def measured(sigma: float, seed: int = 0) -> tuple[Measured, ...]:
    """All pairs of the payments as they are, with noise."""
    rng, rows, sizes = np.random.default_rng(seed), payments(), SCHEMA.sizes
    tables = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        counts = np.zeros((sizes[i], sizes[j]))
        np.add.at(counts, (rows[:, i], rows[:, j]), 1)
        tables.append(Measured((i, j), counts + rng.normal(0, sigma, counts.shape), sigma))
    return tuple(tables)


def judged(sigma: float, synthetic: Rows, seed: int = 0) -> Carried:
    return carried(SCHEMA, (FRAUD,), Evidence(SCHEMA.sizes, synthetic, measured(sigma, seed), PAYMENTS))


def of(reported: Carried, value: str) -> Any:
    return next(c for c in reported.classes if c.value == value)


def test_a_class_that_noise_hides_is_not_carried_although_its_pairs_are() -> None:
    reported = judged(20.0, payments())
    assert all(p.carried for p in reported.pairs)
    assert of(reported, "no").carried and of(reported, "no").lost == ()
    assert of(reported, "yes").carried is False and "amount" in of(reported, "yes").lost


def test_a_class_whose_amounts_the_rows_lost_is_not_carried() -> None:
    """The named failure: hardly any noise, and the frauds' amounts are those of everybody."""
    assert of(judged(0.5, payments()), "yes").carried
    lost = of(judged(0.5, payments(kept=False)), "yes")
    assert lost.carried is False and lost.lost == ("amount",)
    assert re.search(r"fraud = yes \(about 1[45]\d rows\): does not carry 1 of 2 other columns: amount", lost.words)


def test_a_pair_that_noise_drowns_is_not_carried() -> None:
    reported = judged(3000.0, payments())
    assert not any(p.carried for p in reported.pairs)
    assert reported.words.startswith("This release carries 0 of 3 pairs of columns. It does not carry ")
    assert all(p.noise is not None and p.noise <= 1 and p.beyond is not None and p.beyond <= 1 for p in reported.pairs)


def test_a_pair_that_the_rows_miss_is_not_carried() -> None:
    rows = payments().copy()
    rows[:, 1] = rows[:, 0] % 3
    lost = judged(1.0, rows).lost_pairs
    assert [p.columns for p in lost][:1] == [("amount", "shop")]
    assert lost[0].beyond is not None and lost[0].beyond > FIT


def test_a_class_that_may_not_be_there_is_not_carried() -> None:
    reported = of(judged(300.0, payments(), seed=4), "yes")
    assert reported.carried is False and set(reported.lost) == {"amount", "shop"}


def test_what_no_noised_table_measures_is_neither_carried_nor_not() -> None:
    alone = (Measured((2,), np.array([19_850.0, 150.0]), 3.0),)
    reported = carried(SCHEMA, (FRAUD,), Evidence(SCHEMA.sizes, payments(), alone, PAYMENTS))
    assert {p.carried for p in reported.pairs} == {None} and {c.carried for c in reported.classes} == {None}
    assert reported.words == "It was not measured which pairs of columns this release carries."
    assert "measured by no noised table" in reported.classes[0].words


def test_the_document_is_what_was_judged() -> None:
    reported = judged(20.0, payments())
    assert Carried.read(json.loads(json.dumps(reported.document()))) == reported


@given(st.integers(2, 400), st.floats(0.5, 50), st.integers(100, 10**6))
def test_the_distance_of_noise_is_what_noise_makes(cells: int, sigma: float, rows: int) -> None:
    noise = np.random.default_rng(cells).normal(0, sigma, (400, cells))
    found = (np.abs(noise).sum(1) / 2 / rows).mean()
    assert noise_distance(cells, sigma, rows) == pytest.approx(found, rel=6 / np.sqrt(400 * cells))


# Before a study is run


def test_what_is_expected_is_what_the_plan_then_measures() -> None:
    """Noise of the pairs as the report reckons it from the tables of the plan."""
    query, noises = plan(STUDY).phases[-1].query, Noises(STUDY, plan(STUDY))
    multiplier = plan(STUDY).phases[-1].multiplier
    tables = tuple(
        Measured(t, np.ones(query.shape(t)), s)  # type: ignore[attr-defined]
        for t, s in zip(query.tables, query.sigmas(multiplier), strict=True)  # type: ignore[attr-defined]
    )
    evidence = Evidence(SCHEMA.sizes, payments(), tables, PAYMENTS)
    for pair, (cells, deviation) in noises.pairs.items():
        estimate = evidence.estimate(pair)
        assert cells == estimate.shares.size and deviation == pytest.approx(PAYMENTS * estimate.sd)


def test_several_institutions_noise_is_expected_to_add_up() -> None:
    one, four = STUDY, replace(STUDY, institutions=tuple(Institution(name=f"i{k}") for k in range(4)))
    alone, together = (Noises(s, plan(s)).pairs[AMOUNT, FRAUD] for s in (one, four))
    assert together[0] == alone[0] and together[1] == pytest.approx(2 * alone[1], rel=0.01)


def test_fewer_rows_carry_less_and_a_larger_budget_carries_all() -> None:
    few = expected(STUDY, 100)
    assert not all(p["carried"] for p in few["pairs"]) and all(p["carried"] for p in expected(STUDY)["pairs"])
    enough = few["epsilon_for_all_pairs"]
    assert enough > STUDY.privacy.epsilon
    richer = expected(replace(STUDY, privacy=replace(STUDY.privacy, epsilon=enough)), 100)
    assert all(p["carried"] for p in richer["pairs"])
    poorer = expected(replace(STUDY, privacy=replace(STUDY.privacy, epsilon=enough / 1.5)), 100)
    assert not all(p["carried"] for p in poorer["pairs"])


def test_a_class_is_carried_from_so_many_rows_on() -> None:
    (reported,) = expected(STUDY)["classes"]
    noises = Noises(STUDY, plan(STUDY))
    for pair in ((AMOUNT, FRAUD), (1, FRAUD)):
        cells, deviation = noises.pairs[pair]
        assert noise_distance(cells // 2, deviation, reported["from_rows"]) <= NOISE
    assert reported["from_share"] == pytest.approx(reported["from_rows"] / PAYMENTS, abs=1e-3)


@pytest.mark.parametrize(("rows", "population", "assumed"), [(None, 700, "population"), (900, 700, "asked")])
def test_rows_are_those_asked_for_or_the_population(rows: int | None, population: int, assumed: str) -> None:
    reported = expected(replace(STUDY, privacy=replace(STUDY.privacy, population=population)), rows)
    assert (reported["rows"], reported["assumed"]) == (rows or population, assumed)


def test_an_example_is_called_one() -> None:
    reported = expected(replace(STUDY, privacy=replace(STUDY.privacy, population=None)))
    assert reported["assumed"] == "example" and "an example; pass --expect-rows" in expected_words(reported)[0]


def test_where_training_is_all_nothing_is_forecast() -> None:
    reported = expected(replace(STUDY, generator=Autoregressive(rounds=2)))
    assert reported["pairs"] == [] and reported["classes"] == [] and reported["not_counted"] == 3
    assert "nothing can be predicted" in expected_words(reported)[1]


def test_no_budget_is_promised_where_none_would_do() -> None:
    reported = expected(STUDY, 1)
    assert reported["epsilon_for_all_pairs"] is None
    assert "No epsilon would carry all" in " ".join(expected_words(reported))


def test_study_show_says_it_in_words_and_json(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(dumps_study(STUDY))
    (tmp_path / "schema.toml").write_text(dumps_schema(SCHEMA))
    typed = ["study", "show", str(tmp_path / "study.toml"), "--expect-rows", "100"]
    reported = json.loads(CliRunner().invoke(build(), [*typed, "--json"]).stdout)["carries"]
    assert reported == expected(STUDY, 100)
    words = " ".join(CliRunner().invoke(build(), typed).stdout.split())
    assert "with 100 rows in all" in words and f"Epsilon {reported['epsilon_for_all_pairs']:g} would carry all" in words
    assert "It will not carry amount with shop" in words


# As a user


def test_a_release_says_what_it_carries(release: Release) -> None:
    reported = load_release(release.path).carries
    assert (
        reported is not None
        and len(reported.pairs) == len(release.schema.columns) * (len(release.schema.columns) - 1) // 2
    )
    manifest = json.loads((release.path / "manifest.json").read_text())["carries"]
    assert manifest == json.loads(json.dumps(reported.document()))
    assert (manifest["noise_at_most"], manifest["beyond_at_most"]) == (NOISE, FIT)
    words = CliRunner().invoke(build(), ["verify", str(release.path)]).stdout
    assert reported.words in words and all(f"Of class {c.words}." in words for c in reported.classes)
    shown = CliRunner().invoke(build(), ["verify", str(release.path), "--json"])
    assert json.loads(shown.stdout)["manifest"]["carries"] == manifest
    page = (release.path / "report.html").read_text()
    assert page.index("What this release carries") < page.index('<main id="main">')


def test_releases_from_before_are_verified_and_say_nothing() -> None:
    older = Path(__file__).parents[2] / "vectors" / "formats" / "2" / "simulation"
    assert "carries" not in json.loads((older / "manifest.json").read_text())
    assert load_release(older).carries is None
    shown = CliRunner().invoke(build(), ["verify", str(older)])
    assert shown.exit_code == 0 and "carr" not in shown.stdout


def test_targets_without_a_class_have_verdicts_on_pairs_alone() -> None:
    schema = Schema(columns=(Boolean(name="a"), Boolean(name="b")))
    table = (Measured((0, 1), np.full((2, 2), 50.0), 1.0),)
    reported = carried(schema, (), Evidence(schema.sizes, np.zeros((10, 2), np.int16), table, 200))
    assert reported.classes == () and reported.pairs[0].carried is False
