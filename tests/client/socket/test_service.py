"""The custodian behind its socket: who may ask, what callers cannot make it bear, and how it starts and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from cohortium.errors import CohortiumError, FederationError, InputError, WireError
from cohortium.federation import wire
from cohortium_client import app as relay
from cohortium_client.socket.gate import Limits
from cohortium_client.socket.service import Answering, Connection, Service, serve
from cohortium_simulation import engine

CANARY = "SECRET-CANARY-1234"
SIZES = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
METHOD = "/cohortium.custodian.v1.Custodian/Answer"
FAILED = wire.encode_refusal(wire.Refusal("", "E_CUSTODIAN"))
RELAY, STRANGER = 12345, 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take on other users' identities")


class Echo:
    """Answers with a message that holds the request."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def answer(self, data: bytes) -> bytes:
        self.received.append(data)
        return wire.MAGIC + data


class Waiting(Echo):
    """Answers once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = threading.Event(), threading.Event()

    def answer(self, data: bytes) -> bytes:
        self.asked.set()
        assert self.go.wait(60)
        return super().answer(data)


class Saying:
    """Answers, or raises, always the same."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def answer(self, data: bytes) -> bytes:
        if isinstance(self.what, BaseException):
            raise self.what
        return self.what


@pytest.fixture
def path() -> Iterator[Path]:
    """A socket's path; pytest's own folders make it too long."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "c.sock"


@pytest.fixture
def start(path: Path) -> Iterator[Callable[..., Service]]:
    """Serve at ``path`` until the test has ended."""
    with ExitStack() as services:
        yield lambda custodian, **how: services.enter_context(serve(custodian, path, **how))


def code_of(reach: Callable[[], object]) -> str:
    with pytest.raises(CohortiumError) as caught:
        reach()
    return caught.value.code


def gone(path: Path, wait: float = 0.1) -> bool:
    """Whether nobody answers; one who was just asked to stop may do so once more."""
    try:
        Connection(path, wait).answer(b"?")
    except CohortiumError as error:
        return error.code == "E_CUSTODIAN_GONE"
    return False


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def silent(path: Path, count: int) -> list[socket.socket]:
    """Connections that say nothing."""
    opened = []
    for _ in range(count):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        connection.settimeout(60)
        opened.append(connection)
    return opened


# Who may ask


def test_a_request_is_answered(path: Path, start: Callable[..., Service]) -> None:
    start(Echo())
    assert Connection(path).answer(b"\x00hello") == wire.MAGIC + b"\x00hello"
    assert Connection(path).answer(b"") == wire.MAGIC


def test_any_name_will_do_for_a_socket(path: Path) -> None:
    odd = path.with_name("a %20b?c#d.sock")
    with serve(Echo(), odd):
        assert Connection(odd).answer(b"x") == wire.MAGIC + b"x"


ASK_AS = """
import os, sys
from contextlib import suppress
from pathlib import Path
from cohortium.errors import CohortiumError
from cohortium_client.socket.service import Connection

connection = Connection(Path(sys.argv[1]), 0.1)
with suppress(CohortiumError):  # imports what is needed to ask, which other users may not be able to read
    connection.answer(b"hello")
for uid in map(int, sys.argv[2:]):
    os.seteuid(uid)
    try:
        print(uid, connection.answer(b"hello").hex())
    except CohortiumError as error:
        print(uid, error.code)
    os.seteuid(0)
"""


def ask_as(path: Path, *uids: int) -> dict[str, str]:
    """What the users are shown, from a process of their own."""
    command = [sys.executable, "-c", ASK_AS, str(path), *map(str, uids)]
    reported = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return dict(line.split() for line in reported.splitlines())


ANSWER = (wire.MAGIC + b"hello").hex()


@as_root
def test_only_the_relays_user_is_let_through(path: Path, start: Callable[..., Service]) -> None:
    custodian = Echo()
    start(custodian, relay_uid=RELAY)
    reported = ask_as(path, 0, STRANGER, RELAY, 65534)
    assert reported == {
        "0": "E_CUSTODIAN_GONE",
        str(STRANGER): "E_CUSTODIAN_GONE",
        str(RELAY): ANSWER,
        "65534": "E_CUSTODIAN_GONE",
    }
    assert custodian.received == [b"hello"]


@as_root
def test_by_default_that_is_the_custodians_own(path: Path, start: Callable[..., Service]) -> None:
    start(Echo())
    path.chmod(0o666)  # whatever the file's mode says
    assert ask_as(path, STRANGER, 0) == {str(STRANGER): "E_CUSTODIAN_GONE", "0": ANSWER}


def test_the_modes_of_what_is_made(path: Path) -> None:
    for uid, mode in ((None, 0o600), (os.geteuid(), 0o600), (RELAY, 0o666)):
        with serve(Echo(), path, relay_uid=uid):
            assert path.stat().st_mode & 0o777 == mode
            (private,) = path.parent.glob(".*")
            assert private.stat().st_mode & 0o777 == 0o700
            assert [p.name for p in private.iterdir()] == ["grpc"]


def test_nobody_is_no_user(path: Path) -> None:
    """The kernel calls every user of another user namespace so."""
    assert code_of(lambda: serve(Echo(), path, relay_uid=65534)) == "E_SOCKET"


# Where it is served


def test_the_socket_of_a_dead_custodian_is_replaced(path: Path, start: Callable[..., Service]) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    start(Echo())
    assert Connection(path).answer(b"x") == wire.MAGIC + b"x"


def test_that_of_a_living_one_is_not(path: Path, start: Callable[..., Service]) -> None:
    start(Echo())
    assert code_of(lambda: serve(Echo(), path)) == "E_SOCKET"
    assert Connection(path).answer(b"x") == wire.MAGIC + b"x"
    path.unlink()
    assert code_of(lambda: serve(Echo(), path)) == "E_SOCKET"  # it lives, though its socket is gone


def test_that_of_another_program_is_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert code_of(lambda: serve(Echo(), path)) == "E_SOCKET"
    assert path.is_socket()


def in_the_way(path: Path) -> dict[str, Callable[[], Any]]:
    private, elsewhere = path.with_name(f".{path.name}.d"), path.with_name("elsewhere")
    return {
        "a file": lambda: path.write_text("thesis"),
        "a dangling link": lambda: path.symlink_to("nowhere"),
        "a folder": path.mkdir,
        "a private folder open to others": lambda: private.mkdir() or private.chmod(0o755),
        "a private folder elsewhere": lambda: elsewhere.mkdir(0o700) or private.symlink_to(elsewhere),
    }


@pytest.mark.parametrize("name", in_the_way(Path("x")))
def test_what_is_in_the_way_is_reported_and_left_alone(path: Path, name: str) -> None:
    in_the_way(path)[name]()
    before = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
    assert code_of(lambda: serve(Echo(), path)) == "E_SOCKET"
    assert sorted(p.name for p in path.parent.iterdir() if not p.name.startswith(".")) == before


@pytest.mark.parametrize("name", ["missing/c.sock", "x" * 100])
def test_an_impossible_path_is_reported(path: Path, name: str) -> None:
    assert code_of(lambda: serve(Echo(), path.parent / name)) == "E_SOCKET"


def test_nothing_remains_held(path: Path) -> None:
    for _ in range(2):
        with serve(Echo(), path) as service:
            assert not service.wait(0)
        assert service.wait(0)
        assert not path.exists()
        service.stop()
        assert gone(path)


# What callers cannot make it bear


def test_300_silent_connections_stop_nobody(path: Path, start: Callable[..., Service]) -> None:
    service = start(Echo())
    opened = silent(path, 300)
    assert Connection(path).answer(b"x") == wire.MAGIC + b"x"
    assert len(service._gate._links) <= Limits.connections
    for early in opened[:-50]:  # whoever was first is given away first
        while early.recv(1 << 16):
            pass
    for connection in opened:
        connection.close()


def test_nor_whoever_waits_for_an_answer(path: Path, start: Callable[..., Service]) -> None:
    custodian = Waiting()
    start(custodian)
    with ThreadPoolExecutor(1) as callers:
        answer = callers.submit(Connection(path).answer, b"x")
        assert custodian.asked.wait(60)
        opened = silent(path, 100)
        for early in opened[:50]:
            while early.recv(1 << 16):
                pass
        custodian.go.set()
        assert answer.result(60) == wire.MAGIC + b"x"
    for connection in opened:
        connection.close()


class Stalling:
    """A socket that passes on the first ``after`` bytes that each caller says, and then no more."""

    def __init__(self, path: Path, after: int) -> None:
        self.path, self.after = path, after
        self.folder, self.listener = tempfile.TemporaryDirectory(), socket.socket(socket.AF_UNIX)
        self.ends: list[socket.socket] = []
        self.stalled: list[int] = []

    @property
    def way(self) -> Path:
        return Path(self.folder.name) / "s"

    def __enter__(self) -> Self:
        self.listener.bind(str(self.way))
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.ends:
            end.close()
        self.folder.cleanup()

    def accept(self) -> None:
        with suppress(OSError):  # the listener is closed, or there is nobody to connect to
            while True:
                caller, _ = self.listener.accept()
                self.ends.append(caller)
                (through,) = silent(self.path, 1)
                through.settimeout(None)
                self.ends.append(through)
                for source, sink, count in ((caller, through, self.after), (through, caller, 1 << 40)):
                    threading.Thread(target=self.pass_on, args=(source, sink, count), daemon=True).start()

    def pass_on(self, source: socket.socket, sink: socket.socket, count: int) -> None:
        with suppress(OSError):
            while count and (data := source.recv(min(count, 1 << 14))):
                sink.sendall(data)
                count -= len(data)
            if count:  # one side has ended
                sink.shutdown(socket.SHUT_RDWR)
            else:
                self.stalled.append(self.after)


def in_threads(count: int, call: Callable[[], Any]) -> list[Future[Any]]:
    pool = ThreadPoolExecutor(count)
    futures = [pool.submit(call) for _ in range(count)]
    pool.shutdown(wait=False)
    return futures


def test_nor_those_who_stall_in_the_middle_of_a_message(path: Path, start: Callable[..., Service]) -> None:
    custodian, stalled = Echo(), list[Future[Any]]()
    service = start(custodian)
    with Stalling(path, after=60_000) as slow:
        for count in range(1, Limits.connections + 1):
            stalled += in_threads(1, lambda: Connection(slow.way).answer(bytes(1 << 20)))
            until(lambda: len(slow.stalled) >= count)  # noqa: B023 - called at once
        for i in range(5):
            assert Connection(path).answer(b"%d" % i) == wire.MAGIC + b"%d" % i
        service.stop(0)
        assert {code_of(future.result) for future in stalled} == {"E_CUSTODIAN_GONE"}
    assert len(custodian.received) == 5


def test_nor_one_who_stalls_many_times_over(path: Path, start: Callable[..., Service]) -> None:
    custodian, never = Echo(), threading.Event()
    start(custodian)

    def nothing() -> Iterator[bytes]:
        never.wait(60)
        yield from ()

    with grpc.insecure_channel(f"unix:{path}", SIZES) as channel:
        calls = [channel.stream_unary(METHOD).future(nothing()) for _ in range(3 * Limits.connections)]
        until(lambda: Connection(path).answer(b"x") == wire.MAGIC + b"x")
        time.sleep(0.2)  # give every call the time to take a worker, if it could
        for i in range(5):
            assert Connection(path).answer(b"%d" % i) == wire.MAGIC + b"%d" % i
        for call in calls:
            call.cancel()
        never.set()


def test_a_connection_may_not_be_silent_for_ever(path: Path, start: Callable[..., Service]) -> None:
    start(Echo(), limits=Limits(patience=0.2))
    (connection,) = silent(path, 1)
    while connection.recv(1 << 16):
        pass
    connection.close()
    with Stalling(path, after=60_000) as slow:
        assert code_of(lambda: Connection(slow.way).answer(bytes(1 << 20))) == "E_CUSTODIAN_GONE"


def test_but_an_answer_may_take_its_time(path: Path, start: Callable[..., Service]) -> None:
    custodian = Waiting()
    start(custodian, limits=Limits(patience=0.1))
    threading.Timer(1.0, custodian.go.set).start()
    assert Connection(path).answer(b"x") == wire.MAGIC + b"x"


def test_no_more_than_its_workers_ask_at_once(path: Path, start: Callable[..., Service]) -> None:
    custodian = Waiting()
    start(custodian, limits=Limits(connections=2))
    callers = in_threads(1, lambda: Connection(path).answer(b"x"))
    assert custodian.asked.wait(60)
    custodian.asked.clear()
    callers += in_threads(1, lambda: Connection(path).answer(b"x"))
    assert custodian.asked.wait(60)
    assert gone(path)
    custodian.go.set()
    assert [caller.result(60) for caller in callers] == 2 * [wire.MAGIC + b"x"]


def raw(path: Path, message: bytes, method: str = METHOD) -> grpc.RpcError:
    """gRPC's own answer to bytes that are none of its messages."""
    with grpc.insecure_channel(f"unix:{path}", SIZES) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(message, timeout=60)
    return caught.value


def test_malformed_calls_are_refused_by_grpc(path: Path, start: Callable[..., Service]) -> None:
    """With texts of gRPC's own, which tell nothing but what the caller has sent."""
    custodian = Echo()
    start(custodian)
    unread, unknown = raw(path, b"\xff\xff" + CANARY.encode()), raw(path, b"", "/cohortium.custodian.v1.Custodian/Tell")
    assert (unread.code(), unread.details()) == (grpc.StatusCode.INTERNAL, "Exception deserializing request!")
    assert (unknown.code(), unknown.details()) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    assert custodian.received == []


def test_a_request_that_is_too_long_is_not_read(path: Path, start: Callable[..., Service]) -> None:
    custodian = Echo()
    start(custodian, limits=Limits(message=1 << 16))
    assert Connection(path).answer(bytes((1 << 16) - 4)) == wire.MAGIC + bytes((1 << 16) - 4)
    refused = raw(path, b"\x0a\x80\x80\x40" + bytes(1 << 20))
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert code_of(lambda: Connection(path).answer(bytes(1 << 20))) == "E_CUSTODIAN_GONE"
    with pytest.raises(WireError, match="E_WIRE"):
        Connection(path, limit=1 << 16).answer(bytes((1 << 16) + 1))
    assert len(custodian.received) == 1


def test_a_long_answer_is_not_sent(path: Path, start: Callable[..., Service]) -> None:
    start(Echo(), limits=Limits(message=1 << 16))
    assert Connection(path).answer(bytes((1 << 16) - 3)) == FAILED


@pytest.mark.parametrize(
    "what",
    [
        ValueError(CANARY),
        InputError("E_CSV_PARSE", CANARY, CANARY, CANARY),
        KeyboardInterrupt(CANARY),
        SystemExit(CANARY),
        GeneratorExit(CANARY),
        CANARY,
        CANARY.encode(),
        b"",
        None,
        bytearray(wire.MAGIC),
    ],
    ids=lambda what: type(what).__name__,
)
def test_whatever_a_custodian_does_only_messages_leave(path: Path, start: Callable[..., Service], what: Any) -> None:
    start(Saying(what))
    assert Connection(path).answer(b"x") == FAILED


def test_nothing_is_left_open(path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def session() -> None:
        with serve(Echo(), path):
            opened = silent(path, 50)
            Connection(path).answer(b"x")
            for connection in opened:
                connection.close()

    session()
    before = descriptors()
    for _ in range(10):
        session()
    assert descriptors() <= before + 60  # gRPC keeps up to 30 for itself, now more, now fewer; a session has 16 callers


# How it starts and ends

SERVE = """
import sys, time
from pathlib import Path
from cohortium.federation.wire import MAGIC
from cohortium_client.socket.service import run_until_stopped, serve

folder = Path(sys.argv[1])

class Slow:
    def answer(self, data):
        if data == b"slow":
            (folder / "asked").touch()
            while not (folder / "go").exists():
                time.sleep(0.01)
            return MAGIC + bytes(8_000_000)
        return MAGIC + data

with serve(Slow(), folder / "c.sock") as service:
    run_until_stopped(service)
assert service.wait(0)
"""


@contextmanager
def serving(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that serves a custodian at ``path``."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(path.parent)])
    try:
        assert Connection(path, 60).answer(b"ready?") == wire.MAGIC + b"ready?"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_custodian_is_gone_and_comes_back(path: Path) -> None:
    connection = Connection(path, 60)
    with serving(path) as process:
        (caller,) = in_threads(1, lambda: connection.answer(b"slow"))
        until((path.parent / "asked").exists)
        process.kill()
        assert code_of(caller.result) == "E_CUSTODIAN_GONE"
    assert path.is_socket()
    assert gone(path)
    with serving(path):
        assert connection.answer(b"again") == wire.MAGIC + b"again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_being_answered_is_finished(path: Path, number: int) -> None:
    with serving(path) as process:
        opened = silent(path, 3)
        (caller,) = in_threads(1, lambda: Connection(path).answer(b"slow"))
        until((path.parent / "asked").exists)
        process.send_signal(number)
        until(lambda: gone(path, 0))
        assert process.poll() is None
        (path.parent / "go").touch()
        assert caller.result(60) == wire.MAGIC + bytes(8_000_000)
        assert process.wait(60) == 0
        assert not path.exists()
        for connection in opened:
            connection.close()


def test_a_caller_who_comes_early_waits(path: Path) -> None:
    (caller,) = in_threads(1, lambda: Connection(path, 60).answer(b"x"))
    with serve(Echo(), path):
        assert caller.result(60) == wire.MAGIC + b"x"


# The relay


@pytest.fixture
def _in_a_flower_process() -> None:
    engine._take_identity()


def relayed(data: bytes, **node_config: str) -> bytes:
    content = RecordDict({relay.RECORD: ConfigRecord({relay.FIELD: data})})
    context = Context(1, 7, dict(node_config), RecordDict(), {"federation": ""})
    reply = relay.app(Message(content, 7, "query.round"), context)
    assert list(reply.content) == [relay.RECORD]
    assert list(reply.content[relay.RECORD]) == [relay.FIELD]
    return bytes(reply.content[relay.RECORD][relay.FIELD])


@pytest.mark.usefixtures("_in_a_flower_process")
def test_the_relay_passes_on_what_the_socket_says(path: Path, start: Callable[..., Service]) -> None:
    start(Echo())
    assert relayed(b"\x00x", socket=str(path)) == wire.MAGIC + b"\x00x"


@pytest.mark.usefixtures("_in_a_flower_process")
def test_without_a_custodian_it_passes_on_a_code(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "Connection", lambda at: Connection(at, 0.1))
    monkeypatch.setattr(relay, "PATIENCE", 0.1)
    nowhere = wire.encode_refusal(wire.Refusal("", "E_CUSTODIAN_GONE"))
    assert relayed(b"x", socket=str(path)) == nowhere
    assert relayed(b"x", institution=str(path.parent)) == nowhere  # a folder is opened in a simulation only
    assert relayed(b"x") == nowhere


RELAY_PROCESS = """
import sys
from pathlib import Path
from flwr.app import ConfigRecord, Context, Message, RecordDict
from cohortium.flower.internals import private
from cohortium.flower_names import IDENTITY
from cohortium_client import app

TaskIdentity = private(IDENTITY).TaskIdentity
TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
content = RecordDict({app.RECORD: ConfigRecord({app.FIELD: b"x"})})
context = Context(1, 7, {"socket": sys.argv[1]}, RecordDict(), {})
reply = app.app(Message(content, 7, "query.round"), context)
print(reply.content[app.RECORD][app.FIELD].hex())
print(*sorted(sys.modules))
"""


def test_a_relay_loads_nothing_that_touches_data(path: Path, start: Callable[..., Service]) -> None:
    start(Echo())
    command = [sys.executable, "-c", RELAY_PROCESS, str(path)]
    reported = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.splitlines()
    assert bytes.fromhex(reported[0]) == wire.MAGIC + b"x"
    loaded = set(reported[1].split())
    assert "cohortium_client.socket.service" in loaded
    data = {
        "torch",
        "pandas",
        "pyarrow",
        "scipy",
        "sklearn",
        "sqlalchemy",
        "cohortium.data.columns.encoding",
        "cohortium.queries",
    }
    assert (
        loaded
        & (
            data
            | {"cohortium.study.plan", "cohortium_client.custodian.custodian", "cohortium_client.custodian.institution"}
        )
        == set()
    )


def test_what_stands_behind_the_socket_is_whatever_answers() -> None:
    way: Answering = Connection(Path("nowhere"), 0)
    with pytest.raises(FederationError, match="E_CUSTODIAN_GONE"):
        way.answer(b"")


class Dying:
    """Goes twice before it answers."""

    def __init__(self) -> None:
        self.asked = 0

    def answer(self, data: bytes) -> bytes:
        self.asked += 1
        if self.asked < 3:
            raise FederationError("E_CUSTODIAN_GONE", "here", "it has gone", "Start it.")
        return data


def test_a_relay_asks_again_when_the_custodian_is_back() -> None:
    dying = Dying()
    assert relay.Patient(dying, 60.0).answer(b"x") == b"x"
    assert dying.asked == 3
    with pytest.raises(FederationError, match="E_CUSTODIAN_GONE"):
        relay.Patient(Dying(), 0.0).answer(b"x")
