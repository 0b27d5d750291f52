"""What an institution has agreed to: the folder says what a study is, the ledger whether it holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from effort import examples
from enlisted import agree as consented
from enlisted import answer, custodian, identity, key_of, refusal, request, with_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Boolean
from cohortium.data.encoding import Codes
from cohortium.data.schema import Schema
from cohortium.errors import LedgerError, PolicyError, StudyError
from cohortium.ledger.records import Approval, Consent, Withdrawal
from cohortium.ledger.store import Ledger
from cohortium.study.consent import has_signed
from cohortium.study.generators import Sweep
from cohortium.study.study import Privacy, Study
from cohortium.system import failpoints
from cohortium_client.custodian.agreements import Agreements, agree, approve, withdraw
from cohortium_client.custodian.custodian import Custodian, Holding, Identity, agreed_to
from cohortium_client.custodian.policy import Policy

STUDY = Study(
    name="agreed",
    schema=Schema(columns=tuple(Boolean(name=n) for n in "abc")),
    privacy=Privacy(epsilon=2.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=with_keys("north", "south"),
    serial=5,
)
POLICY = Policy(repeatable=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "north.sqlite") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "studies"


def sign(study: Study, ledger: Ledger, folder: Path, policy: Policy = POLICY) -> str:
    return agree(study, identity(), policy, ledger, Agreements(folder))


def nobody(_: Study) -> Codes:
    import numpy as np

    return Codes(np.zeros((0, 3), np.int16), np.zeros(0, np.int64), (2, 2, 2))


def answered(folder: Path, ledger: Ledger, study: Study) -> bytes:
    """What a custodian that starts now says."""
    holding = Holding("customers", nobody, ledger)
    return Custodian(identity(), Agreements(folder), holding, POLICY).answer(request(study))


def test_signing_keeps_the_study_records_the_consent_and_gives_the_signature(ledger: Ledger, folder: Path) -> None:
    signature = sign(STUDY, ledger, folder)
    assert has_signed(STUDY, "north", {"north": signature})
    assert dict(Agreements(folder)) == {STUDY.digest: STUDY}
    assert [e.record for e in ledger.entries()] == [Consent(STUDY.digest, "agreed", 5)]
    assert agreed_to(ledger, STUDY)
    answer(answered(folder, ledger, STUDY), STUDY)
    assert sign(STUDY, ledger, folder) == signature


def refused(study: Study, ledger: Ledger, folder: Path, error: type[Exception], match: str, **how: Policy) -> None:
    """Not signed, and nothing written that says so."""
    before = ledger.head()
    with pytest.raises(error, match=match):
        sign(study, ledger, folder, **how)
    assert ledger.head() == before
    assert study.digest not in Agreements(folder)


def test_a_lower_serial_is_not_signed(ledger: Ledger, folder: Path) -> None:
    sign(STUDY, ledger, folder)
    refused(replace(STUDY, serial=4), ledger, folder, StudyError, r"E_PLAN_UNTRUSTED.*serial 5 .* serial 4")


def test_the_same_serial_with_another_content_is_not_signed(ledger: Ledger, folder: Path) -> None:
    sign(STUDY, ledger, folder)
    refused(replace(STUDY, purpose="another"), ledger, folder, StudyError, "E_PLAN_UNTRUSTED.*higher serial")
    sign(STUDY, ledger, folder)  # the same content may be signed again


def test_a_higher_serial_replaces_for_good(ledger: Ledger, folder: Path) -> None:
    sign(STUDY, ledger, folder)
    newer = replace(STUDY, serial=6, purpose="another")
    sign(newer, ledger, folder)
    assert (agreed_to(ledger, STUDY), agreed_to(ledger, newer)) == (False, True)
    assert answered(folder, ledger, STUDY) == refusal("E_PLAN_UNTRUSTED")
    answer(answered(folder, ledger, newer), newer)
    with pytest.raises(StudyError, match="E_PLAN_UNTRUSTED"):
        sign(STUDY, ledger, folder)  # though its content was signed before


def test_a_withdrawn_serial_still_counts_as_the_highest(ledger: Ledger, folder: Path) -> None:
    sign(STUDY, ledger, folder)
    withdraw(STUDY.digest, ledger)
    assert not agreed_to(ledger, STUDY)
    assert answered(folder, ledger, STUDY) == refusal("E_PLAN_UNTRUSTED")
    refused(replace(STUDY, serial=4), ledger, folder, StudyError, "E_PLAN_UNTRUSTED")
    refused(replace(STUDY, purpose="another"), ledger, folder, StudyError, "E_PLAN_UNTRUSTED")
    sign(STUDY, ledger, folder)
    assert agreed_to(ledger, STUDY)


def test_serials_are_counted_by_the_studys_name(ledger: Ledger, folder: Path) -> None:
    sign(STUDY, ledger, folder)
    other = replace(STUDY, name="another", serial=1)
    sign(other, ledger, folder)
    assert agreed_to(ledger, STUDY) and agreed_to(ledger, other)


SERIALS = [replace(STUDY, serial=k, purpose=p) for k in (1, 2, 3) for p in ("", "x")]


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SERIALS), st.sampled_from(["sign", "withdraw", "forge"])), max_size=8))
def test_at_most_one_study_of_a_name_is_agreed_to_and_never_an_older_one(steps: list[tuple[Study, str]]) -> None:
    """Whatever is signed and withdrawn in whatever order, and whatever somebody else writes into the ledger."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as place, Ledger(Path(place) / "l.sqlite") as ledger:
        highest, last, withdrawn = 0, "", False
        for study, what in steps:
            if what == "withdraw":
                ledger.record(Withdrawal(study.digest))
                withdrawn = withdrawn or study.digest == last
            elif what == "forge":
                consented(ledger, study)
                if study.serial >= highest:
                    highest, last, withdrawn = study.serial, study.digest, False
            else:
                try:
                    sign(study, ledger, Path(place) / "studies")
                    highest, last, withdrawn = study.serial, study.digest, False
                except StudyError:
                    assert study.serial <= highest
            agreed = [s.digest for s in SERIALS if agreed_to(ledger, s)]
            assert agreed == ([] if withdrawn or not last else [last])


def test_what_the_policy_forbids_is_not_signed(ledger: Ledger, folder: Path) -> None:
    refused(STUDY, ledger, folder, PolicyError, "E_POLICY", policy=Policy(minimum_institutions=3))
    refused(STUDY, ledger, folder, PolicyError, "E_POLICY", policy=Policy(epsilon_per_study=1.0))


def test_a_study_that_names_another_key_for_us_or_none_is_not_signed(ledger: Ledger, folder: Path) -> None:
    for institutions in (
        with_keys("west", "south"),
        (replace(with_keys("west")[0], name="north"), *with_keys("south")),
    ):
        study = replace(STUDY, institutions=institutions)
        refused(study, ledger, folder, StudyError, "E_NOT_IN_STUDY|E_PLAN_UNTRUSTED")
    other = Identity("north", key_of("west"))
    with pytest.raises(StudyError, match="E_PLAN_UNTRUSTED"):
        agree(STUDY, other, POLICY, ledger, Agreements(folder))


def test_bad_input_27_a_study_without_a_plan_is_not_signed(ledger: Ledger, folder: Path) -> None:
    from cohortium.data.columns import Categorical

    wide = tuple(Categorical(name=f"c{k}", categories=tuple(map(str, range(3000)))) for k in range(4))
    study = replace(STUDY, schema=Schema(columns=wide), generator=Sweep(bins=4096))
    refused(study, ledger, folder, StudyError, "E_PLAN_LIMIT")


@pytest.mark.parametrize("place", ["study written aside", "study kept"])
def test_stopped_while_signing_nothing_is_agreed_to(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def stop(at: str) -> None:
        if at == place:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reached", stop)
        with pytest.raises(KeyboardInterrupt):
            sign(STUDY, ledger, folder)
    assert not agreed_to(ledger, STUDY)
    assert answered(folder, ledger, STUDY) == refusal("E_PLAN_UNTRUSTED")
    sign(STUDY, ledger, folder)
    answer(answered(folder, ledger, STUDY), STUDY)


def test_a_ledger_that_cannot_be_written_signs_nothing(ledger: Ledger, folder: Path) -> None:
    ledger._db.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        sign(STUDY, ledger, folder)
    assert answered(folder, ledger, STUDY) == refusal("E_PLAN_UNTRUSTED")


TOUCHED = {
    "another epsilon": ("study.toml", b"epsilon = 2.0", b"epsilon = 9.0"),
    "another name of a column": ("schema.toml", b'"b"', b'"d"'),
    "an impossible epsilon": ("study.toml", b"epsilon = 2.0", b"epsilon = -2"),
    "no TOML": ("study.toml", b"[study]", b"[[["),
    "no text": ("schema.toml", b"name", b"\xff\xfe"),
}


@pytest.mark.parametrize("what", TOUCHED)
def test_a_study_touched_in_the_folder_is_not_answered_and_signed_anew_is(
    ledger: Ledger, folder: Path, what: str
) -> None:
    sign(STUDY, ledger, folder)
    name, old, new = TOUCHED[what]
    file = folder / STUDY.digest / name
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))
    assert STUDY.digest not in Agreements(folder)
    assert answered(folder, ledger, STUDY) == refusal("E_PLAN_UNTRUSTED")
    sign(STUDY, ledger, folder)
    answer(answered(folder, ledger, STUDY), STUDY)


def test_a_study_under_anothers_digest_is_not_there(ledger: Ledger, folder: Path) -> None:
    sign(STUDY, ledger, folder)
    other = replace(STUDY, name="another")
    shutil.copytree(folder / STUDY.digest, folder / other.digest)
    consented(ledger, other)
    assert other.digest not in Agreements(folder)
    assert answered(folder, ledger, other) == refusal("E_PLAN_UNTRUSTED")


def test_what_was_being_written_is_no_study(ledger: Ledger, folder: Path) -> None:
    sign(STUDY, ledger, folder)
    shutil.copytree(folder / STUDY.digest, folder / ".half")
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    assert list(Agreements(folder)) == [STUDY.digest]
    assert len(Agreements(folder)) == 1
    assert list(Agreements(folder.with_name("absent"))) == []


@pytest.mark.parametrize("digest", ["", "..", "../studies", "/etc", "*", "00" * 32])
def test_only_a_digest_names_a_study(ledger: Ledger, folder: Path, digest: str) -> None:
    sign(STUDY, ledger, folder)
    assert Agreements(folder).get(digest) is None


def test_a_study_is_found_by_the_beginning_of_its_digest_if_it_is_one(ledger: Ledger, folder: Path) -> None:
    agreements = Agreements(folder)
    sign(STUDY, ledger, folder)
    assert agreements.find(STUDY.digest[:8]) == STUDY.digest
    sign(replace(STUDY, name="another"), ledger, folder)
    for beginning in ("", "zz", STUDY.digest + "0"):
        with pytest.raises(StudyError, match="E_NOT_IN_STUDY"):
            agreements.find(beginning)


def test_an_approval_is_of_one_run_of_one_study(ledger: Ledger) -> None:
    approve(STUDY.digest, "ab" * 16, ledger)
    assert [e.record for e in ledger.entries()] == [Approval(STUDY.digest, "ab" * 16)]
    consented(ledger, STUDY)
    asks = custodian(ledger, nobody, STUDY, policy=Policy(require_approval=True))
    answer(asks.answer(request(STUDY)), STUDY)
    assert asks.answer(request(STUDY, run="cd" * 16)) == refusal("E_APPROVAL")
