"""Rows completed by a mixture of product distributions: what sweep is, and what a decoder of drawn latents gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.neural.drawing import one_of_each

FloatArray = npt.NDArray[np.float64]
Weights = Mapping[int, npt.NDArray[Any]]
CHUNK = 2048


def completed(
    chances: npt.NDArray[np.floating],
    sizes: Sequence[int],
    codes: npt.NDArray[np.int16],
    known: npt.NDArray[np.bool_],
    weights: Weights,
    rng: np.random.Generator,
) -> npt.NDArray[np.int16]:
    """(rows, columns) ``codes`` where ``known``; elsewhere drawn given what is known of the row, by Bayes' rule.

    chances: (components, cells) each component's distributions, column after column. weights: for some columns the
    weights of their cells, (cells,), for what is drawn. A component is drawn in proportion to the chance that it gives to
    the row's known cells, then each unknown column from it: exact for the mixture.
    """
    starts, done = np.cumsum([0, *sizes[:-1]]), []
    logs = np.log(np.maximum(chances, 1e-30)).astype(np.float32)
    for first in range(0, len(codes), CHUNK):
        part = slice(first, first + CHUNK)
        done.append(_completed(chances, logs, starts, sizes, codes[part], known[part], weights, rng))
    return np.concatenate(done) if done else codes.copy()


def _completed(
    chances: npt.NDArray[np.floating],
    logs: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    sizes: Sequence[int],
    codes: npt.NDArray[np.int16],
    known: npt.NDArray[np.bool_],
    weights: Weights,
    rng: np.random.Generator,
) -> npt.NDArray[np.int16]:
    likely = np.zeros((len(codes), len(chances)), np.float32)
    for j, start in enumerate(starts):
        rows = np.flatnonzero(known[:, j])
        likely[rows] += logs[:, start + codes[rows, j]].T
    owners = drawn(np.exp(likely - likely.max(1, keepdims=True)), rng.random(len(codes)))
    filled = codes.copy()
    for j, start in enumerate(starts):
        rows = np.flatnonzero(~known[:, j])
        cells = chances[owners[rows], start : start + sizes[j]] * weights.get(j, np.ones(sizes[j]))
        filled[rows, j] = drawn(cells, rng.random(len(rows)))
    return filled


def drawn(chances: npt.NDArray[np.floating], uniforms: FloatArray) -> npt.NDArray[np.int64]:
    """(rows,) a place of each row in proportion to (rows, places) chances; one of positive chance if there is any."""
    return one_of_each(chances.astype(np.float64), uniforms)
