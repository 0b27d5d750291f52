"""Locks on files, which end with the process that holds them, however that ends, and with its forks.

On POSIX they are flock's: they bind only those who ask. On Windows they also keep others from reading what is locked, so what
is locked is a file of its own, or is read by nobody else for longer than a moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import portalocker
from portalocker import AlreadyLocked, LockException, LockFlags

from cohortium.system.files import overwrite
from cohortium.system.platforms import POSIX

_MOMENT = 0.2  # seconds: longer than anybody who only looks holds one


def hold(path: Path, patience: float = _MOMENT) -> int | None:
    """The lock on a file, which is created if needed. Closing the descriptor releases it.

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


def hold_serving(path: Path, last_breath: float) -> int | None:
    """As ``hold``, for a process that serves: its number is in the file meanwhile, and it is refused at once by one that lives.

    last_breath: seconds that the forks of one that was killed get to be gone.
    """
    lock = hold(path)
    if lock is None and not _lives(_number(path)):
        lock = hold(path, last_breath)
    if lock is not None:
        os.truncate(lock, 0)
        overwrite(lock, str(os.getpid()).encode())
    return lock


def holder(path: Path) -> str:
    """Who serves, in words: the number of its process, where that is known. In another container it may be nobody's."""
    number = _number(path)
    return "another process" if number is None else f"process {number}"


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _lives(process: int | None) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (OSError, UnicodeDecodeError):
        return False


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
    """A shared lock on a file, which is created if needed; waits while somebody holds it exclusively."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    _wait(lock, LockFlags.SHARED)
    return lock


def take(lock: int) -> bool:
    """Hold the lock on what is open; whether nobody else does."""
    try:
        portalocker.lock(lock, LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING)
    except LockException:
        return False
    return True


@contextmanager
def alone(lock: int) -> Iterator[None]:
    """Hold the lock on an open file inside the ``with`` block, after waiting for its present holder."""
    _wait(lock, LockFlags.EXCLUSIVE)
    try:
        yield
    finally:
        portalocker.unlock(lock)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Inside, no other user of this lock changes the folder: checking for a file and creating it is one step.

    Raises OSError where there is no such folder, or the system has no locks.
    """
    lock = _of_folder(folder)
    try:
        yield
    finally:
        os.close(lock)


IN_FOLDER = (
    ".lock"  # where a folder itself cannot be locked: on Windows, and on network disks that lock what is written alone
)


def _of_folder(folder: Path) -> int:
    if POSIX:
        lock = os.open(folder, os.O_RDONLY)
        with suppress(OSError):
            _wait(lock, LockFlags.EXCLUSIVE)
            return lock
        os.close(lock)
    lock = os.open(folder / IN_FOLDER, os.O_CREAT | os.O_RDWR, 0o600)
    _wait(lock, LockFlags.EXCLUSIVE)
    return lock


def _wait(lock: int, kind: LockFlags) -> None:
    """Raises OSError where the system has no locks, as on some network disks."""
    while True:
        try:
            portalocker.lock(lock, kind)
        except AlreadyLocked:  # Windows gives up after ten seconds
            continue
        except LockException as error:
            raise OSError("the file cannot be locked") from error
        return
