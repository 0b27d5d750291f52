"""Drafts of tables from many trades: what is a code, an identifier, a quantity, a time of day, and what comes back of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Categorical, Continuous, Datetime, Ordinal
from cohortium.data.encoding import decode, encode
from cohortium.data.schema import Schema, schema_from_document, to_document
from cohortium.drafting.checking import fit
from cohortium.drafting.codes import in_order
from cohortium.drafting.draft import Draft, draft
from cohortium.drafting.facts import RARE
from cohortium.drafting.names import about, words_of
from cohortium.drafting.rendering import render
from cohortium.drafting.spacing import alike, apart, repeats
from cohortium.drafting.texts import OTHER
from cohortium.errors import SchemaError

ROWS = 3000


def table_of(**columns: Any) -> pd.DataFrame:
    """As text, as it is read from a file."""
    frame = pd.DataFrame(columns)
    return frame.astype(str).where(frame.notna(), "")


def zipf(rng: np.random.Generator, values: Any, rows: int = ROWS) -> np.ndarray[Any, Any]:
    """Values of which the first ones, in an order that says nothing, are the most common."""
    shares = 1 / np.arange(1, len(values) + 1)
    return rng.choice(rng.permutation(values), rows, p=shares / shares.sum())


def drafted(values: Any, name: str = "x", **options: Any) -> tuple[Any, Draft]:
    table = table_of(**{name: values, "beside": np.resize(["a", "b"], len(values))})
    proposal = draft([table], "t", **options)
    assert schema_from_document(to_document(proposal.schema)) == proposal.schema
    return next((c for c in proposal.schema.columns if c.name == name), None), proposal


def back(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """What comes back of the table's own rows, none of which is left out."""
    codes = encode(table, schema)
    assert codes.left_out == 0
    assert all(m.missing == m.unreadable == m.undeclared == 0 for m in fit([table], schema).misfits)
    return decode(codes.values, schema, np.random.default_rng(0))


def trades(seed: int = 1, rows: int = ROWS) -> dict[str, pd.DataFrame]:
    """Tables of a hospital, a bank, a census, a shop and sensors."""
    rng = np.random.default_rng(seed)
    five, four, three = (rng.choice(np.arange(10**k, 10 ** (k + 1)), 60, replace=False) for k in (4, 3, 2))
    hospital = table_of(
        patientunitstayid=rng.choice(np.arange(141_000, 3_300_000), rows, replace=False),
        pid=rng.permutation(rows // 3).repeat(3)[:rows] + 700,
        hospitalid=zipf(rng, rng.choice(np.arange(50, 500), 40, replace=False), rows),
        wardid=zipf(rng, rng.choice(np.arange(80, 1200), 30, replace=False), rows),
        diag_1=zipf(rng, [*map(str, three), "V45", "V58", "E849", "250.83"], rows),
        discharge_disposition_id=zipf(rng, np.arange(1, 29), rows),
        age=np.clip(rng.normal(62, 17, rows), 18, 89).round().astype(int),
        num_procedures=rng.poisson(4, rows),
        lengthofstay=rng.geometric(0.2, rows),
        glucose=rng.lognormal(4.9, 0.3, rows).round(),
        creatinine=rng.lognormal(0, 0.5, rows).round(2),
        gcs=rng.binomial(12, 0.8, rows) + 3,
    )
    bank = table_of(
        account_no=rng.choice(np.arange(10_000_000, 99_999_999), rows, replace=False),
        branch=zipf(rng, rng.choice(np.arange(100, 999), 45, replace=False), rows),
        mcc=zipf(rng, four, rows),
        balance=rng.normal(1500, 2500, rows).round().astype(int),
        amount=rng.lognormal(4, 1.2, rows).round(2),
        loan_amount=rng.integers(1, 80, rows) * 500,
        year=rng.integers(1995, 2024, rows),
        tenure_months=rng.integers(1, 240, rows),
        credit_score=np.clip(rng.normal(690, 80, rows), 300, 850).round().astype(int),
    )
    census = table_of(
        zipcode=zipf(rng, [f"{z:05d}" for z in rng.choice(99_999, 80, replace=False)], rows),
        county_fips=zipf(rng, five, rows),
        NAICSP=zipf(rng, four * 10 + 1, rows),
        occupation=zipf(rng, four, rows),
        hours_per_week=rng.choice([40, 40, 40, 38, 45, 50, 20, 60, *range(1, 80)], rows),
        income=(rng.lognormal(10.5, 0.8, rows) / 10).round().astype(int) * 10,
        household_size=rng.poisson(1.5, rows) + 1,
    )
    shop = table_of(
        order_number=536_000 + rng.permutation(rows),
        store_nbr=zipf(rng, np.arange(1, 55), rows),
        sku=zipf(rng, rng.choice(np.arange(20_000, 90_000), 70, replace=False), rows),
        quantity=rng.geometric(0.15, rows),
        price=rng.choice([0.49, 0.99, 1.49, 1.99, 2.49], rows) + rng.integers(0, 30, rows),
        sold_at=[f"{h:02d}:{m:02d}" for h, m in zip(rng.integers(7, 22, rows), rng.integers(0, 60, rows), strict=True)],
        weekday=rng.choice(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], rows),
    )
    sensor = table_of(
        station=zipf(rng, rng.choice(np.arange(1000, 9999), 25, replace=False), rows),
        temperature=rng.normal(12, 8, rows).round(1),
        discharge=rng.gamma(2, 40, rows),
        acceleration=rng.normal(0, 1, rows),
        battery_mv=rng.normal(3700, 150, rows).round().astype(int),
    )
    return {"hospital": hospital, "bank": bank, "census": census, "shop": shop, "sensor": sensor}


LISTS = {
    "hospital": {"hospitalid", "wardid", "diag_1", "discharge_disposition_id", "gcs"},  # the last: of few values
    "bank": {"branch", "mcc"},
    "census": {"zipcode", "county_fips", "NAICSP", "occupation", "household_size"},
    "shop": {"store_nbr", "sku"},
    "sensor": {"station"},
}
OUT = {"hospital": {"patientunitstayid", "pid"}, "bank": {"account_no"}, "shop": {"order_number"}}


@pytest.mark.parametrize("trade", LISTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_codes_are_lists_identifiers_are_out_and_quantities_stay(trade: str, seed: int) -> None:
    table = trades(seed)[trade]
    proposal = draft([table[:700], table[700:]], "t")
    found = {c.name: c for c in proposal.schema.columns}
    assert {*table.columns} - {*found} == OUT.get(trade, set())
    assert {n for n, c in found.items() if isinstance(c, Categorical)} == LISTS[trade]
    assert {n for n, c in found.items() if isinstance(c, Ordinal)} == ({"weekday"} if trade == "shop" else set())
    released = back(table, proposal.schema)
    for name in LISTS[trade] | ({"sold_at", "weekday"} & {*found}):
        kept = released[name].astype(str) != OTHER
        assert kept.mean() > 0.8 and (released[name].astype(str)[kept] == table[name][kept]).all(), name
    shuffled = table.sample(frac=1, random_state=3, ignore_index=True)
    assert draft([shuffled], "t").schema == proposal.schema
    for name in LISTS[trade]:
        assert any("codes" in n.text for n in proposal.notes_on(name)) and found[name].review


# Without a name


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), codes=st.integers(13, 400), length=st.integers(3, 7))
def test_numbers_of_one_length_that_recur_far_apart_are_a_list(seed: int, codes: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    book = rng.choice(np.arange(10 ** (length - 1), 10**length), min(codes, 10 ** (length - 1) // 20), replace=False)
    values = rng.permutation(np.concatenate([book.repeat(2 * RARE), rng.choice(book, 400)]))
    if len(book) <= 12:  # few numbers are a matter of their own
        return
    column, proposal = drafted(values)
    assert isinstance(column, Categorical) and sorted(map(int, column.categories)) == sorted(book.tolist())
    assert any("codes" in note.text for note in proposal.notes_on("x"))


QUANTITIES: dict[str, Callable[[np.random.Generator], Any]] = {
    "normal": lambda rng: rng.normal(120, 18, ROWS).round().astype(int),
    "wide normal": lambda rng: np.abs(rng.normal(40_000, 9000, ROWS)).round().astype(int),
    "counts": lambda rng: rng.poisson(30, ROWS),
    "geometric": lambda rng: rng.geometric(0.02, ROWS),
    "even": lambda rng: rng.integers(1000, 9999, ROWS),
    "even and few": lambda rng: rng.integers(0, 120, ROWS),
    "log-normal": lambda rng: rng.lognormal(8, 1, ROWS).round().astype(int),
    "heaped": lambda rng: np.where(rng.random(ROWS) < 0.6, (x := rng.normal(500, 150, ROWS)).round(-1), x.round()).astype(int).clip(0),
    "heaped money": lambda rng: np.where(rng.random(ROWS) < 0.7, (x := rng.lognormal(10, 0.6, ROWS)).round(-3), x.round()).astype(int),
    "capped": lambda rng: rng.normal(300, 150, ROWS).round().astype(int).clip(0, 501),
    "many zeros": lambda rng: (rng.poisson(40, ROWS) * (rng.random(ROWS) < 0.3)),
    "years": lambda rng: rng.integers(1930, 2011, ROWS),
}  # fmt: skip


@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 2**32 - 1), times=st.sampled_from([1, 2, 3, 5, 7, 10, 12, 60, 1000]))
@pytest.mark.parametrize("kind", QUANTITIES)
def test_a_quantity_stays_one_in_any_unit(kind: str, seed: int, times: int) -> None:
    values = QUANTITIES[kind](np.random.default_rng(seed)) * times
    column, _ = drafted(values)
    assert isinstance(column, Continuous), kind


@pytest.mark.parametrize("times", [0.001, 0.1, 1, 1000])
def test_real_numbers_keep_the_decimals_that_their_spread_asks_for(times: float) -> None:
    rng = np.random.default_rng(5)
    for values in (rng.normal(0, 1, ROWS), rng.lognormal(0, 1, ROWS), rng.uniform(-1, 1, ROWS)):
        column, proposal = drafted(values * times)
        assert isinstance(column, Continuous) and "decimals" in column.review
        step, width = 10.0**-column.decimals, np.diff(np.quantile(values * times, [0.25, 0.75]))[0]
        assert step <= width / 100 and (step >= width / 10_000 or column.decimals == 2)
        low, high = (column.index_of(np.array([x]))[0] for x in (-0.001 * width, 0.001 * width))
        assert np.searchsorted(column.cuts, high) - np.searchsorted(column.cuts, low) < len(column.cuts) / 4
        assert any("rounded off" in n.text for n in proposal.notes_on("x")) or times == 0.001


def test_cents_and_numbers_that_recur_keep_their_decimals() -> None:
    rng = np.random.default_rng(6)
    column, _ = drafted(rng.uniform(0, 90_000, ROWS).round(2))
    assert column.decimals == 2
    fares = rng.choice(
        [7.8958, 8.05, 13.5, 26.55, 7.2292, 7.775, 31.275, 512.3292, *rng.uniform(5, 90, 30).round(4)], ROWS
    )
    assert drafted(fares)[0].decimals == 4


# Identifiers


def test_numbers_that_would_recur_by_chance_and_never_do_are_an_identifier_s() -> None:
    rng = np.random.default_rng(7)
    unique = rng.permutation(20_000)[:ROWS] + 5000
    column, proposal = drafted(unique)
    assert column is None and "there twice" in proposal.notes_on("x")[0].text
    chance = rng.integers(5000, 25_000, ROWS)
    assert isinstance(drafted(chance)[0], Continuous)
    kept, proposal = drafted(rng.choice(10**9, 200, replace=False))  # that few of so many are different says nothing
    assert isinstance(kept, Continuous) and any("--drop" in n.text for n in proposal.notes_on("x"))
    assert drafted(unique, "seconds")[0] is not None and drafted(unique, "x", targets=["x"])[0] is not None


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("patientunitstayid", "identifier"), ("pid", "identifier"), ("encounter_id", "identifier"), ("LoanID", "identifier"),
        ("hospitalid", "code"), ("admission_type_id", "code"), ("zipCode", "code"), ("NAICSP", "code"), ("icd9_code", "code"), ("room number", "code"),
        ("company", "thing"), ("clinic_name", "thing"), ("physician_name", "identifier"), ("patient_name", "identifier"),
        ("company_size", "quantity"), ("num_procedures", "quantity"), ("time_in_hospital", "quantity"), ("age_at_diagnosis", "quantity"),
        ("YearsAtCompany", "quantity"), ("cost_code", "code"), ("diagnosis_count", "quantity"), ("uric_acid", ""), ("x7", ""), ("", ""),
    ],
)  # fmt: skip
def test_names_are_read_by_their_head(name: str, meaning: str) -> None:
    assert about(name) == meaning


def test_names_are_taken_apart() -> None:
    assert words_of("patientUnitStayID") == words_of("patientunitstayid") == ("patient", "unit", "stay", "id")


def test_codes_that_hardly_anybody_shares_say_so() -> None:
    rng = np.random.default_rng(8)
    codes = rng.choice(np.arange(10_000, 99_999), 350, replace=False)
    column, proposal = drafted([*codes[:300].repeat(5), *codes[300:].repeat(12)], "zip")
    assert isinstance(column, Categorical) and len(column.categories) == 51 and column.other == OTHER
    assert any("are had by few" in n.text for n in proposal.notes_on("zip"))
    column, proposal = drafted(codes.repeat(5), "zip")
    assert column is None and f"shared by {RARE} rows" in proposal.notes_on("zip")[0].text


def test_more_codes_than_a_list_holds_are_left_out_with_the_reason() -> None:
    column, proposal = drafted(np.arange(100_000, 104_000).repeat(RARE) * 7, "sku")
    assert column is None and "group them" in proposal.notes_on("sku")[0].text


# Words among numbers


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        (lambda age: "> 89" if age > 89 else str(age), "0", "> 89"),
        (lambda age: "90+" if age >= 90 else str(age), "0", "90+"),
        (lambda age: "<40" if age < 40 else str(age), "<40", None),
        (lambda age: "under 40" if age < 40 else "over 80" if age > 80 else str(age), "under 40", "over 80"),
        (lambda age: "≤40.5" if age <= 40 else f"{age}.5", "≤40.5", None),
    ],
    ids=["above", "open", "below", "words", "decimals"],
)  # fmt: skip
def test_words_among_numbers_come_back_in_their_order(
    words: Callable[[int], str], first: str, last: str | None
) -> None:
    ages = np.random.default_rng(9).normal(65, 18, ROWS).clip(0, 110).round().astype(int)
    values = [words(int(age)) for age in ages]
    column, proposal = drafted(values)
    assert isinstance(column, Ordinal) and "categories" in column.review
    assert column.categories[0] == first and last in (None, column.categories[-1])
    numbers = [float(c) for c in column.categories if c.replace(".", "").isdigit()]
    assert numbers == sorted(numbers)
    released = back(table_of(x=values, beside=np.resize(["a", "b"], ROWS)), proposal.schema)["x"]
    same = released.astype(object).fillna("") == np.array(values, object)
    assert same.mean() > 0.99 and same[[not v.replace(".", "").isdigit() for v in values]].all()


def test_words_among_more_numbers_than_a_list_holds_are_reported() -> None:
    crp = np.random.default_rng(3).lognormal(3, 1.2, ROWS).round(1)
    column, proposal = drafted(["<1.0" if x < 1.5 else str(x) for x in crp])
    assert isinstance(column, Continuous) and column.nullable
    assert any("will count as missing: make it a list" in n.text for n in proposal.notes_on("x"))


def test_letters_among_codes_come_back_and_follow_the_numbers() -> None:
    rng = np.random.default_rng(10)
    book = ["8", "38", "250", "250.83", "410", "V45", "V58.1", "E849", "V9"]
    column, proposal = drafted(rng.choice(book, ROWS, p=[0.2, 0.2, 0.2, 0.2, 0.16, 0.01, 0.01, 0.01, 0.01]), "diag")
    assert list(column.categories) == ["8", "38", "250", "250.83", "410", "E849", "V9", "V45", "V58.1"]
    assert proposal.schema.columns[0] == column
    assert in_order(["10", "9", "A10", "A9", "010"]) == ["9", "010", "10", "A9", "A10"]


def test_a_typing_error_among_numbers_is_still_missing() -> None:
    column, proposal = drafted([*map(str, np.random.default_rng(1).poisson(30, 998)), "3o", "<5"])
    assert isinstance(column, Continuous) and column.nullable
    assert any("not numbers" in n.text for n in proposal.notes_on("x"))


# Times of day and days of the week


def clock(seed: int, step: int = 1) -> list[tuple[int, int]]:
    minutes = np.random.default_rng(seed).integers(0, 24 * 60 // step, ROWS) * step
    return [divmod(int(m), 60) for m in minutes]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([f"{h:02d}:{m:02d}" for h, m in clock(1)], Datetime),
        ([f"{h:02d}:{m:02d}:00" for h, m in clock(2)], Datetime),
        ([f"{h:02d}:{m:02d}:{(7 * m + h) % 60:02d}" for h, m in clock(3)], Datetime),
        ([f"{h}:{m:02d}" for h, m in clock(4)], Ordinal),
        ([f"{h:02d}:{m:02d}" for h, m in clock(5, 15)], Ordinal),
        ([f"{h:02d}:00" for h, _ in clock(6)], Ordinal),
        ([f"2000-01-01 {h:02d}:{m:02d}:00" for h, m in clock(7)], Datetime),
        ([f"1900-01-01 {h:02d}:{m:02d}:00" for h, m in clock(8)], Datetime),
        ([f"2024-03-{4 + h % 7:02d}" for h, _ in clock(9)], Datetime),
        (np.array(["Wednesday", "Monday", "Sunday"])[[h % 3 for h, _ in clock(10)]].tolist(), Ordinal),
        (np.array(["fri", "tue", "mon"])[[h % 3 for h, _ in clock(11)]].tolist(), Ordinal),
    ],
    ids=["time", "with seconds", "to the second", "not padded", "quarters", "hours", "a day", "a placeholder", "a week", "names", "short names"],
)  # fmt: skip
def test_times_of_day_come_back_as_they_are_written(values: list[str], kind: type) -> None:
    column, proposal = drafted(values)
    assert isinstance(column, kind) and column.review
    table = table_of(x=values, beside=np.resize(["a", "b"], ROWS))
    released = back(table, proposal.schema)["x"]
    if released.dtype.kind == "M":
        assert (released == pd.to_datetime(table["x"])).all()
        assert column.upper - column.lower < pd.Timedelta(days=7)
    elif column.size > 2000:  # a day has more seconds than a column cells
        assert all(datetime.strptime(v, column.format) for v in released)
        apart = pd.to_timedelta(released) - pd.to_timedelta(table["x"])
        assert apart.abs().max() < pd.Timedelta(minutes=1)
    else:
        assert released.tolist() == values


def test_calendar_names_stand_in_the_order_of_the_calendar() -> None:
    column, _ = drafted(["Sunday", "Monday", "Saturday"] * 40)
    assert column.categories == ("Monday", "Saturday", "Sunday")
    column, _ = drafted(["dec", "jan", "may"] * 40 + ["feb", "feb"])  # of few persons: all of the year are listed
    assert column.categories[:2] == ("jan", "feb") and len(column.categories) == 12


def test_a_format_of_times_has_no_day() -> None:
    day = datetime(1900, 1, 1)
    column = Datetime(name="t", lower=day, upper=day.replace(hour=23, minute=59), resolution="minute", format="%H:%M")
    schema = Schema(columns=(column,))
    assert column.summary == "00:00 to 23:59"
    values = pd.Series(["13:45", "2024-05-05 13:45", "24:00", "x"])
    codes = encode(pd.DataFrame({"t": values}), Schema(columns=(Datetime(**{**vars_of(column), "nullable": True}),)))
    assert codes.values[:, 0].tolist() == [825, 825, 1440, 1440]
    assert decode(np.array([[825]]), schema, np.random.default_rng(0))["t"].tolist() == ["13:45"]
    for wrong in (
        {"lower": datetime(2020, 1, 1), "upper": datetime(2020, 1, 2)},
        {"resolution": "day"},
        {"resolution": "second"},
    ):
        with pytest.raises(SchemaError):
            Datetime(**{**vars_of(column), **wrong})  # type: ignore[arg-type]


def vars_of(column: Datetime) -> dict[str, Any]:
    return {name: getattr(column, name) for name in ("name", "lower", "upper", "resolution", "format")}


# How numbers lie


def test_how_numbers_lie() -> None:
    rng = np.random.default_rng(11)
    bell = dict(
        zip(
            *(x.tolist() for x in np.unique(rng.normal(500, 50, 20_000).round().astype(int), return_counts=True)),
            strict=True,
        )
    )
    codes = {int(x): 50 for x in rng.choice(90_000, 200, replace=False)}
    assert apart(bell) < 2 < 8 < apart(codes)
    assert (
        alike(bell) > 0.8 > 0.5 > abs(alike({k: int(n) for k, n in zip(codes, rng.integers(10, 90, 200), strict=True)}))
    )
    values = rng.integers(0, 50_000, 5000)
    counts = dict(zip(*(x.tolist() for x in np.unique(values, return_counts=True)), strict=True))
    seen, expected = repeats(counts, 5000)
    assert 0.7 < seen / expected < 1.4
    assert apart({}) == apart({5: 3}) or apart({5: 3}) > 0
    assert (alike({}), repeats({}, 0)) == (0.0, (0, 0.0))


def test_nothing_of_few_is_written_down() -> None:
    """Neither a code, nor a number, nor a word among numbers that few have."""
    rng = np.random.default_rng(12)
    book = rng.choice(np.arange(10_000, 99_999), 30, replace=False)
    table = table_of(
        zip=[*rng.choice(book, ROWS), "31337"],
        age=[*("> 89" if x > 89 else str(x) for x in rng.integers(20, 100, ROWS)), "> 117"],
        t=[*(f"{h:02d}:{m:02d}" for h, m in clock(1)), "2:22:22"],
    )
    text = render(draft([table], "t"))
    assert "31337" not in text and "117" not in text and "2:22" not in text
    assert all(word in text for word in ("> 89", str(book[0])))
