"""Whether a relay is answering now: it holds a lock as long as it lives, which the kernel takes back however it ends.

Flower's node waits for the answer of a relay for ever if it dies at the wrong moment. This is how ours knows better.
"""

from __future__ import annotations

from pathlib import Path

from cohortium.system import locks

_LOCK = "answering.lock"


def answer_as_long_as_we_live(home: Path) -> None:
    """Hold the lock, shared with others, until this process ends."""
    locks.share(home / _LOCK)


def is_answering(home: Path) -> bool:
    """Whether any process answers."""
    return locks.is_held(home / _LOCK)
