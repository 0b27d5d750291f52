"""Laws of counting steps: what is known before an event, and what a person adds, against going through the events one by one."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import LABS, OWN, STAYS, TWO, alone, as_declared, asking, at_merged, lived

from cohortium.data.encoding import Codes
from cohortium.queries import clipped
from cohortium.queries.clipped import FINE, Clipped
from cohortium.queries.contexts import NONE, Context, Kind, Track, cells_of, size_of, steps_of
from cohortium.queries.event_histograms import EventHistograms
from cohortium.queries.steps import Steps, contexts_of

SEEDS = st.integers(0, 2**32 - 1)
MINUTES = Track((30, 6, 4), (30, 6, 0), 3 * 1440, 40, day=1440, weekday=6)
TINY = Track((2, 65), (2, 0), 1, 2)  # one tick, at most two events, and more cells than are asked one by one
EVENTS = EventHistograms(TWO, 1.0, 16)
STEPS = asking(*TWO, grid=16, clip=1.0)


@dataclass(frozen=True)
class Event:
    tick: int
    cells: tuple[int, ...]


def expected(context: Context, track: Track, person: tuple[int, ...], events: list[Event], k: int) -> list[int]:
    """The cells of a context that event ``k`` of a person is in, 1 being the one after the first; in plain words."""
    event, before, column, earlier = events[k], events[k - 1], context.column, events[:k]
    steps_left = len(events) - k
    words: dict[str, Callable[[], list[int]]] = {
        "previous": lambda: [track.sizes[0] if (column, k) == (0, 1) else before.cells[column]],
        "mean": lambda: [math.floor(Fraction(sum(e.cells[column] for e in earlier), k) + Fraction(1, 2))],
        "seen": lambda: sorted({e.cells[column] for e in earlier}),
        "here": lambda: [event.cells[column]],
        "person": lambda: [person[column]],
        "pace": lambda: [bisect_right(track.paces.tolist(), (track.grid - before.tick) // (steps_left + 1))],
        "length": lambda: [max(i for i, least in enumerate(track.lengths.tolist()) if least <= len(events))],
        "when": lambda: [math.floor(Fraction(12 * before.tick, track.grid))],
        "window": lambda: [math.floor(Fraction(12 * event.tick, track.grid))],
        "weekday": lambda: [(track.weekday + event.tick // track.day) % 7],
        "hour": lambda: [math.floor(Fraction(24 * (event.tick % track.day), track.day))],
        "any": lambda: [0],
    }
    return words[context.kind]()


def events_of(codes: Codes, track: int, person: int) -> list[Event]:
    one = codes.events[track]
    rows = [i for i, whose in enumerate(one.persons.tolist()) if whose == person]
    return [Event(int(one.ticks[i]), tuple(one.values[i].tolist())) for i in rows]


def every_context(track: Track) -> list[Context]:
    asked = {context for context, _, _ in contexts_of(track, tuple(range(len(OWN))), bool(track.day))}
    return sorted(asked | {Context("any"), Context("when"), Context("window")}, key=lambda c: (c.kind, c.column))


@given(seed=SEEDS, steps=st.integers(0, 60), people=st.sampled_from([1, 3, 40]))
@settings(max_examples=examples(60))
@pytest.mark.parametrize("track", [STAYS, LABS, MINUTES, TINY], ids=["days", "hours", "minutes", "tiny"])
def test_what_is_known_is_what_one_would_say(track: Track, seed: int, steps: int, people: int) -> None:
    codes = lived((track,), OWN, steps, people, seed)
    one = codes.events[0]
    known = steps_of(one.persons, one.ticks, one.values, codes.values[one.persons].astype(np.int64), track)
    for context in every_context(track):
        cells = cells_of(context, known, track)
        found = [[c for c in row if c != NONE] for row in cells.tolist()]
        wanted = [
            expected(context, track, tuple(codes.values[person].tolist()), events, k)
            for person in range(len(codes))
            for events in [events_of(codes, 0, person)]
            for k in range(1, len(events))
        ]
        assert found == wanted, context
        assert all(0 <= c < size_of(context, track, OWN) for row in found for c in row)


def test_all_kinds_of_contexts_are_tried() -> None:
    assert {c.kind for track in (STAYS, LABS, MINUTES, TINY) for c in every_context(track)} == set(get_args(Kind))


def happened(query: Clipped, codes: Codes, person: int) -> Counter[int]:
    """How often what is counted in each cell of the answer happened to a person."""
    return Counter(_steps(query, codes, person) if isinstance(query, Steps) else _single(query, codes, person))


def _single(query: EventHistograms, codes: Codes, person: int) -> Iterator[int]:
    start = 0
    for level, length in zip(query.levels, query.lengths, strict=True):
        for event in events_of(codes, level.track, person)[: query.tracks[level.track].most][1:]:
            yield start + int(level.cells[event.cells[level.column]])
        start += length


def _steps(query: Steps, codes: Codes, person: int) -> Iterator[int]:
    merged = np.split(query.cells, np.cumsum(query.cells_of_each)[:-1])
    own = len(query.sizes)
    who = tuple(int(merged[j][cell]) for j, cell in enumerate(codes.values[person].tolist()))
    start = 0
    for asked, length in zip(query.asked, query.lengths, strict=True):
        first = own + sum(len(track.sizes) for track in query.tracks[: asked.track])
        events = [
            Event(e.tick, tuple(int(merged[first + j][cell]) for j, cell in enumerate(e.cells)))
            for e in events_of(codes, asked.track, person)[: query.tracks[asked.track].most]
        ]
        if events:
            events[0] = replace(events[0], cells=(0, *events[0].cells[1:]))
        track, (_, across) = query.seen_tracks[asked.track], query.shape(asked)
        for k in range(1, len(events)):
            for cell in expected(asked.context, track, who, events, k):
                yield start + cell * across + (0 if asked.next < 0 else events[k].cells[asked.next])
        start += length


def weights_of(query: Clipped) -> list[int]:
    return [w for w, n in zip(query.weights, query.lengths, strict=True) for _ in range(n)]


@given(
    seed=SEEDS, steps=st.integers(0, 40), clip=st.sampled_from([0.1, 0.7, 2.0, 30.0, 1000.0]), grid=st.integers(1, 500)
)
@settings(max_examples=examples(40))
@pytest.mark.parametrize("query", [EVENTS, STEPS], ids=["events", "steps"])
def test_a_person_adds_what_happened_at_most_as_long_as_the_clip(
    query: Clipped, seed: int, steps: int, clip: float, grid: int
) -> None:
    """Exactly: the counts, times the length that is allowed over their own, rounded down; and all of them where they are shorter."""
    query = replace(query, clip=clip, grid=grid)  # type: ignore[type-var]
    if isinstance(query, Steps):
        query = at_merged(query, seed)
    codes = lived(TWO, OWN, steps, 1, seed)
    added, weights, often = query.count(codes).tolist(), weights_of(query), happened(query, codes, 0)
    most = math.floor(clip * math.sqrt(sum(query.weights)) * grid * FINE)
    squares = sum(weights[cell] * n * n for cell, n in often.items())
    length = math.isqrt(squares * FINE * FINE - 1) + 1 if squares else 1
    for cell, k in enumerate(added):
        n = often[cell]
        assert min(n * grid, n * most // (length + 2)) <= k <= min(n * grid, n * most // length)
    total = sum(w * k * k for w, k in zip(weights, added, strict=True))
    assert total * FINE * FINE <= most * most
    assert Fraction(query.sensitivity) ** 2 * FINE * FINE >= most * most
    assert query.sensitivity <= clip * math.sqrt(sum(query.weights)) * grid * (1 + 1e-11)


@given(seed=SEEDS, steps=st.integers(0, 60), people=st.sampled_from([1, 5, 40]), block=st.integers(1, 80))
@settings(max_examples=examples(40))
@pytest.mark.parametrize("query", [EVENTS, STEPS], ids=["events", "steps"])
def test_a_sum_is_what_each_person_adds_alone(query: Clipped, seed: int, steps: int, people: int, block: int) -> None:
    """Whoever else is there, and however many events are looked at together."""
    codes = lived(TWO, OWN, steps, people, seed)
    single = [query.count(alone(codes, person)) for person in range(len(codes))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clipped, "_BLOCK", block)
        found = query.count(codes)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.sum([np.zeros(query.width, np.int64), *single], axis=0))


@given(seed=SEEDS, many=st.integers(21, 400))
@settings(max_examples=examples(20))
@pytest.mark.parametrize(
    "query", [EventHistograms((STAYS,), 5.0, 16), asking(STAYS, clip=5.0, grid=16)], ids=["events", "steps"]
)
def test_more_events_than_count_change_nothing(query: Clipped, seed: int, many: int) -> None:
    """Also where codes hold more of a person than the schema lets count."""
    whole = lived((STAYS,), OWN, many, 1, seed)
    (one,) = whole.events
    first = replace(one, values=one.values[:20], persons=one.persons[:20], ticks=one.ticks[:20])
    np.testing.assert_array_equal(query.count(whole), query.count(replace(whole, events=(first,))))


def test_persons_without_two_events_add_nothing() -> None:
    codes = lived(TWO, OWN, 0, 9, 1)
    assert len(codes) and not STEPS.count(codes).any()
    one = lived(TWO, OWN, 1, 1, 1)
    first = tuple(replace(e, values=e.values[:1], persons=e.persons[:1], ticks=e.ticks[:1]) for e in one.events)
    assert STEPS.count(one).any() and EVENTS.count(one).any()
    for query in (STEPS, EVENTS):
        assert not query.count(replace(one, events=first)).any()


def test_the_cells_as_declared_are_a_state_like_any_other() -> None:
    """With every cell by itself what is counted is as one would say of the cells themselves."""
    query, codes = as_declared(asking(STAYS, clip=1000.0)), lived((STAYS,), OWN, 15, 1, 4)
    wanted = happened(query, codes, 0)
    assert {cell: n for cell, n in enumerate(query.count(codes).tolist()) if n} == dict(wanted)
