"""Runs targets of the Makefile one after the other, all of them, and reports at the end what became of each.

    python tools/steps.py lint,types unit

A step that fails hides no other; the exit code is 1 if any failed. Steps with a comma between them run side by side, and what
they print comes when both have ended. ``make test`` and ``make test-all`` run it.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    done: list[Step] = []
    for several in targets:
        names = several.split(",")
        done += _side_by_side(names, make, say) if len(names) > 1 else [_alone(names[0], make, say)]
    return done


def _alone(name: str, make: Sequence[str], say: Callable[[str], None]) -> Step:
    say(f"\n=== {name}")
    began = time.monotonic()
    code = subprocess.run([*make, name], check=False).returncode
    return Step(name, code, time.monotonic() - began)


def _side_by_side(names: Sequence[str], make: Sequence[str], say: Callable[[str], None]) -> list[Step]:
    say(f"\n=== {' and '.join(names)}, side by side")
    with ThreadPoolExecutor(len(names)) as pool:
        ended = list(pool.map(lambda name: _held_back(name, make), names))
    for step, printed in ended:
        say(f"\n=== {step.name}\n{printed}")
    return [step for step, _ in ended]


def _held_back(name: str, make: Sequence[str]) -> tuple[Step, str]:
    began = time.monotonic()
    done = subprocess.run(
        [*make, name],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    return Step(name, done.returncode, time.monotonic() - began), done.stdout


def report(done: Sequence[Step]) -> list[str]:
    failed = [step.name for step in done if step.code]
    reported = f"failed: {', '.join(failed)}" if failed else "nothing failed"
    return ["", f"=== {len(done)} steps", *(step.line for step in done), reported]


def main() -> int:
    parser = argparse.ArgumentParser(prog="steps", description=__doc__)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--make", default="make", help="the command that makes a target")
    parser.add_argument("--what", default="", help="keep a row of it, called so (tools/tried.py)")
    chosen = parser.parse_args()
    began = time.monotonic()
    try:
        done = run_all(chosen.targets, shlex.split(chosen.make), _say)
    except KeyboardInterrupt:
        return 130
    for line in report(done):
        _say(line)
    if chosen.what:
        _keep(chosen.what, done, time.monotonic() - began)
    return 1 if any(step.code for step in done) else 0


def _keep(what: str, done: Sequence[Step], seconds: float) -> None:
    result = "failed" if any(step.code for step in done) else "passed"
    reported = ["--what", what, "--result", result, "--seconds", f"{seconds:.0f}"]
    subprocess.run([sys.executable, str(Path(__file__).with_name("tried.py")), "record", *reported], check=False)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
