"""The coordinator, served: its link, its executor and its keeper, started again whenever they end."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cohortium.canonical import canonical_json
from cohortium.errors import FederationError
from cohortium.files import write_whole
from cohortium.flower import names
from cohortium.flower.environment import prepare, process
from cohortium.supervision import supervise
from cohortium_server.federation import Federation
from cohortium_server.presence import BEGUN, ONLINE, RESTARTS, hold, use_home

LINK, EXECUTOR, KEEPER = "link", "executor", "keeper"
LOOK_EVERY = 0.5  # seconds; every question is written into the link's database


def serve_federation(federation: Federation) -> int:
    """Serve until a signal asks for the end; its number."""
    for folder in (federation.state, federation.runs):
        folder.mkdir(mode=0o700, exist_ok=True)
    _only_here(federation.state)
    use_home(federation.state)
    (federation.state / BEGUN).touch()
    prepare(federation.state / "flower", LOOK_EVERY, names.LINK, names.LINK_APP, names.SERVERAPP)
    works = {LINK: _link, EXECUTOR: _executor, KEEPER: _keeper}
    return supervise(
        [process(name, partial(work, federation)) for name, work in works.items()], partial(_told, federation)
    )


def _only_here(state: Path) -> None:
    """Held until the process ends, and by its forks: one coordinator serves a federation."""
    if hold(state) is None:
        what, fix = "another process serves it", "Let that one serve, or stop it first."
        raise FederationError("E_FEDERATION", state.parent.name, what, fix)


def _link(federation: Federation) -> None:
    from cohortium_server.flower.link import run_link

    run_link(federation)


def _executor(federation: Federation) -> None:
    from cohortium_server.flower.executor import run_executor

    run_executor(federation)


def _keeper(federation: Federation) -> None:
    from cohortium_server.flower.keeper import keep
    from cohortium_server.metrics import metrics_served

    with metrics_served(federation):
        keep(federation, partial(_seen, federation))


def _seen(federation: Federation, online: Mapping[str, bool]) -> None:
    write_whole(federation.state / ONLINE, canonical_json(dict(online)))


def _told(federation: Federation, counts: Mapping[str, int]) -> None:
    write_whole(federation.state / RESTARTS, canonical_json(dict(counts)))
