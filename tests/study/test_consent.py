"""Consents: a signature is of one institution, one study and one purpose, and its file is nothing but a carrier."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from enlisted import consents, key_of, with_keys

from cohortium.data.columns import Boolean
from cohortium.data.schema import Schema
from cohortium.errors import StudyError
from cohortium.ledger.receipt import Receipt, sign_receipt
from cohortium.study import consent
from cohortium.study.consent import has_signed, read_signatures, require_all, sign, unsigned, write_signature
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.study import Institution, Privacy, ReleasePlan, Study, dumps_schema, dumps_study
from cohortium.system.canonical import canonical_json
from cohortium.system.keys import public_text

STUDY = Study(
    name="agreed",
    schema=Schema(columns=(Boolean(name="a"), Boolean(name="b"))),
    privacy=Privacy(epsilon=2.0, delta=1e-6),
    generator=Sweep(),
    institutions=with_keys("north", "south", "west"),
)


def test_all_have_signed() -> None:
    require_all(STUDY, consents(STUDY))
    assert unsigned(STUDY, consents(STUDY)) == []
    require_all(STUDY, {**consents(STUDY), "east": "whatever"})


@pytest.mark.parametrize("absent", [["north"], ["south", "west"], ["north", "south", "west"]])
def test_whoever_has_not_signed_is_named(absent: list[str]) -> None:
    signed = {n: s for n, s in consents(STUDY).items() if n not in absent}
    assert unsigned(STUDY, signed) == absent
    with pytest.raises(StudyError, match=f"E_PLAN_UNTRUSTED.*{', '.join(absent)} has not signed"):
        require_all(STUDY, signed)


CHANGED = {
    "name": replace(STUDY, name="agreed2"),
    "purpose": replace(STUDY, purpose="other"),
    "serial": replace(STUDY, serial=2),
    "expires": replace(STUDY, expires=date(2030, 1, 1)),
    "epsilon": replace(STUDY, privacy=replace(STUDY.privacy, epsilon=2.0000001)),
    "delta": replace(STUDY, privacy=replace(STUDY.privacy, delta=1.1e-6)),
    "a column": replace(STUDY, schema=Schema(columns=(Boolean(name="a"), Boolean(name="c")))),
    "the order of columns": replace(STUDY, schema=Schema(columns=STUDY.schema.columns[::-1])),
    "the generator": replace(STUDY, generator=Autoregressive()),
    "the rows": replace(STUDY, release=ReleasePlan(rows=10)),
    "an institution less": replace(STUDY, institutions=STUDY.institutions[:2]),
    "the order of institutions": replace(STUDY, institutions=STUDY.institutions[::-1]),
    "another's key": replace(
        STUDY, institutions=(*STUDY.institutions[:2], replace(STUDY.institutions[2], key=public_text(key_of("east"))))
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_signature_is_on_everything_in_the_study(what: str) -> None:
    assert not has_signed(CHANGED[what], "north", consents(STUDY))
    assert has_signed(STUDY, "north", consents(STUDY))


def test_only_who_has_the_key_that_the_study_names_can_sign() -> None:
    with pytest.raises(StudyError, match=r"E_PLAN_UNTRUSTED.*another key") as caught:
        sign(STUDY, "north", key_of("south"))
    assert public_text(key_of("south")) in caught.value.fix
    with pytest.raises(StudyError, match="E_NOT_IN_STUDY"):
        sign(STUDY, "east", key_of("east"))
    unkeyed = replace(STUDY, institutions=(Institution(name="north"), *STUDY.institutions[1:]))
    with pytest.raises(StudyError, match="E_PLAN_UNTRUSTED"):
        sign(unkeyed, "north", key_of("north"))


def test_nobody_can_sign_for_an_institution_whose_key_is_not_named() -> None:
    unkeyed = replace(STUDY, institutions=(Institution(name="north"), *STUDY.institutions[1:]))
    statement = b"cohortium study consent 1\n" + canonical_json({"study": unkeyed.digest, "institution": "north"})
    for signature in ("", key_of("north").sign(statement).hex(), "00" * 64):
        assert not has_signed(unkeyed, "north", {"north": signature})


def test_a_signature_is_of_one_purpose() -> None:
    """What one statement says can never be taken for what another says."""
    key, body = key_of("north"), canonical_json({"study": STUDY.digest, "institution": "north"})
    for statement in (body, b"cohortium receipt 1\n" + body, b"cohortium release manifest 1\n" + body):
        assert not has_signed(STUDY, "north", {"north": key.sign(statement).hex()})
    receipt = sign_receipt(key, "north", STUDY.digest, "00" * 32)
    assert not has_signed(STUDY, "north", {"north": receipt.signature})
    mine = Receipt("north", STUDY.digest, "00" * 32, consents(STUDY)["north"])
    assert not mine.is_of(public_text(key))
    assert receipt.is_of(public_text(key))


@pytest.mark.parametrize("name", ["institution", "message", "head"])
def test_a_receipt_is_on_everything_in_it(name: str) -> None:
    receipt = sign_receipt(key_of("north"), "north", "11" * 32, "22" * 32)
    public = public_text(key_of("north"))
    assert receipt.is_of(public)
    assert receipt == sign_receipt(key_of("north"), "north", "11" * 32, "22" * 32)  # always the same bytes
    assert not replace(receipt, **{name: "33" * 32}).is_of(public)
    assert not receipt.is_of(public_text(key_of("south")))
    swapped = replace(receipt, message=receipt.head, head=receipt.message)
    assert not swapped.is_of(public)


# The files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "study.toml").write_text(dumps_study(STUDY))
    (tmp_path / "schema.toml").write_text(dumps_schema(STUDY.schema))
    return tmp_path / "study.toml"


def test_signatures_lie_beside_the_study_in_any_order(file: Path) -> None:
    assert read_signatures(file, STUDY) == {}
    for name in ("west", "north", "south"):
        path = write_signature(file, STUDY, name, consents(STUDY)[name])
        assert path == file.parent / "study.signatures" / f"{name}.json"
    assert read_signatures(file, STUDY) == consents(STUDY)
    assert read_signatures(file, replace(STUDY, serial=2)) == {}


def rewritten(**changes: Any) -> bytes:
    document = {"format": consent.FORMAT, "study": STUDY.digest, "institution": "north", "signature": "00" * 64}
    return canonical_json({k: v for k, v in (document | changes).items() if v is not None})


OTHERS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "a list": b"[]",
    "a number": b"7",
    "nested beyond measure": b"[" * 4000,
    "another format": rewritten(format="cohortium-consent-0"),
    "no format": rewritten(format=None),
    "another study": rewritten(study="00" * 32),
    "no study": rewritten(study=None),
    "another institution": rewritten(institution="south"),
    "too long": rewritten(more="x" * consent.MAX_FILE),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_file_that_is_about_something_else_counts_as_absent(file: Path, what: str) -> None:
    for name, signature in consents(STUDY).items():
        write_signature(file, STUDY, name, signature)
    (file.parent / "study.signatures" / "north.json").write_bytes(OTHERS[what])
    found = read_signatures(file, STUDY)
    assert sorted(found) == ["south", "west"]
    with pytest.raises(StudyError, match="north has not signed"):
        require_all(STUDY, found)


@pytest.mark.parametrize("signature", [None, 7, ["00" * 64], {"a": 1}, "", "zz" * 64, "00" * 64])
def test_a_file_without_a_valid_signature_is_no_consent(file: Path, signature: Any) -> None:
    write_signature(file, STUDY, "north", "")
    (file.parent / "study.signatures" / "north.json").write_bytes(rewritten(signature=signature))
    assert "north" in unsigned(STUDY, read_signatures(file, STUDY))


def test_a_folder_in_a_files_place_counts_as_absent(file: Path) -> None:
    (file.parent / "study.signatures" / "north.json").mkdir(parents=True)
    assert read_signatures(file, STUDY) == {}


def test_a_signature_is_replaced_at_once(file: Path) -> None:
    path = write_signature(file, STUDY, "north", "00" * 64)
    write_signature(file, STUDY, "north", consents(STUDY)["north"])
    assert json.loads(path.read_bytes())["signature"] == consents(STUDY)["north"]
    assert [p.name for p in path.parent.iterdir()] == ["north.json"]  # nothing is left beside it


def test_a_file_of_nobody_in_the_study_is_not_read(file: Path) -> None:
    write_signature(file, STUDY, "east", "00" * 64)
    assert read_signatures(file, STUDY) == {}
