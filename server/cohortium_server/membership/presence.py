"""Whether a federation is being served, where the service keeps its keys, and who was online at the last look."""

from __future__ import annotations

import os
from pathlib import Path

from cohortium.system import locks
from cohortium.system.documents import load_json

ONLINE, RESTARTS, LOCK = "online.json", "restarts.json", "serving.lock"
BEGUN = "begun"  # there until the reconciler has looked for the first time since the coordinator began to serve
LAST_BREATH = 5.0  # seconds that what served before, and was killed, gets to be gone


def hold(state: Path) -> int | None:
    """What whoever serves holds; None if somebody else does."""
    return locks.hold_serving(state / LOCK, LAST_BREATH)


def holder(state: Path) -> str:
    """Which process serves, for whoever is refused."""
    return locks.holder(state / LOCK)


def is_serving(state: Path) -> bool:
    return locks.is_held(state / LOCK)


def home_of(state: Path) -> Path:
    """Where the runs of a federation keep its signing key and the institutions' receipts, unless told otherwise."""
    return Path(os.environ.get("COHORTIUM_HOME") or state.absolute() / "home")


def use_home(state: Path) -> None:
    """Let this process keep them there."""
    os.environ["COHORTIUM_HOME"] = str(home_of(state))


def online(state: Path) -> dict[str, bool]:
    """Whether each member was there when it was last looked; nothing where nobody serves, for then nobody knows."""
    if not is_serving(state):
        return {}
    try:
        return {str(name): bool(there) for name, there in load_json(state / ONLINE).items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}
