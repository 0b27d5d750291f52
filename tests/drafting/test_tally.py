"""Rows that do not count are reported, with what would change it: on the institution's own screen, and nowhere else."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from visits import people

from cohortium.cli import build
from cohortium.commands.reading import print_faults
from cohortium.commands.schema import _print_draft
from cohortium.data.columns import Categorical
from cohortium.data.encoding import encode, encode_parts
from cohortium.data.schema import Schema
from cohortium.drafting import tally as tallies
from cohortium.drafting.checking import fit
from cohortium.drafting.draft import Draft, draft
from cohortium.drafting.found import Note
from cohortium.drafting.tally import PersonCounts, Tally, tally_lines, tally_of
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.contribution_bounding import at_most
from cohortium.study.study import Study, dumps_schema, dumps_study
from cohortium_client.custodian.institution import init_institution

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

SCHEMA = Schema(person="id", columns=(Categorical(name="x", categories=("a", "b")),))
IDS = st.lists(st.sampled_from(["", "p", "q", " q", "7", "7.0", "r", "NA"]), min_size=1, max_size=30)


def table(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "x": ["ab?"[i % 3] for i in range(len(ids))]}, dtype="str")


@given(ids=IDS, cut=st.integers(0, 30), most=st.integers(1, 6))
def test_what_is_reported_is_what_a_study_counts(ids: list[str], cut: int, most: int) -> None:
    """By every way to it: from codes, from a check and, but for what does not fit, from a draft; in parts or at once."""
    whole = table(ids)
    parts = [part for part in (whole[:cut], whole[cut:]) if len(part)]
    codes = encode(whole, SCHEMA)
    tally = tally_of(codes, SCHEMA)
    assert tally.rows == len(whole)
    assert tally.fitting == len(codes)
    assert tally.counted(most) == len(at_most(codes, most, SecureRandomness()))
    assert tally.persons == len(np.unique(codes.persons))
    assert fit(parts, SCHEMA).tally == tally == tally_of(encode_parts(parts, SCHEMA), SCHEMA)
    enough = tally.enough_for(0.95)
    assert tally.counted(enough) >= 0.95 * tally.fitting > tally.counted(enough - 1) or enough == 0


def test_a_table_of_few_persons() -> None:
    """The fourth row does not say whose it is, and every third has no category."""
    whole = table(["p", "p", "s", "", "q", "r", "p", "p", "q"])
    found = fit([whole], SCHEMA)
    assert (found.rows, found.left_out, found.nobodys) == (9, 4, 1)
    assert found.tally == tally_of(encode(whole, SCHEMA), SCHEMA) == Tally(9, 4, {1: 1, 4: 1})
    assert [found.tally.counted(m) for m in (1, 2, 9)] == [2, 3, 5]


def test_a_draft_counts_all_rows() -> None:
    rows = pd.DataFrame({"id": ["a"] * 90 + [f"p{i}" for i in range(60)] + [""] * 3, "x": (["u", "v"] * 77)[:153]})
    tally = draft([rows[:70], rows[70:]], "t", person="id").tally
    assert tally == Tally(153, 3, {1: 60, 90: 1})
    assert draft([rows], "t").tally == Tally(153)


def test_many_identifiers_are_put_together_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from cohortium.data.identifiers import identifiers_of

    monkeypatch.setattr(tallies, "_HELD", 5)
    heads, ids = PersonCounts(), [f"p{i % 7}" for i in range(100)]
    for start in range(0, 100, 9):
        heads.add(identifiers_of(pd.Series(ids[start : start + 9], dtype="str")))
    assert heads.sizes == dict(Counter(Counter(ids).values()))


def test_the_words() -> None:
    many = Tally(100, 10, {1: 40, 50: 1})
    assert tally_lines(many) == [
        "10 of 100 rows do not count: they do not fit the schema, or have no person.",
        "90 rows of 41 persons: only 41 (45.5 %) count, as by default rows_per_person = 1, and 49 do not.",
        "A rows_per_person of 46 would count 86 (95.5 %), 50 all; the noise grows with it. "
        "Set it in the study's [privacy], or by --rows-per-person of simulate.",
    ]
    assert tally_lines(Tally(90, 0, {1: 40, 50: 1}), 50) == [
        "90 rows of 41 persons: all of them count, as no person has more than 50."
    ]
    assert tally_lines(Tally(90, 0, {1: 40, 50: 1}), 1, "persons") == [
        "90 rows of 41 persons count; all rows of a person weigh as much as one together."
    ]
    assert tally_lines(Tally(90)) == []
    assert tally_lines(Tally(0, 0, {})) == ["0 rows of 0 persons: all of them count, as no person has more than 1."]
    assert "(99.9 %)" in tally_lines(Tally(99_999, 0, {1: 99_997, 2: 1}))[0]


def test_two_institutions_add_up() -> None:
    assert Tally(5, 1, {1: 2, 2: 1}) + Tally(7, 0, {2: 1, 5: 1}) == Tally(12, 1, {1: 2, 2: 2, 5: 1})
    assert Tally(5, 1) + Tally(7) == Tally(12, 1)


# The commands


def call(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(build(), [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """3,000 rows of 1,500 persons, of which 7 belong to no known person."""
    rows = people(3000, 0).astype({"id": object})
    rows.loc[:6, "id"] = None
    rows.to_csv(tmp_path / "visits.csv", index=False)
    return tmp_path / "visits.csv"


HALF = "2993 rows of 1497 persons: only 1497 (50 %) count"


def test_draft_check_and_simulate_report_on_standard_error(data: Path, schema: Schema, tmp_path: Path) -> None:
    drafted = call("schema", "draft", data, "--person", "id", "--out", tmp_path / "draft.toml")
    assert "7 of 3000 rows do not count" in drafted.stderr
    assert HALF in drafted.stderr
    assert "1497" not in (tmp_path / "draft.toml").read_text(encoding="utf-8")
    (tmp_path / "schema.toml").write_text(dumps_schema(schema), encoding="utf-8")
    checked = call("schema", "check", tmp_path / "schema.toml", "--data", data)
    assert "7 rows have no person" in checked.stdout
    assert HALF in checked.stderr
    quiet = call("schema", "check", tmp_path / "schema.toml", "--data", data, "--json")
    assert json.loads(quiet.stdout)["data"]["left_out"] == 7
    assert "1497" not in quiet.stdout
    assert HALF in quiet.stderr
    made = call("simulate", "--data", data, "--schema", tmp_path / "schema.toml", "--institutions", 2, "--no-privacy",
                "--rows-per-person", 2, "--out", tmp_path / "bare")  # fmt: skip
    assert "2993 rows of 1497 persons: all of them count" in made.stderr


def test_nothing_of_it_leaves(
    data: Path, schema: Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in a file of the release or beside it, nor in a message, a log line or on standard output."""
    caplog.set_level("INFO")
    monkeypatch.setattr("cohortium_simulation.inputs.tally_lines", lambda *_: ["canary-4711"])
    (tmp_path / "schema.toml").write_text(dumps_schema(schema), encoding="utf-8")
    arguments = ("simulate", "--data", data, "--schema", tmp_path / "schema.toml", "--institutions", 3, "--epsilon", 3,
                 "--delta", 1e-6)  # fmt: skip
    made = call(*arguments, "--out", tmp_path / "out", "--json")
    assert "canary-4711" in made.stderr
    assert "canary-4711" not in made.stdout
    assert "canary-4711" not in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if b"canary-4711" in path.read_bytes()]
    monkeypatch.setattr("cohortium.system.output.logs.structured", lambda: True)
    logged = call(*arguments, "--out", tmp_path / "again")
    assert "never written to a log" in caplog.text
    assert "canary-4711" not in logged.output + caplog.text


def test_what_was_passed_over_is_for_the_screen_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a row was left out is somebody's row: no line of a log says it."""
    caplog.set_level("INFO")
    found = type("Found", (str,), {"kind": SimpleNamespace(fix="Mend it.")})
    faults = SimpleNamespace(found=[found("canary-4711")])
    print_faults(faults)  # type: ignore[arg-type]
    assert "canary-4711. Mend it." in capsys.readouterr().err
    monkeypatch.setattr("cohortium.system.output.logs.structured", lambda: True)
    print_faults(faults)  # type: ignore[arg-type]
    assert "never written to a log" in caplog.text
    assert "canary-4711" not in caplog.text + capsys.readouterr().err


def test_what_a_draft_saw_is_for_the_screen_too(
    schema: Schema,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    drafted = Draft(schema, (Note("age", "bounds", seen="canary-4711"), Note("age", "kept")))
    _print_draft(drafted, Path("schema.toml"), as_json=False)
    assert "bounds. canary-4711" in capsys.readouterr().err
    monkeypatch.setattr("cohortium.system.output.logs.structured", lambda: True)
    _print_draft(drafted, Path("schema.toml"), as_json=False)
    assert "kept" in caplog.text
    assert "canary-4711" not in caplog.text + capsys.readouterr().err


def test_preview_reports_on_the_institutions_own_table(data: Path, study: Study, tmp_path: Path) -> None:
    made = init_institution(
        tmp_path / "site", "north", {"path": str(data)}, "patients", {"epsilon_per_population": 10.0}
    )
    own = {"north": made.identity.public}
    study = replace(study, institutions=tuple(replace(i, key=own.get(i.name, i.key)) for i in study.institutions))
    (tmp_path / "study.toml").write_text(dumps_study(study), encoding="utf-8")
    (tmp_path / "schema.toml").write_text(dumps_schema(study.schema), encoding="utf-8")
    shown = call("institution", "preview", tmp_path / "site", tmp_path / "study.toml")
    assert HALF + ", as the study says rows_per_person = 1" in shown.stderr
    assert "7 of 3000 rows do not count" in shown.stderr
    assert "1497" not in shown.stdout
    assert "1497" not in call("institution", "preview", tmp_path / "site", tmp_path / "study.toml", "--json").stdout
    checked = call("institution", "check", tmp_path / "site", "--study", tmp_path / "study.toml")
    assert "only 1497 of them count, as the study says rows_per_person = 1 (stays on this screen)" in checked.stdout
    data.unlink()
    shown = call("institution", "preview", tmp_path / "site", tmp_path / "study.toml")
    assert "How many rows count is unknown" in shown.stderr
