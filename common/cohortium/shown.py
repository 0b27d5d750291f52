"""What a notebook shows of a schema, a study or a draft: public facts, a line each, and nothing that was read off a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from cohortium.texts import for_terminal

if TYPE_CHECKING:
    from cohortium.schema import Column, Schema
    from cohortium.study import Study

MOST = 6  # values named of a column


def page(title: str, lines: Sequence[str], headings: Sequence[str] = (), rows: Iterable[Sequence[object]] = ()) -> str:
    """A title, lines below it, and a table: HTML that runs nothing and loads nothing."""
    told = "".join(f"<div>{_escaped(line)}</div>" for line in lines)
    head = "".join(f"<th style='text-align:left'>{_escaped(h)}</th>" for h in headings)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{_escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if head else ""
    return f"<div><strong>{_escaped(title)}</strong>{told}{table}</div>"


def _escaped(text: object) -> str:
    return escape(for_terminal(str(text)))


def values(column: Column) -> str:
    """What a column may hold, in a few words."""
    from cohortium.schema import Continuous, Datetime

    if isinstance(column, Continuous | Datetime):
        ends = (
            f"{x:.15g}" if isinstance(x, float) else str(x).removesuffix(" 00:00:00")
            for x in (column.lower, column.upper)
        )
        return " to ".join(ends)
    names = [str(c) for c in getattr(column, "categories", ("false", "true"))]
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} others" if len(names) > MOST else "")


def schema_text(schema: Schema) -> str:
    """One line: the name, how many columns, and whether somebody has yet to review it."""
    marks = f", {len(schema.marks)} still to review" if schema.marks else ""
    return f"<Schema {schema.name!r}: {len(schema.columns)} columns{marks}>"


def schema_page(schema: Schema) -> str:
    person = f"person: {schema.person}" if schema.person else "no person column: every row is a person's only one"
    review = [f"still to review: {mark}" for mark in schema.marks]
    rows = [
        (c.name, c.kind, values(c), "yes" if c.nullable else "", "target" if c.target else "") for c in schema.columns
    ]
    return page(
        schema_text(schema).strip("<>"), [person, *review], ("column", "kind", "values", "may be missing", ""), rows
    )


def study_text(study: Study) -> str:
    """One line: what is asked of how many at which privacy."""
    p = study.privacy
    promise = "no privacy" if p.mode == "none" else f"epsilon {p.epsilon:g}, delta {p.delta:g}"
    return f"<Study {study.name!r}: {study.generator.kind}, {len(study.institutions)} institutions, {promise}>"


def study_page(study: Study) -> str:
    p = study.privacy
    lines = [
        f"institutions: {', '.join(study.institution_names)}",
        f"trust: {p.trust}",
        f"of a person {p.counted} per institution, in at most {p.institutions_per_person} institutions",
        schema_text(study.schema).strip("<>"),
    ]
    return page(study_text(study).strip("<>"), lines)
