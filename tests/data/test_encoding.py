"""Codes: rows 11 to 17 of docs/threat-model.md 5.2, and the laws of encode and decode."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import schemas

from cohortium.data.columns import Boolean, Categorical, Continuous, Datetime, Ordinal
from cohortium.data.encoding import decode, encode, encode_parts
from cohortium.data.schema import Schema
from cohortium.errors import SchemaError

WILD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.datetimes(),
    st.sampled_from(["18446744073709551615", "-1", "1e400", "1,5", "nan", "Infinity", "now", "", " NA ", "=1+1"]),
    st.sampled_from(["9999-12-31", "2020-01-01 00:00:00.123456789", "1/2/20", "2020-01-01T00:00+02:00", "0001-01-01"]),
)


def cells(column: Any, values: Any) -> list[int]:
    """The codes of values; all rows are kept, so that the column must be nullable."""
    return encode(pd.DataFrame({column.name: values}), Schema(columns=(column,))).values[:, 0].tolist()


AGE = Continuous(name="age", lower=0, upper=99, bins=10, nullable=True)
SEX = Categorical(name="sex", categories=("f", "m"), nullable=True)
DAY = Datetime(name="day", lower=datetime(2020, 1, 1), upper=datetime(2020, 12, 31), bins=12, nullable=True)


def test_bad_input_11_mixed_types_in_a_numeric_column() -> None:
    assert cells(AGE, ["12", "abc", "1,5", "", " 12 "]) == [1, 10, 10, 10, 1]
    assert cells(AGE, ["18446744073709551615", "-1", "x"]) == [9, 0, 10]


def test_bad_input_12_special_numbers() -> None:
    texts = ["nan", "inf", "-inf", "Infinity", "1e308", "1e400", "-1e308", "-0.0"]
    assert cells(AGE, texts) == [10, 10, 10, 10, 9, 10, 0, 0]  # what is infinite is no number
    assert cells(AGE, [np.nan, np.inf, -np.inf, 1e308, -0.0]) == [10, 10, 10, 9, 0]
    assert cells(AGE, [2**80, -(2**80), None]) == [9, 0, 10]


def test_bad_input_13_undeclared_category() -> None:
    assert cells(SEX, ["f", "x", "", None, "m "]) == [0, 2, 2, 2, 1]
    other = Categorical(name="sex", categories=("f", "__OTHER__"), other="__OTHER__", nullable=True)
    assert cells(other, ["f", "x", "", "NA"]) == [0, 1, 2, 2]


def test_bad_input_14_the_width_is_the_schemas() -> None:
    table = pd.DataFrame({"sex": [f"value {i}" for i in range(10_000)]})
    codes = encode(table, Schema(columns=(SEX,)))
    assert (codes.sizes, codes.values.dtype) == ((3,), np.int16)


@pytest.mark.parametrize("values", [["30"] * 5, [""] * 5, [None] * 5, [np.nan] * 5])
@pytest.mark.parametrize("column", [AGE, SEX, DAY, Boolean(name="b", nullable=True)], ids=lambda c: c.kind)
def test_bad_input_15_constant_and_empty_columns(column: Any, values: list[Any]) -> None:
    assert len(set(cells(column, values))) == 1


def test_bad_input_16_dates() -> None:
    texts = ["2020-01-15", "1066-10-14", "9999-12-31", "0001-01-01", "2020-13-01", "3/4/20", "now", "2020-06"]
    got = cells(DAY, texts)
    assert got[:5] == [0, 0, 11, 0, 12]
    assert got[5] < 12
    assert got[6] == 12  # the time of reading is nobody's data
    assert cells(DAY, ["2020-02-01T00:30:00+01:00", "2020-01-31T23:30:00Z"]) == [1, 1]
    assert cells(DAY, [pd.Timestamp("2020-12-31"), None]) == [11, 12]
    zoned = pd.to_datetime(["2020-02-01T00:30:00+01:00"], utc=True)
    assert encode(pd.DataFrame({"day": zoned}), Schema(columns=(DAY,))).values.tolist() == [[1]]


def test_bad_input_16_a_fine_time_moves_no_other_row() -> None:
    alone = cells(DAY, ["9999-12-31"])
    assert cells(DAY, ["9999-12-31", "2020-01-01 00:00:00.123456789"])[:1] == alone


def test_bad_input_17_unicode() -> None:
    column = Categorical(name="town", categories=("Zürich", "עכו", "😀"), nullable=True)
    assert cells(column, ["Zu\u0308rich", "Zürich", "Ζürich", "עכו", "😀", "\u202eעכו"]) == [0, 0, 3, 1, 2, 3]  # noqa: RUF001


def test_whole_number_categories_match_with_and_without_a_point() -> None:
    codes = Ordinal(name="c", categories=(1, 3), nullable=True)
    assert cells(codes, ["1", "1.0", "3.00", "3", "01", "+1", "1.5"]) == [0, 0, 1, 1, 2, 2, 2]
    assert cells(codes, [1, 3.0, np.int8(3), None]) == [0, 1, 1, 2]


def test_codes_are_text() -> None:
    """However alike they are as numbers; a number of a type of its own is the code that it is written as."""
    words = ("401", "401.0", "401.00", "250.0", "01", "1", "+1", "1.10", "1.1")
    codes = Categorical(name="icd", categories=words, nullable=True)
    assert cells(codes, [*words, "250", "250.00", "001", "1.100"]) == [*range(9), 9, 9, 9, 9]
    assert cells(codes, [401, 401.0, 250.0, 250, 1.1, 2.0]) == [0, 0, 3, 3, 8, 9]


@settings(deadline=None, max_examples=examples(150))
@given(schemas(), st.integers(0, 2**32 - 1))
def test_decoding_stays_in_the_cell(schema: Schema, seed: int) -> None:
    """Every value drawn for a cell belongs to it, unless the cell is a bin made of points alone."""
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.integers(0, size, 60) for size in schema.sizes])
    table = decode(values, schema, rng)
    if schema.person:
        table[schema.person] = 1
    again = encode(table, schema)
    assert again.left_out == 0
    for j, column in enumerate(schema.columns):
        reachable = ~np.isin(values[:, j], bins_of_points_alone(column))
        np.testing.assert_array_equal(again.values[reachable, j], values[reachable, j], err_msg=column.kind)


@settings(deadline=None, max_examples=examples(200))
@given(schemas(), st.lists(WILD, min_size=2, max_size=8))
def test_no_value_raises_and_no_row_depends_on_another(schema: Schema, values: list[Any]) -> None:
    for column in schema.columns:
        column = replace(column, nullable=True)
        objects = pd.Series(values, dtype=object)
        assert cells(column, objects) == [cells(column, objects[i : i + 1])[0] for i in range(len(values))]
        assert len(cells(column, values)) == len(values)  # in whatever type pandas takes them for


@settings(deadline=None, max_examples=examples(100))
@given(schemas(), st.lists(st.text(max_size=12), min_size=2, max_size=8))
def test_no_text_depends_on_another_row(schema: Schema, values: list[str]) -> None:
    for column in schema.columns:
        column = replace(column, nullable=True)
        assert cells(column, values) == [cells(column, [value])[0] for value in values]


@settings(deadline=None, max_examples=examples(60))
@given(st.lists(st.text(max_size=12), min_size=2, max_size=30), st.integers(1, 29))
def test_parts_are_encoded_as_the_whole(values: list[str], at: int) -> None:
    schema = Schema(person="who", columns=(AGE, SEX, DAY))
    table = pd.DataFrame({"who": values, "age": values, "sex": values, "day": values})
    whole = encode(table, schema)
    parts = encode_parts([table[:at], table[at:]], schema)
    np.testing.assert_array_equal(parts.values, whole.values)
    np.testing.assert_array_equal(parts.persons, whole.persons)


@settings(deadline=None, max_examples=examples(30))
@given(schemas(), st.integers(0, 2**32 - 1))
def test_decoding_emits_declared_values_only(schema: Schema, seed: int) -> None:
    """200 canaries, strings and rare numbers, go in; none comes out."""
    rng = np.random.default_rng(seed)
    strings = [f"canary-{i:04d}" for i in range(100)]
    numbers = [1e6 + 0.123456789 * (i + 1) for i in range(100)]
    canaries = pd.Series([*strings, *numbers], dtype=object)
    open_schema = Schema(columns=tuple(replace(c, nullable=True) for c in schema.columns))
    codes = encode(pd.DataFrame(dict.fromkeys(open_schema.names, canaries)), open_schema)
    out = decode(codes.values, open_schema, rng)
    emitted = {str(v) for name in out for v in out[name]}
    assert emitted.isdisjoint({str(c) for c in canaries})
    for column in open_schema.columns:
        shown = out[column.name].dropna()
        if isinstance(column, Categorical | Ordinal):
            assert set(shown) <= set(column.categories)
        elif isinstance(column, Continuous | Datetime):
            assert ((shown >= column.lower) & (shown <= column.upper)).all()


def bins_of_points_alone(column: Any) -> list[int]:
    """Bins no value can fall into, as each of their values has a cell of its own."""
    if not isinstance(column, Continuous):
        return []
    points = set(column.point_indices.tolist())
    ranges = [range(a, b) for a, b in zip(column.cuts[:-1], column.cuts[1:], strict=True)]
    return [i for i, values in enumerate(ranges) if len(values) <= len(points) and points.issuperset(values)]


def test_an_outlier_changes_neither_digest_nor_widths() -> None:
    """docs/threat-model.md P10."""
    schema = Schema(columns=(AGE, SEX, DAY))
    table = pd.DataFrame({"age": ["30", "40"], "sex": ["f", "m"], "day": ["2020-01-01", "2020-05-01"]})
    outlier = pd.DataFrame({"age": ["1000000000"], "sex": ["new category"], "day": ["2999-01-01"]})
    digest = schema.digest
    before = encode(table, schema)
    after = encode(pd.concat([table, outlier]), schema)
    assert (after.sizes, schema.digest) == (before.sizes, digest)
    np.testing.assert_array_equal(after.values[:2], before.values)


def test_a_missing_value_changes_no_width_and_no_row() -> None:
    """docs/threat-model.md P11."""
    schema = Schema(columns=(AGE, SEX))
    full = pd.DataFrame({"age": [30.0, 40.0], "sex": ["f", "m"]})
    holed = pd.DataFrame({"age": [30.0, np.nan], "sex": ["f", "m"]})
    a, b = encode(full, schema), encode(holed, schema)
    assert (a.sizes, a.values.shape) == (b.sizes, b.values.shape)
    assert decode(a.values, schema, np.random.default_rng(0)).dtypes.equals(
        decode(b.values, schema, np.random.default_rng(0)).dtypes
    )


def test_a_row_outside_the_table_is_left_out() -> None:
    schema = Schema(columns=(Continuous(name="age", lower=0, upper=99),))
    codes = encode(pd.DataFrame({"age": ["1", "", "x"]}), schema)
    assert (len(codes), codes.left_out) == (1, 2)


def test_missing_and_repeated_columns() -> None:
    schema = Schema(columns=(AGE,))
    with pytest.raises(SchemaError) as missing:
        encode(pd.DataFrame({"sex": ["f"]}), schema)
    assert missing.value.code == "E_SCHEMA_MISSING"
    with pytest.raises(SchemaError) as twice:
        encode(pd.DataFrame([[1, 2]], columns=["age", "age"]), schema)
    assert twice.value.code == "E_SCHEMA_DUP"


def test_values_of_a_bin_leave_its_points_alone() -> None:
    column = Continuous(name="hours", lower=0, upper=9, bins=2, points=(0.0, 3.0, 4.0, 9.0))
    schema = Schema(columns=(column,))
    drawn = decode(np.repeat([[0], [1]], 200, axis=0), schema, np.random.default_rng(0))["hours"]
    assert set(drawn[:200]) == {1, 2}
    assert set(drawn[200:]) == {5, 6, 7, 8}


def test_a_zero_means_the_same_whoever_else_writes_one() -> None:
    """-0.0 equals 0, so that whichever came first would be read for both."""
    columns = (Boolean(name="a", nullable=True), Categorical(name="b", categories=("0", "1"), nullable=True))
    for values in ([-0.0, 0, 0.0, 1], [0, -0.0, 0.0, 1]):
        for kind in (object, float, np.float32):
            table = pd.DataFrame({name: pd.Series(values, dtype=kind) for name in "ab"})
            assert encode(table, Schema(columns=columns)).values.tolist() == [[0, 0], [0, 0], [0, 0], [1, 1]]
