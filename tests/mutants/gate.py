"""The gate: every mutant is killed by its test, and every such test passes on the product as it is."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from forked import Result, Results, Task, run_all
from mutant import ROOT, Mutant, RottenError, planted, pristine

Say = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """killed: how many mutants were. faults: what is wrong, a line each; an open gate has none."""

    killed: int
    of: int
    faults: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        return not self.faults and self.killed == self.of > 0

    @property
    def summary(self) -> str:
        return f"mutants killed {self.killed} of {self.of}"


def judge(mutants: Sequence[Mutant], say: Say, root: Path = ROOT) -> Verdict:
    """Run everything; ``say`` gets one line a mutant."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        place = Path(scratch)
        original = pristine(root, place / "original")
        tasks, rotten = _mutated(mutants, original, place)
        sound = _sound(mutants, original, place, say)
        faults = [*_twice([m.name for m in mutants]), *rotten]
        faults += [f"{test}: on the product as it is, {r.summary}" for test, r in sound.items() if not r.is_pass]
        killed = 0
        for task, result in _judged(tasks, place, say):
            killed += result.is_kill and sound[task.tests[0]].is_pass
            faults += [] if result.is_kill else [_fault(task, result)]
        return Verdict(killed, len(mutants), tuple(faults))


def _sound(mutants: Sequence[Mutant], original: Path, place: Path, say: Say) -> Results:
    """What becomes of every test on the product as it is."""
    files: dict[str, dict[str, None]] = {}
    for one in mutants:
        files.setdefault(one.killed_by.partition("::")[0], {})[one.killed_by] = None
    results: Results = {}
    for _, some in run_all([Task(file, tuple(tests), original) for file, tests in files.items()], place):
        results.update(some)
    say(f"{sum(r.is_pass for r in results.values())} of {len(results)} tests pass on the product as it is")
    return results


def _mutated(mutants: Sequence[Mutant], original: Path, place: Path) -> tuple[list[Task], list[str]]:
    """Every mutant that can be planted; and why the others cannot."""
    tasks, rotten = [], list[str]()
    for number, one in enumerate(mutants):
        try:
            tasks.append(Task(one.name, (one.killed_by,), planted(original, place / f"mutant-{number}", one)))
        except RottenError as error:
            rotten.append(f"{one.name}: {error}")
    return tasks, rotten


def _judged(tasks: Sequence[Task], place: Path, say: Say) -> Iterator[tuple[Task, Result]]:
    began = time.monotonic()
    for task, results in run_all(tasks, place):
        (result,) = results.values()
        say(f"{time.monotonic() - began:6.1f} s  {task.name}: {'killed' if result.is_kill else result.summary}")
        yield task, result


def _fault(task: Task, result: Result) -> str:
    if result.is_pass:
        return f"{task.name}: SURVIVED {task.tests[0]}"
    return f"{task.name}: {task.tests[0]} did not judge it: {result.summary}"


def _twice(names: Sequence[str]) -> Iterator[str]:
    return (f"{name}: there are two mutants of this name" for name in sorted(set(names)) if names.count(name) > 1)
