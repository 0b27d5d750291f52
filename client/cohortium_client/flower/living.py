"""Whether a relay is answering now: it holds a lock as long as it lives, which the kernel takes back however it ends.

Flower's node waits for the answer of a relay for ever if it dies at the wrong moment. This is how ours knows better.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_LOCK = "answering.lock"


def answer_as_long_as_we_live(home: Path) -> None:
    """Hold the lock, shared with others, until this process ends."""
    fcntl.flock(os.open(home / _LOCK, os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_SH)


class Living:
    """Looks whether any process answers."""

    def __init__(self, home: Path) -> None:
        self._lock = os.open(home / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)

    def __call__(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return False
