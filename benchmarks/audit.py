"""How often the audit rings over a correct pipeline, and what its attacks get out of one.

    python benchmarks/audit.py [--repeats N] [--canaries N] [--out benchmarks/results/audit.json]

Every repeat is a whole audit of all built-in studies. Wanted are no false alarms; the bounds of detectors A and B
must stay below the claims, and be near enough to them that the attacks deserve the name.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cohortium.neural.device import one_thread
from cohortium.system.files import write_whole
from cohortium_simulation.audit import ALPHA, CANARIES, Audit, audit, builtin_studies

ROOT = Path(__file__).resolve().parents[1]
EVERY = 10  # repeats after which the figures so far are written


def summary(audits: Iterable[Audit]) -> dict[str, Any]:
    """Per study and test: repeats, alarms, claim, and mean and largest of what was found."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    alarms: Counter[tuple[str, str]] = Counter()
    limits: dict[tuple[str, str], float] = {}
    seconds: dict[str, list[float]] = defaultdict(list)
    for one in audits:
        seconds[one.study].append(one.seconds)
        for f in one.findings:
            key = one.study, " | ".join((f.detector, f.name, f.where))
            values[key].append(f.value)
            alarms[key] += f.alarm
            limits[key] = f.limit
    found: dict[str, Any] = {}
    for (study, test), several in values.items():
        found.setdefault(study, {"seconds": sum(seconds[study]) / len(seconds[study]), "tests": {}})
        found[study]["tests"][test] = {
            "repeats": len(several),
            "alarms": alarms[study, test],
            "claimed": limits[study, test],
            "mean": sum(several) / len(several),
            "least": min(several),
            "largest": max(several),
        }
    return found


def show(found: dict[str, Any]) -> None:
    table = Table(title="Audits of the correct pipeline")
    for heading in ("study", "test", "repeats", "alarms", "claimed", "mean", "largest"):
        table.add_column(heading)
    for study, figures in found.items():
        for test, f in figures["tests"].items():
            numbers = (f"{f[k]:.3g}" for k in ("claimed", "mean", "largest"))
            table.add_row(study, test, str(f["repeats"]), str(f["alarms"]), *numbers)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--canaries", type=int, default=CANARIES)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/audit.json")
    chosen = parser.parse_args()
    audits: list[Audit] = []
    began = time.monotonic()
    with one_thread():
        for repeat in range(1, chosen.repeats + 1):
            audits += [audit(study, chosen.canaries) for study in builtin_studies()]
            if repeat % EVERY == 0 or repeat == chosen.repeats:
                head = {"canaries": chosen.canaries, "alpha": ALPHA, "machine": platform.machine()}
                document = {**head, "seconds": time.monotonic() - began, "studies": summary(audits)}
                write_whole(chosen.out, (json.dumps(document, indent=1) + "\n").encode())
                print(f"{repeat} of {chosen.repeats}")
    show(summary(audits))


if __name__ == "__main__":
    main()
