"""Numbers in disguise: what a format reads, what it writes, and what a draft says of it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from console import call, call_json
from hypothesis import assume, given
from hypothesis import strategies as st

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.columns.encoding import INVALID, encode_column
from cohortium.data.columns.written import Written, inferred_format, read_numbers, written
from cohortium.data.encoding import decode, encode
from cohortium.data.schema import Schema, schema_from_document, to_document
from cohortium.drafting.checking import fit
from cohortium.drafting.draft import draft
from cohortium.errors import SchemaError
from cohortium.system.texts import for_spreadsheet
from cohortium_client.source.mapping import ColumnMapping
from cohortium_client.source.source import Source, load_source
from cohortium_server.release.tables import write_table

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

FORMATS = [
    "1234,5", "1.234,5", "1 234,5", "1\u00a0234,5", "1\u202f234,5", "1'234.5", "1\u2019234.5", "1,234.5", "$1,234.5", "($1,234.5)",
    "1234.5%", "1.234,5 €", "€ 1.234,5", "CHF 1'234.5", "1.234,5-", "1234.5 mg/dl", "R$ 1.234,5", "1234,5 %",
]  # fmt: skip
STYLES = st.sampled_from([written(text) for text in FORMATS])


@pytest.mark.parametrize("text", FORMATS)
def test_a_format_is_what_it_says(text: str) -> None:
    how = written(text)
    assert how is not None and how.text == text
    assert how.write(1234.5, 1) == text.strip("()").removesuffix("-")


@given(how=STYLES, units=st.integers(-(2**50), 2**50), decimals=st.integers(0, 6))
def test_what_is_written_is_read(how: Written, units: int, decimals: int) -> None:
    value = units / 10**decimals
    assume(abs(value) <= 2**50 / 10**decimals)
    assert how.number(how.write(value, decimals)) == value
    assert how.number(how.write(value, None)) == value
    assert how.number(for_spreadsheet(how.write(value, decimals))) == value


@given(how=STYLES, text=st.text(alphabet="0123456789.,' -+()€$%eE\u00a0", max_size=14))
def test_no_text_raises_and_what_is_read_is_what_its_digits_say(how: Written, text: str) -> None:
    found = how.number(text)
    if found is not None:
        digits = "".join(c for c in text.lower().partition("e")[0] if c.isdigit())
        whole, _, power = text.lower().partition("e")
        scale = len(whole.rpartition(how.point)[2].rstrip("-+()€$% \u00a0'.,")) if how.point in whole else 0
        del power
        if "e" not in text.lower():
            assert abs(found) == pytest.approx(int(digits or "0") / 10**scale)


@pytest.mark.parametrize(
    ("text", "cells", "numbers"),
    [
        ("1234,5", ["3,5", "-3,5", "3,5-", "(3,5)", "7", "1,5E+03", " 7 "], [3.5, -3.5, -3.5, -3.5, 7, 1500, 7]),
        ("1234,5", ["1.5", "1,2,3", "1.234", "", "x", "-", "3,5 €"], [None] * 7),
        ("$1,234.5", ["$5", "5", "-$5", "$-5", "($5)", "$1,234,567.25"], [5, 5, -5, -5, -5, 1234567.25]),
        ("$1,234.5", ["€5", "5$", "$1,23", "$12,34.5", "$$5", "--5"], [None] * 6),
        ("1.234,5 €", ["1.234,50 €", "1234,5", "12 €", "1.234 €"], [1234.5, 1234.5, 12, 1234]),
        ("1 234,5", ["1\u00a0234,5", "1\u202f234,5", "1 234"], [1234.5, 1234.5, 1234]),
        ("1234.5%", ["12%", "12 %", "12", "-1.5%"], [12, 12, 12, -1.5]),
    ],
    ids=["decimal comma", "no decimal comma", "dollars", "no dollars", "euros", "blanks", "percent"],
)
def test_reading(text: str, cells: list[str], numbers: list[float | None]) -> None:
    how = written(text)
    assert how is not None
    assert [how.number(cell) for cell in cells] == numbers


def test_what_is_a_number_already_stays_one() -> None:
    """As a text 1.234 would be 1234."""
    how = Written(group=".", point=",")
    assert read_numbers(pd.Series([1.234, 2.5]), how).tolist() == [1.234, 2.5]
    assert read_numbers(pd.Series([1.234, "1.234", None, True], dtype=object), how).tolist()[:2] == [1.234, 1234.0]


@pytest.mark.parametrize(
    "text", ["abc", "1234.5", "1.234.5", "12,34", "=1234,5", "-1234,5", "1234,5\n", "1234,5)", "x" * 20 + "1234,5"]
)
def test_what_is_no_format_is_refused_by_the_schema(text: str) -> None:
    with pytest.raises(SchemaError, match="E_SCHEMA_INVALID"):
        Schema(columns=(Continuous(name="a", lower=0, upper=9, format=text),))


def test_a_schema_without_a_format_is_written_as_ever() -> None:
    plain = Schema(columns=(Continuous(name="a", lower=0, upper=9),))
    assert to_document(plain)["column"] == [{"name": "a", "kind": "continuous", "lower": 0, "upper": 9}]
    disguised = Schema(columns=(Continuous(name="a", lower=0, upper=9, format="1234,5"),))
    assert schema_from_document(to_document(disguised)) == disguised
    assert disguised.digest != plain.digest


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("bounds", [(-5000.0, 5000.0, 2), (0.0, 90.0, 0), (-0.5, 3.0, 1)])
def test_declared_numbers_are_encoded_as_numbers_and_released_as_declared(
    text: str, bounds: tuple[float, float, int], tmp_path: Path
) -> None:
    lower, upper, decimals = bounds
    plain = Continuous(name="a", lower=lower, upper=upper, decimals=decimals, nullable=True)
    column = replace(plain, format=text)
    rng = np.random.default_rng(5)
    numbers = np.round(rng.uniform(lower, upper, 500), decimals)
    how = written(text)
    assert how is not None
    texts = pd.Series([how.write(float(x), decimals) for x in numbers] + [""])
    codes = encode_column(column, texts)
    np.testing.assert_array_equal(codes, encode_column(plain, pd.Series([*numbers, None])))
    schema, bare = Schema(columns=(column,)), Schema(columns=(plain,))
    values = encode(pd.DataFrame({"a": texts}), schema).values
    released = decode(values, schema, np.random.default_rng(1))
    expected = decode(values, bare, np.random.default_rng(1))["a"].astype("Float64")
    read = read_numbers(released["a"], how)
    np.testing.assert_allclose(read[:-1], expected[:-1].astype(float), rtol=0, atol=1e-9)
    assert released["a"].isna().tolist() == [False] * 500 + [True]
    for name in ("t.csv", "t.parquet"):
        write_table(released, tmp_path / name)
    again = pd.read_csv(tmp_path / "t.csv", dtype="str", keep_default_na=False)
    np.testing.assert_array_equal(encode(again, schema).values, encode(released, schema).values)
    np.testing.assert_array_equal(
        encode(pd.read_parquet(tmp_path / "t.parquet"), schema).values, encode(again, schema).values
    )


@pytest.mark.parametrize("text", ["-3,5", "-$5.00", "-€ 5"[:2] + "5", "-12%", "+3.5", "-1'234.50"])
def test_an_amount_below_zero_is_no_formula(text: str) -> None:
    assert for_spreadsheet(text) == text


@pytest.mark.parametrize("text", ["-1+1", "-A1", "=1", "-5 EUR", "--5", "-5|x", "@1", "-(1)", "-=1", "+-1", "-5%%"])
def test_what_may_be_a_formula_is_defused_as_ever(text: str) -> None:
    assert for_spreadsheet(text) == "'" + text


# Drafts


def money(rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    cost, th = rng.uniform(0, 8000, rows).round(2), rng.integers(1000, 9999, rows)
    return pd.DataFrame(
        {
            "cost": [f"${x:,.2f}" for x in cost],
            "pct": [f"{x}%" for x in rng.integers(0, 100, rows)],
            "eu": [f"{x:.1f}".replace(".", ",") for x in rng.uniform(1, 9, rows)],
            "th": [f"{x:,}" for x in th],
            "fr": [f"{x:,.2f}".replace(",", "\u202f").replace(".", ",") + " €" for x in cost],
            "loss": [f"({x:,.2f})" if x < 3000 else f"{x:,.2f}" for x in cost],
            "sap": [f"{x:.2f}-" if x < 3000 else f"{x:.2f}" for x in cost],
            "dose": [f"{x} mg" for x in rng.integers(1, 400, rows)],
        }
    )


EXPECTED = {
    "cost": ("$1,234.5", 2), "pct": ("1234.5%", 0), "eu": ("1234,5", 1), "th": ("1,234.5", 0), "fr": ("1\u202f234,5 €", 2),
    "loss": ("(1,234.5)", 2), "sap": ("1234.5-", 2), "dose": ("1234.5 mg", 0),
}  # fmt: skip


def test_numbers_in_disguise_are_called_that_and_drafted_as_numbers() -> None:
    table = money()
    proposal = draft([table[:250], table[250:]], "t")
    for column in proposal.schema.columns:
        assert isinstance(column, Continuous), column.name
        assert (column.format, column.decimals) == EXPECTED[column.name]
        assert "format" in column.review
        assert any("numbers in disguise" in note.text for note in proposal.notes_on(column.name))
    assert proposal.schema.names == tuple(EXPECTED)
    assert fit([table], proposal.schema).misfits == ()
    assert "decimal sign" in " ".join(n.text for n in proposal.notes_on("th"))


@pytest.mark.parametrize(
    "texts",
    [
        [f"C{i}" for i in range(10, 60)],
        [f"{i}-{i + 1}" for i in range(10, 60)],
        [f"12:{i}" for i in range(10, 60)],
        [f"0{i} 123 456" for i in range(10, 60)],
        [f"1.2.{i}" for i in range(10, 60)],
        [f"<{i}" for i in range(10, 60)],
        [f"{i}/80" for i in range(110, 160)],
        [f"{i}a" for i in range(10, 60)],
        [f"{i}" for i in range(10, 60)],
        [f"{i}.5" for i in range(10, 60)],
        [f"192.168.0.{i}" for i in range(10, 60)],
    ],
)
def test_other_texts_are_not_taken_for_numbers(texts: list[str]) -> None:
    assert inferred_format(texts, 0.95) is None


@pytest.mark.parametrize("odd", ["<0.5", "{} USD", "{}!"])
def test_numbers_written_in_several_ways_are_not_called_free_text(odd: str) -> None:
    words = [odd.format(i) if i % 4 == 0 else f"{i}.25 EUR" if "USD" in odd else f"{i}.25" for i in range(300)]
    if "!" in odd:
        words = [f"{i}.25" if i % 4 else f"{i}!" for i in range(300)]
    proposal = draft([pd.DataFrame({"a": words, "b": ["u", "v"] * 150})], "t")
    assert proposal.schema.names == ("b",)
    (note,) = proposal.notes_on("a")
    assert "most of its values are numbers" in note.text and "free text" not in note.text
    assert ("<0.5" in note.seen) == (odd == "<0.5")


def test_one_persons_number_in_disguise_is_no_point_though_parts_of_a_file_tear_her_rows_apart() -> None:
    def part(number: int) -> pd.DataFrame:
        costs = ["$10.50", "$20.50", "$99.50"] * 20 + ["$77.50"]
        return pd.DataFrame({"cost": costs, "who": [*(f"{number}-{i}" for i in range(60)), "she"]})

    (column,) = draft(map(part, range(12)), "t", person="who").schema.columns
    assert isinstance(column, Continuous) and column.format == "$1234.5"
    assert set(column.points) <= {10.5, 20.5, 99.5}


def test_few_whole_numbers_in_disguise_stay_categories_as_they_are() -> None:
    (column,) = draft([pd.DataFrame({"a": ["10%", "20%", "50%"] * 100})], "t").schema.columns
    assert isinstance(column, Categorical)
    assert column.categories == ("10%", "20%", "50%")


def test_points_that_may_part_thousands_are_pointed_out() -> None:
    rng = np.random.default_rng(0)
    words = [f"{x:,}".replace(",", ".") for x in rng.integers(100, 9999, 900)]
    proposal = draft([pd.DataFrame({"a": words})], "t")
    assert 'format = "1.234,5"' in " ".join(n.text for n in proposal.notes)
    plain = draft([pd.DataFrame({"a": [f"{x:.3f}" for x in rng.uniform(0, 9, 900)]})], "t")
    assert "1.234,5" not in " ".join(n.text for n in plain.notes)


def test_check_says_that_unreadable_cells_are_numbers_in_disguise(tmp_path: Path) -> None:
    schema = Schema(columns=(Continuous(name="eu", lower=0, upper=10, decimals=1, nullable=True),))
    (misfit,) = fit([money()[["eu"]]], schema).misfits
    assert (misfit.unreadable, misfit.written) == (600, "1234,5") or misfit.unreadable > 500
    assert 'format = "1234,5"' in misfit.fix


# At an institution


def test_an_institution_says_how_its_own_numbers_are_written(tmp_path: Path) -> None:
    content = "crp;kg\n1.234,5;80,5\n7;160,1\nx;\n999;1\n"
    (tmp_path / "t.csv").write_text(content)
    schema = Schema(
        columns=(
            Continuous(name="crp", lower=0, upper=5000, decimals=1, nullable=True, bins=4000),
            Continuous(name="weight", lower=0, upper=100, decimals=1, nullable=True),
        )
    )
    mapping = {
        "crp": ColumnMapping(format="1.234,5", recode={"999": ""}),
        "weight": ColumnMapping(origin="kg", format="1234,5", factor=0.5),
    }
    codes = load_source(Source(path="t.csv", mapping=mapping), tmp_path, schema)
    expected = encode(pd.DataFrame({"crp": [1234.5, 7, None, None], "weight": [40.2, 80.0, None, 0.5]}), schema)
    found = codes.values.tolist()
    assert found[0][0] == expected.values.tolist()[0][0]
    assert [row[0] for row in found] == [row[0] for row in expected.values.tolist()]
    assert [row[1] for row in found][1:] == [row[1] for row in expected.values.tolist()][1:]


@pytest.mark.parametrize(("column", "text"), [("n", "%d.%m.%Y"), ("c", "1234,5"), ("n", "12,3")])
def test_a_format_that_fits_no_column_is_refused(tmp_path: Path, column: str, text: str) -> None:
    (tmp_path / "t.csv").write_text("n,c\n1,a\n")
    schema = Schema(columns=(Continuous(name="n", lower=0, upper=9), Categorical(name="c", categories=("a", "b"))))
    with pytest.raises(SchemaError, match="E_MAPPING"):
        load_source(Source(path="t.csv", mapping={column: ColumnMapping(format=text)}), tmp_path, schema)


def test_from_file_to_release_and_back(tmp_path: Path) -> None:
    table = money(800)[["cost", "pct", "eu"]]
    table.to_csv(tmp_path / "t.csv", index=False, sep=";")
    call("schema", "draft", tmp_path / "t.csv", "--out", tmp_path / "s.toml")
    call(
        "simulate", "--data", tmp_path / "t.csv", "--schema", tmp_path / "s.toml", "--reviewed", "--epsilon", 20, "--delta", 1e-6,
        "--institutions", 3, "--out", tmp_path / "out",
    )  # fmt: skip
    call("sample", tmp_path / "out", "--rows", 300, "--out", tmp_path / "more.csv", "--where", "pct>=50")
    more = pd.read_csv(tmp_path / "more.csv", dtype="str")
    assert more["cost"].str.fullmatch(r"\$\d{1,3}(,\d{3})*\.\d\d").all()
    assert more["pct"].str.fullmatch(r"\d+%").all()
    assert more["pct"].str.removesuffix("%").astype(int).min() >= 50
    assert more["eu"].str.fullmatch(r"\d,\d").mean() > 0.9
    document: Any = call_json("schema", "check", tmp_path / "s.toml", "--reviewed", "--data", tmp_path / "more.csv")
    assert document["data"]["misfits"] == []
    assert json.dumps(document) and io is not None and INVALID == -1
