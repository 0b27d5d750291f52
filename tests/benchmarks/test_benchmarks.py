"""The benchmark of utility: its tables and cells, its file of runs, peers, the tables in README and docs/benchmarks.md."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
sets, cases, runner, readme, utility = (
    importlib.import_module(name) for name in ("sets", "cases", "peers.runner", "readme", "utility")
)
SMALL = ("heart", "heart16", "covid", "sdnist", "nass")


def load(name: str) -> Any:
    if name not in sets.available():
        pytest.skip(f"the table {name} is not here")
    return sets.load(name)


@pytest.mark.parametrize("name", SMALL)
def test_every_row_of_a_table_fits_its_schema_and_is_in_one_part(name: str) -> None:
    data = load(name)
    for table in (data.train, data.test):
        codes = data.codes(table)
        assert codes.shape == (len(table), len(data.schema.columns))
        assert (codes >= 0).all()
        assert (codes.max(axis=0) < np.array(data.judged.sizes)).all()
    assert len(data.test) == (len(data.train) + len(data.test)) // 5
    assert data.target in data.test
    assert sets.mean_ks(data, data.train) == 0 or not data.numeric


@given(
    lower=st.integers(-10_000, 10_000),
    width=st.integers(2, 100_000),
    decimals=st.integers(0, 2),
    soft=st.sampled_from([0.0, 0.5, 10.0, 1000.0]),
    cells=st.integers(2, 40),
)
def test_cells_are_few_ascend_and_hold_every_value(
    lower: int, width: int, decimals: int, soft: float, cells: int
) -> None:
    column = sets.number("x", lower, lower + width, decimals, nullable=True)
    judged = sets._in_cells(column, soft, cells)
    assert judged.values <= cells
    schema = sets.Schema(columns=(column,))
    data = sets.Data("made up", schema, pd.DataFrame(), pd.DataFrame(), {"x": soft}, cells)
    codes = data.codes(pd.DataFrame({"x": [*np.linspace(lower - 5, lower + width + 5, 50), None]}))[:, 0]
    assert (np.diff(codes) >= 0).all()
    assert codes[0] == 0
    assert codes[-1] == judged.size - 1


def test_ks_of_another_column_is_the_largest_gap() -> None:
    schema = sets.Schema(columns=(sets.number("x", 0, 10),))
    data = sets.Data("made up", schema, pd.DataFrame({"x": [0, 1, 2, 3]}), pd.DataFrame())
    assert sets.mean_ks(data, pd.DataFrame({"x": [2, 3, 4, 99]})) == pytest.approx(0.5)


def test_a_benchmark_goes_on_where_it_stopped_and_writes_readmes_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load("heart16")
    pages = {"README.md": (readme.FEW_BEGIN, readme.FEW_END), "docs/benchmarks.md": (readme.BEGIN, readme.END)}
    assert pages.keys() == readme.PAGES.keys()
    (tmp_path / "docs").mkdir()
    for name, (begin, end) in pages.items():
        (tmp_path / name).write_text(f"before\n{begin}\nold\n{end}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(utility, "ROOT", tmp_path)
    files = ["--runs", str(tmp_path / "runs.jsonl"), "--out", str(tmp_path / "utility.json")]
    chosen = ["utility", "--sets", "heart16", "--seeds", "1", *files]
    monkeypatch.setattr(sys, "argv", chosen)
    utility.main()
    runs = cases.read(tmp_path / "runs.jsonl")
    sweep = runs[cases.Case("heart16", 1.0, "sweep", "one")]
    assert 0 < sweep.figures["pairs"] < sweep.figures["triples"] < 1
    assert sweep.figures["seconds"] > 0
    monkeypatch.setattr(cases, "run", lambda *_: pytest.fail("it was run already"))
    monkeypatch.setattr(sys, "argv", [*chosen, "--readme"])
    utility.main()
    for name, renewed in readme.PAGES.items():
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert readme.figure([sweep], "pairs") in text
        assert "old" not in text
        assert renewed(text, list(runs.values())) == text
    capsys.readouterr()


@pytest.mark.parametrize(("pairs", "code"), [(0.10, 0), (0.109, 0), (0.111, 1), (0.4, 1)])
def test_readmes_table_fails_where_independent_columns_would_be_nearer(
    pairs: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    pages = {"README.md": (readme.FEW_BEGIN, readme.FEW_END), "docs/benchmarks.md": (readme.BEGIN, readme.END)}
    for name, (begin, end) in pages.items():
        (tmp_path / name).write_text(f"{begin}\n{end}\n", encoding="utf-8")
    found = {"independent columns": (math.inf, 0.1), "sweep": (1.0, pairs)}
    for generator, (epsilon, figure) in found.items():
        case = cases.Case("covid", epsilon, generator, "one")
        cases.append(tmp_path / "runs.jsonl", cases.Run(case, {"pairs": figure, "boosting": 0.7}, "abc", "2026-11-30"))
    monkeypatch.setattr(utility, "ROOT", tmp_path)
    files = ["--runs", str(tmp_path / "runs.jsonl"), "--out", str(tmp_path / "utility.json")]
    monkeypatch.setattr(sys, "argv", ["utility", "--show", "--readme", *files])
    assert utility.main() == code
    assert ("covid: the pairs are more than" in capsys.readouterr().out) == bool(code)
    assert (readme.BEYOND in (tmp_path / "README.md").read_text(encoding="utf-8")) == bool(code)


@pytest.mark.parametrize("name", readme.PAGES)
def test_a_page_without_markers_is_left_alone(name: str) -> None:
    with pytest.raises(ValueError, match="markers"):
        readme.PAGES[name]("nothing here", [])


@pytest.mark.parametrize("name", readme.PAGES)
def test_pages_show_the_runs_there_are(name: str) -> None:
    text = (BENCHMARKS.parent / name).read_text(encoding="utf-8")
    assert readme.PAGES[name](text, list(cases.read(BENCHMARKS / "results" / "runs.jsonl").values())) == text


def test_the_readme_has_six_results() -> None:
    text = (BENCHMARKS.parent / "README.md").read_text(encoding="utf-8")
    table = text.partition(readme.FEW_BEGIN)[2].partition(readme.FEW_END)[0]
    assert len(table.strip().splitlines()) == 2 + 6
    assert all(cell.strip() for line in table.strip().splitlines() for cell in line.strip("|").split("|"))


def test_runs_are_read_as_they_were_written_and_the_last_counts(tmp_path: Path) -> None:
    case = cases.Case("covid", math.inf, "sweep", "one", 3)
    first, second = (cases.Run(case, {"pairs": value}, "abc", "now") for value in (0.1, 0.2))
    for one in (first, second, cases.Run(cases.Case("covid", 1.0, "dpmm AIM", "one"), None, "abc", "now")):
        cases.append(tmp_path / "runs.jsonl", one)
    known = cases.read(tmp_path / "runs.jsonl")
    assert len(known) == 2
    assert known[case] == second


def test_cases_without_meaning_are_not_run() -> None:
    arguments = utility.options(
        ["--seeds", "2", "--generators", "real rows", "sweep", "dpmm MST", "--settings", "one", "10 local"]
    )
    todo = list(utility.chosen(arguments))
    assert {c.setting for c in todo if c.generator == "dpmm MST"} == {"one"}
    assert {c.seed for c in todo if c.generator == "real rows"} == {0}
    assert len([c for c in todo if c.generator == "sweep"]) == 2 * 2 * len(utility.MAIN)


def test_every_wanted_figure_is_of_a_case_that_can_be_run() -> None:
    arguments = utility.options(["--wanted", "--seeds", "1"])
    assert {c.group for c in utility.chosen(arguments)} == set(utility.WANTED)
    for name, _, generator, setting in utility.WANTED:
        assert name in sets.SETS
        assert generator in cases.GENERATORS
        assert setting in cases.SETTINGS


COPIES = "import sys, numpy as np; d = np.load(sys.argv[1]); np.savez(sys.argv[2], codes=d['codes'], seconds=2.0)"


@pytest.mark.parametrize("script", [COPIES, "while True: pass", "raise SystemExit('no such mechanism')"])
def test_a_peer_answers_or_does_not_finish_or_says_what_failed(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "environment", lambda _: Path(sys.executable))
    (tmp_path / "peer.py").write_text(script, encoding="utf-8")
    peer, codes = runner.Peer("peer==1", str(tmp_path / "peer.py"), "mst"), np.array([[0, 1], [1, 0]], np.int16)
    if script.startswith("raise"):
        with pytest.raises(RuntimeError, match="no such mechanism"):
            runner.synthesise(peer, codes, (2, 2), 1.0, 1e-5, 0)
        return
    came = runner.synthesise(peer, codes, (2, 2), 1.0, 1e-5, 0, limit=1 if script.startswith("while") else 60)
    if script.startswith("while"):
        assert came is None
    else:
        assert came[0].tolist() == codes.tolist()
        assert came[1] == 2.0
