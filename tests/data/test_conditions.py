"""Conditions: what may be written, what it means for a column's values, and what is refused in which words."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import columns

from cohortium import between, other_than
from cohortium.data.columns import Boolean, Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.data.columns.dequantization import grid_of
from cohortium.data.columns.encoding import values_at
from cohortium.data.conditions.parsing import Inclusive, selected, selection, selection_by_text
from cohortium.data.conditions.selection import Selection, everything
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError

AGE = Continuous(name="age", lower=0, upper=99, bins=10, nullable=True)
DOSE = Continuous(name="dose", lower=0.05, upper=2.05, decimals=1, bins=4)
STAGE = Ordinal(name="stage", categories=("none", "mild", "severe", "a..b"))
CODE = Ordinal(name="code", categories=(1, 3, 10))
WARD = Categorical(name="ward", categories=("a", "b=c", "x..y", "p, q", "<5"), nullable=True)
DAY = Datetime(name="seen", lower=datetime(2020, 1, 1), upper=datetime(2020, 12, 31), bins=12)
MINUTE = Datetime(name="at", lower=datetime(2020, 1, 1), upper=datetime(2021, 1, 1), bins=12, resolution="minute")
URGENT = Boolean(name="urgent", nullable=True)
ODD = Categorical(name="a=b", categories=("c", "missing"), nullable=True)
SCHEMA = Schema(
    columns=(AGE, DOSE, STAGE, CODE, WARD, DAY, MINUTE, URGENT, ODD, Boolean(name="a"), Boolean(name=" x<"))
)


def kept(column: Column, condition: Any) -> set[Any]:
    """The values that a condition leaves of a column, None for missing."""
    found = selection(column, condition)
    return named(column, found)


def named(column: Column, found: Selection) -> set[Any]:
    index = np.concatenate([[], *(np.arange(first, last + 1) for first, last in found.ranges)]).astype(np.int64)
    values = values_at(column, index, np.zeros(len(index), bool)).tolist()
    return {*values, *([None] if found.missing else [])}


ALL_WARDS = {*WARD.categories, None}


@pytest.mark.parametrize(
    ("column", "condition", "expected"),
    [
        (WARD, "a", {"a"}),
        (WARD, ["a", "x..y", None], {"a", "x..y", None}),
        (WARD, other_than("a"), ALL_WARDS - {"a"}),
        (WARD, other_than("a", None), ALL_WARDS - {"a", None}),
        (WARD, other_than(["a", "<5"]), ALL_WARDS - {"a", "<5"}),
        (WARD, [other_than("a", "p, q", None), None], {"b=c", "x..y", "<5", None}),
        (WARD, np.nan, {None}),
        (WARD, pd.NA, {None}),
        (WARD, "missing", {None}),
        (ODD, "missing", {"missing"}),
        (ODD, None, {None}),
        (AGE, 40, {40}),
        (AGE, "40.0", {40}),
        (AGE, np.array([40, 41.0]), {40, 41}),
        (AGE, pd.Series([7]), {7}),
        (AGE, range(3), {0, 1, 2}),
        (AGE, between(97, None), {97, 98, 99}),
        (AGE, between(97, 1e300), {97, 98, 99}),
        (AGE, between(-np.inf, 1.5), {0, 1}),
        (AGE, between(0.5, Decimal("2")), {1, 2}),
        (AGE, between(1, 3, "left"), {1, 2}),
        (AGE, between(1, 3, "right"), {2, 3}),
        (AGE, between(1, 3, "neither"), {2}),
        (AGE, between(0.5, 2.5, "neither"), {1, 2}),
        (AGE, [between(0, 1), 5, between(98)], {0, 1, 5, 98, 99}),
        (AGE, other_than(between(2)), {0, 1, None}),
        (AGE, [between(98), None], {98, 99, None}),
        (DOSE, 0.15, {0.15}),
        (DOSE, between("0.15", 0.35), {0.15, 0.25, 0.35}),
        (STAGE, between("mild"), {"mild", "severe", "a..b"}),
        (STAGE, between(None, "mild", "neither"), {"none"}),
        (CODE, between(3, 10), {3, 10}),
        (CODE, "10", {10}),
        (URGENT, True, {True}),
        (URGENT, "no", {False}),
        (URGENT, other_than(True), {False, None}),
        (DAY, "2020-02-29", {pd.Timestamp(2020, 2, 29)}),
        (DAY, date(2020, 2, 29), {pd.Timestamp(2020, 2, 29)}),
        (DAY, pd.Timestamp("2020-02-29"), {pd.Timestamp(2020, 2, 29)}),
        (DAY, between("2020-12-30", "2030"), {pd.Timestamp(2020, 12, 30), pd.Timestamp(2020, 12, 31)}),
        (DAY, between("2019", "2020-01-02"), {pd.Timestamp(2020, 1, 1), pd.Timestamp(2020, 1, 2)}),
        (DAY, between(None, date(2020, 1, 2), "neither"), {pd.Timestamp(2020, 1, 1)}),
        (MINUTE, "2020-03-05T14:30:00+02:00", {pd.Timestamp(2020, 3, 5, 12, 30)}),
        (MINUTE, datetime(2020, 3, 5, 12, 30, tzinfo=UTC), {pd.Timestamp(2020, 3, 5, 12, 30)}),
    ],
)  # fmt: skip
def test_a_condition_leaves_what_it_says(column: Column, condition: Any, expected: set[Any]) -> None:
    assert kept(column, condition) == expected


def test_a_month_and_a_day_are_all_their_moments() -> None:
    march = kept(MINUTE, "2020-03")
    assert (len(march), min(march), max(march)) == (
        31 * 1440,
        pd.Timestamp(2020, 3, 1),
        pd.Timestamp(2020, 3, 31, 23, 59),
    )
    assert kept(MINUTE, between("2020-03-01", "2020-03-31")) == march
    assert kept(MINUTE, between("2020-02", "2020-04", "neither")) == march
    assert kept(MINUTE, "2021") == {pd.Timestamp(2021, 1, 1)}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["ward=a"], {"ward": {"a"}}),
        (["ward=a", "ward = missing"], {"ward": {"a", None}}),
        (["ward="], {"ward": {None}}),
        (["ward=b=c"], {"ward": {"b=c"}}),
        (["ward=x..y"], {"ward": {"x..y"}}),
        (["ward=p, q"], {"ward": {"p, q"}}),
        (["ward=<5"], {"ward": {"<5"}}),
        (["ward==a"], {"ward": {"a"}}),
        (["ward!=a", "ward!=missing"], {"ward": ALL_WARDS - {"a", None}}),
        (["ward=a", "ward=<5", "ward!=a"], {"ward": {"<5"}}),
        ([" age = 97.. "], {"age": {97, 98, 99}}),
        (["age=..1"], {"age": {0, 1}}),
        (["age=0..1", "age=98..", "age!=0"], {"age": {1, 98, 99}}),
        (["age>=40", "age<42"], {"age": {40, 41}}),
        (["age>40", "age<=42"], {"age": {41, 42}}),
        (["age!=2.."], {"age": {0, 1, None}}),
        (["age=1...2"], {"age": set()}),
        (["stage=mild..severe"], {"stage": {"mild", "severe"}}),
        (["stage=a..b"], {"stage": {"a..b"}}),
        (["stage=severe..a..b"], {"stage": {"severe", "a..b"}}),
        (["seen=2020-12-30..", "urgent=yes"], {"seen": set(pd.to_datetime(["2020-12-30", "2020-12-31"])), "urgent": {True}}),
        (["a=b=c"], {"a=b": {"c"}}),
        (["a=true"], {"a": {True}}),
        ([" x<=true"], {" x<": {True}}),
    ],
)  # fmt: skip
def test_texts_say_the_same(texts: list[str], expected: dict[str, set[Any]]) -> None:
    if any(not values for values in expected.values()):
        with pytest.raises(ReleaseError, match="no value is left"):
            selected(SCHEMA, texts)
        return
    found = selected(SCHEMA, texts)
    assert {SCHEMA.names[j]: named(SCHEMA.columns[j], one) for j, one in found.items()} == expected
    if len(texts) == 1:
        assert selected(SCHEMA, texts[0]) == found


@pytest.mark.parametrize(
    ("where", "place", "what", "fix"),
    [
        ({"nobody": 1}, "condition", "there is no column 'nobody'", "Columns are age, dose"),
        (["nobody=1"], "condition", "there is no column 'nobody'", "Columns are age, dose"),
        (["ward"], "condition", "no column and sign", "Write column=value"),
        (["wardrobe"], "condition", "no column and sign", "Write column=value"),
        ({"ward": "z"}, "condition on 'ward'", "'z' is not one of its values", "Its values are a, b=c"),
        ({"ward": []}, "condition on 'ward'", "no value is left", "Widen"),
        ({"ward": between("a", "b=c")}, "condition on 'ward'", "have no order", "Name the values"),
        (["ward>=a"], "condition on 'ward'", "have no order", "Name the values"),
        (["urgent<1"], "condition on 'urgent'", "have no order", "Name the values"),
        ({"ward": {"a": 1}}, "condition on 'ward'", "a mapping", "between"),
        ({"age": "old"}, "condition on 'age'", "'old' is not a number", "numbers from 0 to 99 in steps of 1"),
        ({"age": "40..60"}, "condition on 'age'", "is not a number", "numbers from 0"),
        ({"age": True}, "condition on 'age'", "is not a number", "numbers from 0"),
        ({"age": 40.5}, "condition on 'age'", "40.5 is not one of its values", "steps of 1"),
        ({"age": 100}, "condition on 'age'", "100 is not one of its values", "from 0 to 99"),
        ({"age": "1e999999999"}, "condition on 'age'", "is not one of its values", "from 0 to 99"),
        (["age=100.."], "condition on 'age'", "no value is left", "Widen"),
        (["age=60..40"], "condition on 'age'", "no value is left", "Widen"),
        (["age=1..2..3"], "condition on 'age'", "is not a number", "numbers from 0"),
        (["age<40", "age>40"], "condition on 'age'", "no value is left", "Widen"),
        ({"dose": 0.1}, "condition on 'dose'", "0.1 is not one of its values", "from 0.05 to 2.05 in steps of 0.1"),
        ({"dose": None}, "condition on 'dose'", "it is never missing", "Its values are"),
        ({"seen": "2020-13"}, "condition on 'seen'", "is not a moment", "a day apart"),
        ({"seen": "now"}, "condition on 'seen'", "is not a moment", "a day apart"),
        ({"seen": "2019"}, "condition on 'seen'", "is not one of its values", "from 2020-01-01"),
        ({"stage": "Mild"}, "condition on 'stage'", "is not one of its values", "none, mild, severe"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_the_next_step(where: Any, place: str, what: str, fix: str) -> None:
    with pytest.raises(ReleaseError) as caught:
        selected(SCHEMA, where)
    error = caught.value
    assert (error.code, error.where) == ("E_CONDITION", place)
    assert what in error.what
    assert fix in error.fix


def test_undeclared_values_are_no_values_though_other_takes_them() -> None:
    column = Categorical(name="payor", categories=("self", "__OTHER__"), other="__OTHER__")
    with pytest.raises(ReleaseError, match="not one of its values"):
        selection(column, "slef")
    assert kept(column, "__OTHER__") == {"__OTHER__"}


def test_long_lists_of_values_are_not_listed_in_full() -> None:
    column = Categorical(name="icd", categories=tuple(f"code {i}" for i in range(3000)))
    with pytest.raises(ReleaseError, match=r"code 11 and 2988 others\.$"):
        selection(column, "x")


def test_inclusive_is_one_of_four() -> None:
    with pytest.raises(ReleaseError, match="inclusive"):
        between(1, 2, "some")  # type: ignore[arg-type]


COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "!=": operator.ne, "=": operator.eq,
}  # fmt: skip


@settings(deadline=None, max_examples=examples(200))
@given(st.data(), columns("x").filter(lambda c: isinstance(c, Continuous | Datetime)))
def test_comparisons_are_those_of_the_values(data: st.DataObject, column: Column) -> None:
    grid = grid_of(column)
    ends = sorted(data.draw(st.lists(st.integers(0, grid - 1), min_size=2, max_size=2)))
    near = {i for end in (*ends, 0, grid - 1) for i in range(end - 2, end + 3) if 0 <= i < grid}
    index = np.array(sorted(near), np.int64)
    values = values_at(column, index, np.zeros(len(index), bool))
    low, high = (values[index.tolist().index(end)] for end in ends)
    schema = Schema(columns=(column,))

    def left(found: Selection) -> list[bool]:
        return [any(first <= i <= last for first, last in found.ranges) for i in index]

    for inclusive in ("both", "left", "right", "neither"):
        chosen: Inclusive = inclusive  # type: ignore[assignment]
        assert left(selection(column, between(low, high, chosen))) == values.between(low, high, chosen).tolist()
    for sign, compare in COMPARED.items():
        expected = compare(values, low).tolist()
        if any(expected):
            assert left(selected(schema, [f"x{sign}{low}"])[0]) == expected
    assert left(selection_by_text(column, f"{low}..{high}")) == values.between(low, high).tolist()


@settings(deadline=None, max_examples=examples(100))
@given(columns("x"), st.data())
def test_a_condition_and_its_opposite_make_up_the_column(column: Column, data: st.DataObject) -> None:
    ends = st.integers(0, grid_of(column) - 1)
    pairs = data.draw(st.lists(st.tuples(ends, ends).map(sorted), min_size=1, max_size=3))
    one = Selection((), data.draw(st.booleans()) and column.nullable)
    for first, last in pairs:
        one = one | Selection(((first, last),))
    other = one.others(column)
    assert one | other == everything(column)
    assert (one & other).empty
    assert other.others(column) == one
    np.testing.assert_allclose(one.weights(column) + other.weights(column), 1, atol=1e-6)


def test_what_texts_mean_does_not_depend_on_their_order() -> None:
    texts = ["age>=10", "age=5..50", "age!=12", "age=70..80"]
    found = [selected(SCHEMA, list(order)) for order in itertools.permutations(texts)]
    assert all(one == found[0] for one in found)
    assert named(AGE, found[0][0]) == {*range(10, 51), *range(70, 81)} - {12}
