"""What an institution may watch of its custodian: what it answered and refused, and what its people have spent.

No row counts, no columns, no durations, no memory: all of it has happened on a request from outside, follows from signed
studies, or is the institution's own account (docs/metrics.md). It is the institution's alone, so it is served on this
machine unless somebody decides otherwise.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Lock

from prometheus_client import Metric

from cohortium.errors import CODES, CohortiumError, InputError, WireError
from cohortium.federation.wire import decode_bundle, refused
from cohortium.ledger.store import Ledger
from cohortium.system.address import Address, parse_address
from cohortium.system.checks import writes
from cohortium.system.metrics import counter, gauge, is_loopback, served, written
from cohortium_client.custodian.answerable import agreed_to, refusal
from cohortium_client.custodian.institution import Institution
from cohortium_client.socket.service import Answering


class Counting:
    """A custodian whose answers and refusals are counted; to its callers the custodian itself."""

    def __init__(self, custodian: Answering) -> None:
        self._custodian, self._lock = custodian, Lock()
        self._answers, self._refusals = 0, Counter[str]()

    def answer(self, data: bytes) -> bytes:
        try:
            reply = self._custodian.answer(data)
        except BaseException:
            self._count(["E_CUSTODIAN"])
            raise
        self._count(_codes(reply))
        return reply

    def _count(self, codes: list[str]) -> None:
        """codes: of one answer, or several in a bundle; empty for what was answered."""
        with self._lock:
            self._answers += codes.count("")
            self._refusals.update(c for c in codes if c)

    def metrics(self) -> list[Metric]:
        with self._lock:
            answers, refusals = self._answers, dict(self._refusals)
        return [
            counter("cohortium_custodian_answers", "Messages answered.", [((), answers)]),
            counter(
                "cohortium_custodian_refusals",
                "Messages refused, by the code that was sent.",
                (((code,), refusals.get(code, 0)) for code in CODES),
                "code",
            ),
        ]


def _codes(reply: bytes) -> list[str]:
    """The code of each message of a reply; what is no message counts as a failure, as in the service."""
    try:
        parts = (refused(part) for part in decode_bundle(reply))
        return ["" if part is None else part.code for part in parts]
    except WireError:
        return ["E_CUSTODIAN"]


class Account:
    """Figures from the ledger and the policy, computed again where the ledger has grown. It opens the ledger itself."""

    def __init__(self, institution: Institution) -> None:
        self._institution, self._lock = institution, Lock()
        self._ledger: Ledger | None = None
        self._known: tuple[str, list[Metric]] = ("", [])

    def metrics(self) -> list[Metric]:
        """All figures; of a ledger that cannot be read or believed, only that it is not sound."""
        with self._lock:
            try:
                figures = self._taken()
            except CohortiumError:
                self._close()
                figures = []
        sound = gauge(
            "cohortium_ledger_sound", "1 if the ledger can be read and its chain holds.", [((), bool(figures))]
        )
        return [sound, *figures]

    def _taken(self) -> list[Metric]:
        if self._ledger is None:
            self._ledger = self._institution.ledger()
        head = self._ledger.head()
        if head != self._known[0]:
            self._known = head, self._spent(self._ledger)
        return [self._studies(self._ledger), *self._known[1]]  # a study expires while nothing is written

    def _studies(self, ledger: Ledger) -> Metric:
        of = self._institution
        signed = [study for study in of.agreements.values() if agreed_to(ledger, study)]
        answered = sum(refusal(study, of.identity, of.policy, ledger) is None for study in signed)
        return gauge("cohortium_custodian_studies_signed", "Studies that the custodian answers.", [((), answered)])

    def _spent(self, ledger: Ledger) -> list[Metric]:
        policy, own = self._institution.policy, self._institution.file.population.name
        everybody = sorted({own, *ledger.populations()})
        spent = [((name,), ledger.spent(name, policy.delta).epsilon) for name in everybody]
        cap = [((name,), policy.epsilon_per_population or 0.0) for name in everybody]
        delta = [((name,), policy.delta) for name in everybody]
        label = "population"
        return [
            gauge("cohortium_ledger_epsilon_spent", "Epsilon spent over all studies.", spent, label),
            gauge("cohortium_ledger_epsilon_cap", "The most that may ever be spent.", cap, label),
            gauge("cohortium_ledger_delta", "The delta of both.", delta, label),
        ]

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
        self._ledger, self._known = None, ("", [])


@contextmanager
def watched(
    institution: Institution,
    custodian: Answering,
    address: Address | None = None,
    file: Path | None = None,
) -> Iterator[Answering]:
    """The custodian, counted where its metrics are asked for: served at an address, or written into a file."""
    if address is None and file is None:
        yield custodian
        return
    counting, account, serving = Counting(custodian), Account(institution), Event()

    def taken() -> list[Metric]:
        return [*_signs(serving.is_set()), *counting.metrics(), *account.metrics()]

    serving.set()
    with ExitStack() as stack:
        stack.callback(account.close)
        if address is not None:
            stack.enter_context(served(taken, address))
        if file is not None:
            stack.enter_context(written(taken, file))
        stack.callback(serving.clear)  # before the file is written for the last time
        yield counting


def require_watchable(address: Address | None = None, file: Path | None = None) -> None:
    """InputError E_METRICS unless metrics could be served at the address now, E_IO unless the file could be written."""
    if address is not None:
        with served(list, address):
            pass
    if file is not None:
        writes(file.absolute().parent)


def _signs(serving: bool) -> list[Metric]:
    seen = "When these metrics were taken, in Unix time."
    return [
        gauge("cohortium_custodian_up", "1 while the custodian serves.", [((), serving)]),
        gauge("cohortium_custodian_seen_timestamp_seconds", seen, [((), time.time())]),
    ]


def metrics_address(text: str, anywhere: bool = False) -> Address:
    """Where metrics are to be served; InputError E_METRICS for a place that others can reach, unless ``anywhere``."""
    try:
        address = parse_address(text)
    except ValueError as error:
        raise InputError("E_METRICS", text, str(error), "Give host:port, for example 127.0.0.1:9465.") from None
    if not (anywhere or is_loopback(address)):
        what = "others could read there what was spent here"
        raise InputError("E_METRICS", text, what, "Use 127.0.0.1, or add --metrics-anywhere and a firewall.")
    return address
