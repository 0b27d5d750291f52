"""Where rows lie, and which are near each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium.evaluation.samples import Sample, Sides, is_ordered

Places = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
_BLOCK = 1 << 25  # distances that are held at once
_MORE = 5  # candidates beyond those that are wanted


@dataclass(frozen=True)
class Space:
    """Where rows lie: ordered columns by the share of real rows below, others by cells; each column is at most 1 wide."""

    sides: Sides

    def of(self, sample: Sample, columns: Sequence[int] | None = None) -> Places:
        """(rows, dimensions) places, by all columns or by some."""
        chosen = range(len(self.sides.sizes)) if columns is None else columns
        return np.hstack([self._column(j, sample) for j in chosen])

    def _column(self, j: int, sample: Sample) -> Places:
        column, ordered = self.sides.schema.columns[j], self.sides.ordered[j]
        cells = sample.cells[:, j]
        if not is_ordered(column):
            return np.eye(self.sides.sizes[j], dtype=np.float32)[cells] / np.float32(np.sqrt(2))
        known = np.sort(self.sides.reference.rows.index[:, j])
        ranks = np.searchsorted(known, sample.rows.index[:, j], "left") + np.searchsorted(
            known, sample.rows.index[:, j], "right"
        )
        apart = (cells >= ordered).astype(np.float32)  # special values and missing ones
        return np.column_stack([(1 - apart) * ranks / (2 * len(known)), apart]).astype(np.float32)


def distances(one: Places, other: Places) -> Places:
    """(rows, others) Euclidean."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    found: Places = np.sqrt(np.maximum(0, squares))
    return found


def nearest(rows: Places, others: Places, count: int) -> tuple[IntArray, Places]:
    """(rows, count) positions of the nearest others, nearest first, and their distances.

    Products of matrices find some more than are wanted; their distances are then taken from the differences, as the products'
    rounding would hide that two rows are the same.
    """
    count = min(count, len(others))
    found = [_nearest(part, others, count) for part in _parts(rows, len(others))]
    return np.vstack([f[0] for f in found]), np.vstack([f[1] for f in found])


def _parts(rows: Places, others: int) -> Iterator[Places]:
    step = max(1, _BLOCK // max(1, others))
    return (rows[k : k + step] for k in range(0, max(1, len(rows)), step))


def _nearest(rows: Places, others: Places, count: int) -> tuple[IntArray, Places]:
    some = min(count + _MORE, len(others))
    near = np.argpartition(distances(rows, others), some - 1, axis=1)[:, :some]
    lengths = np.sqrt(np.square(rows[:, None] - others[near]).sum(axis=2))
    order = np.argsort(lengths, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(near, order, axis=1), np.take_along_axis(lengths, order, axis=1)
