"""A ledger's backup, and what it takes to put one back: two persons, and a presumption that is never too small."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
import tomli_w
from console import call, call_json
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dp_accounting.pld import common
from dp_accounting.pld import privacy_loss_distribution as pld
from effort import examples
from enlisted import key_of, refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from restorers import ANNE, BERT, CARL, DELTA, Place, by, load_toml

from cohortium.errors import BudgetError, CohortiumError, InputError, LedgerError, StudyError
from cohortium.federation import wire
from cohortium.ledger.backup import back_up
from cohortium.ledger.caps import Cap, Caps
from cohortium.ledger.format import FORMAT
from cohortium.ledger.location import pending
from cohortium.ledger.receipt import Receipt
from cohortium.ledger.records import GENESIS, Charge
from cohortium.ledger.restoration import (
    Presumption,
    Restoration,
    RestoreRequest,
    cost_after,
    read_request,
    write_request,
)
from cohortium.ledger.store import Ledger
from cohortium.privacy.accounting import Events, Gaussian, composed, cost, gaussian_epsilon, total_mu
from cohortium.study.plan import charged_in_all, plan
from cohortium.study.study import Study
from cohortium.system import failpoints
from cohortium.system.canonical import canonical_json, digest
from cohortium.system.keys import public_text
from cohortium_client.custodian.institution import FILE, load_institution, open_custodian
from cohortium_client.custodian.sessions import Sessions
from cohortium_client.restoring import draft, heads_of, restore

PLACES = ("backup read", "restore begun", "lost ledger aside", "ledger restored")


@contextmanager
def interrupted(at: str) -> Iterator[None]:
    """What is inside is interrupted at the failpoint ``at``, as by Ctrl-C."""

    def stop(place: str) -> None:
        if place == at:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(failpoints, "reached", stop)
        yield


def own(study: Study) -> float:
    return cost(charged_in_all(study), DELTA).epsilon


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "north")


@pytest.fixture
def lost(place: Place) -> tuple[Path, Receipt]:
    """One study answered, a backup, another study answered, and the ledger gone."""
    place.answered(place.sign(place.study("first")))
    backup = place.back_up()
    newest = place.answered(place.sign(place.study("second")))
    place.lose()
    return backup, newest


def refused(code: str, what: str = "") -> Any:
    return pytest.raises(CohortiumError, match=rf"{code}.*{what}")


# Backups


def test_a_backup_is_one_private_verified_file(place: Place) -> None:
    place.answered(place.sign(place.study()))
    out = place.folder.parent / "night.sqlite"
    document = call_json("ledger", "backup", "--ledger", place.path, "--out", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with Ledger(out) as copy, place.institution.ledger() as ledger:
        assert copy.verify() == document["entries"] == 2
        assert copy.head() == document["head"] == ledger.head()
        assert copy.entries() == ledger.entries()
    assert sorted(p.name for p in place.folder.parent.iterdir() if p.name.startswith(("night", "."))) == [
        "night.sqlite"
    ]


def test_a_backup_takes_no_files_place(place: Place) -> None:
    place.sign(place.study())
    out = place.back_up()
    before = out.read_bytes()
    place.sign(place.study("second"))
    assert "exists" in call_error("ledger", "backup", "--ledger", place.path, "--out", out, code=10)
    assert "exists" in call_error("ledger", "backup", "--ledger", place.path, "--out", place.path, code=10)
    assert out.read_bytes() == before


def test_a_backup_is_of_one_moment_while_others_write(tmp_path: Path) -> None:
    """Whole, a beginning of the ledger, however many entries are added meanwhile."""
    path, rounds = tmp_path / "ledger.sqlite", 60

    def write() -> None:
        with Ledger(path) as writer:
            for number in range(rounds):
                put(writer, (Gaussian(9.0),), f"{number:032x}")

    with Ledger(path) as ledger:
        put(ledger, (Gaussian(9.0),), "ff" * 16)
        thread = Thread(target=write)
        thread.start()
        copies = [back_up(ledger, tmp_path / f"{n}.sqlite") for n in range(8)]
        thread.join()
        assert len(ledger.entries()) == rounds + 1
        assert all(ledger.holds(c.head) for c in copies)
        for number, copy in enumerate(copies):
            with Ledger(tmp_path / f"{number}.sqlite") as opened:
                assert opened.entries() == ledger.entries()[: copy.entries]


def test_a_ledger_that_is_not_whole_is_not_backed_up(place: Place) -> None:
    place.answered(place.sign(place.study()))
    with sqlite3.connect(place.path) as raw:
        raw.execute("DROP TRIGGER messages_last")
        raw.execute("UPDATE message SET bytes = x'00'")
    raw.close()
    out = place.folder.parent / "night.sqlite"
    with refused("E_LEDGER_CORRUPT"), place.institution.ledger() as ledger:
        back_up(ledger, out)
    place.lose()
    with refused("E_LEDGER_ROLLED_BACK"), place.institution.ledger() as ledger:
        back_up(ledger, out)
    assert not out.exists()


def test_a_backup_of_nothing_is_refused(tmp_path: Path) -> None:
    assert "E_LEDGER_UNAVAILABLE" in call_error(
        "ledger", "backup", "--ledger", tmp_path / "none.sqlite", "--out", tmp_path / "out", code=14
    )
    assert list(tmp_path.iterdir()) == []


# Nothing is lost


def test_the_newest_backup_goes_back_without_anybodys_word(place: Place) -> None:
    """The same entries, the same spending, and an answer that was given is given again byte by byte."""
    study = place.sign(place.study())
    first = place.ask(study, "aa" * 16)
    Sessions(place.folder / "sessions.sqlite").secrets("aa" * 16)
    backup, before = place.back_up(), place.spent()
    place.path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    assert draft(place.institution, backup) is None
    assert not call_json("ledger", "restore", backup, "--institution", place.folder)["restored"]
    assert place.spent() == before
    assert place.ask(study, "aa" * 16) == first
    with place.institution.ledger() as ledger:
        assert ledger.presumed is None
        assert ledger.verify() == 2
    assert (place.folder / "ledger.sqlite.lost-1").read_bytes()[:16] == b"SQLite format 3\0"
    assert (place.folder / "sessions.sqlite").exists()


def test_a_log_of_the_lost_ledger_never_reaches_the_restored_one(place: Place) -> None:
    place.answered(place.sign(place.study()))
    backup = place.back_up()
    place.path.write_bytes(b"broken")
    log = place.folder / "ledger.sqlite-wal"
    log.write_bytes(b"a log of other pages")
    restore(place.institution, backup)
    assert not log.exists()
    assert (place.folder / "ledger.sqlite.lost-1-wal").read_bytes() == b"a log of other pages"


# Something may be lost: two persons


def test_an_older_backup_needs_two_persons(place: Place, lost: tuple[Path, Receipt]) -> None:
    backup, newest = lost
    with refused("E_RESTORE", "entries may be lost"):
        restore(place.institution, backup)
    request = place.draft(backup)
    stranger, custodian = key_of("stranger"), place.institution.identity.key
    for signers in ((), (ANNE,), (ANNE, ANNE), (ANNE, stranger), (ANNE, custodian), (stranger, custodian)):
        with refused("E_RESTORE", "restorers in institution.toml signed"):
            restore(place.institution, backup, by(request, *signers))
        assert not place.path.exists()
    restore(place.institution, backup, by(request, CARL, BERT))
    with place.institution.ledger() as ledger:
        assert ledger.verify() == 3
        entry = ledger.entries()[-1]
        assert isinstance(entry.record, Restoration)
        assert entry.record.request.lost == (newest.head,)
        assert set(entry.record.signers) == {public_text(CARL), public_text(BERT)}
        assert ledger.witness.read_text() == entry.hash


def test_a_forged_or_changed_signature_counts_for_nobody(place: Place, lost: tuple[Path, Receipt]) -> None:
    backup, _ = lost
    done = by(place.draft(backup), ANNE, BERT)
    more = replace(done.request, presumed=replace(done.request.presumed, epsilon=11.0))
    forged = {
        public_text(CARL): done.signatures[public_text(ANNE)],
        public_text(ANNE): done.signatures[public_text(ANNE)],
    }
    for touched in (Restoration(more, done.signatures), Restoration(done.request, forged)):
        with refused("E_RESTORE", "signed it, 2 are required"):
            restore(place.institution, backup, touched)


def test_a_lost_witness_is_a_loss_of_unknown_size(place: Place) -> None:
    place.answered(place.sign(place.study()))
    backup = place.back_up()
    place.lose()
    place.institution.witness.unlink()
    request = place.draft(backup)
    assert (request.witnessed, request.lost) == ("", ())
    place.restore(backup)
    assert place.spent() == 10.0


def test_a_witness_older_than_the_backup_proves_nothing(place: Place) -> None:
    """Both may come from an old copy of the folder."""
    place.sign(place.study())
    older = place.institution.witness.read_text()
    place.answered(place.study())
    backup = place.back_up()
    place.lose()
    place.institution.witness.write_text(older)
    assert place.draft(backup).lost == ()


def test_a_request_is_about_one_backup_and_one_loss(place: Place, lost: tuple[Path, Receipt]) -> None:
    backup, _ = lost
    done = by(place.draft(backup), ANNE, BERT)
    restore(place.institution, backup, done)
    place.policy(epsilon_per_population=20.0, delta=3e-6)
    place.answered(place.sign(place.study("third")))
    place.lose()
    with refused("E_RESTORE", "another backup or another state"):  # the first loss is not this one
        restore(place.institution, backup, done)


def test_a_request_is_about_one_backup(place: Place, lost: tuple[Path, Receipt]) -> None:
    backup, _ = lost
    put_back(place, backup)
    place.answered(place.sign(place.study("third")))
    other = place.back_up("other.sqlite")
    place.lose()
    place.institution.witness.write_text("77" * 32)
    for one, another in ((backup, other), (other, backup)):
        with refused("E_RESTORE", "another backup or another state"):
            restore(place.institution, another, by(place.draft(one), ANNE, BERT))


def test_a_request_ages_with_what_it_is_about(place: Place, lost: tuple[Path, Receipt]) -> None:
    backup, _ = lost
    done = by(place.draft(backup), ANNE, BERT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cohortium_client.restoring._witnessed", lambda _: "77" * 32)
        with refused("E_RESTORE", "another backup or another state"):
            restore(place.institution, backup, done)
    place.policy(epsilon_per_population=12.0)
    with refused("E_RESTORE", "presumes less"):
        restore(place.institution, backup, done)
    place.policy(epsilon_per_population=10.0, delta=2e-6)
    with refused("E_RESTORE", "presumes less"):
        restore(place.institution, backup, done)


def test_nobody_restores_under_a_custodian(place: Place, lost: tuple[Path, Receipt]) -> None:
    backup, _ = lost
    done = by(place.draft(backup), ANNE, BERT)
    other = Ledger(place.folder.parent / "other.sqlite")
    other.path = place.path
    other.hold()
    with refused("E_LEDGER_UNAVAILABLE"):
        restore(place.institution, backup, done)
    other.close()
    restore(place.institution, backup, done)


@pytest.mark.parametrize("keys", [[ANNE], [ANNE, ANNE]])
def test_restorers_are_at_least_two(place: Place, keys: list[Ed25519PrivateKey]) -> None:
    document = load_toml(place.folder / FILE) | {"restorers": [public_text(k) for k in keys]}
    (place.folder / FILE).write_text(tomli_w.dumps(document))
    with pytest.raises(InputError, match=r"E_INSTITUTION.*restorers.*two persons"):
        load_institution(place.folder)


def test_the_custodian_is_no_restorer(place: Place) -> None:
    keys = [public_text(ANNE), place.institution.identity.public]
    (place.folder / FILE).write_text(tomli_w.dumps(load_toml(place.folder / FILE) | {"restorers": keys}))
    with pytest.raises(InputError, match=r"E_INSTITUTION.*restorers"):
        load_institution(place.folder)


# What lies in the place


def test_a_sound_ledger_is_not_replaced(place: Place) -> None:
    place.answered(place.sign(place.study()))
    backup = place.back_up()
    for name in ("second", "third"):
        with refused("E_RESTORE", "sound"):
            draft(place.institution, backup)
        with refused("E_RESTORE", "sound"):
            restore(place.institution, backup)
        place.answered(place.sign(place.study(name)))


def old_copy_put_back(place: Place, studies: Sequence[str], back: int) -> tuple[Path, list[Receipt]]:
    """The ledger with all ``studies`` answered is backed up, then the copy with ``back`` of them put in its place."""
    copies, receipts = [], []
    for number, name in enumerate(studies):
        receipts.append(place.answered(place.sign(place.study(name))))
        copies.append(place.back_up(f"{number}.sqlite"))
    put_back(place, copies[back - 1])
    return copies[-1], receipts


def put_back(place: Place, copy: Path) -> None:
    """As somebody does who knows of the witness."""
    place.lose()
    place.path.write_bytes(copy.read_bytes())
    with Ledger(copy) as opened:
        place.institution.witness.write_text(opened.head())


def test_an_older_copy_that_was_put_back_gives_way_to_the_newer_backup(place: Place) -> None:
    newest, receipts = old_copy_put_back(place, ["first", "second"], 1)
    with refused("E_RESTORE", "entries may be lost"):  # the witness in the place is as old as the copy
        restore(place.institution, newest)
    request = place.restore(newest, [receipts[1].head]).request
    assert request.presumed == Presumption(10.0, DELTA, None)
    assert place.spent() == 10.0


def test_a_ledger_with_a_life_of_its_own_is_added(place: Place) -> None:
    """Two branches, of which one may have gone on within the cap and the other is known."""
    newest, _ = old_copy_put_back(place, ["first", "second"], 1)
    place.answered(place.sign(place.study("third", epsilon=2.0)))
    branch, branch_head = place.spent(), place.institution.witness.read_text()
    done = place.restore(newest)
    assert done.request.presumed == Presumption(10.0 + branch, 2 * DELTA, None)
    assert branch_head in done.request.lost
    assert place.study("third", epsilon=2.0).digest in done.request.studies
    assert place.ask(place.study("third", epsilon=2.0)) == refusal("E_RESTORED")


def test_a_copy_that_a_receipt_unmasks_goes_on_from_its_own_backup(place: Place) -> None:
    """Locally all is well; a coordinator shows a head the ledger lacks. Only then, and from no older backup."""
    _, receipts = old_copy_put_back(place, ["first", "second"], 1)
    third = place.sign(place.study("third"))
    lost = receipts[1]
    assert place.ask(third, receipts=(lost,)) == refusal("E_LEDGER_ROLLED_BACK")
    older = place.folder.parent / "0.sqlite"
    with refused("E_RESTORE", "holds all of the backup, and more"):
        draft(place.institution, older, [lost.head])
    spent, here = place.spent(), place.back_up("here.sqlite")
    assert place.restore(here, [lost.head]).request.presumed == Presumption(10.0 + spent, 2 * DELTA, None)
    place.policy(epsilon_per_population=20.0, delta=5e-6)
    fourth = place.sign(place.study("fourth"))
    assert wire.decode_answer(place.ask(fourth, receipts=(lost,)), plan(fourth).phase(0).query.width).receipt  # type: ignore[union-attr]


def test_receipts_of_lost_answers_are_accepted_if_they_were_named(place: Place) -> None:
    """The coordinator keeps showing them; one that nobody named still stops everything."""
    place.sign(place.study())
    backup = place.back_up()
    receipts = [place.answered(place.sign(place.study(name))) for name in ("second", "third", "fourth")]
    place.lose()
    kept = place.folder.parent / "receipts.json"
    foreign = replace(receipts[2], institution="south")
    forged = replace(receipts[2], signature="00" * 64)
    kept.write_bytes(canonical_json([asdict(r) for r in (*receipts[:2], foreign, forged)]))
    shown = heads_of(place.institution, kept)
    assert shown == [r.head for r in receipts[:2]]
    place.restore(backup, shown[:1])
    place.policy(epsilon_per_population=20.0, delta=3e-6)
    anew = place.sign(place.study("anew"))
    assert place.ask(anew, receipts=(receipts[0], receipts[1])) == refusal("E_LEDGER_ROLLED_BACK")
    reported = wire.decode_answer(place.ask(anew, receipts=(receipts[0], receipts[2])), plan(anew).phase(0).query.width)
    assert isinstance(reported, wire.Answer)  # named: the first by its receipt, the third by the witness


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"head": 1}]', '{"a": [', '[{"institution": "north"}]'])
def test_what_is_no_file_of_receipts_is_refused(place: Place, text: str) -> None:
    file = place.folder.parent / "receipts.json"
    file.write_text(text)
    if text == "{}":
        assert heads_of(place.institution, file) == []
    else:
        with refused("E_RESTORE", "no file of receipts"):
            heads_of(place.institution, file)


def test_a_ledger_of_a_later_version_is_not_taken_for_a_broken_one(place: Place, lost: tuple[Path, Receipt]) -> None:
    backup, _ = lost
    raw = sqlite3.connect(place.path)
    raw.execute("CREATE TABLE entry (number INTEGER)")
    raw.execute("PRAGMA user_version = 9")
    raw.close()
    with refused("E_VERSION"):
        draft(place.institution, backup)


# What is presumed


def test_the_cap_is_presumed_where_less_is_known(place: Place, lost: tuple[Path, Receipt]) -> None:
    backup, _ = lost
    place.restore(backup)
    assert place.spent() == 10.0
    with Ledger(place.path) as ledger:
        assert ledger.spent("patients", DELTA).check == 10.0
        assert ledger.spent("unknown to all", DELTA).epsilon == 10.0
        assert ledger.spent("patients", DELTA / 2).epsilon == math.inf
        assert ledger.spent("patients", 1.5 * DELTA).epsilon == 10.0


def test_what_the_backup_has_spent_is_presumed_where_it_is_more(place: Place, lost: tuple[Path, Receipt]) -> None:
    """The cap was made smaller than what had been spent."""
    backup, _ = lost
    place.policy(epsilon_per_population=0.25)
    assert place.draft(backup).presumed.epsilon == own(place.study()) > 0.25


def test_more_may_be_stated_and_never_less(place: Place, lost: tuple[Path, Receipt]) -> None:
    """A cap that was made smaller since is known to the persons only."""
    backup, _ = lost
    with refused("E_RESTORE", "at least epsilon 10"):
        place.draft(backup, epsilon=9.99)
    place.restore(backup, epsilon=15.0)
    assert place.spent() == 15.0


def test_after_a_restoration_nothing_is_answered_until_the_cap_allows_it(
    place: Place, lost: tuple[Path, Receipt]
) -> None:
    backup, _ = lost
    place.restore(backup)
    study = place.study("anew")
    for rules in ({}, {"epsilon_per_population": 11.5}, {"delta": 2 * DELTA}):
        place.policy(**{"epsilon_per_population": 10.0, "delta": DELTA} | rules)
        place.sign(study)
        assert place.ask(study) == refusal("E_BUDGET")
    place.policy(epsilon_per_population=10.0 + own(study) * (1 + 1e-6), delta=2 * DELTA * (1 + 1e-9))
    place.answered(study)
    assert place.spent(2 * DELTA) == pytest.approx(10.0 + own(study), rel=1e-9)
    assert place.ask(place.sign(place.study("another"))) == refusal("E_BUDGET")


def test_without_a_cap_nothing_bounds_what_all_others_may_have_learned(
    place: Place, lost: tuple[Path, Receipt]
) -> None:
    backup, _ = lost
    with refused("E_RESTORE", "no cap epsilon_if_all_collude held"):
        place.draft(backup, bare=100.0)
    place.restore(backup)
    assert place.spent_if_all_collude(3 * DELTA) == math.inf
    place.policy(epsilon_per_population=50.0, delta=5 * DELTA)
    study = place.sign(place.study("anew"))
    place.policy(epsilon_if_all_collude=90.0)
    assert place.ask(study) == refusal("E_BUDGET")


def test_with_a_cap_it_is_presumed_too(tmp_path: Path) -> None:
    place = Place(tmp_path / "north", epsilon_if_all_collude=14.0)
    place.answered(place.sign(place.study()))
    backup = place.back_up()
    place.answered(place.sign(place.study("second")))
    place.lose()
    with refused("E_RESTORE", "14"):
        place.draft(backup, bare=13.0)
    place.restore(backup, bare=16.0)
    assert (place.spent(), place.spent_if_all_collude()) == (10.0, 16.0)
    place.policy(epsilon_per_population=30.0, epsilon_if_all_collude=17.2, delta=2.5 * DELTA)
    place.answered(place.sign(place.study("third")))
    assert place.ask(place.sign(place.study("fourth"))) == refusal("E_BUDGET")


def test_two_restorations_do_not_forget_the_first(place: Place, lost: tuple[Path, Receipt]) -> None:
    backup, _ = lost
    place.restore(backup)
    place.policy(epsilon_per_population=12.0, delta=3 * DELTA)
    place.answered(place.sign(place.study("third")))
    second = place.back_up("second.sqlite")
    spent = place.spent(3 * DELTA)
    assert 10.0 < spent < 12.0
    place.answered(place.sign(place.study("fourth", epsilon=0.5)))
    place.lose()
    place.policy(epsilon_per_population=10.0)
    assert place.draft(second).presumed.epsilon == spent
    place.policy(epsilon_per_population=12.0, delta=DELTA)  # at which nobody knows what was spent
    with refused("E_RESTORE", "nothing bounds"):
        place.draft(second)
    place.policy(delta=3 * DELTA)
    place.restore(second)
    assert place.spent(3 * DELTA) == 12.0


def some_events(*rates: float) -> st.SearchStrategy[Events]:
    one = st.builds(Gaussian, st.sampled_from([2.0, 4.5, 20.0]), st.sampled_from(rates), st.integers(1, 3))
    return st.lists(one, min_size=1, max_size=3).map(tuple)


WHOLE, SAMPLED = some_events(1.0), some_events(1.0, 0.2)


@settings(max_examples=examples(12))
@given(st.lists(WHOLE, min_size=1, max_size=4), st.data())
def test_spending_is_never_under_reported(answers: list[Events], data: st.DataObject) -> None:
    """Whatever was answered before and after a backup within the cap, then lost, then answered again: at least that."""
    cap, larger = Cap(5.0, DELTA), Cap(50.0, 1e-5)
    true: list[Gaussian] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        kept = data.draw(st.integers(0, len(answers)))
        with Ledger(folder / "old.sqlite") as ledger:
            for number, events in enumerate(answers):
                if number == kept:
                    back_up(ledger, folder / "backup.sqlite")
                try:
                    put(ledger, events, f"{number:032x}", Caps(cap))
                    true += events
                except BudgetError:
                    continue
            if kept == len(answers):
                back_up(ledger, folder / "backup.sqlite")
        with Ledger(folder / "backup.sqlite") as ledger:
            least = max(cap.epsilon, ledger.spent("people", DELTA).epsilon)
            ledger.restored(restoration(ledger, Presumption(least, DELTA, None)))
            for number, events in enumerate(data.draw(st.lists(WHOLE, max_size=2))):
                put(ledger, events, f"{99 - number:032x}", Caps(larger))
                true += events
            for delta in (3 * DELTA, 1e-5):
                assert ledger.spent("people", delta).epsilon >= cost(true, delta).epsilon * (1 - 1e-9)


@settings(max_examples=examples(12))
@given(st.floats(0.0, 12.0), SAMPLED, st.sampled_from([2 * DELTA, 1e-5]))
def test_the_sum_is_above_what_the_worst_mechanism_and_the_events_compose_to(
    epsilon: float, events: Events, delta: float
) -> None:
    """Against privacy loss distributions: the mechanism that every (epsilon, delta)-private one is a blurring of."""
    reported = cost_after(epsilon, DELTA, events, delta)
    worst = pld.from_privacy_parameters(common.DifferentialPrivacyParameters(epsilon, DELTA), 1e-3)
    for e in composed(events):
        one = pld.from_gaussian_mechanism(
            e.noise_multiplier, sampling_prob=e.sampling_rate, value_discretization_interval=1e-3
        )
        worst = worst.compose(one.self_compose(e.count))
    assert reported.epsilon >= worst.get_epsilon_for_delta(delta) - 0.02 * epsilon - 2e-2  # its grid rounds up
    later = cost(events, delta - DELTA)
    assert reported.epsilon == pytest.approx(epsilon + later.epsilon)
    assert reported.check == pytest.approx(epsilon + later.check)


def test_the_events_have_what_is_left_of_delta(place: Place) -> None:
    """Not all of it: an infinite epsilon where nothing is left, and a larger one than at the whole delta."""
    events = (Gaussian(2.0),)
    assert cost_after(3.0, DELTA, events, DELTA).epsilon == math.inf
    assert cost_after(3.0, DELTA, (), DELTA).epsilon == 3.0
    assert cost_after(3.0, DELTA, (), DELTA * 0.999).epsilon == math.inf
    at_all = gaussian_epsilon(total_mu(events), 1.5 * DELTA * 0.999)
    assert cost_after(3.0, DELTA, events, 1.5 * DELTA).epsilon > 3.0 + at_all + 0.1


def test_what_was_affordable_before_is_looked_at_again(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        caps = Caps(Cap(50.0, 1e-5))
        ledger.afford("people", "aa" * 32, (Gaussian(1.0, 1.0, 10),), caps)
        ledger.restored(restoration(ledger, Presumption(49.5, DELTA, None)))
        with pytest.raises(BudgetError):
            ledger.afford("people", "aa" * 32, (Gaussian(1.0, 1.0, 9),), caps)


def put(ledger: Ledger, events: Events, run: str, caps: Caps | None = None) -> None:
    message = run.encode()
    charge = Charge("people", "aa" * 32, run, 0, 0, digest(run), hashlib.sha256(message).hexdigest(), events, DELTA)
    ledger.charge(charge, message, caps or Caps())


def restoration(ledger: Ledger, presumed: Presumption, *keys: Ed25519PrivateKey) -> Restoration:
    request = RestoreRequest(
        "north", public_text(key_of("north")), "people", ledger.head(), len(ledger.entries()), "", (), (), presumed
    )
    return by(request, *(keys or (ANNE, BERT)))


# What may have been answered is answered no more


def test_no_study_of_before_is_answered(place: Place, lost: tuple[Path, Receipt]) -> None:
    """Neither one that the backup knows, nor one whose consent was lost with its answer; not even the same run again."""
    backup, _ = lost
    place.restore(backup)
    place.policy(epsilon_per_population=90.0, delta=5 * DELTA, repeatable=True)
    for name in ("first", "second"):
        study = place.study(name)
        assert place.ask(study) == refusal("E_RESTORED")
        assert place.ask(study, f"{1:032x}") == place.ask(study, f"{2:032x}") == refusal("E_RESTORED")
        with pytest.raises(StudyError, match="E_RESTORED"):
            place.sign(study)
        assert place.ask(study) == refusal("E_RESTORED")
        place.answered(place.sign(place.study(name, serial=2)))


def test_who_checks_first_sees_why(place: Place, lost: tuple[Path, Receipt]) -> None:
    place.restore(lost[0])
    output = call("institution", "check", place.folder, code=1)
    assert output.count("FAIL study 'first', serial 1: policy: E_RESTORED") == 1
    assert "at a larger delta: the ledger was restored" in output  # why the budget does not suffice either


def test_a_withdrawal_that_was_lost_stays_one(place: Place) -> None:
    study = place.sign(place.study())
    backup = place.back_up()
    call("institution", "withdraw", place.folder, study.digest[:12])
    place.lose()
    place.restore(backup)
    place.policy(epsilon_per_population=90.0, delta=5 * DELTA)
    assert place.ask(study) == refusal("E_RESTORED")


def test_masks_of_runs_under_way_are_forgotten(place: Place, lost: tuple[Path, Receipt]) -> None:
    """Nothing can be masked again as it was: neither the secrets are there nor what was said with them."""
    sessions = place.institution.sessions()
    before = sessions.secrets("ab" * 16)
    sessions.store("ab/0/0/advertise", "asked", b"said")
    sessions.close()
    place.restore(lost[0])
    assert not list(place.folder.glob("sessions.sqlite*")) and not place.institution.sessions_witness.exists()
    again = place.institution.sessions()
    assert again.secrets("ab" * 16) != before
    assert again.statement("ab/0/0/advertise") is None


# The chain


@pytest.mark.parametrize("keys", [(ANNE,), (ANNE, ANNE)])
def test_a_restoration_of_one_is_none(tmp_path: Path, keys: tuple[Ed25519PrivateKey, ...]) -> None:
    """Neither written, nor read where somebody wrote it by hand, with all hashes right."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        put(ledger, (Gaussian(5.0),), "aa" * 16)
        alone = restoration(ledger, Presumption(0.0, DELTA, None), *keys)
        with refused("E_RESTORE"):
            ledger.restored(alone)
        head = ledger.head()
    write_by_hand(path, alone, 2, head)
    with refused("E_LEDGER_CORRUPT", "entry 2"), Ledger(path) as ledger:
        ledger.verify()


def test_a_restoration_stands_where_it_was_signed_for(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        elsewhere = restoration(ledger, Presumption(0.0, DELTA, None))
        put(ledger, (Gaussian(5.0),), "aa" * 16)
        with refused("E_RESTORE", "another backup"):
            ledger.restored(elsewhere)
        head = ledger.head()
    write_by_hand(path, elsewhere, 2, head)
    with refused("E_LEDGER_CORRUPT", "entry 2"), Ledger(path) as ledger:
        ledger.verify()


def write_by_hand(path: Path, record: Restoration, number: int, previous: str) -> None:
    content, at = asdict(record), "2026-01-01T00:00:00+00:00"
    fields = {
        "format": FORMAT,
        "number": number,
        "at": at,
        "previous": previous,
        "kind": "restoration",
        "content": content,
    }
    with sqlite3.connect(path) as raw:
        values = (number, "restoration", canonical_json(content).decode(), None, at, previous, digest(fields))
        raw.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    raw.close()


def test_a_restored_ledger_says_so_to_older_versions(place: Place, lost: tuple[Path, Receipt]) -> None:
    """One that knows no restorations refuses the file by its format instead of reading too small a spending."""
    raw = sqlite3.connect(lost[0])
    assert raw.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    place.restore(lost[0])
    raw = sqlite3.connect(place.path)
    assert raw.execute("PRAGMA user_version").fetchone() != (FORMAT,)
    raw.close()


def test_the_ledger_before_the_restoration_is_rolled_back(place: Place, lost: tuple[Path, Receipt]) -> None:
    place.restore(lost[0])
    place.lose()
    place.path.write_bytes(lost[0].read_bytes())
    with refused("E_LEDGER_ROLLED_BACK"), place.institution.ledger():
        pass


# Broken off


@pytest.mark.parametrize("place_name", PLACES)
@pytest.mark.parametrize("two", [True, False])
def test_a_restore_that_is_broken_off_is_nothing_or_is_finished(place: Place, place_name: str, two: bool) -> None:
    """In between no ledger is opened: not the lost one, not half a new one, and none is begun anew."""
    place.answered(place.sign(place.study()))
    backup = place.back_up()
    if two:
        place.answered(place.sign(place.study("second")))
    place.path.write_bytes(b"broken")
    done = by(place.draft(backup), ANNE, BERT) if two else None

    with interrupted(place_name):
        restore(place.institution, backup, done)
    if place_name == "backup read":
        assert place.path.read_bytes() == b"broken"
        assert not pending(place.path).exists()
    if place_name != "ledger restored":
        with pytest.raises(LedgerError), place.institution.ledger():
            pass
        made_of = restore(place.institution, backup, done)
        assert made_of.restored is two
    with place.institution.ledger() as ledger:
        assert ledger.verify() == (3 if two else 2)
        assert (ledger.presumed is not None) is two
    assert (place.folder / "ledger.sqlite.lost-1").read_bytes() == b"broken"
    assert not [p for p in place.folder.iterdir() if p.name.startswith(".") or "restoring" in p.name]


@pytest.mark.parametrize("place_name", ["restore begun", "lost ledger aside"])
def test_while_a_ledger_is_replaced_nobody_opens_the_old_one_or_begins_another(place: Place, place_name: str) -> None:
    """The old one could be opened, and without a witness an empty one be begun."""
    newest, _ = old_copy_put_back(place, ["first", "second"], 1)
    place.institution.witness.unlink()
    done = by(place.draft(newest), ANNE, BERT)

    with interrupted(place_name):
        restore(place.institution, newest, done)
    with refused("E_LEDGER_UNAVAILABLE", "broken off"):
        open_custodian(place.folder)
    restore(place.institution, newest)
    assert place.spent() == 10.0


def test_a_backup_that_is_none_changes_nothing(place: Place, lost: tuple[Path, Receipt], tmp_path: Path) -> None:
    (place.folder / "ledger.sqlite.lock").touch()
    before = sorted(place.folder.iterdir())
    for content in (b"", b"not a ledger" * 1000, lost[0].read_bytes()[:9000]):
        wrong = tmp_path / "wrong.sqlite"
        wrong.write_bytes(content)
        with refused("E_(LEDGER_UNAVAILABLE|LEDGER_CORRUPT|RESTORE)"):
            restore(place.institution, wrong)
    assert sorted(place.folder.iterdir()) == before


# The request's file


@settings(max_examples=examples(15))
@given(
    st.text(max_size=20),
    st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=3).map(tuple),
    st.floats(0, 1e6),
    st.one_of(st.none(), st.floats(0, 1e6)),
)
def test_a_request_is_read_as_it_was_written(
    name: str, heads: tuple[str, ...], epsilon: float, bare: float | None
) -> None:
    presumed = Presumption(epsilon, DELTA, bare)
    request = RestoreRequest(name, "ed25519:" + "00" * 32, name, GENESIS, 3, "", heads, heads, presumed)
    done = by(request, ANNE, CARL)
    with TemporaryDirectory() as folder:
        write_request(Path(folder) / "request.json", done)
        assert read_request(Path(folder) / "request.json") == done
    assert set(done.signers) == {public_text(ANNE), public_text(CARL)}


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("format"),
        lambda d: d.update(format="cohortium-restore-2"),
        lambda d: d.update(more=1),
        lambda d: d["request"].pop("backup"),
        lambda d: d["request"].update(rows=3),
        lambda d: d["request"]["presumed"].update(epsilon="10"),
        lambda d: d["request"]["presumed"].update(epsilon=-1.0),
        lambda d: d["request"]["presumed"].update(epsilon=None),
        lambda d: d["request"]["presumed"].update(delta=0.0),
        lambda d: d.update(signatures=[]),
    ],
)
def test_what_is_no_request_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        write_request(tmp_path / "request.json", restoration(ledger, Presumption(1.0, DELTA, 2.0)))
    document = json.loads((tmp_path / "request.json").read_text())
    change(document)
    (tmp_path / "request.json").write_text(json.dumps(document))
    with refused("E_RESTORE", "no request"):
        read_request(tmp_path / "request.json")


# As people do it


def call_error(*arguments: object, code: int) -> str:
    from console import runner

    from cohortium.cli import build

    result = runner.invoke(build(), [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_the_story_of_a_lost_disk(place: Place, tmp_path: Path) -> None:
    keys = [tmp_path / "anne.key", tmp_path / "bert.key"]
    public = [call_json("ledger", "restorer-key", "--out", key)["public"] for key in keys]
    (place.folder / FILE).write_text(tomli_w.dumps(load_toml(place.folder / FILE) | {"restorers": public}))
    place.answered(place.sign(place.study()))
    backup, request = tmp_path / "night.sqlite", tmp_path / "request.json"
    call("ledger", "backup", "--ledger", place.path, "--out", backup)
    place.answered(place.sign(place.study("second")))
    place.lose()
    assert "E_LEDGER_ROLLED_BACK" in call_error("ledger", "show", "--ledger", place.path, code=14)
    assert "E_RESTORE" in call_error("ledger", "restore", backup, "--institution", place.folder, code=14)
    call("ledger", "request-restore", backup, "--institution", place.folder, "--out", request)
    for number, key in enumerate(keys):
        refused_by = call_error(
            "ledger", "restore", backup, "--institution", place.folder, "--request", request, code=14
        )
        assert f"{number} of the restorers" in refused_by
        output = call("ledger", "sign-restore", request, "--key", key)
        assert "epsilon 10 at delta 1e-06" in output and "without any bound if all" in output
    call("ledger", "restore", backup, "--institution", place.folder, "--request", request)
    (account,) = call_json("ledger", "show", "--ledger", place.path)["ledgers"]  # type: ignore[misc]
    assert (account["epsilon"], account["epsilon_bare"], account["answers"]) == (10.0, None, 1)  # type: ignore[index]
    assert account["presumed"] == {"epsilon": 10.0, "delta": 1e-6, "bare": None}  # type: ignore[index]
    shown = call("ledger", "show", "--ledger", place.path)
    assert "was restored on" in shown and "no bound" in shown
    call("ledger", "verify", "--ledger", place.path)
    call("ledger", "export", "--ledger", place.path, "--out", tmp_path / "audit.jsonl")
    last = json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[-1])
    assert last["kind"] == "restoration" and set(last["record"]["signatures"]) == set(public)
    assert "E_RESTORE" in call_error(
        "ledger", "restore", backup, "--institution", place.folder, "--request", request, code=14
    )


def test_before_any_answer_a_preview_says_that_nothing_is_bounded(place: Place, lost: tuple[Path, Receipt]) -> None:
    place.restore(lost[0])
    from cohortium.study.study import dumps_schema, dumps_study

    study = place.study("anew")
    (place.folder.parent / "schema.toml").write_text(dumps_schema(study.schema))
    (place.folder.parent / "study.toml").write_text(dumps_study(study))
    here = call_json("institution", "preview", place.folder, place.folder.parent / "study.toml")["here"]
    assert (here["spent"], here["spent_afterwards"]) == (10.0, None)  # type: ignore[index]
    assert "no bound" in call("institution", "preview", place.folder, place.folder.parent / "study.toml")
