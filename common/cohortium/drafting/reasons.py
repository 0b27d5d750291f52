"""Why rows do not fit a schema, in words: for the screen of the institution that has them, and for no log or message.

How many rows fit decides nothing: a custodian answers from those that do, however few, and reveals to nobody how many. So
it must be reported here, or nobody would notice that a study counts no row of a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cohortium.data.schema import Schema

if TYPE_CHECKING:
    from cohortium.drafting.checking import Fit

HERE = "(stays on this screen)"


@dataclass(frozen=True)
class Reason:
    """where: a column, a constraint or the person. what: how much of it does not fit. fix: what would change it.

    column: its name, where it is one.
    """

    where: str
    what: str
    fix: str
    column: str | None = None


def counted(found: Fit) -> str:
    """How many rows fit, in words."""
    if not found.rows:
        return "the table has no row"
    fitting = found.rows - found.left_out
    return f"{fitting or 'none'} of its {found.rows} rows fit{'' if fitting else 's'} the schema"


def reasons(found: Fit, schema: Schema) -> list[Reason]:
    """Why rows are left out, or count without some of their values, column by column; nothing where all is well."""
    problems = {m.column: (str(m), m.fix) for m in found.misfits}
    for name, absent in zip(schema.names, found.absent, strict=True):
        if found.rows and absent == found.rows:
            seen, fix = problems.get(
                name, ("", "Look at where the column comes from; as it is, the study learns nothing of it.")
            )
            problems[name] = (f"no row has a value of it{f': {seen}' if seen else ''}", fix)
    columns = [Reason(f"column {name!r}", *problems[name], column=name) for name in schema.names if name in problems]
    broken = [
        Reason(f"constraint {k}", f"{rows} rows break it", "Correct the rows, or the schema: they are left out.")
        for k, rows in enumerate(found.breaking, 1)
        if rows
    ]
    nobodys = Reason("person", f"{found.nobodys} rows have no person", "Fill it in: they are left out.")
    return [*columns, *broken, *([nobodys] if found.nobodys else [])]


def counted_in_all(found: Mapping[str, Fit]) -> str:
    """How many rows of each table fit, in words."""
    if len(found) == 1:
        return counted(*found.values())
    return "; ".join(f"{name}: {counted(one)}" for name, one in found.items())


def in_lines_of_all(found: Mapping[str, Fit], schema: Schema) -> list[str]:
    """As ``in_lines``, of each of the schema's tables, and with its name where there are several."""
    lines = {name: in_lines(one, schema.parts[name]) for name, one in found.items()}
    return [line if not schema.tables else f"{name}: {line}" for name, of_one in lines.items() for line in of_one]


def in_lines(found: Fit, schema: Schema) -> list[str]:
    """The same for a screen: how many rows fit, then a line for each reason; nothing where all rows fit as they are."""
    why = reasons(found, schema)
    if found.rows and not why:
        return []
    return [f"{counted(found)} {HERE}".capitalize() + ".", *(f"{r.where}: {r.what}. {r.fix}" for r in why)]
