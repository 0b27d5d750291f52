"""Schemas: what is refused, and that the document is the schema."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from strategies import schemas

from cohortium.data.columns import (
    FINE_CELLS,
    FINE_MOMENTS,
    Boolean,
    Categorical,
    Continuous,
    Datetime,
    fine_cuts,
)
from cohortium.data.schema import Schema, load_schema, schema_from_document, to_document
from cohortium.errors import InputError, SchemaError
from cohortium.system.texts import SIGNS


@given(schemas())
def test_the_document_is_the_schema(schema: Schema) -> None:
    again = schema_from_document(to_document(schema))
    assert again == schema
    assert again.digest == schema.digest


def test_the_file_is_the_schema(tmp_path: Path) -> None:
    schema = Schema(person="who", columns=(Continuous(name="age", lower=0, upper=90), Boolean(name="ill")))
    path = tmp_path / "schema.toml"
    path.write_text("\ufeff" + tomli_w.dumps(to_document(schema)), encoding="utf-8")
    assert load_schema(path) == schema


def test_categories_of_digits_stay_text() -> None:
    block = {"name": "area", "kind": "categorical", "categories": ["01", "1"]}
    column = schema_from_document({"name": "t", "column": [block]}).columns[0]
    assert isinstance(column, Categorical)
    assert column.categories == ("01", "1")


@given(grid=st.integers(2, 2**50), zero=st.floats(-(2.0**50), 2.0**50))
def test_fine_cells_are_single_values_around_zero_and_nowhere_wide(grid: int, zero: float) -> None:
    cuts = fine_cuts(grid, zero)
    width = np.diff(cuts)
    assert (cuts[0], cuts[-1]) == (0, grid)
    assert (width > 0).all() and len(width) <= FINE_CELLS
    if grid <= FINE_CELLS:
        assert (width == 1).all()
        return
    centre = min(max(zero, 0.0), float(grid))
    far = np.maximum(np.abs(cuts[:-1] + width / 2 - centre), 1)
    assert (width <= 1 + 0.12 * far).all()  # about a tenth of the distance at the most, whatever the bounds
    assert width.max() <= 4 * grid / FINE_CELLS + 2
    near = np.flatnonzero((cuts[:-1] >= centre - 8) & (cuts[1:] <= centre + 8))
    assert (width[near] == 1).all()


def test_numbers_and_moments_that_say_no_more_have_cells_for_their_shape() -> None:
    assert Continuous(name="age", lower=0, upper=110).values == 111
    assert Datetime(name="day", lower=datetime(2020, 1, 1), upper=datetime(2020, 12, 31)).values == 366
    for lower, upper, decimals in ((-1e9, 1e9, 2), (0, 1e6, 0), (-20, 45, 4), (500, 900_000, 1)):
        column = Continuous(name="x", lower=lower, upper=upper, decimals=decimals)
        assert 700 < column.values <= FINE_CELLS
        value = max(lower, 0.0)
        cell = np.searchsorted(column.cuts, round((value - lower) * 10**decimals), side="right") - 1
        assert column.cuts[cell + 1] - column.cuts[cell] == 1  # a zero is a value of its own
    seconds = Datetime(name="t", lower=datetime(1900, 1, 1), upper=datetime(2100, 1, 1), resolution="second")
    assert seconds.values == FINE_MOMENTS


BAD_COLUMNS: list[dict[str, Any]] = [
    {"kind": "continuous", "lower": 5.0, "upper": 5.0},
    {"kind": "continuous", "lower": 6.0, "upper": 5.0},
    {"kind": "continuous", "lower": math.nan, "upper": 5.0},
    {"kind": "continuous", "lower": 0.0, "upper": math.inf},
    {"kind": "continuous", "lower": -1e308, "upper": 1e308},
    {"kind": "continuous", "lower": 1e18, "upper": 1e18 + 1000},
    {"kind": "continuous", "lower": 0.0, "upper": 1e9, "decimals": 12},
    {"kind": "continuous", "lower": 0.0, "upper": 9.0, "points": [10.0]},
    {"kind": "continuous", "lower": 0.0, "upper": 9.0, "points": [1.0, 1.0]},
    {"kind": "continuous", "lower": 0.0, "upper": 9.0, "edges": [3.0, 2.0]},
    {"kind": "continuous", "lower": 0.0, "upper": 9.0, "bins": 0},
    {"kind": "continuous", "lower": "low", "upper": 9.0},
    {"kind": "datetime", "lower": "2021-01-01", "upper": "2020-01-01"},
    {"kind": "datetime", "lower": "2021-01-01T00:00:00+01:00", "upper": "2022-01-01T00:00:00+01:00"},
    {"kind": "datetime", "lower": "2020-01-01T00:00:00.5", "upper": "2021-01-01"},
    {"kind": "categorical", "categories": []},
    {"kind": "categorical", "categories": ["a"]},
    {"kind": "categorical", "categories": ["a", "a"]},
    {"kind": "categorical", "categories": ["a", 1]},
    {"kind": "categorical", "categories": ["a", " b"]},
    {"kind": "categorical", "categories": ["a", "e\u0301"]},
    {"kind": "categorical", "categories": ["a", "b"], "other": "c"},
    {"kind": "categorical", "categories": [True, False]},
    {"kind": "ordinal", "categories": [1, 1]},
    {"kind": "nominal", "categories": ["a", "b"]},
    {"kind": "boolean", "colour": "red"},
    {"kind": "boolean", "person": "yes"},
    {"kind": "boolean", "name": ""},
]


@pytest.mark.parametrize("block", BAD_COLUMNS, ids=lambda b: str(sorted(b.items()))[:60])
def test_bad_input_23_contradictory_schema(block: dict[str, Any]) -> None:
    with pytest.raises(SchemaError) as caught:
        schema_from_document({"name": "bad", "column": [{"name": "x", **block}]})
    assert caught.value.code == "E_SCHEMA_INVALID"


@pytest.mark.parametrize("start", [*SIGNS, "\t", "\r", "\uff1d", "\ufeff=", " ="])
def test_bad_input_20_a_category_a_spreadsheet_would_run(start: str) -> None:
    with pytest.raises(SchemaError) as caught:
        Categorical(name="x", categories=("a", f"{start}1+2"))
    assert caught.value.code == "E_SCHEMA_INVALID"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"name": "t"}, "E_SCHEMA_INVALID"),
        ({"name": "t", "column": 3}, "E_SCHEMA_INVALID"),
        ({"name": "t", "column": ["age"]}, "E_SCHEMA_INVALID"),
        ({"name": "t", "person": "who", "column": [{"name": "a", "kind": "boolean"}]}, "E_SCHEMA_INVALID"),
        ({"name": "t", "column": [{"person": True}, {"name": "a", "kind": "boolean"}]}, "E_SCHEMA_INVALID"),
        ({"name": "t", "column": [{"name": "a", "kind": "boolean"}] * 2}, "E_SCHEMA_DUP"),
        (
            {"name": "t", "column": [{"name": "a", "person": True}, {"name": "b", "person": True}]},
            "E_SCHEMA_DUP",
        ),
    ],
)
def test_malformed_documents(document: dict[str, Any], code: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schema_from_document(document)
    assert caught.value.code == code


def test_files_that_are_no_schema(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(InputError) as missing:
            load_schema(path)
        assert missing.value.code == "E_INPUT_NOT_FOUND"
    for content in (b"name = ", b"\xff\xfe", b"name = 'a'\nname = 'b'"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(SchemaError) as malformed:
            load_schema(tmp_path / "bad.toml")
        assert malformed.value.code == "E_SCHEMA_INVALID"


@given(schemas())
def test_cells_cover_the_grid_once(schema: Schema) -> None:
    for column in schema.columns:
        if isinstance(column, Continuous | Datetime):
            assert column.cuts[0] == 0
            assert column.cuts[-1] == column.grid
            assert (column.cuts[1:] > column.cuts[:-1]).all()
