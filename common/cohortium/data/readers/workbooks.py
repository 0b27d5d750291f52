"""Excel workbooks (.xlsx) as rows: the first row that is not blank has the names.

They are streamed by openpyxl, which the extra ``excel`` installs; a formula has the value that Excel computed last. Cells
follow the rules of ``cells``: numbers, booleans, texts, and moments as text. A workbook is a ZIP archive of XML: one that
would expand to more than MAX_UNPACKED bytes is refused before it is expanded, and XML entities never are.
"""

from __future__ import annotations

import itertools
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import ParseError

import pandas as pd

from cohortium.data.readers.cells import plain
from cohortium.data.readers.faults import CELLS, LONG_CELL, TOTALS, Faults
from cohortium.data.readers.totals import are_totals
from cohortium.errors import InputError
from cohortium.system.extras import how_to_install

SUFFIXES = frozenset({".xlsx", ".xlsm"})
MAX_UNPACKED = 2 << 30
MAX_ROWS = 1_048_576  # Excel's own bound; openpyxl would accept any number of a row
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    ParseError,
    OSError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    NotImplementedError,
)
Cells = tuple[object, ...]


@dataclass(frozen=True)
class _Row:
    number: int
    cells: Cells

    @property
    def blank(self) -> bool:
        return all(cell is None or cell == "" for cell in self.cells)


def header(path: Path, file: IO[bytes], sheet: str | None) -> list[str]:
    """The names in the first row that is not blank."""
    with _opened(path, file) as book, _guarded(path):
        return _names(path, _rows(_sheet(path, book, sheet)))


def sheet(path: Path, file: IO[bytes], name: str | None) -> str:
    """The name of the sheet that is read."""
    with _opened(path, file) as book, _guarded(path):
        return str(_sheet(path, book, name).title)


def parts(
    path: Path, file: IO[bytes], sheet: str | None, wanted: Sequence[str], size: int, faults: Faults
) -> Iterator[pd.DataFrame]:
    """The columns ``wanted`` of the rows below, ``size`` of them at once, at least one part; cells are objects."""
    with _opened(path, file) as book, _guarded(path):
        rows = _rows(_sheet(path, book, sheet))
        names = _names(path, rows)
        places = [names.index(name) for name in wanted]
        held: list[Cells] = []
        first = True
        for row in _table_rows(rows, len(names), faults):
            held.append(tuple(_value(row, place, names[place], faults) for place in places))
            if len(held) == size:
                yield _table(held, wanted)
                held, first = [], False
        if held or first:
            yield _table(held, wanted)


def _table(rows: list[Cells], wanted: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([row[j] for row in rows], dtype=object) for j, name in enumerate(wanted)})


def _table_rows(rows: Iterator[_Row], columns: int, faults: Faults) -> Iterator[_Row]:
    """Rows of ``columns`` cells. A blank row is skipped; in a table of one column it counts if a row that is not blank follows."""
    blank = 0
    for row in rows:
        if row.blank:
            blank += columns == 1
        elif any(cell not in (None, "") for cell in row.cells[columns:]):
            faults.note(CELLS, row.number, detail="has more cells than the row with the names")
        elif are_totals([b"" if cell is None else str(cell).encode(errors="replace") for cell in row.cells]):
            faults.note(TOTALS, row.number)
        else:
            yield from itertools.repeat(_Row(row.number, (None,)), blank)
            blank = 0
            yield _Row(row.number, (*row.cells[:columns], *[None] * (columns - len(row.cells))))


def _value(row: _Row, place: int, name: str, faults: Faults) -> object:
    value = row.cells[place]
    if (found := plain(value)) is None and value is not None:
        faults.note(LONG_CELL, row.number, name)
    return found


def _names(path: Path, rows: Iterator[_Row]) -> list[str]:
    first = next((row for row in rows if not row.blank), None)
    if first is None:
        raise InputError("E_EMPTY", path.name, "it has no header", "Write at least the row with the columns' names.")
    names = ["" if cell is None else str(cell).strip() for cell in first.cells]
    while not names[-1]:
        names.pop()
    return names


def _rows(sheet: Any) -> Iterator[_Row]:
    sheet.reset_dimensions()  # its own statement of its size is not trusted
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        if number > MAX_ROWS:
            raise ValueError("more rows than Excel allows")
        yield _Row(number, tuple(cells))


def _sheet(path: Path, book: Any, name: str | None) -> Any:
    """The sheet of a name, or the only one that holds anything."""
    names = [sheet.title for sheet in book.worksheets]
    if name is not None:
        if name in names:
            return book[name]
        what = f"it has no sheet {name!r}"
        raise InputError("E_FORM", path.name, what, f"Its sheets are {', '.join(map(repr, names))}.")
    filled = [sheet for sheet in book.worksheets if any(not row.blank for row in _rows(sheet))]
    if len(filled) > 1:
        listed = ", ".join(repr(sheet.title) for sheet in filled)
        fix = f"Pass --sheet {filled[0].title!r}, or in institution.toml set sheet = {filled[0].title!r}."
        raise InputError("E_FORM", path.name, f"several of its sheets hold something: {listed}", fix)
    if not filled:
        raise InputError("E_EMPTY", path.name, "none of its sheets holds anything", "Save it with the table.")
    return filled[0]


@contextmanager
def _opened(path: Path, file: IO[bytes]) -> Iterator[Any]:
    load = _openpyxl()
    with _guarded(path):
        _check_size(path, file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and the like, which are not read
            book = load(file, read_only=True, data_only=True, keep_links=False)
    try:
        yield book
    finally:
        book.close()


def _openpyxl() -> Any:
    try:
        import defusedxml  # noqa: F401  (openpyxl reads with it where it is there)
        from openpyxl import load_workbook
    except ImportError:
        fix = f"Save the table as CSV; or, to read workbooks: {how_to_install('excel')}"
        raise InputError("E_FORM", "workbook", "a package that reads Excel's files is missing", fix) from None
    return load_workbook


def _check_size(path: Path, file: IO[bytes]) -> None:
    size = sum(member.file_size for member in zipfile.ZipFile(file).infolist())  # zipfile reads no more than this
    file.seek(0)
    if size > MAX_UNPACKED:
        what = f"it unpacks to {size >> 20} MiB, allowed are {MAX_UNPACKED >> 20}"
        raise InputError("E_LIMIT", path.name, what, "Save the table as CSV, which may be of any length.")


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Whatever is broken in the file, in one line; its readers' own words quote what it holds."""
    try:
        yield
    except _BROKEN:
        what = "it is not a readable workbook"
        raise InputError("E_CSV_PARSE", path.name, what, "Save it again as .xlsx, or as CSV.") from None
