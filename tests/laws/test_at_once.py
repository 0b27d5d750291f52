"""Whoever begins at once with others: what is not there yet is made once, whole, and all use the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from visits import NAMES

from cohortium.errors import ReleaseError
from cohortium.ledger.location import home
from cohortium.ledger.receipt import Receipt
from cohortium.ledger.records import Consent, Withdrawal
from cohortium.ledger.store import Ledger
from cohortium.study.study import Study
from cohortium.system.files import make_once
from cohortium.system.keys import load_or_create_key, public_text
from cohortium_client.custodian.agreements import Agreements
from cohortium_client.custodian.custodian import consents_to
from cohortium_client.custodian.institution import init_institution
from cohortium_client.custodian.sessions import Sessions
from cohortium_server.membership.provisioning import provision
from cohortium_server.rounds.receipts import Receipts
from cohortium_simulation.experiment import simulate

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

MANY, TURNS = 6, 4
POLICY = {"epsilon_per_population": 10.0, "delta": 1e-6}


def key(place: Path, k: int) -> object:
    return public_text(load_or_create_key(place / "new" / "one.key"))


def ledger(place: Path, k: int) -> object:
    with Ledger(place / "l.sqlite") as opened:
        opened.record(Consent(f"{k:064x}", f"study {k}", 1))
        return opened.path.stat().st_mode & 0o777


def sessions(place: Path, k: int) -> object:
    opened = Sessions(place / "s.sqlite")
    opened.store(f"run{k}/0/0/mask", "asked", b"said")
    opened.close()
    return opened.path.stat().st_mode & 0o777


FEDERATION = '[federation]\nname = "f"\naddress = "127.0.0.1:9092"\n\n[[institution]]\nname = "a"\n'


def federation(place: Path, k: int) -> object:
    provision(place / "federation.toml", place / "fed")
    return (place / "fed" / "ca" / "root.crt").read_bytes()


def prepared(place: Path, emptied: bool) -> None:
    place.mkdir()
    (place / "federation.toml").write_text(FEDERATION)
    if emptied:  # what a version before left where it was stopped as it began
        (place / "l.sqlite").touch()
        (place / "s.sqlite").touch()


@pytest.mark.parametrize("make", [key, ledger, sessions, federation])
def test_what_many_begin_with_is_made_once(tmp_path: Path, make: Callable[[Path, int], object]) -> None:
    """By threads, each with descriptors of its own: names and locks make no difference between them and processes."""
    with ThreadPoolExecutor(MANY) as pool:
        for turn in range(TURNS if make is not federation else 1):
            place = tmp_path / str(turn)
            prepared(place, emptied=turn % 2 == 1)
            assert len(set(pool.map(partial(make, place), range(MANY)))) == 1
            assert not [p for p in place.iterdir() if p.is_dir() and p.name.startswith(".")]
    if make is ledger:
        with Ledger(place / "l.sqlite") as opened:
            assert opened.verify() == MANY


def test_whoever_comes_second_keeps_what_the_first_has_made(tmp_path: Path) -> None:
    """The second has seen that nothing is there, and is then held up until the first is done."""
    path = tmp_path / "made"

    def second(aside: Path) -> None:
        make_once(path, lambda first: first.write_text("first"))
        aside.write_text("second")

    make_once(path, second)
    assert path.read_text() == "first"


def test_a_study_that_two_sign_at_once_is_kept(tmp_path: Path, study: Study) -> None:
    kept = Agreements(tmp_path / "studies")
    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(lambda _: Agreements(tmp_path / "studies").keep(study), range(MANY)))
    assert list(kept) == [study.digest]


def test_of_two_who_make_an_institution_at_once_one_makes_all_of_it(tmp_path: Path) -> None:
    def made(name: str) -> str | None:
        try:
            return init_institution(tmp_path / "site", name, {"path": "t.csv"}, name, POLICY).identity.name
        except ReleaseError as error:
            assert error.code == "E_RELEASE_EXISTS"
            return None

    with ThreadPoolExecutor(MANY) as pool:
        names = [name for name in pool.map(made, [f"i{k}" for k in range(MANY)]) if name]
    assert len(names) == 1


def test_runs_side_by_side_keep_each_others_receipts(tmp_path: Path, study: Study) -> None:
    named = replace(
        study, institutions=tuple(replace(i, key=f"ed25519:{k:064x}") for k, i in enumerate(study.institutions))
    )
    first = named.institution_names[0]
    reported = [Receipt(first, f"{k:064x}", f"{k:064x}", f"{k:064x}", f"{k:0128x}") for k in range(Receipts.KEPT)]
    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(lambda r: Receipts(tmp_path / "r").remember(named, (r,)), reported))
    assert set(Receipts(tmp_path / "r").of(named)) == set(reported)


def test_two_simulations_of_one_name_at_once_both_end_with_a_release(
    study: Study, tables: Mapping[str, pd.DataFrame], tmp_path: Path
) -> None:
    """In a home where nothing is yet, and the second with another epsilon: a study of its own, under the same name."""
    studies = [replace(study, privacy=replace(study.privacy, epsilon=e)) for e in (1.0, 2.0, 2.0)]
    begin = threading.Barrier(len(studies))

    def simulated(k: int) -> str:
        begin.wait(60)
        return str(simulate(studies[k], tables, tmp_path / f"out{k}").manifest["run"])

    with ThreadPoolExecutor(len(studies)) as pool:
        runs = set(pool.map(simulated, range(len(studies))))
    assert len(runs) == len(studies)
    for name in NAMES:
        with Ledger(home() / "ledgers" / f"{name}.sqlite") as opened:
            assert {c.run for c in opened.charges()} == runs  # each was charged, and every charge is there


def test_a_simulated_study_stands_for_itself_until_it_is_withdrawn(study: Study, tmp_path: Path) -> None:
    one, other = replace(study, simulated=True, purpose="one"), replace(study, simulated=True, purpose="other")
    with Ledger(tmp_path / "l.sqlite") as opened:
        for each in (one, replace(other, serial=2)):
            opened.record(Consent(each.digest, each.name, each.serial))
        assert consents_to(opened, one) and consents_to(opened, replace(other, serial=2))
        assert not consents_to(opened, other)  # nobody has agreed to that
        opened.record(Withdrawal(one.digest))
        assert not consents_to(opened, one)


def test_no_other_study_stands_for_itself(study: Study, tmp_path: Path) -> None:
    """A federation's study is replaced by its next serial, whatever its custodian was given for it."""
    with Ledger(tmp_path / "l.sqlite") as opened:
        opened.record(Consent(study.digest, study.name, study.serial))
        assert not study.simulated and not consents_to(opened, study)
