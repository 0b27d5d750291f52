"""A clock that was wrong can be amended, and nobody gains by it: not a coordinator, and not whoever sets the clock back."""

from __future__ import annotations

import ast
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest
from clocks import clock, day
from effort import examples
from enlisted import agree, identity, key_of, with_keys
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Boolean
from cohortium.data.schema import Schema
from cohortium.errors import LedgerError, StudyError, WireError
from cohortium.ledger.amendment import Amendment
from cohortium.ledger.format import FORMAT, NEWER
from cohortium.ledger.records import Approval, Charge
from cohortium.ledger.store import Ledger
from cohortium.privacy.accounting import Gaussian, composed
from cohortium.study.expiry import has_expired
from cohortium.study.generators import Sweep
from cohortium.study.study import Privacy, Study
from cohortium_client.custodian.agreements import withdraw
from cohortium_client.custodian.amending import amend
from cohortium_client.custodian.answerable import agreed_to, refusal, require_answerable
from cohortium_client.custodian.policy import Policy

STUDY = Study(
    name="law",
    schema=Schema(name="s", columns=(Boolean(name="a"), Boolean(name="b"))),
    privacy=Privacy(epsilon=1.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=with_keys("north", "south"),
)
LASTING: Mapping[str, int | None] = {"never": None, "early": 100, "late": 500, "far": 900}
STUDIES = {n: replace(STUDY, name=n, expires=None if d is None else day(d).date()) for n, d in LASTING.items()}
POLICY = Policy(epsilon_per_population=1000.0, repeatable=True)
NORTH = identity("north")
STEPS = st.one_of(
    st.tuples(st.just("amend"), st.just("never"), st.integers(0, 1000)),
    st.tuples(
        st.sampled_from(["sign", "sign", "charge", "charge", "withdraw"]),
        st.sampled_from([*STUDIES]),
        st.integers(0, 1000),
    ),
)


@dataclass
class Model:
    """What must hold, computed without any amendment: what was spent, and what has expired since it was signed."""

    spent: list[Gaussian] = field(default_factory=list)
    messages: dict[str, bytes] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)

    def saw(self, latest: datetime | None) -> None:
        for name in self.signed:
            if latest is not None and has_expired(STUDIES[name], latest):
                self.over.add(name)


def answers(ledger: Ledger, study: Study) -> bool:
    return agreed_to(ledger, study) and refusal(study, NORTH, POLICY, ledger) is None


def took(step: tuple[str, str, int], ledger: Ledger, model: Model, number: int) -> None:
    what, name, at = step
    study = STUDIES[name]
    with clock(day(at) + timedelta(minutes=number)):
        match what:
            case "sign":
                try:
                    require_answerable(study, NORTH, POLICY, ledger)
                except StudyError:
                    return
                agree(ledger, study)
                model.signed.add(name)
            case "charge":
                if answers(ledger, study):
                    assert name not in model.over
                    sent, cost = f"message {number}".encode(), Gaussian(4.0 + number)
                    digest = hashlib.sha256(sent).hexdigest()
                    charge = Charge("people", study.digest, f"{number:032x}", 0, 0, "aa" * 32, digest, (cost,), 1e-6)
                    ledger.charge(charge, sent)
                    model.spent.append(cost)
                    model.messages[charge.place] = sent
            case "withdraw":
                withdraw(study.digest, ledger)
            case _:
                try:
                    amend(ledger, NORTH, {s.digest: s for s in STUDIES.values()}, day(at).date())
                except LedgerError as error:
                    assert error.code == "E_CLOCK"


def said_again(ledger: Ledger, place: str) -> bytes | None:
    try:
        return ledger.sent(place)
    except WireError:
        return None


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(STEPS, max_size=14))
@example([("sign", "never", 0), ("charge", "never", 600), ("amend", "never", 10), ("charge", "never", 20)])
@example([("sign", "early", 0), ("sign", "never", 600), ("amend", "never", 10), ("charge", "early", 20)])
def test_whatever_clocks_do_spending_only_grows_and_nothing_expired_comes_back(
    steps: list[tuple[str, str, int]],
) -> None:
    """Also of a ledger that is opened anew; and what has not expired is answered, or an amendment would be of no use."""
    with TemporaryDirectory() as folder:
        path, model = Path(folder) / "l.sqlite", Model()
        with Ledger(path) as ledger:
            for number, step in enumerate(steps):
                took(step, ledger, model, number)
                model.saw(ledger.latest)
                assert ledger.events("people") == composed(model.spent)
        with Ledger(path) as ledger:
            ledger.verify()
            assert ledger.events("people") == composed(model.spent)
            for place, sent in model.messages.items():
                run = place.partition("/")[0]
                again = Charge("people", "", run, 0, 0, "bb" * 32, "", (), 1e-6)
                assert place in {c.place for c in ledger.charges()} and said_again(ledger, place) == sent
                with pytest.raises(WireError, match="E_REPLAY"):
                    ledger.answered(again)
            for at in (0, 100, 101, 500, 1001):
                with clock(day(at)):
                    for name, study in STUDIES.items():
                        latest = max(day(at), ledger.latest or day(at))
                        open_ = name not in model.over and not has_expired(study, latest)
                        assert (refusal(study, NORTH, POLICY, ledger) is None) == open_


# One amendment


@pytest.fixture
def ahead(tmp_path: Path) -> Iterator[Ledger]:
    """Entry 1 of day 0, entry 2 of day 600."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for at in (0, 600):
            with clock(day(at)):
                ledger.record(Approval("ab" * 32, f"{at:032x}"))
        yield ledger


def amendment(ledger: Ledger, **changes: object) -> Amendment:
    made = replace(Amendment(ledger.head(), (2,), day(10).date().isoformat(), ()), **changes)  # type: ignore[arg-type]
    return made.signed(key_of("north"))


def test_an_amended_moment_no_longer_says_what_time_it_is(ahead: Ledger) -> None:
    assert ahead.latest == day(600)
    with clock(day(10)):
        ahead.amended(amendment(ahead))
        assert (ahead.latest, ahead.ahead_of(day(10))) == (day(10), ())
    with Ledger(ahead.path) as again:
        assert (again.verify(), again.latest) == (3, day(10))


def test_an_amendment_is_signed_for_one_chain_and_day(ahead: Ledger) -> None:
    right, head = amendment(ahead), ahead.head()
    wrong = {
        "unsigned": replace(right, signature=""),
        "signed for another list": replace(right, kept=("ab" * 32,)),
        "signed by another": replace(right, key=amendment(ahead).key[:-4] + "0000"),
        "of another chain": amendment(ahead, head="00" * 32),
        "of another day": amendment(ahead, today=day(9).date().isoformat()),
        "of a moment behind the clock": amendment(ahead, entries=(1, 2)),
        "of an entry to come": amendment(ahead, entries=(2, 3)),
        "of no entry": amendment(ahead, entries=()),
    }
    with clock(day(10)):
        for what, one in wrong.items():
            with pytest.raises(LedgerError, match="E_CLOCK"):
                ahead.amended(one)
            assert ahead.head() == head, what
        ahead.amended(right)
        with pytest.raises(LedgerError, match="E_CLOCK"):
            ahead.amended(right)  # once is enough


def test_an_amendment_that_was_written_by_hand_breaks_the_chain(ahead: Ledger) -> None:
    """Whoever can write the file can make hashes, and no signature."""
    from cohortium.ledger import store as module

    forged = replace(amendment(ahead), signature="00" * 64)
    with clock(day(10)), ahead._transaction() as db:
        ahead._add(db, forged)
    with pytest.raises(LedgerError, match=r"E_LEDGER_CORRUPT.*entry 3"), module.Ledger(ahead.path) as again:
        again.verify()


def test_a_version_that_knows_no_amendments_refuses_the_file(ahead: Ledger) -> None:
    def version() -> int:
        with closing(sqlite3.connect(ahead.path)) as raw:
            return int(raw.execute("PRAGMA user_version").fetchone()[0])

    assert version() == FORMAT
    with clock(day(10)):
        ahead.amended(amendment(ahead))
    assert version() == NEWER


# Days, zones, and the hour that comes twice

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu")


@given(st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)), st.sampled_from(ZONES), st.integers(-1, 1))
def test_a_day_ends_when_it_ends_in_utc(moment: datetime, zone: str, days: int) -> None:
    utc = moment.replace(tzinfo=UTC)
    study = replace(STUDY, expires=utc.date() + timedelta(days=days))
    assert has_expired(study, utc.astimezone(ZoneInfo(zone))) == (days < 0)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows has no zones by process")
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("change", [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)])
def test_a_change_of_daylight_saving_time_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, change: datetime
) -> None:
    """In the hour that comes twice, or never, entries stay in order, and none is ahead of the next."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with Ledger(tmp_path / "l.sqlite") as ledger:
            for minutes in (-61, -1, 0, 1, 59, 61, 121):
                now = change + timedelta(minutes=minutes)
                with clock(now):
                    ledger.record(Approval("ab" * 32, "cd" * 16))
                    assert (ledger.latest, ledger.ahead_of(now)) == (now, ())
            moments = [e.at for e in ledger.entries()]
        assert moments == sorted(moments) and all(m.endswith("+00:00") for m in moments)
        assert has_expired(replace(STUDY, expires=date(2026, 3, 28)), change)
    finally:
        os.environ.pop("TZ", None)
        time.tzset()


NAIVE = {"utcnow", "utcfromtimestamp", "localtime", "mktime", "ctime", "tzset", "today"}


def test_no_moment_is_taken_without_its_zone() -> None:
    """``now()`` and ``fromtimestamp(x)`` without a zone, and all that goes by the machine's own, are in no code of the product."""
    root, found = Path(__file__).parents[2], []
    for path in (p for part in ("common", "client", "server", "simulation") for p in (root / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name, given_ = node.func.attr, len(node.args) + len(node.keywords)
                if name in NAIVE or (name == "now" and not given_) or (name == "fromtimestamp" and given_ < 2):
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []
