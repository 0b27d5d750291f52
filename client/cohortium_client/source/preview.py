"""What would leave an institution if it signed a study: every number with its bound and noise, and what it costs here."""

from __future__ import annotations

from typing import Any

from cohortium.data.encoding import Codes
from cohortium.drafting.reasons import in_lines_of_all
from cohortium.drafting.tally import census_lines, tally_lines, tally_of
from cohortium.errors import CohortiumError
from cohortium.federation.forecast import forecast
from cohortium.ledger.store import Ledger
from cohortium.queries.clipped import Clipped
from cohortium.queries.counts import Counts
from cohortium.queries.gradients import GradientSum
from cohortium.queries.local_training import LocalTraining
from cohortium.study.plan import Phase, plan
from cohortium.study.study import Study
from cohortium.study.wording import Cast
from cohortium_client.custodian.answerable import answers_to, require_answerable, require_paid_for, still_to_pay
from cohortium_client.custodian.institution import Institution
from cohortium_client.source.source import load_and_look


def preview(institution: Institution, study: Study) -> dict[str, Any]:
    """A JSON object: what ``study show`` prints, and what the study means for this institution."""
    described = forecast(study)
    phases = [{**described["phases"][i], "bound": _bound(p)} for i, p in enumerate(plan(study).phases)]
    return {**described, "phases": phases, "beside": list(Cast.of(study).beside), "here": _here(institution, study)}


def counted(institution: Institution, study: Study) -> list[str]:
    """Lines for the institution's own screen: how many rows and persons of its table the study would count."""
    try:
        codes, found = load_and_look(institution.file.source, institution.folder, study.schema)
    except CohortiumError as error:
        return [f"How many rows count is unknown, because the table cannot be read: {error}"]
    return [
        *in_lines_of_all(found, study.schema),
        *(census_lines(codes) if study.schema.tables else _tallied(codes, study)),
        "These counts are private: they stay on this screen.",
    ]


def _tallied(codes: Codes, study: Study) -> list[str]:
    p, tally = study.privacy, tally_of(codes, study.schema)
    lines = tally_lines(tally, p.rows_per_person, p.equal_weight, "the study says")
    return lines or [f"All {tally.rows} rows count, each as a person of its own."]


def _bound(phase: Phase) -> str:
    """How far one person can move the answer."""
    match phase.query:
        case Counts() as query:
            return (
                f"one person moves it by at most {query.sensitivity:,.0f} grid units (L2), {query.grid} of them a row"
            )
        case Clipped() as query:
            return (
                f"one person moves it by at most {query.sensitivity:,.0f} grid units (L2, each table's times the root of its "
                f"weight), whatever their events are and however many; an event that is not scaled down is {query.grid} of them"
            )
        case GradientSum() as query:
            units, clip = query.step.sensitivity(phase.multiplier), query.step.clip
            return f"one person moves it by at most {units:,.0f} grid units (L2), a gradient cut to length {clip:.4g}"
        case LocalTraining() as query:
            return f"one person's gradient is cut to length {query.step.clip:.4g} in each step"
        case query:
            return f"one person's part is bounded as its kind, {query.kind}, says"


def _here(institution: Institution, study: Study) -> dict[str, Any]:
    """The verdict of the policy, and the budget before and after."""
    delta, population = institution.policy.delta, institution.file.population.name
    with institution.ledger() as ledger:
        more, _ = still_to_pay(study, answers_to(study, population, ledger), institution.policy)
        before, after = (ledger.spent(population, delta, events).bound for events in ((), more))
        refused, budget = _refusal(institution, study, ledger)
    return {
        "institution": institution.identity.name,
        "population": population,
        "cap": institution.policy.epsilon_per_population,
        "delta": delta,
        "spent": before,
        "spent_afterwards": after,
        "refused": refused,
        "budget": budget,
    }


def _refusal(institution: Institution, study: Study, ledger: Ledger) -> tuple[str | None, str | None]:
    """Why the study would not be answered, or None; and what the budget says where it would be."""
    try:
        require_answerable(study, institution.identity, institution.policy, ledger)
        return None, require_paid_for(study, institution.file.population.name, institution.policy, ledger)
    except CohortiumError as error:
        return str(error), None
