"""What somebody who wishes a person ill has tried: each test is an attack that once revealed more than was charged for."""

from __future__ import annotations

import math
import shutil
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from enlisted import agree, identity, refusal, request
from hypothesis import given
from hypothesis import strategies as st
from masked_federation import Federation
from masked_federation import study as masked_study

from cohortium.data.columns import Datetime
from cohortium.data.encoding import encode
from cohortium.data.schema import Schema
from cohortium.errors import BudgetError, LedgerError, PolicyError
from cohortium.federation import wire
from cohortium.ledger.caps import Cap, Caps
from cohortium.ledger.records import Charge
from cohortium.ledger.store import Ledger
from cohortium.masking.statements import encode_board
from cohortium.privacy.accounting import Gaussian, cost, repeated
from cohortium.study.guarantee import COORDINATOR, WITH_ALL_OTHERS, WITH_SOME, guarantees
from cohortium.study.plan import charged_in_all, collusion_events_in_all, plan
from cohortium.study.study import Privacy
from cohortium.system import failpoints
from cohortium_client.custodian.custodian import Custodian, Holding
from cohortium_client.custodian.policy import Policy
from cohortium_client.custodian.sessions import remove_sessions
from cohortium_client.source.mapping import ColumnMapping, apply_mapping

# One row that moves others' codes


END = Datetime(name="end", lower=datetime(1500, 1, 1), upper=datetime(9999, 12, 31), bins=64, nullable=True)
FAR = ["9999-12-31", "1500-01-01", "", "2020-05-05 10:11:12", "0001-01-01"]
NANOSECONDS = ["20200101T120000.123456789", "2020-1-1T1:1:1.1234567", "2020-01-01 10:11:12.123456789"]


def ends(values: list[str]) -> list[int]:
    codes: list[int] = encode(pd.DataFrame({"end": values}), Schema(columns=(END,))).values[:, 0].tolist()
    return codes


@pytest.mark.parametrize("fine", NANOSECONDS)
def test_a_moment_in_nanoseconds_does_not_make_others_far_years_missing(fine: str) -> None:
    assert ends([*FAR, fine]) == [*ends(FAR), *ends([fine])]
    assert ends(FAR)[0] == END.values - 1


@given(
    st.lists(st.from_regex(r"(20|99)\d\d-?0?1-?0?1([T ]1\d:?1?\d:?1?\d([.,]\d{1,12})?)?Z?", fullmatch=True), max_size=8)
)
def test_what_a_moment_is_read_as_follows_from_its_own_text(texts: list[str]) -> None:
    assert ends(texts) == [code for text in texts for code in ends([text])]


@pytest.mark.parametrize(
    ("pattern", "far", "fine"),
    [
        ("%Y%m%d%H%M%S%f", "99991231000000000000", "20200101000000123456789"),
        ("%Y-%m-%d %H:%M:%S:%f", "9999-12-31 00:00:00:0", "2020-01-01 00:00:00:1234567"),
        ("%Y-%m-%d %H:%M:%S.%f", "9999-12-31 00:00:00.0", "2020-01-01 00:00:00.1234567"),
    ],
)
def test_nor_where_a_format_is_given(pattern: str, far: str, fine: str) -> None:
    rule = ColumnMapping(format=pattern)
    read = apply_mapping(rule, pd.Series([far, "", fine]))
    assert read[:1].equals(apply_mapping(rule, pd.Series([far]))) and read.isna().tolist() == [False, True, False]


# A custodian killed between the charge and the witness, and then an older ledger


class KilledError(Exception):
    pass


def charge(round_: int) -> Charge:
    return Charge("people", "5d" * 32, "ab" * 16, round_, 0, "ee" * 32, HELLO, (Gaussian(1.0),), 1e-6)


HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # SHA-256 of the message below


def test_what_is_said_after_a_kill_is_known_to_the_witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, copy = tmp_path / "l.sqlite", tmp_path / "copy.sqlite"
    with Ledger(path) as ledger:
        ledger.charge(charge(0), b"hello")
    shutil.copy(path, copy)

    def kill(place: str) -> None:
        if place == "ledger committed":
            raise KilledError

    with Ledger(path) as ledger, monkeypatch.context() as patch:
        patch.setattr(failpoints, "reached", kill)
        with pytest.raises(KilledError):
            ledger.charge(charge(1), b"hello")
    with Ledger(path) as ledger:  # asked again, it says what it has charged for
        assert ledger.answered(charge(1)) is not None
    shutil.copy(copy, path)
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        Ledger(path)


def test_a_slow_process_does_not_write_an_older_head_over_a_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger(path) as slow, Ledger(path) as quick:

        def overtake(place: str) -> None:
            if place == "ledger committed":
                monkeypatch.setattr(failpoints, "reached", None)
                quick.charge(charge(1), b"hello")

        monkeypatch.setattr(failpoints, "reached", overtake)
        slow.charge(charge(0), b"hello")
        assert slow.witness.read_text() == quick.head() == slow.head()


# What is refused is refused before any row is read: how long reading takes reveals something about the table, and would cost nothing


@pytest.mark.parametrize("dropouts", [0, 1])
def test_a_board_with_other_keys_of_an_institution_makes_it_read_nothing(
    tmp_path: Path, dropouts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        federation, read = Federation(masked_study(4, dropouts), tmp_path, stack), list[str]()
        masks, this = federation.masks(), federation.round()
        (reported,) = masks._asking.exchange(masks._request(this, "advertise"))
        adverts, _ = masks._statements(this, 0, "advertise", reported)
        board = encode_board(adverts.values())
        if dropouts:
            (reported,) = masks._asking.exchange(masks._request(this, "share", 0, board))
            board = encode_board([*adverts.values(), *masks._statements(this, 0, "share", reported)[0].values()])
        remove_sessions(tmp_path / "i00.s")  # its secrets are of another time than the board
        fresh = federation.custodian("i00")
        monkeypatch.setattr(federation, "codes", read.append)
        refused = fresh.answer(wire.encode_request(masks._asking.request(this, b"", 0, "mask", board)))
        assert b"E_KEYS" in refused and not read and not federation.charges()["i00"]


# A person in several institutions whose masked sums move together


@pytest.mark.parametrize("trust", ["local", "secure-sum"])
@pytest.mark.parametrize("held_by", [1, 2, 4])
def test_what_the_institutions_of_a_person_are_charged_composes_to_what_the_person_meets(
    trust: Literal["local", "secure-sum"], held_by: int, tmp_path: Path
) -> None:
    privacy = Privacy(epsilon=2.0, delta=1e-6, trust=trust, institutions_per_person=held_by)
    study = replace(masked_study(4), privacy=privacy)
    assert cost(repeated(charged_in_all(study), held_by), 1e-6).epsilon >= plan(study).cost.epsilon * (1 - 1e-9)
    if trust == "secure-sum":
        with ExitStack() as stack:
            federation = Federation(study, tmp_path, stack)
            federation.ask()
            for ledger in federation.ledgers.values():
                assert ledger.events("people") == charged_in_all(study)


# A coordinator that makes up all other institutions of a study


@pytest.mark.parametrize("trust", ["local", "secure-sum"])
def test_what_one_institution_shows_to_all_others_together_can_be_capped(
    trust: Literal["local", "secure-sum"], tmp_path: Path
) -> None:
    study = replace(masked_study(30), privacy=Privacy(epsilon=1.0, delta=1e-6, trust=trust))
    bare = cost(collusion_events_in_all(study) or charged_in_all(study), 1e-6).epsilon
    with ExitStack() as stack:
        for allowed, cap in ((False, bare * (1 - 1e-6)), (True, bare)):
            ledger = stack.enter_context(Ledger(tmp_path / f"{allowed}.sqlite"))
            agree(ledger, study)
            policy = Policy(epsilon_per_population=100.0, epsilon_if_all_collude=cap)
            holding = Holding("people", lambda _: pytest.fail("it was read"), ledger)
            custodian = Custodian(identity("i00"), {study.digest: study}, holding, policy)
            if allowed:
                custodian.afford(study)
                continue
            with pytest.raises(BudgetError, match="collude"):
                custodian.afford(study)
            leg = "answer" if trust == "local" else "mask"
            assert custodian.answer(request(study, leg=leg)) == refusal("E_BUDGET", "i00")
    assert trust == "local" or bare > 5


def test_what_was_spent_bare_counts_in_the_cap(tmp_path: Path) -> None:
    caps = Caps(if_all_collude=Cap(cost((Gaussian(1.0, count=2),), 1e-6).epsilon, 1e-6))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for round_ in range(2):
            masked = replace(charge(round_), events=(Gaussian(30.0),), bare=(Gaussian(1.0),))
            ledger.charge(masked, b"hello", caps)
        with pytest.raises(BudgetError, match="collude"):
            ledger.charge(charge(2), b"hello", caps)
        assert ledger.spent_if_all_collude("people", 1e-6).epsilon == caps.if_all_collude.epsilon  # type: ignore[union-attr]


# An institution that takes part: it knows its own noise


@pytest.mark.parametrize(("size", "dropouts"), [(3, 0), (10, 0), (10, 2)])
def test_a_participant_has_a_guarantee_although_no_colluder_is_declared(size: int, dropouts: int) -> None:
    study = masked_study(size, dropouts)
    reported = {g.adversary: g.cost.epsilon for g in guarantees(study, plan(study))}
    (phase,) = plan(study).phases
    known = cost(phase.query.events(math.sqrt(size - dropouts - 1) * phase.multiplier), 1e-6).epsilon
    assert reported[COORDINATOR] < reported[WITH_SOME] == known < reported[WITH_ALL_OTHERS]


def test_who_was_said_to_collude_is_in_the_promise() -> None:
    study = masked_study(10, 2, 1)
    reported = {g.adversary: g.cost.epsilon for g in guarantees(study, plan(study))}
    assert reported[COORDINATOR] == reported[WITH_SOME] <= study.privacy.epsilon


# A small epsilon at a large delta


def test_a_larger_delta_hides_no_larger_epsilon() -> None:
    loose, policy = masked_study(4), Policy(epsilon_per_study=2.0, delta=1e-6)
    policy.check(loose)
    loose = replace(loose, privacy=replace(loose.privacy, delta=1e-4))
    with pytest.raises(PolicyError, match="epsilon_per_study"):
        policy.check(loose)
    replace(policy, epsilon_per_study=3.0).check(loose)
    assert replace(policy, repeatable=True).caps(loose).study == Cap(2.0, 1e-6)
