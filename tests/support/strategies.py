"""Any column and any schema, for hypothesis."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from cohortium.data.columns import Boolean, Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.data.schema import Schema

BINS = st.none() | st.integers(2, 40)
WORDS = st.from_regex(r"[a-zé][a-z 0-9]{0,8}[a-z0-9]", fullmatch=True)


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    """Any column of any kind."""
    common: dict[str, Any] = {"name": name, "nullable": draw(st.booleans()), "target": draw(st.booleans())}
    kind = draw(st.sampled_from([Categorical, Ordinal, Boolean, Continuous, Datetime]))
    if kind is Boolean:
        return Boolean(**common)
    if kind is Datetime:
        lower = draw(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))).replace(microsecond=0)
        resolution = draw(st.sampled_from(["second", "minute", "hour", "day"]))
        upper = lower + timedelta(days=draw(st.integers(2, 40_000)), seconds=draw(st.integers(0, 86_399)))
        return Datetime(**common, lower=lower, upper=upper, resolution=resolution, bins=draw(BINS))
    if kind is Continuous:
        return draw(continuous(common))
    of_numbers = st.lists(st.integers(-1000, 1000), min_size=2, max_size=12, unique=True)
    of_words = st.lists(WORDS | st.integers(0, 20).map(str), min_size=2, max_size=12, unique=True)
    categories = tuple(draw(st.one_of(of_numbers, of_words)))
    if kind is Categorical and isinstance(categories[0], str):
        common["other"] = draw(st.sampled_from([None, categories[-1]]))
    return kind(**common, categories=categories)


@st.composite
def continuous(draw: st.DrawFn, common: dict[str, Any]) -> Continuous:
    decimals = draw(st.integers(0, 4))
    unit = 10**decimals
    low, wide = draw(st.integers(-(10**6), 10**6)), draw(st.integers(3, 10**6))
    at = st.integers(low, low + wide).map(lambda i: i / unit)
    points = tuple(draw(st.lists(at, max_size=3, unique=True)))
    inner = st.integers(low + 1, low + wide).map(lambda i: i / unit)
    edges = draw(st.none() | st.lists(inner, min_size=1, max_size=6, unique=True).map(lambda e: tuple(sorted(e))))
    return Continuous(
        **common,
        lower=low / unit,
        upper=(low + wide) / unit,
        decimals=decimals,
        bins=draw(BINS),
        scale=draw(st.sampled_from(["linear", "asinh"])),
        edges=edges,
        points=points,
    )


def schemas() -> st.SearchStrategy[Schema]:
    person = st.sampled_from([None, "who"])
    several = st.integers(1, 4).flatmap(lambda n: st.tuples(*(columns(f"column {i}") for i in range(n))))
    return st.builds(lambda p, c: Schema(name="any", person=p, columns=c), person, several)
