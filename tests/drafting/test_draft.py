"""Proposals read from data, the ``schema`` command, and the real data sets."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cohortium.commands.schema import schema as command
from cohortium.data.columns import Boolean, Categorical, Continuous, Datetime
from cohortium.data.encoding import decode, encode, encode_parts
from cohortium.data.readers.tables import read_parts, read_table
from cohortium.data.schema import Schema, load_schema
from cohortium.drafting.checking import fit
from cohortium.drafting.draft import Draft, draft
from cohortium.drafting.facts import RARE
from cohortium.drafting.numbers import MERGED, wide_bounds
from cohortium.drafting.rendering import render
from cohortium.drafting.texts import OTHER
from cohortium.errors import SchemaError

REAL = Path(__file__).parents[3] / "shared" / "data"
SETS = [
    ("covid_testing_clinics/covid_testing.csv", ("result",), "subject_id"),
    ("adult_raw/adult_raw.csv", ("income",), None),
    ("bank_marketing/bank_full.csv", ("y",), None),
    ("heart_disease_4hospitals/heart_disease.csv", ("target",), None),
    ("sdnist_ma2019/ma2019.csv", ("PINCP_DECILE",), None),
    ("adult16/train.csv", ("income>50K",), None),
]


def reloaded(proposal: Draft, folder: Path) -> Schema:
    path = folder / "proposal.toml"
    path.write_text(render(proposal), encoding="utf-8")
    return load_schema(path)


def proposed(values: object, **options: object) -> tuple[object, str]:
    """(column or None, all notes) for one column of values, beside another column."""
    table = pd.DataFrame({"x": values, "beside": ["a", "b"] * (len(values) // 2)})  # type: ignore[arg-type]
    proposal = draft([table], "t", **options)  # type: ignore[arg-type]
    column = next((c for c in proposal.schema.columns if c.name == "x"), None)
    return column, " ".join(f"{note.text} {note.seen}" for note in proposal.notes_on("x"))


@pytest.mark.parametrize(("file", "targets", "person"), SETS, ids=[s[0].split("/")[0] for s in SETS])
def test_real_tables_fit_their_proposals(
    file: str, targets: tuple[str, ...], person: str | None, tmp_path: Path
) -> None:
    path = REAL / file
    if not path.exists():
        pytest.skip(f"the data set {file} is not in shared/data")
    proposal = draft(read_parts(path), path.stem, targets, person)
    assert reloaded(proposal, tmp_path) == proposal.schema
    assert (proposal.schema.targets, proposal.schema.person) == (targets, person)
    table = read_table(path)
    codes = encode(table, proposal.schema)
    assert (len(codes), codes.left_out) == (len(table), 0)
    synthetic = decode(codes.values, proposal.schema, np.random.default_rng(1))
    again = encode(synthetic.assign(**({person: "1"} if person else {})), proposal.schema)
    np.testing.assert_array_equal(again.values, codes.values)
    found = fit([table], proposal.schema)
    assert all(m.missing == m.unreadable == m.undeclared == 0 for m in found.misfits)


def test_kinds() -> None:
    column, notes = proposed([0, 1] * 50)
    assert isinstance(column, Categorical)
    assert column.categories == (0, 1)
    assert decode(np.array([[1, 0]]), Schema(columns=(column, Boolean(name="b"))), np.random.default_rng(0))[
        "x"
    ].tolist() == [1]
    assert isinstance(proposed(["True", "false"] * 50)[0], Boolean)
    column, notes = proposed(["3.0", "1.0"] * 49 + ["", ""])
    assert isinstance(column, Categorical)
    assert (column.categories, column.nullable) == (("1.0", "3.0"), True)  # as they are written
    column, _ = proposed(["01", "02"] * 50)  # an area code is no number
    assert isinstance(column, Categorical)
    assert column.categories == ("01", "02")
    column, _ = proposed(["1.00", "2.00"] * 50)
    assert isinstance(column, Continuous)
    column, notes = proposed(["yes", "no"] * 50)
    assert isinstance(column, Boolean)
    assert column.spelling == ("no", "yes")
    column, _ = proposed(["2020-01-05", "2021-07-01"] * 50)
    assert isinstance(column, Datetime)
    assert (column.resolution, column.lower, column.upper) == ("day", datetime(2018, 1, 1), datetime(2023, 12, 31))
    column, _ = proposed(pd.to_datetime(["2020-01-05 10:30", "2021-07-01 11:00"] * 50))
    assert isinstance(column, Datetime)
    assert column.resolution == "minute"
    column, notes = proposed(["13/02/2020", "01/02/2021"] * 50)
    assert isinstance(column, Datetime)
    assert column.format == "%d/%m/%Y" and "day first" in notes
    column, notes = proposed(["03/02/2020", "01/02/2021"] * 50)
    assert isinstance(column, Datetime)
    assert column.format == "" and "it is unclear" in notes


def test_what_many_share_is_a_point_wherever_neighbours_may_be_put_together() -> None:
    """A point is counted at full precision, and is never one cell with its neighbours; a grid of few values needs none."""
    rng = np.random.default_rng(1)
    column, notes = proposed([*rng.integers(1, 3000, 600), *[0] * 400])
    assert isinstance(column, Continuous)
    assert column.points == (0.0,) and "many rows share" in notes
    column, _ = proposed([*rng.integers(1, 3000, 950), *[0] * 50])  # one in twenty
    assert isinstance(column, Continuous)
    assert column.points == ()
    column, _ = proposed([*[f"{x / 10:.1f}" for x in rng.integers(1, 5, 600)], *["0.3"] * 400])
    assert isinstance(column, Continuous)
    assert len(column.cuts) - 1 <= MERGED and column.points == ()


def test_numbers() -> None:
    rng = np.random.default_rng(0)
    column, notes = proposed([f"{x:.2f}" for x in rng.normal(50, 10, 1000)])
    assert isinstance(column, Continuous)
    assert (column.decimals, column.scale, column.points, column.bins) == (2, "linear", (), None)
    assert column.lower % 10 == column.upper % 10 == 0
    assert "round numbers beyond" in notes
    column, _ = proposed([*np.exp(rng.normal(0, 3, 900)).round(1), *[0.0] * 600])
    assert isinstance(column, Continuous)
    assert (column.scale, column.points, column.bins) == ("linear", (0.0,), None)  # a zero stays by itself
    column, notes = proposed([*rng.normal(50, 10, 1999).round(), 10.0**9])
    assert isinstance(column, Continuous)
    assert column.upper < 200
    column, notes = proposed(["4o"] * 2 + [str(i % 50) for i in range(998)])
    assert isinstance(column, Continuous)
    assert column.nullable
    assert "not numbers" in notes


def test_what_is_dropped_and_why() -> None:
    uuids = [f"{i * 7919 % 1000:08x}" for i in range(1000)]
    for values, reason in [
        (uuids, "value of its own"),
        (list(range(1000)), "numbers the rows"),
        (["same"] * 1000, "constant"),
        ([""] * 1000, "empty"),
        ([f"word {i % 400}" for i in range(1000)], "not common"),
        ([f"{i % 20} " + "long text " * 20 for i in range(1000)], "free text"),
        ([2.0**60 + i * 2**20 for i in range(1000)], "too large"),
    ]:
        column, notes = proposed(values)
        assert column is None
        assert reason in notes
    table = pd.DataFrame({"patientId": [i // 2 for i in range(1000)], "sex": ["f", "m"] * 500})
    proposal = draft([table], "t")
    assert proposal.schema.names == ("sex",)
    assert "as the person" in proposal.notes[0].text
    assert draft([table], "t", person="patientId").schema.person == "patientId"


def test_categories() -> None:
    column, notes = proposed(["common"] * 995 + ["rare"] * 5)
    assert isinstance(column, Categorical)
    assert (column.categories, column.other) == (("common", OTHER), OTHER)
    assert 'not written down, as fewer than 10 rows have them: "rare"' in notes
    many = [f"v{i}" for i in range(20) for _ in range(100)] + [f"w{i}" for i in range(60) for _ in range(15)]
    column, notes = proposed(many)
    assert isinstance(column, Categorical)
    assert column.other == OTHER
    assert len(column.categories) == 31
    assert "30 most common" in notes
    column, notes = proposed(["=1+1", "-5 to 0", "fine", "good"] * 50)
    assert isinstance(column, Categorical)
    assert column.categories == ("fine", "good", OTHER)
    assert "spreadsheet" in notes
    column, _ = proposed(["?", "known"] * 50)
    assert isinstance(column, Categorical)
    assert column.categories == ("?", "known")
    assert not column.nullable


def test_a_proposal_says_that_it_is_one() -> None:
    table = pd.DataFrame(
        {'odd "name" [[column]]': ["a", "b", 'c"\n#'] * 40, "age": [*range(60)] * 2, "none": [""] * 120}
    )
    text = render(draft([table], "t"))
    assert text.startswith("# A PROPOSAL READ FROM DATA. A person must review it")
    assert text.count("# REVIEW: ") == 3
    assert '# "none" dropped: every cell is empty' in text


TEXTS = st.lists(
    st.sampled_from(
        [
            "",
            "a",
            "=x",
            "1",
            "2.5",
            "-3",
            "2020-01-01",
            "é\n",
            '"',
            "1e300",
            "True",
            "01",
            "1.00",
            "1e2",
            "-0",
        ]
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=examples(150))
@given(st.lists(st.one_of(st.text(max_size=6), st.floats().map(str), st.integers().map(str)), max_size=30) | TEXTS)
def test_any_proposal_is_a_schema_that_fits_its_table(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    values = values * RARE
    table = pd.DataFrame({"x": pd.Series(values, dtype="str"), "y": pd.Series(range(len(values)), dtype=object) % 2})
    try:
        proposal = draft([table], "t")
    except SchemaError as error:
        assert error.what == "no column is left"
        return
    assert reloaded(proposal, tmp_path_factory.mktemp("proposal")) == proposal.schema
    assert encode(table, proposal.schema).left_out == 0


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**9), st.integers(0, 6))
def test_bounds_are_round_and_never_what_they_bound(low: int, wide: int, decimals: int) -> None:
    lowest, highest = low / 10**decimals, (low + wide) / 10**decimals
    lower, upper = wide_bounds(lowest, highest, decimals)
    step = least_step(lowest, highest, decimals)
    for bound in (lower, upper):
        assert bound / step == pytest.approx(round(bound / step), abs=1e-6)
    assert lower <= lowest - 0.999 * step or (lower == 0 and lowest >= 0)
    assert upper >= highest + 0.999 * step or (upper == 0 and highest <= 0)
    assert lowest - lower <= 2.001 * step and upper - highest <= 2.001 * step


def least_step(lowest: float, highest: float, decimals: int) -> float:
    """The least of 1, 2 and 5 times a power of ten that is a quarter of the range, and no finer than the decimals."""
    least = max((highest - lowest) / 4, 10.0**-decimals) * (1 - 1e-9)
    return min(f * 10.0**k for f in (1, 2, 5) for k in range(-8, 12) if f * 10.0**k >= least)


@given(st.sampled_from([0.0, 10.0, 100.0, 1000.0]), st.sampled_from([1.0, 10.0, 50.0]))
def test_a_bound_is_the_same_for_every_extreme_within_a_step(start: float, inside: float) -> None:
    """Also for one that is round itself: the bound says between which two multiples it lies, and no more."""
    step = least_step(start, start + 4 * inside, 0)
    wanted = wide_bounds(start, start + 4 * inside, 0)[1] - 2 * step  # the multiple at or below the extreme
    for extreme in (wanted, wanted + step / 4, wanted + step / 2):
        if least_step(start, extreme, 0) == step:
            assert wide_bounds(start, extreme, 0)[1] == wanted + 2 * step


def test_parts_give_the_proposal_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"n": rng.normal(size=999).round(2), "w": rng.choice(["a", "b", ""], 999)})
    table["p"] = rng.integers(0, 200, 999)
    table.loc[::50, "w"] = "of one"
    table.loc[::50, "p"] = 0
    for person in (None, "p"):
        whole = draft([table], "t", person=person)
        assert draft([table[:400], table[400:]], "t", person=person) == whole
        assert draft([table[i : i + 9] for i in range(0, 999, 9)], "t", person=person) == whole


def test_unknown_names() -> None:
    table = pd.DataFrame({"sex": ["f", "m"]})
    for options in ({"targets": ["x"]}, {"person": "x"}, {"drop": ["x"]}):
        with pytest.raises(SchemaError) as caught:
            draft([table], "t", **options)  # type: ignore[arg-type]
        assert caught.value.code == "E_SCHEMA_MISSING"


# The command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "clinic.csv"
    rows = [f"p{i},{20 + i % 50},{'fm'[i % 2]},{'' if i % 10 else 'x'}" for i in range(200)]
    path.write_text("patient,age,sex,note\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_draft_then_check(data: Path) -> None:
    out = data.parent / "schema.toml"
    arguments = [
        "draft",
        str(data),
        "--target",
        "sex",
        "--person",
        "patient",
        "--drop",
        "note",
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(command, arguments)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Review it" in result.stderr
    schema = load_schema(out)
    assert (schema.names, schema.targets, schema.person) == (("age", "sex"), ("sex",), "patient")
    unreviewed = CliRunner().invoke(command, ["check", str(out), "--data", str(data)])
    assert (unreviewed.exit_code, unreviewed.stdout) == (11, "")
    assert unreviewed.stderr.startswith("E_REVIEW: schema.toml: ")
    as_it_is = CliRunner().invoke(command, ["check", str(out), "--data", str(data), "--reviewed"])
    assert "200 of 200 rows fit" in as_it_is.stdout
    out.write_text("".join(line for line in out.read_text().splitlines(keepends=True) if "REVIEW:" not in line))
    checked = CliRunner().invoke(command, ["check", str(out), "--data", str(data)])
    assert checked.exit_code == 0
    assert "200 of 200 rows fit" in checked.stdout
    assert "stay on this screen" in checked.stderr
    again = CliRunner().invoke(command, arguments)
    assert again.exit_code == 11
    assert len(again.stderr.strip().splitlines()) == 1
    assert CliRunner().invoke(command, [*arguments, "--force"]).exit_code == 0


def test_json_is_alone_on_stdout(data: Path) -> None:
    out = data.parent / "schema.toml"
    arguments = [
        "draft",
        str(data),
        "--drop",
        "note,patient",
        "--target",
        "sex,age",
        "--out",
        str(out),
        "--json",
    ]
    result = CliRunner().invoke(command, arguments)
    assert json.loads(result.stdout)["columns"] == ["age", "sex"]
    assert result.stderr == ""
    refused = CliRunner().invoke(command, arguments)
    assert json.loads(refused.stdout)["error"]["code"] == "E_RELEASE_EXISTS"
    assert refused.exit_code == 11
    checked = CliRunner().invoke(command, ["check", str(out), "--data", str(data), "--reviewed", "--json"])
    assert json.loads(checked.stdout)["data"]["left_out"] == 0
    missing = CliRunner().invoke(
        command, ["check", str(out), "--data", str(out.parent / "no.csv"), "--reviewed", "--json"]
    )
    assert (missing.exit_code, json.loads(missing.stdout)["error"]["code"]) == (10, "E_INPUT_NOT_FOUND")


def test_check_says_what_does_not_fit(tmp_path: Path) -> None:
    schema = Schema(
        columns=(
            Continuous(name="age", lower=0, upper=90),
            Categorical(name="sex", categories=("f", "m"), nullable=True),
        )
    )
    frame = pd.DataFrame({"age": ["10", "", "old", "120"], "sex": ["f", "x", "m", ""]})
    found = fit([frame[:2], frame[2:]], schema)
    assert (found.rows, found.left_out) == (4, 2)
    age, sex = found.misfits
    assert (age.missing, age.unreadable, age.beyond, sex.undeclared, sex.missing) == (1, 1, 1, 1, 0)
    assert "nullable" in age.fix
    assert encode_parts([frame], schema).left_out == found.left_out


def test_the_command_loads_no_heavy_library() -> None:
    heavy = "{'pandas', 'torch', 'pyarrow', 'numpy'}"
    code = f"import sys, cohortium.commands.schema; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
