"""What runs studies at the coordinator: a fork for each, of a process that has the installed program imported."""

from __future__ import annotations

from queue import Queue
from typing import Any

from cohortium.flower.executor import run_forking
from cohortium.flower.internals import private
from cohortium_server.federation import Federation

TASK = "flwr-serverapp"


def run_executor(federation: Federation) -> None:
    """Run what the link has to be run until told to stop."""
    _installed_only()
    secret = federation.executor_secret.read_bytes()
    run_forking(TASK, _run, str(federation.control), secret, str(federation.root_certificate), at_once=True)


def _installed_only() -> Any:
    """Flower's module of tasks, which runs the installed program whatever a bundle names."""
    from cohortium_server.app import app

    def run(grid: Any, context: Any, **_: object) -> Any:
        app(grid=grid, context=context)
        return context

    tasks = private("flwr.superlink.runtime.run_serverapp", "run_serverapp", "run_")
    tasks.run_ = run
    return tasks


def _run(spec: Any) -> None:
    """One study, in a fork of its own."""
    tls = private("flwr.supercore.tls", "validate_and_resolve_root_certificates")
    _installed_only().run_serverapp(
        runtime_api_address=spec.runtime_api_address,
        log_queue=Queue(),
        token=spec.token,
        insecure=False,
        certificates=tls.validate_and_resolve_root_certificates(spec.root_certificates_path, False),
        parent_pid=None,
        runtime_dependency_install=False,
    )
