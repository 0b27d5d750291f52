"""Secret randomness: the only randomness that noise, Poisson samples and the choice of a person's rows are drawn from.

AES-256 in counter mode under a key of 32 fresh bytes of the operating system. There is no way to pass a seed or a
key: randomness cannot be repeated, by anyone, on purpose or by a restored snapshot of a configuration (docs/threat-model.md P5, P6).
Tests that need rigged randomness bring their own implementation of the ``Randomness`` protocol.
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

WordArray = npt.NDArray[np.uint64]
_ZEROS = bytes(1 << 20)


class Randomness(Protocol):
    def words(self, count: int) -> WordArray:
        """(count,) independent uniform uint64 words, never given out before."""
        ...


class SecureRandomness:
    """Randomness of the operating system's making. One object serves one answer and is thrown away with it."""

    def __init__(self) -> None:
        self._rekey()

    def _rekey(self) -> None:
        key = algorithms.AES(os.urandom(32))
        self._stream = Cipher(key, modes.CTR(bytes(16))).encryptor()  # zero nonce: the key is used once
        self._process = os.getpid()

    def words(self, count: int) -> WordArray:
        if os.getpid() != self._process:  # a forked child must not draw its parent's words
            self._rekey()
        drawn = np.empty(8 * count, np.uint8)
        for start in range(0, 8 * count, len(_ZEROS)):
            size = min(len(_ZEROS), 8 * count - start)
            self._stream.update_into(memoryview(_ZEROS)[:size], memoryview(drawn.data)[start : start + size])
        return drawn.view(np.uint64)


def happens(probability: float, count: int, randomness: Randomness) -> npt.NDArray[np.bool_]:
    """(count,) independent events of at most ``probability`` (rounded down to a multiple of 2**-64)."""
    if not 0 <= probability <= 1:
        raise ValueError("a probability lies between 0 and 1")
    if probability == 1:
        return np.ones(count, bool)
    return randomness.words(count) < np.uint64(int(probability * 2**64))
