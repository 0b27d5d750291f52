"""Runs that reveal their noise: the same tables in two runs, an abandoned attempt, after a restart, and in forks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import numpy as np

from cohortium.queries.gradients import GradientSum
from cohortium.queries.local_training import LocalTraining
from cohortium.study.plan import Phase
from cohortium.study.study import Study
from cohortium_client.custodian.custodian import Custodian
from cohortium_server.rounds.journal import new_run
from cohortium_simulation.audit.attack import ROUNDS, Attack, drawn
from cohortium_simulation.audit.canaries import Canaries, crowd, nobody
from cohortium_simulation.audit.canary_gradients import state_of, state_of_counts
from cohortium_simulation.audit.detectors import FloatArray, Words
from cohortium_simulation.audit.noise_law import (
    Noise,
    enough_persons,
    known_exactly,
    noise_of_messages,
    noise_of_sum,
    noise_of_weights,
    training_rate,
)
from cohortium_simulation.audit.path import Outputs, Path, Question, path_of

FIRST, AGAIN, ATTEMPT, RESTARTED = "first", "again", "attempt", "restarted"
CROWDS = 12  # runs from which the noise of numbers of persons is read
FORKED = ("forked, one", "forked, two")


@dataclass(frozen=True)
class Observed:
    """The noise of one round of one run. messages or total may be None: nothing can be inferred from them.

    masked: (institutions there, width), what was sent under masks, if there are any.
    """

    phase: str
    messages: Noise | None
    total: Noise | None
    masked: Words | None


@dataclass(frozen=True)
class NoiseRuns:
    """The noise of each run, by the run's kind.

    repeated: whether a question asked again had the same bytes. weights: by phase the noise of the numbers of persons
    that come with a training's answers, in units of its claimed scale.
    """

    runs: Mapping[str, tuple[Observed, ...]]
    repeated: bool
    forks: bool
    weights: Mapping[str, FloatArray] = field(default_factory=dict)


def last_round(path: Path) -> int:
    """The last observed round: the whole plan except for most rounds of its last phase."""
    final = path.plan.phases[-1]
    return path.plan.rounds - final.rounds + min(ROUNDS, final.rounds) - 1


def run_for_noise(study: Study, folder: FilePath, attack: Attack, advance: Callable[[], None]) -> NoiseRuns:
    """Three runs of one set of custodians, one after a restart, and two in forked processes. ``advance`` is called after each."""
    with path_of(study, folder) as path:
        canaries = _canaries(path, attack)
        custodians, runs = path.custodians(canaries), dict[str, tuple[Observed, ...]]()
        runs[FIRST], given_up = _all_rounds(path, custodians, canaries, path.has_attempts)
        if path.has_attempts:
            runs[ATTEMPT] = given_up
        advance()
        runs[AGAIN], _ = _all_rounds(path, custodians, canaries)
        advance()
        once_more = Question(new_run(), 0)
        same = path.answers(custodians, once_more) == path.answers(custodians, once_more)
        forked = path.forked(canaries)
        weights = _weights(path)
        advance()
    with path_of(study, folder) as path:
        runs[RESTARTED], _ = _all_rounds(path, path.custodians(canaries), canaries)
        advance()
    for name, outputs in zip(FORKED, forked or (), strict=False):
        runs[name] = (_observed(path, path.plan.phase(0), outputs, canaries),)
    return NoiseRuns(runs, same, forked is not None, weights)


def _weights(path: Path) -> dict[str, FloatArray]:
    """By local training phase: the noise of the numbers of persons, from runs with enough persons to read it off."""
    found, first = dict[str, FloatArray](), 0
    for phase in path.plan.phases:
        if isinstance(phase.query, LocalTraining):
            found[phase.name] = np.concatenate([_weights_of(path, phase, phase.query, first) for _ in range(CROWDS)])
        first += phase.rounds
    return found


def _weights_of(path: Path, phase: Phase, query: LocalTraining, first: int) -> FloatArray:
    """Of one run: the phase's first rounds, after those before it."""
    persons, run = enough_persons(query, phase.multiplier), new_run()
    custodians = path.custodians(crowd(path.study.schema.sizes, persons, path.holders))
    listened = range(first, first + min(ROUNDS, phase.rounds))
    asked = (Question(run, n, state=_state(path.plan.phase(n))) for n in range(listened.stop))
    observed = [path.ask(custodians, question) for question in asked]
    messages = np.concatenate([observed[n].messages for n in listened])
    return noise_of_weights(query, phase.multiplier, messages, persons)


def _canaries(path: Path, attack: Attack) -> Canaries:
    """Persons whose sums are known exactly; nobody, where any phase's are drawn at random, too."""
    if all(known_exactly(p.query) for p in path.plan.phases):
        return drawn(path, attack.design)
    return nobody(path.study.schema.sizes)


def _all_rounds(
    path: Path, custodians: tuple[Custodian, ...], canaries: Canaries, again: bool = False
) -> tuple[tuple[Observed, ...], tuple[Observed, ...]]:
    """The rounds of a new run: what was observed, and what an abandoned first attempt sent, where ``again``."""
    run, observed, given_up = new_run(), list[Observed](), list[Observed]()
    for number in range(last_round(path) + 1):
        phase = path.plan.phase(number)
        outputs = path.ask(custodians, Question(run, number, again, _state(phase)))
        observed.append(_observed(path, phase, outputs, canaries))
        given_up.append(Observed(phase.name, None, None, outputs.given_up))
    return tuple(observed), tuple(given_up)


def _state(phase: Phase) -> bytes:
    match phase.query:
        case LocalTraining() as query:
            return state_of(query.step, training_rate(query, phase.multiplier))
        case GradientSum() as query:
            return state_of(query.step)
        case query:
            return state_of_counts(query)


def _observed(path: Path, phase: Phase, outputs: Outputs, canaries: Canaries) -> Observed:
    messages = noise_of_messages(phase, outputs, canaries)
    total = noise_of_sum(phase, outputs, canaries, path.holders, path.shares(phase))
    return Observed(phase.name, messages, total, outputs.masked)
