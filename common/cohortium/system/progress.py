"""How long tasks tell where they are: three calls, whoever listens."""

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
    """Tells nobody."""

    def start(self, total: int, what: str) -> None:
        pass

    def advance(self, by: int = 1) -> None:
        pass

    def done(self) -> None:
        pass


def advancing(steps: Iterable[T], progress: Progress) -> Iterator[T]:
    """The same steps, each told once it is done."""
    for step in steps:
        yield step
        progress.advance()


_listener: ContextVar[Progress | None] = ContextVar("listener", default=None)


@contextmanager
def listening(progress: Progress) -> Iterator[None]:
    """Whoever asks for the ``listener`` meanwhile is given ``progress``: for work below what remembers its results."""
    token = _listener.set(progress)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Progress:
    """Who is to be told where a long computation is; by default nobody."""
    return _listener.get() or Silent()


class Late:
    """Tells another, made when it is needed, from when the work has taken ``after`` seconds: short work is not worth a word."""

    def __init__(
        self, make: Callable[[], Progress], after: float = 2.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._clock, self._due = make, clock, clock() + after
        self._open: list[tuple[int, str, int]] = []  # total, what, how much is done
        self._told: Progress | None = None

    def start(self, total: int, what: str) -> None:
        self._open.append((total, what, 0))
        if self._told is not None:
            self._told.start(total, what)

    def advance(self, by: int = 1) -> None:
        total, what, at = self._open.pop()
        self._open.append((total, what, at + by))
        if self._told is not None:
            self._told.advance(by)
        elif self._clock() >= self._due:
            self._told = self._make()
            for total, what, at in self._open:
                self._told.start(total, what)
                self._told.advance(at)

    def done(self) -> None:
        self._open.pop()
        if self._told is not None:
            self._told.done()
