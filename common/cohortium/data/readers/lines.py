r"""CSV to rows: one line is one row, whatever the other lines hold.

In ordinary CSV a record continues over lines while a quotation mark is open. Then one person's quotation mark can swallow
the rows of others, and no bound on a person's contribution holds. So here a **line is a row**: lines end at LF, CR or CRLF,
inside quotation marks or not, and the result of a line depends on its own bytes and the header alone:

| line                                                    | what it becomes                     |
|---------------------------------------------------------|-------------------------------------|
| blank                                                   | nothing; of one column, a row       |
| longer than ``MAX_ROW`` bytes                           | no row                              |
| a quotation mark that is open at its end                | no row                              |
| more or fewer cells than the header                     | no row                              |
| totals of the others (``totals``)                       | no row                              |
| any other                                               | a row                               |
| in it a cell that is no UTF-8, or holds a NUL byte      | missing, if its column is asked for |

A cell begins with a quotation mark or is plain. In the first kind ``""`` is a mark, and a single one ends the quoted
part; what follows up to the separator belongs to the cell, too. In a plain cell marks are marks. Blanks before the first
mark do not count if the whole line can then be split into cells.

A block of lines is read in one of two ways, with equal results (tests/laws/test_rows.py). PyArrow is fast, and its result
is used where it finds as many rows as there are lines; where it finds fewer, or objects to anything, the block is read
line by line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from cohortium.data.readers.faults import CELLS, ENCODING, LONG_CELL, LONG_ROW, NUL, QUOTE, TOTALS, Faults, Kind
from cohortium.data.readers.totals import are_totals, may_hold_totals

BOM = b"\xef\xbb\xbf"
MAX_CELL = MAX_ROW = 8 << 20
FIRST_ROW = 2  # the header is row 1
_NOTHING = b"none"  # the content of a row that is put behind a block; an open quotation mark would swallow it


class Readable(Protocol):
    """A file of bytes, from its current position."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class CsvLayout:
    """names: of all columns, as the header has them. wanted: those that become values, in this order.

    separator: one byte.
    """

    names: tuple[str, ...]
    wanted: tuple[str, ...]
    separator: bytes = b","

    @property
    def places(self) -> list[int]:
        return [self.names.index(name) for name in self.wanted]

    def table(self, columns: Sequence[Any]) -> pa.Table:
        return pa.table([pa.array(c, pa.string()) for c in columns], names=list(self.wanted))


def csv_parts(file: Readable, layout: CsvLayout, block: int, faults: Faults) -> Iterator[pd.DataFrame]:
    """The rows behind the header in parts of about ``block`` bytes, at least one part; every cell is text."""
    row, any_part = FIRST_ROW, False
    for lines in blocks(file, block, blank_rows=len(layout.names) == 1):
        yield (fast(lines, row, layout, faults) or careful(lines, row, layout, faults)).to_pandas()
        row, any_part = row + lines.count(b"\n"), True
    if not any_part:
        yield layout.table([[]] * len(layout.wanted)).to_pandas()


def blocks(file: Readable, size: int, blank_rows: bool = False) -> Iterator[bytes]:
    """Whole lines, none blank unless blank ones are rows, and each ended by LF, about ``size`` bytes at once.

    Of a line longer than MAX_ROW a beginning is kept, which is longer, too: however long it is, it takes no memory.
    """
    pending = b""
    while chunk := file.read(size):
        while chunk.endswith(b"\r") and (following := file.read(1)):  # is it CRLF?
            chunk += following
        data = pending + chunk
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        pending = data[end:][: MAX_ROW + 1]
        if lines := _in_order(data[:end], blank_rows):
            yield lines
    if pending:
        yield pending + b"\n"


def _in_order(data: bytes, blank_rows: bool) -> bytes:
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if blank_rows:
        return data
    while b"\n\n" in data:
        data = data.replace(b"\n\n", b"\n")
    return data.lstrip(b"\n")


# Line by line


def cells_of(line: bytes, separator: bytes = b",") -> list[bytes] | None:
    """The cells of a line without its end; None if a quotation mark is open there."""
    if b'"' not in line:
        return line.split(separator)
    cells = _matched(_after_blanks(separator), line) if _quoted_after_blanks(separator).search(line) else None
    return _matched(_at_once(separator), line) if cells is None else cells


def _matched(pattern: re.Pattern[bytes], line: bytes) -> list[bytes] | None:
    cells, at = [], 0
    while (cell := pattern.match(line, at)) is not None:
        quoted, behind, plain, separator = cell.groups()
        cells.append(plain if quoted is None else quoted.replace(b'""', b'"') + behind)
        if not separator:
            return cells
        at = cell.end()
    return None


@cache
def _at_once(separator: bytes) -> re.Pattern[bytes]:
    """A cell and what ends it, of which a quoted one begins with its mark."""
    return _cell(re.escape(separator), b"")


@cache
def _after_blanks(separator: bytes) -> re.Pattern[bytes]:
    """A cell and what ends it, of which a quoted one may begin with blanks."""
    return _cell(re.escape(separator), b"%s*" % _blank(separator))


def _cell(end: bytes, before: bytes) -> re.Pattern[bytes]:
    quoted = rb'%s"([^"]*(?:""[^"]*)*)"(?!")([^%s]*)' % (before, end)
    return re.compile(rb'(?:%s|((?!%s")[^%s]*))(%s|\Z)' % (quoted, before, end, end))


@cache
def _quoted_after_blanks(separator: bytes) -> re.Pattern[bytes]:
    """Where a cell may begin with blanks and a quotation mark."""
    return re.compile(rb'(?m)(?:^|%s)%s+"' % (re.escape(separator), _blank(separator)))


def _blank(separator: bytes) -> bytes:
    return {b" ": rb"\t", b"\t": b" "}.get(separator, rb"[ \t]")


def unreadable(cell: bytes) -> Kind | None:
    """Why a cell is not text, or None if it is: the same for every source."""
    if len(cell) > MAX_CELL:
        return LONG_CELL
    if b"\0" in cell:
        return NUL
    try:
        cell.decode()
    except UnicodeDecodeError:
        return ENCODING
    return None


def careful(lines: bytes, first: int, layout: CsvLayout, faults: Faults) -> pa.Table:
    """The rows of ``lines``, numbered from ``first``, each parsed on its own."""
    columns: list[list[str]] = [[] for _ in layout.wanted]
    places = layout.places
    for row, line in enumerate(lines.split(b"\n")[:-1], first):
        if (cells := _parsed_line(line, row, layout, faults)) is None:
            continue
        for column, name, place in zip(columns, layout.wanted, places, strict=True):
            if (kind := unreadable(cells[place])) is not None:
                faults.note(kind, row, name)
            column.append("" if kind is not None else cells[place].decode())
    return layout.table(columns)


def _parsed_line(line: bytes, row: int, layout: CsvLayout, faults: Faults) -> list[bytes] | None:
    """The line's cells, as many as the header has, if it is a row."""
    if len(line) > MAX_ROW:
        faults.note(LONG_ROW, row)
        return None
    if (cells := cells_of(line, layout.separator)) is None:
        faults.note(QUOTE, row)
        return None
    if len(cells) != len(layout.names):
        faults.note(CELLS, row, detail=_miscounted(len(cells), len(layout.names)))
        return None
    if are_totals(cells):
        faults.note(TOTALS, row)
        return None
    return cells


def _miscounted(cells: int, expected: int) -> str:
    return f"has {cells} cells instead of {expected} (the header is row 1, blank lines do not count)"


# By PyArrow


def fast(lines: bytes, first: int, layout: CsvLayout, faults: Faults) -> pa.Table | None:
    """What ``careful`` gives, or None where PyArrow might give something else."""
    if b"\0" in lines or lines.startswith(BOM) or _longest(lines) > MAX_ROW or not _is_utf8(lines):
        return None
    if _needs_care(lines, layout.separator):
        return None
    bad: list[pacsv.InvalidRow] = []

    def passed_over(row: pacsv.InvalidRow) -> str:
        bad.append(row)
        return "skip"

    behind = layout.separator.join([_NOTHING] * len(layout.names)) + b"\n"
    try:
        table = pacsv.read_csv(io.BytesIO(lines + behind), **_options(layout, len(lines + behind), passed_over))
    except pa.ArrowException:
        return None
    if table.num_rows + len(bad) != lines.count(b"\n") + 1:  # a row that is not a line
        return None
    for row in bad:
        number = first + row.number - 1
        faults.note(CELLS, number, detail=_miscounted(row.actual_columns, row.expected_columns))
    return table.slice(0, table.num_rows - 1)


def _needs_care(lines: bytes, separator: bytes) -> bool:
    """Whether a quoted cell may begin with blanks, or a line be totals, which PyArrow does not handle."""
    blanks = (
        b'"' in lines
        and (b' "' in lines or b'\t"' in lines)
        and _quoted_after_blanks(separator).search(lines) is not None
    )
    return blanks or may_hold_totals(lines, separator)


def _is_utf8(lines: bytes) -> bool:
    try:
        lines.decode()
    except UnicodeDecodeError:
        return False
    return True


def _longest(lines: bytes) -> int:
    """Bytes of the longest line."""
    if len(lines) <= MAX_ROW:
        return 0
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
    return int(np.diff(ends, prepend=-1).max()) - 1


def _options(layout: CsvLayout, size: int, passed_over: Any) -> dict[str, Any]:
    return {
        # one thread, so that rows are numbered; one block, so that no row is cut
        "read_options": pacsv.ReadOptions(use_threads=False, block_size=size + 1, column_names=list(layout.names)),
        "parse_options": pacsv.ParseOptions(
            delimiter=layout.separator.decode(),
            ignore_empty_lines=len(layout.names) > 1,
            newlines_in_values=True,
            invalid_row_handler=passed_over,
        ),
        "convert_options": pacsv.ConvertOptions(
            column_types=dict.fromkeys(layout.wanted, pa.string()),
            strings_can_be_null=False,
            include_columns=list(layout.wanted),
            check_utf8=False,  # it was
        ),
    }
