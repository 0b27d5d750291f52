"""Independent pieces of work at once, each in a thread: torch and numpy let go of the interpreter while they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

from cohortium.system.progress import Progress, Silent

T = TypeVar("T")
LOOK_UP = 0.5  # seconds; on Windows nothing interrupts whoever waits


def side_by_side(works: Sequence[Callable[[Progress], T]], progress: Progress) -> list[T]:
    """What they return, in their order. The first one's progress is what is shown.

    If one raises, or whoever waits is interrupted, the others end at the next step that they report, and all have ended when
    this does.
    """
    over = Event()
    shown = [progress, *(Silent() for _ in works[1:])]
    with ThreadPoolExecutor(len(works), "side by side") as pool:
        try:
            running = [pool.submit(work, _Until(over, one)) for work, one in zip(works, shown, strict=True)]
            return _results(running)
        finally:
            over.set()


def _results(running: Sequence[Future[T]]) -> list[T]:
    while True:
        ended, others = wait(running, LOOK_UP, FIRST_EXCEPTION)
        for one in ended:
            one.result()  # raises what it raised, whoever has not ended
        if not others:
            return [one.result() for one in running]


class _Over(Exception):  # noqa: N818 - it is nobody's fault, and nobody's to catch
    """Raised in work that is no longer waited for."""


class _Until:
    """Passes progress on, and ends the work that reports it when it is over."""

    def __init__(self, over: Event, progress: Progress) -> None:
        self._over, self._progress = over, progress

    def start(self, total: int, what: str) -> None:
        self._look()
        self._progress.start(total, what)

    def advance(self, by: int = 1) -> None:
        self._look()
        self._progress.advance(by)

    def done(self) -> None:
        self._progress.done()

    def _look(self) -> None:
        if self._over.is_set():
            raise _Over
