"""The order of a person's events: by time, and at one time by what rules say and their values, so that nothing depends on the order in a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cohortium.data.columns.encoding import cells_at
from cohortium.data.encoding import Events
from cohortium.data.events import EventTable

IntArray = npt.NDArray[np.int64]


def in_order(table: EventTable, persons: IntArray, ticks: IntArray, others: npt.NDArray[np.integer]) -> Events:
    """The events of a table in their order, with the time since the event before.

    persons, ticks: (events,) as in ``Events``, in any order. others: (events, columns but the gap) cells.
    """
    order = np.lexsort((*reversed(others.T), *reversed(table.ranks(others)), ticks, persons))
    persons, ticks, others = persons[order], ticks[order], others[order]
    follows = np.diff(persons, prepend=-1) == 0
    gaps = np.where(follows, np.diff(ticks, prepend=0), 0)
    cells = np.where(follows, cells_at(table.steps[0], gaps), 0)
    return Events(np.column_stack([cells, others]).astype(np.uint16), persons, ticks)


def reordered(tables: Sequence[EventTable], events: Sequence[Events]) -> tuple[Events, ...]:
    """The events of all tables in the order in which rows of them would be encoded."""
    return tuple(in_order(t, e.persons, e.ticks, e.values[:, 1:]) for t, e in zip(tables, events, strict=True))
