"""The plan: what a study asks of every institution, and with how much noise; a function of the study alone.

The coordinator and every custodian compute the plan for themselves, so neither trusts the other about a query or its
noise. Nobody configures noise: it is the least with which all phases together stay within the study's epsilon, by both
accountants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from cohortium.data.binning import merged_sizes, ordered_cells
from cohortium.errors import StudyError
from cohortium.masking.ring import Ring, ring_for
from cohortium.neural.architecture import Architecture
from cohortium.privacy.accounting import RESERVE, Cost, Events, composed, cost, gaussian_epsilon, repeated
from cohortium.privacy.calibration import calibrate
from cohortium.privacy.discrete_gaussian import LARGEST, SLACK, SMALLEST, look_ups, sum_error
from cohortium.queries import Query
from cohortium.queries.counts import Counts, Tables, fitted_to_grid
from cohortium.queries.gradients import GradientSum, Step
from cohortium.queries.histograms import NestedHistograms
from cohortium.queries.local_training import LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium.study.defaults import TrainingSettings, training_settings
from cohortium.study.generators import Counted, Histories, Pgm, Sweep, Trained
from cohortium.study.histories import EARLIER, event_query, step_query
from cohortium.study.study import Study
from cohortium.study.workload import chosen_mix, mixes, pair_tables, wide_tables, with_single, with_triples

MOST_PERSONS = 100_000_000  # that a study without a declared population may have
NO_NOISE = 1e-3  # the multiplier that generators reckon with where no noise is added: they divide by it
NO_PROMISE = Cost(math.inf, 1.0, "no privacy", math.inf, "no privacy")
COLUMNS_SHARE = 0.05  # part of the budget that a trained generator's first round takes
FINE_SHARE = {1: 0.1, 2: 0.15}  # by edition: that the first round of one takes which is fitted to counts


@dataclass(frozen=True)
class Phase:
    """``rounds`` rounds of one query, each answered with noise of ``multiplier`` times its sensitivity.

    honest: how many such noises are in whatever the coordinator sees: one in a message, H in a masked sum.
    """

    name: str
    query: Query
    rounds: int
    multiplier: float
    honest: int = 1

    @property
    def answer_events(self) -> Events:
        """What one institution's answer in a round costs.

        The sum of H noises of variance s² is, but for ``discrete_gaussian.sum_error``, one of variance H s² (guarantee.py).
        """
        return self.query.events(math.sqrt(self.honest) * self.multiplier)

    @property
    def collusion_events(self) -> Events:
        """The same towards somebody who knows what all the others sent, and so sees the answer under its own noise only."""
        return self.query.events(self.multiplier)

    @property
    def events(self) -> Events:
        """What one institution's answers in this phase cost."""
        return repeated(self.answer_events, self.rounds)


@dataclass(frozen=True)
class Plan:
    """The phases in order, and what they cost a person in at most g institutions."""

    phases: tuple[Phase, ...]
    cost: Cost

    @property
    def rounds(self) -> int:
        return sum(p.rounds for p in self.phases)

    def phase(self, round_number: int) -> Phase:
        """The phase that round 0, 1, ... belongs to; IndexError past the last."""
        schedule = [p for p in self.phases for _ in range(p.rounds)]
        if not 0 <= round_number < len(schedule):
            raise IndexError(round_number)
        return schedule[round_number]


@lru_cache(maxsize=32)
def plan(study: Study) -> Plan:
    """The study's plan. Raises StudyError E_PLAN_LIMIT or E_PLAN_PRIVACY where there is none.

    Without privacy no noise is added, and the plan's cost is infinite: any comparison with a promise refuses it.
    """
    phases = _phases(study)
    if study.privacy.mode == "none":
        return Plan(phases, NO_PROMISE)
    total = cost(_over_institutions(study, phases), study.privacy.delta)
    if total.epsilon > study.privacy.epsilon:
        raise StudyError("E_PLAN_PRIVACY", "study", "the plan costs more than its epsilon", "Report this: it is a bug.")
    _check_sampler(study, phases, study.privacy.epsilon)
    return Plan(phases, total)


def noise_of_a_count(study: Study, phase: Phase) -> float:
    """Of a table that has the whole weight of a phase of counts: the noise in a cell of the sum of all institutions, in rows."""
    query = phase.query
    if not isinstance(query, Counts):
        raise TypeError(query.kind)
    return math.sqrt(len(study.institutions)) * phase.multiplier * query.sensitivity / query.grid


def at_rows(study: Study, agreed: Plan, rows: float) -> Plan:
    """The plan with the weights that the coordinator would choose for so many rows of all institutions together."""
    return replace(agreed, phases=tuple(_at_rows(study, phase, rows) for phase in agreed.phases))


def _at_rows(study: Study, phase: Phase, rows: float) -> Phase:
    query = phase.query
    if not (isinstance(query, Marginals) and query.choices):
        return phase
    return replace(phase, query=query.each_choice[chosen_mix(query, noise_of_a_count(study, phase), rows)])


def with_attempts(study: Study, agreed: Plan, again: Mapping[str, int]) -> Plan:
    """The plan as it was charged. again: by phase, how many further attempts at its rounds were charged.

    Its cost may exceed the study's epsilon. StudyError E_PLAN_PRIVACY where the noise is too imprecise for that.
    """
    if not any(again.values()):
        return agreed
    phases = tuple(replace(p, rounds=p.rounds + again.get(p.name, 0)) for p in agreed.phases)
    total = cost(_over_institutions(study, phases), study.privacy.delta)
    _check_sampler(study, phases, total.epsilon)
    return Plan(phases, total)


def _check_sampler(study: Study, phases: tuple[Phase, ...], epsilon: float) -> None:
    """The sampler can draw the plan's noise, and its own error fits into the part of delta kept for it (discrete_gaussian.py)."""
    drawn = [(p.rounds, *p.query.draws(p.multiplier)) for p in phases]
    if max(scale for _, _, scale in drawn) > LARGEST:
        raise StudyError(
            "E_PLAN_LIMIT",
            "study",
            "the noise is wider than the sampler's table",
            "Declare fewer rows per person or fewer columns, or a larger epsilon.",
        )
    draws = _relied_on(study) * sum(rounds * look_ups(scale, count) for rounds, count, scale in drawn)
    if draws * SLACK * (1 + math.exp(epsilon)) > RESERVE * study.privacy.delta:
        raise StudyError(
            "E_PLAN_PRIVACY",
            "privacy.epsilon",
            "it is too large for the precision of the noise",
            "Lower epsilon, or raise delta.",
        )


def _relied_on(study: Study) -> int:
    """How many institutions' noise a claim relies on; of a masked sum all, and one more for ``discrete_gaussian.sum_error``."""
    if study.privacy.trust == "local":
        return study.privacy.institutions_per_person
    if sum_error(SMALLEST, study.honest) > SLACK / 2:
        raise StudyError("E_PLAN_LIMIT", "institution", "there are too many for one masked sum", "Let fewer take part.")
    return len(study.institutions) + 1


def ring(study: Study, phase: Phase) -> Ring:
    """The ring in which a phase's masked answers are added; it follows from the study alone.

    Where the study names no ``population``, ``MOST_PERSONS`` is assumed. More would overflow a cell, and reveal nothing.
    """
    query = phase.query
    if not query.shares_noise:
        raise StudyError("E_PLAN_INVALID", phase.name, "its answers cannot be masked", "Choose another trust mode.")
    persons = study.privacy.population or MOST_PERSONS
    _, widest = query.draws(phase.multiplier)
    largest = query.reach(persons * study.privacy.institutions_per_person)
    return ring_for(largest, math.sqrt(len(study.institutions)) * widest)


def _phases(study: Study) -> tuple[Phase, ...]:
    match study.generator:
        case Histories() as chosen if study.schema.tables:
            return _history_phases(study, chosen)
        case Sweep() | Pgm() | Histories():
            return _counting_phases(study)
        case Trained() as chosen:
            return _training_phases(study, chosen, training_settings(study))


def person_events(study: Study, events: Events) -> Events:
    """The events of a person in g institutions, given ``events`` of one institution: what g of them are charged with."""
    return repeated(charged(study, events), study.privacy.institutions_per_person)


def all_person_events(study: Study) -> Events:
    """The events of a person in g institutions, over the whole plan."""
    return _over_institutions(study, plan(study).phases)


def charged(study: Study, events: Events) -> Events:
    """What one institution is charged with for ``events`` of its own.

    The noises of messages are independent, so messages compose. A masked sum has one noise for all g institutions that hold
    a person, each of which samples with randomness of its own. Noise of variance v is the sum of g independent noises of
    variance v / g: so the sum is computed from g answers that each carry such a part, and the charge is for one of these.
    """
    if study.privacy.trust == "local":
        return events
    parted = math.sqrt(study.privacy.institutions_per_person)
    return tuple(replace(e, noise_multiplier=e.noise_multiplier / parted) for e in events)


def charged_in_all(study: Study) -> Events:
    """What one institution is charged with for the whole plan, if each round is answered once."""
    return composed(e for phase in plan(study).phases for e in charged(study, phase.events))


def collusion_events_in_all(study: Study) -> Events:
    """The same if all other institutions collude with the coordinator; empty where that costs no more."""
    return composed(
        e for phase in plan(study).phases if phase.honest > 1 for e in repeated(phase.collusion_events, phase.rounds)
    )


def _over_institutions(study: Study, phases: tuple[Phase, ...]) -> Events:
    """All events of a person, over the institutions that hold the person's rows."""
    return composed(e for p in phases for e in person_events(study, p.events))


def calibrated(study: Study, before: tuple[Phase, ...], events_at: Callable[[float], Events]) -> float:
    """The least noise multiplier of one more phase, given the phases ``before`` it."""
    if study.privacy.mode == "none":
        return NO_NOISE

    def all_events(multiplier: float) -> Events:
        return composed((*_over_institutions(study, before), *person_events(study, events_at(multiplier))))

    return calibrate(all_events, study.privacy.epsilon, study.privacy.delta)


def continuous_multiplier(study: Study) -> float:
    """Each institution's multiplier if noise were continuous and the study a single query: enough to choose a grid."""
    if study.privacy.mode == "none":
        return NO_NOISE
    held_by = study.privacy.institutions_per_person
    moved = math.sqrt(held_by) if study.privacy.trust == "local" else held_by
    low, high = 1e-3, 1e4
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        within = gaussian_epsilon(moved / middle, study.privacy.delta) <= study.privacy.epsilon
        low, high = (low, middle) if within else (middle, high)
    return high / math.sqrt(study.honest)


def _counting_phases(study: Study) -> tuple[Phase, ...]:
    """Pairs alone; where their cells are merged, single columns first, whose counts decide which cells."""
    pairs = pair_query(study)
    share = FINE_SHARE[study.edition]
    before = (_shared_phase(study, "columns", column_query(study), share),) if pairs.merged else ()
    return *before, _last_phase(study, "pairs", pairs, before)


def _history_phases(study: Study, chosen: Histories) -> tuple[Phase, ...]:
    """Of persons single columns and pairs of them, of steps single columns and then each in its contexts."""
    earlier: dict[str, Tables] = {
        "columns": column_query(study),
        "events": event_query(study, chosen.clip),
        "pairs": pair_query(study),
    }
    before = tuple(_shared_phase(study, name, query, EARLIER[name]) for name, query in earlier.items())
    return *before, _last_phase(study, "steps", step_query(study, chosen), before)


def _last_phase(study: Study, name: str, query: Tables, before: tuple[Phase, ...]) -> Phase:
    """One round of counts, with the budget that the phases ``before`` leave."""
    query, honest = fitted_to_grid(query, continuous_multiplier(study)), study.honest
    whole = calibrated(study, before, query.events)  # of all the noise that H institutions share
    return Phase(name, query, 1, whole / math.sqrt(honest), honest)


def pair_query(study: Study) -> Marginals:
    """All pairs, and all triples of a target and two other columns; with little noise, generators fitted to counts ask all triples.

    Where single columns were counted before, edition 2 leaves to the coordinator how precise each kind of table is to be.
    """
    sizes, targets, p = merged_sizes(study.schema, study.generator.bins), study.target_indices, study.privacy
    tables, merges = pair_tables(sizes, targets), sizes != study.schema.sizes
    counted = isinstance(study.generator, Counted)
    chooses = counted and merges and study.edition > 1
    if counted:
        kinds = with_single(tables) if chooses else wide_tables(tables, targets)
        tables = with_triples(kinds, sizes, _noise_of_a_count(study))
    choices = mixes(tables, targets) if chooses else ()  # none without pairs
    return Marginals(
        study.schema.sizes,
        tuple(tables),
        choices[0] if choices else tuple(tables.values()),
        p.rows_per_person,
        equal_weight=p.equal_weight,
        merged=sizes if merges else (),
        choices=choices,
    )


def _noise_of_a_count(study: Study) -> float:
    """About the noise in the summed count of rows (or of persons, where those weigh the same) of a table asked alone."""
    rows = study.privacy.rows_per_person if study.privacy.equal_weight == "rows" else 1
    return rows * continuous_multiplier(study) * math.sqrt(max(1, len(study.institutions)))


def column_query(study: Study) -> Counts:
    """Every column by itself; at several resolutions where a generator is fitted to counts alone, from edition 2 on."""
    p, columns = study.privacy, study.schema.columns
    if study.edition > 1 and isinstance(study.generator, Counted):
        ordered = tuple(map(ordered_cells, columns))
        return NestedHistograms(study.schema.sizes, ordered, p.rows_per_person, equal_weight=p.equal_weight)
    tables = tuple((j,) for j in range(len(columns)))
    return Marginals(study.schema.sizes, tables, (1.0,) * len(tables), p.rows_per_person, equal_weight=p.equal_weight)


def _training_phases(study: Study, chosen: Trained, how: TrainingSettings) -> tuple[Phase, ...]:
    before = [_shared_phase(study, "columns", column_query(study), COLUMNS_SHARE)]
    if chosen.warm_start:
        before.append(_shared_phase(study, "pairs", pair_query(study), chosen.warm_start))
    return *before, _trained_phase(study, chosen, how, tuple(before))


def _shared_phase(study: Study, name: str, query: Tables, share: float) -> Phase:
    """One round that spends about ``share`` of the budget."""
    multiplier = continuous_multiplier(study) / math.sqrt(share)
    return Phase(name, fitted_to_grid(query, multiplier), 1, multiplier, study.honest)


def _trained_phase(study: Study, chosen: Trained, how: TrainingSettings, before: tuple[Phase, ...]) -> Phase:
    """All rounds of training, with the budget that the phases ``before`` leave."""
    sizes, p, seen = study.schema.sizes, study.privacy, architecture(study)

    def query(clip: float) -> GradientSum | LocalTraining:
        step = Step(sizes, seen, how.sampling_rate, clip, p.rows_per_person, p.equal_weight)
        alone = p.trust == "local" and how.steps > 1
        return LocalTraining(step, how.steps) if alone else GradientSum(step)

    whole = calibrated(study, before, lambda z: repeated(query(1.0).events(z), how.rounds))
    clip = chosen.clip or seen.network.default_clip(whole)
    return Phase("training", query(clip), how.rounds, whole / math.sqrt(study.honest), study.honest)


def architecture(study: Study) -> Architecture:
    """The network that a study trains."""
    chosen, how = study.generator, training_settings(study)
    assert isinstance(chosen, Trained)  # noqa: S101 - recipe() has refused everything else
    sizes = merged_sizes(study.schema, chosen.bins)
    return Architecture(chosen.kind, sizes, column_order(study), how.hidden, how.latent, how.views)


def column_order(study: Study) -> tuple[int, ...]:
    """The schema's order with the targets moved to the end."""
    targets = study.target_indices
    return (*(j for j in range(len(study.schema.columns)) if j not in targets), *targets)
