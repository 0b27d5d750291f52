"""Files to tables: the rows 1 to 10, 14, 18 and 19 of docs/threat-model.md 5.2."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.encoding import encode, encode_parts
from cohortium.data.identifiers import identifiers_of
from cohortium.data.readers import tables
from cohortium.data.readers.tables import header, read_parts, read_table
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError, InputError, SchemaError

SCHEMA = Schema(
    columns=(
        Continuous(name="age", lower=0, upper=100, nullable=True),
        Categorical(name="sex", categories=("f", "m", "__OTHER__"), other="__OTHER__", nullable=True),
    )
)


def written(folder: Path, content: bytes | str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path, **options: object) -> CohortiumError:
    with pytest.raises(CohortiumError) as caught:
        read_table(path, **options)  # type: ignore[arg-type]
    return caught.value


def rows(path: Path, **options: object) -> list[list[object]]:
    return read_table(path, **options).to_numpy(object).tolist()  # type: ignore[arg-type]


def test_bad_input_01_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv").code == "E_INPUT_NOT_FOUND"
    assert refusal(tmp_path).code == "E_INPUT_NOT_FOUND"
    assert refusal(tmp_path / "none.parquet").code == "E_INPUT_NOT_FOUND"


@pytest.mark.parametrize("content", [b"", b"\n\n\n", b"\xef\xbb\xbf"])
def test_bad_input_02_empty_file(tmp_path: Path, content: bytes) -> None:
    assert refusal(written(tmp_path, content)).code == "E_EMPTY"


@pytest.mark.parametrize("content", ["age,sex", "age,sex\n", "age,sex\r\n\r\n"])
def test_bad_input_03_header_only(tmp_path: Path, content: str) -> None:
    parts = list(read_parts(written(tmp_path, content)))
    assert [len(part) for part in parts] == [0]
    codes = encode_parts(parts, SCHEMA)
    assert (len(codes), codes.left_out, codes.sizes) == (0, 0, SCHEMA.sizes)


@pytest.mark.parametrize("content", ["age,sex\n30,f", "age,sex\n30,f\n"])
def test_bad_input_04_one_row(tmp_path: Path, content: str) -> None:
    assert rows(written(tmp_path, content)) == [["30", "f"]]


def test_bad_input_05_byte_order_mark(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfage,sex\n30,f\n")
    assert header(path) == ["age", "sex"]
    assert rows(path, columns=["age"]) == [["30"]]


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        ("age,sex\n30,f\n".encode("utf-16"), 0),
        ("age,sex\n30,f\n".encode("utf-16-le"), 1),
        ("age,sex\n30,f\n".encode("utf-16-be"), 0),
        ("age,sex\n30,é\n".encode("latin-1"), 11),
        ("age,sex\n30,é".encode("latin-1"), 11),
        ("âge,sex\n30,f\n".encode("latin-1"), 0),
        (b"age,sex\n" + b"30,f\n" * 2_000_000 + b"3\xff,f\n", 10_000_009),
    ],
)
def test_bad_input_06_not_utf8(tmp_path: Path, content: bytes, offset: int) -> None:
    error = refusal(written(tmp_path, content))
    assert error.code == "E_ENCODING"
    assert f"offset {offset} " in error.what


def test_bad_input_06_a_character_across_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "a,b\n" + "é,ü\n" * 2_000)
    for block in (1_001, 1_002, 1_003):
        monkeypatch.setattr(tables, "BLOCK", block)
        assert rows(path) == [["é", "ü"]] * 2_000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\r\n1,2\r\n3,4\r\n", [["1", "2"], ["3", "4"]]),
        ("a,b\r1,2\r3,4\r", [["1", "2"], ["3", "4"]]),
        ('a,b\n1,"x,y"\n3,"say ""hi"", twice"\n', [["1", "x,y"], ["3", 'say "hi", twice']]),
        ("\n\na,b\n\n1,2\n\n\n", [["1", "2"]]),
        ("a,b\n1,\n,2\n", [["1", ""], ["", "2"]]),
    ],
)
def test_bad_input_07_line_ends_and_quotes(tmp_path: Path, content: str, expected: list[list[str]]) -> None:
    assert rows(written(tmp_path, content)) == expected


def test_bad_input_07_nul_byte(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, b"a,b\n1,\x002\n"))
    assert error.code == "E_CSV_PARSE"
    assert "offset 6" in error.what

    assert rows(written(tmp_path, b"a,b\n1,\x002\n"), drop_bad_rows=True) == [["1", ""]]


@pytest.mark.parametrize("end", ["", '"', '"\n5,6'])
def test_bad_input_07_a_quote_left_open(tmp_path: Path, end: str) -> None:
    """Whether or not another line closes it."""
    path = written(tmp_path, f'a,b\n1,"2\n3,4{end}\n')
    error = refusal(path)
    assert error.code == "E_CSV_PARSE"
    assert "row 2 ends within a quotation mark" in error.what
    assert rows(path, drop_bad_rows=True)[0] == ["3", f"4{end[:1]}"]


def test_bad_input_07_a_quote_left_open_in_the_header(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,"b\n1,2\n')
    for drop in (False, True):
        assert refusal(path, drop_bad_rows=drop).code == "E_CSV_PARSE"


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_bad_input_08_duplicate_headers(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("csv"):
        written(tmp_path, "a,b,a\n1,2,3\n")
    else:
        pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    error = refusal(path)
    assert isinstance(error, SchemaError)
    assert error.code == "E_SCHEMA_DUP"


def test_bad_input_09_missing_extra_and_reordered_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "note,sex,age\nprivate,f,30\n")
    assert rows(path, columns=["age", "sex"]) == [["30", "f"]]
    assert refusal(path, columns=["age", "height"]).code == "E_SCHEMA_MISSING"
    direct = encode(pd.DataFrame({"age": [30], "sex": ["f"]}), SCHEMA)
    np.testing.assert_array_equal(encode(read_table(path), SCHEMA).values, direct.values)


@pytest.mark.parametrize(("row", "line"), [("3", 3), ("4,5,6", 3)])
def test_bad_input_10_ragged_rows(tmp_path: Path, row: str, line: int) -> None:
    path = written(tmp_path, f"age,sex\n1,f\n{row}\n7,m\n")
    error = refusal(path)
    assert error.code == "E_CSV_PARSE"
    assert f"row {line} " in error.what
    assert rows(path, drop_bad_rows=True) == [["1", "f"], ["7", "m"]]


def test_bad_input_10_ragged_rows_far_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK", 1_000)
    path = written(tmp_path, "a,b\n" + "1,2\n" * 5_000 + "3\n" + "1,2\n" * 5_000 + "4,5,6\n")
    assert "row 5002 " in refusal(path).what
    assert len(read_table(path, drop_bad_rows=True)) == 10_000


def test_bad_input_14_huge_cardinality(tmp_path: Path) -> None:
    content = "age,sex\n" + "".join(f"{i % 90},value{i}\n" for i in range(100_000))
    codes = encode_parts(read_parts(written(tmp_path, content)), SCHEMA)
    assert (len(codes), codes.sizes) == (100_000, SCHEMA.sizes)
    assert set(codes.values[:, 1]) == {2}


def test_bad_input_18_limits(tmp_path: Path) -> None:
    huge = written(tmp_path, b"a,b\n1," + b"x" * (20 << 20) + b"\n", "huge.csv")
    large = written(tmp_path, b"a,b\n1," + b"x" * (9 << 20) + b"\n", "large.csv")
    allowed = written(tmp_path, b"a,b\n1," + b"x" * (7 << 20) + b"\n", "allowed.csv")
    wide = written(tmp_path, ",".join(f"c{i}" for i in range(10_001)), "wide.csv")
    header_line = written(tmp_path, ",".join(f"c{i}" for i in range(1_000_000)), "header.csv")
    name = written(tmp_path, b"x" * (1 << 20), "name.csv")
    for path in (huge, large, wide, header_line, name):
        assert refusal(path).code == "E_LIMIT", path.name
    assert len(read_table(allowed)) == 1
    for path in (huge, large):
        assert len(read_table(path, drop_bad_rows=True)) == 0


def test_bad_input_19_a_long_file_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK", 1 << 16)
    path = written(tmp_path, "a,b\n" + "12345678,abcdefgh\n" * 500_000)
    tracemalloc.start()
    before, count, largest = pa.total_allocated_bytes(), 0, 0
    for part in read_parts(path, ["a"]):
        count += len(part)
        largest = max(largest, len(part), pa.total_allocated_bytes() - before)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 500_000
    assert path.stat().st_size > 9_000_000
    assert largest + peak < 6_000_000


def test_only_the_columns_asked_for_become_values(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b,c\n1,2,3\n")
    assert [list(part.columns) for part in read_parts(path, ["c"])] == [["c"]]


def test_errors_never_carry_a_value(tmp_path: Path) -> None:
    secret = "SENSITIVE-7731"
    contents = [f"a,b\n{secret}\n", f'a,b\n1,"{secret}\n', f"a,b\n{secret},\x00\n", f"a,b\n1,{secret},3\n"]
    for content in [c.encode() for c in contents] + [f"a,b\n{secret},é\n".encode("latin-1")]:
        error = refusal(written(tmp_path, content))
        assert secret not in f"{error}{error.__cause__}"
    assert secret not in str(refusal(written(tmp_path, secret, "x.parquet")))


def test_parquet_that_is_none(tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    pd.DataFrame({"a": range(1000)}).to_parquet(good)
    content = good.read_bytes()
    for i, bad in enumerate([b"age,sex\n1,2\n", content[:-20], content[:40] + b"\xff" * 60 + content[100:]]):
        error = refusal(written(tmp_path, bad, f"{i}.parquet"))
        assert isinstance(error, InputError)
        assert error.code == "E_CSV_PARSE"
    assert refusal(written(tmp_path, b"", "empty.parquet")).code == "E_EMPTY"


def test_parquet_keeps_types_and_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame = pd.DataFrame(
        {
            "who": pd.array([2**60 + 1, None], dtype="Int64"),
            "sex": pd.Categorical(["f", None]),
            "when": pd.to_datetime(["2020-01-01", None]),
        }
    )
    frame.set_index("who").to_parquet(path)
    table = read_table(path, ["who", "when", "sex"])
    assert list(table.columns) == ["who", "when", "sex"]
    assert table["who"][0] == 2**60 + 1  # not rounded, as it would be beside a missing one in floating point
    assert table["when"].dtype.kind == "M"
    frame[:0].to_parquet(path)
    assert [len(part) for part in read_parts(path)] == [0]


def test_parquet_refuses_nested_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1], "b": [[1, 2]]}), path)
    assert rows(path, columns=["a"]) == [[1]]
    assert refusal(path, columns=["b"]).code == "E_SCHEMA_INVALID"


def test_a_person_is_the_same_in_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PARQUET_ROWS", 2)
    schema = Schema(person="who", columns=SCHEMA.columns)
    path = tmp_path / "table.parquet"
    who = pd.array([7, 7, 7, None], dtype="Int64")  # the second part has a missing number
    pd.DataFrame({"who": who, "age": [1.0, 2, 3, 4], "sex": list("fmfm")}).to_parquet(path)
    codes = encode_parts(read_parts(path), schema)
    assert len(set(codes.persons)) == 1
    assert (len(codes), codes.left_out) == (3, 1)  # nobody's row is nobody's


def test_decimals_of_parquet_are_exact_so_that_no_two_persons_become_one(tmp_path: Path) -> None:
    numbers = [Decimal("9007199254740993"), Decimal("9007199254740992"), None, Decimal("1.50")]
    written = pa.table(
        {"who": pa.array(numbers[:3], pa.decimal128(20, 0)), "dose": pa.array(numbers[1:], pa.decimal128(20, 2))}
    )
    pq.write_table(written, tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert list(read["who"]) == [9007199254740993, 9007199254740992, None]
    assert list(read["dose"]) == [9007199254740992, None, 1.5]
    assert identifiers_of(read["who"]).places.tolist() == [0, 1, -1]
