"""The noised tables as tensors, which a release holds to answer questions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cohortium.errors import ReleaseError
from cohortium_server.generators import Measured, Tensors
from cohortium_server.release.answers import laws
from cohortium_server.release.answers.noised import Noised

FILE = "answers.safetensors"


def tensors(noised: Noised) -> Tensors:
    """grouped: of each table whether it is over the merged ``cells``."""
    tables, starts = noised.tables, np.cumsum([0, *noised.sizes])
    cells = np.concatenate([np.arange(k) for k in noised.sizes])
    for table in tables:
        for j, merged in zip(table.columns, table.cells, strict=False):
            if merged is not None:
                cells[starts[j] : starts[j + 1]] = merged
    return {
        "counts": np.concatenate([t.counts.ravel() for t in tables]).astype(np.float32),
        "sigma": np.array([t.sigma for t in tables]),
        "columns": np.array([(*t.columns, -1, -1)[:3] for t in tables], np.int32),
        "grouped": np.array([any(c is not None for c in t.cells) for t in tables], np.uint8),
        "cells": cells.astype(np.int32),
    }


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
    cells = np.split(stored["cells"].astype(np.int64), np.cumsum(sizes)[:-1])
    if any(len(c) != k or c.min() < 0 for c, k in zip(cells, sizes, strict=True)):
        raise ValueError("cells")
    columns = [tuple(int(j) for j in row if j >= 0) for row in stored["columns"]]
    maps = [_maps(cells, c, bool(g)) for c, g in zip(columns, stored["grouped"], strict=True)]
    shapes = [_shape(sizes, c, m) for c, m in zip(columns, maps, strict=True)]
    ends = np.cumsum([0, *map(math.prod, shapes)])
    if ends[-1] != len(stored["counts"]) or len(stored["sigma"]) != len(columns) or not (stored["sigma"] > 0).all():
        raise ValueError("counts")
    for (first, last), shape, where, sigma, merged in zip(
        pairwise(ends), shapes, columns, stored["sigma"], maps, strict=True
    ):
        counts = stored["counts"][first:last].reshape(shape).astype(np.float64)
        yield Measured(where, counts, float(sigma), merged)


Maps = tuple[npt.NDArray[np.int64] | None, ...]


def _maps(cells: Sequence[npt.NDArray[np.int64]], columns: tuple[int, ...], grouped: bool) -> Maps:
    """As ``Measured.cells``: None for a column whose cells all stay by themselves."""
    return tuple(cells[j] if grouped and (cells[j] != np.arange(len(cells[j]))).any() else None for j in columns)


def _shape(sizes: tuple[int, ...], columns: tuple[int, ...], maps: Maps) -> tuple[int, ...]:
    return tuple(sizes[j] if m is None else int(m.max()) + 1 for j, m in zip(columns, maps, strict=True))
