"""A federation of processes: institutions' folders, their custodians behind taps, and a coordinator."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from launcher import HARMLESS, PATIENCE, Mischief, Process
from tap import Tap
from visits import people

from cohortium.data.schema import schema_from_document
from cohortium.ledger.store import Ledger
from cohortium.study.consent import write_signature
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.study import Institution, Privacy, ReleasePlan, Study, dumps_schema, dumps_study
from cohortium_client.custodian.agreements import agree
from cohortium_client.custodian.institution import init_institution, load_institution
from cohortium_client.socket.gate import is_served

NAMES = ("north", "south")
ROWS = 300
SCHEMA = schema_from_document(
    {
        "name": "visits",
        "column": [
            {"name": "id", "person": True},
            {"name": "sex", "kind": "categorical", "categories": ["f", "m"]},
            {"name": "age", "kind": "continuous", "lower": 0, "upper": 100, "bins": 5},
            {"name": "result", "kind": "categorical", "categories": ["negative", "positive"], "target": True},
        ],
    }
)
SWEEP = Sweep(components=10)
TRAINING = Autoregressive(rounds=2, steps=1, sampling_rate=1.0)  # without sampling its cost is computed at once


def study(generator: Sweep | Autoregressive = SWEEP, names: tuple[str, ...] = NAMES, **changes: Any) -> Study:
    """One that nobody has signed, without keys."""
    fields: dict[str, Any] = {
        "name": "crash",
        "schema": SCHEMA,
        "privacy": Privacy(epsilon=5.0, delta=1e-6),
        "generator": generator,
        "institutions": tuple(Institution(name=n) for n in names),
        "release": ReleasePlan(rows=50),
    }
    return Study(**(fields | changes))


class Federation:
    """What lies on the disks of the institutions and of the coordinator, and the processes that run over it.

    Two custodians and a coordinator are started by ``serve`` and ``go_on``; ``files`` lies in /tmp, since the paths of
    sockets must be short.
    """

    def __init__(self, files: Path, agreed: Study, tables: Mapping[str, pd.DataFrame] | None = None) -> None:
        self.files, self.study = files, agreed
        self.custodians: dict[str, Process] = {}
        self.taps: dict[str, Tap] = {}
        for seed, name in enumerate(agreed.institution_names):
            table = people(ROWS, seed) if tables is None else tables[name]
            self._found(name, table)
        self.agree(agreed)

    def _found(self, name: str, table: pd.DataFrame) -> None:
        data = self.files / f"{name}.csv"
        table.to_csv(data, index=False)
        policy = {"epsilon_per_population": 20.0, "delta": 1e-6}
        init_institution(self.folder(name), name, {"path": str(data)}, name, policy)
        self.taps[name] = Tap(self.files / f"{name}.tap", self.folder(name) / "custodian.sock")

    def agree(self, agreed: Study) -> None:
        """Let everybody sign a study: this is the one that is run from now on."""
        opened = [load_institution(self.folder(n)) for n in agreed.institution_names]
        keys = tuple(Institution(name=o.identity.name, key=o.identity.public) for o in opened)
        self.study = replace(agreed, institutions=keys)
        (self.files / "schema.toml").write_text(dumps_schema(agreed.schema))
        self.study_file.write_text(dumps_study(self.study))
        for one in opened:
            with one.ledger() as ledger:
                signature = agree(self.study, one.identity, one.policy, ledger, one.agreements)
            write_signature(self.study_file, self.study, one.identity.name, signature)

    @property
    def study_file(self) -> Path:
        return self.files / "study.toml"

    @property
    def home(self) -> Path:
        return self.files / "home"

    @property
    def release(self) -> Path:
        return self.files / "out" / "release"

    @property
    def run_folder(self) -> Path | None:
        """The folder of the study's run, if one was begun."""
        runs = self.files.glob("runs/*/run.json")
        found = [p.parent for p in runs if json.loads(p.read_bytes())["study"] == self.study.digest]
        assert len(found) <= 1
        return found[0] if found else None

    def folder(self, name: str) -> Path:
        return self.files / name

    def serve(self, name: str, mischief: Mischief = HARMLESS) -> Process:
        """A custodian that answers; one that has been killed is started again in its place."""
        self.custodians[name] = self.start(name, mischief)
        self.await_served(name)
        return self.custodians[name]

    def start(self, name: str, mischief: Mischief = HARMLESS) -> Process:
        return Process(self.home, "institution", "serve", self.folder(name), mischief=mischief)

    def await_served(self, name: str) -> None:
        until = time.monotonic() + PATIENCE
        while not is_served(self.folder(name) / "custodian.sock"):
            assert self.custodians[name].running and time.monotonic() < until, self.custodians[name].output
            time.sleep(0.005)

    def serve_all(self) -> None:
        """Start every custodian that does not run."""
        for name in self.study.institution_names:
            if name not in self.custodians or not self.custodians[name].running:
                self.custodians[name] = self.start(name)
        for name in self.study.institution_names:
            self.await_served(name)

    def go_on(self, mischief: Mischief = HARMLESS) -> Process:
        """A coordinator that runs the study, or resumes its run where there is one."""
        folder = self.run_folder
        if folder is not None:
            return Process(self.home, "coordinator", "resume", folder, mischief=mischief)
        wires = [w for t in self.taps.values() for w in ("--connect", t.socket)]
        where = ("--out", self.release, "--seed", 1, *wires)
        return Process(self.home, "coordinator", "run", self.study_file, *where, mischief=mischief)

    def finish(self) -> None:
        """Whatever has happened before: all is started again, and the release appears."""
        self.serve_all()
        coordinator = self.go_on()
        assert coordinator.wait() == 0, coordinator.output

    def kill(self, name: str) -> None:
        self.custodians[name].kill()

    def settle(self) -> None:
        """Wait until no bytes are under way."""
        for tap in self.taps.values():
            tap.settle()

    def close(self) -> None:
        for process in self.custodians.values():
            process.kill()
        for tap in self.taps.values():
            tap.close()

    def ledger(self, name: str) -> Ledger:
        """The ledger as it is on the disk now; looking changes nothing there."""
        folder = Path(tempfile.mkdtemp(dir=self.files))
        for part in self.folder(name).glob("ledger.sqlite*"):
            if part.suffix != ".sqlite-shm":  # it holds locks, and no data
                shutil.copy(part, folder)
        return Ledger(folder / "ledger.sqlite")


@contextmanager
def federation(agreed: Study, tables: Mapping[str, pd.DataFrame] | None = None) -> Iterator[Federation]:
    """A federation that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="f-", dir="/tmp") as folder:
        opened = Federation(Path(folder), agreed, tables)
        try:
            yield opened
        finally:
            opened.close()
