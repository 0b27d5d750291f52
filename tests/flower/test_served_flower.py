"""The adapters to Flower, part by part: two doors, one installed app, a node's pace, and asking again who was lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from grid import Grid, lies, replies

from cohortium import flower_names
from cohortium.errors import WireError
from cohortium.flower.doors import Door
from cohortium.flower.executor import Forks
from cohortium.flower.internals import private
from cohortium.flower_names import Api, Call, Part, Task
from cohortium.system.supervision import forked
from cohortium_client.flower import launcher
from cohortium_client.flower.liveness import answer_as_long_as_we_live, is_answering
from cohortium_client.flower.node import ABANDONED, ANSWERING, BUSY, IDLE, LIVELY, Pace
from cohortium_client.flower.replies import Replies
from cohortium_server import app as coordinator_side
from cohortium_server.app import FIELD, RECORD, FlowerTransport
from cohortium_server.flower.link import HEADER, of_the_fleet, of_this_machine
from cohortium_simulation import engine

SECRET = "ab" * 32
PATHS = (
    Call.PULL_MESSAGES,
    Call.START_RUN,
    Call.ACQUIRE_TASK,
    Api.HEALTH,
    "/docs",
    "/",
    Api.FLEET.rstrip("/"),
    f"{Api.FLEET}x".replace("v", "V"),
    f"/{Api.FLEET}x",
    Api.CONTROL.rstrip("/"),
)


def asked(admits: Callable[[Any], bool], path: str, *headers: tuple[bytes, bytes], kind: str = "http") -> int | str:
    """What a door answers: a status, or that the application behind it was reached."""
    sent: list[dict[str, Any]] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"type": "reached"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Door(behind, admits)({"type": kind, "path": path, "headers": list(headers)}, None, send))
    return "reached" if sent[0]["type"] == "reached" else sent[0].get("status", sent[0]["type"])


def test_the_outer_door_opens_for_the_fleet_alone() -> None:
    assert [p for p in PATHS if asked(of_the_fleet, p, (HEADER, SECRET.encode())) == "reached"] == [PATHS[0]]
    assert {asked(of_the_fleet, p) for p in PATHS[1:]} == {404}
    assert asked(of_the_fleet, PATHS[0], kind="websocket") == "websocket.close"


def test_the_inner_door_wants_the_secret_where_runs_are_started() -> None:
    admits = of_this_machine(SECRET)
    reached = [p for p in PATHS if asked(admits, p) == "reached"]
    assert reached == [Call.ACQUIRE_TASK, Api.HEALTH]  # they ask for secrets of their own, or tell nothing
    shown = (HEADER, SECRET.encode())
    assert asked(admits, PATHS[1], shown) == "reached"
    wrong = [
        (HEADER, b""),
        (HEADER, SECRET[:-1].encode()),
        (HEADER, SECRET.upper().encode()),
        (b"authorization", shown[1]),
    ]
    assert {asked(admits, PATHS[1], w) for w in wrong} == {404}
    assert asked(admits, PATHS[1], shown, shown) == 404
    assert asked(admits, PATHS[0], shown) == 404, "institutions have their own door"


def test_both_doors_let_the_application_start_and_stop() -> None:
    assert asked(of_the_fleet, "", kind="lifespan") == "reached"


# What runs at an institution


@pytest.fixture
def tasks() -> Iterator[Any]:
    """Flower's module of tasks, put right again."""
    module = private(flower_names.CLIENTAPP)
    before = {name: getattr(module, name) for name in flower_names.CLIENTAPP.names}
    yield module
    for name, value in before.items():
        setattr(module, name, value)


def test_whatever_bundle_arrives_the_installed_relay_answers(tasks: Any) -> None:
    from cohortium_client.app import app

    taken_over = ("install_from_fab", "get_load_client_app_fn")
    flowers_own = [getattr(tasks, name) for name in taken_over]
    launcher._installed_only()
    assert all(getattr(tasks, n) is not own for n, own in zip(taken_over, flowers_own, strict=True))
    assert tasks.install_from_fab(b"hostile", skip_prompt=True) is None
    load = tasks.get_load_client_app_fn(default_app_ref="", app_path=None, multi_app=True)
    assert load("evil/app", "6.6.6", "00" * 32) is app


@pytest.mark.parametrize("name", flower_names.CLIENTAPP.names)
def test_where_flower_has_changed_nothing_runs(tasks: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delattr(tasks, name)
    with pytest.raises(WireError, match=f"E_FLOWER.*{name}"):
        launcher.run_launcher(1, b"", Path("/nowhere"))


def test_a_missing_part_of_flower_is_refused() -> None:
    there = flower_names.CLIENTAPP.module
    assert private(Part(there, ("run_clientapp", "run_clientapp.__name__"))).run_clientapp
    for module, name in ((f"{there}.no", "x"), (there, "NoSuch"), (there, "run_clientapp.no_such")):
        with pytest.raises(WireError, match="E_FLOWER"):
            private(Part(module, (name,)))


def test_only_the_one_kind_of_task_is_run(tmp_path: Any) -> None:
    forks = Forks(Task.CLIENTAPP, lambda spec: (tmp_path / spec.token).touch(), False)
    assert forks.get_eligible_capacity(set(Task)) == ({Task.CLIENTAPP}, set())
    refused = forks.launch(SimpleNamespace(task_type=Task.SERVERAPP, token="server"))
    assert refused.status == "failed"
    accepted = forks.launch(SimpleNamespace(task_type=Task.CLIENTAPP, token="client"))
    assert accepted.status == "accepted"
    while forks._pids:
        forks.reconcile()
    assert [p.name for p in tmp_path.iterdir()] == ["client"]


def test_what_was_given_up_ends_when_the_next_begins() -> None:
    spec = SimpleNamespace(task_type=Task.CLIENTAPP)
    forks = Forks(Task.CLIENTAPP, lambda _: time.sleep(600), False)
    forks.launch(spec)
    (first,) = forks._pids
    forks.launch(spec)
    (second,) = forks._pids
    assert second != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    forks.close()
    assert not forks._pids
    several = Forks(Task.CLIENTAPP, lambda _: time.sleep(600), True)
    several.launch(spec)
    several.launch(spec)
    assert len(several._pids) == 2
    several.close()


def test_a_node_asks_often_while_a_study_goes_on() -> None:
    slept: list[float] = []
    now = [0.0]
    pace = Pace(lambda: True, slept.append, lambda: now[0])
    pace(3)
    now[0] = LIVELY + 1
    pace(3)
    pace(0.5)
    pace(3)
    assert slept == [BUSY, IDLE, ANSWERING, BUSY]


def test_a_node_waits_as_long_as_somebody_answers_and_not_for_the_dead(tmp_path: Path) -> None:
    living = partial(is_answering, tmp_path)
    pace = Pace(living, lambda _: None)
    relay = forked(lambda: (answer_as_long_as_we_live(tmp_path), time.sleep(600)), "relay")
    while not living():
        pass
    ticks = int(ABANDONED / ANSWERING)
    for _ in range(3 * ticks):
        pace(0.5)
    os.kill(relay, signal.SIGKILL)
    os.waitpid(relay, 0)
    assert not living()
    for _ in range(ticks):
        pace(0.5)
    pace(3)  # it has come after all, and nothing is waited for
    for _ in range(ticks):
        pace(0.5)
    with pytest.raises(SystemExit):
        pace(0.5)


class WaitsError(Exception):
    """Somebody waits."""


def waits(_: float) -> None:
    raise WaitsError


def test_a_way_of_reading_answers_that_is_not_stood_in_front_of_is_refused() -> None:
    def sends(state: Any) -> None:
        state.all_messages()

    with pytest.raises(WireError, match=r"E_FLOWER.*sends"):
        Replies().sending(sends)


def test_a_node_sends_the_answer_to_the_message_it_took_and_none_that_lies_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node, objects = private(flower_names.NODE_LOOP), private(flower_names.OBJECTS).InMemoryObjectStore()
    state = private(flower_names.NODE_STATE).InMemoryNodeState(objects)
    replies, sent = Replies(), []
    take = replies.taking(lambda *, receive: receive())

    def message(**of: Any) -> Message:
        made = Message(RecordDict({RECORD: ConfigRecord({FIELD: os.urandom(8)})}), **of)
        made.metadata.__dict__[flower_names.NUMBER] = made.object_id
        return made

    def send(reply: Message, *_: object) -> tuple[set[str], str]:
        sent.append(reply.metadata.reply_to_message_id)
        return set(), ""

    def answer() -> None:
        replies.sending(node._push_messages)(state=state, object_store=objects, send=send, push_object=None)

    asked = [message(dst_node_id=7, message_type="query.round") for _ in range(4)]
    lying_about = message(reply_to=asked[0])  # of a run that ended before its message had come
    lies(node, lying_about, asked[0], state, objects)
    for one in asked[1:]:
        assert take(receive=lambda one=one: (one, None)) == (one, None)  # type: ignore[misc]
        lies(node, message(reply_to=one), one, state, objects)
        assert take(receive=lambda: None) is None
        answer()
    assert sent == [one.metadata.message_id for one in asked[1:]]
    assert objects.get(lying_about.metadata.message_id) is None
    state.create_task(task_type=Task.CLIENTAPP, run_id=1)
    monkeypatch.setattr(node, "time", SimpleNamespace(sleep=waits))
    with pytest.raises(WaitsError):  # nothing lies about any more, even for Flower's own eyes
        node._push_messages(state=state, object_store=objects, send=send, push_object=None)


# Asking again who was lost


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    engine._take_identity()
    monkeypatch.setattr(coordinator_side, "LOOK_EVERY", 0.01)


def test_a_node_that_was_lost_is_asked_again() -> None:
    grid = Grid({7: [None, None, b"seven"], 8: [b"eight"]})
    assert replies(grid, patience=60.0) == [b"eight", b"seven"]
    assert sorted(grid.pushed) == [7, 7, 7, 8]


def test_a_node_that_stays_lost_is_given_up_after_its_time() -> None:
    grid = Grid({7: [None] * 1000, 8: [b"eight"]})
    assert replies(grid, patience=0.2) == [b"eight"]
    assert grid.pushed.count(8) == 1
    assert grid.pushed.count(7) > 1


def test_without_patience_everybody_is_asked_once() -> None:
    grid = Grid({7: [None, b"late"], 8: [b"eight"]})
    assert replies(grid, patience=0.0) == [b"eight"]
    assert sorted(grid.pushed) == [7, 8]


def test_who_comes_late_is_asked_then() -> None:
    grid = Grid({7: [b"seven"], 8: [b"eight"]}, absent={7})
    answers = FlowerTransport(grid, 2, 60.0).exchange(b"q", 60.0)  # type: ignore[arg-type]
    assert next(answers) == b"eight"
    grid.absent.clear()
    assert list(answers) == [b"seven"]


def test_who_is_absent_is_waited_for_no_longer_than_said() -> None:
    assert replies(Grid({8: [b"eight"]}), patience=0.1, nodes=2) == [b"eight"]
    assert replies(Grid({}), patience=0.1, nodes=2) == []


def test_who_never_answers_is_waited_for_until_the_round_ends() -> None:
    assert replies(Grid({7: ["silent"], 8: [b"eight"]}), patience=0.0, timeout=0.3) == [b"eight"]


def test_only_members_are_asked() -> None:
    grid = Grid({7: [b"seven"], 8: [b"eight"]}, keys={7: b"member", 8: b"stranger"})
    assert replies(grid, patience=60.0, nodes=1, members={b"member": "north"}) == [b"seven"]
    assert grid.pushed == [7]
