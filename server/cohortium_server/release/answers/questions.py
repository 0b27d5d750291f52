"""Random sums like those that people ask for: merged cells, sets, ranges and means, of two and three columns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium.data.binning import ordered_cells
from cohortium.data.schema import Schema
from cohortium_server.release.answers.noised import Noised
from cohortium_server.release.answers.products import FloatArray, Products

GROUPS, SUMS = 150, 1500  # of every class: sets of columns, and sums of them in all
IntArray = npt.NDArray[np.int64]


def name_of(noised: Noised, columns: tuple[int, ...]) -> str:
    """The class whose law holds for sums over these columns."""
    return f"{len(columns)}" if len(columns) < 3 or columns in noised.held else "3 apart"


def drawn(
    schema: Schema, noised: Noised, values: Sequence[FloatArray | None], rng: np.random.Generator
) -> dict[str, list[Products]]:
    """Per class sums of two and three columns, in groups of the same ones.

    values: (cells,) numbers of the columns whose means may be asked for, the same all over each merged cell.
    """
    classes: dict[str, list[tuple[int, ...]]] = {}
    for columns in _sets(len(schema.columns), rng):
        classes.setdefault(name_of(noised, columns), []).append(columns)
    weigh = [_Column.of(schema, j, noised, values[j]) for j in range(len(schema.columns))]
    found = {}
    for name in sorted(classes):
        chosen = [classes[name][k] for k in rng.permutation(len(classes[name]))[:GROUPS].tolist()]
        each = -(-SUMS // len(chosen))
        found[name] = [Products(columns, tuple(weigh[j].weights(each, rng) for j in columns)) for columns in chosen]
    return found


def _sets(count: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """All pairs, and at most 20,000 triples."""
    triples = list(itertools.combinations(range(count), 3)) if count <= 50 else _some_triples(count, rng)
    return [*itertools.combinations(range(count), 2), *triples]


def _some_triples(count: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    found = {tuple(sorted(rng.choice(count, 3, replace=False).tolist())) for _ in range(20_000)}
    return sorted(found)


@dataclass(frozen=True)
class _Column:
    """The basis of a column's weights. cells: those counted as one; ordered: how many of the first have neighbours."""

    cells: IntArray
    ordered: int
    values: FloatArray | None

    @classmethod
    def of(cls, schema: Schema, j: int, noised: Noised, values: FloatArray | None) -> _Column:
        cells, ordered = noised.merged(j), ordered_cells(schema.columns[j])
        return cls(cells, int(cells[:ordered].max(initial=-1)) + 1, values)

    def weights(self, count: int, rng: np.random.Generator) -> FloatArray:
        return np.stack([self._one(rng) for _ in range(count)])

    def _one(self, rng: np.random.Generator) -> FloatArray:
        size = int(self.cells.max()) + 1
        chosen = np.zeros(size)
        kind = rng.random()
        if self.values is not None and kind < 0.2:
            away: FloatArray = self.values - rng.choice(self.values)
            return away / float(max(np.abs(away).max(), 1e-12))
        if kind < 0.45 or size < 3:
            chosen[rng.integers(size)] = 1
        elif kind < 0.7 or self.ordered < 3:
            chosen[rng.permutation(size)[: rng.integers(1, size)]] = 1
        else:
            first, last = np.sort(rng.choice(self.ordered + 1, 2, replace=False))
            chosen[first:last] = 1
        return chosen[self.cells]
