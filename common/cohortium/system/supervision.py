"""Supervision: each process is restarted when it ends, with exponential backoff, and all are stopped together.

A child is a function, run in a fork of this process, so that imported modules are there at once and a restart takes
milliseconds; or a command. The supervisor must have no threads when it forks. If it is killed, the kernel kills its children
too: all of them tolerate that, and a new supervisor finds none left.

Restarting is given up where it cannot help. A child that refuses at its first start, with the exit code of one of our
errors, ends the supervisor with that code; one that ends the same way three times before it was ever stable ends it with an
error. A child that was stable once is restarted for ever, and its third identical end is logged as an error.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cohortium.errors import CohortiumError, FederationError
from cohortium.system.logs import about, without_text
from cohortium.system.signals import EndRequests, ending, unwatched

STABLE_AFTER = 30.0  # seconds after which a child counts as stable, and its next end as its first
LONGEST = 60.0  # seconds between two attempts to start one
PATIENCE = 10.0  # seconds that children get to end before they are killed
SAME = 3  # identical ends in a row that are no coincidence
_POLL = 0.1
_WORDS = 1000  # bytes of a fork's report of its end
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger("cohortium.system.supervision")


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended: an exit code, or a signal as a negative number; and the error, if a fork reported one."""

    code: int
    error: str = ""

    def __str__(self) -> str:
        how = f"exit code {self.code}" if self.code >= 0 else f"killed by {_signal_name(-self.code)}"
        return f"{self.error}, {how}" if self.error else how

    @property
    def from_outside(self) -> bool:
        """Whether it was killed from outside, for which it may not be at fault; the system does so when memory runs out."""
        return -self.code in _FROM_OUTSIDE

    @property
    def refused(self) -> bool:
        """Whether it refused, with one of our errors, which it has reported."""
        return self.code in {kind.exit_code for kind in CohortiumError.__subclasses__()}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"


@dataclass(frozen=True)
class Child:
    """A supervised process: a function to run in a fork, or a command.

    after: its first start waits until this is true. check: the command that diagnoses it, named in the error of its end.
    """

    name: str
    work: Callable[[], object] | Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    patience: float = PATIENCE
    after: Callable[[], bool] = lambda: True
    check: str = ""


@dataclass
class _Running:
    child: Child
    pid: int = 0
    words: int = -1
    since: float = 0.0
    failures: int = 0
    restarts: int = -1
    due: float = 0.0
    well: bool = False
    ends: list[ProcessEnd] = field(default_factory=list)


def supervise(
    children: Sequence[Child],
    report: Callable[[Mapping[str, int]], object] = lambda counts: None,
    in_turn: bool = False,
) -> int:
    """Run all children until a signal asks for the end, then stop them. ``report`` gets the restarts of each by name.

    in_turn: stop them one by one in reverse order, as each may still need those started before it to finish its work.
    Returns the signal's number; a repeated signal kills them. SystemExit with the code of a child that refused;
    FederationError E_PROCESS for one that never became stable.
    """
    with unwatched():
        return _supervise(children, report, in_turn)


def _supervise(children: Sequence[Child], report: Callable[[Mapping[str, int]], object], in_turn: bool) -> int:
    wishes = EndRequests()
    before = {s: signal.signal(s, lambda number, _: wishes.record(number)) for s in ending()}
    living = [_Running(child) for child in children]
    try:
        while not wishes.first:
            started = [_look_after(one) for one in living]
            if any(started):
                report({one.child.name: max(one.restarts, 0) for one in living})
            time.sleep(_POLL)
    finally:
        alive = [one for one in reversed(living) if one.pid]
        for group in ([one] for one in alive) if in_turn else [alive]:
            for one in group:
                os.kill(one.pid, signal.SIGTERM)
            for one in group:
                _await_end(one, wishes)
        for number, handler in before.items():
            signal.signal(number, handler)
    return wishes.first


def _look_after(one: _Running) -> bool:
    """Restart a child that has ended and is due; returns whether it was started."""
    now = time.monotonic()
    if one.pid:
        one.well = one.well or now - one.since > STABLE_AFTER
        code = ended_with(one.pid)
        if code is None:
            return False
        _ended(one, ProcessEnd(code, _received(one)), now)
    if now < one.due or not (one.restarts >= 0 or one.child.after()):
        return False
    one.pid, one.words = _started(one.child)
    one.since, one.restarts = now, one.restarts + 1
    return True


def _ended(one: _Running, end: ProcessEnd, now: float) -> None:
    """Record an end and schedule the restart; raises where a restart cannot help."""
    stable = now - one.since > STABLE_AFTER
    one.failures = 1 if stable else one.failures + 1
    one.ends = [end] if stable else [*one.ends, end][-SAME:]
    one.pid, pause = 0, min(0.25 * 2.0**one.failures, LONGEST)
    one.due = now + pause
    if end.refused and one.restarts == 0 and not one.well:
        raise SystemExit(end.code)  # it has reported why
    if one.ends == [end] * SAME and not end.from_outside:
        error = _always(one.child, end)
        if not one.well:
            raise error
        _log.error("%s", error, extra=about(code=error.code))
    _log.warning("%s has ended (%s) and is started again in %g s", one.child.name, end, pause)


def _always(child: Child, end: ProcessEnd) -> FederationError:
    fix = f"Run {child.check}." if child.check else "See its log lines before this one."
    return FederationError("E_PROCESS", child.name, f"it has ended {SAME} times in the same way: {end}", fix)


def has_ended(pid: int) -> bool:
    """Whether a child of this process has ended; reaps it if so."""
    return ended_with(pid) is not None


def ended_with(pid: int) -> int | None:
    """The exit code of a child of this process, or minus the signal that ended it; None as long as it lives.

    0 for a child that was reaped elsewhere: its code is lost.
    """
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if ended == pid else None


def _received(one: _Running) -> str:
    """A fork's report of its end; empty for a command."""
    if one.words < 0:
        return ""
    last_words, one.words = _read_and_closed(one.words), -1
    return last_words


def _read_and_closed(words: int) -> str:
    try:
        return os.read(words, _WORDS).decode(errors="replace")
    except BlockingIOError:  # a fork of the fork still holds the other end, and nothing was written
        return ""
    finally:
        os.close(words)


def _await_end(one: _Running, wishes: EndRequests) -> None:
    until = time.monotonic() + one.child.patience
    while not has_ended(one.pid):
        if wishes.at_once or time.monotonic() > until:
            os.kill(one.pid, signal.SIGKILL)
        time.sleep(_POLL)
    _received(one)


def _started(child: Child) -> tuple[int, int]:
    """Its process id, and the descriptor to read its report from, or -1."""
    work = child.work
    if not callable(work):
        environment = {**os.environ, **child.environment}
        return subprocess.Popen(work, env=environment, preexec_fn=_as_supervised, process_group=0).pid, -1
    reader, last_words = os.pipe()
    os.set_blocking(reader, False)
    try:
        return forked(work, child.name, child.environment, last_words), reader
    finally:
        os.close(last_words)


def forked(
    work: Callable[[], object], name: str, environment: Mapping[str, str] | None = None, words: int | None = None
) -> int:
    """Run ``work`` in a fork that ends with it or with this process, and is listed as ``name`` among processes.

    words: a descriptor it writes its final error to. Returns its process id.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code, last_words = 1, ""
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)  # a terminal's Ctrl-C is for the one that supervises, which ends the others in their order
        _as_supervised(parent)
        _prctl(_PR_SET_NAME, name.encode()[:15])
        os.environ.update(environment or {})
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except CohortiumError as error:
        code, last_words = error.exit_code, f"{error.code} at {error.where}"
        _log.error("%s", error, extra=about(code=error.code))
    except BaseException as error:  # noqa: BLE001 - the process ends here, and its text may hold anything
        last_words = without_text(error)
        _log.error("failed: %s", last_words)
    finally:
        for last in (sys.stdout.flush, sys.stderr.flush, lambda: _send(words, last_words)):
            with contextlib.suppress(
                OSError, ValueError
            ):  # nobody may be reading; the process must not outlive its work
                last()
        os._exit(code)


def _send(words: int | None, last_words: str) -> None:
    if words is not None:
        os.write(words, last_words.encode()[:_WORDS])


def _as_supervised(parent: int | None = None) -> None:
    """Ignore SIGHUP: when the terminal goes, the supervisor gets the signal and stops its children in order."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ends_with_its_parent(parent)


def ends_with_its_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent dies, however that happens."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int | bytes) -> None:
    ctypes.CDLL(None).prctl(option, value)
