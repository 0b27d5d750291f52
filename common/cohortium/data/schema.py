"""Step 1: the public description of a table.

A schema states what is public about the table anyway: its columns, their kinds and their bounds. It is declared
and never read off private rows, so nothing in it can reveal a person (docs/threat-model.md P10).
Each column has a fixed number of cells; every value falls into exactly one of them:

    categorical   one cell per category; a value outside goes to ``other`` where declared, else it counts as missing
    ordinal       like categorical, and the categories have an order
    boolean       two cells
    continuous    one cell per bin of a grid of numbers from lower to upper, per special ``point`` on it, and per ``special`` value
    datetime      bins of the grid lower, lower + 1 resolution, ..., upper, and one cell per ``special`` moment

A ``special`` value (-999, 9999-12-31) stands for something other than a number or moment. Within the bounds or beyond them, it
has a cell of its own and an index after those of the grid; ranges and means exclude it like a missing value.

Everything a draft read off rows is marked (``review``, draft.py) until a person has reviewed it: the schema can be read and
shown, but no study of it can be signed.

A nullable column has one more cell, its last, for missing values. A row without a valid value in a column that is not
nullable is outside the table: the institution leaves it out, and nobody else can notice. So is a row that breaks one of the
schema's constraints (``constraints.py``).

A schema may have tables of events beside: then its own table has a row a person, and each of the others any number of them
(``events.py``). What follows from the events about a person (how many there are, the first one) are columns and constraints
of the schema like those that are declared, which come first.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cohortium.data.columns import (
    MAX_CELLS,
    STRICT,
    BaseColumn,
    Boolean,
    Categorical,
    Column,
    Continuous,
    Datetime,
    Ordinal,
    check_missing,
)
from cohortium.data.conditions.constraints import Constraint, to_block
from cohortium.data.conditions.rules import Rules, compiled
from cohortium.data.events import PERSONS, EventTable, derived, implied
from cohortium.errors import SchemaError
from cohortium.system.arguments import path as as_path
from cohortium.system.canonical import digest
from cohortium.system.documents import read_toml_text
from cohortium.system.nearest import offered
from cohortium.system.pages import page
from cohortium.system.problems import first_problem
from cohortium.system.texts import has_unseen, trouble

SHOWN_MARKS = 3


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The table's public description. ``person`` names the column that identifies whose row it is; it is never released.

    tables: of the persons' events; ``columns`` and ``constraints`` end with those that follow from them (``with_events``).
    review: the table's own entries that a person has yet to review, like a column's.
    Raises SchemaError E_SCHEMA_INVALID or E_SCHEMA_DUP, which name the contradiction.

    >>> import cohortium
    >>> schema = cohortium.load_schema("release/schema.toml")
    >>> schema.person, schema.names[:2], schema.sizes[:2]  # cells of each column
    ('id', ('sex', 'age'), (2, 5))
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Annotated[str, Field(min_length=1, max_length=200)] = "table"
    person: str | None = None
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    constraints: tuple[Constraint, ...] = ()
    tables: tuple[EventTable, ...] = ()
    review: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_tables(self)
        _check_texts(self)
        names = [*self.names, *([self.person] if self.person is not None else [])]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise SchemaError("E_SCHEMA_DUP", "schema", f"column {twice[0]!r} is declared twice", "Remove one of them.")
        for column in self.columns:
            check_missing(column)
            if not 2 <= column.size <= MAX_CELLS:
                fix = (
                    "A constant column carries no information: drop it."
                    if column.size < 2
                    else "Declare fewer bins or categories."
                )
                raise column.invalid(f"it has {column.size} cells, allowed are 2 to {MAX_CELLS}", fix)
        if self.constraints:
            from cohortium.data.conditions.repair import check_possible  # which is about schemas

            check_possible(self)
        if self.tables:
            _ = self.parts  # each is checked as it is made

    def __repr__(self) -> str:
        """One line: the name, how many columns, and whether somebody has yet to review it."""
        marks = f", {len(self.marks)} still to review" if self.marks else ""
        return f"<Schema {self.name!r}: {len(self.columns)} columns{marks}>"

    def _repr_html_(self) -> str:
        person = f"person: {self.person}" if self.person else "no person column: every row is a person's only one"
        rows = [
            (name, c.kind, c.summary, "yes" if c.nullable else "", "target" if c.target else "")
            for name, c in [(c.name, c) for c in self.own]
            + [(f"{t.name}: {c.name}", c) for t in self.tables for c in t.columns]
        ]
        headings = ("column", "kind", "values", "may be missing", "")
        return page(repr(self).strip("<>"), [person, *(f"still to review: {m}" for m in self.marks)], headings, rows)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Cells per column."""
        return tuple(c.size for c in self.columns)

    @property
    def own(self) -> tuple[Column, ...]:
        """The columns of its own table: all but those that follow from events."""
        return self.columns[: len(self.columns) - len(derived(self.tables))]

    @property
    def own_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.own)

    @property
    def own_constraints(self) -> tuple[Constraint, ...]:
        """All but those that follow from events."""
        return self.constraints[: len(self.constraints) - len(implied(self.tables))]

    @cached_property
    def parts(self) -> dict[str, Schema]:
        """Each of its tables by name, as a schema of its own: the persons', where they have columns, and those of events.

        Of the constraints each has those that are about its columns alone. A schema without tables of events is its only part.
        """
        if not self.tables:
            return {PERSONS: self}
        own = {} if not self.own else {PERSONS: replace(self, columns=self.own, constraints=self._alone, tables=())}
        return own | {table.name: _as_schema(table) for table in self.tables}

    @property
    def _alone(self) -> tuple[Constraint, ...]:
        """Those of its own constraints that no event has a part in."""
        own = range(len(self.own))
        each = zip(self.own_constraints, self.rules.each, strict=False)
        return tuple(c for c, rules in each if rules and all(j in own for rule in rules for j in rule.columns))

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.target)

    @property
    def marks(self) -> tuple[str, ...]:
        """What nobody has reviewed yet, in words: the table's and each column's marked entries."""
        of_columns = [f"{c.name!r}: {', '.join(c.review)}" for c in self.columns if c.review]
        of_columns += [mark for table in self.tables for mark in table.marks]
        return (*([f"the table: {', '.join(self.review)}"] if self.review else []), *of_columns)

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
        """The same schema without marks: for whoever has reviewed all of it."""
        columns = tuple(replace(c, review=()) for c in self.columns)
        return replace(self, columns=columns, tables=tuple(t.reviewed() for t in self.tables), review=())

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
        return compiled(self)


def _check_texts(schema: Schema) -> None:
    """Names must be safe in spreadsheets and terminals; a description may have several lines."""
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
                raise column.invalid("a text has invisible characters", "Remove them.")


def with_events(schema: Schema, tables: tuple[EventTable, ...]) -> Schema:
    """The schema of persons with tables of events: with the columns and constraints that follow from these."""
    return replace(
        schema,
        columns=(*schema.own, *derived(tables)),
        constraints=(*schema.own_constraints, *implied(tables)),
        tables=tables,
    )


def _as_schema(table: EventTable) -> Schema:
    try:
        return Schema(name=table.name, person=table.person, columns=table.columns)
    except SchemaError as error:
        raise SchemaError(error.code, f"{table.where}, {error.where}", error.what, error.fix) from None


def _check_tables(schema: Schema) -> None:
    """Events are somebody's, their tables have different names, and what follows from them is there."""
    tables = schema.tables
    if tables and schema.person is None:
        what, fix = "it has tables of events, and no column that says whose they are", "Declare it with person = true."
        raise SchemaError("E_SCHEMA_INVALID", "schema", what, fix)
    names = [t.name.lower() for t in tables]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise SchemaError("E_SCHEMA_DUP", "schema", f"two tables are named {twice[0]!r}", "Rename one of them.")
    ends = schema.columns[len(schema.own) :], schema.constraints[len(schema.own_constraints) :]
    if ends != (derived(tables), implied(tables)):
        what = "its columns or constraints do not end with those that follow from its tables of events"
        raise SchemaError("E_SCHEMA_INVALID", "schema", what, "Make it with with_events.")


_COMMENT = re.compile(r"^[ \t]*#[ \t]*REVIEW\b", re.MULTILINE)
_ADAPTER: TypeAdapter[Schema] = TypeAdapter(Schema)
_TABLE: TypeAdapter[EventTable] = TypeAdapter(EventTable)


def schema_from_document(document: dict[str, Any], where: str = "schema") -> Schema:
    """A schema from the content of a ``schema.toml``; every problem is a SchemaError that names the place."""
    document = dict(document)
    blocks, constraints, tables = document.pop("column", []), document.pop("constraint", []), document.pop("table", [])
    if not isinstance(blocks, list) or {"person", "columns", "constraints", "tables"} & document.keys():
        what = "columns, the person's too, are declared in blocks [[column]], constraints in blocks [[constraint]]"
        raise SchemaError("E_SCHEMA_INVALID", where, what, "Write person = true in the block of that column.")
    person, rest = _marked(blocks, "person", where)
    if person and person.get("review") and isinstance(marks := document.get("review", []), list):
        document["review"] = [*marks, "person"]
    events = _event_tables(tables, where)
    if isinstance(constraints, list):
        constraints = [*constraints, *implied(events)]
    content = {**document, "person": person["name"] if person else None, "columns": [*rest, *derived(events)]}
    return _validated(_ADAPTER, {**content, "constraints": constraints, "tables": events}, Schema, where)  # type: ignore[no-any-return]


def _validated(adapter: TypeAdapter[Any], document: Any, kind: type, where: str) -> Any:
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        place, what = first_problem(error, kind)
        raise SchemaError(
            "E_SCHEMA_INVALID", f"{where}, {place}", what, "Correct the schema and check it again."
        ) from None


def _marked(blocks: list[Any], mark: str, where: str) -> tuple[dict[str, Any] | None, list[Any]]:
    """The one block of a column that says ``mark = true``, if there is one, and the others."""
    found = [b for b in blocks if isinstance(b, dict) and b.get(mark) is True]
    if any(not isinstance(b.get("name"), str) or not b["name"] for b in found):
        raise SchemaError("E_SCHEMA_INVALID", where, f"the {mark}'s column has no name", "Name it.")
    if len(found) > 1:
        raise SchemaError("E_SCHEMA_DUP", where, f"two columns are declared as the {mark}", "Keep one.")
    others = [b for b in blocks if b not in found]
    rest = [{k: v for k, v in b.items() if (k, v) != (mark, False)} if isinstance(b, dict) else b for b in others]
    return (found[0] if found else None), rest


def _event_tables(tables: Any, where: str) -> tuple[EventTable, ...]:
    """The tables of events in blocks [[table]], each with its columns in blocks [[table.column]]."""
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        fix = "Write name, person and time as in docs/histories.md."
        raise SchemaError("E_SCHEMA_INVALID", where, "tables of events are declared in blocks [[table]]", fix)
    return tuple(_event_table(dict(t), where) for t in tables)


def _event_table(block: dict[str, Any], where: str) -> EventTable:
    place = f"{where}, table {block.get('name', '')!r}"
    blocks, rules = block.pop("column", []), block.pop("rule", [])
    if not isinstance(blocks, list) or {"person", "time", "columns", "rules"} & block.keys():
        what, fix = (
            "its columns are declared in blocks [[table.column]], its rules in blocks [[table.rule]]",
            "Write person = true and time = true in those of columns.",
        )
        raise SchemaError("E_SCHEMA_INVALID", place, what, fix)
    person, rest = _marked(blocks, "person", place)
    clock, _ = _marked(rest, "time", place)
    if person is None:
        fix = "Write person = true in the block of that column."
        raise SchemaError("E_SCHEMA_INVALID", place, "no column is its person", fix)
    columns = [{k: v for k, v in b.items() if k != "time"} if isinstance(b, dict) else b for b in rest]
    document = {**block, "person": person["name"], "time": clock and clock["name"], "columns": columns, "rules": rules}
    return _validated(_TABLE, document, EventTable, place)  # type: ignore[no-any-return]


def load_schema(path: Path | str) -> Schema:
    """The schema in a file. A comment that begins with REVIEW is a mark too: earlier drafts had no others.

    Raises InputError for a file that cannot be read, SchemaError E_SCHEMA_INVALID or E_SCHEMA_DUP for what is no schema.

    >>> import cohortium
    >>> cohortium.load_schema("release/schema.toml")
    <Schema 'visits': 6 columns>
    """
    document, text = read_toml_text(path := as_path("path", path))
    schema = schema_from_document(document, path.name)
    return replace(schema, review=(*schema.review, "comments")) if _COMMENT.search(text) else schema


def to_document(schema: Schema) -> dict[str, Any]:
    """The schema as the content of a ``schema.toml``, defaults left out."""
    blocks: list[dict[str, Any]] = [{"name": schema.person, "person": True}] if schema.person else []
    blocks += [_block(column) for column in schema.own]
    constraints = [to_block(one) for one in schema.own_constraints]
    tables = [table.document(_block) for table in schema.tables]
    marked = {"review": list(schema.review)} if schema.review else {}
    rest = {"constraint": constraints, "table": tables}
    return {"name": schema.name, **marked, "column": blocks, **{k: v for k, v in rest.items() if v}}


def _block(column: BaseColumn) -> dict[str, Any]:
    given = {f.name: getattr(column, f.name) for f in fields(column) if f.name not in ("name", "kind")}
    changed = {k: v for k, v in given.items() if v != _DEFAULTS[type(column)].get(k, MISSING)}
    return {"name": column.name, "kind": getattr(column, "kind", ""), **{k: _plain(v) for k, v in changed.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


_DEFAULTS: dict[type[BaseColumn], dict[str, Any]] = {
    kind: {f.name: f.default for f in fields(kind)} for kind in (Categorical, Ordinal, Boolean, Continuous, Datetime)
}
