"""The coordinator's Flower ServerApp: runs the rounds of a study over a Flower grid and passes the outcome on.

``federation`` in the run's configuration says what to run: the name of a job that was handed to this process, or the absolute
path of a federation folder, whose ``study.toml`` is run and whose ``release`` is written. Both share one code path.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from cohortium.errors import CohortiumError
from cohortium_server import desired_state
from cohortium_server.flower.whole import whole
from cohortium_server.jobs import PATIENCE, Job, absolute, folder_job, record_failure, written
from cohortium_server.rounds.rounds import Outcome, run_study

MESSAGE_TYPE, RECORD, FIELD = "query.round", "cohortium", "message"  # as in the relay
ANNOUNCING = 60.0  # seconds after which an announcement is dropped
LOOK_EVERY = 1.0  # seconds between two polls of who is online
LONGEST_PAUSE = 0.25  # seconds between two polls for answers, at most
AGAIN_AFTER = 30.0  # seconds until a node that is online and silent is asked again, later twice as long each time
COMING = 60.0  # seconds that an answer may be under way until it is requested again
Waiting = Mapping[str, bool]
"""The institutions that a request waits for, and whether each is online."""


@runtime_checkable
class Post(Protocol):
    """A grid that reports answers under way; it hands over complete answers only."""

    @property
    def arriving(self) -> Collection[str]:
        """The numbers of the messages whose answers are under way."""
        ...

    def is_taken(self, number: str) -> bool:
        """Whether a message has reached its node."""
        ...


@dataclass(frozen=True)
class FlowerTransport:
    """Sends a request to every node of a grid, and resends it where the node or its message was lost before it answered.

    An institution that is asked again sends the same bytes and charges nothing, so a node that dies and comes back costs only
    time. Flower reports lost nodes but not lost messages: its link counts a message as delivered before it has arrived.
    An error, an answer without bytes and half an answer count as no answer.

    nodes: how many there should be. patience: seconds to wait for one that is absent or lost; then the round continues without
    it and names the missing. members: the institutions that are asked, by their nodes' public keys, in PEM, where others may
    be there too. waits: called with the institutions being waited for, whenever that changes.
    """

    grid: Grid
    nodes: int
    patience: float = PATIENCE
    members: Mapping[bytes, str] | None = None
    waits: Callable[[Waiting], object] = lambda waiting: None

    def exchange(self, request: bytes, timeout: float) -> Iterator[bytes]:
        exchange = _Exchange(self, request, timeout)
        try:
            while not exchange.over:
                exchange.ask()
                yield from exchange.receive()
                self._pause(min(LONGEST_PAUSE, exchange.age / 20))  # little of what an answer takes, whatever that is
        finally:
            self.waits({})

    def _pause(self, seconds: float) -> None:
        """Sleep so long, or until something arrives, where the grid supports that: one within this process does."""
        getattr(self.grid, "wait", time.sleep)(seconds)

    def announce(self, request: bytes) -> None:
        """Send without waiting; within one process, wait for the nodes, as they end with it."""
        if not self.patience:
            list(self.exchange(request, ANNOUNCING))
            return
        content = RecordDict({RECORD: ConfigRecord({FIELD: request})})
        self.grid.push_messages([Message(content, node, MESSAGE_TYPE, ttl=ANNOUNCING) for node in self.present()])

    def present(self) -> dict[int, _Node]:
        """The nodes that are online, by their numbers."""
        if self.members is None:
            return {number: _Node("") for number in self.grid.get_node_ids()}
        there = [node for node in self.grid.get_nodes() if node.public_key in self.members]
        return {n.node_id: _Node(self.members.get(n.public_key, ""), n.last_activated_at) for n in there}

    def is_taken(self, number: str) -> bool:
        return isinstance(self.grid, Post) and self.grid.is_taken(number)

    @property
    def arriving(self) -> Collection[str]:
        return self.grid.arriving if isinstance(self.grid, Post) else ()


@dataclass(frozen=True)
class _Node:
    """An institution's node. life: since when it is online; one that was restarted has forgotten what it was asked."""

    name: str
    life: str = ""


class _Exchange:
    """One request: to whom it was sent, who has answered, and who was lost."""

    def __init__(self, to: FlowerTransport, request: bytes, timeout: float) -> None:
        self._to, self._content = to, RecordDict({RECORD: ConfigRecord({FIELD: request})})
        self._begun = time.monotonic()
        self._end = self._begun + timeout
        self._asked: dict[str, int] = {}  # nodes, by the message that each has yet to answer
        self._answered: set[int] = set()
        self._lost: dict[int, float] = {}  # when each was lost first
        self._lives: dict[int, str] = {}  # of each, when it was asked last
        self._times: Counter[int] = Counter()  # how often each was asked
        self._at_work: set[int] = set()  # who had the question when it was looked after it first
        self._again: dict[int, float] = {}  # when each that is silent is asked again
        self._coming: dict[str, float] = {}  # until when the answer to a message may come in
        self._names: dict[int, str] = {}
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
        """Send the request to every node that is online and does not have it."""
        now = time.monotonic()
        if self._next is not None and now < self._next:
            return
        self._next = now + LOOK_EVERY
        there = self._to.present()
        self._names.update({number: node.name for number, node in there.items()})
        self._miss(there.keys(), now)
        nodes = [n for n in there.keys() - self._answered if self._awaited(n) and self._is_due(n, there[n].life, now)]
        messages = [Message(self._content, node, MESSAGE_TYPE, ttl=max(self._end - now, 1.0)) for node in nodes]
        if messages:
            numbers = self._to.grid.push_messages(messages)
            self._asked.update((number, node) for number, node in zip(numbers, nodes, strict=False) if number)
            for node in nodes:
                self._sent(node, there[node].life, now)
        self._report_waits({node.name for node in there.values()})

    def _open(self, node: int) -> list[str]:
        """The messages that the node has yet to answer."""
        return [number for number, other in self._asked.items() if other == node]

    def _is_due(self, node: int, life: str, now: float) -> bool:
        """Whether a node that is online is to be asked now, for the first time or again.

        One that was not restarted and has the request is working on it; it is asked again later, in case its answer was lost.
        """
        waiting = self._open(node)
        if not waiting:
            return True
        if not self._to.patience or not isinstance(self._to.grid, Post):
            return False  # within a process no message is lost, and two of Flower's actors would want one ledger
        if life != self._lives[node]:
            return True
        if now < max([self._again[node], *(self._coming[n] for n in waiting if n in self._coming)]):
            return False
        if node not in self._at_work and any(map(self._to.is_taken, waiting)):
            self._at_work.add(node)
            self._again[node], self._times[node] = now + 2 * AGAIN_AFTER, self._times[node] + 2
            return False
        return True

    def _sent(self, node: int, life: str, now: float) -> None:
        self._again[node] = now + AGAIN_AFTER * 2.0 ** max(0, self._times[node] - 1)
        self._times[node] += 1
        self._lives[node] = life

    def _miss(self, there: Collection[int], now: float) -> None:
        """Count nodes that left as lost: one that has sent half an answer will not send the rest, and the link does not report it."""
        arriving = self._to.arriving
        self._coming = {number: self._coming.get(number, now + COMING) for number in arriving}
        for number in set(arriving) & self._asked.keys():
            if self._asked[number] not in there:
                self._lose(self._asked.pop(number))

    def _lose(self, node: int) -> None:
        if node not in self._asked.values():
            self._lost.setdefault(node, time.monotonic())

    def _report_waits(self, there: set[str]) -> None:
        """Report who is being waited for, where they have names."""
        answered = {self._names[node] for node in self._answered}
        members = (self._to.members or {}).values()
        self._to.waits({name: name in there for name in members if name not in answered})

    def receive(self) -> Iterator[bytes]:
        """The answers that have arrived since the last call."""
        for answer in self._to.grid.pull_messages(list(self._asked)) if self._asked else ():
            node, content = self._asked.pop(answer.metadata.reply_to_message_id, None), _content_of(answer)
            if content is not None:
                self._received(node)
                yield content
            elif node is not None:
                self._lose(node)

    def _received(self, node: int | None) -> None:
        if node is not None:
            self._answered.add(node)
            self._asked = {number: other for number, other in self._asked.items() if other != node}


def _content_of(answer: Any) -> bytes | None:
    """The bytes of an answer. The text of an error might hold personal data and is never read."""
    if answer.has_error() or RECORD not in answer.content:
        return None
    content = answer.content[RECORD].get(FIELD)
    return content if isinstance(content, bytes) else None


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
        run_folder(whole(grid), context.run_config)


def run_federation(grid: Grid, job: Job) -> Outcome:
    """Every round of the job's study over the grid's nodes."""
    waits = {} if job.diary is None else {"waits": job.diary.waits}
    transport = FlowerTransport(grid, len(job.study.institutions), job.patience, job.members, **waits)
    progress = job.progress or job.diary
    return run_study(job.study, job.consents, transport, job.journal, progress, job.timeout, simulated=job.simulated)


def run_folder(grid: Grid, config: Mapping[str, Any]) -> None:
    """Run the study of a federation folder. The end of a run with a desired state is recorded in its folder, for the reconciler."""
    run = absolute("federation", config["federation"]) / "runs" / Path(str(config.get("resume", ""))).name
    alone = not desired_state.is_held(run)
    try:
        job = folder_job(config)
        with written(job.diary):
            job.finish(run_federation(grid, job))
    except CohortiumError as error:
        if alone and desired_state.desired(run) is not None:
            desired_state.end(run, error)
        raise
    except Exception as error:
        if (
            alone and (order := desired_state.desired(run)) is not None and order.wanted == "go"
        ):  # a run that was stopped has not fallen
            record_failure(run, error)
        raise
    if desired_state.desired(run) is not None:
        desired_state.end(run, None)
