"""Signals that end a process: waiting for one without missing any, and ending in order with a report.

SIGINT (Ctrl-C), SIGTERM (a service manager's stop) and SIGHUP (the terminal is gone) ask the process to end. A second Ctrl-C,
or a second SIGTERM a while later, ends it at once. A process started to outlive its terminal (nohup) still ignores SIGHUP.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

SAME = 1.0  # seconds within which another signal is the same request: service managers signal all processes, which signal others
OVER = 128  # and the signal's number: the exit code of who was ended by one
HANGUP: int = getattr(signal, "SIGHUP", 0)  # Windows has none


class Interrupted(KeyboardInterrupt):
    """A signal asks the process to end. left: what keeps running or was saved, and how to continue, where known."""

    def __init__(self, number: int, left: tuple[str, str] | None = None) -> None:
        super().__init__()
        self.number, self.left = number, left


def number_of(error: KeyboardInterrupt) -> int:
    """The signal: Python's own exception is SIGINT's."""
    return error.number if isinstance(error, Interrupted) else int(signal.SIGINT)


@contextmanager
def leaving(left: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """An interruption inside reports ``left()``: what keeps running or was saved, and how to continue."""
    try:
        yield
    except KeyboardInterrupt as error:
        if getattr(error, "left", None) is None:
            error.left = left()  # type: ignore[attr-defined]
        raise


def require_meant(number: int, what: str, fix: str) -> None:
    """Raise Interrupted if the signal was a hangup: a server that only lost its terminal was not asked to stop."""
    if number and number == HANGUP:
        raise Interrupted(number, (what, fix))


class EndRequests:
    """The signals received that ask the process to end. first: the first one's number, or 0. at_once: asked again."""

    def __init__(self) -> None:
        self.first, self.at_once, self._since = 0, False, 0.0

    def record(self, number: int) -> None:
        if not self.first:
            self.first, self._since = number, time.monotonic()
        elif number == signal.SIGINT or (number == signal.SIGTERM and time.monotonic() > self._since + SAME):
            self.at_once = True


def ending() -> tuple[signal.Signals, ...]:
    """The signals that end a server."""
    hangs_up = HANGUP and signal.getsignal(HANGUP) != signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *((signal.Signals(HANGUP),) if hangs_up else ()))


_wishes = EndRequests()


@contextmanager
def interrupting() -> Iterator[EndRequests]:
    """Inside, signals that would end the process raise Interrupted in its main thread; a repeated one ends it at once.

    To be used by the main thread. Signals that this process ignores stay ignored.
    """
    global _wishes
    _wishes = EndRequests()
    theirs = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [n for n in ending() if signal.getsignal(n) in theirs]
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield _wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> None:
    first = not _wishes.first
    _wishes.record(number)
    if _wishes.at_once:
        with suppress(OSError):
            os.write(
                2,
                b"E_INTERRUPTED: ended at once, as requested again: everything that must last is already durable.\n",
            )
        end_now(OVER + number)
    if first:
        raise Interrupted(number)


def end_now(code: int) -> NoReturn:
    """End the process, whatever its threads are doing: everything that must last is already durable."""
    os._exit(code)


@contextmanager
def waiting_for(*numbers: signal.Signals) -> Iterator[Callable[[], int]]:
    """Inside, these signals do not end the process; the function yielded waits for the first of them and returns its number.

    To be used by the main thread. The kernel gives a signal to any thread that happens to come or go, and Python runs its
    handler once the main thread wakes. One that waits on a lock, a queue or an event is not woken by that; a byte in a
    socket wakes it, whichever thread got the signal.
    """
    wakes, woken = socket.socketpair()
    wakes.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    before_fd = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    try:
        yield lambda: _first(woken, numbers)
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        wakes.close()
        woken.close()


def _first(woken: socket.socket, numbers: tuple[signal.Signals, ...]) -> int:
    while True:  # of a signal that somebody else handles, there is a byte, too
        number = woken.recv(1)[0]
        if number in numbers:
            _wishes.record(number)
            return number
