"""Whatever leaves an institution is a function of noised values and of the study alone.

A taint test: where noise is so wide that nothing of the data is left (every noised value is 7), any two tables must
leave the same bytes, in every field of every message, whatever leg it belongs to, and the same lines in the log. What the
operating system gives and the clock are the same for both. And all that it gives is used: every bit counts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from enlisted import ANYTHING, agree, consents, identity, with_keys

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.encoding import encode
from cohortium.data.schema import Schema
from cohortium.errors import FederationError
from cohortium.federation import wire
from cohortium.ledger import store as ledger_module
from cohortium.ledger.store import Ledger
from cohortium.privacy.discrete_gaussian import Bounded, Noised
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries import counts, gradients, local_training
from cohortium.study.generators import Autoregressive, Ctgan, Diffusion, GeneratorPlan, Sweep, Tvae
from cohortium.study.plan import plan
from cohortium.study.study import Privacy, Study
from cohortium_client.custodian.custodian import Custodian, Holding
from cohortium_client.custodian.sessions import Sessions
from cohortium_server.rounds.journal import BriefJournal
from cohortium_server.rounds.rounds import run_study

NAMES = ("east", "north", "south", "west")
SCHEMA = Schema(
    person="who",
    columns=(
        Categorical(name="colour", categories=("red", "green"), nullable=True),
        Continuous(name="mass", lower=0.0, upper=100.0, bins=40, decimals=1, nullable=True),
        Categorical(name="result", categories=("no", "yes"), target=True),
    ),
)
FEW: dict[str, Any] = {"rounds": 2, "sampling_rate": 0.5, "hidden": 4}
STUDIES: dict[str, tuple[GeneratorPlan, dict[str, Any]]] = {
    "counts": (Sweep(components=4), {"trust": "local"}),
    "counts, three rows a person": (Sweep(components=4), {"trust": "local", "rows_per_person": 3}),
    "counts, persons weigh the same": (Sweep(components=4), {"trust": "local", "equal_weight": "persons"}),
    "masked counts": (Sweep(components=4), {"trust": "secure-sum"}),
    "masked counts, one may drop out": (Sweep(components=4), {"trust": "secure-sum", "dropouts": 1}),
    "local training": (Autoregressive(steps=2, **FEW), {"trust": "local"}),
    "local training of diffusion": (Diffusion(steps=2, **FEW), {"trust": "local", "equal_weight": "persons"}),
    "masked gradients": (Autoregressive(steps=1, **FEW), {"trust": "secure-sum"}),
    "masked gradients, one may drop out": (Tvae(steps=1, **FEW), {"trust": "secure-sum", "dropouts": 1}),
    "a critic's gradients": (Ctgan(), {"trust": "local"}),
}


def study(name: str) -> Study:
    generator, privacy = STUDIES[name]
    promise = Privacy(epsilon=3.0, delta=1e-6, **privacy)
    return Study(name="leaks", schema=SCHEMA, privacy=promise, generator=generator, institutions=with_keys(*NAMES))


def table(rows: int, persons: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "who": rng.integers(0, max(persons, 1), rows),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "mass": rng.choice([*rng.normal(50, 40, 30), np.nan, np.inf, 1e300], rows),
            "result": rng.choice(["no", "yes", "?"], rows),
        }
    )


NOBODY, FEW_PERSONS, MANY = table(0, 0, 0), table(3, 3, 1), table(200, 60, 2)


@dataclass
class Overheard:
    """A transport that keeps every byte institutions say."""

    custodians: tuple[Custodian, ...]
    said: list[bytes] = field(default_factory=list)

    def announce(self, request: bytes) -> None:
        self.exchange(request, 0.0)

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        reported = [c.answer(request) for c in self.custodians]
        self.said += reported
        return reported


class Clock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Clock:
        return cls(2026, 1, 1, tzinfo=tz or UTC)


def system(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operating system that gives each module of ours the same bytes in the same order, whoever else asks."""
    given = Counter[str]()

    def bytes_of(count: int) -> bytes:
        asking = sys._getframe(1)
        while asking.f_back is not None and not str(asking.f_globals.get("__name__")).startswith("cohortium"):
            asking = asking.f_back
        name = str(asking.f_globals["__name__"])
        given[name] += 1
        return hashlib.shake_128(f"{name} {given[name]}".encode()).digest(count)

    monkeypatch.setattr(os, "urandom", bytes_of)
    monkeypatch.setattr(random, "_urandom", bytes_of)  # what ``secrets`` draws from


def erased(bounded: Bounded, multiplier: float, randomness: Any) -> Noised:
    """Noise so wide that nothing else is left."""
    return Noised(np.full(len(bounded.values), 7, np.int64))


@pytest.fixture
def listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[[Study, pd.DataFrame], tuple[list[bytes], list[str]]]:
    """All that a study makes institutions say, and all that they write down, over tables like this one."""
    monkeypatch.setattr(ledger_module, "datetime", Clock)
    for module in (counts, gradients, local_training):
        monkeypatch.setattr(module, "add_noise", erased)

    def listened(asked: Study, rows: pd.DataFrame) -> tuple[list[bytes], list[str]]:
        system(monkeypatch)
        caplog.clear()
        caplog.set_level(logging.DEBUG)
        folder = tmp_path / f"{len(rows)}"
        monkeypatch.setenv("COHORTIUM_HOME", str(folder / "home"))  # whose receipts are remembered
        with ExitStack() as stack:

            def custodian(name: str) -> Custodian:
                ledger = stack.enter_context(Ledger(folder / f"{name}.sqlite"))
                agree(ledger, asked)
                sessions = Sessions(folder / f"{name}.sessions")
                stack.callback(sessions.close)
                holding = Holding("people", lambda of: encode(rows, of.schema), ledger, sessions)
                return Custodian(identity(name), {asked.digest: asked}, holding, ANYTHING)

            received = Overheard(tuple(map(custodian, NAMES)))
            with suppress(FederationError):  # where somebody refuses, that is what was said
                run_study(asked, consents(asked), received, BriefJournal(0))
        lines = [r.getMessage() for r in caplog.records if r.name.startswith("cohortium")]
        return received.said, lines

    return listened


@pytest.mark.parametrize("name", STUDIES)
def test_whatever_leaves_is_a_function_of_noised_values_and_of_the_study(listen: Any, name: str) -> None:
    asked = study(name)
    some, written = listen(asked, FEW_PERSONS)
    assert len(some) >= plan(asked).rounds * len(NAMES)
    assert all(wire.refused(part) is None for data in some for part in wire.decode_bundle(data))
    for other in (MANY, NOBODY):
        said, lines = listen(asked, other)
        assert said == some  # every field of every message, byte by byte
        assert lines == written


def test_the_taint_is_seen_where_noise_is_not_everything(listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test can fail: with a bit of the data left in the noised values, the messages differ."""
    monkeypatch.setattr(counts, "add_noise", lambda bounded, *_: Noised(bounded.values // 64 % 2))
    asked = replace(study("counts"), generator=Sweep(components=4, bins=4))
    assert listen(asked, FEW_PERSONS)[0] != listen(asked, MANY)[0]


# Every bit that is asked of the operating system counts


TRIED = range(0, 256, 5)  # of every byte at least one bit, and every place within bytes


def flipped(monkeypatch: pytest.MonkeyPatch, made: Callable[[], bytes]) -> set[bytes]:
    """What is made of an operating system's bytes, and of the same with any one of the bits ``TRIED`` flipped.

    Fails where fewer than 256 bits are asked for in all.
    """
    asked: list[int] = []

    def with_flipped(bit: int | None) -> bytes:
        asked.clear()

        def bytes_of(count: int) -> bytes:
            first = sum(asked)
            asked.append(8 * count)
            drawn = bytearray(hashlib.shake_128(str(first).encode()).digest(count))
            if bit is not None and first <= bit < first + 8 * count:
                drawn[(bit - first) // 8] ^= 1 << (bit - first) % 8
            return bytes(drawn)

        with monkeypatch.context() as patch:
            patch.setattr(os, "urandom", bytes_of)
            patch.setattr(random, "_urandom", bytes_of)
            found = made()
        assert sum(asked) >= 256
        return found

    return {with_flipped(bit) for bit in (None, *TRIED)}


def test_every_bit_of_the_noises_key_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(flipped(monkeypatch, lambda: SecureRandomness().words(4).tobytes())) == 1 + len(TRIED)


def test_every_bit_of_an_answers_salt_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The salt as it travels: 256 bits, each its own."""
    asked, number = study("counts"), iter(range(1 << 30))

    def salt() -> bytes:
        with Ledger(tmp_path / f"{next(number)}.sqlite") as ledger:
            agree(ledger, asked)
            holding = Holding("people", lambda of: encode(FEW_PERSONS, of.schema), ledger)
            one = Custodian(identity("north"), {asked.digest: asked}, holding, ANYTHING)
            request = wire.Request(asked.digest, "ab" * 16, 0, 0, consents=consents(asked))
            reported = wire.decode_answer(one.answer(wire.encode_request(request)), plan(asked).phase(0).query.width)
        assert isinstance(reported, wire.Answer)
        return bytes.fromhex(reported.reply.salt)

    monkeypatch.setattr("cohortium_client.custodian.custodian.SecureRandomness", lambda: Same())
    assert len(flipped(monkeypatch, salt)) == 1 + len(TRIED)


class Same:
    """Randomness that ask nobody."""

    def words(self, count: int) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 2**64, count, np.uint64)


def test_every_bit_of_a_runs_secrets_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of each a store of its own, opened before, so that nothing else is asked of the system."""
    with ExitStack() as stack:
        opened = [stack.enter_context(closing(Sessions(tmp_path / f"{n}.sessions"))) for n in range(1 + len(TRIED))]
        unused = iter(opened)
        found = flipped(monkeypatch, lambda: next(unused).secrets("ab" * 16).to_bytes())
    assert len(found) == 1 + len(TRIED)
