"""Institutions stopped while their answer is on the way, and lines that are cut; what it costs the study, in seconds.

    python tests/e2e/stops.py           (make stops)

An institution's line to the coordinator is made slow, so that an answer takes seconds to arrive; it is asked to stop
(SIGTERM) at so many moments between "Sending" and "Sent", and started again once it has ended. Then connections are reset again
and again. Prints a table and writes it to stops.json, each with its ratio to a study on the same line that nobody disturbs.
Ends with 1 where a study did not end in a release, somebody was charged twice, or was asked again later than WITHIN seconds
after they were back. What is timed is the round alone, from its first question to its sum, as the coordinator's log has it: the rest
of a study takes what the machine has to spare.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from between import Line, line
from deployed import Deployed, Served, free_port, until
from killing import NAMES, STUDY, begin, check, federation

SLOW = "delay 0.6"  # seconds for each chunk: an answer takes three or four
MOMENTS = (0.0, 0.7, 1.4, 2.1, 2.8, 3.5)  # seconds after an answer begins to be sent
KILLS = (0.7, 2.1)  # the same, but killed: what was sent by then stays half an answer
CUTS = (12_000, 9_000)  # bytes after which connections are reset, about
AWAY = 3.0  # seconds from the end of a stopped institution to its start
WITHIN = 40.0  # seconds from an institution's return until it is asked again
COUNTS = STUDY.replace('kind = "autoregressive"\nrounds = {rounds}\nhidden = 8', 'kind = "sweep"')  # keys, then one sum
FAR = NAMES[0]


@dataclass(frozen=True)
class Stopped:
    """How a study went. seconds: from a question until the answers of all are added up. ratio: to the undisturbed round's.

    ending: seconds from the signal to the institution's end. again: from its return until it is asked, if it has to be.
    """

    what: str
    seconds: float
    ratio: float
    fine: bool
    ending: float | None = None
    again: float | None = None


def slow_line(made: Deployed, between: Line) -> None:
    """Let one institution reach the coordinator by the line alone."""
    file = made.relay(FAR) / "relay.toml"
    file.write_text(re.sub(r"(?m)^address = .*$", f'address = "127.0.0.1:{between.port}"', file.read_text()))


@contextlib.contextmanager
def federation_with_a_line() -> Iterator[tuple[Deployed, Line]]:
    with federation(serve=False) as made, line(made.folder, free_port(), made.port) as between:
        slow_line(made, between)
        made.serve()
        yield made, between


def counted(relay: Served, words: str) -> int:
    return relay.log.read_text(errors="replace").count(words)


def study(
    made: Deployed, serial: int, number: signal.Signals | None = None, after: float = 0.0
) -> tuple[float, bool, float | None, float | None]:
    """Seconds of its round, whether all is as it should be, and of a stop how long it took to end, and to be asked once it was back."""
    relay, custodian = made.relays[FAR], made.custodians[FAR]
    sent = counted(relay, "Sending:")
    ordered, run = begin(made, serial, 1, COUNTS)
    ending = again = None
    if number is not None:
        until(
            lambda: counted(relay, "Sending:") >= sent + 2, "the answer to the second question is on its way: the sum"
        )
        time.sleep(after)
        ending, again = stopped(run, number, relay, custodian)
    fine = True
    try:
        check(made, ordered, run, serial)
    except AssertionError as error:
        print(str(error)[:3000], flush=True)
        fine = False
    until(made.all_online, "everybody is online again")
    return of_round(made.coordinator, run.name) if fine else float("nan"), fine, ending, again


def of_round(coordinator: Served, run: str) -> float:
    """Seconds from a run's first question until its round is complete."""
    lines = (
        json.loads(line) for line in coordinator.log.read_text(errors="replace").splitlines() if f'"{run}"' in line
    )
    moments = [(one["message"], datetime.fromisoformat(one["at"])) for one in lines]
    asked = next(at for words, at in moments if words.startswith("asked: "))
    added_up = next(at for words, at in moments if words == "round 1 of 1 is complete")
    return (added_up - asked).total_seconds()


def stopped(run: Path, number: signal.Signals, relay: Served, custodian: Served) -> tuple[float, float | None]:
    """Stop an institution and start it again; how long it took to end, and then to be asked, if its answer had not arrived."""
    began = time.monotonic()
    for one in (relay, custodian):
        assert one.process is not None
        one.process.send_signal(number)
    for one in (relay, custodian):
        assert one.process is not None
        one.process.wait(120)
    ending = time.monotonic() - began
    received = counted(relay, "Receiving:")
    time.sleep(AWAY)
    online = counted(relay, "SuperNode ID")
    for one in (custodian, relay):
        one.start()
    until(lambda: counted(relay, "SuperNode ID") > online, "it is back")
    back = time.monotonic()
    until(
        lambda: counted(relay, "Receiving:") > received or (run / "0000.sum").exists(), "it is asked, or has answered"
    )
    return ending, time.monotonic() - back if counted(relay, "Receiving:") > received else None


def show(rows: list[Stopped]) -> None:
    print(f"{'':>34} {'seconds':>8} {'ratio':>6} {'ending':>7} {'again':>6}", flush=True)
    for row in rows:
        figures = [f"{x:.1f}" if x is not None else "" for x in (row.ending, row.again)]
        print(
            f"{row.what:>34} {row.seconds:8.1f} {row.ratio:6.2f} {figures[0]:>7} {figures[1]:>6}"
            f" {'' if row.fine else 'FAILED'}",
            flush=True,
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--out", type=Path, default=Path("stops.json"))
    arguments.add_argument("--moments", type=float, nargs="*", default=list(MOMENTS))
    arguments.add_argument("--kills", type=float, nargs="*", default=list(KILLS))
    arguments.add_argument("--cuts", type=int, nargs="*", default=list(CUTS))
    chosen = arguments.parse_args()
    rows: list[Stopped] = []

    def add(what: str, base: float | None, found: tuple[float, bool, float | None, float | None]) -> None:
        seconds, fine, ending, again = found
        rows.append(
            Stopped(what, seconds, seconds / (base or seconds), fine and (again or 0.0) <= WITHIN, ending, again)
        )
        show(rows)
        chosen.out.write_text(json.dumps([asdict(row) for row in rows], indent=1))

    serials = count(1)
    with federation_with_a_line() as (made, between):
        between.does(SLOW)
        study(made, next(serials))  # what is slow the first time is not measured
        add("undisturbed", None, study(made, next(serials)))
        slow = rows[0].seconds
        for number, moments in ((signal.SIGTERM, chosen.moments), (signal.SIGKILL, chosen.kills)):
            for moment in moments:
                what = f"{number.name} {moment} s after Sending"
                add(what, slow, study(made, next(serials), number, moment))
        if chosen.cuts:
            between.does("ok")
            add("undisturbed, fast line", None, study(made, next(serials)))
        quick = rows[-1].seconds
        for size in chosen.cuts:
            between.does(f"cut {size}")
            add(f"connections cut after {size} bytes", quick, study(made, next(serials)))
    sys.exit(any(not row.fine for row in rows))


if __name__ == "__main__":
    main()
