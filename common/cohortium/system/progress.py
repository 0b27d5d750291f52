"""Progress of long tasks: three calls, whether or not anybody displays them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    def start(self, total: int, what: str) -> None: ...

    def advance(self, by: int = 1) -> None: ...

    def done(self) -> None: ...


class Silent:
    """Reports to nobody."""

    def start(self, total: int, what: str) -> None:
        pass

    def advance(self, by: int = 1) -> None:
        pass

    def done(self) -> None:
        pass


def advancing(steps: Iterable[T], progress: Progress) -> Iterator[T]:
    """The same steps; each is reported when it is done."""
    for step in steps:
        yield step
        progress.advance()


_listener: ContextVar[Progress | None] = ContextVar("listener", default=None)


@contextmanager
def listening(progress: Progress) -> Iterator[None]:
    """Inside, ``listener()`` returns ``progress``: for work below cached functions, which cannot pass it on."""
    token = _listener.set(progress)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Progress:
    """Where a long computation reports its progress; by default nowhere."""
    return _listener.get() or Silent()


class Late:
    """Forwards to another progress, made when it is needed, once work has taken ``after`` seconds: short work stays silent."""

    def __init__(
        self, make: Callable[[], Progress], after: float = 2.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._clock, self._due = make, clock, clock() + after
        self._open: list[tuple[int, str, int]] = []  # total, what, how much is done
        self._shown: Progress | None = None

    def start(self, total: int, what: str) -> None:
        self._open.append((total, what, 0))
        if self._shown is not None:
            self._shown.start(total, what)

    def advance(self, by: int = 1) -> None:
        total, what, at = self._open.pop()
        self._open.append((total, what, at + by))
        if self._shown is not None:
            self._shown.advance(by)
        elif self._clock() >= self._due:
            self._shown = self._make()
            for total, what, at in self._open:
                self._shown.start(total, what)
                self._shown.advance(at)

    def done(self) -> None:
        self._open.pop()
        if self._shown is not None:
            self._shown.done()
