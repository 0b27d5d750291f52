"""How well a table's rows fit a schema: for its owner's screen alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data import columns
from cohortium.data.columns import Column, Continuous
from cohortium.data.columns.absent import are_missing, words_seen
from cohortium.data.columns.encoding import INVALID, inside
from cohortium.data.columns.written import inferred_format
from cohortium.data.conditions.rules import broken_by
from cohortium.data.encoding import indices
from cohortium.data.identifiers import identifiers_of
from cohortium.data.misfits import ALIKE, BEYOND, FIXES, INFINITE, found_in
from cohortium.data.schema import Schema
from cohortium.drafting.disguises import LOOKED_AT
from cohortium.drafting.facts import MOSTLY
from cohortium.drafting.found import quoted
from cohortium.drafting.tally import PersonCounts, Tally


@dataclass(frozen=True)
class Misfit:
    """What does not fit in one column. Counts of private rows: for the institution's own screen.

    written: the format of numbers that the unreadable cells look written in.
    silent: by kind (``misfits``): how many cells are changed silently, and the first one's row, from 1.
    """

    column: str
    missing: int = 0
    unreadable: int = 0
    undeclared: int = 0
    beyond: int = 0
    written: str = ""
    silent: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    fix: str = ""

    def __str__(self) -> str:
        """What does not fit, in words."""
        counts = {
            "empty": self.missing,
            "not readable": self.unreadable,
            "of undeclared categories": self.undeclared,
            "beyond the bounds": self.beyond,
        }
        lines = [f"{count} cells {what}" for what, count in counts.items() if count]
        kinds = (f"{count} cells {kind} (the first in row {row})" for kind, (count, row) in self.silent.items())
        return ", ".join([*lines, *kinds])

    def __add__(self, other: Misfit) -> Misfit:
        return Misfit(
            self.column,
            self.missing + other.missing,
            self.unreadable + other.unreadable,
            self.undeclared + other.undeclared,
            self.beyond + other.beyond,
            self.written or other.written,
            {kind: _added(self.silent.get(kind), other.silent.get(kind)) for kind in (*self.silent, *other.silent)},
        )

    def after(self, rows: int) -> Misfit:
        """The same of rows that come after some others."""
        return replace(self, silent={kind: (count, first + rows) for kind, (count, first) in self.silent.items()})


def _added(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int]:
    """Cells together, and the first row."""
    pairs = [pair for pair in (one, other) if pair is not None]
    return sum(count for count, _ in pairs), pairs[0][1]


@dataclass(frozen=True)
class Fit:
    """How rows fit a schema. breaking: for each constraint, the rows that break it, including those left out for other reasons.

    words: by column the words that count as missing there, and in how many cells.
    nobodys: rows without a person. tally: how many persons the fitting rows have. absent: by column the rows without a value.
    """

    rows: int
    left_out: int
    misfits: tuple[Misfit, ...]
    breaking: tuple[int, ...] = ()
    words: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    nobodys: int = 0
    tally: Tally | None = None
    absent: tuple[int, ...] = ()

    @property
    def none_fits(self) -> bool:
        """Whether no row of the table would count in a study of this schema."""
        return self.left_out == self.rows


class Fitting:
    """Measures how rows fit a schema while a table's parts pass by; holds counts alone."""

    def __init__(self, schema: Schema, clock: Column | None = None) -> None:
        """clock: a column of which values beyond the bounds are outside the table."""
        self._schema, self._heads, self._clock = schema, PersonCounts(), clock
        nothing = tuple(Misfit(name) for name in schema.names), (0,) * len(schema.constraints)
        self._total = Fit(0, 0, *nothing, absent=(0,) * len(schema.columns))

    def over(self, parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The same parts; each is examined when the next one is requested."""
        for part in parts:
            yield part
            self._total = _joined(self._total, _fit_of(self._schema, self._heads, part, self._clock))

    @property
    def found(self) -> Fit:
        """How the rows that went by fit, and what is wrong with the others, column by column."""
        total, schema = self._total, self._schema
        found = [replace(m, fix=_fix(schema.columns[j], m, self._clock)) for j, m in enumerate(total.misfits)]
        tally = Tally(total.rows, total.left_out, None if schema.person is None else self._heads.sizes)
        return replace(total, misfits=tuple(m for m in found if m.fix), tally=tally)


def fittings(schema: Schema) -> dict[str, Fitting]:
    """One for each of the schema's tables, by name."""
    clocks: dict[str, Column | None] = {table.name: table.clock for table in schema.tables}
    return {name: Fitting(part, clocks.get(name)) for name, part in schema.parts.items()}


def fit(parts: Iterable[pd.DataFrame], schema: Schema) -> Fit:
    """How many rows of the table fit the schema, and what is wrong with the others, column by column."""
    fitting = Fitting(schema)
    for _ in fitting.over(parts):
        pass
    return fitting.found


def _joined(a: Fit, b: Fit) -> Fit:
    misfits = tuple(x + y.after(a.rows) for x, y in zip(a.misfits, b.misfits, strict=True))
    breaking = tuple(x + y for x, y in zip(a.breaking, b.breaking, strict=True))
    words = {
        name: dict(Counter(a.words.get(name, {})) + Counter(b.words.get(name, {}))) for name in {**a.words, **b.words}
    }
    absent = tuple(x + y for x, y in zip(a.absent, b.absent, strict=True))
    left_out, nobodys = a.left_out + b.left_out, a.nobodys + b.nobodys
    return Fit(a.rows + b.rows, left_out, misfits, breaking, words, nobodys, absent=absent)


def _fit_of(schema: Schema, heads: PersonCounts, part: pd.DataFrame, clock: Column | None) -> Fit:
    index, misfits = indices(part, schema), []
    whose = None if schema.person is None else identifiers_of(part[schema.person])
    broken = [broken_by(rules, index) for rules in schema.rules.each]
    nobodys = np.zeros(len(part), bool) if whose is None else ~whose.known
    out = reduce(np.logical_or, broken, nobodys.copy())
    for j, column in enumerate(schema.columns):
        invalid = index[:, j] == INVALID
        out |= invalid & (not column.nullable)
        misfit = _misfit(column, part[column.name], invalid)
        if column is clock:
            beyond = ~invalid & ~inside(column, part[column.name])
            out |= beyond
            misfit = replace(misfit, beyond=int(beyond.sum()))
        misfits.append(misfit)
    if whose is not None:
        heads.add(whose.at(~out))
    breaking = tuple(int(rows.sum()) for rows in broken)
    words = {c.name: seen for c in schema.columns if (seen := words_seen(c, part[c.name]))}
    absent = tuple(int(n) for n in (index == INVALID).sum(axis=0))
    return Fit(len(part), int(out.sum()), tuple(misfits), breaking, words, int(nobodys.sum()), absent=absent)


def _misfit(column: columns.Column, values: pd.Series, invalid: npt.NDArray[np.bool_]) -> Misfit:
    empty, found = are_missing(column, values), found_in(column, values)
    infinite = found.get(INFINITE, np.zeros(len(values), bool))
    wrong = int((invalid & ~empty & ~infinite).sum())
    named = hasattr(column, "categories")
    return Misfit(
        column.name,
        missing=0 if column.nullable else int((invalid & empty).sum()),
        unreadable=0 if named else wrong,
        undeclared=wrong if named else 0,
        beyond=int(found[BEYOND].sum()) if BEYOND in found else 0,
        written=_look_written(values[invalid & ~empty]) if isinstance(column, Continuous) and wrong else "",
        silent={
            kind: (int(at.sum()), int(at.argmax()) + 1) for kind, at in found.items() if at.any() and kind != BEYOND
        },
    )


def _look_written(values: pd.Series) -> str:
    """The format that cells look written in which are no numbers as they are; empty for none."""
    texts = [text for text in values.dropna().unique()[:LOOKED_AT] if isinstance(text, str)]
    how = inferred_format(texts, MOSTLY) if texts else None
    return "" if how is None else how.text


def _fix(column: columns.Column, found: Misfit, clock: Column | None = None) -> str:
    """The next step for the first problem of the column; empty if there is none."""
    if column is clock and (found.missing or found.beyond):
        return "An event without a time within the bounds is left out: correct it, or widen the bounds in the schema."
    if found.missing:
        return "Set nullable = true to keep the rows with an empty cell."
    if found.written:
        text = quoted(found.written)
        return f"They look like numbers in disguise: declare format = {text}, or {text} in an institution's mapping."
    if found.unreadable:
        return f"Write the cells as {column.kind} values; as they are, they count as missing."
    if found.undeclared and ALIKE not in found.silent:
        return 'Declare the categories, or other = "__OTHER__"; as they are, they count as missing.'
    kind = BEYOND if found.beyond else next((kind for kind in FIXES if kind in found.silent), "")
    return FIXES.get(kind, "")
