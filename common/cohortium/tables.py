"""Step 0: files to tables, in parts of bounded memory.

A CSV file comes as text in every column, an absent cell as "": what counts as missing is decided in
``encoding``, row by row, and never guessed from a column. A Parquet file comes in its own types. Only the
columns asked for are turned into values. However long a file is, a part holds about ``BLOCK`` bytes of it.

| input                                        | what happens                                   |
|----------------------------------------------|------------------------------------------------|
| no such file, a folder, not readable         | E_INPUT_NOT_FOUND                              |
| no bytes, or no header                       | E_EMPTY                                        |
| a header and no rows                         | one part without rows                          |
| a byte order mark; CRLF, CR; quoted newlines | read as meant                                  |
| UTF-16, Latin-1                              | E_ENCODING with the offset of the byte         |
| a NUL byte, a quote left open                | E_CSV_PARSE                                    |
| a row with too few or too many cells         | E_CSV_PARSE, or kept with every cell missing   |
| two columns of one name                      | E_SCHEMA_DUP                                   |
| a cell, row or header beyond the limits      | E_LIMIT, before it is held in memory as a whole |
| not Parquet, though the file's name says so  | E_CSV_PARSE                                    |

The readers' own error texts quote cells, so none of them is passed on.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from cohortium.errors import InputError, SchemaError

BLOCK = 8 << 20
MAX_CELL = 8 << 20
MAX_HEADER = 1 << 20
MAX_COLUMNS = 10_000
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
PARQUET_ROWS = 65_536
_END = "end-of-table"  # the content of a row that is put behind the last one, see _Source


def read_table(path: Path, columns: Sequence[str] | None = None, *, drop_bad_rows: bool = False) -> pd.DataFrame:
    """The whole table at once."""
    return pd.concat(read_parts(path, columns, drop_bad_rows=drop_bad_rows), ignore_index=True)


def read_parts(
    path: Path, columns: Sequence[str] | None = None, *, drop_bad_rows: bool = False
) -> Iterator[pd.DataFrame]:
    """The table in parts, at least one; ``columns`` in the order asked for, or all as they stand in the file.

    With ``drop_bad_rows`` a row whose cells cannot be told apart stays a row, with every cell missing, at the
    end of its part: how many rows there are must not depend on how they are written.
    """
    names = header(path)
    wanted = list(columns or names)
    _check_wanted(wanted, names, path)
    if _is_parquet(path):
        return _parquet_parts(path, wanted)
    return _csv_parts(path, names, wanted, drop_bad_rows)


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
            raise SchemaError("E_SCHEMA_MISSING", path.name, what, "Add it, or map another column to it.")


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
    return InputError("E_LIMIT", path.name, what, "Correct the file; a quotation mark may have been left open.")


def _malformed(path: Path, what: str, fix: str) -> InputError:
    return InputError("E_CSV_PARSE", path.name, what, fix)


# CSV


def _csv_header(path: Path) -> list[str]:
    """The first line that is not blank; it must end within MAX_HEADER bytes."""
    with _open(path) as file:
        text = _Checked(path).decode(file.read(MAX_HEADER)).removeprefix("\ufeff")
        whole = not file.read(1)
    lines = io.StringIO(text, newline="")
    try:
        names = next((cells for cells in csv.reader(lines) if cells), None)
    except csv.Error:  # a name of more than 131,072 characters
        raise _too_large(path, "a column's name is too long") from None
    if not whole and not lines.read(1):
        raise _too_large(path, f"its header is longer than {MAX_HEADER} bytes")
    if names is None:
        raise _empty(path)
    return names


class _Checked:
    """Text that is checked as it passes: UTF-8 throughout, and no NUL byte."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._offset = 0

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


class _Source(io.RawIOBase):
    """A CSV file as the reader sees it: checked, and with one row more.

    The last row tells the end from a quotation mark left open, which would swallow it with what went before.
    """

    def __init__(self, file: IO[bytes], path: Path, width: int) -> None:
        super().__init__()
        self._file = file
        self._checked = _Checked(path)
        self._last = ("\n" + ",".join([_END] * width) + "\n").encode()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._file.read(len(buffer))
        self._checked.decode(chunk, final=not chunk)
        if not chunk:
            chunk, self._last = self._last[: len(buffer)], self._last[len(buffer) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)


class _BadRows:
    """Counts the rows of a wrong number of cells, and lets the reader stop at the first or pass over them."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self.first: pacsv.InvalidRow | None = None
        self.waiting = 0

    def __call__(self, row: pacsv.InvalidRow) -> str:
        self.first = self.first or row
        self.waiting += 1
        return "skip" if self._keep else "error"

    def take(self) -> int:
        """How many came since the last call."""
        taken, self.waiting = self.waiting, 0
        return taken


def _csv_parts(path: Path, names: Sequence[str], wanted: Sequence[str], keep_bad_rows: bool) -> Iterator[pd.DataFrame]:
    bad = _BadRows(keep_bad_rows)
    with _open(path) as file:
        batches = _csv_batches(path, io.BufferedReader(_Source(file, path, len(names))), wanted, bad)
        batch = next(batches, None)
        if batch is None:
            raise _open_quote(path)
        for following in batches:
            yield _with_missing_rows(batch.to_pandas(), bad.take())
            batch = following
        closed = batch.num_rows > 0 and batch.column(0)[-1].as_py() == _END
    if not closed:
        raise _open_quote(path)
    yield _with_missing_rows(batch.slice(0, batch.num_rows - 1).to_pandas(), bad.take())


def _csv_batches(path: Path, source: IO[bytes], wanted: Sequence[str], bad: _BadRows) -> Iterator[pa.RecordBatch]:
    """Batches that have rows; the reader's errors become ours."""
    try:
        for batch in pacsv.open_csv(source, **_csv_options(wanted, bad)):
            _check_cells(path, batch)
            if batch.num_rows:
                yield batch
    except pa.ArrowException as error:
        raise _csv_problem(path, bad, "straddling" in str(error)) from None


def _csv_options(wanted: Sequence[str], bad: _BadRows) -> dict[str, Any]:
    return {
        "read_options": pacsv.ReadOptions(use_threads=False, block_size=BLOCK),  # one thread: rows are numbered
        "parse_options": pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=bad),
        "convert_options": pacsv.ConvertOptions(
            check_utf8=False,  # _Source has done it
            column_types=dict.fromkeys(wanted, pa.string()),
            strings_can_be_null=False,
            include_columns=list(wanted),
        ),
    }


def _csv_problem(path: Path, bad: _BadRows, straddling: bool) -> InputError:
    if straddling:
        return _too_large(path, f"a row is longer than {BLOCK} bytes")
    if bad.first is None:
        return _malformed(path, "it is not well-formed CSV", "Export the table again.")
    row = bad.first
    what = (
        f"row {row.number} has {row.actual_columns} cells instead of {row.expected_columns} "
        "(the header is row 1, blank lines do not count)"
    )
    return _malformed(path, what, "Correct it, or keep such rows as missing with --drop-bad-rows.")


def _open_quote(path: Path) -> InputError:
    return _malformed(path, "a quotation mark is left open", 'Close it; within quotes, write it twice: "".')


def _check_cells(path: Path, batch: pa.RecordBatch) -> None:
    for column in batch.columns:
        longest = pc.max(pc.binary_length(column)).as_py()
        if longest is not None and longest > MAX_CELL:
            raise _too_large(path, f"a cell is longer than {MAX_CELL} bytes")


def _with_missing_rows(part: pd.DataFrame, rows: int) -> pd.DataFrame:
    if not rows:
        return part
    missing = pd.DataFrame("", index=range(rows), columns=part.columns, dtype=part.dtypes.iloc[0])
    return pd.concat([part, missing], ignore_index=True)


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


def _parquet_parts(path: Path, wanted: Sequence[str]) -> Iterator[pd.DataFrame]:
    with _open(path) as file:
        table = _parquet_file(path, file)
        plain = pa.schema([_plain_field(path, table.schema_arrow.field(name)) for name in wanted])
        rows = 0
        try:
            for batch in table.iter_batches(PARQUET_ROWS, columns=list(wanted)):
                rows += batch.num_rows
                yield _typed(batch, plain)
        except (pa.ArrowException, OSError):
            raise _not_parquet(path) from None
    if not rows:
        yield _typed(plain.empty_table(), plain)


def _plain_field(path: Path, field: pa.Field) -> pa.Field:
    """The field as it is handed on: dictionaries written out, nothing nested."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_nested(kind):
        what = f"column {field.name!r} holds lists or records"
        raise SchemaError("E_SCHEMA_INVALID", path.name, what, "Flatten it into columns of single values.")
    return pa.field(field.name, kind)


def _typed(batch: pa.RecordBatch | pa.Table, plain: pa.Schema) -> pd.DataFrame:
    """Whole numbers stay whole beside missing ones, so that a person is written alike in every part.

    Whole decimals become whole numbers however long they are: as floating point, two persons' identifiers could be one.
    """
    table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
    frame: pd.DataFrame = (
        table.select(plain.names).cast(plain).to_pandas(integer_object_nulls=True, ignore_metadata=True)
    )
    for field in plain:
        if pa.types.is_decimal(field.type):
            frame[field.name] = pd.Series([_number(v) for v in frame[field.name]], dtype=object)
    return frame


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)
