"""What a study asks about events: from each table of events of its schema, the steps from one event to the next."""

from __future__ import annotations

from cohortium.data.binning import merged_sizes, ordered_cells
from cohortium.data.columns import SECONDS, Datetime
from cohortium.data.events import EventTable
from cohortium.data.schema import Schema
from cohortium.queries.contexts import Track
from cohortium.queries.event_histograms import EventHistograms
from cohortium.queries.steps import Asked, Steps, contexts_of
from cohortium.study.generators import Histories
from cohortium.study.study import Study

EARLIER = {
    "columns": 0.08,
    "events": 0.08,
    "pairs": 0.18,
}  # the part of the budget of each phase but the last, the steps


def step_schema(table: EventTable) -> Schema:
    """The columns of a step as a table of their own."""
    return Schema(name=table.name, columns=table.steps)


def track_of(table: EventTable) -> Track:
    """What counts need of a table of events."""
    ordered, day, weekday = tuple(map(ordered_cells, table.steps)), 0, 0
    if isinstance(table.clock, Datetime):
        day = SECONDS["day"] // SECONDS[table.clock.resolution]
        weekday = table.clock.lower.weekday()
    return Track(table.sizes, ordered, table.grid, table.most, day, weekday)


def tracks_of(schema: Schema) -> tuple[Track, ...]:
    return tuple(map(track_of, schema.tables))


def event_query(study: Study, clip: float) -> EventHistograms:
    """Every column of the steps by itself, which decides what cells are merged."""
    return EventHistograms(tracks_of(study.schema), clip)


def step_query(study: Study, chosen: Histories) -> Steps:
    """Every column of the steps in every context, over merged cells."""
    schema, tracks = study.schema, tracks_of(study.schema)
    steps = [merged_sizes(step_schema(table), chosen.bins) for table in schema.tables]
    merged = (*merged_sizes(schema, chosen.bins), *(size for sizes in steps for size in sizes))
    own = tuple(range(len(schema.own)))
    asked = tuple(
        Asked(t, context, column, weight)
        for t, (track, sizes) in enumerate(zip(tracks, steps, strict=True))
        for context, column, weight in contexts_of(track.merged(sizes), own, bool(track.day))
    )
    return Steps(schema.sizes, tracks, asked, merged, chosen.clip)
