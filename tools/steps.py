"""Runs targets of the Makefile one after the other, all of them, and reports at the end what became of each.

    python tools/steps.py lint types unit

A step that fails hides no other; the exit code is 1 if any failed. ``make test`` runs it.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """A target that was run. code: its exit code."""

    name: str
    code: int
    seconds: float

    @property
    def line(self) -> str:
        return f"  {self.name:<12} {'FAILED' if self.code else 'passed':<8}{self.seconds:7.0f} s"


def run_all(targets: Iterable[str], make: Sequence[str], say: Callable[[str], None]) -> list[Step]:
    """Every target by ``make TARGET``, whatever became of those before; its output goes where ours goes."""
    done = []
    for name in targets:
        say(f"\n=== {name}")
        began = time.monotonic()
        code = subprocess.run([*make, name], check=False).returncode
        done.append(Step(name, code, time.monotonic() - began))
    return done


def report(done: Sequence[Step]) -> list[str]:
    failed = [step.name for step in done if step.code]
    told = f"failed: {', '.join(failed)}" if failed else "nothing failed"
    return ["", f"=== {len(done)} steps", *(step.line for step in done), told]


def main() -> int:
    parser = argparse.ArgumentParser(prog="steps", description=__doc__)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--make", default="make", help="the command that makes a target")
    parser.add_argument("--what", default="", help="keep a row of it, called so (tools/tried.py)")
    chosen = parser.parse_args()
    try:
        done = run_all(chosen.targets, shlex.split(chosen.make), _say)
    except KeyboardInterrupt:
        return 130
    for line in report(done):
        _say(line)
    if chosen.what:
        _keep(chosen.what, done)
    return 1 if any(step.code for step in done) else 0


def _keep(what: str, done: Sequence[Step]) -> None:
    result = "failed" if any(step.code for step in done) else "passed"
    told = ["--what", what, "--result", result, "--seconds", f"{sum(step.seconds for step in done):.0f}"]
    subprocess.run([sys.executable, str(Path(__file__).with_name("tried.py")), "record", *told], check=False)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
