"""Constraint repair: values within given cells that satisfy the schema's constraints together.

Values are grid indices (``encoding.indices``). Most rows are repaired by drawing again inside their cells. Sums and orders of
the others are repaired by bounds propagation: column after column, the indices are narrowed to those that leave the other
columns a value. A row that satisfies every constraint is found by a search over the classes of values that rules distinguish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import Column, Continuous, Datetime
from cohortium.data.columns.dequantization import Ranges, beside_points, dequantized, grid_of, scale_of
from cohortium.data.conditions.reach import cell_bounds
from cohortium.data.conditions.rules import MISSING, BoolArray, IntArray, Linear, Lookup, Rule, Ruled
from cohortium.data.conditions.selection import Selection, everything
from cohortium.errors import SchemaError

PLAIN = 3  # draws inside a row's cells before sums and orders are narrowed
TRIES = 8  # draws in all
NODES = 5_000  # steps of a search


@dataclass(frozen=True, eq=False)
class Places:
    """first, last: (rows, columns) the grid indices between which each value may be, MISSING where it is missing."""

    first: IntArray
    last: IntArray

    def __getitem__(self, rows: IntArray) -> Places:
        return Places(self.first[rows], self.last[rows])

    def around(self, index: IntArray, ranges: Mapping[int, Ranges]) -> Places:
        """Of every column that has ranges, only the range that each row's ``index`` is in, if any."""
        first, last = self.first.copy(), self.last.copy()
        for j, some in ranges.items():
            begin, end = np.array(some, np.int64).reshape(-1, 2).T
            k = np.searchsorted(begin, index[:, j], side="right") - 1  # -1 for MISSING
            rows = np.flatnonzero((k >= 0) & (index[:, j] <= np.append(end, -1)[k]))
            first[rows, j] = np.maximum(first[rows, j], begin[k[rows]])
            last[rows, j] = np.minimum(last[rows, j], end[k[rows]])
        return Places(first, last)

    def at(self, index: IntArray, known: BoolArray) -> Places:
        """Where ``known``, only ``index``."""
        return Places(np.where(known, index, self.first), np.where(known, index, self.last))

    def freed(self, columns: Sequence[int], schema: Ruled) -> Places:
        """Values of some columns, other than missing ones, may be anywhere on their scales."""
        first, last = self.first.copy(), self.last.copy()
        for j in columns:
            rows = first[:, j] != MISSING
            first[rows, j], last[rows, j] = 0, scale_of(schema.columns[j]) - 1
        return Places(first, last)


def places(schema: Ruled, codes: npt.NDArray[np.int16]) -> Places:
    """Where the values of (rows, columns) codes may be: in their cells."""
    bounds = [cell_bounds(column) for column in schema.columns]
    first, last = (
        np.stack([ends[k][codes[:, j]] for j, ends in enumerate(bounds)], axis=1).reshape(codes.shape) for k in (0, 1)
    )
    return Places(first, last)


def repaired(schema: Ruled, where: Places, index: IntArray, rng: np.random.Generator) -> tuple[IntArray, BoolArray]:
    """(rows, columns) grid indices within ``where`` that satisfy the rules where possible, and (rows,) which rows do.

    index: a first draw, returned unchanged for rows that satisfy the rules already.
    """
    rules, index = schema.rules, index.copy()
    good, hopeless = ~rules.broken(index), _hopeless(schema, where, index)
    for attempt in range(TRIES):
        rows = np.flatnonzero(~(good | hopeless))
        if not len(rows):
            break
        drawn = _redrawn(schema, where[rows], index[rows], rng)
        if attempt >= PLAIN and rules.linears:
            drawn = _narrowed_draw(schema, where[rows], drawn, rng)
        index[rows], good[rows] = drawn, ~rules.broken(drawn)
    return index, good


def _hopeless(schema: Ruled, where: Places, index: IntArray) -> BoolArray:
    """(rows,) whether some rule is broken by every value allowed; not all such rows are found."""
    found = np.zeros(len(index), bool)
    for rule in schema.rules.lookups:
        fixed = np.ones(len(index), bool)
        for j, classes in zip(rule.columns, rule.classes, strict=True):
            fixed &= classes.stretch(where.first[:, j]) == classes.stretch(where.last[:, j])
        found |= fixed & rule.broken(index)
    for linear in schema.rules.linears:
        first, last = where.first[:, linear.columns], where.last[:, linear.columns]
        least, most = _reach(linear, first, last)
        outside = (least.sum(axis=1) > linear.high) | (most.sum(axis=1) < linear.low)
        found |= outside & linear.applies(first)
    return found


def _reach(rule: Linear, first: IntArray, last: IntArray) -> tuple[IntArray, IntArray]:
    """(rows, columns of the rule) the least and the most that each column adds to the weighted sum."""
    factors = np.array(rule.factors, np.int64)
    ends = factors * first, factors * last
    return np.minimum(*ends), np.maximum(*ends)


def _redrawn(schema: Ruled, where: Places, index: IntArray, rng: np.random.Generator) -> IntArray:
    drawn = index.copy()
    for j in schema.rules.columns:
        rows = np.flatnonzero(where.first[:, j] < where.last[:, j])
        drawn[rows, j] = _between(schema.columns[j], where.first[rows, j], where.last[rows, j], rng)
    return drawn


def _between(column: Column, first: IntArray, last: IntArray, rng: np.random.Generator) -> IntArray:
    if not isinstance(column, Continuous | Datetime):
        return rng.integers(first, last, endpoint=True)
    drawn, rows = last.copy(), np.flatnonzero(last < column.grid)  # others are special values
    first, last = first[rows], last[rows]
    plain = (
        dequantized(column, first, last, rng)
        if isinstance(column, Continuous)
        else rng.integers(first, last, endpoint=True)
    )
    drawn[rows] = beside_points(column, plain, first, last)
    return drawn


def _narrowed_draw(schema: Ruled, where: Places, index: IntArray, rng: np.random.Generator) -> IntArray:
    """``index`` with the values that sums and orders are about drawn one after another, each so that the rest have some left.

    They stay on their side of every cut that other rules make.
    """
    rules, drawn = schema.rules, index.copy()
    columns = {j for rule in rules.linears for j in rule.columns}
    left = where.around(index, {j: _stretches(schema, j) for j in columns})
    widths = (left.last - left.first).max(axis=0, initial=0)
    for j in sorted(columns, key=lambda j: int(widths[j])):
        _narrow(rules.linears, left)
        first, last = left.first[:, j], left.last[:, j]
        rows = np.flatnonzero((first <= last) & (first != MISSING))
        drawn[rows, j] = _between(schema.columns[j], first[rows], last[rows], rng)
        left.first[rows, j] = left.last[rows, j] = drawn[rows, j]
    return drawn


def _stretches(schema: Ruled, j: int) -> Ranges:
    """A column's indices, cut wherever a rule distinguishes its values."""
    starts = {
        int(start)
        for rule in schema.rules.lookups
        for k, classes in zip(rule.columns, rule.classes, strict=True)
        for start in (classes.starts if k == j else ())
    }
    scale, whole = scale_of(schema.columns[j]), grid_of(schema.columns[j])
    cuts = [*sorted(starts | {0, scale} - {whole}), whole]
    return tuple((first, end - 1) for first, end in pairwise(cuts))


def _narrow(linears: Sequence[Linear], left: Places) -> None:
    """Cut off, in place, what cannot be part of any choice of values that keeps each rule."""
    for _ in range(2 * len(linears) + 1):
        changed = False
        for rule in linears:
            changed |= _narrow_by(rule, left)
        if not changed:
            return


def _narrow_by(rule: Linear, left: Places) -> bool:
    columns, factors = list(rule.columns), np.array(rule.factors, np.int64)
    first, last = left.first[:, columns], left.last[:, columns]
    rows = np.flatnonzero(rule.applies(first) & rule.applies(last) & (first <= last).all(axis=1))
    first, last, size = first[rows], last[rows], np.abs(factors)
    least, most = _reach(rule, first, last)
    upper = rule.high - (least.sum(axis=1, keepdims=True) - least)
    lower = rule.low - (most.sum(axis=1, keepdims=True) - most)
    new_first = np.maximum(first, np.where(factors > 0, -(-lower // size), -(upper // size)))
    new_last = np.minimum(last, np.where(factors > 0, upper // size, -lower // size))
    at = rows[:, None], np.array(columns)
    left.first[at], left.last[at] = new_first, new_last
    return bool((new_first != first).any() or (new_last != last).any())


# A search for one row


def check_possible(schema: Ruled) -> None:
    """SchemaError E_SCHEMA_INVALID where a constraint is wrong, or where no row can keep all of them."""
    if possible(schema, {}):
        return
    fix = "Remove them one by one: `cohortium schema check` shows when the rest can be satisfied."
    raise SchemaError("E_SCHEMA_INVALID", "constraints", "no row can keep all of them", fix)


def possible(schema: Ruled, wanted: Mapping[int, Selection]) -> bool:
    """Whether some row keeps all rules, with the columns in ``wanted`` as they are there; also True where a search gives up."""
    try:
        return example(schema, wanted) is not None
    except Exhausted:
        return True


class Exhausted(Exception):  # noqa: N818 - no error of anybody's
    """A search took more than NODES steps."""


def example(schema: Ruled, wanted: Mapping[int, Selection]) -> dict[int, int] | None:
    """Grid indices, for the columns that rules are about, of a row that satisfies all rules; None if no row does.

    wanted: of some columns what their values may be. Raises Exhausted where it is not found out.
    """
    found: dict[int, int] = {}
    for columns in _connected([rule for rules in schema.rules.each for rule in rules]):
        search = _Search(schema, {j: _options(schema, j, wanted) for j in columns})
        row = search.run()
        if row is None:
            return None
        found |= row
    return found


def _connected(rules: Sequence[Rule]) -> list[set[int]]:
    """The columns of the rules, those together that rules connect."""
    groups: list[set[int]] = []
    for rule in rules:
        touched = [group for group in groups if group & set(rule.columns)]
        groups = [group for group in groups if group not in touched]
        groups.append(set(rule.columns).union(*touched))
    return groups


def _options(schema: Ruled, j: int, wanted: Mapping[int, Selection]) -> list[tuple[int, int]]:
    """Ranges of one column's indices that no rule distinguishes; (MISSING, MISSING) for a missing value."""
    one = wanted.get(j, everything(schema.columns[j]))
    pieces = [(max(a, c), min(b, d)) for a, b in one.ranges for c, d in _stretches(schema, j) if max(a, c) <= min(b, d)]
    return [*pieces, *([(MISSING, MISSING)] if one.missing else [])]


@dataclass
class _Search:
    """Backtracking over the options of connected columns, those with the fewest first. chosen: the place of each one's option."""

    schema: Ruled
    options: Mapping[int, list[tuple[int, int]]]
    chosen: dict[int, int] = field(default_factory=dict)
    nodes: int = 0

    def run(self) -> dict[int, int] | None:
        return self._assign(sorted(self.options, key=lambda j: len(self.options[j])))

    def _assign(self, rest: list[int]) -> dict[int, int] | None:
        if not rest:
            return self._values()
        j, *others = rest
        for k in range(len(self.options[j])):
            self.nodes += 1
            if self.nodes > NODES:
                raise Exhausted
            self.chosen[j] = k
            if self._open(j) and (row := self._assign(others)) is not None:
                return row
        self.chosen.pop(j, None)
        return None

    def _open(self, j: int) -> bool:
        """Whether every rule about the column just chosen can still be kept."""
        for rule, labels in self._lookups[j]:
            at = tuple(
                own[self.chosen[c]] if c in self.chosen else slice(None)
                for c, own in zip(rule.columns, labels, strict=True)
            )
            if not rule.allowed[at].any():
                return False
        return True

    @cached_property
    def _lookups(self) -> dict[int, list[tuple[Lookup, list[list[int]]]]]:
        """By column the rules about it, each with the classes of all its columns' options."""
        found: dict[int, list[tuple[Lookup, list[list[int]]]]] = {j: [] for j in self.options}
        for rule in self.schema.rules.lookups:
            if set(rule.columns) <= set(self.options):
                firsts = [np.array([first for first, _ in self.options[c]], np.int64) for c in rule.columns]
                labels = [one.of(first).tolist() for one, first in zip(rule.classes, firsts, strict=True)]
                for j in rule.columns:
                    found[j].append((rule, labels))
        return found

    def _values(self) -> dict[int, int] | None:
        """Indices within the chosen options that keep sums and orders: each the lowest that leaves the others some."""
        width = len(self.schema.columns)
        left = Places(np.full((1, width), MISSING), np.full((1, width), MISSING))
        for j, k in self.chosen.items():
            left.first[0, j], left.last[0, j] = self.options[j][k]
        linears = [rule for rule in self.schema.rules.linears if set(rule.columns) <= set(self.chosen)]
        for j in sorted(self.chosen):
            _narrow(linears, left)
            if (left.first > left.last).any():
                return None
            left.last[0, j] = left.first[0, j]
        index = left.first
        broken = any(rule.broken(index).any() for rule in linears)
        return None if broken else {j: int(index[0, j]) for j in self.chosen}
