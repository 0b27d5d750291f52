"""Faults: rows and cells that cannot be read. A reader notes them and goes on, or stops if it is strict.

A row that cannot be split into cells is skipped; a cell that cannot be read is missing. Both follow from the row's own
bytes, so nobody's row changes another's, or whether there is an answer at all (docs/privacy.md). What was skipped is
reported to the table's owner alone, with its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cohortium.errors import InputError

PLACES = 5  # rows named of each kind of fault


@dataclass(frozen=True)
class Kind:
    """A kind of fault. what: the problem with a row or a cell. fix: the next step."""

    name: str
    code: str
    what: str
    fix: str


_EXPORT = "Export the table again"
CELLS = Kind("cells", "E_CSV_PARSE", "has not as many cells as the header", "Correct it; a comma may lack its quotes.")
QUOTE = Kind(
    "quote",
    "E_CSV_PARSE",
    "ends within a quotation mark",
    'Close it; within quotes, write it twice: "". Line breaks within cells are not read: '
    "export without them, or as Parquet.",
)
TOTALS = Kind("totals", "E_CSV_PARSE", "looks like totals of the others", "Remove it: it is nobody's row.")
LONG_ROW = Kind("long row", "E_LIMIT", "is too long", "Correct it; drop free-text columns.")
LONG_CELL = Kind("long cell", "E_LIMIT", "is too long", "Drop free-text columns.")
ENCODING = Kind("encoding", "E_ENCODING", "is not UTF-8", f"{_EXPORT} with the encoding UTF-8.")
NUL = Kind("NUL", "E_CSV_PARSE", "holds a NUL byte", f"{_EXPORT} as text.")
MOMENT = Kind("moment", "E_CSV_PARSE", "is no moment of the years 1 to 9999", "Correct it, or leave it empty.")


@dataclass(frozen=True)
class Fault:
    """How often a kind occurred in a column (None for whole rows), and its first rows by number."""

    kind: Kind
    column: str | None
    count: int
    rows: tuple[int, ...]

    def __str__(self) -> str:
        where = "rows" if self.column is None else f"cells of column {self.column!r}"
        first = ", ".join(map(str, self.rows)) + (", ..." if self.count > len(self.rows) else "")
        becomes = "left out" if self.column is None else "missing"
        return f"{self.count} {where} {becomes}, where one {self.kind.what} (row {first})"

    def as_dict(self) -> dict[str, object]:
        return {"kind": self.kind.name, "column": self.column, "count": self.count, "rows": list(self.rows)}


class Faults:
    """Takes note of what cannot be read. strict: stops at the first instead, with its code and place.

    Rows are numbered as they stand: in CSV the header is row 1 and blank lines do not count; elsewhere the first is row 1.
    """

    def __init__(self, where: str, *, strict: bool = False) -> None:
        self._where, self._strict = where, strict
        self._counts: dict[tuple[Kind, str | None], int] = {}
        self._rows: dict[tuple[Kind, str | None], list[int]] = {}

    @property
    def strict(self) -> bool:
        return self._strict

    def note(self, kind: Kind, row: int, column: str | None = None, detail: str = "") -> None:
        """One fault. InputError with the kind's code where the reader is strict; detail: more words, never a value."""
        if self._strict:
            place = f"row {row}" if column is None else f"row {row}, column {column!r}"
            fix = f"{kind.fix} Or pass over what cannot be read with --drop-bad-rows."
            raise InputError(kind.code, self._where, f"{place} {detail or kind.what}", fix)
        key = (kind, column)
        self._counts[key] = self._counts.get(key, 0) + 1
        rows = self._rows.setdefault(key, [])
        if len(rows) < PLACES:
            rows.append(row)

    @property
    def found(self) -> Sequence[Fault]:
        """Rows first, then cells by column."""
        faults = [Fault(k, c, n, tuple(self._rows[k, c])) for (k, c), n in self._counts.items()]
        return sorted(faults, key=lambda f: (f.column is not None, f.column or "", f.kind.name))
