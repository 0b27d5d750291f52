"""What it takes to compare rows with real ones, and how often a generator that copies is found.

    python benchmarks/evaluating.py [--times 100] [--out benchmarks/results/evaluating.json]

Adult's 39,073 rows against as many of independent columns, with a hold-out, models and attacks; a table of 1,000,000 rows, of which
40,000 are looked at; each in a process of its own, from reading rows to the last attack. Then a generator that copies one row in a hundred
of 8,000 persons and draws all others anew, again and again, judged at epsilon 1 with all other attacks beside; and one that copies none.
On a busy machine the processor's time is the figure to go by.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from printing import Figure, shown, write
from rich.console import Console

from cohortium.evaluation.attacks.findings import judge
from cohortium.evaluation.attacks.membership import copies
from cohortium.evaluation.attacks.targets import targets
from cohortium.evaluation.evaluation import Asked, evaluate
from cohortium.evaluation.samples import sides

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from cohorts import COHORT, cohort  # noqa: E402 - of the tests' own folder

PROMISED = (1.0, 1e-6)
MILLION = 1_000_000
PERSONS = 8000
ATTACKS = 9  # that an evaluation with one target consists of


def adult() -> None:
    import sets

    data = sets.load("adult16")
    target = data.schema.index(data.target)
    evaluate(data.schema, sets.independent(data), data.train, data.test, Asked((target,), guarantee=PROMISED))


def million() -> None:
    rng = np.random.default_rng(0)
    made, real, held = (cohort(n, rng, first) for n, first in ((MILLION, 0), (MILLION, 0), (100_000, MILLION)))
    evaluate(COHORT, made, real, held, Asked((COHORT.index("ill"),), guarantee=PROMISED))


def measured(name: str) -> tuple[float, float, float]:
    """Seconds, of the clock and of processors, and GiB at the peak, of a process that does it."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, __file__, "--only", name])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    unit = 1 << 30 if sys.platform == "darwin" else 1 << 20  # macOS counts bytes, Linux KiB
    return time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / unit


def found(seed: int, copied: float) -> bool:
    """Whether the attack for copies proves epsilon 1 wrong, its interval as wide as beside all other attacks."""
    rng = np.random.default_rng(seed)
    real, held, made = (cohort(PERSONS, rng, first) for first in (0, PERSONS, 0))
    stolen = round(copied * PERSONS)
    made = pd.concat([made.iloc[stolen:], real.sample(stolen, random_state=seed)], ignore_index=True)
    attack = copies(targets(sides(COHORT, made, real, held, np.random.default_rng(seed))))
    return judge([attack] * ATTACKS, PROMISED)[0].breaks


def figures(times: int) -> list[Figure]:
    clock, processor, _ = measured("adult")
    _, large, memory = measured("million")
    power, alarms = (float(np.mean([found(seed, share) for seed in range(times)])) for share in (0.01, 0.0))
    return [
        Figure("Adult, 39,073 rows x 14", clock, "s", 60.0, "with a hold-out of 9,768, one target, nine attacks"),
        Figure("", processor, "s of processors"),
        Figure("1,000,000 rows x 4", memory, "GiB at the peak", 2.0, "made up in the same process"),
        Figure("", large, "s of processors"),
        Figure(
            "copies of 1 % found", power, f"of {times}", 0.99, f"{PERSONS} persons, epsilon 1", larger_is_better=True
        ),
        Figure("copies found where none are", alarms, f"of {times}", 0.05),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    arguments.add_argument("--times", type=int, default=100)
    arguments.add_argument("--only", choices=("adult", "million"))
    arguments.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "evaluating.json")
    asked = arguments.parse_args()
    if asked.only:
        {"adult": adult, "million": million}[asked.only]()
        return
    made = figures(asked.times)
    Console().print(shown(made, "Comparing with real rows"))
    write(made, {"times": asked.times, "load": os.getloadavg()[0]}, asked.out)


if __name__ == "__main__":
    main()
