"""The SQL of docs/scale.md counts what the product counts of the same events, integer by integer."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from repository import ROOT
from steps import OWN, as_declared, in_one_context, lived

from cohortium.data.encoding import Codes, Events
from cohortium.queries.contexts import Context, Track

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed: it is nothing that cohortium needs")
TRACK = Track((40, 5), (40, 0), 365, 9)
ASKED = (Context("previous", 1), 1, 3), (Context("person", 1), 1, 2)


def told() -> str:
    (text,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/scale.md").read_text(encoding="utf-8"), re.DOTALL)
    return str(text)


def persons_with_events(seed: int) -> Codes:
    """Of one time in the order of their cells, as they are encoded; one person has most of them."""
    codes = lived((TRACK,), OWN, 2000, 150, seed)
    (events,) = codes.events
    persons = np.where(np.arange(len(events)) % 3 == 0, 7, events.persons)
    order = np.lexsort((events.values[:, 1], events.ticks, persons))
    return Codes(
        codes.values,
        codes.persons,
        codes.sizes,
        events=(Events(events.values[order], persons[order], events.ticks[order]),),
    )


@pytest.mark.parametrize(("clip", "grid"), [(2.0, 1), (0.5, 64), (30.0, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_a_warehouse_counts_the_same_integers(clip: float, grid: int, seed: int) -> None:
    query, codes = as_declared(in_one_context(TRACK, *ASKED, clip=clip, grid=grid)), persons_with_events(seed)
    (events,) = codes.events
    tables: dict[str, Any] = {
        "events": pd.DataFrame(
            {"person": events.persons, "tick": events.ticks, "cell": events.values[:, 1].astype(int)}
        ),
        "persons": pd.DataFrame({"person": np.arange(len(codes)), "own": codes.values[:, 1].astype(int)}),
        "weights": pd.DataFrame({"asked": [0, 1], "weight": list(query.weights)}),
    }
    with duckdb.connect() as warehouse:
        for name, table in tables.items():
            warehouse.register(name, table)
        given = {"most": TRACK.most, "cells": TRACK.sizes[1], "grid": grid, "longest": query._longest}
        rows = warehouse.execute(told(), given).fetchall()
    found = np.zeros(query.width, np.int64)
    for asked, place, total in rows:
        found[sum(query.lengths[:asked]) + place] = total
    assert found.any()
    np.testing.assert_array_equal(found, query.count(codes))
