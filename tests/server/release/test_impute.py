"""``impute``: what is there is never overwritten, in no format, dtype or spelling; what the schema does not declare is reported."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from linked import LINKED
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.data.columns import Boolean, Categorical, Continuous, Datetime, Ordinal
from cohortium.data.schema import Schema
from cohortium.errors import InputError, SchemaError
from cohortium_server.release import Release
from cohortium_server.release import owned as own_tables
from cohortium_server.release.blanks import Account, fill_in, imputed
from cohortium_server.release.owned import impute_file

SCHEMA = Schema(
    person="pid",
    columns=(
        Categorical(name="sex", categories=("f", "m")),
        Continuous(name="age", lower=0, upper=120),
        Continuous(name="weight", lower=20, upper=140, decimals=1),
        Datetime(name="seen", lower=dt.datetime(2017, 1, 1), upper=dt.datetime(2024, 12, 31)),
        Boolean(name="smoker"),
        Ordinal(name="grade", categories=(1, 2, 3)),
        Categorical(name="ward", categories=("007", "A1", "B 2", "rest"), other="rest"),
    ),
)
NAMES = list(SCHEMA.names)


class Even:
    """All cells with the same chance."""

    rows = 10

    def __init__(self, schema: Schema = SCHEMA) -> None:
        self._schema = schema

    def complete(self, codes: np.ndarray, known: np.ndarray, rng: np.random.Generator, allowed: Any) -> np.ndarray:
        drawn = np.empty_like(codes)
        for j, size in enumerate(self._schema.sizes):
            weights = np.asarray(allowed.get(j, np.ones(size)), float)
            drawn[:, j] = rng.choice(size, len(codes), p=weights / weights.sum())
        return np.where(known, codes, drawn)


class Made:
    """A release of the schema, as far as ``impute_file`` looks at one."""

    schema, generator = SCHEMA, Even()


class MadeOfPersons:
    """One of persons with events."""

    schema, generator = LINKED, Even(LINKED)


def fill(table: pd.DataFrame, **options: Any) -> pd.DataFrame:
    return imputed(Even(), SCHEMA, table, np.random.default_rng(0), **options)  # type: ignore[arg-type]


def run(data: Path, out: Path, **options: Any) -> own_tables.Imputed:
    return impute_file(Made(), data, out, seed=1, **options)  # type: ignore[arg-type]


# Text, as CSV has it

DECLARED = {
    "sex": ["f", "m", " f"],
    "age": ["40", "7", "120"],
    "weight": ["62.5", "70.0", "80.1"],
    "seen": ["2020-03-05", "2021-11-30"],
    "smoker": ["true", "false"],
    "grade": ["1", "3"],
    "ward": ["007", "A1", "B 2", "7", "Z9"],
}
STRANGE = {
    "sex": ["x", "F", "male"],
    "age": ["4o", "abc", "forty", "1,5"],
    "weight": ["62,5", "?", "$3"],
    "seen": ["not known", "32.13.2020"],
    "smoker": ["ja", "2"],
    "grade": ["9", "one"],
}
BEYOND = {"age": ["130", "-4"], "weight": ["999", "1.5"], "seen": ["2030-01-01", "1900-01-01"]}
BLANK = ["", " ", "NA", "null", "None", "N/A"]


def cell(name: str) -> st.SearchStrategy[str]:
    kinds = [DECLARED[name], STRANGE.get(name, []), BEYOND.get(name, []), BLANK]
    return st.one_of(*(st.sampled_from(kind) for kind in kinds if kind))


TABLES = st.lists(st.fixed_dictionaries({name: cell(name) for name in NAMES}), min_size=1, max_size=8)
OTHERS = st.lists(st.sampled_from(["", "P1", "007", "=1+1", "NA", "1.0", "x,y"]), min_size=8, max_size=8)


def of_kind(name: str, values: dict[str, list[str]], text: str) -> bool:
    return text in values.get(name, [])


@settings(max_examples=examples(120))
@given(rows=TABLES, others=OTHERS, order=st.permutations([*NAMES, "pid", "note"]))
def test_what_is_there_stays_and_all_that_is_blank_is_filled(
    rows: list[dict[str, str]], others: list[str], order: list[str]
) -> None:
    """To the letter; in the same order; and blanks are filled with what the schema declares."""
    there = [{**row, "pid": others[i], "note": others[-1 - i]} for i, row in enumerate(rows)]
    table = pd.DataFrame(there, dtype="str")[order]
    before = table.copy()
    filled = fill(table)
    pd.testing.assert_frame_equal(table, before)
    assert list(filled.columns) == order
    assert (filled.dtypes == before.dtypes).all()
    for name in order:
        for was, now in zip(before[name], filled[name], strict=True):
            if name in NAMES and was in BLANK:
                assert now not in BLANK
            else:
                assert now == was
    empty = [len([r for r in rows if r[name] in BLANK]) for name in NAMES]
    strange = [len([r for r in rows if of_kind(name, STRANGE, r[name])]) for name in NAMES]
    beyond = [len([r for r in rows if of_kind(name, BEYOND, r[name])]) for name in NAMES]
    reported = filled.attrs["imputed"]
    assert [reported[n]["filled"] for n in NAMES] == empty
    assert [reported[n]["undeclared"] for n in NAMES] == strange
    assert [reported[n]["beyond"] for n in NAMES] == beyond


@settings(max_examples=examples(60))
@given(rows=TABLES)
def test_what_is_undeclared_is_filled_in_or_refused_where_that_is_wanted(rows: list[dict[str, str]]) -> None:
    table = pd.DataFrame(rows, dtype="str")
    filled = fill(table, undeclared="blank")
    wrong = []
    for name in NAMES:
        for was, now in zip(table[name], filled[name], strict=True):
            if was in BLANK or of_kind(name, STRANGE, was):
                assert now not in BLANK and not of_kind(name, STRANGE, now)
            else:
                assert now == was
            wrong += [name] if of_kind(name, STRANGE, was) or of_kind(name, BEYOND, was) else []
    if not wrong:
        fill(table, undeclared="refuse")
        return
    with pytest.raises(InputError, match="E_UNDECLARED") as caught:
        fill(table, undeclared="refuse")
    for name in NAMES:
        assert (f"{name!r} has {wrong.count(name)} such cells" in str(caught.value)) == (name in wrong)
    values = {v for kinds in (STRANGE, BEYOND) for some in kinds.values() for v in some if not v.isdigit()}
    assert not any(f"'{v}'" in str(caught.value) for v in values)


@pytest.mark.parametrize(
    ("texts", "spelling"),
    [
        (["true", "false"], "true|false"),
        (["TRUE", "FALSE", "false"], "TRUE|FALSE"),
        (["True", "False"], "True|False"),
        (["Yes", "No"], "Yes|No"),
        (["Y"], "Y|N"),
        (["0", "0", "1"], "0|1"),
        (["1.0", "0.0"], r"[01]\.0"),
        (["n", "n"], "y|n"),
    ],
)
def test_a_truth_is_spelt_as_the_others_of_its_column(texts: list[str], spelling: str) -> None:
    assert_spelt("smoker", texts, spelling)


@pytest.mark.parametrize(
    "pattern",
    ["%Y-%m-%d", "%m/%d/%Y", "%Y/%m/%d", "%Y%m%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M"],
)  # fmt: skip
def test_a_day_is_spelt_as_the_others_of_its_column(pattern: str) -> None:
    days = [dt.datetime(2020, 3, 4, 10, 30), dt.datetime(2021, 11, 30), dt.datetime(2022, 5, 6)]
    texts = [day.strftime(pattern) for day in days]
    filled = assert_spelt("seen", texts, ".+")
    assert not [text for text in filled if not is_spelt(text, pattern)]


def is_spelt(text: str, pattern: str) -> bool:
    try:
        return dt.datetime.strptime(text, pattern).strftime(pattern) == text
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("name", "texts", "spelling"),
    [
        ("weight", ["62.5", "64.0"], r"\d+\.\d"),
        ("weight", ["62.5", "64"], r"\d+(\.[1-9])?"),
        ("weight", ["62.50", "64.00"], r"\d+\.\d0"),
        ("age", ["62", "64"], r"\d+"),
        ("age", ["62.0", "64.0"], r"\d+\.0"),
        ("grade", ["1", "2"], r"\d"),
        ("sex", [" f", " f", "m"], " f|m"),
    ],
)
def test_a_number_is_spelt_as_the_others_of_its_column(name: str, texts: list[str], spelling: str) -> None:
    assert_spelt(name, texts, spelling)


def assert_spelt(name: str, texts: list[str], spelling: str) -> list[str]:
    table = pd.DataFrame({name: pd.Series([*texts, *[""] * 40], dtype="str")})
    filled = fill(table)[name].tolist()
    assert filled[: len(texts)] == texts
    new = filled[len(texts) :]
    assert not [t for t in new if not re.fullmatch(spelling, t)]
    return new


# Whatever dtype

INTS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.float32(), pa.float64(), pa.decimal128(9, 2)]
FLOATS = [pa.float32(), pa.float64(), pa.decimal128(9, 3), pa.string(), pa.large_string()]
MOMENTS = [pa.timestamp(u, z) for u in ("s", "ms", "us", "ns") for z in (None, "Europe/Berlin")] + [
    pa.date32(),
    pa.date64(),
]
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
TYPES: dict[str, tuple[list[Any], list[pa.DataType]]] = {
    "sex": (["f", "m", None], TEXTS),
    "age": ([40, 99, None], INTS),
    "weight": ([62.5, 70.25, None], FLOATS[:3]),
    "seen": ([dt.datetime(2020, 3, 5), dt.datetime(2021, 1, 2), None], MOMENTS),
    "smoker": ([True, False, None], [pa.bool_()]),
    "grade": ([1, 3, None], [*INTS, pa.dictionary(pa.int32(), pa.int64())]),
    "ward": (["007", "Z9", None], TEXTS),
}
TYPED = [(name, kind) for name, (_, kinds) in TYPES.items() for kind in kinds]


def arrow(name: str, kind: pa.DataType, *, times: int = 4) -> pa.Array:
    values = TYPES[name][0] * times
    if pa.types.is_decimal(kind):
        values = [None if v is None else Decimal(str(v)) for v in values]
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)


def plain(kind: pa.DataType) -> pa.DataType:
    """pandas has no columns of views: they are texts."""
    return pa.large_string() if pa.types.is_string_view(kind) else kind


@pytest.mark.parametrize(("name", "kind"), TYPED, ids=[f"{n}-{k}" for n, k in TYPED])
def test_parquet_keeps_its_types_and_values(name: str, kind: pa.DataType, tmp_path: Path) -> None:
    table = pa.table({"pid": pa.array(range(12), pa.int16()), name: arrow(name, kind), "bin": pa.array([b"\xff"] * 12)})
    pq.write_table(table, tmp_path / "own.parquet")
    made = run(tmp_path / "own.parquet", tmp_path / "filled.parquet")
    filled = pq.read_table(tmp_path / "filled.parquet")
    assert filled.column_names == ["pid", name, "bin", *(n for n in NAMES if n != name)]
    assert filled.select(["pid", "bin"]).equals(table.select(["pid", "bin"]))
    assert filled.schema.field(name).type == plain(pq.read_schema(tmp_path / "own.parquet").field(name).type)
    was, now = table[name].to_pylist(), filled[name].to_pylist()
    assert [n for w, n in zip(was, now, strict=True) if w is not None] == [w for w in was if w is not None]
    assert filled[name].null_count == 0
    assert made.columns[0].filled == 4
    run(tmp_path / "own.parquet", tmp_path / "filled.csv")
    texts = pd.read_csv(tmp_path / "filled.csv", dtype=str, keep_default_na=False)
    assert (texts[name] != "").all()
    assert (texts["pid"] == [str(i) for i in range(12)]).all()


PANDAS: dict[str, Callable[[], pd.Series]] = {
    "float64": lambda: pd.Series([1.0, np.nan, 3.0]),
    "float32": lambda: pd.Series([1.0, np.nan, 3.0], dtype="float32"),
    "Int8": lambda: pd.Series([1, None, 3], dtype="Int8"),
    "Int64": lambda: pd.Series([1, None, 3], dtype="Int64"),
    "Float64": lambda: pd.Series([1.0, None, 3.0], dtype="Float64"),
    "whole numbers as objects": lambda: pd.Series([1, None, 3], dtype=object),
    "decimals": lambda: pd.Series([Decimal(1), None, Decimal(3)], dtype=object),
    "text": lambda: pd.Series(["1", None, "3"], dtype="str"),
    "string": lambda: pd.Series(["1", None, "3"], dtype="string"),
    "text as objects": lambda: pd.Series(["1", None, "3"], dtype=object),
    "categories": lambda: pd.Series(["1", None, "3"], dtype="category"),
    "numbers as categories": lambda: pd.Series([1, None, 3], dtype="category"),
    "Arrow": lambda: pd.Series([1, None, 3], dtype="int8[pyarrow]"),
}


@pytest.mark.parametrize("kind", PANDAS)
@pytest.mark.parametrize("name", ["grade", "age"])
def test_a_dtype_of_pandas_stays(kind: str, name: str) -> None:
    values = PANDAS[kind]().set_axis([7, 7, 9])
    filled = fill(pd.DataFrame({name: values}))
    assert filled.index.tolist() == [7, 7, 9]
    assert str(filled[name].dtype).split("[")[0] == str(values.dtype).split("[")[0]
    assert filled[name].notna().all()
    pd.testing.assert_series_equal(
        filled[name].iloc[[0, 2]].astype(object), values.iloc[[0, 2]].astype(object), check_names=False
    )
    types = set(map(type, values.dropna()))
    assert set(map(type, filled[name])) == types


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_of_pandas_keep_unit_and_zone(zone: str | None, unit: str) -> None:
    values = pd.Series(pd.to_datetime(["2020-03-05", None, "2021-01-02"])).dt.tz_localize(zone).dt.as_unit(unit)
    filled = fill(pd.DataFrame({"seen": values}))["seen"]
    assert filled.dtype == values.dtype
    assert filled.notna().all()
    assert (filled[[0, 2]] == values[[0, 2]]).all()


ARROW = [
    *(
        pa.int8(),
        pa.int64(),
        pa.uint64(),
        pa.float32(),
        pa.float64(),
        pa.bool_(),
        pa.string(),
        pa.date32(),
        pa.timestamp("us"),
    ),
    *(pa.timestamp("ns", "Asia/Tokyo"), pa.time64("us"), pa.duration("s"), pa.decimal128(5, 2), pa.binary(), pa.null()),
]
ANY = {
    "int8": [1, None, 7],
    "int64": [2**60, None, 20190131],
    "uint64": [2**63, None, 1],
    "float": [1.0, None, 99.5],
    "double": [float("inf"), None, -0.0, 2.0, float("nan")],
    "bool": [True, None, False],
    "string": ["x", None, "", "NA", "f", "40", "2020-03-05", "true", "1.5", "=1"],
    "date32[day]": [dt.date(2020, 1, 2), None, dt.date(1, 1, 1)],
    "timestamp[us]": [dt.datetime(2020, 1, 2, 3), None, dt.datetime(9999, 1, 1)],
    "timestamp[ns, tz=Asia/Tokyo]": [dt.datetime(2020, 1, 2, 3), None],
    "time64[us]": [dt.time(1, 2), None],
    "duration[s]": [dt.timedelta(1), None],
    "decimal128(5, 2)": [Decimal("1.50"), None, Decimal("999.99")],
    "binary": [b"f", None, b"\xff"],
    "null": [None, None],
}


def test_what_is_not_a_number_is_missing_in_every_dtype() -> None:
    """Arrow distinguishes it from a null, and pandas takes it for a value there."""
    for kind in ["double[pyarrow]", "float[pyarrow]", "float64", "Float64", object]:
        raw = pd.Series(np.array([np.nan, 40.0]), dtype="float64")
        column = pd.Series(pd.arrays.ArrowExtensionArray(pa.array(raw.to_numpy(), pa.float64())))
        column = column.astype(kind) if "pyarrow" in str(kind) else raw.astype(kind)
        table = pd.DataFrame({"age": column, "sex": column[:1]}).iloc[:1]
        made = fill_in(Even(), SCHEMA, table, np.random.default_rng(0))  # type: ignore[arg-type]
        assert [a.filled for a in made.columns] == [1, 1], kind
        assert not made.table[["age", "sex"]].isna().any(axis=None)


@settings(max_examples=examples(150))
@given(
    name=st.sampled_from(NAMES),
    kind=st.sampled_from(sorted(ANY)),
    how=st.sampled_from(["Arrow", "pandas", "objects"]),
    data=st.data(),
)
def test_whatever_a_column_holds_none_of_it_is_lost(name: str, kind: str, how: str, data: st.DataObject) -> None:
    """Also where schema and table have nothing to do with one another: nothing is raised, and what is there stays."""
    values = data.draw(st.lists(st.sampled_from(ANY[kind]), min_size=1, max_size=6))
    array = pa.array(values, next(t for t in ARROW if str(t) == kind))
    if how == "Arrow":
        column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([array])))
    else:
        column = array.to_pandas() if how == "pandas" else pd.Series(array.to_pylist(), dtype=object)
    filled = fill(pd.DataFrame({name: column}))[name]
    for was, now in zip(column, filled, strict=True):
        if pd.isna(was) or (isinstance(was, str) and was in BLANK):
            assert not pd.isna(now)
        else:
            plain_was = was.to_pytimedelta() if isinstance(was, pd.Timedelta) else was
            assert now == was or str(now) == str(plain_was) or (isinstance(now, float) and float(was) == now)


def test_whole_numbers_of_a_narrow_type_become_wider_where_they_have_to(tmp_path: Path) -> None:
    """And say so: the schema has decimals where the file has none."""
    pq.write_table(pa.table({"weight": pa.array([60, None, 61] * 20, pa.int8())}), tmp_path / "own.parquet")
    made = run(tmp_path / "own.parquet", tmp_path / "filled.parquet")
    filled = pq.read_table(tmp_path / "filled.parquet")["weight"]
    assert filled.type == pa.float64()
    assert filled.to_pylist()[::3] == [60.0] * 20
    assert any("its type had to become double" in line for line in made.lines("keep"))


def test_a_column_of_nothing_gets_the_type_of_the_schema() -> None:
    filled = fill(pd.DataFrame({"sex": [np.nan, np.nan], "seen": [None, None]}))
    assert filled["sex"].isin(["f", "m"]).all()
    assert str(filled["seen"].dtype).startswith("datetime64")


def test_two_columns_of_one_name_are_refused() -> None:
    table = pd.DataFrame([["f", "m"]], columns=["sex", "sex"])
    with pytest.raises(SchemaError, match="E_SCHEMA_DUP"):
        fill(table)


def test_an_unknown_way_with_what_is_undeclared_is_refused() -> None:
    with pytest.raises(InputError, match="ways are keep, blank, refuse"):
        fill(pd.DataFrame({"sex": ["f"]}), undeclared="drop")


def test_a_table_without_rows_is_one_afterwards() -> None:
    table = pd.DataFrame({"note": pd.Series([], dtype="str"), "age": pd.Series([], dtype="Int64")})
    filled = fill(table)
    assert len(filled) == 0
    assert list(filled.columns)[:2] == ["note", "age"]


def test_what_is_reported_of_a_column() -> None:
    table = pd.DataFrame({"age": ["40", "", "4o", "130", "old", "NA"], "sex": ["f", "m", "f", "m", "f", "m"]})
    made = fill_in(Even(), SCHEMA, table, np.random.default_rng(0))  # type: ignore[arg-type]
    assert made.columns[:2] == (Account("sex"), Account("age", filled=2, undeclared=2, beyond=1))
    assert made.seen == {"age": ("4o", "old")}
    assert made.lines("keep") == [
        '\'age\': cells that hold no value of the schema stay as they are: 2 ("4o", "old"); cells beyond the bounds stay as they are: 1'
    ]
    with pytest.raises(InputError, match=r"'age' has 3 such cells \(row 3, 4, 5 of the data\)"):
        fill(table, undeclared="refuse")


def test_an_unknown_cell_says_nothing_of_its_row() -> None:
    """The model is given only what the schema declares: a cell that stays is not known to it."""
    asked: list[np.ndarray] = []

    class Listening(Even):
        def complete(self, codes: np.ndarray, known: np.ndarray, rng: np.random.Generator, allowed: Any) -> np.ndarray:
            asked.append(known)
            return super().complete(codes, known, rng, allowed)

    table = pd.DataFrame({"sex": ["x", "f"], "age": ["40", ""]})
    fill_in(Listening(), SCHEMA, table, np.random.default_rng(0))  # type: ignore[arg-type]
    assert asked[0][:, :2].tolist() == [[False, True], [True, False]]


def test_a_cell_that_cannot_be_read_is_there_all_the_same() -> None:
    """Nothing reads a list, and it is no blank."""
    filled = fill(pd.DataFrame({"sex": pd.Series([["f"], "f", None], dtype=object)}))
    assert filled["sex"].tolist()[:2] == [["f"], "f"]
    assert filled["sex"][2] in ("f", "m")
    reported = filled.attrs["imputed"]["sex"]
    assert (reported["filled"], reported["undeclared"]) == (1, 1)


def test_a_text_that_is_none_is_refused_with_its_place(tmp_path: Path) -> None:
    odd = pa.array([b"f", b"\xff\xfe", None], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"note": odd, "sex": ["f", "m", None]}), tmp_path / "own.parquet")
    with pytest.raises(InputError, match=r"E_ENCODING: own\.parquet: row 2, column 'note'"):
        run(tmp_path / "own.parquet", tmp_path / "filled.parquet")


# From format to format

CSV = """note,sex,pid,age,weight,seen,smoker,grade,ward
=1+1,f,P1,40,62.5,2020-03-05,true,1,A1
"two, words",x,007,41,"62,5",05.03.2020,ja,2,7
,m,,,70.1,,FALSE,,
-5,,P4,4o,?,,,,
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def as_texts(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    return pq.read_table(path).to_pandas().astype(object).where(lambda t: t.notna(), "").astype(str)


@pytest.mark.parametrize("second", ["csv", "parquet"])
@pytest.mark.parametrize("first", ["csv", "parquet"])
def test_any_pair_of_formats_keeps_what_is_there(own: Path, first: str, second: str) -> None:
    """There and back again: from CSV to either, and from that to either."""
    between, out = own.with_name(f"between.{first}"), own.with_name(f"filled.{second}")
    run(own, between)
    run(between, out)
    was, now = as_texts(own), as_texts(out)
    assert list(now.columns) == list(was.columns)
    for name in was.columns:
        for a, b in zip(was[name], now[name], strict=True):
            assert a == b or (a == "" and name in NAMES and b != ""), (name, a, b)


def test_what_says_exactly_a_number_is_one_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("pid,age,weight,smoker,sex\n1,40,62.50,true,f\n2,,64,FALSE,\n", encoding="utf-8")
    run(path, tmp_path / "filled.parquet")
    types = pq.read_schema(tmp_path / "filled.parquet")
    assert [types.field(n).type for n in ("age", "weight", "smoker")] == [pa.int64(), pa.float64(), pa.bool_()]
    assert pa.types.is_large_string(types.field("pid").type)
    assert pq.read_table(tmp_path / "filled.parquet")["weight"].to_pylist() == [62.5, 64.0]


@pytest.mark.parametrize("odd", ["007", "1e2", "12345678901234567890", "4o", "0x10", "+5"])
def test_one_cell_that_a_number_would_lose_keeps_its_column_text(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"age\n40\n\n{odd}\n41\n", encoding="utf-8")
    run(path, tmp_path / "filled.parquet")
    assert odd in pq.read_table(tmp_path / "filled.parquet")["age"].to_pylist()


def call(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(build(), [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def test_the_command_counts_and_names_on_standard_error(release: Release, tmp_path: Path) -> None:
    path, out = tmp_path / "own.csv", tmp_path / "filled.csv"
    path.write_text("id,sex,age,urgent,more\n1,f,40,yes,a\n2,alien,,perhaps,b\n3,,400,no,\n", encoding="utf-8")
    output = call("impute", release.path, "--data", path, "--out", out)
    assert "'sex': cells that hold no value of the schema stay as they are: 1 (\"alien\")" in output.stderr
    assert "'age': cells beyond the bounds stay as they are: 1" in output.stderr
    assert "private" in output.stderr
    assert "alien" not in output.stdout
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "id,sex,age,urgent,more,ward,seen,result"
    assert lines[2].startswith("2,alien,") and ",perhaps,b," in lines[2]
    quiet = call("impute", release.path, "--data", path, "--out", out, "--replace", "--json")
    accounts = {a["column"]: a for a in json.loads(quiet.stdout)["imputed"]}
    assert accounts["sex"] == {"column": "sex", "filled": 1, "blank": 0, "undeclared": 1, "beyond": 0, "retyped": ""}
    assert "alien" not in quiet.stdout
    out.unlink()
    refused = call("impute", release.path, "--data", path, "--out", out, "--undeclared", "refuse", code=10)
    assert refused.stderr.startswith("E_UNDECLARED: ")
    assert "alien" not in refused.output
    assert not out.exists()
    call("impute", release.path, "--data", path, "--out", out, "--undeclared", "blank")
    assert "alien" not in out.read_text(encoding="utf-8")
    assert "40" in out.read_text(encoding="utf-8")


def test_nothing_of_the_rows_is_written_to_a_log(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "own.csv"
    path.write_text("sex\nalien\n", encoding="utf-8")
    caplog.set_level("INFO")
    monkeypatch.setattr("cohortium.system.output.logs.structured", lambda: True)
    output = call("impute", release.path, "--data", path, "--out", tmp_path / "filled.csv")
    assert "never written to a log" in caplog.text
    assert "alien" not in output.output + caplog.text


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_of_persons_with_events_their_own_columns_are_filled_in_and_none_of_events_is_added(
    ending: str, tmp_path: Path
) -> None:
    data, out = tmp_path / "persons.csv", tmp_path / f"full.{ending}"
    data.write_text("id,sex,labs_rows\n7,,2\n8,m,\n")
    made = impute_file(MadeOfPersons(), data, out, seed=1)  # type: ignore[arg-type]
    assert list(made.table.columns) == ["id", "sex", "labs_rows", "enrolled"]
    assert made.table.notna().all(axis=None)
    assert out.exists()


def test_a_table_of_events_is_none_of_persons(tmp_path: Path) -> None:
    data, out = tmp_path / "labs.csv", tmp_path / "full.csv"
    data.write_text("patient,test,day,value\n7,hb,1,\n")
    with pytest.raises(SchemaError, match="no column of persons") as caught:
        impute_file(MadeOfPersons(), data, out, seed=1)  # type: ignore[arg-type]
    assert caught.value.code == "E_SCHEMA_MISSING"
    assert not out.exists()
