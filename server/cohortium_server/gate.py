"""Step 9: the check before a release, with a reasoned verdict. It reads noised and synthetic facts only and fails closed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Events
from cohortium.data.events import EventTable
from cohortium.errors import ReleaseError
from cohortium.privacy.accounting import composed, repeated
from cohortium_server.rounds.rounds import Outcome

SIGNAL = 5.0  # the noised number of rows must exceed this many standard deviations of its own noise


@dataclass(frozen=True)
class Criterion:
    """One check: the value found, the value required, and why it matters."""

    name: str
    passed: bool
    value: str
    threshold: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        return bool(self.criteria) and all(c.passed for c in self.criteria)

    def require(self) -> None:
        """ReleaseError E_GATE naming the first criterion that failed."""
        for c in self.criteria:
            if not c.passed:
                raise ReleaseError(
                    "E_GATE",
                    f"gate, {c.name}",
                    f"found {c.value}, wanted {c.threshold}: {c.reason}",
                    "Nothing was released; the budget stays spent.",
                )


def judge(outcome: Outcome, synthetic: npt.NDArray[np.int16], events: tuple[Events, ...] = ()) -> Verdict:
    """The verdict on releasing ``synthetic``, (rows, columns) codes, and ``events`` of theirs, from a study that has been run."""
    checks: tuple[Callable[[Outcome, npt.NDArray[np.int16]], Criterion], ...] = (
        _budget,
        _complete,
        _signal,
        _in_schema,
        _model,
    )
    judged = (check(outcome, synthetic) for check in checks)
    return Verdict((*judged, *_contested(outcome), *_linked(outcome, synthetic, events)))


def sound(outcome: Outcome, synthetic: npt.NDArray[np.int16], events: tuple[Events, ...] = ()) -> Verdict:
    """The verdict on rows and model only, for studies without privacy."""
    return Verdict((_in_schema(outcome, synthetic), _model(outcome, synthetic), *_linked(outcome, synthetic, events)))


def _budget(outcome: Outcome, synthetic: npt.NDArray[np.int16]) -> Criterion:
    """The opened rounds must be within the promise. Abandoned attempts are charged in addition, and stated."""
    found, promised = outcome.plan.cost, outcome.study.privacy
    good = math.isfinite(found.epsilon) and found.epsilon <= promised.epsilon and found.delta == promised.delta
    given_up = sum(a.attempt for a in outcome.answered)
    spent = outcome.spent.cost.epsilon if given_up else found.epsilon
    return Criterion(
        "budget",
        good and math.isfinite(spent),
        f"epsilon {found.epsilon:.4f}"
        + (f", {spent:.4f} with {given_up} attempts that were given up" if given_up else ""),
        f"at most {promised.epsilon:g}" + (", and what was given up beside it" if given_up else ""),
        "the release must cost no more than was agreed",
    )


def _complete(outcome: Outcome, synthetic: npt.NDArray[np.int16]) -> Criterion:
    asked = composed(e for answered in outcome.answered for e in answered.events)
    planned = composed(e for phase in outcome.plan.phases for e in repeated(phase.events, 1))
    least = outcome.study.answers_needed
    good = asked == planned and all(a.institutions >= least for a in outcome.answered)
    return Criterion(
        "rounds",
        good,
        f"{len(outcome.answered)} answered by {_by(outcome)}",
        f"{outcome.plan.rounds} answered by at least {least}",
        "what was asked must be what was planned and charged",
    )


def _by(outcome: Outcome) -> str:
    counts = sorted({a.institutions for a in outcome.answered})
    return "nobody" if not counts else " to ".join(str(c) for c in dict.fromkeys((counts[0], counts[-1])))


def _signal(outcome: Outcome, synthetic: npt.NDArray[np.int16]) -> Criterion:
    precision = sum(1 / (t.counts.size * t.sigma**2) for t in outcome.generator.measured)
    noise = math.inf if precision == 0 else 1 / math.sqrt(precision)
    ratio = outcome.generator.rows / noise
    return Criterion(
        "signal",
        ratio >= SIGNAL,
        f"{ratio:.1f} times its noise",
        f"at least {SIGNAL:g} times",
        "a table drawn from noise alone would mislead",
    )


def _in_schema(outcome: Outcome, synthetic: npt.NDArray[np.int16]) -> Criterion:
    sizes = np.array(outcome.study.schema.sizes)
    outside = (
        int(((synthetic < 0) | (synthetic >= sizes)).sum())
        if synthetic.ndim == 2 and synthetic.shape[1] == len(sizes)
        else -1
    )
    return Criterion(
        "schema", outside == 0, f"{outside} cells outside", "0 cells outside", "a release can only hold declared values"
    )


def _model(outcome: Outcome, synthetic: npt.NDArray[np.int16]) -> Criterion:
    finite = all(np.isfinite(t).all() for t in outcome.generator.tensors().values())
    return Criterion(
        "model", finite, "finite" if finite else "not finite", "finite", "a diverged fit must not be sampled"
    )


def _contested(outcome: Outcome) -> tuple[Criterion, ...]:
    """Which of two is released, the fit or noised independent columns, and why; where a generator has such a choice."""
    contest = getattr(outcome.generator, "contest", None)
    if contest is None:
        return ()
    independent = getattr(outcome.generator, "is_independent", False)
    which = "noised independent columns are released" if independent else "the fit is released"
    where = "noised tables held out" if contest.held_out else "the noised tables"
    found = Criterion(
        "independent columns",
        independent == contest.independent_wins,
        f"{which}: in {where} the fit's squared error, less that of independent columns, is {contest.everywhere:+,.0f} variances of "
        f"the noise, and {contest.target:+,.0f} in those of a target",
        "the fit, or noised independent columns where both are above 0",
        "what is worse than the columns by themselves must not be released in their place",
    )
    return (found,)


def _linked(outcome: Outcome, synthetic: npt.NDArray[np.int16], events: tuple[Events, ...]) -> tuple[Criterion, ...]:
    """What is checked of events, where the study's schema has any."""
    tables = outcome.study.schema.tables
    if not tables:
        return ()
    unfit = (
        sum(_unfit(table, one, len(synthetic)) for table, one in zip(tables, events, strict=True))
        if len(events) == len(tables)
        else -1
    )
    found = Criterion(
        "events",
        unfit == 0,
        f"{unfit} events that do not fit",
        "0 events that do not fit",
        "every event is a released person's, within its table's window of time, has declared values, and keeps the rules of its table",
    )
    return (found,)


def _unfit(table: EventTable, events: Events, persons: int) -> int:
    """Events that are nobody's, out of order, beyond the window, forbidden by one before, or hold what the schema does not declare."""
    nobodys = (events.persons < 0) | (events.persons >= persons)
    beyond = (events.ticks < 0) | (events.ticks >= table.grid)
    undeclared = ((events.values < 0) | (events.values >= np.array(table.sizes))).any(axis=1)
    backwards = (np.diff(events.persons, prepend=0) < 0) | (events.follows & (np.diff(events.ticks, prepend=0) < 0))
    unfit = nobodys | beyond | undeclared | backwards
    if not unfit.any() and table.bans:  # of what is no event nothing is forbidden
        unfit = table.broken(events.persons, events.values[:, 1:])
    return int(unfit.sum())
