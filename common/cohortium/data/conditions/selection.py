"""Which values of a column a condition leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import Column
from cohortium.data.columns.dequantization import Ranges, grid_of, joined, overlap, parts_within, rest


@dataclass(frozen=True)
class Selection:
    """ranges: of the column's grid indices (``spreading``). missing: whether a missing value is one of them."""

    ranges: Ranges
    missing: bool = False

    def __and__(self, other: Selection) -> Selection:
        return Selection(overlap(self.ranges, other.ranges), self.missing and other.missing)

    def __or__(self, other: Selection) -> Selection:
        return Selection(joined([*self.ranges, *other.ranges]), self.missing or other.missing)

    @property
    def empty(self) -> bool:
        return not (self.ranges or self.missing)

    def others(self, column: Column) -> Selection:
        """All that the column may be and that is not selected."""
        return Selection(rest(self.ranges, grid_of(column)), column.nullable and not self.missing)

    def weights(self, column: Column) -> npt.NDArray[np.float64]:
        """(cells,) which part of the values drawn for each cell is selected."""
        values = parts_within(column, self.ranges)
        return np.append(values, float(self.missing)) if column.nullable else values


def everything(column: Column) -> Selection:
    return Selection(((0, grid_of(column) - 1),), column.nullable)
