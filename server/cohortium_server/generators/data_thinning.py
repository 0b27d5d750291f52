"""How long to fit, from noised tables alone: a long fit would fit the noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from cohortium_server.generators.shares import Table

Place = TypeVar("Place")
THIN = 0.5
PATIENCE = 1.5  # go on to so many times the best length so far


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


def best_length(places: Iterable[Place], held_out: Callable[[Place], float], every: int, least: int = 0) -> int:
    """After how many steps, at ``least`` so many, a fit to one version of the tables meets the other best.

    places: where the fit is after 0, 1, ... steps. held_out: the loss of such a place, looked at ``every`` so many steps.
    """
    best, lowest = least, math.inf
    for step, place in enumerate(places):
        if step >= least and step % every == 0 and (loss := held_out(place)) < lowest:
            best, lowest = step, loss
        if step > PATIENCE * (best + every):
            break
    return best
