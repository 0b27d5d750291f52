"""Waiting for a signal, such that none is missed."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def heard(*numbers: signal.Signals) -> Iterator[Callable[[], int]]:
    """Inside, these signals end nothing; what is yielded waits for the first of them and returns its number.

    To be used by the main thread. The kernel gives a signal to any thread that happens to come or go, and Python runs its
    handler once the main thread wakes. One that waits on a lock, a queue or an event is not woken by that; a byte in a
    socket wakes it, whichever thread got the signal.
    """
    wakes, woken = socket.socketpair()
    wakes.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    told = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    try:
        yield lambda: _first(woken, numbers)
    finally:
        signal.set_wakeup_fd(told)
        for number, handler in before.items():
            signal.signal(number, handler)
        wakes.close()
        woken.close()


def _first(woken: socket.socket, numbers: tuple[signal.Signals, ...]) -> int:
    while True:  # of a signal that somebody else handles, there is a byte, too
        number = woken.recv(1)[0]
        if number in numbers:
            return number
