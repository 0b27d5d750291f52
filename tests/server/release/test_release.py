"""Releases: what users of one can do, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cohortium
from cohortium.data.columns import Boolean, Continuous
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError, SecretError
from cohortium.federation import wire
from cohortium.ledger.location import home
from cohortium.ledger.records import Charge
from cohortium.ledger.store import Ledger
from cohortium.study.generators import Sweep
from cohortium.study.guarantee import guarantees
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium.system.keys import load_or_create_key, public_text, signed_by
from cohortium_server.gate import Criterion, Verdict, judge
from cohortium_server.release import Release
from cohortium_server.release.manifest import verify
from cohortium_server.release.tables import safe_for_spreadsheets, write_table
from cohortium_simulation.experiment import Ledgers, run, simulate

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

Tables = dict[str, pd.DataFrame]


def test_a_release_is_sampled_without_end(release: Release) -> None:
    again = cohortium.load_release(release.path)
    assert len(again.sample(0)) == 0
    table = again.sample(1234, where={"result": "positive", "ward": ["a", None]}, seed=7)
    assert len(table) == 1234
    assert set(table["result"]) == {"positive"}
    assert set(table["ward"].fillna("missing")) <= {"a", "missing"}
    assert table["age"].between(0, 100).all()
    assert table["urgent"].dtype == bool
    assert table["seen"].dtype.kind == "M"
    assert table["age"].dtype == np.int64


@pytest.mark.parametrize("mode", ["private", "none"])
def test_whole_numbers_in_python_make_no_other_study_than_in_its_file(tmp_path: Path, mode: str) -> None:
    schema = Schema(columns=(Continuous(name="age", lower=0, upper=99, points=(0,)), Boolean(name="ill", target=True)))
    privacy = Privacy(epsilon=9, delta=1e-6) if mode != "none" else Privacy(mode="none")
    whole = Study(name="s", schema=schema, privacy=privacy, generator=Sweep(), institutions=(Institution(name="one"),))
    table = pd.DataFrame({"age": np.arange(2000) % 100, "ill": np.arange(2000) % 3 == 0})
    release = simulate(whole, {"one": table}, tmp_path / "out")
    assert release.manifest["study"] == release.study.digest
    assert release.schema == schema


@pytest.mark.parametrize("where", [{"nobody": 1}, {"result": "maybe"}, {"result": []}, {"age": "old"}])
def test_impossible_conditions_are_refused(release: Release, where: dict[str, object]) -> None:
    with pytest.raises(ReleaseError) as caught:
        release.sample(5, where=where)
    assert caught.value.code == "E_CONDITION"


def test_added_and_removed_files_are_named(release: Release) -> None:
    (release.path / "extra.txt").write_text("x")
    with pytest.raises(ReleaseError, match=r"extra\.txt"):
        verify(release.path)
    (release.path / "extra.txt").unlink()
    (release.path / "report.html").unlink()
    with pytest.raises(ReleaseError, match=r"report\.html"):
        verify(release.path)


def test_another_signer_is_refused(release: Release, tmp_path: Path) -> None:
    other = public_text(load_or_create_key(tmp_path / "other.key"))
    assert verify(release.path, release.manifest["key"])
    with pytest.raises(ReleaseError, match="another key"):
        verify(release.path, other)


def test_the_manifest_states_the_unit_the_cost_and_a_notice(release: Release, study: Study) -> None:
    manifest = release.manifest
    assert manifest["guarantee"]["epsilon"] <= study.privacy.epsilon
    assert manifest["guarantee"]["check"] >= manifest["guarantee"]["epsilon"]
    assert "add or remove one person" in manifest["unit"]
    assert "not the same as anonymous" in manifest["notice"]


def test_a_release_states_its_guarantee_towards_each_adversary(release: Release, study: Study) -> None:
    promised = [g.document() for g in guarantees(study, plan(study))]
    assert len(promised) == 4
    assert release.manifest["guarantees"] == promised
    assert json.loads((release.path / "ledger.json").read_text())["guarantees"] == promised


def test_a_release_has_of_a_single_institution_no_more_than_digests_of_salted_bytes(
    release: Release, study: Study
) -> None:
    """The public's guarantee is that of sums: a message, or a digest that messages could be tried on, would end it."""
    reported = json.loads((release.path / "ledger.json").read_text())["institutions"]
    assert [set(one) for one in reported] == 3 * [{"name", "key", "consent", "answers"}]
    assert [one["name"] for one in reported] == list(study.institution_names)
    own = [[answer.pop("receipt") for answer in one["answers"]] for one in reported]
    assert all(set(receipt) == {"institution", "message", "head", "signature", "about"} for (receipt,) in own)
    assert all(one["answers"] == reported[0]["answers"] for one in reported)  # the rest follows from the study
    names = {
        "synthetic.parquet",
        "synthetic.csv",
        "model.safetensors",
        "model.json",
        "answers.safetensors",
        "study.toml",
        "schema.toml",
    }
    assert {p.name for p in release.path.iterdir()} == names | {"ledger.json", "report.html", "manifest.json"}
    written = b"".join(p.read_bytes() for p in release.path.iterdir())
    messages = _messages()
    assert sorted(hashlib.sha256(m).hexdigest() for m in messages) == sorted(r["message"] for (r,) in own)
    salts = {wire.decode_reply(m, plan(study).phases[0].query.width).salt for m in messages}
    assert len(salts) == 3 and all(len(bytes.fromhex(salt)) == 32 for salt in salts)
    assert not [m for m in messages if m in written] and not [s for s in salts if s.encode() in written]


def _messages() -> list[bytes]:
    found = []
    for path in (home() / "ledgers").glob("*.sqlite"):
        with Ledger(path) as opened:
            found += [opened.message(e) for e in opened.entries() if isinstance(e.record, Charge)]
    return found


def test_a_folder_with_something_else_is_never_overwritten(study: Study, tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ReleaseError) as caught:
        simulate(study, tables, tmp_path / "out")
    assert caught.value.code == "E_RELEASE_EXISTS"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_nobody_is_asked_where_a_release_lies_that_is_to_stay(release: Release, study: Study, tables: Tables) -> None:
    before = {path.name: path.read_bytes() for path in (home() / "ledgers").glob("*.sqlite")}
    with pytest.raises(ReleaseError, match="E_RELEASE_EXISTS"):
        simulate(study, tables, release.path)
    assert {path.name: path.read_bytes() for path in (home() / "ledgers").glob("*.sqlite")} == before != {}


def test_an_older_release_is_replaced_and_nothing_is_left_beside(
    release: Release, study: Study, tables: Tables
) -> None:
    before = release.manifest["run"]
    simulate(study, tables, release.path, replace=True)
    assert verify(release.path)["run"] != before
    assert [p.name for p in release.path.parent.iterdir() if p.name.startswith(".")] == []


def test_a_release_from_noise_alone_is_refused_and_stays_charged(study: Study, tables: Tables, tmp_path: Path) -> None:
    empty = {name: t.iloc[:0] for name, t in tables.items()}
    with pytest.raises(ReleaseError) as caught:
        simulate(study, empty, tmp_path / "release", ledgers=Ledgers(tmp_path / "ledgers"))
    assert caught.value.code == "E_GATE"
    assert not (tmp_path / "release").exists()
    assert len(list((tmp_path / "ledgers").glob("*.sqlite"))) == 3


def test_the_gate_looks_at_everything(study: Study, tables: Tables, tmp_path: Path) -> None:
    outcome = run(study, tables, Ledgers(tmp_path / "ledgers"))
    good = outcome.generator.sample(100, np.random.default_rng(0), {})
    assert judge(outcome, good).passed
    bad = good.copy()
    bad[0, 0] = 99
    assert [c.name for c in judge(outcome, bad).criteria if not c.passed] == ["schema"]
    object.__setattr__(outcome, "answered", ())
    assert [c.name for c in judge(outcome, good).criteria if not c.passed] == ["rounds"]


def test_a_verdict_without_criteria_does_not_pass() -> None:
    assert not Verdict(()).passed
    with pytest.raises(ReleaseError, match="because"):
        Verdict((Criterion("x", False, "1", "2", "because"),)).require()


def test_bad_input_20_formulas_are_defused_in_text_only(tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ["=1+1", "@x", "-A5", "-5", None], "number": [-1, -2, 3, 4, 5]})
    safe = safe_for_spreadsheets(table)
    assert list(safe["text"][:4]) == ["'=1+1", "'@x", "'-A5", "-5"]  # a signed number runs nothing
    assert list(safe["number"]) == list(table["number"])
    write_table(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[1] == "'=1+1,-1"


def test_keys_are_private_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "one.key"
    key = load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_text(load_or_create_key(path)) == public_text(key)
    signature = key.sign(b"text").hex()
    assert signed_by(public_text(key), signature, b"text")
    for public, sig, text in [
        (public_text(key), signature, b"texT"), (public_text(key), signature.upper(), b"text"),
        (public_text(key).upper(), signature, b"text"), ("", signature, b"text"), (public_text(key), "zz", b"text"),
    ]:  # fmt: skip
        assert not signed_by(public, sig, text)
    path.chmod(0o644)
    with pytest.raises(SecretError):
        load_or_create_key(path)
    path.chmod(0o600)
    path.write_text("not a key")
    with pytest.raises(SecretError):
        load_or_create_key(path)


def test_bad_input_30_a_pickle_in_the_model_is_never_run(release: Release, tmp_path: Path) -> None:
    """Even under a genuine signature, a model that is not safetensors is refused and nothing in it runs."""
    import pickle

    from cohortium_server.release import manifest as m

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "boom"),)

    (release.path / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    statement = {k: v for k, v in release.manifest.items() if k not in ("signature", "files", "key", "format")}
    (release.path / "manifest.json").unlink()
    m.write_manifest(release.path, statement, load_or_create_key(tmp_path / "k.key"), "simulation")
    with pytest.raises(ReleaseError):
        cohortium.load_release(release.path).sample(1)
    assert not (tmp_path / "boom").exists()


def test_the_account_lists_every_answer(release: Release, study: Study) -> None:
    account = json.loads((release.path / "ledger.json").read_text())
    assert [i["name"] for i in account["institutions"]] == list(study.institution_names)
    assert all(len(i["answers"]) == 1 for i in account["institutions"])
