"""Step 0: files to tables, in parts of bounded memory.

A CSV file comes as text in every column, an absent cell as "": what counts as missing is decided in
``encoding``, row by row, and never guessed from a column. A Parquet file comes in its own types. Only the
columns asked for are turned into values. However long a file is, a part holds about ``BLOCK`` bytes of it.

What a file as a whole is not decides whether it is opened. What becomes of a row or a cell never does, unless the
reader is strict, as it is for whoever looks at a table of their own:

| input                                        | what happens                                                   |
|----------------------------------------------|----------------------------------------------------------------|
| no such file, a folder, not readable         | E_INPUT_NOT_FOUND                                              |
| no bytes, or no header                       | E_EMPTY                                                        |
| a header that is too long or too wide        | E_LIMIT                                                        |
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
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cohortium.cells import column
from cohortium.errors import InputError, SchemaError
from cohortium.faults import Faults
from cohortium.lines import BOM, Layout, cells_of, csv_parts
from cohortium.nearest import offered

BLOCK = 8 << 20
MAX_HEADER = 1 << 20
MAX_COLUMNS = 10_000
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
PARQUET_ROWS = 65_536


def read_table(path: Path, columns: Sequence[str] | None = None, *, drop_bad_rows: bool = False) -> pd.DataFrame:
    """The whole table at once."""
    return pd.concat(read_parts(path, columns, drop_bad_rows=drop_bad_rows), ignore_index=True)


def read_parts(
    path: Path, columns: Sequence[str] | None = None, *, drop_bad_rows: bool = False, faults: Faults | None = None
) -> Iterator[pd.DataFrame]:
    """The table in parts, at least one; ``columns`` in the order asked for, or all as they stand in the file.

    What cannot be read raises InputError with its place, or with ``drop_bad_rows`` is passed over: a row that cannot be
    told into cells is left out, a cell that cannot be read is missing. faults: takes note of that, and decides itself
    whether it is strict.
    """
    names = header(path)
    wanted = list(columns or names)
    _check_wanted(wanted, names, path)
    faults = faults or Faults(path.name, strict=not drop_bad_rows)
    if _is_parquet(path):
        return _parquet_parts(path, wanted, faults)
    return _csv_parts(path, Layout(tuple(names), tuple(wanted)), faults)


def look(path: Path, columns: Sequence[str]) -> None:
    """Open the file and read no row of it: raises whatever ``read_parts`` says of a file as a whole."""
    _check_wanted(columns, header(path), path)
    if _is_parquet(path):
        with _open(path) as file:
            _check_plain(path, _parquet_file(path, file), columns)


def header(path: Path) -> list[str]:
    """The names of the columns, each once."""
    names = _parquet_header(path) if _is_parquet(path) else _csv_header(path)
    if len(names) > MAX_COLUMNS:
        raise _too_large(path, f"it has {len(names)} columns, allowed are {MAX_COLUMNS}")
    if len(set(names)) < len(names):
        twice, _ = Counter(names).most_common(1)[0]
        what = f"column {twice!r} occurs twice in the header"
        raise SchemaError("E_SCHEMA_DUP", path.name, what, "Rename or remove one of them.")
    return names


def _check_wanted(wanted: Sequence[str], names: Sequence[str], path: Path) -> None:
    known = set(names)
    for name in wanted:
        if name not in known:
            what = f"column {name!r} of the schema is missing"
            fix = f"Add it, or map another column to it. {offered(name, names, 'Columns are')}"
            raise SchemaError("E_SCHEMA_MISSING", path.name, what, fix)


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in PARQUET_SUFFIXES


def _open(path: Path) -> IO[bytes]:
    """The file, opened for reading and not empty."""
    try:
        file = path.open("rb")
    except OSError as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else "it cannot be opened as a file"
        raise InputError("E_INPUT_NOT_FOUND", path.name, what, "Check the path and its permissions.") from None
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


# CSV


def _csv_header(path: Path) -> list[str]:
    with _open(path) as file:
        line = _header_line(path, file)
    text = _Checked(path).decode(line, final=True).removeprefix("\ufeff").lstrip("\r\n")
    if (names := cells_of(text.encode())) is None:
        raise _malformed(path, "a quotation mark is left open in its header", "Close it; a line's end ends the header.")
    return [name.decode() for name in names]


def _header_line(path: Path, file: IO[bytes]) -> bytes:
    """The first line that is not blank, with all that is before it; the file goes on behind it."""
    start = file.read(MAX_HEADER)
    begin = len(start) - len(start.removeprefix(BOM).lstrip(b"\r\n"))
    lines = start[begin:].splitlines()
    if not lines:
        raise _empty(path)
    end = begin + len(lines[0])
    if end == MAX_HEADER:
        raise _too_large(path, f"its header is longer than {MAX_HEADER} bytes")
    file.seek(end)
    return start[:end]


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
    """A file that is checked as it is read."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._checked = file, _Checked(path, file.tell())

    def read(self, size: int, /) -> bytes:
        chunk = self._file.read(size)
        self._checked.decode(chunk, final=not chunk)
        return chunk


def _csv_parts(path: Path, layout: Layout, faults: Faults) -> Iterator[pd.DataFrame]:
    with _open(path) as file:
        _header_line(path, file)
        yield from csv_parts(_Strict(file, path) if faults.strict else file, layout, BLOCK, faults)


# Parquet


def _parquet_header(path: Path) -> list[str]:
    with _open(path) as file:
        return list(_parquet_file(path, file).schema_arrow.names)


def _parquet_file(path: Path, file: IO[bytes]) -> pq.ParquetFile:
    """A file whose schema is there to be asked for. Types of pandas read their own JSON in it as they see fit."""
    try:
        opened = pq.ParquetFile(file, buffer_size=1 << 20)
        _ = opened.schema_arrow
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, RecursionError):
        raise _not_parquet(path) from None
    return opened


def _not_parquet(path: Path) -> InputError:
    return _malformed(path, "it is not a readable Parquet file", "Write it again, or name it .csv if it is CSV.")


def _parquet_parts(path: Path, wanted: Sequence[str], faults: Faults) -> Iterator[pd.DataFrame]:
    with _open(path) as file:
        table = _parquet_file(path, file)
        _check_plain(path, table, wanted)
        rows = 0
        try:
            for batch in table.iter_batches(PARQUET_ROWS, columns=list(wanted)):
                yield _typed(batch, wanted, rows + 1, faults)
                rows += batch.num_rows
        except (pa.ArrowException, OSError):
            raise _not_parquet(path) from None
    if not rows:
        yield _typed(table.schema_arrow.empty_table(), wanted, 1, faults)


def _check_plain(path: Path, table: pq.ParquetFile, wanted: Sequence[str]) -> None:
    """Nothing nested: SchemaError E_SCHEMA_INVALID."""
    for name in wanted:
        kind = table.schema_arrow.field(name).type
        if pa.types.is_nested(kind.value_type if pa.types.is_dictionary(kind) else kind):
            what = f"column {name!r} holds lists or records"
            raise SchemaError("E_SCHEMA_INVALID", path.name, what, "Flatten it into columns of single values.")


def _typed(batch: pa.RecordBatch | pa.Table, wanted: Sequence[str], first: int, faults: Faults) -> pd.DataFrame:
    """``batch`` as values; its first row has the number ``first``."""

    def values(name: str) -> pd.Series:
        cells = batch.column(name)
        cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
        return column(cells, lambda kind, place: faults.note(kind, first + place, name))

    return pd.DataFrame({name: values(name) for name in wanted})
