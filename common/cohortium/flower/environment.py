"""How Flower's processes are started: they report to nobody, look for no updates, and install nothing.

They are forks of one process that has imported what they need, so that each is there at once, and again when it died.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cohortium import logs
from cohortium.flower.internals import private
from cohortium.supervision import Child

QUIET: Mapping[str, str] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


def environment(home: Path, look_every: float) -> dict[str, str]:
    """The variables of a process of Flower's whose own files lie in ``home``. They are read when Flower is imported.

    look_every: seconds between two questions for what is to be run here.
    """
    return {**QUIET, "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": str(look_every), "FLWR_HOME": str(home.absolute())}


def prepare(home: Path, look_every: float, *modules: str) -> None:
    """Let this process be the one that Flower's are forked from: set its environment, then import Flower's ``modules``."""
    os.environ.update(environment(home, look_every))
    for module in (*modules, "flwr.supercore.superexec.run_superexec"):
        private(module)


def process(name: str, work: Callable[[], object]) -> Child:
    """A fork that does ``work``; it holds no data, so that its log may pass on what Flower says."""
    return Child(name, logs.named(name, work, quoting=True))
