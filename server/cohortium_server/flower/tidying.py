"""Removes what a coordinator's folder no longer needs, and gives the space back.

Flower deletes the messages of a finished run from its database but does not free the space. In a run's folder the state at which
a round was asked is needed until that round is complete. The sums are needed to make the release again, which costs no privacy
and cannot be done by anybody else: they stay, unless ``keep_sums`` in federation.toml limits the days after the release.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cohortium.errors import CohortiumError
from cohortium_server import desired_state
from cohortium_server.membership.federation import Federation
from cohortium_server.rounds.folder_journal import FolderJournal

EVERY = 3600.0  # seconds between two rounds of tidying while nothing happens
_INCREMENTAL = 2  # of SQLite's auto_vacuum
_WAIT = 2.0  # seconds to wait for another process's lock; tidying is tried again later
_PIECE, _PAUSE = 256, 0.02  # pages returned at a time, and the seconds in between during which others can write
_log = logging.getLogger("cohortium.reconciler")


@dataclass
class Tidying:
    """Tidies when a run has ended and no other is running, and once in ``EVERY`` while nothing happens."""

    federation: Federation
    busy: bool = True
    due: float = 0.0

    def look(self, busy: bool) -> None:
        """Tidy if it is due, never while any run is running. busy: whether one is."""
        if busy or not (self.busy or time.monotonic() >= self.due):
            self.busy = busy
            return
        self.busy, self.due = False, time.monotonic() + EVERY
        shrink(self.federation.link_database)
        tidy_runs(self.federation)


def make_shrinkable(database: Path) -> None:
    """Before Flower opens it: let a new file, or one of an older version, shrink while it is used.

    Where the disk has no room for that, it is left as it is; its free space is at least reused.
    """
    try:
        with closing(sqlite3.connect(database, isolation_level=None, timeout=_WAIT)) as db:
            if db.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
                db.execute("VACUUM")
    except sqlite3.Error as error:
        _log.warning("%s cannot be made smaller now: %s", database.name, type(error).__name__)


def shrink(database: Path) -> None:
    """Return the free space of the link's database and its log to the disk, while the link goes on.

    Piece by piece: nobody else can write while a piece is returned, and a link that cannot write ends nodes and studies.
    """
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, isolation_level=None, timeout=_WAIT)) as db:
            free = _free(db)
            while free > 0:
                db.executescript(f"PRAGMA incremental_vacuum({_PIECE})")  # ``execute`` frees one page alone
                before, free = free, _free(db)
                if free >= before:
                    break  # a file that cannot shrink, or somebody fills it faster
                time.sleep(_PAUSE)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        _log.info("%s cannot be made smaller now: %s", database.name, type(error).__name__)


def _free(db: sqlite3.Connection) -> int:
    """Pages of the file that hold nothing."""
    return int(db.execute("PRAGMA freelist_count").fetchone()[0])


def tidy_runs(federation: Federation) -> None:
    """Remove what no run in the folder needs any more. One that cannot be read is left as it is."""
    for file in federation.runs.glob("*/run.json"):
        try:
            _tidy(file.parent, federation.keep_sums)
        except (CohortiumError, OSError) as error:
            _log.info("run %s was left as it is: %s", file.parent.name, type(error).__name__)


def _tidy(run: Path, keep: int | None) -> None:
    end = desired_state.ended(run)
    if end is None or not (keep or _has_leftovers(run)):
        return  # the order has not ended, or nothing is left to remove
    with closing(FolderJournal(run)) as journal:
        journal.tidy()
        if keep is not None and end.error is None and _before(run / desired_state.END, keep):
            journal.remove_sums()


def _has_leftovers(run: Path) -> bool:
    return any(path.with_suffix(".sum").exists() for end in ("asked", "begun") for path in run.glob(f"[0-9]*.{end}"))


def _before(file: Path, days: int) -> bool:
    """Whether the file was written more than so many days ago."""
    return file.stat().st_mtime < (datetime.now(UTC) - timedelta(days=days)).timestamp()
