"""Custodians and a coordinator in one process that add up under masks, and hooks to stop them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from enlisted import ANYTHING, agree, consents, identity, with_keys

from cohortium.data.columns import Boolean, Categorical
from cohortium.data.encoding import Codes
from cohortium.data.schema import Schema
from cohortium.federation import wire
from cohortium.ledger.store import Ledger
from cohortium.study.generators import Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Privacy, Study
from cohortium_client.custodian.custodian import Custodian, Holding
from cohortium_client.custodian.sessions import Sessions
from cohortium_server.rounds.asking import Asking, Round
from cohortium_server.rounds.journal import Aggregate, BriefJournal
from cohortium_server.rounds.masks import MaskedRounds
from cohortium_server.rounds.receipts import Receipts

COLUMNS = (Categorical(name="a", categories=("x", "y", "z")), Boolean(name="b"))
Hook = Callable[[str, wire.Request], bool]


class StoppedError(BaseException):
    """The coordinator's process ends."""


def study(size: int, dropouts: int = 0, colluders: int = 0) -> Study:
    return Study(
        name="masked",
        schema=Schema(columns=COLUMNS),
        privacy=Privacy(epsilon=2.0, delta=1e-6, trust="secure-sum", dropouts=dropouts, colluders=colluders),
        generator=Sweep(components=10),
        institutions=with_keys(*(f"i{k:02}" for k in range(size))),
    )


@dataclass
class Federation:
    """Institutions of one study in this process. ``stops(name, request)`` says who does not answer what.

    contradicts: likewise, who refuses it with E_VIEW.
    """

    study: Study
    folder: Path
    stack: ExitStack
    stops: Hook = lambda name, request: False
    contradicts: Hook = lambda name, request: False
    exchanges: list[list[str]] = field(default_factory=list)
    answers: list[wire.Answer] = field(default_factory=list)
    journal: BriefJournal = field(default_factory=lambda: BriefJournal(0))

    def __post_init__(self) -> None:
        self.ledgers = {n: self.stack.enter_context(Ledger(self.folder / f"{n}.sqlite")) for n in self.names}
        for ledger in self.ledgers.values():
            agree(ledger, self.study)
        self.custodians = {n: self.custodian(n) for n in self.names}

    @property
    def names(self) -> tuple[str, ...]:
        return self.study.institution_names

    def codes(self, name: str) -> Codes:
        rng = np.random.default_rng(self.names.index(name))
        rows = 50 + 10 * self.names.index(name)
        values = np.stack([rng.integers(0, n, rows) for n in self.study.schema.sizes], 1).astype(np.int16)
        return Codes(values, np.arange(rows), self.study.schema.sizes)

    def custodian(self, name: str) -> Custodian:
        """A new process of an institution, over what it kept."""
        holding = Holding("people", lambda _: self.codes(name), self.ledgers[name], Sessions(self.folder / f"{name}.s"))
        return Custodian(identity(name), {self.study.digest: self.study}, holding, ANYTHING)

    def announce(self, request: bytes) -> None:
        pass

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        parts = [wire.decode_request(p) for p in wire.decode_bundle(request)]
        self.exchanges.append([p.leg for p in parts])
        there = [n for n in self.names if not any(self.stops(n, p) for p in parts)]
        return [self._reply(n, request, parts) for n in there]

    def _reply(self, name: str, request: bytes, parts: list[wire.Request]) -> bytes:
        if any(self.contradicts(name, p) for p in parts):
            return wire.encode_refusal(wire.Refusal(name, "E_VIEW"))
        return self.custodians[name].answer(request)

    def masks(self) -> MaskedRounds:
        seen = Receipts(self.folder / "receipts")
        return MaskedRounds(Asking(self.study, self.journal.run, consents(self.study), self, 1.0, seen))

    def round(self, number: int = 0) -> Round:
        phase = plan(self.study).phase(number)
        return Round(self.study, number, plan(self.study).rounds, phase, phase.query)

    def ask(self, number: int = 0, masks: MaskedRounds | None = None) -> Aggregate:
        return (masks or self.masks()).ask(self.round(number), b"", self.journal)

    def plain(self, names: Iterable[str] | None = None) -> np.ndarray:
        """The sum without noise and masks."""
        query = self.round().query
        return sum(query._count(self.codes(n)) * query.grid for n in names or self.names)  # type: ignore[attr-defined]

    def charges(self) -> dict[str, int]:
        return {n: len(ledger.charges()) for n, ledger in self.ledgers.items()}


Make = Callable[..., Federation]


@pytest.fixture(name="make")
def make_fixture(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def federation(size: int, dropouts: int = 0, colluders: int = 0, **options: object) -> Federation:
            folder = tmp_path / f"{size}-{dropouts}-{colluders}"
            return Federation(study(size, dropouts, colluders), folder, stack, **options)  # type: ignore[arg-type]

        yield federation


def stopping(*names: str, legs: Iterable[str] = ("mask",), attempts: Iterable[int] = (0, 1, 2)) -> Hook:
    """Gone at ``legs`` and whatever comes after."""
    order = list(wire.LEGS)
    first = min(order.index(leg) for leg in legs)
    return lambda name, asked: name in names and order.index(asked.leg) >= first and asked.attempt in attempts


def contradicting(*names: str, attempts: Iterable[int] = (0,)) -> Hook:
    """These say E_VIEW when they are to confirm: they will not go on with the attempt."""
    return lambda name, asked: name in names and asked.leg == "confirm" and asked.attempt in attempts
