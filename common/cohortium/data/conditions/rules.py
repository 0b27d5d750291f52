"""What a schema's constraints mean for its values and cells.

Every constraint is compiled to rules of two forms. A ``Lookup`` groups the values of each of its columns into classes and has a
table of the classes that may occur together; a ``Linear`` bounds a weighted sum of grid indices. Values are grid indices
throughout (``encoding.indices``), so that rules are exact, whatever numbers and moments are stored as. A row is judged as it is
encoded: clipped to the bounds and rounded to the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import SECONDS, Column, Continuous, Datetime, Ordinal
from cohortium.data.columns.categories import reader
from cohortium.data.columns.dequantization import grid_of, scale_of
from cohortium.data.columns.grids import Even, decimal, places
from cohortium.data.conditions.constraints import Combinations, Constraint, Entry, Implies, Never, Order, Sum
from cohortium.data.conditions.described import Described
from cohortium.data.conditions.parsing import position, selected, selection, selection_by_text
from cohortium.data.conditions.selection import Selection, everything
from cohortium.errors import ReleaseError, SchemaError

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
MISSING = -1  # the grid index of a missing value, as in ``encoding``
MAX_TABLE = 1 << 24  # combinations of classes in one rule
LARGEST = 1 << 60  # a weighted sum of indices must stay below it, so that 64 bits hold whatever is computed with it
UNBOUNDED = 1 << 61
Box = Mapping[int, Selection]


@dataclass(frozen=True, eq=False)
class Classes:
    """A column's values, grouped into classes that a rule treats alike.

    starts: (stretches,) first index of each stretch of indices, from 0. labels: (stretches + 1,) their classes, the last a
    missing value's. count: of classes.
    """

    starts: IntArray
    labels: IntArray
    count: int

    def of(self, index: IntArray) -> IntArray:
        """(rows,) classes of grid indices."""
        return self.labels[self.stretch(index)]

    def stretch(self, index: IntArray) -> IntArray:
        """(rows,) the stretch that each index is in, -1 for a missing value."""
        return np.searchsorted(self.starts, index, side="right") - 1


@dataclass(frozen=True, eq=False)
class Lookup:
    """allowed: bool, one axis a column, over the columns' classes."""

    columns: tuple[int, ...]
    classes: tuple[Classes, ...]
    allowed: BoolArray

    def broken(self, index: IntArray) -> BoolArray:
        """(rows,) whether rows of grid indices (rows, all columns of the schema) break it."""
        found = tuple(one.of(index[:, j]) for j, one in zip(self.columns, self.classes, strict=True))
        broken: BoolArray = ~self.allowed[found]
        return broken


@dataclass(frozen=True, eq=False)
class Linear:
    """low <= sum of factors * indices <= high, wherever none of them is missing or a special value's.

    scales: (columns,) how many indices of each are on its scale.
    """

    columns: tuple[int, ...]
    factors: tuple[int, ...]
    low: int
    high: int
    scales: tuple[int, ...]

    def applies(self, values: IntArray) -> BoolArray:
        """(rows,) whether the indices (rows, columns of the rule) are all on their scales."""
        found: BoolArray = ((values != MISSING) & (values < np.array(self.scales))).all(axis=1)
        return found

    def broken(self, index: IntArray) -> BoolArray:
        """As a ``Lookup``'s."""
        values = index[:, self.columns]
        total = values @ np.array(self.factors, np.int64)
        broken: BoolArray = ((total < self.low) | (total > self.high)) & self.applies(values)
        return broken


Rule = Lookup | Linear


@dataclass(frozen=True, eq=False)
class Rules:
    """each: the rules of every constraint, in the order of the schema. order: of the columns that they are about, such that
    what follows from others comes after them.
    """

    each: tuple[tuple[Rule, ...], ...]
    order: tuple[int, ...]

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        return tuple(rule for rules in self.each for rule in rules if isinstance(rule, Lookup))

    @property
    def linears(self) -> tuple[Linear, ...]:
        return tuple(rule for rules in self.each for rule in rules if isinstance(rule, Linear))

    @property
    def columns(self) -> tuple[int, ...]:
        """Positions of all columns that a rule is about."""
        return tuple(sorted({j for rules in self.each for rule in rules for j in rule.columns}))

    @property
    def totals(self) -> tuple[int, ...]:
        """Positions of the columns that are the sum of others."""
        return tuple(rule.columns[0] for rule in self.linears if rule.low == rule.high)

    def broken(self, index: IntArray) -> BoolArray:
        """(rows,) whether rows of grid indices (rows, columns of the schema) break any rule."""
        found = np.zeros(len(index), bool)
        for rules in self.each:
            found |= broken_by(rules, index)
        return found

    def at_fault(self, index: IntArray) -> BoolArray:
        """(rows, columns) whether a row breaks a rule that is about the column."""
        found = np.zeros(index.shape, bool)
        for rule in (rule for rules in self.each for rule in rules):
            found[np.flatnonzero(rule.broken(index))[:, None], np.array(rule.columns)] = True
        return found


class Ruled(Described, Protocol):
    """A description whose constraints are compiled."""

    @property
    def rules(self) -> Rules: ...


def broken_by(rules: Sequence[Rule], index: IntArray) -> BoolArray:
    """(rows,) whether rows break any of some rules."""
    return reduce(np.logical_or, (rule.broken(index) for rule in rules), np.zeros(len(index), bool))


def compiled(schema: Described) -> Rules:
    """The rules of a schema's constraints; SchemaError E_SCHEMA_INVALID naming the constraint that is wrong."""
    each = tuple(_rules(schema, one, f"constraint {k}") for k, one in enumerate(schema.constraints, 1))
    return Rules(each, _order(schema, {j for rules in each for rule in rules for j in rule.columns}))


def _order(schema: Described, columns: set[int]) -> tuple[int, ...]:
    """Columns of conditions before what they imply, parts before totals; else those with the fewest cells first."""
    before: dict[int, set[int]] = {j: set() for j in columns}
    for one in schema.constraints:
        if isinstance(one, Implies):
            causes = set(selected(schema, one.when))
            for j in columns & set(selected(schema, one.then)) - causes:
                before[j] |= causes
        elif isinstance(one, Sum):
            before[position(schema, one.total)] |= {position(schema, name) for name in one.parts}
    order: list[int] = []
    while rest := columns - set(order):
        free = [j for j in rest if not before[j] & rest] or list(rest)
        order.append(min(free, key=lambda j: (schema.columns[j].size, j)))
    return tuple(order)


def _rules(schema: Described, constraint: Constraint, where: str) -> tuple[Rule, ...]:
    try:
        match constraint:
            case Implies():
                return _implied(schema, constraint)
            case Never():
                return (lookup(schema, [selected(schema, constraint.all)], allowed=False),)
            case Combinations():
                return (_combined(schema, constraint),)
            case Order():
                return _ordered(schema, constraint)
            case Sum():
                return (_summed(schema, constraint),)
    except ReleaseError as error:  # of a condition
        raise SchemaError("E_SCHEMA_INVALID", f"{where}, {error.where}", error.what, error.fix) from None
    except _UnfitError as error:
        raise SchemaError("E_SCHEMA_INVALID", where, str(error), "Correct the constraint.") from None


class _UnfitError(ValueError):
    """A constraint that the columns it names cannot have."""


def _implied(schema: Described, constraint: Implies) -> tuple[Rule, ...]:
    """A rule for every column that something follows for."""
    when, rules = selected(schema, constraint.when), []
    for j, wanted in selected(schema, constraint.then).items():
        column = schema.columns[j]
        unwanted = when.get(j, everything(column)) & wanted.others(column)
        if not unwanted.empty:
            rules.append(lookup(schema, [{**when, j: unwanted}], allowed=False))
    return tuple(rules)


def _combined(schema: Described, constraint: Combinations) -> Lookup:
    columns = [position(schema, name) for name in constraint.columns]
    if len(set(columns)) < len(columns):
        raise _UnfitError("a column is named twice")
    if any(len(row) != len(columns) for row in constraint.rows):
        raise _UnfitError("every row has one entry a column")
    read = {j: _reader(schema.columns[j]) for j in columns}
    boxes = [{j: read[j](entry) for j, entry in zip(columns, row, strict=True)} for row in constraint.rows]
    return lookup(schema, boxes, allowed=True)


def _reader(column: Column) -> Callable[[Entry], Selection]:
    """What an entry of a combination selects; categories are looked up, as there may be thousands of them."""
    rank_of = reader(getattr(column, "categories", ()))

    def read(entry: Entry) -> Selection:
        if (rank := rank_of(entry)) is not None:
            return Selection(((rank, rank),))
        return selection_by_text(column, entry) if isinstance(entry, str) else selection(column, entry)

    return read


def lookup(schema: Described, boxes: Sequence[Box], allowed: bool) -> Lookup:
    """The rule that rows are in one of some boxes, or where not ``allowed``, in none."""
    columns = tuple(sorted({j for box in boxes for j in box}))
    found = [_classes(schema.columns[j], [box.get(j, everything(schema.columns[j])) for box in boxes]) for j in columns]
    if math.prod(classes.count for classes, _ in found) > MAX_TABLE:
        raise _UnfitError("it has too many combinations")
    table = np.full([classes.count for classes, _ in found], not allowed)
    for k in range(len(boxes)):
        table[np.ix_(*(np.flatnonzero(member[:, k]) for _, member in found))] = allowed
    return Lookup(columns, tuple(classes for classes, _ in found), table)


def _classes(column: Column, selections: Sequence[Selection]) -> tuple[Classes, BoolArray]:
    """The column's values by which selections they are in; (classes, selections) whether a class is in a selection."""
    grid = grid_of(column)
    cuts = {end for one in selections for first, last in one.ranges for end in (first, last + 1)}
    starts = np.array(sorted({0, *(cut for cut in cuts if cut < grid)}), np.int64)
    inside = np.zeros((len(starts) + int(column.nullable), len(selections)), bool)
    for k, one in enumerate(selections):
        for first, last in one.ranges:
            begin, end = np.searchsorted(starts, [first, last + 1])
            inside[begin:end, k] = True
        if column.nullable:
            inside[-1, k] = one.missing
    alike = [row.tobytes() for row in np.packbits(inside, axis=1)]
    number = {key: k for k, key in enumerate(dict.fromkeys(alike))}
    labels = np.array([number[key] for key in alike] + [0] * (not column.nullable), np.int64)
    return Classes(starts, labels, len(number)), inside[[alike.index(key) for key in number]]


def _ordered(schema: Described, constraint: Order) -> tuple[Rule, ...]:
    columns = [position(schema, name) for name in constraint.columns]
    offsets, steps = _in_units([schema.columns[j] for j in columns])
    if len(set(columns)) < len(columns):
        raise _UnfitError("a column is named twice")
    rules = []
    for (i, a, x), (j, b, y) in pairwise(zip(columns, offsets, steps, strict=True)):
        rules.append(Linear((i, j), (x, -y), -UNBOUNDED, b - a - int(constraint.strict), _scales(schema, (i, j))))
    return tuple(rules)


def _summed(schema: Described, constraint: Sum) -> Linear:
    names = (constraint.total, *constraint.parts)
    columns = tuple(position(schema, name) for name in names)
    if len(set(columns)) < len(columns):
        raise _UnfitError("a column is named twice")
    if not all(isinstance(schema.columns[j], Continuous) for j in columns):
        raise _UnfitError("only numbers have a sum")
    offsets, steps = _in_units([schema.columns[j] for j in columns])
    apart = sum(offsets[1:]) - offsets[0]
    if any(step % steps[0] for step in steps) or apart % steps[0]:
        raise _UnfitError(
            "the total has no value for every sum of its parts: it needs their decimals, and a bound on their grid"
        )
    return Linear(columns, (steps[0], *(-step for step in steps[1:])), apart, apart, _scales(schema, columns))


def _scales(schema: Described, columns: Sequence[int]) -> tuple[int, ...]:
    return tuple(scale_of(schema.columns[j]) for j in columns)


def _in_units(columns: Sequence[Column]) -> tuple[list[int], list[int]]:
    """What each column's index 0 and a step of it are in a unit that all of them are whole numbers of."""
    if all(isinstance(c, Datetime) for c in columns):
        moments = [c for c in columns if isinstance(c, Datetime)]
        first = min(c.lower for c in moments)
        return [int((c.lower - first).total_seconds()) for c in moments], [SECONDS[c.resolution] for c in moments]
    if all(isinstance(c, Ordinal) for c in columns):
        if len({c.categories for c in columns if isinstance(c, Ordinal)}) > 1:
            raise _UnfitError("the columns' categories are not the same list")
        return [0] * len(columns), [1] * len(columns)
    numbers = [c for c in columns if isinstance(c, Continuous)]
    if len(numbers) < len(columns):
        raise _UnfitError("the columns are not all numbers, all moments or all ordered categories")
    return _number_units(numbers)


def _number_units(columns: Sequence[Continuous]) -> tuple[list[int], list[int]]:
    grids = [c.axis for c in columns if isinstance(c.axis, Even)]
    if len(grids) < len(columns):
        raise _UnfitError("a column's values are not apart by one step each")
    lowers, each = [decimal(grid.lower) for grid in grids], [grid.exact_step for grid in grids]
    digits = max(places(x) for x in (*lowers, *each))
    offsets, steps = [int(x.scaleb(digits)) for x in lowers], [int(x.scaleb(digits)) for x in each]
    reach = sum(abs(a) + step * c.grid for a, step, c in zip(offsets, steps, columns, strict=True))
    if reach > LARGEST:
        raise _UnfitError("the columns' bounds and decimals are too far apart")
    return offsets, steps
