"""A mixture of product distributions over the columns' cells: fitting to noised tables, and drawing from it.

Component b gives every column its own distribution P[b, column]; the model's table of columns i and j is the mean over
b of P[b, i] ⊗ P[b, j], so all pair tables together are one small matrix product and a gradient step is cheap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from cohortium.progress import Progress
from cohortium_server.generators.levelled import Drawn, levelled
from cohortium_server.generators.quasi import sobol

FloatArray = npt.NDArray[np.float64]
RATE = 0.1
SPREAD = 0.5  # of the random start around the single columns' distributions
MOST = 1500  # steps
LOOK = 5  # steps between looks at the held-out tables
PATIENCE = 1.5  # go on to so many times the best length so far
THIN = 0.5


@dataclass(frozen=True)
class Table:
    """A noised table as proportions. columns: ascending positions, one to three; sigma: noise of a cell.

    crossed: of three columns, the one within whose cells the other two are told as a pair.
    """

    columns: tuple[int, ...]
    shares: FloatArray
    sigma: float
    crossed: int | None = None


@dataclass(frozen=True)
class _Goal:
    """All tables that share a crossed column, as blocks of a (slices, cells, cells) array with weights."""

    crossed: int | None
    shares: torch.Tensor
    weights: torch.Tensor


def fit(
    sizes: Sequence[int], tables: Sequence[Table], components: int, seed: int | None, device: str, progress: Progress
) -> npt.NDArray[np.float32]:
    """(components, cells) float32 logits whose tables are close to the truth behind the noised ones.

    Squared error weighted by the noise's precision; Adam from the noised single columns. A long fit would fit noise, so
    its length is chosen first, from what is noised already: see ``thinned``.
    """
    rng = np.random.default_rng(seed)
    one, other = thinned(tables, rng)
    progress.start(2 * MOST, "fitting")
    steps, lowest, held_out = MOST, math.inf, _Loss(sizes, other, device)
    for step, logits in enumerate(_descent(sizes, one, components, rng, device)):
        progress.advance()
        if step % LOOK == 0 and (loss := held_out(logits).item()) < lowest:
            steps, lowest = step, loss
        if step > PATIENCE * (steps + LOOK):
            break
    fitted = next(itertools.islice(_descent(sizes, tables, components, rng, device), steps, None))
    progress.done()
    return fitted.detach().cpu().numpy()


def thinned(tables: Sequence[Table], rng: np.random.Generator) -> tuple[list[Table], list[Table]]:
    """Two versions of the tables with independent noises: one to fit, with a little more noise, one to judge it by.

    For y = truth + N(0, σ²) and z ~ N(0, σ²), y + a z and y - z / a are independent, with variances (1 + a²) σ² and
    (1 + 1 / a²) σ² (Gaussian data thinning; Neufeld et al. 2024, arXiv 2301.07276). It costs no privacy.
    """
    one, other = [], []
    for table in tables:
        z = rng.normal(0, table.sigma, table.shares.shape)
        one.append(replace(table, shares=table.shares + THIN * z, sigma=table.sigma * math.hypot(1, THIN)))
        other.append(replace(table, shares=table.shares - z / THIN, sigma=table.sigma * math.hypot(1, 1 / THIN)))
    return one, other


def _descent(
    sizes: Sequence[int], tables: Sequence[Table], components: int, rng: np.random.Generator, device: str
) -> Iterator[torch.Tensor]:
    """The logits after 0, 1, ... MOST steps; the same tensor each time."""
    loss = _Loss(sizes, tables, device)
    generator = torch.Generator().manual_seed(rng.integers(2**62).item())
    start = torch.tensor(np.log(np.concatenate(_singles(sizes, tables))), dtype=torch.float32)
    spread = SPREAD * torch.randn(components, len(start), generator=generator)
    logits = (start + spread).to(device).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, MOST)
    for _ in range(MOST):
        yield logits
        optimiser.zero_grad()
        loss(logits).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    yield logits


class _Loss:
    """Sum over tables and cells of (model - noised)² / sigma²."""

    def __init__(self, sizes: Sequence[int], tables: Sequence[Table], device: str) -> None:
        crossings = sorted({t.crossed for t in tables if len(t.columns) > 1}, key=str)
        self._sizes = sizes
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        self._goals = [_goal(sizes, tables, crossed, device) for crossed in crossings]
        self._singles = [t for t in tables if len(t.columns) == 1]

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        p, starts = _softmax(logits, self._sizes), self._starts
        loss = p.new_zeros(())
        for goal in self._goals:
            for k in range(len(goal.shares)):
                share = p if goal.crossed is None else p * p[:, starts[goal.crossed] + k, None]
                loss = loss + (goal.weights[k] * (share.T @ p / len(p) - goal.shares[k]) ** 2).sum()
        for table in self._singles:
            (j,) = table.columns
            noised = torch.tensor(table.shares, dtype=p.dtype, device=p.device)
            loss = loss + ((p[:, starts[j] : starts[j + 1]].mean(0) - noised) ** 2).sum() / table.sigma**2
        return loss


def _softmax(logits: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    return torch.cat([F.softmax(block, 1) for block in torch.split(logits, list(sizes), 1)], 1)


def _goal(sizes: Sequence[int], tables: Sequence[Table], crossed: int | None, device: str) -> _Goal:
    """The pair tables (``crossed`` None), or the tables of three that are told as pairs within each cell of ``crossed``."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    slices = 1 if crossed is None else sizes[crossed]
    shares, weights = np.zeros((2, slices, starts[-1], starts[-1]), np.float32)
    for table in (t for t in tables if t.crossed == crossed and len(t.columns) > 1):
        i, j = (c for c in table.columns if c != crossed)
        values = table.shares[None] if crossed is None else np.moveaxis(table.shares, table.columns.index(crossed), 0)
        block = (slice(None), slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1]))
        shares[block], weights[block] = values, 1 / table.sigma**2
    return _Goal(crossed, torch.tensor(shares, device=device), torch.tensor(weights, device=device))


def _singles(sizes: Sequence[int], tables: Sequence[Table]) -> list[FloatArray]:
    """(cells,) positive proportions of every column, averaged by precision over all tables it is in."""
    alone = []
    for j, size in enumerate(sizes):
        total, precision = np.zeros(size), 0.0
        for table in (t for t in tables if j in t.columns):
            place = table.columns.index(j)
            others = tuple(a for a in range(len(table.columns)) if a != place)
            weight = 1 / (table.sigma**2 * table.shares.size / size)
            total, precision = total + weight * table.shares.sum(axis=others), precision + weight
        floor = max(1e-4, 0.5 / math.sqrt(precision))
        alone.append(np.maximum(total / precision, floor))
    return alone


def draw(
    logits: npt.NDArray[np.float32],
    sizes: Sequence[int],
    rows: int,
    rng: np.random.Generator,
    allowed: Mapping[int, npt.NDArray[Any]],
    crossed: Sequence[int] = (),
) -> npt.NDArray[np.int16]:
    """(rows, columns) codes. Components are picked evenly, their columns by a Sobol sequence: less error than chance.

    Then they are levelled (``levelled.py``), within the cells of the ``crossed`` columns too.

    Under conditions the components are re-weighted by Bayes' rule, P(b | condition) ∝ the product of their chances of
    an allowed cell, and every column keeps to its allowed cells: exact, and never short of rows.
    """
    ladders, weights = _conditioned(logits, sizes, allowed)
    places = (np.arange(rows) + rng.random()) / max(rows, 1)
    owner = np.minimum(np.searchsorted(np.cumsum(weights), places), len(weights) - 1)
    codes, start = np.empty((rows, len(sizes)), np.int16), 0
    for points in sobol(rows, len(sizes), rng):
        part = slice(start, start := start + len(points))
        for j, ladder in enumerate(ladders):
            steps = ladder[owner[part]]
            codes[part, j] = (steps <= points[:, j : j + 1] * steps[:, -1:]).sum(1).clip(max=sizes[j] - 1)
    chances = [np.diff(ladder, prepend=0.0) / np.maximum(ladder[:, -1:], 1e-300) for ladder in ladders]
    drawn = Drawn(codes, owner, weights, np.hstack(chances).astype(np.float32), sizes)
    return rng.permutation(levelled(drawn, crossed, rng))


def component_chances(logits: npt.NDArray[np.float32], sizes: Sequence[int]) -> npt.NDArray[np.float32]:
    """(components, cells) every component's distributions."""
    p: npt.NDArray[np.float32] = _softmax(torch.tensor(logits), sizes).numpy()
    return p


def _conditioned(
    logits: npt.NDArray[np.float32], sizes: Sequence[int], allowed: Mapping[int, npt.NDArray[Any]]
) -> tuple[list[FloatArray], FloatArray]:
    """Per column the (components, cells) running chances of its allowed cells, and the components' weights."""
    ladders, log_weight = [], np.zeros(len(logits))
    for j, block in enumerate(np.split(logits.astype(np.float64), np.cumsum(sizes)[:-1], axis=1)):
        chances = np.exp(block - block.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        if j in allowed:
            chances = chances * allowed[j]
            log_weight += np.log(np.maximum(chances.sum(axis=1), 1e-300))
        ladders.append(chances.cumsum(axis=1))
    weights = np.exp(log_weight - log_weight.max())
    return ladders, weights / weights.sum()
