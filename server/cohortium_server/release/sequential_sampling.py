"""Visits rows column by column: a value that contradicts those before it is drawn anew from the model.

Columns that determine others come first (``Rules.order``) and keep their values, so that their distribution does not change
with the model's errors in the columns they determine. A new value is drawn given the columns visited already and those without
rules, among the cells that the rules leave.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cohortium.data.columns.encoding import draw_index
from cohortium.data.conditions.reach import Reach
from cohortium.data.conditions.rules import MISSING, Lookup
from cohortium.data.encoding import codes_at
from cohortium.data.schema import Schema
from cohortium_server.generators import Allowed, Generator

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


def gone_through(
    generator: Generator, schema: Schema, index: IntArray, fixed: BoolArray, rng: np.random.Generator, allowed: Allowed
) -> IntArray:
    """(rows, columns) grid ``index``, changed where a value, other than a ``fixed`` one, breaks a rule with those before it.

    Rules about sums and orders are not handled here, nor are rules that leave no cell. allowed: as for a generator; where the
    rules leave nothing of it, only they count.
    """
    index, done = index.copy(), fixed.copy()
    done[:, [j for j in range(len(schema.columns)) if j not in schema.rules.columns]] = True
    for j in schema.rules.order:
        rules = [rule for rule in schema.rules.lookups if j in rule.columns]
        beside = np.stack([_beside(rule, j, index, done) for rule in rules], axis=1) if rules else index[:, :0]
        broken = [(beside[:, k] != MISSING) & rule.broken(index) for k, rule in enumerate(rules)]
        rows = np.flatnonzero(np.any(broken, axis=0) & ~fixed[:, j]) if rules else np.empty(0, np.int64)
        groups, group = np.unique(beside[rows], axis=0, return_inverse=True)
        for k, one in enumerate(groups):
            weights = _left(schema, j, rules, one, allowed)
            if weights.any():
                _draw(generator, schema, index, rows[group.reshape(-1) == k], j, done, rng, weights)
        done[:, j] = True
    return index


def _beside(rule: Lookup, j: int, index: IntArray, done: BoolArray) -> IntArray:
    """(rows,) the classes of the rule's other columns, as one number; MISSING where one was not visited yet."""
    others = [(c, classes) for c, classes in zip(rule.columns, rule.classes, strict=True) if c != j]
    number = np.zeros(len(index), np.int64)
    for c, classes in others:
        number = number * classes.count + classes.of(index[:, c])
    return np.where(done[:, [c for c, _ in others]].all(axis=1), number, MISSING)


def _left(schema: Schema, j: int, rules: list[Lookup], beside: IntArray, allowed: Allowed) -> FloatArray:
    """(cells,) of one column, 1 or its ``allowed`` where the rules leave some of a cell."""
    column = schema.columns[j]
    reach, left = Reach(column, np.arange(column.size), column.size), np.ones(column.size)
    for rule, number in zip(rules, beside, strict=True):
        if number != MISSING:
            axis = rule.columns.index(j)
            classes = np.moveaxis(rule.allowed, axis, -1).reshape(-1, rule.classes[axis].count)[number]
            left = left * reach.may(rule.classes[axis])[:, classes].any(axis=1)
    wanted = left * allowed.get(j, np.ones(column.size))
    return wanted if wanted.any() else left


def _draw(
    generator: Generator,
    schema: Schema,
    index: IntArray,
    rows: IntArray,
    j: int,
    done: BoolArray,
    rng: np.random.Generator,
    weights: FloatArray,
) -> None:
    """New values, in place, in one column of some rows."""
    column, cells = schema.columns[j], np.flatnonzero(weights)
    if len(cells) == 1:
        drawn = np.full(len(rows), cells[0])
    else:
        known = done[rows]
        known[:, j] = False
        codes = np.where(known, codes_at(index[rows], schema), 0).astype(np.int16)
        drawn = generator.complete(codes, known, rng, {j: weights})[:, j].astype(np.int64)
    missing = drawn >= column.values
    index[rows, j] = np.where(missing, MISSING, draw_index(column, np.where(missing, 0, drawn), rng))
