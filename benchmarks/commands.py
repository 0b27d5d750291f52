"""How long commands take from the return key to the prompt, against the figures we want to reach.

    python benchmarks/commands.py [--times N] [--release DIR] [--out benchmarks/results/commands.json]

Each command is run N times, in turns with ``python -c pass`` and ``python -c 'import numpy, pandas'``, of which the first is
what any Python program takes here and now and the second what any that reads a table does: on a busy machine they
are slow as well. Shown are the best wall time, the best processor time, and both as multiples of the second one's. The
release is the demo's, made for the purpose unless one is named.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from printing import Figure, shown, write
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
PANDAS = "python -c 'import numpy, pandas'"
BARE = "python -c pass"


@dataclass(frozen=True)
class Command:
    """wanted: seconds of wall time on an idle machine; None of what stands for comparison. code: its exit code."""

    name: str
    arguments: tuple[str, ...]
    wanted: float | None = None
    code: int = 0


COHORTIUM = (sys.executable, "-m", "cohortium")
COMPARED = (
    Command(BARE, (sys.executable, "-c", "pass")),
    Command(PANDAS, (sys.executable, "-c", "import numpy, pandas")),
)


@dataclass(frozen=True)
class Taken:
    wall: float
    processor: float


def commands(release: Path, out: Path) -> tuple[Command, ...]:
    one, other = ("--where", "result=positive"), ("--where", "age=0..5")
    folder = str(release)
    return (
        *COMPARED,
        Command("python -c 'import cohortium'", (sys.executable, "-c", "import cohortium")),
        Command("cohortium --help", (*COHORTIUM, "--help"), 0.4),
        Command("cohortium verify", (*COHORTIUM, "verify", folder), 1.5),
        Command(
            "cohortium sample, 100 rows",
            (*COHORTIUM, "sample", folder, "--rows", "100", "--out", str(out), "--replace"),
            1.5,
        ),
        Command("cohortium query, one column", (*COHORTIUM, "query", folder, *one), 1.5),
        Command("cohortium query, two columns", (*COHORTIUM, "query", folder, *one, *other), 3.0),
        Command("cohortium study show", (*COHORTIUM, "study", "show", str(release / "study.toml"))),
        Command("cohortium schema check", (*COHORTIUM, "schema", "check", str(release / "schema.toml"))),
    )


def taken(command: Command) -> Taken:
    """One run's wall and processor seconds, those of what it waited for included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command.arguments, check=False, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != command.code:
        raise SystemExit(f"{command.name}: {done.returncode}\n{done.stdout}{done.stderr}")
    return Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measured(every: Sequence[Command], times: int) -> dict[str, Taken]:
    """The best of so many runs of each, in turns."""
    runs: dict[str, list[Taken]] = {c.name: [] for c in every}
    for _ in range(times):
        for command in every:
            runs[command.name].append(taken(command))
    return {
        name: Taken(min(t.wall for t in reported), min(t.processor for t in reported))
        for name, reported in runs.items()
    }


def figures(every: Sequence[Command], best: dict[str, Taken]) -> list[Figure]:
    table = best[PANDAS]
    return [
        Figure(
            c.name,
            best[c.name].wall,
            "s",
            c.wanted,
            f"{best[c.name].processor:.2f} s of a processor; times importing pandas: "
            f"{best[c.name].wall / table.wall:.1f} wall, {best[c.name].processor / table.processor:.1f} processor",
        )
        for c in every
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--release", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "commands.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COHORTIUM_HOME"] = str(Path(folder) / "home")
        release = arguments.release or demo(Path(folder) / "demo")
        every = commands(release, Path(folder) / "rows.csv")
        best = measured(every, arguments.times)
    report(every, best, f"Commands, best of {arguments.times}", arguments.times, arguments.out)


def report(every: Sequence[Command], best: dict[str, Taken], title: str, times: int, out: Path) -> None:
    """Print the figures and write them to a file."""
    found = figures(every, best)
    Console().print(shown(found, title))
    load = os.getloadavg()[0]
    settings = {
        "times": times,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(load, 1),
    }
    multiples = {
        name: {"wall": t.wall / best[PANDAS].wall, "processor": t.processor / best[PANDAS].processor}
        for name, t in best.items()
    }
    write(found, {**settings, "processor": {n: t.processor for n, t in best.items()}, "of_pandas": multiples}, out)


def demo(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "cohortium", "demo", "--out", str(folder), "--seed", "1"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return folder / "release"


if __name__ == "__main__":
    main()
