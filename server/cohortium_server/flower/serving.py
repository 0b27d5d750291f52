"""The coordinator as a service: its link, executor and reconciler, each restarted when it ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cohortium import flower_names
from cohortium.errors import FederationError
from cohortium.flower.environment import prepare, process
from cohortium.flower.internals import require_allowed
from cohortium.system.canonical import canonical_json
from cohortium.system.files import write_whole
from cohortium.system.platforms import of_the_system
from cohortium.system.supervision import supervise
from cohortium_server.membership.federation import Federation
from cohortium_server.membership.presence import BEGUN, ONLINE, RESTARTS, hold, holder, use_home
from cohortium_server.preflight import require_ready

_log = logging.getLogger("cohortium.system.supervision")
LINK, EXECUTOR, KEEPER = "link", "executor", "reconciler"
LOOK_EVERY = 0.5  # seconds; every question is written into the link's database


def take(federation: Federation) -> None:
    """Become the one process that serves the federation, until it ends; raises what is in the way before anything is started."""
    for folder in (federation.state, federation.runs):
        folder.mkdir(mode=0o700, exist_ok=True)
    _only_here(federation.state)
    use_home(federation.state)
    require_ready(federation)
    prepare(federation.state / "flower", LOOK_EVERY, flower_names.LINK, flower_names.LINK_APP, flower_names.SERVERAPP)
    require_allowed(flower_names.COORDINATOR)


def serve_federation(federation: Federation) -> int:
    """Serve the federation that was taken until a signal asks to stop; returns its number."""
    (federation.state / BEGUN).touch()
    works = {LINK: _link, EXECUTOR: _executor, KEEPER: _reconciler}
    check = f"cohortium coordinator check {federation.folder}"
    children = [process(name, partial(work, federation), check) for name, work in works.items()]
    return supervise(children, partial(_write_restarts, federation))


def _only_here(state: Path) -> None:
    """Take the lock, held until this process and its forks end: one coordinator serves a federation."""
    if hold(state) is None:
        what, fix = f"{holder(state)} serves it already", "Let that one serve, or stop it first."
        raise FederationError("E_FEDERATION", state.parent.name, what, fix)


def _link(federation: Federation) -> None:
    from cohortium_server.flower.link import run_link

    run_link(federation)


def _executor(federation: Federation) -> None:
    from cohortium_server.flower.executor import run_executor

    run_executor(federation)


def _reconciler(federation: Federation) -> None:
    from cohortium_server.flower.reconciler import reconcile
    from cohortium_server.metrics import metrics_served

    with metrics_served(federation):
        reconcile(federation, partial(_seen, federation))


def _seen(federation: Federation, online: Mapping[str, bool]) -> None:
    write_whole(federation.state / ONLINE, canonical_json(dict(online)))


def _write_restarts(federation: Federation, counts: Mapping[str, int]) -> None:
    try:
        write_whole(federation.state / RESTARTS, canonical_json(dict(counts)))
    except OSError as error:  # only metrics need it; a full disk must not end the service
        _log.warning("%s", of_the_system(error))
