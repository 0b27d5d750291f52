"""Noised tables: from a sum of answers to counts, rows, and the form in which they are fitted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cohortium.data.conditions.reach import impossible
from cohortium.data.schema import Schema
from cohortium.queries.counts import Counts
from cohortium.queries.histograms import NestedHistograms
from cohortium.queries.marginals import Marginals
from cohortium_server.generators import Measured, Sum
from cohortium_server.generators.shares import Table

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Columns = tuple[int, ...]


def measured_tables(total: Sum) -> tuple[Measured, ...]:
    """The tables of a sum of answers that count; independent noises add up in variance.

    Merged cells that hold no cell of the schema are left out, as nobody is in them, and tables that were not counted.
    """
    match query := total.query:
        case NestedHistograms():
            return _levels(query, query.in_rows(total.values), _sigmas(query, total))
        case Marginals():
            return _marginals(query, query.split(total.values), _sigmas(query, total))
        case _:
            raise TypeError(query.kind)


def _sigmas(query: Counts, total: Sum) -> list[float]:
    return [math.sqrt(total.institutions) * sigma for sigma in query.sigmas(total.multiplier)]


def _marginals(query: Marginals, counts: Mapping[Columns, FloatArray], sigmas: Sequence[float]) -> tuple[Measured, ...]:
    cells, sigma_of = _cells(query), dict(zip(query.tables, sigmas, strict=True))
    return tuple(
        Measured(t, counts[t][tuple(slice(_used(cells[j])) for j in t)], sigma_of[t], tuple(cells[j] for j in t))
        for t in query.asked
    )


def _levels(query: NestedHistograms, counts: Sequence[FloatArray], sigmas: Sequence[float]) -> tuple[Measured, ...]:
    together = zip(query.levels, counts, sigmas, strict=True)
    return tuple(Measured((level.column,), n, sigma, (_together(level.cells),)) for level, n, sigma in together)


def _cells(query: Marginals) -> list[IntArray | None]:
    """The merged cell of every cell of each column; None where all stay by themselves."""
    parts = np.split(query.cells, np.cumsum(query.sizes)[:-1])
    return [_together(part) for part in parts]


def _together(cells: IntArray) -> IntArray | None:
    return cells if (cells != np.arange(len(cells))).any() else None


def _used(cells: IntArray | None) -> int | None:
    return None if cells is None else int(cells.max()) + 1


def without_impossible(schema: Schema, tables: Sequence[Measured]) -> Sequence[Measured]:
    """The tables with 0, which is then known without noise, in the cells of no row that keeps the schema's constraints."""
    if not schema.constraints:
        return tables
    told = [(m, impossible(schema, m.columns, m.counts.shape, m.cells)) for m in tables]
    return [replace(m, counts=np.where(empty, 0.0, m.counts)) for m, empty in told]


def noised_rows(tables: Iterable[Measured]) -> int:
    """The number of rows: every table's total counts them, a small table more precisely. At least 1."""
    weighted = [(float(t.counts.sum()), 1 / (t.counts.size * t.sigma**2)) for t in tables]
    return max(1, round(sum(n * w for n, w in weighted) / sum(w for _, w in weighted)))


def as_shares(tables: Sequence[Measured], rows: int, targets: Sequence[int]) -> list[Table]:
    """The tables as parts of ``rows``, the form in which they are fitted."""
    return [Table(m.columns, m.counts / rows, m.sigma / rows, _crossing(m.columns, targets)) for m in tables]


def _crossing(columns: Sequence[int], targets: Sequence[int]) -> int | None:
    """The column within whose cells a table of three is fitted, a target if it has one; None for smaller tables."""
    return next((t for t in targets if t in columns), columns[0]) if len(columns) == 3 else None
