"""The guarantees, and the queries, phase by phase."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cohortium.privacy.accounting import Gaussian
from cohortium.queries import Query
from cohortium.queries.clipped import Clipped
from cohortium.queries.counts import Counts
from cohortium.queries.event_histograms import EventHistograms
from cohortium.queries.gradients import GradientSum
from cohortium.queries.histograms import NestedHistograms
from cohortium.queries.local_training import LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium.queries.steps import Steps
from cohortium.study.guarantee import Guarantee, in_hundred
from cohortium.study.plan import Phase, ring
from cohortium.study.study import Study
from cohortium_server.generators import Measured
from cohortium_server.release.page.numerals import percent, plural, storage


@dataclass(frozen=True)
class GuaranteeView:
    """A guarantee as a line of a table: the adversary, what they are assumed to see, and what holds."""

    towards: str
    sees: str
    epsilon: str
    delta: float
    check: str
    found: str


def guarantee_view(guarantee: Guarantee) -> GuaranteeView:
    cost, found = guarantee.cost, in_hundred(guarantee.attack_rate)
    return GuaranteeView(
        guarantee.towards, guarantee.sees, f"{cost.epsilon:.4f}", cost.delta, f"{cost.check:.4f}", found
    )


@dataclass(frozen=True)
class PhaseView:
    """A phase in words; ``numbers`` are those of one institution's answer in one round."""

    name: str
    asked: str
    rounds: int
    numbers: int
    sent: str
    noise: str
    events: Sequence[str]


def phase_view(study: Study, phase: Phase, measured: Sequence[Measured] = ()) -> PhaseView:
    """measured: what shows which weights the run chose; without it, noise is given as a range over all that it may choose."""
    chosen = _as_chosen(phase, measured)
    each = ring(study, phase).dtype.itemsize if study.privacy.trust == "secure-sum" else 8  # bytes of a number
    return PhaseView(
        phase.name,
        _asked(chosen.query),
        phase.rounds,
        phase.query.width,
        storage(each * phase.query.width * phase.rounds),
        _noise(chosen, study),
        [_event(e) for e in phase.events],
    )


def _as_chosen(phase: Phase, measured: Sequence[Measured]) -> Phase:
    """The phase with the weights that its run chose, which the ``measured`` tables' noise shows; as it is where none fit."""
    query = phase.query
    if not isinstance(query, Marginals) or not query.choices:
        return phase
    noise = {table.columns: table.sigma for table in measured if len(table.columns) > 1}
    apart, chosen = min(((_apart(choice, noise), k) for k, choice in enumerate(query.each_choice)))
    return phase if math.isinf(apart) else replace(phase, query=query.each_choice[chosen])


def _apart(choice: Marginals, noise: Mapping[tuple[int, ...], float]) -> float:
    """How far, in logarithms, tables' noise is from that of their weights; infinite where others were measured."""
    weights = {t: w for t, w in zip(choice.tables, choice.weights, strict=True) if w > 0 and len(t) > 1}
    if weights.keys() != noise.keys() or not noise:
        return math.inf
    found = [math.log(noise[t] * math.sqrt(weight)) for t, weight in weights.items()]
    return max(found) - min(found)


def _asked(query: Query) -> str:
    match query:
        case Marginals():
            orders = sorted({len(t) for t in query.asked})
            parts = [(sum(len(t) == k for t in query.asked), k) for k in orders]
            merged = ", over merged cells" if query.merged else ""
            return "counts: " + ", ".join(f"{plural(n, 'table')} of {plural(k, 'column')}" for n, k in parts) + merged
        case NestedHistograms():
            levels = plural(len(query.levels), "table")
            return f"counts: {levels} of single columns, from some wide groups of neighbouring cells to each cell"
        case EventHistograms():
            levels = plural(len(query.levels), "table")
            return f"counts of events: {levels} of single columns, a person's all scaled down to one length"
        case Steps():
            tables = plural(len(query.asked), "table")
            return f"counts of events: {tables} of what follows on what, a person's all scaled down to one length"
        case LocalTraining():
            steps = plural(query.steps, "training step")
            return f"{steps} a round, each on {_sampled(query.step.sampling_rate)}"
        case GradientSum():
            return f"one training step a round, on {_sampled(query.step.sampling_rate)}"
        case _:
            return ", ".join(f"{key}: {value}" for key, value in query.describe().items())


def _sampled(rate: float) -> str:
    return "all persons" if rate == 1 else f"a random {percent(rate)} of the persons"


def _noise(phase: Phase, study: Study) -> str:
    match phase.query:
        case Counts() as query:
            return _noise_of_counts(query, phase.multiplier, study)
        case Clipped() as query:
            return _noise_of_events(query, phase.multiplier, study)
        case LocalTraining():
            return f"{phase.multiplier:.3g} × the most that one person can move a step's sum"
        case GradientSum():
            return _noise_of_gradients(phase)
        case _:
            return f"{phase.multiplier:.3g} × the most that one person can change"


def _noise_of_gradients(phase: Phase) -> str:
    """Under masks, the noise that is counted on, and an institution's share of it."""
    words = f"{math.sqrt(phase.honest) * phase.multiplier:.3g} × the most that one person can move a step's sum"
    return (
        words if phase.honest == 1 else f"{words}, of which each institution adds a share of {phase.multiplier:.3g} ×"
    )


def _noise_of_counts(query: Counts, multiplier: float, study: Study) -> str:
    """The noise in rows, for tables of each number of columns; a range where tables differ, or weights are chosen in the run."""
    most, share = len(study.institutions), "a share of " if study.honest > 1 else ""
    fewest = most - study.privacy.dropouts
    sigmas: dict[int, list[float]] = {}
    for table, _, sigma in (noise for choice in query.each_choice for noise in choice.noises(multiplier)):
        sigmas.setdefault(len(table), []).append(sigma)
    words = []
    for order, found in sorted(sigmas.items()):
        alone = f"{share}{_range(found)} rows in every count of an institution"
        together = "" if most == 1 else f", {_range(found, most)} in the sum"
        if fewest < most:
            together = f", {_range(found, fewest)} in the sum of {fewest}, {_range(found, most)} in that of all"
        tables = "" if len(sigmas) == 1 else f" (tables of {plural(order, 'column')})"
        words.append(alone + together + tables)
    return "; ".join(words)


def _noise_of_events(query: Clipped, multiplier: float, study: Study) -> str:
    """The noise in events that are not scaled down."""
    sigmas, most = query.sigmas(multiplier), len(study.institutions)
    share = "" if study.honest == 1 else "a share of "
    together = "" if most == 1 else f", {_range(sigmas, most)} in the sum"
    return f"{share}{_range(sigmas)} events in every count of an institution{together}"


def _range(sigmas: Sequence[float], institutions: int = 1) -> str:
    """From the least to the most noise in a sum of so many."""
    low, high = (f"{math.sqrt(institutions) * sigma:.3g}" for sigma in (min(sigmas), max(sigmas)))
    return low if low == high else f"{low} to {high}"


def _event(event: Gaussian) -> str:
    sampled = "" if event.sampling_rate == 1 else f" on random samples of {percent(event.sampling_rate)}"
    noise = f"noise {event.noise_multiplier:.4g} × sensitivity"
    return f"{plural(event.count, 'Gaussian answer')}{sampled}, {noise}"
