"""Single columns: synthetic shares beside noised ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cohortium.data.columns import Column
from cohortium_server.release.page.cells import Cells, cells_of
from cohortium_server.release.page.evidence import Estimate, Evidence, FloatArray
from cohortium_server.release.page.numerals import number


@dataclass(frozen=True)
class Row:
    """Shares under one label, and how far either way the noise may reach. None: not measured."""

    label: str
    synthetic: float
    measured: float | None = None
    within: float = 0.0


@dataclass(frozen=True)
class ColumnView:
    """inside: cells whose synthetic share lies within the error bar; barred: cells that have one."""

    column: Column
    cells: Cells
    rows: Sequence[Row]
    inside: int = 0
    barred: int = 0

    @property
    def kind(self) -> str:
        c = self.column
        parts = [c.kind, c.unit, f"{number(c.size)} cells", "target" if c.target else ""]
        return ", ".join(p for p in parts if p)


def column_views(columns: Sequence[Column], evidence: Evidence) -> list[ColumnView]:
    return [_column_view(column, j, evidence) for j, column in enumerate(columns)]


def _column_view(column: Column, j: int, evidence: Evidence) -> ColumnView:
    shares = evidence.shares((j,))
    cells = cells_of(column, shares, evidence.groups(j))
    if not evidence.holds((j,)):
        drawn = zip(cells.labels, cells.grouped(shares).tolist(), strict=True)
        return ColumnView(column, cells, [Row(*row) for row in drawn])
    estimate = evidence.estimate((j,))
    inside = np.abs(shares - estimate.shares) <= estimate.within
    return ColumnView(column, cells, _compared(cells, shares, estimate), int(inside.sum()), inside.size)


def _compared(cells: Cells, shares: FloatArray, estimate: Estimate) -> list[Row]:
    """The noises of the cells of a bar add up."""
    synthetic, measured = cells.grouped(shares), cells.grouped(estimate.shares)
    within = estimate.within * np.sqrt(cells.counts)
    lines = zip(cells.labels, synthetic.tolist(), measured.tolist(), within.tolist(), strict=True)
    return [Row(*line) for line in lines]
