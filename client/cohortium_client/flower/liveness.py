"""Whether a relay is alive and answering: it holds a lock for as long as it lives, which the kernel releases however it ends.

Flower's node would wait for ever for a relay that dies at the wrong moment; this lock lets our node notice.
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
