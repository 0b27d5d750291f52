"""Running tests against a copy of the product, each in a process of its own that starts in a moment.

What takes long to start is other people's code. This process imports that, and nothing of the product's; then tests
run in a fork of it, which puts its own copy of the product first on the path, and several tests of a file in forks of
that fork.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mutant import PACKAGES, ROOT
from threadpoolctl import threadpool_limits

LONGEST = 120.0  # seconds that each test of a task may take, on the average
LAST_WORDS = 5.0  # seconds before that, it writes down where it is
DEEP = 8  # frames that are reported of it
TASKS = 2  # that run at the same time
HEAVY = (  # torch._dynamo: an optimiser's first step imports it
    "numpy", "pandas", "scipy.stats", "scipy.special", "torch", "torch.nn.functional", "torch._dynamo", "safetensors.numpy",
    "pyarrow.parquet", "hypothesis", "hypothesis.strategies", "pydantic", "typer", "rich", "sqlalchemy", "tomli_w",
    "cryptography.hazmat.primitives.serialization", "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.ciphers", "cryptography.x509", "dp_accounting", "dp_accounting.pld.privacy_loss_distribution",
    "dp_accounting.rdp", "mpmath", "jinja2", "opacus.grad_sample", "pydantic.dataclasses", "pydantic.type_adapter",
    "sqlite3", "tomllib",
)  # fmt: skip
OPTIONS = (
    "-x", "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-o", "timeout=0", "-c", "pyproject.toml",
)  # fmt: skip
NEVER = (*PACKAGES, "grpc", "flwr")  # gRPC does not survive a fork, and Flower brings it along


@dataclass(frozen=True)
class Task:
    """Tests of one file, by their node ids, and the copy of the product that they are run against."""

    name: str
    tests: tuple[str, ...]
    tree: Path
    tries: int = 2  # a process that ended without a result, or took too long, judged nothing: it is begun once more

    @property
    def longest(self) -> float:
        return LONGEST * len(self.tests)


@dataclass
class Result:
    """What became of a test.

    failed: how it failed, if it did: "asserted" if it found what it looks for, else the exception's name.
    problem: why there is no result: an import, a fixture, another product than the tree's.
    lost: the test's process left no result behind.
    """

    passed: bool = False
    failed: str = ""
    problem: str = ""
    lost: bool = False

    @property
    def is_pass(self) -> bool:
        return self.passed and not (self.failed or self.problem)

    @property
    def is_kill(self) -> bool:
        return self.failed == "asserted" and not self.problem

    @property
    def summary(self) -> str:
        return self.problem or ("passed" if self.is_pass else f"failed: {self.failed or 'it was skipped'}")


Results = dict[str, Result]


def preload() -> None:
    """Import what the tests need of other people's; one thread each, for a fork takes along only one."""
    for module in HEAVY:
        importlib.import_module(module)
    threadpool_limits(1)  # whatever of those libraries have come along
    sys.modules["torch"].set_num_threads(1)
    present = [name for name in NEVER if name in sys.modules]
    if present:
        raise SystemExit(f"imported too early: {', '.join(present)}")
    gc.collect()
    gc.freeze()  # so that collecting garbage in a fork copies no memory


def run_all(tasks: Iterable[Task], scratch: Path) -> Iterator[tuple[Task, Results]]:
    """Each task's results by node id, as they come, ``TASKS`` at a time."""
    waiting, running, again = iter(tasks), dict[int, tuple[Task, Path, float]](), list[Task]()
    while True:
        while len(running) < TASKS and (task := again.pop() if again else next(waiting, None)) is not None:
            place = scratch / f"run-{time.monotonic_ns()}"
            running[_begun(task, place)] = task, place, time.monotonic()
        if not running:
            return
        for pid in [p for p in running if _ended(p, running[p][2] + running[p][0].longest)]:
            task, place, _ = running.pop(pid)
            results = {test: _read(place, number) for number, test in enumerate(task.tests)}
            if task.tries > 1 and any(result.lost for result in results.values()):
                again.append(replace(task, tries=task.tries - 1))
            else:
                yield task, results
        time.sleep(0.01)


def _ended(pid: int, until: float) -> bool:
    if time.monotonic() > until:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return True
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def _read(place: Path, number: int) -> Result:
    try:
        return Result(**json.loads((place / f"result-{number}").read_text()))
    except (OSError, ValueError):
        return Result(problem=_last_error(place), lost=True)


def _last_error(place: Path) -> str:
    """What the process said before it went; where its threads were, if it took too long."""
    reported = (place / "output").read_text(errors="replace") if (place / "output").exists() else ""
    errors = [line for line in reported.splitlines() if line.startswith(("ERROR", "E  "))]
    if errors:
        return f"it did not run ({errors[0].strip()})"
    where = re.findall(r'File "([^"]+)", line (\d+)', reported)
    lines = [f"{Path(file).name}:{line}" for file, line in where[:DEEP]]
    return f"it took too long, and was in {' < '.join(lines)}" if lines else "its process ended without a result"


def _begun(task: Task, place: Path) -> int:
    place.mkdir()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            _run(task, place)
        finally:
            os._exit(0)
    return pid


def _run(task: Task, place: Path) -> None:
    """In the fork. A result is a file, for a test may print whatever it likes."""
    silent = os.open(place / "output", os.O_CREAT | os.O_WRONLY, 0o600)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    _use(task.tree)
    pytest.main(
        [*OPTIONS, "--rootdir", str(ROOT), "--basetemp", str(place / "tmp"), *task.tests],
        plugins=[_Watched(task, place)],
    )


def _use(tree: Path) -> None:
    """Let this process, and those it starts, import the product from ``tree``; hypothesis tries the same every time."""
    from hypothesis import settings

    places = [str(tree / room) for room in PACKAGES.values()]
    sys.path[:0] = places
    sys.dont_write_bytecode = False  # of tests: they are the same for all
    os.environ["PYTHONPATH"] = os.pathsep.join(places)
    os.environ["THOROUGH"] = "1"  # a killer tries all its examples (tests/support/effort.py)
    os.environ["FIRST"] = "1"  # that it fails is enough: nobody reads the smallest example
    os.chdir(ROOT)
    settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
    settings.load_profile("mutants")


def _foreign(tree: Path) -> str:
    """Names a module of the product that came from elsewhere; that would have judged another product."""
    loaded = {n: m for n, m in sys.modules.items() if n.partition(".")[0] in PACKAGES}
    for name, module in loaded.items():
        if not Path(str(module.__file__)).is_relative_to(tree):
            return f"{name} was imported from {module.__file__}"
    return "" if loaded else "it imported nothing of the product"


class _Watched:
    """A pytest plugin: runs the task's tests, several in a fork each, and writes down what becomes of them."""

    def __init__(self, task: Task, place: Path) -> None:
        self._task, self._place, self._result = task, place, Result()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        found = {item.nodeid: item for item in session.items}
        for number, test in enumerate(self._task.tests):
            if test not in found:
                self._write(number, Result(problem="its node id does not name one test"))
            elif len(self._task.tests) == 1:
                self._protocol(number, found[test])
            elif (pid := os.fork()) == 0:
                self._protocol(number, found[test])
                os._exit(0)
            else:
                os.waitpid(pid, 0)
        return True

    def _protocol(self, number: int, item: pytest.Item) -> None:
        """In the last fork: the thread that watches over the time would not come along into another."""
        reported = os.open(self._place / "output", os.O_WRONLY | os.O_APPEND)
        faulthandler.dump_traceback_later(LONGEST - LAST_WORDS, file=reported)
        self._result = Result()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        self._result.problem = self._result.problem or _foreign(self._task.tree)
        self._write(number, self._result)

    def _write(self, number: int, result: Result) -> None:
        part = self._place / f"part-{number}"
        part.write_text(json.dumps(asdict(result)))
        part.rename(self._place / f"result-{number}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if call.when == "call":
            self._result.passed = report.passed
        if report.failed and call.excinfo is not None:
            if call.when == "call":
                self._result.failed = _kind(call.excinfo.value)
            else:
                self._result.problem = f"its {call.when} failed: {call.excinfo.typename}"
        return report


def _kind(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):  # hypothesis found several
        kinds = {_kind(e) for e in error.exceptions}
        return kinds.pop() if len(kinds) == 1 else "several kinds of errors"
    return "asserted" if isinstance(error, AssertionError | pytest.fail.Exception) else type(error).__name__
