"""Two shells: in one a custodian over a PostgreSQL table, in the other a study over it; both killed in the middle."""

# ruff: noqa: F401, F811, S608 (fixtures are imported by name; queries are the tests' own)

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from invariants import check, check_finished
from launcher import PATIENCE, Process
from postgres import Cluster, password_file, postgresql, table_name
from processes import ROWS, SWEEP, TRAINING, Federation, study
from tap import Tap
from visits import people

from cohortium.study.plan import plan
from cohortium.study.study import Privacy, dumps_study

NAMES = ("clinic", "south", "west")
COLUMNS = ["id", "sex", "age", "result"]
COMMAND = [sys.executable, "-c", "from cohortium.cli import main; main()"]


class Shell:
    """A command as a person types it; what it says goes to a file."""

    def __init__(self, running: Federation, *words: object) -> None:
        handle, self._log_file = tempfile.mkstemp(dir=running.files, suffix=".log")
        environment = {**os.environ, "COHORTIUM_HOME": str(running.home)}
        command = [*COMMAND, *map(str, words)]
        self.process = subprocess.Popen(command, stdout=handle, stderr=handle, env=environment)
        os.close(handle)

    @property
    def output(self) -> str:
        return Path(self._log_file).read_text()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait(PATIENCE) == -signal.SIGKILL, self.output

    def ends(self, status: int, saying: str = "") -> None:
        assert self.process.wait(PATIENCE) == status, self.output
        assert saying in self.output


class Clinics(Federation):
    """Three institutions; the table of the first is in the database, made by ``cohortium institution init``."""

    def __init__(self, files: Path, cluster: Cluster, table: str) -> None:
        self._cluster, self._table = cluster, table
        self.shell: Shell | None = None
        super().__init__(files, study(TRAINING, NAMES))

    def _found(self, name: str, table: pd.DataFrame) -> None:
        if name != "clinic":
            super()._found(name, table)
            return
        fill(self._cluster, self._table, table[COLUMNS])
        folder, query = self.folder(name), f'SELECT {", ".join(COLUMNS)} FROM "{self._table}"'
        init = ("institution", "init", folder, "--name", name, "--url", self._cluster.url(), "--query", query)
        made = Process(self.home, *init)
        assert made.wait() == 0, made.output
        described = (folder / "institution.toml").read_text()
        password = f'[source]\npassword_file = "{password_file(folder)}"\n'
        (folder / "institution.toml").write_text(described.replace("[source]\n", password))
        self.taps[name] = Tap(self.files / f"{name}.tap", folder / "custodian.sock")

    def open_shell(self) -> Shell:
        """The custodian of the clinic, in the first shell."""
        self.shell = Shell(self, "institution", "serve", self.folder("clinic"))
        until(lambda: "custodian of 'clinic'" in self.printed)
        return self.shell

    @property
    def printed(self) -> str:
        assert self.shell is not None
        assert self.shell.process.poll() is None, self.shell.output
        return self.shell.output

    def close(self) -> None:
        super().close()
        if self.shell is not None and self.shell.process.poll() is None:
            self.shell.kill()


def fill(cluster: Cluster, name: str, table: pd.DataFrame) -> None:
    cluster.execute(f'CREATE TABLE "{name}" (id bigint, sex text, age int, result text)')
    with closing(cluster.connect()) as connection, connection.cursor() as cursor:
        rows = [tuple(row) for row in table.astype(object).itertuples(index=False)]
        cursor.executemany(f'INSERT INTO "{name}" VALUES (%s, %s, %s, %s)', rows)


def until(reached: Callable[[], bool]) -> None:
    late = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < late
        time.sleep(0.02)


@pytest.fixture
def clinics(postgresql: Cluster, table_name: str) -> Iterator[Clinics]:
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as folder:
        opened = Clinics(Path(folder), postgresql, table_name)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def locked(cluster: Cluster, table: str) -> Iterator[Callable[[], int]]:
    """Nobody can read the table meanwhile. Yields how many are waiting to; the database does not notice if they die."""
    with closing(cluster.connect()) as holding, closing(cluster.connect()) as looking:
        holding.autocommit = False
        holding.execute(f'LOCK TABLE "{table}" IN ACCESS EXCLUSIVE MODE')

        def waiting() -> int:
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
            return int(looking.execute(query, [f'"{table}"']).fetchone()[0])

        yield waiting
        holding.rollback()


def charges(running: Federation, name: str) -> int:
    with running.ledger(name) as ledger:
        return len(ledger.charges())


def run(running: Federation) -> tuple[object, ...]:
    wires = [w for t in running.taps.values() for w in ("--connect", t.socket)]
    return ("coordinator", "run", running.study_file, "--out", running.release, *wires)


def test_killed_in_the_middle_and_resumed(clinics: Clinics, postgresql: Cluster, table_name: str) -> None:
    """The clinic's database is locked, so that everybody else has answered the first round when the killing begins."""
    for name in ("south", "west"):
        clinics.serve(name)
    first = clinics.open_shell()
    with locked(postgresql, table_name) as waiting:
        second = Shell(clinics, *run(clinics))
        until(lambda: waiting() == 1 and charges(clinics, "south") == charges(clinics, "west") == 1)
        first.kill()
        second.ends(16, "cohortium coordinator resume")
        assert charges(clinics, "clinic") == 0
        clinics.open_shell()
        second = Shell(clinics, "coordinator", "resume", clinics.run_folder)
        until(lambda: waiting() == 2)
        second.kill()
    check(clinics)
    Shell(clinics, "coordinator", "resume", clinics.run_folder).ends(0)
    check_finished(clinics)
    assert "rows" not in clinics.printed
    assert str(ROWS) not in re.findall(r"\w+", clinics.printed)  # a digest may hold anything
    for words in (
        ("verify", clinics.release),
        *(("ledger", "verify", "--ledger", clinics.folder(n) / "ledger.sqlite") for n in NAMES),
    ):
        looked = Process(clinics.home, *words)
        assert looked.wait() == 0, looked.output
    with clinics.ledger("clinic") as ledger:
        assert ledger.spent("clinic", 1e-6) == plan(clinics.study).cost
        assert ledger.spent("clinic", 1e-6).epsilon <= clinics.study.privacy.epsilon


def tighten(running: Federation, **rules: Any) -> None:
    path = running.folder("clinic") / "policy.toml"
    path.write_text(path.read_text() + "".join(f"{k} = {v}\n" for k, v in rules.items()))


def test_a_study_beyond_the_policy_is_refused_at_the_institution(clinics: Clinics) -> None:
    """Whoever would sign it sees the reason; so is a custodian's log once the policy is tightened, the coordinator not."""
    tighten(clinics, epsilon_per_study=5.0)
    beyond = replace(clinics.study, name="beyond", generator=SWEEP, privacy=replace(clinics.study.privacy, epsilon=8.0))
    path = clinics.files / "beyond.toml"
    path.write_text(dumps_study(beyond))
    Shell(clinics, "study", "sign", path, "--as", clinics.folder("clinic")).ends(20, "E_POLICY")
    assert not (clinics.files / "beyond.signatures").exists()
    clinics.agree(study(SWEEP, NAMES, name="second", privacy=Privacy(epsilon=4.0, delta=1e-6)))
    policy = clinics.folder("clinic") / "policy.toml"
    policy.write_text(policy.read_text().replace("epsilon_per_study = 5.0", "epsilon_per_study = 1.0"))
    for name in ("south", "west"):
        clinics.serve(name)
    clinics.open_shell()
    second = Shell(clinics, *run(clinics))
    second.ends(16, "refused by clinic (E_POLICY)")
    assert "asks for epsilon 4, at most 1.0 is allowed" in clinics.printed
    assert "epsilon 4" not in second.output
    assert charges(clinics, "clinic") == 0
    check(clinics)
    assert not clinics.release.exists()
