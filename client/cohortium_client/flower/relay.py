"""The relay, served: the node and the launcher of one institution, started again whenever they end."""

from __future__ import annotations

import secrets
import socket
from functools import partial
from pathlib import Path

from cohortium.files import write_whole
from cohortium.flower import names
from cohortium.flower.environment import prepare, process
from cohortium.supervision import supervise
from cohortium_client.relay import Relay

NODE, LAUNCHER = "node", "launcher"
LOOK_EVERY = 0.2  # seconds; the node is a process of this machine, and keeps its tasks in memory


def serve_relay(relay: Relay) -> int:
    """Serve until a signal asks for the end; its number."""
    from cohortium_client.flower.launcher import run_launcher
    from cohortium_client.flower.node import beat_faster, run_node

    relay.home.mkdir(mode=0o700, exist_ok=True)
    prepare(relay.home, LOOK_EVERY, names.NODE, names.NODE_APP, names.CLIENTAPP)
    import cohortium_client.app  # noqa: F401

    beat_faster()
    port, secret = _free_port(), secrets.token_hex(32)
    return supervise(
        [
            process(NODE, partial(run_node, relay, port, _kept(relay.home, secret))),
            process(LAUNCHER, partial(run_launcher, port, secret.encode(), relay.home)),
        ]
    )


def _kept(home: Path, secret: str) -> Path:
    """What the launcher shows the node, drawn anew at every start."""
    path = home / "launcher.secret"
    write_whole(path, secret.encode())
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
