"""Which device torch computes on, and with how many threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def best_device() -> str:
    """CUDA where there is one and float32 products are float32 products, which ``exact`` counts on; else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() and torch.get_float32_matmul_precision() == "highest" else "cpu"


def device_words() -> str:
    """The device by its name, for whoever starts something that trains. Never part of a message."""
    import torch

    return f"CUDA device {torch.cuda.get_device_name()}" if best_device() == "cuda" else "the CPU"


@contextmanager
def one_thread() -> Iterator[None]:
    """Small matrices are multiplied faster by one thread; several wait for one another, most of all on a busy machine."""
    import torch  # in each: it takes a second to load, and drawing rows of most kinds needs none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread_if_used() -> Iterator[None]:
    """``one_thread`` where torch is loaded already; what has not loaded it by now does without it."""
    if "torch" not in sys.modules:
        yield
        return
    with one_thread():
        yield
