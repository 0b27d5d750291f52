"""From the cells of the schema to the merged ones that a model sees, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

from cohortium.data.binning import merge, merged_sizes, ordered_cells, read_merged, single_cells
from cohortium.data.schema import Schema
from cohortium.errors import WireError
from cohortium_server.generators import Allowed, Measured, Tensors
from cohortium_server.generators.denoising import denoised, denoised_list
from cohortium_server.generators.densities import estimated
from cohortium_server.generators.grouping import grouped_cells

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Weights = dict[int, FloatArray]


@dataclass(frozen=True)
class Cells:
    """sizes: cells of each column of the schema. merged: (sum of sizes,) the merged cell of each.

    counts: (sum of sizes,) how many rows each cell is thought to hold, from noised counts; at least 0.
    """

    sizes: tuple[int, ...]
    merged: IntArray
    counts: FloatArray

    @classmethod
    def single(cls, sizes: tuple[int, ...]) -> Self:
        """Every cell by itself."""
        return cls(sizes, single_cells(sizes), np.ones(sum(sizes)))

    @classmethod
    def of(cls, schema: Schema, bins: int, tables: Sequence[Measured], nested: bool = True) -> Self:
        """Cells put together by the noised counts of single columns. nested: at several levels, as editions after the first ask."""
        counts = estimated(schema, tables) if nested else _denoised(schema, tables)
        return cls(schema.sizes, grouped_cells(schema, bins, counts), np.concatenate(counts))

    @classmethod
    def read(cls, schema: Schema, bins: int, tensors: Tensors) -> Self:
        """What ``tensors`` gave; ValueError where it is of another schema."""
        sizes, counts = schema.sizes, tensors["counts"].astype(np.float64)
        if tensors["cells"].shape != (sum(sizes),) or counts.shape != (sum(sizes),) or (counts < 0).any():
            raise ValueError("cells")
        try:
            return cls(sizes, read_merged(tensors["cells"], sizes, merged_sizes(schema, bins)), counts)
        except WireError:
            raise ValueError("cells") from None

    def tensors(self) -> Tensors:
        return {"cells": self.merged.astype(np.float32), "counts": self.counts.astype(np.float32)}

    @cached_property
    def used(self) -> tuple[int, ...]:
        """Merged cells of each column that hold any cell: the first ones."""
        return tuple(int(self.merged[part].max()) + 1 for part in self._parts)

    @property
    def merges(self) -> bool:
        return self.used != self.sizes

    @cached_property
    def _parts(self) -> list[slice]:
        return [slice(a, b) for a, b in pairwise(np.cumsum([0, *self.sizes]))]

    def merged_of(self, j: int) -> IntArray:
        """(cells,) of one column: the merged cell of each."""
        return self.merged[self._parts[j]]

    def shares_of(self, j: int) -> FloatArray:
        """(cells,) of one column: the part of its merged cell that each cell is."""
        merged, mass = self.merged_of(j), self._mass(j)
        shares: FloatArray = mass / np.bincount(merged, mass)[merged]
        return shares

    def _mass(self, j: int) -> FloatArray:
        mass: FloatArray = self.counts[self._parts[j]] + 1e-9  # where nothing was counted, all cells weigh the same
        return mass

    def weights(self, allowed: Allowed, seen: tuple[int, ...]) -> Weights:
        """Per conditioned column the part of each merged cell that is allowed; a model sees ``seen`` of them."""
        return {
            j: np.bincount(self.merged_of(j), self.shares_of(j) * cells, seen[j]).astype(np.float64)
            for j, cells in allowed.items()
        }

    def summed(self, counts: Sequence[FloatArray], seen: tuple[int, ...]) -> list[FloatArray]:
        """Each column's (merged cells,) counts, from (cells,) ones."""
        return [
            np.bincount(self.merged_of(j), n, k).astype(np.float64)
            for j, (n, k) in enumerate(zip(counts, seen, strict=True))
        ]

    def merge(self, codes: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        """(rows, columns) codes of merged cells."""
        return merge(codes, self.sizes, self.merged) if self.merges else codes

    def spread_chances(self, j: int, chances: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """(n, cells) of a column from chances of its (n, merged cells)."""
        spread: npt.NDArray[np.floating] = chances[:, self.merged_of(j)] * self.shares_of(j)
        return spread

    def spread(self, codes: npt.NDArray[np.int16], rng: np.random.Generator, allowed: Allowed) -> npt.NDArray[np.int16]:
        """(rows, columns) codes of single cells: within a merged cell by the counts of those allowed.

        A model that sees more merged cells than are used may draw one that holds none: any of the column's then.
        """
        spread = codes.copy()
        for j in (j for j, (size, few) in enumerate(zip(self.sizes, self.used, strict=True)) if size != few):
            merged, mass = self.merged_of(j), self._mass(j) * allowed.get(j, np.ones(self.sizes[j]))
            for cell in np.unique(codes[:, j]):
                rows = np.flatnonzero(codes[:, j] == cell)
                inside = np.flatnonzero((merged == cell) & (mass > 0))
                inside = inside if len(inside) else np.flatnonzero(mass)
                ladder = mass[inside].cumsum()
                places = np.searchsorted(ladder, rng.random(len(rows)) * ladder[-1], side="right")
                spread[rows, j] = inside[np.minimum(places, len(inside) - 1)]
        return spread


def _denoised(schema: Schema, tables: Sequence[Measured]) -> list[FloatArray]:
    """What a study of the first edition, one table a column, is fitted to."""
    found = []
    for column, table in zip(schema.columns, tables, strict=True):
        ordered, counts = ordered_cells(column), table.counts
        parts = [denoised(counts[:ordered], table.sigma)] if ordered else []
        found.append(np.concatenate([*parts, denoised_list(counts[ordered:], table.sigma)]))
    return found
