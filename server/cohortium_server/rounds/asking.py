"""Asks a round: what every request carries, which answers come back, and which institutions are missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy.typing as npt

from cohortium.errors import FederationError, MaskingError, WireError
from cohortium.federation import wire
from cohortium.ledger.receipt import Receipt
from cohortium.queries import Query
from cohortium.study.consent import Signatures
from cohortium.study.plan import Phase
from cohortium.study.study import Study
from cohortium.system.logs import about
from cohortium.system.progress import Progress, Silent, advancing
from cohortium_server.rounds.receipts import Receipts
from cohortium_server.rounds.transport import Transport

_log = logging.getLogger("cohortium.rounds")
_ANEW = "This run cannot be resumed: have the study signed by all with a higher serial{}, and begin a new one."
NEVER_AGAIN = {
    "E_EXPIRED": _ANEW.format(" and a later expires"),
    "E_RESTORED": _ANEW.format(""),
    "E_ANSWERED": "It answers a study once: resume the run that it answered, or have a higher serial signed by all.",
}
"""The codes of refusals that waiting does not mend, and what does."""


@dataclass(frozen=True)
class Round:
    """One round of a run, as it is asked. of: how many rounds the run has."""

    study: Study
    number: int
    of: int
    phase: Phase
    query: Query


@dataclass(frozen=True)
class Asking:
    """How a run asks all institutions: what every request carries, and the transport. progress: counts who has answered."""

    study: Study
    run: str
    consents: Signatures
    transport: Transport
    timeout: float
    seen: Receipts
    progress: Progress = field(default_factory=Silent)

    def request(
        self, this: Round, state: bytes, attempt: int = 0, leg: str = "answer", board: bytes = b""
    ) -> wire.Request:
        shown = self.seen.of(self.study)
        return wire.Request(self.study.digest, self.run, this.number, attempt, state, self.consents, shown, leg, board)

    def end(self, this: Round, attempt: int) -> None:
        """Announce that the run's last sum is recorded, so that institutions may drop their answers. One that misses this keeps them longer."""
        _log.info("announced: the run has ended", extra=about(run=self.run))
        self.transport.announce(wire.encode_request(self.request(this, b"", attempt, "end")))

    def exchange(self, *requests: wire.Request) -> list[list[bytes]]:
        """The answers to each request, all requests sent at once."""
        received: list[list[bytes]] = [[] for _ in requests]
        for answers in self._exchanged(requests):
            for place, answer in zip(received, answers, strict=False):  # a refusal of the whole bundle is one answer
                place.append(answer)
        return received

    def stream(self, request: wire.Request) -> Iterator[bytes]:
        """The answers to one request, as they arrive: however many institutions answer, few answers are in memory at a time."""
        for answers in self._exchanged([request]):
            yield from answers[:1]

    def _exchanged(self, requests: Sequence[wire.Request]) -> Iterator[list[bytes]]:
        parts = [wire.encode_request(r) for r in requests]
        _log.info("asked: %s", ", ".join(r.leg for r in requests), extra=about(requests[-1]))
        asked = parts[0] if len(parts) == 1 else wire.encode_bundle(parts)
        self.progress.start(len(self.study.institutions), "answers")
        try:
            yield from advancing(map(_parts, self.transport.exchange(asked, self.timeout)), self.progress)
        finally:
            self.progress.done()


def _parts(data: bytes) -> list[bytes]:
    try:
        return wire.decode_bundle(data)
    except WireError:
        return []


def gather(
    this: Round,
    request: wire.Request,
    answers: Iterable[bytes],
    numbers: npt.DTypeLike,
    take: Callable[[wire.Reply], None],
) -> tuple[dict[str, Receipt], dict[str, str]]:
    """Pass the first reply to ``request`` that each institution signed to ``take``, one at a time.

    Returns the receipts of what was taken, and the codes of those who refused. A reply that ``take`` refuses counts as no answer.
    """
    receipts: dict[str, Receipt] = {}
    refused: dict[str, str] = {}
    for answer in (_decoded(data, this.query.width, numbers) for data in answers):
        if isinstance(answer, wire.Refusal):
            refused[answer.institution] = answer.code
            note(answer, this, request.run)
        elif answer is not None and _belongs(answer, request, this.study) and answer.reply.institution not in receipts:
            with suppress(MaskingError, WireError):
                take(answer.reply)
                receipts[answer.reply.institution] = answer.receipt
    return receipts, refused


def note(refusal: wire.Refusal, this: Round, run: str) -> None:
    """Log a refusal. It is not signed: its sender may have given any name."""
    who = refusal.institution if refusal.institution in this.study.institution_names else "a node"
    _log.info("round %d: refused by %s", this.number, who, extra=about(code=refusal.code, run=run))


def _decoded(data: bytes, width: int, numbers: npt.DTypeLike) -> wire.Answer | wire.Refusal | None:
    """The answer, or None for anything else: its institution is then named as missing."""
    try:
        return wire.decode_answer(data, width, numbers)
    except WireError:
        return None


def _belongs(answer: wire.Answer, request: wire.Request, study: Study) -> bool:
    """Whether an institution of the study signed it, as its answer to this request."""
    asked = (request.study, request.run, request.round, request.attempt)
    reply = answer.reply
    key = study.keys.get(reply.institution, "")
    return (reply.study, reply.run, reply.round, reply.attempt) == asked and answer.receipt.is_of(key)


def all_there(study: Study, request: wire.Request, answered: set[str], refused: dict[str, str]) -> None:
    missing = [name for name in study.institution_names if name not in answered]
    if not missing:
        return
    refusals = [f"{name} ({refused[name]})" for name in missing if name in refused]
    silent = ", ".join(name for name in missing if name not in refused)
    if refusals or "" in refused:
        names = ", ".join(refusals) or f"the node of {silent.replace(', ', ' or ')} ({refused['']})"
        if (code := next((c for c in refused.values() if c in NEVER_AGAIN), None)) is not None:
            raise FederationError(code, f"round {request.round}", f"refused by {names}", NEVER_AGAIN[code])
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
        "Start it, or see what keeps it away (cohortium institution check there), then resume: what was answered is kept.",
    )
