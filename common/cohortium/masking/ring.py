"""Integers modulo 2³² or 2⁶⁴, and masks in them.

A mask is the key stream of AES-256 in counter mode under a key that is used for it alone, read as little-endian words.
The modulus is a power of two, so that a word is uniform without rejection and additions wrap by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from cohortium.errors import StudyError

IntArray = npt.NDArray[np.int64]
RingArray = npt.NDArray[np.uint32] | npt.NDArray[np.uint64]
KEY = 32
TAIL = 40  # standard deviations of the summed noise that the ring leaves room for
_BLOCK = 1 << 17
_ZEROS = bytes(_BLOCK)


@dataclass(frozen=True)
class Ring:
    """Z modulo 2**bits; an element stands for the integer nearest to zero."""

    bits: Literal[32, 64]

    @property
    def dtype(self) -> np.dtype[np.uint32] | np.dtype[np.uint64]:
        return np.dtype(np.uint32) if self.bits == 32 else np.dtype(np.uint64)

    def to_ring(self, values: IntArray) -> RingArray:
        """(width,) new array; values out of range wrap and never raise, since an error would reveal something about them."""
        return values.astype(np.uint32) if self.bits == 32 else values.astype(np.uint64)

    def from_ring(self, values: RingArray) -> IntArray:
        """(width,) int64 between -2**(bits-1) and 2**(bits-1) - 1; a view of ``values`` where bits is 64."""
        signed = np.int32 if self.bits == 32 else np.int64
        return values.view(signed).astype(np.int64, copy=False)


def ring_for(largest: int, sigma: float) -> Ring:
    """The smaller ring in which a sum cannot wrap; StudyError E_PLAN_LIMIT if there is none.

    largest: bound on the absolute value of every entry of the sum of all institutions before noise, grid units.
    sigma: standard deviation of the noise in that sum if nobody drops out; ``TAIL`` of them are passed with less than 1e-300.
    """
    reach = largest + math.ceil(TAIL * sigma)
    if reach < 2**31:
        return Ring(32)
    if reach < 2**63:
        return Ring(64)
    raise StudyError(
        "E_PLAN_LIMIT",
        "study",
        "a masked sum could pass 64 bits",
        "Choose a coarser grid, fewer rows per person, or fewer persons.",
    )


def add_masks(values: RingArray, masks: Iterable[tuple[bytes, int]]) -> None:
    """Add every (key, sign)'s mask to ``values`` in place, or subtract it where the sign is negative.

    Pre-condition: a key is used for one mask only (zero nonce). Memory beside ``values``: one block.
    """
    streams = [(_stream(key), np.add if sign > 0 else np.subtract) for key, sign in masks]
    block = np.empty(_BLOCK, np.uint8)
    words = block.view(values.dtype.newbyteorder("<"))
    for start in range(0, len(values), len(words)):
        part = values[start : start + len(words)]
        zeros, raw, drawn = memoryview(_ZEROS)[: part.nbytes], block.data[: part.nbytes], words[: len(part)]
        for stream, combine in streams:  # all masks of a block while it lies in the cache
            stream.update_into(zeros, raw)
            combine(part, drawn, out=part)


def key_stream(key: bytes, size: int) -> bytes:
    """The first ``size`` bytes of the mask of ``key``."""
    return _stream(key).update(bytes(size))


def _stream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
