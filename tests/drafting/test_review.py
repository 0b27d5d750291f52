"""What a draft read off rows is marked, and nobody signs, runs or simulates a schema with a mark left."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import enlisted
import numpy as np
import pandas as pd
import pytest
from console import call, call_json
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from visits import people

import cohortium
from cohortium.data.schema import load_schema, schema_from_document, to_document
from cohortium.drafting.draft import draft
from cohortium.drafting.facts import RARE
from cohortium.drafting.placeholders import NUMBERS
from cohortium.drafting.rendering import render
from cohortium.drafting.texts import OTHER
from cohortium.errors import SchemaError
from cohortium.ledger.store import Ledger
from cohortium.study import consent
from cohortium.study.study import Study, dumps_schema, dumps_study, load_study
from cohortium_client.custodian.agreements import Agreements, agree
from cohortium_client.custodian.policy import Policy
from cohortium_server.release import write_release
from cohortium_server.rounds.rounds import run_study
from cohortium_simulation import unprotected
from cohortium_simulation.demo import demo_data

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

Tables = dict[str, pd.DataFrame]


@pytest.fixture
def marked(study: Study) -> Study:
    """A study whose schema has one mark left, which institutions with keys could sign otherwise."""
    age = replace(study.schema.columns[1], review=("lower",))
    columns = (study.schema.columns[0], age, *study.schema.columns[2:])
    keyed = enlisted.with_keys(*study.institution_names)
    return replace(study, schema=replace(study.schema, columns=columns), institutions=keyed)


def refused(action: Callable[[], object]) -> None:
    with pytest.raises(SchemaError) as caught:
        action()
    assert caught.value.code == "E_REVIEW"
    assert "'age': lower" in caught.value.what


# Who looks


def test_nobody_signs_a_draft(marked: Study, tmp_path: Path) -> None:
    name = marked.institution_names[0]
    refused(lambda: consent.sign(marked, name, enlisted.key_of(name)))
    with Ledger(tmp_path / "one.sqlite") as ledger:
        agreements = Agreements(tmp_path / "studies")
        refused(lambda: agree(marked, enlisted.identity(name), enlisted.ANYTHING, ledger, agreements))
        assert (len(agreements), list(ledger.entries())) == (0, [])
    refused(lambda: Policy().check(marked))


def test_whatever_is_shown_nobody_has_signed_a_draft(marked: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as asleep:
        asleep.setattr(consent, "require_signable", lambda _: None)
        signed = enlisted.consents(marked)
    assert consent.unsigned(marked, signed) == list(marked.institution_names)
    refused(lambda: consent.require_all(marked, signed))
    reviewed = replace(marked, schema=marked.schema.reviewed())
    assert consent.unsigned(reviewed, enlisted.consents(reviewed)) == []
    assert reviewed.digest != marked.digest


def test_nobody_runs_or_releases_a_draft(marked: Study, tmp_path: Path) -> None:
    refused(lambda: run_study(marked, {}, None, None))  # type: ignore[arg-type]
    outcome = type("Outcome", (), {"study": marked})()
    refused(lambda: write_release(outcome, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["private", "none"])
def test_nobody_simulates_a_draft(
    marked: Study, mode: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unprotected, "fit_unprotected", lambda *_: pytest.fail("a draft was fitted"))
    privacy = replace(marked.privacy, mode=mode, epsilon=0.0, delta=0.0) if mode == "none" else marked.privacy
    study = replace(marked, privacy=privacy)
    tables = {name: people(50, k) for k, name in enumerate(study.institution_names)}
    refused(lambda: cohortium.simulate(study, tables, tmp_path / "out"))
    assert not (tmp_path / "out").exists() and not home.exists()


def test_commands_report_it_and_stop(marked: Study, tmp_path: Path) -> None:
    data, schema, study = tmp_path / "t.csv", tmp_path / "schema.toml", tmp_path / "study.toml"
    people(2000, 0).to_csv(data, index=False)
    schema.write_text(dumps_schema(marked.schema))
    study.write_text(dumps_study(marked))
    call("institution", "init", tmp_path / "site", "--name", marked.institution_names[0], "--data", data)
    simulated = ("simulate", "--data", data, "--schema", schema, "--institutions", 1, "--epsilon", 5, "--delta", 1e-6)
    for command in (
        ("schema", "check", schema),
        ("schema", "check", schema, "--data", data),
        (*simulated, "--out", tmp_path / "out"),
        ("study", "sign", study, "--as", tmp_path / "site"),
        ("study", "verify", study),
        ("coordinator", "run", study, "--out", tmp_path / "out"),
    ):
        error: Any = call_json(*command, code=11)["error"]
        assert (error["code"], "'age': lower" in error["what"]) == ("E_REVIEW", True)
    assert not (tmp_path / "out").exists() and not (tmp_path / "study.signatures").exists()
    assert call_json("study", "show", study)["review"] == ["'age': lower"]
    assert "NOBODY CAN SIGN IT" in call("study", "show", study)
    shown: Any = call_json("institution", "preview", tmp_path / "site", study)
    assert shown["review"] == ["'age': lower"] and "E_REVIEW" in shown["here"]["refused"]
    assert "E_REVIEW" in call("institution", "check", tmp_path / "site", "--study", study, code=1)
    assert call_json("schema", "check", schema, "--reviewed")["review"] == ["'age': lower"]
    call(*simulated, "--reviewed", "--out", tmp_path / "out")
    released = load_study(tmp_path / "out" / "study.toml")
    assert released.schema.marks == ()
    assert call_json("verify", tmp_path / "out")["verified"] is True


def test_the_way_that_the_readme_shows(tmp_path: Path) -> None:
    data, schema = tmp_path / "t.csv", tmp_path / "schema.toml"
    people(3000, 0).to_csv(data, index=False)
    call("schema", "draft", data, "--target", "result", "--person", "id", "--out", schema)
    assert "REVIEW" in schema.read_text()
    call("schema", "check", schema, "--data", data, code=11)
    schema.write_text("".join(line for line in schema.read_text().splitlines(keepends=True) if "REVIEW:" not in line))
    call("schema", "check", schema, "--data", data)
    document = call_json(
        "simulate", "--data", data, "--schema", schema, "--institutions", 5, "--epsilon", 4, "--delta", 1e-6, "--out",
        tmp_path / "release",
    )  # fmt: skip
    assert document["release"] == str(tmp_path / "release")


# What a mark is


def test_a_mark_is_kept_by_whatever_writes_a_schema(marked: Study, tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(dumps_schema(marked.schema))
    assert load_schema(tmp_path / "schema.toml") == marked.schema
    assert schema_from_document(to_document(marked.schema)) == marked.schema
    assert marked.schema.reviewed().marks == ()


def test_a_schema_without_marks_is_written_as_before() -> None:
    """Its digest is what it was: marks are shown only where there are some."""
    _, schema = demo_data()
    assert "review" not in json.dumps(to_document(schema))
    assert (
        schema.digest == "33bdb4b2ae83f5e3391e47482237166ced241910ad0c52c1bbc6c4b6f3fd75bf"
    )  # before there were marks


def test_comments_of_earlier_drafts_and_of_a_person_are_marks_too(tmp_path: Path) -> None:
    text = '{}name = "t"\n[[column]]\nname = "a"\nkind = "boolean"\n'
    path = tmp_path / "schema.toml"
    for comment, marks in (
        ("# REVIEW: bounds are the data's own\n", ("the table: comments",)),
        ("  #REVIEW\n", ("the table: comments",)),
        ("# reviewed by two\n# To REVIEW later\n", ()),
        ('review = ["name"]\n', ("the table: name",)),
    ):
        path.write_text(text.format(comment))
        assert load_schema(path).marks == marks
    path.write_text(text.format("") + '[[column]]\nname = "p"\nperson = true\nreview = ["name"]\n')
    assert load_schema(path).marks == ("the table: person",)
    for wrong in ('review = "name"\n', "review = [1]\n", "review = true\n"):
        path.write_text(text.format(wrong))
        with pytest.raises(SchemaError) as caught:
            load_schema(path)
        assert caught.value.code == "E_SCHEMA_INVALID"


# What a draft marks, and what it never writes


def drafted(table: pd.DataFrame, person: str | None = "p") -> dict[str, dict[str, Any]]:
    """The blocks of a proposal by their columns; the table's own entries under ''."""
    document = tomllib.loads(render(draft([table], "t", person=person)))
    return {"": {k: v for k, v in document.items() if k != "column"}, **{b["name"]: b for b in document["column"]}}


VALUES = st.sampled_from(
    ["", "a", "b", "1", "2", "3", "40", "2.5", "-7.25", "1e5", "2020-01-01", "1990-07-01 10:30", "true", "false"]
)


@pytest.mark.parametrize("person", ["p", None])
def test_every_entry_of_a_draft_is_marked(person: str | None) -> None:
    """All but names and what the user said; the kinds that there are, with blanks, points and a category for others."""
    table = visits().assign(yes=["true", "false"] * 200, blank=["a", "b", "", "a"] * 100)
    table.loc[:3, "diagnosis"] = "rare"
    document = tomllib.loads(render(draft([table], "t", ["yes"], person)))
    assert {b.get("kind") for b in document["column"]} - {None} == {"categorical", "continuous", "datetime", "boolean"}
    entries = {key for b in document["column"] for key in b}
    assert {"nullable", "other", "points", "lower", "upper", "decimals", "target"} <= entries
    for block in (b for b in document["column"] if b["name"] != person):
        assert block.keys() - {"name", "target", "review"} <= set(block["review"])
    assert document["review"] == ["name", "columns"]


@settings(deadline=None, max_examples=examples(40))
@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=40), st.lists(VALUES, min_size=1, max_size=40))
def test_whatever_may_follow_from_rows_is_marked(rows: list[tuple[str, str]], other: list[str]) -> None:
    """Of two tables with the same columns, all that their drafts tell differently is marked in both."""
    anchor = [["yes", "no"][i % 2] for i in range(RARE * 40)]
    reported = []
    for values in ([r[0] for r in rows], other):
        cells = (values * RARE * 40)[: RARE * 40]
        frame = pd.DataFrame({"p": range(RARE * 40), "x": pd.Series(cells, dtype="str"), "anchor": anchor})
        reported.append(drafted(frame))
    one, two = reported
    assert {"name", "columns"} <= set(one[""]["review"])
    for name in (one.keys() & two.keys()) - {"", "p"}:
        a, b = one[name], two[name]
        differ = {"kind"}  # and with it which entries there are
        if a["kind"] == b["kind"]:
            differ = {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)} - {"review"}
        assert differ <= set(a["review"]) and differ <= set(b["review"])
        assert set(a) - {"name", "target", "review"} <= set(a["review"])


def visits(persons: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "p": [f"p{i}" for i in range(persons)],
            "diagnosis": rng.choice(["flu", "asthma", "injury"], persons),
            "weight": rng.normal(70, 10, persons).round(1),
            "code": rng.choice([1, 2, 3], persons),
            "day": (pd.Timestamp("2015-03-01") + pd.to_timedelta(rng.integers(0, 1500, persons), "D")).strftime(
                "%Y-%m-%d"
            ),
            "few": rng.choice([1000.5, 5000.5, 9000.5], persons),
        }
    )


@pytest.mark.parametrize("rows", [1, RARE, 5 * RARE])
def test_one_person_of_many_rows_puts_nothing_into_a_draft(rows: int) -> None:
    """Persons are counted, not rows: neither a value of one person nor her extreme is written, not even as a bound."""
    table = visits()
    vip = {
        "p": "vip",
        "diagnosis": "fatal familial insomnia",
        "weight": 213.4125,
        "code": 777,
        "day": "1911-05-05",
        "few": 6666.5,
    }
    more = pd.DataFrame([vip] * rows)
    for order in ([table, more], [more, table], [more, table, more]):
        with_her = draft([pd.concat(order, ignore_index=True)], "t", person="p")
        text = render(with_her)
        for trace in ("insomnia", "213", "777", "1911", "6666"):
            assert trace not in text
    before, after = drafted(table), drafted(pd.concat([table, more], ignore_index=True))
    for column, keys in {
        "weight": ("lower", "upper", "decimals"),
        "day": ("lower", "upper"),
        "few": ("lower", "upper", "points"),
    }.items():
        assert [before[column].get(k) for k in keys] == [after[column].get(k) for k in keys]
    assert after["diagnosis"]["categories"] == ["asthma", "flu", "injury", OTHER]
    assert after["code"]["categories"] == ["1", "2", "3", OTHER]


def test_ten_numbers_of_one_person_are_no_ten_persons() -> None:
    more = pd.DataFrame(
        [
            {**visits(1).iloc[0].to_dict(), "p": "vip", "weight": 213.4 + k, "day": f"19{k + 10}-01-01"}
            for k in range(50)
        ]
    )
    before, after = drafted(visits()), drafted(pd.concat([more, visits()]))
    for column in ("weight", "day"):
        assert [before[column][k] for k in ("lower", "upper")] == [after[column][k] for k in ("lower", "upper")]


def test_her_rows_count_once_also_where_parts_of_a_file_tear_them_apart() -> None:
    more = pd.DataFrame([{**visits(1).iloc[0].to_dict(), "p": "vip", "diagnosis": "insomnia"}] * 50)
    parts = [visits(), *(more[i : i + 1] for i in range(len(more)))]
    assert "insomnia" not in render(draft(parts, "t", person="p"))
    rows_counted = draft([part.drop(columns="p") for part in parts], "t")
    assert "insomnia" in render(rows_counted)  # which is why the draft says to name the person's column
    assert "--person" in render(rows_counted) and "--person" not in render(draft(parts, "t", person="p"))


def test_who_does_not_say_who_it_is_counts_as_one_person() -> None:
    more = pd.DataFrame([{**visits(1).iloc[0].to_dict(), "p": None, "diagnosis": "insomnia"}] * 50)
    assert "insomnia" not in render(draft([pd.concat([visits(), more])], "t", person="p"))


@settings(deadline=None, max_examples=examples(60))
@given(st.lists(st.integers(-2000, 2000), min_size=2 * RARE, max_size=80), st.integers(0, 2))
def test_no_bound_of_a_draft_is_the_extreme(numbers: list[int], decimals: int) -> None:
    """Also where it is a round number itself, and where few are beyond it; zero alone may be both."""
    values = [x / 10**decimals for x in numbers] + [k / 7 for k in range(RARE * 2)]
    table = pd.DataFrame({"x": values, "beside": (["a", "b"] * len(values))[: len(values)]})
    block = drafted(table, None).get("x")
    if block is None or block["kind"] != "continuous":
        return
    rare = {
        x for x in NUMBERS.tolist() if values.count(x) < RARE
    }  # often stand for something else: not asked for bounds
    tenth = sorted(x for x in values if x not in rare | {*block.get("special", ())})
    assert block["lower"] < tenth[RARE - 1] or block["lower"] == 0 <= tenth[RARE - 1]
    assert block["upper"] > tenth[-RARE] or block["upper"] == 0 >= tenth[-RARE]


def test_what_was_seen_is_shown_on_the_screen_alone(tmp_path: Path) -> None:
    path, out = tmp_path / "t.csv", tmp_path / "schema.toml"
    more = pd.DataFrame([{**visits(1).iloc[0].to_dict(), "p": "vip", "diagnosis": "insomnia"}] * 50)
    pd.concat([visits(), more]).to_csv(path, index=False)
    document: Any = call_json("schema", "draft", path, "--person", "p", "--out", out)
    assert any("insomnia" in note["seen"] for note in document["review"])
    assert not any("insomnia" in note["text"] for note in document["review"])
    assert "insomnia" not in out.read_text()
