"""Whether an institution answers or refuses: no row of its table decides it, and its own people are shown what was passed over."""

# ruff: noqa: S608 (queries are the tests' own)

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from csv_institution import GOOD, HEAD, SCHEMA, STUDY, institution
from enlisted import agree, answer, custodian, refusal, request
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.data.encoding import Codes
from cohortium.errors import CohortiumError
from cohortium.ledger.store import Ledger
from cohortium.study.study import dumps_schema, dumps_study
from cohortium_client.custodian.institution import load_institution
from cohortium_client.preflight import preflight
from cohortium_client.source.source import Source, load_source, look


def read(source: Source, folder: Path) -> Codes:
    """The codes, which there must be."""
    try:
        found: Codes | Exception = load_source(source, folder, SCHEMA)
    except (CohortiumError, ArithmeticError, ValueError) as error:
        found = error
    assert isinstance(found, Codes)
    return found


def parquet(folder: Path, column: str, cells: pa.Array) -> Source:
    """The column's cells; of the others good ones."""
    n = len(cells)
    table = {
        "c": pa.array(["a"] * n),
        "x": pa.array([1.0] * n),
        "t": pa.array(["2020-01-01"] * n),
        "p": pa.array([f"p{i}" for i in range(n)]),
    }
    pq.write_table(pa.table(table | {column: cells}), folder / "t.parquet")
    return Source(path="t.parquet")


def bits(kind: pa.DataType, narrow: bool = False) -> Callable[[], pa.Array]:
    """A cell of the type whose number is as large as it can be, behind two good ones."""
    last = 2**31 - 1 if narrow else 2**62
    return lambda: pa.array([1, 1, last], pa.int32() if narrow else pa.int64()).view(kind)


def text(*cells: bytes) -> Callable[[], pa.Array]:
    return lambda: pa.array(cells, pa.binary()).view(pa.string())


CELLS: dict[str, Callable[[], pa.Array]] = {
    **{f"timestamp {u} {z}": bits(pa.timestamp(u, z)) for u in ("ms", "us", "ns") for z in (None, "UTC", "Nowhere/At")},
    "date32": bits(pa.date32(), narrow=True),
    "date64": lambda: pa.array([0, 0, 86_400_000 * 10**9], pa.int64()).view(pa.date64()),
    "time64": bits(pa.time64("ns")),
    "time32": bits(pa.time32("s"), narrow=True),
    "duration": bits(pa.duration("us")),
    "not UTF-8": text(b"a", b"a", b"a\xff"),
    "a NUL": text(b"a", b"a", b"a\0"),
    "long": text(b"a", b"a", b"a" * (9 << 20)),
    "binary": lambda: pa.array([b"a", b"a", b"\xff"]),
    "decimal": lambda: pa.array([Decimal(1), Decimal(1), Decimal("1e37")], pa.decimal128(38, 0)),
    "decimal256": lambda: pa.array([Decimal(1), Decimal(1), Decimal("1e70")], pa.decimal256(76, 0)),
    "dictionary": lambda: text(b"a", b"a", b"\xff")().dictionary_encode(),
    "uint64": lambda: pa.array([1, 1, 2**64 - 1], pa.uint64()),
    "float16": lambda: pa.array(np.array([1.0, 1.0, np.inf], np.float16)),
    "float32": lambda: pa.array([1.0, 1.0, float("inf")], pa.float32()),
    "missing": lambda: pa.nulls(3),
}


@pytest.mark.parametrize("column", (*SCHEMA.names, "p"))
@pytest.mark.parametrize("kind", CELLS)
def test_no_cell_of_parquet_decides(tmp_path: Path, kind: str, column: str) -> None:
    cells = CELLS[kind]()
    without = read(parquet(tmp_path, column, cells[:2]), tmp_path)
    found = read(parquet(tmp_path, column, cells), tmp_path)
    assert found.values[: len(without)].tolist() == without.values.tolist()
    assert found.persons[: len(without)].tolist() == without.persons.tolist()


ROWS = {
    "one cell too many": b'b,2,2020-01-01,p9,"a remark"\n',
    "one too few": b"b,2,2020-01-01\n",
    "Latin-1": b"b,2,2020-01-01,J\xfcrgen\n",
    "a NUL": b"b,2,2020-01-01,p\0\n",
    "a quotation mark": b'b,2,2020-01-01,"p9\n',
    "a line break": b'"b\nb",2,2020-01-01,p9\n',
    "a long cell": b"b,2,2020-01-01," + b"9" * (9 << 20) + b"\n",
    "a lone surrogate": b"b,2,2020-01-01,\xed\xa0\x80\n",
    "moments far off": b"b,1e999,15000-01-01,p9\n",
    "UTF-16": "b,2,2020-01-01,p9".encode("utf-16") + b"\n",
}


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("kind", ROWS)
def test_no_row_of_csv_decides(tmp_path: Path, kind: str, at: int) -> None:
    (tmp_path / "without.csv").write_bytes(HEAD + b"".join(GOOD))
    (tmp_path / "with.csv").write_bytes(HEAD + b"".join([*GOOD[:at], ROWS[kind], *GOOD[at:]]))
    without, found = (read(Source(path=f"{n}.csv"), tmp_path) for n in ("without", "with"))
    assert len(without) == 3
    assert len(found) <= 4
    unchanged = [row for row in found.values.tolist() if row[0] == 0]
    assert unchanged == without.values.tolist()


# The custodian


def csv_table(extra: bytes) -> Callable[[Path], Source]:
    def put(folder: Path) -> Source:
        (folder / "t.csv").write_bytes(HEAD + b"".join(GOOD) + extra)
        return Source(path="t.csv")

    return put


def parquet_table(*days: int) -> Callable[[Path], Source]:
    return lambda folder: parquet(folder, "t", pa.array([18262, 18262, *days], pa.int32()).view(pa.date32()))


def sqlite_table(*extra: str) -> Callable[[Path], Source]:
    def put(folder: Path) -> Source:
        with closing(sqlite3.connect(folder / "t.sqlite")) as connection:
            connection.execute("CREATE TABLE t AS SELECT 'a' AS c, 1.0 AS x, '2020-01-01' AS t, 'p0' AS p")
            for cell in extra:
                connection.execute(f"INSERT INTO t VALUES ({cell}, 2.0, '2020-01-01', 'p1')")
            connection.commit()
        return Source(url="sqlite:///t.sqlite", query="SELECT c, x, t, p FROM t")

    return put


@pytest.mark.parametrize(
    "put",
    [
        csv_table(b""),
        *map(csv_table, ROWS.values()),
        parquet_table(),
        parquet_table(2**31 - 1),
        sqlite_table(),
        sqlite_table("CAST(x'ff' AS TEXT)"),
    ],
)
def test_every_table_is_answered_from_alike(tmp_path: Path, put: Callable[[Path], Source]) -> None:
    source = put(tmp_path)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        agree(ledger, STUDY)
        asked = custodian(ledger, lambda study: load_source(source, tmp_path, study.schema), STUDY)
        reported = asked.answer(request(STUDY))
    assert len(answer(reported, STUDY).reply.values) > 0


def test_a_text_of_sqlite_decides_nothing(tmp_path: Path) -> None:
    found = read(sqlite_table("CAST(x'ff' AS TEXT)", "CAST(x'6100' AS TEXT)", "x'ff'", "'b'")(tmp_path), tmp_path)
    assert found.values[:, 0].tolist() == [0, 2, 2, 2, 1]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "E_EMPTY"), (HEAD + b"c,", ""), (b"c,x,t\n" + GOOD[0], "E_SCHEMA_MISSING"), (b'"c,x,t,p\n', "E_CSV_PARSE")],
)
def test_what_a_file_is_as_a_whole_is_refused_before_a_row_is_read(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        agree(ledger, STUDY)
        asked = custodian(ledger, lambda s: load_source(Source(path="t.csv"), tmp_path, s.schema), STUDY)
        reported = asked.answer(request(STUDY))
    if not code:
        look(Source(path="t.csv"), tmp_path, SCHEMA)
        assert answer(reported, STUDY)
        return
    assert reported == refusal("E_CUSTODIAN")
    with pytest.raises(CohortiumError) as caught:
        look(Source(path="t.csv"), tmp_path, SCHEMA)
    assert caught.value.code == code


# What its people are shown


def test_check_reports_every_case_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(dumps_study(STUDY))
    (tmp_path / "schema.toml").write_text(dumps_schema(SCHEMA))
    bad = b"".join([ROWS["one cell too many"], ROWS["a line break"], ROWS["a quotation mark"]])
    folder = institution(tmp_path / "north", HEAD + GOOD[0] + bad + b"b\xff,2,2020-01-01,p5\n" * 7)
    found = {c.name.rpartition(": ")[2]: c for c in preflight(folder, tmp_path / "study.toml")}
    reported = {name: found[name].found.partition(" (stays")[0] for name in ("cells", "quote", "encoding")}
    assert reported == {
        "cells": "1 rows left out, where one has not as many cells as the header (row 3)",
        "quote": "2 rows left out, where one ends within a quotation mark (row 4, 6)",
        "encoding": "7 cells of column 'c' missing, where one is not UTF-8 (row 7, 8, 9, 10, 11, ...)",
    }
    assert not any(found[name].passed for name in reported)
    assert "UTF-8" in found["encoding"].fix
    assert "export without them" in found["quote"].fix


def test_schema_check_reports_every_case_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(dumps_schema(SCHEMA))
    (tmp_path / "t.csv").write_bytes(HEAD + GOOD[0] + ROWS["a quotation mark"] + ROWS["Latin-1"] + ROWS["one too few"])
    said = ["schema", "check", str(tmp_path / "schema.toml"), "--data", str(tmp_path / "t.csv")]
    result = CliRunner().invoke(build(), said)
    assert result.exit_code == 0
    assert "1 rows left out, where one ends within a quotation mark (row 3)" in result.output
    assert "1 cells of column 'p' missing, where one is not UTF-8 (row 4)" in result.output
    unread: Any = json.loads(CliRunner().invoke(build(), [*said, "--json"]).stdout)["data"]["unread"]
    assert {(u["kind"], u["column"], *u["rows"]) for u in unread} == {
        ("quote", None, 3),
        ("encoding", "p", 4),
        ("cells", None, 5),
    }


def test_a_custodian_does_not_start_on_what_is_no_table(tmp_path: Path) -> None:
    folder = institution(tmp_path / "north", b"")
    with pytest.raises(CohortiumError) as caught:
        load_institution(folder).look()
    assert caught.value.code == "E_EMPTY"
    result = CliRunner().invoke(build(), ["institution", "serve", str(folder)])
    assert result.exit_code == 10
    assert "E_EMPTY" in result.output
    assert not (folder / "custodian.sock").exists()
    (folder / "t.csv").write_bytes(HEAD + b'"')
    load_institution(folder).look()


def test_a_custodian_reaches_its_database_and_runs_no_query(tmp_path: Path) -> None:
    """A query may wait for a lock; whoever starts a custodian should not."""
    source = sqlite_table()(tmp_path)
    look(source, tmp_path)
    look(replace(source, query="SELECT nothing FROM nowhere"), tmp_path)
    with pytest.raises(CohortiumError) as caught:
        look(replace(source, url="sqlite:///absent.sqlite"), tmp_path)
    assert caught.value.code == "E_INPUT_NOT_FOUND"
