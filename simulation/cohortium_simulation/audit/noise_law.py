"""The noise of answers whose exact values are known: what remains of counts of known canaries and of the sum of their
gradients, where these are not drawn at random, and what a training answers where nobody is there.

For local training the coordinator chooses a learning rate at which the integers that were drawn can be read off the
answer: exactly, but where ``Network.evened`` takes out common means, which costs degrees of freedom, or all there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.neural.network import Network
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries import Query
from cohortium.queries.counts import Counts
from cohortium.queries.gradients import GradientSum
from cohortium.queries.histograms import NestedHistograms
from cohortium.queries.local_training import OUT_GRID, LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium.study.plan import Phase
from cohortium_simulation.audit.canaries import Canaries
from cohortium_simulation.audit.canary_gradients import as_asked, sensitivity, start, state_of
from cohortium_simulation.audit.path import Outputs

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
SPACING = 256.0  # units of the message that one unit of a training's noise shall be
MOST_COORDINATES = 1 << 19
BEYOND = 9.0  # scales: noise is larger with a chance below 1e-18


@dataclass(frozen=True)
class Noise:
    """Integers drawn, one row for every message (or one for a sum), and what their law is claimed to be.

    integers: (messages, coordinates). runs: (length, scale) of neighbouring coordinates that share a scale.
    squares, freedom: further coordinates that are no integers, as a sum of squares over their claimed variance.
    """

    integers: IntArray
    runs: tuple[tuple[int, float], ...]
    squares: float = 0.0
    freedom: int = 0

    @cached_property
    def standard(self) -> FloatArray:
        """(messages, coordinates) in units of the claimed scale."""
        scales = np.repeat([s for _, s in self.runs], [n for n, _ in self.runs])
        found: FloatArray = self.integers / scales
        return found

    @property
    def parts(self) -> list[tuple[float, IntArray]]:
        """The claimed scale and the integers of every run, of all messages together."""
        ends = np.cumsum([n for n, _ in self.runs])[:-1]
        split = np.split(self.integers, ends, axis=1)
        return [(sigma, part.ravel()) for (_, sigma), part in zip(self.runs, split, strict=True)]


def noise_of_messages(phase: Phase, outputs: Outputs, canaries: Canaries) -> Noise | None:
    """The noise of each institution's message; None where messages are masked."""
    if outputs.messages is None:
        return None
    match phase.query:
        case Counts():
            query = as_asked(phase.query)
            exact = [exact_counts(query, canaries, k) for k in range(len(outputs.messages))]
            return _subsampled(outputs.messages - np.stack(exact), count_runs(query, phase.multiplier))
        case GradientSum() as query:
            exact = [exact_gradient(query, phase.multiplier, canaries, k) for k in range(len(outputs.messages))]
            return _subsampled(outputs.messages - np.stack(exact), _gradient_runs(query, phase.multiplier))
        case LocalTraining() as query:
            return _training_noise(query, phase.multiplier, outputs.messages)
        case _:
            raise NotImplementedError(phase.query.kind)


def noise_of_sum(phase: Phase, outputs: Outputs, canaries: Canaries, holders: int, shares: int) -> Noise | None:
    """The noise of a sum, ``shares`` of a message's; of local trainings, weighted by noised numbers of persons, none."""
    match phase.query:
        case Counts():
            query = as_asked(phase.query)
            exact = sum(exact_counts(query, canaries, k) for k in range(holders))
            runs = count_runs(query, phase.multiplier)
        case GradientSum() as query:
            exact = sum(exact_gradient(query, phase.multiplier, canaries, k) for k in range(holders))
            runs = _gradient_runs(query, phase.multiplier)
        case _:
            return None
    wider = math.sqrt(shares)  # a sum of discrete Gaussians is one of their variance: guarantee.py, step 2
    return _subsampled((outputs.total - exact)[None], tuple((n, s * wider) for n, s in runs))


def known_exactly(query: Query) -> bool:
    """Whether an answer without noise follows from the persons alone, and from no randomness."""
    if isinstance(query, GradientSum):
        return query.step.sampling_rate == 1 and query.step.architecture.network.draws == 0
    return isinstance(query, Counts)


def count_runs(query: Counts, multiplier: float) -> tuple[tuple[int, float], ...]:
    """Length and claimed scale of each table, in grid units."""
    return tuple((n, sigma * query.grid) for n, sigma in zip(query.lengths, query.sigmas(multiplier), strict=True))


def exact_counts(query: Counts, canaries: Canaries, institution: int) -> IntArray:
    """(width,) the answer without noise: every canary counts as much as a person may."""
    units = min(query.rows_per_person, canaries.rows_each) * query.grid
    match query:
        case NestedHistograms():
            single = [canaries.counted(institution, (j,), query.sizes, units) for j in range(len(query.sizes))]
            return query.at_levels(single)
        case Marginals():
            tables = zip(query.tables, query.weights, strict=True)
            found = [canaries.counted(institution, t, query.counted, units * (w > 0)) for t, w in tables]
            return np.concatenate(found)
        case _:
            raise NotImplementedError(query.kind)


def exact_gradient(query: GradientSum, multiplier: float, canaries: Canaries, institution: int) -> IntArray:
    """(width,) the answer without noise; whether it is bounded as it should be is for detectors B and E."""
    step, randomness = query.step, SecureRandomness()
    state = step.read(state_of(step))
    return step.bounded(
        step.people(canaries.table(institution), state, randomness), start(step), multiplier, randomness
    ).values


def _gradient_runs(query: GradientSum, multiplier: float) -> tuple[tuple[int, float], ...]:
    return ((query.width, multiplier * sensitivity(query.step, multiplier)),)


def _subsampled(integers: IntArray, runs: tuple[tuple[int, float], ...]) -> Noise:
    """Evenly spaced coordinates of what is too long to keep, the same share of each run."""
    step = max(1, math.ceil(integers.size / MOST_COORDINATES))
    ends = np.cumsum([n for n, _ in runs])[:-1]
    kept = [part[:, ::step] for part in np.split(integers, ends, axis=1)]
    lengths = [part.shape[1] for part in kept]
    return Noise(np.concatenate(kept, axis=1), tuple((n, s) for n, (_, s) in zip(lengths, runs, strict=True)))


# Local training


def training_rate(query: LocalTraining, multiplier: float) -> float:
    """The learning rate at which a unit of noise is ``SPACING`` units of the message, whatever the number of persons.

    An answer is divided by that number and multiplied by it again.
    """
    step = query.step
    return as_sent(SPACING * step.sampling_rate * step.units(multiplier) / (step.clip * OUT_GRID))


def as_sent(rate: float) -> float:
    """The rate as it travels, in 32 bits."""
    return float(np.float32(rate))


def units_of(query: LocalTraining, multiplier: float, rate: float, values: IntArray) -> FloatArray:
    """(..., parameters) the summed and noised gradients of all steps in grid units, from messages."""
    step = query.step
    unit = rate * step.clip / step.units(multiplier) / step.sampling_rate * OUT_GRID
    found: FloatArray = -values[..., 1:] / unit
    return found


def enough_persons(query: LocalTraining, multiplier: float) -> int:
    """Enough persons that the noised number of persons in an answer is never clipped at its lower bound."""
    return math.ceil((1 + BEYOND) * max(_claimed_of_weight(query, multiplier), 1.0))


def noise_of_weights(query: LocalTraining, multiplier: float, messages: IntArray, persons: int) -> FloatArray:
    """(messages,) the noise of that number in units of its claimed scale, where ``persons`` (enough of them) are there."""
    counts: FloatArray = messages[:, 0] / OUT_GRID
    return (counts - persons) / _claimed_of_weight(query, multiplier)


def _claimed_of_weight(query: LocalTraining, multiplier: float) -> float:
    """In persons, of whom one more is one more."""
    return query.events(multiplier)[0].noise_multiplier


def _training_noise(query: LocalTraining, multiplier: float, messages: IntArray) -> Noise:
    drawn = units_of(query, multiplier, training_rate(query, multiplier), messages)
    sigma = multiplier * sensitivity(query.step, multiplier) * math.sqrt(query.steps)
    whole, freedom = _untouched(query.step.architecture.network, query.step.parameters)
    squares = float(((drawn[:, ~whole] / sigma) ** 2).sum())
    integers = np.rint(drawn[:, whole]).astype(np.int64)
    return Noise(integers, ((int(whole.sum()), sigma),), squares, len(messages) * freedom)


def _untouched(network: Network, parameters: int) -> tuple[npt.NDArray[np.bool_], int]:
    """(parameters,) which coordinates ``evened`` leaves alone, and the degrees of freedom of the others.

    Of the others it may remove the mean of a group, or everything. What it removes is then one number for each group.
    """
    probe = np.random.default_rng(1).normal(size=parameters)
    taken = probe - network.evened(probe)
    others = taken != 0
    return ~others, int(others.sum()) - len(np.unique(taken[others].round(11)))
