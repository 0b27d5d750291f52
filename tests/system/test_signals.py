"""No signal is missed, whichever thread the kernel gives it to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from cohortium.system.signals import POKE, unwatched, waiting_for, watched
from cohortium.system.supervision import Child, supervise

TRIES = 8
GIVEN_TO_ANOTHER = """
import os, signal, sys, threading
from cohortium.system.signals import waiting_for

with waiting_for(signal.SIGTERM, signal.SIGINT) as asked:
    threading.Timer(1.0, lambda: signal.pthread_kill(threading.get_ident(), int(sys.argv[1]))).start()
    number = asked()
os._exit(number)
"""
WAIT = """
import os, signal, threading
from cohortium.system.signals import waiting_for

def come_and_go():
    while True:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

with waiting_for(signal.SIGTERM, signal.SIGINT) as asked:
    for _ in range(3):
        threading.Thread(target=come_and_go, daemon=True).start()
    print("ready", flush=True)
    number = asked()
os._exit(number)
"""


def code_within(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_handled_that_another_thread_got(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", GIVEN_TO_ANOTHER, str(int(number))]) as process:
        ended = code_within(process, 20)
        process.kill()
        assert ended == number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_handled_while_threads_come_and_go(number: signal.Signals) -> None:
    """The kernel gives some of them to those threads: waiting on a queue, some are missed here, on a busy machine half."""
    for _ in range(TRIES):
        with subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            ended = code_within(process, 10)
            process.kill()
            assert ended == number


def test_it_waits_for_those_alone_and_puts_back_what_was() -> None:
    heard_of, before = list[int](), signal.getsignal(signal.SIGUSR2)
    signal.signal(signal.SIGUSR1, lambda number, _: heard_of.append(number))
    try:
        with waiting_for(signal.SIGUSR2) as asked:
            os.kill(os.getpid(), signal.SIGUSR1)
            threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGUSR2)).start()
            assert asked() == signal.SIGUSR2
            assert heard_of == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert signal.getsignal(signal.SIGUSR2) == before
    assert signal.set_wakeup_fd(-1) == -1


# What the main thread waits on, while others get the signals


def given_to_another(number: signal.Signals, after: float = 0.2) -> None:
    threading.Timer(after, lambda: signal.pthread_kill(threading.get_ident(), number)).start()


@pytest.fixture
def handled() -> Iterator[list[float]]:
    """When SIGUSR1 was handled."""
    times = list[float]()
    before = signal.signal(signal.SIGUSR1, lambda *_: times.append(time.monotonic()))
    yield times
    signal.signal(signal.SIGUSR1, before)


def test_whoever_waits_looks_up_at_once_and_goes_on_waiting(handled: list[float]) -> None:
    """Twice, for a second signal is another wish."""
    begun = time.monotonic()
    with watched(signal.SIGUSR1):
        given_to_another(signal.SIGUSR1, 0.2)
        given_to_another(signal.SIGUSR1, 1.0)
        threading.Event().wait(8.0)
    assert time.monotonic() >= begun + 8.0
    assert len(handled) == 2 and handled[-1] < begun + 7.0


def test_unwatched_there_is_no_thread_and_afterwards_there_is(handled: list[float]) -> None:
    before = threading.active_count()
    with watched(signal.SIGUSR1):
        assert threading.active_count() == before + 1
        with unwatched():
            assert threading.active_count() == before
            assert signal.set_wakeup_fd(-1) == -1
        given_to_another(signal.SIGUSR1)
        threading.Event().wait(8.0)
        assert handled and time.monotonic() > handled[0] + 1.0
    assert threading.active_count() == before
    assert signal.set_wakeup_fd(-1) == -1
    assert signal.getsignal(POKE) == signal.SIG_DFL


def test_where_no_thread_can_be_interrupted_none_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(signal, "pthread_kill")
    before = threading.active_count()
    with watched(signal.SIGTERM), unwatched():
        assert threading.active_count() == before
        assert signal.set_wakeup_fd(-1) == -1


def test_who_keeps_others_alive_forks_without_a_thread_beside_it() -> None:
    counts = list[int]()

    def count(_: object) -> None:
        counts.append(threading.active_count())
        signal.raise_signal(signal.SIGTERM)

    before = threading.active_count()
    with watched(signal.SIGUSR1):
        supervise([Child("sleeper", partial(time.sleep, 600))], count)
        assert threading.active_count() == before + 1
    assert counts == [before]
