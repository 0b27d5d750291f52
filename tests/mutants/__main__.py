"""``python tests/mutants``: the gate. ``--only WORDS`` runs the mutants whose names hold them, ``--room ROOM`` those under a
heading of the page; ``--docs`` writes the page.
"""

from __future__ import annotations

import argparse
import sys
import time

from forked import preload
from gate import judge
from listed import PAGE, is_current, page
from planted import ROOMS


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORDS")
    parser.add_argument("--room", choices=ROOMS)
    parser.add_argument("--docs", action="store_true")
    chosen = parser.parse_args()
    if chosen.docs:
        PAGE.write_text(page(ROOMS), encoding="utf-8")
        return 0
    began = time.monotonic()
    preload()
    rooms = ROOMS if chosen.room is None else {chosen.room: ROOMS[chosen.room]}
    mutants = [m for room in rooms.values() for m in room if chosen.only in m.name]
    verdict = judge(mutants, _say)
    faults = list(verdict.faults)
    if not is_current(ROOMS):
        faults.append("docs/mutants.md is not current: run python tests/mutants --docs")
    for fault in faults:
        _say(f"FAULT {fault}")
    _say(f"{verdict.summary}, in {time.monotonic() - began:.0f} s")
    return 0 if verdict.is_open and not faults else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
