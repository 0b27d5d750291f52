"""What a coordinator records of a run, so that an interrupted run resumes where it stopped and nothing is spent twice.

A run is determined by its sums: a generator is an ask-and-tell object, and the same sums lead it to the same state. A checkpoint
is therefore not a picture of the generator but the sum of each round, written whole before the next round is asked, and the
state at which a round was asked, written before it is sent. Asked again, it is the same question, to which an institution that
has answered sends the same bytes at no charge. Everything recorded is noised already.

For masked sums with dropouts the attempt under way is recorded leg by leg: every signed statement and the sum that is still
masked. The attempt is continued from there and no second sum of the round is ever needed. Charges of earlier, void attempts go
into the account.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cohortium.ledger.receipt import Receipt
from cohortium.masking.statements import encode_board

Void = tuple[tuple[Receipt, ...], ...]
"""The receipts that arrived of a round's abandoned attempts 0, 1, ...; an institution that sent none may have charged, too."""
NOTHING = encode_board(())


@dataclass(frozen=True)
class Aggregate:
    """A complete round: (width,) int64, the sum of its answers, and each institution's receipt.

    void: the receipts of the attempts before, ``attempt`` in number.
    """

    round: int
    attempt: int
    values: npt.NDArray[np.int64]
    receipts: tuple[Receipt, ...]
    void: Void = ()


@dataclass(frozen=True)
class Begun:
    """The newest attempt at a round of masked sums.

    board: all statements so far, as ``encode_board`` writes them. masked: once all have masked, (width,) of the ring, the sum
    of their answers, which nobody can read before shares are revealed. receipts: of those who have masked.
    """

    attempt: int
    board: bytes
    masked: npt.NDArray[np.uint32] | npt.NDArray[np.uint64] | None = None
    receipts: tuple[Receipt, ...] = ()
    void: Void = ()


class Journal(Protocol):
    """The record of one run. ``seed``: the seed of its generator."""

    run: str
    seed: int

    def aggregate(self, round_number: int) -> Aggregate | None: ...

    def remember(self, aggregate: Aggregate) -> None: ...

    def state(self, round_number: int) -> bytes | None:
        """The state at which the round was asked, if it was asked."""
        ...

    def remember_state(self, round_number: int, state: bytes) -> None: ...

    def begun(self, round_number: int) -> Begun | None:
        """The newest attempt at a round that is not complete."""
        ...

    def remember_begun(self, round_number: int, begun: Begun) -> None: ...


class BriefJournal:
    """A journal in memory."""

    def __init__(self, seed: int | None = None) -> None:
        self.run, self.seed = new_run(), new_seed() if seed is None else seed
        self._aggregates: dict[int, Aggregate] = {}
        self._states: dict[int, bytes] = {}
        self._begun: dict[int, Begun] = {}

    def aggregate(self, round_number: int) -> Aggregate | None:
        return self._aggregates.get(round_number)

    def remember(self, aggregate: Aggregate) -> None:
        self._aggregates[aggregate.round] = aggregate
        self._begun.pop(aggregate.round, None)

    def state(self, round_number: int) -> bytes | None:
        return self._states.get(round_number)

    def remember_state(self, round_number: int, state: bytes) -> None:
        self._states[round_number] = state

    def begun(self, round_number: int) -> Begun | None:
        return self._begun.get(round_number)

    def remember_begun(self, round_number: int, begun: Begun) -> None:
        self._begun[round_number] = begun


def new_run() -> str:
    return secrets.token_hex(16)


def new_seed() -> int:
    return secrets.randbits(32)
