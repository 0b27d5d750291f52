"""Persons with events in codes, and queries about the steps between these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cohortium.data.encoding import Codes, Events
from cohortium.neural.state import write_state
from cohortium.queries.contexts import Context, Track
from cohortium.queries.steps import Asked, Steps, contexts_of

STAYS = Track((40, 3, 5), (40, 0, 5), 365, 20, day=1, weekday=3)
LABS = Track((70, 2, 9, 4), (70, 0, 8, 0), 24 * 30, 30_000, day=24)
TWO = (STAYS, LABS)
OWN = (2, 5, 7)
FEWER = (2, 4, 7, *(6, 3, 5), *(9, 2, 4, 4))


def asking(*tracks: Track, fewer: tuple[int, ...] = (), own: tuple[int, ...] = OWN, **more: Any) -> Steps:
    """All that a study would ask of such tracks."""
    singles = (*own, *(size for track in tracks for size in track.sizes))
    merged = fewer or singles
    ends = np.cumsum([len(own), *(len(track.sizes) for track in tracks)]).tolist()
    asked = [
        Asked(t, *one)
        for t, track in enumerate(tracks)
        for one in contexts_of(track.merged(merged[ends[t] : ends[t + 1]]), tuple(range(len(own))), bool(track.day))
    ]
    return at_merged(Steps(own, tracks, tuple(asked), merged, **{"clip": 2.0, **more}), 1)


def in_one_context(track: Track, *asked: tuple[Context, int, int], **more: Any) -> Steps:
    """A few tables of a single track, in cells as they are declared."""
    tables = tuple(Asked(0, *one) for one in asked)
    return at_merged(Steps(OWN, (track,), tables, (*OWN, *track.sizes), **{"clip": 2.0, **more}), 1)


def at_merged(query: Steps, seed: int) -> Steps:
    """The query at merged cells drawn at random, neighbours or not; all in the first or the last one at negative seeds."""
    rng = np.random.default_rng(abs(seed))
    sizes = zip(query.merged, query.cells_of_each, strict=True)
    ends = {-1: lambda k, n: np.zeros(n), -2: lambda k, n: np.full(n, k - 1)}
    choice = ends.get(seed, lambda k, n: rng.integers(0, k, n))
    return query.with_state(write_state({"cells": np.concatenate([choice(k, n) for k, n in sizes]).astype(np.float64)}))


def as_declared(query: Steps) -> Steps:
    """The query at the state in which every cell is one by itself."""
    return query.with_state(
        write_state({"cells": np.concatenate([np.arange(n) for n in query.cells_of_each]).astype(float)})
    )


def lived(
    tracks: Sequence[Track], sizes: tuple[int, ...], steps: int, people: int, seed: int, kind: str = "any"
) -> Codes:
    """Persons with so many steps in every track, and some of many without any event. A person's first event is no step.

    sizes: cells of the persons' columns. kind: which cells and times, "any", or the "first" or "last" ones alone.
    """
    rng = np.random.default_rng(seed)
    owners = [rng.integers(0, people, steps) for _ in tracks]
    idle = rng.integers(people, people + 9, 3 if people > 1 else 0)
    known = np.unique(np.concatenate([*owners, idle, np.zeros(int(people == 1), np.int64)])).astype(np.int64)
    whose = [np.searchsorted(known, one) for one in owners]
    tables = tuple(_events(track, one, rng, kind) for track, one in zip(tracks, whose, strict=True))
    return Codes(_cells(sizes, len(known), rng, kind).astype(np.uint8), known * 7919 - 5, sizes, events=tables)


def _events(track: Track, whose: np.ndarray, rng: np.random.Generator, kind: str) -> Events:
    """A step for each of ``whose``, positions of persons in any order, and one event before the first one of each."""
    persons = np.sort(np.concatenate([whose, np.unique(whose)])).astype(np.int64)
    ticks = _cells((track.grid,), len(persons), rng, kind)[:, 0].astype(np.int64)
    values = _cells(track.sizes, len(persons), rng, kind).astype(np.uint16)
    values[np.diff(persons, prepend=-1) > 0, 0] = 0
    return Events(values, persons, ticks[np.lexsort((ticks, persons))])


def _cells(sizes: Sequence[int], rows: int, rng: np.random.Generator, kind: str) -> np.ndarray:
    if not sizes:
        return np.zeros((rows, 0))
    drawn = {
        "any": lambda k: rng.integers(0, k, rows),
        "first": lambda k: np.zeros(rows),
        "last": lambda k: np.full(rows, k - 1),
    }[kind]
    return np.stack([drawn(k) for k in sizes], 1)


def alone(codes: Codes, person: int) -> Codes:
    """One person by position, with that person's events."""
    events = []
    for one in codes.events:
        theirs = one.persons == person
        events.append(Events(one.values[theirs], np.zeros(int(theirs.sum()), np.int64), one.ticks[theirs]))
    part = slice(person, person + 1)
    return Codes(codes.values[part], codes.persons[part], codes.sizes, events=tuple(events))
