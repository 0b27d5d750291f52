"""Rules across a person's events: declared in a schema, kept row by row, and never a refusal that depends on one person."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd
import pytest

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.encoding import Codes
from cohortium.data.event_rules import Final, Once, Ordered
from cohortium.data.events import EventTable
from cohortium.data.linked import encode_linked
from cohortium.data.ordering import in_order
from cohortium.data.schema import Schema, schema_from_document, to_document
from cohortium.drafting.tally import census_lines
from cohortium.errors import SchemaError

TEXT = """
name = "ill"

[[column]]
name = "id"
person = true

[[table]]
name = "events"
most = 6

[[table.column]]
name = "id"
person = true

[[table.column]]
name = "day"
time = true
kind = "continuous"
lower = 0
upper = 99

[[table.column]]
name = "what"
kind = "categorical"
categories = ["death", "surgery", "referral", "visit"]

[[table.rule]]
kind = "once"
column = "what"
categories = ["surgery"]

[[table.rule]]
kind = "order"
column = "what"
earlier = ["referral"]
later = ["surgery"]

[[table.rule]]
kind = "final"
column = "what"
categories = ["death"]
"""
SCHEMA = schema_from_document(tomllib.loads(TEXT))


def coded(*rows: tuple[object, int, str], schema: Schema = SCHEMA) -> Codes:
    return encode_linked({"events": pd.DataFrame(rows, columns=["id", "day", "what"])}, schema)


def kept(*rows: tuple[object, int, str]) -> list[tuple[int, int, str]]:
    """(person, day, what) of the events that count."""
    (events,) = coded(*rows).events
    names = ["death", "surgery", "referral", "visit"]
    return [
        (int(p), int(t), names[c]) for p, t, c in zip(events.persons, events.ticks, events.values[:, 1], strict=True)
    ]


def test_a_schema_is_written_as_it_is_read() -> None:
    assert schema_from_document(to_document(SCHEMA)) == SCHEMA
    assert [str(rule) for rule in SCHEMA.tables[0].rules] == [
        "once a person: surgery of what", "what: no referral after surgery", "what: nothing after death",
    ]  # fmt: skip


def test_what_an_earlier_event_forbids_is_left_out_whatever_the_order_in_the_file() -> None:
    rows = [
        (1, 5, "surgery"),
        (1, 9, "surgery"),
        (1, 3, "referral"),
        (1, 7, "referral"),
        (1, 30, "death"),
        (1, 40, "visit"),
    ]
    wanted = [(0, 3, "referral"), (0, 5, "surgery"), (0, 30, "death")]
    assert kept(*rows) == kept(*rows[::-1]) == wanted


def test_at_one_time_events_stand_in_an_order_that_keeps_the_rules() -> None:
    assert kept((1, 5, "death"), (1, 5, "visit"), (1, 5, "surgery"), (1, 5, "referral")) == [
        (0, 5, "referral"), (0, 5, "visit"), (0, 5, "surgery"), (0, 5, "death"),
    ]  # fmt: skip


def test_made_up_events_of_one_time_stand_in_that_order_too() -> None:
    made = in_order(SCHEMA.tables[0], np.zeros(4, np.int64), np.full(4, 5), np.arange(4)[:, None])
    assert made.values[:, 1].tolist() == [2, 3, 1, 0]


def test_nobodys_events_forbid_anothers() -> None:
    assert kept((1, 1, "death"), (2, 5, "visit"), (2, 6, "surgery"), (3, 7, "surgery")) == [
        (0, 1, "death"), (1, 5, "visit"), (1, 6, "surgery"), (2, 7, "surgery"),
    ]  # fmt: skip


def test_what_is_left_out_is_counted_on_the_screen_before_what_is_beyond_the_most() -> None:
    rows = [(1, day, "visit") for day in range(7)] + [(1, 50, "death"), (1, 51, "visit"), (1, 52, "visit")]
    codes = coded(*rows)
    assert len(codes.events[0]) == 6 and codes.left_out == codes.breaking == 2
    assert census_lines(codes) == [
        "events: 6 of 10 rows count, of 1 persons, 2 come after an event of the person that forbids them, "
        "2 are beyond the most of a person that count."
    ]


def test_a_first_event_that_leaves_no_room_is_an_only_one() -> None:
    names = [str(rule) for rule in SCHEMA.constraints]
    assert "where events_rows>=2: events_first_what!=death" in names
    codes = coded((1, 1, "death"), (1, 1, "visit"), (2, 2, "death"))
    assert (len(codes), len(codes.events[0])) == (2, 3)  # nobody is left out for it


def test_all_of_a_list_once_says_how_many_events_there_can_be() -> None:
    what = Categorical(name="what", categories=("a", "b", "c", "rest"), other="rest")
    clock = Continuous(name="day", lower=0, upper=9)
    table = EventTable(name="t", person="id", time="day", columns=(clock, what), rules=(Once(column="what"),))
    assert (table.capacity(np.arange(4)[:, None]) > 100).all()  # the rest may come again
    plain = Categorical(name="what", categories=("a", "b", "c"))
    table = EventTable(name="t", person="id", time="day", columns=(clock, plain), rules=(Once(column="what"),))
    assert table.capacity(np.arange(3)[:, None]).tolist() == [2, 2, 2]
    assert str(table.implied[2]) == "where t_rows>=4: t_first_what!=a, t_first_what!=b, t_first_what!=c"


CIRCLE = (
    Ordered(column="what", earlier=("a",), later=("b",)),
    Ordered(column="what", earlier=("b",), later=("c",)),
    Ordered(column="what", earlier=("c",), later=("a",)),
)


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        ((Once(column="colour"),), "'colour', which is none of its columns"),
        ((Once(column="day"),), "'day', which is none of its columns"),
        ((Once(column="value"),), "a rule is about 'value'"),
        ((Final(column="what", categories=("death",)),), "'death', which 'what' does not declare"),
        ((Ordered(column="what", earlier=("a", "b"), later=("b",)),), "go round in a circle"),
        (CIRCLE, "go round in a circle"),
        (
            (Final(column="what", categories=("a",)), Ordered(column="what", earlier=("a",), later=("b",))),
            "in a circle",
        ),
    ],
)
def test_rules_about_what_is_not_there_or_against_each_other_are_refused(rules: tuple[Once, ...], what: str) -> None:
    columns = (
        Continuous(name="day", lower=0, upper=9),
        Continuous(name="value", lower=0, upper=9),
        Categorical(name="what", categories=("a", "b", "c")),
    )
    with pytest.raises(SchemaError, match=what) as caught:
        EventTable(name="t", person="id", time="day", columns=columns, rules=rules)
    assert (caught.value.code, caught.value.where) == ("E_SCHEMA_INVALID", "table 't'")


def test_an_unknown_kind_of_rule_is_named() -> None:
    with pytest.raises(SchemaError, match="rule") as caught:
        schema_from_document(tomllib.loads(TEXT.replace('kind = "final"', 'kind = "last"')))
    assert caught.value.code == "E_SCHEMA_INVALID"
