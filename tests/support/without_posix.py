"""Cohortium with what Windows lacks taken away: ``python tests/support/without_posix.py simulate --data ...``, for one command.

With ``--steps FILE`` many are run, one after the other, and what became of each is one line of JSON: a list of words is a
command, an object names a function of this file and its arguments. Fits are short, for nobody asks here how good a release is.

A real Windows this is not. It takes away what is POSIX's alone, from a Python that has imported its own library and those
of others before, and lets the rest behave as Windows' own documentation says: files have no modes, folders cannot be opened,
nothing that is open can be renamed, replaced or removed, a name that is taken is not given again, locks are on ranges of
bytes (``msvcrt``), and text that is not told its encoding is not UTF-8. Names are told apart by case all the same, and paths
are written with slashes.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import socket
import stat
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

OURS = ("cohortium", "portalocker")
MODULES = ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "spwd", "crypt", "posix")
# what a Python for Windows has not
OF_OS = """
    chown chroot ctermid fchdir fchmod fchown fdatasync fork forkpty getegid geteuid getgid getgrouplist getgroups
    getloadavg getpgid getpgrp getpriority getresgid getresuid getsid getuid initgroups killpg lchown lockf major
    makedev minor mkfifo mknod nice openpty posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv
    pwrite pwritev readv register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile setegid seteuid
    setgid setgroups setpgid setpriority setregid setresgid setresuid setreuid setsid setuid statvfs fstatvfs sync
    sysconf tcgetpgrp uname wait wait3 wait4 waitid WNOHANG WIFEXITED WEXITSTATUS O_NOFOLLOW O_DIRECTORY O_CLOEXEC
    O_NONBLOCK O_SYNC O_DSYNC O_NOCTTY setxattr getxattr listxattr memfd_create eventfd pidfd_open
"""
OF_SIGNAL = """
    SIGKILL SIGQUIT SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGPIPE SIGSTOP SIGCONT SIGTSTP SIGTTIN SIGTTOU alarm
    setitimer getitimer pause pthread_kill pthread_sigmask sigpending sigwait siginterrupt
"""
OF_SOCKET = "AF_UNIX SO_PEERCRED SO_REUSEPORT SCM_RIGHTS SCM_CREDENTIALS send_fds recv_fds"
TAKEN = {os: OF_OS.split(), signal: OF_SIGNAL.split(), socket: OF_SOCKET.split()}
LIBRARIES = """
    asyncio concurrent.futures.process getpass multiprocessing.pool pathlib subprocess tempfile uuid importlib.metadata
    cryptography.hazmat.primitives.serialization dp_accounting flwr.app flwr.clientapp flwr.serverapp grpc jinja2
    matplotlib.backends.backend_svg matplotlib.figure pandas pyarrow.csv pyarrow.parquet rich.console rich.progress
    rich.table safetensors.numpy scipy.optimize scipy.stats sklearn.ensemble sklearn.linear_model sqlalchemy torch
    typer.core
"""


def take_away() -> None:
    """From now on, in this process."""
    os.environ["USERNAME"] = "somebody"  # Windows always has it
    from cohortium.flower_names import ENGINE

    for name in (*LIBRARIES.split(), *(part.module for part in ENGINE)):  # each by its own rules for Windows
        importlib.import_module(name)
    sys.modules["msvcrt"] = _ByteLocks().as_module()
    _load_locks_for_windows()
    _refuse_imports()
    _Files().install()
    for module, names in TAKEN.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    os.supports_dir_fd.clear()  # Windows opens nothing relative to a folder that is open
    importlib.reload(shutil)  # which chooses by that how it removes a tree


class _ByteLocks:
    """``msvcrt.locking`` by Linux' own locks on ranges of bytes, which belong to what is open, as Windows' do."""

    def __init__(self) -> None:
        import fcntl

        self._fcntl = fcntl

    def as_module(self) -> types.ModuleType:
        module = types.ModuleType("msvcrt")
        for number, name in enumerate(("LK_UNLCK", "LK_LOCK", "LK_NBLCK", "LK_RLCK", "LK_NBRLCK")):
            setattr(module, name, number)
        module.locking = self.locking  # type: ignore[attr-defined]
        return module

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        """Who would wait gives up here at once, as Windows does after ten attempts."""
        kind = self._fcntl.F_UNLCK if mode == 0 else self._fcntl.F_WRLCK
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        asked = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, count, 0)
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

    def guarded(name: str, around: Any = None, *rest: Any, **more: Any) -> Any:
        asking = str((around or {}).get("__name__", ""))
        if name.partition(".")[0] in MODULES and asking.partition(".")[0].partition("_")[0] in OURS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, around, *rest, **more)

    builtins.__import__ = guarded


class _Files:
    """What the system does with files, as Windows does it."""

    def __init__(self) -> None:
        names = ("open", "fsync", "stat", "fstat", "lstat", "rename", "replace", "unlink", "rmdir")
        self._real = types.SimpleNamespace(**{name: getattr(os, name) for name in names})

    def install(self) -> None:
        for name in ("open", "fsync", "rename", "replace", "unlink", "rmdir"):
            setattr(os, name, getattr(self, name))
        for name in ("stat", "fstat", "lstat"):
            setattr(os, name, _without_modes(getattr(self._real, name)))
        os.remove, os.chmod = self.unlink, lambda *_, **__: None
        shutil._use_fd_functions = False  # type: ignore[attr-defined]

    def open(self, path: Any, *rest: Any, **more: Any) -> int:
        if isinstance(path, str | os.PathLike) and Path(path).is_dir():
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return int(self._real.open(path, *rest, **more))

    def fsync(self, descriptor: int) -> None:
        reported = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
        flags = next(int(line.split()[1], 8) for line in reported if line.startswith("flags"))
        if flags & 3 == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        self._real.fsync(descriptor)

    def rename(self, source: Any, target: Any, **more: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(17, "Cannot create a file when that file already exists", os.fspath(target))
        _require_free(source)
        self._real.rename(source, target, **more)

    def replace(self, source: Any, target: Any, **more: Any) -> None:
        if Path(target).is_dir():
            raise PermissionError(13, "Access is denied", os.fspath(target))
        _require_free(source, target)
        self._real.replace(source, target, **more)

    def unlink(self, path: Any, **more: Any) -> None:
        _require_free(path)
        self._real.unlink(path, **more)

    def rmdir(self, path: Any, **more: Any) -> None:
        _require_free(path)
        self._real.rmdir(path, **more)


def _without_modes(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
    def reported(*given: Any, **more: Any) -> os.stat_result:
        found = real(*given, **more)
        mode = stat.S_IFMT(found.st_mode) | (0o777 if stat.S_ISDIR(found.st_mode) else 0o666)
        exact = {"st_mtime": found.st_mtime, "st_mtime_ns": found.st_mtime_ns}
        return os.stat_result((mode, *found[1:4], 0, 0, *found[6:]), exact)

    return reported


def _require_free(*paths: Any) -> None:
    """Windows' error 32: somebody has it, or something in it, open."""
    for path in map(os.path.realpath, paths):
        if any(held == path or held.startswith(path + os.sep) for held in _held()):
            raise PermissionError(13, "The process cannot access the file", path)


def _held() -> list[str]:
    """Files of this process that are open or mapped."""
    found = []
    for link in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [*found, *(fields[5].strip() for line in lines if len(fields := line.split(maxsplit=5)) == 6)]


def run_command(words: list[str]) -> dict[str, Any]:
    """Its exit code, and what it wrote where the letters are those of a redirected Windows shell."""
    from cohortium.cli import main

    written = [io.TextIOWrapper(io.BytesIO(), encoding="cp1252", newline="") for _ in range(2)]
    code: object = 0
    before, sys.argv = sys.argv, ["cohortium", *words]
    try:
        with contextlib.redirect_stdout(written[0]), contextlib.redirect_stderr(written[1]):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    for stream in written:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode("cp1252") for stream in written)  # type: ignore[attr-defined]
    return {"code": code, "out": out, "err": err}


def open_release(release: str, rows: int) -> dict[str, Any]:
    """What a researcher does in Python."""
    import cohortium

    opened = cohortium.load_release(release)
    table = opened.sample(rows, {"result": "positive"}, seed=7)
    answer = opened.query({"age": cohortium.between(0, 40)})
    return {"rows": len(table), "results": sorted(set(table["result"])), "low": answer.low, "high": answer.high}


def simulate_in_python(study: str, data: str, out: str) -> dict[str, Any]:
    import pandas as pd

    import cohortium
    from cohortium.study.study import load_study

    asked = load_study(Path(study))
    table = pd.read_parquet(data)
    names = asked.institution_names
    tables = {name: table[table["id"] % len(names) == k] for k, name in enumerate(names)}
    release = cohortium.simulate(asked, tables, Path(out), seed=1)
    return {"rows": len(release.synthetic), "epsilon": release.manifest["guarantee"]["epsilon"]}


def contend(path: str) -> dict[str, Any]:
    """Locks, as this process sees them: two who want the same, before and after one has it back."""
    from cohortium.system import locks

    first = locks.hold(Path(path))
    assert first is not None
    reported = {"second": locks.hold(Path(path), 0.0), "seen": locks.is_held(Path(path))}
    os.close(first)
    return {**reported, "free": not locks.is_held(Path(path))}


def simulate_over_open(words: str, file: str) -> dict[str, Any]:
    """A simulation into the folder of a release, a file of which somebody has open."""
    with Path(file).open("rb"):
        return run_command(words.split())


def audit_a_path(study: str) -> dict[str, Any]:
    """What an audit sees where no process can be forked."""
    from cohortium.study.study import load_study
    from cohortium.system.progress import Silent
    from cohortium_simulation.audit import audit

    found = audit(load_study(Path(study)), 100, Silent())
    return {"forks": found.forks, "alarms": [f.name for f in found.alarms]}


def run_steps(file: str) -> None:
    for step in json.loads(Path(file).read_text(encoding="utf-8")):
        reported = run_command(step) if isinstance(step, list) else globals()[step["call"]](*step["with"])
        sys.stdout.write(json.dumps(reported) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    import fits

    sys.path.remove(str(Path(__file__).parent))
    take_away()
    fits.shorten()
    if sys.argv[1] == "--steps":
        run_steps(sys.argv[2])
    else:
        from cohortium.cli import main

        main()
