"""What a release carries and what it does not: a verdict on every class of a target, and on every pair of columns.

From noised tables and synthetic rows alone, by the two limits of ``cohortium.study.carrying``. The gate asks whether a release may be
made; this says what its users can count on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cohortium.data.schema import Schema
from cohortium.study.carrying import FIT, NOISE, listed, noise_distance
from cohortium.study.workload import MAX_CROSSED_CELLS
from cohortium_server.release.page.cells import Cells, cells_of
from cohortium_server.release.page.evidence import Evidence, FloatArray

COUNTED = 3.0  # standard deviations of noise that a class's rows must exceed, or it may not exist at all


@dataclass(frozen=True)
class PairVerdict:
    """noise: the distance that noise alone makes; beyond: by how much more synthetic and noised tables differ. None: not measured."""

    columns: tuple[str, str]
    carried: bool | None
    noise: float | None = None
    beyond: float | None = None


@dataclass(frozen=True)
class ClassVerdict:
    """rows: noised. columns: how many others there are; lost: those whose values in the class the release does not carry."""

    target: str
    value: str
    rows: int
    carried: bool | None
    columns: int
    lost: tuple[str, ...]

    @property
    def words(self) -> str:
        head = f"{self.target} = {self.value} (about {self.rows:,} rows)"
        if self.carried is None:
            return f"{head}: measured by no noised table"
        if self.carried:
            return f"{head}: carries all {self.columns} other columns"
        if len(self.lost) == self.columns:
            return f"{head}: does not carry any other column"
        return f"{head}: does not carry {len(self.lost)} of {self.columns} other columns: {listed(list(self.lost))}"


@dataclass(frozen=True)
class Carried:
    classes: tuple[ClassVerdict, ...]
    pairs: tuple[PairVerdict, ...]

    @property
    def lost_pairs(self) -> list[PairVerdict]:
        """The worst first."""
        lost = [p for p in self.pairs if p.carried is False]
        return sorted(lost, key=lambda p: (-(p.noise or 0) - (p.beyond or 0), p.columns))

    @property
    def words(self) -> str:
        """A sentence on the pairs."""
        measured = [p for p in self.pairs if p.carried is not None]
        if not measured:
            return "It was not measured which pairs of columns this release carries."
        kept = f"This release carries {sum(p.carried is True for p in measured)} of {len(self.pairs)} pairs of columns."
        if self.lost_pairs:
            kept += f" It does not carry {listed([' with '.join(p.columns) for p in self.lost_pairs])}."
        return (
            kept
            if len(measured) == len(self.pairs)
            else f"{kept} {len(self.pairs) - len(measured)} pairs were measured by no noised table."
        )

    def document(self) -> dict[str, Any]:
        """The entry in the manifest."""
        return {
            "noise_at_most": NOISE,
            "beyond_at_most": FIT,
            "classes": [asdict(c) for c in self.classes],
            "pairs": [asdict(p) for p in self.pairs],
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Carried:
        """The inverse of ``document``."""
        classes = (ClassVerdict(**{**c, "lost": tuple(c["lost"])}) for c in document["classes"])
        pairs = (PairVerdict(**{**p, "columns": tuple(p["columns"])}) for p in document["pairs"])
        return cls(tuple(classes), tuple(pairs))


def carried(schema: Schema, targets: Sequence[int], evidence: Evidence) -> Carried:
    """The verdicts on a release whose rows and noised tables are ``evidence``."""
    columns = range(len(schema.columns))
    pairs = [_pair(schema, evidence, pair) for pair in itertools.combinations(columns, 2)]
    classes = [verdict for t in targets for verdict in _classes(schema, evidence, t)]
    return Carried(tuple(classes), tuple(pairs))


def _pair(schema: Schema, evidence: Evidence, pair: tuple[int, int]) -> PairVerdict:
    names = schema.names[pair[0]], schema.names[pair[1]]
    if not evidence.holds(pair):
        return PairVerdict(names, None)
    estimate = evidence.estimate(pair)
    noise = noise_distance(estimate.shares.size, estimate.sd, 1)
    beyond = max(0.0, _distance(evidence.shares(pair), estimate.shares) - noise)
    kept = noise <= NOISE and beyond <= FIT
    return PairVerdict(names, kept, *(round(min(1.0, x), 4) for x in (noise, beyond)))


def _classes(schema: Schema, evidence: Evidence, target: int) -> Iterator[ClassVerdict]:
    """Of the target's values, or of groups of them where it has very many."""
    if not evidence.holds((target,)):
        return
    column, estimate = schema.columns[target], evidence.estimate((target,))
    cells = cells_of(column, evidence.shares((target,)), evidence.groups(target))
    sizes = cells.grouped(estimate.shares)
    others = [j for j in range(len(schema.columns)) if j != target]
    known = [j for j in others if evidence.holds(_ordered(target, j))]
    for k, label in enumerate(cells.labels if len(estimate.shares) <= MAX_CROSSED_CELLS else ()):
        share, doubt = float(sizes[k]), estimate.sd * float(np.sqrt(cells.counts[k]))
        lost = [
            schema.names[j]
            for j in known
            if share <= COUNTED * doubt or not _is_carried(evidence, cells, target, j, k, share)
        ]
        rows = max(0, round(share * evidence.rows_measured))
        verdict = None if not known else not lost
        yield ClassVerdict(column.name, label, rows, verdict, len(others), tuple(lost))


def _is_carried(evidence: Evidence, cells: Cells, target: int, j: int, k: int, share: float) -> bool:
    """Whether a class has the values of column ``j`` that were measured, up to what noise explains."""
    pair = _ordered(target, j)
    estimate = evidence.estimate(pair)
    synthetic, measured = (_of_class(t, pair, target, cells, k) for t in (evidence.shares(pair), estimate.shares))
    deviation = estimate.sd * float(np.sqrt(cells.counts[k]))
    noise = noise_distance(len(measured), deviation, share)
    if noise > NOISE or not synthetic.sum() > 0:
        return False
    return _distance(synthetic / synthetic.sum(), measured / share) - noise <= FIT


def _of_class(table: FloatArray, pair: tuple[int, int], target: int, cells: Cells, k: int) -> FloatArray:
    """(cells,) of the other column, of the class's rows."""
    rows: FloatArray = cells.grouped(table if pair[0] == target else table.T)[k]
    return rows


def _ordered(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def _distance(one: FloatArray, other: FloatArray) -> float:
    return float(np.abs(one - other).sum()) / 2
