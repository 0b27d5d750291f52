"""How long tasks tell where they are: three calls, whoever listens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
