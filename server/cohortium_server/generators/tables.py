"""Noised tables: from a sum of answers to counts, rows, and the form in which they are fitted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cohortium.data.conditions.reach import impossible
from cohortium.data.schema import Schema
from cohortium.queries.marginals import Marginals
from cohortium_server.generators import Measured, Sum
from cohortium_server.generators.shares import Table

IntArray = npt.NDArray[np.int64]


def measured_tables(total: Sum) -> tuple[Measured, ...]:
    """The tables of a sum of Marginals answers; independent noises add up in variance.

    Merged cells that hold no cell of the schema are left out: nobody is in them.
    """
    query = total.query
    if not isinstance(query, Marginals):
        raise TypeError(query.kind)
    growth = math.sqrt(total.institutions)
    sigmas = query.sigmas(total.multiplier)
    counts, cells = query.split(total.values), _cells(query)
    return tuple(
        Measured(t, counts[t][tuple(slice(_used(cells[j])) for j in t)], growth * sigma, tuple(cells[j] for j in t))
        for t, sigma in zip(query.tables, sigmas, strict=True)
    )


def _cells(query: Marginals) -> list[IntArray | None]:
    """The merged cell of every cell of each column; None where all stay by themselves."""
    parts = np.split(query.cells, np.cumsum(query.sizes)[:-1])
    return [part if (part != np.arange(len(part))).any() else None for part in parts]


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
