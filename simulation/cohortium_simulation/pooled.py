"""Many institutions in one process: their noised answers are summed as they are made, a batch at a time, without masks.

Pairwise masks cost K² operations, cancel in the sum, and hide nothing from the one process that plays everybody. So large
simulations make none. Everything else is the deployment's: each institution's custodian checks the request, answers from its
own table, draws its own share of the noise from randomness of its own, and charges its own ledger. The answers are added in
the ring that masked ones would be added in, so the sum is the same function of what was drawn. Manifest, account and report
state that there were no masks (``study/wording.py``).

No answer is passed on before its charge is durable: the charges of a batch become durable together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from cohortium.errors import BudgetError, LedgerError, StudyError, WireError
from cohortium.federation import wire
from cohortium.ledger.caps import Caps
from cohortium.ledger.receipt import Receipt
from cohortium.ledger.shelf import Shelf
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.study import consent
from cohortium.study.consent import Signatures
from cohortium.study.plan import Phase, plan, ring
from cohortium.study.study import Study
from cohortium.system.progress import Progress
from cohortium_client.custodian.custodian import Custodian
from cohortium_server.rounds.journal import BriefJournal
from cohortium_server.rounds.rounds import ROUND_TIMEOUT, Outcome, run_study

MASKED_UP_TO = 32  # simulated institutions up to which the deployment's own protocol runs, masks included
BATCH = 64  # answers that are charged together
BATCH_BYTES = 256 << 20  # that they take at most


@dataclass(frozen=True)
class PreparedAnswer:
    """An answer that was computed and not charged yet: its custodian's secret."""

    study: Study
    request: wire.Request
    phase: Phase
    caps: Caps
    message: bytes


class PooledCustodian(Custodian):
    """A made-up institution whose shares of a sum go under no masks. Other studies than simulated ones it does not answer."""

    def draft(self, request: wire.Request, shown: tuple[Receipt, ...]) -> PreparedAnswer | bytes:
        """Its answer, for ``charge``; or a refusal. shown: the receipts of its own that the coordinator has."""
        try:
            study = self._agreed(replace(request, receipts=shown))
            phase, caps = self._next_phase(study, request), self._policy.caps(study)
            return PreparedAnswer(study, request, phase, caps, self._computed(study, request, phase, caps))
        except Exception as error:  # noqa: BLE001 - as in any custodian: of a failure beside the data only a code is reported
            return self._refused(error, request)

    def charge(self, draft: PreparedAnswer) -> bytes:
        """The answer that was drafted, charged and sealed; or a refusal where a cap forbids it.

        LedgerError where it could not be written: then nothing of the batch was.
        """
        try:
            charged = self._charged(draft.study, draft.request, draft.phase, draft.caps, draft.message)
        except (BudgetError, WireError) as error:
            return self._refused(error, draft.request)
        return self._sealed(draft.request, *charged)

    def refuse(self, error: LedgerError, request: wire.Request) -> bytes:
        return self._refused(error, request)

    def _agreed(self, request: wire.Request) -> Study:
        study = super()._agreed(request)
        if not study.simulated:
            what = "it is answered under masks, or not at all: its institutions are not made up"
            raise StudyError("E_PLAN_UNTRUSTED", "request", what, "Run it as a federation.")
        return study

    def _check_consents(self, study: Study, request: wire.Request) -> None:
        """All signatures are verified once for everybody (``Pool``); that its own key is in the study, by each."""
        consent.require_key(study, self.identity.name, self.identity.public)

    def _hidden(
        self, study: Study, request: wire.Request, phase: Phase, noised: Callable[[], Noised]
    ) -> tuple[wire.Values, Mapping[str, Any]]:
        """As it is, in the ring that sums are added in."""
        return ring(study, phase).to_ring(noised().values), {}


class Pool:
    """A transport to custodians of this process, which answer a batch at a time, as many at once as there are processors.

    Nobody is late, so nobody is waited for; the timeout has no effect.
    """

    def __init__(self, study: Study, custodians: Iterable[PooledCustodian], shelf: Shelf) -> None:
        self._study, self._custodians, self._shelf = study, tuple(custodians), shelf

    def exchange(self, request: bytes, timeout: float) -> Iterator[bytes]:
        asked = wire.decode_request(request)
        consent.require_all(self._study, asked.consents)
        shown = _by_institution(asked.receipts)
        common = replace(asked, receipts=())
        with ThreadPoolExecutor(os.cpu_count() or 1, "institution") as pool:

            def drafted(custodian: PooledCustodian) -> PreparedAnswer | bytes:
                return custodian.draft(common, shown.get(custodian.identity.name, ()))

            size = self._batch(asked)
            for start in range(0, len(self._custodians), size):
                batch = self._custodians[start : start + size]
                yield from self._charged(batch, list(pool.map(drafted, batch)))

    def announce(self, request: bytes) -> None:
        """Institutions of this process end with it, and need no word that a run has."""

    def _batch(self, asked: wire.Request) -> int:
        agreed = plan(self._study)
        width = agreed.phase(asked.round).query.width if asked.round < agreed.rounds else 1
        return max(1, min(BATCH, BATCH_BYTES // (8 * width)))

    def _charged(self, batch: Sequence[PooledCustodian], drafts: Sequence[PreparedAnswer | bytes]) -> list[bytes]:
        """The batch's answers, every one of which is charged, durably; if that fails, refusals."""
        made = list(zip(batch, drafts, strict=True))
        try:
            with self._shelf.together():
                return [c.charge(d) if isinstance(d, PreparedAnswer) else d for c, d in made]
        except LedgerError as error:
            return [c.refuse(error, d.request) if isinstance(d, PreparedAnswer) else d for c, d in made]


def _by_institution(receipts: Iterable[Receipt]) -> dict[str, tuple[Receipt, ...]]:
    found: dict[str, tuple[Receipt, ...]] = {}
    for receipt in receipts:
        found[receipt.institution] = (*found.get(receipt.institution, ()), receipt)
    return found


def run_pooled(
    study: Study,
    consents: Signatures,
    custodians: Iterable[PooledCustodian],
    shelf: Shelf,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Run a simulated study in this process, a round at a time; raises FederationError as a deployment would."""
    pool = Pool(study, custodians, shelf)
    return run_study(study, consents, pool, BriefJournal(seed), progress, ROUND_TIMEOUT, simulated=True, masked=False)
