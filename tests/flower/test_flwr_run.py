"""The same study over Flower's own simulation, started as its users start it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cohortium.data.columns import Boolean, Categorical
from cohortium.data.schema import Schema
from cohortium.flower_names import QUIET, Variable
from cohortium.study.consent import read_signatures
from cohortium.study.generators import Sweep
from cohortium.study.study import Institution, Privacy, Study, load_study
from cohortium.study.study import ReleasePlan as Rows
from cohortium_client.custodian.institution import open_custodian
from cohortium_server.release import load_release, write_release
from cohortium_server.rounds.journal import BriefJournal
from cohortium_simulation.engine import run_in_process
from cohortium_simulation.federation import write_federation

NAMES = ("north", "south", "west")
BUNDLE = Path(__file__).parents[2] / "deploy" / "flower-app"
PROC = Path("/proc")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="ray is not installed: pip install cohortium[simulation]",
    ),
    pytest.mark.skipif(
        not PROC.is_dir(), reason="Flower's detached processes can be found, and so stopped, only under /proc"
    ),
]


def study() -> Study:
    columns = (
        Categorical(name="ward", categories=("a", "b", "c")),
        Categorical(name="result", categories=("negative", "positive"), target=True),
        Boolean(name="again", nullable=True),
    )
    return Study(
        name="over flower",
        schema=Schema(columns=columns),
        privacy=Privacy(epsilon=5.0, delta=1e-6),
        generator=Sweep(components=20),
        institutions=tuple(Institution(name=n) for n in NAMES),
        release=Rows(rows=150),
    )


def tables() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(3)
    return {name: table(rng) for name in NAMES}


def table(rng: np.random.Generator) -> pd.DataFrame:
    ward = rng.choice(["a", "b", "c"], 120, p=[0.6, 0.3, 0.1])
    result = np.where(rng.random(120) < 0.3, "positive", "negative")
    return pd.DataFrame({"ward": ward, "result": result, "again": rng.random(120) < 0.5})


def free_port() -> str:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return str(held.getsockname()[1])


@pytest.fixture
def flower(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which Flower keeps to itself, and whose processes end with the test."""
    brief = tempfile.mkdtemp(prefix="ray")  # Ray puts sockets there, whose paths must be short
    mine = {
        **QUIET,
        Variable.HOME: str(tmp_path / "flower"),
        Variable.LOCAL_HTTP_PORT: free_port(),
        Variable.LOCAL_CONTROL_PORT: free_port(),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": brief,
        "COHORTIUM_HOME": str(tmp_path / "cohortium"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    try:
        yield os.environ | mine
    finally:
        stop_all(f"{Variable.HOME}={mine[Variable.HOME]}".encode())
        shutil.rmtree(brief, ignore_errors=True)


def stop_all(mark: bytes) -> None:
    """End every process that was started with ``mark`` in its environment: Flower detaches its own."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 10
        while (left := started_with(mark)) and time.monotonic() < deadline:
            for process in left:
                end(process, kind)
            time.sleep(0.5)
    assert not started_with(mark)


def started_with(mark: bytes) -> list[int]:
    return [int(p.name) for p in PROC.iterdir() if p.name.isdigit() and mark in environment(p)]


def environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or somebody else's
        return []


def end(process: int, kind: signal.Signals) -> None:
    try:
        os.kill(process, kind)
    except ProcessLookupError:
        return


def flwr_run(federation: Path, environment: dict[str, str], cwd: Path) -> str:
    """What `flwr run` and the coordinator in it have to say."""
    command = [
        "flwr",
        "run",
        str(BUNDLE),
        "local",
        "--stream",
        "--federation-config",
        f"num-supernodes={len(NAMES)} client-resources-num-cpus=1 init-args-num-cpus=2",
        "--run-config",
        f'federation="{federation}" seed=7',
    ]
    done = subprocess.run(
        command,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def test_flower_and_the_in_process_engine_release_alike(
    tmp_path: Path, flower: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COHORTIUM_HOME", flower["COHORTIUM_HOME"])
    over_flower = write_federation(tmp_path / "over-flower", study(), tables())
    said = flwr_run(over_flower, flower, tmp_path)
    assert (over_flower / "release").is_dir(), said
    in_process = write_federation(tmp_path / "in-process", study(), tables())
    custodians = {n: open_custodian(in_process / "institutions" / n) for n in NAMES}
    agreed = load_study(in_process / "study.toml")
    signatures = read_signatures(in_process / "study.toml", agreed)
    outcome = run_in_process(agreed, signatures, custodians, BriefJournal(7))
    write_release(outcome, in_process / "release", seed=7)
    first, second = (load_release(f / "release") for f in (over_flower, in_process))
    assert unkeyed(first.study) == unkeyed(second.study) == study()
    assert first.synthetic.shape == second.synthetic.shape == (150, 3)
    assert first.synthetic.dtypes.equals(second.synthetic.dtypes)
    assert files(first.path) == files(second.path)
    assert first.kind == second.kind == "simulation"
    assert first.manifest.keys() == second.manifest.keys()


def unkeyed(agreed: Study) -> Study:
    """The study as it was before simulated institutions put their keys into it."""
    assert agreed.simulated
    return replace(agreed, simulated=False, institutions=tuple(replace(i, key="") for i in agreed.institutions))


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}
