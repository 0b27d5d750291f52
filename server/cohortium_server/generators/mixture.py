"""A mixture of product distributions over the columns' cells: drawing from it. It is fitted by ``fitting``, with torch; this needs none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cohortium.neural.drawing import sobol
from cohortium_server.generators.swap_refinement import Drawn, levelled

FloatArray = npt.NDArray[np.float64]
Floats = TypeVar("Floats", npt.NDArray[np.float32], npt.NDArray[np.float64])


def draw(
    logits: npt.NDArray[np.float32],
    sizes: Sequence[int],
    rows: int,
    rng: np.random.Generator,
    allowed: Mapping[int, npt.NDArray[Any]],
    crossed: Sequence[int] = (),
) -> npt.NDArray[np.int16]:
    """(rows, columns) codes. Components are picked evenly, their columns by a Sobol sequence: less error than chance.

    Then they are levelled (``swap_refinement.py``), within the cells of the ``crossed`` columns too.

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
    blocks = np.split(logits, np.cumsum(sizes)[:-1], axis=1)
    return np.hstack([_softmax(block) for block in blocks]).astype(np.float32)


def _conditioned(
    logits: npt.NDArray[np.float32], sizes: Sequence[int], allowed: Mapping[int, npt.NDArray[Any]]
) -> tuple[list[FloatArray], FloatArray]:
    """Per column the (components, cells) running chances of its allowed cells, and the components' weights."""
    ladders, log_weight = [], np.zeros(len(logits))
    for j, block in enumerate(np.split(logits.astype(np.float64), np.cumsum(sizes)[:-1], axis=1)):
        chances = _softmax(block)
        if j in allowed:
            chances = chances * allowed[j]
            log_weight += np.log(np.maximum(chances.sum(axis=1), 1e-300))
        ladders.append(chances.cumsum(axis=1))
    weights = np.exp(log_weight - log_weight.max())
    return ladders, weights / weights.sum()


def _softmax(logits: Floats) -> Floats:
    """(components, cells) each component's distribution over one column's cells."""
    chances: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return chances
