"""Products of weights, one for each column: conditional counts and means are sums of these over a table's rows.

Sums are taken over units: a row has one cell of each column, a component of a mixture of products a probability for each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cohortium_server.generators.product_mixture import drawn

FloatArray = npt.NDArray[np.float64]
Weights = Mapping[int, FloatArray]
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Products:
    """n products over the same columns. weights: of each column (n, cells of the schema)."""

    columns: tuple[int, ...]
    weights: tuple[FloatArray, ...]

    def __len__(self) -> int:
        return len(self.weights[0])

    def mapped(self, change: Callable[[FloatArray], FloatArray]) -> Products:
        return Products(self.columns, tuple(change(w) for w in self.weights))

    @property
    def largest(self) -> FloatArray:
        """(n,) the largest size of the product in any cell."""
        found: FloatArray = reduce(np.multiply, (np.abs(w).max(1) for w in self.weights))
        return found


class Units(Protocol):
    """The units that expectations are taken over, with equal weights."""

    def expected(self, products: Products) -> FloatArray:
        """(n,) the mean of every product over all units."""
        ...

    def profile(self, j: int, others: Weights) -> FloatArray:
        """(cells,) the mean over all units of each cell of column ``j`` times the weights of ``others``."""
        ...


@dataclass(frozen=True)
class Rows:
    """codes: (rows, columns); sizes: cells of each column."""

    codes: npt.NDArray[np.int16]
    sizes: tuple[int, ...]

    def expected(self, products: Products) -> FloatArray:
        total = np.zeros(len(products))
        for start in range(0, len(self.codes), _BLOCK):
            block = self.codes[start : start + _BLOCK]
            factors = (w[:, block[:, j]] for j, w in zip(products.columns, products.weights, strict=True))
            total += reduce(np.multiply, factors).sum(1)
        return total / max(1, len(self.codes))

    def profile(self, j: int, others: Weights) -> FloatArray:
        factors = [w[self.codes[:, k]] for k, w in others.items()]
        product = reduce(np.multiply, factors, np.ones(len(self.codes)))
        return np.bincount(self.codes[:, j], product, self.sizes[j]) / max(1, len(self.codes))


@dataclass(frozen=True)
class Components:
    """Components of equal weight. chances_of: for each of ``columns`` columns, (components, cells of the schema) probabilities."""

    columns: int
    chances_of: Callable[[int], npt.NDArray[np.floating]]

    @cached_property
    def chances(self) -> Callable[[int], npt.NDArray[np.float32]]:
        return lru_cache(maxsize=64)(lambda j: self.chances_of(j).astype(np.float32))

    def expected(self, products: Products) -> FloatArray:
        pairs = zip(products.columns, products.weights, strict=True)
        factors = (self.chances(j) @ w.T.astype(np.float32) for j, w in pairs)
        means: FloatArray = reduce(np.multiply, factors).mean(0, dtype=np.float64)
        return means

    def drawn(self, rows: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
        """(rows, columns) codes, each by chance."""
        codes = np.empty((rows, self.columns), np.int16)
        owners = rng.integers(len(self.chances(0)), size=rows)
        for j in range(self.columns):
            for start in range(0, rows, _BLOCK // 4):
                part = slice(start, start + _BLOCK // 4)
                codes[part, j] = drawn(self.chances(j)[owners[part]], rng.random(len(owners[part])))
        return codes

    def profile(self, j: int, others: Weights) -> FloatArray:
        chances = self.chances(j)
        factors = [self.chances(k) @ w for k, w in others.items()]
        product = reduce(np.multiply, factors, np.ones(len(chances)))
        shares: FloatArray = product @ chances / len(chances)
        return shares
