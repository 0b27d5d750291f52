"""Answers on their way: half of one holds up nobody, a node that is asked to stop sends its own, a line that is cut loses none."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from grid import Grid, lies

from cohortium import flower_names
from cohortium.flower.internals import private
from cohortium.flower_names import Api
from cohortium.system.supervision import PATIENCE
from cohortium_client.commands import serving
from cohortium_client.flower.leaving import FINISHING, Leaving
from cohortium_client.flower.node import behind_a_door
from cohortium_client.flower.sent import ANY_SESSION, sent_whole
from cohortium_server import app as coordinator_side
from cohortium_server.app import FIELD, RECORD, FlowerTransport
from cohortium_server.flower.whole import WholeAnswers, whole
from cohortium_simulation import engine

FLOWERS, OBJECTS = private(flower_names.GRID), private(flower_names.OBJECT_WORDS)
MEMBERS = {b"seven": "north", b"eight": "south"}
LONG = 1e9


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    engine._take_identity()
    monkeypatch.setattr(coordinator_side, "LOOK_EVERY", 0.01)


def numbered(message: Message) -> Message:
    message.metadata.__dict__[flower_names.NUMBER] = message.object_id
    return message


def answer_to(asked: Message, reported: bytes) -> Message:
    return numbered(Message(RecordDict({RECORD: ConfigRecord({FIELD: reported})}), reply_to=asked))


# Whole answers


class Link:
    """What the link sends a study's process: announcements once, objects as far as they have come."""

    def __init__(self) -> None:
        self.announced: list[Message] = []
        self.objects: dict[str, bytes] = {}
        self.confirmed: list[str] = []

    def announce(self, answer: Message, *places: int) -> list[str]:
        """Announce an answer of which the objects in some ``places`` have come; the numbers of all."""
        self.announced.append(answer)
        parts = self.parts(answer)
        self.objects.update({n: c if i in places else b"" for i, (n, c) in enumerate(parts.items())})
        return list(parts)

    def parts(self, answer: Message) -> dict[str, bytes]:
        with FLOWERS.no_object_id_recompute():
            return {number: part.deflate() for number, part in FLOWERS.get_all_nested_objects(answer).items()}

    def PullMessages(self, request: Any) -> Any:  # noqa: N802
        reported, self.announced = self.announced, []
        with FLOWERS.no_object_id_recompute():
            messages, trees = (
                [private(flower_names.MESSAGES).message_to_proto(m) for m in reported],
                [FLOWERS.get_object_tree(m) for m in reported],
            )
        return FLOWERS.PullAppMessagesResponse(messages_list=messages, message_object_trees=trees)

    def PullObject(self, request: Any) -> Any:  # noqa: N802
        content = self.objects.get(request.object_id)
        found = content is not None
        return OBJECTS.PullObjectResponse(
            object_found=found, object_available=bool(content), object_content=content or b""
        )

    def ConfirmMessageReceived(self, request: Any) -> None:  # noqa: N802
        self.confirmed.append(request.message_object_id)


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def grid(link: Link, monkeypatch: pytest.MonkeyPatch) -> WholeAnswers:
    """Flower's own grid over ``link``; where it would wait for the rest of an answer, it fails at once."""
    monkeypatch.setattr(FLOWERS, "pull_objects", partial(FLOWERS.pull_objects, max_tries_per_object=1))
    made = FLOWERS.HttpGrid("127.0.0.1:1", insecure=True, token="x")
    made._client = link
    assert made._runtime_client is link
    made.set_run(FLOWERS.Run.create_empty(1))
    return WholeAnswers(made)


def question(node: int) -> Message:
    return numbered(Message(RecordDict({"q": ConfigRecord({"n": node})}), node, "query.round"))


def texts(answers: Iterable[Any]) -> list[bytes]:
    return [answer.content[RECORD][FIELD] for answer in answers if not answer.has_error()]


def test_half_an_answer_is_none_and_holds_up_no_other(link: Link, grid: WholeAnswers) -> None:
    asked = [question(n) for n in range(4)]
    numbers = [q.metadata.message_id for q in asked]
    parts = link.announce(half := answer_to(asked[0], b"half"), 1)
    link.announce(answer_to(asked[1], b"whole"), 0, 1, 2)
    assert texts(grid.pull_messages(numbers)) == [b"whole"]
    assert grid.arriving == {numbers[0]}
    assert grid.pull_messages(numbers[:1]) == []
    link.announce(answer_to(asked[2], b"later"), 0, 1, 2)
    assert texts(grid.pull_messages(numbers)) == [b"later"]
    link.objects.update(link.parts(half))
    assert texts(grid.pull_messages(numbers)) == [b"half"]
    assert half.metadata.message_id in link.confirmed
    assert grid.arriving == frozenset()
    assert grid.pull_messages(numbers) == []
    assert len(parts) == 3


def test_an_answer_that_will_never_be_complete_is_reported_or_forgotten(link: Link, grid: WholeAnswers) -> None:
    asked = question(7)
    number = asked.metadata.message_id
    parts = link.announce(answer_to(asked, b"half"), 0)
    assert grid.pull_messages([number]) == []
    for part in parts:
        del link.objects[part]
    assert all(answer.has_error() for answer in grid.pull_messages([number]))
    assert grid.arriving == frozenset()
    link.announce(answer_to(asked, b"half"), 0)
    assert grid.pull_messages([number]) == []
    assert grid.pull_messages(["another"]) == []
    assert grid.arriving == frozenset(), "nobody waits for it any more"


def test_a_question_that_lies_at_the_link_has_not_been_taken(link: Link, grid: WholeAnswers) -> None:
    link.objects["asked"] = b"question"
    assert not grid.is_taken("asked")
    del link.objects["asked"]  # as the link does when its node confirms it
    assert grid.is_taken("asked")


def test_a_grid_is_made_to_wait_for_nothing_whatever_has_started_it() -> None:
    flowers = FLOWERS.HttpGrid("127.0.0.1:1", insecure=True, token="x")
    flowers._client = Link()
    assert isinstance(made := whole(flowers), WholeAnswers)
    assert whole(made) is made
    assert whole(other := object()) is other


# Asking again


@dataclass
class Posted(Grid):
    """A grid that knows what is on its way. half: nodes whose answer stays half. taken: nodes that have got what they were asked."""

    half: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)
    looked: list[str] = field(default_factory=list)

    def _to(self, number: str) -> int:
        return self.pushed[int(number[1:])]

    @property
    def arriving(self) -> set[str]:
        return {n for n in self.waiting if self._to(n) in self.half}

    def is_taken(self, number: str) -> bool:
        self.looked.append(number)
        return self._to(number) in self.taken

    def pull_messages(self, numbers: Iterable[str]) -> list[Message]:
        return super().pull_messages([n for n in numbers if n not in self.arriving])


def of_two(does: dict[int, list[bytes | str | None]], **how: Any) -> Posted:
    return Posted(does, keys={7: b"seven", 8: b"eight"}, **how)


def exchange(grid: Grid, patience: float = LONG, **how: Any) -> Iterator[bytes]:
    return FlowerTransport(grid, 2, patience, MEMBERS, **how).exchange(b"q", 60.0)  # type: ignore[arg-type]


def test_who_has_gone_with_half_an_answer_sent_is_asked_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_side, "AGAIN_AFTER", LONG)
    grid = of_two({7: [b"seven"], 8: [b"eight"]}, half={7})
    answers = exchange(grid)
    assert next(answers) == b"eight"
    grid.absent.add(7)

    def back(waiting: Any) -> None:
        if waiting == {"north": False}:
            grid.absent.clear()
            grid.half.clear()
            grid.waiting.clear()  # what was on its way never comes

    object.__setattr__(answers.gi_frame.f_locals["self"], "waits", back)  # type: ignore[attr-defined]
    assert list(answers) == [b"seven"]
    assert sorted(grid.pushed) == [7, 7, 8]


@pytest.mark.usefixtures("clock")
def test_who_was_started_again_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_side, "AGAIN_AFTER", LONG)
    grid = of_two({7: [b"seven"], 8: [b"eight"]}, lives={7: "one", 8: "one"}, half={7}, taken={7})
    answers = exchange(grid)
    assert next(answers) == b"eight"
    grid.lives[7] = "two"
    grid.half.clear()
    grid.waiting.clear()
    assert list(answers) == [b"seven"]
    assert sorted(grid.pushed) == [7, 7, 8]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that passes by sleeping alone."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += max(seconds, 0.01)

    monkeypatch.setattr(coordinator_side, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("seconds", "never_got_it", "at_work"), [(29, 1, 1), (35, 2, 1), (65, 3, 1), (95, 3, 2), (205, 4, 2)]
)
def test_who_is_at_work_is_asked_again_later_than_who_never_got_the_question(
    seconds: float, never_got_it: int, at_work: int
) -> None:
    grid = of_two({7: ["silent"], 8: ["silent"]}, taken={7})
    assert list(FlowerTransport(grid, 2, LONG, MEMBERS).exchange(b"q", seconds)) == []  # type: ignore[arg-type]
    assert (grid.pushed.count(8), grid.pushed.count(7)) == (never_got_it, at_work)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("seconds", "often"), [(58, 1), (65, 2)])
def test_an_answer_that_is_coming_in_is_not_asked_for_again_before_its_time(seconds: float, often: int) -> None:
    grid = of_two({7: [b"seven"], 8: [b"eight"]}, half={7})
    assert list(FlowerTransport(grid, 2, LONG, MEMBERS).exchange(b"q", seconds)) == [b"eight"]  # type: ignore[arg-type]
    assert grid.pushed.count(7) == often


def test_a_message_that_was_lost_is_sent_again_where_one_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_side, "AGAIN_AFTER", 0.05)
    grid = of_two({7: [b"seven"], 8: [b"eight"]}, swallow={7: 2})
    assert sorted(exchange(grid)) == [b"eight", b"seven"]
    assert sorted(grid.pushed) == [7, 7, 7, 8]
    for patience, kind in ((0.0, Posted), (LONG, Grid)):
        alone = kind({7: [b"seven"]}, keys={7: b"seven"}, swallow={7: 1})
        assert list(FlowerTransport(alone, 1, patience, MEMBERS).exchange(b"q", 0.5)) == []  # type: ignore[arg-type]
        assert alone.pushed == [7]


def test_it_is_reported_whom_a_request_waits_for_and_who_is_offline() -> None:
    grid = of_two({7: [b"seven"], 8: [b"eight"]}, absent={7})
    received: list[dict[str, bool]] = []

    def waits(waiting: Any) -> None:
        received.append(dict(waiting))
        if waiting == {"north": False}:
            grid.absent.clear()

    assert sorted(exchange(grid, waits=waits)) == [b"eight", b"seven"]
    assert received[0] == {"north": False, "south": True}
    assert {"north": False} in received
    assert received[-1] == {}


# A node that is asked to stop


class LeftError(Exception):
    """Flower's own handler was called, which ends the node."""


@pytest.fixture
def flowers_handlers() -> Iterator[None]:
    def leave(number: int, frame: Any) -> None:
        raise LeftError

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def told_to_stop(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # a signal of one's own is there by then


def a_node(leaving: Leaving, push: Callable[..., None], received: Any = ("message", "tree")) -> None:
    """One turn of Flower's loop."""
    run = leaving.taking(lambda *, receive: receive() and 1)(receive=lambda: received)
    if run is not None:
        leaving.sending(push)()


@pytest.mark.usefixtures("flowers_handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_node_that_is_stopped_sends_its_answer_first(number: signal.Signals) -> None:
    sent: list[str] = []

    def push() -> None:
        sent.append("Sending")
        told_to_stop(number)
        sent.append("Sent")

    with pytest.raises(LeftError):
        a_node(Leaving(), push)
    assert sent == ["Sending", "Sent"]


@pytest.mark.usefixtures("flowers_handlers")
def test_an_idle_node_ends_at_once_and_so_does_one_that_is_signalled_twice() -> None:
    sent: list[str] = []
    leaving = Leaving()
    a_node(leaving, lambda: sent.append("sent"))
    a_node(leaving, lambda: None, received=None)
    with pytest.raises(LeftError):
        told_to_stop()

    def push() -> None:
        told_to_stop()
        sent.append("first")
        told_to_stop()
        sent.append("never")

    with pytest.raises(LeftError):
        a_node(leaving, push)
    assert sent == ["sent", "first"]


@pytest.mark.usefixtures("flowers_handlers")
def test_a_node_whose_answer_takes_too_long_goes_without() -> None:
    def push() -> None:
        told_to_stop()
        time.sleep(10)
        pytest.fail("it is still there")

    with pytest.raises(LeftError):
        a_node(Leaving(patience=0.05), push)


@pytest.mark.usefixtures("flowers_handlers")
def test_a_message_that_comes_to_nothing_keeps_no_node() -> None:
    def take(*, receive: Callable[[], Any]) -> None:
        receive()
        told_to_stop()

    with pytest.raises(LeftError):
        Leaving().taking(take)(receive=lambda: ("message", "tree"))


def test_what_an_institution_needs_to_send_its_answer_ends_after_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from cohortium_client import preflight, relay, relay_preflight
    from cohortium_client.custodian import institution

    received: list[Any] = []

    def supervised(children: Any, **how: Any) -> int:
        received.append((children, how))
        return int(signal.SIGTERM)

    monkeypatch.setattr("cohortium.system.supervision.supervise", supervised)
    for checks in (preflight, relay_preflight):
        monkeypatch.setattr(checks, "require_ready", lambda *of: None)
    monkeypatch.setattr(relay, "has_joined", lambda folder: True)
    monkeypatch.setattr(relay, "load_relay", lambda folder: None)
    monkeypatch.setattr(institution, "load_institution", lambda folder: SimpleNamespace(socket=tmp_path / "s"))
    serving.serve(tmp_path)
    ((children, how),) = received
    assert [child.name for child in children] == ["custodian", "relay"]
    assert how == {"in_turn": True}


GRACE = {
    "deploy/systemd/cohortium-relay@.service": r"TimeoutStopSec=(\d+)",
    "deploy/kubernetes/institution-apart/relay.yaml": r"terminationGracePeriodSeconds: (\d+)",
    "deploy/kubernetes/institution/statefulset.yaml": r"terminationGracePeriodSeconds: (\d+)",
    "deploy/compose/institution.yaml": r"stop_grace_period: 2(m)",  # the relay's; the custodian has five
}


@pytest.mark.parametrize("file", GRACE)
def test_whoever_keeps_a_relay_leaves_it_the_time_to_send_its_answer(file: str) -> None:
    root = Path(__file__).parents[3]
    found = re.search(GRACE[file], (root / file).read_text(encoding="utf-8"))
    assert found is not None
    assert (120 if found[1] == "m" else int(found[1])) > FINISHING + 2 * PATIENCE


# A line that is cut


class Cut:
    """The link, as a node reaches it over a line on which answers are lost: what is sent again had arrived at the first time."""

    def __init__(self, announced: bool, twice: set[int]) -> None:
        self.announced, self.twice = announced, twice
        self.stored: dict[str, bytes] = {}
        self.pushes = 0

    def send(self, message: Message, tree: Any, seconds: float) -> tuple[set[str], str]:
        self.wanted = {part.object_id for part in private(flower_names.TREES).iterate_object_tree(tree)}
        return (set(self.wanted), "session") if self.announced else (set(), "another")

    def push_object(self, run: int, session: str, number: str, content: bytes) -> None:
        assert session == ("session" if self.announced else ANY_SESSION)
        self.stored[number] = content
        self.pushes += 1
        if self.pushes in self.twice:  # stored, but the node gets a reply the second time only
            raise private(flower_names.PUSHING).ObjectPushError(number, run, session)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("twice", [set(), {2}, {2, 3}])
def test_an_answer_arrives_whole_over_a_line_that_is_cut(announced: bool, twice: set[int]) -> None:
    node, objects = private(flower_names.NODE_LOOP), private(flower_names.OBJECTS).InMemoryObjectStore()
    state = private(flower_names.NODE_STATE).InMemoryNodeState(objects)
    asked = question(7)
    reply = answer_to(asked, b"noised")
    lies(node, reply, asked, state, objects)
    cut = Cut(announced, twice)
    push = sent_whole(node._push_messages)
    push(state=state, object_store=objects, send=cut.send, push_object=cut.push_object)
    assert set(cut.stored) == cut.wanted
    assert all(cut.stored.values())


def test_an_answer_that_nobody_waits_for_is_not_sent() -> None:
    node, objects = private(flower_names.NODE_LOOP), private(flower_names.OBJECTS).InMemoryObjectStore()
    state = private(flower_names.NODE_STATE).InMemoryNodeState(objects)
    asked = question(7)
    lies(node, answer_to(asked, b"noised"), asked, state, objects)
    cut = Cut(False, {1})
    sent_whole(node._push_messages)(state=state, object_store=objects, send=cut.send, push_object=cut.push_object)
    assert cut.pushes == 1


# A node's port on its own machine


def node_answers(path: str, method: str = "POST", **headers: str) -> int:
    """What another user of the machine is answered at a node's port."""
    node, create = private(flower_names.NODE), behind_a_door(private(flower_names.NODE_APP).create_app)
    state = node.NodeStateFactory(node.ObjectStoreFactory())
    app = create(state_factory=state, superexec_auth_secret=b"s" * 64)

    async def asked() -> int:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            sent = {"content-type": flower_names.MEDIA_TYPE, "accept": flower_names.MEDIA_TYPE, **headers}
            return (await client.request(method, path, content=b"", headers=sent)).status_code

    return asyncio.run(asked())


def runtime_calls() -> list[str]:
    paths = private(flower_names.NODE_APP).create_app().openapi()["paths"]
    return sorted(path for path in paths if path.startswith(Api.RUNTIME))


def test_whoever_has_no_secret_is_refused_every_call_at_a_nodes_port() -> None:
    calls = runtime_calls()
    assert len(calls) > 10
    assert {path: node_answers(path) for path in calls} == dict.fromkeys(calls, 401)
    wrong = {"authorization": "Bearer " + "x" * 64, "flwr-runtime-token": "x" * 64}
    assert {path: node_answers(path, **wrong) for path in calls} == dict.fromkeys(calls, 401)


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/redoc", "/", "/metrics", Api.FLEET, Api.CONTROL, "/healthy"]
)
def test_nothing_else_is_there(path: str) -> None:
    assert node_answers(path, "GET") == 404


def test_a_nodes_port_says_that_it_lives() -> None:
    assert node_answers(Api.HEALTH, "GET") == 200
