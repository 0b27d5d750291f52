"""Membership attacks with canaries: a score for each canary, from which detectors A and B infer who was included.

The attacker knows the study, the canaries and the institutions they would be in: everything but the randomness. A score is
the sum of the coordinates that only its canary moves, each weighted by its signal over its noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cohortium.privacy.accounting import Events, repeated
from cohortium.queries.counts import Counts
from cohortium.queries.gradients import GradientSum
from cohortium.queries.local_training import OUT_GRID, LocalTraining
from cohortium.study.plan import Phase, person_events
from cohortium_server.rounds.journal import new_run
from cohortium_simulation.audit.canaries import Canaries, Design, Table, best_of, design, draw, runs_of
from cohortium_simulation.audit.canary_gradients import (
    Gradients,
    as_asked,
    gradients,
    sensitivity,
    state_of,
    state_of_counts,
    step_of,
)
from cohortium_simulation.audit.detectors import BoolArray
from cohortium_simulation.audit.noise_law import as_sent, count_runs, units_of
from cohortium_simulation.audit.path import Outputs, Path, Question

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ROUNDS = 2  # of a phase, at most, that an attack observes
MOST_ROWS = 4_000_000
MOST_ENTRIES = 1 << 24  # of all canaries' gradients together
STILL = 4096.0  # units of the message that a training's noise spans, so that its model hardly moves


@dataclass(frozen=True)
class View:
    """What an attacker sees of a phase, and what is claimed of it.

    score: (canaries,) from the outputs of the observed rounds; their noise is 1, and more where persons are sampled.
    shift: by how much a canary should move its score. most: by how much a person may. events: what was claimed.
    """

    seen: str
    score: Callable[[Canaries, Sequence[Outputs]], FloatArray]
    shift: float
    most: float
    events: Events


@dataclass(frozen=True)
class Attack:
    """rounds: numbers of the observed rounds. state: the model they are asked at."""

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
        case Counts() as query:
            return _on_counts(path, phase, as_asked(query), first, wanted, alpha)
        case GradientSum() | LocalTraining() as query:
            listening = _Observation(path, phase, query, tuple(range(first, first + min(ROUNDS, phase.rounds))))
            return _on_training(listening, wanted, alpha)
        case _:
            raise NotImplementedError(phase.query.kind)


def rows_each(path: Path) -> int:
    """A canary's rows: many more than may count. Without a person column every row is its own person."""
    p = path.study.privacy
    return 1 if path.study.schema.person is None else max(8, 2 * p.rows_per_person)


def drawn(path: Path, chosen: Design) -> Canaries:
    return draw(path.study.schema.sizes, chosen, path.holders, _held(path), rows_each(path))


def _held(path: Path) -> int:
    """How many institutions a canary is in: as many as a person may be in, if there are that many."""
    return min(path.study.privacy.institutions_per_person, path.holders)


def carry_out(path: Path, attack: Attack, advance: Callable[[], None]) -> list[Scores]:
    """Run the attack, with fresh canaries in every run. ``advance`` is called after each."""
    found: list[tuple[BoolArray, list[FloatArray]]] = []
    for _ in range(attack.design.runs):
        canaries = drawn(path, attack.design)
        outputs = _observe(path, canaries, attack)
        found.append((canaries.included, [view.score(canaries, outputs) for view in attack.views]))
        advance()
    included = np.concatenate([there for there, _ in found])
    return [Scores(v, np.concatenate([s[k] for _, s in found]), included) for k, v in enumerate(attack.views)]


def _observe(path: Path, canaries: Canaries, attack: Attack) -> list[Outputs]:
    """The outputs of the attack's rounds; those before them are asked as well, because rounds come in order."""
    custodians, run, outputs = path.custodians(canaries), new_run(), []
    for number in range(attack.rounds[-1] + 1):
        state = attack.state if number in attack.rounds else state_of_counts(path.plan.phase(number).query)
        outputs.append(path.ask(custodians, Question(run, number, state=state)))
    return outputs[attack.rounds[0] :]


def _own(canaries: Canaries, by_institution: FloatArray) -> FloatArray:
    """(canaries,) from (institutions, canaries): summed over the institutions that each is in."""
    found: FloatArray = by_institution[canaries.homes.T, np.arange(len(canaries.homes))].sum(0)
    return found


# Counts


def _on_counts(path: Path, phase: Phase, query: Counts, first: int, wanted: int, alpha: float) -> Attack:
    held, shares, tables = _held(path), path.shares(phase), _Tables(query, phase.multiplier)
    most = path.study.privacy.institutions_per_person / math.sqrt(shares)  # a sum moves by more than a message
    whole = query.rows_per_person * query.grid * math.sqrt(math.fsum(tables.precisions.values()))
    moved = whole * (math.sqrt(held) if path.messages_are_seen else held / math.sqrt(shares))
    chosen = replace(design(query.counted, tables.precisions, moved, wanted, alpha), codes=query.counted)
    reach = whole * math.sqrt(chosen.share)

    def of_messages(canaries: Canaries, outputs: Sequence[Outputs]) -> FloatArray:
        messages = outputs[0].messages if outputs[0].messages is not None else ()
        each = np.stack([tables.score(chosen.tables, canaries, m) for m in messages])
        return _own(canaries, each) / math.sqrt(held)

    def of_sum(canaries: Canaries, outputs: Sequence[Outputs]) -> FloatArray:
        return tables.score(chosen.tables, canaries, outputs[0].total) / math.sqrt(shares)

    one_message, own = reach * math.sqrt(held), repeated(query.events(phase.multiplier), held)
    views = (
        View("messages", of_messages, one_message, one_message, own),
        View("sum", of_sum, reach * held / math.sqrt(shares), reach * most, _claimed_of_sum(path, phase)),
    )
    return Attack(chosen, (first,), query.state, views if path.messages_are_seen else views[1:])


def _claimed_of_sum(path: Path, phase: Phase, rounds: int = 1) -> Events:
    """Under masks what is charged; else what the public's claim rests on (guarantee.py, steps 1 to 3)."""
    if not path.messages_are_seen:
        return repeated(person_events(path.study, phase.answer_events), rounds)
    (one,) = phase.query.events(math.sqrt(path.shares(phase)) * phase.multiplier)
    held = path.study.privacy.institutions_per_person
    return (replace(one, noise_multiplier=one.noise_multiplier / math.sqrt(held), count=held * rounds),)


class _Tables:
    """The tables of a query and their noise; of histograms of one column, the finest.

    precisions: what one grid unit in each is worth, squared.
    """

    def __init__(self, query: Counts, multiplier: float) -> None:
        runs, ends = count_runs(query, multiplier), np.cumsum([0, *query.lengths])
        there = [i for i, weight in enumerate(query.weights) if weight > 0]
        self.precisions = {query.tables[i]: runs[i][1] ** -2 for i in there}
        self.parts = {query.tables[i]: slice(*ends[i : i + 2]) for i in there}
        self.sizes = query.counted

    def score(self, tables: tuple[Table, ...], canaries: Canaries, values: IntArray) -> FloatArray:
        """(canaries,) with noise of scale 1 for one message."""
        summed = np.zeros(len(canaries.rows))
        for t in tables:
            summed += values[self.parts[t]][canaries.cells(t, self.sizes)] * self.precisions[t]
        return summed / math.sqrt(math.fsum(self.precisions[t] for t in tables))


# Training


@dataclass(frozen=True)
class _Observation:
    """The rounds of a training phase that the attacker observes, all asked at one model."""

    path: Path
    phase: Phase
    query: GradientSum | LocalTraining
    rounds: tuple[int, ...]

    @property
    def copies(self) -> int:
        """Copies of each canary, one in every institution, where only messages are observed and nobody is in two."""
        alone = isinstance(self.query, LocalTraining) and self.path.study.privacy.institutions_per_person == 1
        return len(self.path.institutions) if alone else 1

    @property
    def steps(self) -> int:
        """Steps observed, of one institution."""
        return step_of(self.query)[1] * len(self.rounds)

    @property
    def most(self) -> float:
        """By how much a person moves the score from one institution's messages, over their noise, at most."""
        step, _ = step_of(self.query)
        z = self.phase.multiplier
        exact = step.units(z) / sensitivity(step, z)
        return step.sampling_rate * math.sqrt(self.steps) * exact / z

    @property
    def sigma(self) -> float:
        """Noise of one institution's messages together, in units of the loss's gradient."""
        step, _ = step_of(self.query)
        z = self.phase.multiplier
        return z * sensitivity(step, z) * step.clip / step.units(z) * math.sqrt(self.steps)

    @property
    def rate(self) -> float | None:
        """Of a local training: small, so that its model hardly moves."""
        if not isinstance(self.query, LocalTraining):
            return None
        step, steps = step_of(self.query)
        return as_sent(STILL * step.sampling_rate / (step.clip * self.phase.multiplier * math.sqrt(steps) * OUT_GRID))

    def in_gradients(self, values: IntArray) -> FloatArray:
        """(..., parameters) summed gradients from messages or sums, of several rounds added up or of one."""
        step, z = step_of(self.query)[0], self.phase.multiplier
        if isinstance(self.query, LocalTraining):
            return step.in_gradients(units_of(self.query, z, self.rate or 0.0, values), z)
        return step.in_gradients(values, z)

    def gradients(self, canaries: Canaries) -> Gradients:
        """(canaries,) computed once for all copies and repeated."""
        once = gradients(self.query, canaries.rows[:: self.copies])
        return Gradients(once.own.repeat(self.copies, 0), once.norms.repeat(self.copies))

    def expected(self, canaries: Canaries) -> float:
        """By how much a canary should move the score from one institution's messages, on average."""
        step, _ = step_of(self.query)
        rows = min(step.rows_per_person, canaries.rows_each)
        return self.most * float(self.gradients(canaries).moves(step, rows).mean())


def _on_training(observed: _Observation, wanted: int, alpha: float) -> Attack:
    path, held, shares = observed.path, _held(observed.path), observed.path.shares(observed.phase)
    g, rounds, query = path.study.privacy.institutions_per_person, len(observed.rounds), observed.query
    chosen = _training_design(observed, wanted, alpha)
    reach = observed.expected(drawn(path, chosen))

    def of_messages(canaries: Canaries, outputs: Sequence[Outputs]) -> FloatArray:
        messages: IntArray = np.sum([h.messages for h in outputs if h.messages is not None], axis=0, dtype=np.int64)
        known = observed.gradients(canaries)
        each = np.stack([known.scores(observed.in_gradients(one)) for one in messages])
        return _own(canaries, each) / (observed.sigma * math.sqrt(held))

    def of_sum(canaries: Canaries, outputs: Sequence[Outputs]) -> FloatArray:
        total: IntArray = np.sum([h.total for h in outputs], axis=0, dtype=np.int64)
        return observed.gradients(canaries).scores(observed.in_gradients(total)) / (observed.sigma * math.sqrt(shares))

    messages = View(
        "messages",
        of_messages,
        reach * math.sqrt(held),
        observed.most * math.sqrt(g),
        repeated(query.events(observed.phase.multiplier), rounds * g),
    )
    views: tuple[View, ...] = (messages,) if path.messages_are_seen else ()
    if isinstance(query, GradientSum):
        wider, claimed = math.sqrt(shares), _claimed_of_sum(path, observed.phase, rounds)
        views = (*views, View("sum", of_sum, reach * held / wider, observed.most * g / wider, claimed))
    return Attack(chosen, observed.rounds, state_of(step_of(query)[0], observed.rate), views)


def _training_design(observed: _Observation, wanted: int, alpha: float) -> Design:
    """The design that will show most: few canaries share nothing and are seen whole, many are better statistics."""
    step, path, copies = step_of(observed.query)[0], observed.path, observed.copies
    codes = step.architecture.sizes
    most = max(1, min(wanted // copies, MOST_ENTRIES // step.parameters))
    ladder = sorted({1, most, *(2**k for k in range(1, 16)), *codes})
    fitting = []
    for n in (n for n in ladder if n <= most):
        one = Design(n * copies, runs_of(n * copies, wanted), (), 1.0, copies, codes)
        share = (observed.expected(drawn(path, one)) / observed.most) ** 2
        fitting.append(replace(one, share=share))
    held, shares = _held(path), path.shares(observed.phase)
    mu = observed.most * (math.sqrt(held) if path.messages_are_seen else held / math.sqrt(shares))
    return best_of(fitting, mu, alpha)
