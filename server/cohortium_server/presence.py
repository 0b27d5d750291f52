"""Whether a federation is being served, and who was online when its keeper last looked."""

from __future__ import annotations

import json
from pathlib import Path

from cohortium import locks

ONLINE, LOCK = "online.json", "serving.lock"


def hold(state: Path) -> int | None:
    """What whoever serves holds; None if somebody else does."""
    return locks.hold(state / LOCK)


def is_serving(state: Path) -> bool:
    return locks.is_held(state / LOCK)


def online(state: Path) -> dict[str, bool]:
    """Whether each member was there when it was last looked; nothing where nobody serves, for then nobody knows."""
    if not is_serving(state):
        return {}
    try:
        return {str(name): bool(there) for name, there in json.loads((state / ONLINE).read_bytes()).items()}
    except (FileNotFoundError, ValueError):
        return {}
