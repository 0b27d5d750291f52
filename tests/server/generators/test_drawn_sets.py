"""Sets of rows are drawn: as many as persons have, as their columns say, and alike within a person."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from cohortium.data.encoding import codes_at
from cohortium.data.linked import encode_linked
from cohortium.data.schema import Schema, schema_from_document
from cohortium.privacy.randomness import SecureRandomness
from cohortium.study.generators import Histories as HistoriesPlan
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium_server.generators import Generator, Sum, generator_class
from cohortium_server.release.linked import drawn_rows, tables_of
from cohortium_server.release.page.events import event_views

DRUGS = ["a", "b", "c"]
KEY = {"name": "id", "person": True}
SCHEMA: Schema = schema_from_document(
    {
        "name": "patients",
        "column": [KEY, {"name": "sex", "kind": "categorical", "categories": ["f", "m"]}],
        "table": [
            {
                "name": "drugs",
                "most": 8,
                "column": [
                    KEY,
                    {"name": "drug", "kind": "categorical", "categories": DRUGS},
                    {"name": "dose", "kind": "continuous", "lower": 0, "upper": 29},
                ],
            }
        ],
    }
)
STUDY = Study(
    name="s",
    schema=SCHEMA,
    privacy=Privacy(epsilon=10.0, delta=1e-5),
    generator=HistoriesPlan(components=40),
    institutions=(Institution(name="one"),),
    edition=2,
)


def people(persons: int) -> dict[str, pd.DataFrame]:
    """Men have up to eight drugs and women up to four; of whoever has a drug most others are the same, and doses follow from it."""
    rng, rows = np.random.default_rng(0), []
    sexes = rng.integers(0, 2, persons)
    for person, sex in enumerate(sexes.tolist()):
        usual = int(rng.integers(0, 3))
        for _ in range(int(rng.integers(0, 9 if sex else 5))):
            drug = usual if rng.random() < 0.8 else int(rng.integers(0, 3))
            rows.append((person, DRUGS[drug], 10 * drug + int(rng.integers(0, 10))))
    patients = pd.DataFrame({"id": np.arange(persons), "sex": np.array(["f", "m"])[sexes]})
    return {"persons": patients, "drugs": pd.DataFrame(rows, columns=["id", "drug", "dose"])}


@functools.cache
def fitted() -> Generator:
    generator: Generator = generator_class("histories")(STUDY, 1)
    codes = encode_linked(people(3000), SCHEMA)
    for phase in plan(STUDY).phases:
        query = generator.ask()
        assert query is not None
        answer = query.answer(codes, phase.multiplier, SecureRandomness())
        generator.tell(Sum(query, answer.values, 1, phase.multiplier))
    return generator


@functools.cache
def made() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(2)
    return tables_of(drawn_rows(fitted(), SCHEMA, 3000, rng), SCHEMA, rng)


def alike(tables: dict[str, pd.DataFrame]) -> float:
    """How often two rows of a person are of one drug."""
    counts = pd.crosstab(tables["drugs"]["id"], tables["drugs"]["drug"])
    pairs = counts.sum(axis=1) * (counts.sum(axis=1) - 1)
    return float((counts * (counts - 1)).to_numpy().sum() / pairs.sum())


def test_a_released_set_has_its_columns_and_no_time() -> None:
    assert list(made()["drugs"].columns) == ["id", "drug", "dose"]
    assert set(made()["drugs"]["id"]) <= set(made()["persons"]["id"])
    assert len(encode_linked(made(), SCHEMA).events[0]) == len(made()["drugs"])


def test_there_are_as_many_rows_as_persons_like_these_have() -> None:
    for one in (people(3000), made()):
        many = one["persons"].set_index("id")["sex"].to_frame().assign(rows=one["drugs"].groupby("id").size()).fillna(0)
        means = many.groupby("sex")["rows"].mean()
        assert means["f"] == pytest.approx(2, abs=0.25) and means["m"] == pytest.approx(4, abs=0.35)


def test_rows_of_a_person_are_alike_as_real_ones_are_but_for_what_is_not_known_of_them() -> None:
    """Known are the row before and which drugs there were, and not how often: of two thirds of the way there is no less."""
    real, independent = alike(people(3000)), 1 / 3
    assert real > 0.7
    assert independent + 2 / 3 * (real - independent) < alike(made()) < real + 0.05


def test_columns_of_a_row_belong_together() -> None:
    table = made()["drugs"]
    right = table["dose"] // 10 == table["drug"].map({name: k for k, name in enumerate(DRUGS)})
    assert right.mean() > 0.9


def test_the_report_shows_columns_of_a_set_and_no_time() -> None:
    rng = np.random.default_rng(3)
    drawn = drawn_rows(fitted(), SCHEMA, 500, rng)
    (view,) = event_views(SCHEMA, codes_at(drawn.index, SCHEMA), drawn.events, getattr(fitted(), "steps", None))
    assert [c.column.name for c in view.columns] == ["drug", "dose"]
    assert {step.column for step in view.steps} == {"drug", "dose"}
