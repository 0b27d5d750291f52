"""Sources beyond the contract: the section [source], passwords, mappings, values of databases, and refusals."""

# ruff: noqa: F401, F811, S608 (fixtures are imported by name; queries are the tests' own)

from __future__ import annotations

import logging
import re
import sqlite3
import subprocess
import sys
import tomllib
import tracemalloc
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from effort import examples
from hidden_value import CANARY, NUMBERS, refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres import OWNER, PASSWORDS, Cluster, password_file, postgresql, table_name
from pydantic import TypeAdapter, ValidationError

from cohortium.data.columns import Boolean, Categorical, Continuous, Datetime, Ordinal
from cohortium.data.encoding import encode
from cohortium.data.readers.faults import Faults
from cohortium.data.schema import Schema, schema_from_document
from cohortium.errors import CohortiumError, InputError, SchemaError, SecretError
from cohortium.system.extras import how_to_install
from cohortium_client.source import database
from cohortium_client.source.mapping import CONVERSIONS, ColumnMapping, apply_mapping, check_mapping
from cohortium_client.source.source import Source, load_source, plain, read_parts, source_to_document


def section(text: str) -> Source:
    return TypeAdapter(Source).validate_python(tomllib.loads(text)["source"])


def sqlite(folder: Path, *statements: str, name: str = "table.sqlite") -> Path:
    path = folder / name
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


def from_sqlite(query: str) -> Source:
    return Source(url="sqlite:///table.sqlite", query=query)


def from_postgresql(cluster: Cluster, folder: Path, query: str, account: str = "reader") -> Source:
    return Source(url=cluster.url(account), query=query, password_file=password_file(folder, account))


# The section


WRITTEN = """
[source]
url = "postgresql://reader@db.example/clinic"
query = "SELECT * FROM visits"
password_file = "password"

[source.mapping.sex]
from = "GESCHLECHT"
recode = { "1" = "m", "2" = "f", "9" = "" }
default = "m"

[source.mapping.age]
factor = 0.5
offset = 1

[source.mapping.seen]
format = "%d.%m.%Y"

[source.mapping.weight]
convert = "lb to kg"
"""


def test_the_section_as_it_is_written() -> None:
    source = section(WRITTEN)
    assert source.mapping["sex"].origin == "GESCHLECHT"
    assert source.mapping["age"].scale == (0.5, 1.0)
    assert source.mapping["weight"].scale == (0.45359237, 0.0)
    assert source_to_document(source) == tomllib.loads(WRITTEN)["source"]
    assert TypeAdapter(Source).validate_python(source_to_document(source)) == source
    assert source_to_document(Source(path="a.csv", drop_bad_rows=True)) == {"path": "a.csv", "drop_bad_rows": True}


def test_the_examples_of_the_docs_are_good() -> None:
    text = (Path(__file__).parents[3] / "docs" / "sources.md").read_text()
    blocks = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    for block in blocks:
        if "column" in block:
            assert schema_from_document(block).names == ("age", "country")
    reported = [b["source"] for b in blocks if "source" in b]
    sources = [one if "mapping" not in one else {"path": "a.csv", **one} for one in reported]
    kinds = [TypeAdapter(Source).validate_python(s) for s in sources]
    assert [sorted(kind.tables) for kind in kinds].count(["diagnoses", "labs"]) == 1 and len(kinds) == 5
    for name in CONVERSIONS:
        assert f"`{name}`" in text


def test_an_offset_of_nothing_and_an_empty_default_are_kept() -> None:
    source = section('[source]\npath = "a.csv"\nmapping.a = { recode = { x = "y" }, default = "", offset = 0.0 }')
    assert source_to_document(source)["mapping"] == {"a": {"recode": {"x": "y"}, "default": "", "offset": 0.0}}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[source]\npath = "a.csv"\npassword = "x"', ("password",)),
        ('[source]\npath = "a.csv"\n[source.mapping.age]\nfactr = 2.0', ("mapping", "age", "factr")),
        ('[source]\npath = "a.csv"\n[source.mapping.age]\norigin = "b"', ("mapping", "age", "origin")),
        ('[source]\npath = "a.csv"\n[source.mapping.age]\nfactor = "2"', ("mapping", "age", "factor")),
        ('[source]\npath = "a.csv"\n[source.mapping.age]\nfrom = ""', ("mapping", "age", "from")),
    ],
)
def test_the_section_is_closed(text: str, place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        section(text)
    assert caught.value.errors()[0]["loc"] == place


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"path": "a.csv", "url": "sqlite:///a.sqlite", "query": "SELECT 1"},
        {"url": "sqlite:///a.sqlite"},
        {"path": "a.csv", "query": "SELECT 1"},
        {"path": "a.csv", "password_file": "p"},
        {"url": "not an address", "query": "SELECT 1"},
        {"url": "sqlite:///a.sqlite", "query": "DELETE FROM a"},
        {"url": "sqlite:///a.sqlite", "query": "-- SELECT\nDROP TABLE a"},
        {"url": "sqlite:///a.sqlite", "query": "selection"},
    ],
)
def test_contradictions(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Source(**changes)
    assert caught.value.code == "E_SOURCE"


@pytest.mark.parametrize("query", ["select 1", "/* a\n */ -- b\n (SELECT 1)", "WITH a AS (SELECT 1) SELECT * FROM a"])
def test_ways_to_write_a_select(query: str) -> None:
    assert Source(url="sqlite:///a.sqlite", query=query).query == query


# Passwords


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://reader:{CANARY}@db/clinic",
        "postgresql://reader:@db/clinic",
        f"postgresql://reader@db/clinic?password={CANARY}",
        f"postgresql://reader@db/clinic?sslpassword={CANARY}",
        f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{CANARY}",
        f"snowflake://reader@account/db?token={CANARY}",
    ],
)
def test_a_password_in_the_address_is_refused(url: str) -> None:
    with pytest.raises(SecretError) as caught:
        Source(url=url, query="SELECT 1")
    assert caught.value.code == "E_SECRET"
    assert CANARY not in str(caught.value)


def test_an_address_that_is_none_is_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        Source(url=f"postgresql:reader:{CANARY}@db", query="SELECT 1")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_a_password_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "password"
    path.write_text(CANARY)
    path.chmod(mode)
    source = Source(url="postgresql://reader@/x?host=/nowhere", query="SELECT 1 AS n", password_file="password")
    assert refusal(source, tmp_path).code == "E_SECRET"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"one\ntwo\n", b"one\0", None])
def test_a_password_file_holds_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.touch(mode=0o600)
        path.write_bytes(content)
    with pytest.raises(SecretError) as caught:
        database.read_password(path)
    assert caught.value.code == "E_SECRET"


@pytest.mark.parametrize("mode", [0o600, 0o400])
@pytest.mark.parametrize("content", [" a word ", " a word \n", " a word \r\n"])
def test_a_password_is_its_line(tmp_path: Path, mode: int, content: str) -> None:
    path = tmp_path / "password"
    path.write_text(content)
    path.chmod(mode)
    assert database.read_password(path) == " a word "


def test_bad_input_47_a_password_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", CANARY)
    assert refusal(Source(url="postgresql://reader@/x?host=/nowhere", query="SELECT 1"), tmp_path).code == "E_SECRET"


# Mappings


COLUMNS = Schema(
    person="id",
    columns=(
        Categorical(name="sex", categories=("f", "m"), nullable=True),
        Ordinal(name="stage", categories=(1, 2, 3), nullable=True),
        Continuous(name="weight", lower=0, upper=200, bins=200, nullable=True),
        Datetime(name="day", lower=datetime(2020, 1, 1), upper=datetime(2020, 12, 30), bins=365, nullable=True),
        Boolean(name="smoker", nullable=True),
    ),
)
SEX, STAGE, WEIGHT, DAY, SMOKER = COLUMNS.columns


def cells(column: Any, values: Any, **rule: Any) -> list[int]:
    """The codes of the values, mapped; the column's last cell is the missing one."""
    mapped = apply_mapping(ColumnMapping(**rule), pd.Series(values))
    return encode(pd.DataFrame({column.name: mapped}), Schema(columns=(column,))).values[:, 0].tolist()


@pytest.mark.parametrize(
    ("name", "rule", "place"),
    [
        ("gender", {"origin": "x"}, "source.mapping.gender"),
        ("weight", {"factor": 0.0}, "source.mapping.weight.factor"),
        ("weight", {"factor": -0.0}, "source.mapping.weight.factor"),
        ("weight", {"factor": float("nan")}, "source.mapping.weight.factor"),
        ("weight", {"factor": float("inf")}, "source.mapping.weight.factor"),
        ("weight", {"offset": float("-inf")}, "source.mapping.weight.offset"),
        ("weight", {"convert": "stone to kg"}, "source.mapping.weight.convert"),
        ("weight", {"convert": "lb to kg", "factor": 2.0}, "source.mapping.weight"),
        ("weight", {"format": "%d.%m.%Y"}, "source.mapping.weight.format"),
        ("sex", {"factor": 2.0}, "source.mapping.sex"),
        ("sex", {"default": "m"}, "source.mapping.sex.default"),
        ("sex", {"recode": {"1": "male"}}, "source.mapping.sex.recode"),
        ("sex", {"recode": {"1": "m"}, "default": "x"}, "source.mapping.sex.recode"),
        ("sex", {"recode": {"1": "m", " 1": "f"}}, "source.mapping.sex.recode"),
        ("stage", {"recode": {"IV": 4}}, "source.mapping.stage.recode"),
        ("smoker", {"recode": {"J": "ja"}}, "source.mapping.smoker.recode"),
        ("weight", {"recode": {"light": "50 kg"}}, "source.mapping.weight.recode"),
        ("day", {"format": "%d.%m."}, "source.mapping.day.format"),
        ("day", {"format": "DD.MM.YYYY"}, "source.mapping.day.format"),
        ("day", {"format": "%Q%Y"}, "source.mapping.day.format"),
        ("day", {"format": "%d.%m.%Y", "recode": {"x": "2020-01-05"}}, "source.mapping.day.recode"),
        ("id", {"origin": "x", "recode": {"1": "2"}}, "source.mapping.id"),
        ("id", {"factor": 2.0}, "source.mapping.id"),
    ],
)
def test_bad_mappings_name_their_place(tmp_path: Path, name: str, rule: dict[str, Any], place: str) -> None:
    with pytest.raises(SchemaError) as caught:
        load_source(Source(path="a.csv", mapping={name: ColumnMapping(**rule)}), tmp_path, COLUMNS)
    assert (caught.value.code, caught.value.where) == ("E_MAPPING", place)


def test_good_mappings_are_accepted() -> None:
    rules: dict[str, dict[str, Any]] = {
        "id": {"origin": "PATNR"},
        "sex": {"recode": {"1": "m", "9": ""}, "default": "NA"},
        "stage": {"recode": {"I": 1, "II": "2"}},
        "weight": {"recode": {"light": 100.5}, "convert": "lb to kg"},
        "day": {"format": "%d-%b-%Y %H:%M", "recode": {"never": "05-JAN-2020 00:00"}},
        "smoker": {"recode": {"J": True, "N": "no"}},
    }
    check_mapping({name: ColumnMapping(**rule) for name, rule in rules.items()}, COLUMNS)


def test_a_column_cannot_be_mapped_twice() -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        section(WRITTEN + '[source.mapping.sex]\nfrom = "x"')


def test_two_columns_may_come_from_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sex,stage\nf,1\nm,3\n")
    mapping = {"stage": ColumnMapping(origin="sex", recode={"f": 2}, default=3)}
    schema = Schema(columns=(SEX, STAGE))
    assert load_source(Source(path="a.csv", mapping=mapping), tmp_path, schema).values.tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("values", [["1", "2", "9", "x", ""], [1, 2, 9, 4, None], [1.0, 2.0, 9.0, 4.0, np.nan]])
def test_recode(values: list[Any]) -> None:
    recode = {"1": "m", "2": "f", "9": ""}
    assert cells(SEX, values, recode=recode) == [1, 0, 2, 2, 2]
    assert cells(SEX, values, recode=recode, default="f") == [1, 0, 2, 0, 2]
    assert cells(SEX, values, recode={**recode, "": "m"}) == [1, 0, 2, 2, 1]


def test_recode_leaves_other_values_as_they_are() -> None:
    values = pd.Series(["f", 3, 2.5, True, None, "9"], dtype=object)
    assert apply_mapping(ColumnMapping(recode={"9": "x"}), values).tolist() == ["f", 3, 2.5, True, None, "x"]


def test_recode_of_truth_and_of_words_that_look_missing() -> None:
    for values in ([True, False], ["TRUE", "False"], ["true", "false"]):
        assert cells(SEX, values, recode={"true": "m", "False": "f"}) == [1, 0]
    assert cells(SEX, ["NA", "na", ""], recode={"NA": "f"}) == [0, 2, 2]


def test_recode_of_a_date_that_means_missing() -> None:
    days = ["1900-01-01", "1900-01-01 00:00:00", "1900-01-01T00:00", "1900-01-01 00:00:00+00", "1900-01-01 00:00:01"]
    assert cells(DAY, days, recode={"1900-01-01": ""}) == [365, 365, 365, 365, 0]
    assert cells(DAY, pd.to_datetime(["1900-01-01", "2020-01-03"]), recode={"1900-01-01": ""}) == [365, 2]
    assert cells(DAY, [date(1900, 1, 1), date(2020, 1, 3)], recode={"1900-01-01": ""}) == [365, 2]


def test_units() -> None:
    assert cells(WEIGHT, ["100", "x", "", "999"], recode={"999": ""}, convert="lb to kg") == [45, 200, 200, 200]
    assert cells(WEIGHT, [98.6, 32, 212], convert="F to C") == [37, 0, 100]
    assert cells(WEIGHT, [1, 2], factor=2.5, offset=10.0) == [12, 15]
    assert cells(WEIGHT, [20, 10], offset=-10.0) == [10, 0]
    assert cells(WEIGHT, ["1e308", "-1e308", "inf", "nan"], factor=1e10) == [199, 0, 200, 200]
    assert cells(WEIGHT, pd.to_datetime(["2020-01-01"]), factor=2.0) == [200]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("%d.%m.%Y", "05.03.2020"), ("%d.%m.%Y", " 5.3.2020 "), ("%Y%m%d", "20200305"), ("%d-%b-%y", "05-MAR-20")],
)
def test_dates_in_a_format(pattern: str, text: str) -> None:
    other = ["2020-03-05T", "3/5/20", "now", "today", "", "31.02.2020", "20201301", text + " x"]
    assert cells(DAY, [text, *other, None], format=pattern) == [64, *[365] * (len(other) + 1)]


def test_a_format_with_a_zone_is_read_in_utc() -> None:
    assert cells(DAY, ["05.03.2020 00:30 +0200", "05.03.2020 00:30 +0000"], format="%d.%m.%Y %H:%M %z") == [63, 64]


def test_a_fine_fraction_moves_no_other_row() -> None:
    texts = ["31.12.9999 00:00:00.5", "01.01.2020 00:00:00.123456789"]
    assert cells(DAY, texts, format="%d.%m.%Y %H:%M:%S.%f") == [364, 0]


WILD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.datetimes(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(),
    st.binary(max_size=6),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(["1", "2", "9", "NA", "05.03.2020", "31.12.9999", "01.01.2020 00:00:00.123456789", "now", "1e400"]),
)
RULES: dict[str, dict[str, Any]] = {
    "sex": {"recode": {"1": "m", "2": "f", "": "f"}, "default": "m"},
    "stage": {"recode": {"9": 3}},
    "weight": {"recode": {"9": ""}, "factor": -2.5, "offset": 7.0},
    "day": {"recode": {"1": "05.03.2020"}, "format": "%d.%m.%Y"},
    "smoker": {"recode": {"1": False}},
}


@settings(deadline=None, max_examples=examples(200))
@given(st.data(), st.sampled_from(COLUMNS.columns), st.booleans())
def test_no_value_raises_and_no_row_changes_another(data: st.DataObject, column: Any, with_rule: bool) -> None:
    """What rows of any values become together is what each becomes alone."""
    values = [plain(v) for v in data.draw(st.lists(WILD, min_size=1, max_size=8))]
    rule = RULES[column.name] if with_rule else {}
    together = cells(column, pd.Series(values, dtype=object), **rule)
    assert together == [cells(column, pd.Series([v], dtype=object), **rule)[0] for v in values]


# Values of databases


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (0.5, 0.5),
        ("x", "x"),
        (Decimal("7.00"), 7),
        (Decimal("12345678901234567890123"), 12345678901234567890123),
        (Decimal("0.5"), 0.5),
        (Decimal("1E+100000"), float("inf")),
        (Decimal("Infinity"), float("inf")),
        (Decimal("sNaN"), None),
        (date(2020, 3, 5), "2020-03-05"),
        (datetime(2020, 3, 5, 10, 30), "2020-03-05 10:30:00"),
        (datetime(2020, 3, 5, 10, 30, tzinfo=UTC), "2020-03-05 10:30:00+00:00"),
        (time(10, 30), "10:30:00"),
        (timedelta(hours=1), "1:00:00"),
        ("é".encode(), "é"),
        (memoryview(b"f"), "f"),
        (bytearray(b"f"), "f"),
        (b"\xff\x00", "\\xff00"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ([1], None),
        ((1, 2), None),
        ({"a": 1}, None),
    ],
)
def test_plain_values(value: object, expected: object) -> None:
    got = plain(value)
    assert type(got) is type(expected)
    assert got == expected


def test_a_decimal_that_is_no_number() -> None:
    got = plain(Decimal("NaN"))
    assert isinstance(got, float)
    assert np.isnan(got)


TYPED = Schema(
    person="patient",
    columns=(
        Continuous(name="dose", lower=0, upper=10, decimals=2, bins=20, nullable=True),
        Ordinal(name="stage", categories=(1, 2, 3), nullable=True),
        Datetime(name="born", lower=datetime(1900, 1, 1), upper=datetime(2020, 1, 1), bins=120, nullable=True),
        Datetime(name="seen", lower=datetime(2020, 1, 1), upper=datetime(2020, 2, 1), resolution="minute", bins=999),
        Datetime(name="zoned", lower=datetime(2020, 1, 1), upper=datetime(2020, 2, 1), resolution="hour", bins=744),
        Boolean(name="smoker", nullable=True),
        Categorical(name="code", categories=("ab", "é"), nullable=True),
        Categorical(name="flag", categories=(0, 1), nullable=True),
    ),
)
_U = [UUID(int=i) for i in (1, 1, 2, 3)]
_BERLIN = [datetime.fromisoformat(f"2020-01-{d:02}T00:30:00+01:00") for d in (5, 6, 7, 8)]
VALUES: dict[str, list[Any]] = {
    "patient": _U,
    "dose": [Decimal("0.50"), Decimal("9.99"), None, Decimal("12.00")],
    "stage": [Decimal("1"), None, Decimal("3"), Decimal("2")],
    "born": [date(1950, 6, 1), date(2019, 12, 31), None, date(1890, 1, 1)],
    "seen": [datetime(2020, 1, 5, 10, 30, 15, 250_000 * i) for i in range(4)],
    "zoned": _BERLIN,
    "smoker": [True, False, None, True],
    "code": [b"ab", "é".encode(), None, b"\xff"],
    "flag": [1, 0, None, 1],
}
EXPECTED = [
    [1, 0, 50, 143, 95, 1, 0, 1],
    [19, 3, 119, 143, 119, 0, 1, 0],
    [20, 2, 120, 143, 143, 2, 2, 2],
    [19, 1, 0, 143, 167, 1, 2, 1],
]
DDL = (
    "patient uuid, dose numeric(6, 2), stage numeric, born date, seen timestamp, zoned timestamptz, smoker boolean,"
    " code bytea, flag smallint"
)


def typed_csv(folder: Path) -> Source:
    words = {name: [_written(v) for v in values] for name, values in VALUES.items()}
    pd.DataFrame(words).to_csv(folder / "typed.csv", index=False)
    return Source(path="typed.csv")


def _written(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def typed_parquet(folder: Path) -> Source:
    arrays = {name: pa.array(map(str, values) if name == "patient" else values) for name, values in VALUES.items()}
    pq.write_table(pa.table(arrays), folder / "typed.parquet")
    return Source(path="typed.parquet")


def typed_sqlite(folder: Path) -> Source:
    def stored(value: object) -> object:
        kept = value is None or isinstance(value, bool | int | bytes)
        return value if kept else float(value) if isinstance(value, Decimal) else str(value)

    with closing(sqlite3.connect(folder / "typed.sqlite")) as connection:
        connection.execute(f"CREATE TABLE typed ({DDL})")
        rows = [tuple(map(stored, row)) for row in zip(*VALUES.values(), strict=True)]
        connection.executemany("INSERT INTO typed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    return Source(url="sqlite:///typed.sqlite", query="SELECT * FROM typed")


@pytest.mark.parametrize("kind", [typed_csv, typed_parquet, typed_sqlite])
def test_values_of_every_type(tmp_path: Path, kind: Any) -> None:
    codes = load_source(kind(tmp_path), tmp_path, TYPED)
    assert codes.values.tolist() == EXPECTED
    assert codes.persons.tolist() == patient_hashes()


def patient_hashes() -> list[int]:
    table = pd.DataFrame({"patient": [str(u) for u in _U], "a": ["x"] * 4})
    schema = Schema(person="patient", columns=(Categorical(name="a", categories=("x", "y")),))
    return encode(table, schema).persons.tolist()


@pytest.mark.parametrize("habit", ["", "SET DateStyle = 'German'; SET TimeZone = 'America/New_York'"])
def test_values_of_every_type_in_postgresql(
    tmp_path: Path,
    postgresql: Cluster,
    table_name: str,
    habit: str,
) -> None:
    """However the account likes its dates."""
    postgresql.execute(f"CREATE TABLE {table_name} ({DDL})", "ALTER ROLE reader RESET ALL")
    postgresql.execute(*(f"ALTER ROLE reader {statement}" for statement in habit.split("; ") if statement))
    marks = ", ".join(["%s"] * len(VALUES))
    with closing(postgresql.connect()) as connection:
        for row in zip(*VALUES.values(), strict=True):
            connection.execute(f"INSERT INTO {table_name} VALUES ({marks})", row)
    codes = load_source(from_postgresql(postgresql, tmp_path, f"SELECT * FROM {table_name}"), tmp_path, TYPED)
    postgresql.execute("ALTER ROLE reader RESET ALL")
    assert codes.values.tolist() == EXPECTED
    assert codes.persons.tolist() == patient_hashes()


def test_values_that_python_cannot_hold(tmp_path: Path, postgresql: Cluster) -> None:
    """They are missing or clipped, and break nothing off."""
    query = """
        SELECT 'x' AS patient, 'NaN'::numeric AS dose, '[1]'::json AS stage, 'infinity'::date AS born,
               timestamp '2020-01-05 10:30' AS seen, timestamptz '2020-01-05 00:00Z' AS zoned, NULL AS smoker,
               ARRAY['ab'] AS code, interval '1 day' AS flag
        UNION ALL SELECT 'x', 1e1000, '{}', '0044-03-15 BC', timestamp '2020-01-05 10:30', '2020-01-05 00:00Z', NULL,
               NULL, '200000 years'
        UNION ALL SELECT 'x', '-Infinity', '[]', '15000-01-01', '2020-01-05 10:30', '2020-01-05 00:00Z', NULL,
               NULL, NULL
        UNION ALL SELECT 'x', 1, NULL, NULL, '-infinity', 'infinity', NULL, NULL, NULL
    """
    codes = load_source(from_postgresql(postgresql, tmp_path, query), tmp_path, TYPED)
    assert (codes.values[:, 0].tolist(), codes.left_out) == ([20, 20, 20], 1)
    assert (codes.values[:, [1, 2, 5, 6, 7]] == [3, 120, 2, 2, 2]).all()
    assert codes.values[:, 3].tolist() == [143] * 3


def test_long_numbers_tell_persons_apart(tmp_path: Path, postgresql: Cluster) -> None:
    query = "SELECT 1 AS n, 9007199254740992::numeric + i AS id FROM generate_series(0, 9) AS i"
    schema = Schema(person="id", columns=NUMBERS.columns)
    codes = load_source(from_postgresql(postgresql, tmp_path, query), tmp_path, schema)
    assert len(set(codes.persons.tolist())) == 10


@pytest.mark.parametrize("text", ["10:30 a:b :c", "100 %", "%s %(x)s", "a;b"])
def test_a_query_is_taken_as_it_is_written(tmp_path: Path, postgresql: Cluster, text: str) -> None:
    schema = Schema(columns=(Categorical(name="a", categories=(text, "other")),))
    sqlite(tmp_path)
    query = f"SELECT '{text}' AS a WHERE '{text}' LIKE '%';\n"
    for source in (from_sqlite(query), from_postgresql(postgresql, tmp_path, query)):
        assert load_source(source, tmp_path, schema).values.tolist() == [[0]]


def test_names_of_files_and_columns_are_taken_as_they_are(tmp_path: Path) -> None:
    sqlite(tmp_path, 'CREATE TABLE t AS SELECT 55 AS "t.n"', name="täble #1.sqlite")
    mapping = {"n": ColumnMapping(origin="t.n")}
    source = Source(url="sqlite:///täble #1.sqlite", query="SELECT * FROM t", mapping=mapping)
    assert load_source(source, tmp_path, NUMBERS).values.tolist() == [[5]]


def test_only_a_column_that_is_asked_for_may_not_be_twice(tmp_path: Path) -> None:
    sqlite(tmp_path)
    assert len(load_source(from_sqlite("SELECT 1 AS n, 2 AS x, 3 AS x"), tmp_path, NUMBERS)) == 1
    assert refusal(from_sqlite("SELECT 1 AS n, 2 AS n"), tmp_path).code == "E_SCHEMA_DUP"


# Streaming

HALFWAY = {
    "sqlite": "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 50000)"
    " SELECT i AS n, CASE WHEN i = 45000 THEN abs(-9223372036854775807 - 1) END AS x FROM s",
    "postgresql": "SELECT i AS n, 1 / (45000 - i) AS x FROM generate_series(1, 50000) AS i",
}


@pytest.mark.parametrize("kind", HALFWAY)
def test_a_query_that_fails_halfway(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """The rows before come first, so that they were not waited for; then the failure, without its text."""
    sqlite(tmp_path)
    source = from_sqlite(HALFWAY[kind])
    if kind == "postgresql":
        source = from_postgresql(request.getfixturevalue("postgresql"), tmp_path, HALFWAY[kind])
    parts = read_parts(source, tmp_path, NUMBERS)
    assert [len(next(parts)) for _ in range(4)] == [database.ROWS] * 4
    with pytest.raises(InputError) as caught:
        next(parts)
    assert (caught.value.code, caught.value.where) == ("E_SOURCE", "source.query")
    assert "broke it off" in caught.value.what
    assert refusal(source, tmp_path).code == "E_SOURCE"  # never a table of half the rows


def test_a_connection_that_is_cut(tmp_path: Path, postgresql: Cluster) -> None:
    source = from_postgresql(postgresql, tmp_path, "SELECT i AS n FROM generate_series(1, 50000) AS i")
    parts = read_parts(source, tmp_path, NUMBERS)
    next(parts)
    postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'")
    with pytest.raises(InputError) as caught:
        list(parts)
    assert caught.value.code == "E_SOURCE"


def test_a_large_result_is_never_held(tmp_path: Path) -> None:
    """200 MB of rows, and never more than a few parts of 10 MB at once."""
    sqlite(tmp_path)
    query = (
        "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 200000)"
        " SELECT i AS n, printf('%01000d', i) AS note FROM s"
    )
    tracemalloc.start()
    rows = sum(len(part) for part in read_parts(from_sqlite(query), tmp_path, NUMBERS))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 200_000
    assert peak < 50e6


# Read only


WRITES = [
    "WITH gone AS (DELETE FROM {t} RETURNING n) SELECT n FROM gone",
    "SELECT n FROM {t}; DELETE FROM {t}",
    "SELECT 1 AS n; COMMIT; BEGIN READ WRITE; DELETE FROM {t}; COMMIT; SELECT 1 AS n",
    "SELECT forget_{t}() AS n",
    "SELECT nextval('s_{t}') AS n",
    "SELECT set_config('transaction_read_only', 'off', false) AS x, forget_{t}() AS n",
    "SELECT n FROM {t} FOR UPDATE",
    "SELECT n INTO other_{t} FROM {t}",
]


@pytest.mark.parametrize("query", WRITES)
def test_postgresql_refuses_to_write(
    tmp_path: Path,
    postgresql: Cluster,
    table_name: str,
    query: str,
) -> None:
    """Even under the account that owns the table."""
    postgresql.execute(
        f"CREATE TABLE {table_name} AS SELECT 7391 AS n",
        f"CREATE FUNCTION forget_{table_name}() RETURNS int LANGUAGE sql AS 'DELETE FROM {table_name} RETURNING n'",
        f"CREATE SEQUENCE s_{table_name}",
    )
    error = refusal(from_postgresql(postgresql, tmp_path, query.format(t=table_name), OWNER), tmp_path)
    with closing(postgresql.connect()) as connection:
        left = connection.execute(f"SELECT count(*) FROM {table_name}").fetchone()
        drawn = connection.execute(f"SELECT is_called FROM s_{table_name}").fetchone()
    postgresql.execute(f"DROP FUNCTION forget_{table_name}", f"DROP SEQUENCE s_{table_name}")
    assert (left, drawn) == ((1,), (False,))
    assert error.code == "E_SOURCE"
    assert "7391" not in str(error)


@pytest.mark.parametrize(
    "query",
    [
        "WITH x AS (SELECT 1) DELETE FROM t",
        "WITH x AS (SELECT 1) DELETE FROM t RETURNING n",
        "WITH x AS (SELECT 8 AS n) INSERT INTO t SELECT n FROM x",
        "SELECT n FROM t; DELETE FROM t",
    ],
)
def test_sqlite_refuses_to_write(tmp_path: Path, query: str) -> None:
    path = sqlite(tmp_path, "CREATE TABLE t AS SELECT 7391 AS n")
    before = path.read_bytes()
    error = refusal(from_sqlite(query), tmp_path)
    assert error.code == "E_SOURCE"
    assert "7391" not in str(error)
    assert path.read_bytes() == before


def test_the_reason_is_reported(tmp_path: Path, postgresql: Cluster) -> None:
    sqlite(tmp_path, "CREATE TABLE t AS SELECT 1 AS n")
    postgresql.execute("CREATE TABLE IF NOT EXISTS closed (n int)", "REVOKE ALL ON closed FROM reader")

    def reason(source: Source) -> str:
        return refusal(source, tmp_path).what.partition(": ")[2]

    assert "write" in reason(from_sqlite("WITH x AS (SELECT 1) DELETE FROM t"))
    for query, word in {
        f"SELECT n FROM nowhere WHERE '{CANARY}' = ''": "no such table",
        f"SELECT absent AS n FROM closed WHERE '{CANARY}' = ''": "no such column",
    }.items():
        assert word in reason(from_sqlite(query.replace("closed", "t")))
        assert word in reason(from_postgresql(postgresql, tmp_path, query))
    assert "may not read" in reason(from_postgresql(postgresql, tmp_path, "SELECT n FROM closed"))
    for source in (
        from_sqlite(f"SELECT '{CANARY}' SELECT"),
        from_postgresql(postgresql, tmp_path, "SELECT FROM WHERE 1 = 1 =="),
    ):
        assert "well-formed" in reason(source)
    cast = from_postgresql(postgresql, tmp_path, f"SELECT '{CANARY}'::text::int AS n")
    assert refusal(cast, tmp_path).code == "E_SOURCE"


def test_nothing_is_ever_committed(tmp_path: Path) -> None:
    sqlite(tmp_path)
    seen: list[str] = []
    for name in ("commit", "rollback"):
        sqlalchemy.event.listen(sqlalchemy.Engine, name, lambda _connection, name=name: seen.append(name))
    load_source(from_sqlite("SELECT 1 AS n"), tmp_path, NUMBERS)
    refusal(from_sqlite("SELECT 1 AS m"), tmp_path)
    next(read_parts(from_sqlite("SELECT 1 AS n"), tmp_path, NUMBERS))
    assert seen == ["rollback"] * 3


def test_no_row_is_written_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However much else is."""
    sqlite(tmp_path, f"CREATE TABLE t AS SELECT 1 AS n, '{CANARY}' AS note")
    with caplog.at_level(logging.DEBUG, logger="sqlalchemy"):
        logging.getLogger("sqlalchemy.engine").debug("something")
        assert len(load_source(from_sqlite("SELECT * FROM t"), tmp_path, NUMBERS)) == 1
    assert "something" in caplog.text
    assert CANARY not in caplog.text


# Databases that are not there


def test_a_database_that_is_not_reached(tmp_path: Path, postgresql: Cluster) -> None:
    (tmp_path / "wrong").touch(mode=0o600)
    (tmp_path / "wrong").write_text(CANARY)
    nowhere = f"postgresql://reader@/clinic?host={tmp_path}"
    for source in (
        from_sqlite("SELECT 1 AS n"),
        Source(url=nowhere, query="SELECT 1 AS n"),
        Source(url=postgresql.url(), query="SELECT 1 AS n", password_file="wrong"),
        Source(url=postgresql.url(), query="SELECT 1 AS n"),
        Source(url=postgresql.url().replace("clinic", "elsewhere"), query="SELECT 1", password_file="wrong"),
    ):
        wanted = "E_INPUT_NOT_FOUND" if str(source.url).startswith("sqlite") else "E_DATABASE"
        assert refusal(source, tmp_path).code == wanted
    assert not (tmp_path / "table.sqlite").exists()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "table.sqlite").write_text(f"name,age\n{CANARY},3\n" * 100)
    error = refusal(from_sqlite("SELECT 1 AS n FROM t"), tmp_path)
    assert (error.code, "not an SQLite database" in error.what) == ("E_SOURCE", True)
    assert refusal(Source(url="sqlite://", query="SELECT 1 AS n"), tmp_path).code == "E_SOURCE"


def test_text_in_another_encoding(tmp_path: Path) -> None:
    """It is missing, and its place is reported to whoever asks for it."""
    sqlite(tmp_path, "CREATE TABLE t AS SELECT 5 AS n UNION ALL SELECT CAST(x'ff31' AS TEXT) UNION ALL SELECT 7")
    faults = Faults("t")
    codes = load_source(from_sqlite("SELECT n FROM t"), tmp_path, NUMBERS, faults)
    assert (len(codes), codes.left_out) == (2, 1)
    assert [(f.kind.name, f.column, f.rows) for f in faults.found] == [("encoding", "n", (2,))]


def test_text_of_a_database_that_does_not_know_its_encoding(tmp_path: Path, postgresql: Cluster) -> None:
    """What PostgreSQL hands on as it lies is read cell by cell, whatever type it calls it."""
    postgresql.execute("DROP DATABASE IF EXISTS loose", "CREATE DATABASE loose ENCODING 'SQL_ASCII' TEMPLATE template0")
    url = postgresql.url().replace("/clinic", "/loose")
    schema = Schema(person="id", columns=(Continuous(name="n", lower=0, upper=100, bins=10, nullable=True),))
    for kind in ("text", "varchar", "bpchar", "name", "json", "unknown"):
        bad = "E'\\xfc'" if kind != "json" else "E'\"\\xfc\"'"
        rows = [f"SELECT 1 AS id, '5'::{kind} AS n", f"SELECT 2, {bad}::{kind}", f"SELECT 3, '7'::{kind}"]
        if kind == "unknown":
            rows = ["SELECT 1 AS id, '5' AS n", f"SELECT 2, {bad}", "SELECT 3, '7'"]
        query = " UNION ALL ".join(rows)
        source = Source(url=url, query=query, password_file=password_file(tmp_path))
        faults = Faults("t")
        assert load_source(source, tmp_path, schema, faults).values[:, 0].tolist() == [0, 10, 0], kind
        assert [(f.kind.name, f.column, f.rows) for f in faults.found] == [("encoding", "n", (2,))], kind


def test_text_of_a_database_in_another_encoding(tmp_path: Path, postgresql: Cluster) -> None:
    """It is read as it is meant, and a byte that means nothing there makes an end of nobody else's row."""
    create = "CREATE DATABASE western ENCODING 'WIN1252' TEMPLATE template0"
    postgresql.execute("DROP DATABASE IF EXISTS western", create)
    url = postgresql.url().replace("/clinic", "/western")
    schema = Schema(columns=(Categorical(name="n", categories=("Jürgen", "€"), nullable=True),))
    query = "SELECT E'J\\xfcrgen'::text AS n UNION ALL SELECT E'\\x81' UNION ALL SELECT E'\\x80'"
    source = Source(url=url, query=query, password_file=password_file(tmp_path))
    assert load_source(source, tmp_path, schema).values[:, 0].tolist() == [0, 2, 1]


def test_a_missing_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = refusal(Source(url="postgresql://reader@db/clinic", query="SELECT 1"), tmp_path)
    assert error.code == "E_SOURCE"
    assert how_to_install("postgresql") in error.fix and "[postgresql]" in error.fix


@pytest.mark.parametrize("url", ["postgres://reader@db/x", "nosuch://db/x", "postgresql+nosuch://db/x"])
def test_an_unknown_kind_of_database(tmp_path: Path, url: str) -> None:
    error = refusal(Source(url=url, query="SELECT 1"), tmp_path)
    assert (error.code, error.where) == ("E_SOURCE", "source.url")


def test_unknown_options(tmp_path: Path) -> None:
    source = Source(url=f"postgresql://reader@/x?host={tmp_path}&canary=1", query="SELECT 1")
    assert refusal(source, tmp_path).code in ("E_SOURCE", "E_DATABASE")


def test_whoever_has_a_file_loads_no_databases_library() -> None:
    """It is a fifth of a second, at every start and refusal."""
    code = "import sys, cohortium_client.preflight, cohortium_client.metrics; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
