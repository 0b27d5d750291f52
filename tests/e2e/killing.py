"""Studies over a federation whose processes are killed while a round is under way, and what must be true afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from deployed import Deployed, Served, deployed, until

from cohortium.ledger.records import Charge
from cohortium.ledger.store import Ledger
from cohortium.study.consent import write_signature
from cohortium.study.plan import plan
from cohortium.study.study import load_study
from cohortium_client.custodian.agreements import agree
from cohortium_client.custodian.institution import load_institution
from cohortium_server.release import load_release

NAMES = ("north", "south", "east")
SCHEMA = """
name = "people"

[[column]]
name = "sex"
kind = "categorical"
categories = ["f", "m"]

[[column]]
name = "age"
kind = "ordinal"
categories = ["young", "middle", "old"]

[[column]]
name = "ill"
kind = "categorical"
categories = ["no", "yes"]
"""
STUDY = """
[study]
name = "killed-{serial}"
purpose = "processes die while it runs"
serial = 1

[privacy]
epsilon = 1.0
delta = 1e-6
trust = "secure-sum"

[generator]
kind = "autoregressive"
rounds = {rounds}
hidden = 8

[release]
rows = 200
"""
ENDS_WITHIN = 300.0  # seconds
VICTIMS = ("link", "executor", "study", "node", "custodian", "reconciler", "launcher", "coordinator", "relay")
MADE_BY_COORDINATOR = {"link": "link", "executor": "executor", "study": "task", "reconciler": "reconciler"}
MADE_BY_RELAY = ("node", "launcher")


def people(seed: int, rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = {"sex": ["f", "m"], "age": ["young", "middle", "old"], "ill": ["no", "yes"]}
    return pd.DataFrame({name: rng.choice(of, rows) for name, of in values.items()})


@contextlib.contextmanager
def federation(serve: bool = True) -> Iterator[Deployed]:
    """Three institutions, served."""
    with deployed(SCHEMA, {name: people(seed) for seed, name in enumerate(NAMES)}, cap=1000.0) as made:
        if serve:
            made.serve()
        yield made


def signed(made: Deployed, study: str) -> Path:
    """As ``Deployed.agree``, in this process, for many studies in a row."""
    opened = [load_institution(made.site(name)) for name in NAMES]
    blocks = "".join(f'\n[[institution]]\nname = "{o.identity.name}"\nkey = "{o.identity.public}"\n' for o in opened)
    path = made.folder / "study.toml"
    path.write_text(study + blocks)
    agreed = load_study(path)
    for one in opened:
        with one.ledger() as ledger:
            signature = agree(agreed, one.identity, one.policy, ledger, one.agreements)
        write_signature(path, agreed, one.identity.name, signature)
        if made.others:
            made.give(made.site(one.identity.name), made.owner(one.identity.name))
    return path


def begin(made: Deployed, serial: int, rounds: int, text: str = STUDY) -> tuple[Served, Path]:
    """Have a study run; who ordered it, and the run's folder."""
    before = set(made.fed.glob("runs/*"))
    study = signed(made, text.format(serial=serial, rounds=rounds))
    ordered = made.order(study, made.folder / "out" / f"release-{serial}")
    until(lambda: any((p / "order.json").exists() for p in set(made.fed.glob("runs/*")) - before), "the run begins")
    (run,) = (p for p in set(made.fed.glob("runs/*")) - before if (p / "order.json").exists())
    return ordered, run


def asked(run: Path, number: int) -> bool:
    """What it was asked at lies there until it is complete."""
    return (run / f"{number:04}.asked").exists() or complete(run, number)


def complete(run: Path, number: int) -> bool:
    return (run / f"{number:04}.sum").exists()


def kill(made: Deployed, victim: str, name: str = NAMES[0]) -> None:
    """Kill a process with SIGKILL. Who is nobody's child here is started again at once."""
    if victim in MADE_BY_COORDINATOR:
        _kill_child(made.coordinator, MADE_BY_COORDINATOR[victim])
    elif victim in MADE_BY_RELAY:
        _kill_child(made.relays[name], victim)
    else:
        served = {"coordinator": made.coordinator, "custodian": made.custodians[name], "relay": made.relays[name]}[
            victim
        ]
        served.kill()
        served.start()


def _kill_child(of: Served, name: str) -> None:
    until(lambda: of.child(name) is not None, f"{name} lives")
    pid = of.child(name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def check(made: Deployed, ordered: Served | None, run: Path, serial: int) -> None:
    """The study has ended in a release, and everybody was charged once a round, neither more nor less."""
    if ordered is not None:
        assert ordered.process is not None
        until(lambda: ordered.process is None or ordered.process.poll() is not None, "the run ends", ENDS_WITHIN)
        assert ordered.process.poll() == 0, ordered.log.read_text()[-2000:]
    release = made.folder / "out" / f"release-{serial}"
    load_release(release)  # what was signed, by all
    study = load_study(run / "study.toml")
    wanted = [(number, 0) for number in range(plan(study).rounds)]
    for name in NAMES:
        with Ledger(made.site(name) / "ledger.sqlite") as ledger:
            ledger.verify()
            charges = [
                e.record for e in ledger.entries() if isinstance(e.record, Charge) and e.record.study == study.digest
            ]
        assert sorted((c.round, c.attempt) for c in charges) == wanted, (name, charges)
        assert {c.run for c in charges} == {run.name}
