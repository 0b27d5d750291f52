"""The forecast: what a study would send, cost and achieve, computed from the study alone before it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from cohortium.federation.wire import Reply, encode_answer, encode_reply
from cohortium.ledger.receipt import Receipt
from cohortium.masking.cohort import Context
from cohortium.masking.dropout_tolerant import SEALED
from cohortium.masking.statements import Statement, encode_board
from cohortium.privacy.accounting import RELATION, cost
from cohortium.queries.clipped import Clipped
from cohortium.queries.counts import Counts
from cohortium.queries.gradients import GradientSum, Step
from cohortium.queries.local_training import LocalTraining
from cohortium.study.carrying import EXAMPLE_ROWS, expected, precisions
from cohortium.study.guarantee import guarantees
from cohortium.study.plan import Phase, Plan, at_rows, person_events, plan, ring
from cohortium.study.study import Study
from cohortium.study.wording import Cast


def forecast(study: Study, rows: int | None = None) -> dict[str, Any]:
    """Everything that ``study show`` prints: a JSON object. rows: how many are expected in all (``carrying.expected``)."""
    agreed, p = plan(study), study.privacy
    likely = at_rows(study, agreed, rows or p.population or EXAMPLE_ROWS)
    return {
        "name": study.name,
        "review": list(study.schema.marks),
        "digest": study.digest,
        "generator": study.generator.kind,
        "institutions": list(study.institution_names),
        "simulated": study.simulated,
        "trust": p.trust,
        "unit": f"{RELATION}; {study.counted} per institution, in at most {p.institutions_per_person} institutions",
        "epsilon": p.epsilon,
        "delta": p.delta,
        "cost": asdict(agreed.cost),
        "dropouts": p.dropouts,
        "colluders": p.colluders,
        "exchanges": _exchanges(study, agreed),
        "travels": Cast.of(study).travels,
        "guarantees": [g.document() for g in guarantees(study, agreed)],
        "phases": [_phase(study, phase) for phase in agreed.phases],
        "training": _training(study, agreed.phases[-1]),
        "buys": _errors(study, likely),
        "carries": expected(study, rows),
    }


def _phase(study: Study, phase: Phase) -> dict[str, Any]:
    alone = cost(person_events(study, phase.events), study.privacy.delta)
    return {
        "name": phase.name,
        "query": phase.query.describe(),
        "rounds": phase.rounds,
        "numbers": phase.query.width,
        "bytes": _bytes(study, phase),
        "noise_multiplier": phase.multiplier,
        "noise_shares": phase.honest,
        "noise_words": _noise_words(phase),
        "epsilon": alone.epsilon,
        "delta": alone.delta,
        "events": [asdict(e) for e in phase.events],
    }


def step_of(phase: Phase) -> tuple[Step, int] | None:
    """A training phase's step, and how many of them a round has; None where nothing is trained."""
    match phase.query:
        case GradientSum() as query:
            return query.step, 1
        case LocalTraining() as query:
            return query.step, query.steps
        case _:
            return None


def _training(study: Study, phase: Phase) -> dict[str, Any] | None:
    """The noise of training, given the study's epsilon, steps and sampling rate, and the cost of training alone.

    noise_multiplier: of a step's whole noise that is counted on, noise_multiplier_of_one: of one institution's part in it,
    both over the most that one person can move the step's sum. steps_of_a_person: those expected to draw a given person at one institution. epsilon
    and check: by the two accountants, of the training alone.
    """
    if (found := step_of(phase)) is None:
        return None
    step, in_a_round = found
    alone = cost(person_events(study, phase.events), study.privacy.delta)
    steps = phase.rounds * in_a_round
    return {
        "query": phase.query.kind,
        "network": step.architecture.kind,
        "parameters": step.parameters,
        "rounds": phase.rounds,
        "steps_a_round": in_a_round,
        "steps": steps,
        "sampling_rate": step.sampling_rate,
        "steps_of_a_person": steps * step.sampling_rate,
        "clip": step.clip,
        "noise_multiplier": phase.multiplier * math.sqrt(phase.honest),
        "noise_multiplier_of_one": phase.multiplier,
        "noise_shares": phase.honest,
        **asdict(alone),
    }


def _bytes(study: Study, phase: Phase) -> int:
    """The longest answer of a round, to the byte."""
    import numpy as np

    name, digest = max(study.institution_names, key=len), "0" * 64
    masked = study.privacy.trust == "secure-sum"
    numbers = ring(study, phase).dtype if masked else np.dtype(np.int64)
    last, statement = plan(study).rounds - 1, {}
    if study.privacy.dropouts:
        body = {"shares": digest, "question": digest}
        statement = Statement(name, "mask", Context(study.digest, "0" * 32, last, 0), body, "0" * 128).document()
    reply = Reply(study.digest, "0" * 32, last, 0, name, digest, np.zeros(0, numbers), statement)
    answer = encode_answer(encode_reply(reply), Receipt(name, digest, digest, "0" * 128, digest))
    return len(answer) + numbers.itemsize * phase.query.width


def _exchanges(study: Study, agreed: Plan) -> dict[str, int]:
    """How often the coordinator asks everybody, and the size of the largest board that masks are made from."""
    if study.privacy.trust == "local":
        return {"before": 0, "a_round": 1, "in_all": agreed.rounds, "board_bytes": 0}
    before, a_round = (2, 3) if study.privacy.dropouts else (1, 1)
    return {
        "before": before,
        "a_round": a_round,
        "in_all": before + a_round * agreed.rounds,
        "board_bytes": _board_bytes(study),
    }


def _board_bytes(study: Study) -> int:
    """Size of the board under which answers are masked, to the byte."""
    names, digest = study.institution_names, "0" * 64
    run = Context(study.digest, "0" * 32)
    if not study.privacy.dropouts:
        return len(encode_board([Statement(n, "advertise", run, {"mask": digest}, "0" * 128) for n in names]))
    attempt, sealed = Context(study.digest, "0" * 32, 0, 0), "0" * SEALED
    adverts = [Statement(n, "advertise", attempt, {"mask": digest, "encryption": digest}, "0" * 128) for n in names]
    shares = [
        Statement(
            n,
            "share",
            attempt,
            {"view": digest, "commitment": digest, "shares": {o: sealed for o in names if o != n}},
            "0" * 128,
        )
        for n in names
    ]
    return len(encode_board([*adverts, *shares]))


def _noise_words(phase: Phase) -> str:
    share = "" if phase.honest == 1 else f", a share of one in {phase.honest}"
    match phase.query:
        case Counts() as query:
            noises = [noise for possible in query.each_choice for noise in possible.noises(phase.multiplier)]
            return _between([sigma for _, _, sigma in noises], "rows") + share
        case Clipped() as query:
            return _between(query.sigmas(phase.multiplier), "events") + share
        case _:
            return f"{phase.multiplier:.2f} x the clip, every step{share}"


def _between(sigmas: Sequence[float], what: str) -> str:
    low, high = min(sigmas), max(sigmas)
    return f"{low:.1f} {what}" if math.isclose(low, high) else f"{low:.1f} to {high:.1f} {what}"


def _errors(study: Study, agreed: Plan) -> list[str]:
    """The expected error of a table of one and of two columns, in plain words."""
    lines = []
    for order, words in ((1, "one column"), (2, "two columns")):
        sigma = expected_sigma(study, agreed, order)
        if sigma is None:
            lines.append(f"Tables of {words} are not measured: they are learnt in training.")
            continue
        error = 1.96 * sigma
        share = 100 * error / EXAMPLE_ROWS
        lines.append(
            f"A count in a table of {words}, over all {len(study.institutions)} institutions, is measured to about ±{error:,.0f} rows "
            f"(19 times in 20); with {EXAMPLE_ROWS:,} rows in all that is ±{share:.2g} percentage points. The fit smooths some of it away."
        )
    return lines + [line for phase in agreed.phases for line in _errors_of_events(study, phase)]


def _errors_of_events(study: Study, phase: Phase) -> Iterator[str]:
    """The expected error of a table of events, in plain words; nothing where a phase counts none."""
    if isinstance(query := phase.query, Clipped):
        sigmas = sorted(query.sigmas(phase.multiplier))
        error = 1.96 * math.sqrt(len(study.institutions)) * sigmas[len(sigmas) // 2]
        yield (
            f"A count in the phase {phase.name}, over all {len(study.institutions)} institutions, is measured to about ±{error:,.0f} events "
            "(19 times in 20). Events of a person who has many count less than one each: all of a person's are scaled down together."
        )


def expected_sigma(study: Study, agreed: Plan, order: int) -> float | None:
    """Noise of a typical cell of the summed tables of ``order`` columns, in rows; None if none are measured.

    A column's own table is the precision-weighted mean of the estimates from all measured tables that hold it.
    """
    found = []
    for phase in agreed.phases:
        if not isinstance(query := phase.query, Counts):
            continue
        tables = {
            noise[0]: noise for noise in query.noises(phase.multiplier)
        }.values()  # of levels the finest, which is last
        precision_of = precisions(query, tables, order)
        asked = {table for table, _, _ in tables if len(table) == order}
        wanted = asked or ({(j,) for j in range(len(query.sizes))} if order == 1 else set())
        found += [1 / math.sqrt(precision_of[table]) for table in wanted]
    return math.sqrt(len(study.institutions)) * sorted(found)[len(found) // 2] if found else None
