"""What a round trip over Flower costs here, beside Flower as it comes.

    python benchmarks/round_trip.py [--institutions K] [--megabytes 10] [--times N] [--out benchmarks/results/round_trip.json]

A real link with TLS and node authentication, K institutions on this machine, and behind each relay's socket a stand-in for
the custodian that answers at once with so many bytes. A round trip is what the study's process waits from a request to the
last answer. The relay's start is from the moment that a node has the whole message to the moment that the custodian is asked.
Both ways are measured in one run, on the same machine under the same load: our nodes, then Flower's own
(``flower-supernode`` in its default isolation, ``Grid.send_and_receive``) with the same bundle.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from printing import Figure, shown, write
from rich.console import Console

from cohortium.errors import FederationError
from cohortium.federation.wire import MAGIC
from cohortium.flower.environment import environment
from cohortium.flower_names import NODE_COMMAND, NodeOption, Variable
from cohortium.system import logs
from cohortium.system.supervision import forked
from cohortium_client.relay import Relay, load_relay
from cohortium_client.socket.gate import Limits
from cohortium_client.socket.service import serve
from cohortium_server.membership.federation import Federation, load_federation

ROOT = Path(__file__).resolve().parents[1]
HOW = {"ours": "as served here", "stock": "Flower as it comes"}
COHORTIUM = [sys.executable, "-m", "cohortium"]


class Echo:
    """Answers at once with so many bytes as the request asks for; remembers when it was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def answer(self, data: bytes) -> bytes:
        self.asked.append(time.time())
        wanted = int(data.removeprefix(MAGIC))
        return MAGIC + os.urandom(wanted - len(MAGIC))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(*words: object, folder: Path) -> str:
    command = [*COHORTIUM, *map(str, words)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def provisioned(folder: Path, names: list[str]) -> Federation:
    """A federation of ``names``, whose nodes are admitted."""
    invited = "".join(f'\n[[institution]]\nname = "{n}"\n' for n in names)
    head = f'[federation]\nname = "bench"\naddress = "127.0.0.1:{free_port()}"\ncontrol = "127.0.0.1:{free_port()}"\n'
    (folder / "federation.toml").write_text(head + invited)
    (folder / "t.csv").write_text("a\n1\n")
    say("provision", "federation.toml", "--out", "fed", folder=folder)
    for name in names:
        output = say("institution", "join", f"fed/kits/{name}.zip", name, "--data", "t.csv", folder=folder)
        spoken = re.search("([0-9A-F]{4}-){7}[0-9A-F]{4}", output)
        assert spoken is not None
        where = f"{name}/relay/application.json"
        say("coordinator", "admit", "fed", where, "--fingerprint", spoken[0], folder=folder)
    return load_federation(folder / "fed")


@contextmanager
def forks(*work: Callable[[], object]) -> Iterator[None]:
    pids = [forked(w, "bench") for w in work]
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        for pid in pids:
            os.waitpid(pid, 0)


def linked(federation: Federation) -> None:
    from cohortium_server.flower.link import run_link

    logs.set_up("link", quoting=True, stream=(federation.folder / "link.log").open("a"))
    run_link(federation)


def executed(federation: Federation, orders: Path) -> None:
    from cohortium_server.flower.executor import run_executor

    logs.set_up("executor", quoting=True, stream=(federation.folder / "executor.log").open("a"))
    run_executor(federation, partial(measured, orders))


def measured(orders: Path, grid: Any, context: Any) -> None:
    """In the study's process: the round trips that ``orders`` asks for, and how many seconds each took."""
    order = json.loads(orders.read_text())
    while len(list(grid.get_node_ids())) < order["nodes"]:
        time.sleep(0.2)
    exchange = {"ours": ours, "stock": stock}[order["how"]]
    took = []
    for _ in range(order["times"]):
        began = time.monotonic()
        got = exchange(grid, MAGIC + str(order["bytes"]).encode(), order["nodes"])
        took.append(time.monotonic() - began)
        assert got == [order["bytes"]] * order["nodes"], got
    Path(order["out"]).write_text(json.dumps(took))


def ours(grid: Any, request: bytes, nodes: int) -> list[int]:
    from cohortium_server.app import FlowerTransport

    return [len(a) for a in FlowerTransport(grid, nodes).exchange(request, 600.0)]


def stock(grid: Any, request: bytes, nodes: int) -> list[int]:
    from flwr.app import ConfigRecord, Message, RecordDict

    from cohortium_server.app import FIELD, MESSAGE_TYPE, RECORD

    content = RecordDict({RECORD: ConfigRecord({FIELD: request})})
    messages = [Message(content, node, MESSAGE_TYPE, ttl=600.0) for node in grid.get_node_ids()]
    return [len(a.content[RECORD][FIELD]) for a in grid.send_and_receive(messages, timeout=600.0)]


@contextmanager
def nodes(relays: list[Relay], how: str, folder: Path) -> Iterator[list[Path]]:
    """The institutions' nodes; yields their logs."""
    started, found = [], []
    for relay in relays:
        path = folder / f"{relay.institution}-{how}.log"
        command, extra = (_ours if how == "ours" else _stock)(relay)
        with path.open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **extra}))
        found.append(path)
    try:
        yield found
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


def _ours(relay: Relay) -> tuple[list[str], dict[str, str]]:
    return [*COHORTIUM, "institution", "relay", str(relay.folder)], {"COHORTIUM_LOG": "json"}


def _stock(relay: Relay) -> tuple[list[str], dict[str, str]]:
    """As Flower's documentation starts one, with the bundle's ClientApp from the installed package."""
    tools = Path(sys.executable).parent
    quiet = {k: v for k, v in environment(relay.home, 1.0).items() if k != Variable.TASK_POLL}
    command = [
        str(tools / NODE_COMMAND),
        *(NodeOption.LINK, str(relay.address)),
        *(NodeOption.ROOT, str(relay.root)),
        *(NodeOption.KEY, str(relay.key)),
        *(NodeOption.HOST, "127.0.0.1", NodeOption.PORT, str(free_port())),
        *(NodeOption.CONFIG, f'socket="{relay.socket}"'),
    ]
    return command, {**quiet, "PATH": f"{tools}:{os.environ['PATH']}"}


def starts(log: Path, echo: Echo) -> list[float]:
    """Seconds from having a message to asking the custodian, for each message of a node of ours."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    had = [datetime.fromisoformat(w["at"]).timestamp() for w in lines if w["message"] == "Received successfully"]
    return [asked - before for before, asked in zip(had, echo.asked, strict=True)]


def trips(
    federation: Federation, how: str, relays: list[Relay], size: int, times: int, folder: Path
) -> tuple[Any, Any]:
    """Seconds of each round trip, and of each start of a relay (of ours)."""
    from cohortium_server.flower.control import control
    from cohortium_server.flower.reconciler import Reconciler

    out, orders = folder / f"{how}-{size}.json", folder / "orders.json"
    orders.write_text(json.dumps({"how": how, "nodes": len(relays), "bytes": size, "times": times, "out": str(out)}))
    with ExitStack() as stack:
        echoes = [Echo() for _ in relays]
        limits = Limits(message=max(size, 1 << 20) + 1024)
        for relay, echo in zip(relays, echoes, strict=True):
            stack.enter_context(serve(echo, relay.socket, limits=limits))
        logs_of = stack.enter_context(nodes(relays, how, folder))
        reconciler = Reconciler(federation)
        waited(lambda: (reconciler.look(), reconciler.online and all(reconciler.online.values()))[1])
        with control(federation) as link:
            link.start({"federation": "bench", "resume": "bench"})
        waited(out.exists)
        begun = (
            [s for log, echo in zip(logs_of, echoes, strict=True) for s in starts(log, echo)] if how == "ours" else []
        )
    gone(reconciler)
    return json.loads(out.read_text()), begun


def waited(true: Callable[[], object], patience: float = 300.0) -> None:
    until = time.monotonic() + patience
    while True:
        try:
            if true():
                return
        except FederationError:
            pass  # the link is being started
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.2)


def gone(reconciler: Any) -> None:
    """Wait until the link has seen the nodes go, so that the next ones are let in."""
    waited(lambda: (reconciler.look(), not any(reconciler.online.values()))[1])


def measure(institutions: int, megabytes: float, times: int) -> list[Figure]:
    large, small = int(megabytes * 1e6), 1000
    found: dict[tuple[str, int], tuple[list[float], list[float]]] = {}
    folder = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))
    try:
        names = [f"i{k}" for k in range(institutions)]
        federation = provisioned(folder, names)
        os.environ.update(environment(federation.state / "flower", 0.5))
        relays = [load_relay(folder / name / "relay") for name in names]
        with forks(partial(linked, federation), partial(executed, federation, folder / "orders.json")):
            for how in HOW:
                for size in (small, large):
                    found[how, size] = trips(federation, how, relays, size, times, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures(found, small, large, megabytes)


def figures(
    found: dict[tuple[str, int], tuple[list[float], list[float]]], small: int, large: int, megabytes: float
) -> list[Figure]:
    reported = []
    for size, words in ((small, "1 kB"), (large, f"{megabytes:g} MB")):
        (mine, begun), (theirs, _) = found["ours", size], found["stock", size]
        note = f"{min(mine):.1f} to {max(mine):.1f}"
        reported += [
            Figure(f"round trip, {words}", statistics.median(mine), "s", 15.0 if size == large else None, note),
            Figure(f"round trip, {words}, {HOW['stock']}", statistics.median(theirs), "s"),
            Figure(
                f"round trip, {words}: ours / Flower's", statistics.median(mine) / statistics.median(theirs), "ratio"
            ),
            Figure(
                f"of it the relay's start, {words}", statistics.median(begun), "s", 2.0, f"at most {max(begun):.2f}"
            ),
        ]
    return reported


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--institutions", type=int, default=2)
    arguments.add_argument("--megabytes", type=float, default=10.0)
    arguments.add_argument("--times", type=int, default=5)
    arguments.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "round_trip.json")
    chosen = arguments.parse_args()
    found = measure(chosen.institutions, chosen.megabytes, chosen.times)
    Console().print(shown(found, f"A round trip to {chosen.institutions} institutions"))
    write(found, {"institutions": chosen.institutions, "times": chosen.times}, chosen.out)


if __name__ == "__main__":
    main()
