"""How Flower's processes are started: they report to nobody, look for no updates, and install nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
