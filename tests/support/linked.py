"""A schema of persons with two tables of events, and rows for it: some that fit, some that do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from cohortium.data.columns import Categorical, Continuous, Datetime
from cohortium.data.conditions.constraints import Order
from cohortium.data.event_rules import Final, Once
from cohortium.data.events import EventTable
from cohortium.data.schema import Schema, with_events

LABS = EventTable(
    name="labs",
    person="patient",
    time="day",
    columns=(
        Categorical(name="test", categories=("crp", "hb")),
        Continuous(name="day", lower=0, upper=30),
        Continuous(name="value", lower=0, upper=9, bins=3, nullable=True),
    ),
    most=3,
)
STAYS = EventTable(
    name="stays",
    person="id",
    time="admitted",
    columns=(
        Datetime(name="admitted", lower=datetime(2020, 1, 1), upper=datetime(2020, 1, 31)),
        Categorical(name="ward", categories=("a", "b")),
    ),
)
OWN = (Categorical(name="sex", categories=("f", "m")), Continuous(name="enrolled", lower=0, upper=30, bins=4))
LINKED = with_events(Schema(name="linked", person="id", columns=OWN), (LABS, STAYS))
ORDERED = with_events(
    Schema(
        name="ordered",
        person="id",
        columns=(*OWN, *LABS.derived),
        constraints=(Order(columns=("enrolled", "labs_first_day")), *LABS.implied),
        tables=(LABS,),
    ),
    (LABS, STAYS),
)
"""Nobody has a test before the day of enrolment."""
RULED = with_events(
    Schema(name="ruled", person="id", columns=OWN),
    (
        replace(LABS, rules=(Once(column="test", categories=("crp",)),)),
        replace(STAYS, rules=(Final(column="ward", categories=("a",)), Once(column="ward"))),
    ),
)
"""The one test is made once, of wards everybody sees each but once, and nothing follows on the first one of the list."""

TEXT = """
name = "linked"

[[column]]
name = "id"
person = true

[[column]]
name = "sex"
kind = "categorical"
categories = ["f", "m"]

[[table]]
name = "labs"
most = 3

[[table.column]]
name = "patient"
person = true

[[table.column]]
name = "day"
kind = "continuous"
lower = 0
upper = 30
time = true

[[table.column]]
name = "test"
kind = "categorical"
categories = ["crp", "hb"]
"""

WHO = st.sampled_from(["1", "2", "3", "4", " 2 ", "3.0", "", None])
DAYS = st.sampled_from([-1, 0, 1, 2, 2.0, 29, 30, 31, "x", None])


def _frame(rows: list[tuple[Any, ...]], names: list[str]) -> pd.DataFrame:
    return pd.DataFrame({n: pd.Series([row[j] for row in rows], dtype=object) for j, n in enumerate(names)})


def _frames(names: list[str], *cells: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[pd.DataFrame]:
    return st.lists(st.tuples(*cells), max_size=most).map(lambda rows: _frame(rows, names))


def tables() -> st.SearchStrategy[dict[str, pd.DataFrame]]:
    """Tables for LINKED and ORDERED, with rows of every fault."""
    moments = st.sampled_from(
        ["2019-12-31", "2020-01-01", "2020-01-02T13:00:00", "2020-01-31T23:00:00", "2020-02-01", ""]
    )
    return st.fixed_dictionaries(
        {
            "persons": _frames(["id", "sex", "enrolled"], WHO, st.sampled_from(["f", "m", "x"]), DAYS, most=6),
            "labs": _frames(
                ["patient", "test", "day", "value"], WHO, st.sampled_from(["crp", "hb", "?"]), DAYS, DAYS, most=16
            ),
            "stays": _frames(["id", "ward", "admitted"], WHO, st.sampled_from(["a", "b", None]), moments, most=8),
        }
    )
