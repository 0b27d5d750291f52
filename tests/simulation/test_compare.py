"""``cohortium compare``: which runs an experiment has, that none is run twice, and what they come to."""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner
from visits import people

import cohortium
from cohortium.cli import build
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError, SchemaError, StudyError
from cohortium.evaluation import learning
from cohortium.ledger.location import home
from cohortium.study.study import dumps_schema
from cohortium_simulation.compare import runs as kept
from cohortium_simulation.compare.comparison import Comparison, is_less_better
from cohortium_simulation.compare.drawing import Curve, Point, chart
from cohortium_simulation.compare.grid import Case, Experiment, cases, experiment_of
from cohortium_simulation.compare.running import Bench, Run
from cohortium_simulation.compare.runs import RUNS, done, mark_of

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

GRID = {"epsilons": [2.0], "trust": ["local"]}
SMALL: dict[str, Any] = {"seeds": 1, "grid": GRID, "partition": {"institutions": [2]}}


def experiment(schema: Schema, **changes: Any) -> Experiment:
    return experiment_of({**SMALL, **changes}, schema)


@pytest.fixture
def table() -> pd.DataFrame:
    return people(900, 3)


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "FAMILIES", ("linear",))


# Which runs there are


def test_every_generator_epsilon_and_seed_is_run_together_alone_and_centrally(schema: Schema) -> None:
    asked = experiment(
        schema,
        seeds=2,
        grid={
            "generators": ["sweep", {"kind": "autoregressive", "rounds": 3}],
            "epsilons": [1.0, 3.0],
            "trust": ["secure-sum", "local"],
        },
        partition={"institutions": [3, 4]},
    )
    found = list(cases(asked))
    assert len(set(found)) == len(found)
    assert Counter(c.role for c in found if c.seed == 0) == {
        "real rows": 1, "independent": 1, "central": 4, "together": 2 * 2 * 4, "own rows": 7, "alone": 7 * 4,
    }  # fmt: skip
    assert [c.seed for c in found] == sorted(c.seed for c in found)  # the first seed's say most, and come first
    assert {c.generator for c in found} == {"", "sweep", "autoregressive (rounds 3)"}


def test_dropouts_are_varied_where_there_are_masks(schema: Schema) -> None:
    grid = {"epsilons": [1.0], "trust": ["secure-sum", "local"], "dropouts": [0, 1]}
    together = [
        c for c in cases(experiment(schema, grid=grid, partition={"institutions": [4]})) if c.role == "together"
    ]
    assert [(c.trust, c.dropouts) for c in together] == [("secure-sum", 0), ("secure-sum", 1), ("local", 0)]


def test_institutions_may_be_a_columns_declared_categories(schema: Schema) -> None:
    found = list(cases(experiment(schema, partition={"by": "ward"})))
    assert {c.whose for c in found if c.role == "alone"} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seeds": 0}, "seeds"),
        ({"holdout": 1.5}, "holdout"),
        ({"grid": {"epsilons": []}}, "epsilons"),
        ({"grid": {"epsilons": [-1.0]}}, "epsilons"),
        ({"grid": {"trust": ["blind"]}}, "trust"),
        ({"grid": {"typo": 1}}, "typo"),
        ({"partition": {"institutions": [0]}}, "institutions"),
        ({"partition": {}}, "column to split by"),
        ({"partition": {"by": "age"}}, "age"),
    ],
)
def test_what_is_wrong_in_an_experiment_is_named(schema: Schema, changes: Mapping[str, Any], named: str) -> None:
    with pytest.raises(StudyError, match=named) as caught:
        experiment(schema, **changes)
    assert caught.value.code == "E_PLAN_INVALID"


def test_a_target_that_is_no_column_is_named(schema: Schema) -> None:
    with pytest.raises(SchemaError, match="nothing"):
        experiment(schema, targets=["nothing"])


# Rows


def test_persons_held_out_are_at_no_institution(schema: Schema, table: pd.DataFrame) -> None:
    bench = Bench(experiment(schema, holdout=0.3), table)
    for seed in range(3):
        part, held = bench.parted(seed)
        assert not set(part["id"]) & set(held["id"])
        assert len(part) + len(held) == len(table)
        assert 0.2 < held["id"].nunique() / table["id"].nunique() < 0.4
    first, again, other = (set(bench.parted(s)[1]["id"]) for s in (1, 1, 2))
    assert first == again != other


def test_what_is_made_for_each_role(schema: Schema, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, asked = Bench(experiment(schema), table), list[Mapping[str, pd.DataFrame]]()
    part, _ = bench.parted(0)
    monkeypatch.setattr(Bench, "_fitted", lambda self, case, tables, rows: asked.append(tables) or part)
    rng = np.random.default_rng(0)
    assert bench._made(Case("real rows", 0), part, rng) is part
    mixed = bench._made(Case("independent", 0), part, rng)
    assert all(sorted(map(str, mixed[c])) == sorted(map(str, part[c])) for c in part) and not mixed.equals(part)
    names = bench.layouts[2].names
    for case in (Case("together", 0, 2), Case("alone", 0, 2, whose=names[1]), Case("central", 0)):
        bench._made(case, part, rng)
    together, alone, central = asked
    assert list(together) == list(names) and list(alone) == [names[1]] and len(central["everybody"]) == len(part)
    assert alone[names[1]].equals(together[names[1]])
    assert bench._made(Case("own rows", 0, 2, whose=names[0]), part, rng).equals(together[names[0]])
    assert sum(map(len, together.values())) == len(part)


# Running


def test_a_run_is_a_whole_federation_and_leaves_nobodys_home(schema: Schema, table: pd.DataFrame) -> None:
    before = os.environ["COHORTIUM_HOME"]
    found = Bench(experiment(schema), table).run(Case("together", 0, 2, "sweep", 2.0, "local"))
    assert not found.error and 0.5 < found.figures["result: AUC, linear"] <= 1
    assert os.environ["COHORTIUM_HOME"] == before and not home().exists()


@pytest.mark.slow
def test_an_experiment_runs_compares_and_charges_nobody(schema: Schema, table: pd.DataFrame, tmp_path: Path) -> None:
    before = os.environ["COHORTIUM_HOME"]
    found = cohortium.compare(SMALL, table, tmp_path / "out", schema=schema, jobs=1)
    assert not found.failed, [r.error for r in found.failed]
    assert len(found.runs) == 2 + 1 + 2 + 2 + 1
    assert os.environ["COHORTIUM_HOME"] == before and not (home() / "ledgers").exists()
    real, independent = (
        found.table[(found.table["role"] == role) & (found.table["measure"] == "AUC of telling rows from real ones")][
            "value"
        ].item()
        for role in ("real rows", "independent")
    )
    assert real < 0.6 < independent
    assert set(found.gains["whose"]) == {"institution-01", "institution-02"}
    assert any("together" in s and "alone" in s for s in found.sentences)
    files = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "out").iterdir()}
    assert files == {RUNS: 0o600, "runs.parquet": 0o600, "compare.html": 0o600}
    assert pd.read_parquet(tmp_path / "out" / "runs.parquet").equals(found.table)


def fake(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """Runs that take no time; which ones there were."""
    ran: list[Case] = []

    def run(self: Bench, case: Case) -> Run:
        ran.append(case)
        value = {"real rows": 0.9, "together": 0.8, "alone": 0.7}.get(case.role, 0.6) + 0.01 * case.seed
        return Run(case, {"result: AUC, linear": value, "mean total variation distance over pairs": 1 - value}, 0.1)

    monkeypatch.setattr(Bench, "run", run)
    return ran


def test_what_is_in_the_folder_is_not_run_again_and_what_was_cut_short_is(
    schema: Schema, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = fake(monkeypatch)
    first = cohortium.compare(SMALL, table, tmp_path, schema=schema, jobs=1)
    assert len(ran) == len(first.runs) == 8
    cohortium.compare(SMALL, table, tmp_path, schema=schema, jobs=1)
    assert len(ran) == 8
    lines = (tmp_path / RUNS).read_bytes()
    (tmp_path / RUNS).write_bytes(lines[:-20])  # a kill in the middle of a line
    again = cohortium.compare(SMALL, table, tmp_path, schema=schema, jobs=1)
    assert len(ran) == 9 and again.table.equals(first.table)
    cohortium.compare({**SMALL, "seeds": 2}, table, tmp_path, schema=schema, jobs=1)
    assert len(ran) == 9 + 8


def test_runs_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    kept.append(tmp_path, Run(Case("real rows", 0), {"a": 1.0}, 0.1), "mark")
    assert stat.S_IMODE((tmp_path / RUNS).stat().st_mode) == 0o600


@pytest.mark.parametrize("what", ["rows", "holdout", "targets"])
def test_runs_of_other_rows_or_another_test_are_not_taken_for_these(
    schema: Schema, table: pd.DataFrame, what: str
) -> None:
    asked, other = experiment(schema), table
    changed = {"rows": {}, "holdout": {"holdout": 0.5}, "targets": {"targets": ["urgent"]}}[what]
    if what == "rows":
        other = table.assign(age=table["age"].sample(frac=1, random_state=1).to_numpy())
    assert mark_of(asked, table) != mark_of(experiment(schema, **changed), other)
    assert mark_of(asked, table) == mark_of(experiment(schema, seeds=5, grid={"epsilons": [9.0]}), table.copy())


def test_a_run_that_is_refused_is_recorded_and_the_others_go_on(
    schema: Schema, table: pd.DataFrame, tmp_path: Path
) -> None:
    bench = Bench(experiment(schema), table.head(130))  # too few of an institution to say anything
    found = bench.run(Case("together", 0, 2, "sweep", 1e-9, "local"))
    assert found.error.startswith("E_") and not found.figures
    kept.append(tmp_path, found, "mark")
    assert done(tmp_path, "mark")[found.case].error == found.error and not done(tmp_path, "another")


# What they come to


def comparison(schema: Schema, found: list[Run]) -> Comparison:
    return Comparison(experiment(schema, seeds=3), tuple(found))


def test_a_gain_is_positive_where_going_together_is_better_whichever_way_a_measure_runs(schema: Schema) -> None:
    made = []
    for seed, more in enumerate((0.0, 0.02, 0.04)):
        for role, whose, area in (("together", "", 0.8 + more), ("alone", "a", 0.7), ("alone", "b", 0.9)):
            case = Case(role, seed, 2, "sweep", 1.0, "local", whose=whose)  # type: ignore[arg-type]
            made.append(Run(case, {"result: AUC, linear": area, "mean distance": 1 - area}, 0.0))
    gains = comparison(schema, made).gains.set_index(["whose", "measure"])
    for measure in ("result: AUC, linear", "mean distance"):
        assert gains.loc[("a", measure), "gain"] == pytest.approx(0.12)
        assert gains.loc[("b", measure), "gain"] == pytest.approx(-0.08)
        assert gains.loc[("a", measure), "error"] == pytest.approx(0.02 / np.sqrt(3))
    assert is_less_better("mean distance") and not is_less_better("result: AUC, linear")
    words = comparison(schema, made).sentences
    assert len(words) == 2 and "better" in words[0] and "worse" in words[1]


def test_the_page_says_first_whose_it_is_runs_nothing_and_loads_nothing(
    schema: Schema, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch)
    asked = {
        **SMALL,
        "seeds": 2,
        "grid": {"epsilons": [1.0, 3.0], "trust": ["local"]},
        "partition": {"institutions": [2, 4]},
    }
    found = cohortium.compare(asked, table, tmp_path, schema=schema, jobs=1)
    failed = replace(found.runs[-1], figures={}, error="E_PLAN_PRIVACY: <b>")
    html = replace(found, runs=(*found.runs, failed)).html
    assert html.index("LOCAL ONLY. Everything here") < html.index("<h1>")
    assert not re.search(r"<script|https?://|url\(|\son\w+=", html) and "<b>" not in html.split("Refused")[1]
    assert html.count("over epsilon") >= 2 and html.count("over institutions") >= 2
    assert "LOCAL ONLY" in repr(found)


def test_curves_are_drawn_inside_their_field_and_names_apart() -> None:
    curves = [
        Curve("one", (Point(1, 0.5, 0.1), Point(10, 0.6, 0.0))),
        Curve("another", (Point(1, 0.5, 0.1), Point(10, 0.601, 0.0))),
        Curve("a level", (), 0.9),
    ]
    drawn = str(chart(curves, "epsilon", "AUC"))
    heights = [
        float(y)
        for y in re.findall(r'class="label"[^>]*y="([0-9.]+)"|y="([0-9.]+)"[^>]*class="label"', drawn)
        for y in y
        if y
    ]
    assert all(abs(a - b) >= 12.9 for k, a in enumerate(heights) for b in heights[:k])
    assert "<title>" in drawn or "aria-label" in drawn
    chart([Curve("one", (Point(3, 0.5, 0.0),))], "epsilon", "AUC")  # one epsilon alone


# The command


def test_the_command_reads_a_file_and_its_schema_beside_it(
    schema: Schema, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch)
    (tmp_path / "schema.toml").write_text(dumps_schema(schema))
    (tmp_path / "x.toml").write_text(
        '[experiment]\nname = "x"\nseeds = 1\n[grid]\nepsilons = [1]\n[partition]\ninstitutions = [2]\n'
    )
    table.to_csv(tmp_path / "data.csv", index=False)
    words = ["compare", tmp_path / "x.toml", "--data", tmp_path / "data.csv", "--out", tmp_path / "out", "--jobs", 1]
    done_ = CliRunner().invoke(build(), [str(w) for w in words])
    assert done_.exit_code == 0, done_.output
    assert "it stays on this screen" in done_.output and (tmp_path / "out" / "compare.html").exists()
    as_json = json.loads(CliRunner().invoke(build(), [*map(str, words), "--json"]).stdout)
    assert as_json == {"folder": str(tmp_path / "out"), "runs": 8, "failed": []}
    (tmp_path / "x.toml").write_text("[experiment]\nname = 'x'\n[gird]\n")
    wrong = CliRunner().invoke(build(), [str(w) for w in words])
    assert wrong.exit_code != 0 and "gird" in wrong.output


def test_a_mapping_needs_a_schema(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(CohortiumError, match="schema"):
        cohortium.compare(SMALL, table, tmp_path)


@pytest.mark.slow
def test_several_processes_run_the_same(schema: Schema, table: pd.DataFrame, tmp_path: Path) -> None:
    asked = {**SMALL, "grid": {**GRID, "generators": [{"kind": "sweep", "components": 20}]}}
    found = cohortium.compare(asked, table, tmp_path, schema=schema, jobs=2)
    assert not found.failed and len(found.runs) == 8
    baselines = found.table[found.table["role"] == "real rows"]["value"].tolist()
    alone = Bench(found.experiment, table).run(Case("real rows", 0))
    assert baselines[0] == pytest.approx(next(iter(alone.figures.values())))
