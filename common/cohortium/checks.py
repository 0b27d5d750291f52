"""What a preflight looks at, on either side: each line that fails ends with what to do."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from cohortium.errors import CohortiumError, InputError, MembershipError

SOON = timedelta(days=30)  # before a certificate expires, which takes people on both sides to renew
ROOM = 1 << 30  # bytes that a disk should have left: four of the largest answers
_MEMORY, _LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. fix: the next step, where it failed."""

    name: str
    passed: bool
    found: str
    fix: str = ""


def checked(name: str, look: Callable[[], str]) -> Check:
    """What ``look`` found, or how it failed."""
    try:
        return Check(name, True, look())
    except CohortiumError as error:
        return failed(name, error)
    except OSError as error:
        where = Path(str(error.filename)).name if error.filename else name
        fix = "Check the path and its rights, and as which user this was said."
        return Check(name, False, f"E_IO: {where}: {error.strerror or 'the system refused it'}", fix)


def failed(name: str, error: CohortiumError) -> Check:
    return Check(name, False, f"{error.code}: {error.where}: {error.what}", error.fix)


def lasting(certificate: x509.Certificate, where: str, fix: str) -> str:
    """Until when a certificate is valid; MembershipError E_CERTIFICATE if that is not now, or not for long."""
    now, until = datetime.now(UTC), certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        begins = f"it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise MembershipError("E_CERTIFICATE", where, begins, "Set this machine's clock.")
    if now >= until - SOON:
        ends = f"it {'expired' if now >= until else 'expires'} on {until:%Y-%m-%d}"
        raise MembershipError("E_CERTIFICATE", where, ends, fix)
    return f"valid until {until:%Y-%m-%d}"


def room(folder: Path) -> str:
    """How much a folder's disk has left; InputError E_IO if that is little."""
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        raise InputError("E_IO", folder.name, f"its disk has {in_units(free)} left", f"Free at least {in_units(ROOM)}.")
    return f"{in_units(free)} left"


def writable(folder: Path) -> str:
    """InputError E_IO unless files can be made in a folder, or in the one that it will be made in."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise InputError("E_IO", folder.name, "it cannot be written", "Run as its owner, or let its owner be who runs.")
    return "can be written"


def taken(*paths: Path) -> int:
    """Bytes on the disk of files, databases with the logs beside them, and folders; what goes meanwhile counts nothing."""
    logs = (path.with_name(path.name + end) for path in paths for end in ("-wal", "-shm"))
    return sum(_size(path) for path in {*paths, *logs, *(f for path in paths for f in path.rglob("*"))})


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def memory_left() -> int | None:
    """Bytes of memory that this process may still get; None where the system does not say."""
    lines = _MEMORY.read_text(encoding="ascii").splitlines() if _MEMORY.is_file() else []
    machine = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limits = [_number(_LIMIT / name) for name in ("memory.max", "memory.current")]
    own = [] if None in limits else [max(0, limits[0] - limits[1])]  # type: ignore[operator] # neither is None
    return min(machine + own, default=None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # ValueError: "max"
        return None


def in_units(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
