"""Step 6: the study's story: ask, send, sum, account, tell, until the generator has heard enough.

A round that the journal remembers is not asked again but told again, so that a run which stopped goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium import failpoints, wire
from cohortium.consent import Signatures
from cohortium.errors import FederationError, WireError
from cohortium.plan import Phase, Plan, plan
from cohortium.privacy.accounting import Events
from cohortium.privacy.ledger import home
from cohortium.progress import Progress, Silent
from cohortium.queries import Query
from cohortium.receipt import Receipt
from cohortium.study import Study
from cohortium_server.generators import Generator, Sum, generator_class
from cohortium_server.journal import Heard, Journal, Receipts
from cohortium_server.transport import Transport

ROUND_TIMEOUT = 3600.0


@dataclass(frozen=True)
class Answered:
    """A round that every institution has answered, at a cost of ``events`` to each; with their receipts."""

    phase: str
    round: int
    attempt: int
    receipts: tuple[Receipt, ...]
    events: Events

    @property
    def institutions(self) -> int:
        return len(self.receipts)


@dataclass(frozen=True)
class Outcome:
    """A study that has been run: a fitted generator, and the account of what was asked for it."""

    study: Study
    consents: Signatures
    plan: Plan
    run: str
    generator: Generator
    answered: tuple[Answered, ...]


@dataclass(frozen=True)
class Round:
    """One round of a run, as it is asked."""

    study: Study
    number: int
    phase: Phase
    query: Query


def run_study(
    study: Study,
    consents: Signatures,
    transport: Transport,
    journal: Journal,
    progress: Progress | None = None,
    timeout: float = ROUND_TIMEOUT,
) -> Outcome:
    """Run what the journal does not remember of the study's plan.

    Raises FederationError naming the institutions that are missing or refuse; the same journal goes on from there.
    """
    agreed, progress = plan(study), progress or Silent()
    generator: Generator = generator_class(study.generator.kind)(study, journal.seed, progress)
    progress.start(agreed.rounds, "rounds")
    answered: list[Answered] = []
    while (query := generator.ask()) is not None:
        this = Round(study, len(answered), agreed.phase(len(answered)), query)
        heard = journal.heard(this.number) or _ask(this, consents, transport, journal, timeout)
        events = query.events(this.phase.multiplier)
        answered.append(Answered(this.phase.name, this.number, heard.attempt, heard.receipts, events))
        generator.tell(Sum(query, heard.values, len(heard.receipts), this.phase.multiplier))
        progress.advance()
    progress.done()
    return Outcome(study, consents, agreed, journal.run, generator, tuple(answered))


def _ask(this: Round, consents: Signatures, transport: Transport, journal: Journal, timeout: float) -> Heard:
    """Ask a round of everybody. A round that was asked before is asked at the same state."""
    seen = Receipts(home() / "receipts")
    state = journal.state(this.number)
    if state is None:
        state = this.query.state
        journal.remember_state(this.number, state)
    failpoints.passed("round asked")
    asked = wire.Request(this.study.digest, journal.run, this.number, 0, state, consents, seen.of(this.study))
    heard = add_up(this, asked, transport.exchange(wire.encode_request(asked), timeout))
    failpoints.passed("round added up")
    seen.remember(this.study, heard.receipts)
    failpoints.passed("receipts kept")
    journal.remember(heard)
    return heard


def add_up(this: Round, request: wire.Request, answers: Iterable[bytes]) -> Heard:
    """The sum of one answer from each of the study's institutions, kept as one accumulator."""
    total: npt.NDArray[np.int64] = np.zeros(this.query.width, np.int64)
    receipts: dict[str, Receipt] = {}
    refused: dict[str, str] = {}
    for answer in (_decoded(data, this.query.width) for data in answers):
        if isinstance(answer, wire.Refusal):
            refused[answer.institution] = answer.code
        elif answer is not None and _belongs(answer, request, this.study) and answer.reply.institution not in receipts:
            receipts[answer.reply.institution] = answer.receipt
            total += answer.reply.values
    _all_there(this.study, request, set(receipts), refused)
    return Heard(this.number, request.attempt, total, tuple(receipts[n] for n in this.study.institution_names))


def _decoded(data: bytes, width: int) -> wire.Answer | wire.Refusal | None:
    """The answer, or None for what is no answer: its institution is then named as missing."""
    try:
        return wire.decode_answer(data, width)
    except WireError:
        return None


def _belongs(answer: wire.Answer, request: wire.Request, study: Study) -> bool:
    """Whether an institution of the study signed it, as its answer to this request."""
    asked = (request.study, request.run, request.round, request.attempt)
    reply = answer.reply
    key = {i.name: i.key for i in study.institutions}.get(reply.institution, "")
    return (reply.study, reply.run, reply.round, reply.attempt) == asked and answer.receipt.is_of(key)


def _all_there(study: Study, request: wire.Request, heard: set[str], refused: dict[str, str]) -> None:
    missing = [name for name in study.institution_names if name not in heard]
    if not missing:
        return
    told = [f"{name} ({refused[name]})" for name in missing if name in refused]
    silent = ", ".join(name for name in missing if name not in refused)
    if told or "" in refused:
        names = ", ".join(told) or f"the node of {silent.replace(', ', ' or ')} ({refused['']})"
        raise FederationError(
            "E_INSTITUTION_REFUSED",
            f"round {request.round}",
            f"refused by {names}",
            "Its own log says why. What was answered is charged and kept: the run can be resumed.",
        )
    raise FederationError(
        "E_MISSING_INSTITUTION",
        f"round {request.round}",
        f"no answer from {silent}",
        "Start it, then resume the run: what was answered is charged and kept.",
    )
