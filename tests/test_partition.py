"""Splits of one table: nobody lost, nobody twice, persons whole, names that a study takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cohortium.errors import SchemaError, StudyError
from cohortium.study import Name
from cohortium_simulation.partition import by_column, iid, skewed


def visits(persons: Sequence[str | None]) -> pd.DataFrame:
    return pd.DataFrame({"person": persons, "row": range(len(persons))})


def rows(parts: dict[str, pd.DataFrame]) -> list[int]:
    return sorted(int(r) for part in parts.values() for r in part["row"])


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=40), st.integers(1, 12))
def test_iid_keeps_every_row_once_and_persons_whole(persons: list[str | None], institutions: int) -> None:
    parts = iid(visits(persons), institutions, np.random.default_rng(0), "person")
    assert list(parts) == [f"institution-{i:02}" for i in range(1, institutions + 1)]
    assert rows(parts) == list(range(len(persons)))
    homes = [{name for name, part in parts.items() if person in set(part["person"])} for person in {*persons} - {None}]
    assert all(len(home) == 1 for home in homes)


def test_iid_is_even_and_repeatable() -> None:
    table = visits([str(i) for i in range(103)])
    first, again = (iid(table, 4, np.random.default_rng(5)) for _ in range(2))
    assert sorted(map(len, first.values())) == [25, 26, 26, 26]
    assert all(first[name].equals(again[name]) for name in first)
    assert not first["institution-01"].equals(iid(table, 4, np.random.default_rng(6))["institution-01"])


def test_iid_deals_out_persons_and_not_rows() -> None:
    table = visits(["often"] * 50 + [str(i) for i in range(9)])
    parts = iid(table, 2, np.random.default_rng(1), "person")
    assert [part["person"].nunique() for part in parts.values()] == [5, 5]


def test_iid_keeps_the_order_of_rows() -> None:
    for part in iid(visits([str(i) for i in range(50)]), 3, np.random.default_rng(1)).values():
        assert part["row"].is_monotonic_increasing


def test_names_sort_as_they_count() -> None:
    names = list(iid(visits(["a"]), 120, np.random.default_rng(1)))
    assert names == sorted(names)
    assert names[0] == "institution-001"


def test_no_institution() -> None:
    with pytest.raises(StudyError):
        iid(visits(["a"]), 0, np.random.default_rng(1))


@pytest.mark.parametrize(
    "split", [lambda t: by_column(t, "site"), lambda t: iid(t, 2, np.random.default_rng(1), "site")]
)
def test_a_column_that_is_not_there(split: object) -> None:
    with pytest.raises(SchemaError, match="site"):
        split(visits(["a"]))  # type: ignore[operator]


def test_by_column_has_one_institution_per_value() -> None:
    table = visits(["a"] * 5).assign(site=pd.Series(["Zürich", "Basel", None, "Zürich", ""], dtype=object))
    parts = by_column(table, "site")
    assert {name: list(part["row"]) for name, part in parts.items()} == {
        "unknown": [2, 4],
        "Basel": [1],
        "Zurich": [0, 3],
    }
    assert "site" in parts["Basel"]


def test_a_column_with_a_value_per_row_is_no_split() -> None:
    with pytest.raises(StudyError, match="too many values"):
        by_column(visits([str(i) for i in range(1001)]), "row")


def test_by_column_of_numbers_with_gaps() -> None:
    table = visits(["a"] * 4).assign(site=[2.0, np.nan, 10.0, 2.0])
    assert {name: len(part) for name, part in by_column(table, "site").items()} == {
        "10": 1,
        "2": 2,
        "unknown": 1,
    }


def test_names_that_fall_together_are_told_apart() -> None:
    table = visits(["a"] * 4).assign(site=["Ost/1", "Ost|1", "x" * 90, "x" * 91])
    names = set(by_column(table, "site"))
    assert names == {"Ost-1", "Ost-1-2", "x" * 80, "x" * 74 + "-2"}


@given(st.lists(st.one_of(st.none(), st.text(max_size=100), st.integers(), st.booleans()), max_size=20))
def test_by_column_gives_names_a_study_takes_and_keeps_every_row(values: list[object]) -> None:
    parts = by_column(visits(["a"] * len(values)).assign(site=pd.Series(values, dtype=object)), "site")
    for name in parts:
        assert TypeAdapter(Name).validate_python(name) == name
    assert rows(parts) == list(range(len(values)))
    assert all(len(part) for part in parts.values())


@given(
    values=st.lists(st.sampled_from("abc"), min_size=1, max_size=60),
    institutions=st.integers(1, 6),
    alpha=st.floats(0.05, 50),
    seed=st.integers(0, 1000),
)
def test_skewed_parts_keep_every_row_once(values: list[str], institutions: int, alpha: float, seed: int) -> None:
    table = visits(["a"] * len(values)).assign(label=values)
    parts = skewed(table, institutions, "label", alpha, np.random.default_rng(seed))
    assert rows(parts) == list(range(len(values)))
    assert len(parts) == institutions
    if len(values) >= 4 * institutions:
        assert all(len(part) for part in parts.values())


def test_skewed_parts_are_uneven_in_the_label_and_persons_stay_together() -> None:
    table = visits([f"p{i // 3}" for i in range(6000)]).assign(label=["x", "x", "y"] * 2000)
    parts = skewed(table.assign(label=table["row"] // 3000), 5, "label", 0.3, np.random.default_rng(2), "person")
    shares = [part["label"].mean() for part in parts.values() if len(part)]
    assert max(shares) - min(shares) > 0.5
    homes = pd.concat([part.assign(home=name) for name, part in parts.items()]).groupby("person")["home"].nunique()
    assert homes.max() == 1


@pytest.mark.parametrize(("institutions", "alpha"), [(0, 1.0), (3, 0.0), (3, -1.0), (3, float("nan"))])
def test_no_skew_of_nothing(institutions: int, alpha: float) -> None:
    with pytest.raises(StudyError):
        skewed(visits(["a"]), institutions, "row", alpha, np.random.default_rng(0))
