"""Atomic, durable files: each is written aside, synced, then renamed, so it is complete or absent."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from cohortium.errors import InputError
from cohortium.system import failpoints
from cohortium.system.platforms import POSIX

_PATIENCE = 10.0  # seconds


def unread(path: Path, error: OSError) -> InputError:
    """InputError E_INPUT_NOT_FOUND for a file that cannot be read, with the actual reason."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        what, fix = "there is no such file to read", "Check the path."
    elif isinstance(error, IsADirectoryError):
        what, fix = "it is a folder", "Name a file."
    elif isinstance(error, PermissionError):
        what, fix = (
            "this user may not read it",
            "Check its permissions and its folder's, and which user runs this command.",
        )
    else:
        what, fix = f"it cannot be read: {error.strerror or type(error).__name__}", "Check the disk."
    return InputError("E_INPUT_NOT_FOUND", path.name, what, fix)


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``content`` at once; after a crash it holds the old content or the new. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        failpoints.passed("file written aside")
        Path(name).replace(path)
        make_durable(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_new(path: Path, content: bytes) -> None:
    """As ``write_whole``, where there is no file yet; FileExistsError, and nothing is touched, where there is one."""
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        write_whole(aside / path.name, content)
        publish_new(aside / path.name, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def make_once(path: Path, make: Callable[[Path], object]) -> None:
    """Have ``path`` made where it is not there: ``make`` writes the file it is given, durably, and that gets the name.

    Whoever finds the name finds all that was made; of many who make it at once, the first one's stays.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))  # nobody else's to enter
    try:
        make(aside / path.name)
        with suppress(FileExistsError):
            publish_new(aside / path.name, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_database(path: Path, begin: str) -> None:
    """A new SQLite database in WAL mode, of its owner alone, with what the statements ``begin`` put into it; durable, and closed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        made.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before all else: room is given back where that is asked for
        made.execute("PRAGMA synchronous = OFF")  # it is made durable below, once
        made.execute("PRAGMA journal_mode = WAL")
        made.executescript(begin)
    path.chmod(0o600)
    with path.open("r+b") as file:  # Windows makes nothing durable that is open for reading alone
        os.fsync(file.fileno())


def open_database(path: Path) -> sqlite3.Connection:
    """An SQLite database in WAL mode whose commits are durable, for any thread; it waits for others ten seconds. Raises sqlite3.Error."""
    opened = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE, check_same_thread=False)
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            opened.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:  # two who change the mode of one file at once are not made to wait
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                opened.close()
                raise
            time.sleep(_PATIENCE / 1000)
    opened.execute("PRAGMA synchronous = FULL")
    return opened


def publish_new(aside: Path, path: Path) -> None:
    """Give a whole file that lies on the same disk its name; FileExistsError, and nothing is touched, if it is taken."""
    if POSIX:
        path.hardlink_to(aside)
    else:  # not every disk has links there, and a name that is taken is never given to another file
        aside.rename(path)
    make_durable(path.parent)


def make_durable(folder: Path) -> None:
    """A new name is durable when its folder is. Windows opens no folders: its file system sees to the order of names."""
    if not POSIX:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_to_overwrite(path: Path) -> int:
    """A descriptor of the file, made with mode 0600 where there is none, for ``overwrite``."""
    return os.open(path, os.O_CREAT | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)


def overwrite(descriptor: int, content: bytes) -> None:
    """Write ``content`` over the first bytes of what is open, durably. One at a time: elsewhere than on POSIX it moves."""
    if hasattr(os, "pwrite"):
        os.pwrite(descriptor, content, 0)
    else:
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, content)
    getattr(os, "fdatasync", os.fsync)(descriptor)
