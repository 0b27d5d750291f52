"""Locks on files, which end with the process that holds them, however that ends, and with its forks."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_MOMENT = 0.2  # seconds: longer than anybody who only looks holds one


def hold(path: Path, patience: float = _MOMENT) -> int | None:
    """The lock on a file, made where there is none. It is given back when it is closed.

    patience: seconds to wait for somebody else to give it back; returns None if nobody does.
    """
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    until = time.monotonic() + patience
    while not take(lock):
        if time.monotonic() > until:
            os.close(lock)
            return None
        time.sleep(_MOMENT / 20)
    return lock


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock on a file."""
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not take(lock)
    finally:
        os.close(lock)


def share(path: Path) -> int:
    """The lock on a file, made where there is none, held beside others who share it; waits for whoever holds it alone."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def take(lock: int) -> bool:
    """Hold the lock on what is open; whether nobody else does."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
