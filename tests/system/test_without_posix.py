"""What has to work on any laptop works with all taken away that Windows lacks (without_posix.py), beside a real release."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from visits import everybody
from without_posix import TAKEN

from cohortium.study.study import Study, dumps_schema, dumps_study
from cohortium_server.release import load_release
from cohortium_simulation.experiment import simulate

SCRIPT = Path(__file__).parents[1] / "support" / "without_posix.py"
REFUSED = (
    "institution serve site",
    "institution relay site",
    "institution check site",
    "coordinator serve fed",
    "coordinator check fed",
    "coordinator run study.toml --at fed",
    "coordinator resume run",
)
FEDERATION = """
[federation]
name = "clinics"
address = "localhost:8443"

[[institution]]
name = "north"

[[institution]]
name = "south"
"""
WARDS = ("North", "north", "NUL", "con.1", "Süd ")  # as names of institutions one file, or none, on Windows
DECLARED = {"first": "North", "second": "north", "third": "NUL", "fourth": "con.1", "fifth": "Süd"}


def started(folder: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """In a shell that has other letters than UTF-8's, so that text whose encoding is not given cannot be read."""
    environment = {
        **os.environ,
        "COHORTIUM_HOME": str(folder / "home"),
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        **more,
    }
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="cp1252", check=False
    )


def with_crlf(text: str) -> bytes:
    return "".join(f"{line}\r\n" for line in text.splitlines()).encode()


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Windows is played on Linux: locks, /proc")


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release made on a whole system, and files as somebody on Windows would have them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COHORTIUM_HOME", str(folder / "made"))
        simulate(study, everybody(), folder / "release", seed=1)
    (folder / "study.toml").write_bytes(with_crlf(dumps_study(study)))
    (folder / "schema.toml").write_bytes(with_crlf(dumps_schema(study.schema)))
    table = everybody()["north"].astype({"seen": str})
    table["hospital"] = [WARDS[i % len(WARDS)] for i in table["id"]]
    table.to_parquet(folder / "table.parquet", index=False)
    (folder / "table.csv").write_bytes(with_crlf(table.to_csv(index=False)))
    (folder / "federation.toml").write_bytes(with_crlf(FEDERATION))
    (folder / "a\\b").mkdir()
    shutil.copy(folder / "table.csv", folder / "a\\b" / "C:t.csv")
    return folder


SIMULATE = "simulate --data table.csv --schema schema.toml --json"
BY = f"{SIMULATE} --by hospital --trust local --ledger apart --epsilon 3 --delta 1e-6 --seed 1"
BY_HOSPITAL = f"{BY} {' '.join(f'--institution {name}={ward}' for name, ward in DECLARED.items())} --out own"
STEPS: Mapping[str, str | Mapping[str, Any]] = {
    "verify": "verify release --json",
    "sample": "sample release --rows 40 --where result=positive --out sample.csv --json",
    "parquet": "sample release --rows 40 --out sample.parquet --json",
    "query": "query release --where result=positive --json",
    "impute": "impute release --data table.csv --out filled.csv --json",
    "draft": "schema draft a\\b/C:t.csv --target result --person id --out draft.toml",
    "check": "schema check schema.toml --data table.csv --json",
    "study": "study show study.toml --json",
    "words": "study show study.toml",
    "simulate": BY_HOSPITAL,
    "again": f"{BY_HOSPITAL} --replace",
    "one file": f"{BY} --institution North --institution north --out one-file",
    "own": "verify own --json",
    "over open": {"call": "simulate_over_open", "with": [f"{BY_HOSPITAL} --replace", "own/synthetic.csv"]},
    "own then": "verify own --json",
    "training": f"{SIMULATE} --institutions 3 --generator autoregressive --rounds 3 --epsilon 3 --delta 1e-6 --out trained",
    "unprotected": f"{SIMULATE} --institutions 2 --no-privacy --out bare",
    "ledger": "ledger show --json",
    "open": {"call": "open_release", "with": ["release", 25]},
    "python": {"call": "simulate_in_python", "with": ["study.toml", "table.parquet", "in-python"]},
    "locks": {"call": "contend", "with": ["lock"]},
    "audit": {"call": "audit_a_path", "with": ["study.toml"]},
    "found": "institution init site --name north --data C:\\data\\table.csv --json",
    "provision": "provision federation.toml --out provisioned --json",
    "join": "institution join provisioned/kits/north.zip joined --data table.csv --json",
    "preview": "institution preview site study.toml --json",
    **{words: words for words in REFUSED},
}


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, Any]:
    """What became of every step."""
    (folder / "steps.json").write_text(
        json.dumps([s.split() if isinstance(s, str) else s for s in STEPS.values()]), encoding="utf-8"
    )
    done = started(folder, "--steps", "steps.json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(STEPS), (list(STEPS)[len(lines)], done.stderr[-3000:])
    return dict(zip(STEPS, lines, strict=True))


def answered(reported: Mapping[str, Any], step: str) -> Any:
    assert reported[step]["code"] == 0, reported[step]
    return json.loads(reported[step]["out"])


def test_what_is_taken_away_is_there_before() -> None:
    """Linux has nearly all of it, so that its absence is a difference."""
    for module, names in TAKEN.items():
        assert sum(hasattr(module, n) for n in names) > 0.9 * len(names), module


def test_a_release_is_verified_sampled_asked_and_imputed(folder: Path, outcomes: dict[str, Any]) -> None:
    assert answered(outcomes, "verify")["verified"]
    assert answered(outcomes, "sample")["rows"] == 40
    assert b"\r" not in (folder / "sample.csv").read_bytes()
    assert answered(outcomes, "parquet")["rows"] == 40
    asked = answered(outcomes, "query")
    assert asked["low"] < asked["estimate"] < asked["high"]
    assert answered(outcomes, "impute")["rows"] == 4000


def test_files_with_the_ends_of_lines_that_windows_writes_are_read_as_meant(
    outcomes: dict[str, Any], study: Study
) -> None:
    assert answered(outcomes, "study")["digest"] == study.digest
    checked = answered(outcomes, "check")
    assert checked["digest"].startswith(study.schema.digest[:16]) or study.schema.digest.startswith(checked["digest"])


def test_backslashes_and_colons_of_a_path_are_letters_of_it_here(folder: Path, outcomes: dict[str, Any]) -> None:
    assert outcomes["draft"]["code"] == 0, outcomes["draft"]
    assert "result" in (folder / "draft.toml").read_text(encoding="utf-8")
    assert answered(outcomes, "found")["institution"] == "north"


def test_what_a_shell_has_no_letters_for_is_written_all_the_same(outcomes: dict[str, Any]) -> None:
    assert outcomes["words"]["code"] == 0, outcomes["words"]
    assert "epsilon" in outcomes["words"]["out"]


def test_simulations_run_and_run_again_into_the_same_folder(folder: Path, outcomes: dict[str, Any]) -> None:
    assert answered(outcomes, "simulate")["guarantee"]["epsilon"] <= 3
    assert answered(outcomes, "again")["rows"] > 0
    assert answered(outcomes, "own")["verified"]
    assert answered(outcomes, "training")["rows"] > 0
    assert (folder / "bare" / "manifest.json").is_file(), outcomes["unprotected"]


def test_a_release_that_is_open_stays_and_the_new_one_which_was_paid_for_lies_beside_it(
    folder: Path, outcomes: dict[str, Any]
) -> None:
    assert outcomes["over open"]["code"] == 17
    error = json.loads(outcomes["over open"]["out"])["error"]
    assert error["code"] == "E_RELEASE_EXISTS"
    (beside,) = folder.glob("own-*")
    assert beside.name in error["fix"]
    assert load_release(beside).manifest["run"] != load_release(folder / "own").manifest["run"]
    assert answered(outcomes, "own then") == answered(outcomes, "own")


def test_institutions_have_ledgers_of_their_own_and_none_whose_names_would_be_one_file(
    folder: Path, outcomes: dict[str, Any]
) -> None:
    assert answered(outcomes, "simulate")["institutions"] == list(DECLARED)
    assert sorted(p.stem for p in (folder / "apart").glob("*.sqlite")) == sorted(DECLARED)
    assert outcomes["one file"]["code"] and not (folder / "one-file").exists()


def test_both_simulations_are_charged(outcomes: dict[str, Any]) -> None:
    assert "visits" in json.dumps(answered(outcomes, "ledger"))


def test_it_works_in_python(outcomes: dict[str, Any]) -> None:
    assert outcomes["open"]["rows"] == 25
    assert outcomes["open"]["results"] == ["positive"]
    assert outcomes["open"]["low"] < outcomes["open"]["high"]
    assert outcomes["python"]["epsilon"] <= 5


def test_locks_exclude(outcomes: dict[str, Any]) -> None:
    assert outcomes["locks"] == {"second": None, "seen": True, "free": True}


def test_an_audit_says_that_it_saw_no_forks(outcomes: dict[str, Any]) -> None:
    assert outcomes["audit"] == {"forks": False, "alarms": []}


@pytest.mark.parametrize("words", REFUSED)
def test_serving_a_federation_is_refused_in_one_line_that_names_what_to_use(
    folder: Path, outcomes: dict[str, Any], words: str
) -> None:
    assert outcomes[words]["code"] == 10
    assert outcomes[words]["err"].startswith("E_SYSTEM: ")
    assert outcomes[words]["err"].count("\n") == 1
    assert "container" in outcomes[words]["err"]
    assert not (folder / "fed").exists()


def test_a_federation_is_prepared_for_the_host_that_will_serve_it(folder: Path, outcomes: dict[str, Any]) -> None:
    assert set(answered(outcomes, "provision")["kits"]) == {"north", "south"}
    joined = answered(outcomes, "join")
    assert joined["institution"] == "north"
    assert json.loads((folder / joined["application"]).read_text(encoding="utf-8"))["key"] == joined["key"]


def test_an_institution_sees_what_would_leave_it(outcomes: dict[str, Any]) -> None:
    assert answered(outcomes, "preview")["phases"]


@pytest.mark.slow
def test_the_demo_runs(tmp_path: Path) -> None:
    done = started(tmp_path, "demo", "--out", "demo", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "demo" / "release" / "report.html").is_file()
    assert "synthetic rows by sweep" in done.stdout
