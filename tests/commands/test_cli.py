"""The command line as people and scripts use it: stable commands, one JSON object, one line and a code for an error."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
import pytest
import typer
from click.testing import CliRunner as ClickRunner
from console import call, call_json, data_fixture, drafted_fixture, runner  # noqa: F401 (fixtures)

from cohortium.cli import build
from cohortium.study.guarantee import guarantees, in_hundred
from cohortium.study.plan import plan
from cohortium.study.study import Study, dumps_schema, dumps_study

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is


def test_the_way_of_a_researcher(data: Path, drafted: Path, tmp_path: Path) -> None:
    call("schema", "check", drafted, "--data", data)
    out = tmp_path / "release"
    document = call_json(
        "simulate", "--data", data, "--schema", drafted, "--institutions", 3, "--trust", "local", "--generator", "sweep",
        "--target", "result", "--epsilon", 4, "--delta", 1e-6, "--rows", 900, "--seed", 1, "--out", out,
    )  # fmt: skip
    assert document["rows"] == 900
    assert len(pd.read_csv(out / "synthetic.csv")) == 900
    call("sample", out, "--rows", 50, "--where", "result=positive", "--seed", 1, "--out", tmp_path / "s.csv")
    assert set(pd.read_csv(tmp_path / "s.csv")["result"]) == {"positive"}
    assert call_json("verify", out)["verified"] is True
    accounts = call_json("ledger", "show")["ledgers"]
    assert isinstance(accounts, list)
    assert [a["ledger"] for a in accounts] == ["institution-01", "institution-02", "institution-03"]
    assert all(a["epsilon"] <= 4 and a["answers"] == 2 for a in accounts)  # of single columns, then of pairs
    assert all(0.01 < a["attack_rate"] < 0.1 for a in accounts)
    assert in_hundred(accounts[0]["attack_rate"]) in call("ledger", "show")
    call("ledger", "verify")


def test_a_split_by_a_column(data: Path, drafted: Path, tmp_path: Path) -> None:
    document = call_json(
        "simulate", "--data", data, "--schema", drafted, "--by", "sex", "--epsilon", 4, "--delta", 1e-6,
        "--institutions-per-person", 2, "--out", tmp_path / "release",
    )  # fmt: skip
    assert document["institutions"] == ["f", "m"]


def test_a_cap_is_kept_and_the_remainder_named(data: Path, drafted: Path, tmp_path: Path) -> None:
    usual = (
        "simulate",
        "--data",
        data,
        "--schema",
        drafted,
        "--institutions",
        2,
        "--epsilon",
        2,
        "--delta",
        1e-6,
        "--cap",
        2.5,
        "--out",
    )
    call(*usual, tmp_path / "one")
    before = call_json("ledger", "show")
    error = call_json(*usual, tmp_path / "two", code=13)["error"]
    assert isinstance(error, dict)
    assert error["code"] == "E_BUDGET"
    assert "remains" in error["what"]
    assert call_json("ledger", "show") == before
    assert not (tmp_path / "two").exists()


def test_persons_in_more_institutions_than_promised_are_refused(data: Path, drafted: Path, tmp_path: Path) -> None:
    usual = ("simulate", "--data", data, "--schema", drafted, "--by", "sex", "--epsilon", 4, "--delta", 1e-6)
    error = call_json(*usual, "--out", tmp_path / "release", code=12)["error"]
    assert isinstance(error, dict)
    assert error["where"] == "privacy.institutions_per_person"


def test_what_the_system_refuses_is_one_line(data: Path, drafted: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    usual = ("simulate", "--data", data, "--schema", drafted, "--institutions", 1, "--epsilon", 4, "--delta", 1e-6)
    error = call_json(*usual, "--out", tmp_path / "file" / "release", code=10)["error"]
    assert isinstance(error, dict)
    assert error["code"] == "E_IO"


def test_a_touched_release_is_refused_by_name(data: Path, drafted: Path, tmp_path: Path) -> None:
    call(
        "simulate",
        "--data",
        data,
        "--schema",
        drafted,
        "--institutions",
        1,
        "--epsilon",
        4,
        "--delta",
        1e-6,
        "--out",
        tmp_path / "r",
    )
    with (tmp_path / "r" / "synthetic.csv").open("a") as file:
        file.write("x")
    error = call_json("verify", tmp_path / "r", code=17)["error"]
    assert isinstance(error, dict)
    assert (error["code"], error["where"]) == ("E_RELEASE_TOUCHED", "synthetic.csv")


def test_study_show(study: Study, training_study: Study, tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(dumps_schema(study.schema))
    for one in (study, training_study):
        (tmp_path / "study.toml").write_text(dumps_study(one))
        assert call_json("study", "show", tmp_path / "study.toml")["digest"] == one.digest
        shown = " ".join(call("study", "show", tmp_path / "study.toml").split())
        assert "two columns" in shown
        assert "What is promised, and towards whom" in shown
        for g in guarantees(one, plan(one)):
            assert f"{g.towards} sees {g.sees}." in shown
            assert f"{g.cost.epsilon:.4f}" in shown and f" {in_hundred(g.attack_rate)} " in shown


def test_errors_are_one_line_and_a_code(tmp_path: Path, drafted: Path) -> None:
    result = runner.invoke(build(), ["study", "show", str(tmp_path / "absent.toml")])
    assert result.exit_code == 10
    assert result.stderr.startswith("E_INPUT_NOT_FOUND: ")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "code", "name"),
    [
        ({"--epsilon": "0"}, 12, "E_PLAN_PRIVACY"),
        ({"--epsilon": "nan"}, 12, "E_PLAN_PRIVACY"),
        ({"--delta": "0.5"}, 12, "E_PLAN_PRIVACY"),
        ({"--generator": "magic"}, 12, "E_PLAN_INVALID"),
        ({"--trust": "blind"}, 12, "E_PLAN_PRIVACY"),
        ({"--rows": "60000000"}, 12, "E_PLAN_INVALID"),
        ({"--by": "sex"}, 12, "E_PLAN_INVALID"),
        ({"--target": "nowhere"}, 11, "E_SCHEMA_MISSING"),
        ({"--data": "absent.csv"}, 10, "E_INPUT_NOT_FOUND"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    data: Path, drafted: Path, tmp_path: Path, home: Path, changes: dict[str, str], code: int, name: str
) -> None:
    usual = {
        "--data": data,
        "--schema": drafted,
        "--institutions": 2,
        "--epsilon": 1,
        "--delta": 1e-6,
        "--out": tmp_path / "out",
    }
    arguments = [text for pair in {**usual, **changes}.items() for text in map(str, pair)]
    error = call_json("simulate", *arguments, code=code)["error"]
    assert isinstance(error, dict)
    assert error["code"] == name
    assert not (tmp_path / "out").exists()
    assert not home.exists()


def test_bad_input_47_no_command_takes_a_secret() -> None:
    """No option's value could be a private key or password, and no environment variable is read for one."""

    def options(command: object, path: str = "") -> list[str]:
        nested = getattr(command, "commands", {})
        own = [
            f"{path} {o}"
            for p in getattr(command, "params", [])
            for o in p.opts
            if getattr(p, "envvar", None) or (o.startswith("--") and not getattr(p, "is_flag", False))
        ]
        return own + [o for name, c in nested.items() for o in options(c, f"{path} {name}")]

    found = options(typer.main.get_command(build()))
    assert len(found) > 20
    secret = [o for o in found if any(word in o for word in ("password", "secret", "token", "private"))]
    assert all(o.endswith("--password-file") for o in secret)  # where one is kept, and not what it is
    named = [o for o in found if "key" in o.rpartition(" ")[2]]
    assert sorted(named) == [" ledger sign-restore --key", " verify --key"]  # a file's path; a public key


def test_every_argument_and_option_is_explained_in_help() -> None:
    def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, one in getattr(command, "commands", {}).items():
            yield from leaves(one, (*path, name))
        if not hasattr(command, "commands"):
            yield path, command

    unexplained, reported, whole = [], 0, typer.main.get_command(build())
    for path, command in leaves(whole):
        shown = " ".join(ClickRunner().invoke(whole, [*path, "--help"], env={"COLUMNS": "500"}).output.split())
        written = get_type_hints(inspect.unwrap(command.callback), include_extras=True)
        helps = {name: of.__metadata__[0].help for name, of in written.items() if hasattr(of, "__metadata__")}
        unexplained += [(*path, name) for name, help_ in helps.items() if not help_ or help_ not in shown]
        reported += len(helps)
    assert reported > 100
    assert unexplained == []


def test_help_starts_lean_and_imports_neither_torch_nor_flower() -> None:
    program = (
        "import sys; sys.argv = ['cohortium', '--help']\n"
        "from cohortium.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'flwr', 'pandas', 'numpy', 'scipy', 'pyarrow', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"}
    )
    assert done.returncode == 0, done.stderr
    for command in ("demo", "simulate", "sample", "verify", "schema", "study", "ledger"):
        assert command in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["sweep", "autoregressive"])
def test_the_demo_runs_again_and_again(tmp_path: Path, generator: str) -> None:
    for _ in range(2 if generator == "sweep" else 1):
        document = call_json("demo", "--generator", generator, "--out", tmp_path / "demo")
    fidelity = document["fidelity"]
    assert isinstance(fidelity, list)
    assert fidelity[1]["release"] < fidelity[1]["independent"]
    assert call_json("verify", tmp_path / "demo" / "release")["verified"] is True
    (tmp_path / "demo" / "mine.txt").write_text("x")
    call("demo", "--out", tmp_path / "demo", code=17)
    assert (tmp_path / "demo" / "mine.txt").exists()
