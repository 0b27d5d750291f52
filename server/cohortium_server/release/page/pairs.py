"""Pairs of columns: differences beyond the noise, or, where no pair was measured, associations of synthetic rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from cohortium.study.carrying import noise_distance
from cohortium_server.release.page.cells import Cells, both_grouped
from cohortium_server.release.page.columns import ColumnView, Row
from cohortium_server.release.page.evidence import Evidence, FloatArray

TwoColumns = tuple[int, int]
WORST = 6  # pairs listed one by one
DROWNED = 0.5  # distance by noise alone, from which on a pair cannot be checked


@dataclass(frozen=True)
class Pair:
    """difference: total variation distance of synthetic and noised shares. noise: its mean by noise alone. Of all rows at most.

    Noised counts may be negative, so that either could come out as more rows than there are.
    """

    columns: TwoColumns
    difference: float
    noise: float

    @property
    def beyond(self) -> float:
        return max(0.0, self.difference - self.noise)


@dataclass(frozen=True)
class Contrast:
    """A pair's table in bars: synthetic and measured shares, and how far either way the noise may reach."""

    pair: Pair
    names: tuple[str, str]
    cells: tuple[Cells, Cells]
    synthetic: FloatArray
    measured: FloatArray
    within: FloatArray

    @property
    def difference(self) -> FloatArray:
        return self.synthetic - self.measured

    @property
    def furthest(self) -> Row:
        """The cell that differs most in units of its noise."""
        at = np.unravel_index(int(np.argmax(np.abs(self.difference) / self.within)), self.within.shape)
        label = " and ".join(c.labels[k] for c, k in zip(self.cells, at, strict=True))
        return Row(label, float(self.synthetic[at]), float(self.measured[at]), float(self.within[at]))


@dataclass(frozen=True)
class Differences:
    """All pairs that were measured, and the worst of them in bars."""

    pairs: Sequence[Pair]
    worst: Sequence[Contrast]

    @property
    def difference(self) -> float:
        return fmean(p.difference for p in self.pairs)

    @property
    def noise(self) -> float:
        return fmean(p.noise for p in self.pairs)

    @property
    def drowned(self) -> int:
        """Pairs that cannot be checked because of the noise."""
        return sum(p.noise > DROWNED for p in self.pairs)


def differences(evidence: Evidence, columns: Sequence[ColumnView]) -> Differences:
    found = [compared(evidence, pair) for pair in _pairs(columns) if evidence.holds(pair)]
    worst = sorted(found, key=lambda p: (-p.beyond, -p.difference, p.columns))[:WORST]
    return Differences(found, [_contrast(evidence, columns, p) for p in worst])


def compared(evidence: Evidence, columns: TwoColumns) -> Pair:
    estimate = evidence.estimate(columns)
    difference = float(np.abs(evidence.shares(columns) - estimate.shares).sum()) / 2
    noise = noise_distance(estimate.shares.size, estimate.sd, 1)
    return Pair(columns, min(1.0, difference), min(1.0, noise))


def _contrast(evidence: Evidence, columns: Sequence[ColumnView], pair: Pair) -> Contrast:
    first, second = (columns[j] for j in pair.columns)
    estimate = evidence.estimate(pair.columns)
    tables = (evidence.shares(pair.columns), estimate.shares)
    synthetic, measured = (both_grouped(first.cells, second.cells, t) for t in tables)
    within = estimate.within * np.sqrt(np.outer(first.cells.counts, second.cells.counts))
    names = (first.column.name, second.column.name)
    return Contrast(pair, names, (first.cells, second.cells), synthetic, measured, within)


@dataclass(frozen=True)
class Associations:
    """Cramér's V of every pair that has one, and the strongest with the columns' names."""

    known: Mapping[TwoColumns, float]
    strongest: Sequence[tuple[str, str, float]]


def associations(evidence: Evidence, columns: Sequence[ColumnView]) -> Associations:
    found = {(i, j): association(evidence, columns[i].cells, columns[j].cells, (i, j)) for i, j in _pairs(columns)}
    known = {pair: v for pair, v in found.items() if v is not None}
    strongest = sorted(known, key=lambda pair: (-known[pair], pair))[:WORST]
    return Associations(known, [(columns[i].column.name, columns[j].column.name, known[i, j]) for i, j in strongest])


def association(evidence: Evidence, first: Cells, second: Cells, pair: TwoColumns) -> float | None:
    """Cramér's V of two columns' bars, corrected for bias (Bergsma 2013); None where one is constant."""
    joint = both_grouped(first, second, evidence.shares(pair))
    joint = joint[joint.sum(axis=1) > 0][:, joint.sum(axis=0) > 0]
    rows, (r, c) = len(evidence.synthetic), joint.shape
    if min(r, c) < 2 or rows < 2:
        return None
    expected = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    square = max(0.0, float(((joint - expected) ** 2 / expected).sum()) - (r - 1) * (c - 1) / (rows - 1))
    smaller = min(k - 1 - (k - 1) ** 2 / (rows - 1) for k in (r, c))
    return min(1.0, math.sqrt(square / smaller)) if smaller > 0 else None


def _pairs(columns: Sequence[ColumnView]) -> list[TwoColumns]:
    return list(itertools.combinations(range(len(columns)), 2))
