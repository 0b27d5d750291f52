"""What has changed since the main branch, or since the last commit on it, and the tests and laws of that, in a minute.

    python tools/quick.py [--since COMMIT] [--seconds 60] [--list]

Changed Python files are linted. A changed source file is tested by the tests of the folder of the same names
(``common/cohortium/ledger/store.py`` by ``tests/ledger``, ``server/cohortium_server/rounds/masks.py`` by
``tests/server/rounds``) and by the laws, contracts and statistics that import it; a changed test by itself; what lies in
another place by those tests that name it. Tests that were changed come first, then those that import a changed module, then
the others of its folder. When the time is over the rest is left to ``make test``, and it is said how much that is.
``make quick`` runs it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAIN = ("main", "master", "origin/main", "origin/master")
FOLDERS = {  # of sources, and where their tests are
    "common/cohortium": "tests",
    "client/cohortium_client": "tests/client",
    "server/cohortium_server": "tests/server",
    "simulation/cohortium_simulation": "tests/simulation",
    "tools": "tests/tools",
    "benchmarks": "tests/benchmarks",
    "deploy": "tests/deploy",
    "docs": "tests/repository",
    "examples": "tests/contracts",
}
EVERYWHERE = ("tests/laws", "tests/contracts", "tests/statistics")
NOT_HERE = "tests/e2e/"  # make e2e runs them


def git(*words: str) -> list[str]:
    """The lines that git prints; none where it fails."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()


def since() -> str:
    """The commit where this branch left the main one; the last commit, on the main branch itself."""
    for name in MAIN:
        if base := git("merge-base", "HEAD", name):
            return base[0]
    return "HEAD"


def changed(base: str) -> list[str]:
    """Files that are there and differ from ``base``, whether committed, staged or new."""
    found = {*git("diff", "--name-only", base), *git("ls-files", "--others", "--exclude-standard")}
    return sorted(f for f in found if (ROOT / f).is_file())


def module(file: str) -> str:
    """By which name a source file is imported: ``common/cohortium/ledger/store.py`` is ``cohortium.ledger.store``."""
    inner = file.split("/", 1)[1] if "/cohortium" in file else Path(file).name
    return inner.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def folder(file: str) -> str:
    """The deepest folder of tests that has the names of a source file's folders; empty if there is none."""
    for sources, tests in FOLDERS.items():
        if file.startswith(f"{sources}/"):
            place = ROOT / tests / Path(file).relative_to(sources).parent
            while not place.is_dir():
                place = place.parent
            return "" if place == ROOT / "tests" else place.relative_to(ROOT).as_posix()
    return ""


def imports(test: str, module: str) -> bool:
    """Whether a test's text names a module as an import does."""
    above, _, name = module.rpartition(".")
    text = (ROOT / test).read_text(encoding="utf-8")
    if module in text:
        return True
    return bool(above) and any(
        line.startswith(f"from {above} import") and name in line.replace(",", " ").split() for line in text.splitlines()
    )


def chosen(files: Sequence[str], tests: Sequence[str]) -> list[str]:
    """Of all test files those that concern the changed files, the nearest first."""
    sources = [f for f in files if f.endswith(".py") and not f.startswith("tests/")]
    helpers = [Path(f).stem for f in files if f.startswith("tests/") and f not in tests and f.endswith(".py")]
    modules = [*map(module, sources), *helpers]
    folders = {folder(f) for f in files} - {""}
    importing = [t for t in tests if any(imports(t, m) for m in modules)]
    beside = [t for t in tests if any(t.startswith(f"{f}/") for f in folders)]
    laws = [t for t in importing if t.startswith(EVERYWHERE)]
    near = [t for t in importing if t in beside]
    lone = [] if beside else importing
    order = [*(t for t in tests if t in files), *near, *laws, *beside, *lone]
    return list(dict.fromkeys(order))


def all_tests() -> list[str]:
    found = (p.relative_to(ROOT).as_posix() for p in (ROOT / "tests").rglob("test_*.py"))
    return sorted(f for f in found if not f.startswith(NOT_HERE))


class Until:
    """A pytest plugin: ends a session when its time is over, counts what was run, and knows whether anything failed."""

    def __init__(self, end: float) -> None:
        self.end, self.ran, self.of, self.is_over, self.has_failed = end, 0, 0, False, False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.has_failed |= report.failed

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.of = len(session.items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        result = yield
        self.ran += 1
        if time.monotonic() > self.end and self.ran < self.of:
            self.is_over = True
            item.session.shouldstop = "the time is over"
        return result  # type: ignore[return-value]


def lint(files: Iterable[str]) -> int:
    python = [f for f in files if f.endswith(".py")]
    if not python:
        return 0
    ruff = str(Path(sys.executable).with_name("ruff"))
    codes = [
        subprocess.run([ruff, *words, "--force-exclude", *python], cwd=ROOT, check=False).returncode
        for words in (("check", "--quiet"), ("format", "--check", "--quiet"))
    ]
    return max(codes)


def run(tests: Sequence[str], end: float) -> int:
    """The code with which to end: 0 if nothing failed, even if not everything was reached."""
    if not tests:
        print("no test belongs to what has changed")
        return 0
    watch = Until(end)
    code = int(pytest.main(["-p", "no:cacheprovider", "-m", "not slow", *tests], plugins=[watch]))
    if watch.is_over:
        print(f"{watch.ran} of {watch.of} tests were run until the time was over; make test runs them all")
    if code == pytest.ExitCode.INTERRUPTED and watch.is_over:
        return int(watch.has_failed)
    return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code


def main(words: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="quick", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--since", metavar="COMMIT", help="the commit to compare with")
    parser.add_argument("--seconds", type=float, default=55.0, help="after which no more tests are begun")
    parser.add_argument("--list", action="store_true", help="name the files of tests and run none")
    said = parser.parse_args(words)
    files = changed(said.since or since())
    tests = chosen(files, all_tests())
    if said.list:
        print("\n".join(tests))
        return 0
    print(f"{len(files)} files have changed; {len(tests)} files of tests concern them", flush=True)
    failed = lint(files)
    return run(tests, began + said.seconds) or failed


if __name__ == "__main__":
    sys.exit(main())
