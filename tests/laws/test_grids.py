"""Grids of numbers: what a number becomes, and what comes back."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Continuous
from cohortium.data.columns.encoding import cells_at, index_column
from cohortium.data.columns.grids import Digits, Endings, Even, Grid, ends
from cohortium.data.conditions.parsing import selection
from cohortium.data.conditions.reach import cell_bounds
from cohortium.data.conditions.selection import everything
from cohortium.data.encoding import decode, encode
from cohortium.data.schema import Schema
from cohortium.errors import SchemaError


@st.composite
def evens(draw: st.DrawFn) -> Even:
    decimals = draw(st.integers(0, 13))
    step = draw(st.integers(1, 5000))
    low = draw(st.integers(-(10**6), 10**6))
    count = draw(st.integers(1, 3000))
    lower, upper = (float(Decimal(low + step * k).scaleb(-decimals)) for k in (0, count))
    return Even(lower, upper, decimals, float(Decimal(step).scaleb(-decimals)))


@st.composite
def endings(draw: st.DrawFn) -> Endings:
    decimals = draw(st.integers(0, 3))
    turn = draw(st.integers(2, 1000))
    rest = sorted(draw(st.sets(st.integers(0, turn - 1), min_size=1, max_size=8)))
    at = [draw(st.sampled_from(rest)) + turn * k for k in (draw(st.integers(-50, 50)), draw(st.integers(51, 300)))]
    as_float = [float(Decimal(n).scaleb(-decimals)) for n in (*at, turn, *rest)]
    return Endings(as_float[0], as_float[1], decimals, as_float[2], tuple(as_float[3:]))


@st.composite
def digits(draw: st.DrawFn) -> Digits:
    count = draw(st.integers(1, 6))
    power = draw(st.integers(-30, 20))
    units = st.integers(10 ** (count - 1), 10**count - 1)
    lower, upper = (float(f"{draw(units)}e{p}") for p in (power, power + draw(st.integers(1, 25))))
    return Digits(lower, upper, count)


GRIDS = st.one_of(evens(), endings(), digits())


def some(grid: Grid) -> list[int]:
    return sorted({0, 1, grid.count // 3, grid.count // 2, grid.count - 2, grid.count - 1} & set(range(grid.count)))


@settings(deadline=None)
@given(GRIDS)
def test_every_index_is_one_number_and_back(grid: Any) -> None:
    index = np.array(some(grid))
    numbers = grid.numbers(index)
    assert (grid.nearest(numbers) == index).all()
    assert [Decimal(repr(x)) for x in numbers.tolist()] == [grid.exact(i).normalize() for i in index.tolist()]
    assert (np.diff(numbers) > 0).all() and numbers[0] == grid.lower and abs(numbers[-1]) <= abs(grid.upper) * 1.0000001
    assert not np.signbit(numbers[numbers == 0]).any()


@settings(deadline=None)
@given(GRIDS, st.floats(0, 1))
def test_the_nearest_number_is_put_for_one_between_two(grid: Any, part: float) -> None:
    assume(grid.count > 1)
    k = min(int(part * (grid.count - 1)), grid.count - 2)
    below, above = grid.numbers(np.array([k, k + 1]))
    for share, wanted in ((0.2, k), (0.8, k + 1)):
        assert grid.nearest(np.array([below + share * (above - below)]))[0] == wanted


@settings(deadline=None)
@given(GRIDS, st.floats(0, 1))
def test_the_ends_around_a_number_are_those_of_a_search(grid: Any, part: float) -> None:
    numbers = [grid.exact(i) for i in range(min(grid.count, 300))]
    number = numbers[0] + (numbers[-1] - numbers[0]) * Decimal(part)
    for wanted in (number, numbers[len(numbers) // 2]):
        first, last = ends(grid, wanted)
        assert first == sum(x < wanted for x in numbers) and last == sum(x <= wanted for x in numbers) - 1
    wide = abs(grid.exact(grid.count - 1)) + abs(numbers[0]) + 1
    assert ends(grid, -2 * wide) == (0, -1) and ends(grid, 2 * wide) == (grid.count, grid.count - 1)


@settings(deadline=None, max_examples=examples(60))
@given(GRIDS, st.integers(0, 2**32 - 1))
def test_a_column_gives_back_numbers_of_its_grid(grid: Any, seed: int) -> None:
    """Every value that is drawn lies on the grid, within the bounds, and is read as the cell it was drawn for."""
    reported = {"step": grid.step} if not isinstance(grid, Digits) else {"digits": grid.digits}
    if isinstance(grid, Endings):
        reported["endings"] = grid.endings
    column = Continuous(
        name="x", lower=grid.lower, upper=float(grid.exact(grid.count - 1)), decimals=getattr(grid, "decimals", 0),
        special=(-999999999.0, 1e12 + 0.5), **reported,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, column.size, (60, 1))
    table = decode(codes, Schema(columns=(column,)), rng)
    assert (encode(table, Schema(columns=(column,))).values == codes).all()
    numbers = table["x"].to_numpy(np.float64)
    plain = numbers[~np.isin(numbers, column.special)]
    assert (plain >= grid.lower).all() and (plain <= column.upper).all()
    assert {Decimal(repr(x)) for x in plain.tolist()} <= {
        grid.exact(int(i)).normalize() for i in column.index_of(plain)
    }


def test_legacy_grids_have_the_cells_they_had() -> None:
    """A schema that says nothing of steps and specials is the same as ever: digests are signed, widths are agreed."""
    column = Continuous(name="x", lower=0, upper=100, decimals=2)
    assert (column.size, column.grid) == (709, 10001)
    assert Schema(columns=(column,)).digest == "478f26ca6c4824c8b45e6ac58be02d9394f280b68ceb40ca6f81101b2e4bc350"


# Special values


CODES = Continuous(name="x", lower=0, upper=1200, special=(-999, 999, 9999.0))


def test_special_values_have_cells_of_their_own_wherever_they_lie() -> None:
    texts = ["-999", "999", "9999", "998", "1000", "5000", "-5", "", "-999.0"]
    index = index_column(CODES, pd.Series(texts))
    assert index.tolist() == [1201, 1202, 1203, 998, 1000, 1200, 0, -1, 1201]
    cells = cells_at(CODES, index)
    assert cells[[0, 1, 2]].tolist() == [CODES.values - 3, CODES.values - 2, CODES.values - 1]
    first, last = cell_bounds(CODES)
    assert not ((first <= 999) & (last >= 999) & (first == last)).any()  # no cell holds 999 alone


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=examples(30))
def test_no_bin_gives_a_special_value(seed: int) -> None:
    for column in (CODES, replace(CODES, lower=990, upper=1010), replace(CODES, bins=7)):
        bins = np.arange(column.values - 3).repeat(40)[:, None]
        drawn = decode(bins, Schema(columns=(column,)), np.random.default_rng(seed))["x"]
        assert not drawn.isin(column.special).any()


def test_ranges_leave_special_values_out_and_names_select_them() -> None:
    for wanted, rows in ((-999, {1201}), (999, {1202}), ("9999", {1203})):
        assert {first for first, last in selection(CODES, wanted).ranges} == rows
    assert everything(CODES).ranges == ((0, 1203),)
    from cohortium.data.conditions.parsing import Between

    assert selection(CODES, Between(-2000, None)).ranges == ((0, 1200),)
    assert selection(CODES, Between(999, 9999)).ranges == ((999, 1200),)


@pytest.mark.parametrize(
    "changes",
    [
        {"points": (0.5,)},
        {"points": (1, 1.0)},
        {"special": (999.0, 999.0)},
        {"points": (7,), "special": (7.0,)},
        {"step": 0.25},
        {"step": 30.0},
        {"step": 0.0},
        {"step": 1.0, "decimals": 0, "lower": 0.5},
        {"endings": (0.99,)},
        {"step": 1.0, "decimals": 2, "endings": (0.99, 0.49)},
        {"step": 1.0, "decimals": 2, "endings": (0.49, 1.49)},
        {"step": 1.0, "decimals": 2, "lower": 0.98, "upper": 9.99, "endings": (0.99,)},
        {"digits": 3},
        {"digits": 3, "lower": -1.0},
        {"digits": 2, "lower": 1.0, "upper": 123.0},
        {"digits": 3, "lower": 1.0, "decimals": 2},
        {"digits": 3, "lower": 1e-299},
        {"special": (float("inf"),)},
    ],
    ids=str,
)
def test_what_a_grid_cannot_tell_apart_is_refused(changes: dict[str, Any]) -> None:
    from cohortium.data.schema import schema_from_document

    block = {"name": "x", "kind": "continuous", "lower": 0.0, "upper": 100.0, **changes}
    with pytest.raises(SchemaError) as caught:
        schema_from_document(
            {"name": "t", "column": [{k: list(v) if isinstance(v, tuple) else v for k, v in block.items()}]}
        )
    assert caught.value.code == "E_SCHEMA_INVALID"
