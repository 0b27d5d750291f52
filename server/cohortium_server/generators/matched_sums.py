"""Matched sums: the fit of step models to noised counts of steps.

Made-up persons are drawn from the model, and their steps are clipped and counted by the very query that institutions answered. The
model moves where the two differ by more than noise explains. So whatever clipping, and the end of the time, do to real persons'
counts they do to made-up ones' as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Codes
from cohortium.queries.steps import Asked, Steps
from cohortium.system.progress import Progress, advancing
from cohortium_server.generators.step_model import StepModel, centred

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
ROUNDS = 40
SURE = 0.5  # the part of the rounds in which a difference below the noise counts as none; then one below half of it
SLOW = 0.6  # and the part after which steps are shorter
AVERAGED = 0.7  # and the part after which models are averaged
MOST_STEPS = 250_000  # of made-up persons in a round
MOST_DOUBT, FAST = 4.0, 4  # times as doubtful as slow ones are waves of so many half turns or more
Roll = Callable[[Sequence[StepModel], np.random.Generator], tuple[Codes, float]]


@dataclass(frozen=True)
class Target:
    """A table as it was measured: (context's cells, column's cells) counts, and the noise in each."""

    asked: Asked
    counts: FloatArray
    sigma: float


def targets(query: Steps, values: IntArray, institutions: int, multiplier: float) -> tuple[Target, ...]:
    """The tables of a sum of answers."""
    sigmas = [math.sqrt(institutions) * sigma for sigma in query.sigmas(multiplier)]
    return tuple(Target(*one) for one in zip(query.asked, query.split(values), sigmas, strict=True))


def begun(models: Sequence[StepModel], found: Sequence[Target]) -> list[StepModel]:
    """Models in which nothing depends on anything: events spread evenly, and each column as it was counted in all tables together."""
    started = []
    for t, model in enumerate(models):
        ours = [target for target in found if target.asked.track == t]
        bias = tuple(_bias(ours, j, size) for j, size in enumerate(model.track.sizes))
        effects = tuple(np.zeros(target.counts.shape) for target in ours)
        started.append(replace(model, bias=bias, effects=effects))
    return started


def _bias(ours: Sequence[Target], column: int, size: int) -> FloatArray:
    if column == 0:
        return np.zeros(size)
    counts, sigma = pooled([t.counts for t in ours], ours, column, size)
    bias: FloatArray = np.log(np.maximum(counts, max(sigma, 1.0)))
    bias -= bias.mean()
    return bias


def pooled(counts: Sequence[FloatArray], ours: Sequence[Target], column: int, size: int) -> tuple[FloatArray, float]:
    """(cells,) a column by itself, from all tables that count each step once, by precision, and the noise in each cell."""
    total, precision = np.zeros(size), 0.0
    for table, target in zip(counts, ours, strict=True):
        if target.asked.next == column and target.asked.context.kind != "seen":
            weight = 1 / (len(table) * target.sigma**2)
            total, precision = total + weight * table.sum(axis=0), precision + weight
    return total / precision, 1 / math.sqrt(precision)


def matched(
    models: Sequence[StepModel],
    query: Steps,
    found: Sequence[Target],
    roll: Roll,
    rng: np.random.Generator,
    progress: Progress,
) -> list[StepModel]:
    """The models of all tracks, fitted. roll: made-up persons with events, and how many real ones each stands for."""
    fitted, averaged = list(models), list[list[StepModel]]()
    progress.start(ROUNDS, "matching histories")
    for number in advancing(range(ROUNDS), progress):
        done = number / ROUNDS
        persons, times = roll(fitted, rng)
        simulated = [times * counts for counts in query.split(query.count(persons))]
        doubt, length = 1.0 if done < SURE else 0.5, 1.0 if done < SLOW else 0.4
        fitted = [_moved(m, t, found, simulated, doubt, length) for t, m in enumerate(fitted)]
        if done >= AVERAGED:
            averaged.append(fitted)
    progress.done()
    return [_mean([models[t] for models in averaged]) for t in range(len(fitted))]


def _moved(
    model: StepModel, t: int, found: Sequence[Target], simulated: Sequence[FloatArray], doubt: float, length: float
) -> StepModel:
    """The model a step nearer to what was measured."""
    pairs = [(target, counts) for target, counts in zip(found, simulated, strict=True) if target.asked.track == t]
    ours, counts = [p[0] for p in pairs], [p[1] for p in pairs]
    many = [sum(target.asked.next == j for target in ours) for j in range(len(model.bias))]
    effects = [
        effect + length * _rate(target, many) * _step(target, drawn, doubt, bases(model, target))
        for effect, target, drawn in zip(model.effects, ours, counts, strict=True)
    ]
    bias = tuple(
        bias + length * 0.5 * _bias_step(ours, counts, j, bias, doubt) if many[j] else bias
        for j, bias in enumerate(model.bias)
    )
    return replace(model, bias=bias, effects=centred(effects, model.asked))


def _bias_step(
    ours: Sequence[Target], counts: Sequence[FloatArray], column: int, bias: FloatArray, doubt: float
) -> FloatArray:
    wanted, sigma = pooled([t.counts for t in ours], ours, column, len(bias))
    drawn, _ = pooled(counts, ours, column, len(bias))
    return _ratio(drawn, soft(wanted - drawn, doubt * sigma), sigma)


def _rate(target: Target, many: Sequence[int]) -> float:
    """Tables of one column move it together, so each moves less the more there are."""
    return 0.5 if target.asked.next < 0 else 1.2 / many[target.asked.next]


def _step(target: Target, drawn: FloatArray, doubt: float, bases: tuple[Waves, Waves]) -> FloatArray:
    """How far effects move: the difference, but for what noise explains of it, in waves along what is ordered."""
    down, across = bases
    apart = down.basis @ (target.counts - drawn) @ across.basis.T
    doubts = doubt * target.sigma * np.maximum(down.doubts[:, None], across.doubts[None])
    return _ratio(drawn, down.basis.T @ soft(apart, doubts) @ across.basis, target.sigma)


def soft(apart: FloatArray, doubt: FloatArray | float) -> FloatArray:
    """Differences less ``doubt``, and none where they are below that."""
    less: FloatArray = np.sign(apart) * np.maximum(np.abs(apart) - doubt, 0.0)
    return less


def _ratio(drawn: FloatArray, apart: FloatArray, sigma: float) -> FloatArray:
    """The logarithm of by what counts would have to be multiplied, held back where few are counted."""
    least = 0.5 * sigma + 10.0
    moved: FloatArray = np.log((drawn + np.maximum(apart, -drawn) + least) / (drawn + least))
    return moved


def bases(model: StepModel, target: Target) -> tuple[Waves, Waves]:
    """The bases in which a table is compared with what was measured, of its contexts and of its column's cells."""
    rows, columns = target.counts.shape
    return waves(_ordered(model, target.asked, rows), rows), waves(
        model.ordered(target.asked.next) if target.asked.next >= 0 else 0, columns
    )


def _ordered(model: StepModel, asked: Asked, cells: int) -> int:
    """How many of a context's cells, the first ones, lie in an order."""
    match asked.context.kind:
        case "previous" | "mean" | "here":
            return model.ordered(asked.context.column)
        case "pace" | "length" | "when" | "window":
            return cells
        case _:
            return 0


@dataclass(frozen=True)
class Waves:
    """basis: (cells, cells) orthonormal. doubts: (cells,) how many times as doubtful each of them is as the first."""

    basis: FloatArray
    doubts: FloatArray


@cache
def waves(ordered: int, cells: int) -> Waves:
    """Cosines over the first ``ordered`` cells, and each other cell by itself.

    What changes gradually along an order is then in few large numbers, and noise is in all of them alike: so the faster
    a wave, the more it has to be to be believed.
    """
    basis, doubts = np.eye(cells), np.ones(cells)
    if ordered > 1:
        k, n = np.arange(ordered)[:, None], np.arange(ordered)[None]
        basis[:ordered, :ordered] = np.sqrt(2 / ordered) * np.cos(np.pi * k * (2 * n + 1) / (2 * ordered))
        basis[0, :ordered] = 1 / math.sqrt(ordered)
        doubts[:ordered] = 1 + (MOST_DOUBT - 1) * np.minimum(np.arange(ordered) / FAST, 1.0)
    return Waves(basis, doubts)


def _mean(models: Sequence[StepModel]) -> StepModel:
    bias = tuple(np.mean(x, axis=0) for x in zip(*(m.bias for m in models), strict=True))
    effects = tuple(np.mean(x, axis=0) for x in zip(*(m.effects for m in models), strict=True))
    return replace(models[-1], bias=bias, effects=effects)


def few_enough(persons: int, lengths: IntArray) -> int:
    """How many made-up persons are drawn for persons of such ``lengths``."""
    mean = max(1.0, float(lengths.mean())) if len(lengths) else 1.0
    return int(max(1, min(persons, MOST_STEPS / mean)))
