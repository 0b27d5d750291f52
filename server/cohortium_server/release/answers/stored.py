"""The noised tables as tensors, which a release holds to answer questions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.errors import ReleaseError
from cohortium_server.generators import Measured, Tensors
from cohortium_server.release.answers import laws
from cohortium_server.release.answers.noised import Noised

FILE = "answers.safetensors"


def tensors(noised: Noised) -> Tensors:
    """grouped: of each table 0 where it has single cells, or the number k of the cells that it is over: ``cells``, ``cells_2``, ..."""
    known, tables = _known(noised), noised.tables
    single = [np.arange(k) for k in noised.sizes]
    kept = {
        _name(k): np.concatenate([known[j].get(k, cells) for j, cells in enumerate(single)]).astype(np.int32)
        for k in range(1, max(2, *(1 + max(found, default=1) for found in known)))
    }
    return {
        "counts": np.concatenate([t.counts.ravel() for t in tables]).astype(np.float32),
        "sigma": np.array([t.sigma for t in tables]),
        "columns": np.array([(*t.columns, -1, -1)[:3] for t in tables], np.int32),
        "grouped": np.array([_number(t, known) for t in tables], np.uint8),
        **kept,
    }


def _name(number: int) -> str:
    return "cells" if number == 1 else f"cells_{number}"


def _known(noised: Noised) -> list[dict[int, npt.NDArray[np.int64]]]:
    """Of each column the ways in which its cells are put together: 1 with other columns, then those of levels."""
    known = [{1: noised.merged(j)} for j in range(len(noised.sizes))]
    for table in (t for t in noised.tables if len(t.columns) == 1):
        found, cells = known[table.columns[0]], table.cells[0]
        if cells is not None and not any(np.array_equal(cells, other) for other in found.values()):
            found[len(found) + 1] = cells
    return known


def _number(table: Measured, known: Sequence[dict[int, npt.NDArray[np.int64]]]) -> int:
    own = table.cells[0]
    if len(table.columns) > 1 or own is None:
        return int(any(c is not None for c in table.cells))
    return next(k for k, cells in known[table.columns[0]].items() if np.array_equal(cells, own))


def read(sizes: tuple[int, ...], stored: Tensors) -> tuple[Noised, laws.Learnt | None]:
    """The inverse of ``tensors``, and the laws of errors stored with it; ReleaseError E_RELEASE_TOUCHED for tensors of another study."""
    try:
        if not all(np.isfinite(t).all() for t in stored.values()):
            raise ValueError("numbers")
        return Noised(sizes, tuple(_tables(sizes, stored))), laws.read(stored)
    except (KeyError, ValueError, IndexError):
        raise ReleaseError(
            "E_RELEASE_TOUCHED", FILE, "it does not hold this study's tables", "Get the release again."
        ) from None


def _tables(sizes: tuple[int, ...], stored: Tensors) -> Iterator[Measured]:
    cells = {k: _cells(sizes, stored[_name(k)]) for k in set(stored["grouped"].tolist()) | {1} if k}
    columns = [tuple(int(j) for j in row if j >= 0) for row in stored["columns"]]
    maps = [_maps(cells[max(1, g)], c, g > 0) for c, g in zip(columns, stored["grouped"].tolist(), strict=True)]
    shapes = [_shape(sizes, c, m) for c, m in zip(columns, maps, strict=True)]
    ends = np.cumsum([0, *map(math.prod, shapes)])
    if ends[-1] != len(stored["counts"]) or len(stored["sigma"]) != len(columns) or not (stored["sigma"] > 0).all():
        raise ValueError("counts")
    for (first, last), shape, where, sigma, merged in zip(
        pairwise(ends), shapes, columns, stored["sigma"], maps, strict=True
    ):
        counts = stored["counts"][first:last].reshape(shape).astype(np.float64)
        yield Measured(where, counts, float(sigma), merged)


def _cells(sizes: tuple[int, ...], stored: npt.NDArray[Any]) -> list[npt.NDArray[np.int64]]:
    cells = np.split(stored.astype(np.int64), np.cumsum(sizes)[:-1])
    if any(len(c) != k or c.min() < 0 for c, k in zip(cells, sizes, strict=True)):
        raise ValueError("cells")
    return cells


Maps = tuple[npt.NDArray[np.int64] | None, ...]


def _maps(cells: Sequence[npt.NDArray[np.int64]], columns: tuple[int, ...], grouped: bool) -> Maps:
    """As ``Measured.cells``: None for a column whose cells all stay by themselves."""
    return tuple(cells[j] if grouped and (cells[j] != np.arange(len(cells[j]))).any() else None for j in columns)


def _shape(sizes: tuple[int, ...], columns: tuple[int, ...], maps: Maps) -> tuple[int, ...]:
    return tuple(sizes[j] if m is None else int(m.max()) + 1 for j, m in zip(columns, maps, strict=True))
