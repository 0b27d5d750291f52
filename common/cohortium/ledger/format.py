"""The SQLite schema of a ledger and its versions.

Entries are append-only: triggers refuse to change or delete one, whoever opens the file. A message may be deleted once its
entry is listed in ``dropped``.
"""

from __future__ import annotations

import sqlite3

from cohortium.errors import LedgerError

FORMAT = 2
RESTORED = (
    3  # the same with a restoration in it: versions before restorations refuse it, and do not report a broken chain
)
NEWER = 4  # either of them with an amendment in it, or with messages dropped, for the same reason
FORMATS = (FORMAT, RESTORED, NEWER)
MESSAGES_STAY = """
CREATE TRIGGER IF NOT EXISTS messages_stay BEFORE DELETE ON message WHEN OLD.number NOT IN (SELECT number FROM dropped)
    BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""
TABLES = f"""
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, content TEXT NOT NULL, attempt TEXT UNIQUE,
    at TEXT NOT NULL, previous TEXT NOT NULL UNIQUE, hash TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS message (number INTEGER PRIMARY KEY REFERENCES entry (number), bytes BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS dropped (number INTEGER PRIMARY KEY REFERENCES entry (number)) STRICT;
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS entries_last BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
{MESSAGES_STAY}
CREATE TRIGGER IF NOT EXISTS messages_last BEFORE UPDATE ON message BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS dropped_stay BEFORE DELETE ON dropped BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS dropped_last BEFORE UPDATE ON dropped BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""
INCREMENTAL = 2  # of auto_vacuum: room is given back when that is asked for
BEGIN = f"PRAGMA user_version = {FORMAT}; {TABLES}"


def require_known(db: sqlite3.Connection, name: str) -> None:
    """LedgerError E_VERSION where the file ``name`` is of no version known here. A file without tables gets them."""
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    version = version_of(db)  # after the tables, which come in one with it
    if version == 0 and tables == 0:  # an empty file, as a version before left one when it was stopped
        db.executescript(f"BEGIN IMMEDIATE; {BEGIN} COMMIT;")
    elif version not in FORMATS:
        raise LedgerError(
            "E_VERSION",
            name,
            f"it is written in format {version}, this version of cohortium reads formats {FORMAT} to {FORMATS[-1]}",
            "Open it with the version that wrote it.",
        )


def version_of(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def mark(db: sqlite3.Connection, wanted: int) -> None:
    """Let versions that cannot read its contents refuse the file."""
    db.execute(f"PRAGMA user_version = {max(version_of(db), wanted)}")
