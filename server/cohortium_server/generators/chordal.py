"""Graphical models whose graph is chordal: columns drawn one after the other, each given a few of those before it.

A set of cliques becomes chordal by elimination: columns leave one by one, and what is left of a leaving column's
neighbours is joined up. In the reverse order every column has its neighbours at that moment as parents, which are a
clique among themselves; so the joint distribution is the product of the columns' chances given their parents, and
whatever is known of a row travels up that order and down again, exactly (Lauritzen and Spiegelhalter 1988; Koller and
Friedman 2009, chapter 10). Nothing here needs the library that the model was estimated with.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.neural.drawing import sobol
from cohortium_server.generators.product_mixture import drawn

CodeArray = npt.NDArray[np.int16]
FloatArray = npt.NDArray[np.float64]
Clique = tuple[int, ...]
Weights = Mapping[int, FloatArray]
LEAST = 1e-30  # a chance that is never quite zero, so that nothing known of a row is without an answer
MOST = 1 << 22  # numbers in one table of a batch of rows


@dataclass(frozen=True)
class Step:
    """One column, and those before it that its chances depend on, ascending."""

    column: int
    parents: Clique = ()

    @property
    def scope(self) -> Clique:
        return (*self.parents, self.column)


def drawing_order(cliques: Collection[Clique], sizes: Sequence[int]) -> tuple[Step, ...]:
    """A step for every column; each clique lies within the scope of one. The column leaves first that leaves the least table."""
    near: dict[int, set[int]] = {j: set() for j in range(len(sizes))}
    for clique in cliques:
        for j in clique:
            near[j] |= set(clique) - {j}
    steps = []
    while near:
        first = min(near, key=lambda j: (math.prod(sizes[k] for k in (j, *near[j])), j))
        others = near.pop(first)
        for j in others:
            near[j] = (near[j] | others) - {j, first}
        steps.append(Step(first, tuple(sorted(others))))
    return tuple(reversed(steps))


def largest(steps: Sequence[Step]) -> tuple[Clique, ...]:
    """The cliques of the chordal graph that lie in no other one, ascending."""
    scopes = {frozenset(s.scope) for s in steps}
    return tuple(sorted(tuple(sorted(s)) for s in scopes if not any(s < other for other in scopes)))


def model_cells(steps: Sequence[Step], sizes: Sequence[int]) -> int:
    """Cells of the largest cliques together: what a model over them holds, and what a step of its fit costs."""
    return sum(math.prod(sizes[j] for j in clique) for clique in largest(steps))


@dataclass(frozen=True)
class Chordal:
    """The fitted model. chances: for every step (cells of its parents ..., cells of its column), summing to 1 over the last."""

    sizes: tuple[int, ...]
    steps: tuple[Step, ...]
    chances: tuple[FloatArray, ...]

    def __post_init__(self) -> None:
        """ValueError where the steps are no chordal model of ``sizes``."""
        if sorted(s.column for s in self.steps) != list(range(len(self.sizes))):
            raise ValueError("columns")
        if any(list(s.parents) != sorted(set(s.parents)) for s in self.steps):
            raise ValueError("parents")
        for step, owner in zip(self.steps, self._owners, strict=True):
            if owner is not None and not set(step.parents) <= set(self.steps[owner].scope):
                raise ValueError("parents")
        if [c.shape for c in self.chances] != [shape(s, self.sizes) for s in self.steps]:
            raise ValueError("chances")
        if any((c < 0).any() for c in self.chances):
            raise ValueError("chances")

    @classmethod
    def independent(cls, columns: Sequence[FloatArray]) -> Chordal:
        """From the distribution of each column."""
        return cls(tuple(map(len, columns)), tuple(Step(j) for j in range(len(columns))), tuple(columns))

    @cached_property
    def _owners(self) -> list[int | None]:
        """For every step the one whose scope holds its parents: that of the parent drawn last."""
        places = {s.column: k for k, s in enumerate(self.steps)}
        owners = []
        for k, step in enumerate(self.steps):
            last = max((places[j] for j in step.parents), default=None)
            if last is not None and last >= k:
                raise ValueError("parents")
            owners.append(last)
        return owners

    def draw(self, rows: int, rng: np.random.Generator, weights: Weights) -> CodeArray:
        """(rows, columns) codes from a Sobol sequence: as likely as in the model, times the ``weights`` of their cells."""
        nothing = np.zeros((1, len(self.sizes)), np.int16)
        tables = self._given(nothing, frozenset(), weights)
        blocks = [
            self._drawn(tables, np.repeat(nothing, len(points), 0), frozenset(), points)
            for points in sobol(rows, len(self.sizes), rng)
        ]
        return rng.permutation(np.concatenate(blocks))

    def fill(
        self, codes: CodeArray, known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> CodeArray:
        """(rows, columns) ``codes`` where ``known``, elsewhere drawn given what is known of the row; weights as in ``draw``."""
        filled = codes.copy()
        for columns, rows in self._batches(known):
            tables = self._given(codes[rows], columns, weights)
            filled[rows] = self._drawn(tables, codes[rows], columns, rng.random((len(rows), len(self.sizes))))
        return filled

    def _batches(self, known: npt.NDArray[np.bool_]) -> Iterator[tuple[frozenset[int], npt.NDArray[np.intp]]]:
        """Rows of which the same columns are known, as many at a time as their tables allow."""
        patterns, kinds = np.unique(known, axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            columns = frozenset(np.flatnonzero(pattern).tolist())
            widest = max(math.prod(self.sizes[j] for j in s.scope if j not in columns) for s in self.steps)
            rows = np.flatnonzero(kinds.reshape(-1) == k)
            size = max(1, MOST // widest)
            for first in range(0, len(rows), size):
                yield columns, rows[first : first + size]

    def _given(self, codes: CodeArray, known: frozenset[int], weights: Weights) -> list[FloatArray]:
        """For every step (rows or 1, cells of its scope ...), 1 cell of a known column: its column's chances, not yet summing to 1,
        given what is known and allowed of it and of all that depends on it.
        """
        tables = [self._at(k, codes, known, weights) for k in range(len(self.steps))]
        for k in reversed(range(len(self.steps))):
            owner = self._owners[k]
            if owner is not None:
                message = tables[k].sum(-1)
                most = message.max(tuple(range(1, message.ndim)), keepdims=True)
                tables[owner] = tables[owner] * self._lifted(message / np.maximum(most, 1e-300), k, owner)
        return tables

    def _at(self, k: int, codes: CodeArray, known: frozenset[int], weights: Weights) -> FloatArray:
        scope, chances = self.steps[k].scope, self.chances[k]
        if self.steps[k].column in weights.keys() - known:
            chances = chances * weights[self.steps[k].column]
        if known.isdisjoint(scope):
            return chances[None]
        places = []
        for axis, j in enumerate(scope, 1):
            along = tuple(-1 if a == (0 if j in known else axis) else 1 for a in range(len(scope) + 1))
            places.append((codes[:, j].astype(np.intp) if j in known else np.arange(self.sizes[j])).reshape(along))
        found: FloatArray = chances[tuple(places)]
        return found

    def _lifted(self, message: FloatArray, k: int, owner: int) -> FloatArray:
        """A step's message over its parents, with an axis for every column of the owner's scope."""
        parents, scope = self.steps[k].parents, self.steps[owner].scope
        ordered = np.moveaxis(
            message, range(1, message.ndim), np.argsort(np.argsort([scope.index(j) for j in parents])) + 1
        )
        missing = tuple(axis for axis, j in enumerate(scope, 1) if j not in parents)
        return np.expand_dims(ordered, missing)

    def _drawn(
        self, tables: Sequence[FloatArray], codes: CodeArray, known: frozenset[int], points: FloatArray
    ) -> CodeArray:
        """(rows, columns) codes, those not ``known`` drawn by ``points`` in the cube."""
        filled = codes.copy()
        for step, table in zip(self.steps, tables, strict=True):
            if step.column not in known:
                rows = np.arange(len(codes)) if len(table) > 1 else 0
                at = (rows, *(0 if j in known else filled[:, j].astype(np.intp) for j in step.parents))
                chances = np.broadcast_to(table[at], (len(codes), self.sizes[step.column]))
                filled[:, step.column] = drawn(chances, points[:, step.column])
        return filled


def shape(step: Step, sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(sizes[j] for j in step.scope)


def conditional(joint: npt.NDArray[np.floating]) -> FloatArray:
    """(parents ..., cells) chances from a table of the same shape; never quite zero."""
    table = np.maximum(joint.astype(np.float64), 0.0) + LEAST
    chances: FloatArray = table / table.sum(-1, keepdims=True)
    return chances
