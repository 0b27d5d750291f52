"""Masked sums from end to end: custodians, ledgers, sessions and the coordinator's rounds, and what each does when others stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from enlisted import consents
from masked_federation import (
    Federation,
    Make,
    StoppedError,
    contradicting,
    make_fixture,  # noqa: F401 (fixtures)
    stopping,
    study,
)

from cohortium.errors import FederationError, StudyError
from cohortium.federation import wire
from cohortium.federation.forecast import forecast
from cohortium.masking import dropout_tolerant
from cohortium.masking.statements import decode_board, encode_board
from cohortium.neural.state import write_state
from cohortium.privacy import discrete_gaussian
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries import gradients
from cohortium.queries.gradients import People
from cohortium.study import plan as plan_module
from cohortium.study.generators import Autoregressive, Ctgan, Diffusion, GeneratorPlan, Tvae
from cohortium.study.guarantee import WITH_ALL_OTHERS, guarantees
from cohortium.study.plan import Plan, plan
from cohortium.system import failpoints
from cohortium_client.custodian.sessions import Sessions
from cohortium_server.rounds.journal import Aggregate, BriefJournal
from cohortium_server.rounds.masks import TRIES


def stop_at(place: str) -> Callable[[str], None]:
    def reached(name: str) -> None:
        if name == place:
            raise StoppedError

    return reached


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No noise, so that sums can be compared to the last bit."""
    monkeypatch.setattr(
        discrete_gaussian, "discrete_gaussian", lambda sigma, count, randomness: np.zeros(count, np.int64)
    )


@pytest.fixture
def three_rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plan's one round, three times."""
    phases = plan_module._phases
    monkeypatch.setattr(plan_module, "_phases", lambda s: tuple(replace(p, rounds=3) for p in phases(s)))
    monkeypatch.setattr(plan_module, "calibrated", lambda *_: 30.0)
    plan.cache_clear()
    yield
    plan.cache_clear()


# The sum


@pytest.mark.parametrize(("size", "dropouts", "colluders"), [(3, 0, 0), (5, 0, 4), (4, 1, 1), (10, 2, 2)])
def test_the_sum_is_exact_and_nothing_else_is_seen(
    make: Make, silent: None, size: int, dropouts: int, colluders: int
) -> None:
    federation = make(size, dropouts, colluders)
    received = federation.ask()
    assert np.array_equal(received.values, federation.plain())
    assert len(received.receipts) == size
    for name in federation.names:  # what was kept and sent is nothing like what it hides
        (charge,) = federation.ledgers[name].charges()
        ring = plan_module.ring(federation.study, federation.round().phase)
        sent = wire.decode_reply(federation.ledgers[name].sent(charge.place), received.values.size, ring.dtype).values
        assert np.count_nonzero(sent == ring.to_ring(federation.plain([name]))) == 0
        assert (sent > 2 ** (ring.bits - 8)).mean() > 0.5


def test_the_noise_of_the_sum_is_that_of_one_central_mechanism(make: Make) -> None:
    federation = make(10, 0, 4)
    central = plan(replace(study(10), privacy=replace(study(10).privacy, trust="local"))).phases[0]
    residuals = []
    for _ in range(30):
        federation.journal = BriefJournal(0)
        residuals.append((federation.ask().values - federation.plain()) / federation.round().query.grid)
    found = np.std(np.concatenate(residuals))
    sigma = central.multiplier * central.query.sensitivity / central.query.grid  # type: ignore[attr-defined]
    expected = sigma * np.sqrt(10 / 6)  # H = 6 of 10 shares are relied on, and all 10 are there
    assert 0.75 * expected < found < 1.25 * expected  # 180 numbers: seven standard deviations of the estimate


TRAINED = (
    Autoregressive(rounds=2, sampling_rate=1.0, hidden=3),
    Diffusion(rounds=1, sampling_rate=1.0),
    Tvae(rounds=1, sampling_rate=1.0, hidden=3),
    Ctgan(rounds=1),
)


def parameters_of(federation: Federation, number: int, seed: int) -> bytes:
    """A state of a round of training, drawn at random."""
    step = federation.round(number).query.step  # type: ignore[attr-defined]
    tensors = {name: np.zeros(length, np.float32) for name, length in step.lengths.items()}
    tensors["parameters"] = np.random.default_rng(seed).normal(0, 0.5, step.parameters).astype(np.float32)
    return write_state(tensors)


@pytest.mark.parametrize("chosen", TRAINED, ids=lambda chosen: chosen.kind)
@pytest.mark.parametrize(("size", "dropouts", "colluders"), [(3, 0, 0), (4, 1, 1)])
def test_a_masked_sum_of_gradients_is_exact(
    tmp_path: Path,
    silent: None,
    monkeypatch: pytest.MonkeyPatch,
    chosen: GeneratorPlan,
    size: int,
    dropouts: int,
    colluders: int,
) -> None:
    """Every row's view drawn alike, everybody in the sample: the sum is then known beforehand."""
    monkeypatch.setattr(gradients, "_uniforms", lambda entries, draws, randomness: np.full((entries, draws), 0.37))
    with ExitStack() as stack:
        one = replace(study(size, dropouts, colluders), generator=chosen)
        federation = Federation(one, tmp_path / "gradients", stack)
        federation.ask(0)
        reported = parameters_of(federation, 1, 5)
        phase = federation.round(1).phase
        received = federation.masks().ask(federation.round(1), reported, federation.journal)
        step, at = phase.query.step, phase.multiplier  # type: ignore[attr-defined]
        state = step.read(reported)
        alone = [
            step.bounded(People(federation.codes(n)), state["parameters"].astype(float), at, SecureRandomness()).values
            for n in federation.names
        ]
        assert np.array_equal(received.values, sum(alone))
        assert received.values.any() and all(a.any() for a in alone)
        assert set(federation.charges().values()) == {2}
        for ledger in federation.ledgers.values():
            spent = [charge.events for charge in ledger.charges()][1]
            assert spent == plan_module.charged(one, phase.answer_events)


def test_the_noise_of_a_masked_sum_of_gradients_is_that_of_one_central_mechanism(tmp_path: Path) -> None:
    """A sample of nobody or of very few, so that what comes is the noise: of H = 2 of 4 shares that are relied on."""
    with ExitStack() as stack:
        one = replace(study(4, 1, 1), generator=Autoregressive(rounds=1, sampling_rate=1e-3, hidden=16))
        federation = Federation(one, tmp_path / "noise", stack)
        federation.ask(0)
        phase = plan(one).phases[-1]
        step, found = phase.query.step, []  # type: ignore[attr-defined]
        for seed in range(7):
            federation.journal = BriefJournal(0)
            reported = parameters_of(federation, 1, seed)
            found.append(federation.masks().ask(federation.round(1), reported, federation.journal).values)
        drawn = np.concatenate(found) / (phase.multiplier * step.sensitivity(phase.multiplier))
        assert len(drawn) > 500
        assert drawn.std() == pytest.approx(np.sqrt(4), rel=0.2)  # above six standard deviations of the estimate
        assert phase.events[0].noise_multiplier == pytest.approx(np.sqrt(2) * phase.multiplier, rel=1e-3)


# Legs


def test_without_dropouts_a_round_is_one_exchange(make: Make, three_rounds: None) -> None:
    federation = make(3)
    masks = federation.masks()
    for number in range(3):
        federation.ask(number, masks)
    assert federation.exchanges == [["advertise"], ["mask"], ["mask"], ["mask"]]


def test_with_dropouts_a_round_is_three_and_carries_the_keys_of_the_next(make: Make, three_rounds: None) -> None:
    federation = make(4, 1, 1)
    masks = federation.masks()
    for number in range(3):
        federation.ask(number, masks)
    together = [["mask", "advertise"], ["confirm", "share"], ["reveal"]]
    last = [["mask"], ["confirm"], ["reveal"]]
    assert federation.exchanges == [["advertise"], ["share"], *together, *together, *last]


# Who stops


@pytest.mark.parametrize("leg", ["share", "mask", "confirm", "reveal"])
def test_two_of_ten_stop_at_any_leg_and_the_round_completes(make: Make, silent: None, leg: str) -> None:
    federation = make(10, 2, 2, stops=stopping("i03", "i07", legs=[leg]))
    received = federation.ask()
    answered = [n for n in federation.names if leg not in ("share", "mask") or n not in ("i03", "i07")]
    assert np.array_equal(received.values, federation.plain(answered))
    assert {r.institution for r in received.receipts} == set(answered)
    assert received.attempt == 0


def test_who_signs_something_else_than_was_asked_has_dropped_out(
    make: Make, silent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One institution alone could otherwise void every attempt, each of which the others are charged for."""
    federation = make(4, 1, 1)
    honest = dropout_tolerant.masked_for
    asked_of = []

    def lying(shares: dropout_tolerant.Shares, question: str) -> dict[str, str]:
        asked_of.append(question)
        return honest(shares, "00" * 32 if len(asked_of) == 2 else question)  # the second to answer

    monkeypatch.setattr(dropout_tolerant, "masked_for", lying)
    received = federation.ask()
    assert received.attempt == 0
    assert np.array_equal(received.values, federation.plain(n for n in federation.names if n != "i01"))
    assert [r.institution for r in received.receipts] == ["i00", "i02", "i03"]


@pytest.mark.parametrize(("leg", "charged"), [("share", 0), ("mask", 0), ("confirm", 1), ("reveal", 1)])
def test_where_more_are_silent_they_are_named_and_asked_again_for_the_same_bytes(
    make: Make, silent: None, leg: str, charged: int
) -> None:
    """Three times at once, then when the run is resumed; nothing is charged for it, and no attempt is given up."""
    federation = make(10, 2, 2, stops=stopping("i01", "i03", "i05", "i07", legs=[leg]))
    with pytest.raises(FederationError, match=r"i01, i03, i05, i07|cannot be opened"):
        federation.ask()
    assert federation.exchanges.count([leg]) == (TRIES if leg != "share" else 1)
    assert [federation.charges()[n] for n in ("i00", "i01")] == [int(leg != "share"), charged]
    federation.stops = lambda name, request: False
    federation.custodians = {n: federation.custodian(n) for n in federation.names}
    received = federation.ask()
    assert (received.attempt, received.void) == (0, ())
    assert np.array_equal(received.values, federation.plain())
    assert set(federation.charges().values()) == {1}


@pytest.mark.parametrize("leg", ["mask", "confirm", "reveal"])
def test_who_comes_back_while_it_is_waited_for_is_in_the_sum(make: Make, silent: None, leg: str) -> None:
    asked = Counter[str]()

    def late(name: str, request: wire.Request) -> bool:
        asked[name] += request.leg == leg
        return request.leg == leg and name in ("i01", "i03", "i05", "i07") and asked[name] < TRIES

    federation = make(10, 2, 2, stops=late)
    assert np.array_equal(federation.ask().values, federation.plain())
    assert set(federation.charges().values()) == {1}


FOUR = ("i01", "i03", "i05", "i07")


def test_an_attempt_that_too_many_contradict_is_void_and_stays_charged(make: Make) -> None:
    federation = make(10, 2, 2, contradicts=contradicting(*FOUR))
    received = federation.ask()
    assert (received.attempt, [len(r) for r in received.void]) == (1, [10])
    assert set(federation.charges().values()) == {2}


def test_a_round_is_void_after_so_many_attempts(make: Make) -> None:
    federation = make(10, 2, 2, contradicts=contradicting(*FOUR, attempts=range(3)))
    with pytest.raises(FederationError, match="void after 3 attempts"):
        federation.ask()
    assert set(federation.charges().values()) == {3}


def test_a_void_attempt_is_followed_by_one_with_other_noise_and_masks(make: Make) -> None:
    federation = make(10, 2, 2, contradicts=contradicting(*FOUR))
    federation.ask()
    one, two = (federation.ledgers["i00"].sent(c.place) for c in federation.ledgers["i00"].charges())
    width = federation.round().query.width
    ring = plan_module.ring(federation.study, federation.round().phase)
    first, second = (wire.decode_reply(m, width, ring.dtype).values for m in (one, two))
    assert not (first == second).any()


def test_without_dropouts_a_missing_institution_is_named_and_asked_again_for_the_same_bytes(
    make: Make, silent: None
) -> None:
    federation = make(3, stops=stopping("i01"))
    with pytest.raises(FederationError, match="no answer from i01"):
        federation.ask()
    assert federation.charges() == {"i00": 1, "i01": 0, "i02": 1}
    federation.stops = lambda name, request: False
    federation.custodians = {n: federation.custodian(n) for n in federation.names}  # everybody was started anew
    received = federation.ask()
    assert np.array_equal(received.values, federation.plain())
    assert federation.charges() == {"i00": 1, "i01": 1, "i02": 1}


def test_an_institution_started_anew_between_the_legs_goes_on(make: Make, silent: None) -> None:
    federation = make(4, 1, 1)

    def restarted(name: str, request: wire.Request) -> bool:
        federation.custodians[name] = federation.custodian(name)
        return False

    federation.stops = restarted
    assert np.array_equal(federation.ask().values, federation.plain())


@pytest.mark.parametrize("place", ["keys shared", "answers masked", "survivors confirmed", "shares revealed"])
def test_a_coordinator_started_anew_in_the_middle_goes_on_with_the_attempt(
    make: Make, three_rounds: None, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each of three rounds it is stopped once at the place; everybody is charged once a round, and one sum is opened."""
    federation, opened, stopped = make(4, 1, 1), list[Aggregate](), 0
    for number in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(failpoints, "reached", stop_at(place))
            try:
                federation.ask(number)
            except StoppedError:
                stopped += 1
        opened.append(federation.ask(number))
        assert np.array_equal(opened[-1].values, federation.ask(number).values)  # opened once more it is the same sum
        federation.journal.remember(opened[-1])
        assert set(federation.charges().values()) == {number + 1}
    assert [h.attempt for h in opened] == [0, 0, 0]
    assert stopped == (1 if place == "keys shared" else 3)  # those of later rounds travel along


@pytest.mark.parametrize("nth", range(11))
def test_the_answers_to_any_exchange_may_be_lost_with_the_coordinator(
    make: Make, three_rounds: None, silent: None, nth: int
) -> None:
    federation, exchange = make(4, 1, 1), Federation.exchange

    def lost(request: bytes, timeout: float) -> Iterable[bytes]:
        reported = list(exchange(federation, request, timeout))
        if len(federation.exchanges) == nth + 1:
            raise StoppedError
        return reported

    federation.exchange = lost  # type: ignore[method-assign]
    number, stopped = 0, 0
    while number < 3:
        try:
            received = federation.ask(number)
        except StoppedError:
            stopped += 1
            continue
        assert (received.attempt, received.void) == (0, ())
        assert np.array_equal(received.values, federation.plain())
        federation.journal.remember(received)
        number += 1
    assert stopped == 1
    assert set(federation.charges().values()) == {3}


def test_who_missed_a_round_is_back_in_the_next(make: Make, three_rounds: None) -> None:
    def away(name: str, asked: wire.Request) -> bool:
        return name == "i02" and asked.round == 0 and asked.leg not in ("advertise", "share")

    federation = make(4, 1, 1, stops=away)
    masks = federation.masks()
    received = [federation.ask(number, masks) for number in range(2)]
    # keys of round 1 travel with round 0, so who missed that round has no seat in the next either
    assert [len(h.receipts) for h in received] == [3, 3]
    assert len(federation.ask(2, masks).receipts) == 4


# What is refused


def test_a_bare_answer_is_never_given_in_a_masked_study(make: Make) -> None:
    federation = make(3)
    asked = wire.Request(federation.study.digest, "ab" * 16, 0, 0, consents=consents(federation.study))
    reported = federation.custodians["i00"].answer(wire.encode_request(asked))
    assert wire.decode_answer(reported, 1) == wire.Refusal("i00", "E_WIRE")
    assert federation.charges()["i00"] == 0


def board_of(federation: Federation, leg: str) -> list[bytes]:
    asked = federation.masks()._request(federation.round(), leg)  # type: ignore[arg-type]
    return [c.answer(wire.encode_request(asked)) for c in federation.custodians.values()]


def masking_request(federation: Federation, board: bytes, **changes: object) -> bytes:
    asked = federation.masks()._asking.request(federation.round(), b"", 0, "mask", board)
    return wire.encode_request(replace(asked, **changes))  # type: ignore[arg-type]


def test_a_board_without_everybody_is_refused_before_anything_is_charged(make: Make) -> None:
    federation = make(4)
    said, _ = federation.masks()._statements(federation.round(), 0, "advertise", board_of(federation, "advertise"))
    del said["i03"]
    reported = federation.custodians["i00"].answer(masking_request(federation, encode_board(said.values())))
    assert wire.decode_answer(reported, 1) == wire.Refusal("i00", "E_COHORT")
    assert federation.charges()["i00"] == 0


def test_an_attempt_is_masked_for_one_board_only(make: Make) -> None:
    federation = make(3)
    federation.ask()
    (charge,) = federation.ledgers["i00"].charges()
    said, _ = federation.masks()._statements(federation.round(), 0, "advertise", board_of(federation, "advertise"))
    assert len(said) == 3  # said once, and again after the run's secrets are gone
    again = federation.custodians["i00"].answer(masking_request(federation, encode_board(said.values())))
    numbers = plan_module.ring(federation.study, federation.round().phase).dtype
    reported = wire.decode_answer(again, federation.round().query.width, numbers)
    assert isinstance(reported, wire.Answer)
    assert reported.receipt.message == charge.message
    other = masking_request(federation, encode_board(list(said.values())[:2]))
    assert wire.decode_answer(federation.custodians["i00"].answer(other), 1) == wire.Refusal("i00", "E_REPLAY")
    assert federation.charges()["i00"] == 1


def test_secrets_are_gone_when_the_last_round_is_answered(make: Make, tmp_path: Path) -> None:
    federation = make(3)
    masks = federation.masks()
    board_of(federation, "advertise")
    before = Sessions(federation.folder / "i00.s").secrets(federation.journal.run)
    federation.ask(0, masks)
    stored = (federation.folder / "i00.s").read_bytes()
    assert before.seed not in stored
    assert Sessions(federation.folder / "i00.s").secrets(federation.journal.run) != before
    assert (federation.folder / "i00.s").stat().st_mode & 0o077 == 0


def test_a_second_confirmation_of_other_survivors_is_refused(make: Make) -> None:
    federation = make(4, 1, 1, stops=stopping("i00", "i01", "i02", "i03", legs=["reveal"]))
    masks, boards = federation.masks(), list[bytes]()
    federation_exchange = federation.exchange

    def keep(request: bytes, timeout: float) -> Iterable[bytes]:
        boards.extend(r.board for p in wire.decode_bundle(request) if (r := wire.decode_request(p)).leg == "confirm")
        return federation_exchange(request, timeout)

    federation.exchange = keep  # type: ignore[method-assign]
    with pytest.raises(FederationError, match="cannot be opened"):
        masks.ask(federation.round(), b"", federation.journal)
    fewer = encode_board(s for s in decode_board(boards[0]) if (s.leg, s.institution) != ("mask", "i03"))
    asked = replace(masks._request(federation.round(), "confirm"), board=fewer)
    reported = federation.custodians["i00"].answer(wire.encode_request(asked))
    assert wire.decode_statement(reported) == wire.Refusal("i00", "E_VIEW")


# What it costs


def test_who_knows_all_the_others_answers_has_a_guarantee_of_their_own(make: Make) -> None:
    federation = make(10, 0, 3)
    federation.ask()
    ledger = federation.ledgers["i00"]
    spent, bare = ledger.spent("people", 1e-6).epsilon, ledger.spent_if_all_collude("people", 1e-6).epsilon
    reported = {g.adversary: g.cost.epsilon for g in guarantees(federation.study, plan(federation.study))}
    assert spent == pytest.approx(2.0, rel=2e-3)
    assert bare == pytest.approx(reported[WITH_ALL_OTHERS])
    assert bare > 2 * spent


@pytest.mark.parametrize(("size", "dropouts", "colluders"), [(2, 0, 0), (3, 1, 0), (10, 4, 0), (6, 1, 2), (4, 0, 4)])
def test_a_cohort_that_cannot_be_safe_is_no_study(size: int, dropouts: int, colluders: int) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        study(size, dropouts, colluders)


def test_steps_between_rounds_are_not_masked() -> None:
    with pytest.raises(StudyError, match=r"E_PLAN_INVALID.*round of its own"):
        replace(study(3), generator=Autoregressive(steps=2))
    assert plan(replace(study(3), generator=Autoregressive(rounds=2, steps=1))).rounds == 3
    alone = replace(
        study(3), privacy=replace(study(3).privacy, trust="local"), generator=Autoregressive(rounds=2, steps=3)
    )
    with pytest.raises(StudyError, match=r"E_PLAN_INVALID.*masked"):
        plan_module.ring(alone, plan(alone).phases[-1])
    with pytest.raises(StudyError, match="belong to masked sums"):
        replace(study(3), privacy=replace(study(3).privacy, trust="local", dropouts=1))


def test_noise_shares_add_up_to_what_is_promised() -> None:
    agreed: Plan = plan(study(10, 2, 2))
    (phase,) = agreed.phases
    assert phase.honest == 6
    assert agreed.cost.epsilon <= 2.0
    assert phase.events == phase.query.events(np.sqrt(6) * phase.multiplier)
    assert plan(study(10)).phases[0].multiplier == pytest.approx(phase.multiplier * np.sqrt(6 / 10), rel=1e-2)


@pytest.mark.parametrize(("size", "dropouts", "colluders"), [(3, 0, 0), (4, 1, 1)])
def test_the_forecast_of_traffic_is_exact_to_the_byte(
    make: Make, size: int, dropouts: int, colluders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = make(size, dropouts, colluders)
    exchange, boards, answers = federation.exchange, list[int](), set[int]()

    def keep(request: bytes, timeout: float) -> Iterable[bytes]:
        legs = [wire.decode_request(p) for p in wire.decode_bundle(request)]
        boards.extend(len(asked.board) for asked in legs if asked.leg == "mask")
        reported = list(exchange(request, timeout))
        answers.update(len(wire.decode_bundle(t)[0]) for t in reported if legs[0].leg == "mask")
        return reported

    monkeypatch.setattr(federation, "exchange", keep)
    federation.ask()
    reported = forecast(federation.study)
    assert answers == {reported["phases"][0]["bytes"]}
    assert boards == [reported["exchanges"]["board_bytes"]]
    assert len(federation.exchanges) == reported["exchanges"]["in_all"]
