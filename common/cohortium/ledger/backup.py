"""Backups of a ledger: taken while it is in use, and put in the place of one that is lost.

A ledger must not be copied or replaced as a single file. The latest commits may still be in the log beside it (``-wal``),
and SQLite would apply a log that it finds beside another ledger to that one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cohortium.errors import LedgerError
from cohortium.ledger.location import pending
from cohortium.ledger.restoration import Restoration
from cohortium.ledger.store import Ledger
from cohortium.system import failpoints
from cohortium.system.files import make_durable, open_to_overwrite, overwrite, publish_new

_BESIDE = ("-wal", "-shm", "")  # of a ledger's files; the ledger itself last


@dataclass(frozen=True)
class Backup:
    """A verified copy of a ledger: how many entries it holds, the hash of the last, and whether that is a restoration."""

    entries: int
    head: str
    restored: bool = False


def back_up(ledger: Ledger, out: Path) -> Backup:
    """Write what the ledger holds at one moment to ``out``, mode 0600, when it has been read back and verified.

    FileExistsError if there is a file; LedgerError if the ledger, or the copy, is not whole.
    """
    with _workplace(out) as copy:
        ledger.copy_to(copy)
        made = _sealed(copy)
        if not ledger.holds(made.head):
            raise _unreadable(out)
        publish_new(copy, out)
    return made


@contextmanager
def reading(backup: Path, beside: Path) -> Iterator[Ledger]:
    """A copy of ``backup``, opened and verified; it is made in ``beside`` and gone afterwards. The backup is not touched."""
    with _workplace(beside / "backup") as copy:
        _copied(backup, copy)
        with Ledger(copy) as opened:
            opened.verify()
            yield opened


def make_ready(backup: Path, path: Path, head: str, restoration: Restoration | None = None) -> Backup:
    """Let a backup lie ready to take the place of the ledger at ``path``, under ``restoration`` where entries are lost.

    Pre-condition: the caller holds the ledger's lock. From its last step on the ledger is not opened until ``finish``.
    LedgerError E_LEDGER_UNAVAILABLE unless it is whole and its head is ``head``.
    """
    with _workplace(path) as copy:
        _copied(backup, copy)
        with Ledger(copy) as opened:
            if opened.head() != head:
                raise _unreadable(backup)
            if restoration is not None:
                opened.restored(restoration)
        made = _sealed(copy)
        failpoints.passed("backup read")
        publish_new(copy, pending(path))
    failpoints.passed("restore begun")
    return replace(made, restored=restoration is not None)


def lies_ready(path: Path) -> Backup | None:
    """The backup that is to take the place of the ledger at ``path``."""
    ready = pending(path)
    if not ready.exists():
        return None
    try:
        with closing(_opened(ready)) as raw:
            number, kind, head = raw.execute(
                "SELECT number, kind, hash FROM entry ORDER BY number DESC LIMIT 1"
            ).fetchone()
    except (sqlite3.Error, TypeError):
        raise _unreadable(ready) from None
    return Backup(number, head, kind == "restoration")


def finish(path: Path, witness: Path, head: str) -> None:
    """Let what lies ready take the ledger's place, and the witness record its ``head``.

    Pre-condition: the caller holds the lock. What lay there is kept, as ``.lost-1`` and so on.
    """
    lost = _lost_name(path)
    for end in _BESIDE:
        there = path.with_name(path.name + end)
        if there.exists():
            there.rename(lost.with_name(lost.name + end))
    make_durable(path.parent)
    failpoints.passed("lost ledger aside")
    _write_witness(witness, head)
    pending(path).rename(path)
    make_durable(path.parent)
    failpoints.passed("ledger restored")


def _lost_name(path: Path) -> Path:
    """Of a lost ledger: the first that is free. Its own file is moved last, so that all of one ledger get the same."""
    number = 1
    while (kept := path.with_name(f"{path.name}.lost-{number}")).exists():
        number += 1
    return kept


def _write_witness(witness: Path, head: str) -> None:
    descriptor = open_to_overwrite(witness)
    try:
        overwrite(descriptor, head.encode())
    finally:
        os.close(descriptor)


@contextmanager
def _workplace(path: Path) -> Iterator[Path]:
    """Where a copy is made: in a folder of its own beside ``path``, which only its owner can enter."""
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder / "ledger.sqlite"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copied(backup: Path, copy: Path) -> None:
    """Whatever state a backup's file is in, it is only read."""
    try:
        with closing(_opened(backup)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.Error:
        raise _unreadable(backup) from None


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _sealed(copy: Path) -> Backup:
    """Verify a copy and make it one durable file that needs none beside it."""
    with Ledger(copy) as opened:
        made = Backup(opened.verify(), opened.head())
    with closing(sqlite3.connect(copy)) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")
    copy.chmod(0o600)
    with copy.open("r+b") as file:  # Windows makes nothing durable that is open for reading alone
        os.fsync(file.fileno())
    return made


def _unreadable(path: Path) -> LedgerError:
    return LedgerError(
        "E_LEDGER_UNAVAILABLE", path.name, "it cannot be read as a ledger's backup", "Check the path, or take another."
    )
