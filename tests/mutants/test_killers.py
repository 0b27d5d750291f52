"""What kills the mutants that no other test does; each is exact, and quick."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from enlisted import RUN, agree, answer, consents, custodian, key_of, refusal, request, with_keys

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.encoding import Codes, decode, encode
from cohortium.data.schema import Schema
from cohortium.errors import FederationError, ReleaseError, WireError
from cohortium.federation import wire
from cohortium.ledger.receipt import Receipt, about, sign_receipt
from cohortium.ledger.records import Charge, Withdrawal
from cohortium.ledger.store import Ledger
from cohortium.neural.state import write_state
from cohortium.privacy.accounting import Gaussian, cost, repeated
from cohortium.privacy.discrete_gaussian import Bounded, Noised, noise_multiplier
from cohortium.queries import counts, gradients, local_training
from cohortium.queries.marginals import Marginals
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.guarantee import guarantees
from cohortium.study.plan import Plan, plan
from cohortium.study.study import Privacy, Study, dumps_schema, dumps_study
from cohortium.system.keys import load_or_create_key
from cohortium_server import gate
from cohortium_server.release import load_release
from cohortium_server.release.manifest import write_manifest
from cohortium_server.rounds.rounds import Answered, Outcome

CANARY = "SECRET-CANARY-1893"
COLUMNS = (
    Categorical(name="colour", categories=("red", "green"), nullable=True),
    Categorical(name="size", categories=("s", "m", "l"), nullable=True),
)
NAMES = ("north", "south", "west")
SWEEP = Study(
    name="killers",
    schema=Schema(person="who", columns=COLUMNS),
    privacy=Privacy(epsilon=2.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=with_keys(*NAMES),
)
TRAINING = replace(SWEEP, name="training", generator=Autoregressive(rounds=1, steps=2, sampling_rate=1.0))
EVENTS = (Gaussian(4.0),)
CHARGE = Charge("people", "ab" * 32, RUN, 0, 0, "ef" * 32, hashlib.sha256(b"message").hexdigest(), EVENTS, 1e-6)


def table(rows: int) -> Callable[[Study], Codes]:
    drawn = pd.DataFrame({"who": range(rows), "colour": "red", "size": "m"})
    return lambda study: encode(drawn, study.schema)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledgers" / "north.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


# Noise


@pytest.mark.parametrize("study", [SWEEP, TRAINING], ids=["sweep", "training"])
def test_a_custodian_draws_the_noise_it_charges(ledger: Ledger, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the request to the ledger: as many noised sums as charged events, each with the charged noise."""
    drawn: list[float] = []
    original = counts.add_noise

    def spy(bounded: Bounded, multiplier: float, randomness: Any) -> Noised:
        drawn.append(noise_multiplier(multiplier, bounded.sensitivity, bounded.scales))
        return original(bounded, multiplier, randomness)

    for module in (counts, gradients, local_training):
        monkeypatch.setattr(module, "add_noise", spy)
    agree(ledger, study)
    behind = custodian(ledger, table(20), study)
    for number in range(plan(study).rounds):
        query = plan(study).phase(number).query
        state = b"" if number == 0 else write_state({"parameters": np.zeros(query.width - 1), "rate": np.ones(1)})
        drawn.clear()
        answer(behind.answer(request(study, round=number, state=state)), study, number)
        charged = [e.noise_multiplier for e in ledger.charges()[-1].events for _ in range(e.count)]
        assert sorted(drawn) == pytest.approx(sorted(charged), rel=1e-12)


def test_noise_has_the_scale_that_the_sensitivity_is_stated_for() -> None:
    """One row more is one unit of the grid more in every table; over its noise's relative scale, the sensitivity."""
    weights = (1.0, 0.25, 4.0)
    query = Marginals((2, 3), ((0,), (1,), (0, 1)), weights, 1, 8)
    squares = math.fsum((query.grid / scale) ** 2 for _, scale in query.scales.runs)
    assert math.sqrt(squares) <= query.sensitivity <= math.sqrt(squares) * (1 + 1e-9)
    assert [length for length, _ in query.scales.runs] == [2, 3, 6]


# Codes


def codes(*values: str | None) -> list[int]:
    """Of a column of a table, with another column that is always there."""
    reported = pd.DataFrame({"who": range(len(values)), "colour": list(values), "size": "m"})
    return encode(reported, SWEEP.schema).values[:, 0].tolist()


def test_a_category_means_the_same_whoever_else_is_there() -> None:
    assert codes("green") == [1]
    assert codes("red") == [0]
    assert codes("red", "green", "blue") == [0, 1, 2]
    assert codes("blue") == [2]  # undeclared, so missing


def test_a_number_has_no_more_digits_than_the_schema() -> None:
    schema = Schema(columns=(Continuous(name="mass", lower=0.0, upper=20.0, bins=4, decimals=1),))
    drawn = decode(np.arange(4, dtype=np.int16).repeat(50)[:, None], schema, np.random.default_rng(0))["mass"]
    assert (drawn == drawn.round(1)).all()
    assert drawn.nunique() > 20


def test_a_missing_value_means_the_same_whoever_else_is_there() -> None:
    missing = COLUMNS[0].values
    for others in ((), ("red",), ("green",) * 5, (None,) * 5):
        assert codes(*others, None)[len(others) :] == [missing]


# The ledger


def test_nothing_is_ever_refunded(ledger: Ledger, path: Path) -> None:
    """Neither for a study that is withdrawn, nor for an attempt that another one followed."""
    for attempt in range(3):
        ledger.charge(replace(CHARGE, attempt=attempt, request=f"{attempt:064x}"), b"message")
    ledger.record(Withdrawal(CHARGE.study))
    spent = cost(repeated(EVENTS, 3), 1e-6)
    assert ledger.spent("people", 1e-6) == spent
    with Ledger(path) as again:
        assert again.spent("people", 1e-6) == spent


# What leaves


@pytest.mark.parametrize("rows", [0, 40])
def test_an_answer_has_the_bytes_its_study_determines(ledger: Ledger, rows: int) -> None:
    agree(ledger, SWEEP)
    reported = custodian(ledger, table(rows), SWEEP).answer(request(SWEEP))
    width = plan(SWEEP).phase(0).query.width
    nothing = wire.encode_reply(wire.Reply(SWEEP.digest, RUN, 0, 0, "north", "00" * 32, np.zeros(width, np.int64)))
    expected = wire.encode_answer(nothing, sign_receipt(key_of("north"), "north", "00" * 32, "00" * 32, "00" * 32))
    assert len(reported) == len(expected)


def test_the_log_of_an_answer_does_not_depend_on_the_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reported = []
    for rows in (0, 1, 300):
        with Ledger(tmp_path / f"{rows}.sqlite") as opened, caplog.at_level(logging.DEBUG):
            agree(opened, SWEEP)
            caplog.clear()
            answer(custodian(opened, table(rows), SWEEP).answer(request(SWEEP)), SWEEP)
            reported.append([record.getMessage() for record in caplog.records])
    assert reported[0] == reported[1] == reported[2] != []


def test_no_text_of_an_exception_is_in_the_log(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    def unreadable(_: Study) -> Codes:
        raise ValueError(CANARY)

    agree(ledger, SWEEP)
    with caplog.at_level(logging.DEBUG):
        assert custodian(ledger, unreadable, SWEEP).answer(request(SWEEP)) == refusal("E_CUSTODIAN")
    assert caplog.text
    assert CANARY not in caplog.text


def test_an_answer_of_another_width_is_none() -> None:
    data = wire.encode_reply(wire.Reply(SWEEP.digest, RUN, 0, 0, "north", "00" * 32, np.arange(3)))
    assert wire.decode_reply(data, 3).values.tolist() == [0, 1, 2]
    for width in (0, 2, 4):
        with pytest.raises(WireError, match="width"):
            wire.decode_reply(data, width)


def test_a_refusal_carries_a_known_code_alone() -> None:
    with pytest.raises(WireError, match="E_WIRE"):
        wire.decode_answer(wire.encode_refusal(wire.Refusal("north", CANARY)), 1)


def test_a_receipt_is_of_the_message_it_is_on() -> None:
    reply = wire.Reply(SWEEP.digest, RUN, 0, 0, "north", "00" * 32, np.arange(3))
    data, other = wire.encode_reply(reply), wire.answer_to(replace(reply, round=1))
    genuine, mine = hashlib.sha256(data).hexdigest(), wire.answer_to(reply)
    for digest, to, sound in ((genuine, mine, True), ("00" * 32, mine, False), (genuine, other, False)):
        answered = wire.encode_answer(data, sign_receipt(key_of("north"), "north", digest, "11" * 32, to))
        if sound:
            assert isinstance(wire.decode_answer(answered, 3), wire.Answer)
        else:
            with pytest.raises(WireError, match="receipt"):
                wire.decode_answer(answered, 3)


class Raising:
    def answer(self, data: bytes) -> bytes:
        raise ValueError(CANARY)


class Echo:
    def answer(self, data: bytes) -> bytes:
        return wire.MAGIC + data


def test_the_service_sends_no_text_of_an_exception() -> None:
    from cohortium_client.socket.service import _answered

    assert _answered(Raising(), b"", 1 << 20) == wire.encode_refusal(wire.Refusal("", "E_CUSTODIAN"))


def test_another_user_than_the_relays_is_not_let_in() -> None:
    """We are not the relay here, whoever we are."""
    from cohortium_client.socket.service import Connection, serve

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        with serve(Echo(), path):
            assert Connection(path).answer(b"x") == wire.MAGIC + b"x"
        with serve(Echo(), path, relay_uid=os.geteuid() + 1), pytest.raises(FederationError, match="E_CUSTODIAN_GONE"):
            Connection(path, wait=0.1).answer(b"x")


# The release


def account() -> dict[str, Any]:
    """What a genuine release of two rounds states of its institutions."""

    def reported(name: str) -> dict[str, Any]:
        to = [about(TRAINING.digest, RUN, k, 0) for k in range(2)]
        receipts = (sign_receipt(key_of(name), name, f"{k:064x}", f"{k + 1:064x}", to[k]) for k in range(2))
        answers = [{"round": k, "attempt": 0, "receipt": asdict(r)} for k, r in enumerate(receipts)]
        return {"name": name, "consent": consents(TRAINING)[name], "answers": answers}

    claims = [g.document() for g in guarantees(TRAINING, plan(TRAINING))]
    costs = {"cost": asdict(plan(TRAINING).cost), "guarantees": claims}
    return {"study": TRAINING.digest, "run": RUN, **costs, "institutions": [reported(name) for name in NAMES]}


def released(folder: Path, reported: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "study.toml").write_text(dumps_study(TRAINING))
    (folder / "schema.toml").write_text(dumps_schema(TRAINING.schema))
    (folder / "ledger.json").write_text(json.dumps(reported))
    claims = {"guarantee": reported["cost"], "guarantees": reported["guarantees"]}
    write_manifest(folder, claims, load_or_create_key(folder.parent / "coordinator.key"), "federation")
    return folder


def _own_receipt(reported: dict[str, Any]) -> None:
    forged = sign_receipt(key_of("impostor"), "west", "00" * 32, "01" * 32, about(TRAINING.digest, RUN, 0, 0))
    reported["institutions"][2]["answers"][0]["receipt"] = asdict(forged)


def _another_study(reported: dict[str, Any]) -> None:
    foreign = sign_receipt(key_of("west"), "west", "00" * 32, "01" * 32, about(SWEEP.digest, RUN, 0, 0))
    reported["institutions"][2]["answers"][0]["receipt"] = asdict(foreign)


def _one_receipt(reported: dict[str, Any]) -> None:
    first, second = reported["institutions"][1]["answers"]
    second["receipt"] = first["receipt"]


def _no_receipt(reported: dict[str, Any]) -> None:
    del reported["institutions"][0]["answers"][1]


def _own_consent(reported: dict[str, Any]) -> None:
    reported["institutions"][2]["consent"] = key_of("impostor").sign(b"anything").hex()


FORGED: dict[str, Callable[[dict[str, Any]], None]] = {
    "a receipt under another key": _own_receipt,
    "a receipt for an answer to another study": _another_study,
    "one receipt for two rounds": _one_receipt,
    "a round without a receipt": _no_receipt,
    "a consent under another key": _own_consent,
}


@pytest.mark.parametrize("name", FORGED)
def test_a_release_proves_what_its_institutions_agreed_to_and_answered(tmp_path: Path, name: str) -> None:
    """The coordinator's own signature is genuine all the time."""
    reported = account()
    assert plan(TRAINING).rounds == 2
    assert load_release(released(tmp_path / "genuine", reported)).study == TRAINING
    FORGED[name](reported)
    with pytest.raises(ReleaseError, match="E_RELEASE_TOUCHED"):
        load_release(released(tmp_path / "forged", reported))


def test_the_gate_refuses_what_cost_more_or_was_asked_more_often() -> None:
    agreed, nothing = plan(SWEEP), np.zeros((0, 2), np.int16)
    receipts = tuple(Receipt(name, "", "", "") for name in NAMES)
    once = Answered("pairs", 0, 0, receipts, agreed.phases[0].events)

    def outcome(of: Plan, *answered: Answered) -> Outcome:
        return Outcome(SWEEP, consents(SWEEP), of, RUN, None, answered, "federation")  # type: ignore[arg-type]

    assert gate._budget(outcome(agreed, once), nothing).passed
    assert gate._complete(outcome(agreed, once), nothing).passed
    for epsilon in (math.nextafter(SWEEP.privacy.epsilon, 3), math.inf, math.nan):
        dearer = replace(agreed, cost=replace(agreed.cost, epsilon=epsilon))
        assert not gate._budget(outcome(dearer, once), nothing).passed
    assert not gate._complete(outcome(agreed, once, once), nothing).passed
    assert not gate._complete(outcome(agreed), nothing).passed
    assert not gate._complete(outcome(agreed, replace(once, receipts=receipts[1:])), nothing).passed
