"""Whether a federation is being served, and who was online when its keeper last looked."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

ONLINE, LOCK = "online.json", "serving.lock"


def hold(state: Path) -> int | None:
    """A lock that ends with whoever holds it and its forks; None if somebody else does."""
    lock = os.open(state / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def is_serving(state: Path) -> bool:
    if not (state / LOCK).is_file():
        return False
    lock = hold(state)
    if lock is not None:
        os.close(lock)
    return lock is None


def online(state: Path) -> dict[str, bool]:
    """Whether each member was there when it was last looked; nothing where nobody serves, for then nobody knows."""
    if not is_serving(state):
        return {}
    try:
        return {str(name): bool(there) for name, there in json.loads((state / ONLINE).read_bytes()).items()}
    except (FileNotFoundError, ValueError):
        return {}
