"""Kills each process of a federation again and again, at random moments of a study; the nightly form of test_kills.

    python tests/e2e/kills.py --times 20          (make kills)

Prints a table of how often each kill was survived, with the budget exact, and writes it to kills.json.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from deployed import Deployed, until
from killing import VICTIMS, asked, begin, check, federation, kill

ROUNDS = 2  # of training, after the counts
LONGEST = 2.5  # seconds between a round's beginning and the kill


def survived(made: Deployed, serial: int, victim: str) -> bool:
    """Whether a study that has ``victim`` killed ends as it should."""
    rng = random.SystemRandom()
    ordered, run = begin(made, serial, ROUNDS)
    number = rng.randrange(ROUNDS)
    until(lambda: asked(run, number), f"round {number} is under way")
    time.sleep(rng.uniform(0, LONGEST))
    kill(made, victim)
    try:
        check(made, ordered, run, serial)
    except AssertionError as error:
        print(f"{victim}: {str(error)[:2000]}", flush=True)
        return False
    until(made.all_online, "everybody is online again")
    return True


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--times", type=int, default=20)
    arguments.add_argument("--victims", nargs="*", default=list(VICTIMS))
    chosen = arguments.parse_args()
    passed: Counter[str] = Counter()
    with federation() as made:
        for turn in range(chosen.times):
            for place, victim in enumerate(chosen.victims):
                began = time.monotonic()
                passed[victim] += survived(made, turn * len(chosen.victims) + place + 1, victim)
                print(f"{victim:>12}  {passed[victim]} of {turn + 1}  {time.monotonic() - began:5.1f} s", flush=True)
                Path("kills.json").write_text(json.dumps({"turns": turn + 1, "survived": passed}, indent=1))
    sys.exit(any(passed[v] < chosen.times for v in chosen.victims))


if __name__ == "__main__":
    main()
