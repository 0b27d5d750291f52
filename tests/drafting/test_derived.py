"""Columns that follow from others are pointed out by a draft, on the screen alone; what only seems to follow is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from console import call, call_json
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data.columns.derived import MOST, Following
from cohortium.data.readers.frames import parts_of
from cohortium.drafting.draft import draft
from cohortium.drafting.rendering import render


def heart(rows: int = 400) -> pd.DataFrame:
    """With the columns of a well-known public table: ``target`` is whether ``num`` is above 0."""
    rng = np.random.default_rng(1)
    num = rng.integers(0, 5, rows)
    return pd.DataFrame(
        {
            "sex": rng.choice(["f", "m"], rows),
            "cp": rng.integers(1, 5, rows),
            "num": num,
            "target": (num > 0).astype(int),
        }
    )


def remarks(
    table: pd.DataFrame, rows: int = 1 << 16, out: tuple[str, ...] = (), targets: tuple[str, ...] = ()
) -> dict[str, str]:
    watch = Following(out)
    assert sum(map(len, watch.through(parts_of(table, rows)))) == len(table)
    return dict(watch.described([str(name) for name in table.columns], targets))


def test_a_column_that_follows_from_another_is_pointed_out() -> None:
    found = remarks(heart())
    assert list(found) == ["target"] and "follows from 'num'" in found["target"]
    named = remarks(heart(), targets=("target",))["target"]
    assert "predicts nothing" in named and "--drop num" in named


def test_two_spellings_of_one_column_are_reported_once() -> None:
    table = heart().assign(gender=lambda t: t["sex"].map({"f": "female", "m": "male"}))
    found = remarks(table)
    assert sorted(found) == ["gender", "target"] and "says the same as 'sex'" in found["gender"]


def test_one_row_that_contradicts_is_enough_wherever_it_is() -> None:
    for row in (0, 7, 2000, 2999):
        table = heart(3000)
        table.loc[row, "target"] = 1 - table.loc[row, "target"]
        assert remarks(table, rows=700) == remarks(table) == {}


def test_what_only_seems_to_follow_is_not_reported() -> None:
    rng = np.random.default_rng(2)
    number = np.arange(200)
    table = pd.DataFrame(
        {
            "row": number,  # of which everything follows, as of any identifier
            "sex": rng.choice(["f", "m"], 200),
            "rare": np.where(number == 17, "yes", "no"),  # of a nearly constant column likewise
        }
    )
    assert remarks(table) == {}
    people = pd.DataFrame({"who": np.repeat(np.arange(20), 20), "sex": np.repeat(rng.choice(["f", "m"], 20), 20)})
    assert remarks(people, out=("who",)) == {}


def test_a_missing_value_is_one_more_value() -> None:
    table = heart().assign(
        num=lambda t: t["num"].where(t["num"] < 4), text=lambda t: t["num"].isna().map({True: "a", False: "b"})
    )
    assert "follows from 'num'" in remarks(table)["text"]


@given(st.integers(1, 400), st.integers(0, 3))
def test_parts_report_what_the_whole_does(rows: int, column: int) -> None:
    table = heart(900)
    table.iloc[rows, column] = table.iloc[rows - 1, column]
    assert remarks(table, rows) == remarks(table)


def test_a_column_of_many_values_is_passed_over() -> None:
    table = pd.DataFrame({"a": np.arange(MOST + 1).repeat(12)}).assign(b=lambda t: t["a"] % 2)
    assert remarks(table) == {}


def test_a_draft_says_so_on_the_screen_and_writes_none_of_it_down(tmp_path: Path) -> None:
    heart().to_csv(tmp_path / "heart.csv", index=False)
    shown = call_json("schema", "draft", tmp_path / "heart.csv", "--target", "target", "--out", tmp_path / "s.toml")
    review = shown["review"]
    assert isinstance(review, list)
    assert any("follows from 'num'" in note["seen"] for note in review if note["column"] == "target")
    assert "follows" not in (tmp_path / "s.toml").read_text()
    proposal = draft([heart()], "heart")
    assert "follows" not in render(proposal)
    assert "follows" not in call(
        "schema", "draft", tmp_path / "heart.csv", "--drop", "num", "--out", tmp_path / "t.toml"
    )
