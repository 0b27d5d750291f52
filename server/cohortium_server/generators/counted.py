"""What all generators share that are fitted to counts: of single columns, where cells are merged, then of pairs and triples.

A kind says how it is fitted to the noised tables, and how rows are drawn; the rest is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Self

from cohortium.neural.device import one_thread
from cohortium.study.plan import Phase
from cohortium.system.progress import Progress, Silent
from cohortium_server.generators import Measured, Sum
from cohortium_server.generators.base import BaseGenerator


class CountedGenerator(BaseGenerator):
    """An ask-and-tell object for what is fitted once, to noised tables. Kinds override ``fit`` and what the base marks so."""

    def learn(self, phase: Phase, total: Sum) -> None:
        if phase.name != "columns":
            self._fit_measured()

    def refitted(self, tables: Sequence[Measured], seed: int | None, progress: Progress | None = None) -> Self:
        """The same kind over the same cells, fitted to other ``tables``: of the columns and cells of its own."""
        twin = copy(self)
        twin._seed, twin._measured, twin._progress = seed, tuple(tables), progress or Silent()
        with one_thread():
            twin._fit_measured()
        return twin

    def _fit_measured(self) -> None:
        self.fit(self.measured_together)

    @abstractmethod
    def fit(self, tables: Sequence[Measured]) -> None:
        """The model from noised tables over the cells it sees, ``sizes``."""
        ...
