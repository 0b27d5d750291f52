"""``make test`` runs every step, whatever became of those before, and says at the end what became of each."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = ROOT / "tools" / "steps.py"
MAKEFILE = """
good:
\t@echo 3 passed in 0.1s
bad:
\t@echo 2 passed, 1 failed in 0.2s; exit 3
broken: missing
"""


@pytest.fixture
def make(tmp_path: Path) -> str:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    return f"make --no-print-directory -C '{tmp_path}'"


def run(make: str, *targets: str) -> tuple[int, list[str]]:
    command = [sys.executable, str(STEPS), "--make", make, *targets]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout.splitlines()


def became(reported: list[str]) -> dict[str, str]:
    """What the report at the end says of each step."""
    begin = next(i for i, line in enumerate(reported) if re.fullmatch(r"=== \d+ steps", line))
    words = (line.split() for line in reported[begin + 1 : -1])
    return {name: result for name, result, seconds, _ in words if float(seconds) >= 0}


def test_a_step_that_fails_hides_no_other(make: str) -> None:
    code, reported = run(make, "bad", "broken", "good")
    assert code == 1
    assert became(reported) == {"bad": "FAILED", "broken": "FAILED", "good": "passed"}
    assert reported[-1] == "failed: bad, broken"
    assert (
        "2 passed, 1 failed in 0.2s" in reported and "3 passed in 0.1s" in reported
    )  # what steps print is not kept back
    assert [line for line in reported if line.startswith("=== ")] == [
        "=== bad",
        "=== broken",
        "=== good",
        "=== 3 steps",
    ]


def test_steps_side_by_side_both_count_and_print_one_after_the_other(make: str) -> None:
    code, reported = run(make, "bad,good", "good")
    assert code == 1
    assert [line for line in reported if line.startswith("=== ")] == [
        "=== bad and good, side by side", "=== bad", "=== good", "=== good", "=== 3 steps"
    ]  # fmt: skip
    assert reported.index("2 passed, 1 failed in 0.2s") < reported.index("3 passed in 0.1s")
    assert reported[-1] == "failed: bad"


def test_where_nothing_fails_that_is_reported(make: str) -> None:
    code, reported = run(make, "good", "good")
    assert code == 0
    assert reported[-1] == "nothing failed"


def test_make_test_and_make_test_all_run_their_steps() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (steps,) = re.findall(r"^STEPS = (.*)", makefile, re.M)
    assert steps.startswith("$(BIN)/python tools/steps.py ")
    (test,) = re.findall(r"^test: .*\n\t@\$\(STEPS\)(.*)", makefile, re.M)
    (test_all,) = re.findall(r"^test-all: .*\n\t@\$\(STEPS\)(.*)", makefile, re.M)
    assert test.split() == ['"', "lint,types,imports", "unit"]
    assert test_all.split() == ["SLOW=1" + '"', "lint,types,imports", "unit", "mutants", "wheel,e2e"]
    named = {name for step in test_all.split()[1:] for name in step.split(",")}
    assert set(re.findall(r"^([\w-]+):", makefile, re.M)) >= named


def test_ci_runs_every_step_once() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if re.match(r"\s*make\b", line)] == ["make test-all"]
