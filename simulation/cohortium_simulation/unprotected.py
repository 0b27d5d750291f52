"""Fitting without privacy: a generator on the real sums, without noise, clipping, custodians or ledgers, as a baseline.

For research on public tables. Everything that comes of a study without privacy is marked
(``cohortium_server.release.unprotected``). A study with privacy uses nothing from here.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cohortium.data.encoding import Codes
from cohortium.errors import StudyError
from cohortium.neural.device import best_device, one_thread
from cohortium.neural.network import Plain
from cohortium.privacy.randomness import Randomness
from cohortium.queries import Query
from cohortium.queries.counts import Tables
from cohortium.queries.gradients import GradientSum, People, Step
from cohortium.queries.local_training import OUT_GRID, RATE, LocalTraining
from cohortium.study.plan import plan
from cohortium.study.study import Study
from cohortium.system.progress import Progress, Silent
from cohortium_server.generators import Generator, Sum, generator_class
from cohortium_server.rounds.rounds import Outcome

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class _Repeatable:
    """Randomness that a seed repeats: there is no noise here for them to keep secret."""

    def __init__(self, seed: int | None) -> None:
        self._rng = np.random.default_rng(seed)

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        return self._rng.integers(0, 2**64, count, np.uint64)


def fit_unprotected(
    study: Study, tables: Mapping[str, Codes], seed: int | None = None, progress: Progress | None = None
) -> Outcome:
    """The study's rounds over one table for each institution, answered with the un-noised, un-clipped sums.

    seed: repeats everything. Raises StudyError E_PLAN_PRIVACY for a study with privacy: it is for institutions to answer.
    """
    if study.privacy.mode != "none":
        raise StudyError(
            "E_PLAN_PRIVACY", f"study {study.name!r}", "it promises privacy", "Run it as it is, or without the promise."
        )
    agreed, progress = plan(study), progress or Silent()
    generator: Generator = generator_class(study.generator.kind)(study, seed, progress)
    randomness, number = _Repeatable(seed), 0
    progress.start(agreed.rounds, "rounds without privacy")
    with one_thread():
        while (query := generator.ask()) is not None:
            multiplier = agreed.phase(number).multiplier
            values = sum(_answer(query, codes, multiplier, randomness) for codes in tables.values())
            generator.tell(Sum(query, np.asarray(values, np.int64), len(tables), multiplier))
            number += 1
            progress.advance()
    progress.done()
    return Outcome(study, {}, agreed, secrets.token_hex(16), generator, (), "not-private")


def _answer(query: Query, codes: Codes, multiplier: float, randomness: Randomness) -> IntArray:
    """One institution's part of a sum, in the units of the query's answers, which the multiplier determines."""
    match query:
        case Tables():
            return query.contribute(codes, randomness).values
        case GradientSum():
            trained = _Training.over(query.step, codes, query.state, randomness)
            scale = query.step.units(multiplier) / query.step.clip
            return np.rint(trained.summed(trained.parameters) * scale).astype(np.int64)
        case LocalTraining():
            trained = _Training.over(query.step, codes, query.state, randomness, RATE)
            message = np.concatenate([[1.0], trained.moved(query.steps)]) * trained.people.count * OUT_GRID
            return np.rint(message).astype(np.int64)
        case _:
            raise StudyError("E_GENERATOR", query.kind, "it cannot be answered without privacy", "Choose another kind.")


@dataclass(frozen=True)
class _Training:
    """One institution's persons, and the public state of a round. rate: the learning rate, 0 where there is none."""

    step: Step
    people: People
    parameters: FloatArray
    rate: float
    randomness: Randomness

    @classmethod
    def over(
        cls, step: Step, codes: Codes, state: bytes, randomness: Randomness, more: dict[str, int] | None = None
    ) -> _Training:
        read = step.read(state, more)
        rate = float(read["rate"][0]) if more else 0.0
        return cls(step, step.people(codes, read, randomness), read["parameters"].astype(np.float64), rate, randomness)

    def moved(self, steps: int) -> FloatArray:
        """(parameters,) the change after some steps of plain SGD."""
        expected = self.step.sampling_rate * max(1, self.people.count)
        network, parameters = self.step.architecture.network, self.parameters
        for _ in range(steps):
            parameters = parameters - self.rate * network.evened(self.summed(parameters) / expected)
        moved: FloatArray = parameters - self.parameters
        return moved

    def summed(self, parameters: FloatArray) -> FloatArray:
        """(parameters,) the sum of the plain gradients of a Poisson sample of the persons, in ordinary floating point."""
        device, network = best_device(), self.step.architecture.network
        flat = torch.tensor(parameters, dtype=torch.float32, device=device, requires_grad=True)
        total = np.zeros(len(parameters))
        for codes, owners, uniforms in self.step.sampled(self.people, self.randomness):
            if not len(codes):
                continue
            weights = self._weights(owners).repeat(network.views) / network.views
            rows = torch.tensor(codes, device=device).repeat_interleave(network.views, 0)
            losses = network.loss(Plain(network, flat), rows, torch.tensor(uniforms, device=device))
            loss = (losses * torch.tensor(weights, dtype=losses.dtype, device=device)).sum()
            total += torch.autograd.grad(loss, flat)[0].cpu().numpy().astype(np.float64)
        return total

    def _weights(self, owners: IntArray) -> FloatArray:
        """(rows,) 1, or where persons weigh the same, one over the rows of their person in the batch."""
        if self.step.equal_weight == "rows":
            return np.ones(len(owners))
        return 1 / np.bincount(owners)[owners]
