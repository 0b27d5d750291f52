"""Tables without a time: sets of a person's rows, which stand in no order that says anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.encoding import Codes, Events
from cohortium.data.event_rules import Final, Once
from cohortium.data.events import EventTable
from cohortium.data.linked import encode_linked
from cohortium.data.ordering import in_order
from cohortium.data.schema import Schema, schema_from_document, to_document, with_events
from cohortium.errors import SchemaError
from cohortium.queries.event_histograms import EventHistograms
from cohortium.queries.steps import contexts_of
from cohortium.study.histories import track_of

DRUGS = EventTable(
    name="drugs",
    person="id",
    columns=(Categorical(name="drug", categories=("a", "b", "c")), Continuous(name="dose", lower=0, upper=9)),
    most=3,
)
SCHEMA = with_events(Schema(name="s", person="id", columns=(Categorical(name="sex", categories=("f", "m")),)), (DRUGS,))


def coded(rows: pd.DataFrame, persons: int) -> Codes:
    people = pd.DataFrame({"id": range(persons), "sex": "f"})
    return encode_linked({"persons": people, "drugs": rows}, SCHEMA)


def test_a_table_without_a_time_is_a_set_and_is_written_as_it_is_read() -> None:
    document = to_document(SCHEMA)
    assert "time" not in str(document["table"]) and schema_from_document(document) == SCHEMA
    assert SCHEMA.names == ("sex", "drugs_rows", "drugs_first_drug", "drugs_first_dose")
    assert DRUGS.clock is None and DRUGS.grid == 1


def test_rows_of_a_set_are_counted_and_one_of_them_stands_for_all() -> None:
    codes = coded(pd.DataFrame({"id": [1, 1, 2], "drug": ["a", "a", "c"], "dose": [3, 3, 5]}), 4)
    assert codes.values.tolist() == [[0, 0, 3, 10], [0, 2, 0, 3], [0, 1, 2, 5], [0, 0, 3, 10]]
    (events,) = codes.events
    assert events.values.tolist() == [[0, 0, 3], [0, 0, 3], [0, 2, 5]] and events.ticks.tolist() == [0, 0, 0]


@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abcx"), st.integers(0, 4)), max_size=14),
    seed=st.integers(0, 99),
)
def test_no_order_in_the_file_changes_anything_and_a_person_is_their_own_rows(
    rows: list[tuple[int, str, int]], seed: int
) -> None:
    table = pd.DataFrame(rows, columns=["id", "drug", "dose"])
    one, other = coded(table, 5), coded(table.sample(frac=1, random_state=seed), 5)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.events[0].values, other.events[0].values)
    for who in range(5):
        alone = coded(table[table["id"] == who], 5)
        np.testing.assert_array_equal(alone.values[who], one.values[who])
        np.testing.assert_array_equal(alone.events[0].values, one.events[0].values[one.events[0].persons == who])


def test_which_row_comes_first_is_as_good_as_drawn() -> None:
    """Of three rows each, of which two are the same, each is the first one as often, and equal ones are not beside each other for that."""
    many = 3000
    rows = pd.DataFrame({"id": np.repeat(np.arange(many), 3), "drug": ["a", "b", "b"] * many, "dose": 1})
    kinds = coded(rows, many).events[0].values[:, 1].reshape(many, 3)
    firsts = (kinds == 0).mean(axis=0)
    assert np.abs(firsts - 1 / 3).max() < 0.04


def test_of_rows_beyond_the_most_any_may_count() -> None:
    many = 3000
    rows = pd.DataFrame(
        {"id": np.repeat(np.arange(many), 6), "drug": list("aabbcc") * many, "dose": [0, 1, 2, 3, 4, 5] * many}
    )
    doses = coded(rows, many).events[0].values[:, 2]
    assert len(doses) == 3 * many
    assert np.abs(np.bincount(doses, minlength=6) / len(doses) - 1 / 6).max() < 0.02


def test_once_is_the_only_rule_there_can_be_of_a_set() -> None:
    table = replace(DRUGS, rules=(Once(column="drug"),))
    schema = with_events(Schema(name="s", person="id", columns=SCHEMA.own), (table,))
    rows = pd.DataFrame({"id": [1, 1, 1, 2], "drug": ["a", "a", "b", "a"], "dose": [3, 4, 5, 6]})
    codes = encode_linked({"persons": pd.DataFrame({"id": [1, 2], "sex": "f"}), "drugs": rows}, schema)
    assert sorted(codes.events[0].values[:, 1].tolist()) == [0, 0, 1] and codes.census["drugs"].forbidden == 1
    with pytest.raises(SchemaError, match="it is a set") as caught:
        replace(DRUGS, rules=(Final(column="drug", categories=("a",)),))
    assert caught.value.code == "E_SCHEMA_INVALID"


def test_nothing_is_asked_of_time() -> None:
    asked = list(contexts_of(track_of(DRUGS), (0,), False))
    assert {column for _, column, _ in asked} == {1, 2}
    assert not {context.kind for context, _, _ in asked} & {"pace", "when", "window"}
    assert ("here", 0) not in {(context.kind, context.column) for context, _, _ in asked}
    assert {level.column for level in EventHistograms((track_of(DRUGS),), 2.0).levels} == {1, 2}


def test_made_up_rows_of_a_set_stay_as_they_were_drawn() -> None:
    others = np.array([[2, 1], [0, 0], [1, 5]])
    found: Events = in_order(DRUGS, np.array([1, 0, 1]), np.zeros(3, np.int64), others)
    assert found.persons.tolist() == [0, 1, 1] and found.values.tolist() == [[0, 0, 0], [0, 2, 1], [0, 1, 5]]


@pytest.mark.parametrize("time", [True, False])
def test_a_set_and_a_table_of_events_differ_in_their_time_alone(time: bool) -> None:
    columns = [
        {"name": "id", "person": True},
        {"name": "day", "kind": "continuous", "lower": 0, "upper": 9, "time": time},
    ]
    schema = schema_from_document({"column": columns[:1], "table": [{"name": "t", "column": columns}]})
    assert (schema.tables[0].time == "day") == time
