"""The custodian answers what the study asks, charged beforehand, and refuses everything else by a code alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium import wire
from cohortium.encoding import Codes, encode
from cohortium.errors import BudgetError, LedgerError, StudyError
from cohortium.neural.state import write_state
from cohortium.plan import plan
from cohortium.privacy import ledger as ledger_module
from cohortium.privacy.accounting import cost
from cohortium.privacy.ledger import Cap, Ledger
from cohortium.queries.marginals import Marginals
from cohortium.schema import Categorical, Schema
from cohortium.study import Autoregressive, Institution, Privacy, Study, Sweep
from cohortium_client.custodian import MAX_ATTEMPTS, Custodian, Population

COUNTS = ("SELECT count(*) FROM entry", "SELECT count(*) FROM message")
RUN, OTHER_RUN = "ab" * 16, "cd" * 16
CANARY = "SECRET-CANARY-4711"
COLUMNS = (
    Categorical(name="colour", categories=("red", "green"), nullable=True),
    Categorical(name="size", categories=("s", "m", "l"), nullable=True),
)
SWEEP = Study(
    name="custody",
    schema=Schema(person="who", columns=COLUMNS),
    privacy=Privacy(epsilon=2.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=(Institution(name="north"), Institution(name="south")),
)
TRAINING = replace(SWEEP, generator=Autoregressive(rounds=3, steps=2, sampling_rate=0.5))


def people(rows: int) -> Codes:
    """Rows of a table full of canaries: in identifiers, in values nobody declared, in columns nobody asked for."""
    rng = np.random.default_rng(rows)
    drawn = pd.DataFrame(
        {
            "who": [f"{CANARY}-{i}" for i in range(rows)],
            "colour": rng.choice(["red", "green", CANARY], rows),
            "size": rng.choice(["s", "m", "l", CANARY], rows),
            "note": CANARY,
        }
    )
    return encode(drawn, SWEEP.schema)


Make = Callable[..., Custodian]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "north.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


@pytest.fixture
def make(ledger: Ledger) -> Make:
    def custodian(study: Study = SWEEP, rows: int = 100, cap: Cap | None = None) -> Custodian:
        return Custodian("north", study, people(rows), ledger, Population("customers", cap))

    return custodian


def request(of: Study = SWEEP, **changes: Any) -> bytes:
    return wire.encode_request(replace(wire.Request(of.digest, RUN, 0, 0), **changes))


def training_state(scale: float = 0.0, **changes: np.ndarray) -> bytes:
    count = plan(TRAINING).phase(1).query.width - 1
    return write_state({"parameters": np.full(count, scale), "rate": np.array([0.5]), **changes})


def reply(data: bytes, study: Study = SWEEP, round_: int = 0) -> wire.Reply:
    answer = wire.decode_answer(data, plan(study).phase(round_).query.width)
    assert isinstance(answer, wire.Reply), answer
    return answer


def refused(data: bytes, code: str) -> bool:
    """Whether the bytes are the one form a refusal with this code has, and nothing else."""
    header = f'{{"code":"{code}","institution":"north","type":"refusal"}}'.encode()
    return data == b"COH1" + len(header).to_bytes(4, "little") + header


# Answers


def test_an_answer_is_noised_charged_and_kept(make: Make, ledger: Ledger) -> None:
    answer = reply(make().answer(request()))
    assert (answer.study, answer.run, answer.round, answer.attempt) == (SWEEP.digest, RUN, 0, 0)
    assert answer.institution == "north"
    (entry,) = ledger.entries()
    assert entry.charge.population == "customers"
    assert entry.charge.events == plan(SWEEP).phases[0].events
    assert ledger.message(entry) == make().answer(request())


def test_it_is_charged_before_and_kept_after(
    make: Make, ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by another connection: the charge is committed before any row is touched, the bytes before they leave."""
    seen: list[tuple[str, int, int]] = []

    def look(moment: str) -> None:
        with sqlite3.connect(path) as other:
            charges, messages = (other.execute(q).fetchone()[0] for q in COUNTS)
            seen.append((moment, charges, messages))

    answered, stored = Marginals.answer, Ledger.store_message

    def answer(*arguments: Any) -> Any:
        look("answer")
        return answered(*arguments)

    def store(*arguments: Any) -> None:
        look("store")
        stored(*arguments)

    monkeypatch.setattr(Marginals, "answer", answer)
    monkeypatch.setattr(Ledger, "store_message", store)
    make().answer(request())
    look("sent")
    assert seen == [("answer", 1, 0), ("store", 1, 0), ("sent", 1, 1)]


def test_a_whole_study_costs_what_its_plan_says(make: Make, ledger: Ledger) -> None:
    custodian = make(TRAINING)
    custodian.answer(request(TRAINING))
    for round_ in (1, 2, 3):
        reply(custodian.answer(request(TRAINING, round=round_, state=training_state())), TRAINING, round_)
    assert ledger.spent("customers", 1e-6) == plan(TRAINING).cost
    assert plan(TRAINING).cost.epsilon <= TRAINING.privacy.epsilon


def test_a_lost_message_is_sent_again_byte_by_byte(make: Make, ledger: Ledger, path: Path) -> None:
    first = make().answer(request())
    assert make(rows=50).answer(request()) == first  # whatever has become of the table
    with Ledger(path) as reopened:
        again = Custodian("north", SWEEP, people(100), reopened, Population("customers"))
        assert again.answer(request()) == first
    assert len(ledger.entries()) == 1


def test_a_new_attempt_or_run_is_new_noise_and_a_new_charge(make: Make, ledger: Ledger) -> None:
    custodian = make(rows=0)
    one, two, three = (reply(custodian.answer(request(**c))).values for c in ({}, {"attempt": 1}, {"run": OTHER_RUN}))
    for a, b in ((one, two), (one, three), (two, three)):
        assert (a != b).mean() > 0.5
    assert len(ledger.entries()) == 3
    events = plan(SWEEP).phases[0].events
    assert ledger.spent("customers", 1e-6).epsilon == cost(events * 3, 1e-6).epsilon


@pytest.mark.parametrize("study", [SWEEP, TRAINING])
def test_replies_are_as_long_for_few_rows_as_for_many(make: Make, study: Study) -> None:
    lengths = set()
    for i, rows in enumerate((0, 100, 10_000)):
        custodian = make(study, rows)
        run = f"{i:032x}"
        messages = [custodian.answer(request(study, run=run))]
        if study is TRAINING:
            messages.append(custodian.answer(request(study, run=run, round=1, state=training_state())))
        lengths.add(tuple(map(len, messages)))
        assert all(CANARY.encode() not in m for m in messages)
    assert len(lengths) == 1


# Refusals

REFUSED: dict[str, tuple[Study, dict[str, Any], str]] = {
    "another study": (SWEEP, {"study": "00" * 32}, "E_PLAN_UNTRUSTED"),
    "a later round at first": (TRAINING, {"round": 1, "state": training_state()}, "E_ROUND_ORDER"),
    "a round past the plan": (SWEEP, {"round": 1}, "E_ROUND_ORDER"),
    "a round before the first": (SWEEP, {"round": -1}, "E_WIRE"),
    "a round of 32 bits": (SWEEP, {"round": 2**31}, "E_WIRE"),
    "a round just below": (SWEEP, {"round": 2**31 - 1}, "E_ROUND_ORDER"),
    "a round of 64 bits": (SWEEP, {"round": 2**63}, "E_WIRE"),
    "too many attempts": (SWEEP, {"attempt": MAX_ATTEMPTS}, "E_ROUND_ORDER"),
    "an attempt before the first": (SWEEP, {"attempt": -1}, "E_WIRE"),
    "a run of no identifier": (SWEEP, {"run": "../../etc"}, "E_WIRE"),
    "no run": (SWEEP, {"run": ""}, "E_WIRE"),
    "a state nobody needs": (SWEEP, {"state": training_state()}, "E_STATE_SHAPE"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_study_does_not_ask_is_refused_by_a_code_alone(make: Make, ledger: Ledger, name: str) -> None:
    study, changes, code = REFUSED[name]
    assert refused(make(study).answer(request(study, **changes)), code)
    assert ledger.entries() == []


WRONG_STATES = {
    "none": (b"", "E_STATE_SHAPE"),
    "garbage": (b"\x80\x04" * 50, "E_STATE_SHAPE"),
    "another shape": (write_state({"parameters": np.zeros(3), "rate": np.ones(1)}), "E_STATE_SHAPE"),
    "no number": (training_state(rate=np.array([np.nan])), "E_STATE_INVALID"),
    "infinite": (training_state(np.inf), "E_STATE_INVALID"),
}


@pytest.mark.parametrize("name", WRONG_STATES)
def test_wrong_states_are_refused_before_anything_is_charged(make: Make, ledger: Ledger, name: str) -> None:
    state, code = WRONG_STATES[name]
    custodian = make(TRAINING)
    custodian.answer(request(TRAINING))
    assert refused(custodian.answer(request(TRAINING, round=1, state=state)), code)
    assert len(ledger.entries()) == 1


def test_rounds_are_asked_in_order(make: Make, ledger: Ledger) -> None:
    custodian = make(TRAINING)
    state = training_state()
    reply(custodian.answer(request(TRAINING)), TRAINING)
    assert refused(custodian.answer(request(TRAINING, round=2, state=state)), "E_ROUND_ORDER")
    reply(custodian.answer(request(TRAINING, round=1, state=state)), TRAINING, 1)
    assert refused(custodian.answer(request(TRAINING, round=3, state=state)), "E_ROUND_ORDER")
    assert refused(custodian.answer(request(TRAINING, round=1, state=training_state(0.1))), "E_REPLAY")
    assert refused(custodian.answer(request(TRAINING, round=4, state=state)), "E_ROUND_ORDER")
    reply(custodian.answer(request(TRAINING, round=1, attempt=1, state=training_state(0.1))), TRAINING, 1)
    assert len(ledger.entries()) == 3


def test_a_run_of_another_population_cannot_be_gone_on_with(make: Make, ledger: Ledger) -> None:
    """The rounds of a run are counted in the ledger, not in memory: a restarted custodian goes on."""
    make(TRAINING).answer(request(TRAINING))
    reply(make(TRAINING).answer(request(TRAINING, round=1, state=training_state())), TRAINING, 1)


def test_an_interrupted_attempt_is_spent(make: Make, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    custodian = make()
    with monkeypatch.context() as patch:
        patch.setattr(Marginals, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            custodian.answer(request())
    assert len(ledger.entries()) == 1
    assert refused(custodian.answer(request()), "E_REPLAY")
    reply(custodian.answer(request(attempt=1)))
    assert len(ledger.entries()) == 2


def test_an_exhausted_cap_is_a_refusal_and_changes_nothing(make: Make, ledger: Ledger) -> None:
    cap = Cap(plan(SWEEP).cost.epsilon, 1e-6)
    custodian = make(cap=cap)
    custodian.afford()
    first = custodian.answer(request())
    reply(first)
    head = ledger.head()
    assert refused(custodian.answer(request(attempt=1)), "E_BUDGET")
    assert refused(custodian.answer(request(run=OTHER_RUN)), "E_BUDGET")
    assert ledger.head() == head
    assert custodian.answer(request()) == first
    with pytest.raises(BudgetError, match="E_BUDGET"):
        custodian.afford()


def test_a_study_is_answered_until_it_expires(make: Make, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    today = datetime.now(UTC).date()
    reply(make(replace(SWEEP, expires=today)).answer(request(replace(SWEEP, expires=today))))
    past = replace(SWEEP, expires=date(2001, 1, 1))
    assert refused(make(past).answer(request(past)), "E_PLAN_UNTRUSTED")

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2999, 1, 1, tzinfo=tz)

    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "datetime", Later)
        reply(make().answer(request(run=OTHER_RUN)))
    soon = replace(SWEEP, expires=date(2998, 1, 1))  # the clock was set back: the ledger has seen later days
    assert refused(make(soon).answer(request(soon, run="12" * 16)), "E_PLAN_UNTRUSTED")


FAILURES: dict[str, tuple[type[Any], str, Exception, str]] = {
    "the ledger cannot be read": (
        Ledger,
        "entries",
        LedgerError("E_LEDGER_CORRUPT", CANARY, CANARY, CANARY),
        "E_LEDGER_CORRUPT",
    ),
    "the ledger's file fails": (Ledger, "charge", sqlite3.OperationalError(CANARY), "E_CUSTODIAN"),
    "the bytes cannot be kept": (Ledger, "store_message", sqlite3.OperationalError(CANARY), "E_CUSTODIAN"),
    "the answer raises": (Marginals, "answer", ValueError(CANARY), "E_CUSTODIAN"),
    "memory runs out": (Marginals, "answer", MemoryError(CANARY), "E_CUSTODIAN"),
    "an error of ours carries a text": (
        Marginals,
        "answer",
        StudyError("E_PLAN_LIMIT", CANARY, CANARY, CANARY),
        "E_PLAN_LIMIT",
    ),
    "something asserts": (Marginals, "with_state", AssertionError(CANARY), "E_CUSTODIAN"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_whatever_fails_nothing_leaves_but_a_code(make: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    owner, method, error, code = FAILURES[name]

    def fails(*_: Any) -> None:
        raise error

    custodian = make()
    monkeypatch.setattr(owner, method, fails)
    answer = custodian.answer(request())
    assert refused(answer, code)
    assert CANARY.encode() not in answer


class Broken:
    """A connection on which every statement of a kind fails."""

    def __init__(self, connection: sqlite3.Connection, start: str) -> None:
        self._connection, self._start = connection, start

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement.startswith(self._start):
            raise sqlite3.OperationalError(f"disk I/O error near {CANARY}")
        return self._connection.execute(statement, *arguments)


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO entry", "COMMIT", "INSERT INTO message"])
def test_nothing_is_answered_when_the_ledger_fails(make: Make, ledger: Ledger, path: Path, statement: str) -> None:
    custodian, sound = make(), ledger._db
    ledger._db = Broken(sound, statement)  # type: ignore[assignment]
    assert refused(custodian.answer(request()), "E_LEDGER_UNAVAILABLE")
    ledger._db = sound
    with Ledger(path) as committed:
        assert len(committed.entries()) == (1 if statement == "INSERT INTO message" else 0)
        assert all(committed.message(e) is None for e in committed.entries())


def test_nothing_is_answered_from_a_ledger_that_cannot_be_written(make: Make, ledger: Ledger) -> None:
    ledger._db.execute("PRAGMA query_only = ON")
    assert refused(make().answer(request()), "E_LEDGER_UNAVAILABLE")
    assert ledger.entries() == []


def test_nothing_is_answered_once_the_chain_is_broken(make: Make, ledger: Ledger, path: Path) -> None:
    custodian = make()
    custodian.answer(request())
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER entries_last")
        other.execute("UPDATE entry SET events = '[]'")
    for asked in (request(), request(attempt=1), request(run=OTHER_RUN)):
        assert refused(custodian.answer(asked), "E_LEDGER_CORRUPT")


def test_a_custodian_holds_to_one_study_and_its_schema(ledger: Ledger) -> None:
    with pytest.raises(StudyError, match="E_NOT_IN_STUDY"):
        Custodian("east", SWEEP, people(1), ledger, Population("customers"))
    other = Codes(np.zeros((1, 2), np.int16), np.zeros(1, np.int64), (2, 3))
    with pytest.raises(StudyError, match="E_PLAN_UNTRUSTED"):
        Custodian("north", SWEEP, other, ledger, Population("customers"))


def test_rows_without_a_person_are_nobodys() -> None:
    """Taken for one person's they would displace one another, and a person more would change the sum twice over."""
    drawn = pd.DataFrame({"who": ["a", None, "", " ", "NaN", "b"], "colour": "red", "size": "s"})
    codes = encode(drawn, SWEEP.schema)
    assert len(codes) == 2
    assert codes.left_out == 4


VALID = request()


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.integers(0, len(VALID) - 1),
        st.tuples(st.integers(0, len(VALID) - 1), st.integers(1, 255)),
    )
)
def test_any_bytes_get_a_refusal_or_the_answer(change: bytes | int | tuple[int, int]) -> None:
    """Garbage, a request cut short, a request with one byte changed."""
    if isinstance(change, bytes):
        data = change
    elif isinstance(change, int):
        data = VALID[:change]
    else:
        data = VALID[: change[0]] + bytes([VALID[change[0]] ^ change[1]]) + VALID[change[0] + 1 :]
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "l.sqlite") as ledger:
        answer = wire.decode_answer(
            Custodian("north", SWEEP, people(0), ledger, Population("customers")).answer(data),
            plan(SWEEP).phases[0].query.width,
        )
        if isinstance(answer, wire.Refusal):
            assert answer.code in {"E_WIRE", "E_PLAN_UNTRUSTED", "E_ROUND_ORDER", "E_STATE_SHAPE"}
            assert ledger.entries() == []
        else:  # another run, or attempt 1 or 2
            assert len(ledger.entries()) == 1
