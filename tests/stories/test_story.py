"""The whole story in one place: three institutions, one study, one release, in the steps of the tour in docs/architecture.md."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import cohortium
from cohortium.errors import BudgetError, FederationError, ReleaseError
from cohortium.ledger.caps import Cap
from cohortium.ledger.store import Ledger
from cohortium.study.plan import plan
from cohortium.study.study import Study
from cohortium_server.release import Release
from cohortium_server.release.manifest import verify
from cohortium_simulation.experiment import Ledgers, simulate

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

Tables = dict[str, pd.DataFrame]


def test_three_institutions_release_one_table(study: Study, tables: Tables, tmp_path: Path) -> None:
    release = cohortium.simulate(study, tables, tmp_path / "release", seed=1)
    assert verify(release.path)["study"] == release.study.digest
    assert release.study.simulated  # and but for the keys of those who signed it is the same
    assert replace(release.study, institutions=study.institutions, simulated=False) == study
    assert all(i.key for i in release.study.institutions)
    synthetic = release.synthetic
    assert list(synthetic.columns) == list(study.schema.names)
    pooled = pd.concat(tables.values())
    old = pooled["age"] > 60
    assert abs(len(synthetic) / (len(pooled) / 2) - 1) < 0.1  # one of each person's two rows counts
    assert abs((synthetic["age"] > 60).mean() - old.mean()) < 0.05
    gap = (pooled[old]["result"] == "positive").mean() - (pooled[~old]["result"] == "positive").mean()
    old = synthetic["age"] > 60
    kept = (synthetic[old]["result"] == "positive").mean() - (synthetic[~old]["result"] == "positive").mean()
    assert kept > gap / 2


def test_institutions_that_train_release_one_table(training_study: Study, tables: Tables, tmp_path: Path) -> None:
    release = simulate(training_study, tables, tmp_path / "release", seed=1)
    positive = release.sample(500, where={"result": "positive"}, seed=2)
    assert len(positive) == 500
    assert set(positive["result"]) == {"positive"}
    account = json.loads((release.path / "ledger.json").read_text())
    assert len(account["institutions"][0]["answers"]) == plan(training_study).rounds == 4


def test_every_byte_of_a_release_is_under_the_signature(release: Release, tmp_path: Path) -> None:
    names = {p.name for p in release.path.iterdir()}
    assert names == {
        "synthetic.csv", "synthetic.parquet", "model.safetensors", "model.json", "answers.safetensors", "study.toml", "schema.toml",
        "ledger.json", "report.html", "manifest.json",
    }  # fmt: skip
    for name in sorted(names):
        copy = tmp_path / "copy"
        shutil.copytree(release.path, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(ReleaseError) as caught:
            cohortium.load_release(copy)
        assert (caught.value.code, caught.value.where) == ("E_RELEASE_TOUCHED", name)
        shutil.rmtree(copy)


def test_no_byte_of_the_manifest_can_change(release: Release) -> None:
    manifest = release.path / "manifest.json"
    genuine = manifest.read_bytes()
    for place in range(0, len(genuine), 7):
        for flip in (1, 32):  # 32 changes a letter's case
            manifest.write_bytes(genuine[:place] + bytes([genuine[place] ^ flip]) + genuine[place + 1 :])
            with pytest.raises(ReleaseError):
                verify(release.path)


def test_running_twice_is_charged_twice_and_a_cap_is_kept(study: Study, tables: Tables, tmp_path: Path) -> None:
    ledgers = Ledgers(tmp_path / "ledgers", "town", Cap(8.0, 1e-6))
    simulate(study, tables, tmp_path / "one", ledgers=ledgers)
    with Ledger(tmp_path / "ledgers" / "north.sqlite") as ledger:
        once = ledger.spent("town", 1e-6).epsilon
    simulate(study, tables, tmp_path / "two", ledgers=ledgers)
    with Ledger(tmp_path / "ledgers" / "north.sqlite") as ledger:
        twice = ledger.spent("town", 1e-6).epsilon
        heads = ledger.head()
    assert once < 5.0 < twice < 8.0
    with pytest.raises(BudgetError, match=r"[\d.]+ is spent and [\d.]+ remains"):
        simulate(study, tables, tmp_path / "three", ledgers=ledgers)
    with Ledger(tmp_path / "ledgers" / "north.sqlite") as ledger:
        assert ledger.head() == heads
    assert not (tmp_path / "three").exists()


def test_a_missing_institution_is_named(study: Study, tables: Tables, tmp_path: Path) -> None:
    del tables["west"]
    with pytest.raises(FederationError, match="west"):
        simulate(study, tables, tmp_path / "release")
    assert not (tmp_path / "release").exists()


def test_seed_repeats_sampling_but_never_noise(study: Study, tables: Tables, tmp_path: Path) -> None:
    one = simulate(study, tables, tmp_path / "one", seed=3)
    two = simulate(study, tables, tmp_path / "two", seed=3)
    assert one.sample(50, seed=9).equals(one.sample(50, seed=9))
    assert not one.sample(50, seed=9).equals(one.sample(50, seed=10))
    assert (one.path / "model.safetensors").read_bytes() != (two.path / "model.safetensors").read_bytes()
