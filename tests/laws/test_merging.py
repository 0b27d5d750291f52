"""Laws of merged cells: what is put together, and that any choice sent to an institution is a safe one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data.binning import LIST, merge, merged_sizes, ordered_cells, read_merged
from cohortium.data.schema import Schema, schema_from_document
from cohortium.errors import WireError
from cohortium_server.generators.grouping import common_cells, grouped_cells, quantile_cells


def declared(bins: int, ranks: int, nullable: bool, points: tuple[float, ...] = ()) -> Schema:
    return schema_from_document(
        {
            "column": [
                {"name": "number", "kind": "continuous", "lower": 0, "upper": 100, "bins": bins, "nullable": nullable},
                {"name": "word", "kind": "categorical", "categories": ["a", "b", "c"], "nullable": nullable},
                {
                    "name": "rank",
                    "kind": "ordinal",
                    "categories": [f"r{k}" for k in range(ranks)],
                    "nullable": nullable,
                },
                {"name": "day", "kind": "datetime", "lower": "2020-01-01", "upper": "2020-12-31", "bins": bins},
                {"name": "yes", "kind": "boolean", "nullable": nullable},
            ]
        }
    )


SCHEMAS = st.builds(declared, st.integers(2, 60), st.integers(2, 40), st.booleans())


def counts_of(schema: Schema, seed: int, scale: float = 100.0) -> list[np.ndarray]:
    """Denoised ones: some are zero."""
    rng = np.random.default_rng(seed)
    return [rng.exponential(scale, k) * (rng.random(k) < 0.7) for k in schema.sizes]


@given(schema=SCHEMAS, bins=st.integers(2, 64), seed=st.integers(0, 2**32 - 1))
def test_merged_cells_are_few_in_order_and_within_their_column(schema: Schema, bins: int, seed: int) -> None:
    merged, sizes = grouped_cells(schema, bins, counts_of(schema, seed)), merged_sizes(schema, bins)
    assert len(merged) == sum(schema.sizes)
    begin = 0
    for column, single, most in zip(schema.columns, schema.sizes, sizes, strict=True):
        cells, ordered = merged[begin : begin + single], ordered_cells(column)
        begin += single
        assert most == min(single, bins + single - ordered) if ordered > bins else most == single
        assert cells.max() < most
        assert set(cells.tolist()) == set(range(cells.max() + 1))  # without a gap
        assert (np.diff(cells[:ordered]) >= 0).all()  # neighbours only
        alone = cells[ordered:]  # points, categories and missing values keep a cell of their own
        assert len(set(alone.tolist())) == len(alone)
        assert not set(alone.tolist()) & set(cells[:ordered].tolist())


@given(schema=SCHEMAS, bins=st.integers(2, 64), seed=st.integers(0, 2**32 - 1))
def test_merged_cells_survive_the_way_to_the_institution(schema: Schema, bins: int, seed: int) -> None:
    merged, sizes = grouped_cells(schema, bins, counts_of(schema, seed)), merged_sizes(schema, bins)
    np.testing.assert_array_equal(read_merged(merged.astype(np.float32), schema.sizes, sizes), merged)


@given(schema=SCHEMAS, bins=st.integers(2, 20), seed=st.integers(0, 2**32 - 1))
def test_every_row_is_merged_by_itself(schema: Schema, bins: int, seed: int) -> None:
    rng, merged = np.random.default_rng(seed), grouped_cells(schema, bins, counts_of(schema, seed))
    rows = np.stack([rng.integers(0, k, 30) for k in schema.sizes], 1).astype(np.int16)
    together = merge(rows, schema.sizes, merged)
    assert together.dtype == np.int16 and together.shape == rows.shape
    starts = np.cumsum([0, *schema.sizes[:-1]])
    for row, found in zip(rows, together, strict=True):
        assert found.tolist() == [int(merged[s + v]) for s, v in zip(starts, row, strict=True)]
        np.testing.assert_array_equal(merge(row[None], schema.sizes, merged)[0], found)
    assert (together < np.array(merged_sizes(schema, bins))).all()


def test_merged_cells_are_about_equally_full() -> None:
    counts = np.random.default_rng(1).exponential(3.0, 200)
    mass = np.bincount(quantile_cells(counts, 10), counts) / counts.sum()
    assert np.abs(mass - 0.1).max() < counts.max() / counts.sum() + 1e-9
    assert counts.max() / counts.sum() < 0.05


COUNTS = st.lists(st.sampled_from([0.0, 0.0, 1.0, 3.0, 50.0, 1000.0]), min_size=2, max_size=80)


@given(counts=COUNTS, most=st.integers(2, 40))
def test_quantile_cells_are_neighbours(counts: list[float], most: int) -> None:
    merged = quantile_cells(np.array(counts), most)
    assert set(np.diff(merged).tolist()) <= {0, 1}
    assert merged[0] == 0 and merged[-1] < most


@given(counts=st.lists(st.floats(0, 5), min_size=9, max_size=80), place=st.integers(0, 8), most=st.integers(3, 16))
def test_a_cell_as_full_as_a_merged_one_stays_by_itself(counts: list[float], place: int, most: int) -> None:
    """A zero or a cap is no part of its neighbours, wherever it lies."""
    values = np.array(counts)
    values[place] = max(1.0, 2 * values.sum())
    merged = quantile_cells(values, most)
    assert (merged == merged[place]).sum() == 1


def test_heaped_values_stay_by_themselves() -> None:
    counts = np.ones(400)
    counts[[50, 150, 350]] = 200.0
    merged = quantile_cells(counts, 16)
    assert merged[-1] == 15
    for place in (50, 150, 350):
        assert (merged == merged[place]).sum() == 1


def test_nothing_counted_still_gives_cells() -> None:
    assert sorted(np.bincount(quantile_cells(np.zeros(50), 4))) == [12, 12, 13, 13]


def test_the_common_categories_of_a_long_list_stay_by_themselves() -> None:
    codes = [f"c{k}" for k in range(100)]
    schema = schema_from_document(
        {"column": [{"name": "c", "kind": "categorical", "categories": codes, "nullable": True}]}
    )
    assert merged_sizes(schema, 5) == (5 * LIST + 1,)
    counts = np.random.default_rng(1).permutation(np.arange(101.0))
    merged = grouped_cells(schema, 5, [counts])
    others = merged[:100] == 5 * LIST - 1
    assert others.sum() == 100 - (5 * LIST - 1)
    assert counts[:100][others].max() < counts[:100][~others].min()
    assert (merged == merged[100]).sum() == 1  # a missing value is no category
    assert merged_sizes(schema, 25) == (101,)


@given(counts=COUNTS, most=st.integers(2, 40))
def test_a_list_keeps_as_many_as_it_may(counts: list[float], most: int) -> None:
    merged = common_cells(np.array(counts), min(most, len(counts)))
    assert set(merged.tolist()) == set(range(min(most, len(counts))))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@given(
    place=st.integers(0, 8),
    bad=st.floats(-(2.0**120), 2.0**120, width=32).filter(lambda v: not (v == int(v) and 0 <= v <= 4))
    | st.sampled_from([-1.0, 2.0**31, -(2.0**31), 2.0**63, 0.5, 3e38]),
)
def test_a_cell_that_there_is_not_is_refused(place: int, bad: float) -> None:
    numbers = np.zeros(9, np.float32)
    numbers[place] = bad
    with pytest.raises(WireError, match="E_STATE_INVALID"):
        read_merged(numbers, (4, 5), (3, 5))


@given(st.lists(st.integers(0, 4), min_size=9, max_size=9))
def test_any_cell_that_there_is_is_taken(cells: list[int]) -> None:
    numbers = np.array(cells, np.float32)
    if max(cells[:4]) < 3:
        assert read_merged(numbers, (4, 5), (3, 5)).tolist() == cells
    else:
        with pytest.raises(WireError, match="E_STATE_INVALID"):
            read_merged(numbers, (4, 5), (3, 5))
