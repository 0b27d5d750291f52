"""Whether the bounds of pyproject.toml are honest, in both directions, and whether what is built from here installs and runs.

    python tools/bounds.py newest       the newest of everything, nightly Flower included, on the newest Python there is
    python tools/bounds.py oldest       the lowest versions that pyproject.toml allows, on the oldest Python there is
    python tools/bounds.py wheel        the wheel, built from the sdist, in a clean environment outside the repository
    python tools/bounds.py constraints  constraints.txt anew, with what is current

newest and oldest make environments of their own (.venv-newest, .venv-oldest) and in each run quick tests that touch every
dependency, the demo, and one deployed story. Every step runs, whatever became of the one before it; the exit code is 1 if one
failed. ``--python`` names another interpreter; ``--keep`` uses an environment that is already there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = ("test", "simulation", "pgm", "postgresql", "excel")
MINORS = range(11, 20)
TORCH = "torch==2.13.0"  # has a build for CPUs alone of this very version
HEAD = """# Pinned versions of everything that is installed, for every Python that pyproject.toml allows (made by make constraints).
# torch has CPU builds of exactly this version.
"""
BROUGHT_BY_TORCH = ("nvidia-", "cuda-", "triton")  # which names their versions itself
NIGHTLY = "flwr-nightly[simulation]"
QUICK = (  # a few minutes that touch every dependency
    "tests/contracts/test_flower.py",
    "tests/contracts/test_networks.py",
    "tests/contracts/test_queries.py::test_every_rows_gradient_is_that_of_opacus",
    "tests/contracts/test_sources.py",
    "tests/commands/test_cli.py",
    "tests/data/test_encoding.py",
    "tests/simulation/test_engine.py",
    "tests/flower/test_flower_apps.py",
    "tests/flower/test_flwr_run.py",
    "tests/system/test_metrics.py",
    "tests/commands/test_operations.py",
    "tests/server/generators/test_pgm.py",
    "tests/server/release/test_release.py",
    "tests/server/release/test_report.py",
    "tests/data/test_schema.py",
    "tests/flower/test_served_flower.py",
    "tests/client/socket/test_service.py",
    "tests/client/source/test_source.py",
    "tests/data/test_tables.py",
    "tests/system/test_versions.py",
)
UV = Path(sys.executable).with_name("uv")  # which Flower brings along
STORY = "tests/e2e/test_story.py"


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> None:
    """Run a command, shown first, to its end. subprocess.CalledProcessError if it fails."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    subprocess.run(words, cwd=cwd, env=os.environ | environment, check=True)


def read(*command: str | Path) -> str:
    """What a command prints."""
    return subprocess.run([str(w) for w in command], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout


def pythons() -> list[str]:
    """The interpreters on the PATH that pyproject.toml allows, the oldest first; this one if there are no others."""
    allowed = SpecifierSet(str(project()["requires-python"]))
    names = [f"python3.{minor}" for minor in MINORS if f"3.{minor}" in allowed]
    return [name for name in names if _runs(name)] or [sys.executable]


def _runs(name: str) -> bool:
    """Whether it does more than stand on the PATH, as pyenv's names do."""
    return (
        shutil.which(name) is not None
        and subprocess.run([name, "-c", ""], capture_output=True, check=False).returncode == 0
    )


class ContentsError(Exception):
    """What was built holds too little or too much."""


@dataclass
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def make(self, python: str) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        run(python, "-m", "venv", self.folder)

    def install(self, *words: str | Path) -> None:
        """With uv, which is quicker than pip by minutes; it reads none of pip's settings but where wheels lie."""
        where = [word for place in wheels() for word in ("--find-links", place)]
        run(UV, "pip", "install", "--quiet", "--python", self.python, *where, *words)

    def cohortium(self, *words: str | Path, cwd: Path) -> None:
        run(self.folder / "bin" / "cohortium", *words, cwd=cwd, COHORTIUM_HOME=str(cwd / "home"))


def wheels() -> list[str]:
    """Where pip looks for wheels beside the index, such as builds of torch for CPUs alone."""
    said = read(sys.executable, "-m", "pip", "config", "list")
    places = [place for line in re.findall(r"(?m)^\S+\.find-links='(.*)'$", said) for place in line.split()]
    return sorted(set(places))


@dataclass
class Steps:
    """Steps that all run, and how each went."""

    failed: list[str] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], object]) -> None:
        began, how = time.monotonic(), "done"
        try:
            work()
        except (subprocess.CalledProcessError, ContentsError) as error:
            self.failed.append(f"{name}: {error}")
            how = "failed"
        print(f"{name}: {how} after {time.monotonic() - began:.0f} s", flush=True)


@contextmanager
def tried(what: str, dependencies: str, python: Callable[[], Path]) -> Iterator[Steps]:
    """Steps, of which is printed and recorded (tools/tried.py) whether all went well. SystemExit where one did not."""
    began, steps = time.monotonic(), Steps()
    try:
        yield steps
    except subprocess.CalledProcessError as error:
        steps.failed.append(str(error))
    result = "failed" if steps.failed else "passed"
    record, seconds = ROOT / "tools" / "tried.py", f"{time.monotonic() - began:.0f}"
    if record.is_file() and python().is_file():
        run(
            *(python(), record, "record", "--what", what, "--dependencies", dependencies),
            *("--result", result, "--seconds", seconds),
        )
    if steps.failed:
        raise SystemExit("\n".join(steps.failed))


def everything(environment: Environment, dependencies: str, *more: tuple[str, Callable[[], object]]) -> None:
    """Quick tests, the demo and a deployed story, and more steps behind them."""
    with tried("quick tests, demo, deployed story", dependencies, lambda: environment.python) as steps:
        path = _beside(environment.python)
        steps.step("quick tests", lambda: run(environment.python, "-m", "pytest", "-m", "not slow", *QUICK, PATH=path))
        steps.step("demo", lambda: demo(environment))
        steps.step("deployed story", lambda: run(environment.python, "-m", "pytest", STORY, PATH=path))
        for name, work in more:
            steps.step(name, work)


def _beside(program: Path) -> str:
    """The PATH, with what lies beside a program first."""
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def demo(environment: Environment) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment.cohortium("demo", "--out", "demo", cwd=Path(folder))
        environment.cohortium("verify", "demo/release", cwd=Path(folder))


def newest(python: str | None, keep: bool) -> None:
    environment = Environment(ROOT / ".venv-newest")
    if not keep:
        environment.make(python or pythons()[-1])
        environment.install("--editable", f".[{','.join(EXTRAS)}]", "--upgrade")
        run(UV, "pip", "uninstall", "--quiet", "--python", environment.python, "flwr")  # both are the one module
        environment.install("--reinstall-package", "flwr-nightly", "--prerelease", "if-necessary-or-explicit", NIGHTLY)
    everything(environment, "newest")


def oldest(python: str | None, keep: bool) -> None:
    """The extra pgm comes last: what it needs keeps numpy from being as old as it may be without."""
    environment, lowest = Environment(ROOT / ".venv-oldest"), ("--resolution", "lowest-direct", "--editable")
    if not keep:
        environment.make(python or pythons()[0])
        environment.install(*lowest, f".[{','.join(e for e in EXTRAS if e != 'pgm')}]")

    def pgm() -> None:
        environment.install(*lowest, f".[{','.join(EXTRAS)}]")
        run(environment.python, "-m", "pytest", "tests/server/generators/test_pgm.py")

    everything(environment, "oldest", ("extra pgm", pgm))


def compiled(*words: str) -> str:
    """What uv finds that pyproject.toml and its extras come to, a pinned version a line."""
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    command = (
        UV,
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--prerelease",
        "if-necessary-or-explicit",
    )
    return read(*command, *words, *extras, "pyproject.toml")


def constraints() -> None:
    """One version of each package, that all allowed Pythons can have; uv comes with Flower."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write(f"{TORCH}\n")
        pins.flush()
        lowest = next(s.version for s in SpecifierSet(str(project()["requires-python"])) if s.operator == ">=")
        how = ("--universal", "--fork-strategy", "fewest", "--python-version", lowest, "--constraint", pins.name)
        text = compiled(*how)
    CONSTRAINTS.write_text(HEAD + "".join(f"{line}\n" for line in pinned(text)), encoding="utf-8")
    print(
        f"{CONSTRAINTS.name}: {len(CONSTRAINTS.read_text(encoding='utf-8').splitlines()) - HEAD.count(chr(10))} packages"
    )


def pinned(text: str) -> list[str]:
    """The lines of a constraints file: without what torch names itself, and with markers only where a package has two lines."""
    found = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    found = [one for one in found if not canonicalize_name(one.name).startswith(BROUGHT_BY_TORCH)]
    times = Counter(canonicalize_name(one.name) for one in found)
    lines = (str(one) if times[canonicalize_name(one.name)] > 1 else f"{one.name}{one.specifier}" for one in found)
    return sorted(lines, key=str.lower)


def wheel(python: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        folder = Path(name)
        environment = Environment(folder / "clean")
        with tried("wheel: version, demo, verify", "wheel", lambda: environment.python) as steps:
            built = build(folder, python or sys.executable)
            steps.step("contents", lambda: contents(*built))
            environment.make(python or sys.executable)
            environment.install("--constraint", CONSTRAINTS, built[1])
            steps.step("version", lambda: environment.cohortium("--version", cwd=folder))
            steps.step("demo, verify", lambda: demo(environment))


def build(folder: Path, python: str) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    maker = Environment(folder / "maker")
    maker.make(python)
    maker.install("build")
    run(maker.python, "-m", "build", "--installer", "uv", "--outdir", folder / "dist", ROOT, PATH=_beside(UV))
    (sdist,), (made,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return sdist, made


def contents(sdist: Path, made: Path) -> None:
    """The wheel holds every file of the packages and nothing else; the sdist all that is said to belong to it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    tracked = read("git", "ls-files").splitlines()
    rooms = settings["wheel"]["packages"]
    wanted = {
        str(Path(f).relative_to(Path(room).parent)) for room in rooms for f in tracked if f.startswith(f"{room}/")
    }
    with zipfile.ZipFile(made) as held:
        there = {name for name in held.namelist() if not re.match(r"cohortium-[^/]*\.dist-info/", name)}
    reported = _differing("wheel", wanted, there)
    with tarfile.open(sdist) as archive:
        there = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {f for f in tracked if any(f == one or f.startswith(f"{one}/") for one in settings["sdist"]["include"])}
    reported += _differing("sdist", {f for f in wanted if not (ROOT / f).is_symlink()}, there, only_missing=True)
    if reported:
        raise ContentsError("\n".join(reported))


def _differing(what: str, wanted: set[str], there: set[str], only_missing: bool = False) -> list[str]:
    missing, strange = sorted(wanted - there), [] if only_missing else sorted(there - wanted)
    return [f"the {what} lacks {m}" for m in missing] + [f"the {what} holds {s}" for s in strange]


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["newest", "oldest", "wheel", "constraints"])
    parser.add_argument("--python", help="the interpreter to use")
    parser.add_argument("--keep", action="store_true", help="use an environment that is already there")
    said = parser.parse_args(words)
    if said.what == "constraints":
        constraints()
    elif said.what == "wheel":
        wheel(said.python)
    else:
        {"newest": newest, "oldest": oldest}[said.what](said.python, said.keep)


if __name__ == "__main__":
    main(sys.argv[1:])
