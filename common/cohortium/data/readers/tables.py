"""Step 0: files to tables, in parts of bounded memory.

A CSV file is read as text in every column, an absent cell as "": what counts as missing is decided in ``encoding``, row by
row, and never guessed from a column. Parquet files and workbooks keep their types. Only the columns asked for are turned
into values. However long a file is, a part holds about ``BLOCK`` bytes of it.

``forms`` decides what separates a file's cells and which sheet of a workbook is read; ``packed`` decompresses.

A file is refused for faults of the file as a whole. Faults of a row or a cell never stop a reader, unless it is strict, as
for whoever looks at a table of their own:

| input                                        | what happens                                                   |
|----------------------------------------------|----------------------------------------------------------------|
| no such file, a folder, not readable         | E_INPUT_NOT_FOUND                                              |
| no bytes, or no header                       | E_EMPTY                                                        |
| a header that is too long or too wide        | E_LIMIT                                                        |
| an ambiguous header; an archive              | E_FORM with what was seen, and how to declare what is meant    |
| a header that is UTF-16 or Latin-1           | E_ENCODING with the offset of the byte                         |
| two columns of one name                      | E_SCHEMA_DUP                                                   |
| a wanted column that is not there            | E_SCHEMA_MISSING                                               |
| not Parquet, though the file's name says so  | E_CSV_PARSE                                                    |
| a wanted column of lists or records          | E_SCHEMA_INVALID                                               |
| a header and no rows                         | one part without rows                                          |
| a byte order mark; CRLF, CR                  | read as meant                                                  |
| a line that is no row (``lines``)            | no row; strict: E_CSV_PARSE or E_LIMIT with its number         |
| a cell that is no value (``cells``)          | missing; strict: E_ENCODING, E_CSV_PARSE, E_LIMIT with its place |

The readers' own error texts quote cells, so none of them is passed on.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd

from cohortium.data.readers import parquet, workbooks
from cohortium.data.readers.faults import Faults
from cohortium.data.readers.forms import Form, ambiguous, in_words, looks_blank_separated, separator_line, separator_of
from cohortium.data.readers.lines import BOM, CsvLayout, Readable, cells_of, csv_parts
from cohortium.data.readers.packed import Unpacked
from cohortium.errors import InputError, SchemaError
from cohortium.system.files import unread
from cohortium.system.nearest import offered

BLOCK = 8 << 20
MAX_HEADER = 1 << 20
MAX_COLUMNS = 10_000
PARQUET_ROWS = 65_536
WORKBOOK_ROWS = 16_384
LOOKED_AT = 20  # rows


AS_IT_IS = Form()  # nothing is declared


def read_table(
    path: Path, columns: Sequence[str] | None = None, *, form: Form = AS_IT_IS, drop_bad_rows: bool = False
) -> pd.DataFrame:
    """The whole table at once."""
    return pd.concat(read_parts(path, columns, form=form, drop_bad_rows=drop_bad_rows), ignore_index=True)


def read_parts(
    path: Path,
    columns: Sequence[str] | None = None,
    *,
    form: Form = AS_IT_IS,
    drop_bad_rows: bool = False,
    faults: Faults | None = None,
) -> Iterator[pd.DataFrame]:
    """The table in parts, at least one; ``columns`` in the order asked for, or all in the file's order.

    What cannot be read raises InputError with its place, or with ``drop_bad_rows`` is skipped: a row that cannot be split
    into cells is left out, a cell that cannot be read is missing. faults: collects these, and itself decides whether it is
    strict. form: what is declared about how the file is written.
    """
    names = header(path, form, columns or ())
    wanted = list(columns or names)
    _check_wanted(wanted, names, path)
    faults = faults or Faults(path.name, strict=not drop_bad_rows)
    if _is_parquet(path):
        return _parquet_parts(path, wanted, faults)
    if _is_workbook(path):
        return _workbook_parts(path, form, wanted, faults)
    return _csv_parts(path, form, wanted, faults)


def read_stored(path: Path, form: Form = AS_IT_IS) -> pd.DataFrame:
    """The whole table as it is stored, to be written again: Parquet in its own Arrow types, all else as ``read_table`` has it.

    What cannot be read raises as for a strict reader.
    """
    names = header(path, form)
    if not _is_parquet(path):
        return read_table(path, form=form)
    with _open(path) as file:
        return parquet.stored(path, file, names)


def look(path: Path, columns: Sequence[str], form: Form = AS_IT_IS) -> None:
    """Open the file without reading a row: raises what ``read_parts`` raises for a file as a whole."""
    _check_wanted(columns, header(path, form, columns), path)
    if _is_parquet(path):
        with _open(path) as file:
            parquet.require_plain(path, file, columns)


def seen(path: Path, form: Form = AS_IT_IS) -> list[str]:
    """How the file is read, in words, where that is unusual; nothing about its rows."""
    with _open(path) as file:
        if _is_parquet(path):
            names = parquet.bytes_columns(path, file)
            return [f"column {name!r} holds bytes; they are read as text, where they are text" for name in names]
        if _is_workbook(path):
            return [f"read is its sheet {workbooks.sheet(path, file, form.sheet)!r}"]
        unpacked = Unpacked(file, path.name)
        separator = _heading(path, unpacked, form, ()).separator
    lines = [f"it is compressed by {unpacked.by}"] if unpacked.by else []
    return lines if separator == b"," else [*lines, f"its cells are separated by {in_words(separator)}"]


def header(path: Path, form: Form = AS_IT_IS, wanted: Sequence[str] = ()) -> list[str]:
    """The names of the columns, each once. wanted: names known to be there, which may decide what separates them."""
    names = _header(path, form, wanted)
    if len(names) > MAX_COLUMNS:
        raise _too_large(path, f"it has {len(names)} columns, allowed are {MAX_COLUMNS}")
    if len(set(names)) < len(names):
        twice, _ = Counter(names).most_common(1)[0]
        what = f"column {twice!r} occurs twice in the header"
        raise SchemaError("E_SCHEMA_DUP", path.name, what, "Rename or remove one of them.")
    return names


def _header(path: Path, form: Form, wanted: Sequence[str]) -> list[str]:
    with _open(path) as file:
        if _is_parquet(path):
            return parquet.header(path, file)
        if _is_workbook(path):
            return workbooks.header(path, file, form.sheet)
        return list(_heading(path, Unpacked(file, path.name), form, wanted).names)


def _check_wanted(wanted: Sequence[str], names: Sequence[str], path: Path) -> None:
    known = set(names)
    for name in wanted:
        if name not in known:
            what = f"column {name!r} of the schema is missing"
            fix = f"Add it, or map another column to it. {offered(name, names, 'Columns are')}"
            raise SchemaError("E_SCHEMA_MISSING", path.name, what, fix)


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in parquet.SUFFIXES


def _is_workbook(path: Path) -> bool:
    return path.suffix.lower() in workbooks.SUFFIXES


def _open(path: Path) -> IO[bytes]:
    """The file, opened for reading and not empty."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise unread(path, error) from None
    if not file.read(1):
        file.close()
        raise _empty(path)
    file.seek(0)
    return file


def _empty(path: Path) -> InputError:
    return InputError("E_EMPTY", path.name, "it has no header", "Write at least the line with the columns' names.")


def _too_large(path: Path, what: str) -> InputError:
    return InputError("E_LIMIT", path.name, what, "Correct the file; its first line must be the columns' names.")


def _malformed(path: Path, what: str, fix: str) -> InputError:
    return InputError("E_CSV_PARSE", path.name, what, fix)


# Parquet and workbooks


def _parquet_parts(path: Path, wanted: Sequence[str], faults: Faults) -> Iterator[pd.DataFrame]:
    with _open(path) as file:
        yield from parquet.parts(path, file, wanted, PARQUET_ROWS, faults)


def _workbook_parts(path: Path, form: Form, wanted: Sequence[str], faults: Faults) -> Iterator[pd.DataFrame]:
    with _open(path) as file:
        yield from workbooks.parts(path, file, form.sheet, wanted, WORKBOOK_ROWS, faults)


# CSV


@dataclass(frozen=True)
class _Heading:
    """names: of the columns. rest: what was read behind their line already; offset: of its first byte in the file."""

    names: tuple[str, ...]
    separator: bytes
    rest: bytes
    offset: int


def _heading(path: Path, file: Readable, form: Form, wanted: Sequence[str]) -> _Heading:
    """The heading in the first lines; ``file`` is left positioned after ``rest``."""
    start = _read_whole(file, MAX_HEADER + 2)
    begin = len(start) - len(start.removeprefix(BOM))
    line, end = _first_line(path, start, begin)
    if separator := separator_line(line):
        line, end = _first_line(path, start, end)
    _Checked(path).decode(start[:end], final=True)
    if form.separator is not None or not separator:
        separator = separator_of(line, form, wanted, path.name)
    if (cells := cells_of(line, separator)) is None:
        raise _malformed(path, "a quotation mark is left open in its header", "Close it; a line's end ends the header.")
    names = _trimmed([cell.decode() for cell in cells], wanted)
    behind = end + len(b"\r\n" if start.startswith(b"\r\n", end) else start[end : end + 1])
    return _Heading(names, separator, start[behind:], behind)


def _first_line(path: Path, start: bytes, begin: int) -> tuple[bytes, int]:
    """The first line from ``begin`` on that is not blank, and where it ends."""
    begin = len(start) - len(start[begin:].lstrip(b"\r\n"))
    lines = start[begin:].splitlines()
    if not lines:
        raise _empty(path)
    end = begin + len(lines[0])
    if end >= MAX_HEADER:
        raise _too_large(path, f"its header is longer than {MAX_HEADER} bytes")
    return lines[0], end


def _read_whole(file: Readable, size: int) -> bytes:
    """So many bytes, or all there are."""
    read = b""
    while len(read) < size and (chunk := file.read(size - len(read))):
        read += chunk
    return read


def _trimmed(names: list[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Names without the blanks beside separators, unless with them they are those wanted."""
    trimmed = tuple(name.strip() for name in names)
    return tuple(names) if {*wanted} <= {*names} and not {*wanted} <= {*trimmed} else trimmed


class _Behind:
    """The bytes after a heading, beginning with those that were read along with it."""

    def __init__(self, rest: bytes, file: Readable) -> None:
        self._rest, self._file = rest, file

    def read(self, size: int, /) -> bytes:
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk or self._file.read(size)


class _Checked:
    """Text that is checked as it passes: UTF-8 throughout, and no NUL byte."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._offset = offset

    def decode(self, chunk: bytes, final: bool = False) -> str:
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise self._not_utf8(self._offset - pending + error.start) from None
        self._refuse_nul(chunk)
        self._offset += len(chunk)
        return text

    def _refuse_nul(self, chunk: bytes) -> None:
        at = chunk.find(b"\0")
        if at < 0:
            return
        if self._offset == 0 and at < 2 and chunk[at : at + 4 : 2] == b"\0\0":  # every other byte: UTF-16
            raise self._not_utf8(at)
        what = f"there is a NUL byte at offset {self._offset + at}"
        raise _malformed(self._path, what, "Export the table again as text.")

    def _not_utf8(self, offset: int) -> InputError:
        what = f"the byte at offset {offset} is not UTF-8"
        return InputError("E_ENCODING", self._path.name, what, "Save the file with the encoding UTF-8.")


class _Strict:
    """A file that is checked as it is read, from an offset on."""

    def __init__(self, file: Readable, path: Path, offset: int) -> None:
        self._file, self._checked = file, _Checked(path, offset)

    def read(self, size: int, /) -> bytes:
        chunk = self._file.read(size)
        self._checked.decode(chunk, final=not chunk)
        return chunk


def _csv_parts(path: Path, form: Form, wanted: Sequence[str], faults: Faults) -> Iterator[pd.DataFrame]:
    with _open(path) as file:
        unpacked = Unpacked(file, path.name)
        heading = _heading(path, unpacked, form, wanted)
        rows: Readable = _Behind(heading.rest, unpacked)
        if faults.strict:
            _ask_about_blanks(path, heading, form)
            rows = _Strict(rows, path, heading.offset)
        layout = CsvLayout(heading.names, tuple(wanted), heading.separator)
        yield from csv_parts(rows, layout, BLOCK, faults)


def _ask_about_blanks(path: Path, heading: _Heading, form: Form) -> None:
    """InputError E_FORM for one column that looks like several. It looks at rows, so it is for strict readers alone."""
    if len(heading.names) == 1 and form.separator is None:
        rows = [line for line in heading.rest.splitlines()[:LOOKED_AT] if line.strip()]
        if looks_blank_separated(heading.names[0].encode(), rows):
            raise ambiguous(path.name, "it looks separated by blanks", b" ", " For a single column pass comma.")
