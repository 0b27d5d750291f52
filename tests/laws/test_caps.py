"""Every cap, just above and just below what is asked for, in every trust mode, before anything is given or kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from enlisted import agree, consents, identity
from masked_federation import Federation, study

from cohortium.errors import StudyError
from cohortium.federation import wire
from cohortium.ledger.store import Ledger
from cohortium.privacy.accounting import RESERVE, Events, cost, repeated
from cohortium.privacy.discrete_gaussian import SLACK, look_ups
from cohortium.study import plan as plan_module
from cohortium.study.plan import charged_in_all, collusion_events_in_all, plan
from cohortium.study.study import Study
from cohortium_client.custodian.custodian import Custodian, Holding
from cohortium_client.custodian.policy import Policy
from cohortium_client.custodian.sessions import Sessions
from cohortium_server.rounds.journal import BriefJournal

DELTA = 1e-6
LOCAL = replace(study(4), privacy=replace(study(4).privacy, trust="local"))
MODES = {"local": LOCAL, "secure-sum": study(4, 0, 1), "secure-sum with dropouts": study(4, 1, 1)}
GENEROUS = Policy(epsilon_per_population=1000.0, delta=DELTA, repeatable=True)


def bare(one: Study) -> Events:
    """What one institution's whole part costs towards somebody who knows all others'."""
    return collusion_events_in_all(one) or charged_in_all(one)


CAPS: dict[str, Callable[[Study, float], Policy]] = {
    "population": lambda one, share: replace(
        GENEROUS, epsilon_per_population=share * cost(charged_in_all(one), DELTA).epsilon
    ),
    "if all collude": lambda one, share: replace(
        GENEROUS, epsilon_if_all_collude=share * cost(bare(one), DELTA).epsilon
    ),
}
TWICE: dict[str, Callable[[Study, float], Policy]] = {
    "population": lambda one, share: replace(
        GENEROUS, epsilon_per_population=share * cost(repeated(charged_in_all(one), 2), DELTA).epsilon
    ),
    "if all collude": lambda one, share: replace(
        GENEROUS, epsilon_if_all_collude=share * cost(repeated(bare(one), 2), DELTA).epsilon
    ),
    "study": lambda one, share: replace(
        GENEROUS, epsilon_per_study=share * cost(repeated(charged_in_all(one), 2), DELTA).epsilon
    ),
}
ABOVE, BELOW = 1 + 1e-9, 1 - 1e-9


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Callable[[Study, Policy], Custodian]]:
    with ExitStack() as stack:

        def made(one: Study, policy: Policy) -> Custodian:
            ledger = stack.enter_context(Ledger(tmp_path / "l.sqlite"))
            agree(ledger, one)
            holding = Holding("people", lambda _: pytest.fail("it was read"), ledger, Sessions(tmp_path / "s"))
            return Custodian(identity("i00"), {one.digest: one}, holding, policy)

        yield made


def code(custodian: Custodian, one: Study, leg: str) -> str:
    asked = wire.Request(one.digest, "ab" * 16, 0, 0, consents=consents(one), leg=leg)
    refused = wire.refused(custodian.answer(wire.encode_request(asked)))
    return "" if refused is None else refused.code


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cap", CAPS)
def test_a_hair_below_what_a_run_costs_nothing_is_begun(
    behind: Callable[[Study, Policy], Custodian], mode: str, cap: str
) -> None:
    """In whatever leg it is asked first; no row is read, nothing charged or kept."""
    one = MODES[mode]
    custodian = behind(one, CAPS[cap](one, BELOW))
    for leg in ("answer",) if mode == "local" else ("advertise", "mask", "share"):
        assert code(custodian, one, leg) == "E_BUDGET"
    sessions = custodian._holding.sessions
    assert custodian._ledger.charges() == [] and sessions is not None and sessions.open_runs() == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cap", CAPS)
def test_a_hair_above_it_is_answered(tmp_path: Path, mode: str, cap: str) -> None:
    with ExitStack() as stack:
        federation = capped(MODES[mode], tmp_path, stack, CAPS[cap](MODES[mode], ABOVE))
        assert runs(federation, 2) == ["", "E_BUDGET"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cap", TWICE)
@pytest.mark.parametrize(("share", "second"), [(ABOVE, ""), (BELOW, "E_BUDGET")])
def test_a_second_run_is_answered_if_both_are_within_the_cap(
    tmp_path: Path, mode: str, cap: str, share: float, second: str
) -> None:
    with ExitStack() as stack:
        federation = capped(MODES[mode], tmp_path, stack, TWICE[cap](MODES[mode], share))
        assert runs(federation, 2) == ["", second]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("delta", [1e-4, 1e-7])
def test_a_study_that_may_be_repeated_is_capped_at_the_smaller_delta(tmp_path: Path, mode: str, delta: float) -> None:
    """The policy's, or the study's own: at the larger one, two runs of it would seem to cost less than they do."""
    one = replace(MODES[mode], privacy=replace(MODES[mode].privacy, delta=delta))
    smaller, larger = sorted((delta, DELTA))
    both = repeated(charged_in_all(one), 2)
    assert cost(both, larger).epsilon < 0.99 * cost(both, smaller).epsilon
    for share, second in ((BELOW, "E_BUDGET"), (ABOVE, "")):
        policy = replace(GENEROUS, epsilon_per_study=share * cost(both, smaller).epsilon)
        with ExitStack() as stack:
            assert runs(capped(one, tmp_path / str(share), stack, policy), 2) == ["", second]


def capped(one: Study, folder: Path, stack: ExitStack, policy: Policy) -> Federation:
    """A federation of which the first institution has this policy."""
    federation = Federation(one, folder, stack)
    federation.custodians["i00"]._policy = policy
    return federation


def runs(federation: Federation, count: int) -> list[str]:
    """What the first institution says to the first leg of so many runs, each of which is then answered by it alone."""
    codes = []
    for _ in range(count):
        federation.journal = BriefJournal(0)
        codes.append(_run(federation))
    return codes


def _run(federation: Federation) -> str:
    one, custodian = federation.study, federation.custodians["i00"]
    asked = wire.Request(one.digest, federation.journal.run, 0, 0, consents=consents(one))
    asked = asked if one.privacy.trust == "local" else replace(asked, leg="advertise")
    refused = wire.refused(custodian.answer(wire.encode_request(asked)))
    if refused is not None:
        return refused.code
    if one.privacy.trust != "local":
        federation.ask()
    assert len([c for c in federation.ledgers["i00"].charges() if c.run == federation.journal.run]) == 1
    return ""


# The sampler: a claim may rest on no more draws than fit into the part of delta that is kept for them


@pytest.mark.parametrize(("mode", "relied_on"), [("local", 1), ("secure-sum", 5), ("secure-sum with dropouts", 5)])
def test_the_noise_of_every_institution_that_a_claim_relies_on_is_reckoned_with(
    monkeypatch: pytest.MonkeyPatch, mode: str, relied_on: int
) -> None:
    """A masked sum relies on all K and one more (guarantee.py, steps 2 to 4): a hair of slack less is refused."""
    one = MODES[mode]
    draws = sum(
        p.rounds * look_ups(p.query.draws(p.multiplier)[1], p.query.draws(p.multiplier)[0]) for p in plan(one).phases
    )
    fits = RESERVE * one.privacy.delta / (relied_on * draws * (1 + math.exp(one.privacy.epsilon)))
    assert fits > SLACK
    for slack, refused in ((fits * (1 - 1e-9), False), (fits * (1 + 1e-9), True)):
        monkeypatch.setattr(plan_module, "SLACK", slack)
        if refused:
            with pytest.raises(StudyError, match=r"E_PLAN_PRIVACY.*precision of the noise"):
                plan.__wrapped__(one)
        else:
            assert plan.__wrapped__(one) == plan(one)
