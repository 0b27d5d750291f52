"""Laws of merged cells: what is put together, and that any choice an institution is told is a safe one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.errors import WireError
from cohortium.merging import merge, merged_sizes, ordered_cells, quantile_cells, read_merged
from cohortium.schema import Schema, schema_from_document


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
    """Noised ones: some negative, some zero."""
    rng = np.random.default_rng(seed)
    return [rng.exponential(scale, k) * (rng.random(k) < 0.7) + rng.normal(0, 5, k) for k in schema.sizes]


@given(schema=SCHEMAS, bins=st.integers(2, 64), seed=st.integers(0, 2**32 - 1))
def test_merged_cells_are_few_in_order_and_within_their_column(schema: Schema, bins: int, seed: int) -> None:
    merged, sizes = quantile_cells(schema, bins, counts_of(schema, seed)), merged_sizes(schema, bins)
    assert len(merged) == sum(schema.sizes)
    begin = 0
    for column, single, most in zip(schema.columns, schema.sizes, sizes, strict=True):
        cells, ordered = merged[begin : begin + single], ordered_cells(column)
        begin += single
        assert most == min(single, bins + single - ordered) if ordered > bins else most == single
        assert cells.min() >= 0 and cells.max() < most
        assert (np.diff(cells[:ordered]) >= 0).all()  # neighbours only
        alone = cells[ordered:]  # points, categories and missing values keep a cell of their own
        assert len(set(alone.tolist())) == len(alone)
        assert not set(alone.tolist()) & set(cells[:ordered].tolist())


@given(schema=SCHEMAS, bins=st.integers(2, 64), seed=st.integers(0, 2**32 - 1))
def test_what_is_told_is_what_is_read(schema: Schema, bins: int, seed: int) -> None:
    merged, sizes = quantile_cells(schema, bins, counts_of(schema, seed)), merged_sizes(schema, bins)
    np.testing.assert_array_equal(read_merged(merged.astype(np.float32), schema.sizes, sizes), merged)


@given(schema=SCHEMAS, bins=st.integers(2, 20), seed=st.integers(0, 2**32 - 1))
def test_every_row_is_merged_by_itself(schema: Schema, bins: int, seed: int) -> None:
    rng, merged = np.random.default_rng(seed), quantile_cells(schema, bins, counts_of(schema, seed))
    rows = np.stack([rng.integers(0, k, 30) for k in schema.sizes], 1).astype(np.int16)
    together = merge(rows, schema.sizes, merged)
    assert together.dtype == np.int16 and together.shape == rows.shape
    starts = np.cumsum([0, *schema.sizes[:-1]])
    for row, found in zip(rows, together, strict=True):
        assert found.tolist() == [int(merged[s + v]) for s, v in zip(starts, row, strict=True)]
        np.testing.assert_array_equal(merge(row[None], schema.sizes, merged)[0], found)
    assert (together < np.array(merged_sizes(schema, bins))).all()


def test_merged_cells_are_about_equally_full() -> None:
    schema = declared(200, 2, False)
    counts = [np.ones(k) for k in schema.sizes]
    counts[3] = np.random.default_rng(1).exponential(3.0, schema.sizes[3])
    begin = sum(schema.sizes[:3])
    merged = quantile_cells(schema, 10, counts)[begin : begin + schema.sizes[3]]
    mass = np.bincount(merged, counts[3], 10) / counts[3].sum()
    assert np.abs(mass - 0.1).max() < counts[3].max() / counts[3].sum() + 1e-9
    assert counts[3].max() / counts[3].sum() < 0.05


def test_nothing_counted_still_gives_cells() -> None:
    schema = declared(50, 9, True)
    for value in (0.0, -10.0):
        merged = quantile_cells(schema, 4, [np.full(k, value) for k in schema.sizes])
        assert set(merged[:50].tolist()) == {0, 1, 2, 3}


@pytest.mark.filterwarnings("error")
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
