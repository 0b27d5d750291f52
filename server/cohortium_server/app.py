"""The coordinator's Flower ServerApp: runs a study's rounds over a Flower grid and hands the outcome on.

This is the only module of the coordinator's side that imports Flower. What it runs follows from
``federation`` in the run's configuration: the name of a job that this process was handed, or the absolute
path of a federation folder, whose ``study.toml`` is run and whose ``release`` is written. Both go through
the same few lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from cohortium.consent import Signatures, read_signatures, require_all
from cohortium.errors import StudyError
from cohortium.progress import Progress
from cohortium.study import Study, load_study
from cohortium_server.journal import FolderJournal, Journal
from cohortium_server.release import require_free, write_release
from cohortium_server.rounds import ROUND_TIMEOUT, Outcome, run_study

MESSAGE_TYPE, RECORD, FIELD = "query.round", "cohortium", "message"  # as in the relay
PATIENCE = 120.0
POLL = 1.0


@dataclass(frozen=True)
class FlowerTransport:
    """Sends a request to every node of a grid; an answer that is an error or holds no bytes counts as none.

    nodes: how many there should be. patience: seconds to wait for them; then whoever is there is asked,
    so that the round ends and names the missing.
    """

    grid: Grid
    nodes: int
    patience: float = PATIENCE

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        content = RecordDict({RECORD: ConfigRecord({FIELD: request})})
        messages = [Message(content, node, MESSAGE_TYPE, ttl=timeout) for node in self._present()]
        if not messages:
            return []
        answers = self.grid.send_and_receive(messages, timeout=timeout)
        return [told for told in map(_told, answers) if told is not None]

    def _present(self) -> list[int]:
        deadline = time.monotonic() + self.patience
        while len(present := list(self.grid.get_node_ids())) < self.nodes and time.monotonic() < deadline:
            time.sleep(min(POLL, self.patience))
        return present


def _told(answer: Any) -> bytes | None:
    """The bytes of an answer. What an error says may hold a person's data and is not even looked at."""
    if answer.has_error() or RECORD not in answer.content:
        return None
    told = answer.content[RECORD].get(FIELD)
    return told if isinstance(told, bytes) else None


@dataclass(frozen=True)
class Job:
    """A study that all have signed, to be run, and what is done with its outcome."""

    study: Study
    consents: Signatures
    journal: Journal
    finish: Callable[[Outcome], object]
    progress: Progress | None = None
    timeout: float = ROUND_TIMEOUT
    patience: float = PATIENCE


_jobs: dict[str, Job] = {}


@contextmanager
def handed(name: str, job: Job) -> Iterator[None]:
    """Let a run in this process find ``job`` by the name in its ``federation``."""
    _jobs[name] = job
    try:
        yield
    finally:
        del _jobs[name]


app = ServerApp()


@app.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    job = _jobs.get(str(context.run_config["federation"])) or folder_job(context.run_config)
    job.finish(run_federation(grid, job))


def run_federation(grid: Grid, job: Job) -> Outcome:
    """Every round of the job's study over the grid's nodes."""
    transport = FlowerTransport(grid, len(job.study.institutions), job.patience)
    return run_study(job.study, job.consents, transport, job.journal, job.progress, job.timeout)


def folder_job(config: Mapping[str, Any]) -> Job:
    """The study of a federation folder, or with ``resume`` a run of it that stopped.

    Its release goes to ``out``, by default the folder's ``release``; its journal lies in the folder's ``runs``.
    """
    folder = _absolute("federation", config["federation"])
    out = _absolute("out", config.get("out") or folder / "release")
    require_free(out)  # found out before anything is asked, for whatever is asked is charged
    seed = _seed(config.get("seed", ""))
    journal = _journal(folder, str(config.get("resume", "")), seed)
    return Job(journal.study, journal.consents, journal, partial(write_release, out=out, seed=seed))


def _journal(folder: Path, resume: str, seed: int | None) -> FolderJournal:
    if resume:
        return FolderJournal(folder / "runs" / Path(resume).name)
    study = load_study(folder / "study.toml")
    consents = read_signatures(folder / "study.toml", study)
    require_all(study, consents)
    return FolderJournal.begin(folder / "runs", study, consents, seed, {})


def _absolute(key: str, value: object) -> Path:
    """A folder. Flower starts this program wherever it likes, so that a relative path would mean nothing."""
    path = Path(str(value))
    if not path.is_absolute():
        fix = f"Run it with -c '{key}=\"/...\"'."
        raise StudyError("E_PLAN_INVALID", key, "it is not the absolute path of a folder", fix)
    return path


def _seed(value: object) -> int | None:
    """An empty text, the bundle's default, is no seed."""
    if value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise StudyError("E_PLAN_INVALID", "seed", "it is not a whole number", "Run it with -c 'seed=7', or without.")
