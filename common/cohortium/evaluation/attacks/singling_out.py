"""Conditions that single out one synthetic row: do they single out one person, more often among those who took part?

As Giomi et al. (2023) define it, after the Article 29 Working Party's opinion 05/2014. What is tried here is a condition and no
person, so the guarantee's bound on a person's chances does not apply; the rate among persons held out is what it is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium.data.schema import Schema
from cohortium.evaluation.attacks.findings import Attack
from cohortium.evaluation.attacks.targets import Targets
from cohortium.evaluation.samples import Sample, numbers

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
TRIES = 500
COLUMNS = 4  # of a condition
MOST = 10_000  # rows of each side


@dataclass(frozen=True)
class Condition:
    """By column a value, and whether a row must have it (0), at most it (-1) or at least it (1)."""

    parts: Mapping[int, tuple[float, int]]

    def fulfilled(self, values: FloatArray) -> BoolArray:
        found = np.ones(len(values), bool)
        for j, (value, side) in self.parts.items():
            column = values[:, j]
            found &= column == value if not side else (column <= value if side < 0 else column >= value)
        return found


def singling_out(
    targets: Targets, schema: Schema, ordered: tuple[int, ...], rng: np.random.Generator
) -> Iterator[Attack]:
    """By conditions on one column, and on several."""
    rows = min(MOST, len(targets.members), len(targets.others))
    sides = [_values(s.first(rows), schema) for s in (targets.members, targets.others)]
    synthetic = _values(targets.synthetic.first(MOST), schema)
    for columns in sorted({1, min(COLUMNS, len(schema.columns))}):
        found, skipped = conditions(synthetic, ordered, columns, rng)
        members, others = (np.array([c.fulfilled(v).sum() == 1 for c in found], bool) for v in sides)
        what = "one column" if columns == 1 else f"{columns} columns"
        words = f"Who claims that a condition on {what} which fits one released row fits one person, is"
        yield Attack("singling out", what, members, others, skipped, words, bounded=False)


def conditions(
    synthetic: FloatArray, ordered: tuple[int, ...], columns: int, rng: np.random.Generator
) -> tuple[list[Condition], int]:
    """At most ``TRIES`` that one synthetic row fulfils, and how many more were drawn that none or several do."""
    middles = np.nanmedian(np.where(np.isnan(synthetic).all(axis=0), 0.0, synthetic), axis=0)
    found: list[Condition] = []
    for drawn in range(10 * TRIES):
        row = synthetic[rng.integers(len(synthetic))]
        chosen = rng.choice(synthetic.shape[1], columns, replace=False)
        parts = {int(j): (float(row[j]), _side(row[j], middles[j]) if ordered[j] else 0) for j in chosen}
        condition = Condition(parts)
        if condition.fulfilled(synthetic).sum() == 1:
            found.append(condition)
        if len(found) == TRIES:
            return found, drawn + 1 - TRIES
    return found, 10 * TRIES - len(found)


def _side(value: float, middle: float) -> int:
    """Towards the end that a value lies nearer to: such conditions are fulfilled by few."""
    return -1 if value < middle else 1


def _values(sample: Sample, schema: Schema) -> FloatArray:
    """(rows, columns) numbers of ordered columns, NaN where missing, and codes of the others."""
    found = np.empty((len(sample), len(schema.columns)))
    for j, column in enumerate(schema.columns):
        index = sample.rows.index[:, j]
        found[:, j] = numbers(column, index)
    return found
