"""Runs studies at the coordinator: each in a fork of a process that has the installed program imported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import Queue
from typing import Any

from cohortium.flower.executor import run_forking
from cohortium.flower.internals import private
from cohortium.flower_names import SERVERAPP, TLS, Task
from cohortium_server.flower.whole import WholeAnswers
from cohortium_server.membership.federation import Federation

Program = Callable[[Any, Any], object]
"""What is run with a grid and a context: a Flower ServerApp, or a function like one."""


def run_executor(federation: Federation, program: Program | None = None) -> None:
    """Run the link's tasks until a signal stops the process: the study's program, or another that this machine chooses."""
    if program is None:
        from cohortium_server.app import app

        program = app
    secret = federation.executor_secret.read_bytes()
    root = str(federation.root_certificate)
    run_forking(Task.SERVERAPP, partial(_run, _only(program)), str(federation.control), secret, root, at_once=True)


def _only(program: Program) -> Any:
    """Flower's module of tasks, which runs ``program`` whatever a bundle names."""

    def run(grid: Any, context: Any, **_: object) -> Any:
        program(WholeAnswers(grid), context)
        return context

    tasks = private(SERVERAPP)
    tasks.run_ = run
    return tasks


def _run(tasks: Any, spec: Any) -> None:
    """One study, in a fork of its own."""
    tls = private(TLS)
    tasks.run_serverapp(
        runtime_api_address=spec.runtime_api_address,
        log_queue=Queue(),
        token=spec.token,
        insecure=False,
        certificates=tls.validate_and_resolve_root_certificates(spec.root_certificates_path, False),
        parent_pid=None,
        runtime_dependency_install=False,
    )
