"""An institution's folder: made whole or not at all, read strictly, and what its custodian is opened from."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from enlisted import answer, key_of, refusal, with_keys
from institution_folder import CANARY, POLICY, made

from cohortium.data.columns import Boolean
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError, InputError, LedgerError, PolicyError, ReleaseError, SecretError
from cohortium.federation import wire
from cohortium.ledger.store import Ledger
from cohortium.study import consent
from cohortium.study.generators import Sweep
from cohortium.study.study import Institution as Named
from cohortium.study.study import Privacy, Study
from cohortium.system.keys import public_text
from cohortium_client.custodian.agreements import agree
from cohortium_client.custodian.institution import Institution, init_institution, load_institution, open_custodian


def test_a_folder_is_made_and_read(tmp_path: Path) -> None:
    institution = made(tmp_path / "north")
    read = load_institution(tmp_path / "north")
    assert (read.file, read.policy) == (institution.file, institution.policy)
    assert read.identity.public == institution.identity.public
    assert (institution.identity.name, institution.file.population.name) == ("north", "patients")
    assert institution.policy.epsilon_per_population == 10.0
    assert not institution.policy.repeatable
    assert institution.socket == tmp_path / "north" / "custodian.sock"
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "north").iterdir() if p.name != "table.csv"}
    assert modes == {"institution.toml": 0o600, "policy.toml": 0o600, "institution.key": 0o600}


def test_a_key_is_an_institutions_own_and_stays(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    assert one.identity.public != two.identity.public
    assert load_institution(tmp_path / "one").identity.public == one.identity.public


@pytest.mark.parametrize("name", ["institution.toml", "policy.toml", "institution.key"])
def test_a_folder_that_is_an_institutions_is_not_made_anew(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "north"
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(ReleaseError, match=f"E_RELEASE_EXISTS.*{name}"):
        made(folder)
    assert (folder / name).read_text() == "mine"
    assert {p.name for p in folder.iterdir()} == {name, "table.csv"}


@pytest.mark.parametrize(
    ("name", "source", "policy", "error"),
    [
        ("north/south", {"path": "t.csv"}, POLICY, InputError),
        ("", {"path": "t.csv"}, POLICY, InputError),
        ("north", {}, POLICY, InputError),
        ("north", {"path": "t.csv", "oops": 1}, POLICY, InputError),
        ("north", {"path": "t.csv"}, {}, PolicyError),
        ("north", {"path": "t.csv"}, {"epsilon_per_population": -1.0}, PolicyError),
    ],
)
def test_what_is_wrong_is_reported_before_anything_is_made(
    tmp_path: Path, name: str, source: dict[str, Any], policy: dict[str, Any], error: type[CohortiumError]
) -> None:
    with pytest.raises(error):
        init_institution(tmp_path / "new", name, source, "patients", policy)
    assert not (tmp_path / "new").exists()
    assert init_institution(tmp_path / "new", "north", {"path": "t.csv"}, "patients", POLICY).identity.name == "north"


SOUND: dict[str, Any] = {"name": "north", "source": {"path": "table.csv"}, "population": {"name": "patients"}}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": None}, "name"),
    "a name that is a path": ({"name": "../north"}, "name"),
    "a name that ends a line": ({"name": "north\n"}, "name"),
    "no source": ({"source": None}, "source"),
    "a source of nothing": ({"source": {}}, ""),
    "no population": ({"population": None}, "population"),
    "a population without a name": ({"population": {}}, "population"),
    "a population of an empty name": ({"population": {"name": ""}}, "population.name"),
    "a cap in the wrong file": ({"population": {"name": "p", "cap": 3.0}}, "population.cap"),
    "a misspelt word": ({"leger": "x"}, "leger"),
    "a user by name": ({"relay_uid": "relay"}, "relay_uid"),
    "a user below zero": ({"relay_uid": -1}, "relay_uid"),
    "true for a user": ({"relay_uid": True}, "relay_uid"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_by_its_place(tmp_path: Path, what: str) -> None:
    changes, place = WRONG[what]
    made(tmp_path / "north")
    document = {k: v for k, v in (SOUND | changes).items() if v is not None}
    (tmp_path / "north" / "institution.toml").write_text(tomli_w.dumps(document))
    with pytest.raises(CohortiumError) as caught:
        load_institution(tmp_path / "north")
    assert caught.value.code in {"E_INSTITUTION", "E_SOURCE"}
    assert place in caught.value.where


@pytest.mark.parametrize(
    ("name", "error"),
    [("institution.toml", InputError), ("policy.toml", InputError), ("institution.key", SecretError)],
)
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str, error: type[CohortiumError]) -> None:
    made(tmp_path / "north")
    (tmp_path / "north" / name).unlink()
    with pytest.raises(error, match=name):
        load_institution(tmp_path / "north")
    assert not (tmp_path / "north" / name).exists()  # above all no new key


def test_bad_input_47_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "north")
    for mode in (0o640, 0o604, 0o622, 0o644):
        (tmp_path / "north" / "institution.key").chmod(mode)
        with pytest.raises(SecretError, match="E_SECRET"):
            load_institution(tmp_path / "north")


# What its custodian answers


def signed(institution: Institution) -> tuple[Study, dict[str, str]]:
    named = (Named(name="north", key=institution.identity.public), *with_keys("south"))
    study = Study(
        name="opened",
        schema=Schema(columns=(Boolean(name="a", nullable=True), Boolean(name="b", nullable=True))),
        privacy=Privacy(epsilon=2.0, delta=1e-6),
        generator=Sweep(components=10),
        institutions=named,
    )
    with institution.ledger() as ledger:
        ours = agree(study, institution.identity, institution.policy, ledger, institution.agreements)
    return study, {"north": ours, "south": consent.sign(study, "south", key_of("south"))}


def asked(study: Study, signatures: dict[str, str], run: str = "ab" * 16) -> bytes:
    return wire.encode_request(wire.Request(study.digest, run, 0, 0, b"", signatures))


def test_a_folder_is_answered_from_by_what_its_files_say(tmp_path: Path) -> None:
    institution = made(tmp_path / "north")
    study, signatures = signed(institution)
    behind = open_custodian(tmp_path / "north")
    reported = answer(behind.answer(asked(study, signatures)), study)
    assert reported.receipt.is_of(institution.identity.public)
    assert public_text(behind.identity.key) == institution.identity.public
    assert behind.answer(asked(study, signatures, "cd" * 16)) == refusal("E_ANSWERED")  # it is not repeatable
    with Ledger(tmp_path / "north" / "ledger.sqlite") as ledger:
        assert ledger.populations() == ["patients"]


def test_bad_input_41_a_folder_has_one_custodian(tmp_path: Path) -> None:
    made(tmp_path / "north")
    first = open_custodian(tmp_path / "north")
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        open_custodian(tmp_path / "north")
    assert first.identity.name == "north"


def test_bad_input_41_a_folder_whose_ledger_is_gone_is_not_opened(tmp_path: Path) -> None:
    """Not on a first run: there is a consent, and a witness of it."""
    institution = made(tmp_path / "north")
    signed(institution)
    for file in (tmp_path / "north").glob("ledger.sqlite*"):
        if file.suffix != ".head":
            file.unlink()
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        open_custodian(tmp_path / "north")
    assert not (tmp_path / "north" / "ledger.sqlite").exists()


def test_a_witness_may_lie_elsewhere(tmp_path: Path) -> None:
    institution = made(tmp_path / "north")
    (tmp_path / "elsewhere").mkdir()
    document = SOUND | {"witness": "../elsewhere/head", "ledger": "books/north.sqlite"}
    (tmp_path / "north" / "institution.toml").write_text(tomli_w.dumps(document))
    institution = load_institution(tmp_path / "north")
    signed(institution)
    with institution.ledger() as ledger:
        assert (tmp_path / "elsewhere" / "head").read_text() == ledger.head()
        assert ledger.path == tmp_path / "north" / "books" / "north.sqlite"


def test_a_table_that_is_gone_is_a_code(tmp_path: Path) -> None:
    institution = made(tmp_path / "north")
    study, signatures = signed(institution)
    (tmp_path / "north" / "table.csv").unlink()
    assert open_custodian(tmp_path / "north").answer(asked(study, signatures)) == refusal("E_CUSTODIAN")


def test_a_table_without_the_studys_columns_is_a_code(tmp_path: Path) -> None:
    institution = made(tmp_path / "north")
    study, signatures = signed(institution)
    (tmp_path / "north" / "table.csv").write_text(f"a,note\nTrue,{CANARY}\n")
    reported = open_custodian(tmp_path / "north").answer(asked(study, signatures))
    assert reported == refusal("E_CUSTODIAN")
