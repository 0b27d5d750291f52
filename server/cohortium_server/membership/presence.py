"""Whether a federation is being served, where the service keeps its keys, and who was online at the last look."""

from __future__ import annotations

import os
from pathlib import Path

from cohortium.system import locks
from cohortium.system.documents import load_json

ONLINE, RESTARTS, LOCK = "online.json", "restarts.json", "serving.lock"
BEGUN = "begun"  # exists until the reconciler's first look since the coordinator began to serve
LAST_BREATH = 5.0  # seconds that processes of a killed predecessor get to end


def hold(state: Path) -> int | None:
    """The lock of the process that serves; None if another process holds it."""
    return locks.hold_serving(state / LOCK, LAST_BREATH)


def holder(state: Path) -> str:
    """The process that serves, for the message to one that is refused."""
    return locks.holder(state / LOCK)


def is_serving(state: Path) -> bool:
    return locks.is_held(state / LOCK)


def home_of(state: Path) -> Path:
    """The default folder of a federation's signing key and the institutions' receipts."""
    return Path(os.environ.get("COHORTIUM_HOME") or state.absolute() / "home")


def use_home(state: Path) -> None:
    """Let this process keep them there."""
    os.environ["COHORTIUM_HOME"] = str(home_of(state))


def online(state: Path) -> dict[str, bool]:
    """Whether each member was online at the last look; empty where nobody serves, as nobody knows then."""
    if not is_serving(state):
        return {}
    try:
        return {str(name): bool(there) for name, there in load_json(state / ONLINE).items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}
