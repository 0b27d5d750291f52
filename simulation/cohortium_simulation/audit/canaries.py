"""Canaries: made-up persons, each included or not at random, whose traces in an answer do not mix.

Canary i has the code i mod size in every column (after a random renaming of each column's codes), so that by the
Chinese remainder theorem no two of the first n canaries share a cell of a table whose sizes have a least common
multiple of n or more. An attack reads these tables alone; how much of the promise that is, is ``Design.share``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Codes
from cohortium_simulation.audit.detectors import BoolArray, expected_mu

IntArray = npt.NDArray[np.int64]
Table = tuple[int, ...]
MOST_RUNS, FEW_RUNS = 24, 4  # few, where canaries will reveal nothing anyway


@dataclass(frozen=True)
class Design:
    """``each`` canaries in each of ``runs`` runs, distinguished by ``tables``, which carry ``share`` of the information.

    copies: how many may share their cells, because they are in different messages. codes: how many codes of each column
    are used, its first; by default all.
    """

    each: int
    runs: int
    tables: tuple[Table, ...]
    share: float
    copies: int = 1
    codes: tuple[int, ...] | None = None

    @property
    def canaries(self) -> int:
        return self.each * self.runs


def design(sizes: Sequence[int], weights: dict[Table, float], mu: float, wanted: int, alpha: float) -> Design:
    """The design that will show most of a mechanism of sensitivity over noise ``mu`` with about ``wanted`` canaries.

    weights: the information of each table, relative to the others.
    """
    ladder = sorted({math.lcm(*(sizes[j] for j in t)) for t in weights} | {2**k for k in range(1, 16)})
    fitting = [_design(sizes, weights, n, wanted) for n in ladder if 2 <= n <= max(2, wanted)]
    return best_of(fitting, mu, alpha)


def best_of(designs: Sequence[Design], mu: float, alpha: float) -> Design:
    """The one of ``designs`` that will show most of ``mu``; of fewer runs, where it will show nothing anyway."""
    shown = {d: expected_mu(mu * math.sqrt(d.share), d.canaries, alpha) for d in designs}
    best = max(designs, key=lambda d: (shown[d], d.share * d.canaries))
    return best if shown[best] else replace(best, runs=min(best.runs, FEW_RUNS))


def _design(sizes: Sequence[int], weights: dict[Table, float], n: int, wanted: int) -> Design:
    apart = tuple(t for t in weights if math.lcm(*(sizes[j] for j in t)) >= n)
    share = math.fsum(weights[t] for t in apart) / math.fsum(weights.values())
    return Design(n, runs_of(n, wanted), apart, share)


def runs_of(each: int, wanted: int) -> int:
    """How many runs of ``each`` canaries come to about ``wanted``."""
    return min(MOST_RUNS, math.ceil(wanted / each))


@dataclass(frozen=True)
class Canaries:
    """One run's canaries.

    rows: (canaries, columns) the codes of each. included: (canaries,) who is in the tables. homes: (canaries, g) the
    institutions, by number, that each is in if included. rows_each: how many rows, all the same, each has.
    """

    sizes: tuple[int, ...]
    rows: IntArray
    included: BoolArray
    homes: IntArray
    rows_each: int

    def table(self, institution: int) -> Codes:
        """The table of an institution."""
        there = np.repeat(np.flatnonzero(self.included & (self.homes == institution).any(1)), self.rows_each)
        return Codes(self.rows[there].astype(np.int16), there.astype(np.int64), self.sizes)

    def counted(self, institution: int, table: Table, sizes: Sequence[int], units: int) -> IntArray:
        """(cells,) what an answer without noise must be, computed apart from the product: ``units`` for each."""
        there = self.included & (self.homes == institution).any(1)
        return units * np.bincount(self.cells(table, sizes)[there], minlength=math.prod(sizes[j] for j in table))

    def cells(self, table: Table, sizes: Sequence[int]) -> IntArray:
        """(canaries,) where each canary is in a table, the last column running fastest.

        sizes: cells that each column is counted in: the first ones as they are, and the rest merged with the last of them.
        """
        seen = tuple(np.minimum(self.rows[:, j], sizes[j] - 1) for j in table)
        found: IntArray = np.ravel_multi_index(seen, tuple(sizes[j] for j in table))
        return found


def draw(sizes: tuple[int, ...], chosen: Design, institutions: int, held_by: int, rows_each: int) -> Canaries:
    """Fresh canaries, assigned round-robin to the institutions, with randomness of the operating system."""
    rng = np.random.default_rng(np.frombuffer(os.urandom(32), np.uint32))  # which codes: no secret, and no noise
    number = np.arange(chosen.each // chosen.copies)
    rows = np.stack([rng.permutation(k)[number % k] for k in chosen.codes or sizes], axis=1).astype(np.int64)
    rows = np.repeat(rows, chosen.copies, axis=0)
    first = np.arange(len(rows)) % institutions
    homes = (first[:, None] + np.arange(held_by)) % institutions
    included = np.unpackbits(np.frombuffer(os.urandom((len(rows) + 7) // 8), np.uint8))[: len(rows)].astype(bool)
    return Canaries(sizes, rows, included, homes, rows_each)


def nobody(sizes: tuple[int, ...]) -> Canaries:
    """A run without anybody: what is answered then is noise alone."""
    none = np.zeros((0, len(sizes)), np.int64)
    return Canaries(sizes, none, np.zeros(0, bool), np.zeros((0, 1), np.int64), 1)


def crowd(sizes: tuple[int, ...], each: int, institutions: int) -> Canaries:
    """A run of ``each`` persons at every institution, all alike and all there: nothing is secret but the noise."""
    persons = each * institutions
    rows, there = np.zeros((persons, len(sizes)), np.int64), np.ones(persons, bool)
    return Canaries(sizes, rows, there, np.arange(persons)[:, None] % institutions, 1)
