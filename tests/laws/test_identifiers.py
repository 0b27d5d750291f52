"""Laws of persons: who is one person, whatever the type, the part and the source; and never two who are one."""

from __future__ import annotations

import sqlite3
import unicodedata
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Boolean
from cohortium.data.encoding import encode, encode_parts
from cohortium.data.identifiers import MAX_IDENTIFIER, identifier, identifiers_of, numbered
from cohortium.data.schema import Schema
from cohortium.errors import StudyError
from cohortium.study.generators import Sweep
from cohortium.study.study import Institution, Privacy, Study
from cohortium_client.source.source import Source, load_source
from cohortium_simulation.experiment import _check_persons
from cohortium_simulation.partition import iid

SCHEMA = Schema(person="who", columns=(Boolean(name="x"),))
PUBLISHED = ("8f906ebb593a9651", "0bb054dabd7e0fd1")  # one hash under the key that pandas uses everywhere
TEXTS = st.text(max_size=8) | st.sampled_from(["é", "e\u0301", "12", "12.0", " 12", "012", "-0", "0", "NA", "Ab", "ab"])


def persons(*values: Any, dtype: Any = object) -> list[int]:
    table = pd.DataFrame({"who": pd.Series(list(values), dtype=dtype), "x": True})
    return encode(table, SCHEMA).persons.tolist()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[
            (v, "12")
            for v in (12, 12.0, np.int8(12), np.float32(12), Decimal("12.00"), "12", "12.0", "12.", " 12\t", b"12")
        ],
        *[(v, "0") for v in (0, -0.0, "0", "-0", "-0.0", Decimal("-0"))],
        *[(v, "-7") for v in (-7, -7.0, "-7.000")],
        *[(v, "1.5") for v in (1.5, "1.5", Decimal("1.5"), np.float32(1.5))],
        (2**60 + 1, "1152921504606846977"),
        (Decimal("9007199254740993"), "9007199254740993"),
        (1e16, "10000000000000000"),
        ("007", "007"),
        ("007.0", "007"),
        ("7", "7"),
        ("Ab", "Ab"),
        ("1e3", "1e3"),
        ("e\u0301\u00a0", "é"),
        ("é".encode(), "é"),
        (b"\xff\x00", "\\xff00"),
        (UUID(int=10), "00000000-0000-0000-0000-00000000000a"),
        (True, "True"),
        *[(v, None) for v in (None, "", "  ", "NA", " null ", np.nan, float("nan"), pd.NaT, pd.NA, Decimal("NaN"))],
        *[(v, None) for v in ("a\0b", [1], {"a": 1})],
    ],
)
def test_the_rule(value: object, text: str | None) -> None:
    assert identifier(value) == text


def test_what_is_no_identifier_is_nobodys() -> None:
    for value in ("\ud800", "a" * (MAX_IDENTIFIER + 1), 10**5000, -(10**5000)):
        assert identifier(value) is None
    assert identifier("a" * MAX_IDENTIFIER) == "a" * MAX_IDENTIFIER


@given(number=st.integers(-(2**53), 2**53))
def test_a_whole_number_is_one_person_whatever_its_type(number: int) -> None:
    forms = [number, float(number), Decimal(number), str(number), f" {number}.0 ", f"{number}.00", str(number).encode()]
    assert len(set(persons(*forms))) == 1
    for dtype in ("int64", "float64", "Int64", "str", object):
        alone = identifiers_of(pd.Series([number], dtype=dtype)).distinct.to_pylist()
        assert alone == [str(number)]


@given(text=TEXTS)
def test_a_text_is_one_person_in_any_normal_form_and_between_blanks(text: str) -> None:
    forms = [text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text), f"  {text}\n"]
    assert len({identifier(form) for form in forms}) == 1
    once = identifier(text)
    assert once is None or identifier(once) == once


@settings(max_examples=examples(200))
@given(values=st.lists(TEXTS | st.integers(-9, 9) | st.floats(-3, 3) | st.none(), max_size=30), cut=st.integers(0, 30))
@example(values=["a\0b", "a\0c", "a"], cut=1)
@example(values=[1, 1.0, True, "True", "1"], cut=2)
@example(values=[-0.0, 0, "0"], cut=3)
def test_rows_are_one_persons_if_and_only_if_their_identifiers_are_the_same(values: list[Any], cut: int) -> None:
    table = pd.DataFrame({"who": pd.Series(values, dtype=object), "x": True})
    expected = [t for t in map(identifier, values) if t is not None]
    for codes in (encode(table, SCHEMA), encode_parts([table[:cut], table[cut:]], SCHEMA)):
        assert codes.left_out == len(values) - len(expected)
        found = codes.persons.tolist()
        assert len(set(zip(found, expected, strict=True))) == len(set(found)) == len(set(expected))


def test_the_published_pair_is_two_persons() -> None:
    assert len(set(persons(*PUBLISHED))) == 2
    assert len(set(persons(*PUBLISHED, dtype="str"))) == 2


@pytest.mark.parametrize("words", [False, True])
def test_no_two_of_many_persons_are_one(words: bool) -> None:
    """Of as many, some thousands would collide in 24 bits, and some in 32."""
    parts = []
    for start in range(0, 300_000, 50_000):
        numbers = pd.Series(range(start, start + 50_000))
        parts.append(pd.DataFrame({"who": numbers.astype("str") if words else numbers, "x": True}))
    codes = encode_parts(parts, SCHEMA)
    assert len(np.unique(codes.persons)) == 300_000
    assert codes.persons.max() < 300_000


def test_adding_a_person_moves_nobody_to_another() -> None:
    alone, more = persons("a", "b", "a"), persons("z", "a", "b", "a")
    assert (alone[0] == alone[2]) and (more[1] == more[3])
    assert len(set(alone)) == 2 and len(set(more)) == 3


def test_rows_without_parts_are_their_own_persons() -> None:
    assert numbered([None], 3).tolist() == [0, 1, 2]
    assert numbered([], 0).tolist() == []


# Sources


def _csv(folder: Path, values: list[Any]) -> Source:
    pd.DataFrame({"who": pd.Series(values, dtype=object), "x": True}).to_csv(folder / "t.csv", index=False)
    return Source(path="t.csv")


def _parquet(kind: pa.DataType) -> Any:
    def written(folder: Path, values: list[Any]) -> Source:
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            values = [None if v is None else str(v) for v in values]
        elif pa.types.is_decimal(kind):
            values = [None if v is None else Decimal(v) for v in values]
        pq.write_table(pa.table({"who": pa.array(values).cast(kind), "x": [True] * len(values)}), folder / "t.parquet")
        return Source(path="t.parquet")

    return written


def _sqlite(folder: Path, values: list[Any]) -> Source:
    with closing(sqlite3.connect(folder / "t.sqlite")) as connection:
        connection.execute("CREATE TABLE t (who, x)")
        connection.executemany("INSERT INTO t VALUES (?, 1)", [(v,) for v in values])
        connection.commit()
    return Source(url="sqlite:///t.sqlite", query="SELECT who, x FROM t")


KINDS = [pa.int64(), pa.float64(), pa.decimal128(20, 2), pa.string(), pa.binary(), pa.large_string()]


@pytest.mark.parametrize("put", [_csv, _sqlite, *map(_parquet, KINDS)], ids=["csv", "sqlite", *map(str, KINDS)])
def test_persons_are_the_same_wherever_they_lie(put: Any, tmp_path: Path) -> None:
    values = [12, 7, None, 12, 9007199254740992, 7, -3]
    codes = load_source(put(tmp_path, values), tmp_path, SCHEMA)
    assert (codes.persons.tolist(), codes.left_out) == ([0, 1, 0, 2, 1, 3], 1)


# Simulations go by the same rule


def test_a_split_keeps_all_forms_of_a_person_together() -> None:
    forms = [f for i in range(40) for f in (i, f"{i}.0", f" {i}", float(i))]
    table = pd.DataFrame({"who": pd.Series(forms, dtype=object), "x": True})
    split = iid(table, 4, np.random.default_rng(0), "who")
    homes = {identifier(v): name for name, part in split.items() for v in part["who"]}
    for name, part in split.items():
        assert {homes[identifier(v)] for v in part["who"]} <= {name}
    assert sum(map(len, split.values())) == 160


def test_a_person_in_two_institutions_is_found_in_any_form() -> None:
    study = Study(
        name="s",
        schema=SCHEMA,
        privacy=Privacy(epsilon=1.0, delta=1e-6),
        generator=Sweep(),
        institutions=(Institution(name="a"), Institution(name="b")),
    )
    tables = {"a": pd.DataFrame({"who": [12, 13], "x": True}), "b": pd.DataFrame({"who": ["12.0", "14"], "x": True})}
    with pytest.raises(StudyError) as caught:
        _check_persons(study, tables)
    assert caught.value.where == "privacy.institutions_per_person"
    _check_persons(study, tables | {"b": tables["b"][1:]})
