"""One sum of a round: whatever a coordinator does, a second one is not opened, and what was given up is in the account."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from enlisted import ANYTHING, agree, consents, identity
from masked_federation import Federation, StoppedError, contradicting, study

from cohortium.data.encoding import Codes
from cohortium.errors import FederationError, ReleaseError, StudyError
from cohortium.federation import wire
from cohortium.ledger.location import home
from cohortium.ledger.store import Ledger
from cohortium.masking import Cohort
from cohortium.masking.statements import Leg, Statement, encode_board
from cohortium.privacy.accounting import cost, repeated
from cohortium.study.guarantee import WITH_ALL_OTHERS, guarantees
from cohortium.study.plan import plan, with_attempts
from cohortium.system.keys import load_or_create_key
from cohortium_client.custodian.custodian import Custodian, Holding
from cohortium_client.custodian.sessions import Sessions
from cohortium_server import gate
from cohortium_server.release import load_release, write_release
from cohortium_server.release.account import account
from cohortium_server.release.manifest import MANIFEST, write_manifest
from cohortium_server.rounds.folder_journal import FolderJournal
from cohortium_server.rounds.journal import NOTHING, Aggregate, Begun, BriefJournal
from cohortium_server.rounds.rounds import Outcome, run_study

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

FOUR = study(4, 1, 1)
HONEST = ("i00", "i01", "i02")


# Numbers


def test_two_attempts_would_take_more_honest_institutions_than_there_are() -> None:
    """For every cohort that is allowed: each reveals in one attempt, and to open one takes t - T of them."""
    key = "ed25519:" + "0" * 64
    allowed = 0
    for size, dropouts, colluders in itertools.product(range(3, 61), range(1, 21), range(20)):
        cohort = Cohort({f"{k:03}": key for k in range(size)}, dropouts, colluders)
        try:
            cohort.check_numbers()
        except StudyError:
            continue
        allowed += 1
        assert 2 * (cohort.threshold - colluders) > size - colluders
    assert allowed > 3000


# A coordinator that asks for anything, in any order, with everything it has received


@dataclass
class Liar:
    """Asks institutions for legs of three attempts in an order of its own, and shows whatever it has.

    The colluder answers each attempt as if there were no other: with a ledger and sessions for each.
    """

    federation: Federation
    colluders: dict[int, Custodian]
    said: dict[tuple[str, int], dict[str, Statement]] = field(default_factory=dict)
    boards: dict[tuple[str, int], bytes] = field(default_factory=dict)
    refusals: set[str] = field(default_factory=set)

    def ask(self, name: str, leg: Leg, attempt: int) -> None:
        masks, this = self.federation.masks(), self.federation.round()
        asked = masks._asking.request(this, b"", attempt, leg, self._board(leg, attempt))
        behind = self.colluders[attempt] if name == "i03" else self.federation.custodians[name]
        reported = behind.answer(wire.encode_request(asked))
        if (refusal := wire.refused(reported)) is not None:
            self.refusals.add(refusal.code)
            return
        self.said.setdefault((leg, attempt), {})[name] = self._statement(leg, reported)

    def _statement(self, leg: Leg, reported: bytes) -> Statement:
        if leg != "mask":
            document = wire.decode_statement(reported)
            assert isinstance(document, dict)
            return Statement.from_document(document)
        _, numbers = self.federation.masks()._total(self.federation.round())
        answer = wire.decode_answer(reported, self.federation.round().query.width, numbers.dtype)
        assert isinstance(answer, wire.Answer)
        return Statement.from_document(answer.reply.statement)

    def _board(self, leg: Leg, attempt: int) -> bytes:
        """What was said in the legs before when this one was first asked for: the only board that can be gone on with."""
        before = [b for b in ("advertise", "share", "mask", "confirm") if b in wire.LEGS[: wire.LEGS.index(leg)]]
        statements = [s for b in before for s in self.said.get((b, attempt), {}).values()]
        place = (leg, attempt)
        if place not in self.boards and statements:
            self.boards[place] = encode_board(statements)
        return self.boards.get(place, b"" if leg == "advertise" else NOTHING)

    def opened(self) -> list[int]:
        """The attempts of which t shares are known."""
        least = self.federation.study.cohort.threshold
        return [a for a in range(3) if len(self.said.get(("reveal", a), {})) >= least]

    def several(self) -> list[str]:
        """Honest institutions that have revealed in two attempts."""
        return [n for n in HONEST if sum(n in self.said.get(("reveal", a), {}) for a in range(3)) > 1]

    def earlier(self) -> list[str]:
        """Honest institutions that were charged for a later attempt than one that they have revealed in."""
        last = {n: max((c.attempt for c in self.federation.ledgers[n].charges()), default=-1) for n in HONEST}
        return [n for n in HONEST for a in range(3) if n in self.said.get(("reveal", a), {}) and last[n] > a]


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[Callable[[int], Liar]]:
    with ExitStack() as stack:

        def made(number: int) -> Liar:
            folder = tmp_path / str(number)
            federation = Federation(FOUR, folder, stack)
            return Liar(federation, {a: colluder(federation, folder / f"c{a}", stack) for a in range(3)})

        yield made


def colluder(federation: Federation, folder: Path, stack: ExitStack) -> Custodian:
    ledger = stack.enter_context(Ledger(folder / "l.sqlite"))
    agree(ledger, FOUR)
    holding = Holding("people", lambda _: federation.codes("i03"), ledger, Sessions(folder / "s"))
    return Custodian(identity("i03"), {FOUR.digest: FOUR}, holding, ANYTHING)


LEGS: tuple[Leg, ...] = ("advertise", "share", "mask", "confirm", "reveal")


def steps(attempt: int, legs: Iterable[Leg], names: Iterable[str] = (*HONEST, "i03")) -> list[tuple[str, Leg, int]]:
    return [(name, leg, attempt) for leg in legs for name in names]


KEYS, REST = LEGS[:2], LEGS[2:]
ORDERS = {
    "one after the other": [*steps(0, LEGS), *steps(1, LEGS), *steps(0, LEGS)],
    "keys of both at first": [*steps(0, KEYS), *steps(1, KEYS), *steps(0, REST), *steps(1, REST)],
    "all confirmed, then revealed": [
        *itertools.chain.from_iterable(steps(a, LEGS[:4]) for a in range(2)),
        *itertools.chain.from_iterable(steps(a, ("reveal",)) for a in range(2)),
    ],
    "both masked, then the first": [
        *(s for a in range(2) for s in steps(a, LEGS[:3])),
        *(s for a in range(2) for s in steps(a, LEGS[3:])),
    ],
    "the later one first": [*steps(1, LEGS), *steps(0, LEGS)],
    "some reveal the first, the others the second": [
        *steps(0, LEGS[:4]),
        *steps(0, ("reveal",), ("i00", "i03")),
        *steps(1, LEGS, ("i01", "i02", "i03", "i00")),
        *steps(0, ("reveal",), ("i01", "i02")),
    ],
    "keys of both, then some reveal the first": [
        *steps(1, KEYS),
        *steps(0, LEGS[:4]),
        *steps(0, ("reveal",), ("i00", "i03")),
        *steps(1, REST, ("i01", "i02", "i03", "i00")),
        *steps(0, ("reveal",), ("i01", "i02")),
    ],
}


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_opens_two_sums_of_a_round(liar: Callable[[int], Liar], order: str) -> None:
    one = liar(0)
    for step in ORDERS[order]:
        one.ask(*step)
    assert len(one.opened()) <= 1
    assert one.several() == []
    assert one.earlier() == []
    assert one.refusals & {"E_REVEALED", "E_ROUND_ORDER"}


def test_what_is_revealed_again_is_the_same_and_another_attempt_is_refused_in_every_leg(
    liar: Callable[[int], Liar],
) -> None:
    one = liar(0)
    for step in [*steps(1, KEYS), *steps(0, LEGS)]:
        one.ask(*step)
    assert one.opened() == [0]
    before, charged = dict(one.said["reveal", 0]), one.federation.charges()
    one.federation.custodians = {n: one.federation.custodian(n) for n in one.federation.names}  # started anew
    for name, leg in itertools.product(HONEST, LEGS):
        one.refusals.clear()
        one.ask(name, leg, 2)
        assert one.refusals == {"E_REVEALED"}
    for name in HONEST:
        for leg in LEGS[2:]:  # of attempt 1 adverts and shares were said before, and are said again
            one.refusals.clear()
            one.ask(name, leg, 1)
            assert one.refusals == {"E_REVEALED"} or leg == "reveal"
        one.ask(name, "reveal", 0)
    assert one.said["reveal", 0] == before
    assert one.federation.charges() == charged


@pytest.mark.parametrize("seed", range(10))
def test_at_random_no_two_sums_of_a_round_are_opened(liar: Callable[[int], Liar], seed: int) -> None:
    """Each institution is asked for both attempts, leg by leg, and the two are shuffled into one another."""
    chance, one = np.random.default_rng(seed), liar(seed)
    ahead = {a: steps(a, LEGS) for a in range(2)}
    while any(ahead.values()):
        attempt = int(chance.integers(2)) if all(ahead.values()) else next(a for a in ahead if ahead[a])
        for _ in range(int(chance.integers(1, 5))):
            if ahead[attempt]:
                one.ask(*ahead[attempt].pop(0))
        if chance.random() < 0.2:  # and something that was asked before, or will be
            one.ask(*(everything := steps(int(chance.integers(3)), LEGS))[chance.integers(len(everything))])
    assert len(one.opened()) <= 1
    assert one.several() == []
    assert one.earlier() == []


# A run that stops after everybody has revealed


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_coordinator_that_stops_after_any_exchange_opens_the_same_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """In its folder; the fifth exchange is the reveal. The account is an uninterrupted run's."""
    asked: list[bytes] = []
    with ExitStack() as stack:
        federation = Federation(FOUR, tmp_path, stack)
        exchange = federation.exchange

        def stopping(request: bytes, timeout: float) -> Iterable[bytes]:
            asked.append(request)
            reported = list(exchange(request, timeout))
            if len(asked) == nth:
                raise StoppedError
            return reported

        monkeypatch.setattr(federation, "exchange", stopping)
        journal = begin(tmp_path)
        with pytest.raises(StoppedError):
            run_study(FOUR, consents(FOUR), federation, journal)
        journal.close()
        journal = FolderJournal(journal.folder)
        outcome = run_study(FOUR, consents(FOUR), federation, journal)
        journal.close()
        assert set(federation.charges().values()) == {1}
        assert [a.attempt for a in outcome.answered] == [0]
        assert outcome.spent == outcome.plan
        assert not list(journal.folder.glob("*.begun"))


def begin(folder: Path) -> FolderJournal:
    return FolderJournal.begin(folder / "runs", FOUR, consents(FOUR), 0, {"out": "release"})


# What the journal keeps


BEGUN = Begun(1, NOTHING, np.array([1, 2**32 - 1], np.uint32), (), ((),))


@pytest.mark.parametrize("begun", [BEGUN, replace(BEGUN, masked=None), replace(BEGUN, masked=np.zeros(3, np.uint64))])
def test_an_attempt_under_way_is_read_as_it_was_written(tmp_path: Path, begun: Begun) -> None:
    journal = begin(tmp_path)
    assert journal.begun(0) is None
    journal.remember_begun(0, begun)
    read = journal.begun(0)
    assert read is not None and np.array_equal(read.masked, begun.masked)  # type: ignore[arg-type]
    assert replace(read, masked=None) == replace(begun, masked=None)
    journal.remember(Aggregate(0, 1, np.zeros(2, np.int64), (), ((),)))
    assert journal.begun(0) is None
    assert journal.aggregate(0) is not None and journal.aggregate(0).void == ((),)  # type: ignore[union-attr]


def test_an_attempt_under_way_that_was_damaged_is_found(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    journal.remember_begun(0, BEGUN)
    path = journal.folder / "0000.begun"
    sound = path.read_bytes()
    for k in range(8, len(sound), 3):
        path.write_bytes(sound[:k] + bytes([sound[k] ^ 1]) + sound[k + 1 :])
        with pytest.raises(FederationError, match="E_RUN"):
            journal.begun(0)
    path.rename(journal.folder / "0001.begun")
    (journal.folder / "0001.begun").write_bytes(sound)
    with pytest.raises(FederationError, match="E_RUN"):
        journal.begun(1)


def test_attempts_that_an_older_version_began_count(tmp_path: Path) -> None:
    """It kept their number alone: none of them can be gone on with, and each may have been charged."""
    journal = begin(tmp_path)
    (journal.folder / "0000.attempts").write_bytes(b"2")
    assert journal.begun(0) == Begun(2, NOTHING, void=((), ()))
    with ExitStack() as stack:
        federation = Federation(FOUR, tmp_path, stack)
        outcome = run_study(FOUR, consents(FOUR), federation, journal)
        assert [(a.attempt, a.void) for a in outcome.answered] == [(2, ((), ()))]
        assert outcome.spent == with_attempts(FOUR, plan(FOUR), {"pairs": 2})


# The account


MANY = 400


@dataclass
class Voided(Federation):
    """Attempt 0 is given up: two of four will not confirm it. Tables are large enough for a release."""

    def codes(self, name: str) -> Codes:
        few = super().codes(name)
        values = np.tile(few.values, (MANY // 50, 1))
        return Codes(values, np.arange(len(values)), few.sizes)


@pytest.fixture
def voided(tmp_path: Path) -> Iterator[tuple[Federation, Outcome]]:
    with ExitStack() as stack:
        federation = Voided(FOUR, tmp_path, stack, contradicts=contradicting("i01", "i02"))
        yield federation, run_study(FOUR, consents(FOUR), federation, BriefJournal(0))


def test_every_attempt_is_charged_and_reported(voided: tuple[Federation, Outcome]) -> None:
    federation, outcome = voided
    reported, (phase,) = account(outcome), plan(FOUR).phases
    for institution in reported["institutions"]:
        assert [(a["attempt"], a["opened"]) for a in institution["answers"]] == [(0, False), (1, True)]
        ledger = federation.ledgers[institution["name"]]
        charged = [e.hash for e in ledger.entries()][-2:]
        assert [a["receipt"]["head"] for a in institution["answers"]] == charged
        assert ledger.spent("people", 1e-6).epsilon == reported["cost"]["epsilon"]
    twice = cost(repeated(phase.events, 2), 1e-6)
    assert reported["cost"]["epsilon"] == twice.epsilon > FOUR.privacy.epsilon
    assert reported["cost"]["check"] == twice.check  # by both accountants
    assert reported["guarantees"] == [g.document() for g in guarantees(FOUR, outcome.spent)]
    before = {g.adversary: g.cost.epsilon for g in guarantees(FOUR, plan(FOUR))}
    after = {g.adversary: g.cost.epsilon for g in guarantees(FOUR, outcome.spent)}
    assert all(after[a] > 1.2 * before[a] for a in before)
    assert after[WITH_ALL_OTHERS] == cost(repeated(phase.collusion_events, 2), 1e-6).epsilon
    (criterion,) = (c for c in gate.judge(outcome, np.zeros((1, 2), np.int16)).criteria if c.name == "budget")
    assert criterion.passed and f"{twice.epsilon:.4f} with 1 attempts that were given up" in criterion.value


def _lower(reported: dict[str, Any], manifest: dict[str, Any], ours: bool = True, theirs: bool = True) -> None:
    """Claim what an uninterrupted run would have cost."""
    claims = [g.document() for g in guarantees(FOUR, plan(FOUR))]
    if ours:
        reported |= {"guarantees": claims, "cost": {**reported["cost"], "epsilon": plan(FOUR).cost.epsilon}}
    if theirs:
        guarantee = {**manifest["guarantee"], "epsilon": plan(FOUR).cost.epsilon}
        manifest |= {"guarantees": claims, "guarantee": guarantee}


def _leave_out(reported: dict[str, Any]) -> None:
    for institution in reported["institutions"]:
        institution["answers"] = [a for a in institution["answers"] if a["opened"]]


def _claim(reported: dict[str, Any], manifest: dict[str, Any]) -> None:
    _lower(reported, manifest)


def _claim_in_the_manifest(reported: dict[str, Any], manifest: dict[str, Any]) -> None:
    _lower(reported, manifest, ours=False)


def _claim_in_the_account(reported: dict[str, Any], manifest: dict[str, Any]) -> None:
    _lower(reported, manifest, theirs=False)


def _claim_towards_one(reported: dict[str, Any], manifest: dict[str, Any]) -> None:
    manifest["guarantees"][-1]["epsilon"] = guarantees(FOUR, plan(FOUR))[-1].cost.epsilon


def _claim_at_another_delta(reported: dict[str, Any], manifest: dict[str, Any]) -> None:
    manifest["guarantee"]["delta"] = 1e-5


def _leave_out_and_claim(reported: dict[str, Any], manifest: dict[str, Any]) -> None:
    _leave_out(reported)
    _lower(reported, manifest)


def _renumber(reported: dict[str, Any], manifest: dict[str, Any]) -> None:
    _leave_out(reported)
    _lower(reported, manifest)
    for institution in reported["institutions"]:
        institution["answers"][0]["attempt"] = 0


def _call_both_opened(reported: dict[str, Any], manifest: dict[str, Any]) -> None:
    for institution in reported["institutions"]:
        institution["answers"][0]["opened"] = True


def _nobody_is_told_of(reported: dict[str, Any], manifest: dict[str, Any]) -> None:
    del manifest["guarantees"][0]


FORGED = {
    "claims less": _claim,
    "claims less in the manifest": _claim_in_the_manifest,
    "claims less in the account": _claim_in_the_account,
    "claims less towards one adversary": _claim_towards_one,
    "claims another delta": _claim_at_another_delta,
    "leaves the attempt out, and claims less": _leave_out_and_claim,
    "gives the second attempt the first one's number": _renumber,
    "says that both were opened": _call_both_opened,
    "leaves out an adversary": _nobody_is_told_of,
}


@pytest.fixture
def release(voided: tuple[Federation, Outcome], tmp_path: Path) -> Path:
    return write_release(voided[1], tmp_path / "release", seed=1)


def test_a_release_states_what_all_attempts_cost(release: Path, voided: tuple[Federation, Outcome]) -> None:
    manifest = load_release(release).manifest
    assert manifest["guarantee"]["epsilon"] == voided[1].spent.cost.epsilon > FOUR.privacy.epsilon
    page = (release / "report.html").read_text()
    assert f"Here ε (epsilon) is {math.ceil(1e4 * voided[1].spent.cost.epsilon) / 1e4:g}." in page
    assert "1 of the attempts at a round was given up" in page


@pytest.mark.parametrize("name", FORGED)
def test_an_account_that_leaves_an_attempt_out_is_not_verified(release: Path, tmp_path: Path, name: str) -> None:
    """Though the coordinator's own signature is genuine."""
    forged = tmp_path / "forged"
    shutil.copytree(release, forged)
    reported, manifest = (json.loads((forged / n).read_bytes()) for n in ("ledger.json", MANIFEST))
    FORGED[name](reported, manifest)
    (forged / "ledger.json").write_text(json.dumps(reported))
    (forged / MANIFEST).unlink()
    write_manifest(
        forged,
        {k: v for k, v in manifest.items() if k not in ("signature", "files", "key", "format", "kind")},
        load_or_create_key(home() / "coordinator.key"),
        manifest["kind"],
    )
    with pytest.raises(ReleaseError, match="E_RELEASE_TOUCHED"):
        load_release(forged)


# Where nobody may drop out there is no second attempt at all


@pytest.mark.parametrize("leg", ["advertise", "mask"])
def test_without_dropouts_a_round_has_one_attempt(tmp_path: Path, leg: Leg) -> None:
    with ExitStack() as stack:
        federation = Federation(study(3), tmp_path, stack)
        federation.ask()
        before = federation.charges()
        asked = federation.masks()._asking.request(federation.round(), b"", 1, leg)
        reported = federation.custodians["i00"].answer(wire.encode_request(asked))
        assert wire.refused(reported) == wire.Refusal("i00", "E_ROUND_ORDER")
        assert federation.charges() == before
