"""What a preflight looks at, on either side: each line that fails ends with what to do."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from cohortium.errors import CohortiumError, InputError, MembershipError
from cohortium.system.logs import about

SOON = timedelta(days=30)  # before a certificate expires, which takes people on both sides to renew
_log = logging.getLogger("cohortium.system.checks")
ROOM = 1 << 30  # bytes that a disk should have left: four of the largest answers
_PROBE = 1 << 16  # bytes
_MEMORY, _LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Check:
    """The result of one check. fix: the next step, where it failed or is a warning.

    warning: it passed, and what was found means that less will come of a study than might, or nothing for now.
    """

    name: str
    passed: bool
    found: str
    fix: str = ""
    warning: bool = False

    @property
    def word(self) -> str:
        """As a line begins."""
        return "FAIL" if not self.passed else "warn" if self.warning else "ok  "

    def as_dict(self) -> dict[str, object]:
        """For JSON; ``warning`` is present in warnings alone."""
        return {k: v for k, v in vars(self).items() if v or k != "warning"}


@dataclass(frozen=True)
class Warned:
    """What was found where it is a warning, and the next step."""

    found: str
    fix: str


def checked(name: str, look: Callable[[], str | Warned]) -> Check:
    """What ``look`` found, or how it failed."""
    try:
        found = look()
        return (
            Check(name, True, found.found, found.fix, True) if isinstance(found, Warned) else Check(name, True, found)
        )
    except CohortiumError as error:
        return failed(name, error)
    except OSError as error:
        where = Path(str(error.filename)).name if error.filename else name
        fix = "Check the path and its permissions, and which user runs this command."
        return Check(name, False, f"E_IO: {where}: {error.strerror or 'the system refused it'}", fix)


def failed(name: str, error: CohortiumError) -> Check:
    return Check(name, False, f"{error.code}: {error.where}: {error.what}", error.fix)


def noted(look: Callable[[], object]) -> None:
    """Run a check whose failure does not prevent serving: it becomes one line of the log."""
    try:
        look()
    except CohortiumError as error:
        _log.warning("%s", error, extra=about(code=error.code))


def valid(certificate: x509.Certificate, where: str, fix: str) -> str:
    """Until when a certificate is valid; MembershipError E_CERTIFICATE if that is not now."""
    now, until = datetime.now(UTC), certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        begins = f"it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise MembershipError("E_CERTIFICATE", where, begins, "Set this machine's clock.")
    if now >= until:
        raise MembershipError("E_CERTIFICATE", where, f"it expired on {until:%Y-%m-%d}", fix)
    return f"valid until {until:%Y-%m-%d}"


def lasting(certificate: x509.Certificate, where: str, fix: str) -> str:
    """As ``valid``; MembershipError E_CERTIFICATE also for one that is not valid for long."""
    words, until = valid(certificate, where, fix), certificate.not_valid_after_utc
    if datetime.now(UTC) >= until - SOON:
        raise MembershipError("E_CERTIFICATE", where, f"it expires on {until:%Y-%m-%d}", fix)
    return words


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
    """Bytes on disk of files, databases with their logs, and folders; files that vanish meanwhile count as 0."""
    logs = (path.with_name(path.name + end) for path in paths for end in ("-wal", "-shm"))
    return sum(_size(path) for path in {*paths, *logs, *(f for path in paths for f in path.rglob("*"))})


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def writes(folder: Path) -> str:
    """InputError E_IO unless a file can be written into a folder now: its disk may be full, or mounted to be read."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        what = f"nothing can be written there: {error.strerror or 'the system refused it'}"
        fix = "Free its disk, mount it for writing, or let its owner be who runs."
        raise InputError("E_IO", folder.name, what, fix) from None
    return "can be written"


def memory_left() -> int | None:
    """Bytes of memory still available to this process; None where the system does not report it."""
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
