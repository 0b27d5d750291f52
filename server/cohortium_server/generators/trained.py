"""What all trained generators share: counts of single columns, a start from them, then rounds of DP-SGD.

A kind says how its network is started, which step a noised gradient leads to, and how rows are drawn; the rest is here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium.neural.network import length
from cohortium.neural.state import write_state
from cohortium.queries import Query
from cohortium.queries.gradients import GradientSum, Step
from cohortium.queries.local_training import LocalTraining
from cohortium.study.plan import Phase, architecture
from cohortium.study.study import Study
from cohortium.system.progress import Progress
from cohortium_server.generators import Curve, Sum, Tensors
from cohortium_server.generators.base import BaseGenerator
from cohortium_server.generators.optimisers import Adam, Momentum, Optimiser
from cohortium_server.generators.warm import swept_rows, trained_on

FloatArray = npt.NDArray[np.float64]
FEDADAM, FEDADAM_RATE = (0.5, 0.9, 1e-6), 0.1  # of few rounds: a short memory


@dataclass(frozen=True)
class Setting:
    """What is known of a training before it begins: all of it public or noised.

    rows: noised number. rounds, steps: a round's. noise: standard deviation of the average gradient's coordinates.
    multiplier: of a whole step's noise.
    """

    rows: int
    rounds: int
    steps: int
    sampling_rate: float
    clip: float
    multiplier: float
    parameters: int

    @property
    def noise(self) -> float:
        return self.multiplier * self.clip / (self.sampling_rate * self.rows)


def setting(study: Study, phase: Phase, rows: int) -> Setting:
    """Of a study's training, once its rows are known."""
    step, steps = step_of(phase.query)
    whole = phase.multiplier * math.sqrt(len(study.institutions))
    return Setting(rows, phase.rounds, steps, step.sampling_rate, step.clip, whole, step.parameters)


def step_of(query: Query) -> tuple[Step, int]:
    """A training query's step, and how many of them a round has."""
    match query:
        case GradientSum():
            return query.step, 1
        case LocalTraining():
            return query.step, query.steps
        case _:
            raise TypeError(query.kind)


class TrainedGenerator(BaseGenerator):
    """An ask-and-tell object for a network that institutions train. Kinds override what is marked so."""

    def __init__(self, study: Study, seed: int | None = None, progress: Progress | None = None) -> None:
        super().__init__(study, seed, progress)
        self._architecture = architecture(study)
        self._network = self._architecture.network
        self._rng = np.random.default_rng(seed)
        self._lengths: list[float] = []
        self._parameters: FloatArray = np.zeros(length(self._network))
        self._average = self._parameters
        self._optimiser: Optimiser = Momentum()

    # Asking and telling

    def asked(self, phase: Phase) -> Query:
        query = phase.query
        if not isinstance(query, GradientSum | LocalTraining):
            return super().asked(phase)
        state = {"parameters": self._parameters}
        if "cells" in step_of(query)[0].lengths:
            state["cells"] = self._cells.merged.astype(np.float64)
        if isinstance(query, LocalTraining):
            state["rate"] = np.array([self.rate(self._training_round)])
        return query.with_state(write_state(state))

    def learn(self, phase: Phase, total: Sum) -> None:
        match phase.name:
            case "columns":
                self._begin()
            case "pairs":
                self._warm_up()
            case _:
                self._learn(total)
        if self._told + 1 == self._plan.rounds:
            self._average = self.finished(self._average)

    @property
    def _training(self) -> Phase:
        return self._plan.phases[-1]

    @property
    def _local(self) -> bool:
        """Whether institutions take several steps of their own a round."""
        return isinstance(self._training.query, LocalTraining)

    @property
    def _training_round(self) -> int:
        return self._told - (self._plan.rounds - self._training.rounds)

    def _begin(self) -> None:
        """The network is started by the noised single columns."""
        self._setting = setting(self._study, self._training, self.rows)
        self._optimiser = self.optimiser(self._local)
        logs = (np.log(np.maximum(n, max(0.5, s))) for n, s in zip(self.merged_counts, self.merged_sigmas, strict=True))
        self.start([column - column.mean() for column in logs])

    def _warm_up(self) -> None:
        """The network is trained on rows of a sweep before it sees a gradient."""
        pairs = self.measured_together
        self.warm(swept_rows(self._cells.used, pairs, self._study.target_indices, self.rows, self._rng, self._progress))

    def _learn(self, total: Sum) -> None:
        """A round's noised gradient, or what the institutions' own steps changed, moves the parameters."""
        values, query = total.values.astype(np.float64), total.query
        if isinstance(query, LocalTraining):
            self._move(self._changed(values[1:] / max(1.0, values[0])))
            return
        step, _ = step_of(query)
        gradient = step.in_gradients(values, total.multiplier) / (step.sampling_rate * self.rows)
        self._lengths.append(float(np.linalg.norm(gradient)))
        self.pulled(gradient)

    def _changed(self, change: FloatArray) -> FloatArray:
        """Federated averaging, with or without momentum; or FedAdam, Adam's step from the average change."""
        self._lengths.append(float(np.linalg.norm(change)))
        direction, self._optimiser = self._optimiser.step(-change)
        if isinstance(self._optimiser, Adam):
            return -FEDADAM_RATE * self.fading(self._training_round) * direction
        return -direction

    def _move(self, change: FloatArray) -> None:
        """One more round's parameters, and their average over the last rounds: of few rounds an even one."""
        number = self._training_round
        self._parameters = self._parameters + change
        keep = min(self.memory**self._setting.steps, number / (number + 1))
        self._average = keep * self._average + (1 - keep) * self._parameters

    # What a kind decides

    @property
    def sizes(self) -> tuple[int, ...]:
        return self._architecture.sizes

    @property
    def memory(self) -> float:
        """A step, of the average over rounds that is released instead of the last parameters."""
        return 0.95

    def start(self, logs: Sequence[FloatArray]) -> None:
        """The network before training, from each column's centred log counts."""
        self._parameters = self._average = self._network.start(logs, self._rng)

    def warm(self, codes: npt.NDArray[np.int16]) -> None:
        """Training on public rows (rows, columns), merged cells."""
        self._parameters = self._average = trained_on(self._network, self._parameters, codes, self._rng, self._progress)

    def rate(self, number: int) -> float:
        """The learning rate of training round ``number``."""
        raise NotImplementedError

    def optimiser(self, local: bool) -> Optimiser:
        """What turns noised gradients, or the average change after the institutions' own steps, into the coordinator's
        step.
        """
        return Momentum()

    def fading(self, number: int) -> float:
        """The part of its first rate that a learning rate has left in training round ``number``: it falls to 0 at the end."""
        return min(1.0, 1.5 * (1 - number / self._training.rounds))

    def finished(self, parameters: FloatArray) -> FloatArray:
        """What is released, after the last round: the average, put right by what is noised already."""
        return parameters

    @property
    def merged_counts(self) -> list[FloatArray]:
        """Each column's noised counts of merged cells."""
        counts = [table.counts for table in self._measured[: len(self.sizes)]]
        return self._cells.summed(counts, self.sizes)

    @property
    def merged_sigmas(self) -> list[float]:
        """The noise of a merged cell of each column, on average."""
        growth = [k / m for k, m in zip(self._study.schema.sizes, self._architecture.sizes, strict=True)]
        return [table.sigma * math.sqrt(g) for table, g in zip(self._measured, growth, strict=False)]

    def pulled(self, gradient: FloatArray) -> None:
        """A round's noised average gradient at the current parameters: a step against it."""
        direction, self._optimiser = self._optimiser.step(self._network.evened(gradient))
        self._move(-self.rate(self._training_round) * direction)

    def model(self) -> Tensors:
        """What rows are drawn from, as vectors."""
        return {"parameters": self.released.astype(np.float32)}

    @property
    def model_lengths(self) -> dict[str, int]:
        return {"parameters": len(self._parameters)}

    def restore(self, tensors: Tensors) -> None:
        if {k: t.shape for k, t in tensors.items()} != {k: (n,) for k, n in self.model_lengths.items()}:
            raise ValueError("model")
        self.put(tensors)

    def put(self, tensors: Tensors) -> None:
        """The model from what ``model`` gave, of ``model_lengths``."""
        self._parameters = self._average = tensors["parameters"].astype(np.float64)

    # The fitted generator

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The length of every round's noised gradient, beside what noise alone would have; or of the average change."""
        if not self._lengths:
            return ()
        if self._local:
            return (Curve("length of the average change", tuple(self._lengths)),)
        noise = self._setting.noise * math.sqrt(self._setting.parameters)
        return (Curve("length of the noised gradient", tuple(self._lengths), noise),)

    @property
    def released(self) -> FloatArray:
        """The parameters that rows are drawn from."""
        return self._average
