"""A schema drafted from several files: whose rows they are, what orders them, how many count, and what a newcomer does with it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from console import call, call_json

from cohortium.data.columns import Categorical, Continuous, Datetime
from cohortium.data.linked import encode_linked
from cohortium.data.schema import Schema, load_schema
from cohortium.drafting.draft import Draft
from cohortium.drafting.keys import Given
from cohortium.drafting.linked import draft_linked
from cohortium.drafting.rendering import render
from cohortium.errors import SchemaError

PEOPLE = 120


def people(number: int = PEOPLE) -> pd.DataFrame:
    """Each once, of three hospitals."""
    ids = np.arange(number)
    sexes, hospitals = np.where(ids % 2, "f", "m"), np.array(["a", "b", "c"])[ids % 3]
    return pd.DataFrame({"patient": [f"p{i}" for i in ids], "sex": sexes, "age": ids % 60 + 20, "hospital": hospitals})


def stays(number: int = PEOPLE, most: int = 7) -> pd.DataFrame:
    """Of each person none to ``most``, with the person's own sex."""
    rng, rows = np.random.default_rng(1), []
    for i in range(number):
        for k in range(i % (most + 1)):
            day = pd.Timestamp("2021-03-01") + pd.Timedelta(days=int(rng.integers(0, 500)))
            rows.append(
                (f"p{i}", day.date().isoformat(), ["injury", "heart"][(i + k) % 2], "mf"[i % 2], ["x", "y"][i % 2])
            )
    return pd.DataFrame(rows, columns=["patient", "day", "reason", "sex", "blood"])


def given(table: pd.DataFrame, parts: int = 2) -> Given:
    def read(columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        size = len(table) // parts + 1
        return (table.iloc[k * size : (k + 1) * size][list(columns)] for k in range(parts))

    return Given(list(table.columns), read, read)


def drafted(**tables: pd.DataFrame) -> Draft:
    return draft_linked({name: given(table) for name, table in tables.items()})


def reloaded(proposal: Draft, folder: Path) -> Schema:
    path = folder / "proposal.toml"
    path.write_text(render(proposal), encoding="utf-8")
    return load_schema(path)


@pytest.mark.parametrize("order", [("patients", "stays"), ("stays", "patients")])
def test_whose_rows_they_are_what_orders_them_and_how_many_count(order: tuple[str, ...], tmp_path: Path) -> None:
    tables = {"patients": people(), "stays": stays()}
    proposal = drafted(**{name: tables[name] for name in order})
    schema = proposal.schema
    assert (schema.name, schema.person, schema.own_names) == ("patients", "patient", ("sex", "age", "hospital"))
    (table,) = schema.tables
    assert (table.name, table.person, table.time, table.most) == ("stays", "patient", "day", 10)
    assert [c.name for c in table.columns] == ["day", "reason", "blood"]  # the persons' table has their sex
    assert isinstance(table.clock, Datetime) and table.clock.resolution == "day" and not table.clock.nullable
    assert reloaded(proposal, tmp_path) == schema
    codes = encode_linked({"persons": tables["patients"], "stays": tables["stays"]}, schema.reviewed())
    assert (len(codes), len(codes.events[0]), codes.left_out) == (PEOPLE, len(tables["stays"]), 0)


def test_all_that_follows_from_rows_is_marked_and_no_extreme_is_written() -> None:
    proposal = drafted(patients=people(), stays=stays())
    assert any("stays, the table: name, most" in mark for mark in proposal.schema.marks)
    assert all(c.review for t in proposal.schema.tables for c in t.columns)
    text = render(proposal)
    assert text.count("REVIEW: read off rows") == 1 + 3 + 1 + 3
    assert str(stays()["day"].min()) not in text and str(len(stays())) not in text
    assert not any(name in text for name in people()["patient"])
    with pytest.raises(SchemaError) as caught:
        proposal.schema.require_reviewed()
    assert caught.value.code == "E_REVIEW"
    proposal.schema.reviewed().require_reviewed()


def test_what_never_changes_within_a_person_is_pointed_out() -> None:
    proposal = drafted(patients=people(), stays=stays())
    told = {n.column: n.text for n in proposal.notes if n.table == "stays" and ("person" in n.text)}
    assert "no person has two values of it" in told["blood"]
    assert told["sex"] == "dropped: a column of persons says the same"
    assert "no person has two values" not in told.get("reason", "")


def test_one_contradiction_of_one_person_in_another_part_is_seen() -> None:
    table = stays()
    assert table.loc[table["patient"] == "p1", "blood"].tolist() == ["y"]
    table = pd.concat([table, table[table["patient"] == "p1"].assign(blood="x")], ignore_index=True)
    texts = [n.text for n in drafted(patients=people(), stays=table).notes_on("blood", "stays")]
    assert not any("no person has two values" in text for text in texts)


def test_without_a_table_of_persons_they_have_no_columns(tmp_path: Path) -> None:
    events = stays()
    proposal = draft_linked(
        {"stays": given(events), "labs": given(events[["patient", "day", "blood"]])}, persons=["patient"]
    )
    assert proposal.schema.own == () and [t.name for t in proposal.schema.tables] == ["stays", "labs"]
    assert reloaded(proposal, tmp_path) == proposal.schema


def test_each_table_may_name_the_person_in_its_own_way() -> None:
    events = stays().rename(columns={"patient": "pid"})
    proposal = draft_linked({"patients": given(people()), "stays": given(events)}, persons=["patient", "pid"])
    assert (proposal.schema.person, proposal.schema.tables[0].person) == ("patient", "pid")


def test_the_person_is_looked_for_among_the_columns_that_all_tables_have() -> None:
    events = stays().assign(hospital="a", age=3)
    assert drafted(patients=people(), stays=events).schema.person == "patient"
    with pytest.raises(SchemaError, match="no column is in all of the tables"):
        drafted(patients=people(), stays=stays().rename(columns={"patient": "pid"}).drop(columns="sex"))
    twice = people().assign(other=people()["patient"]).rename(columns={"patient": "first"})
    with pytest.raises(SchemaError, match="'first', 'other' may say whose the rows are"):
        drafted(members=twice, stays=stays().assign(first="p1", other="p2"))


def test_a_number_that_is_called_a_time_orders_rows_and_another_where_it_is_named() -> None:
    events = stays()
    events["days"] = np.arange(len(events)) % 400
    events["order"] = np.arange(len(events)) % 300
    table = drafted(patients=people(), stays=events.drop(columns="day")).schema.tables[0]
    assert table.time == "days" and isinstance(table.clock, Continuous)
    named = draft_linked({"patients": given(people()), "stays": given(events)}, clocks=["order"])
    assert named.schema.tables[0].time == "order"
    with pytest.raises(SchemaError, match="'reason' cannot order a person's rows"):
        draft_linked({"patients": given(people()), "stays": given(events)}, clocks=["reason"])


def test_without_a_time_rows_are_a_set(tmp_path: Path) -> None:
    proposal = drafted(patients=people(), stays=stays()[["patient", "reason", "blood"]])
    (table,) = proposal.schema.tables
    assert table.time is None and [c.name for c in table.columns] == ["reason", "blood"]
    assert "a set, as no column seems to order" in proposal.notes_on("", "stays")[0].text
    assert reloaded(proposal, tmp_path) == proposal.schema


def test_a_few_whole_numbers_may_be_the_time() -> None:
    events = stays().assign(visit=lambda t: t.groupby("patient").cumcount() % 4).drop(columns="day")
    table = draft_linked({"patients": given(people()), "stays": given(events)}, clocks=["visit"]).schema.tables[0]
    assert isinstance(table.clock, Continuous) and (table.clock.lower, table.clock.upper) == (0, 3)
    assert not isinstance(table.clock, Categorical)


@pytest.fixture(name="files")
def files_fixture(tmp_path: Path) -> tuple[Path, Path]:
    people(400).to_csv(tmp_path / "patients.csv", index=False)
    stays(400).to_csv(tmp_path / "stays.csv", index=False)
    return tmp_path / "patients.csv", tmp_path / "stays.csv"


def review(path: Path) -> None:
    """As somebody does who agrees with all of it."""
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "REVIEW:" not in line))


@pytest.mark.usefixtures("short_fits")
def test_from_some_files_to_a_verified_release(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Of persons, of their stays, and of what they are allergic to, which is a set."""
    allergies = tmp_path / "allergies.csv"
    stays(400)[["patient", "blood"]].assign(kind=["nuts", "dust", "pollen", "dust"] * 350).to_csv(
        allergies, index=False
    )
    both = [argument for file in (*files, allergies) for argument in ("--data", file)]
    schema = tmp_path / "schema.toml"
    call("schema", "draft", *both, "--out", schema)
    call("schema", "check", schema, *both, code=11)
    review(schema)
    told = call_json("schema", "check", schema, *both)
    assert {name: found["left_out"] for name, found in told["data"].items()} == {
        "persons": 0,
        "stays": 0,
        "allergies": 0,
    }
    assert "stays: " in call("schema", "check", schema, *both)
    ledgers = tmp_path / "ledgers"
    call("simulate", *both, "--schema", schema, "--institutions", 3, "--epsilon", 3, "--delta", 1e-5,
         "--out", tmp_path / "release", "--ledger", ledgers)  # fmt: skip
    call("verify", tmp_path / "release")
    assert list(pd.read_csv(tmp_path / "release" / "allergies.csv").columns) == ["patient", "blood", "kind"]


def test_files_of_other_names_say_which_table_they_are(files: tuple[Path, Path], tmp_path: Path) -> None:
    export = files[1].rename(tmp_path / "export 2024.csv")
    schema = tmp_path / "schema.toml"
    call("schema", "draft", "--data", files[0], "--data", export, "--out", schema, code=11)
    call("schema", "draft", "--data", files[0], "--data", f"stays={export}", "--out", schema)
    review(schema)
    assert set(call_json("schema", "check", schema, "--data", files[0], "--data", f"stays={export}")["data"]) == {
        "persons",
        "stays",
    }
    call("schema", "check", schema, "--data", files[0], "--data", f"labs={export}", code=12)


def test_an_institution_is_made_with_a_section_for_each_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    given = ("--data", files[0], "--data", f"stays={files[1]}", "--name", "north", "--separator", ",")
    call("institution", "init", tmp_path / "site", *given)
    source = tomllib.loads((tmp_path / "site" / "institution.toml").read_text())["source"]
    section = {"separator": ","}
    assert source == {"path": str(files[0]), **section, "tables": {"stays": {"path": str(files[1]), **section}}}
    call("institution", "init", tmp_path / "events", "--data", f"stays={files[1]}", "--name", "south")
    source = tomllib.loads((tmp_path / "events" / "institution.toml").read_text())["source"]
    assert source == {"tables": {"stays": {"path": str(files[1])}}}
    call("institution", "init", tmp_path / "none", "--data", files[0], "--data", "a-b.csv", "--name", "east", code=11)
    assert not (tmp_path / "none").exists()
