"""The relay, served: the node and the launcher of one institution, started again whenever they end."""

from __future__ import annotations

import secrets
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path

from cohortium import flower_names
from cohortium.errors import InputError
from cohortium.flower.environment import prepare, process
from cohortium.flower.internals import require_allowed
from cohortium.system import locks
from cohortium.system.files import write_whole
from cohortium.system.supervision import PATIENCE, supervise
from cohortium_client.flower.leaving import FINISHING
from cohortium_client.relay import Relay

NODE, LAUNCHER = "node", "launcher"
LOCK = "serving.lock"
LAST_BREATH = 5.0  # seconds that processes of a killed predecessor get to end
LOOK_EVERY = 0.2  # seconds between two polls; the node is a process of this machine, and keeps its tasks in memory


def serve_relay(relay: Relay) -> int:
    """Serve until a signal asks to stop; returns its number. To be called after ``require_alone``.

    The answer that is being made then is sent first, within ``FINISHING`` seconds.
    """
    from cohortium_client.flower.launcher import run_launcher
    from cohortium_client.flower.node import beat_faster, run_node

    proxy = relay.proxy()  # of the environment as it is now
    prepare(relay.home, LOOK_EVERY, flower_names.NODE, flower_names.NODE_APP, flower_names.CLIENTAPP)
    require_allowed(flower_names.INSTITUTION)
    import cohortium_client.app  # noqa: F401

    beat_faster()
    port, secret, check = _free_port(), secrets.token_hex(32), f"cohortium institution check {relay.folder}"
    launcher = process(LAUNCHER, partial(run_launcher, port, secret.encode(), relay.home), check)
    node = process(NODE, partial(run_node, relay, port, _launcher_secret(relay.home, secret), proxy), check)
    return supervise([launcher, replace(node, patience=FINISHING + PATIENCE)], in_turn=True)


def require_alone(relay: Relay) -> None:
    """Be the one process that serves the relay, until it ends; InputError E_INSTITUTION if another one does.

    Two nodes of one key would take each other's messages.
    """
    relay.home.mkdir(mode=0o700, exist_ok=True)
    if locks.hold_serving(relay.home / LOCK, LAST_BREATH) is None:
        what = f"{locks.holder(relay.home / LOCK)} serves this relay already"
        raise InputError("E_INSTITUTION", relay.folder.name, what, "Let that one serve, or stop it first.")


def _launcher_secret(home: Path, secret: str) -> Path:
    """The file of the secret that the launcher shows the node, drawn anew at every start."""
    path = home / "launcher.secret"
    write_whole(path, secret.encode())
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
