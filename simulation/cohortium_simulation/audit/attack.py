"""Attacks with canaries: for each of them a score, from which detectors A and B tell who was there.

An attacker knows the study, the canaries and the institutions they would be in, everything but the coins. A score is
the sum of the coordinates that only its canary moves, each weighed by what it tells over its noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium.plan import Phase, met
from cohortium.privacy.accounting import Events, Gaussian, repeated
from cohortium.queries.local_training import OUT_GRID, LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium_server.journal import new_run
from cohortium_simulation.audit.canaries import Canaries, Design, Table, design, draw
from cohortium_simulation.audit.detectors import BoolArray
from cohortium_simulation.audit.noise_law import as_sent, count_runs, training_state, units_of
from cohortium_simulation.audit.path import Outputs, Path, Question

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ROUNDS = 2  # of a phase, at most, that an attack listens to
MOST_ROWS = 4_000_000
STILL = 4096.0  # units of the message that a training's noise spans, so that its model hardly moves


@dataclass(frozen=True)
class View:
    """What an attacker sees of a phase, and what is claimed of it.

    score: (canaries,) from the outputs of the rounds listened to; their noise is 1, and more where persons are sampled.
    shift: by how much a canary should move its score. most: by how much a person may. events: what was claimed.
    """

    seen: str
    score: Callable[[Canaries, Sequence[Outputs]], FloatArray]
    shift: float
    most: float
    events: Events


@dataclass(frozen=True)
class Attack:
    """rounds: numbers of the rounds listened to. state: the model they are asked at."""

    design: Design
    rounds: tuple[int, ...]
    state: bytes
    views: tuple[View, ...]


@dataclass(frozen=True)
class Scores:
    """Of every canary of an attack a score, and whether it was there."""

    view: View
    scores: FloatArray
    included: BoolArray


def attack_on(path: Path, phase: Phase, first: int, wanted: int, alpha: float) -> Attack:
    """The attack on a phase whose first round is ``first`` with about ``wanted`` canaries."""
    wanted = min(wanted, MOST_ROWS // rows_each(path))
    match phase.query:
        case Marginals() as query:
            return _on_counts(path, phase, query, first, wanted, alpha)
        case LocalTraining() as query:
            rounds = tuple(range(first, first + min(ROUNDS, phase.rounds)))
            return _on_training(path, query, phase.multiplier, rounds, wanted, alpha)
        case _:
            raise NotImplementedError(phase.query.kind)


def rows_each(path: Path) -> int:
    """A canary's rows: many more than may count. Without a person column every row is its own person."""
    p = path.study.privacy
    return 1 if path.study.schema.person is None else max(8, 2 * p.rows_per_person)


def drawn(path: Path, chosen: Design) -> Canaries:
    return draw(path.study.schema.sizes, chosen, path.holders, _held(path), rows_each(path))


def _held(path: Path) -> int:
    """How many institutions a canary is in: as many as a person may be in, if there are so many."""
    return min(path.study.privacy.institutions_per_person, path.holders)


def carry_out(path: Path, attack: Attack, tell: Callable[[], None]) -> list[Scores]:
    """Run the attack, with fresh canaries in every run. ``tell`` is called after each."""
    found: list[tuple[BoolArray, list[FloatArray]]] = []
    for _ in range(attack.design.runs):
        canaries = drawn(path, attack.design)
        heard = _listen(path, canaries, attack)
        found.append((canaries.included, [view.score(canaries, heard) for view in attack.views]))
        tell()
    included = np.concatenate([there for there, _ in found])
    return [Scores(v, np.concatenate([s[k] for _, s in found]), included) for k, v in enumerate(attack.views)]


def _listen(path: Path, canaries: Canaries, attack: Attack) -> list[Outputs]:
    """The outputs of the attack's rounds; those before them are asked as well, because rounds come in order."""
    custodians, run, outputs = path.custodians(canaries), new_run(), []
    for number in range(attack.rounds[-1] + 1):
        state = attack.state if number in attack.rounds else b""
        outputs.append(path.ask(custodians, Question(run, number, 0, state)))
    return outputs[attack.rounds[0] :]


def _own(canaries: Canaries, by_institution: FloatArray) -> FloatArray:
    """(canaries,) from (institutions, canaries): summed over the institutions that each is in."""
    found: FloatArray = by_institution[canaries.homes.T, np.arange(len(canaries.homes))].sum(0)
    return found


# Counts


def _on_counts(path: Path, phase: Phase, query: Marginals, first: int, wanted: int, alpha: float) -> Attack:
    held, shares, tables = _held(path), path.shares(phase), _Tables(query, phase.multiplier)
    most = path.study.privacy.institutions_per_person / math.sqrt(shares)  # a sum moves by more than a message
    whole = query.rows_per_person * query.grid * math.sqrt(math.fsum(tables.told.values()))
    moved = whole * (math.sqrt(held) if path.messages_are_seen else held / math.sqrt(shares))
    chosen = design(query.sizes, tables.told, moved, wanted, alpha)
    reach = whole * math.sqrt(chosen.share)

    def of_messages(canaries: Canaries, heard: Sequence[Outputs]) -> FloatArray:
        messages = heard[0].messages if heard[0].messages is not None else ()
        each = np.stack([tables.score(chosen.tables, canaries, m) for m in messages])
        return _own(canaries, each) / math.sqrt(held)

    def of_sum(canaries: Canaries, heard: Sequence[Outputs]) -> FloatArray:
        return tables.score(chosen.tables, canaries, heard[0].total) / math.sqrt(shares)

    one_message, own = reach * math.sqrt(held), repeated(query.events(phase.multiplier), held)
    views = (
        View("messages", of_messages, one_message, one_message, own),
        View("sum", of_sum, reach * held / math.sqrt(shares), reach * most, _claimed_of_sum(path, phase)),
    )
    return Attack(chosen, (first,), b"", views if path.messages_are_seen else views[1:])


def _claimed_of_sum(path: Path, phase: Phase) -> Events:
    """Under masks what is charged; else what the public's claim rests on (guarantee.py, steps 1 to 3)."""
    if not path.messages_are_seen:
        return met(path.study, phase.answer_events)
    (one,) = phase.query.events(math.sqrt(path.shares(phase)) * phase.multiplier)
    return (Gaussian(one.noise_multiplier / path.study.privacy.institutions_per_person),)


class _Tables:
    """The tables of a query and their noise. told: what one grid unit in each is worth, squared."""

    def __init__(self, query: Marginals, multiplier: float) -> None:
        runs = count_runs(query, multiplier)
        self.told = {t: sigma**-2 for t, (_, sigma) in zip(query.tables, runs, strict=True)}
        ends = np.cumsum([0, *query.lengths])
        self.parts = {t: slice(*ends[i : i + 2]) for i, t in enumerate(query.tables)}

    def score(self, tables: tuple[Table, ...], canaries: Canaries, values: IntArray) -> FloatArray:
        """(canaries,) with noise of scale 1 for one message."""
        summed = np.zeros(len(canaries.rows))
        for t in tables:
            summed += values[self.parts[t]][canaries.cells(t)] * self.told[t]
        return summed / math.sqrt(math.fsum(self.told[t] for t in tables))


# Training


def _on_training(
    path: Path, query: LocalTraining, multiplier: float, rounds: tuple[int, ...], wanted: int, alpha: float
) -> Attack:
    held, coordinates = path.study.privacy.institutions_per_person, _Coordinates(query)
    heard_of = query.steps * len(rounds) * held
    most = query.sampling_rate * math.sqrt(heard_of) / multiplier
    whole = most * min(coordinates.norm * query.rows_per_person / query.clip, 1.0)
    copies = len(path.institutions) if held == 1 else 1
    chosen = design(query.sizes, coordinates.told, whole, wanted, alpha, copies)
    reach = whole * math.sqrt(chosen.share * math.fsum(coordinates.told.values())) / coordinates.norm
    rate = as_sent(STILL * query.sampling_rate / (query.clip * multiplier * math.sqrt(query.steps) * OUT_GRID))
    sigma = multiplier * query.clip_units(multiplier) * math.sqrt(heard_of)

    def of_messages(canaries: Canaries, heard: Sequence[Outputs]) -> FloatArray:
        messages: IntArray = np.sum([h.messages for h in heard if h.messages is not None], axis=0, dtype=np.int64)
        summed = units_of(query, multiplier, rate, messages)
        each = np.stack([coordinates.score(chosen.tables, canaries, one) for one in summed])
        return _own(canaries, each) / sigma

    events = repeated(query.events(multiplier), len(rounds) * held)
    view = View("messages", of_messages, reach, most, events)
    return Attack(chosen, rounds, training_state(query, rate), (view,) if path.messages_are_seen else ())


class _Coordinates:
    """Where a row's gradient at parameters of zero lies: error x one-hot inputs, the error being 1/s everywhere in a
    column of s cells and 1/s - 1 at the row's own.

    A table is a column's bias, or an (output, input) pair of columns. told: what the row's own coordinate of each tells:
    its square, less what ``Made.evened`` takes from it. norm: of the whole gradient of a row.
    """

    def __init__(self, query: LocalTraining) -> None:
        self.sizes, self.rank = query.sizes, {j: r for r, j in enumerate(query.order)}
        self.error = [1 - 1 / s for s in query.sizes]
        columns = range(len(query.sizes))
        self.inputs = {j: [i for i in columns if self.rank[i] < self.rank[j]] for j in columns}
        self.told: dict[Table, float] = {(j,): self.error[j] ** 2 for j in columns if self.error[j]}
        for j in columns:
            self.told |= {(j, i): self.error[j] ** 2 * self.error[i] for i in self.inputs[j] if self.error[i]}
        self.norm = math.sqrt(sum(e * (self.rank[j] + 1) for j, e in enumerate(self.error)))
        self.weights = sum(query.sizes[j] * self._row(j) for j in columns)

    def _row(self, j: int) -> int:
        """Weights of one of an output column's cells."""
        return sum(self.sizes[i] for i in self.inputs[j])

    def score(self, tables: tuple[Table, ...], canaries: Canaries, gradient: FloatArray) -> FloatArray:
        """(canaries,) against the gradient, with the noise of one coordinate."""
        summed = np.zeros(len(canaries.rows))
        for t in tables:
            summed -= gradient[self._place(canaries, t)] * self.error[t[0]]
        return summed / math.sqrt(math.fsum(self.told[t] for t in tables))

    def _place(self, canaries: Canaries, table: Table) -> IntArray:
        """(canaries,) the position of each one's own coordinate among the parameters (``Made.pack``)."""
        j, code = table[0], canaries.rows[:, table[0]]
        if len(table) == 1:
            return self.weights + sum(self.sizes[:j]) + code
        before = sum(self.sizes[k] * self._row(k) for k in range(j))
        offset = sum(self.sizes[i] for i in self.inputs[j] if i < table[1])
        return before + code * self._row(j) + offset + canaries.rows[:, table[1]]
