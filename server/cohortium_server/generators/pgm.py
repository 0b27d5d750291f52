"""pgm: a graphical model of the noised tables that are worth it, as MST and AIM choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cohortium.data.conditions.reach import impossible
from cohortium.queries import Query
from cohortium.study.generators import Pgm as PgmPlan
from cohortium.system.progress import Progress
from cohortium_server.generators import Measured, Tensors
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.choosing import misfits, more, starting, tree
from cohortium_server.generators.chordal import Chordal, Clique, Step, drawing_order, shape
from cohortium_server.generators.counted import CountedGenerator
from cohortium_server.generators.estimating import Estimation, Impossible, check_installed
from cohortium_server.generators.shares import Table, single_columns
from cohortium_server.generators.tables import as_shares

CodeArray = npt.NDArray[np.int16]
FloatArray = npt.NDArray[np.float64]
ROUNDS = 6  # of choosing further tables, at most


class Pgm(CountedGenerator):
    """The rounds of sweep; fitted by ``estimating``. Rows are drawn by ``chordal``, for which mbi is not needed."""

    _model: Chordal

    def ask(self) -> Query | None:
        check_installed()
        return super().ask()

    def fit(self, tables: Sequence[Measured]) -> None:
        check_installed()  # a release may be refitted, for answers, where nothing was asked
        rows, chosen, rng = self.rows, self._study.generator, np.random.default_rng(self._seed)
        told = as_shares(tables, rows, self._study.target_indices)
        assert isinstance(chosen, PgmPlan)  # noqa: S101 - the study's kind
        rounds = ROUNDS if chosen.method == "aim" else 0
        self._model = estimated(told, self.sizes, self._impossible, rounds, chosen.cells, rng, self._progress)
        self.restore(self.model())  # rounded as it will be released

    def _impossible(self, columns: Clique) -> npt.NDArray[np.bool_]:
        shape, cells = [self.sizes[j] for j in columns], [self._cells.merged_of(j) for j in columns]
        return impossible(self._study.schema, columns, shape, cells)

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> CodeArray:
        return self._model.draw(rows, rng, allowed)

    def fill(
        self, codes: CodeArray, known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> CodeArray:
        return self._model.fill(codes, known, rng, weights)

    def model(self) -> Tensors:
        """chances: of all steps, one after the other. steps: (columns, columns) each step's parents and column, then -1."""
        steps = np.full((len(self.sizes),) * 2, -1, np.int16)
        for row, step in zip(steps, self._model.steps, strict=True):
            row[: len(step.scope)] = step.scope
        chances = np.concatenate([c.ravel() for c in self._model.chances])
        return {"chances": chances.astype(np.float32), "steps": steps}

    def restore(self, tensors: Tensors) -> None:
        sizes, scopes, chances = self.sizes, tensors["steps"], tensors["chances"]
        if set(tensors) != {"chances", "steps"} or scopes.shape != (len(sizes),) * 2 or chances.ndim != 1:
            raise ValueError("steps")
        if scopes.min() < -1 or scopes.max() >= len(sizes) or (scopes[:, 0] < 0).any():
            raise ValueError("steps")
        steps = tuple(_step(row[row >= 0].tolist()) for row in scopes.astype(np.int64))
        lengths = [int(np.prod(shape(s, sizes), dtype=float)) for s in steps]
        if sum(lengths) != len(chances):
            raise ValueError("chances")
        parts = np.split(chances.astype(np.float64), np.cumsum(lengths)[:-1])
        tables = tuple(part.reshape(shape(s, sizes)) for s, part in zip(steps, parts, strict=True))
        self._model = Chordal(sizes, steps, tables)


def _step(scope: list[int]) -> Step:
    return Step(scope[-1], tuple(scope[:-1]))


def estimated(
    tables: Sequence[Table],
    sizes: tuple[int, ...],
    nobody: Impossible,
    rounds: int,
    most: int,
    rng: np.random.Generator,
    progress: Progress,
) -> Chordal:
    """The model of a spanning tree of pairs, and in at most ``rounds`` more of what it misses most; of ``most`` cells.

    nobody: of some columns, the cells of their table that are impossible. Nothing was counted there but noise.
    """
    tables = [replace(t, shares=np.where(nobody(t.columns), 0.0, t.shares)) for t in tables]
    alone = single_columns(sizes, tables)
    start = starting(alone)

    def structured() -> Estimation:
        return Estimation(drawing_order([t.columns for t in chosen], sizes), start, nobody)

    chosen = tree(tables, misfits(Chordal.independent(start), tables, rng))
    for _ in range(rounds):
        model = structured().rough([*alone, *chosen])
        further = more(tables, misfits(model, tables, rng), chosen, sizes, most)
        if not further:
            break
        chosen += further
    return structured().fitted([*alone, *chosen], rng, progress)
