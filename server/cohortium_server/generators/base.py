"""What all generators here share: the rounds of the plan, and the way between the schema's cells and those a model sees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from cohortium.data.binning import merged_sizes
from cohortium.errors import ReleaseError
from cohortium.neural.device import one_thread, one_thread_if_used
from cohortium.neural.state import write_state
from cohortium.queries import Query
from cohortium.queries.counts import Counts
from cohortium.queries.histograms import NestedHistograms
from cohortium.queries.marginals import Marginals
from cohortium.study.plan import Phase, Plan, noise_of_a_count, plan
from cohortium.study.study import Study
from cohortium.study.workload import chosen_mix
from cohortium.system.progress import Progress, Silent
from cohortium_server.generators import Allowed, Curve, Measured, Sum, Tensors
from cohortium_server.generators.cells import Cells, Weights
from cohortium_server.generators.tables import measured_tables, noised_rows

CodeArray = npt.NDArray[np.int16]


class BaseGenerator(ABC):
    """An ask-and-tell object whose model sees merged cells. Kinds override what is marked so."""

    def __init__(self, study: Study, seed: int | None = None, progress: Progress | None = None) -> None:
        self._study, self._seed, self._progress = study, seed, progress or Silent()
        self._measured: tuple[Measured, ...] = ()
        self._told = 0
        self._cells = Cells.single(study.schema.sizes)

    @cached_property
    def _plan(self) -> Plan:
        """Looked up when it is needed: finding the noise takes seconds, and rows are drawn without it."""
        return plan(self._study)

    # Asking and telling

    def ask(self) -> Query | None:
        return None if self._told == self._plan.rounds else self.asked(self._plan.phase(self._told))

    def asked(self, phase: Phase) -> Query:
        """A round's query: of counts over merged cells, at those cells."""
        query = phase.query
        if not (isinstance(query, Marginals) and query.state_lengths):
            return query
        state = {"cells": self._cells.merged.astype(np.float64)} if query.merged else {}
        if query.choices:
            number = chosen_mix(query, noise_of_a_count(self._study, phase), self.rows)
            state["choice"] = np.array([float(number)])
        return query.with_state(write_state(state))

    def tell(self, total: Sum) -> None:
        phase = self._plan.phase(self._told)
        with one_thread():
            if isinstance(total.query, Counts):
                self._count(phase, total)
            self.learn(phase, total)
        self._told += 1

    def _count(self, phase: Phase, total: Sum) -> None:
        """What was counted is kept; of single columns, it says which cells are put together."""
        told = measured_tables(total)
        self._measured = (*self._measured, *told)
        if phase.name == "columns":
            nested = isinstance(total.query, NestedHistograms)
            self._cells = Cells.of(self._study.schema, self._study.generator.bins, told, nested)

    @property
    def rows(self) -> int:
        return noised_rows(self._measured)

    @property
    def measured_together(self) -> tuple[Measured, ...]:
        """The tables of the round of pairs: those behind the ones of single columns, where these were asked before."""
        first = self._plan.phases[0]
        alone = len(first.query.tables) if first.name == "columns" and isinstance(first.query, Counts) else 0
        return self._measured[alone:]

    @property
    def measured(self) -> tuple[Measured, ...]:
        return self._measured

    @property
    def progress(self) -> Progress:
        """Where progress is reported."""
        return self._progress

    @property
    def curves(self) -> tuple[Curve, ...]:
        return ()

    # What a kind decides

    @abstractmethod
    def learn(self, phase: Phase, total: Sum) -> None:
        """What follows from a round's sum; counts are in ``measured`` already."""
        ...

    @property
    def sizes(self) -> tuple[int, ...]:
        """Merged cells of each column that the model sees."""
        return self._cells.used

    @abstractmethod
    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> CodeArray:
        """(rows, columns) merged cells; of a conditioned column the cells in proportion to their weight."""
        ...

    @abstractmethod
    def fill(
        self, codes: CodeArray, known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> CodeArray:
        """(rows, columns) merged cells: ``codes`` where ``known``, elsewhere drawn given what is known of the row."""
        ...

    @abstractmethod
    def model(self) -> Tensors:
        """What rows are drawn from."""
        ...

    @abstractmethod
    def restore(self, tensors: Tensors) -> None:
        """The model from what ``model`` gave, all finite; ValueError where it is not one of this kind and of ``sizes``."""
        ...

    # The fitted generator

    def sample(self, rows: int, rng: np.random.Generator, allowed: Allowed) -> CodeArray:
        with one_thread_if_used():
            drawn = self.draw(rows, rng, self._cells.weights(allowed, self.sizes))
        return self._cells.spread(drawn, rng, allowed)

    def complete(
        self, codes: CodeArray, known: npt.NDArray[np.bool_], rng: np.random.Generator, allowed: Allowed
    ) -> CodeArray:
        weights = self._cells.weights(allowed, self.sizes)
        with one_thread_if_used():
            filled = self.fill(self._cells.merge(codes), known, rng, weights)
        return np.where(known, codes, self._cells.spread(filled, rng, allowed)).astype(np.int16)

    def tensors(self) -> Tensors:
        return {**self.model(), **(self._cells.tensors() if self._merges else {})}

    @property
    def _merges(self) -> bool:
        """Whether the study has any cells put together."""
        schema, bins = self._study.schema, self._study.generator.bins
        return merged_sizes(schema, bins) != schema.sizes

    @classmethod
    def from_tensors(cls, study: Study, tensors: Tensors, progress: Progress | None = None) -> Self:
        generator, rest = cls(study, progress=progress), dict(tensors)
        if not all(t.size and np.isfinite(t).all() for t in tensors.values()):
            raise _touched()
        try:
            if generator._merges:
                cells = {name: rest.pop(name) for name in ("cells", "counts")}
                generator._cells = Cells.read(study.schema, study.generator.bins, cells)
            generator.restore(rest)
        except (KeyError, ValueError):
            raise _touched() from None
        return generator


def _touched() -> ReleaseError:
    return ReleaseError(
        "E_RELEASE_TOUCHED", "model.safetensors", "it does not hold this study's model", "Get the release again."
    )
