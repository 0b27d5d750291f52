"""Laws of counting: whatever is counted at once, a table holds what going through the rows one by one would find."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data import binning
from cohortium.data.encoding import Codes, encode, encode_parts, held_type
from cohortium.data.schema import Schema, schema_from_document
from cohortium.neural.state import write_state
from cohortium.queries import marginals
from cohortium.queries.marginals import Marginals

TYPES = (np.int16, np.uint8, np.uint16)
SEEDS = st.integers(0, 2**32 - 1)


@dataclass
class Words:
    """The same words every time; so few different ones that some are equal."""

    seed: int

    def words(self, count: int) -> np.ndarray:
        return np.random.default_rng(self.seed).integers(0, 50, count).astype(np.uint64)


def drawn_query(rng: np.random.Generator, merged: bool, equal_weight: str) -> Marginals:
    """Some tables of one to three of up to six columns, in any order, of any weights."""
    sizes = tuple(int(k) for k in rng.integers(2, 7, rng.integers(1, 7)))
    known = [t for k in (1, 2, 3) for t in itertools.combinations(range(len(sizes)), k)]
    tables = tuple(known[i] for i in rng.permutation(len(known))[: rng.integers(1, len(known) + 1)])
    weights = tuple(rng.uniform(0.1, 3.0, len(tables)).tolist())
    rows = 1 if equal_weight == "persons" else int(rng.integers(1, 4))
    query = Marginals(sizes, tables, weights, rows, int(rng.integers(1, 9)), equal_weight)  # type: ignore[arg-type]
    if not merged:
        return query
    fewer = tuple(int(rng.integers(1, k + 1)) for k in sizes)
    cells = np.concatenate([rng.integers(0, few, k) for few, k in zip(fewer, sizes, strict=True)])
    return replace(query, merged=fewer).with_state(write_state({"cells": cells.astype(np.float64)}))


def units_of_rows(query: Marginals, persons: list[int], words: list[int]) -> list[int]:
    """How much each row counts: person after person, the rows in the order of their words."""
    theirs = defaultdict(list)
    for row, person in enumerate(persons):
        theirs[person].append(row)
    units = [0] * len(persons)
    for rows in theirs.values():
        for rank, row in enumerate(sorted(rows, key=lambda r: (words[r], r))):
            if query.equal_weight == "rows":
                units[row] = query.grid * (rank < query.rows_per_person)
            else:
                units[row] = query.grid // len(rows) + (rank < query.grid % len(rows))
    return units


def one_by_one(query: Marginals, codes: Codes, randomness: Words) -> list[int]:
    persons = codes.persons.tolist()
    own = len(set(persons)) == len(persons) and persons == sorted(persons)  # then no coin is thrown
    words = [0] * len(persons) if own else randomness.words(len(persons)).tolist()
    units, starts = units_of_rows(query, persons, words), np.cumsum([0, *query.sizes])
    found = []
    for table in query.tables:
        counts: defaultdict[tuple[int, ...], int] = defaultdict(int)
        for row, unit in zip(codes.values.tolist(), units, strict=True):
            counts[tuple(int(query.cells[starts[j] + row[j]]) for j in table)] += unit
        found += [counts[cell] for cell in itertools.product(*(range(query.counted[j]) for j in table))]
    return found


@given(
    seed=SEEDS,
    rows=st.integers(0, 60),
    people=st.sampled_from([1, 5, 10**6]),
    merged=st.booleans(),
    equal_weight=st.sampled_from(["rows", "persons"]),
    kind=st.sampled_from(TYPES),
    block=st.integers(1, 70),
)
@settings(max_examples=examples(100))
def test_counts_are_those_of_going_through_the_rows(
    seed: int, rows: int, people: int, merged: bool, equal_weight: str, kind: type, block: int
) -> None:
    rng = np.random.default_rng(seed)
    query = drawn_query(rng, merged, equal_weight)
    values = np.stack([rng.integers(0, k, rows) for k in query.sizes], 1).astype(kind)
    persons = np.sort(rng.integers(0, people, rows)) if seed % 2 else rng.integers(0, people, rows)
    codes = Codes(values, persons, query.sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marginals, "_BLOCK", block)
        patch.setattr(binning, "_BLOCK", block)
        found = query.contribute(codes, Words(seed)).values
    assert found.dtype == np.int64
    assert found.tolist() == one_by_one(query, codes, Words(seed))


def test_a_table_within_another_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all pairs and all triples with a target, the triples alone are counted."""
    tables = (*itertools.combinations(range(5), 2), *((*pair, 4) for pair in itertools.combinations(range(4), 2)))
    query, counted, original = Marginals((3,) * 5, tables, (1.0,) * len(tables)), [], Marginals._cells
    monkeypatch.setattr(
        Marginals, "_cells", lambda self, block, table: counted.append(table) or original(self, block, table)
    )
    query.contribute(Codes(np.zeros((4, 5), np.uint8), np.arange(4), query.sizes), Words(0))
    assert counted == list(tables[10:])


# What a custodian holds


def declared(longest: int) -> Schema:
    words = [f"w{k}" for k in range(longest)]
    return schema_from_document(
        {
            "column": [
                {"name": "who", "person": True},
                {"name": "word", "kind": "categorical", "categories": words, "nullable": True},
                {"name": "number", "kind": "continuous", "lower": 0, "upper": 9, "nullable": True},
                {"name": "day", "kind": "datetime", "lower": "2020-01-01", "upper": "2020-12-31", "bins": 12},
            ]
        }
    )


def some_rows(schema: Schema, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Missing values everywhere, persons with many rows, and values that nobody has declared."""
    words = np.array([*schema.columns[0].categories, "no such word"], object)  # type: ignore[union-attr]
    moments = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(-50, 400, rows), "D")
    table = pd.DataFrame(
        {
            "who": pd.Series(rng.integers(0, 1 + rows // 3, rows), dtype="Int64"),
            "word": pd.Series(words[rng.integers(0, len(words), rows)], dtype=object),
            "number": rng.integers(-3, 12, rows).astype(float),
            "day": pd.Series(moments),
        }
    )
    return table.mask(rng.random(table.shape) < 0.1)


@given(seed=SEEDS, rows=st.integers(0, 80), longest=st.sampled_from([2, 255, 256, 300]), part=st.integers(1, 90))
@settings(max_examples=examples(25))
def test_a_table_in_parts_is_the_whole_one_in_the_smallest_type(seed: int, rows: int, longest: int, part: int) -> None:
    schema = declared(longest)
    table = some_rows(schema, rows, np.random.default_rng(seed))
    whole = encode(table, schema)
    held = encode_parts((table.iloc[first : first + part] for first in range(0, rows, part)), schema)
    assert held.values.dtype == held_type(schema.sizes) == (np.uint8 if longest < 256 else np.uint16)
    assert held.values.flags.c_contiguous and held.values.shape == (len(whole), 3)
    np.testing.assert_array_equal(held.values, whole.values)
    np.testing.assert_array_equal(held.persons, whole.persons)
    assert (held.sizes, held.left_out, held.breaking) == (whole.sizes, whole.left_out, whole.breaking)
