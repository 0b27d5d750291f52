"""How far a mixture of product distributions is from noised tables: squared error by the noise's precision.

Tables of two columns are parts of one large matrix, mean over components of P ⊗ P; tables of three are told as pairs
within each cell of one of their columns, one more such matrix a cell. The matrices are kept in blocks, and only those with
tables. Where there are more than one step can look at, it looks at some, in turn, and counts them for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from cohortium_server.generators.shares import Table

WIDTH = 128  # cells of neighbouring columns that make a side of a block, about
CELLS = 1 << 16  # that a step looks at, of each kind of table
AGAIN = 4  # times as many in a look that has to be the same each time


@dataclass(frozen=True)
class _Block:
    """A part of the pairs' matrix, or of that within one ``cell``. weights: precisions, 0 where nothing is told."""

    cell: int | None
    across: slice
    down: slice
    shares: torch.Tensor
    weights: torch.Tensor

    def error(self, p: torch.Tensor) -> torch.Tensor:
        one = p[..., self.across] if self.cell is None else p[..., self.across] * p[..., self.cell, None]
        return (self.weights * (one.mT @ p[..., self.down] / p.shape[-2] - self.shares) ** 2).sum()


class _Kind:
    """Blocks that weigh about the same, as a random order that steps go through, over and over."""

    def __init__(self, blocks: Sequence[_Block], rng: np.random.Generator) -> None:
        self._blocks = [blocks[k] for k in rng.permutation(len(blocks))]
        self._cells = sum(b.shares.numel() for b in blocks)
        self._next = 0

    def error(self, p: torch.Tensor) -> torch.Tensor:
        """An estimate from the next blocks."""
        taken = self._taken(self._next, CELLS)
        self._next = (self._next + len(taken)) % len(self._blocks)
        return self._of(taken, p)

    def same(self, p: torch.Tensor) -> torch.Tensor:
        return self._of(self._taken(0, AGAIN * CELLS), p)

    def _taken(self, first: int, cells: int) -> list[_Block]:
        """Blocks from the first on until there are enough cells; all at most."""
        turned = self._blocks[first:] + self._blocks[:first]
        before = np.cumsum([0] + [b.shares.numel() for b in turned[:-1]])
        return turned[: int(np.searchsorted(before, cells))]

    def _of(self, taken: Sequence[_Block], p: torch.Tensor) -> torch.Tensor:
        return torch.stack([b.error(p) for b in taken]).sum() * (self._cells / sum(b.shares.numel() for b in taken))


class Loss:
    """Sum over tables and cells of (model - noised)² / sigma², and over models where logits are of several.

    logits: (..., components, cells).
    """

    def __init__(self, sizes: Sequence[int], tables: Sequence[Table], device: str, rng: np.random.Generator) -> None:
        self._sizes, self._starts = sizes, np.cumsum([0, *sizes])
        alone = [t for t in tables if len(t.columns) == 1]
        self._singles = [
            (t.columns[0], torch.tensor(t.shares, dtype=torch.float32, device=device), t.sigma) for t in alone
        ]
        kinds: dict[float | None, list[Table]] = {}
        for table in (t for t in tables if len(t.columns) > 1):
            kinds.setdefault(None if table.crossed is None else table.sigma, []).append(table)
        self._kinds = [_Kind(list(_blocks(sizes, kind, device)), rng) for kind in kinds.values()]

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Of all tables; where there are many, estimated from those whose turn it is."""
        p = softmax(logits, self._sizes)
        return self._alone(p) + sum(kind.error(p) for kind in self._kinds)

    def same(self, logits: torch.Tensor) -> torch.Tensor:
        """Of all tables; where there are many, estimated from the same ones each time."""
        p = softmax(logits, self._sizes)
        return self._alone(p) + sum(kind.same(p) for kind in self._kinds)

    def _alone(self, p: torch.Tensor) -> torch.Tensor:
        loss = p.new_zeros(())
        for j, noised, sigma in self._singles:
            loss = loss + ((p[..., self._starts[j] : self._starts[j + 1]].mean(-2) - noised) ** 2).sum() / sigma**2
        return loss


def softmax(logits: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """(..., components, cells) every component's distributions."""
    return torch.cat([F.softmax(block, -1) for block in torch.split(logits, list(sizes), -1)], -1)


def _blocks(sizes: Sequence[int], tables: Sequence[Table], device: str) -> Iterator[_Block]:
    """All blocks with tables of two columns, or of three."""
    group = np.cumsum([0, *sizes[:-1]]) // WIDTH  # of each column
    places: dict[tuple[int | None, int, int], list[Table]] = {}
    for table in tables:
        i, j = (c for c in table.columns if c != table.crossed)
        places.setdefault((table.crossed, int(group[i]), int(group[j])), []).append(table)
    for (crossed, _, _), inside in places.items():
        yield from _block(sizes, crossed, inside, device)


def _block(sizes: Sequence[int], crossed: int | None, tables: Sequence[Table], device: str) -> Iterator[_Block]:
    """The block that holds the tables, within each cell of the crossed column if there is one."""
    starts = np.cumsum([0, *sizes])
    pairs = [[c for c in t.columns if c != crossed] for t in tables]
    across, down = (slice(starts[min(side)], starts[max(side) + 1]) for side in zip(*pairs, strict=True))
    shape = (across.stop - across.start, down.stop - down.start)
    slices = 1 if crossed is None else sizes[crossed]
    shares, weights = np.zeros((slices, *shape), np.float32), np.zeros(shape, np.float32)
    for table, (i, j) in zip(tables, pairs, strict=True):
        rows, columns = (slice(starts[c] - at, starts[c + 1] - at) for c, at in ((i, across.start), (j, down.start)))
        values = table.shares[None] if crossed is None else np.moveaxis(table.shares, table.columns.index(crossed), 0)
        shares[:, rows, columns], weights[rows, columns] = values, 1 / table.sigma**2
    shares_of, precisions = torch.tensor(shares, device=device), torch.tensor(weights, device=device)
    for k in range(slices):
        yield _Block(None if crossed is None else int(starts[crossed]) + k, across, down, shares_of[k], precisions)
