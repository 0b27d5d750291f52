"""The rules of the house that no single test of a room would notice."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from repository import ROOT, SOURCES

from cohortium import flower_names
from cohortium.errors import CODES


def lines_with(pattern: str) -> list[str]:
    found = re.compile(pattern)
    return [
        f"{p.relative_to(ROOT)}: {line.strip()}"
        for p in SOURCES
        for line in p.read_text().splitlines()
        if found.search(line)
    ]


def test_there_are_sources() -> None:
    assert len(SOURCES) > 40


def test_bad_input_31_nothing_is_ever_unpickled() -> None:
    pattern = r"\bpickle\b|torch\.load|joblib|allow_pickle=True|read_pickle|\beval\(|\bexec\("
    assert [line for line in lines_with(pattern) if "never pickle" not in line] == []


def test_no_global_random_state() -> None:
    pattern = r"np\.random\.(normal|rand|randn|randint|choice|seed|shuffle|uniform)\(|torch\.manual_seed\(|^import random\b|from random import"
    assert lines_with(pattern) == []


def test_noise_has_no_seed() -> None:
    for name in ("randomness.py", "discrete_gaussian.py"):
        text = (ROOT / "common/cohortium/privacy" / name).read_text()
        assert "default_rng" not in text
        assert "Generator" not in text


def test_flower_is_imported_in_one_adapter_a_side_and_the_engine() -> None:
    importing = {str(p.relative_to(ROOT)) for p in SOURCES if re.search(r"^\s*(from|import) flwr", p.read_text(), re.M)}
    assert importing == {
        "client/cohortium_client/app.py",
        "server/cohortium_server/app.py",
        "simulation/cohortium_simulation/engine.py",
    }


def test_what_is_private_to_flower_is_written_down_in_one_place() -> None:
    """Its private modules, paths, commands, options and variables: whoever needs one asks cohortium.flower_names."""
    known = ROOT / "common/cohortium/flower_names.py", ROOT / "tests/contracts/test_flower.py"
    pattern = re.compile(
        r"\bflwr\.(?!app\b|clientapp\b|serverapp\b|__version__)\w|/v\d/(fleet|control|runtime)|[\"']flower-su|FLWR_[A-Z]"
    )
    rooms = ("common", "client", "server", "simulation", "tests", "benchmarks", "tools")
    files = [p for room in rooms for p in sorted((ROOT / room).rglob("*.py")) if p not in (*known, Path(__file__))]
    assert len(files) > 200
    found = {f"{p.relative_to(ROOT)}: {m[0]}" for p in files if (m := pattern.search(p.read_text(encoding="utf-8")))}
    assert found == set()


def test_what_stands_before_a_coordinator_passes_on_the_paths_of_the_fleet() -> None:
    for path in ("deploy/proxy/Caddyfile", "deploy/proxy/fleet.conf"):
        assert flower_names.Api.FLEET in (ROOT / path).read_text(encoding="utf-8").replace("\\", "")


def test_the_relay_has_no_data() -> None:
    text = (ROOT / "client/cohortium_client/app.py").read_text()
    assert not re.search(r"^(from|import) (pandas|torch|numpy)", text, re.M)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_in_the_docs(code: str) -> None:
    assert f"`{code}`" in (ROOT / "docs/errors.md").read_text()


def test_every_code_that_is_raised_is_declared() -> None:
    raised = {code for p in SOURCES for code in re.findall(r'"(E_[A-Z_]+)"', p.read_text())}
    assert raised - set(CODES) == set()


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    reported = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {reported['version']}\n" in cited and f"\nlicense: {reported['license']}\n" in cited
    assert reported["version"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_test_chooses_a_kernel() -> None:
    """What must hold holds on every processor, with any library's kernels: it is tools/numerics.py that varies them."""
    names = {
        name
        for line in (ROOT / "tools/numerics.py").read_text().splitlines()
        for name in re.findall(r'{"(\w+)":', line)
    }
    assert {"MKL_CBWR", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS"} <= names
    chosen = "|".join(
        sorted(names - {"OMP_NUM_THREADS"})
    )  # processes of a federation share a machine; no kernel is chosen
    pattern = re.compile(rf"{chosen}|(MKL|BLAS|DNN)\w*_\w+ *[\"'=]|set_flush_denormal|use_deterministic_algorithms")
    tests = [p for p in sorted((ROOT / "tests").rglob("*.py")) if p != Path(__file__).resolve()]
    assert [str(p.relative_to(ROOT)) for p in tests if pattern.search(p.read_text())] == []


def test_python_runs_between_a_fork_and_a_program_only_where_there_are_no_threads() -> None:
    """Where there are some it may end the child without a word. The supervisor has none; tests have other tests' threads."""
    asking = "preexec" + "_fn"
    paths = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
    assert {p.name for p in paths if asking in p.read_text()} == {"supervision.py"}


def test_no_test_module_imports_another() -> None:
    """What tests share is in tests/support, in a module that collects nothing."""
    tests = sorted((ROOT / "tests").rglob("*.py"))
    names = {p.stem for p in tests if p.name.startswith("test_")} | {"conftest"}
    found = [
        (p.name, m[0])
        for p in tests
        for m in re.finditer(r"^\s*(?:from|import) (\w+)", p.read_text(), re.M)
        if m[1] in names
    ]
    assert found == []


def test_tests_lie_in_the_folders_of_what_they_test() -> None:
    """Two of one name could not be collected together."""
    tests = [p for p in (ROOT / "tests").rglob("test_*.py") if "e2e" not in p.parts]
    assert [p.name for p in tests if p.parent == ROOT / "tests"] == []
    assert len({p.name for p in tests}) == len(tests)


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """The calls of a file, by the last name of what is called."""
    found = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
    return [(n.func.attr if isinstance(n.func, ast.Attribute) else getattr(n.func, "id", ""), n) for n in found]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_text_says_its_encoding_and_how_its_lines_end(path: Path) -> None:
    """By default both are the system's: a release would have other bytes on Windows, and study.toml other letters."""
    for name, call in calls(path):
        said = {k.arg for k in call.keywords}
        words = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if name in ("read_text", "write_text") or (
            name in ("open", "fdopen") and any(w in ("r", "w", "a", "x") for w in words)
        ):
            assert "encoding" in said, (path.name, call.lineno)
        if name == "write_text" or (name in ("open", "fdopen") and any(w in ("w", "a", "x") for w in words)):
            assert "newline" in said, (path.name, call.lineno)


def test_no_module_needs_posix_to_be_imported() -> None:
    assert lines_with(r"^(import|from) (fcntl|pwd|grp|resource|termios|tty|pty)\b") == []


def test_locks_are_taken_in_one_module() -> None:
    assert {line.partition(":")[0] for line in lines_with(r"\b(fcntl|flock|lockf|portalocker|msvcrt)\b\.?")} == {
        "common/cohortium/system/locks.py"
    }
