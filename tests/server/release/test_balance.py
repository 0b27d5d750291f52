"""Samples of a release under conditions and rebalanced: exact to the value and the count, and marked."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from console import call, call_json
from hypothesis import given
from hypothesis import strategies as st

import cohortium
from cohortium import between, other_than
from cohortium.data.columns import Boolean, Categorical, Continuous
from cohortium.data.conditions.selection import Selection
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError
from cohortium_server.release import Release
from cohortium_server.release.balance import Balanced, Share, read_balance
from cohortium_server.release.rows import drawn_codes


def test_conditions_of_every_kind_hold_in_every_row(release: Release) -> None:
    where = {
        "age": between(33, 61.5),
        "ward": other_than("c", None),
        "seen": between("2020-03", "2020-05"),
        "result": ["positive", "negative"],
    }
    table = release.sample(800, where=where, seed=3)
    assert len(table) == 800
    assert set(table["age"]) == set(range(33, 62))
    assert set(table["ward"]) == {"a", "b"}
    assert table["seen"].between("2020-03-01", "2020-05-31").all()
    texts = ["age>=33", "age<=61.5", "ward!=c", "ward!=missing", "seen=2020-03..2020-05"]
    again = release.sample(800, where=texts, seed=3)
    pd.testing.assert_frame_equal(again, release.sample(800, where={k: where[k] for k in again if k in where}, seed=3))
    assert set(release.sample(40, where={"age": 47})["age"]) == {47}
    assert release.sample(40, where="ward=missing")["ward"].isna().all()
    assert release.sample(40, where=["age>99"])["age"].eq(100).all()


def test_a_range_that_cuts_cells_is_bayes_rule(release: Release) -> None:
    """Against the rows of a plain sample that lie in it: the cells are 0-20, ..., 81-100."""
    everything = release.sample(60_000, seed=1)
    met = everything[everything["age"].between(55, 64)]
    table = release.sample(20_000, where={"age": between(55, 64)}, seed=2)
    for column in ("age", "ward", "result", "urgent", "sex"):
        shares = [t[column].value_counts(normalize=True, dropna=False) for t in (met, table)]
        assert shares[0].sub(shares[1], fill_value=0).abs().sum() / 2 < 0.03


def test_equal_shares_of_a_column_and_all_else_as_in_the_model(release: Release) -> None:
    table = release.sample(4001, balance="ward", seed=2)
    assert sorted(table["ward"].value_counts()) == [1333, 1334, 1334]
    assert not table["ward"].isna().any()
    assert table.index.equals(pd.RangeIndex(4001))
    changes = (table["ward"] != table["ward"].shift()).sum()
    assert changes > 2000, "values come in no order"
    plain = release.sample(30_000, seed=3)
    for ward in "abc":
        old = [(t[t["ward"] == ward]["age"] > 60).mean() for t in (plain, table)]
        assert abs(old[0] - old[1]) < 0.05
    assert table.attrs["balance"]["rows"] == {w: int((table["ward"] == w).sum()) for w in "abc"}
    assert "not the population's" in table.attrs["balance"]["note"]
    assert not plain.attrs
    assert release.sample(0, balance="ward").shape == (0, 6)
    pd.testing.assert_frame_equal(table, release.sample(4001, balance="ward", seed=2))


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        ({"result": {"positive": 0.3, "negative": 0.7}}, {"positive": 30, "negative": 70}),
        ("result=positive:0.3,negative:.7", {"positive": 30, "negative": 70}),
        ({"ward": {"a": 0.125, None: 0.875}}, {"a": 13, "missing": 87}),
        (" ward = a:0.125, missing:0.875", {"a": 13, "missing": 87}),
        ("ward=b:1,a:0", {"b": 100, "a": 0}),
        ({"age": {between(0, 17): 0.5, between(18): 0.5}}, {"0..17": 50, "18..": 50}),
        ("age=0..17:0.25,18..64:0.25,65..:0.5", {"0..17": 25, "18..64": 25, "65..": 50}),
        ({"ward": {"a": 0.5, other_than("a", None): 0.5}}, {"a": 50, "other than a, missing": 50}),
        ("urgent", {"false": 50, "true": 50}),
    ],
)  # fmt: skip
def test_shares_are_met_to_the_row(release: Release, balance: Any, expected: dict[str, int]) -> None:
    table = release.sample(100, balance=balance, seed=1)
    assert len(table) == 100
    assert table.attrs["balance"]["rows"] == expected
    json.dumps(table.attrs)
    column = table[table.attrs["balance"]["column"]]
    if column.name == "age":
        assert (column >= 18).sum() == sum(n for name, n in expected.items() if name != "0..17")
    else:
        words = column.astype("string").str.lower().fillna("missing")
        known = {name: n for name, n in expected.items() if n and "other" not in name}
        assert known.items() <= words.value_counts().to_dict().items()


def test_a_rebalanced_sample_keeps_to_its_conditions(release: Release) -> None:
    table = release.sample(300, where={"ward": ["a", "b"], "age": between(70, 75)}, balance="ward", seed=1)
    assert table["ward"].value_counts().to_dict() == {"a": 150, "b": 150}
    assert table["age"].between(70, 75).all()
    table = release.sample(90, where=["age>=10"], balance="age=0..20:0.5,21..40:0.5", seed=1)
    assert (table["age"] <= 20).sum() == (table["age"] > 20).sum() == 45
    assert table["age"].between(10, 40).all()


@pytest.mark.parametrize(
    ("balance", "what", "fix"),
    [
        ("nobody", "there is no column 'nobody'", "Columns are sex"),
        ("age", "no listed values", "ranges"),
        ("result=positive", "cannot be read", "column=value:share"),
        ("result=positive:0.3,negative:0.7,x", "cannot be read", "column=value:share"),
        ("result=positive:0.3,,negative:0.7", "',negative' is not one of its values", "negative, positive"),
        ("result=positive:much,negative:0.7", "'positive:much,negative' is not one", "negative, positive"),
        ("result=maybe:1", "'maybe' is not one of its values", "negative, positive"),
        ("result=positive:0.3", "add up to 0.3", "adding up to 1"),
        ("result=positive:0.3,positive:0.7", "positive is in two shares", "once"),
        ("age=0..20:0.5,20..40:0.5", "20..40 is in two shares", "once"),
        ({"result": {"positive": -0.5, "negative": 1.5}}, "between 0 and 1", "0 to 1"),
        ({"result": {"positive": "half"}}, "not a number", "0 to 1"),
        ({"result": {"positive": math.nan}}, "between 0 and 1", "0 to 1"),
        ({"result": "positive"}, "no shares", "balance="),
        ({"result": {"positive": 1}, "ward": {"a": 1}}, "not of one column", "use where"),
        ({}, "not of one column", "use where"),
    ],
)  # fmt: skip
def test_a_balance_that_makes_no_sense_is_refused(release: Release, balance: Any, what: str, fix: str) -> None:
    with pytest.raises(ReleaseError) as caught:
        release.sample(10, balance=balance)
    assert caught.value.code == "E_CONDITION"
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_a_share_that_the_conditions_leave_out_is_refused(release: Release) -> None:
    with pytest.raises(ReleaseError, match="where leaves no positive"):
        release.sample(10, where="result=negative", balance="result=positive:0.5,negative:0.5")
    with pytest.raises(ReleaseError, match="where leaves no value of it"):
        release.sample(10, where="ward=missing", balance="ward")
    assert set(release.sample(10, where="result=negative", balance="result")["result"]) == {"negative"}


def test_rows_that_the_model_does_not_have_are_refused(release: Release) -> None:
    """A generator gives rows even so; they are not those asked for, and are not passed on."""

    def never(rows: int, rng: np.random.Generator, allowed: Any) -> Any:
        return np.zeros((rows, len(release.schema.columns)), np.int16)

    model: Any = SimpleNamespace(sample=never)
    object.__setattr__(release, "__dict__", {**release.__dict__, "generator": model})
    with pytest.raises(ReleaseError, match="condition on 'result': the model has no such rows"):
        release.sample(10, where="result=positive")
    with pytest.raises(ReleaseError, match="balance of 'result': positive: the model has no such rows"):
        release.sample(10, balance="result")
    assert len(drawn_codes(model, release.schema, 10, np.random.default_rng(0))) == 10


PARTS = st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any)


@given(PARTS, st.integers(0, 10_000))
def test_largest_remainders_add_up_and_miss_no_share_by_a_row(parts: list[int], rows: int) -> None:
    shares = tuple(Share(str(k), Selection(((k, k),)), part / sum(parts)) for k, part in enumerate(parts))
    counts = Balanced(0, shares).counts(rows)
    assert sum(counts) == rows
    assert all(abs(count - share.part * rows) < 1 for count, share in zip(counts, shares, strict=True))


def test_names_and_values_with_signs_are_balanced() -> None:
    schema = Schema(
        columns=(
            Categorical(name="a=b", categories=("x:1", "p, q", "c")),
            Boolean(name="a"),
            Continuous(name="n", lower=-5, upper=5),
        )
    )
    balanced = read_balance(schema, "a=b=x:1:0.25,p, q:0.75", {})
    assert [(s.name, s.values.ranges, s.part) for s in balanced.shares] == [
        ("x:1", ((0, 0),), 0.25), ("p, q", ((1, 1),), 0.75),
    ]  # fmt: skip
    assert len(read_balance(schema, "a=b", {}).shares) == 3
    assert [s.part for s in read_balance(schema, "a=no:0.4,yes:0.6", {}).shares] == [0.4, 0.6]
    assert [s.values.ranges for s in read_balance(schema, "n=..-1:0.5,0..:0.5", {}).shares] == [((0, 4),), ((5, 10),)]


def test_the_command_line_says_that_it_was_rebalanced(release: Release, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    document = call_json(
        "sample", release.path, "--rows", 40, "--where", "age>=40", "--where", "age<60", "--where", "ward!=c",
        "--balance", "result=positive:0.25,negative:0.75", "--out", out,
    )  # fmt: skip
    table = pd.read_parquet(out)
    assert table["age"].between(40, 59).all()
    assert "c" not in set(table["ward"])
    assert table["result"].value_counts().to_dict() == {"negative": 30, "positive": 10}
    assert document["balance"] == table.attrs["balance"]
    shown = call("sample", release.path, "--rows", 4, "--balance", "result", "--out", tmp_path / "s.csv")
    assert "2 negative, 2 positive" in shown
    assert "not the population's" in shown
    error = call_json(
        "sample", release.path, "--rows", 4, "--where", "age=4O..60", "--out", tmp_path / "n.csv", code=17
    )["error"]
    assert isinstance(error, dict)
    assert error["where"] == "condition on 'age'"
    assert "numbers from 0 to 100" in error["fix"]


def test_python_has_it_at_hand(release: Release) -> None:
    table = cohortium.load_release(release.path).sample(50, where={"age": cohortium.between(40, 60)}, balance="result")
    assert table["age"].between(40, 60).all()
