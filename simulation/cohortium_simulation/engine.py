"""The in-process engine: the deployment's ServerApp and ClientApp on virtual nodes, in threads, no sockets.

Every message goes through Flower's own serialisation both ways, so what would not travel between machines
does not travel here. Importing this module imports Flower, which takes about a second: import it where it
is used.

Flower has no public way to set a process's identity or a message's number. Of the few private names needed for
that each has a check that raises E_FLOWER if a version of Flower has changed it.
"""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Event, Semaphore, Thread
from typing import Any

from cohortium.flower_names import APP_RAISED, COORDINATORS_NODE, IDENTITY, MESSAGES, NODE_LOST, NUMBER, QUIET, Variable

os.environ.setdefault(Variable.TELEMETRY, QUIET[Variable.TELEMETRY])  # read when Flower is imported

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from cohortium.flower.internals import changed, private
from cohortium.study.consent import Signatures
from cohortium.study.study import Study
from cohortium.system.progress import Progress
from cohortium_client import app as institution_side
from cohortium_client.socket.service import Answering, Connection
from cohortium_server import app as coordinator_side
from cohortium_server.jobs import Job
from cohortium_server.rounds.journal import BriefJournal, Journal
from cohortium_server.rounds.rounds import ROUND_TIMEOUT, Outcome

Config = Mapping[str, Any]
Fault = Callable[[str, Message, Callable[[Message], Message]], Iterable[Message]]
"""What happens on the way to a node and back: of its name, a request and its app, the messages that arrive.
None is a node that is lost, two are a duplicate; a fault may also wait, or change what it passes on."""


def faithful(node: str, request: Message, app: Callable[[Message], Message]) -> Iterable[Message]:
    """Nothing goes wrong."""
    return [app(request)]


@dataclass(frozen=True)
class _Internals:
    """Flower's private parts that this engine needs."""

    identity: Any
    to_proto: Callable[[Message], Any]
    from_proto: Callable[[Any], Message]


@lru_cache(maxsize=1)
def _internals() -> _Internals:
    """Raises WireError E_FLOWER if this version of Flower has no such parts."""
    serde = private(MESSAGES)
    identity = private(IDENTITY).TaskIdentity
    return _Internals(identity, serde.message_to_proto, serde.message_from_proto)


def _take_identity() -> None:
    """Make this process one in which messages can be written, unless Flower has done so."""
    identity = _internals().identity
    for name in ("run_id", "node_id", "task_id"):
        try:
            getattr(identity, name)
        except RuntimeError:
            setattr(identity, name, COORDINATORS_NODE)
        except AttributeError:
            raise changed(f"TaskIdentity.{name}") from None


def _numbered(message: Message) -> Message:
    """The message with a number of its own, which in Flower the SuperLink gives."""
    number = uuid.uuid4().hex
    message.metadata.__dict__[NUMBER] = number
    if message.metadata.message_id != number:
        raise changed("the metadata of messages")
    return message


def _sent(message: Message) -> Message:
    """The message as the other side reads it."""
    flower = _internals()
    return flower.from_proto(flower.to_proto(message))


class InProcessGrid(Grid):  # type: ignore[misc]
    """Virtual nodes, each a Context and a turn of the same ClientApp object in a thread of this process."""

    def __init__(self, app: ClientApp, nodes: Mapping[str, Config], fault: Fault = faithful) -> None:
        """``nodes``: the configuration of every node, by its name."""
        _take_identity()
        self._app, self._fault = app, fault
        self._names = dict(enumerate(nodes, start=COORDINATORS_NODE + 1))
        self._contexts = {number: _context(number, nodes[name]) for number, name in self._names.items()}
        self._turns = Semaphore(os.cpu_count() or 1)
        self._pending: dict[str, Future[list[Message]]] = {}
        self._come = Event()
        self._run: Any = None

    def close(self) -> None:
        """Start no more tasks; those still running are not waited for, and their results are dropped."""
        for answer in self._pending.values():
            answer.cancel()

    def set_run(self, run: Any) -> None:
        self._run = run

    @property
    def run(self) -> Any:
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Deprecated by Flower, and still part of a Grid."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        return list(self._names)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._push(_numbered(m)) for m in messages]

    def _push(self, message: Message) -> str:
        number: str = message.metadata.message_id
        answer: Future[list[Message]] = Future()
        self._pending[number] = answer
        Thread(target=self._take, args=(_sent(message), answer), name="node", daemon=True).start()
        return number

    def _take(self, request: Message, answer: Future[list[Message]]) -> None:
        """In a daemon's thread: at the end of the process a pool would wait for an answer that is late by hours."""
        with self._turns:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(self._turn(request))
            except BaseException as error:  # noqa: BLE001 - raised again where the answer is read
                answer.set_exception(error)
            finally:
                self._come.set()

    def wait(self, seconds: float) -> None:
        """Until an answer comes that was not there at the last look, or for so long."""
        self._come.wait(seconds)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        self._come.clear()  # before looking: what arrives later sets it again
        done = [i for i in message_ids if i in self._pending and self._pending[i].done()]
        return [message for i in done for message in self._pending.pop(i).result()]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        numbers = self.push_messages(messages)
        wait([self._pending[i] for i in numbers], timeout)
        return self.pull_messages(numbers)

    def _turn(self, request: Message) -> list[Message]:
        """What arrives from one node."""
        node = request.metadata.dst_node_id

        def app(message: Message) -> Message:
            return self._answer(message, self._contexts[node])

        answers = list(self._fault(self._names[node], request, app))
        return [_sent(m) for m in answers or [Message(Error(NODE_LOST, "lost"), reply_to=request)]]

    def _answer(self, request: Message, context: Context) -> Message:
        try:
            return self._app(request, context)
        except Exception as error:  # noqa: BLE001 - whatever an app raises, Flower sends on, text and all
            return Message(Error(APP_RAISED, f"{type(error)}:<'{error}'>"), reply_to=request)


def _context(number: int, config: Config, run_config: Config | None = None) -> Context:
    return Context(COORDINATORS_NODE, number, dict(config), RecordDict(), dict(run_config or {}))


def run_in_process(
    study: Study,
    consents: Signatures,
    custodians: Mapping[str, Answering],
    journal: Journal | None = None,
    progress: Progress | None = None,
    *,
    timeout: float = ROUND_TIMEOUT,
    fault: Fault = faithful,
    simulated: bool = True,
) -> Outcome:
    """Run the study with a custodian for each institution. Raises FederationError as a deployment would.

    simulated: False where the custodians are processes of their own, as behind sockets.
    """
    federation, outcomes = f"in-process-{secrets.token_hex(8)}", list[Outcome]()
    job = Job(
        study,
        consents,
        journal or BriefJournal(),
        outcomes.append,
        progress,
        timeout,
        patience=0.0,
        simulated=simulated,
    )
    with coordinator_side.handed(federation, job), _nodes(federation, custodians) as nodes:
        grid = InProcessGrid(institution_side.app, nodes, fault)
        try:
            coordinator_side.app(grid, _context(COORDINATORS_NODE, {}, {"federation": federation}))
        finally:
            grid.close()
    return outcomes[0]


def run_over_sockets(
    study: Study, consents: Signatures, sockets: Sequence[Path], journal: Journal, progress: Progress
) -> Outcome:
    """Run the study over custodians that are processes of this machine, one behind each socket."""
    connections = {str(path): Connection(path) for path in sockets}
    return run_in_process(study, consents, connections, journal, progress, simulated=False)


@contextmanager
def _nodes(federation: str, custodians: Mapping[str, Answering]) -> Iterator[dict[str, dict[str, str]]]:
    """Enrol the custodians under names no other run has. Yields the nodes' configurations by institution."""
    places = {name: f"{federation}/{name}" for name in custodians}
    try:
        for name, custodian in custodians.items():
            institution_side.enrol(places[name], custodian)
        yield {name: {"institution": place} for name, place in places.items()}
    finally:
        for place in places.values():
            institution_side.dismiss(place)
