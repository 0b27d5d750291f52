"""Step 1: the public description of a table.

A schema says what the public may know of the table anyway: which columns there are, of which kind, within which
bounds. It is declared and never read off private rows, so that nothing in it can betray a person (SECURITY.md P10).
Each column is a fixed number of cells; a value of any row falls into exactly one of them:

    categorical   one cell per category; a value outside goes to ``other`` where declared, else it counts as missing
    ordinal       like categorical, and the categories have an order
    boolean       two cells
    continuous    one cell per bin of a grid of numbers from lower to upper, per special ``point`` on it, and per ``special`` value
    datetime      bins of the grid lower, lower + 1 resolution, ..., upper, and one cell per ``special`` moment

A ``special`` value (-999, 9999-12-31) stands for something else than a number or moment: within the bounds or beyond them, it has a cell
and, behind those of the grid, an index of its own, and ranges and means leave it out like a missing value.

What a draft read off rows is marked (``review``, draft.py) until a person has looked at it: the schema can be read and shown, but
no study of it can be signed.

A nullable column has one more cell, its last, for a missing value. A row without a valid value in a column that is
not nullable is outside the table: it is left out, at the institution, without a word to anybody else. So is a row that
breaks one of the schema's constraints (``constraints.py``).
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from cohortium import grids, patterns
from cohortium.arguments import path as as_path
from cohortium.canonical import digest
from cohortium.constraints import Constraint, to_block
from cohortium.documents import MAX_TOML, parse_toml, read_within
from cohortium.errors import SchemaError
from cohortium.files import unread
from cohortium.grids import Digits, Endings, Even
from cohortium.nearest import offered
from cohortium.problems import first_problem
from cohortium.shown import schema_page, schema_text
from cohortium.texts import has_unseen, starts_formula, trouble, trouble_of_value
from cohortium.written import written

if TYPE_CHECKING:
    from cohortium.rules import Rules

MAX_CELLS = 4096
MAX_DECIMALS = 22  # powers of ten up to that one are floats
SHOWN_MARKS = 3
_SAME = 4.5e-16  # two floats next to each other, as readers of text may differ by one
_LEAST, _MOST = 1e-290, 1e290  # bounds of numbers of so many significant digits
FINE_CELLS = 1024  # of a column of numbers that does not say how many
FINE_MOMENTS = 4000  # of a column of moments: ten years' days, as there is no zero around which to be finer
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Categories = tuple[Annotated[int, Strict()], ...] | tuple[Annotated[str, Strict()], ...]  # "01" is not 1
TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "0", "0.0"})
Resolution = Literal["second", "minute", "hour", "day"]
SECONDS: dict[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, kw_only=True)
class _Column:
    """What every kind of column has.

    missing: words that say so, whatever their capitals; None for the usual ones (``absent``).
    review: its entries that were read off rows and that nobody has reviewed yet.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=200)]
    nullable: bool = False
    target: bool = False
    unit: str = ""
    description: str = ""
    missing: tuple[Annotated[str, Strict(), Field(max_length=200)], ...] | None = None
    review: tuple[str, ...] = ()

    @property
    def values(self) -> int:
        """Number of cells for values, the missing one not counted."""
        raise TypeError("a column is one of the five kinds")

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.values + int(self.nullable)

    def invalid(self, what: str, fix: str) -> SchemaError:
        return SchemaError("E_SCHEMA_INVALID", f"column {self.name!r}", what, fix)


@dataclass(frozen=True, kw_only=True)
class Categorical(_Column):
    """Values without order. ``other`` names the category that takes every undeclared value."""

    kind: Literal["categorical"] = "categorical"
    categories: Categories
    other: str | None = None

    def __post_init__(self) -> None:
        _check_categories(self, self.categories)
        if self.other is not None and self.other not in self.categories:
            raise self.invalid(f"other = {self.other!r} is not one of the categories", "Add it to categories.")

    @property
    def values(self) -> int:
        return len(self.categories)


@dataclass(frozen=True, kw_only=True)
class Ordinal(_Column):
    """Values with an order, listed from the lowest to the highest."""

    kind: Literal["ordinal"] = "ordinal"
    categories: Categories

    def __post_init__(self) -> None:
        _check_categories(self, self.categories)

    @property
    def values(self) -> int:
        return len(self.categories)


@dataclass(frozen=True, kw_only=True)
class Boolean(_Column):
    """True and false. ``spelling``: how the release writes false and true, in this order; by default as the type does."""

    kind: Literal["boolean"] = "boolean"
    spelling: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if self.spelling is None:
            return
        false, true = (word.strip().lower() for word in self.spelling)
        if false not in FALSE_WORDS or true not in TRUE_WORDS:
            words = f"{', '.join(sorted(FALSE_WORDS))} and {', '.join(sorted(TRUE_WORDS))}"
            raise self.invalid("spelling is not a word for false and one for true", f"Words are {words}, in any case.")

    @property
    def values(self) -> int:
        return 2


@dataclass(frozen=True, kw_only=True)
class Continuous(_Column):
    """Numbers on a grid from ``lower`` to ``upper``; values beyond are clipped to the bounds, but those in ``special``.

    The grid is ``lower + i * 10**-decimals``, or ``lower + i * step``; with ``endings`` it is the numbers that are so much
    more than a multiple of the step (prices in .49 and .99); with ``digits`` it is the numbers of so many significant digits,
    for ranges over many powers of ten.

    Where nothing is said, a grid of at most FINE_CELLS values has one cell per value, and a larger one so many cells, narrow
    everywhere and narrowest around zero (``fine_cuts``): enough for any shape, and what a study's generator puts
    together follows from noised counts. Bounds may then be as wide as the public's ignorance.
    ``bins`` cells instead cut the grid evenly on the scale ``linear`` or ``asinh`` (for heavy tails), or ``edges`` names
    the cuts; a grid of at most ``bins`` values has one cell per value. Each of ``points`` (a cap) has a cell of its own.
    ``format`` says how the numbers are written, where that is not as 1234.5 (``written.py``): so they are read, and so
    they are released.
    """

    kind: Literal["continuous"] = "continuous"
    lower: float
    upper: float
    decimals: Annotated[int, Field(ge=0, le=MAX_DECIMALS)] = 0
    step: Annotated[float, Field(gt=0)] | None = None
    endings: tuple[float, ...] = ()
    digits: Annotated[int, Field(ge=1, le=12)] | None = None
    bins: Annotated[int, Field(ge=1, le=MAX_CELLS)] | None = None
    scale: Literal["linear", "asinh"] = "linear"
    edges: tuple[float, ...] | None = None
    points: tuple[float, ...] = ()
    format: str | None = None
    special: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.format is not None:
            _check_format(self, self.format)
        if not (math.isfinite(self.lower) and math.isfinite(self.upper) and self.lower < self.upper):
            raise self.invalid("lower must be a finite number below upper", "Declare the bounds the public knows.")
        if self.digits is None and max(abs(self.lower), abs(self.upper)) > 2**50 / 10**self.decimals:
            raise self.invalid("the grid of bounds and decimals is too fine", "Declare fewer decimals.")  # for floats
        _check_grid(self)
        if any(not self.lower <= p <= self.upper for p in self.points) or len(set(self.points)) < len(self.points):
            raise self.invalid("points must be distinct and within the bounds", "Correct points.")
        if len(set(self.point_indices.tolist())) < len(self.point_indices):
            raise self.invalid(
                "two points are the same value of its grid", "Declare more decimals, or remove one of them."
            )
        if len({*self.points, *self.special}) < len(self.points) + len(self.special):
            raise self.invalid("a special value is listed twice, or is one of the points", "Remove one of the two.")
        edges = self.edges
        if edges is not None and (
            not edges or list(edges) != sorted(set(edges)) or not self.lower < edges[0] <= edges[-1] <= self.upper
        ):
            raise self.invalid("edges must ascend strictly between lower and upper", "Correct edges.")

    @cached_property
    def axis(self) -> Even | Endings | Digits:
        """The grid of its values but the special ones."""
        if self.digits is not None:
            return Digits(self.lower, self.upper, self.digits)
        if self.step is not None and self.endings:
            return Endings(self.lower, self.upper, self.decimals, self.step, self.endings)
        return Even(self.lower, self.upper, self.decimals, self.step)

    @property
    def grid(self) -> int:
        """Number of representable values but the special ones."""
        return self.axis.count

    @property
    def fineness(self) -> float:
        """The step of the grid, in units of its values; of a grid of digits of the smallest value."""
        step = self.axis.exact_step if isinstance(self.axis, Even) else self.axis.exact(1) - self.axis.exact(0)
        return float(step)

    @cached_property
    def point_indices(self) -> npt.NDArray[np.int64]:
        """Of the points, and behind the grid of the special values."""
        points = self.axis.nearest(np.array(self.points, np.float64))
        return np.append(points, self.grid + np.arange(len(self.special)))

    def index_of(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """(rows,) the index of each number: a special value's own, else that of the nearest value; of one that is not finite, -1."""
        finite = np.isfinite(numbers)
        index = self.axis.nearest(np.clip(np.where(finite, numbers, self.lower), self.lower, self.upper))
        for k, special in enumerate(self.special):
            index = np.where(np.isclose(numbers, special, rtol=_SAME, atol=0.0), self.grid + k, index)
        return np.where(finite, index, -1).astype(np.int64)

    def numbers_at(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(rows,) the numbers at some indices."""
        beyond = index >= self.grid
        numbers = self.axis.numbers(np.where(beyond, 0, index))
        return np.where(beyond, np.array([*self.special, 0.0])[np.where(beyond, index - self.grid, -1)], numbers)

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.axis.whole and all(float(x).is_integer() and abs(x) < 2**53 for x in self.special)

    @cached_property
    def _shadows(self) -> npt.NDArray[np.int64]:
        """(some,) indices of the grid at which a special value would stand."""
        inside = [x for x in self.special if self.lower <= x <= self.upper and grids.holds(self.axis, x)]
        return np.sort(self.axis.nearest(np.array(inside, np.float64)))

    @cached_property
    def taken(self) -> npt.NDArray[np.int64]:
        """(some,) ascending indices of the grid that are never drawn in a bin: their values are points or special ones."""
        return np.sort(np.append(self.point_indices[: len(self.points)], self._shadows))

    @cached_property
    def cuts(self) -> npt.NDArray[np.int64]:
        """(bins + 1,) int64 grid indices: bin b holds the indices cuts[b] .. cuts[b + 1] - 1."""
        return _without_empty(self._all_cuts(), self._shadows)

    def _all_cuts(self) -> npt.NDArray[np.int64]:
        if self.edges is not None:
            inner = np.array(self.edges)
        elif self.digits is not None and self.grid > (self.bins or FINE_CELLS):  # all powers of ten are alike
            inner = np.logspace(math.log10(self.lower), math.log10(self.upper), (self.bins or FINE_CELLS) + 1)[1:-1]
        elif self.bins is None:
            return fine_cuts(self.grid, self._zero)
        elif self.grid <= self.bins:
            return np.arange(self.grid + 1, dtype=np.int64)
        elif not isinstance(self.axis, Even):
            return np.unique(np.linspace(0, self.grid, self.bins + 1).round().astype(np.int64))
        else:
            low, high = self.warp(np.array([self.lower, self.upper]))
            inner = self.unwarp(np.linspace(low, high, self.bins + 1)[1:-1])
        if isinstance(self.axis, Even):
            index = np.ceil(self.axis.index(inner) - 1e-9).astype(np.int64)
        else:
            index = np.array([grids.ends(self.axis, grids.decimal(x))[0] for x in inner.tolist()], np.int64)
        return np.unique(np.concatenate([[0], np.clip(index, 0, self.grid), [self.grid]]))

    @property
    def _zero(self) -> float:
        """The index of zero, on a grid that has one or would have it further out."""
        match self.axis:
            case Endings() as axis:
                return float(-axis.first)
            case _:
                return -self.lower * 10.0**self.decimals if self.step is None else -self.lower / self.step

    @property
    def values(self) -> int:
        return len(self.cuts) - 1 + len(self.points) + len(self.special)

    @property
    def softening(self) -> float:
        return max(self.fineness, (self.upper - self.lower) / 1000)

    def warp(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The scale on which bins are equally wide and values are spread inside a bin."""
        if self.scale == "linear":
            return x
        return np.arcsinh((x - max(self.lower, 0.0)) / self.softening)

    def unwarp(self, y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.scale == "linear":
            return y
        return np.sinh(y) * self.softening + max(self.lower, 0.0)


def _without_empty(cuts: npt.NDArray[np.int64], taken: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Cuts without those that would leave a bin nothing but special values: it becomes part of the next, or the last one of that before."""
    for b in range(len(cuts) - 2, -1, -1) if len(taken) else ():
        inside = np.searchsorted(taken, cuts[b + 1]) - np.searchsorted(taken, cuts[b])
        if inside == cuts[b + 1] - cuts[b] and len(cuts) > 2:
            cuts = np.delete(cuts, b + 1 if b + 2 < len(cuts) else b)
    return cuts


def fine_cuts(grid: int, zero: float) -> npt.NDArray[np.int64]:
    """(cells + 1,) int64: the indices of a grid in at most FINE_CELLS cells, cell b those from cuts[b] to cuts[b + 1] - 1.

    A quarter of the cells is spread evenly over the grid, the others evenly on asinh's scale in steps of the grid from
    index ``zero``, or from the end that is nearest to it: they are single values there, and in proportion to the distance further out.
    """
    if grid <= FINE_CELLS:
        return np.arange(grid + 1, dtype=np.int64)
    zero = min(max(zero, 0.0), float(grid))
    low, high = np.arcsinh([-zero, grid - zero])

    def place(index: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = index / grid / 4 + 3 / 4 * (np.arcsinh(index - zero) - low) / (high - low)
        return np.round(found, 12)

    wanted = np.arange(1, FINE_CELLS) / FINE_CELLS
    below, there = np.zeros(len(wanted)), np.full(len(wanted), float(grid))
    while (there - below > 1).any():  # the least index whose place is not below the one wanted
        middle = np.floor((below + there) / 2)
        reached = place(middle) >= wanted
        below, there = np.where(reached, below, middle), np.where(reached, middle, there)
    return np.unique(np.concatenate([[0], there, [grid]])).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Datetime(_Column):
    """Moments on the grid ``lower + i * resolution``; UTC without a zone; values beyond are clipped to the bounds.

    ``bins`` cells of equal length, at most one a moment; FINE_MOMENTS where it is not said. Each of ``special`` (a placeholder such
    as 9999-12-31 for "still here") has a cell of its own. ``format`` says how moments are written where they are text or
    whole numbers, in the table and in the release, as in ``moments``.
    """

    kind: Literal["datetime"] = "datetime"
    lower: datetime
    upper: datetime
    resolution: Resolution = "day"
    bins: Annotated[int, Field(ge=1, le=MAX_CELLS)] | None = None
    special: tuple[datetime, ...] = ()
    format: str = ""

    def __post_init__(self) -> None:
        if any(moment.tzinfo for moment in (self.lower, self.upper, *self.special)):
            raise self.invalid("bounds must be without a time zone", "State them in UTC, without an offset.")
        if any(moment.microsecond for moment in (self.lower, self.upper, *self.special)):
            raise self.invalid("bounds must be whole seconds", "State them without fractions.")
        if not self.lower < self.upper:
            raise self.invalid("lower must be before upper", "Declare the bounds the public knows.")
        if len({self._ticks(moment) for moment in self.special}) < len(self.special):
            raise self.invalid(f"two special moments are the same {self.resolution}", "Remove one of them.")
        if self.format and (what := patterns.trouble(self.format, self.resolution)):
            raise self.invalid(f"format {self.format!r} {what}", 'Write it as in format = "%d/%m/%Y" or "%Y%m%d".')

    def _ticks(self, moment: datetime) -> int:
        """The step of the grid that a moment is in, also beyond its ends."""
        return int((moment - self.lower).total_seconds() // SECONDS[self.resolution])

    @cached_property
    def taken(self) -> npt.NDArray[np.int64]:
        """(some,) ascending indices of the grid that are never drawn in a bin: their moments are special ones."""
        ticks = sorted(self._ticks(moment) for moment in self.special)
        return np.array([tick for tick in ticks if 0 <= tick < self.grid], np.int64)

    @cached_property
    def point_indices(self) -> npt.NDArray[np.int64]:
        """Of the special moments, behind the grid."""
        return self.grid + np.arange(len(self.special))

    @property
    def grid(self) -> int:
        return int((self.upper - self.lower) / timedelta(seconds=SECONDS[self.resolution])) + 1

    @cached_property
    def cuts(self) -> npt.NDArray[np.int64]:
        bins = min(self.bins or FINE_MOMENTS, self.grid)
        return _without_empty(np.unique(np.linspace(0, self.grid, bins + 1).round().astype(np.int64)), self.taken)

    @property
    def values(self) -> int:
        return len(self.cuts) - 1 + len(self.special)


Column = Annotated[Categorical | Ordinal | Boolean | Continuous | Datetime, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The table's public description. ``person`` names the column that tells whose row it is; it is never released.

    review: as a column's, of the table itself.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=200)] = "table"
    person: str | None = None
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    constraints: tuple[Constraint, ...] = ()
    review: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_texts(self)
        names = [*self.names, *([self.person] if self.person is not None else [])]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise SchemaError("E_SCHEMA_DUP", "schema", f"column {twice[0]!r} is declared twice", "Remove one of them.")
        for column in self.columns:
            _check_missing(column)
            if not 2 <= column.size <= MAX_CELLS:
                fix = (
                    "A constant column tells nothing: drop it."
                    if column.size < 2
                    else "Declare fewer bins or categories."
                )
                raise column.invalid(f"it has {column.size} cells, allowed are 2 to {MAX_CELLS}", fix)
        if self.constraints:
            from cohortium.settling import check_possible  # which is about schemas

            check_possible(self)

    def __repr__(self) -> str:
        return schema_text(self)

    def _repr_html_(self) -> str:
        return schema_page(self)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Cells per column."""
        return tuple(c.size for c in self.columns)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.target)

    @property
    def marks(self) -> tuple[str, ...]:
        """What nobody has reviewed yet, in words: the table's and each column's marked entries."""
        told = [f"{c.name!r}: {', '.join(c.review)}" for c in self.columns if c.review]
        return (*([f"the table: {', '.join(self.review)}"] if self.review else []), *told)

    def require_reviewed(self, where: str = "schema") -> None:
        """SchemaError E_REVIEW if a mark is left."""
        if self.marks:
            more = len(self.marks) - SHOWN_MARKS
            shown = "; ".join(self.marks[:SHOWN_MARKS]) + (f"; and of {more} more columns" if more > 0 else "")
            raise SchemaError(
                "E_REVIEW",
                where,
                f"it was read off rows, and nobody has reviewed all of it: {shown}",
                "Go through each line marked REVIEW, declare what the public knows, and delete the line.",
            )

    def reviewed(self) -> Schema:
        """The same without a mark: for whoever has looked at all of it."""
        columns = tuple(replace(c, review=()) for c in self.columns)
        return replace(self, columns=columns, review=())

    def index(self, name: str) -> int:
        """Position of the column ``name``; raises SchemaError E_SCHEMA_MISSING."""
        if name not in self.names:
            raise SchemaError(
                "E_SCHEMA_MISSING", "schema", f"there is no column {name!r}", offered(name, self.names, "Columns are")
            )
        return self.names.index(name)

    @cached_property
    def digest(self) -> str:
        return digest(to_document(self))

    @cached_property
    def rules(self) -> Rules:
        """What the constraints mean for values and cells."""
        from cohortium.rules import compiled  # which are about schemas

        return compiled(self)


def _check_format(column: _Column, text: str) -> None:
    how = written(text)
    if how is None or has_unseen(text) or starts_formula(how.before):
        fix = 'Write how 1234.5 would be, such as "1234,5", "$1,234.5" or "1.234,5 EUR".'
        raise column.invalid(f"format {text!r} is not how a number is written", fix)
    if how.plain:
        raise column.invalid("its format is how numbers are written anyway", "Leave it out.")


def _check_missing(column: _Column) -> None:
    """Words that somebody sees, each once, and none that is a value as well."""
    words = [word.strip().lower() for word in column.missing or ()]
    if len(set(words)) < len(words) or "" in words or any(map(has_unseen, words)):
        what = "a word for missing is there twice, blank, or has characters that nobody sees"
        raise column.invalid(what, "Correct missing; a blank cell is missing anyway.")
    for category in getattr(column, "categories", ()):
        if str(category) in (word.strip() for word in column.missing or ()):
            what = f"{str(category)!r} is a category and a word for missing"
            raise column.invalid(what, "Take it out of one of the two.")


def _check_texts(schema: Schema) -> None:
    """Names that no spreadsheet runs and no terminal obeys; a description may have several lines."""
    named = [
        ("schema", schema.name),
        *(("schema", n) for n in (*schema.names, *([schema.person] if schema.person else []))),
    ]
    for where, name in named:
        if what := trouble(name) if name else "is empty":
            raise SchemaError("E_SCHEMA_INVALID", where, f"the name {name!r} {what}", "Choose another name.")
    for column in schema.columns:
        for text in (column.unit, *column.description.split("\n"), *column.review):
            if has_unseen(text):
                raise column.invalid("a text has characters that nobody sees", "Write it without them.")


def _check_categories(column: _Column, categories: tuple[int, ...] | tuple[str, ...]) -> None:
    """At least one, no duplicates, in Unicode normal form C, and nothing a spreadsheet would run or nobody sees."""
    if not categories:
        raise column.invalid("there are no categories", "List them, or drop the column.")
    if len(set(categories)) < len(categories):
        raise column.invalid("a category is listed twice", "Remove the duplicate.")
    for text in (c for c in categories if isinstance(c, str)):
        if what := trouble_of_value(text):
            raise column.invalid(f"category {text!r} {what}", "Recode it, for example with a letter in front.")
        if unicodedata.normalize("NFC", text) != text or text != text.strip() or not text:
            raise column.invalid(
                f"category {text!r} is empty, padded or not in normal form C", "Write it trimmed and normalised."
            )


def _check_grid(column: Continuous) -> None:
    """That bounds and points are on a grid that is told, so that no value but its own is ever put for one."""
    told = column.digits is not None or column.step is not None
    (_check_digits if column.digits is not None else _check_steps)(column)
    for bound, at in ((column.lower, "lower"), (column.upper, "upper")):
        if told and not _on_grid(column, bound):
            raise column.invalid(f"{at} is not on its grid", "Move it to the next value of the grid.")
    if any(not _on_grid(column, point) for point in column.points):
        raise column.invalid("a point is not on its grid", "Correct it, or declare a finer grid.")


def _check_digits(column: Continuous) -> None:
    if column.step is not None or column.endings or column.decimals or column.scale != "linear" or column.lower <= 0:
        what = "a grid of significant digits has a lower bound above zero, and no decimals, step, endings or scale"
        raise column.invalid(what, "Remove those; declare zero and values below it in special.")
    if not (column.lower >= _LEAST and column.upper <= _MOST):
        raise column.invalid("its bounds are out of reach", f"Declare bounds from {_LEAST} to {_MOST}.")


def _check_steps(column: Continuous) -> None:
    if column.step is None:
        if column.endings:
            raise column.invalid("endings without a step", 'Say what they repeat by: step = 1.0 for prices in ".99".')
        return
    if column.endings and column.scale != "linear":
        raise column.invalid("a grid of endings has no scale", "Remove the scale.")
    if column.endings and list(column.endings) != sorted({e for e in column.endings if 0 <= e < column.step}):
        raise column.invalid("endings must ascend from 0 to less than the step", "Correct endings.")
    finest = (column.lower, column.step, *column.endings)
    if max(grids.places(grids.decimal(x)) for x in finest) > column.decimals:
        raise column.invalid("step, endings and lower have more decimals than it", "Declare as many decimals.")


def _on_grid(column: Continuous, number: float) -> bool:
    """Whether a number between the bounds is a value of a grid of steps, endings or digits."""
    exact = grids.decimal(number)
    if column.digits is not None:
        return len(exact.as_tuple().digits) <= column.digits
    step = Decimal(1).scaleb(-column.decimals) if column.step is None else grids.decimal(column.step)
    if column.endings:
        return any((exact - grids.decimal(ending)) % step == 0 for ending in column.endings)
    return (exact - grids.decimal(column.lower)) % step == 0


_COMMENT = re.compile(r"^[ \t]*#[ \t]*REVIEW\b", re.MULTILINE)
_ADAPTER: TypeAdapter[Schema] = TypeAdapter(Schema)


def schema_from_document(document: dict[str, Any], where: str = "schema") -> Schema:
    """A schema from the content of a ``schema.toml``; every problem is a SchemaError that names the place."""
    document = dict(document)
    blocks, constraints = document.pop("column", []), document.pop("constraint", [])
    if not isinstance(blocks, list) or {"person", "columns", "constraints"} & document.keys():
        what = "columns, the person's too, are declared in blocks [[column]], constraints in blocks [[constraint]]"
        raise SchemaError("E_SCHEMA_INVALID", where, what, "Write person = true in the block of that column.")
    people = [b for b in blocks if isinstance(b, dict) and b.get("person") is True]
    if any(not isinstance(b.get("name"), str) or not b["name"] for b in people):
        raise SchemaError("E_SCHEMA_INVALID", where, "the person's column has no name", "Name it.")
    if len(people) > 1:
        raise SchemaError("E_SCHEMA_DUP", where, "two columns are declared as the person", "Keep one.")
    if people and people[0].get("review") and isinstance(marks := document.get("review", []), list):
        document["review"] = [*marks, "person"]
    others = [b for b in blocks if b not in people]
    rest = [{k: v for k, v in b.items() if (k, v) != ("person", False)} if isinstance(b, dict) else b for b in others]
    person = people[0].get("name") if people else None
    try:
        return _ADAPTER.validate_python({**document, "person": person, "columns": rest, "constraints": constraints})
    except ValidationError as error:
        place, what = first_problem(error, Schema)
        raise SchemaError(
            "E_SCHEMA_INVALID", f"{where}, {place}", what, "Correct the schema and check it again."
        ) from None


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a TOML file; InputError if it is not there or not TOML."""
    return _document(path)[0]


def _document(path: Path) -> tuple[dict[str, Any], str]:
    """The document in a TOML file, and its text."""
    try:
        content = read_within(path, MAX_TOML)
        return parse_toml(content), content.decode("utf-8-sig")
    except OSError as error:
        raise unread(path, error) from None
    except ValueError as error:
        raise SchemaError(
            "E_SCHEMA_INVALID", path.name, f"it is not TOML: {error}", "Correct the line named."
        ) from None


def load_schema(path: Path | str) -> Schema:
    """The schema in a file. A comment that begins with REVIEW is a mark too: earlier drafts had no others."""
    document, text = _document(path := as_path("path", path))
    schema = schema_from_document(document, path.name)
    return replace(schema, review=(*schema.review, "comments")) if _COMMENT.search(text) else schema


def to_document(schema: Schema) -> dict[str, Any]:
    """The schema as the content of a ``schema.toml``, defaults left out."""
    blocks: list[dict[str, Any]] = [{"name": schema.person, "person": True}] if schema.person else []
    blocks += [_block(column) for column in schema.columns]
    constraints = [to_block(one) for one in schema.constraints]
    marked = {"review": list(schema.review)} if schema.review else {}
    return {"name": schema.name, **marked, "column": blocks, **({"constraint": constraints} if constraints else {})}


def _block(column: _Column) -> dict[str, Any]:
    given = {f.name: getattr(column, f.name) for f in fields(column) if f.name not in ("name", "kind")}
    told = {k: v for k, v in given.items() if v != _DEFAULTS[type(column)].get(k, MISSING)}
    return {"name": column.name, "kind": getattr(column, "kind", ""), **{k: _plain(v) for k, v in told.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


_DEFAULTS: dict[type[_Column], dict[str, Any]] = {
    kind: {f.name: f.default for f in fields(kind)} for kind in (Categorical, Ordinal, Boolean, Continuous, Datetime)
}
