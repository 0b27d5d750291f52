"""The examples of docs/extending.md: each is short, keeps its interface's contract, and works where it would be plugged in."""

from __future__ import annotations

import doctest
import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import generator_contract
import network_contract
import numpy as np
import pandas as pd
import pytest
import query_contract
import source_contract
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from visits import everybody

from cohortium.data.encoding import Codes, encode
from cohortium.data.readers.faults import Faults
from cohortium.data.schema import Schema
from cohortium.errors import InputError, PolicyError
from cohortium.ledger.store import Ledger
from cohortium.neural import architecture
from cohortium.neural.architecture import Architecture
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries import Query
from cohortium.study.study import Institution, Study
from cohortium.system.keys import public_text
from cohortium_client.custodian.agreements import Agreements, agree
from cohortium_client.custodian.identity import Identity
from cohortium_client.source import source as sources
from cohortium_client.source.mapping import Mapping
from cohortium_client.source.source import Source, read_parts
from cohortium_server.rounds import rounds
from cohortium_simulation.experiment import simulate

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))


def example(name: str) -> ModuleType:
    """The module of one example."""
    full = f"cohortium_example_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, EXAMPLES / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_example_is_short(path: Path) -> None:
    assert sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines()) < 60


def test_there_is_one_of_each() -> None:
    assert {p.stem for p in FILES} == {"generator", "query", "network", "source", "policy_rule", "metric"}
    page = (EXAMPLES.parent / "docs" / "extending.md").read_text(encoding="utf-8")
    assert all(f"../examples/{p.name}" in page for p in FILES)


class TestGenerator(generator_contract.GeneratorContract):
    """It fits what sweep asks for, and takes sweep's place."""

    @pytest.fixture
    def kind(self) -> str:
        return "independent"

    @pytest.fixture
    def study(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
        for module in (generator_contract, rounds):
            monkeypatch.setattr(module, "generator_class", lambda kind: example("generator").Independent)
        return replace(study, name="independent")  # not what other tests have fitted, and kept

    def test_a_simulation_releases_its_rows(self, study: Study, tmp_path: Path) -> None:
        release = simulate(study, everybody(), tmp_path / "release", seed=1)
        assert list(release.synthetic.columns) == list(study.schema.names)
        assert 3000 < len(release.synthetic) < 3600


class TestQuery(query_contract.QueryContract):
    @pytest.fixture(params=[1, 2, 9], ids=lambda m: f"m = {m}", scope="class")
    def query(self, request: pytest.FixtureRequest) -> Any:
        return example("query").PersonsWith((3, 4, 2), 1, request.param)

    def test_persons_are_counted(self) -> None:
        values = np.array([[0, 2, 0], [0, 2, 0], [1, 3, 1], [0, 2, 1]], np.int16)
        codes = Codes(values, np.array([7, 7, 7, 8]), (3, 4, 2))
        query = example("query").PersonsWith((3, 4, 2), 1, 5, grid=64)
        assert (query.contribute(codes, SecureRandomness()).values / 64).tolist() == [0, 0, 2, 1]


class TestNetwork(network_contract.NetworkContract):
    @pytest.fixture
    def of(self) -> Any:
        return SimpleNamespace(network=example("network").Regression(network_contract.SIZES, network_contract.ORDER))


class TestGradientsOfTheNetwork(query_contract.QueryContract):
    """Of an architecture of the example's network, as one more case would build it."""

    @pytest.fixture(params=["gradients", "training"], scope="class")
    def query(self, request: pytest.FixtureRequest) -> Iterator[Query]:
        built, asked = (
            example("network").Regression,
            {"gradients": query_contract.summing, "training": query_contract.training},
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(architecture, "_built", lambda of: built(of.sizes, of.order))
            of = Architecture("regression", query_contract.SIZES, query_contract.ORDER)  # type: ignore[arg-type]
            yield asked[request.param](of, rows_per_person=2)
        architecture._checked.cache_clear()


class TestSource(source_contract.SourceContract):
    @pytest.fixture(autouse=True)
    def _plugged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def stored(source: Source, folder: Path, wanted: list[str], faults: Faults) -> Iterator[pd.DataFrame]:
            return example("source").json_lines(folder / (source.path or ""), wanted, faults)

        monkeypatch.setattr(sources, "_stored_parts", stored)

    def put(self, table: pd.DataFrame, mapping: Mapping | None = None) -> Source:
        rows = json.loads(table.to_json(orient="values", date_format="iso"))
        lines = [json.dumps(line) for line in [list(table.columns), *rows]]
        (self.folder / "table.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        return Source(path="table.jsonl", mapping=mapping or {})

    def test_what_cannot_be_read_is_left_out_and_changes_nobody_else(
        self, schema: Schema, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(example("source"), "LONGEST", 400)
        source = self.put(source_contract.people(3))
        head, *rows = (self.folder / "table.jsonl").read_bytes().splitlines()
        broken = [
            b"",
            b"[",
            b"\xff",
            b"[1, 2]",
            b"{}",
            b"[" * 300,
            b"[" * 399 + b"\n" + rows[0] + b"\n" + b'["' + b"x" * 900,
        ]
        (self.folder / "table.jsonl").write_bytes(b"\n".join([head, rows[0], *broken, *rows[1:]]) + b"\n")
        faults = Faults("table.jsonl")
        found = pd.concat(read_parts(source, self.folder, schema, faults))
        expected = [rows[0], rows[0], *rows[1:]]  # a line that is a row stays one, whatever stands before it
        assert [str(v) for v in found["id"]] == [str(json.loads(r)[2]) for r in expected]
        assert sum(f.count for f in faults.found) == 8

    def test_a_file_that_is_not_there(self, schema: Schema) -> None:
        with pytest.raises(InputError, match="E_INPUT_NOT_FOUND"):
            list(read_parts(Source(path="none.jsonl"), self.folder, schema))


@pytest.mark.parametrize(("trust", "allowed"), [(None, True), ("secure-sum", True), ("local", False)])
def test_a_policy_rule(study: Study, tmp_path: Path, trust: Any, allowed: bool) -> None:
    """Whoever signs asks it, and so does the custodian with every request."""
    keys = {name: Ed25519PrivateKey.generate() for name in study.institution_names}
    named = tuple(Institution(name=n, key=public_text(k)) for n, k in keys.items())
    signed = replace(study, institutions=named, privacy=replace(study.privacy, trust="secure-sum"))
    policy = example("policy_rule").WithTrust(epsilon_per_population=10.0, trust=trust)
    with Ledger(tmp_path / "north.sqlite") as ledger:
        asked = signed, Identity("north", keys["north"]), policy, ledger, Agreements(tmp_path / "studies")
        if allowed:
            assert agree(*asked)
            return
        with pytest.raises(PolicyError, match="E_POLICY") as caught:
            agree(*asked)
        assert caught.value.where == "policy.toml, trust"
        assert ledger.entries() == []


def test_a_metric(study: Study, tmp_path: Path) -> None:
    coverage, sizes = example("metric").pair_coverage, study.schema.sizes
    failed, tried = doctest.testmod(example("metric"))
    assert (failed, tried > 0) == (0, True)
    release = simulate(study, everybody(), tmp_path / "release", seed=1)
    real = np.concatenate([encode(t, study.schema).values for t in everybody().values()])
    synthetic = encode(release.synthetic, Schema(columns=study.schema.columns)).values
    assert coverage(real, real, sizes) == 1
    assert coverage(real, synthetic[:1], sizes) < 0.2 < 0.9 < coverage(real, synthetic, sizes) <= 1
    assert coverage(synthetic[:1], real, sizes) == 1
    with pytest.raises(ValueError, match="no pair"):
        coverage(real[:0], real, sizes)
