"""Runs the numeric laws, and the mutants that they kill, under settings that make the libraries compute in another order.

    python tools/numerics.py [SETTING ...]

Nothing that these tests find may depend on a setting: not on how many threads there are, nor on the kernels that a library
chooses for the processor. Under every setting everything runs, whatever became of those before; a table of the settings
comes at the end, and the exit code is 1 if anything failed. Some 10 minutes on two cores; a setting that a library does not
know, or that asks for what the processor lacks, is as good as none there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tools" / "tried.py"
AT_ONCE = 2
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "plain": {},
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "ATen, no vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "ATen, AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "MKL, compatible": {"MKL_CBWR": "COMPATIBLE"},
    "MKL, SSE4.2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "MKL, AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "MKL, AVX-512": {"MKL_ENABLE_INSTRUCTIONS": "AVX512"},
}
LAWS = (
    ("tests/laws/test_exact.py", "tests/contracts/test_networks.py", "tests/mutants/test_training_killers.py"),
    (
        "tests/contracts/test_queries.py",
        "-k",
        "order_of_adding or in_any_batch or at_its_limits or too_short",
    ),
    ("tests/statistics/test_noise.py", "-k", "definition or variance or power"),
)
MUTANTS = ("tests/mutants", "--room", "Exact arithmetic")


@dataclass(frozen=True)
class Tried:
    """What became of the laws and of the mutants under a setting."""

    setting: str
    laws: bool
    mutants: bool
    seconds: float

    @property
    def passed(self) -> bool:
        return self.laws and self.mutants

    @property
    def line(self) -> str:
        words = ("passed" if good else "FAILED" for good in (self.laws, self.mutants))
        return f"  {self.setting:<18} {' '.join(f'{word:<8}' for word in words)}{self.seconds:7.0f} s"


def tried(setting: str) -> Tried:
    """Run everything under a setting."""
    began = time.monotonic()
    laws = [_runs(setting, "-m", "pytest", *law) for law in LAWS]
    mutants = _runs(setting, *MUTANTS)
    return Tried(setting, all(laws), mutants, time.monotonic() - began)


def _runs(setting: str, *command: str) -> bool:
    """Whether Python ends well with ``command``; its output is printed in one piece."""
    environment = {**os.environ, "THOROUGH": "1", **SETTINGS[setting]}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, check=False, text=True, capture_output=True
    )
    reported = done.stdout + done.stderr if done.returncode else "".join(done.stdout.splitlines(keepends=True)[-1:])
    _say(f"\n=== {setting}: {' '.join(command)}\n{reported.rstrip()}")
    return done.returncode == 0


def report(found: Sequence[Tried]) -> Iterator[str]:
    yield f"\n=== {len(found)} settings"
    yield f"  {'setting':<18} {'laws':<8} {'mutants':<8}"
    yield from (one.line for one in found)
    failed = [one.setting for one in found if not one.passed]
    yield f"failed: {', '.join(failed)}" if failed else "nothing failed"


def record(one: Tried) -> None:
    """For the table in the docs of what was run where."""
    if RECORD.is_file():
        result, seconds = "passed" if one.passed else "failed", f"{one.seconds:.0f}"
        reported = [
            "--what",
            "numeric laws and mutants",
            "--setting",
            one.setting,
            "--result",
            result,
            "--seconds",
            seconds,
        ]
        subprocess.run([sys.executable, str(RECORD), "record", *reported], cwd=ROOT, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="numerics", description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=", ".join(SETTINGS))
    chosen = parser.parse_args().settings or list(SETTINGS)
    if unknown := sorted(set(chosen) - set(SETTINGS)):
        parser.error(f"there is no setting {unknown[0]!r}; there are {', '.join(SETTINGS)}")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(tried, chosen))
    for one in found:
        record(one)
    for line in report(found):
        _say(line)
    return 0 if all(one.passed for one in found) else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
