"""Simulations of linked tables: which file is which table, and persons who stay whole when they are split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from console import call_json
from hypothesis import given
from hypothesis import strategies as st
from linked import LABS, LINKED, TEXT, tables

from cohortium.commands.files import files_of
from cohortium.data.encoding import Codes
from cohortium.data.identifiers import identifier
from cohortium.data.linked import encode_linked
from cohortium.data.readers.forms import Form
from cohortium.data.schema import Schema, load_schema
from cohortium.errors import CohortiumError, InputError, SchemaError, StudyError
from cohortium_client.custodian.institution import init_institution
from cohortium_client.source.source import load_source
from cohortium_simulation.federation import _write_tables
from cohortium_simulation.holdings import as_held, encoded, persons_of
from cohortium_simulation.inputs import read_tables
from cohortium_simulation.layout import laid_out
from cohortium_simulation.requested import generator_section

EVENTS = Schema(name="labs", person="patient", columns=LABS.derived, constraints=LABS.implied, tables=(LABS,))
PERSONS = pd.DataFrame({"id": range(40), "sex": ["f", "m"] * 20, "enrolled": 3})
LAB_ROWS = pd.DataFrame({"patient": [i % 50 for i in range(200)], "test": "hb", "day": 3, "value": 1})
STAY_ROWS = pd.DataFrame({"id": range(0, 40, 3), "ward": "a", "admitted": "2020-01-02"})
GIVEN = {"persons": PERSONS, "labs": LAB_ROWS, "stays": STAY_ROWS}


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


def test_files_are_of_the_table_of_their_name_and_the_rest_is_of_persons() -> None:
    found = files_of(paths("x/labs.csv.gz", "x/everybody.csv", "stays.parquet"), LINKED)
    assert {name: path.name for name, path in found.items()} == {
        "persons": "everybody.csv", "labs": "labs.csv.gz", "stays": "stays.parquet",
    }  # fmt: skip
    assert list(files_of(paths("labs.csv"), EVENTS)) == ["labs"]
    assert list(files_of(paths("any.csv"), LINKED.parts["persons"])) == ["persons"]


@pytest.mark.parametrize(
    ("given", "schema", "what"),
    [
        (("p.csv", "labs.csv"), LINKED, "no file is for the table 'stays'"),
        (("labs.csv", "stays.csv"), LINKED, "no file is for the table 'persons'"),
        (("p.csv", "q.csv", "labs.csv", "stays.csv"), LINKED, "p.csv, q.csv: 2 files are for the table 'persons'"),
        (("p.csv", "labs.csv", "labs.parquet", "stays.csv"), LINKED, "2 files are for the table 'labs'"),
        (("p.csv", "labs.csv"), EVENTS, "p.csv: the schema has only tables of events"),
        (("p.csv", "labs.csv"), LINKED.parts["persons"], "p.csv, labs.csv: the schema is of one table"),
    ],
)
def test_files_that_are_no_table_or_too_many_are_named(given: tuple[str, ...], schema: Schema, what: str) -> None:
    with pytest.raises(StudyError, match=what) as caught:
        files_of(paths(*given), schema)
    assert (caught.value.code, caught.value.where) == ("E_PLAN_INVALID", "--data")


def coded(held: object, schema: Schema = LINKED) -> Codes:
    return encoded(as_held(held, "north", schema), "north", schema)


@given(given=tables(), institutions=st.integers(1, 4), seed=st.integers(0, 9))
def test_a_person_is_whole_in_one_institution(given: dict[str, pd.DataFrame], institutions: int, seed: int) -> None:
    parts = laid_out(LINKED, institutions).split_linked(given, LINKED, np.random.default_rng(seed))
    assert len(parts) == institutions
    homes = [set(persons_of(held, "x", LINKED)) for held in parts.values()]
    assert sum(map(len, homes)) == len(set().union(*homes))
    together, whole = [coded(held) for held in parts.values()], encode_linked(given, LINKED)
    assert sorted(map(str, whole.values)) == sorted(str(row) for codes in together for row in codes.values)
    for k in range(len(LINKED.tables)):
        assert len(whole.events[k]) == sum(len(codes.events[k]) for codes in together)


def test_by_a_column_of_persons_the_events_follow() -> None:
    twice = pd.concat([PERSONS, pd.DataFrame({"id": [1], "sex": ["f"], "enrolled": [9]})])
    layout = laid_out(LINKED, by="sex")
    assert layout.names == ("f", "m")
    assert layout.columns(LINKED) == ["sex", "enrolled", "id"]
    assert layout.columns(LINKED, "labs") == ["test", "day", "value", "patient"]
    parts = layout.split_linked({**GIVEN, "persons": twice}, LINKED, np.random.default_rng(0))
    assert set(parts["f"]["labs"]["patient"]) == {*range(0, 40, 2), 1}  # who is in both is in the first, with all rows
    assert sorted(parts["f"]["persons"]["sex"].unique()) == ["f", "m"]
    assert set(parts["m"]["labs"]["patient"]) == {*range(3, 40, 2)}


def test_an_institution_follows_from_no_event() -> None:
    for schema, by in ((LINKED, "labs_first_test"), (EVENTS, "labs_first_test")):
        with pytest.raises(StudyError) as caught:
            laid_out(schema, by=by)
        assert caught.value.code == "E_PLAN_INVALID"


def test_persons_without_a_table_are_split_as_well() -> None:
    parts = laid_out(EVENTS, 3).split_linked({"labs": LAB_ROWS}, EVENTS, np.random.default_rng(0))
    found = [set(held["labs"]["patient"]) for held in parts.values()]
    assert sum(map(len, found)) == 50 and set().union(*found) == {*range(50)}
    assert set(persons_of(parts["institution-01"], "x", EVENTS)) == {identifier(i) for i in found[0]}


def test_files_are_read_and_split_and_their_misfits_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, table in GIVEN.items():
        table.assign(beside="SECRET").to_csv(tmp_path / f"{name}.csv", index=False)
    files = files_of(sorted(tmp_path.glob("*.csv")), LINKED)
    parts = read_tables(files, Form(), LINKED, laid_out(LINKED, 2), 3, drop_bad_rows=False)
    assert sum(len(held["labs"]) for held in parts.values()) == 160
    assert "labs: 40 of 200 rows take part nowhere: no institution has their person" in capsys.readouterr().err
    LAB_ROWS.assign(day=99).to_csv(tmp_path / "labs.csv", index=False)
    with pytest.raises(SchemaError, match="none of its 200 rows fits") as caught:
        read_tables(files, Form(), LINKED, laid_out(LINKED, 2), 3, drop_bad_rows=False)
    assert (caught.value.code, caught.value.where) == ("E_MISFIT", "labs")


def test_tables_are_passed_by_name(tmp_path: Path) -> None:
    LAB_ROWS.to_csv(tmp_path / "labs.csv", index=False)
    whole = coded(GIVEN)
    again = coded({"persons": PERSONS.to_dict("list"), "labs": tmp_path / "labs.csv", "stays": STAY_ROWS})
    assert np.array_equal(whole.values, again.values)
    for wrong in (PERSONS, "persons.csv", 3):
        with pytest.raises(InputError, match="the schema has the tables persons, labs, stays") as caught:
            coded(wrong)
        assert caught.value.code == "E_ARGUMENT"
    for incomplete in ({"persons": PERSONS}, {**GIVEN, "drugs": PERSONS}):
        with pytest.raises(SchemaError):
            coded(incomplete)


@pytest.mark.parametrize("schema", [LINKED, EVENTS], ids=["with persons", "events alone"])
def test_a_federations_folder_holds_all_tables(schema: Schema, tmp_path: Path) -> None:
    held = {name: GIVEN[name] for name in schema.parts}
    section = _write_tables(tmp_path, "north", held, schema)
    made = init_institution(tmp_path, "north", section, "north", {"epsilon_per_population": 1.0, "delta": 1e-6})
    read = load_source(made.file.source, tmp_path, schema)
    assert np.array_equal(read.values, encode_linked(held, schema).values)


def test_the_generator_is_that_of_the_schema(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(TEXT)
    linked = load_schema(tmp_path / "schema.toml")
    assert list(linked.parts) == ["persons", "labs"]
    assert generator_section(None, (), {}, linked)["kind"] == "histories"
    assert generator_section(None, (), {}, linked.parts["labs"])["kind"] == "sweep"
    assert generator_section("pgm", (), {}, linked.parts["labs"])["kind"] == "pgm"


def test_a_schema_of_one_table_takes_one_file(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(TEXT.partition("[[table]]")[0])
    for name in ("persons", "labs"):
        GIVEN[name].to_csv(tmp_path / f"{name}.csv", index=False)
    usual = ("simulate", "--schema", tmp_path / "schema.toml", "--institutions", 2, "--epsilon", 1, "--delta", 1e-6)
    both = ("--data", tmp_path / "persons.csv", "--data", tmp_path / "labs.csv", "--out", tmp_path / "out")
    error = call_json(*usual, *both, code=12)["error"]
    assert isinstance(error, dict) and (error["code"], error["where"]) == ("E_PLAN_INVALID", "--data")
    assert not (tmp_path / "out").exists()


def test_every_refusal_is_one_of_ours() -> None:
    for wrong in ({"persons": PERSONS, "labs": LAB_ROWS, "stays": 3}, None, []):
        with pytest.raises(CohortiumError):
            coded(wrong)
