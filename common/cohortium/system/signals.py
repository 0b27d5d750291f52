"""Signals that end a process: waiting for one such that none is missed, and being ended by one in order, with a word.

SIGINT (Ctrl-C), SIGTERM (whoever stops a process) and SIGHUP (its terminal is gone) ask for an end. A second Ctrl-C, or a
second SIGTERM a while later, wants it at once. Whoever is to outlive its terminal ignores SIGHUP (nohup): so it stays.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

SAME = 1.0  # seconds within which another signal is the same wish: a service manager tells all processes, and one tells the next
OVER = 128  # and the signal's number: the exit code of who was ended by one
HANGUP: int = getattr(signal, "SIGHUP", 0)  # Windows has none


class Interrupted(KeyboardInterrupt):
    """A signal asks for the end. left: what goes on or was kept, and how to take it up again, where that is known."""

    def __init__(self, number: int, left: tuple[str, str] | None = None) -> None:
        super().__init__()
        self.number, self.left = number, left


def number_of(error: KeyboardInterrupt) -> int:
    """The signal: Python's own exception is SIGINT's."""
    return error.number if isinstance(error, Interrupted) else int(signal.SIGINT)


@contextmanager
def leaving(left: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """Who is interrupted inside is told ``left()``: what goes on or was kept, and how to take it up again."""
    try:
        yield
    except KeyboardInterrupt as error:
        if getattr(error, "left", None) is None:
            error.left = left()  # type: ignore[attr-defined]
        raise


def require_meant(number: int, what: str, fix: str) -> None:
    """Who serves ends in order when told to; where only its terminal went, that is an interruption, and what it leaves is told."""
    if number and number == HANGUP:
        raise Interrupted(number, (what, fix))


class EndRequests:
    """The signals that ask a process to end, as they come. first: the first one's number, 0 before. at_once: asked so again."""

    def __init__(self) -> None:
        self.first, self.at_once, self._since = 0, False, 0.0

    def record(self, number: int) -> None:
        if not self.first:
            self.first, self._since = number, time.monotonic()
        elif number == signal.SIGINT or (number == signal.SIGTERM and time.monotonic() > self._since + SAME):
            self.at_once = True


def ending() -> tuple[signal.Signals, ...]:
    """The signals that end whoever serves."""
    hangs_up = HANGUP and signal.getsignal(HANGUP) != signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *((signal.Signals(HANGUP),) if hangs_up else ()))


_wishes = EndRequests()


@contextmanager
def interrupting() -> Iterator[EndRequests]:
    """Inside, the signals that would end the process raise Interrupted in its main thread; asked again, it ends at once.

    To be used by the main thread. What this process ignores it goes on ignoring.
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
                b"E_INTERRUPTED: ended at once, as was asked again: what is to last was made durable when it was done.\n",
            )
        end_now(OVER + number)
    if first:
        raise Interrupted(number)


def end_now(code: int) -> NoReturn:
    """End the process, whatever its threads are doing: what is to last was made durable when it was done."""
    os._exit(code)


@contextmanager
def waiting_for(*numbers: signal.Signals) -> Iterator[Callable[[], int]]:
    """Inside, these signals end nothing; what is yielded waits for the first of them and returns its number.

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
