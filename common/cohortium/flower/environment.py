"""How Flower's processes are started: without telemetry, update checks, installations or further listening ports.

They are forks of one process that has imported what they need, so that each starts, and restarts, at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cohortium.flower.internals import private
from cohortium.flower_names import QUIET, SUPEREXEC, Part, Variable
from cohortium.system import logs
from cohortium.system.proxies import use_only
from cohortium.system.supervision import Child


def environment(home: Path, look_every: float) -> dict[str, str]:
    """The environment variables of a Flower process with its files in ``home``; they are read when Flower is imported.

    look_every: seconds between polls for tasks.
    """
    return {**QUIET, Variable.TASK_POLL: str(look_every), Variable.HOME: str(home.absolute())}


def prepare(home: Path, look_every: float, *parts: Part) -> None:
    """Prepare this process for forking Flower's: set its environment, then import what they need.

    They talk over loopback and never use a proxy, whatever the environment sets.
    """
    use_only(None)
    os.environ.update(environment(home, look_every))
    for part in (*parts, SUPEREXEC):
        private(part)


def process(name: str, work: Callable[[], object], check: str = "") -> Child:
    """A fork that does ``work``; it holds no data, so its log may pass on Flower's messages. check: as ``Child`` has it."""
    return Child(name, logs.named(name, work, quoting=True), check=check)
