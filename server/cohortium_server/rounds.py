"""Step 6: the study's story: ask, send, sum, account, tell, until the generator has heard enough."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium import wire
from cohortium.errors import FederationError, WireError
from cohortium.plan import Phase, Plan, plan
from cohortium.privacy.accounting import Events
from cohortium.progress import Progress, Silent
from cohortium.queries import Query
from cohortium.study import Study
from cohortium_server.generators import Generator, Sum, generator_class
from cohortium_server.transport import Transport

ROUND_TIMEOUT = 3600.0


@dataclass(frozen=True)
class Answered:
    """A round that was answered by ``institutions`` institutions, at a cost of ``events`` to each."""

    phase: str
    round: int
    attempt: int
    institutions: int
    events: Events


@dataclass(frozen=True)
class Outcome:
    """A study that has been run: a fitted generator, and the account of what was asked for it."""

    study: Study
    plan: Plan
    run: str
    generator: Generator
    answered: tuple[Answered, ...]


def run_study(
    study: Study,
    transport: Transport,
    seed: int | None = None,
    progress: Progress | None = None,
    timeout: float = ROUND_TIMEOUT,
) -> Outcome:
    """Run every round of the study's plan. Raises FederationError naming the institutions that are missing or refuse."""
    agreed, run = plan(study), secrets.token_hex(16)
    progress = progress or Silent()
    generator: Generator = generator_class(study.generator.kind)(study, seed, progress)
    progress.start(agreed.rounds, "rounds")
    answered: list[Answered] = []
    while (query := generator.ask()) is not None:
        phase = agreed.phase(len(answered))
        request = wire.Request(study.digest, run, len(answered), 0, query.state)
        total = add_up(study, request, query, phase, transport.exchange(wire.encode_request(request), timeout))
        answered.append(
            Answered(phase.name, request.round, request.attempt, total.institutions, query.events(phase.multiplier))
        )
        generator.tell(total)
        progress.advance()
    progress.done()
    return Outcome(study, agreed, run, generator, tuple(answered))


def add_up(study: Study, request: wire.Request, query: Query, phase: Phase, answers: Iterable[bytes]) -> Sum:
    """The sum of one answer from each of the study's institutions, kept as one accumulator."""
    total: npt.NDArray[np.int64] = np.zeros(query.width, np.int64)
    heard: set[str] = set()
    refused: dict[str, str] = {}
    for answer in (_decoded(data, query.width) for data in answers):
        if isinstance(answer, wire.Refusal):
            refused[answer.institution] = answer.code
        elif answer is not None and _belongs(answer, request, study) and answer.institution not in heard:
            heard.add(answer.institution)
            total += answer.values
    _all_there(study, request, heard, refused)
    return Sum(query, total, len(heard), phase.multiplier)


def _decoded(data: bytes, width: int) -> wire.Reply | wire.Refusal | None:
    """The answer, or None for what is no answer: its institution is then named as missing."""
    try:
        return wire.decode_answer(data, width)
    except WireError:
        return None


def _belongs(reply: wire.Reply, request: wire.Request, study: Study) -> bool:
    asked = (request.study, request.run, request.round, request.attempt)
    return (
        reply.study,
        reply.run,
        reply.round,
        reply.attempt,
    ) == asked and reply.institution in study.institution_names


def _all_there(study: Study, request: wire.Request, heard: set[str], refused: dict[str, str]) -> None:
    missing = [name for name in study.institution_names if name not in heard]
    if not missing:
        return
    told = [f"{name} ({refused[name]})" for name in missing if name in refused]
    silent = [name for name in missing if name not in refused]
    if told or "" in refused:
        names = ", ".join(told) or f"a node ({refused['']})"
        raise FederationError(
            "E_INSTITUTION_REFUSED",
            f"round {request.round}",
            f"refused by {names}",
            "Its own log and ledger say why; what was answered is charged.",
        )
    raise FederationError(
        "E_MISSING_INSTITUTION",
        f"round {request.round}",
        f"no answer from {', '.join(silent)}",
        "Start it, then run the study again; what was answered is charged.",
    )
