"""Step 6: the study's main loop: ask, send, sum, account, feed back, until the generator needs no more sums.

Recorded rounds are replayed, not requested again, so that an interrupted run resumes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.errors import StudyError
from cohortium.federation import wire
from cohortium.ledger.location import home
from cohortium.ledger.receipt import Receipt
from cohortium.privacy.accounting import Events
from cohortium.study.consent import Signatures, require_signable
from cohortium.study.expiry import require_unexpired
from cohortium.study.plan import Plan, plan, with_attempts
from cohortium.study.study import Study
from cohortium.study.wording import Kind
from cohortium.system import failpoints
from cohortium.system.logs import about
from cohortium.system.progress import Progress, Silent
from cohortium_server.generators import Generator, Sum, generator_class
from cohortium_server.rounds.asking import Asking, Round, all_there, gather
from cohortium_server.rounds.doing import ROUNDS
from cohortium_server.rounds.journal import Aggregate, Journal, Void
from cohortium_server.rounds.masks import MaskedRounds
from cohortium_server.rounds.receipts import Receipts
from cohortium_server.rounds.transport import Transport

ROUND_TIMEOUT = 3600.0
_log = logging.getLogger("cohortium.rounds")


@dataclass(frozen=True)
class Answered:
    """A complete round, with its receipts; it cost each institution ``events``.

    void: the receipts that arrived of its earlier attempts, ``attempt`` in number. Each may have been charged
    to everybody, like the one that was opened.
    """

    phase: str
    round: int
    attempt: int
    receipts: tuple[Receipt, ...]
    events: Events
    void: Void = ()

    @property
    def institutions(self) -> int:
        return len(self.receipts)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run: a fitted generator, and the account of the queries it took.

    kind: what ran it. masked: whether sums were added up under masks, where the study has any.
    """

    study: Study
    consents: Signatures
    plan: Plan
    run: str
    generator: Generator
    answered: tuple[Answered, ...]
    kind: Kind
    masked: bool = True

    @cached_property
    def spent(self) -> Plan:
        """What was charged: the plan, with every abandoned attempt added."""
        again = Counter[str]()
        for one in self.answered:
            again[one.phase] += one.attempt
        return with_attempts(self.study, self.plan, again)


def run_study(
    study: Study,
    consents: Signatures,
    transport: Transport,
    journal: Journal,
    progress: Progress | None = None,
    timeout: float = ROUND_TIMEOUT,
    simulated: bool = False,
    masked: bool = True,
) -> Outcome:
    """Run the rounds of the study's plan that the journal does not hold yet.

    simulated: the custodians are in this process. The outcome is then a simulation, as it is wherever the study says that its
    institutions are made up, whatever carried the messages.
    masked: False only where both hold: masks hide nothing within the process that makes and adds up the answers.
    Raises FederationError naming the institutions that are missing or refuse; the same journal resumes from there.
    """
    require_signable(study)
    if not masked and not (simulated and study.simulated):
        what = "only institutions that are made up, and of this process, send shares of a sum without masks"
        raise StudyError("E_PLAN_PRIVACY", f"study {study.name!r}", what, "Run it with masks.")
    agreed, progress = plan(study), progress or Silent()
    generator: Generator = generator_class(study.generator.kind)(study, journal.seed, progress)
    progress.start(agreed.rounds, ROUNDS)
    asking = Asking(study, journal.run, consents, transport, timeout, Receipts(home() / "receipts"), progress)
    masks, answered = MaskedRounds(asking), list[Answered]()
    while (query := generator.ask()) is not None:
        this = Round(study, len(answered), agreed.rounds, agreed.phase(len(answered)), query)
        aggregate = journal.aggregate(this.number) or _ask(this, asking, masks, journal, masked)
        if this.number == agreed.rounds - 1 and not simulated:  # a simulation's ledgers are this process's own
            asking.end(this, aggregate.attempt)
        phase = this.phase
        answered_round = Answered(
            phase.name, this.number, aggregate.attempt, aggregate.receipts, phase.answer_events, aggregate.void
        )
        answered.append(answered_round)
        generator.tell(Sum(query, aggregate.values, len(aggregate.receipts), this.phase.multiplier))
        progress.advance()
    progress.done()
    kind: Kind = "simulation" if simulated or study.simulated else "federation"
    return Outcome(
        study, consents, agreed, journal.run, generator, tuple(answered), kind, masked or study.privacy.trust == "local"
    )


def _ask(this: Round, asking: Asking, masks: MaskedRounds, journal: Journal, masked: bool) -> Aggregate:
    """Ask all institutions for a round. A round that was asked before is asked at the same state.

    StudyError E_EXPIRED if the study has expired, as every institution would then refuse.
    """
    require_unexpired(this.study)
    state = journal.state(this.number)
    if state is None:
        state = this.query.state
        journal.remember_state(this.number, state)
    failpoints.passed("round asked")
    if this.study.privacy.trust == "local":
        request = asking.request(this, state)
        aggregate = add_up(this, request, asking.stream(request))
    elif not masked:
        aggregate = masks.unmasked(this, state)
    else:
        aggregate = masks.ask(this, state, journal)
    failpoints.passed("round added up")
    asking.seen.remember(this.study, aggregate.receipts)
    failpoints.passed("receipts kept")
    journal.remember(aggregate)
    _log.info("round %d of %d is complete", this.number + 1, this.of, extra=about(run=journal.run))
    return aggregate


def add_up(this: Round, request: wire.Request, answers: Iterable[bytes]) -> Aggregate:
    """The sum of one answer from each of the study's institutions, in one accumulator."""
    total: npt.NDArray[np.int64] = np.zeros(this.query.width, np.int64)

    def take(reply: wire.Reply) -> None:
        np.add(total, reply.values, out=total)

    receipts, refused = gather(this, request, answers, np.int64, take)
    all_there(this.study, request, set(receipts), refused)
    return Aggregate(this.number, request.attempt, total, tuple(receipts[n] for n in this.study.institution_names))
