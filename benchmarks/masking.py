"""What masked sums cost, against the figures we want to reach.

    python benchmarks/masking.py [--institutions K] [--width D] [--out benchmarks/results/masking.json]

Expansion: adding one mask to a vector beside AES-256-CTR's own speed for as many bytes, both on one core and in turns, so that
whatever else the machine does meets both. Protocol: an institution's mask step (verified boards, key
exchanges, 50 masks) and the coordinator's opening of the sum, without and with dropouts; memory beside the vectors.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from printing import Figure, shown, write
from rich.console import Console

from cohortium.masking import (
    Cohort,
    Context,
    MaskedSum,
    Ring,
    Seat,
    Secrets,
    Statement,
    advertise,
    all_or_nothing,
    dropout_tolerant,
    read_adverts,
)
from cohortium.masking.ring import add_masks
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.system.keys import public_text

ROOT = Path(__file__).resolve().parents[1]
WIDTHS = (100_000, 1_000_000, 10_000_000)
QUESTION = "0c" * 32
BLOCK = 1 << 17


def seconds(work: Callable[[], object]) -> float:
    """Of the processor: everything runs in one thread, and another program's turns are not counted."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def in_turns(one: Callable[[], object], other: Callable[[], object], times: int) -> tuple[float, float]:
    """The fastest of each, measured alternately."""
    pairs = [(seconds(one), seconds(other)) for _ in range(times + 1)][1:]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def expansion() -> list[Figure]:
    figures = []
    for bits in (32, 64):
        ring = Ring(bits)  # type: ignore[arg-type]
        for width in WIDTHS:
            values = np.zeros(width, ring.dtype)
            times = max(5, 40_000_000 // width)
            raw, ours = in_turns(
                lambda n=values.nbytes: key_stream(n), lambda v=values: add_masks(v, [(bytes(32), 1)]), times
            )  # type: ignore[misc]
            note = f"{1e3 * ours:.2f} ms, {width / ours / 1e9:.2f} G words/s; AES-CTR alone {1e3 * raw:.2f} ms"
            figures.append(Figure(f"one mask, {width:.0e} words of {bits} bits", ours / raw, "x AES-CTR", 2.0, note))
    return figures


def key_stream(size: int) -> None:
    """AES-256-CTR into one block again and again: as fast as the cipher goes, with no memory to wait for."""
    stream = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
    zeros, block = bytes(BLOCK), memoryview(bytearray(BLOCK))
    for start in range(0, size, BLOCK):
        part = min(BLOCK, size - start)
        stream.update_into(memoryview(zeros)[:part], block[:part])


class Cast:
    """K institutions, their boards, and an answer of zeros."""

    def __init__(self, size: int, dropouts: int, width: int) -> None:
        keys = {f"institution-{k:03}": Ed25519PrivateKey.generate() for k in range(size)}
        self.cohort = Cohort({n: public_text(k) for n, k in keys.items()}, dropouts)
        self.cohort.check()
        self.at = Context("5d" * 32, "ab" * 16, 1, 0)
        self.session = self.at if dropouts else self.at.of_run
        self.seats = [Seat(self.cohort, n, k, self.session, Secrets.draw(os.urandom(32))) for n, k in keys.items()]
        self.noised, self.ring = Noised(np.zeros(width, np.int64)), Ring(64)
        self.adverts = [advertise(s) for s in self.seats]


def without_dropouts(size: int, width: int) -> list[Figure]:
    cast = Cast(size, 0, width)

    def work() -> None:
        adverts = read_adverts(cast.cohort, cast.session, cast.adverts)
        all_or_nothing.mask(cast.seats[0], adverts, cast.at, QUESTION, cast.noised, cast.ring)

    return [Figure(f"D = 0, K = {size}: an institution's mask step", fastest(work), "s", 0.5)]


def fastest(work: Callable[[], object], times: int = 5) -> float:
    return min([seconds(work) for _ in range(times + 1)][1:])


def double_masking(size: int, width: int, dropouts: int) -> list[Figure]:
    cast = Cast(size, dropouts, width)
    adverts = read_adverts(cast.cohort, cast.at, cast.adverts)
    shared = [dropout_tolerant.share(s, adverts) for s in cast.seats]
    shares = dropout_tolerant.read_shares(adverts, shared)

    def mask() -> object:
        verified = dropout_tolerant.read_shares(read_adverts(cast.cohort, cast.at, cast.adverts), shared)
        return dropout_tolerant.mask(cast.seats[0], verified, QUESTION, cast.noised, cast.ring)

    label = f"D = {dropouts}, K = {size}"
    figures = [
        Figure(
            f"{label}: an institution's share step",
            fastest(lambda: dropout_tolerant.share(cast.seats[0], adverts), 3),
            "s",
        ),
        Figure(f"{label}: an institution's mask step", fastest(mask), "s", 0.5),
        memory(f"{label}: memory of a mask step, beside the answer", mask, 8 * width),
        Figure(f"{label}: the board of shares", sum(len(str(s.document())) for s in shared) / 1e6, "MB"),
    ]
    total, said = MaskedSum(cast.ring, width), []
    for seat in cast.seats:
        answer, statement = dropout_tolerant.mask(seat, shares, QUESTION, cast.noised, cast.ring)
        total.add(seat.name, answer)
        said.append(statement)
    none = opening(cast, shares, said, total)
    figures.append(Figure(f"{label}: the coordinator opens the sum", none.seconds, "s", 0.5))
    figures.append(none.memory(f"{label}: memory of opening, beside the sum"))
    for seat in cast.seats[:dropouts]:  # the same round, had these dropped out
        gone, _ = dropout_tolerant.mask(seat, shares, QUESTION, cast.noised, cast.ring)
        np.subtract(total.values, gone.values, out=total.values)
    some = opening(cast, shares, said[dropouts:], without(total, cast.seats[:dropouts]))
    note = f"{some.seconds:.2f} s with {dropouts} dropouts"
    figures.append(Figure(f"{label}: and for each dropout", (some.seconds - none.seconds) / dropouts, "s", 0.5, note))
    figures.append(Figure(f"{label}: an institution's reveal step", none.reveal, "s"))
    return figures


@dataclass(frozen=True)
class Opening:
    seconds: float
    peak: int
    width: int
    reveal: float

    def memory(self, name: str) -> Figure:
        return Figure(name, self.peak / (8 * self.width), "vectors", 1.0, f"{self.peak / 1e6:.1f} MB")


def opening(cast: Cast, shares: dropout_tolerant.Shares, said: Sequence[Statement], total: MaskedSum) -> Opening:
    """Open a copy of the sum; the result is checked."""
    answers = dropout_tolerant.read_answers(shares, QUESTION, said)
    seats = [s for s in cast.seats if s.name in answers.survivors]
    confirmed = dropout_tolerant.read_confirmations(answers, [dropout_tolerant.confirm(s, answers) for s in seats])
    reveals = [dropout_tolerant.reveal(s, confirmed) for s in seats]
    reveal = fastest(lambda: dropout_tolerant.reveal(seats[0], confirmed), 3)
    best, peak = float("inf"), 0
    for measured in (False, False, False, True):
        copy = MaskedSum(total.ring, len(total.values))
        copy.values, copy._added = total.values.copy(), set(answers.survivors)
        if measured:
            peak = growth(lambda c=copy: dropout_tolerant.unmask(c, confirmed, reveals))  # type: ignore[misc]
        else:
            best = min(best, seconds(lambda c=copy: dropout_tolerant.unmask(c, confirmed, reveals)))  # type: ignore[misc]
        assert not copy.values.any()
    return Opening(best, peak, len(total.values), reveal)


def without(total: MaskedSum, seats: Sequence[Seat]) -> MaskedSum:
    total._added -= {s.name for s in seats}
    return total


def memory(name: str, work: Callable[[], object], vector: int) -> Figure:
    peak = growth(work)
    return Figure(
        name,
        peak / vector,
        "vectors",
        1.1,
        f"{peak / 1e6:.1f} MB; one vector, {vector / 1e6:.0f} MB, is the masked answer",
    )


def growth(work: Callable[[], object]) -> int:
    """Bytes allocated at the worst moment, over what was there before."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--institutions", type=int, default=50)
    parser.add_argument("--width", type=int, default=1_000_000)
    parser.add_argument("--dropouts", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "masking.json")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    size, width = chosen.institutions, chosen.width
    figures = [*expansion(), *without_dropouts(size, width), *double_masking(size, width, chosen.dropouts)]
    Console(width=160).print(shown(figures, "Masked sums"))
    write(figures, {"institutions": size, "width": width, "dropouts": chosen.dropouts}, chosen.out)


if __name__ == "__main__":
    main()
