"""Rows that keep the schema's constraints: the model conditioned on them.

Rows are drawn and those that break a constraint drawn again, which is exact. What is left after some rounds gets other values
in the columns at fault, drawn given the rest of the row; then those of the kept row that is most like it; and where no row
was kept, those of a row found by search. So as many rows come out as were asked for, and every step is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from cohortium.encoding import codes_at, draw_indices
from cohortium.errors import ReleaseError
from cohortium.rules import MISSING
from cohortium.schema import Continuous, Datetime, Schema
from cohortium.selection import Selection
from cohortium.settling import Exhausted, Places, example, places, possible, settled
from cohortium_server.generators import Allowed, Generator

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
CodeArray = npt.NDArray[np.int16]
Selections = Mapping[int, Selection]
ROUNDS = 6  # of drawing again
STRICT = 2  # of them that leave totals where the model put them
MOST, FEW = 4, 256  # times the rows asked for that one such round draws at most; and rows that it may draw in any case
REPAIRS = 4  # rounds of other values in the columns at fault
DONORS = 64  # kept rows that a row is compared with


def kept(
    generator: Generator,
    schema: Schema,
    rows: int,
    rng: np.random.Generator,
    draw: Callable[[int], CodeArray],
    selections: Selections,
) -> IntArray:
    """(rows, columns) grid indices, exactly so many rows, that keep every constraint and what is selected.

    draw: codes of so many rows of ``generator`` under ``selections``. Raises ReleaseError E_CONDITION where the constraints
    leave no such row.
    """
    if not possible(schema, selections):
        raise _contradicted()
    found, left, ask = [np.empty((0, len(schema.columns)), np.int64)], rows, rows
    most, codes = max(MOST * rows, FEW), np.empty((0, len(schema.columns)), np.int16)
    for number in range(ROUNDS):
        codes = draw(ask)
        index, good = _settled(schema, codes, rng, selections, freed=number >= STRICT)
        found.append(index[good][:left])
        left -= len(found[-1])
        if not left:
            return np.concatenate(found)
        codes, ask = codes[~good], math.ceil(min(most, 1.2 * left / max(good.mean(), left / most)))
    found.append(_repaired(generator, schema, codes[:left], rng, selections, np.concatenate(found)))
    return np.concatenate(found)


def _settled(
    schema: Schema, codes: CodeArray, rng: np.random.Generator, selections: Selections, freed: bool
) -> tuple[IntArray, BoolArray]:
    """Grid indices of codes, and which rows keep the rules. freed: totals become what their parts add up to."""
    ranges = {j: one.ranges for j, one in selections.items()}
    index = draw_indices(codes, schema, rng, ranges)
    where = places(schema, codes)
    where = where.freed(schema.rules.totals, schema) if freed else where
    return settled(schema, where.around(index, ranges), index, rng)


def _repaired(
    generator: Generator,
    schema: Schema,
    codes: CodeArray,
    rng: np.random.Generator,
    selections: Selections,
    kept_rows: IntArray,
) -> IntArray:
    """Rows of codes that keep the rules, changed in the columns at fault."""
    allowed: Allowed = {j: one.weights(schema.columns[j]) for j, one in selections.items()}
    index, good = _settled(schema, codes, rng, selections, freed=True)
    for _ in range(REPAIRS):
        bad = np.flatnonzero(~good)
        if not len(bad):
            break
        fault = schema.rules.at_fault(index[bad])
        codes[bad] = generator.complete(codes[bad], ~fault, rng, allowed)
        index[bad], good[bad] = _settled(schema, codes[bad], rng, selections, freed=True)
    bad, columns = np.flatnonzero(~good), np.array(schema.rules.columns)
    if len(bad):
        index[bad[:, None], columns] = _nearest(schema, index[bad], kept_rows, rng, selections)
    return index


def _nearest(
    schema: Schema, index: IntArray, kept_rows: IntArray, rng: np.random.Generator, selections: Selections
) -> IntArray:
    """(rows, constrained columns) the values of the most similar of some kept rows; of one found by search if there are none."""
    columns = np.array(schema.rules.columns)
    donors = kept_rows[rng.permutation(len(kept_rows))[:DONORS]] if len(kept_rows) else _found(schema, selections)
    nearest, least = np.zeros(len(index), np.int64), np.full(len(index), np.inf)
    for k, donor in enumerate(donors):
        apart = _apart(schema, index, donor)
        nearest, least = np.where(apart < least, k, nearest), np.minimum(apart, least)
    values: IntArray = donors[nearest[:, None], columns]
    return values


def _apart(schema: Schema, index: IntArray, donor: IntArray) -> npt.NDArray[np.float64]:
    """(rows,) distance in the constrained columns: of numbers and moments as a part of the grid, else 1 where they differ."""
    apart = np.zeros(len(index))
    for j in schema.rules.columns:
        column, ours = schema.columns[j], index[:, j]
        differs = np.minimum(1.0, np.abs(ours - donor[j]))
        if isinstance(column, Continuous | Datetime) and donor[j] != MISSING:
            differs = np.where(ours == MISSING, 1.0, np.abs(ours - donor[j]) / column.grid)
        apart += differs
    return apart


def _found(schema: Schema, selections: Selections) -> IntArray:
    """(1, columns) a row that keeps the rules in the columns that they are about."""
    try:
        row = example(schema, selections)
    except Exhausted:
        row = None
    if row is None:
        raise _contradicted()
    return np.array([[row.get(j, MISSING) for j in range(len(schema.columns))]])


def _contradicted() -> ReleaseError:
    return ReleaseError(
        "E_CONDITION", "condition", "the schema's constraints leave no such rows", "Widen the condition."
    )


# Rows of which some values are given


def completed(
    generator: Generator, schema: Schema, given: IntArray, rng: np.random.Generator, allowed: Allowed
) -> IntArray:
    """(rows, columns) grid indices with the ``given`` ones, where they are not MISSING, and all others drawn from the model.

    Rows keep the constraints if what is given lets them. allowed: as for a generator, dropped for values that the
    constraints then leave no choice: blanks that the rest of the row implies.
    """
    known = given != MISSING
    codes = np.where(known, codes_at(np.where(known, given, 0), schema), 0).astype(np.int16)
    codes = generator.complete(codes, known, rng, allowed) if len(codes) else codes
    index, good = _settled_beside(schema, codes, given, rng)
    for number in range(REPAIRS if schema.constraints else 0):
        fault = schema.rules.at_fault(index) & ~known
        bad = np.flatnonzero(~good & fault.any(axis=1))
        if not len(bad):
            break
        codes[bad] = generator.complete(codes[bad], ~fault[bad], rng, allowed if number < STRICT else {})
        index[bad], good[bad] = _settled_beside(schema, codes[bad], given[bad], rng)
    return index


def _settled_beside(
    schema: Schema, codes: CodeArray, given: IntArray, rng: np.random.Generator
) -> tuple[IntArray, BoolArray]:
    known = given != MISSING
    index = np.where(known, given, draw_indices(codes, schema, rng))
    if not schema.constraints:
        return index, np.ones(len(index), bool)
    where = places(schema, codes)
    return settled(schema, Places(*(np.where(known, given, ends) for ends in (where.first, where.last))), index, rng)
