"""What the operating system can do, decided in one place, so that all of Cohortium agrees.

docs/platforms.md describes the consequences for users.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

from cohortium.errors import CohortiumError, InputError

POSIX = hasattr(os, "geteuid")
"""Files have an owner and a mode, folders can be opened and made durable, a file can be replaced while somebody reads it."""

SERVES = sys.platform == "linux" and POSIX and hasattr(os, "fork") and hasattr(socket, "SO_PEERCRED")
"""Whether forks can end with their parent and sockets identify the connecting user. Only Linux has both."""


def others_may(mode: int, bits: int) -> bool:
    """Whether a file's ``mode`` grants ``bits`` to anybody but its owner.

    Without modes it cannot be checked: the folder's own access rights decide then.
    """
    return POSIX and bool(mode & bits)


def require_serving(what: str) -> None:
    """InputError E_SYSTEM where a federation cannot be served."""
    if not SERVES:
        raise InputError(
            "E_SYSTEM",
            what,
            "a federation is served on Linux: this system lacks fork, or sockets that identify the connecting user",
            "Use a Linux host, a container (deploy/), or WSL 2 on Windows; simulations and releases work here.",
        )


def of_the_system(error: OSError) -> CohortiumError:
    """A full disk, a folder without rights: the system's own words, which hold no data."""
    where = Path(error.filename).name if isinstance(error.filename, str) else "file"
    what = error.strerror or "the system refused it"
    return InputError("E_IO", where, what, "Check the path, its rights and the free space; nothing partial was left.")


def is_about_files(error: BaseException) -> bool:
    """Whether the system refused something about files or disks, which a person has to fix, rather than about a connection."""
    if not isinstance(error, OSError) or isinstance(error, (ConnectionError, TimeoutError)):
        return False
    return error.filename is not None or error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.EFBIG,
    )
