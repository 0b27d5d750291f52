"""A source: a file of JSON lines, the names of the columns first and then one list of values a row.

In the product this file would lie in ``common/cohortium/data/readers/``; docs/extending.md has the other places. What a source
may never do is let one row decide about another, or whether there is an answer: here names come from the first line
alone, and a line that cannot be read is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from cohortium.data.readers.faults import CELLS, Faults
from cohortium.errors import InputError, SchemaError
from cohortium_client.source import database

LONGEST = 8 << 20  # bytes of a line


def json_lines(path: Path, wanted: Sequence[str], faults: Faults) -> Iterator[pd.DataFrame]:
    """The columns ``wanted`` in parts of bounded memory, at least one part. A cell of any type: what it means is the schema's.

    Raises InputError for what is no such file, SchemaError E_SCHEMA_MISSING for a column that is not there.
    """
    try:
        with path.open("rb") as file:
            names = _read(file.readline(LONGEST))
            if not isinstance(names, list):
                raise InputError("E_CSV_PARSE", path.name, "its first line is no list of names", "Write one.")
            for name in wanted:
                if name not in names:
                    raise SchemaError("E_SCHEMA_MISSING", path.name, f"there is no column {name!r}", "Add it.")
            rows, first = _rows(file, len(names), faults), True
            while (part := list(islice(rows, database.ROWS))) or first:
                yield pd.DataFrame({n: pd.Series([r[names.index(n)] for r in part], dtype=object) for n in wanted})
                first = False
    except OSError:
        raise InputError("E_INPUT_NOT_FOUND", path.name, "it cannot be read", "Check path and rights.") from None


def _rows(file: BinaryIO, cells: int, faults: Faults) -> Iterator[list[Any]]:
    number, whole = 1, True
    while line := file.readline(LONGEST):  # what goes on after LONGEST bytes is no row, nor the beginning of one
        begins, whole = whole, line.endswith(b"\n")
        number += begins
        row = _read(line) if begins and (whole or len(line) < LONGEST) else None
        if isinstance(row, list) and len(row) == cells:
            yield row
        elif begins:
            faults.note(CELLS, number)


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
