"""The coordinator's Flower ServerApp: runs a study's rounds over a Flower grid and hands the outcome on.

What it runs follows from
``federation`` in the run's configuration: the name of a job that this process was handed, or the absolute
path of a federation folder, whose ``study.toml`` is run and whose ``release`` is written. Both go through
the same few lines.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from cohortium.consent import Signatures, read_signatures, require_all
from cohortium.errors import CohortiumError, StudyError
from cohortium.progress import Progress
from cohortium.study import Study, load_study
from cohortium_server import orders
from cohortium_server.flower.roster import nodes_of
from cohortium_server.journal import FolderJournal, Journal
from cohortium_server.release import require_no_release, write_release
from cohortium_server.rounds import ROUND_TIMEOUT, Outcome, run_study

MESSAGE_TYPE, RECORD, FIELD = "query.round", "cohortium", "message"  # as in the relay
PATIENCE = 120.0
LOOK_EVERY = 1.0  # seconds between two looks at who is there
LONGEST_PAUSE = 0.25  # seconds between two looks at what has come
AGAIN_AFTER = 30.0  # seconds until a node that is there and silent is asked again, and twice as long each time after


@dataclass(frozen=True)
class FlowerTransport:
    """Sends a request to every node of a grid, and again to one that was lost, or whose message was, before it answered.

    An institution that is asked again sends the same bytes and charges nothing, so a node that dies and comes back costs
    time alone. Flower tells when a node is lost, but not a message: its link counts one as delivered before it has arrived.
    An answer that is an error or holds no bytes counts as none.

    nodes: how many there should be. patience: seconds to wait for one that is absent or lost; then the round goes on without
    it and names the missing. members: the public keys, in PEM, of the nodes that are asked, where others may be there too.
    """

    grid: Grid
    nodes: int
    patience: float = PATIENCE
    members: frozenset[bytes] | None = None

    def exchange(self, request: bytes, timeout: float) -> Iterator[bytes]:
        exchange = _Exchange(self, request, timeout)
        while not exchange.over:
            exchange.ask()
            yield from exchange.hear()
            time.sleep(min(LONGEST_PAUSE, exchange.age / 20))  # little of what an answer takes, whatever that is

    def present(self) -> set[int]:
        """The nodes that are there now."""
        if self.members is None:
            return set(self.grid.get_node_ids())
        return {node.node_id for node in self.grid.get_nodes() if node.public_key in self.members}


class _Exchange:
    """One request on its way: whom it was sent to, who has answered, and who was lost."""

    def __init__(self, to: FlowerTransport, request: bytes, timeout: float) -> None:
        self._to, self._content = to, RecordDict({RECORD: ConfigRecord({FIELD: request})})
        self._begun = time.monotonic()
        self._end = self._begun + timeout
        self._asked: dict[str, int] = {}  # nodes, by the message that each has yet to answer
        self._answered: set[int] = set()
        self._lost: dict[int, float] = {}  # when each was lost first
        self._times: Counter[int] = Counter()  # how often each was asked
        self._again: dict[int, float] = {}  # when each that is silent is asked again
        self._next: float | None = None  # when it is to be looked again who is there

    @property
    def age(self) -> float:
        return time.monotonic() - self._begun

    @property
    def over(self) -> bool:
        if time.monotonic() >= self._end:
            return True
        if self._next is None or self._asked:
            return False
        known = self._answered | set(self._lost)
        absent = len(known) < self._to.nodes and self.age <= self._to.patience
        return not absent and not any(map(self._awaited, set(self._lost) - self._answered))

    def _awaited(self, node: int) -> bool:
        """Whether it may still be asked again, if it was lost."""
        return node not in self._lost or time.monotonic() - self._lost[node] < self._to.patience

    def ask(self) -> None:
        """Send the request to whoever is there and has not got it."""
        now = time.monotonic()
        if self._next is not None and now < self._next:
            return
        self._next = now + LOOK_EVERY
        waiting = {node for node in self._asked.values() if now < self._again[node]}
        nodes = [n for n in self._to.present() - self._answered - waiting if self._awaited(n)]
        messages = [Message(self._content, node, MESSAGE_TYPE, ttl=max(self._end - now, 1.0)) for node in nodes]
        if messages:
            numbers = self._to.grid.push_messages(messages)
            self._asked.update((number, node) for number, node in zip(numbers, nodes, strict=False) if number)
            for node in nodes:
                pause = AGAIN_AFTER * 2.0 ** self._times[node] if self._to.patience else float("inf")
                self._times[node], self._again[node] = self._times[node] + 1, now + pause

    def hear(self) -> Iterator[bytes]:
        """What has come since."""
        for answer in self._to.grid.pull_messages(list(self._asked)) if self._asked else ():
            node, told = self._asked.pop(answer.metadata.reply_to_message_id, None), _told(answer)
            if told is not None:
                self._heard(node)
                yield told
            elif node is not None and node not in self._asked.values():
                self._lost.setdefault(node, time.monotonic())

    def _heard(self, node: int | None) -> None:
        if node is not None:
            self._answered.add(node)
            self._asked = {number: other for number, other in self._asked.items() if other != node}


def _told(answer: Any) -> bytes | None:
    """The bytes of an answer. What an error says may hold a person's data and is not even looked at."""
    if answer.has_error() or RECORD not in answer.content:
        return None
    told = answer.content[RECORD].get(FIELD)
    return told if isinstance(told, bytes) else None


@dataclass(frozen=True)
class Job:
    """A study that all have signed, to be run, and what is done with its outcome.

    members: the public keys of the nodes of its institutions; None where all nodes are. simulated: the nodes' custodians
    are of this process.
    """

    study: Study
    consents: Signatures
    journal: Journal
    finish: Callable[[Outcome], object]
    progress: Progress | None = None
    timeout: float = ROUND_TIMEOUT
    patience: float = PATIENCE
    members: frozenset[bytes] | None = None
    simulated: bool = False


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
    handed = _jobs.get(str(context.run_config["federation"]))
    if handed is not None:
        handed.finish(run_federation(grid, handed))
    else:
        run_folder(grid, context.run_config)


def run_federation(grid: Grid, job: Job) -> Outcome:
    """Every round of the job's study over the grid's nodes."""
    transport = FlowerTransport(grid, len(job.study.institutions), job.patience, job.members)
    return run_study(
        job.study, job.consents, transport, job.journal, job.progress, job.timeout, simulated=job.simulated
    )


def run_folder(grid: Grid, config: Mapping[str, Any]) -> None:
    """Run what a federation folder says; how a run that was ordered ends is written into its folder, for its keeper."""
    run = _absolute("federation", config["federation"]) / "runs" / Path(str(config.get("resume", ""))).name
    alone = not orders.is_held(run)
    try:
        job = folder_job(config)
        job.finish(run_federation(grid, job))
    except CohortiumError as error:
        if alone and orders.order(run) is not None:
            orders.end(run, error)
        raise
    if orders.order(run) is not None:
        orders.end(run, None)


def folder_job(config: Mapping[str, Any]) -> Job:
    """The study of a federation folder, or with ``resume`` a run of it that stopped.

    Its release goes to ``out``, by default where the run was ordered to put it, or the folder's ``release``; its journal
    lies in the folder's ``runs``.
    """
    folder, seed = _absolute("federation", config["federation"]), _seed(config.get("seed", ""))
    resume = str(config.get("resume", ""))
    replace = bool(config.get("replace"))
    if not resume:  # found out before anything is asked, for whatever is asked is charged
        require_no_release(_out(folder, config, {}), replace)
    journal = _journal(folder, resume, seed)
    out, replace = _out(folder, config, journal.settings), replace or bool(journal.settings.get("replace"))
    require_no_release(out, replace, journal.run)
    finish = partial(write_release, out=out, seed=journal.settings.get("seed", seed), learn=True, replace=replace)
    members = nodes_of(folder, journal.study)
    return Job(journal.study, journal.consents, journal, finish, members=members)


def _out(folder: Path, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Path:
    return _absolute("out", config.get("out") or settings.get("out") or folder / "release")


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
