"""The in-process engine: same answers as a transport without Flower, and what goes wrong is reported by name."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from enlisted import agree, consents, custodian, key_of, with_keys
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from cohortium.data.columns import Categorical
from cohortium.data.encoding import encode
from cohortium.data.schema import Schema
from cohortium.errors import FederationError
from cohortium.federation import wire
from cohortium.ledger.receipt import sign_receipt
from cohortium.ledger.store import Ledger
from cohortium.study.generators import Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Privacy, Study
from cohortium_client import app as institution_side
from cohortium_client.socket.service import Answering
from cohortium_server.app import FIELD, MESSAGE_TYPE, RECORD, FlowerTransport
from cohortium_server.rounds.journal import BriefJournal
from cohortium_server.rounds.rounds import Outcome, run_study
from cohortium_server.rounds.transport import Transport
from cohortium_simulation.engine import Fault, InProcessGrid, run_in_process

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

NAMES = ("north", "south", "west")
CANARY = "SECRET-CANARY"
Send = Callable[[Message], Message]


def study(names: tuple[str, ...] = NAMES) -> Study:
    columns = (
        Categorical(name="a", categories=("x", "y", "z")),
        Categorical(name="b", categories=("u", "v")),
    )
    institutions = with_keys(*names)
    privacy = Privacy(epsilon=3.0, delta=1e-6)
    return Study(
        name="engines",
        schema=Schema(columns=columns),
        privacy=privacy,
        generator=Sweep(components=10),
        institutions=institutions,
    )


def width() -> int:
    return plan(study()).phases[0].query.width


@dataclass
class Teller:
    """A custodian without data: sends ``values``, if need be later, ``after`` something, or not at all."""

    institution: str
    values: np.ndarray
    delay: float = 0.0
    after: threading.Event | None = None
    raises: Exception | None = None
    signer: str = ""
    received: list[bytes] = field(default_factory=list)

    def answer(self, data: bytes) -> bytes:
        self.received.append(data)
        time.sleep(self.delay)
        if self.after:
            self.after.wait(60)
        if self.raises:
            raise self.raises
        asked = wire.decode_request(data)
        header = (asked.study, asked.run, asked.round, asked.attempt, self.institution, "5a" * 32)
        reply = wire.encode_reply(wire.Reply(*header, self.values))
        digest, key = hashlib.sha256(reply).hexdigest(), key_of(self.signer or self.institution)
        return wire.encode_answer(reply, sign_receipt(key, self.institution, digest, digest, wire.answer_to(asked)))


def tellers(**changes: Teller) -> dict[str, Teller]:
    cells = np.arange(1, width() + 1, dtype=np.int64)
    return {n: Teller(n, cells * 1000 * (i + 1)) for i, n in enumerate(NAMES)} | changes


class Direct:
    """A transport without any network."""

    def __init__(self, custodians: Mapping[str, Teller]) -> None:
        self.custodians = custodians

    def announce(self, request: bytes) -> None:
        pass

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        return [c.answer(request) for c in self.custodians.values()]


def over(transport: Transport, seed: int | None = None) -> Outcome:
    return run_study(study(), consents(study()), transport, BriefJournal(seed))


def alone(custodians: Mapping[str, Teller], seed: int | None = None) -> Outcome:
    """The study without Flower."""
    return over(Direct(custodians), seed)


def together(custodians: Mapping[str, Answering], seed: int | None = None, **how: Any) -> Outcome:
    """The study over the in-process engine."""
    return run_in_process(study(), consents(study()), custodians, BriefJournal(seed), **how)


def measured(outcome: Outcome) -> list[list[float]]:
    return [m.counts.tolist() for m in outcome.generator.measured]


def test_same_sums_as_without_flower() -> None:
    direct = alone(tellers(), seed=1)
    in_process = together(tellers(), seed=1)
    assert measured(direct) == measured(in_process)
    assert direct.plan == in_process.plan


def test_real_custodians_answer(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    agreed = study()
    custodians = {}
    for name in NAMES:
        table = pd.DataFrame({"a": rng.choice(["x", "y", "z"], 200), "b": rng.choice(["u", "v"], 200)})
        codes, ledger = encode(table, agreed.schema), Ledger(tmp_path / f"{name}.sqlite")
        agree(ledger, agreed)
        custodians[name] = custodian(ledger, lambda _, codes=codes: codes, agreed, name=name)
    outcome = together(custodians, seed=1)
    assert 300 < outcome.generator.rows < 900


class Counting:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, total: int, what: str) -> None:
        self.calls.append(f"start {total}")

    def advance(self, by: int = 1) -> None:
        self.calls.append("advance")

    def done(self) -> None:
        self.calls.append("done")


def test_progress_is_reported() -> None:
    progress = Counting()
    together(tellers(), progress=progress)
    assert progress.calls[0] == "start 1"
    assert progress.calls[-2:] == ["advance", "done"]


def test_a_missing_institution_is_named() -> None:
    custodians = {n: c for n, c in tellers().items() if n != "south"}
    with pytest.raises(FederationError, match="south") as caught:
        together(custodians)
    assert caught.value.code == "E_MISSING_INSTITUTION"
    assert "north" not in str(caught.value)


def test_no_institution_at_all() -> None:
    with pytest.raises(FederationError, match="north, south, west"):
        together({})


def on(node: str, what: Callable[[Message, Send], Iterable[Message]]) -> Fault:
    def fault(name: str, request: Message, app: Send) -> Iterable[Message]:
        return what(request, app) if name == node else [app(request)]

    return fault


def test_a_lost_node_is_named() -> None:
    with pytest.raises(FederationError, match="no answer from west"):
        together(tellers(), fault=on("west", lambda request, app: []))


def test_bad_input_32_a_late_answer_is_not_waited_for() -> None:
    given_up = threading.Event()  # before it there is no answer, however long somebody waits
    late = tellers(north=Teller("north", np.zeros(width(), np.int64), after=given_up))
    with pytest.raises(FederationError, match="no answer from north"):
        together(late, timeout=0.3)
    given_up.set()


def test_bad_input_33_a_duplicate_counts_once() -> None:
    def twice(request: Message, app: Send) -> list[Message]:
        return [app(request), app(request)]

    once, doubled = (
        together(tellers()),
        together(tellers(), fault=on("west", twice)),
    )
    assert measured(once) == measured(doubled)


@pytest.mark.parametrize("node", ["south-west", "North", ""])
def test_bad_input_32_an_unknown_institution_adds_nothing(node: str) -> None:
    """Whatever it signs itself, or however it calls itself."""
    cells = np.arange(1, width() + 1, dtype=np.int64)
    stranger = {"stranger": Teller(node, cells * 10**6)}
    assert measured(alone(tellers() | stranger)) == measured(alone(tellers()))


@pytest.mark.parametrize("signer", ["south", "stranger"])
def test_bad_input_32_an_answer_under_anothers_receipt_is_no_answer(signer: str) -> None:
    """A node cannot speak for west, not even one that is an institution itself."""
    forged = tellers(west=Teller("west", np.zeros(width(), np.int64), signer=signer))
    with pytest.raises(FederationError, match="no answer from west"):
        alone(forged)


@pytest.mark.parametrize("which", ["study", "run", "round", "attempt"])
def test_bad_input_34_an_answer_to_another_request_is_no_answer(which: str) -> None:
    """A genuine answer of west, replayed from elsewhere."""

    class Replayed(Teller):
        def answer(self, data: bytes) -> bytes:
            asked = wire.decode_request(data)
            other = {"study": "00" * 32, "run": "11" * 16, "round": asked.round + 1, "attempt": asked.attempt + 1}
            return super().answer(wire.encode_request(replace(asked, **{which: other[which]})))

    with pytest.raises(FederationError, match="no answer from west"):
        alone(tellers(west=Replayed("west", np.zeros(width(), np.int64))))


def test_bad_input_33_the_first_of_two_answers_of_one_institution_counts() -> None:
    cells = np.arange(1, width() + 1, dtype=np.int64)
    twice = tellers() | {"again": Teller("west", cells * 10**6)}
    assert measured(alone(twice)) == measured(alone(tellers()))


def test_every_answers_receipt_is_in_the_account() -> None:
    outcome = together(tellers())
    (answered,) = outcome.answered
    assert [r.institution for r in answered.receipts] == list(NAMES)
    keys = {i.name: i.key for i in study().institutions}
    assert all(r.is_of(keys[r.institution]) for r in answered.receipts)
    assert answered.institutions == 3


def test_corrupted_bytes_are_no_answer() -> None:
    def flipped(request: Message, app: Send) -> list[Message]:
        answer = app(request)
        data = bytearray(answer.content[RECORD][FIELD])
        data[12] ^= 0xFF
        answer.content[RECORD][FIELD] = bytes(data)
        return [answer]

    with pytest.raises(FederationError, match="no answer from west"):
        together(tellers(), fault=on("west", flipped))


def test_bad_input_32_an_answer_of_another_width_is_no_answer() -> None:
    short = tellers(south=Teller("south", np.zeros(width() - 1, np.int64)))
    with pytest.raises(FederationError, match="no answer from south"):
        together(short)


@pytest.mark.parametrize("content", [RecordDict(), RecordDict({RECORD: ConfigRecord({FIELD: "text"})})])
def test_an_answer_without_bytes_is_none(content: RecordDict) -> None:
    def emptied(request: Message, app: Send) -> list[Message]:
        return [Message(content, reply_to=request)]

    with pytest.raises(FederationError, match="no answer from west"):
        together(tellers(), fault=on("west", emptied))


def test_a_failing_custodian_sends_a_code_and_no_text() -> None:
    failing = tellers(south=Teller("south", np.zeros(0, np.int64), raises=ValueError(CANARY)))
    with pytest.raises(FederationError) as caught:
        together(failing)
    assert caught.value.code == "E_INSTITUTION_REFUSED"
    assert CANARY not in str(caught.value)


def test_what_another_app_raises_stays_in_its_error_message() -> None:
    broken = ClientApp()

    @broken.query("round")  # type: ignore[untyped-decorator]
    def answer(message: Message, context: object) -> Message:
        raise ValueError(CANARY)

    grid = InProcessGrid(broken, {n: {} for n in NAMES})
    try:
        with pytest.raises(FederationError, match="no answer from north, south, west") as caught:
            over(FlowerTransport(grid, 3, patience=0.0))
        assert CANARY not in str(caught.value)
        (error,) = grid.send_and_receive([Message(RecordDict(), grid.get_node_ids()[0], MESSAGE_TYPE)])
        assert CANARY in error.error.reason, "the engine should hide nothing that Flower would send"
    finally:
        grid.close()


def test_messages_that_flower_cannot_carry_are_found() -> None:
    def unfit(request: Message, app: Send) -> list[Message]:
        answer = app(request)
        dict.__setitem__(answer.content[RECORD].__dict__["_data"], FIELD, object())
        return [answer]

    with pytest.raises((TypeError, ValueError, AttributeError)):
        together(tellers(), fault=on("west", unfit))


def test_everybody_is_dismissed_also_after_an_error() -> None:
    before = dict(institution_side._custodians)
    with pytest.raises(FederationError):
        together(tellers(), fault=on("west", lambda request, app: []))
    together(tellers())
    assert institution_side._custodians == before


def test_runs_at_the_same_time_do_not_mix() -> None:
    cells = np.arange(1, width() + 1, dtype=np.int64)
    start = threading.Barrier(3)

    def one(factor: int) -> list[list[float]]:
        start.wait()
        return measured(together({n: Teller(n, cells * factor, delay=0.02) for n in NAMES}))

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(one, [1, 10, 100]))
    assert found == [measured(alone({n: Teller(n, cells * f) for n in NAMES})) for f in (1, 10, 100)]


def test_nodes_are_waited_for_and_then_the_missing_are_named() -> None:
    class Waking(InProcessGrid):
        calls = 0

        def get_node_ids(self) -> list[int]:
            self.calls += 1
            return super().get_node_ids()[: self.calls]

    custodians = tellers()
    for name, teller in custodians.items():
        institution_side.enrol(f"waking/{name}", teller)
    nodes = {n: {"institution": f"waking/{n}"} for n in NAMES}
    grid = Waking(institution_side.app, nodes)
    try:
        assert measured(over(FlowerTransport(grid, 3, patience=5.0)))
        grid.calls = 0
        with pytest.raises(FederationError, match="no answer from south, west"):
            over(FlowerTransport(grid, 3, patience=0.0))
    finally:
        grid.close()
        for name in NAMES:
            institution_side.dismiss(f"waking/{name}")
