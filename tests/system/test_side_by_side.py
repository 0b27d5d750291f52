"""Work side by side: at once, in order, and over as soon as nobody waits for it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from cohortium.system.progress import Progress, Silent
from cohortium.system.side_by_side import side_by_side

PATIENCE = 60.0


class Recorded(Silent):
    def __init__(self) -> None:
        self.steps = 0

    def advance(self, by: int = 1) -> None:
        self.steps += by


def endless(begun: threading.Event, progress: Progress) -> None:
    begun.set()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        progress.advance()
        time.sleep(0.01)


def test_all_are_at_work_at_once_and_reported_in_order() -> None:
    meeting, progress = threading.Barrier(3, timeout=PATIENCE), Recorded()

    def work(number: int, progress: Progress) -> int:
        progress.start(1, "meeting")
        meeting.wait()
        progress.advance()
        progress.done()
        time.sleep(0.1 * (3 - number))
        return number

    assert side_by_side([partial(work, n) for n in range(3)], progress) == [0, 1, 2]
    assert progress.steps == 1  # the first one's


@pytest.mark.parametrize("place", [0, 1])
def test_where_one_fails_the_others_end_and_what_it_raised_is_raised(place: int) -> None:
    begun, before = threading.Event(), threading.active_count()

    def fails(_: Progress) -> None:
        assert begun.wait(PATIENCE)
        raise ValueError("this one")

    works: list[Callable[[Progress], None]] = [partial(endless, begun)]
    works.insert(place, fails)
    since = time.monotonic()
    with pytest.raises(ValueError, match="this one"):
        side_by_side(works, Silent())
    assert threading.active_count() == before
    assert time.monotonic() < since + PATIENCE / 2, "the other one went on"


def test_an_interruption_ends_all_before_it_goes_on() -> None:
    begun, before = [threading.Event(), threading.Event()], threading.active_count()

    def interrupt() -> None:
        assert all(one.wait(PATIENCE) for one in begun)
        time.sleep(0.3)  # whoever began them waits for them by then
        signal.raise_signal(signal.SIGINT)

    former, since = signal.signal(signal.SIGINT, signal.default_int_handler), time.monotonic()
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side([partial(endless, one) for one in begun], Silent())
        assert not [t for t in threading.enumerate() if t.name.startswith("side by side")]
    finally:
        signal.signal(signal.SIGINT, former)
        thread.join()
    assert threading.active_count() == before
    assert time.monotonic() < since + PATIENCE / 2, "they went on"
