"""The gate itself: it opens only when every mutant was planted, judged and killed, and its page is the list."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from listed import is_current
from mutant import ROOT, Change, RottenError
from planted import ROOMS

HERE = Path(__file__).parent
MUTANTS = [one for room in ROOMS.values() for one in room]
TRY = """
import json, sys
sys.path.insert(0, sys.argv[1])
from forked import preload
from gate import judge
from mutant import mutant
from threadpoolctl import threadpool_info
preload()
torch = sys.modules["torch"]
threads = [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())]
test = "tests/laws/test_persons.py::test_one_of_each_is_a_row_of_each"
file, place = "common/cohortium/queries/contribution_bounding.py", "words = randomness.words(len(rows)) >> np.uint64(32)"
tried = [
    mutant("breaks", "", test, file, place, place.replace(">> np.uint64(32)", ">> np.uint64(33)")),
    mutant("is equal", "", test, file, place, "drawn = randomness.words(len(rows)); words = drawn >> np.uint64(32)"),
    mutant("crashes", "", test, file, place, "words = nothing"),
    mutant("is no Python", "", test, file, place, "words = ("),
    mutant("is nowhere", "", test, file, "what nobody has written", ""),
    mutant("is in a lost file", "", test, "common/cohortium/lost.py", "", ""),
    mutant("has no test", "", test + "_whatsoever", file, place, "words = 0"),
    mutant("has several tests", "", "tests/laws/test_persons.py", file, place, "words = 0"),
]
verdict = judge(tried, lambda line: None)
print(json.dumps([verdict.summary, verdict.is_open, list(verdict.faults), threads]))
"""


def test_only_what_was_judged_and_asserted_counts_as_killed() -> None:
    command = [sys.executable, "-c", TRY, str(HERE)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    reported, is_open, faults, threads = json.loads(run.stdout.splitlines()[-1])
    assert set(threads) == {1} and len(threads) > 2  # a fork takes along only one
    assert reported == "mutants killed 1 of 8"
    assert not is_open
    of = {name: [f for f in faults if f.startswith(f"{name}:")] for name in ("is equal", "crashes", "is no Python")}
    assert "SURVIVED" in of["is equal"][0]
    assert "did not judge it: failed: NameError" in of["crashes"][0]
    assert "did not judge it: it did not run" in of["is no Python"][0]
    assert any(f.startswith("is nowhere: ") and "0 times" in f for f in faults)
    assert any(f.startswith("is in a lost file: ") for f in faults)
    assert any(f.startswith("has no test: ") for f in faults)
    assert any(f.startswith("has several tests: ") for f in faults)
    assert not any(f.startswith("breaks: ") for f in faults)


def test_a_place_must_be_there_once() -> None:
    assert Change("file", "b", "x").made_in("abc") == "axc"
    for text in ("ac", "abcb"):
        with pytest.raises(RottenError, match="plant this mutant anew"):
            Change("file", "b", "x").made_in(text)


def test_the_page_is_the_list() -> None:
    assert is_current(ROOMS), "run python tests/mutants --docs"


def test_every_killer_is_a_test_that_there_is() -> None:
    """As far as can be seen without collecting them; the gate itself finds a parameter that is none."""
    written: dict[str, set[str]] = {}
    for file, _, name in (one.killed_by.partition("::") for one in MUTANTS):
        if file not in written:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            written[file] = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        assert set(name.partition("[")[0].split("::")[:1]) <= written[file], (file, name)


def test_there_are_many_mutants_and_each_is_another_change() -> None:
    assert len(MUTANTS) >= 30
    for reported in (Counter(m.name for m in MUTANTS), Counter(m.changes for m in MUTANTS)):
        assert max(reported.values()) == 1
    assert all(change.old != change.new for one in MUTANTS for change in one.changes)
    assert all("::" in one.killed_by and one.pitfall for one in MUTANTS)
