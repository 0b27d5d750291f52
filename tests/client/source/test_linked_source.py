"""An institution's tables of persons and their events: files or queries, one for each, by ``institution.toml``."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from linked import LINKED
from pydantic import TypeAdapter

from cohortium.data.encoding import Codes
from cohortium.data.linked import encode_linked
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError, InputError, SchemaError
from cohortium.study.study import Study
from cohortium_client.commands.fit_report import how_rows_fit
from cohortium_client.custodian.institution import Institution, init_institution, load_institution
from cohortium_client.preflight import _rows as check_rows
from cohortium_client.source.preview import counted
from cohortium_client.source.source import Source, load_and_look, load_source, look, source_to_document

PERSONS = pd.DataFrame({"id": ["7", "8", "9"], "sex": ["f", "m", "f"], "enrolled": [0, 10, 20]})
LABS = pd.DataFrame(
    {
        "patient": [7, 7, 9, 5, 8],
        "test": ["crp", "hb", "hb", "hb", "hb"],
        "day": [4, 2, 30, 3, 31],
        "value": [1, 2, 3, 4, 5],
    }
)
STAYS = pd.DataFrame({"id": ["9", "8"], "ward": ["a", "?"], "admitted": ["2020-01-05", "2020-01-06"]})
TABLES = {"persons": PERSONS, "labs": LABS, "stays": STAYS}
POLICY = {"epsilon_per_population": 10.0, "delta": 1e-6}


def files(folder: Path) -> dict[str, Any]:
    PERSONS.to_csv(folder / "p.csv", index=False)
    LABS.rename(columns={"test": "TEST"}).replace({"TEST": {"crp": "C"}}).to_csv(folder / "l.csv", index=False, sep=";")
    STAYS.to_parquet(folder / "s.parquet")
    labs = {"path": "l.csv", "separator": ";", "mapping": {"test": {"from": "TEST", "recode": {"C": "crp"}}}}
    return {"path": "p.csv", "tables": {"labs": labs, "stays": {"path": "s.parquet"}}}


def queries(folder: Path) -> dict[str, Any]:
    with sqlite3.connect(folder / "clinic.sqlite") as connection:
        for name, table in TABLES.items():
            table.to_sql(name, connection, index=False)
    connection.close()
    url = "sqlite:///clinic.sqlite"
    of = {name: {"url": url, "query": f"SELECT * FROM {name} ORDER BY 1 DESC"} for name in TABLES}  # noqa: S608 - of our own names
    return {**of.pop("persons"), "tables": of}


def source(document: dict[str, Any]) -> Source:
    made: Source = TypeAdapter(Source).validate_python(document)
    return made


def institution(folder: Path, document: dict[str, Any]) -> Institution:
    init_institution(folder, "north", document, "patients", POLICY)
    return load_institution(folder)


def same(one: Codes, other: Codes) -> bool:
    pairs = [(one.values, other.values)]
    for a, b in zip(one.events, other.events, strict=True):
        pairs += [(a.values, b.values), (a.persons, b.persons), (a.ticks, b.ticks)]
    return all(np.array_equal(a, b) for a, b in pairs) and one.census == other.census


@pytest.mark.parametrize("written", [files, queries])
def test_files_and_queries_are_the_same_tables(written: Any, tmp_path: Path) -> None:
    made = institution(tmp_path, written(tmp_path))
    made.look()
    look(made.file.source, tmp_path, LINKED)
    codes, found = load_and_look(made.file.source, tmp_path, LINKED)
    assert same(codes, encode_linked(TABLES, LINKED))
    assert same(load_source(made.file.source, tmp_path, LINKED), codes)
    assert [events.ticks.tolist() for events in codes.events] == [[2, 4, 30], [4]]
    assert {name: (one.rows, one.left_out) for name, one in found.items()} == {
        "persons": (3, 0), "labs": (5, 1), "stays": (2, 1),
    }  # fmt: skip
    assert source(source_to_document(made.file.source)) == made.file.source


def test_a_study_of_one_table_asks_for_no_other(tmp_path: Path) -> None:
    document = files(tmp_path)
    (tmp_path / "l.csv").unlink()
    assert len(load_source(source(document), tmp_path, LINKED.parts["persons"])) == 3


def test_events_alone_need_no_table_of_persons(tmp_path: Path) -> None:
    document = files(tmp_path)
    del document["path"]
    labs, _ = LINKED.tables
    schema = Schema(name="labs", person="patient", columns=labs.derived, constraints=labs.implied, tables=(labs,))
    assert len(load_source(source(document), tmp_path, schema)) == 3
    with pytest.raises(InputError, match="no file or query is named") as caught:
        load_source(source(document), tmp_path, LINKED)
    assert caught.value.code == "E_SOURCE"


@pytest.mark.parametrize(
    ("change", "code", "where"),
    [
        ({"labs": {"path": "l.csv", "url": "sqlite:///x"}}, "E_SOURCE", "source.tables.labs"),
        ({"labs": {"url": "sqlite:///x", "query": "DROP"}}, "E_SOURCE", "source.tables.labs.query"),
        ({"labs": {"url": "postgresql://a:b@c/d", "query": "SELECT"}}, "E_SECRET", "source.tables.labs.url"),
        ({"labs": {"path": "l.csv", "mapping": {"day": {"convert": "x"}}}}, "E_MAPPING", "source.tables.labs.mapping"),
        ({"labs": {"path": "l.csv", "tables": {"x": {"path": "y"}}}}, "E_SOURCE", "source"),
        ({"labs": {"path": 3}}, "E_INSTITUTION", "labs"),
        ({"labs": {"file": "l.csv"}}, "E_INSTITUTION", "labs"),
    ],
)
def test_an_invalid_section_is_reported_with_its_table(
    change: dict[str, Any], code: str, where: str, tmp_path: Path
) -> None:
    with pytest.raises(CohortiumError) as caught:
        init_institution(tmp_path / "north", "north", {"path": "p.csv", "tables": change}, "patients", POLICY)
    assert caught.value.code == code and where in caught.value.where


@pytest.mark.parametrize(
    ("change", "code", "where"),
    [
        ({"stays": {"path": "s.parquet"}}, "E_SOURCE", "source"),
        ({"labs": {"path": "l.csv", "mapping": {"dya": {}}}}, "E_MAPPING", "source.tables.labs.mapping.dya"),
        ({"labs": {"path": "p.csv"}}, "E_SCHEMA_MISSING", "source.tables.labs"),
        ({"labs": {"path": "none.csv"}}, "E_INPUT_NOT_FOUND", "source.tables.labs"),
    ],
)
@pytest.mark.parametrize("how", [look, load_source])
def test_what_does_not_fit_the_study_is_reported_with_its_table(
    how: Any, change: dict[str, Any], code: str, where: str, tmp_path: Path
) -> None:
    document = files(tmp_path)
    document["tables"] = change | ({"stays": {"path": "s.parquet"}} if "labs" in change else {})
    with pytest.raises((InputError, SchemaError)) as caught:
        how(source(document), tmp_path, LINKED)
    assert caught.value.code == code and caught.value.where.startswith(where)


def test_the_institutions_own_screen_reports_on_each_table(tmp_path: Path) -> None:
    document = files(tmp_path)
    (tmp_path / "l.csv").write_text((tmp_path / "l.csv").read_text() + "7;hb;2\n")
    made = institution(tmp_path, document)
    study = cast("Study", SimpleNamespace(schema=LINKED))
    checks = list(check_rows(made, "study", study))
    assert "3 persons; persons: 3 of 3 rows count" in checks[0].found
    assert "labs: 3 of 5 rows count, of 2 persons, 1 do not fit, 1 are of nobody" in checks[0].found
    names = [check.name for check in checks]
    assert names == ["study: table", "study, labs: cells", "study, labs: column 'day'", "study, stays: column 'ward'"]
    lines = counted(made, study)
    assert "stays: 1 of 2 rows count, of 1 persons, 1 do not fit." in lines
    assert any(line.startswith("labs: column 'day'") for line in lines)
    assert how_rows_fit(made, study, Event())[0].startswith("labs: 4 of its 5 rows fit")
