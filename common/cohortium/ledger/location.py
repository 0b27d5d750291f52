"""Where a ledger's files are, who holds them, and the errors for a ledger that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

from cohortium.errors import LedgerError
from cohortium.system import locks


def home() -> Path:
    """Where ledgers and keys lie by default: $COHORTIUM_HOME or ~/.cohortium."""
    return Path(os.environ.get("COHORTIUM_HOME") or Path.home() / ".cohortium")


def witness_of(path: Path) -> Path:
    """Where the newest head is kept by default."""
    return path.with_name(path.name + ".head")


def pending(path: Path) -> Path:
    """Where a restored ledger lies, whole, until it is in its place; the ledger is not opened meanwhile."""
    return path.with_name(path.name + ".restoring")


def hold_alone(path: Path) -> int:
    """The lock of the ledger at ``path``, whether the file is there or not; LedgerError where somebody else has it.

    It is given back when the descriptor is closed, or the process ends.
    """
    try:
        lock = locks.hold(path.with_name(path.name + ".lock"))
    except OSError:
        raise unavailable(path) from None
    if lock is None:
        raise taken(path)
    return lock


def require_free(path: Path) -> None:
    """LedgerError where another process holds the ledger alone."""
    try:
        held = locks.is_held(path.with_name(path.name + ".lock"))
    except OSError:
        raise unavailable(path) from None
    if held:
        raise taken(path)


def taken(path: Path) -> LedgerError:
    what, fix = "another process holds it", "Stop that one, the custodian that serves it: a ledger has one."
    return LedgerError("E_LEDGER_UNAVAILABLE", path.name, what, fix)


def unavailable(path: Path) -> LedgerError:
    return LedgerError(
        "E_LEDGER_UNAVAILABLE",
        path.name,
        "it cannot be opened, locked or written",
        "Check the disk, the rights and that no other custodian uses it; nothing was sent.",
    )


def rolled_back(path: Path) -> LedgerError:
    return LedgerError(
        "E_LEDGER_ROLLED_BACK",
        path.name,
        "it lacks entries that it once had: it was deleted, cut off or replaced by an older copy",
        "Stop, and put back the newest ledger there is, or restore a backup with two persons (docs/backup.md).",
    )


def half_restored(path: Path) -> LedgerError:
    return LedgerError(
        "E_LEDGER_UNAVAILABLE",
        path.name,
        "restoring it was broken off",
        "Run cohortium ledger restore again: it finishes what was begun.",
    )
