"""Signals that end a process: waiting for one without missing any, and ending in order with a report.

SIGINT (Ctrl-C), SIGTERM (a service manager's stop) and SIGHUP (the terminal is gone) ask the process to end. A second Ctrl-C,
or a second SIGTERM a while later, ends it at once. A process started to outlive its terminal (nohup) still ignores SIGHUP.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NoReturn

SAME = 1.0  # seconds within which another signal is the same request: service managers signal all processes, which signal others
OVER = 128  # and the signal's number: the exit code of a process that one ended
HANGUP: int = getattr(signal, "SIGHUP", 0)  # Windows has none
POKE: int = getattr(signal, "SIGURG", 0)  # a process that has no handler of it does not notice it
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25  # seconds between two pokes


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
_watch: _Watch | None = None


@contextmanager
def interrupting() -> Iterator[EndRequests]:
    """Inside, signals that would end the process raise Interrupted in its main thread; a repeated one ends it at once.

    To be used by the main thread, which may wait for whatever it likes. Signals that this process ignores stay ignored.
    """
    global _wishes
    _wishes = EndRequests()
    theirs = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [n for n in ending() if signal.getsignal(n) in theirs]
    with _handling(numbers, _interrupt), watched(*numbers):
        yield _wishes


@contextmanager
def _handling(numbers: Iterable[int], handler: Callable[[int, object], object]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


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
def watched(*numbers: int) -> Iterator[None]:
    """Inside, one of these signals interrupts whatever the main thread waits on, so that its handler runs at once.

    To be used by the main thread. Python only notes a signal, and has the main thread run its handler. If the kernel gave the
    signal to another thread, or just before the main thread begins to wait, nothing interrupts that wait, and the handler runs
    when it is over. Windows has no means to interrupt a thread: there, nobody may wait for long without looking up.
    """
    global _watch
    if not hasattr(signal, "pthread_kill"):
        yield
        return
    outer, _watch = _watch, _Watch(numbers, partial(signal.pthread_kill, threading.get_ident(), POKE))
    _watch.start()
    try:
        with _handling([POKE], _watch.looked):
            yield
    finally:
        _watch.stop()
        _watch = outer


@contextmanager
def unwatched() -> Iterator[None]:
    """Inside, there is no thread for signals: for whoever forks. They may not wait for long without looking up."""
    watch = _watch
    if watch is not None:
        watch.stop()
    try:
        yield
    finally:
        if watch is not None:
            watch.start()


class _Watch:
    """A thread that receives signals, and wakes the main thread until that has looked."""

    def __init__(self, numbers: Collection[int], poke: Callable[[], object]) -> None:
        self._numbers, self._poke = numbers, poke
        self._looks, self._stopped = 0, True

    def looked(self, *_: object) -> None:
        """To be POKE's handler: the main thread runs it together with the handlers of all that came before."""
        self._looks += 1

    def start(self) -> None:
        wakes, self._woken = socket.socketpair()
        wakes.setblocking(False)
        self._before = wakes, signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self._stopped = False
        self._thread = threading.Thread(target=self._hear, name="signals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        wakes, before = self._before
        signal.set_wakeup_fd(before)
        self._woken.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._woken.close()
        wakes.close()

    def _hear(self) -> None:
        while received := self._woken.recv(1):
            if received[0] in self._numbers:
                self._make_it_look()

    def _make_it_look(self) -> None:
        """More than once, for a poke may come just before the main thread begins to wait, too."""
        looks, pause = self._looks, _FIRST_PAUSE
        while self._looks == looks and not self._stopped:
            self._poke()
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


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
