"""Laws of drawing a value within its cell: ranges are kept, and a cell counts as much as its values would be drawn."""

from __future__ import annotations

import itertools
import math
from datetime import datetime

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import columns

from cohortium.data.columns import Column, Continuous, Datetime
from cohortium.data.columns.dequantization import Ranges, grid_of, joined, overlap, parts_within, rest
from cohortium.data.columns.encoding import cells_at, draw_index

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=6)


def held(ranges: Ranges, grid: int = 100) -> set[int]:
    return {i for first, last in ranges for i in range(first, last + 1) if i < grid}


@given(PAIRS, PAIRS)
def test_ranges_are_sets(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = joined(one), joined(other)
    assert held(joined([*a, *b])) == held(tuple(one)) | held(tuple(other))
    assert held(overlap(a, b)) == held(a) & held(b)
    assert held(rest(a, 100)) == set(range(100)) - held(a)
    assert rest(rest(a, 100), 100) == a
    for ranges in (a, overlap(a, b), rest(a, 100)):
        assert all(first <= last for first, last in ranges)
        assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(ranges))


@st.composite
def restricted(draw: st.DrawFn) -> tuple[Column, Ranges]:
    """A column and some ranges of its grid."""
    column = draw(columns("x"))
    ends = st.integers(0, grid_of(column) - 1)
    pairs = draw(st.lists(st.tuples(ends, ends), min_size=1, max_size=4))
    near = [(int(p), int(p)) for p in getattr(column, "point_indices", [])]
    return column, joined([(min(p), max(p)) for p in [*pairs, *draw(st.lists(st.sampled_from(near or pairs)))]])


@settings(deadline=None, max_examples=examples(200))
@given(restricted(), st.integers(0, 2**32 - 1))
def test_what_is_drawn_within_ranges_lies_in_them_and_in_its_cell(case: tuple[Column, Ranges], seed: int) -> None:
    column, ranges = case
    parts = parts_within(column, ranges)
    assert parts.shape == (column.values,)
    assert ((parts >= 0) & (parts <= 1)).all()
    possible = np.flatnonzero(parts > 0)
    if not len(possible):
        return
    cells = np.random.default_rng(seed).choice(possible, 50)
    index = draw_index(column, cells, np.random.default_rng(seed), ranges)
    assert all(any(first <= i <= last for first, last in ranges) for i in index)
    points = set(getattr(column, "point_indices", np.empty(0)).tolist())
    assert all(
        cell == found or i in points for i, cell, found in zip(index, cells, cells_at(column, index), strict=True)
    )


@settings(deadline=None, max_examples=examples(200))
@given(restricted())
def test_ranges_and_the_rest_make_up_every_cell(case: tuple[Column, Ranges]) -> None:
    column, ranges = case
    both = parts_within(column, ranges) + parts_within(column, rest(ranges, grid_of(column)))
    np.testing.assert_allclose(both, 1, atol=1e-6)


@pytest.mark.parametrize(
    "column",
    [
        Continuous(name="x", lower=0, upper=30, bins=3, points=(0, 12, 13)),
        Continuous(name="x", lower=-2, upper=900, bins=5, scale="asinh", points=(0, 7)),
        Continuous(name="x", lower=0, upper=3, decimals=2, bins=4),
        Datetime(name="x", lower=datetime(2020, 1, 1), upper=datetime(2020, 3, 31), bins=3),
    ],
)
def test_a_cell_counts_by_the_part_of_its_values_that_is_drawn_in_the_ranges(column: Continuous | Datetime) -> None:
    rng, count = np.random.default_rng(0), 20_000
    ranges = ((1, 4), (12, 13), (15, grid_of(column) // 2))
    reported = parts_within(column, ranges)
    for cell in range(column.values):
        index = draw_index(column, np.full(count, cell), rng)
        inside = np.zeros(count, bool)
        for first, last in ranges:
            inside |= (first <= index) & (index <= last)
        assert abs(inside.mean() - reported[cell]) < 6 * math.sqrt(0.25 / count)
        if reported[cell] > 0:
            here = np.bincount(draw_index(column, np.full(count, cell), rng, ranges), minlength=grid_of(column))
            there = np.bincount(index[inside], minlength=grid_of(column))
            apart = 0.5 * np.abs(here / count - there / max(1, inside.sum())).sum()
            assert apart < 3 * math.sqrt(np.count_nonzero(here + there) / max(1, min(count, inside.sum())))
