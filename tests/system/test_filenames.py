"""Names of institutions become files on every system, or are refused where they could not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from visits import everybody

from cohortium.data.columns import Boolean, Categorical
from cohortium.data.schema import Schema
from cohortium.errors import MembershipError, SchemaError, StudyError
from cohortium.study.study import Institution, Study
from cohortium.system.filenames import is_fit, unfit
from cohortium_server.membership.provisioning import provision
from cohortium_simulation.experiment import simulate
from cohortium_simulation.federation import write_federation
from cohortium_simulation.partition import by_column, declared_categories

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

DEVICES = ("CON", "nul", "Aux", "prn", "com1", "LPT9", "con.north", "NUL.tar.gz")


@pytest.mark.parametrize("name", [*DEVICES, "north.", "north "])
def test_a_name_that_windows_keeps_for_itself_is_not_fit(name: str) -> None:
    assert not is_fit(name)
    assert name in (unfit(["south", name]) or "")


@pytest.mark.parametrize("name", ["north", "console", "nullable", "com10", "lpt", "a.con", "North 2", "x-aux"])
def test_other_names_are(name: str) -> None:
    assert is_fit(name)
    assert unfit([name]) is None


def test_names_that_differ_in_case_alone_are_not_told_apart() -> None:
    assert "'North' and 'north'" in (unfit(["North", "south", "north"]) or "")
    assert unfit(["north", "north-2"]) is None


def named(study: Study, *names: str) -> Study:
    return replace(study, institutions=tuple(Institution(name=n) for n in names))


@pytest.mark.parametrize("names", [("North", "north", "west"), ("north", "nul", "west")])
def test_no_simulation_is_begun_whose_ledgers_would_be_one_file(
    study: Study, home: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    tables = dict(zip(names, everybody().values(), strict=True))
    with pytest.raises(StudyError) as simulated:
        simulate(named(study, *names), tables, tmp_path / "release")
    with pytest.raises(StudyError) as written:
        write_federation(tmp_path / "fed", named(study, *names), tables)
    assert simulated.value.code == written.value.code == "E_PLAN_INVALID"
    assert not home.exists()
    assert list(tmp_path.iterdir()) == []


def federation_toml(path: Path, *names: str) -> Path:
    roster = "".join(f'\n[[institution]]\nname = "{n}"\n' for n in names)
    path.write_text(f'[federation]\nname = "f"\naddress = "localhost:8443"\n{roster}', encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["North", "nul", "south."])
def test_no_kits_are_made_for_names_that_would_be_no_file_of_their_own(tmp_path: Path, name: str) -> None:
    file = federation_toml(tmp_path / "federation.toml", "north", name)
    with pytest.raises(MembershipError) as refused:
        provision(file, tmp_path / "fed")
    assert refused.value.code == "E_FEDERATION"
    assert not (tmp_path / "fed").exists()


def test_a_federation_that_has_such_names_already_keeps_them(tmp_path: Path) -> None:
    provision(federation_toml(tmp_path / "federation.toml", "north", "south"), tmp_path / "fed")
    (tmp_path / "fed/kits/nul.zip").write_bytes(b"the kit of an earlier version")
    made = provision(federation_toml(tmp_path / "federation.toml", "north", "nul", "south", "west"), tmp_path / "fed")
    assert made.kits == ("west",)


@given(st.lists(st.one_of(st.sampled_from([*DEVICES, "North", "north", "NORTH", "x.", "x "]), st.text()), min_size=1))
def test_institutions_by_a_columns_values_have_names_that_are_fit_everywhere(values: list[str]) -> None:
    """Where the schema declares the categories, each of which is an institution."""
    try:
        schema = Schema(columns=(Categorical(name="ward", categories=tuple(dict.fromkeys(values))), Boolean(name="x")))
    except SchemaError:  # of what a spreadsheet runs, a terminal obeys, or nobody sees
        return
    table = pd.DataFrame({"ward": values, "row": range(len(values))})
    declared = declared_categories(schema, "ward")
    assert declared is not None and unfit(declared) is None
    parts = by_column(table, "ward", declared, schema)
    assert sorted(r for part in parts.values() for r in part["row"]) == list(range(len(values)))
