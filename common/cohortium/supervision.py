"""Keeping processes alive: each is started again when it ends, and all end together.

A child is a function, run in a fork of this process, so that what was imported before is there at once and a child that
died is back in milliseconds; or a command, run anew. The one that supervises must have no threads when it forks. Should
it be killed itself, the kernel kills its children too: all can bear that, and what is started in its place finds nobody.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cohortium.signals import Wishes, ending

SETTLED = 30.0  # seconds after which a child counts as well, and its next end as its first
LONGEST = 10.0  # seconds between two attempts to start one
PATIENCE = 10.0  # seconds that children get to end before they are killed
_POLL = 0.1
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_log = logging.getLogger("cohortium.supervision")


@dataclass(frozen=True)
class Child:
    """What is kept alive: a function to be run in a fork, or a command."""

    name: str
    work: Callable[[], object] | Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    patience: float = PATIENCE


@dataclass
class _Living:
    child: Child
    pid: int = 0
    since: float = 0.0
    failures: int = 0
    restarts: int = -1
    due: float = 0.0


def supervise(children: Sequence[Child], told: Callable[[Mapping[str, int]], object] = lambda counts: None) -> int:
    """Run all children until a signal asks for the end, then end them. ``told`` hears how often each was started again.

    Returns the signal's number. Asked again, it kills them.
    """
    wishes = Wishes()
    before = {s: signal.signal(s, lambda number, _: wishes.hear(number)) for s in ending()}
    living = [_Living(child) for child in children]
    try:
        while not wishes.first:
            started = [_tended(one) for one in living]
            if any(started):
                told({one.child.name: max(one.restarts, 0) for one in living})
            time.sleep(_POLL)
    finally:
        alive = [one for one in living if one.pid]
        for one in alive:
            os.kill(one.pid, signal.SIGTERM)
        for one in alive:
            _await_end(one, wishes)
        for number, handler in before.items():
            signal.signal(number, handler)
    return wishes.first


def _tended(one: _Living) -> bool:
    """Look after a child; whether it was started."""
    now = time.monotonic()
    if one.pid and has_ended(one.pid):
        one.failures = 1 if now - one.since > SETTLED else one.failures + 1
        one.pid, one.due = 0, now + min(0.25 * 2.0**one.failures, LONGEST)
        _log.warning("%s has ended and is started again", one.child.name)
    if one.pid or now < one.due:
        return False
    one.pid, one.since, one.restarts = _started(one.child), now, one.restarts + 1
    return True


def has_ended(pid: int) -> bool:
    """Whether a child of this process has ended, of which nothing is left then."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _await_end(one: _Living, wishes: Wishes) -> None:
    until = time.monotonic() + one.child.patience
    while not has_ended(one.pid):
        if wishes.at_once or time.monotonic() > until:
            os.kill(one.pid, signal.SIGKILL)
        time.sleep(_POLL)


def _started(child: Child) -> int:
    work = child.work
    if not callable(work):
        environment = {**os.environ, **child.environment}
        return subprocess.Popen(work, env=environment, preexec_fn=_to_be_kept).pid
    return forked(work, child.name, child.environment)


def forked(work: Callable[[], object], name: str, environment: Mapping[str, str] | None = None) -> int:
    """Run ``work`` in a fork that ends with it, or with this process; it is called ``name`` where processes are listed.

    Returns its number.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        _to_be_kept(parent)
        _prctl(_PR_SET_NAME, name.encode()[:15])
        os.environ.update(environment or {})
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - the process ends here, and its text may hold anything
        _log.error("failed: %s", type(error).__name__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _to_be_kept(parent: int | None = None) -> None:
    """When a terminal goes, whoever keeps this process alive is told, and ends it in order."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ends_with_its_parent(parent)


def ends_with_its_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent dies, however that happens."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int | bytes) -> None:
    ctypes.CDLL(None).prctl(option, value)
