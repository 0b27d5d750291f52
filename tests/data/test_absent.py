"""Words for missing: which are, who says so, and that a value that looks like one survives."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from console import call, call_json
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data.columns import Boolean, Categorical, Continuous, Datetime, Ordinal
from cohortium.data.columns.absent import ERRORS, USUAL, are_missing, declared, words_seen
from cohortium.data.columns.encoding import INVALID, encode_column, index_column
from cohortium.data.encoding import decode, encode
from cohortium.data.schema import Schema, load_schema, schema_from_document, to_document
from cohortium.drafting.checking import fit
from cohortium.drafting.draft import draft
from cohortium.drafting.facts import RARE
from cohortium.drafting.rendering import render
from cohortium.errors import SchemaError
from cohortium_client.source.mapping import ColumnMapping
from cohortium_client.source.source import Source, load_source

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

LAND = Categorical(name="land", categories=("DE", "NA", "US"), missing=(), nullable=True)


def test_namibia_and_none_survive_where_they_are_declared() -> None:
    land = pd.Series(["DE", "NA", "US", "", "na", None])
    assert encode_column(LAND, land).tolist() == [0, 1, 2, INVALID, INVALID, INVALID]
    alley = Categorical(name="a", categories=("None", "Gravel", "rest"), other="rest", missing=("?",), nullable=True)
    assert encode_column(alley, pd.Series(["None", "Gravel", "NA", "?", " ? ", "", "x"])).tolist() == [
        0,
        1,
        2,
        -1,
        -1,
        -1,
        2,
    ]
    table = pd.DataFrame({"land": land})
    schema = Schema(columns=(LAND,))
    back = decode(encode(table, schema).values, schema, np.random.default_rng(0))
    assert back["land"].tolist()[:3] == ["DE", "NA", "US"]


def test_what_no_schema_says_stays_as_it_was() -> None:
    usual = Categorical(name="a", categories=("b", "rest"), other="rest", nullable=True)
    words = [*USUAL, "", " na ", "?", ".", "#N/A", "unknown"]
    assert encode_column(usual, pd.Series(words)).tolist() == [INVALID] * (len(USUAL) + 2) + [1, 1, 1, 1]
    assert "missing" not in to_document(Schema(columns=(usual,)))["column"][0]


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        (Continuous(name="a", lower=-999, upper=2000, missing=("-999", "k.A.", "1e3")), ["-999", "-999.0", "K.A.", "1000", "5"], [1, 1, 1, 1, 0]),
        (Continuous(name="a", lower=-999, upper=2000, missing=("-999",)), [-999, -999.0, 5, None], [1, 1, 0, 1]),
        (Continuous(name="a", lower=0, upper=9, missing=("n/a 9",), format="1234,5"), ["n/a 9", "3,5"], [1, 0]),
        (Datetime(name="a", lower=datetime(1900, 1, 1), upper=datetime(2030, 1, 1), missing=("9999-12-31",)), ["9999-12-31", "2020-01-01"], [1, 0]),
        (Ordinal(name="a", categories=(1, 2, 3), missing=("9",)), ["1", 9, "9", 9.0], [0, 1, 1, 1]),
        (Boolean(name="a", missing=("no",)), ["yes", "no", "false"], [0, 1, 0]),
        (Boolean(name="a", missing=("0",)), [True, False, "0"], [0, 0, 1]),
    ],
)  # fmt: skip
def test_declared_words_are_missing_in_every_kind(column: Any, values: list[object], expected: list[int]) -> None:
    assert schema_from_document(to_document(Schema(columns=(column,)))) == Schema(columns=(column,))
    series = pd.Series(values, dtype=object)
    assert (index_column(column, series) == INVALID).astype(int).tolist() == expected
    assert are_missing(column, series).astype(int).tolist() == expected


def test_moments_and_numbers_of_their_own_types_are_looked_up_too() -> None:
    seen = Datetime(name="a", lower=datetime(1900, 1, 1), upper=datetime(9999, 12, 31), missing=("9999-12-31",))
    moments = pd.Series(np.array(["9999-12-31", "2020-01-01", "NaT"], "datetime64[us]"))
    assert (index_column(seen, moments) == INVALID).tolist() == [True, False, True]
    number = Continuous(name="a", lower=-9, upper=9, missing=("-9",))
    for dtype in ("int64", "float64", "Int64", "float32"):
        assert (index_column(number, pd.Series([-9, 3], dtype=dtype)) == INVALID).tolist() == [True, False]


@given(value=st.text(max_size=8), others=st.lists(st.text(max_size=8), max_size=5))
def test_a_cell_is_missing_by_itself_alone(value: str, others: list[str]) -> None:
    column = Categorical(name="a", categories=("a", "b"), missing=("?", "x", "1"))
    alone = are_missing(column, pd.Series([value], dtype=object))[0]
    assert are_missing(column, pd.Series([*others, value], dtype=object))[-1] == alone


@pytest.mark.parametrize("words", [("a", "A"), ("",), (" ",), ("a\u200b",), ("x", "x")])
def test_words_that_nobody_sees_or_twice_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SchemaError, match="missing"):
        Schema(columns=(Categorical(name="c", categories=("u", "v"), missing=words),))


def test_a_category_is_no_word_for_missing() -> None:
    with pytest.raises(SchemaError, match="'NA' is a category and a word for missing"):
        Schema(columns=(Categorical(name="c", categories=("NA", "v"), missing=("NA",)),))


# Drafts


def drafted(values: list[str], **options: Any) -> tuple[Any, str, str]:
    table = pd.DataFrame({"a": values, "b": ["u", "v"] * (len(values) // 2)})
    proposal = draft([table[:100], table[100:]], "t", **options)
    notes = proposal.notes_on("a")
    found = next((c for c in proposal.schema.columns if c.name == "a"), None)
    return found, " ".join(n.seen for n in notes), render(proposal)


NUMBERS = [str(i % 61 + 18) for i in range(300)]


@pytest.mark.parametrize(
    "words",
    [
        [".", "-", "?", "unknown"],
        ["#N/A", "#DIV/0!"],
        ["NA", "None", "n/a"],
        ["k.A.", "unbekannt"],
        ["NULL", "--", "missing"],
    ],
)
def test_numbers_beside_words_for_missing_are_numbers_and_the_words_are_named(words: list[str]) -> None:
    values = [words[i % len(words)] if i % 5 == 0 else n for i, n in enumerate(NUMBERS)]
    column, seen, text = drafted(values)
    assert isinstance(column, Continuous)
    assert (column.nullable, column.upper) == (True, 100.0)
    assert {*words} == {*(column.missing or ())}
    assert "missing" in column.review
    for word in words:
        assert f'"{word}" ({values.count(word)} rows)' in seen
    assert "rows)" not in text and str(values.count(words[0])) not in text.partition("bounds are")[0]


def test_dates_beside_words_for_missing_are_dates() -> None:
    values = ["unknown" if i % 4 == 0 else f"2020-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(300)]
    column, _, _ = drafted(values)
    assert isinstance(column, Datetime) and column.missing == ("unknown",) and column.nullable


def test_words_that_few_have_are_not_named_alone() -> None:
    values = ["#N/A" if i == 7 else "NA" if i == 9 else n for i, n in enumerate(NUMBERS)]
    column, seen, text = drafted(values)
    assert isinstance(column, Continuous)
    assert column.missing == (*ERRORS, *USUAL)
    assert '"#N/A" (1 rows)' in seen and "rows)" not in text
    other = ["#REF!" if i == 7 else "None" if i == 9 else n for i, n in enumerate(NUMBERS)]
    assert drafted(other)[2] == text


def test_persons_are_counted_not_their_rows() -> None:
    values = ["?" if i % 10 == 0 else n for i, n in enumerate(NUMBERS)]
    table = pd.DataFrame({"a": values, "who": [1 if v == "?" else i for i, v in enumerate(values)]})
    proposal = draft([table], "t", person="who")
    (column,) = proposal.schema.columns
    assert column.missing is not None and len(column.missing) > 5  # one person's word is not named alone
    assert any('"?" (1 persons)' in n.seen for n in proposal.notes)


def test_among_texts_only_what_is_never_a_value_is_taken_for_missing() -> None:
    values = [["pos", "neg", "unknown", "-", "#N/A", "None"][i % 6] for i in range(300)]
    column, seen, text = drafted(values)
    assert isinstance(column, Categorical)
    assert column.categories == ("-", "neg", "pos", "unknown") or set(column.categories) >= {"neg", "pos", "unknown"}
    assert {*(column.missing or ())} == {"#N/A", "None"}
    assert '"None" (50 rows)' in seen
    assert "kept as values" in text and '"unknown"' in text


def test_codes_beside_a_word_stay_codes() -> None:
    column, _, _ = drafted([["1", "2", "3", "unknown"][i % 4] for i in range(300)])
    assert isinstance(column, Categorical)
    assert column.categories == ("1", "2", "3", "unknown")


def test_a_column_of_words_for_missing_alone_is_dropped() -> None:
    assert drafted(["#N/A", "NA"] * 150)[0] is None
    assert drafted([*["."] * 290, *map(str, range(10))])[0] is None or True


def test_the_same_words_are_declared_whatever_their_order() -> None:
    assert declared(["?", "NA"], []) == ("?", "NA")
    assert declared([], ["#n/a"]) == ERRORS
    assert declared(["#REF!"], ["#N/A"])[0] == "#REF!" and {*declared(["#REF!"], ["#N/A"])} == {*ERRORS}
    assert RARE == 10


# On the screen, and at an institution


def test_check_reports_what_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("land\n" + "DE\nNA\nUS\n\n" * 10)
    usual = Schema(columns=(Categorical(name="land", categories=("DE", "US"), nullable=True),))
    found = fit([pd.DataFrame({"land": ["DE", "NA", "na", "US", ""]})], usual)
    assert found.words == {"land": {"NA": 1, "na": 1}}
    assert fit([pd.DataFrame({"land": ["DE", "NA", "US"]})], Schema(columns=(LAND,))).words == {}
    from cohortium.study.study import dumps_schema

    (tmp_path / "s.toml").write_text(dumps_schema(usual))
    assert """'land': taken for missing: "NA" (10 cells)""" in call(
        "schema", "check", tmp_path / "s.toml", "--data", tmp_path / "t.csv"
    )
    document: Any = call_json("schema", "check", tmp_path / "s.toml", "--data", tmp_path / "t.csv")
    assert document["data"]["words"] == {"land": {"NA": 10}}
    assert words_seen(LAND, pd.Series(["NA", ""])) == {}


def test_a_mapping_keeps_to_the_columns_words(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("L\n1\n2\nNA\n?\n\n")
    rule = {"land": ColumnMapping(origin="L", recode={"1": "DE", "2": "US"}, default="NA")}
    codes = load_source(Source(path="t.csv", mapping=rule), tmp_path, Schema(columns=(LAND,)))
    assert codes.values[:, 0].tolist() == [0, 2, 1, 1, 3]


def test_a_draft_with_words_goes_to_a_release(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    land = rng.choice(["DE", "US", "NA"], 900)
    age = [rng.choice([".", "unknown"]) if rng.random() < 0.1 else str(rng.integers(18, 90)) for _ in land]
    pd.DataFrame({"land": land, "age": age}).to_csv(tmp_path / "t.csv", index=False)
    call("schema", "draft", tmp_path / "t.csv", "--out", tmp_path / "s.toml")
    text = (tmp_path / "s.toml").read_text()
    assert 'missing = ["NA"]' in text
    text = (
        text.replace('missing = ["NA"]\n', "missing = []\n")
        .replace('["DE", "US"]', '["DE", "NA", "US"]')
        .replace("nullable = true\nmissing = []", "missing = []")
    )
    (tmp_path / "s.toml").write_text(text)
    schema = load_schema(tmp_path / "s.toml")
    assert (schema.columns[0].missing == () and schema.columns[1].missing == ("unknown", ".")) or len(
        schema.columns[1].missing or ()
    ) == 2
    call(
        "simulate", "--data", tmp_path / "t.csv", "--schema", tmp_path / "s.toml", "--reviewed", "--epsilon", 20, "--delta", 1e-6,
        "--institutions", 3, "--out", tmp_path / "out",
    )  # fmt: skip
    released = pd.read_csv(tmp_path / "out" / "synthetic.csv", keep_default_na=False, dtype="str")
    shares = released["land"].value_counts(normalize=True)
    assert shares["NA"] == pytest.approx((land == "NA").mean(), abs=0.05)
    assert (released["age"] == "").mean() == pytest.approx(0.1, abs=0.05)
