"""SIGKILL at random times, over custodians and coordinator, until a study is released all the same; again and again.

    python tests/crash/random_kills.py --kills 500

Goes on where an interrupted call has stopped (``--tally``) and ends with one line: how many kills, how many answers were
seen on the wire, and how many of those were not charged, or not the bytes that were charged. Exit status 1 if any.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from invariants import check_finished, compare
from launcher import Process
from processes import SWEEP, TRAINING, Federation, federation, study

KILLS_A_STUDY = 10
TALKING = 0.7  # of the kills come while something is asked and answered
EXPECTED = (0, 16)  # of a coordinator: the release is there, or an institution is not


@dataclass(frozen=True)
class Tally:
    kills: int = 0
    studies: int = 0
    answers: int = 0
    uncounted: int = 0
    differing: int = 0

    def __str__(self) -> str:
        return (
            f"kills {self.kills}, studies released {self.studies}, answers seen {self.answers}, "
            f"under-counted events {self.uncounted}, answers that differ {self.differing}"
        )


def one_study(tally: Tally, kills: int, rng: np.random.Generator) -> Tally:
    """A study of one of both generators, through ``kills`` kills to its release."""
    with federation(study(TRAINING if tally.studies % 2 else SWEEP)) as running:
        _harass(running, kills, rng)
        running.finish()
        running.settle()
        found = [compare(running, name) for name in running.study.institution_names]
        reported = Tally(
            tally.kills + kills,
            tally.studies + 1,
            tally.answers + sum(f.answers for f in found),
            tally.uncounted + sum(len(f.uncounted) for f in found),
            tally.differing + sum(len(f.differing) for f in found),
        )
        if reported.uncounted == reported.differing == 0:
            check_finished(running)
        return reported


def _harass(running: Federation, kills: int, rng: np.random.Generator) -> None:
    """Kill one of the processes, again and again; whatever has ended is started again at once."""
    coordinator = running.go_on()
    try:
        while kills:
            _start(running)
            coordinator = _again(running, coordinator)
            if rng.random() < TALKING:
                _await_talk(running, coordinator)
            time.sleep(float(np.exp(rng.uniform(np.log(0.001), np.log(1.0)))))
            victims = [*running.custodians.values(), coordinator]
            kills -= victims[rng.integers(len(victims))].kill() == -signal.SIGKILL
    finally:
        coordinator.kill()


def _await_talk(running: Federation, coordinator: Process) -> None:
    """Wait until the coordinator asks somebody: starting takes longest, and what matters comes after it."""
    before, late = _asked(running), time.monotonic() + 10.0
    while coordinator.running and _asked(running) == before and time.monotonic() < late:
        time.sleep(0.001)


def _asked(running: Federation) -> int:
    return sum(len(tap.exchanges) for tap in running.taps.values())


def _start(running: Federation) -> None:
    """Start the custodians that do not run, and wait for none of them."""
    for name in running.study.institution_names:
        if name not in running.custodians or not running.custodians[name].running:
            running.custodians[name] = running.start(name)


def _again(running: Federation, coordinator: Process) -> Process:
    if coordinator.running:
        return coordinator
    assert coordinator.wait() in (*EXPECTED, -signal.SIGKILL), coordinator.output
    return running.go_on()


def outlive(kills: int, tally: Tally, rng: np.random.Generator, kept: Path | None = None) -> Tally:
    """Study after study until there were ``kills`` kills; the tally of all, also in the file ``kept``."""
    while tally.kills < kills:
        tally = one_study(tally, min(KILLS_A_STUDY, kills - tally.kills), rng)
        if kept is not None:
            kept.write_text(json.dumps(asdict(tally)))
            sys.stderr.write(f"{tally}\n")
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--tally", type=Path, default=Path("random-kills.json"), help="remembers an interrupted call")
    options = parser.parse_args()
    before = Tally(**json.loads(options.tally.read_bytes())) if options.tally.exists() else Tally()
    tally = outlive(options.kills, before, np.random.default_rng(), options.tally)
    options.tally.unlink(missing_ok=True)
    sys.stdout.write(f"{tally}\n")
    return int(tally.uncounted + tally.differing > 0)


if __name__ == "__main__":
    sys.exit(main())
