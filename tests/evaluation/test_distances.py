"""Distances of histories: 0 for the same, small for another half of the persons, large where events know nothing of each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cohortium.data.events import PERSONS
from cohortium.evaluation.histories import distances, halves, independent
from cohortium_simulation.made_up import DEMOS

Tables = dict[str, pd.DataFrame]
SMALL = {name: replace(made, persons=1500) for name, made in DEMOS.items()}
ALL = pytest.mark.parametrize("name", SMALL)


def by_what(name: str, real: Tables, synthetic: Tables) -> dict[str, float]:
    return {row["what"]: row["distance"] for row in distances(SMALL[name].schema, real, synthetic)}


@ALL
def test_the_same_tables_are_no_distance_apart_in_any_order(name: str) -> None:
    real = SMALL[name].tables
    shuffled = {n: table.sample(frac=1, random_state=3) for n, table in real.items()}
    assert set(by_what(name, real, shuffled).values()) == {0.0}


@ALL
def test_shuffled_columns_differ_in_what_follows_on_what_and_in_nothing_else(name: str) -> None:
    real, schema, rng = SMALL[name].tables, SMALL[name].schema, np.random.default_rng(1)
    apart = by_what(name, real, independent(schema, real, rng))
    half, other = halves(schema, real, PERSONS, rng)
    column = {"hospital": "reason", "bank": "kind"}[name]
    assert apart[column] == apart["time between events"] == apart["events of a person"] == 0.0
    follows = f"{column} from one event to the next"
    assert apart[follows] > 2 * by_what(name, half, other)[follows] > 0


@ALL
def test_halves_are_whole_persons(name: str) -> None:
    schema, real = SMALL[name].schema, SMALL[name].tables
    half, other = halves(schema, real, PERSONS, np.random.default_rng(2))
    (table,) = schema.tables
    assert sum(len(h[table.name]) for h in (half, other)) == len(real[table.name])
    assert set(half[table.name][table.person]) <= set(half[PERSONS][schema.person])
    assert not set(half[PERSONS][schema.person]) & set(other[PERSONS][schema.person])


@ALL
def test_shorter_histories_and_another_calendar_are_seen(name: str) -> None:
    real, schema = SMALL[name].tables, SMALL[name].schema
    (table,) = schema.tables
    events = real[table.name].sort_values([table.person, table.time])
    firsts = {**real, table.name: events.groupby(table.person).head(1)}
    assert by_what(name, real, firsts)["events of a person"] > 0.3
    mondays = events[table.time] - pd.to_timedelta(events[table.time].dt.weekday, "D")
    assert by_what(name, real, {**real, table.name: events.assign(**{table.time: mondays})})["weekday"] > 0.5


@ALL
def test_made_up_persons_fit_their_schema(name: str) -> None:
    from cohortium.data.linked import encode_linked

    codes = encode_linked(SMALL[name].tables, SMALL[name].schema)
    assert (codes.left_out, codes.breaking, len(codes)) == (0, 0, 1500)
