"""What every way to a custodian must do: the object itself, and the object behind a socket."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from effort import examples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Categorical
from cohortium.data.encoding import Codes, encode
from cohortium.data.schema import Schema
from cohortium.federation import wire
from cohortium.ledger.receipt import sign_receipt
from cohortium.ledger.records import Consent
from cohortium.ledger.store import Ledger
from cohortium.study.consent import sign
from cohortium.study.generators import Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium.system.keys import public_text
from cohortium_client.custodian.custodian import Custodian, Holding, Identity
from cohortium_client.custodian.policy import Policy
from cohortium_client.socket.service import Answering, Connection, serve

CANARY = "SECRET-CANARY-0815"
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()) for name in ("north", "south")
}
STUDY = Study(
    name="ways",
    schema=Schema(columns=(Categorical(name="a", categories=("x", "y")), Categorical(name="b", categories=("u", "v")))),
    privacy=Privacy(epsilon=2.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=tuple(Institution(name=name, key=public_text(key)) for name, key in KEYS.items()),
)


def table(_: Study) -> Codes:
    return encode(pd.DataFrame({"a": ["x", "y", CANARY], "b": ["u", "v", "v"]}), STUDY.schema)


def unreadable(_: Study) -> Codes:
    raise ValueError(CANARY)


def custodian(ledger: Ledger, read: Callable[[Study], Codes] = table) -> Answering:
    """North's custodian, which has agreed to the study and answers it as often as it is asked."""
    ledger.record(Consent(STUDY.digest, STUDY.name, STUDY.serial))
    holding = Holding("people", read, ledger)
    return Custodian(Identity("north", KEYS["north"]), {STUDY.digest: STUDY}, holding, Policy(repeatable=True))


def request(number: int = 0, **changes: Any) -> bytes:
    """The first round of run ``number``, signed by all."""
    consents = {name: sign(STUDY, name, key) for name, key in KEYS.items()}
    fields = {"study": STUDY.digest, "run": f"{number:032x}", "round": 0, "attempt": 0, "consents": consents}
    return wire.encode_request(wire.Request(**(fields | changes)))


def answered(data: bytes) -> wire.Reply:
    answer = wire.decode_answer(data, plan(STUDY).phases[0].query.width)
    assert isinstance(answer, wire.Answer), answer
    return answer.reply


def refusal(data: bytes) -> wire.Refusal:
    answer = wire.decode_answer(data, 1)
    assert isinstance(answer, wire.Refusal)
    assert data == wire.encode_refusal(answer)  # and nothing beside it
    return answer


Reach = Callable[[Answering], Answering]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.fixture(params=["itself", "served"])
def reach(request: pytest.FixtureRequest) -> Iterator[Reach]:
    """A way to a custodian."""

    def served(behind: Answering) -> Answering:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        opened.enter_context(serve(behind, folder / "custodian.sock"))
        return Connection(folder / "custodian.sock")

    with ExitStack() as opened:
        yield served if request.param == "served" else lambda behind: behind


class Big:
    """Answers every request with a reply of 40 MB."""

    def __init__(self) -> None:
        values = np.arange(5_000_000, dtype=np.int64) * 1_000_003
        reported = wire.Reply("ab", "cd", 0, 0, "north", values=values, salt="00" * 32)
        reply, about = wire.encode_reply(reported), wire.answer_to(reported)
        receipt = sign_receipt(KEYS["north"], "north", hashlib.sha256(reply).hexdigest(), "00" * 32, about)
        self.message = wire.encode_answer(reply, receipt)

    def answer(self, data: bytes) -> bytes:
        return self.message


class TestCustodian:
    def test_an_answer_is_the_custodians(self, reach: Reach, ledger: Ledger) -> None:
        reply = answered(reach(custodian(ledger)).answer(request()))
        assert (reply.study, reply.run, reply.institution) == (STUDY.digest, f"{0:032x}", "north")

    def test_the_same_request_gets_the_same_bytes(self, reach: Reach, ledger: Ledger) -> None:
        behind = custodian(ledger)
        way = reach(behind)
        first = way.answer(request())
        answered(first)
        assert way.answer(request()) == behind.answer(request()) == first
        assert len(ledger.charges()) == 1

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"study": "00" * 32}, "E_PLAN_UNTRUSTED"),
            ({"consents": {}}, "E_PLAN_UNTRUSTED"),
            ({"round": 1}, "E_ROUND_ORDER"),
            ({"state": b"of no use"}, "E_STATE_SHAPE"),
        ],
    )
    def test_a_refusal_is_a_code(self, reach: Reach, ledger: Ledger, changes: dict[str, Any], code: str) -> None:
        assert refusal(reach(custodian(ledger)).answer(request(**changes))) == wire.Refusal("north", code)
        assert ledger.charges() == []

    def test_a_failure_is_a_code(self, reach: Reach, ledger: Ledger) -> None:
        data = reach(custodian(ledger, unreadable)).answer(request())
        assert refusal(data) == wire.Refusal("north", "E_CUSTODIAN")
        assert CANARY.encode() not in data

    @settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.one_of(st.binary(max_size=300), st.integers(0, len(request()) - 1).map(lambda n: request()[:n])))
    @example(b"")
    @example(wire.MAGIC)
    def test_malformed_bytes_are_refused(self, ways: dict[str, Answering], data: bytes) -> None:
        reported = {name: way.answer(data) for name, way in ways.items()}
        assert set(reported.values()) == {wire.encode_refusal(wire.Refusal("north", "E_WIRE"))}

    def test_many_may_ask_at_once(self, reach: Reach, ledger: Ledger) -> None:
        way = reach(custodian(ledger))
        asked = [*range(6), *range(6)]
        with ThreadPoolExecutor(8) as callers:
            reported = list(callers.map(lambda number: way.answer(request(number)), asked))
        assert [answered(data).run for data in reported] == [f"{number:032x}" for number in asked]
        assert reported[:6] == reported[6:]
        assert len(ledger.charges()) == 6

    def test_an_answer_may_be_long(self, reach: Reach) -> None:
        big = Big()
        assert reach(big).answer(request()) == big.message

    def test_a_request_may_be_long(self, reach: Reach, ledger: Ledger) -> None:
        data = request(state=bytes(40_000_000))
        assert refusal(reach(custodian(ledger)).answer(data)).code == "E_STATE_SHAPE"


@pytest.fixture
def ways(ledger: Ledger) -> Iterator[dict[str, Answering]]:
    """Both ways to one custodian."""
    behind = custodian(ledger)
    with tempfile.TemporaryDirectory() as folder, serve(behind, Path(folder) / "custodian.sock"):
        yield {"itself": behind, "served": Connection(Path(folder) / "custodian.sock")}
