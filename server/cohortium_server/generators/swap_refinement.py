"""Drawn rows exchange values until their tables are close to the model's: less error than rows drawn one by one have.

The counts of independent rows scatter around what the model expects, each by about its root. Here pairs of rows
exchange their values of a column where all tables of two columns together come closer to the model's (and of three, one
of them ``crossed``). Single columns are brought to what the model expects before. It reads the model and nothing else.

Rows of one component may always exchange values: its columns are independent. Rows of two components may with the
chance of Metropolis et al. (1953), so that without the search for closer tables the rows' distribution would not change.

Counts are integers, what the model expects is not. So every cell's goal is moved by a random part of a row first, uniform
in -1/2 .. 1/2 (dither): rounding to the nearest count then leaves a cell's expectation where it was, and rare cells are
not emptied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.system.progress import advancing, listener

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int16]
LOOKED = 1 << 15  # rows that are looked at, at most; the others stay as drawn and are made up for
LOOKS = 6_000  # at a column of some pairs of rows, in each pass over the rows
PASSES = 2
TOGETHER = 8  # pairs looked at at once, at least
FEATURES = 1 << 13  # crossed tables are left out where rows would have more
BLOCK = 1 << 12  # rows counted at once


@dataclass(frozen=True)
class Drawn:
    """Rows and the model they are drawn from.

    codes: (rows, columns). owners: (rows,) the component of each row. weights: (components,) their chances.
    chances: (components, cells) their columns' distributions, side by side. sizes: cells of each column.
    """

    codes: CodeArray
    owners: IntArray
    weights: npt.NDArray[np.float64]
    chances: FloatArray
    sizes: Sequence[int]


@dataclass(frozen=True)
class _Swaps:
    """Pairs of rows that may exchange their values ``old`` and ``new`` of a column.

    rows: (2, pairs). apart: (pairs, features) the first row's other columns less the second's.
    """

    rows: IntArray
    old: CodeArray
    new: CodeArray
    apart: FloatArray

    def only(self, which: npt.NDArray[Any]) -> _Swaps:
        return _Swaps(self.rows[:, which], self.old[which], self.new[which], self.apart[which])

    def change(self, size: int) -> FloatArray:
        """(features, size) what all exchanges together add to the counts."""
        cells, at = np.zeros((len(self.old), size), np.float32), np.arange(len(self.old))
        cells[at, self.new], cells[at, self.old] = 1, -1
        change: FloatArray = self.apart.T @ cells
        return change


def levelled(drawn: Drawn, crossed: Sequence[int], rng: np.random.Generator) -> CodeArray:
    """(rows, columns) codes like those drawn, with tables closer to the model's and single columns as near as can be.

    crossed: columns that exchange nothing; within each of their cells the tables of two other columns are levelled too.
    """
    sizes, codes = drawn.sizes, drawn.codes.copy()
    crossed = crossed if (1 + sum(sizes[t] for t in crossed)) * sum(sizes) <= FEATURES else ()
    moved = [j for j in range(len(sizes)) if j not in crossed]
    for j in range(len(sizes)):
        codes[:, j] = _evened(j, drawn, rng)
    gap = _Gap(replace(drawn, codes=codes), crossed, rng)
    parts, progress = max(1, LOOKS // len(sizes)), listener()
    progress.start(PASSES * parts, "levelling rows")  # of few rows there are fewer parts
    for pairs in advancing(_pairs(drawn.owners, parts, rng), progress):
        for j in rng.permutation(moved):
            swaps = gap.narrowed(j, codes, pairs[:, _likely(j, codes, pairs, drawn, rng)], rng)
            codes[swaps.rows[0], j], codes[swaps.rows[1], j] = swaps.new, swaps.old
    progress.done()
    return codes


def _evened(j: int, drawn: Drawn, rng: np.random.Generator) -> CodeArray:
    """(rows,) column j with the counts that the model expects, rounded up or down at random.

    Which rows go from a cell with too many to one with too few: by the odds of the two in the row's component.
    """
    column, size = drawn.codes[:, j].copy(), drawn.sizes[j]
    chances = drawn.chances[:, sum(drawn.sizes[:j]) :][:, :size]
    ladder = np.floor(len(column) * np.cumsum(drawn.weights @ chances) + rng.random())
    ladder[-1] = len(column)
    extra = np.bincount(column, minlength=size) - np.diff(ladder, prepend=0.0).astype(np.int64)
    many, few = (np.repeat(np.arange(size), np.maximum(n, 0)) for n in (extra, -extra))
    moves, times = np.unique(np.stack([many, rng.permutation(few)]), axis=1, return_counts=True)
    for old, new, n in zip(*moves, times, strict=True):
        rows = np.flatnonzero(column == old)
        odds = chances[drawn.owners[rows], new] / chances[drawn.owners[rows], old]
        waits = rng.exponential(size=len(rows)) / np.maximum(odds, 1e-30)  # the first n arrivals: chosen by the odds
        column[rows[np.argsort(waits)[: min(n, np.count_nonzero(odds))]]] = new
    return column


def _pairs(owners: IntArray, parts: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """(2, some) rows at a time, of the same component where possible: few, against the rows that are there."""
    looked = rng.permutation(len(owners))[:LOOKED]
    for _ in range(PASSES):
        looked = rng.permutation(looked)
        looked = looked[np.argsort(owners[looked], kind="stable")]
        pairs = looked[: len(looked) // 2 * 2].reshape(-1, 2)
        yield from (part.T for part in np.array_split(rng.permutation(pairs), min(parts, 1 + len(pairs) // TOGETHER)))


def _likely(j: int, codes: CodeArray, pairs: IntArray, drawn: Drawn, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(pairs,) those that differ in column j and may exchange it for all that their components say."""
    cells, owners = sum(drawn.sizes[:j]) + codes[pairs, j], drawn.owners[pairs]
    now = drawn.chances[owners, cells].prod(0)
    then = drawn.chances[owners, cells[::-1]].prod(0)
    likely: npt.NDArray[np.bool_] = (cells[0] != cells[1]) & (then > now * rng.random(len(now)))
    return likely


class _Gap:
    """Counts of the rows less what the model expects, dithered: (features, cells), kept up to date.

    A row's features are its cells, and for each cell of a crossed column, once more, if it is in it, its other cells.
    Tables of a column and itself are there and never read, nor are a crossed column's own.
    """

    def __init__(self, drawn: Drawn, crossed: Sequence[int], rng: np.random.Generator) -> None:
        self._sizes, self._crossed = drawn.sizes, crossed
        self._starts = np.cumsum([0, *drawn.sizes])
        chances, rows = drawn.chances, len(drawn.codes)
        shares = (rows * drawn.weights[:, None] * chances).astype(np.float32)
        slices = (chances[:, [self._starts[t] + k]] for t in crossed for k in range(drawn.sizes[t]))
        goals = [shares.T @ chances, *((shares * inside).T @ chances for inside in slices)]
        self._gap: FloatArray = np.vstack([_dither(len(goal), rng) - goal for goal in goals])
        for start in range(0, rows, BLOCK):
            block = drawn.codes[start : start + BLOCK]
            self._gap += self._features(block).T @ self._hot(block)

    def cells(self, j: int) -> slice:
        return slice(self._starts[j], self._starts[j + 1])

    def narrowed(self, j: int, codes: CodeArray, pairs: IntArray, rng: np.random.Generator) -> _Swaps:
        """Of the exchanges of column j between ``pairs`` those that are made; the gap is then as if they were.

        Each would narrow the gap by itself, but all together may go too far. The sum of squares after a random share of
        them is a parabola in the share: the share at its lowest point is made.
        """
        swaps, gap = self._swaps(j, codes, pairs), self._gap[:, self.cells(j)]
        score, at = swaps.apart @ gap, np.arange(len(swaps.old))
        gain = 2 * (score[at, swaps.old] - score[at, swaps.new])
        own = 2 * (swaps.apart**2).sum(1)  # squares that an exchange adds by itself
        good = gain > own
        swaps = swaps.only(good)
        change = swaps.change(self._sizes[j])
        slope, bend = (gain - own)[good].sum(), 2 * (float((change**2).sum()) - own[good].sum())
        if bend > slope:
            swaps = swaps.only(rng.random(len(swaps.old)) < slope / bend)
            change = swaps.change(self._sizes[j])
        self._add(j, change)
        return swaps

    def _swaps(self, j: int, codes: CodeArray, pairs: IntArray) -> _Swaps:
        one, other = codes[pairs]
        return _Swaps(pairs, one[:, j], other[:, j], self._features(one, j) - self._features(other, j))

    def _add(self, j: int, change: FloatArray) -> None:
        """Every table of j and another column is there twice, either way around."""
        width, size = self._starts[-1], self._sizes[j]
        self._gap[:, self.cells(j)] += change
        self._gap.reshape(-1, width, width)[:, self.cells(j)] += change.reshape(-1, width, size).transpose(0, 2, 1)

    def _hot(self, codes: CodeArray) -> FloatArray:
        hot = np.zeros((len(codes), self._starts[-1]), np.float32)
        hot[np.arange(len(codes))[:, None], self._starts[:-1] + codes] = 1
        return hot

    def _features(self, codes: CodeArray, without: int | None = None) -> FloatArray:
        """(rows, features) of all columns, or of all but one."""
        hot = self._hot(codes)
        if without is not None:
            hot[:, self.cells(without)] = 0
        parts = [hot]
        for t in self._crossed:
            others = hot.copy()
            others[:, self.cells(t)] = 0
            parts += [others * (codes[:, [t]] == k) for k in range(self._sizes[t])]
        return np.concatenate(parts, 1)


def _dither(width: int, rng: np.random.Generator) -> FloatArray:
    """(width, width) uniform in -1/2 .. 1/2, symmetric as the gap is."""
    dither = rng.random((width, width), np.float32) - np.float32(0.5)
    return np.triu(dither) + np.triu(dither, 1).T
