"""Step 1: the public description of a table.

A schema says what the public may know of the table anyway: which columns there are, of which kind, within which
bounds. It is declared and never read off private rows, so that nothing in it can betray a person (SECURITY.md P10).
Each column is a fixed number of cells; a value of any row falls into exactly one of them:

    categorical   one cell per category; a value outside goes to ``other`` where declared, else it counts as missing
    ordinal       like categorical, and the categories have an order
    boolean       two cells
    continuous    one cell per special ``point`` and per bin of the grid lower, lower + 10**-decimals, ..., upper
    datetime      bins of the grid lower, lower + 1 resolution, ..., upper

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
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from cohortium.arguments import path as as_path
from cohortium.canonical import digest
from cohortium.constraints import Constraint, to_block
from cohortium.documents import MAX_TOML, parse_toml, read_within
from cohortium.errors import InputError, SchemaError
from cohortium.nearest import offered
from cohortium.problems import first_problem
from cohortium.shown import schema_page, schema_text
from cohortium.texts import has_unseen, trouble

if TYPE_CHECKING:
    from cohortium.rules import Rules

MAX_CELLS = 4096
SHOWN_MARKS = 3
FINE_CELLS = 1024  # of a column of numbers that does not say how many
FINE_MOMENTS = 4000  # of a column of moments: ten years' days, as there is no zero around which to be finer
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Categories = tuple[Annotated[int, Strict()], ...] | tuple[Annotated[str, Strict()], ...]  # "01" is not 1
Resolution = Literal["second", "minute", "hour", "day"]
SECONDS: dict[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, kw_only=True)
class _Column:
    """What every kind of column has. review: its entries that were read off rows and that nobody has reviewed yet."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=200)]
    nullable: bool = False
    target: bool = False
    unit: str = ""
    description: str = ""
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
    kind: Literal["boolean"] = "boolean"

    @property
    def values(self) -> int:
        return 2


@dataclass(frozen=True, kw_only=True)
class Continuous(_Column):
    """Numbers on the grid ``lower + i * 10**-decimals`` up to ``upper``; values beyond are clipped to the bounds.

    Where nothing is said, a grid of at most FINE_CELLS values has one cell per value, and a larger one so many cells, narrow
    everywhere and narrowest around zero (``fine_cuts``): enough for any shape, and what a study's generator puts
    together follows from noised counts. Bounds may then be as wide as the public's ignorance.
    ``bins`` cells instead cut the grid evenly on the scale ``linear`` or ``asinh`` (for heavy tails), or ``edges`` names
    the cuts; a grid of at most ``bins`` values has one cell per value. Each of ``points`` (a cap, a code for something
    else) has a cell of its own.
    """

    kind: Literal["continuous"] = "continuous"
    lower: float
    upper: float
    decimals: Annotated[int, Field(ge=0, le=12)] = 0
    bins: Annotated[int, Field(ge=1, le=MAX_CELLS)] | None = None
    scale: Literal["linear", "asinh"] = "linear"
    edges: tuple[float, ...] | None = None
    points: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper) and self.lower < self.upper):
            raise self.invalid("lower must be a finite number below upper", "Declare the bounds the public knows.")
        if max(abs(self.lower), abs(self.upper)) > 2**50 / 10**self.decimals:  # beyond, floats miss grid values
            raise self.invalid("the grid of bounds and decimals is too fine", "Declare fewer decimals.")
        if any(not self.lower <= p <= self.upper for p in self.points) or len(set(self.points)) < len(self.points):
            raise self.invalid("points must be distinct and within the bounds", "Correct points.")
        edges = self.edges
        if edges is not None and (
            not edges or list(edges) != sorted(set(edges)) or not self.lower < edges[0] <= edges[-1] <= self.upper
        ):
            raise self.invalid("edges must ascend strictly between lower and upper", "Correct edges.")

    @property
    def grid(self) -> int:
        """Number of representable values."""
        return round((self.upper - self.lower) * 10.0**self.decimals) + 1

    @cached_property
    def point_indices(self) -> npt.NDArray[np.int64]:
        return np.array([round((p - self.lower) * 10**self.decimals) for p in self.points], np.int64)

    @cached_property
    def cuts(self) -> npt.NDArray[np.int64]:
        """(bins + 1,) int64 grid indices: bin b holds the indices cuts[b] .. cuts[b + 1] - 1."""
        if self.edges is not None:
            inner = np.array(self.edges)
        elif self.bins is None:
            return fine_cuts(self.grid, -self.lower * 10.0**self.decimals)
        elif self.grid <= self.bins:
            return np.arange(self.grid + 1, dtype=np.int64)
        else:
            low, high = self.warp(np.array([self.lower, self.upper]))
            inner = self.unwarp(np.linspace(low, high, self.bins + 1)[1:-1])
        index = np.ceil((inner - self.lower) * 10**self.decimals - 1e-9).astype(np.int64)
        return np.unique(np.concatenate([[0], np.clip(index, 0, self.grid), [self.grid]]))

    @property
    def values(self) -> int:
        return len(self.cuts) - 1 + len(self.points)

    @property
    def softening(self) -> float:
        return max(10.0**-self.decimals, (self.upper - self.lower) / 1000)

    def warp(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The scale on which bins are equally wide and values are spread inside a bin."""
        if self.scale == "linear":
            return x
        return np.arcsinh((x - max(self.lower, 0.0)) / self.softening)

    def unwarp(self, y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.scale == "linear":
            return y
        return np.sinh(y) * self.softening + max(self.lower, 0.0)


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

    ``bins`` cells of equal length, at most one a moment; FINE_MOMENTS where it is not said.
    """

    kind: Literal["datetime"] = "datetime"
    lower: datetime
    upper: datetime
    resolution: Resolution = "day"
    bins: Annotated[int, Field(ge=1, le=MAX_CELLS)] | None = None

    def __post_init__(self) -> None:
        if self.lower.tzinfo or self.upper.tzinfo:
            raise self.invalid("bounds must be without a time zone", "State them in UTC, without an offset.")
        if self.lower.microsecond or self.upper.microsecond:
            raise self.invalid("bounds must be whole seconds", "State them without fractions.")
        if not self.lower < self.upper:
            raise self.invalid("lower must be before upper", "Declare the bounds the public knows.")

    @property
    def grid(self) -> int:
        return int((self.upper - self.lower) / timedelta(seconds=SECONDS[self.resolution])) + 1

    @cached_property
    def cuts(self) -> npt.NDArray[np.int64]:
        bins = min(self.bins or FINE_MOMENTS, self.grid)
        return np.unique(np.linspace(0, self.grid, bins + 1).round().astype(np.int64))

    @property
    def values(self) -> int:
        return len(self.cuts) - 1


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
        if what := trouble(text):
            raise column.invalid(f"category {text!r} {what}", "Recode it, for example with a letter in front.")
        if unicodedata.normalize("NFC", text) != text or text != text.strip() or not text:
            raise column.invalid(
                f"category {text!r} is empty, padded or not in normal form C", "Write it trimmed and normalised."
            )


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
    except OSError:
        raise InputError("E_INPUT_NOT_FOUND", path.name, "there is no such file to read", "Check the path.") from None
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
    plain = {
        k: list(v) if isinstance(v, tuple) else v.isoformat() if isinstance(v, datetime) else v for k, v in told.items()
    }
    return {"name": column.name, "kind": getattr(column, "kind", ""), **plain}


_DEFAULTS: dict[type[_Column], dict[str, Any]] = {
    kind: {f.name: f.default for f in fields(kind)} for kind in (Categorical, Ordinal, Boolean, Continuous, Datetime)
}
