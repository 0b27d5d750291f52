"""HTML for notebooks: public facts about a value, one line each, and nothing read off a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from cohortium.system.texts import for_terminal


def page(title: str, lines: Sequence[str], headings: Sequence[str] = (), rows: Iterable[Sequence[object]] = ()) -> str:
    """A title, lines below it, and a table: HTML that runs nothing and loads nothing."""
    text = "".join(f"<div>{_escaped(line)}</div>" for line in lines)
    head = "".join(f"<th style='text-align:left'>{_escaped(h)}</th>" for h in headings)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{_escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if head else ""
    return f"<div><strong>{_escaped(title)}</strong>{text}{table}</div>"


def framed(html: str) -> str:
    """A whole page inside another one, where it can run nothing."""
    return f"<iframe sandbox width='100%' height='700' style='border:0' srcdoc='{escape(html, quote=True)}'></iframe>"


def _escaped(text: object) -> str:
    return escape(for_terminal(str(text)))
