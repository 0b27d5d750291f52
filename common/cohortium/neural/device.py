"""Which device torch computes on, and with how many threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def best_device() -> str:
    """CUDA where there is one and float32 products are float32 products, which ``exact`` counts on; else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() and torch.get_float32_matmul_precision() == "highest" else "cpu"


def device_words() -> str:
    """The device by its name, for a person who starts training. Never part of a message."""
    import torch

    return f"CUDA device {torch.cuda.get_device_name()}" if best_device() == "cuda" else "the CPU"


class _Single:
    """Counts users of single-threaded torch: the first one sets the process's number of threads, the last restores it."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def enter(self) -> None:
        import torch  # in each: it takes a second to load, and drawing rows of most kinds needs none

        with self._lock:
            if not self._inside:
                self._before = torch.get_num_threads()
            self._inside += 1
            torch.set_num_threads(1)

    def leave(self) -> None:
        import torch

        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.set_num_threads(self._before)


_single = _Single()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread inside: small matrices are multiplied faster, as several threads wait for one another."""
    _single.enter()
    try:
        yield
    finally:
        _single.leave()


@contextmanager
def one_thread_if_used() -> Iterator[None]:
    """``one_thread`` where torch is loaded already; what has not loaded it by now does without it."""
    if "torch" not in sys.modules:
        yield
        return
    with one_thread():
        yield
