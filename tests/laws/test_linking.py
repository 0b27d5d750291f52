"""Laws of linked tables in codes: a person is what that person's own rows say, in any order, whoever else is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linked import LINKED, ORDERED, RULED, tables

from cohortium.data.columns.encoding import cells_at
from cohortium.data.encoding import Codes, Events
from cohortium.data.identifiers import identifier
from cohortium.data.linked import encode_linked, encode_linked_parts
from cohortium.data.ordering import reordered
from cohortium.data.schema import Schema

Tables = dict[str, pd.DataFrame]
BOTH = pytest.mark.parametrize("schema", [LINKED, ORDERED, RULED], ids=lambda s: s.name)


def whole(codes: Codes) -> list[Any]:
    """By person the row and the events, in plain values."""
    return [
        (
            codes.values[i].tolist(),
            [(e.values[e.persons == i].tolist(), e.ticks[e.persons == i].tolist()) for e in codes.events],
        )
        for i in range(len(codes))
    ]


def of(given: Tables, who: str, schema: Schema, others: bool = False) -> Tables:
    """The rows of one person, or of all others and of nobody."""
    whose = {n: np.array([identifier(x) == who for x in t[schema.parts[n].person]], bool) for n, t in given.items()}
    return {name: table[whose[name] != others] for name, table in given.items()}


@BOTH
@given(given=tables(), seed=st.integers(0, 2**16))
def test_no_order_of_rows_changes_anything(schema: Schema, given: Tables, seed: int) -> None:
    shuffled = {name: table.sample(frac=1, random_state=seed) for name, table in given.items()}
    one, other = encode_linked(given, schema), encode_linked(shuffled, schema)
    assert whole(one) == whole(other)
    assert (one.left_out, one.breaking, one.census) == (other.left_out, other.breaking, other.census)


@BOTH
@given(given=tables(), seed=st.integers(0, 2**16))
def test_made_up_events_are_put_in_the_order_of_encoded_ones(schema: Schema, given: Tables, seed: int) -> None:
    """The fit counts made-up persons as real ones are counted: their events must be in the same order, with the same gaps."""
    codes = encode_linked(given, schema)
    mixed = []
    for one in codes.events:
        order = np.random.default_rng(seed).permutation(len(one))
        mixed.append(Events(one.values[order], one.persons[order], one.ticks[order]))
    for one, again in zip(codes.events, reordered(schema.tables, mixed), strict=True):
        np.testing.assert_array_equal(one.values, again.values)
        np.testing.assert_array_equal(one.persons, again.persons)
        np.testing.assert_array_equal(one.ticks, again.ticks)


@BOTH
@given(given=tables(), who=st.sampled_from(["1", "2", "3", "4"]))
def test_a_person_is_their_own_rows_alone(schema: Schema, given: Tables, who: str) -> None:
    everybody = whole(encode_linked(given, schema))
    others = whole(encode_linked(of(given, who, schema, others=True), schema))
    alone = whole(encode_linked(of(given, who, schema), schema))
    assert len(alone) <= 1
    assert len(everybody) == len(others) + len(alone)
    places = [i for i in range(len(everybody)) if everybody[:i] + everybody[i + 1 :] == others]
    assert everybody == others if not alone else any(everybody[i] == alone[0] for i in places)


@BOTH
@given(given=tables(), cut=st.integers(1, 5))
def test_parts_are_the_table(schema: Schema, given: Tables, cut: int) -> None:
    parts = {n: [t[i : i + cut] for i in range(0, max(len(t), 1), cut)] for n, t in given.items()}
    one, other = encode_linked(given, schema), encode_linked_parts(parts, schema)
    assert whole(one) == whole(other) and one.census == other.census


@BOTH
@given(given=tables())
def test_rows_are_accounted_for_and_cells_are_cells(schema: Schema, given: Tables) -> None:
    codes = encode_linked(given, schema)
    assert (codes.values < np.array(schema.sizes)).all() and (codes.persons == np.arange(len(codes))).all()
    for table, events, at in zip(schema.tables, codes.events, (2, 2 + len(schema.tables[0].derived)), strict=True):
        census = codes.census[table.name]
        assert (census.rows, census.counted) == (len(given[table.name]), len(events))
        assert census.beyond >= 0 and census.persons == len(np.unique(events.persons))
        assert (events.values < np.array(table.sizes)).all()
        assert (np.diff(events.persons) >= 0).all() and ((events.ticks >= 0) & (events.ticks < table.clock.grid)).all()
        same = events.persons[1:] == events.persons[:-1]
        gaps = np.diff(events.ticks)
        assert (gaps[same] >= 0).all()
        first = np.concatenate([np.ones(min(len(events), 1), bool), ~same])
        assert (events.values[first, 0] == 0).all()
        assert (events.values[1:][same, 0] == cells_at(table.steps[0], gaps[same])).all()
        counts = np.bincount(events.persons, minlength=len(codes))
        assert counts.max(initial=0) <= table.most
        assert (codes.values[:, at] == cells_at(table.derived[0], counts)).all()
        there = counts > 0
        assert (codes.values[there, at + 1] == cells_at(table.clock, events.ticks[first])).all()
        assert (codes.values[there, at + 2 : at + 1 + len(table.columns)] == events.values[first, 1:]).all()
        nothing = np.array([c.values for c in table.derived[1:]])
        assert (codes.values[~there, at + 1 : at + 1 + len(table.columns)] == nothing).all()
    assert codes.left_out == sum(one.left_out for one in codes.census.values())
