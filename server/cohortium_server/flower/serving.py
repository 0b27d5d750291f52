"""The coordinator, served: its link, its executor and its keeper, started again whenever they end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from cohortium.canonical import canonical_json
from cohortium.files import write_whole
from cohortium.flower.environment import environment
from cohortium.flower.internals import private
from cohortium.supervision import Child, supervise
from cohortium_server.federation import Federation

LINK, EXECUTOR, KEEPER = "link", "executor", "keeper"
_PRELOADED = (
    "flwr.superlink.cli.flower_superlink",
    "flwr.superlink.main",
    "flwr.superlink.runtime.run_serverapp",
    "flwr.supercore.superexec.run_superexec",
)


def serve_federation(federation: Federation) -> None:
    """Serve until SIGTERM or SIGINT."""
    for folder in (federation.state, federation.runs):
        folder.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("COHORTIUM_HOME", str(federation.state.absolute() / "home"))
    os.environ.update(environment(federation.state / "flower"))
    for module in _PRELOADED:  # once, for all the forks to come
        private(module)
    children = [
        Child(LINK, partial(_link, federation)),
        Child(EXECUTOR, partial(_executor, federation)),
        Child(KEEPER, partial(_keeper, federation)),
    ]
    supervise(children, partial(_told, federation))


def _link(federation: Federation) -> None:
    from cohortium_server.flower.link import run_link

    run_link(federation)


def _executor(federation: Federation) -> None:
    from cohortium_server.flower.executor import run_executor

    run_executor(federation)


def _keeper(federation: Federation) -> None:
    from cohortium_server.flower.keeper import keep

    keep(federation)


def _told(federation: Federation, counts: Mapping[str, int]) -> None:
    write_whole(federation.state / "restarts.json", canonical_json(dict(counts)))
