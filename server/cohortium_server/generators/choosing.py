"""Which noised tables a graphical model is fitted to, chosen from the noised answers alone: it costs no privacy.

How far a model is from the truth behind a noised table y (``cells`` numbers, noise σ) is known but for noise: the
squared distance |y - model|² less cells σ². Fitting the table swaps that error for the noise's own, so it is worth it
where, in total variation, the error is larger: ``gain``. MST (McKenna, Miklau, Sheldon 2021, arXiv 2108.04978) takes
the maximum spanning tree of all pairs once. AIM (McKenna et al. 2022, arXiv 2201.12677) goes on, with the model fitted so
far, as long as the junction tree stays within a size. Both measure what they choose; here everything is measured already,
in one round, and chosen afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cohortium_server.generators.chordal import Chordal, Clique, drawing_order, largest, model_cells
from cohortium_server.generators.shares import Table

FloatArray = npt.NDArray[np.float64]
LOOKED = 1 << 17  # rows drawn from a model to see its tables
PATIENCE = 50  # tables in a row that do not fit into the size, after which no more are tried


def misfits(model: Chordal, tables: Sequence[Table], rng: np.random.Generator) -> list[float]:
    """Squared distance of the model's tables from the truth behind the noised ones, without bias; it may be below 0."""
    codes = model.draw(LOOKED, rng, {}).astype(np.int64)
    return [_misfit(table, codes) for table in tables]


def _misfit(table: Table, codes: npt.NDArray[np.int64]) -> float:
    shape = table.shares.shape
    cells = np.ravel_multi_index(tuple(codes[:, j] for j in table.columns), shape)
    drawn = np.bincount(cells, minlength=table.shares.size).reshape(shape) / len(codes)
    of_noise, of_drawing = table.shares.size * table.sigma**2, (1 - (drawn**2).sum()) / len(codes)
    return float(((table.shares - drawn) ** 2).sum() - of_noise - of_drawing)


def gain(table: Table, misfit: float) -> float:
    """About by how much (twice) the total variation falls when the table is fitted, its own noise subtracted."""
    cells = table.shares.size
    return math.sqrt(cells * max(0.0, misfit)) - cells * table.sigma


def tree(tables: Sequence[Table], found: Sequence[float]) -> list[Table]:
    """The pairs of a maximum spanning forest (Kruskal) by their misfits ``found``; none where there is no misfit."""
    group, chosen = dict[int, int](), []
    pairs = [(misfit, t) for t, misfit in zip(tables, found, strict=True) if len(t.columns) == 2 and misfit > 0]
    for _, table in sorted(pairs, key=lambda p: -p[0]):
        one, other = (group.setdefault(j, j) for j in table.columns)
        if one != other:
            chosen.append(table)
            group |= {j: one for j, g in group.items() if g == other}
    return chosen


def more(
    tables: Sequence[Table], found: Sequence[float], chosen: Sequence[Table], sizes: Sequence[int], most: int
) -> list[Table]:
    """At most as many further tables as are ``chosen``, the largest gains first, so that the model has at most ``most`` cells."""
    gains = {t.columns: gain(t, misfit) for t, misfit in zip(tables, found, strict=True)}
    taken = {t.columns for t in chosen}
    wanted = [t for t in tables if gains[t.columns] > 0 and t.columns not in taken]
    fitting = _within(sorted(wanted, key=lambda t: -gains[t.columns]), [t.columns for t in chosen], sizes, most)
    return [t for _, t in zip(range(max(1, len(chosen))), fitting, strict=False)]


def _within(wanted: Sequence[Table], cliques: list[Clique], sizes: Sequence[int], most: int) -> Iterator[Table]:
    """Of the tables ``wanted`` those that fit into the model one after the other. cliques: of the model so far."""
    refused = 0
    for table in wanted:
        steps = drawing_order([*cliques, table.columns], sizes)
        if model_cells(steps, sizes) <= most:
            cliques, refused = [*largest(steps)], 0
            yield table
        else:
            refused += 1
        if refused == PATIENCE:
            return


def starting(alone: Sequence[Table]) -> list[FloatArray]:
    """Positive distributions of the single columns, for a model to start at."""
    floored = [np.maximum(t.shares, max(1e-6, t.sigma / 2)) for t in alone]
    return [p / p.sum() for p in floored]
