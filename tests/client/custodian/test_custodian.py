"""The custodian answers what all have signed, charged together with the answer, and refuses everything else by a code."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from effort import examples
from enlisted import (
    ANYTHING,
    OTHER_RUN,
    POPULATION,
    RUN,
    agree,
    answer,
    changed,
    consents,
    custodian,
    identity,
    key_of,
    refusal,
    request,
    with_keys,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from linked import LINKED

from cohortium.data.columns import Categorical
from cohortium.data.encoding import Codes, encode
from cohortium.data.linked import encode_linked
from cohortium.data.schema import Schema
from cohortium.errors import (
    CODES,
    BudgetError,
    InputError,
    LedgerError,
    PolicyError,
    SchemaError,
    StudyError,
    WireError,
)
from cohortium.federation import wire
from cohortium.ledger import store as ledger_module
from cohortium.ledger.receipt import sign_receipt
from cohortium.ledger.records import Approval, Charge, Withdrawal
from cohortium.ledger.store import Ledger
from cohortium.neural.state import write_state
from cohortium.privacy.accounting import composed, cost
from cohortium.queries.marginals import Marginals
from cohortium.study import consent
from cohortium.study.generators import Autoregressive, Histories, Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium.system import failpoints
from cohortium.system.canonical import canonical_json
from cohortium_client.custodian.custodian import MAX_ATTEMPTS, Custodian, Holding, Identity
from cohortium_client.custodian.policy import Policy

COUNTS = ("SELECT count(*) FROM entry WHERE kind = 'charge'", "SELECT count(*) FROM message")
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
    institutions=with_keys("north", "south"),
)
PATIENTS = pd.DataFrame({"id": ["1", "2"], "sex": ["f", "m"], "enrolled": [0, 9]})
RESULTS = pd.DataFrame({"patient": ["1", "1"], "test": ["crp", "hb"], "day": [1, 4], "value": [3, 9]})
WARDS = pd.DataFrame({"id": ["2"], "ward": ["a"], "admitted": ["2020-01-02"]})
TRAINING = replace(SWEEP, name="training", generator=Autoregressive(rounds=3, steps=2, sampling_rate=0.5))
OTHER = replace(SWEEP, name="another")
EPSILON = plan(SWEEP).cost.epsilon


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


@dataclass
class Table:
    """A table that counts how often it is read."""

    rows: int = 100
    reads: int = 0

    def __call__(self, study: Study) -> Codes:
        self.reads += 1
        return people(self.rows)


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
    """A custodian that has agreed to its studies."""

    def made(*studies: Study, rows: int = 100, policy: Policy = ANYTHING) -> Custodian:
        asked = studies or (SWEEP,)
        agree(ledger, *asked)
        return custodian(ledger, Table(rows), *asked, policy=policy)

    return made


def training_state(scale: float = 0.0, **others: np.ndarray) -> bytes:
    count = plan(TRAINING).phase(1).query.width - 1
    return write_state({"parameters": np.full(count, scale), "rate": np.array([0.5]), **others})


STATE = training_state()


@dataclass(frozen=True)
class Still:
    """What a refusal must leave as it was."""

    charges: int
    head: str
    messages: list[Any]


def still(ledger: Ledger) -> Still:
    messages = ledger._db.execute("SELECT number, hex(bytes) FROM message ORDER BY number").fetchall()
    return Still(len(ledger.charges()), ledger.head(), messages)


# Answers


def test_an_answer_is_noised_charged_and_kept(make: Make, ledger: Ledger) -> None:
    sent = make().answer(request(SWEEP))
    reported = answer(sent, SWEEP)
    reply = reported.reply
    assert (reply.study, reply.run, reply.round, reply.attempt) == (SWEEP.digest, RUN, 0, 0)
    assert reply.institution == "north"
    entry = ledger.entries()[-1]
    assert isinstance(entry.record, Charge)
    assert entry.record.population == POPULATION
    assert entry.record.events == plan(SWEEP).phases[0].events
    assert sent.endswith(ledger.message(entry))
    assert reported.receipt.is_of(identity().public)
    assert reported.receipt.head == entry.hash == ledger.head()
    assert reported.receipt.message == entry.record.message


PLACES = [
    ("request accepted", 0),
    ("answer computed", 0),
    ("ledger begun", 0),
    ("ledger written", 0),
    ("ledger committed", 1),
    ("witness written", 1),
    ("answer sealed", 1),
]


def test_charge_and_message_become_durable_together_and_before_anything_leaves(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by another connection: before COMMIT neither, afterwards both; and only then is there anything to send."""
    seen: list[tuple[str, int, int]] = []

    def look(place: str) -> None:
        other = sqlite3.connect(path)
        charges, messages = (other.execute(q).fetchone()[0] for q in COUNTS)
        other.close()
        seen.append((place, charges, messages))

    behind = make()
    monkeypatch.setattr(failpoints, "reached", look)
    answer(behind.answer(request(SWEEP)), SWEEP)
    assert seen == [(place, count, count) for place, count in PLACES]


class StopError(BaseException):
    """The process ends: nothing may catch it."""


@pytest.mark.parametrize(("place", "charged"), PLACES)
def test_stopped_anywhere_it_has_said_nothing_it_does_not_say_again(
    make: Make, ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch, place: str, charged: int
) -> None:
    def stop(at: str) -> None:
        if at == place:
            raise StopError

    behind = make()
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reached", stop)
        with pytest.raises(StopError):
            behind.answer(request(SWEEP))
    with Ledger(path) as committed:
        assert len(committed.charges()) == charged
        kept = [committed.message(e) for e in committed.entries() if isinstance(e.record, Charge)]
        again = custodian(committed, Table(), SWEEP)
        first = again.answer(request(SWEEP))
        assert all(first.endswith(message) for message in kept)
        assert again.answer(request(SWEEP)) == behind.answer(request(SWEEP)) == first
        assert len(committed.charges()) == 1
        assert committed.verify() == 2


def test_a_whole_study_costs_what_its_plan_says(make: Make, ledger: Ledger) -> None:
    asked = make(TRAINING)
    answer(asked.answer(request(TRAINING)), TRAINING)
    for round_ in (1, 2, 3):
        answer(asked.answer(request(TRAINING, round=round_, state=STATE)), TRAINING, round_)
    assert ledger.spent(POPULATION, 1e-6) == plan(TRAINING).cost
    assert plan(TRAINING).cost.epsilon <= TRAINING.privacy.epsilon


def test_bad_input_33_a_lost_message_is_sent_again_byte_by_byte(make: Make, ledger: Ledger, path: Path) -> None:
    first = make().answer(request(SWEEP))
    before = still(ledger)
    assert custodian(ledger, Table(50), SWEEP).answer(request(SWEEP)) == first  # whatever has become of the table
    with Ledger(path) as reopened:
        again = custodian(reopened, Table(), SWEEP)
        assert again.answer(request(SWEEP)) == first
        assert again.answer(request(SWEEP)) == first
    assert still(ledger) == before


def test_consents_and_receipts_may_change_until_an_answer_is_asked_for_again(make: Make, ledger: Ledger) -> None:
    """The coordinator has new receipts by then; what is asked is the same, and so is the answer."""
    behind = make()
    first = behind.answer(request(SWEEP))
    mine, others = answer(first, SWEEP).receipt, sign_receipt(key_of("south"), "south", "00" * 32, "11" * 32)
    more = {**consents(SWEEP), "nobody": "00" * 64}
    assert behind.answer(request(SWEEP, consents=more)) == first
    assert behind.answer(request(SWEEP, receipts=(mine, others))) == first
    assert len(ledger.charges()) == 1


def test_a_new_run_is_new_noise_and_a_new_charge(make: Make, ledger: Ledger) -> None:
    behind = make(rows=0)
    one, two, three = (
        answer(behind.answer(request(SWEEP, **c)), SWEEP).reply for c in ({}, {"run": "ee" * 16}, {"run": OTHER_RUN})
    )
    for a, b in ((one, two), (one, three), (two, three)):
        assert (a.values != b.values).mean() > 0.5
        assert a.salt != b.salt
    assert len(ledger.charges()) == 3
    events = plan(SWEEP).phases[0].events
    assert ledger.spent(POPULATION, 1e-6).epsilon == cost(events * 3, 1e-6).epsilon


@pytest.mark.parametrize("study", [SWEEP, TRAINING], ids=["sweep", "training"])
def test_answers_are_as_long_for_few_rows_as_for_many(make: Make, study: Study) -> None:
    lengths = set()
    for i, rows in enumerate((0, 100, 10_000)):
        behind = make(study, rows=rows)
        run = f"{i:032x}"
        messages = [behind.answer(request(study, run=run))]
        answer(messages[0], study)
        if study is TRAINING:
            messages.append(behind.answer(request(study, run=run, round=1, state=STATE)))
            answer(messages[1], study, 1)
        lengths.add(tuple(map(len, messages)))
        assert all(CANARY.encode() not in m for m in messages)
    assert len(lengths) == 1


def test_the_table_is_read_once_a_run_and_never_for_what_is_refused(ledger: Ledger) -> None:
    agree(ledger, TRAINING)
    table = Table()
    behind = custodian(ledger, table, TRAINING)
    for asked in (b"", request(TRAINING, consents={}), request(TRAINING, round=1), request(TRAINING, state=b"x")):
        behind.answer(asked)
    assert table.reads == 0
    for round_, state in enumerate((b"", STATE, STATE)):
        answer(behind.answer(request(TRAINING, round=round_, state=state)), TRAINING, round_)
        behind.answer(request(TRAINING, round=round_, state=state))
    assert table.reads == 1
    answer(behind.answer(request(TRAINING, run=OTHER_RUN)), TRAINING)
    assert table.reads == 2
    restarted = Table()
    answer(custodian(ledger, restarted, TRAINING).answer(request(TRAINING)), TRAINING)
    assert restarted.reads == 0  # what is sent again is no news of the table


def test_a_table_is_never_answered_from_for_another_study(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's number may have been tried with one study, in vain, before another asks under it."""
    agree(ledger, SWEEP, OTHER)
    opened: list[str] = []

    def table(study: Study) -> Codes:
        opened.append(study.name)
        return people(10)

    behind = custodian(ledger, table, SWEEP, OTHER)
    with monkeypatch.context() as patch:
        patch.setattr(Marginals, "answer", lambda *_: 1 / 0)
        assert behind.answer(request(SWEEP)) == refusal("E_CUSTODIAN")
    answer(behind.answer(request(OTHER)), OTHER)
    assert opened == ["custody", "another"]


def test_a_table_encoded_for_another_schema_is_not_answered_from(ledger: Ledger) -> None:
    agree(ledger, SWEEP)
    other = Codes(np.zeros((1, 2), np.int16), np.zeros(1, np.int64), (2, 3))
    assert custodian(ledger, lambda _: other, SWEEP).answer(request(SWEEP)) == refusal("E_CUSTODIAN")
    assert ledger.charges() == []


@pytest.mark.parametrize("kept", [(), (0,), (1, 0)])
def test_events_of_other_tables_than_the_studys_are_not_answered_from(ledger: Ledger, kept: tuple[int, ...]) -> None:
    """Codes without the events that are asked about would be answered with noise alone, as if nothing ever happened."""
    study = replace(SWEEP, schema=LINKED, generator=Histories())
    whole = encode_linked({"persons": PATIENTS, "labs": RESULTS, "stays": WARDS}, LINKED)
    agree(ledger, study)
    there = replace(whole, events=tuple(whole.events[k] for k in kept))
    assert custodian(ledger, lambda _: there, study).answer(request(study)) == refusal("E_CUSTODIAN")
    assert ledger.charges() == []
    answer(custodian(ledger, lambda _: whole, study).answer(request(study)), study)


# Who has signed what (bad input 26)


def signed_by_another(study: Study) -> dict[str, str]:
    impostor = replace(study, institutions=with_keys("north", "south-east"))
    impostor = replace(
        impostor, institutions=(impostor.institutions[0], replace(impostor.institutions[1], name="south"))
    )
    return {**consents(study), "south": consent.sign(impostor, "south", key_of("south-east"))}


def other_statement(study: Study) -> str:
    """South's signature on bytes that say the same, but not as a consent."""
    return key_of("south").sign(canonical_json({"study": study.digest, "institution": "south"})).hex()


GENUINE = consents(SWEEP)
NOT_CONSENTED: dict[str, dict[str, str]] = {
    "by nobody": {},
    "by us only": {"north": GENUINE["north"]},
    "by the other only": {"south": GENUINE["south"]},
    "with an empty signature": {**GENUINE, "south": ""},
    "with no hex": {**GENUINE, "south": "signed"},
    "with a signature cut short": {**GENUINE, "south": GENUINE["south"][:-2]},
    "with a signature in capitals": {**GENUINE, "south": GENUINE["south"].upper()},
    "with a bit changed": {**GENUINE, "south": f"{int(GENUINE['south'], 16) ^ 1:0128x}"},
    "with one signature for two": {**GENUINE, "south": GENUINE["north"]},
    "with both exchanged": {"north": GENUINE["south"], "south": GENUINE["north"]},
    "as another study": {**GENUINE, "south": consents(TRAINING)["south"]},
    "as the same study with more epsilon": {**GENUINE, "south": consents(changed(SWEEP, epsilon=3.0))["south"]},
    "as its next serial": {**GENUINE, "south": consents(replace(SWEEP, serial=2))["south"]},
    "by another key": signed_by_another(SWEEP),
    "with a receipt": {**GENUINE, "south": sign_receipt(key_of("south"), "south", SWEEP.digest, "00" * 32).signature},
    "on a statement that is no consent": {**GENUINE, "south": other_statement(SWEEP)},
    "under a name in capitals": {"north": GENUINE["north"], "South": GENUINE["south"]},
}


@pytest.mark.parametrize("name", NOT_CONSENTED)
def test_bad_input_26_a_study_signed(make: Make, ledger: Ledger, name: str) -> None:
    """... in all these ways is not signed by all. Also by a custodian that has just answered the same study."""
    behind, before = make(), still(ledger)
    assert behind.answer(request(SWEEP, consents=NOT_CONSENTED[name])) == refusal("E_PLAN_UNTRUSTED")
    assert still(ledger) == before
    answer(behind.answer(request(SWEEP)), SWEEP)
    before = still(ledger)
    for run in (RUN, OTHER_RUN):
        assert behind.answer(request(SWEEP, run=run, consents=NOT_CONSENTED[name])) == refusal("E_PLAN_UNTRUSTED")
    assert still(ledger) == before


EDITED: dict[str, Study] = {
    "epsilon": changed(SWEEP, epsilon=2.5),
    "delta": changed(SWEEP, delta=2e-6),
    "columns": replace(SWEEP, schema=replace(SWEEP.schema, columns=COLUMNS[:1])),
    "a category": replace(SWEEP, schema=Schema(person="who", columns=(COLUMNS[0], replace(COLUMNS[1], categories=("s",))))),
    "the generator": replace(SWEEP, generator=Sweep(components=11)),
    "the purpose": replace(SWEEP, purpose="marketing"),
    "the expiry": replace(SWEEP, expires=date(2999, 1, 1)),
    "an institution": replace(SWEEP, institutions=with_keys("north", "south", "west")),
    "a key": replace(SWEEP, institutions=(*with_keys("north"), replace(with_keys("west")[0], name="south"))),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITED)
def test_bad_input_26_a_study_edited_after_signing(make: Make, ledger: Ledger, name: str) -> None:
    """Whether the coordinator names the edited study, or the edited study has found its way into our folder."""
    edited = EDITED[name]
    assert make().answer(request(SWEEP, study=edited.digest)) == refusal("E_PLAN_UNTRUSTED")
    theirs = {**GENUINE, "north": consent.sign(edited, "north", key_of("north"))}
    for asked in (make(edited), make(SWEEP, edited)):
        for given_ in (GENUINE, theirs):
            assert asked.answer(request(SWEEP, study=edited.digest, consents=given_)) == refusal("E_PLAN_UNTRUSTED")
    assert ledger.charges() == []


def test_bad_input_26_a_study_that_names_another_key_for_us(make: Make, ledger: Ledger) -> None:
    """Everybody has signed it, under our name as well: but not we."""
    impostor = replace(with_keys("west")[0], name="north")
    study = replace(SWEEP, institutions=(impostor, *with_keys("south")))
    signed = {n: consent.sign(study, n, key_of(k)) for n, k in (("north", "west"), ("south", "south"))}
    consent.require_all(study, signed)
    assert make(study).answer(request(SWEEP, study=study.digest, consents=signed)) == refusal("E_PLAN_UNTRUSTED")
    assert ledger.charges() == []


def test_a_study_that_does_not_name_us(make: Make, ledger: Ledger) -> None:
    study = replace(SWEEP, institutions=with_keys("south", "west"))
    assert make(study).answer(request(study)) == refusal("E_NOT_IN_STUDY")
    assert ledger.charges() == []


def test_bad_input_26_a_study_without_keys_is_signed_by_nobody(make: Make, ledger: Ledger) -> None:
    study = replace(SWEEP, institutions=(*with_keys("north"), Institution(name="south")))
    signed = {"north": consent.sign(study, "north", key_of("north")), "south": ""}
    assert make(study).answer(request(SWEEP, study=study.digest, consents=signed)) == refusal("E_PLAN_UNTRUSTED")
    assert ledger.charges() == []


def test_a_study_in_the_folder_that_the_ledger_has_no_consent_to(ledger: Ledger) -> None:
    assert custodian(ledger, Table(), SWEEP).answer(request(SWEEP)) == refusal("E_PLAN_UNTRUSTED")
    assert ledger.entries() == []


def test_a_consent_in_the_ledger_whose_study_is_not_in_the_folder(ledger: Ledger) -> None:
    agree(ledger, SWEEP)
    assert custodian(ledger, Table()).answer(request(SWEEP)) == refusal("E_PLAN_UNTRUSTED")
    assert ledger.charges() == []


def test_bad_input_26_a_study_is_answered_until_it_expires(
    make: Make, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = replace(SWEEP, expires=datetime.now(UTC).date())
    answer(make(today).answer(request(today)), today)
    past = replace(SWEEP, name="past", expires=date(2001, 1, 1))
    assert make(past).answer(request(past, run=OTHER_RUN)) == refusal("E_EXPIRED")

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2999, 1, 1, tzinfo=tz)

    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "datetime", Later)
        agree(ledger, OTHER)
    soon = replace(
        SWEEP, name="soon", expires=date(2998, 12, 31)
    )  # the clock was set back: the ledger has seen later days
    late = replace(SWEEP, name="late", expires=date(2999, 1, 1))
    behind = make(soon, late)
    assert behind.answer(request(soon, run="12" * 16)) == refusal("E_EXPIRED")
    answer(behind.answer(request(late, run="34" * 16)), late)


def test_an_expired_study_is_not_answered_once_the_clock_has_gone_forward(
    make: Make, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cohortium_client.custodian import answerable

    study = replace(TRAINING, expires=date(2998, 12, 31))
    behind = make(study)
    answer(behind.answer(request(study)), study)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2999, 1, 1, tzinfo=tz)

    before = still(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(answerable, "datetime", Later)
        for changes in ({}, {"round": 1, "state": STATE}):
            assert behind.answer(request(study, **changes)) == refusal("E_EXPIRED")
    assert still(ledger) == before
    answer(behind.answer(request(study, round=1, state=STATE)), study, 1)  # it was a wrong clock, and is right again


def test_a_study_replaced_by_a_higher_serial_is_not_answered(make: Make, ledger: Ledger) -> None:
    second = replace(SWEEP, serial=2, privacy=replace(SWEEP.privacy, epsilon=1.0))
    behind = make(SWEEP, second)
    assert behind.answer(request(SWEEP)) == refusal("E_PLAN_UNTRUSTED")
    answer(behind.answer(request(second)), second)
    agree(ledger, SWEEP)  # even if the ledger got a consent to the old one once more
    assert behind.answer(request(SWEEP, run=OTHER_RUN)) == refusal("E_PLAN_UNTRUSTED")


def test_a_study_of_another_name_replaces_nothing(make: Make) -> None:
    behind = make(SWEEP, replace(OTHER, serial=9))
    answer(behind.answer(request(SWEEP)), SWEEP)


def test_a_withdrawn_study_is_not_answered_not_even_again(make: Make, ledger: Ledger) -> None:
    behind = make(TRAINING)
    first = behind.answer(request(TRAINING))
    answer(first, TRAINING)
    ledger.record(Withdrawal(TRAINING.digest))
    before = still(ledger)
    for changes in ({}, {"round": 1, "state": STATE}, {"run": OTHER_RUN}):
        assert behind.answer(request(TRAINING, **changes)) == refusal("E_PLAN_UNTRUSTED")
    assert still(ledger) == before
    agree(ledger, TRAINING)
    assert behind.answer(request(TRAINING)) == first


def test_withdrawing_a_study_does_not_bring_back_an_older_one(make: Make, ledger: Ledger) -> None:
    second = replace(SWEEP, serial=2)
    behind = make(SWEEP, second)
    ledger.record(Withdrawal(second.digest))
    for study in (SWEEP, second):
        assert behind.answer(request(study)) == refusal("E_PLAN_UNTRUSTED")


# What the policy and a person allow

TIGHTER: dict[str, Policy] = {
    "epsilon_per_study": Policy(epsilon_per_study=1.9),
    "generators": Policy(generators=("autoregressive",)),
    "columns": Policy(columns=("colour",)),
    "minimum_institutions": Policy(minimum_institutions=3),
}


@pytest.mark.parametrize("rule", TIGHTER)
def test_a_policy_tightened_after_signing_is_the_one_that_counts(make: Make, ledger: Ledger, rule: str) -> None:
    answer(make().answer(request(SWEEP)), SWEEP)
    behind = custodian(ledger, Table(), SWEEP, policy=TIGHTER[rule])
    before = still(ledger)
    for run in (RUN, OTHER_RUN):
        assert behind.answer(request(SWEEP, run=run)) == refusal("E_POLICY")
    assert still(ledger) == before


def test_a_run_waits_until_a_person_lets_it_go_ahead(make: Make, ledger: Ledger) -> None:
    behind = make(SWEEP, OTHER, policy=Policy(require_approval=True, repeatable=True))
    assert behind.answer(request(SWEEP)) == refusal("E_APPROVAL")
    for other in (Approval(SWEEP.digest, OTHER_RUN), Approval(OTHER.digest, RUN), Approval(SWEEP.digest, RUN[:-1])):
        ledger.record(other)
        assert behind.answer(request(SWEEP)) == refusal("E_APPROVAL")
    assert ledger.charges() == []
    ledger.record(Approval(SWEEP.digest, RUN))
    answer(behind.answer(request(SWEEP)), SWEEP)


def test_an_approval_required_later_stops_a_run_that_has_begun(make: Make, ledger: Ledger) -> None:
    answer(make(TRAINING).answer(request(TRAINING)), TRAINING)
    behind = custodian(ledger, Table(), TRAINING, policy=Policy(require_approval=True))
    assert behind.answer(request(TRAINING, round=1, state=STATE)) == refusal("E_APPROVAL")
    assert len(ledger.charges()) == 1


# Refusals

REFUSED: dict[str, tuple[Study, dict[str, Any], str]] = {
    "another study": (SWEEP, {"study": "00" * 32}, "E_PLAN_UNTRUSTED"),
    "a study by the beginning of its digest": (SWEEP, {"study": SWEEP.digest[:16]}, "E_PLAN_UNTRUSTED"),
    "a later round at first": (TRAINING, {"round": 1, "state": STATE}, "E_ROUND_ORDER"),
    "two rounds ahead": (TRAINING, {"round": 2, "state": STATE}, "E_ROUND_ORDER"),
    "a round past the plan": (SWEEP, {"round": 1}, "E_ROUND_ORDER"),
    "a round before the first": (SWEEP, {"round": -1}, "E_WIRE"),
    "a round of 32 bits": (SWEEP, {"round": 2**31}, "E_WIRE"),
    "a round just below": (SWEEP, {"round": 2**31 - 1}, "E_ROUND_ORDER"),
    "a round of 64 bits": (SWEEP, {"round": 2**63}, "E_WIRE"),
    "too many attempts": (SWEEP, {"attempt": MAX_ATTEMPTS}, "E_ROUND_ORDER"),
    "far too many attempts": (SWEEP, {"attempt": 2**31 - 1}, "E_ROUND_ORDER"),
    "an attempt before the first": (SWEEP, {"attempt": -1}, "E_WIRE"),
    "a run of no identifier": (SWEEP, {"run": "../../etc"}, "E_WIRE"),
    "no run": (SWEEP, {"run": ""}, "E_WIRE"),
    "a state nobody needs": (SWEEP, {"state": STATE}, "E_STATE_SHAPE"),
    "a consent that is a number": (SWEEP, {"consents": {"north": 7}}, "E_WIRE"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_35_what_the_study_does_not_ask_is_refused(make: Make, ledger: Ledger, name: str) -> None:
    study, changes, code = REFUSED[name]
    behind, before = make(study), still(ledger)
    assert behind.answer(request(study, **changes)) == refusal(code)
    assert still(ledger) == before


COUNT = plan(TRAINING).phase(1).query.width - 1


def tensors(**arrays: np.ndarray) -> bytes:
    from safetensors.numpy import save

    return bytes(save({"parameters": np.zeros(COUNT, np.float32), "rate": np.ones(1, np.float32)} | arrays))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit",)


WRONG_STATES = {
    "29 none": (b"", "E_STATE_SHAPE"),
    "29 garbage": (b"\x80\x04" * 50, "E_STATE_SHAPE"),
    "29 cut short": (STATE[:-1], "E_STATE_SHAPE"),
    "29 another shape": (write_state({"parameters": np.zeros(3), "rate": np.ones(1)}), "E_STATE_SHAPE"),
    "29 a number more": (tensors(parameters=np.zeros(COUNT + 1, np.float32)), "E_STATE_SHAPE"),
    "29 two dimensions": (tensors(parameters=np.zeros((COUNT, 1), np.float32)), "E_STATE_SHAPE"),
    "29 half precision": (tensors(parameters=np.zeros(COUNT, np.float16)), "E_STATE_SHAPE"),
    "29 double precision": (tensors(parameters=np.zeros(COUNT, np.float64)), "E_STATE_SHAPE"),
    "29 integers": (tensors(parameters=np.zeros(COUNT, np.int32)), "E_STATE_SHAPE"),
    "29 a tensor more": (tensors(more=np.zeros(1, np.float32)), "E_STATE_SHAPE"),
    "29 a tensor less": (write_state({"parameters": np.zeros(COUNT)}), "E_STATE_SHAPE"),
    "30 a pickle": (pickle.dumps(Bomb()), "E_STATE_SHAPE"),
    "30 a zip": (b"PK\x03\x04" + bytes(100), "E_STATE_SHAPE"),
    "30 a header of all memory": (b"\xff" * 7 + b"\x7f" + b"{}", "E_STATE_SHAPE"),
    "28 no number": (training_state(rate=np.array([np.nan])), "E_STATE_INVALID"),
    "28 infinite": (training_state(np.inf), "E_STATE_INVALID"),
    "28 minus infinite": (training_state(-np.inf), "E_STATE_INVALID"),
    "28 an infinite rate": (tensors(rate=np.array([-np.inf], np.float32)), "E_STATE_INVALID"),
}


@pytest.mark.parametrize("name", WRONG_STATES)
def test_wrong_states_are_refused_before_the_table_is_read_as_bad_input(ledger: Ledger, name: str) -> None:
    """Rows 28, 29 and 30 of the bad inputs, by their numbers."""
    state, code = WRONG_STATES[name]
    agree(ledger, TRAINING)
    answer(custodian(ledger, Table(), TRAINING).answer(request(TRAINING)), TRAINING)
    table, before = Table(), still(ledger)
    assert custodian(ledger, table, TRAINING).answer(request(TRAINING, round=1, state=state)) == refusal(code)
    assert still(ledger) == before
    assert table.reads == 0


@pytest.mark.parametrize("scale", [1e30, -1e30, 3.4e38])
def test_bad_input_28_a_huge_state_is_answered_as_any_other(make: Make, ledger: Ledger, scale: float) -> None:
    """It is finite: whatever overflows in training is one person's gradient, and counts as nothing."""
    behind = make(TRAINING)
    behind.answer(request(TRAINING))
    first = behind.answer(request(TRAINING, round=1, state=training_state(scale)))
    answer(first, TRAINING, 1)
    assert len(first) == len(behind.answer(request(TRAINING, round=2, state=STATE)))


def test_bad_input_35_rounds_are_asked_in_order(make: Make, ledger: Ledger) -> None:
    behind = make(TRAINING)
    answer(behind.answer(request(TRAINING)), TRAINING)
    assert behind.answer(request(TRAINING, round=2, state=STATE)) == refusal("E_ROUND_ORDER")
    first = behind.answer(request(TRAINING, round=1, state=STATE))
    answer(first, TRAINING, 1)
    assert behind.answer(request(TRAINING, round=3, state=STATE)) == refusal("E_ROUND_ORDER")
    assert behind.answer(request(TRAINING, round=4, state=STATE)) == refusal("E_ROUND_ORDER")
    assert behind.answer(request(TRAINING, attempt=1)) == refusal("E_ROUND_ORDER")  # a run does not go back
    assert behind.answer(request(TRAINING, round=1, state=STATE)) == first
    answer(behind.answer(request(TRAINING)), TRAINING)  # but what it has said it says again
    assert behind.answer(request(TRAINING, round=1, attempt=1, state=STATE)) == refusal("E_ROUND_ORDER")
    assert len(ledger.charges()) == 2


def test_bad_input_34_an_attempt_with_another_state_is_a_replay(make: Make, ledger: Ledger) -> None:
    behind = make(TRAINING)
    behind.answer(request(TRAINING))
    first = behind.answer(request(TRAINING, round=1, state=STATE))
    before = still(ledger)
    assert behind.answer(request(TRAINING, round=1, state=training_state(0.1))) == refusal("E_REPLAY")
    assert still(ledger) == before
    assert behind.answer(request(TRAINING, round=1, state=STATE)) == first


def test_bad_input_34_a_run_belongs_to_one_study(make: Make, ledger: Ledger) -> None:
    behind = make(SWEEP, OTHER, TRAINING)
    first = behind.answer(request(SWEEP))
    before = still(ledger)
    for study, changes in ((OTHER, {}), (TRAINING, {"round": 1, "state": STATE})):
        assert behind.answer(request(study, **changes)) == refusal("E_REPLAY")
    assert still(ledger) == before
    assert behind.answer(request(SWEEP)) == first
    answer(behind.answer(request(OTHER, run=OTHER_RUN)), OTHER)


def test_bad_input_34_what_another_population_was_charged_for_is_not_charged_again(make: Make, ledger: Ledger) -> None:
    """One ledger for two populations: an attempt is charged once, and the bytes are what they were."""
    first = make().answer(request(SWEEP))
    holding = Holding("others", Table(), ledger)
    other = Custodian(identity(), {s.digest: s for s in (SWEEP, OTHER)}, holding, ANYTHING)
    assert other.answer(request(SWEEP)) == first
    agree(ledger, OTHER)
    assert other.answer(request(OTHER)) == refusal("E_REPLAY")
    assert [c.population for c in ledger.charges()] == [POPULATION]


@pytest.mark.parametrize("asked_before", [True, False])
def test_bad_input_36_a_round_has_one_attempt(make: Make, ledger: Ledger, asked_before: bool) -> None:
    """Who was given two messages of a round, with two noises, would publish their mean and tell of one."""
    behind = make(TRAINING)
    behind.answer(request(TRAINING))
    if asked_before:
        answer(behind.answer(request(TRAINING, round=1, state=STATE)), TRAINING, 1)
    before = still(ledger)
    for attempt in (1, 2, MAX_ATTEMPTS):
        for state in (STATE, training_state(0.1)):
            asked = request(TRAINING, round=1, attempt=attempt, state=state)
            assert behind.answer(asked) == refusal("E_ROUND_ORDER")
    assert still(ledger) == before


def test_a_restarted_custodian_goes_on_with_a_run(make: Make, ledger: Ledger, path: Path) -> None:
    """The rounds of a run are counted in the ledger, not in memory."""
    make(TRAINING).answer(request(TRAINING))
    with Ledger(path) as reopened:
        behind = custodian(reopened, Table(), TRAINING)
        answer(behind.answer(request(TRAINING, round=1, state=STATE)), TRAINING, 1)


# What may be spent


def test_bad_input_42_an_exhausted_cap_is_a_refusal_and_changes_nothing(make: Make, ledger: Ledger) -> None:
    """The cap is exactly what one answer costs."""
    behind = make(policy=Policy(epsilon_per_population=EPSILON, delta=1e-6, repeatable=True))
    behind.afford(SWEEP)
    first = behind.answer(request(SWEEP))
    answer(first, SWEEP)
    before = still(ledger)
    assert behind.answer(request(SWEEP, run=OTHER_RUN)) == refusal("E_BUDGET")
    assert still(ledger) == before
    assert behind.answer(request(SWEEP)) == first
    with pytest.raises(BudgetError, match="E_BUDGET"):
        behind.afford(SWEEP)


def test_bad_input_42_a_cap_a_hair_below_the_cost_allows_nothing(make: Make, ledger: Ledger) -> None:
    behind = make(policy=Policy(epsilon_per_population=EPSILON * (1 - 1e-9), delta=1e-6, repeatable=True))
    assert behind.answer(request(SWEEP)) == refusal("E_BUDGET")
    assert ledger.charges() == []


def test_a_study_is_answered_once_unless_the_policy_lets_it_be_repeated(make: Make, ledger: Ledger) -> None:
    generous = Policy(epsilon_per_population=100.0)
    behind = make(policy=generous)
    first = behind.answer(request(SWEEP))
    answer(first, SWEEP)
    before = still(ledger)
    assert behind.answer(request(SWEEP, run=OTHER_RUN)) == refusal("E_ANSWERED")
    assert still(ledger) == before
    assert behind.answer(request(SWEEP)) == first
    repeats = custodian(ledger, Table(), SWEEP, policy=replace(generous, repeatable=True))
    answer(repeats.answer(request(SWEEP, run=OTHER_RUN)), SWEEP)


def test_a_study_of_many_rounds_that_is_not_repeatable_is_answered_to_its_end(make: Make, ledger: Ledger) -> None:
    behind = make(TRAINING, policy=Policy(epsilon_per_population=100.0))
    for round_, state in enumerate((b"", STATE, STATE, STATE)):
        answer(behind.answer(request(TRAINING, round=round_, state=state)), TRAINING, round_)
    assert behind.answer(request(TRAINING, run=OTHER_RUN)) == refusal("E_ANSWERED")
    assert ledger.spent(POPULATION, 1e-6).epsilon == plan(TRAINING).cost.epsilon


def test_a_cap_counts_what_other_studies_spent(make: Make, ledger: Ledger) -> None:
    events = plan(SWEEP).phases[0].events
    both = cost(composed(events * 2), 1e-6).epsilon
    policy = Policy(epsilon_per_population=both * (1 - 1e-9), delta=1e-6, repeatable=True)
    behind = make(SWEEP, OTHER, policy=policy)
    answer(behind.answer(request(SWEEP)), SWEEP)
    assert behind.answer(request(OTHER, run=OTHER_RUN)) == refusal("E_BUDGET")
    assert len(ledger.charges()) == 1
    enough = custodian(ledger, Table(), OTHER, policy=replace(policy, epsilon_per_population=both))
    answer(enough.answer(request(OTHER, run=OTHER_RUN)), OTHER)


def test_what_a_study_may_spend_is_not_what_another_did(make: Make, ledger: Ledger) -> None:
    behind = make(SWEEP, OTHER, policy=Policy(epsilon_per_population=100.0))
    answer(behind.answer(request(SWEEP)), SWEEP)
    answer(behind.answer(request(OTHER, run=OTHER_RUN)), OTHER)


def test_a_run_whose_end_cannot_be_paid_is_not_begun(make: Make, ledger: Ledger) -> None:
    first = cost(plan(TRAINING).phases[0].events, 1e-6).epsilon
    cap = plan(TRAINING).cost.epsilon * (1 - 1e-6)
    assert first < cap / 2
    behind = make(TRAINING, policy=Policy(epsilon_per_population=cap, delta=1e-6, repeatable=True))
    assert behind.answer(request(TRAINING)) == refusal("E_BUDGET")
    assert ledger.charges() == []


# A ledger that is not what it was (bad input 41)


def test_bad_input_41_a_receipt_of_a_head_the_ledger_lacks(make: Make, ledger: Ledger, path: Path) -> None:
    """The coordinator shows us our own signature: our ledger has forgotten something."""
    behind = make()
    lost = sign_receipt(key_of("north"), "north", "00" * 32, "11" * 32)
    before = still(ledger)
    assert behind.answer(request(SWEEP, receipts=(lost,))) == refusal("E_LEDGER_ROLLED_BACK")
    assert still(ledger) == before
    first = behind.answer(request(SWEEP))
    mine = answer(first, SWEEP).receipt
    assert behind.answer(request(SWEEP, receipts=(mine,))) == first
    assert behind.answer(request(SWEEP, receipts=(mine, lost))) == refusal("E_LEDGER_ROLLED_BACK")


def test_bad_input_41_an_older_copy_of_the_ledger_with_its_witness_is_shown_its_receipt(
    make: Make, ledger: Ledger, path: Path, tmp_path: Path
) -> None:
    """Whoever restores both files deceives the custodian until the coordinator speaks."""
    behind = make(TRAINING)
    answer(behind.answer(request(TRAINING)), TRAINING)
    old = tmp_path / "old.sqlite"
    with sqlite3.connect(old) as copy:
        ledger._db.backup(copy)
    copy.close()
    (tmp_path / "old.sqlite.head").write_text(ledger.head())
    newest = answer(behind.answer(request(TRAINING, round=1, state=STATE)), TRAINING, 1).receipt
    with Ledger(old) as restored:
        deceived = custodian(restored, Table(), TRAINING)
        asked = request(TRAINING, round=1, state=training_state(0.1), receipts=(newest,))
        assert deceived.answer(asked) == refusal("E_LEDGER_ROLLED_BACK")
        assert len(restored.charges()) == 1


def test_receipts_of_others_and_forged_ones_say_nothing(make: Make, ledger: Ledger) -> None:
    """Nobody but we can stop us with a receipt, neither an institution nor the coordinator."""
    behind = make()
    genuine = sign_receipt(key_of("north"), "north", "00" * 32, "11" * 32)
    ignored = (
        sign_receipt(key_of("south"), "south", "00" * 32, "11" * 32),
        sign_receipt(key_of("south"), "north", "00" * 32, "11" * 32),
        sign_receipt(key_of("north"), "south", "00" * 32, "11" * 32),
        replace(genuine, head="22" * 32),
        replace(genuine, message="22" * 32),
        replace(genuine, signature=genuine.signature.upper()),
        replace(genuine, signature=""),
    )
    answer(behind.answer(request(SWEEP, receipts=ignored)), SWEEP)


class Broken:
    """A connection on which every statement of a kind fails."""

    def __init__(self, connection: sqlite3.Connection, start: str) -> None:
        self._connection, self._start = connection, start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement.startswith(self._start):
            raise sqlite3.OperationalError(f"disk I/O error near {CANARY}")
        return self._connection.execute(statement, *arguments)


@pytest.mark.parametrize("statement", ["BEGIN", "SELECT", "INSERT INTO entry", "INSERT INTO message", "COMMIT"])
def test_bad_input_41_nothing_is_answered_when_the_ledger_fails(
    make: Make, ledger: Ledger, path: Path, statement: str
) -> None:
    behind, sound = make(), ledger._db
    ledger._db = Broken(sound, statement)  # type: ignore[assignment]
    assert behind.answer(request(SWEEP)) == refusal("E_LEDGER_UNAVAILABLE")
    ledger._db = sound
    with Ledger(path) as committed:
        assert committed.charges() == []
    answer(behind.answer(request(SWEEP)), SWEEP)
    assert ledger.verify() == 2


def test_bad_input_41_nothing_is_answered_whose_head_the_witness_cannot_keep(
    make: Make, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is charged by then: asked again it is the same answer, and the witness is written with the next."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, CANARY)

    behind = make()
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_testify", full)
        assert behind.answer(request(SWEEP)) == refusal("E_LEDGER_UNAVAILABLE")
    answer(behind.answer(request(SWEEP)), SWEEP)
    assert len(ledger.charges()) == 1
    assert ledger.verify() == 2


def test_bad_input_41_nothing_is_answered_from_a_ledger_that_cannot_be_written(make: Make, ledger: Ledger) -> None:
    behind = make()
    ledger._db.execute("PRAGMA query_only = ON")
    assert behind.answer(request(SWEEP)) == refusal("E_LEDGER_UNAVAILABLE")
    assert ledger.charges() == []


def test_bad_input_41_nothing_is_answered_once_the_chain_is_broken(make: Make, ledger: Ledger, path: Path) -> None:
    behind = make()
    first = behind.answer(request(SWEEP))
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER entries_stay")
        other.execute("DROP TRIGGER messages_stay")
        other.execute("DELETE FROM message")
        other.execute("DELETE FROM entry WHERE number = 2")
    other.close()
    for asked in (request(SWEEP), request(SWEEP, run=OTHER_RUN)):
        assert behind.answer(asked) == refusal("E_LEDGER_CORRUPT") != first
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        Ledger(path)


def test_a_ledger_edited_while_it_is_open_misleads_nobody(make: Make, ledger: Ledger, path: Path) -> None:
    """What was spent is counted from what was verified; whoever opens the file next finds the change."""
    behind = make(policy=Policy(epsilon_per_population=EPSILON, delta=1e-6, repeatable=True))
    behind.answer(request(SWEEP))
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER entries_last")
        other.execute(
            'UPDATE entry SET content = replace(content, \'"events":[{\', \'"events":[],"x":[{\') WHERE number = 2'
        )
        assert other.execute("SELECT changes()").fetchone() == (1,)
    other.close()
    assert behind.answer(request(SWEEP, run=OTHER_RUN)) == refusal("E_BUDGET")
    with pytest.raises(LedgerError, match=r"E_LEDGER_CORRUPT.*entry 2\b"):
        Ledger(path)


def test_a_message_that_was_touched_is_not_sent(make: Make, ledger: Ledger, path: Path) -> None:
    behind = make()
    behind.answer(request(SWEEP))
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER messages_last")
        other.execute("UPDATE message SET bytes = zeroblob(length(bytes))")
    other.close()
    assert behind.answer(request(SWEEP)) == refusal("E_LEDGER_CORRUPT")


# Nothing but a code

TABLES: dict[str, Exception] = {
    "a library's error": ValueError(CANARY),
    "the system's error": OSError(2, CANARY),
    "no memory": MemoryError(CANARY),
    "something asserts": AssertionError(CANARY),
    "too deep": RecursionError(CANARY),
    "a group": ExceptionGroup(CANARY, [ValueError(CANARY)]),
    "an end of iteration": StopIteration(CANARY),
    "an input error": InputError("E_CSV_PARSE", CANARY, CANARY, CANARY),
    "a schema error": SchemaError("E_SCHEMA_MISSING", CANARY, CANARY, CANARY),
    "a study error": StudyError("E_PLAN_LIMIT", CANARY, CANARY, CANARY),
    "a wire error": WireError("E_STATE_INVALID", CANARY, CANARY, CANARY),
    "a budget error": BudgetError("E_BUDGET", CANARY, CANARY, CANARY),
    "a policy error": PolicyError("E_POLICY", CANARY, CANARY, CANARY),
    "a ledger error": LedgerError("E_LEDGER_CORRUPT", CANARY, CANARY, CANARY),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_cannot_be_read_leaves_one_code_whatever_the_reason(ledger: Ledger, name: str) -> None:
    """A code of its own for each reason would be a channel: what fails beside the data may depend on them."""

    def table(_: Study) -> Codes:
        raise TABLES[name]

    agree(ledger, SWEEP)
    reported = custodian(ledger, table, SWEEP).answer(request(SWEEP))
    assert reported == refusal("E_CUSTODIAN")
    assert CANARY.encode() not in reported
    assert ledger.charges() == []


@pytest.mark.parametrize("name", TABLES)
def test_an_answer_that_cannot_be_computed_leaves_one_code_whatever_the_reason(
    make: Make, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fails(*_: Any) -> None:
        raise TABLES[name]

    behind = make()
    with monkeypatch.context() as patch:
        patch.setattr(Marginals, "answer", fails)
        assert behind.answer(request(SWEEP)) == refusal("E_CUSTODIAN")
    assert ledger.charges() == []
    answer(behind.answer(request(SWEEP)), SWEEP)


FAILURES: dict[str, tuple[type[Any], str, Exception, str]] = {
    "the ledger cannot be read": (
        Ledger,
        "entries",
        LedgerError("E_LEDGER_CORRUPT", CANARY, CANARY, CANARY),
        "E_LEDGER_CORRUPT",
    ),
    "the ledger's file fails": (Ledger, "charge", sqlite3.OperationalError(CANARY), "E_CUSTODIAN"),
    "the ledger asserts": (Ledger, "afford", AssertionError(CANARY), "E_CUSTODIAN"),
    "the policy breaks": (Policy, "check", KeyError(CANARY), "E_CUSTODIAN"),
    "something asserts": (Marginals, "with_state", AssertionError(CANARY), "E_CUSTODIAN"),
    "an error of ours carries a text": (
        Marginals,
        "with_state",
        StudyError("E_PLAN_LIMIT", CANARY, CANARY, CANARY),
        "E_PLAN_LIMIT",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_whatever_fails_nothing_leaves_but_a_code(make: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    owner, method, error, code = FAILURES[name]

    def fails(*_: Any) -> None:
        raise error

    behind = make()
    monkeypatch.setattr(owner, method, fails)
    reported = behind.answer(request(SWEEP))
    assert reported == refusal(code)
    assert CANARY.encode() not in reported


def test_rows_without_a_person_are_nobodys() -> None:
    """Taken for one person's they would displace one another, and a person more would change the sum twice over."""
    drawn = pd.DataFrame({"who": ["a", None, "", " ", "NaN", "b"], "colour": "red", "size": "s"})
    codes = encode(drawn, SWEEP.schema)
    assert len(codes) == 2
    assert codes.left_out == 4


def test_bad_input_43_no_configuration_repeats_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two institutions in the same state, every generator of numbers seeded alike: their noise has nothing in common."""
    import random

    reported = []
    for name in ("one", "two"):
        random.seed(0)
        np.random.seed(0)
        with Ledger(tmp_path / f"{name}.sqlite") as opened:
            agree(opened, SWEEP)
            reported.append(answer(custodian(opened, Table(0), SWEEP).answer(request(SWEEP)), SWEEP).reply)
    assert (reported[0].values != reported[1].values).mean() > 0.5
    assert reported[0].salt != reported[1].salt


VALID = request(SWEEP)
HEADER = {**asdict(wire.decode_request(VALID)), "type": "request", "receipts": [], "board": 0}
del HEADER["state"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([RUN, CANARY]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A request of which one thing is wrong."""
    kind = draw(st.sampled_from(["garbage", "cut", "byte", "field", "state", "twice"]))
    if kind == "garbage":
        return draw(st.binary(max_size=300))
    if kind == "cut":
        return VALID[: draw(st.integers(0, len(VALID) - 1))]
    if kind == "byte":
        place = draw(st.integers(0, len(VALID) - 1))
        return VALID[:place] + bytes([VALID[place] ^ draw(st.integers(1, 255))]) + VALID[place + 1 :]
    if kind == "state":
        return VALID + draw(st.binary(min_size=1, max_size=50))
    if kind == "twice":
        return VALID + VALID
    name = draw(st.sampled_from([*HEADER, "rows"]))
    header = {**HEADER, name: draw(JSON | st.sampled_from([*wire.LEGS, 0, 1, 2]))}
    try:
        text = canonical_json(header)
    except ValueError:
        text = repr(header).encode(errors="replace")
    return wire.MAGIC + len(text).to_bytes(4, "little") + text


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Custodian, Ledger]]:
    """One custodian for all that hypothesis thinks of."""
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "l.sqlite") as opened:
        agree(opened, SWEEP)
        yield custodian(opened, Table(), SWEEP), opened


@settings(max_examples=examples(250), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated())
def test_any_bytes_get_a_canonical_refusal_or_a_charged_answer(shared: tuple[Custodian, Ledger], data: bytes) -> None:
    """Never an exception, never a text, never a change of the ledger that is not an answer's charge."""
    behind, ledger = shared
    before = still(ledger)
    reported = behind.answer(data)
    assert CANARY.encode() not in reported
    read = wire.decode_answer(reported, plan(SWEEP).phases[0].query.width)
    if isinstance(read, wire.Refusal):
        assert reported == refusal(read.code)
        assert (
            read.code
            in {"E_WIRE", "E_PLAN_UNTRUSTED", "E_ROUND_ORDER", "E_STATE_SHAPE", "E_REPLAY", "E_VERSION"}
            <= set(CODES)
        )
        assert still(ledger) == before
    else:  # another run, another attempt, or a consent more
        known = {(c.run, c.round, c.attempt): c for c in ledger.charges()}
        assert (read.reply.run, read.reply.round, read.reply.attempt) in known
        assert still(ledger).charges <= before.charges + 1
        assert behind.answer(data) == reported


def test_a_bundle_is_answered_part_by_part(make: Make, ledger: Ledger) -> None:
    """As if its requests had come one after another, and nothing in it is answered that would not be by itself."""
    behind = make(TRAINING)
    parts = [request(TRAINING), b"garbage", request(TRAINING, round=1, state=STATE), request(TRAINING, consents={})]
    reported = wire.decode_bundle(behind.answer(wire.encode_bundle(parts)))
    answer(reported[0], TRAINING)
    answer(reported[2], TRAINING, 1)
    assert (reported[1], reported[3]) == (refusal("E_WIRE"), refusal("E_PLAN_UNTRUSTED"))
    assert len(ledger.charges()) == 2
    assert wire.decode_bundle(behind.answer(wire.encode_bundle(parts))) == reported
    assert len(ledger.charges()) == 2


@pytest.mark.parametrize("count", [0, wire.MAX_BUNDLE + 1])
def test_a_bundle_of_nothing_or_too_much_is_refused(make: Make, ledger: Ledger, count: int) -> None:
    assert make().answer(wire.encode_bundle([request(SWEEP)] * count)) == refusal("E_WIRE")
    assert ledger.charges() == []


def test_a_bundle_in_a_bundle_is_refused(make: Make, ledger: Ledger) -> None:
    reported = make().answer(wire.encode_bundle([wire.encode_bundle([request(SWEEP)])]))
    assert wire.decode_bundle(reported) == [refusal("E_WIRE")]
    assert ledger.charges() == []


@pytest.mark.parametrize("leg", [leg for leg in wire.LEGS if leg not in ("answer", "end")])
def test_a_leg_of_another_trust_mode_is_refused(make: Make, ledger: Ledger, leg: str) -> None:
    """Above all no mask where the noise is meant to be whole, and none the other way round."""
    assert make().answer(request(SWEEP, leg=leg)) == refusal("E_WIRE")
    assert ledger.charges() == []


def test_requests_at_the_same_time_are_answered_one_after_another(make: Make, ledger: Ledger) -> None:
    from concurrent.futures import ThreadPoolExecutor

    behind = make(policy=Policy(epsilon_per_population=EPSILON, delta=1e-6, repeatable=True))
    asked = [request(SWEEP, run=f"{k:032x}") for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        reported = list(pool.map(behind.answer, asked))
    assert sum(t == refusal("E_BUDGET") for t in reported) == 7  # the cap is one answer's
    assert len(ledger.charges()) == 1


def test_an_identity_is_the_key_and_not_the_name(ledger: Ledger) -> None:
    """A custodian of our name with another key answers nothing that was agreed with us."""
    agree(ledger, SWEEP)
    other = Identity("north", key_of("west"))
    behind = Custodian(other, {SWEEP.digest: SWEEP}, Holding(POPULATION, Table(), ledger), ANYTHING)
    assert behind.answer(request(SWEEP)) == refusal("E_PLAN_UNTRUSTED")
    assert ledger.charges() == []
