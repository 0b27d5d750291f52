"""Cohortium's command with what Windows lacks taken away: ``python tests/without_posix.py simulate --data ...``.

A real Windows this is not. It takes away what is POSIX's alone, from a Python that has imported its own library and those
of others before, and lets the rest behave as Windows' own documentation says: files have no modes, folders cannot be opened,
nothing that is open can be renamed, replaced or removed, a name that is taken is not given again, locks are on ranges of
bytes (``msvcrt``), and text that is not told its encoding is not UTF-8. Names are told apart by case all the same, and paths
are written with slashes.
"""

from __future__ import annotations

import builtins
import os
import shutil
import signal
import socket
import stat
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

OURS = ("cohortium", "portalocker")
MODULES = ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "spwd", "crypt", "posix")
OF_OS = (
    "chown chroot ctermid fchdir fchmod fchown fdatasync fork forkpty getegid geteuid getgid getgrouplist getgroups "
    "getloadavg getpgid getpgrp getpriority getresgid getresuid getsid getuid initgroups killpg lchown lockf major makedev "
    "minor mkfifo mknod nice openpty posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv pwrite pwritev readv "
    "register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile setegid seteuid setgid setgroups setpgid "
    "setpriority setregid setresgid setresuid setreuid setsid setuid statvfs fstatvfs sync sysconf tcgetpgrp uname wait wait3 "
    "wait4 waitid WNOHANG WIFEXITED WEXITSTATUS O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_NONBLOCK O_SYNC O_DSYNC O_NOCTTY "
    "setxattr getxattr listxattr memfd_create eventfd pidfd_open"
).split()
OF_SIGNAL = (
    "SIGKILL SIGQUIT SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGPIPE SIGSTOP SIGCONT SIGTSTP SIGTTIN SIGTTOU alarm "
    "setitimer getitimer pause pthread_kill pthread_sigmask sigpending sigwait siginterrupt"
).split()
OF_SOCKET = "AF_UNIX SO_PEERCRED SO_REUSEPORT SCM_RIGHTS SCM_CREDENTIALS send_fds recv_fds".split()


def take_away() -> None:
    """From now on, in this process."""
    _import_what_others_need()
    system = _ByteLocks()
    sys.modules["msvcrt"] = system.as_module()
    _load_locks_for_windows()
    _refuse_imports()
    _as_windows_treats_files()
    for module, names in ((os, OF_OS), (signal, OF_SIGNAL), (socket, OF_SOCKET)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)


def _import_what_others_need() -> None:
    """Libraries look for what they need when they are imported, each by its own rules for Windows."""
    os.environ["USERNAME"] = "somebody"  # Windows always has it
    import asyncio
    import concurrent.futures.process
    import getpass
    import importlib
    import multiprocessing.pool
    import pathlib
    import subprocess
    import tempfile
    import uuid

    for name in (
        "flwr.app flwr.clientapp flwr.serverapp flwr.common.serde flwr.supercore.task_identity grpc jinja2 matplotlib.figure "
        "matplotlib.backends.backend_svg pandas pyarrow.parquet pyarrow.csv rich.console rich.progress rich.table "
        "safetensors.numpy scipy.stats scipy.optimize sklearn.ensemble sklearn.linear_model sqlalchemy torch typer.core "
        "dp_accounting cryptography.hazmat.primitives.serialization importlib.metadata"
    ).split():
        importlib.import_module(name)


class _ByteLocks:
    """``msvcrt.locking`` by Linux' own locks on ranges of bytes, which belong to what is open, as Windows' do."""

    def __init__(self) -> None:
        import fcntl
        import struct

        self._fcntl, self._struct = fcntl, struct

    def as_module(self) -> types.ModuleType:
        module = types.ModuleType("msvcrt")
        for number, name in enumerate(("LK_UNLCK", "LK_LOCK", "LK_NBLCK", "LK_RLCK", "LK_NBRLCK")):
            setattr(module, name, number)
        module.locking = self.locking  # type: ignore[attr-defined]
        return module

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        """Those that wait give up here at once, as Windows' do after ten attempts."""
        kind = self._fcntl.F_UNLCK if mode == 0 else self._fcntl.F_WRLCK
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        asked = self._struct.pack("hhqqi4x", kind, os.SEEK_SET, start, count, 0)
        try:
            self._fcntl.fcntl(descriptor, self._fcntl.F_OFD_SETLK, asked)
        except OSError:
            raise PermissionError(13, "Permission denied") from None


def _load_locks_for_windows() -> None:
    """The library decides by the system's name how it locks; paths do so, too, whenever one is made."""
    os.name = "nt"
    try:
        from portalocker import portalocker
    finally:
        os.name = "posix"
    assert portalocker.LOCKER is portalocker.MsvcrtLocker, portalocker.LOCKER


def _refuse_imports() -> None:
    """Of modules that Windows has not, where one of our packages asks; others have been imported by now."""
    real: Callable[..., Any] = builtins.__import__

    def guarded(name: str, globals: Any = None, *rest: Any, **more: Any) -> Any:
        asking = str((globals or {}).get("__name__", ""))
        if name.partition(".")[0] in MODULES and asking.partition(".")[0].partition("_")[0] in OURS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, globals, *rest, **more)

    builtins.__import__ = guarded


def _as_windows_treats_files() -> None:
    real_open, real_stat, real_fstat, real_lstat = os.open, os.stat, os.fstat, os.lstat
    real_rename, real_replace, real_unlink, real_rmdir = os.rename, os.replace, os.unlink, os.rmdir
    real_fsync = os.fsync

    def opened(path: Any, *rest: Any, **more: Any) -> int:
        if isinstance(path, str | os.PathLike) and os.path.isdir(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real_open(path, *rest, **more)

    def free(*paths: Any) -> None:
        """WinError 32: somebody has it, or something in it, open."""
        for path in map(os.path.realpath, paths):
            for held in _held():
                if held == path or held.startswith(path + os.sep):
                    raise PermissionError(13, "The process cannot access the file", path)

    def rename(source: Any, target: Any, **more: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(17, "Cannot create a file when that file already exists", os.fspath(target))
        free(source)
        real_rename(source, target, **more)

    def replace(source: Any, target: Any, **more: Any) -> None:
        if os.path.isdir(target):
            raise PermissionError(13, "Access is denied", os.fspath(target))
        free(source, target)
        real_replace(source, target, **more)

    def unlink(path: Any, **more: Any) -> None:
        free(path)
        real_unlink(path, **more)

    def rmdir(path: Any, **more: Any) -> None:
        free(path)
        real_rmdir(path, **more)

    def fsync(descriptor: int) -> None:
        with builtins.open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as told:
            flags = next(int(line.split()[1], 8) for line in told if line.startswith("flags"))
        if flags & 3 == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        real_fsync(descriptor)

    os.open, os.fsync = opened, fsync
    os.stat = lambda *a, **k: _without_modes(real_stat(*a, **k))
    os.fstat = lambda *a, **k: _without_modes(real_fstat(*a, **k))
    os.lstat = lambda *a, **k: _without_modes(real_lstat(*a, **k))
    os.chmod = lambda *a, **k: None
    os.rename, os.replace, os.unlink, os.remove, os.rmdir = rename, replace, unlink, unlink, rmdir
    shutil._use_fd_functions = False


def _held() -> list[str]:
    """Files of this process that are open or mapped."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    with open("/proc/self/maps", encoding="utf-8") as maps:
        found += [fields[5].strip() for line in maps if len(fields := line.split(maxsplit=5)) == 6]
    return found


def _without_modes(told: os.stat_result) -> os.stat_result:
    kind = stat.S_IFMT(told.st_mode)
    mode = kind | (0o777 if stat.S_ISDIR(told.st_mode) else 0o666)
    return os.stat_result(
        (mode, *told[1:4], 0, 0, *told[6:]), {"st_mtime": told.st_mtime, "st_mtime_ns": told.st_mtime_ns}
    )


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    take_away()
    from cohortium.cli import main

    main()
