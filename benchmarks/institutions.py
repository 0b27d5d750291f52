"""What a simulation costs with few institutions and with a thousand.

    python benchmarks/institutions.py [--institutions 10 50 200 1000] [--out benchmarks/results/institutions.json]

The whole of ``cohortium simulate`` on the demo's table (15,400 rows, dealt out), in a process of its own: from the command to
the release, three fits of the generator included, two of them side by side, which cost the same however many institutions there
are. Seconds of the processors are the process's, all threads together; on a busy machine they are the figure to go by. What an
institution costs is what a run takes beyond the smallest one, by institution: where it is the same for 200 and for 1,000, the
work is linear. Ledgers are new in each run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from printing import Figure, shown, write
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "simulation" / "cohortium_simulation" / "data"
SIZES = (10, 50, 200, 1000)
PROMISE = ("--epsilon", "3", "--delta", "1e-6")


@dataclass(frozen=True)
class Run:
    """One command. wall, processor: seconds. memory: GiB at its peak. load: of the machine when it began and ended."""

    institutions: int
    wall: float
    processor: float
    memory: float
    load: tuple[float, float]


def run(institutions: int, folder: Path) -> Run:
    home = folder / str(institutions)
    table = ("--data", str(DATA / "covid_testing.parquet"), "--schema", str(DATA / "schema.toml"))
    command = [sys.executable, "-m", "cohortium", "simulate", *table, *PROMISE, "--institutions", str(institutions)]
    before, began = os.getloadavg()[0], time.monotonic()
    process = subprocess.Popen(
        [*command, "--out", str(home / "release"), "--json"],
        env={**os.environ, "COHORTIUM_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    unit = 1 << 30 if sys.platform == "darwin" else 1 << 20  # macOS counts bytes, Linux KiB
    wall = time.monotonic() - began
    return Run(institutions, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / unit, (before, os.getloadavg()[0]))


def figures(runs: list[Run]) -> list[Figure]:
    found, least = [], runs[0]
    each = {r.institutions: beyond(r, least) for r in runs[1:]}
    for r in runs:
        largest = r.institutions == SIZES[-1]
        load = f"the machine's load was {r.load[0]:.1f} and {r.load[1]:.1f}"
        found += [
            Figure(f"{r.institutions} institutions", r.wall, "s", 60.0 if largest else None, load),
            Figure(
                "", r.processor, "s of processors", note=f"{1e3 * r.processor / r.institutions:.0f} ms by institution"
            ),
            Figure("", r.memory, "GiB at the peak", 4.0 if largest else None),
        ]
        if r is not least:
            note = f"of processors, beyond those of {least.institutions}"
            found.append(Figure("one more institution", each[r.institutions], "ms", note=note))
    if len(each) > 1:
        several = list(each.values())
        note = f"one more of {runs[-1].institutions} beside one more of {runs[-2].institutions}; 1 is linear"
        found.append(Figure("growth", several[-1] / several[-2], "times", 1.5, note))
    return found


def beyond(larger: Run, least: Run) -> float:
    """Milliseconds of processors for each institution more."""
    return 1e3 * (larger.processor - least.processor) / (larger.institutions - least.institutions)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--institutions", type=int, nargs="+", default=list(SIZES))
    arguments.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "institutions.json")
    asked = arguments.parse_args()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="cohortium-institutions-") as folder:
        for number in sorted(asked.institutions):
            runs.append(run(number, Path(folder)))
            print(f"{number} institutions: {runs[-1].wall:.0f} s", file=sys.stderr)
    found = figures(runs)
    Console().print(shown(found, "cohortium simulate by the number of institutions"))
    write(found, {"rows": 15400, "processors": os.cpu_count()}, asked.out)


if __name__ == "__main__":
    main()
