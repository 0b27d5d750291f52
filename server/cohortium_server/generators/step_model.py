"""The model of one table of events: how the next event follows from what is known, and the drawing of whole histories.

Each column of a step has a chance that is log-linear in what is known: softmax(bias + the sum over contexts of what each says of the
column's cells). The gap is chosen among candidates, one in each of its cells, which also weigh by where they land.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import Continuous
from cohortium.data.columns.encoding import cells_at
from cohortium.data.encoding import Events
from cohortium.data.event_rules import Ban
from cohortium.data.events import EventTable
from cohortium.queries.contexts import NONE, Known, Track, asks_seen, cells_of, landing
from cohortium.queries.steps import Asked
from cohortium_server.generators.cells import Cells
from cohortium_server.generators.event_masks import IMPOSSIBLE, Mask, drawn

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Beginnings:
    """Of some persons what their histories begin with.

    person: (persons, columns) merged cells. length: (persons,) how many events. tick: (persons,) when the first one is. values:
    (persons, columns of a step) cells of the schema of the first event; of its gap 0.
    """

    person: IntArray
    length: IntArray
    tick: IntArray
    values: IntArray

    def at(self, order: IntArray) -> Beginnings:
        return Beginnings(self.person[order], self.length[order], self.tick[order], self.values[order])


@dataclass(frozen=True)
class StepModel:
    """table: as declared. track: with merged cells. cells: of the columns of a step. asked: the tables of this track.

    bias: by column, (cells,) logits. effects: by asked table, (context's cells, column's cells) what is added to them; of a table of
    where an event lands, one column.
    """

    table: EventTable
    track: Track
    cells: Cells
    asked: tuple[Asked, ...]
    bias: tuple[FloatArray, ...]
    effects: tuple[FloatArray, ...]

    def ordered(self, column: int) -> int:
        """How many merged cells of a column of a step, its first ones, lie in an order."""
        single = self.track.ordered[column]
        return int(self.cells.merged_of(column)[:single].max()) + 1 if single else 0

    def logits(self, column: int, known: Known) -> FloatArray:
        """(n, cells) of a column of the next event, given what is known of each."""
        total = np.repeat(self.bias[column][None], len(known.number), axis=0)
        for asked, effect in zip(self.asked, self.effects, strict=True):
            if asked.next == column:
                cells = cells_of(asked.context, known, self.track)
                for k in range(cells.shape[1]):
                    there = cells[:, k] != NONE
                    total[there] += effect[cells[there, k]]
        return total

    def landed(self, ticks: IntArray) -> FloatArray:
        """What falling on each of ``ticks`` adds, in their shape."""
        total = np.zeros(ticks.shape)
        for asked, effect in zip(self.asked, self.effects, strict=True):
            if asked.context.lands:
                total += effect[landing(asked.context, ticks, self.track), 0]
        return total

    @cached_property
    def gaps(self) -> IntArray:
        """(cells, 2) of each merged cell of the gap the first tick in it and the first one behind it; both 0 where it is empty."""
        column, merged = self.table.steps[0], self.cells.merged_of(0)
        assert isinstance(column, Continuous)  # noqa: S101 - ``EventTable.steps`` begins with one
        ends = np.zeros((self.track.sizes[0], 2), np.int64)
        for cell in np.unique(merged):
            inside = np.flatnonzero(merged == cell)
            ends[cell] = column.cuts[inside[0]], column.cuts[inside[-1] + 1]
        return ends

    def roll(self, begin: Beginnings, rng: np.random.Generator) -> Events:
        """The events of all persons, whole histories, one event after the other for everybody at once."""
        order = np.argsort(-begin.length, kind="stable")  # who has most events first: who is still there comes first
        rolled = _Roll(self, begin.at(order), rng)
        parts = [rolled.first()]
        while (alive := rolled.alive) > 0:
            parts.append(rolled.next(alive))
        persons, ticks, gaps, values = (np.concatenate(column) for column in zip(*parts, strict=True))
        single = self.cells.spread(values.astype(np.int16), rng, {}).astype(np.int64)
        first = len(parts[0][0])
        single[:first] = begin.at(order).values[:first]
        single[first:, 0] = gaps[first:]
        for mask in rolled.masks.values():
            single[first:, mask.ban.column] = mask.drawn_so_far
        whose = order[persons]
        together = np.argsort(whose, kind="stable")
        return Events(single[together].astype(np.int16), whose[together], ticks[together])


class _Roll:
    """Histories on their way. Persons stand in the order of their lengths, so that those with more events to come are the first ones."""

    def __init__(self, model: StepModel, begin: Beginnings, rng: np.random.Generator) -> None:
        self.model, self.begin, self.rng = model, begin, rng
        self.number, self.tick = 1, begin.tick.copy()
        self.values = model.cells.merge(begin.values.astype(np.int16)).astype(np.int64)
        self.sums = self.values.copy()
        self.sums[:, 0] = 0
        self.previous = self.values.copy()
        self.previous[:, 0] = model.track.sizes[0]
        self.masks = {b.column: self._mask(b) for b in model.table.bans}
        self.seen = {j: self._first_seen(j) for j in range(len(model.track.sizes)) if asks_seen(model.track, j)}

    def _mask(self, ban: Ban) -> Mask:
        j = ban.column
        return Mask(ban, self.model.cells, self.model.track.sizes[j], self.begin.values[:, j])

    def _first_seen(self, j: int) -> BoolArray:
        seen: BoolArray = self.values[:, j, None] == np.arange(self.model.track.sizes[j])
        return seen

    @property
    def alive(self) -> int:
        """How many persons have more events than there are yet."""
        return int(np.searchsorted(-self.begin.length, -self.number, side="left"))

    def first(self) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        there = int(np.searchsorted(-self.begin.length, 0, side="left"))
        return np.arange(there), self.tick[:there].copy(), np.zeros(there, np.int64), self.values[:there].copy()

    def next(self, alive: int) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """Whose, when, cells of the gap, and merged cells of the next event of those who have one."""
        known = self._known(alive)
        gap, here = self._gap(known), known.here
        here[:, 0] = self.model.cells.merged_of(0)[gap_cells := cells_at(self.model.table.steps[0], gap)]
        known = replace(known, tick=known.before + gap)
        for j in range(1, here.shape[1]):
            logits = self.model.logits(j, known)
            if j in self.masks:
                here[:, j] = self.masks[j].draw(logits, known.length - known.number - 1, self.rng)
            else:
                here[:, j] = drawn(logits, self.rng)
        self._took(alive, known)
        return np.arange(alive), known.tick, gap_cells, here.copy()

    def _known(self, alive: int) -> Known:
        part = slice(alive)
        number = np.full(alive, self.number, np.int64)
        here, before = np.zeros((alive, len(self.model.track.sizes)), np.int64), self.tick[part]
        person, length = self.begin.person[part], self.begin.length[part]
        seen = {j: s[part] for j, s in self.seen.items()}
        return Known(person, self.previous[part], here, number, length, before, before, self.sums[part], seen)

    def _took(self, alive: int, known: Known) -> None:
        part = slice(alive)
        self.tick[part] = known.tick
        self.previous[part] = known.here
        self.sums[part] += known.here
        for j, seen in self.seen.items():
            seen[np.arange(alive), known.here[:, j]] = True
        self.number += 1

    def _gap(self, known: Known) -> IntArray:
        """(n,) ticks until the next event: a candidate in each cell, one of which is chosen.

        What is fitted is relative to events that know nothing of each other: those to come spread evenly over the time that is left.
        """
        left, many = known_left(known, self.model.track)
        low, high = (np.minimum(end[None], left[:, None]) for end in self.model.gaps.T)
        later, after = (
            _later(ticks, left, many) for ticks in (low, high)
        )  # chances that all to come are at or behind these
        chance = later - after
        points = after + self.rng.random(chance.shape) * chance
        candidates = np.floor(left[:, None] * -np.expm1(np.log(np.maximum(points, 1e-300)) / many[:, None]))
        inside = np.clip(candidates, low, np.maximum(high - 1, low))
        ticks: IntArray = np.minimum(inside, left[:, None] - 1).astype(np.int64)
        logits = self.model.logits(0, known) + np.where(high > low, np.log(np.maximum(chance, 1e-300)), IMPOSSIBLE)
        logits += self.model.landed(known.before[:, None] + ticks)
        chosen = drawn(logits, self.rng)
        found: IntArray = ticks[np.arange(len(chosen)), chosen]
        return found


def known_left(known: Known, track: Track) -> tuple[IntArray, IntArray]:
    """(n,) how many ticks are left, the one of the event before among them, and how many events are to come."""
    return track.grid - known.before, known.length - known.number


def _later(ticks: IntArray, left: IntArray, many: IntArray) -> FloatArray:
    """(n, cells) the chance that none of ``many`` events, evenly spread over ``left`` ticks, is earlier than ``ticks``."""
    chance: FloatArray = (1 - ticks / left[:, None]) ** many[:, None]
    return chance


def centred(effects: Sequence[FloatArray], asked: Sequence[Asked]) -> tuple[FloatArray, ...]:
    """The same model with effects of mean 0 over what they are effects on."""
    axes = [0 if a.context.lands else 1 for a in asked]
    return tuple(e - e.mean(axis=axis, keepdims=True) for e, axis in zip(effects, axes, strict=True))


def tensors_of(models: Sequence[StepModel]) -> dict[str, FloatArray]:
    """All that is fitted, by name."""
    found: dict[str, FloatArray] = {}
    for t, model in enumerate(models):
        found |= {f"steps.{t}.{name}": np.asarray(value) for name, value in model.cells.tensors().items()}
        found |= {f"steps.{t}.bias.{j}": bias for j, bias in enumerate(model.bias)}
        found |= {f"steps.{t}.effect.{k}": effect for k, effect in enumerate(model.effects)}
    return found


def restored(model: StepModel, tensors: Mapping[str, FloatArray], t: int) -> StepModel:
    """The model with what ``tensors_of`` gave of it; ValueError or KeyError where that is another's."""
    bias = tuple(tensors[f"steps.{t}.bias.{j}"].astype(np.float64) for j in range(len(model.bias)))
    effects = tuple(tensors[f"steps.{t}.effect.{k}"].astype(np.float64) for k in range(len(model.effects)))
    shapes = [x.shape for x in (*bias, *effects)]
    if shapes != [x.shape for x in (*model.bias, *model.effects)]:
        raise ValueError("steps")
    return replace(model, bias=bias, effects=effects)
