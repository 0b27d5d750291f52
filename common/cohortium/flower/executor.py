"""The executor of Flower's tasks: a fork that runs the one installed app, whatever bundle a task came with.

Flower's own executor looks a program up on the PATH, passes it the task's token on its command line and waits a second or two
for its imports. A fork has everything imported, gets the token in memory, and can run nothing but what is installed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from cohortium.flower.internals import private
from cohortium.flower_names import EXITS, LAUNCHES, SUPEREXEC, Task
from cohortium.system.supervision import PATIENCE, ProcessEnd, ended_with, forked

TASK_NAME = "task"
_log = logging.getLogger("cohortium.executor")


class Forks:
    """An executor for Flower's SuperExec: one fork a task.

    kind: the tasks that are run; others are refused. run: what a fork does with a task's specification. at_once: whether
    several may run; if not, a task still running when the next arrives has been abandoned by its requester, and is killed.
    """

    def __init__(self, kind: Task, run: Callable[[Any], object], at_once: bool) -> None:
        self._kind, self._run, self._at_once = kind, run, at_once
        self._results = private(LAUNCHES).LaunchResult
        self._inherited = private(EXITS).registered_exit_handlers
        self._pids: set[int] = set()

    def get_eligible_capacity(self, supported_task_types: set[Any], **_: object) -> tuple[set[Any], set[str]]:
        return {t for t in supported_task_types if str(t) == self._kind}, set()

    def wait_for_capacity(self, *_: object, **__: object) -> None:
        """There is always capacity: a node has one task at a time."""

    def launch(self, spec: Any) -> Any:
        if str(spec.task_type) != self._kind:
            return self._results.failed("only the installed app is run here")
        if not self._at_once:
            self.close()
        self._pids.add(forked(partial(self._task, spec), TASK_NAME))
        return self._results.accepted()

    def _task(self, spec: Any) -> None:
        self._inherited.clear()  # what ends the process that was forked is not to be ended by a task
        self._run(spec)

    def reconcile(self) -> None:
        self._bury()

    def _bury(self, reported: bool = True) -> None:
        """Forget the forks that have ended. reported: whether to log one that was killed, which could not log it itself."""
        ends = {pid: ended_with(pid) for pid in self._pids}
        self._pids = {pid for pid, code in ends.items() if code is None}
        for code in ends.values():
            if reported and code is not None and code < 0:
                _log.warning("a %s has ended: %s", self._kind, ProcessEnd(code))

    def close(self) -> None:
        """Kill all tasks.

        A task that is asked to stop reports to Flower that it is done, and its node then waits for the answer for ever.
        """
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + PATIENCE
        while self._pids and time.monotonic() < until:
            self._bury(reported=False)
            time.sleep(0.05)


def run_forking(
    kind: Task,
    run: Callable[[Any], object],
    address: str,
    secret: bytes,
    root: str | None = None,
    at_once: bool = False,
) -> None:
    """Flower's SuperExec for the tasks of ``address``, each run in a fork; returns when it is asked to stop.

    secret: authenticates it for tasks. root: the CA certificate file for ``address``, None on the local machine.
    """
    superexec = private(SUPEREXEC)
    superexec.get_executor = lambda *_, **__: Forks(kind, run, at_once)
    superexec.run_superexec(
        runtime_api_address=address,
        insecure=root is None,
        root_certificates_path=root,
        superexec_auth_secret=secret,
        runtime_dependency_install=False,
    )
