"""``make quick`` runs the tests of what has changed, the nearest first, ends in time, and hides no failure."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "quick.py"


@pytest.fixture(scope="module")
def quick() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quick", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        ("common/cohortium/ledger/store.py", "tests/ledger"),
        ("common/cohortium/data/columns/grids.py", "tests/data"),
        ("client/cohortium_client/custodian/policy.py", "tests/client/custodian"),
        ("client/cohortium_client/preflight.py", "tests/client"),
        ("server/cohortium_server/release/page/cells.py", "tests/server/release"),
        ("simulation/cohortium_simulation/audit/path.py", "tests/simulation"),
        ("tools/steps.py", "tests/tools"),
        ("docs/privacy.md", "tests/repository"),
        ("common/cohortium/errors.py", ""),
        ("README.md", ""),
    ],
)
def test_a_file_is_tested_in_the_folder_of_its_names(quick: ModuleType, file: str, tests: str) -> None:
    assert quick.folder(file) == tests


def test_every_folder_of_the_product_has_its_tests(quick: ModuleType) -> None:
    """Or laws and contracts that import it."""
    tests = quick.all_tests()
    for top in (
        "common/cohortium",
        "client/cohortium_client",
        "server/cohortium_server",
        "simulation/cohortium_simulation",
    ):
        sources = [p.relative_to(quick.ROOT).as_posix() for p in sorted((quick.ROOT / top).rglob("*.py"))]
        for folder in {str(Path(s).parent) for s in sources}:
            inside = [s for s in sources if Path(s).parent == Path(folder)]
            assert any(quick.chosen([s], tests) for s in inside), folder


def test_the_nearest_come_first(quick: ModuleType) -> None:
    tests = quick.chosen(["common/cohortium/ledger/backup.py", "tests/tools/test_tried.py"], quick.all_tests())
    assert tests[:2] == ["tests/tools/test_tried.py", "tests/ledger/test_restore.py"]
    assert "tests/laws/test_ledger.py" in quick.chosen(["common/cohortium/ledger/store.py"], quick.all_tests())
    assert "tests/data/test_schema.py" not in tests


def test_a_helper_is_tested_by_those_that_import_it(quick: ModuleType) -> None:
    tests = quick.chosen(["tests/support/grid.py"], quick.all_tests())
    assert "tests/flower/test_served_flower.py" in tests


def test_nothing_changed_is_nothing_to_test(quick: ModuleType) -> None:
    assert quick.chosen([], quick.all_tests()) == []
    assert quick.run([], 0.0) == 0


TESTS = "import time\n\ndef test_one():\n    assert {}\n\ndef test_two():\n    time.sleep(0.01)\n\ndef test_three():\n    pass\n"
RUN = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("quick", sys.argv[1])
quick = importlib.util.module_from_spec(spec)
spec.loader.exec_module(quick)
sys.exit(quick.run([sys.argv[2]], time.monotonic() + float(sys.argv[3])))
"""


@pytest.mark.parametrize(
    ("one", "seconds", "code", "words"),
    [
        ("True", 600, 0, "3 passed"),
        ("False", 600, 1, "1 failed, 2 passed"),
        ("True", -1, 0, "1 of 3 tests were run"),
        ("False", -1, 1, "1 failed"),
    ],
)
def test_it_ends_in_time_and_hides_no_failure(tmp_path: Path, one: str, seconds: int, code: int, words: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS.format(one))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    command = [sys.executable, "-c", RUN, str(FILE), str(tmp_path / "test_it.py"), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=240)
    assert words in done.stdout, done.stdout + done.stderr
    assert done.returncode == code
