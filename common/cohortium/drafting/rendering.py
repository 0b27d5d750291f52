"""A draft as a file for a person to review, a mark on every line that was read off rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tomli_w

from cohortium.data import schema as schemas
from cohortium.drafting.draft import Draft
from cohortium.drafting.found import Note, quoted
from cohortium.system.texts import for_terminal

_HEAD = """\
# A PROPOSAL READ FROM DATA. A person must review it before it is used.
#
# What is read off private rows can reveal persons, even what many of them share. Go through every line marked REVIEW: keep
# what the public knows anyway (a code book, a law, common sense), correct the rest, then delete the line. Nobody can
# sign a study, and nothing is simulated, while such a line is left.
# A row with an empty cell in a column that is not nullable is left out; other institutions may have such.
# {counted}
"""
_BY_PERSON = "Persons were counted, not rows."
_BY_ROW = "Rows were counted, as no person column was named: one person of many rows may be behind a value (--person)."
_DELETE = "# REVIEW: read off rows; declare what the public knows, then delete this line"


def render(draft: Draft) -> str:
    """The proposal as ``schema.toml``, marks and all: loading it gives the same schema. Nothing beside the schema is of the rows."""
    document = schemas.to_document(draft.schema)
    head = _HEAD.format(counted=_BY_ROW if draft.schema.person is None else _BY_PERSON)
    table = f"name = {quoted(draft.schema.name)}\n" + _mark(document.get("review", []))
    blocks = [_block("[[column]]", block, draft.notes_on(block["name"])) for block in document["column"]]
    events = [part for one in document.get("table", []) for part in _event_table(draft, one)]
    return "\n".join([head, table, *blocks, _dropped(draft, ""), *events]).rstrip() + "\n"


def _event_table(draft: Draft, document: dict[str, Any]) -> list[str]:
    """A block ``[[table]]`` with those of its columns."""
    name = document["name"]
    entries = {k: v for k, v in document.items() if k != "column"}
    head = _block("[[table]]", entries, draft.notes_on("", name))
    blocks = [_block("[[table.column]]", block, draft.notes_on(block["name"], name)) for block in document["column"]]
    return [head, *blocks, _dropped(draft, name)]


def _dropped(draft: Draft, table: str) -> str:
    notes = [n for n in draft.notes if n.dropped and n.text and n.table == table]
    return "".join(f"# {for_terminal(quoted(n.column))} {for_terminal(n.text)}\n" for n in notes)


def _block(heading: str, block: dict[str, Any], notes: Sequence[Note]) -> str:
    comments = [f"# {for_terminal(note.text)}\n" for note in notes if note.text and not note.dropped]
    entries = (_entry(key, value) for key, value in block.items() if key != "review")
    return "".join([*comments, f"{heading}\n", *entries, _mark(block.get("review", []))])


def _mark(review: list[str]) -> str:
    """One line, however long, as it is deleted as one."""
    return f"review = [{', '.join(map(quoted, review))}]  {_DELETE}\n" if review else ""


def _entry(key: str, value: Any) -> str:
    if not isinstance(value, list):
        return tomli_w.dumps({key: value})
    lines, line = [], f"{key} = ["
    for i, item in enumerate(value):
        text = tomli_w.dumps({"x": item})[4:].rstrip("\n") + ("," if i < len(value) - 1 else "]")
        if len(line) + len(text) > 108 and line.strip():
            lines.append(line.rstrip())
            line = "    "
        line += text + " "
    return "\n".join([*lines, line.rstrip()]) + "\n"
