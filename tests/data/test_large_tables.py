"""Tables of many rows: read in parts, held in a byte or two a cell, counted in blocks."""

from __future__ import annotations

import importlib
import itertools
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cohortium.data.columns import Categorical
from cohortium.data.encoding import Codes, encode_parts
from cohortium.data.readers.tables import PARQUET_ROWS, read_parts
from cohortium.data.schema import Schema
from cohortium.neural.architecture import Architecture
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.contribution_bounding import at_most
from cohortium.queries.gradients import Step
from cohortium.queries.marginals import Marginals
from cohortium_client.source.source import Source, load_source

ROWS, COLUMNS, CELLS = 300_000, 20, 7


def growth(work: Callable[[], object]) -> int:
    """Bytes that Python and NumPy allocated at the worst moment, over what was there before."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


def held(kind: type = np.uint8, rows: int = ROWS) -> Codes:
    values = np.random.default_rng(0).integers(0, CELLS, (rows, COLUMNS)).astype(kind)
    return Codes(values, np.arange(rows), (CELLS,) * COLUMNS)


def test_a_parquet_file_in_one_row_group_is_read_in_parts(tmp_path: Path) -> None:
    """It decodes to 64 MB of numbers; never are more than a few of them there."""
    numbers = np.random.default_rng(0).integers(0, 2**60, (4, 2_000_000))
    pq.write_table(pa.table(dict(zip("abcd", numbers, strict=True))), tmp_path / "t.parquet", row_group_size=2_000_000)
    before, rows, most, largest = pa.total_allocated_bytes(), 0, 0, 0
    for part in read_parts(tmp_path / "t.parquet"):
        rows, most = rows + len(part), max(most, len(part))
        largest = max(largest, pa.total_allocated_bytes() - before)
    assert rows == 2_000_000
    assert most <= PARQUET_ROWS
    assert largest < 25e6


def test_what_is_held_of_a_table_is_a_byte_a_cell() -> None:
    """Beside the codes, once in parts and once in one piece, there is little more than one part's work."""
    schema = Schema(columns=tuple(Categorical(name=f"c{k}", categories=(0, 1, 2)) for k in range(COLUMNS)))

    def parts() -> Iterator[pd.DataFrame]:
        for k in range(20):
            drawn = np.random.default_rng(k).integers(0, 3, (ROWS // 20, COLUMNS))
            yield pd.DataFrame(drawn, columns=list(schema.names))

    codes: list[Codes] = []
    grown = growth(lambda: codes.append(encode_parts(parts(), schema)))
    assert codes[0].values.nbytes == ROWS * COLUMNS
    assert grown < 2 * (ROWS * COLUMNS + 8 * ROWS) + 10e6  # as numbers of 8 bytes the table would have 48 MB


@pytest.mark.parametrize("merged", [False, True])
def test_counting_needs_as_much_for_many_rows_as_for_some(merged: bool) -> None:
    pairs = tuple(itertools.combinations(range(COLUMNS), 2))
    query = Marginals((CELLS,) * COLUMNS, pairs, (1.0,) * len(pairs))
    if merged:
        from cohortium.neural.state import write_state

        query = Marginals(query.sizes, pairs, query.weights, merged=(3,) * COLUMNS)
        query = query.with_state(write_state({"cells": np.tile(np.arange(CELLS) // 3, COLUMNS).astype(float)}))
    few, many = held(rows=100_000), held()
    some, more = (growth(lambda c=codes: query.contribute(c, SecureRandomness())) for codes in (few, many))  # type: ignore[misc]
    assert more < 1.1 * some + 1e6
    assert more < 30e6


def test_who_has_few_rows_costs_no_copy_of_the_table() -> None:
    codes = held()
    several = Codes(codes.values, np.random.default_rng(0).permutation(ROWS) // 2, codes.sizes)
    assert at_most(several, 2, SecureRandomness()) is several
    assert len(at_most(several, 1, SecureRandomness())) == ROWS // 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
def test_training_holds_the_table_as_it_is_and_sees_whole_numbers(kind: type) -> None:
    codes = held(kind, 3000)
    step = Step(codes.sizes, Architecture("autoregressive", codes.sizes, tuple(range(COLUMNS))), 1.0, 1.0)
    people = step.people(codes, {}, SecureRandomness())
    assert people.values.dtype == kind
    batches = [batch for batch, _, _ in step.sampled(people, SecureRandomness())]
    assert {batch.dtype for batch in batches} == {np.dtype(np.int64)}
    np.testing.assert_array_equal(np.concatenate(batches), codes.values)


# The benchmark

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.mark.parametrize("coarse", [True, False])
def test_the_made_up_table_is_what_the_benchmark_says(coarse: bool, tmp_path: Path) -> None:
    large = importlib.import_module("custodian")
    schema = large.schema(coarse)
    assert len(schema.columns) == 30
    assert not coarse or 14 <= np.mean(schema.sizes) <= 18
    for put in (large.as_parquet, large.as_csv):
        for several in (True, False):
            codes = load_source(Source(**put(tmp_path, 600, several)), tmp_path, schema)
            assert (len(codes), codes.left_out) == (600, 0)
            of_each = np.unique(codes.persons, return_counts=True)[1]
            assert sorted(set(of_each.tolist())) == ([1, 2, 3] if several else [1])
            missing = (codes.values == np.array(codes.sizes) - 1).mean(0)[[c.nullable for c in schema.columns]]
            assert ((missing > 0.01) & (missing < 0.1)).all()
