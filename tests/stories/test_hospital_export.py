"""A stranger with a hospital's export: from its file to a release by what the commands say, and shown all that stays behind.

The file is what a German hospital's system writes: semicolons, decimal commas, money, days first, words for missing, a
byte order mark, CRLF, a sum at the end, packed by gzip. Nothing about it is said to any command but what one asked for.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from console import call, call_json, runner

from cohortium.cli import build

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

ROWS = 3000
LEVELS = ("k.A.", "-", "unbekannt")


def export(folder: Path, totals: bool = True) -> Path:
    rng = np.random.default_rng(7)
    crp = np.exp(rng.normal(1, 1, ROWS)).round(1)
    cost = rng.gamma(2, 900, ROWS).round(2)
    days = pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 1400, ROWS), "D")
    table = pd.DataFrame(
        {
            "Fallnr": np.arange(ROWS) + 100_000,
            "Geschlecht": rng.choice(["m", "w"], ROWS),
            "Alter": rng.integers(1, 95, ROWS),
            "CRP (mg/l)": [f"{x:.1f}".replace(".", ",") for x in crp],
            "Aufnahme": days.strftime("%d.%m.%Y"),
            "Kosten": [f"{x:,.2f} €".translate(str.maketrans(",.", ".,")) for x in cost],
            "Land": rng.choice(["DE", "AT", "NA", "CH"], ROWS),
            "Befund": [f"Patient {i} klagt über Schmerzen" for i in range(ROWS)],
            "Ergebnis": rng.choice(["positiv", "negativ", "unklar"], ROWS),
        }
    )
    gone = rng.random(ROWS) < 0.05
    table.loc[gone, "CRP (mg/l)"] = rng.choice(LEVELS, int(gone.sum()))
    text = table.to_csv(index=False, sep=";", lineterminator="\r\n")
    text += "Summe;;;;;5.400.000,00 €;;;\r\n" if totals else ""
    path = folder / "fälle.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    return path


def screen(*words: object) -> str:
    """What a command that succeeds shows, notes included."""
    result = runner.invoke(build(), [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def reviewed(path: Path, **changed: str) -> None:
    """What a person does to a draft: goes through the marked lines, corrects some, deletes the marks."""
    text = path.read_text(encoding="utf-8")
    for old, new in changed.items():
        assert re.search(old, text), old
        text = re.sub(old, new, text)
    kept = [line for line in text.splitlines() if "REVIEW:" not in line]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8", newline="\n")


def test_from_a_hospitals_export_to_a_release(tmp_path: Path) -> None:
    data, schema, out = export(tmp_path), tmp_path / "schema.toml", tmp_path / "release"
    draft = ("schema", "draft", data, "--person", "Fallnr", "--target", "Ergebnis", "--out", schema)
    stopped: Any = call_json(*draft, code=10)["error"]  # one line names what stands in the way, and what to do
    assert stopped["what"] == f"row {ROWS + 2} looks like totals of the others"
    assert "--drop-bad-rows" in stopped["fix"]

    reported = screen(*draft, "--drop-bad-rows")
    for said in (
        "compressed by gzip",
        "cells are separated by ;",
        f"1 rows left out, where one looks like totals of the others (row {ROWS + 2})",
        'numbers in disguise: written as "1234,5"',
        'numbers in disguise: written as "1.234,5 €"',
        "'Befund': dropped: ",
        "'Land': words of missing are taken for blanks",
        '"NA" (',
        *(f'"{word}" (' for word in LEVELS),
        "they stay on this screen",
    ):
        assert said in reported, said
    text = schema.read_text(encoding="utf-8")
    assert not re.search(r"\d+ persons\)", text)  # counts are for the screen alone
    assert all(f'"{word}"' in text for word in LEVELS)

    # NA is Namibia here; the rest is as the public knows
    reviewed(schema, **{r'nullable = true\nmissing = \["NA"\]\ncategories = \[': 'missing = []\ncategories = ["NA", '})
    checked = call("schema", "check", schema, "--data", data)
    assert f"{ROWS} of {ROWS} rows fit, 0 would be left out" in checked
    assert f"looks like totals of the others (row {ROWS + 2})" in checked
    assert "'CRP (mg/l)': taken for missing: " in checked and "'Land': taken" not in checked

    call(
        "simulate", "--data", data, "--schema", schema, "--drop-bad-rows", "--institutions", 3, "--epsilon", 8,
        "--delta", 1e-6, "--out", out,
    )  # fmt: skip
    assert call_json("verify", out)["verified"] is True
    released = pd.read_csv(out / "synthetic.csv", dtype="str", keep_default_na=False)
    assert list(released) == ["Geschlecht", "Alter", "CRP (mg/l)", "Aufnahme", "Kosten", "Land", "Ergebnis"]
    crp = released["CRP (mg/l)"]
    assert crp[crp != ""].str.fullmatch(r"\d+,\d").all()
    assert (crp == "").mean() == pytest.approx(0.05, abs=0.03)
    assert released["Kosten"].str.fullmatch(r"\d{1,3}(\.\d{3})*,\d\d €").all()
    assert (released["Land"] == "NA").mean() == pytest.approx(0.25, abs=0.05)
    cost = released["Kosten"].str.removesuffix(" €").str.replace(".", "").str.replace(",", ".").astype(float)
    assert cost.mean() == pytest.approx(1800, rel=0.1)

    # what was released is read by the same rules as what it was made from
    again: Any = call_json("schema", "check", schema, "--data", out / "synthetic.csv", code=11)["error"]
    assert again["code"] == "E_SCHEMA_MISSING"  # whose row it is is not released


def test_an_institution_serves_the_same_export(tmp_path: Path) -> None:
    """The custodian reads the file as the commands did: nothing is said of it but its path."""
    from cohortium.data.readers.tables import read_table
    from cohortium.data.schema import load_schema
    from cohortium_client.custodian.institution import load_institution
    from cohortium_client.source.source import load_source

    data, schema = export(tmp_path), tmp_path / "schema.toml"
    call("schema", "draft", data, "--person", "Fallnr", "--out", schema, "--drop-bad-rows")
    reviewed(schema)
    call("institution", "init", tmp_path / "site", "--name", "north", "--data", data)
    institution = load_institution(tmp_path / "site")
    institution.look()
    declared = load_schema(schema)
    codes = load_source(institution.file.source, institution.folder, declared)
    assert (len(codes), codes.left_out) == (ROWS, 0)
    from cohortium.data.encoding import encode

    table = read_table(data, [*declared.names, "Fallnr"], drop_bad_rows=True)
    np.testing.assert_array_equal(codes.values, encode(table, declared).values)


def test_days_first_are_asked_about(tmp_path: Path) -> None:
    """Whatever a draft makes of them, it says that day and month may be mixed up."""
    reported = screen("schema", "draft", export(tmp_path, totals=False), "--out", tmp_path / "s.toml")
    assert re.search(r"'Aufnahme': .*day", reported)
