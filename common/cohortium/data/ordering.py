"""The order of a person's events: by time, and at one time by what rules say and their values, so that nothing depends on the order in a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns.encoding import cells_at
from cohortium.data.encoding import Events
from cohortium.data.events import EventTable
from cohortium.data.identifiers import Identifiers

IntArray = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


def in_order(table: EventTable, persons: IntArray, ticks: IntArray, others: npt.NDArray[np.integer]) -> Events:
    """The events of a table in their order, with the time since the event before.

    persons, ticks: (events,) as in ``Events``, in any order. others: (events, columns but the gap) cells.
    """
    if table.time is None:  # made-up rows of a set are in no order
        order = np.argsort(persons, kind="stable")
        return Events(
            np.column_stack([np.zeros(len(order), np.int64), others[order]]).astype(np.uint16),
            persons[order],
            ticks[order],
        )
    order = np.lexsort((*reversed(others.T), *reversed(table.ranks(others)), ticks, persons))
    persons, ticks, others = persons[order], ticks[order], others[order]
    follows = np.diff(persons, prepend=-1) == 0
    gaps = np.where(follows, np.diff(ticks, prepend=0), 0)
    cells = np.where(follows, cells_at(table.steps[0], gaps), 0)
    return Events(np.column_stack([cells, others]).astype(np.uint16), persons, ticks)


def reordered(tables: Sequence[EventTable], events: Sequence[Events]) -> tuple[Events, ...]:
    """The events of all tables in the order in which rows of them would be encoded."""
    return tuple(in_order(t, e.persons, e.ticks, e.values[:, 1:]) for t, e in zip(tables, events, strict=True))


def by_chance(whose: Identifiers, rows: npt.NDArray[np.integer]) -> Hashes:
    """(rows,) a number for each row of a set that follows from its person's identifier and what it holds. rows: (rows, columns).

    Rows stand in the order of these numbers, which is another one for every person, so that none of what they hold comes first.
    """
    texts = np.array(whose.distinct.to_pylist(), dtype=object)
    people: Hashes = pd.util.hash_array(texts, categorize=False) if len(texts) else np.empty(0, np.uint64)
    found = people[whose.places]
    for column in rows.T:
        found = _mixed(found ^ column.astype(np.uint64))
    return found


def drawn_order(persons: IntArray, chance: Hashes) -> IntArray:
    """(rows,) the order by persons, and of a person by ``chance``; equal rows are not beside each other for that."""
    order = np.lexsort((chance, persons))
    again = np.diff(persons[order], prepend=-1) == 0
    again &= np.diff(chance[order], prepend=np.uint64(0)) == 0
    firsts = np.flatnonzero(~again)
    number = np.arange(len(order)) - np.repeat(firsts, np.diff(np.append(firsts, len(order))))
    mixed = np.where(number > 0, _mixed(chance[order] ^ number.astype(np.uint64)), chance[order])
    return np.asarray(order[np.lexsort((mixed, persons[order]))], np.int64)


def _mixed(numbers: Hashes) -> Hashes:
    """(rows,) numbers of 64 bits, each bit of which follows from all of those given (Steele et al. 2014, splitmix64)."""
    found = numbers + np.uint64(0x9E3779B97F4A7C15)
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = found ^ (found >> np.uint64(31))
    return mixed
