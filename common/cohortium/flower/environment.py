"""How Flower's processes are started: they report to nobody, look for no updates, install nothing and open no further door.

They are forks of one process that has imported what they need, so that each is there at once, and again when it died.
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
    """The variables of a process of Flower's whose own files lie in ``home``. They are read when Flower is imported.

    look_every: seconds between two questions for what is to be run here.
    """
    return {**QUIET, Variable.TASK_POLL: str(look_every), Variable.HOME: str(home.absolute())}


def prepare(home: Path, look_every: float, *parts: Part) -> None:
    """Let this process be the one that Flower's are forked from: set its environment, then import what they need.

    They speak to one another over loopback, for which no proxy is asked, whatever the environment said.
    """
    use_only(None)
    os.environ.update(environment(home, look_every))
    for part in (*parts, SUPEREXEC):
        private(part)


def process(name: str, work: Callable[[], object], check: str = "") -> Child:
    """A fork that does ``work``; it holds no data, so that its log may pass on what Flower says. check: as ``Child`` has it."""
    return Child(name, logs.named(name, work, quoting=True), check=check)
