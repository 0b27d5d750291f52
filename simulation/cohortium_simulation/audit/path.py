"""The real, complete path of an answer: request, custodian, ledger, receipt, wire, and the coordinator's sum.

Keys, ledgers and tables are made for the audit and deleted after it. ``Path.ask`` is all that the attacks need: it asks all
institutions and returns what an attacker sees. ``messages`` is None where masks hide them from the coordinator.

Under masks the worst case that the study allows for is played. The last D institutions stop when they should mask, T others
help the attacker and add no noise, and the canaries are in the remaining H. So a sum has the noise of H, as claimed.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.errors import FederationError, StudyError
from cohortium.federation import wire
from cohortium.ledger.store import Ledger
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.study.consent import Signatures
from cohortium.study.plan import Phase, Plan, plan, ring
from cohortium.study.study import Study
from cohortium.system.signals import unwatched
from cohortium_client.custodian.custodian import Custodian
from cohortium_server.rounds.asking import Asking, Round
from cohortium_server.rounds.journal import BriefJournal, new_run
from cohortium_server.rounds.masks import MaskedRounds
from cohortium_server.rounds.receipts import Receipts
from cohortium_server.rounds.rounds import add_up
from cohortium_simulation.audit.canaries import Canaries
from cohortium_simulation.audit.detectors import Words
from cohortium_simulation.experiment import Simulated, sign_all

IntArray = npt.NDArray[np.int64]
MOST_INSTITUTIONS = 6
FORK_TIMEOUT = 60.0  # seconds
_LAST_LEGS = ("mask", "confirm", "reveal")  # that who drops out does not answer


@dataclass(frozen=True)
class Outputs:
    """The outputs of one question.

    messages: (institutions, width), or None where they are masked. total: (width,). masked: (institutions there, width),
    what was sent under masks, or None where there are none. given_up: the same of an attempt before.
    """

    messages: IntArray | None
    total: IntArray
    masked: Words | None = None
    given_up: Words | None = None


@dataclass(frozen=True)
class Question:
    """A round of a run, asked at the model ``state``. again: once all have masked, a first attempt is given up."""

    run: str
    round: int
    again: bool = False
    state: bytes = b""


@dataclass(frozen=True)
class Path:
    """A signed study and an open ledger for each of its institutions."""

    study: Study
    consents: Signatures
    institutions: tuple[Simulated, ...]

    @cached_property
    def plan(self) -> Plan:
        return plan(self.study)

    @property
    def messages_are_seen(self) -> bool:
        """Whether the coordinator sees single messages."""
        return self.study.privacy.trust == "local"

    @property
    def holders(self) -> int:
        """How many institutions, the first ones, may hold canaries and add noise: K, under masks K - D - T."""
        return len(self.institutions) - self.study.privacy.dropouts - self.study.privacy.colluders

    @property
    def has_attempts(self) -> bool:
        """Whether a round may have another attempt: only under dropout-tolerant masks."""
        return self.study.privacy.dropouts > 0

    def shares(self, phase: Phase) -> int:
        """How many noises of ``phase.multiplier`` are claimed to be in a sum."""
        return len(self.institutions) if self.messages_are_seen else phase.honest

    def custodians(self, canaries: Canaries) -> tuple[Custodian, ...]:
        """New custodians over the canaries' tables."""
        made = [i.custodian(self.study, canaries.table(k)) for k, i in enumerate(self.institutions)]
        end = self.holders + self.study.privacy.colluders
        return (*made[: self.holders], *map(Colluder.instead_of, made[self.holders : end]), *made[end:])

    def ask(self, custodians: tuple[Custodian, ...], question: Question) -> Outputs:
        """Raises FederationError where a custodian refuses."""
        return self._ask(self._to(custodians, question.again), question)

    def answers(self, custodians: tuple[Custodian, ...], question: Question) -> list[bytes]:
        """The answers as they travel, of all legs; refusals too."""
        direct = self._to(custodians)
        with suppress(FederationError):
            self._ask(direct, question)
        return list(itertools.chain.from_iterable(direct.received.values()))

    def _to(self, custodians: tuple[Custodian, ...], again: bool = False) -> _Direct:
        return _Direct(custodians, self.study.privacy.dropouts, again)

    def _ask(self, direct: _Direct, q: Question) -> Outputs:
        receipts, phase = Receipts(self.institutions[0].ledger.path.parent / "receipts"), self.plan.phase(q.round)
        asking = Asking(self.study, q.run, self.consents, direct, 0.0, receipts)
        this = Round(
            self.study, q.round, q.round + 1, phase, phase.query
        )  # the last: no keys of later ones travel along
        return self._seen(asking, this, q) if self.messages_are_seen else self._masked(asking, this, q, direct)

    def _seen(self, asking: Asking, this: Round, q: Question) -> Outputs:
        request = asking.request(this, q.state)
        (answers,) = asking.exchange(request)
        aggregated = add_up(this, request, answers)
        return Outputs(_values(answers, this.phase, np.int64), aggregated.values)

    def _masked(self, asking: Asking, this: Round, q: Question, direct: _Direct) -> Outputs:
        aggregated, numbers = (
            MaskedRounds(asking).ask(this, q.state, BriefJournal(0)),
            ring(self.study, this.phase).dtype,
        )
        sent = [
            _values(direct.received["mask", attempt], this.phase, numbers) for attempt in range(aggregated.attempt + 1)
        ]
        return Outputs(None, aggregated.values, sent[-1], sent[0] if q.again else None)

    def forked(self, canaries: Canaries, children: int = 2) -> list[Outputs] | None:
        """What processes forked from this one answer to round 0, each from a copy of the ledgers; None where none can be."""
        if not hasattr(os, "fork"):
            return None
        folder = self.institutions[0].ledger.path.parent
        places = [folder.with_name(f"{folder.name}-child-{n}-{new_run()}") for n in range(children)]
        for place in places:
            shutil.copytree(folder, place)
        with unwatched():
            pids = [_fork(partial(self._answer_in, place, canaries)) for place in places]
        ended = [_ended(pid) for pid in pids]  # every child is waited for
        return [_read_outputs(place) for place in places] if all(ended) else None

    def _answer_in(self, folder: FilePath, canaries: Canaries) -> None:
        with ExitStack() as stack:
            moved = tuple(
                replace(i, ledger=stack.enter_context(Ledger(folder / i.ledger.path.name))) for i in self.institutions
            )
            path = replace(self, institutions=moved)
            outputs = path.ask(path.custodians(canaries), Question(new_run(), 0))
        for name, values in vars(outputs).items():
            if values is not None:
                np.save(folder / f"{name}.npy", values)


class Colluder(Custodian):
    """An institution that helps the attacker: in every sum it is zero, and adds no noise."""

    @classmethod
    def instead_of(cls, other: Custodian) -> Colluder:
        return cls(other.identity, other._studies, other._holding, other._policy)

    def _values(self, study: Study, request: wire.Request, phase: Phase) -> tuple[wire.Values, Mapping[str, Any]]:
        nothing = Noised(np.zeros(phase.query.width, np.int64))
        masked, statement = self._masking(study, request).mask(request, lambda: nothing, ring(study, phase))
        return masked.values, statement


class _Direct:
    """All institutions in this process. gone: the number that stop, the last ones, when they should mask. again: nobody confirms attempt 0.

    received: the answers, by leg and attempt.
    """

    def __init__(self, custodians: tuple[Custodian, ...], gone: int, again: bool) -> None:
        self._custodians, self._there, self._again = custodians, custodians[: len(custodians) - gone], again
        self.received: dict[tuple[str, int], list[bytes]] = {}

    def announce(self, request: bytes) -> None:
        """One round is asked here; its run has no end."""

    def exchange(self, request: bytes, timeout: float) -> list[bytes]:
        asked = wire.decode_request(request)
        place = asked.leg, asked.attempt
        if self._again and place == ("confirm", 0):
            return [wire.encode_refusal(wire.Refusal(c.identity.name, "E_VIEW")) for c in self._there]
        self.received[place] = [
            c.answer(request) for c in (self._there if asked.leg in _LAST_LEGS else self._custodians)
        ]
        return self.received[place]


def _values(answers: list[bytes], phase: Phase, numbers: npt.DTypeLike) -> Any:
    """(institutions, width) of ``numbers``."""
    decoded = (wire.decode_answer(data, phase.query.width, numbers) for data in answers)
    return np.stack([a.reply.values for a in decoded if isinstance(a, wire.Answer)])


def _read_outputs(folder: FilePath) -> Outputs:
    def kept(name: str) -> Any:
        path = folder / f"{name}.npy"
        return np.load(path) if path.exists() else None

    return Outputs(*(kept(f.name) for f in fields(Outputs)))


def _fork(work: Callable[[], None]) -> int:
    """The child's process id; the child does its work and ends silently."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def _ended(pid: int) -> bool:
    """Whether the child did its work in time; one that has not is ended."""
    until = time.monotonic() + FORK_TIMEOUT
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


@contextmanager
def opened() -> Iterator[FilePath]:
    """A folder for keys and ledgers, gone afterwards."""
    with TemporaryDirectory(prefix="cohortium-audit-") as folder:
        yield FilePath(folder) / "ledgers"


@contextmanager
def path_of(study: Study, folder: FilePath) -> Iterator[Path]:
    """The study's institutions with their ledgers in ``folder``; opened a second time they have been restarted."""
    with ExitStack() as stack:
        ledgers = {
            n: stack.enter_context(Ledger(folder / f"{k}.sqlite")) for k, n in enumerate(study.institution_names)
        }
        made = (Simulated(name, ledger, "canaries") for name, ledger in ledgers.items())
        institutions = tuple(stack.enter_context(closing(one)) for one in made)
        signed, consents = sign_all(study, [i.identity for i in institutions])
        for institution in institutions:
            institution.agree(signed)
        yield Path(signed, consents, institutions)


def for_audit(study: Study) -> Study:
    """The study as it can be run here: not expired, and with a few institutions.

    These are as many as a person may be in, and as D and T are safe among; 6 where both allow for it. StudyError
    E_PLAN_INVALID for a study of events: canaries have none, and would let pass what nobody has attacked.
    """
    if study.schema.tables:
        what = "its schema has tables of events, which no canary has"
        fix = "Audit a study of persons alone: how far events reach is tested exactly, and not by an attack."
        raise StudyError("E_PLAN_INVALID", f"audit of {study.name!r}", what, fix)
    everybody = study.institutions
    for wanted in range(max(MOST_INSTITUTIONS, study.privacy.institutions_per_person), len(everybody)):
        with suppress(StudyError):
            return replace(study, institutions=everybody[:wanted], expires=None)
    return replace(study, expires=None)
