"""Tables as people have them: what a draft proposes for codes, scales, lattices, placeholders and dates, and what comes back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Boolean, Categorical, Column, Continuous, Datetime
from cohortium.data.columns.moments import first_of, pattern_of
from cohortium.data.columns.patterns import trouble, written
from cohortium.data.conditions.constraints import Order
from cohortium.data.conditions.parsing import selected
from cohortium.data.conditions.repair import places, repaired
from cohortium.data.encoding import codes_at, decode, draw_indices, encode
from cohortium.data.readers.tables import read_parts, read_table
from cohortium.data.schema import Schema, schema_from_document, to_document
from cohortium.drafting.checking import Misfit, fit
from cohortium.drafting.draft import Draft, draft
from cohortium.drafting.rendering import render
from cohortium.errors import SchemaError
from cohortium_client.source.source import Source, load_source

RNG = np.random.default_rng(7)
START = RNG.bit_generator.state
ROWS = 600


@pytest.fixture(autouse=True)
def _begin_again() -> None:
    """Every test draws the same, in whatever order they run."""
    RNG.bit_generator.state = START


def csv(path: Path, values: Sequence[Any]) -> Path:
    file = path / "t.csv"
    file.write_text("sex,x\n" + "".join(f"{'mf'[i % 2]},{v}\n" for i, v in enumerate(values)), encoding="utf-8")
    return file


def parquet(path: Path, values: Any) -> Path:
    file = path / "t.parquet"
    array = values if isinstance(values, pa.Array) else pa.array(values)
    pq.write_table(pa.table({"sex": ["m", "f"] * (len(array) // 2), "x": array}), file)
    return file


def drafted(file: Path) -> tuple[Any, Draft]:
    """The column x of a draft, as its text says it, without marks."""
    proposal = draft(read_parts(file), "t")
    assert schema_from_document(to_document(proposal.schema)) == proposal.schema
    return next((c for c in proposal.schema.reviewed().columns if c.name == "x"), None), proposal


def round_trip(file: Path) -> tuple[pd.Series, pd.Series, Any]:
    """What the file says, what comes back of its very rows, and the column."""
    column, proposal = drafted(file)
    table = read_table(file)
    codes = encode(table, proposal.schema)
    assert codes.left_out == 0
    return table["x"], decode(codes.values, proposal.schema, np.random.default_rng(1))["x"], column


def shuffled(values: Sequence[Any]) -> list[Any]:
    return [values[i] for i in RNG.permutation(len(values))]


def misfit(file: Path, column: Column) -> Misfit:
    sex = Categorical(name="sex", categories=("f", "m"))
    found = fit(read_parts(file), Schema(columns=(sex, column))).misfits
    return next((m for m in found if m.column == "x"), Misfit("x"))


# Codes


CODES = {
    "icd": ["401", "401.0", "401.00", "250.0", "V45.0", "E849"],
    "icd of digits": ["401", "401.0", "401.00", "250.0"],
    "icd with other zeros": ["250.00", "401.9", "272.4"],
    "sections": ["1.1", "1.10", "1.2", "2.1"],
    "versions": ["1.2.3", "1.10.2", "1.2.10", "2.0.0"],
    "area codes": ["01234", "1234", "01235", "99999"],
    "results": ["+", "-", "++"],
    "grades": ["+1", "-1", "0", "1"],
    "whole as floats": ["0.0", "1.0", "2.0"],
}


@pytest.mark.parametrize("words", CODES.values(), ids=CODES)
def test_codes_are_kept_apart(tmp_path: Path, words: list[str]) -> None:
    given_, back, column = round_trip(csv(tmp_path, shuffled(words * (ROWS // len(words)))))
    assert isinstance(column, Categorical) and sorted(column.categories) == sorted(words)
    assert back.tolist() == given_.tolist()


@pytest.mark.parametrize("source", ["csv", "parquet", "sqlite"])
def test_codes_are_kept_apart_in_every_source(tmp_path: Path, source: str) -> None:
    words = CODES["icd of digits"]
    values = pd.Series(words * 30, dtype=object)
    schema = Schema(columns=(Categorical(name="x", categories=tuple(words)), Boolean(name="y")))
    table = pd.DataFrame({"x": values, "y": [True, False] * 60})
    if source == "sqlite":
        with sqlite3.connect(tmp_path / "t.sqlite") as connection:
            connection.execute("CREATE TABLE t (x TEXT, y TEXT)")
            connection.executemany(
                "INSERT INTO t VALUES (?, ?)", [(x, str(y)) for x, y in table.itertuples(index=False)]
            )
        reported = Source(url="sqlite:///t.sqlite", query="SELECT x, y FROM t")
    else:
        getattr(table, f"to_{source}")(tmp_path / f"t.{source}", index=False)
        reported = Source(path=f"t.{source}")
    assert load_source(reported, tmp_path, schema).values[:, 0].tolist() == [words.index(w) for w in values]


def test_conditions_keep_codes_apart() -> None:
    words = ("401", "401.0", "401.00", "+", "+1")
    schema = Schema(columns=(Categorical(name="x", categories=words),))
    for place, word in enumerate(words):
        assert selected(schema, {"x": word})[0].ranges == ((place, place),)
        assert selected(schema, [f"x={word}"])[0].ranges == ((place, place),)
    assert selected(schema, {"x": 401})[0].ranges == ((0, 0),)


def test_check_reports_codes_that_are_only_alike(tmp_path: Path) -> None:
    other = Categorical(name="x", categories=("401", "250", "__OTHER__"), other="__OTHER__")
    found = misfit(csv(tmp_path, ["401", "401.0", "250", "250.00", "V1"] * 10), other)
    assert found.silent == {"like a category but for how they are written": (20, 2)}
    assert "401 is not 401.0" in found.fix


# Scales and lattices


def test_small_numbers_are_kept_to_their_digits(tmp_path: Path) -> None:
    words = [f"{x:.3e}" for x in np.exp(RNG.normal(-20, 1, ROWS))] + ["1.000e-09"] * 10
    given_, back, column = round_trip(csv(tmp_path, words))
    assert isinstance(column, Continuous)
    apart = np.abs(back.to_numpy() / given_.astype(float).to_numpy() - 1)
    assert np.quantile(apart, 0.9) < 0.02 and (back > 0).all()


@pytest.mark.parametrize("low", [-12, -30, 3])
def test_numbers_over_many_powers_of_ten_keep_their_own_decimals(tmp_path: Path, low: int) -> None:
    words = [f"{x:.2e}" for x in 10.0 ** RNG.uniform(low, low + 20, ROWS)] + ["0"] * 30
    given_, back, column = round_trip(csv(tmp_path, words))
    assert isinstance(column, Continuous) and column.digits == 3 and column.special == (0.0,)
    numbers = given_.astype(float).to_numpy()
    inside = (numbers >= column.lower) & (numbers <= column.upper)
    assert inside.sum() >= ROWS - 20
    assert (np.abs(back.to_numpy()[inside] / numbers[inside] - 1) < 0.1).all()
    assert all(float(f"{x:.2e}") == x for x in back) and (back[numbers == 0] == 0).all()


LATTICES: dict[str, tuple[Callable[[], list[Any]], Callable[[float], bool]]] = {
    "thousands": (lambda: [str(1000 * k) for k in RNG.integers(20, 150, ROWS)], lambda x: x % 1000 == 0),
    "prices in .99": (lambda: [f"{k}.99" for k in RNG.integers(1, 80, ROWS)], lambda x: round(x % 1, 6) == 0.99),
    "prices in .49, .95 and .99": (
        lambda: [f"{k}.{e}" for k, e in zip(RNG.integers(1, 80, ROWS), RNG.choice([49, 95, 99], ROWS), strict=True)],
        lambda x: round(x % 1, 6) in (0.49, 0.95, 0.99),
    ),
    "quarters": (lambda: [str(k / 4) for k in RNG.integers(0, 90, ROWS)], lambda x: x * 4 == int(x * 4)),
    "clock": (
        lambda: [str(h * 100 + m) for h, m in zip(RNG.integers(0, 24, ROWS), RNG.integers(0, 60, ROWS), strict=True)],
        lambda x: 0 <= x < 2400 and x % 100 < 60,
    ),
    "months": (
        lambda: [
            str(y * 100 + m) for y, m in zip(RNG.integers(2015, 2023, ROWS), RNG.integers(1, 13, ROWS), strict=True)
        ],
        lambda x: 1 <= x % 100 <= 12,
    ),
    "one odd": (lambda: ["777.77", *(str(500 * k) for k in RNG.integers(2, 90, ROWS - 1))], lambda x: x % 500 == 0),
}


@pytest.mark.parametrize("kind", LATTICES)
def test_lattices_are_kept(tmp_path: Path, kind: str) -> None:
    made, on = LATTICES[kind]
    given_, back, column = round_trip(csv(tmp_path, made()))
    assert isinstance(column, Continuous) and column.step
    table = decode(RNG.integers(0, column.size, (500, 1)), Schema(columns=(column,)), np.random.default_rng(0))[
        "x"
    ].dropna()
    assert all(on(float(x)) for x in (*back.dropna(), *table))
    assert (table >= column.lower).all() and (table <= column.upper).all()
    same = back.astype(float).to_numpy() == given_.astype(float).to_numpy()
    assert same.mean() > (0.97 if column.grid <= 1024 else 0.3)


def test_an_ending_of_few_persons_is_not_written_down(tmp_path: Path) -> None:
    words = [f"{k}.{e}" for k, e in zip(RNG.integers(1, 80, ROWS), RNG.choice([49, 95, 99], ROWS), strict=True)]
    column, proposal = drafted(csv(tmp_path, [*words, "17.37", "17.37", "17.37"]))
    assert column.endings == (0.49, 0.95, 0.99) and ".37" not in render(proposal)


def test_no_lattice_is_seen_by_chance(tmp_path: Path) -> None:
    for k in range(20):
        rng = np.random.default_rng(k)
        for values in (rng.integers(0, 100, 40), rng.integers(0, 10**6, 40), rng.normal(50, 9, 60).round(2)):
            column, _ = drafted(csv(tmp_path, [*values, *values[:20]]))
            assert column is None or getattr(column, "step", None) is None


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16(), pa.float64()], ids=str)
def test_numbers_of_single_precision_have_their_decimals(tmp_path: Path, kind: Any) -> None:
    numbers = RNG.integers(-99, 99, ROWS) / (10 if kind == pa.float16() else 100)
    file = parquet(
        tmp_path, pa.array(numbers).cast(kind) if kind != pa.float16() else pa.array(numbers.astype(np.float16))
    )
    given_, back, column = round_trip(file)
    assert column.decimals == (1 if kind == pa.float16() else 2)
    assert back.tolist() == given_.tolist() == numbers.tolist()


def test_whole_numbers_that_are_floats_stay_floats(tmp_path: Path) -> None:
    for file in (csv(tmp_path, [f"{k * k % 211}.0" for k in range(ROWS)]), parquet(tmp_path, np.arange(ROWS) % 77.0)):
        given_, back, _ = round_trip(file)
        assert back.dtype == np.float64 and back.tolist() == given_.astype(float).tolist()


@pytest.mark.parametrize("code", ["-999", "9999", "-9", "999.0"])
def test_codes_among_numbers_are_values_of_their_own(tmp_path: Path, code: str) -> None:
    numbers = [f"{x:.1f}" for x in RNG.normal(100, 12, ROWS)]
    given_, back, column = round_trip(csv(tmp_path, shuffled([*numbers, *[code] * 14])))
    assert isinstance(column, Continuous) and column.special == (float(code),)
    assert column.lower >= 0 and column.upper < 300
    assert ((back == float(code)) == (given_ == code)).all()
    assert "special" in draft(read_parts(tmp_path / "t.csv"), "t").schema.columns[1].review


def test_a_code_that_few_have_is_shown_and_not_written_down(tmp_path: Path) -> None:
    file = csv(tmp_path, [*(str(x) for x in RNG.integers(20, 90, ROWS)), "9999", "9999"])
    column, proposal = drafted(file)
    assert column.special == () and "9999" not in render(proposal)
    assert any("9999" in note.seen for note in proposal.notes)
    found = misfit(file, column)
    assert found.beyond == 2 and "special" in found.fix
    declared = Continuous(name="x", lower=0, upper=120, special=(9999,))  # however rare
    assert misfit(file, declared) == Misfit("x")
    table = read_table(file)
    schema = Schema(columns=(declared,))
    assert decode(encode(table, schema).values, schema, np.random.default_rng(0))["x"].tolist() == [
        int(x) for x in table["x"]
    ]


def test_ages_to_ninety_nine_are_ages(tmp_path: Path) -> None:
    column, _ = drafted(csv(tmp_path, [str(x) for x in np.arange(5000) % 100]))
    assert column.special == () and column.upper >= 99


def test_infinite_numbers_are_missing_and_reported(tmp_path: Path) -> None:
    words = shuffled(["inf", "-inf", "Infinity", "-0.0"] * 20 + [f"{x:.1f}" for x in RNG.uniform(1, 9, ROWS)])
    file = csv(tmp_path, words)
    given_, back, column = round_trip(file)
    infinite = given_.str.contains("inf", case=False)
    assert column.nullable and column.upper < 20
    assert (back.isna() == infinite).all()
    assert not np.signbit(back[given_ == "-0.0"]).any()
    found = misfit(file, column)
    assert found.silent["infinite"] == (60, int(infinite.to_numpy().argmax()) + 1) and found.unreadable == 0


def test_check_reports_what_is_rounded_and_where(tmp_path: Path) -> None:
    column = Continuous(name="x", lower=0, upper=100, decimals=1)
    found = misfit(csv(tmp_path, ["1.0", "2.5", "0.30000000000000004", "7.25", "9.99", "1e-9"]), column)
    assert found.silent == {"between two values of its grid": (3, 4)}
    assert "decimals" in found.fix
    assert misfit(csv(tmp_path, ["1.0", "2.5", "0.30000000000000004"]), column) == Misfit("x")


def test_places_are_counted_over_parts() -> None:
    column = Continuous(name="x", lower=0, upper=100)
    parts = [pd.DataFrame({"x": ["1", "2"]}), pd.DataFrame({"x": ["3", "4.5"]}), pd.DataFrame({"x": ["5.5"]})]
    (found,) = fit(parts, Schema(columns=(column,))).misfits
    assert found.silent == {"between two values of its grid": (2, 4)}


def test_numbers_too_large_or_too_small_to_tell_apart_are_reported(tmp_path: Path) -> None:
    for words, reason in (
        ([str(2**63 + int(k)) for k in RNG.integers(0, 40, ROWS)], "too large"),
        ([f"-{k}e-30" for k in RNG.integers(1, 40, ROWS)], "too small"),
    ):
        column, proposal = drafted(csv(tmp_path, words))
        assert column is None and reason in render(proposal)


# Truth


@pytest.mark.parametrize(
    "words",
    [["TRUE", "FALSE"], ["true", ""], ["True", ""], ["N", "Y", ""], ["yes", "no"], ["1", ""], ["1.0", "0.0", ""]],
    ids=str,
)
def test_truth_comes_back_as_it_is_spelt(tmp_path: Path, words: list[str]) -> None:
    given_, back, column = round_trip(csv(tmp_path, shuffled(words * (ROWS // len(words)))))
    assert isinstance(column, Categorical if words[0].startswith("1") else Boolean)
    assert ["" if pd.isna(x) else str(x) for x in back] == given_.tolist()


def test_a_spelling_is_one_of_false_and_one_of_true() -> None:
    assert Boolean(name="x", spelling=("NO", "YES")).spelling == ("NO", "YES")
    for spelling in (("yes", "no"), ("nein", "ja"), ("", "true")):
        with pytest.raises(SchemaError):
            Boolean(name="x", spelling=spelling)


# Dates


DAYS = [str(d) for d in (np.datetime64("2019-01-01") + RNG.integers(0, 1400, ROWS))]


def as_written(pattern: str) -> list[str]:
    return [date.fromisoformat(d).strftime(pattern) for d in DAYS]


def test_placeholder_days_are_values_of_their_own(tmp_path: Path) -> None:
    words = shuffled([*DAYS, *["9999-12-31"] * 50, *["0001-01-01"] * 10, *["1900-01-01"] * 12])
    given_, back, column = round_trip(csv(tmp_path, words))
    assert column.special == (datetime(1, 1, 1), datetime(1900, 1, 1), datetime(9999, 12, 31))
    assert (column.lower.year, column.upper.year) == (2017, 2024) and column.cuts[1] - column.cuts[0] == 1
    assert [str(d)[:10] for d in back] == given_.tolist()


def test_an_epoch_among_birthdays_is_a_value_of_its_own(tmp_path: Path) -> None:
    born = [str(d) for d in (np.datetime64("1930-01-01") + RNG.integers(0, 25_000, 3000))]
    given_, back, column = round_trip(csv(tmp_path, shuffled([*born, *["1970-01-01"] * 60])))
    assert column.special == (datetime(1970, 1, 1),)
    assert ((back == pd.Timestamp("1970-01-01")) == (given_ == "1970-01-01")).all()
    drawn = decode(np.arange(column.values - 1)[:, None], Schema(columns=(column,)), np.random.default_rng(0))["x"]
    assert pd.Timestamp("1970-01-01") not in set(drawn)


@pytest.mark.parametrize(
    "odd", ["2021-03-12 10:00:00.123456789", "2021-03-12T10:00:00+02:00", "soon", "2020-13-45", "0000-00-00", "x" * 300]
)
def test_one_odd_cell_drops_no_column(tmp_path: Path, odd: str) -> None:
    column, _ = drafted(csv(tmp_path, [odd, *DAYS, *["9999-12-31"] * 20]))
    assert isinstance(column, Datetime) and column.resolution == "day" and column.special == (datetime(9999, 12, 31),)
    column, _ = drafted(csv(tmp_path, [odd, *(str(k) for k in RNG.integers(0, 500, ROWS))]))
    assert isinstance(column, Continuous) and column.upper < 2000
    column, _ = drafted(csv(tmp_path, [odd, *["a", "b"] * 300]))
    assert isinstance(column, Categorical) and column.categories[:2] in (("a", "b"), ("__OTHER__", "a"))


@pytest.mark.parametrize("whole", [False, True])
def test_days_as_whole_numbers_are_days(tmp_path: Path, whole: bool) -> None:
    words = as_written("%Y%m%d") + ["99991231"] * 20
    file = parquet(tmp_path, [int(w) for w in words]) if whole else csv(tmp_path, words)
    given_, back, column = round_trip(file)
    assert isinstance(column, Datetime) and column.format == "%Y%m%d" and column.special == (datetime(9999, 12, 31),)
    assert back.tolist() == [int(x) for x in given_] and back.dtype == np.int64
    drawn = decode(RNG.integers(0, column.size, (900, 1)), Schema(columns=(column,)), np.random.default_rng(0))["x"]
    for number in drawn:
        assert column.lower <= datetime.strptime(str(number), "%Y%m%d") <= column.upper or number == 99991231


@pytest.mark.parametrize("pattern", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%y"])
def test_the_day_or_the_month_comes_first_as_the_column_says(tmp_path: Path, pattern: str) -> None:
    given_, back, column = round_trip(csv(tmp_path, as_written(pattern)))
    assert column.format == pattern and back.tolist() == given_.tolist()
    assert misfit(tmp_path / "t.csv", column) == Misfit("x")


@pytest.mark.parametrize(
    ("patterns", "note"),
    [(("%d/%m/%Y", "%m/%d/%Y"), "some the month"), (("%d/%m/%Y",), "unclear")],
    ids=["both", "neither"],
)
def test_what_is_unclear_is_asked_in_draft_and_check(tmp_path: Path, patterns: tuple[str, ...], note: str) -> None:
    days = [date.fromisoformat(d) for d in DAYS]
    days = [d for d in days if len(patterns) > 1 or d.day <= 12]
    file = csv(tmp_path, [d.strftime(patterns[i // 3 % len(patterns)]) for i, d in enumerate(days)])
    column, proposal = drafted(file)
    assert isinstance(column, Datetime) and column.format == "" and note in render(proposal)
    unclear = sum(d.day <= 12 and d.day != d.month for d in days)
    found = misfit(file, column)
    assert found.silent.get("dates of which the day may be the month", (0, 0))[0] == unclear and "format" in found.fix


def test_a_minute_or_an_hour_is_a_lattice_too(tmp_path: Path) -> None:
    for pattern, resolution in (
        ("%Y-%m-%d %H:%M", "minute"),
        ("%Y-%m-%dT%H:00:00", "hour"),
        ("%Y-%m-%d 00:00:00", "day"),
    ):
        moments = np.datetime64("2019-01-01T00:00") + RNG.integers(0, 10**6, ROWS).astype("timedelta64[m]")
        column, _ = drafted(csv(tmp_path, [m.strftime(pattern) for m in moments.tolist()]))
        assert isinstance(column, Datetime) and column.resolution == resolution


def test_first_of() -> None:
    words = {"13/05/2020": "day", "05/13/2020": "month", "05/06/2020": "", "05/05/2020": None, "2020-05-13": None}
    assert {w: first_of(w) for w in words} == words
    assert first_of("13.13.2020") is None and first_of("40/01/2020") is None
    assert pattern_of("13/05/2020 10:30", "day") == "%d/%m/%Y %H:%M"
    assert pattern_of("13/05/2020 x", "day") is None


@given(st.dates(), st.sampled_from(["%Y%m%d", "%d/%m/%Y", "%m-%d-%Y", "%Y.%m.%d"]))
@settings(deadline=None)
def test_a_day_is_read_as_it_is_written(day: date, pattern: str) -> None:
    column = Datetime(name="x", lower=datetime(1, 1, 1), upper=datetime(9999, 12, 31), format=pattern, bins=4)
    text = written(datetime(day.year, day.month, day.day), pattern)
    table = pd.DataFrame({"x": [text, day.isoformat()]})
    from cohortium.data.encoding import indices, table_at

    schema = Schema(columns=(column, Boolean(name="y")))
    index = indices(table.assign(y=True), schema)
    assert index[:, 0].tolist() == [(day - date(1, 1, 1)).days] * 2
    assert str(table_at(index, schema)["x"][0]).zfill(8) == text


@pytest.mark.parametrize("pattern", ["%d/%m", "%Y%m", "%d/%m/%Y%", "%d/%m/%Y %d", "%Q%Y", "DD.MM.YYYY", "%H:%M"])
def test_a_format_says_the_whole_day(pattern: str) -> None:
    assert trouble(pattern, "day")
    with pytest.raises(SchemaError):
        Datetime(name="x", lower=datetime(2020, 1, 1), upper=datetime(2021, 1, 1), format=pattern)
    assert trouble("%d/%m/%Y", "minute") and not trouble("%d/%m/%Y %H:%M", "minute")


def test_conditions_on_days_as_they_are_written() -> None:
    column = Datetime(
        name="x",
        lower=datetime(2019, 1, 1),
        upper=datetime(2020, 12, 31),
        format="%d/%m/%Y",
        special=(datetime(9999, 12, 31),),
    )
    schema = Schema(columns=(column,))
    for text in ("05/03/2020", "2020-03-05"):
        assert selected(schema, {"x": text})[0].ranges == ((429, 429),)
    assert selected(schema, {"x": "9999-12-31"})[0].ranges == ((731, 731),)
    assert selected(schema, ["x>=2020-12-30"])[0].ranges == ((729, 730),)
    assert selected(schema, ["x!=2020"])[0].ranges == ((0, 364), (731, 731))


def test_an_order_is_not_broken_by_a_placeholder() -> None:
    still_here = datetime(9999, 12, 31)
    days = [
        Datetime(name=name, lower=datetime(2019, 1, 1), upper=datetime(2020, 12, 31), special=special)
        for name, special in (("came", (datetime(1900, 1, 1),)), ("left", (still_here,)))
    ]
    schema = Schema(columns=tuple(days), constraints=(Order(columns=("came", "left")),))
    came = ["2019-05-01", "2020-05-01", "1900-01-01", "2020-05-01"]
    table = pd.DataFrame({"came": came, "left": ["9999-12-31", "2019-05-01", "2019-01-01", "2020-05-01"]})
    assert (encode(table, schema).left_out, len(encode(table, schema))) == (1, 3)
    rng, last = np.random.default_rng(0), days[1].values - 1
    codes = np.column_stack([rng.integers(0, days[0].values, 300), rng.choice([0, 400, last], 300)]).astype(np.int16)
    index, good = repaired(schema, places(schema, codes), draw_indices(codes, schema, rng), rng)
    assert good[codes[:, 1] == last].all() and good[codes[:, 0] == days[0].values - 1].all()
    assert (codes_at(index, schema)[good] == codes[good]).all()
