"""What grows while studies follow one another in one deployed federation.

    python benchmarks/longrun.py [--studies 100] [--institutions 3] [--columns 6] [--out benchmarks/results/longrun.json]

A coordinator and its institutions as they are deployed (tests/e2e/deployed.py): each custodian, each relay and the coordinator is
a process of its own, with TLS and secure sum. After each study, when nothing goes on, the memory of every process (PSS, where pages
that processes share count in parts, as Linux gives it) and the disk that each folder takes are noted. At the end every ledger is
compacted. Growth of memory is from the studies around the tenth to the last three.
"""

# ruff: noqa: E402 (the deployed federation of the tests is found by its path)

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "support")]

import numpy as np
import pandas as pd
from deployed import Deployed, deployed, processes, until
from printing import Figure, shown, write
from rich.console import Console

from cohortium.study.consent import write_signature
from cohortium.study.study import load_study
from cohortium.system.checks import taken
from cohortium_client.custodian.agreements import agree
from cohortium_client.custodian.institution import load_institution
from cohortium_server.desired_state import is_held

CATEGORIES, ROWS = 6, 300
STUDY = """
[study]
name = "study-{serial}"
serial = 1
[privacy]
epsilon = 0.5
delta = 1e-6
trust = "secure-sum"
[generator]
kind = "sweep"
[release]
rows = 200
"""
MEGABYTE = 1e6


@dataclass
class Seen:
    """After each study: megabytes of memory by process, and of disk by folder."""

    memory: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    disk: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[float] = field(default_factory=list)


def schema(columns: int) -> str:
    names = json.dumps([f"c{k}" for k in range(CATEGORIES)])
    each = (f'[[column]]\nname = "v{i}"\nkind = "categorical"\ncategories = {names}\n' for i in range(columns))
    return 'name = "people"\n' + "\n".join(each)


def people(seed: int, columns: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({f"v{i}": [f"c{k}" for k in rng.integers(0, CATEGORIES, ROWS)] for i in range(columns)})


def signed(made: Deployed, serial: int) -> Path:
    """A study of all, which all have signed; in this process, for that takes a tenth of the commands' time."""
    opened = [load_institution(made.site(name)) for name in made.names]
    blocks = "".join(f'\n[[institution]]\nname = "{o.identity.name}"\nkey = "{o.identity.public}"\n' for o in opened)
    path = made.folder / "study.toml"
    path.write_text(STUDY.format(serial=serial) + blocks)
    agreed = load_study(path)
    for one in opened:
        with one.ledger() as ledger:
            signature = agree(agreed, one.identity, one.policy, ledger, one.agreements)
        write_signature(path, agreed, one.identity.name, signature)
        if made.others:
            made.give(made.site(one.identity.name), made.owner(one.identity.name))
    return path


def memory(made: Deployed) -> dict[str, float]:
    """Megabytes by process: whose it is, and what it is called."""
    found: dict[str, float] = defaultdict(float)
    listed, served = processes(), {one.pid: one.name for one in made.parts}
    parents = {pid: parent for pid, parent, _ in listed}
    for pid, _, comm in listed:
        above = pid
        while above and above not in served:
            above = parents.get(above, 0)
        if above:
            found[f"{served[above]}: {comm}" if pid != above else served[above]] += pss(pid)
    return found


def pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")) / MEGABYTE


def disk(made: Deployed) -> dict[str, float]:
    """Megabytes by folder or file. Releases are their owner's, and not counted."""
    found = {
        "coordinator: runs": taken(made.fed / "runs"),
        "coordinator: superlink.db": taken(made.fed / "state" / "superlink.db"),
        "coordinator: all else": taken(made.fed),
        "institutions: ledgers": sum(taken(made.site(n) / "ledger.sqlite") for n in made.names),
        "institutions: sessions": sum(taken(made.site(n) / "sessions.sqlite") for n in made.names),
        "institutions: studies signed": sum(taken(made.site(n) / "studies") for n in made.names),
        "institutions: relays": sum(taken(made.relay(n)) for n in made.names),
        "all logs": sum(taken(p) for p in made.folder.glob("*.log")),
    }
    found["coordinator: all else"] -= found["coordinator: runs"] + found["coordinator: superlink.db"]
    return {name: size / MEGABYTE for name, size in found.items()}


def noted(seen: Seen, made: Deployed) -> None:
    until(lambda: not any(is_held(run) for run in made.fed.glob("runs/*")), "the study's process has ended")
    time.sleep(2.5)  # the reconciler looks every second, and tidies then
    for name, size in memory(made).items():
        seen.memory[name].append(round(size, 2))
    for name, size in disk(made).items():
        seen.disk[name].append(round(size, 3))


def growth(sizes: list[float]) -> float:
    """In percent, from the studies around the tenth to the last three."""
    before, after = statistics.median(sizes[8:11]), statistics.median(sizes[-3:])
    return 100 * (after / before - 1) if before else 0.0


def figures(seen: Seen, before: dict[str, float], after: dict[str, float]) -> list[Figure]:
    studies = len(seen.seconds)
    reported = []
    if studies > 13:
        reported += [
            Figure(f"memory of {name} after the tenth study", growth(sizes), "%", 5.0, f"{sizes[9]:.0f} MB then")
            for name, sizes in sorted(seen.memory.items())
            if len(sizes) == studies
        ]
    for name, size in after.items():
        note = f"{size:.2f} MB, at most {max(seen.disk[name]):.2f}"
        reported.append(Figure(f"disk: {name}", (size - before[name]) / studies, "MB a study", None, note))
    total = sum(after.values()) - sum(before.values())
    reported.append(Figure("disk of all together, compacted", total / studies, "MB a study", 1.0))
    reported.append(Figure("a study", statistics.median(seen.seconds), "s", None, "from its order to its release"))
    return reported


def one(made: Deployed, serial: int) -> float:
    """Seconds from a study's order to its release."""
    study = signed(made, serial)
    began = time.monotonic()
    made.run(study, made.folder / "out" / f"release-{serial}")
    return round(time.monotonic() - began, 1)


def measure(studies: int, institutions: int, columns: int, out: Path) -> None:
    settings = {"institutions": institutions, "columns": columns, "rows": ROWS, "python": platform.python_version()}
    tables = {f"i{k}": people(k, columns) for k in range(institutions)}
    seen = Seen()
    with deployed(schema(columns), tables, cap=1e6) as made:
        made.serve()
        before = disk(made)
        reported: dict[str, Any] = {}
        with suppress(KeyboardInterrupt):  # Ctrl-C: what was measured so far is reported
            for serial in range(1, studies + 1):
                took = one(made, serial)
                noted(seen, made)
                seen.seconds.append(took)
                reported = {
                    **settings,
                    "studies": serial,
                    "memory": seen.memory,
                    "disk": seen.disk,
                    "seconds": seen.seconds,
                }
                write(figures(seen, before, disk(made)), reported, out)
                print(f"study {serial}: {took} s", flush=True)
        for name in made.names:
            made.say("ledger", "compact", "--institution", made.site(name), uid=made.owner(name))
        found = figures(seen, before, disk(made))
    Console(width=150).print(
        shown(found, f"{len(seen.seconds)} studies one after the other, {institutions} institutions")
    )
    write(found, reported, out)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--studies", type=int, default=100)
    arguments.add_argument("--institutions", type=int, default=3)
    arguments.add_argument("--columns", type=int, default=6)
    arguments.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "longrun.json")
    chosen = arguments.parse_args()
    measure(chosen.studies, chosen.institutions, chosen.columns, chosen.out)


if __name__ == "__main__":
    main()
