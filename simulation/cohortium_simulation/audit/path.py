"""The way of an answer, whole and real: request, custodian, ledger, receipt, wire, and the coordinator's sum.

Keys, ledgers and tables are made for the audit and end with it. ``Path.ask`` is all that the attacks need: ask
everybody, get what an attacker sees. Where single messages are hidden from the coordinator ``messages`` is None.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from cohortium import wire
from cohortium.consent import Signatures
from cohortium.plan import Phase, Plan, plan
from cohortium.privacy.ledger import Ledger
from cohortium.study import Study
from cohortium_client.custodian import Custodian
from cohortium_server.asking import Round
from cohortium_server.journal import new_run
from cohortium_server.rounds import add_up
from cohortium_simulation.audit.canaries import Canaries
from cohortium_simulation.experiment import Simulated, sign_all

IntArray = npt.NDArray[np.int64]
MOST_INSTITUTIONS = 6
FORK_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True)
class Outputs:
    """What one question brought. messages: (institutions, width), or None where they are masked; total: (width,)."""

    messages: IntArray | None
    total: IntArray


@dataclass(frozen=True)
class Question:
    """A round of a run, asked at the model ``state``, for the ``attempt``-th time."""

    run: str
    round: int
    attempt: int = 0
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

    def custodians(self, canaries: Canaries) -> tuple[Custodian, ...]:
        """New custodians over the canaries' tables."""
        return tuple(i.custodian(self.study, canaries.table(k)) for k, i in enumerate(self.institutions))

    def ask(self, custodians: tuple[Custodian, ...], question: Question) -> Outputs:
        """Raises FederationError where a custodian refuses."""
        phase = self.plan.phase(question.round)
        asked = self._request(question)
        answers = [c.answer(wire.encode_request(asked)) for c in custodians]
        heard = add_up(Round(self.study, question.round, self.plan.rounds, phase, phase.query), asked, answers)
        return Outputs(_messages(answers, phase), heard.values)

    def bytes(self, custodians: tuple[Custodian, ...], question: Question) -> list[bytes]:
        """The answers as they travel."""
        return [c.answer(wire.encode_request(self._request(question))) for c in custodians]

    def _request(self, q: Question) -> wire.Request:
        return wire.Request(self.study.digest, q.run, q.round, q.attempt, q.state, self.consents)

    def forked(self, canaries: Canaries, children: int = 2) -> list[Outputs] | None:
        """What processes forked from this one answer to round 0, each from a copy of the ledgers; None where none can be."""
        if not hasattr(os, "fork"):
            return None
        folder = self.institutions[0].ledger.path.parent
        places = [folder.with_name(f"{folder.name}-child-{n}-{new_run()}") for n in range(children)]
        for place in places:
            shutil.copytree(folder, place)
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
        np.save(folder / "total.npy", outputs.total)
        if outputs.messages is not None:
            np.save(folder / "messages.npy", outputs.messages)


def _messages(answers: list[bytes], phase: Phase) -> IntArray:
    decoded = (wire.decode_answer(data, phase.query.width) for data in answers)
    return np.stack([a.reply.values for a in decoded if isinstance(a, wire.Answer)])


def _read_outputs(folder: FilePath) -> Outputs:
    messages = folder / "messages.npy"
    return Outputs(np.load(messages) if messages.exists() else None, np.load(folder / "total.npy"))


def _fork(work: Callable[[], None]) -> int:
    """The child's process id; the child does its work and ends without a word."""
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
        institutions = tuple(Simulated(name, ledger, "canaries") for name, ledger in ledgers.items())
        signed, consents = sign_all(study, [i.identity for i in institutions])
        for institution in institutions:
            institution.agree(signed)
        yield Path(signed, consents, institutions)


def for_audit(study: Study) -> Study:
    """The study as it can be run here: not expired, and with a few institutions, as many as a person may be in."""
    wanted = max(MOST_INSTITUTIONS, study.privacy.institutions_per_person)
    return replace(study, institutions=study.institutions[:wanted], expires=None)
