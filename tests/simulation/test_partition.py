"""Splits of one table: nobody lost, nobody twice, persons whole, names that a study takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cohortium.data.columns.encoding import category_key
from cohortium.data.schema import Schema, schema_from_document
from cohortium.errors import SchemaError, StudyError
from cohortium.system.filenames import Name
from cohortium_simulation.partition import by_column, declared_categories, iid, skewed, valid_name


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
    table = visits([str(i) for i in range(4000)])
    first, again = (iid(table, 4, np.random.default_rng(5), "person") for _ in range(2))
    assert all(900 < len(part) < 1100 for part in first.values())  # 1000, give or take 27
    assert all(first[name].equals(again[name]) for name in first)
    assert not first["institution-01"].equals(iid(table, 4, np.random.default_rng(6), "person")["institution-01"])


def test_iid_deals_out_persons_and_not_rows() -> None:
    table = visits(["often"] * 500 + [str(i) for i in range(1000)])
    parts = iid(table, 2, np.random.default_rng(1), "person")
    assert sum(part["person"].nunique() for part in parts.values()) == 1001
    assert all(430 < part["person"].nunique() < 570 for part in parts.values())


def test_institutions_may_be_named() -> None:
    assert list(iid(visits(["a"]), ["north", "south"], np.random.default_rng(0))) == ["north", "south"]
    assert list(skewed(visits(["a"]), ["north", "south"], "row", 1.0, np.random.default_rng(0))) == ["north", "south"]


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
    "split", [lambda t: by_column(t, "site", {"a": ("a",)}), lambda t: iid(t, 2, np.random.default_rng(1), "site")]
)
def test_a_column_that_is_not_there(split: object) -> None:
    with pytest.raises(SchemaError, match="site"):
        split(visits(["a"]))  # type: ignore[operator]


def rows_of(parts: dict[str, pd.DataFrame]) -> dict[str, list[int]]:
    return {name: [int(r) for r in part["row"]] for name, part in parts.items()}


def test_by_column_has_the_declared_institutions_and_no_other() -> None:
    table = visits(["a"] * 6).assign(site=pd.Series(["Zürich", "Basel", None, " Zürich", "", "Dr Smith"], dtype=object))
    parts = by_column(table, "site", {"east": ("Zürich", "Chur"), "Basel": ("Basel",), "Bern": ("Bern",)})
    assert rows_of(parts) == {"east": [0, 3], "Basel": [1], "Bern": []}
    assert "site" in parts["Basel"] and list(parts["Bern"].columns) == list(table.columns)


def test_by_column_of_numbers_with_gaps() -> None:
    table = visits(["a"] * 4).assign(site=[2.0, np.nan, 10.0, 2.0])
    assert rows_of(by_column(table, "site", {"two": ("2",), "ten": (10,)})) == {"two": [0, 3], "ten": [2]}


def test_a_value_is_one_institutions() -> None:
    with pytest.raises(StudyError, match="two institutions have the value 'a'"):
        by_column(visits(["a"]), "person", {"north": ("a",), "south": ("b", " a ")})


def a_schema() -> Schema:
    return schema_from_document(
        {
            "name": "visits",
            "column": [
                {"name": "site", "kind": "categorical", "categories": ["Ost/1", "Ost|1", "Zürich", "x" * 90, "else"], "other": "else"},
                {"name": "stage", "kind": "ordinal", "categories": [1, 2]},
                {"name": "urgent", "kind": "boolean"},
                {"name": "age", "kind": "continuous", "lower": 0, "upper": 100},
            ],
        }
    )  # fmt: skip


def test_what_a_schema_declares() -> None:
    """Names that a study takes and that are told apart, whether or not a row has the category."""
    schema = a_schema()
    assert list(declared_categories(schema, "site") or ()) == ["Ost-1", "Ost-1-2", "Zurich", "x" * 80, "else"]
    assert declared_categories(schema, "stage") == {"1": ("1",), "2": ("2",)}
    assert declared_categories(schema, "urgent") == {"false": ("false",), "true": ("true",)}
    assert declared_categories(schema, "age") is declared_categories(schema, "nowhere") is None


def test_a_column_is_read_as_the_schema_reads_it() -> None:
    """An undeclared value is the schema's other; without one it is nobody's, and neither is a missing one."""
    schema = a_schema()
    table = visits(["a"] * 4).assign(
        site=["Zürich", "Dr Smith", None, "Ost|1"], stage=[1.0, 3.0, np.nan, 2.0], urgent=["yes", "0", None, "maybe"]
    )
    parts = {c: by_column(table, c, declared_categories(schema, c) or {}, schema) for c in ("site", "stage", "urgent")}
    assert {n: r for n, r in rows_of(parts["site"]).items() if r} == {"Ost-1-2": [3], "Zurich": [0], "else": [1]}
    assert rows_of(parts["stage"]) == {"1": [0], "2": [3]}
    assert rows_of(parts["urgent"]) == {"false": [1], "true": [0]}


@given(st.lists(st.one_of(st.none(), st.text(max_size=100), st.integers(), st.booleans()), max_size=20))
def test_no_value_of_a_row_becomes_an_institution(values: list[object]) -> None:
    table = visits(["a"] * len(values)).assign(site=pd.Series(values, dtype=object))
    parts = by_column(table, "site", {"north": ("n", 1), "south": ("s",)})
    assert list(parts) == ["north", "south"]
    assert rows(parts) == [
        i for i, v in enumerate(values) if not isinstance(v, bool) and category_key(v) in ("n", "1", "s")
    ]


@given(st.lists(st.text(max_size=100), max_size=20))
def test_names_are_ones_that_a_study_takes(words: list[str]) -> None:
    for name in map(valid_name, words):
        assert TypeAdapter(Name).validate_python(name) == name


# A person's institution is of nobody else's making

Splitting = Callable[[pd.DataFrame, np.random.Generator], dict[str, pd.DataFrame]]
SPLITS: dict[str, Splitting] = {
    "iid, persons": lambda t, rng: iid(t, 4, rng, "person"),
    "iid, rows": lambda t, rng: iid(t.drop(columns=["person", "row"]), 4, rng),
    "skewed, persons": lambda t, rng: skewed(t, 4, "label", 0.5, rng, "person"),
    "skewed, rows": lambda t, rng: skewed(t.drop(columns=["person", "row"]), 4, "label", 0.5, rng),
    "by a column": lambda t, rng: by_column(t, "label", {"north": ("a", "b"), "south": ("c",), "west": ()}),
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
@given(
    people=st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.integers(0, 2)), max_size=15),
    more=st.lists(st.tuples(st.sampled_from("abcx"), st.sampled_from([0.5, None, 7])), min_size=1, max_size=3),
    place=st.integers(0, 15),
)
def test_nobody_moves_when_a_person_is_added(
    split: Splitting, people: list[tuple[int, str, int]], more: list[tuple[str, float | None]], place: int
) -> None:
    """Wherever the person's rows stand, whatever they hold, and whatever types the columns have because of them."""
    others = [(str(person), label, size, "others") for person, label, size in people]
    mine = [("added", label, size, "mine") for label, size in more]
    columns = ["person", "label", "size", "whose"]
    without, added = (
        pd.DataFrame(lines, columns=columns).assign(row=range(len(lines)))
        for lines in (others, [*others[:place], *mine, *others[place:]])
    )
    first, second = (split(table, np.random.default_rng(3)) for table in (without, added))
    assert list(first) == list(second)
    for name, part in first.items():
        after = second[name][second[name]["whose"] == "others"]
        seen = [
            sorted(
                map(str, p[[c for c in ("person", "label", "size") if c in p]].astype(object).itertuples(index=False))
            )
            for p in (part, after.assign(size=after["size"].astype(part["size"].dtype)))
        ]
        assert seen[0] == seen[1]


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


def test_the_types_of_columns_say_nothing() -> None:
    """Whole numbers become fractions, and all become objects, where a single row has something else."""
    table = pd.DataFrame({"size": range(40), "label": ["x", "y"] * 20})
    added = pd.concat([pd.DataFrame({"size": [None, 0.5], "label": [True, "x"]}), table])
    first, second = (iid(t, 4, np.random.default_rng(1)) for t in (table, added))
    for name, part in first.items():
        assert set(part["size"]) == {int(size) for size in second[name]["size"] if pd.notna(size) and size != 0.5}
