"""Rows that keep the schema's constraints: the model conditioned on them.

Values that break a constraint are drawn anew, given the rest of the row, so that as few as possible change: first those that are
determined by others (``sequential_sampling.py``), then all in the columns still at fault. Rejecting whole rows would condition the
model, but rows that break a constraint are not spread evenly: it shifted every column's distribution. Rows still at fault after
some rounds get the values of the most similar valid row, or, if there is none, those of a row found by
search. So the requested number of rows comes out, and every step is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import Continuous, Datetime
from cohortium.data.columns.dequantization import Ranges
from cohortium.data.conditions.repair import Exhausted, example, places, possible, repaired
from cohortium.data.conditions.rules import MISSING
from cohortium.data.conditions.selection import Selection
from cohortium.data.encoding import codes_at, draw_indices
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError
from cohortium_server.generators import Allowed, Generator
from cohortium_server.release.sequential_sampling import gone_through

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
CodeArray = npt.NDArray[np.int16]
Selections = Mapping[int, Selection]
REPAIRS = 8  # rounds of new values in the columns at fault
WITH_BLANKS = 2  # of these, before requested values may stay blank
DONORS = 64  # valid rows that a row is compared with
FEW = 256  # rows drawn to find them


def constrained_indices(
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
    index, good = _repaired(generator, schema, draw(rows), rng, selections)
    if not good.all():
        donors = index[good]
        if len(donors) < DONORS:
            more, fit = _repaired(generator, schema, draw(FEW), rng, selections)
            donors = np.concatenate([donors, more[fit]])
        bad, columns = np.flatnonzero(~good), np.array(schema.rules.columns)
        index[bad[:, None], columns] = _nearest(schema, index[bad], donors, rng, selections)
    return index


def _repaired(
    generator: Generator, schema: Schema, codes: CodeArray, rng: np.random.Generator, selections: Selections
) -> tuple[IntArray, BoolArray]:
    """Grid indices of codes, changed in the columns at fault where they break a rule; and which rows then keep the rules."""
    allowed: Allowed = {j: one.weights(schema.columns[j]) for j, one in selections.items()}
    fixed = np.zeros(codes.shape, bool)
    fixed[:, list(selections)] = True
    ranges = {j: one.ranges for j, one in selections.items()}
    index = gone_through(generator, schema, draw_indices(codes, schema, rng, ranges), fixed, rng, allowed)
    index, good = _settled(schema, index, rng, ranges)
    for _ in range(REPAIRS):
        bad = np.flatnonzero(~good)
        if not len(bad):
            break
        fault = schema.rules.at_fault(index[bad])
        codes = generator.complete(codes_at(index[bad], schema), ~fault, rng, allowed)
        index[bad], good[bad] = _settled(schema, draw_indices(codes, schema, rng, ranges), rng, ranges)
    return index, good


def _settled(
    schema: Schema,
    index: IntArray,
    rng: np.random.Generator,
    ranges: Mapping[int, Ranges],
    known: BoolArray | None = None,
) -> tuple[IntArray, BoolArray]:
    """Grid indices moved inside their cells, ranges and, where ``known``, not at all; and which rows keep the rules.

    Totals leave their cells where the terms do not add up within them.
    """
    known = np.zeros(index.shape, bool) if known is None else known
    where = places(schema, codes_at(index, schema))
    index, good = repaired(schema, where.around(index, ranges).at(index, known), index, rng)
    bad = np.flatnonzero(~good)
    if schema.rules.totals and len(bad):
        free = where[bad].freed(schema.rules.totals, schema).around(index[bad], ranges)
        index[bad], good[bad] = repaired(schema, free.at(index[bad], known[bad]), index[bad], rng)
    return index, good


def _nearest(
    schema: Schema, index: IntArray, kept_rows: IntArray, rng: np.random.Generator, selections: Selections
) -> IntArray:
    """(rows, constrained columns) the values of the most similar of some valid rows; of one found by search if there are none."""
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


# Rows with some values given


def completed(
    generator: Generator, schema: Schema, given: IntArray, rng: np.random.Generator, allowed: Allowed
) -> IntArray:
    """(rows, columns) grid indices with the ``given`` ones, where they are not MISSING, and all others drawn from the model.

    Rows keep the constraints if the given values permit it. allowed: as for a generator, ignored for values that the
    constraints then determine: blanks that the rest of the row implies.
    """
    known = given != MISSING
    codes = np.where(known, codes_at(np.where(known, given, 0), schema), 0).astype(np.int16)
    codes = generator.complete(codes, known, rng, allowed) if len(codes) else codes
    index = np.where(known, given, draw_indices(codes, schema, rng))
    if not schema.constraints:
        return index
    index = gone_through(generator, schema, index, known, rng, allowed)
    index, good = _settled(schema, index, rng, {}, known)
    for number in range(REPAIRS):
        fault = schema.rules.at_fault(index) & ~known
        bad = np.flatnonzero(~good & fault.any(axis=1))
        if not len(bad):
            break
        free = allowed if number < WITH_BLANKS else {}
        codes = generator.complete(codes_at(index[bad], schema), ~fault[bad], rng, free)
        again = np.where(known[bad], given[bad], draw_indices(codes, schema, rng))
        index[bad], good[bad] = _settled(schema, again, rng, {}, known[bad])
    return index
