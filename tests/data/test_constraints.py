"""Constraints: what may be declared, which rows break them, and that no row that comes out of a model does."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tomli_w
from console import call
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Boolean, Categorical, Continuous, Datetime, Ordinal
from cohortium.data.columns.encoding import INVALID
from cohortium.data.conditions.constraints import Combinations, Constraint, Implies, Never, Order, Sum
from cohortium.data.conditions.parsing import selected
from cohortium.data.conditions.reach import impossible
from cohortium.data.conditions.repair import example, places, repaired
from cohortium.data.encoding import codes_at, draw_indices, encode, encode_parts, indices, table_at
from cohortium.data.schema import Schema, schema_from_document, to_document
from cohortium.errors import ReleaseError, SchemaError
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.study import Institution, Privacy, Study
from cohortium_server.generators import Allowed
from cohortium_server.generators.grouping import grouped_cells
from cohortium_server.release.blanks import imputed
from cohortium_server.release.rows import drawn_indices, drawn_table
from cohortium_simulation.experiment import simulate
from cohortium_simulation.unprotected import fit_unprotected

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

Predicate = Callable[[pd.DataFrame], pd.Series]
COLUMNS = (
    Continuous(name="age", lower=0, upper=99, bins=10),
    Ordinal(name="school", categories=("none", "primary", "high"), nullable=True),
    Categorical(name="job", categories=("clerk", "nurse", "doctor"), nullable=True),
    Categorical(name="field", categories=("office", "health")),
    Continuous(name="wage", lower=0, upper=5000, decimals=1, bins=20, points=(0,), nullable=True),
    Continuous(name="other", lower=-1000, upper=5000, bins=12),
    Continuous(name="income", lower=-1000, upper=10_000, decimals=1, bins=30, scale="asinh", nullable=True),
    Datetime(name="born", lower=datetime(1900, 1, 1), upper=datetime(2020, 12, 31), bins=24),
    Datetime(name="seen", lower=datetime(1900, 1, 1), upper=datetime(2020, 12, 31), resolution="hour", bins=24),
    Boolean(name="retired"),
)
SCHEMA = Schema(columns=COLUMNS)
IMPLIED = Implies(when=("age<15",), then=("job=missing", "wage=missing", "school!=high"))
MAPPED = Combinations(
    columns=("job", "field"),
    rows=(("clerk", "office"), ("nurse", "health"), ("doctor", "health"), ("missing", "office"), ("missing", "health")),
)
EACH: list[tuple[Constraint, Predicate]] = [
    (
        IMPLIED,
        lambda t: ~(t["age"] < 15) | (t["job"].isna() & t["wage"].isna() & (t["school"].fillna("-") != "high")),
    ),
    (Never(all=("retired=true", "age<40", "wage>0")), lambda t: ~(t["retired"] & (t["age"] < 40) & (t["wage"] > 0))),
    (
        MAPPED,
        lambda t: t["job"].isna() | ((t["job"] == "clerk") == (t["field"] == "office")),
    ),
    (
        Combinations(
            columns=("school", "age"),
            rows=(("none", "0..6"), ("primary", "5..99"), ("high", "12..99"), ("missing", "0..99")),
        ),
        lambda t: (
            t["school"].isna()
            | (t["age"] >= t["school"].map({"none": 0, "primary": 5, "high": 12}))
            & ((t["school"] != "none") | (t["age"] <= 6))
        ),
    ),
    (Order(columns=("born", "seen")), lambda t: t["born"] <= t["seen"]),
    (
        Order(columns=("wage", "income"), strict=True),
        lambda t: t["wage"].isna() | t["income"].isna() | (t["wage"] < t["income"]),
    ),
    (
        Sum(total="income", parts=("wage", "other")),
        lambda t: t["wage"].isna() | t["income"].isna() | ((t["wage"] + t["other"] - t["income"]).abs() < 0.01),
    ),
]
TOGETHER = [IMPLIED, EACH[1][0], MAPPED, EACH[4][0], EACH[6][0]]


def with_(*constraints: Constraint) -> Schema:
    return replace(SCHEMA, constraints=constraints)


def rows_of(schema: Schema, rows: int, seed: int) -> pd.DataFrame:
    """Values all over the grid, with blanks."""
    rng = np.random.default_rng(seed)
    index = np.stack([rng.integers(0, getattr(c, "grid", c.values), rows) for c in schema.columns], axis=1)
    blank = rng.random(index.shape) < 0.3
    return table_at(np.where(blank & [c.nullable for c in schema.columns], INVALID, index), schema)


class Even:
    """A model of independent columns, every cell as likely as another."""

    def __init__(self, schema: Schema, only: tuple[int, ...] | None = None) -> None:
        self._sizes, self._only = schema.sizes, only

    def sample(self, rows: int, rng: np.random.Generator, allowed: Allowed) -> npt.NDArray[np.int16]:
        drawn = [self._column(j, rows, rng, allowed) for j in range(len(self._sizes))]
        return np.stack(drawn, axis=1).astype(np.int16)

    def _column(self, j: int, rows: int, rng: np.random.Generator, allowed: Allowed) -> npt.NDArray[np.int64]:
        weights = allowed.get(j, np.ones(self._sizes[j]))
        if self._only is not None and weights[self._only[j]]:
            return np.full(rows, self._only[j])
        return rng.choice(self._sizes[j], rows, p=weights / weights.sum())

    def complete(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, allowed: Allowed
    ) -> npt.NDArray[np.int16]:
        return np.where(known, codes, self.sample(len(codes), rng, allowed)).astype(np.int16)


def drawn(schema: Schema, rows: int, seed: int, where: Any = None, model: Any = None) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return drawn_table(model or Even(schema), schema, rows, rng, selected(schema, where or {}))


# Declaring


def test_constraints_are_part_of_the_document_and_of_the_digest() -> None:
    schema = with_(*(one for one, _ in EACH if not isinstance(one, Order)))
    again = schema_from_document(tomllib.loads(tomli_w.dumps(to_document(schema))))
    assert again == schema
    assert hash(again) == hash(schema)
    digests = {schema.digest, SCHEMA.digest, with_(IMPLIED).digest, with_(MAPPED).digest}
    assert len(digests) == 4
    assert "constraint" not in to_document(SCHEMA)


def test_every_kind_is_described_in_a_line() -> None:
    assert [str(one) for one, _ in EACH] == [
        "where age<15: job=missing, wage=missing, school!=high",
        "never retired=true, age<40, wage>0",
        "5 combinations of job, field",
        "4 combinations of school, age",
        "born <= seen",
        "wage < income",
        "income = wage + other",
    ]


@pytest.mark.parametrize(
    ("constraint", "what"),
    [
        (Implies(when=("aeg<15",), then=("job=missing",)), "condition"),
        (Implies(when=("age<15",), then=("job=pilot",)), "pilot"),
        (Implies(when=("age<15",), then=("field=missing",)), "never missing"),
        (Never(all=("age>200",)), "no value is left"),
        (Combinations(columns=("job", "field"), rows=(("clerk",),)), "one entry a column"),
        (Combinations(columns=("job", "job"), rows=(("clerk", "clerk"),)), "twice"),
        (Order(columns=("age", "born")), "not all numbers"),
        (Order(columns=("job", "field")), "not all numbers"),
        (Order(columns=("age", "age")), "twice"),
        (Sum(total="age", parts=("wage", "other")), "decimals"),
        (Sum(total="seen", parts=("born", "age")), "only numbers"),
    ],
)
def test_a_wrong_constraint_is_named(constraint: Constraint, what: str) -> None:
    with pytest.raises(SchemaError, match=what) as caught:
        with_(MAPPED, constraint)
    assert caught.value.code == "E_SCHEMA_INVALID"
    assert "constraint 2" in caught.value.where


@pytest.mark.parametrize(
    "block",
    [
        {"kind": "implied", "when": ["age<15"], "then": ["job=missing"]},
        {"kind": "implies", "when": ["age<15"]},
        {"kind": "implies", "when": [], "then": ["job=missing"]},
        {"kind": "combinations", "columns": ["job", "field"], "rows": []},
        {"kind": "order", "columns": ["age"]},
        {"kind": "sum", "total": "income", "parts": ["wage", "other"], "within": 1},
        "age<15",
    ],
)
def test_a_malformed_block_is_refused(block: Any) -> None:
    with pytest.raises(SchemaError) as caught:
        schema_from_document({**to_document(SCHEMA), "constraint": [block]})
    assert caught.value.code == "E_SCHEMA_INVALID"


def test_orders_of_ordered_categories_need_one_list() -> None:
    first, second = (Ordinal(name=name, categories=("low", "high")) for name in "ab")
    Schema(columns=(first, second), constraints=(Order(columns=("a", "b")),))
    with pytest.raises(SchemaError, match="same list"):
        Schema(columns=(first, replace(second, categories=("high", "low"))), constraints=(Order(columns=("a", "b")),))


@pytest.mark.parametrize(
    "constraints",
    [
        [Never(all=("age>=0",))],
        [
            Implies(when=("retired=true",), then=("age>60",)),
            Implies(when=("retired=false",), then=("age>60",)),
            Never(all=("age>60",)),
        ],
        [Order(columns=("born", "seen"), strict=True), Order(columns=("seen", "born"))],
        [
            Sum(total="income", parts=("wage", "other")),
            Never(all=("wage=missing",)),
            Never(all=("wage<=4000",)),
            Never(all=("other<=4000",)),
            Never(all=("income=missing",)),
            Never(all=("income>8000",)),
        ],
    ],
)
def test_constraints_that_no_row_can_keep_are_refused(constraints: list[Constraint]) -> None:
    with pytest.raises(SchemaError, match="no row can keep all of them"):
        with_(*constraints)
    with_(*constraints[:-1]) if len(constraints) > 1 else None


def test_a_search_that_is_too_long_refuses_nothing() -> None:
    holes = tuple(Categorical(name=f"pigeon {k}", categories=tuple(range(7))) for k in range(8))
    pairs = itertools.combinations(range(8), 2)
    apart = [Never(all=(f"pigeon {a}={k}", f"pigeon {b}={k}")) for a, b in pairs for k in range(7)]
    schema = Schema(
        columns=holes, constraints=tuple(apart)
    )  # seven holes for eight pigeons: true, and hard to find out
    with pytest.raises(ReleaseError, match="leave no such rows"):
        drawn(schema, 3, 0)


# Real rows


@pytest.mark.parametrize(
    ("constraint", "keeps"), EACH, ids=[type(c).__name__ + str(k) for k, (c, _) in enumerate(EACH)]
)
def test_rows_that_break_a_constraint_are_outside_the_table(constraint: Constraint, keeps: Predicate) -> None:
    table = rows_of(SCHEMA, 4000, 1)
    if isinstance(constraint, Sum):
        table.loc[::2, "income"] = (table["wage"] + table["other"]).clip(-1000, 10_000)[::2]
    expected = keeps(table).fillna(True).to_numpy(bool)
    assert 0 < expected.sum() < len(table)
    codes = encode(table, with_(constraint))
    assert codes.breaking == codes.left_out == (~expected).sum()
    np.testing.assert_array_equal(codes.values, encode(table[expected], SCHEMA).values)


@settings(max_examples=examples(15))
@given(st.integers(0, 2**32), st.integers(0, 60))
def test_what_becomes_of_a_row_depends_on_it_alone(seed: int, cut: int) -> None:
    schema, table = with_(*TOGETHER), rows_of(SCHEMA, 60, seed)
    whole, parts = encode(table, schema), encode_parts([table[:cut], table[cut:]], schema)
    np.testing.assert_array_equal(whole.values, parts.values)
    assert (whole.left_out, whole.breaking) == (parts.left_out, parts.breaking)


def test_a_row_that_is_invalid_anyway_breaks_nothing() -> None:
    table = rows_of(SCHEMA, 50, 3).assign(age="?")
    assert encode(table, with_(IMPLIED)).breaking == 0
    assert encode(table, with_(IMPLIED)).left_out == 50


# Cells that nobody can be in


@settings(max_examples=examples(40))
@given(st.integers(0, 2**32), st.sampled_from(range(len(EACH))), st.booleans())
def test_no_row_of_the_table_is_in_an_impossible_cell(seed: int, which: int, merged: bool) -> None:
    schema, rng = with_(EACH[which][0], MAPPED), np.random.default_rng(seed)
    codes = encode(rows_of(SCHEMA, 2000, seed), schema).values
    cells = [rng.integers(0, 3, k) for k in schema.sizes]
    for columns in ((0, 1), (2, 3), (0, 4, 9), (4, 5, 6), (7, 8), (6,)):
        reported = [cells[j] if merged else None for j in columns]
        shape = [3 if merged else schema.sizes[j] for j in columns]
        found = impossible(schema, columns, shape, reported)
        at = [cells[j][codes[:, j]] if merged else codes[:, j] for j in columns]
        assert not found[tuple(at)].any()


@pytest.mark.parametrize("which", [0, 2, 3, 4, 5])
def test_all_cells_that_nobody_can_be_in_are_found(which: int) -> None:
    """Of two columns, by trying every pair of values on a small grid."""
    small = tuple(
        replace(c, upper=datetime(1901, 12, 31))
        if c.name in ("born", "seen")
        else replace(c, upper=60.0, decimals=0)
        if c.name in ("wage", "income")
        else c
        for c in SCHEMA.columns
    )
    schema = Schema(columns=small, constraints=(EACH[which][0],))
    columns = schema.rules.each[0][0].columns
    rows = np.array(list(itertools.product(*(_every_index(schema, j) for j in columns))))
    index = np.full((len(rows), len(schema.columns)), INVALID)
    index[:, columns] = rows
    seen = codes_at(index, schema)[~schema.rules.broken(index)][:, columns]
    shape = tuple(schema.sizes[j] for j in columns)
    expected = np.ones(shape, bool)
    expected[tuple(seen.T)] = False
    found = impossible(schema, columns, shape)
    np.testing.assert_array_equal(found, expected)
    assert found.any()


def _every_index(schema: Schema, j: int) -> list[int]:
    column = schema.columns[j]
    step = 24 if column.name == "seen" else 1
    return [*range(0, getattr(column, "grid", column.values), step), *([INVALID] if column.nullable else [])]


@settings(max_examples=examples(30))
@given(st.integers(0, 2**32), st.integers(6, 20))
def test_cells_are_not_put_together_across_what_a_constraint_tells_apart(seed: int, bins: int) -> None:
    fine = replace(SCHEMA, columns=(replace(COLUMNS[0], bins=100), *SCHEMA.columns[1:]))
    schema = replace(fine, constraints=(IMPLIED, Implies(when=("age>=66",), then=("retired=true",))))
    counts = [np.random.default_rng(seed).exponential(100, c.size) ** 2 for c in schema.columns]
    merged = grouped_cells(schema, bins, counts)[: schema.sizes[0]]
    assert merged.max() < bins
    assert merged[14] < merged[15] <= merged[65] < merged[66]


# Rows that come out


@settings(max_examples=examples(12))
@given(st.integers(0, 2**32), st.integers(0, 400))
def test_every_row_keeps_every_constraint(seed: int, rows: int) -> None:
    schema = with_(*TOGETHER)
    table = drawn(schema, rows, seed)
    assert len(table) == rows
    for constraint, keeps in EACH:
        if constraint in TOGETHER:
            assert keeps(table).fillna(True).all()
    assert encode(table, schema).left_out == 0


@pytest.mark.parametrize(
    ("constraint", "keeps"), EACH, ids=[type(c).__name__ + str(k) for k, (c, _) in enumerate(EACH)]
)
def test_each_constraint_alone_is_kept(constraint: Constraint, keeps: Predicate) -> None:
    table = drawn(with_(constraint), 3000, 5)
    assert keeps(table).fillna(True).all()
    assert all(table[c.name].nunique() > 1 for c in SCHEMA.columns)


def test_a_cause_keeps_its_distribution() -> None:
    free, kept = (drawn(s, 4000, 11) for s in (SCHEMA, with_(IMPLIED)))
    assert free["age"].equals(kept["age"])
    adults = kept["age"] >= 15
    assert free.loc[adults, "job"].equals(kept.loc[adults, "job"])


WHERES: list[Any] = [
    {"age": "3"},
    ["age=20..30", "job=nurse"],
    ["job=missing", "income>500"],
    ["born>=2000-01-01", "seen<2001-01-01"],
    ["income=100..120", "other<0"],
]


@pytest.mark.parametrize("where", WHERES)
def test_conditions_and_constraints_hold_together(where: Any) -> None:
    schema = with_(*TOGETHER)
    chosen = selected(schema, where)
    index = drawn_indices(Even(schema), schema, 500, np.random.default_rng(1), chosen)  # type: ignore[arg-type]
    assert not schema.rules.broken(index).any()
    for j, one in chosen.items():
        inside = np.zeros(len(index), bool)
        for first, last in one.ranges:
            inside |= (index[:, j] >= first) & (index[:, j] <= last)
        assert (inside | (one.missing & (index[:, j] == INVALID))).all()


@pytest.mark.parametrize(
    "where",
    [
        ["age=3", "job=nurse"],
        ["job=nurse", "field=office"],
        ["born>2000-01-01", "seen<1999-01-01"],
        ["wage>4000", "other>4000", "income<100"],
    ],
)
def test_conditions_that_the_constraints_leave_no_row_are_refused(where: list[str]) -> None:
    with pytest.raises(ReleaseError, match="leave no such rows") as caught:
        drawn(with_(*TOGETHER), 5, 0, where)
    assert caught.value.code == "E_CONDITION"


def test_a_model_that_knows_no_kept_row_is_never_short_of_them() -> None:
    schema = with_(*TOGETHER)
    worst = Even(schema, only=(0, 2, 1, 0, 19, 5, 3, 23, 0, 1))  # a child with a job, seen before it was born
    table = drawn(schema, 100, 0, model=worst)
    assert len(table) == 100
    assert encode(table, schema).left_out == 0


def test_a_row_found_by_search_is_used_where_the_model_gives_none() -> None:
    columns = tuple(Categorical(name=n, categories=tuple(range(50))) for n in "abc")
    apart = Combinations(columns=("a", "b", "c"), rows=((1, 2, 3), (49, 48, 47)))
    schema = Schema(columns=columns, constraints=(apart,))

    class Stuck(Even):
        def complete(self, codes: Any, known: Any, rng: Any, allowed: Any) -> Any:
            return codes

    table = drawn(schema, 20, 0, model=Stuck(schema, only=(0, 0, 0)))
    assert {tuple(row) for row in table.to_numpy()} <= {(1, 2, 3), (49, 48, 47)}
    assert example(schema, selected(schema, ["a=49"])) == {0: 49, 1: 48, 2: 47}


@given(st.integers(0, 2**32))
def test_values_are_settled_inside_their_cells(seed: int) -> None:
    """Wherever some values of the cells keep an order and a sum, such are found."""
    numbers = [
        Continuous(name=n, lower=0, upper=u, decimals=d, bins=6)
        for n, u, d in (("a", 30, 0), ("b", 30, 1), ("t", 60, 1))
    ]
    schema = Schema(columns=tuple(numbers), constraints=(Sum(total="t", parts=("a", "b")), Order(columns=("a", "b"))))
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 31, 200)
    above = true * 10 + rng.integers(0, 301 - true * 10)
    index = np.stack([true, above, true * 10 + above], axis=1)
    codes = codes_at(index, schema)
    found, good = repaired(schema, places(schema, codes), draw_indices(codes, schema, rng), rng)
    assert good.all()
    assert not schema.rules.broken(found).any()
    np.testing.assert_array_equal(codes_at(found, schema), codes)


# Blanks filled in


def test_an_implied_blank_stays_blank_and_all_others_are_filled() -> None:
    schema = with_(*TOGETHER)
    known = pd.DataFrame({"age": np.arange(1, 81), "retired": False})
    filled = imputed(Even(schema), schema, known, np.random.default_rng(0))  # type: ignore[arg-type]
    assert filled["age"].equals(known["age"])
    assert not schema.rules.broken(indices(filled, schema)).any()
    assert filled.loc[known["age"] < 15, ["job", "wage"]].isna().all(axis=None)
    assert filled.loc[known["age"] >= 15, ["job", "school"]].notna().all(axis=None)


def test_what_is_known_stays_even_where_it_contradicts_itself() -> None:
    schema = with_(*TOGETHER)
    known = pd.DataFrame({"age": [5, 40], "job": ["nurse", "nurse"]})
    filled = imputed(Even(schema), schema, known, np.random.default_rng(0))  # type: ignore[arg-type]
    assert filled[["age", "job"]].equals(known)
    assert schema.rules.broken(indices(filled, schema)).tolist() == [True, False]


# As a user


def test_a_study_with_constraints_from_its_file_to_its_release(tmp_path: Path) -> None:
    schema = replace(with_(IMPLIED, MAPPED), columns=SCHEMA.columns[:5])
    table = half_of_them_keep(schema, 900)
    (tmp_path / "schema.toml").write_text(tomli_w.dumps(to_document(schema)))
    table.to_csv(tmp_path / "data.csv", index=False)
    output = call("schema", "check", tmp_path / "schema.toml", "--data", tmp_path / "data.csv")
    broken = int(broken_rows(schema, table))
    assert 0 < broken < 900
    assert "Constraint 1: where age<15: job=missing" in output
    assert f"{900 - broken} of 900 rows fit, {broken} would be left out." in output
    study = Study(
        name="kept",
        schema=schema,
        privacy=Privacy(epsilon=2, delta=1e-6),
        generator=Sweep(components=10),
        institutions=(Institution(name="one"),),
    )
    release = simulate(study, {"one": table}, tmp_path / "out", seed=1)
    for rows in (release.synthetic, release.sample(700, seed=2), release.sample(50, where={"age": 7}, seed=3)):
        assert len(rows) and encode(rows, schema).left_out == 0
    balanced = release.sample(90, balance="job", seed=4)
    assert balanced["job"].value_counts().tolist() == [30, 30, 30]
    assert encode(balanced, schema).left_out == 0
    assert abs(len(release.synthetic) - (900 - broken)) < 100


def test_rows_of_a_trained_generator_keep_them_as_well() -> None:
    schema = replace(with_(IMPLIED, MAPPED), columns=SCHEMA.columns[:5])
    study = Study(
        name="kept",
        schema=schema,
        privacy=Privacy(mode="none"),
        generator=Autoregressive(rounds=3),
        institutions=(Institution(name="one"),),
    )
    fitted = fit_unprotected(study, {"one": encode(half_of_them_keep(schema, 300), schema)}, 1).generator
    for where in (None, ["age=7"]):
        table = drawn(schema, 500, 0, where, fitted)
        assert len(table) == 500
        assert encode(table, schema).left_out == 0


def half_of_them_keep(schema: Schema, rows: int) -> pd.DataFrame:
    """Rows of which about half keep the constraints."""
    table = rows_of(schema, rows, 8)
    child = table["age"] < 15
    keep = partial(np.random.default_rng(0).permutation, rows)
    half = keep() < rows // 2
    table.loc[half & child, ["job", "wage"]] = None
    table.loc[half & child & (table["school"] == "high"), "school"] = "none"
    table.loc[half & table["job"].notna(), "field"] = table["job"].map(
        {"clerk": "office", "nurse": "health", "doctor": "health"}
    )
    return table


def broken_rows(schema: Schema, table: pd.DataFrame) -> int:
    return schema.rules.broken(indices(table, schema)).sum()
