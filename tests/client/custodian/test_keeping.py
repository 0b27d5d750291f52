"""When an institution keeps the bytes of its answers no longer, and what whoever asks for them then gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from enlisted import (
    ANYTHING,
    OTHER_RUN,
    POPULATION,
    RUN,
    agree,
    answer,
    identity,
    refusal,
    request,
    with_keys,
)
from masked_federation import Federation
from masked_federation import study as masked_study

from cohortium.data.columns import Categorical
from cohortium.data.encoding import Codes
from cohortium.data.schema import Schema
from cohortium.federation import wire
from cohortium.ledger.store import Ledger
from cohortium.study.generators import Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Privacy, Study
from cohortium_client.custodian.custodian import Custodian, Holding
from cohortium_client.custodian.keeping import SILENT_FOR

STUDY = Study(
    name="ending",
    schema=Schema(columns=tuple(Categorical(name=n, categories=("x", "y", "z")) for n in "abc")),
    privacy=Privacy(epsilon=2.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=with_keys("north", "south"),
)
OTHER = replace(STUDY, name="another", expires=date(2020, 1, 1))
LAST = plan(STUDY).rounds - 1
Make = Callable[..., Custodian]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        agree(opened, STUDY, OTHER)
        yield opened


@pytest.fixture
def make(ledger: Ledger) -> Make:
    def table(_: Study) -> Codes:
        return Codes(np.zeros((20, 3), np.int16), np.arange(20), (3, 3, 3))

    def custodian(keep: int | None = SILENT_FOR) -> Custodian:
        holding = Holding(POPULATION, table, ledger, keep=keep)
        return Custodian(identity(), {s.digest: s for s in (STUDY, OTHER)}, holding, ANYTHING)

    return custodian


def answered(custodian: Custodian, run: str = RUN) -> list[bytes]:
    """All rounds of a run, each with a message that is an answer."""
    reported = [custodian.answer(request(STUDY, run=run, round=r)) for r in range(LAST + 1)]
    for number, data in enumerate(reported):
        answer(data, STUDY, number)
    return reported


def end(run: str = RUN, number: int = LAST) -> bytes:
    return request(STUDY, run=run, round=number, leg="end")


SAID = wire.encode_statement({})


def test_after_its_end_a_run_is_neither_answered_nor_charged_again(make: Make, ledger: Ledger) -> None:
    custodian = make()
    answered(custodian)
    before = ledger.entries()
    assert custodian.answer(end()) == SAID
    assert ledger.stored_answers() == 0
    for one in (custodian, make()):
        for number in range(LAST + 1):
            assert one.answer(request(STUDY, round=number)) == refusal("E_ENDED")
            assert one.answer(request(STUDY, round=number, state=b"x")) in (refusal("E_REPLAY"), refusal("E_ENDED"))
        assert one.answer(end()) == SAID  # said again it is true still
    assert ledger.entries() == before
    assert ledger.verify() == len(before)


def test_a_run_that_goes_on_is_not_believed_to_have_ended(make: Make, ledger: Ledger) -> None:
    custodian = make()
    assert custodian.answer(end()) == refusal("E_ROUND_ORDER")
    first = custodian.answer(request(STUDY))
    if LAST:
        assert custodian.answer(end()) == refusal("E_ROUND_ORDER")
    assert custodian.answer(request(STUDY)) == first
    assert custodian.answer(end(OTHER_RUN)) == refusal("E_ROUND_ORDER")
    assert ledger.stored_answers() == 1


def test_an_end_is_one_runs_and_one_studys(make: Make, ledger: Ledger) -> None:
    custodian = make()
    answered(custodian)
    other = answered(custodian, OTHER_RUN)
    foreign = request(OTHER, round=LAST, leg="end")
    assert custodian.answer(foreign) == refusal("E_EXPIRED")  # as any question about it
    assert custodian.answer(end()) == SAID
    assert [custodian.answer(request(STUDY, run=OTHER_RUN, round=r)) for r in range(LAST + 1)] == other
    unsigned = request(STUDY, run=OTHER_RUN, round=LAST, leg="end", consents={})
    assert custodian.answer(unsigned) == refusal("E_PLAN_UNTRUSTED")
    assert ledger.stored_answers() == LAST + 1


def test_who_keeps_answers_for_ever_is_informed_and_keeps_them(make: Make) -> None:
    custodian = make(keep=None)
    reported = answered(custodian)
    assert custodian.answer(end()) == SAID
    assert custodian.tidy() == 0
    assert answered(custodian) == reported


def test_tidying_drops_what_is_over_and_nothing_else(
    make: Make, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    custodian = make()
    reported = answered(custodian)
    assert custodian.tidy() == 0
    assert answered(custodian) == reported
    monkeypatch.setattr("cohortium_client.custodian.custodian.over", lambda *_: {RUN})
    assert custodian.tidy() == 1
    assert custodian.answer(request(STUDY)) == refusal("E_ENDED")


# Masked sums


@pytest.mark.parametrize("dropouts", [0, 1])
def test_a_masked_run_ends_after_its_sum_is_open(tmp_path: Path, dropouts: int) -> None:
    agreed = masked_study(4, dropouts=dropouts)
    with ExitStack() as stack:
        federation = Federation(agreed, tmp_path, stack)
        legs: dict[str, bytes] = {}
        name = federation.names[0]

        def received(asked: str, this: wire.Request) -> bool:
            legs[this.leg] = wire.encode_request(this)
            if this.leg in ("mask", "confirm") and dropouts and asked == name:
                early = wire.encode_request(replace(this, leg="end", board=b""))
                assert federation.custodians[name].answer(early) == refusal("E_ROUND_ORDER", name)
            return False

        federation.stops = received
        federation.ask(0)
        last = legs["reveal" if dropouts else "mask"]
        custodian, ledger = federation.custodians[name], federation.ledgers[name]
        before = ledger.entries()
        ending = wire.encode_request(replace(wire.decode_request(last), leg="end", board=b""))
        assert custodian.answer(ending) == SAID
        assert ledger.stored_answers() == 0
        masked = wire.decode_request(legs["mask"])
        assert custodian.answer(legs["mask"]) == refusal("E_ENDED", name)
        assert custodian.answer(wire.encode_request(replace(masked, attempt=1))) in (
            refusal("E_REVEALED", name),
            refusal("E_ROUND_ORDER", name),
        )
        assert ledger.entries() == before
