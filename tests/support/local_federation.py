"""Custodians and a coordinator in one process that trust their coordinator, and a run of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from enlisted import agree, consents, custodian, with_keys

from cohortium.data.columns import Categorical
from cohortium.data.encoding import Codes
from cohortium.data.schema import Schema
from cohortium.federation import wire
from cohortium.ledger.store import Ledger
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.study import Privacy, Study
from cohortium_client.custodian.custodian import Custodian
from cohortium_server.rounds.folder_journal import FolderJournal
from cohortium_server.rounds.rounds import Outcome, run_study

NAMES = ("north", "south")
SWEEP = Study(
    name="resumed",
    schema=Schema(
        columns=(Categorical(name="a", categories=("x", "y", "z")), Categorical(name="b", categories=("u", "v")))
    ),
    privacy=Privacy(epsilon=3.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=with_keys(*NAMES),
)
TRAINING = replace(SWEEP, name="trained", generator=Autoregressive(rounds=2, steps=2, sampling_rate=0.5))


def table(_: Study) -> Codes:
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(0, 3, 300), rng.integers(0, 2, 300)], axis=1).astype(np.int16)
    return Codes(values, np.arange(300), (3, 2))


@dataclass
class Federation:
    """Two institutions with ledgers, reached without a network, which fails on request."""

    custodians: dict[str, Custodian]
    ledgers: dict[str, Ledger]
    silent: set[str] = field(default_factory=set)
    received: list[wire.Request] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)

    def announce(self, request: bytes) -> None:
        pass

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        self.received.append(wire.decode_request(request))
        answers = [c.answer(request) for name, c in self.custodians.items() if name not in self.silent]
        self.sent += answers
        return answers

    @property
    def charges(self) -> list[int]:
        return [len(ledger.charges()) for ledger in self.ledgers.values()]


Start = Callable[[Study], Federation]


@pytest.fixture(name="start")
def start_fixture(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(study: Study) -> Federation:
            ledgers = {n: stack.enter_context(Ledger(tmp_path / study.name / f"{n}.sqlite")) for n in NAMES}
            for ledger in ledgers.values():
                agree(ledger, study)
            return Federation({n: custodian(ledgers[n], table, study, name=n) for n in NAMES}, ledgers)

        yield started


def begin(folder: Path, study: Study, seed: int = 7) -> FolderJournal:
    return FolderJournal.begin(folder / "runs", study, consents(study), seed, {"out": "release"})


def go(journal: FolderJournal, transport: Any) -> Outcome:
    """Run it or go on with it, and let it go."""
    try:
        return run_study(journal.study, journal.consents, transport, journal)
    finally:
        journal.close()
