"""Linked tables: which rows of persons and of their events count, and as what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from linked import LABS, LINKED, ORDERED, OWN

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.encoding import Codes, encode, encode_parts
from cohortium.data.events import EventTable
from cohortium.data.linked import encode_linked, encode_linked_parts
from cohortium.data.schema import Schema, with_events
from cohortium.drafting.checking import fittings
from cohortium.drafting.reasons import in_lines_of_all
from cohortium.drafting.tally import census_lines
from cohortium.errors import SchemaError

SCHEMA = with_events(Schema(name="labs", person="id", columns=OWN), (LABS,))
PERSONS = pd.DataFrame({"id": ["3", "1", "2"], "sex": ["m", "f", "m"], "enrolled": [0, 9, 30]})


def labs(*rows: tuple[object, object, object, object]) -> pd.DataFrame:
    names = ("patient", "day", "test", "value")
    return pd.DataFrame({n: pd.Series([row[j] for row in rows], dtype=object) for j, n in enumerate(names)})


def coded(
    *rows: tuple[object, object, object, object], persons: pd.DataFrame = PERSONS, schema: Schema = SCHEMA
) -> Codes:
    return encode_linked({"persons": persons, "labs": labs(*rows)}, schema)


def test_persons_with_what_follows_from_their_events() -> None:
    codes = coded((2, 7, "hb", 9), (1, 5, "crp", None), (2, 4, "crp", 0), (2, 4, "crp", 9))
    assert codes.sizes == SCHEMA.sizes and codes.persons.tolist() == [0, 1, 2]
    assert SCHEMA.names[2:] == ("labs_rows", "labs_first_day", "labs_first_test", "labs_first_value")
    assert codes.values.tolist() == [
        [0, 1, 1, 5, 0, 3],
        [1, 3, 3, 4, 0, 0],
        [1, 0, 0, 31, 2, 3],  # without events: all of the first one is missing
    ]
    (events,) = codes.events
    assert events.persons.tolist() == [0, 1, 1, 1] and events.ticks.tolist() == [5, 4, 4, 7]
    assert events.values.tolist() == [[0, 0, 3], [0, 0, 0], [0, 0, 2], [3, 1, 2]]  # gap, test, value
    assert codes.left_out == 0


def test_the_first_most_events_count() -> None:
    codes = coded(*((1, day, "hb", 1) for day in (9, 3, 30, 0, 4)))
    assert codes.events[0].ticks.tolist() == [0, 3, 4]
    assert (codes.left_out, codes.census["labs"].beyond) == (0, 2)


@pytest.mark.parametrize("day", [-1, -0.6, 30.6, 31, 1e300, "-inf", "inf", None, "", "yesterday"])
def test_an_event_without_a_time_within_the_bounds_is_no_event(day: object) -> None:
    codes = coded((1, day, "hb", 1))
    assert len(codes.events[0]) == 0 and codes.left_out == 1
    assert codes.values[0, 2] == 0


@pytest.mark.parametrize("day", [0, -0.4, "30", 30.4, 12.0])
def test_a_time_that_is_within_them_on_its_grid_is(day: object) -> None:
    assert len(coded((1, day, "hb", 1)).events[0]) == 1


def test_rows_that_do_not_fit_or_are_nobodys_are_left_out() -> None:
    codes = coded((1, 1, "other", 1), (9, 1, "hb", 1), (None, 1, "hb", 1), (1, 1, "hb", "?"))
    assert len(codes.events[0]) == 1
    census = codes.census["labs"]
    assert (census.rows, census.unfit, census.strangers, census.counted, codes.left_out) == (4, 2, 1, 1, 3)


def test_one_row_of_a_person_counts_whatever_their_order() -> None:
    twice = pd.DataFrame({"id": [1, "1", "1.0", 2], "sex": ["m", "f", "x", "m"], "enrolled": [0, 30, 0, 0]})
    for persons in (twice, twice[::-1]):
        codes = coded((1, 1, "hb", 1), persons=persons)
        assert codes.values[:, :2].tolist() == [[0, 3], [1, 0]]
        assert (codes.census["persons"].repeated, codes.census["persons"].unfit) == (1, 1)


def test_whose_row_is_left_out_has_no_events() -> None:
    broken = pd.DataFrame({"id": ["1", "2"], "sex": ["x", "f"], "enrolled": [0, 0]})
    codes = coded((1, 1, "hb", 1), (2, 2, "hb", 1), persons=broken)
    assert len(codes) == 1 and codes.events[0].ticks.tolist() == [2] and codes.left_out == 2


def test_without_columns_persons_are_those_who_have_events() -> None:
    schema = Schema(name="labs", person="patient", columns=LABS.derived, constraints=LABS.implied, tables=(LABS,))
    codes = encode_linked({"labs": labs((7, 3, "hb", 1), ("5", 2, "hb", 1), ("6", 99, "hb", 1))}, schema)
    assert codes.values[:, 0].tolist() == [1, 1] and codes.events[0].ticks.tolist() == [2, 3]


def test_a_constraint_with_what_follows_from_events_leaves_the_person_out() -> None:
    tables = {
        "persons": pd.DataFrame({"id": ["1", "2", "3"], "sex": "f", "enrolled": [5, 5, 30]}),
        "labs": labs((1, 5, "hb", 1), (2, 4, "hb", 1), (2, 6, "hb", 1)),
        "stays": pd.DataFrame({"id": ["2", "3"], "ward": "a", "admitted": "2020-01-05"}),
    }
    codes = encode_linked(tables, ORDERED)  # within the cell of day 5 is day 4, too: values are compared, not cells
    assert len(codes) == 2 and codes.breaking == 1
    assert codes.events[0].persons.tolist() == [0] and codes.events[1].persons.tolist() == [1]
    assert codes.left_out == 1 + 2 + 1
    assert len(encode_linked(tables, LINKED)) == 3


def test_parts_of_a_schema_are_its_tables() -> None:
    assert list(ORDERED.parts) == ["persons", "labs", "stays"]
    assert ORDERED.parts["persons"].names == ("sex", "enrolled") and ORDERED.parts["persons"].constraints == ()
    assert ORDERED.parts["labs"].person == "patient"
    flat = Schema(columns=OWN)
    assert flat.parts == {"persons": flat}


def test_a_table_of_events_that_is_none_is_refused_when_it_is_declared() -> None:
    constant = EventTable(
        name="t", person="id", time="day", columns=(LABS.clock, Continuous(name="x", lower=0, upper=1, bins=1))
    )
    with pytest.raises(SchemaError, match="table 't', column 'x'") as caught:
        with_events(Schema(person="id", columns=OWN), (constant,))
    assert caught.value.code == "E_SCHEMA_INVALID"


def test_one_table_is_not_all_of_them() -> None:
    for attempt in (lambda: encode(PERSONS, SCHEMA), lambda: encode_parts([PERSONS], SCHEMA)):
        with pytest.raises(SchemaError, match="tables of events beside") as caught:
            attempt()
        assert caught.value.code == "E_SCHEMA_INVALID"


def test_tables_that_are_missing_or_too_many_are_named() -> None:
    with pytest.raises(SchemaError, match="there is no table 'labs'") as missing:
        encode_linked({"persons": PERSONS}, SCHEMA)
    assert missing.value.code == "E_SCHEMA_MISSING"
    with pytest.raises(SchemaError, match="no table 'drugs'") as other:
        encode_linked({"persons": PERSONS, "labs": labs(), "drugs": PERSONS}, SCHEMA)
    assert other.value.code == "E_SCHEMA_INVALID"


def test_nothing_is_something() -> None:
    codes = encode_linked_parts({"persons": [], "labs": []}, SCHEMA)
    assert (len(codes), len(codes.events[0]), codes.values.shape[1]) == (0, 0, len(SCHEMA.columns))
    codes = coded(persons=PERSONS[:0])
    assert (len(codes), len(codes.events[0])) == (0, 0)


def test_cells_are_held_as_small_as_they_are() -> None:
    codes = coded((1, 5, "crp", None))
    assert codes.values.dtype == np.uint8 and codes.events[0].values.dtype == np.uint8
    many = Categorical(name="code", categories=tuple(f"c{i}" for i in range(300)))
    table = EventTable(name="d", person="id", time="day", columns=(LABS.clock, many))
    schema = with_events(Schema(person="id", columns=OWN), (table,))
    codes = encode_linked({"persons": PERSONS, "d": pd.DataFrame({"id": [1], "day": [2], "code": ["c299"]})}, schema)
    assert codes.events[0].values.tolist() == [[0, 299]] and codes.events[0].values.dtype == np.uint16


def test_the_screen_says_by_table_what_became_of_the_rows() -> None:
    rows = labs((1, 40, "hb", 1), (1, 3, "hb", 1), (8, 3, "hb", 1), *((2, d, "hb", 1) for d in range(5)))
    codes = encode_linked({"persons": PERSONS, "labs": rows}, SCHEMA)
    assert census_lines(codes) == [
        "persons: 3 of 3 rows count, of 3 persons.",
        "labs: 4 of 8 rows count, of 2 persons, 1 do not fit, 1 are of nobody in the table of persons, "
        "2 are beyond the most of a person that count.",
    ]
    measured = fittings(SCHEMA)
    for name, table in (("persons", PERSONS), ("labs", rows)):
        list(measured[name].over([table]))
    lines = in_lines_of_all({name: one.found for name, one in measured.items()}, SCHEMA)
    assert lines[0].startswith("labs: 7 of its 8 rows fit the schema")
    assert "1 cells beyond the bounds. An event without a time within the bounds is left out" in lines[1]
