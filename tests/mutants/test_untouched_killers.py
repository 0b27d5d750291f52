"""What kills the mutants in files that had none; each is exact, and quick."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tomli_w
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from enlisted import identity, key_of, with_keys

from cohortium.data.columns import Boolean, Categorical, Continuous
from cohortium.data.conditions.rules import Linear
from cohortium.data.conditions.selection import Selection
from cohortium.data.schema import Schema
from cohortium.errors import InputError, ReleaseError, SchemaError, SecretError
from cohortium.federation.forecast import expected_sigma
from cohortium.ledger.receipt import about, sign_receipt
from cohortium.queries.marginals import Marginals
from cohortium.study.defaults import training_settings
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Privacy, Study
from cohortium.system.canonical import canonical_json, digest
from cohortium.system.documents import read_toml
from cohortium.system.keys import public_text
from cohortium_client.custodian.institution import FILE, Institution, init_institution, load_institution
from cohortium_client.relay import load_node_key
from cohortium_client.source.mapping import ColumnMapping
from cohortium_client.source.preview import preview
from cohortium_client.source.source import Source, load_source
from cohortium_server.generators import Measured
from cohortium_server.release.answers import stored
from cohortium_server.release.answers.noised import Noised
from cohortium_server.release.answers.products import Products
from cohortium_server.release.blanks import imputed
from cohortium_server.release.rows import drawn_codes

SCHEMA = Schema(columns=(Boolean(name="a"), Categorical(name="b", categories=("x", "y"), nullable=True)))
STUDY = Study(
    name="untouched",
    schema=SCHEMA,
    privacy=Privacy(epsilon=2.0, delta=1e-6, trust="local"),
    generator=Sweep(components=4),
    institutions=with_keys("north", "south", "west"),
)


# What is promised, signed and shown


def test_a_receipt_is_of_one_answer() -> None:
    """Passed off for another round's, or another attempt's, it is nobody's."""
    key, message, head = key_of("north"), "ab" * 32, "cd" * 32
    receipt = sign_receipt(key, "north", message, head, about("ef" * 32, "01" * 16, 3, 0))
    assert receipt.is_of(public_text(key))
    for other in (about("ef" * 32, "01" * 16, 4, 0), about("ef" * 32, "01" * 16, 3, 1), ""):
        assert not replace(receipt, about=other).is_of(public_text(key))


def test_one_value_is_one_byte_string() -> None:
    assert canonical_json({"b": 1, "a": {"d": 2, "c": 3}}) == b'{"a":{"c":3,"d":2},"b":1}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_bytes(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"epsilon": number})


def test_the_noise_that_is_forecast_is_the_noise_of_the_sum() -> None:
    """Of one table alone: what three institutions add to each of its cells, worked out here."""
    alone = replace(STUDY, schema=Schema(columns=(Boolean(name="a"),)))
    agreed = plan(alone)
    query = agreed.phase(0).query
    assert isinstance(query, Marginals) and query.tables == ((0,),)
    (sigma,) = query.sigmas(agreed.phase(0).multiplier)
    assert expected_sigma(alone, agreed, 1) == pytest.approx(sigma * math.sqrt(3))


def founded(folder: Path, cap: float) -> Institution:
    folder.mkdir()
    pd.DataFrame({"a": [True], "b": ["x"]}).to_csv(folder / "table.csv", index=False)
    policy = {"epsilon_per_population": cap, "delta": 1e-6, "repeatable": True}
    return init_institution(folder, "north", {"path": "table.csv"}, "patients", policy)


def named_by(north: Institution) -> Study:
    """The study, with the key that an institution has made for itself."""
    keys = {"north": north.identity.public}
    return replace(STUDY, institutions=tuple(replace(i, key=keys.get(i.name, i.key)) for i in STUDY.institutions))


def test_a_preview_shows_what_would_be_spent_and_what_is_refused(tmp_path: Path) -> None:
    epsilon = plan(STUDY).cost.epsilon
    rich, poor = founded(tmp_path / "rich", 2 * epsilon), founded(tmp_path / "poor", epsilon / 2)
    welcome = preview(rich, named_by(rich))["here"]
    assert (welcome["spent"], welcome["refused"]) == (0.0, None)
    assert welcome["spent_afterwards"] == pytest.approx(epsilon, rel=1e-3)
    refused = preview(poor, named_by(poor))["here"]["refused"]
    assert refused is not None and refused.startswith("E_BUDGET")


def test_an_identity_does_not_show_its_key() -> None:
    assert repr(identity("north")) == "Identity(name='north')"


def test_a_recipe_follows_from_what_is_public() -> None:
    """Whether there is one noise in all or one in every message is known from the study."""
    trained = replace(STUDY, generator=Autoregressive())
    central = replace(trained, privacy=replace(trained.privacy, trust="secure-sum"))
    assert (training_settings(trained).rounds, training_settings(trained).steps) == (20, 10)
    assert (training_settings(central).rounds, training_settings(central).steps) == (100, 1)
    assert training_settings(replace(trained, institutions=trained.institutions[:1])) == training_settings(central)


# What is read


def test_a_custodian_is_none_of_its_restorers(tmp_path: Path) -> None:
    own = founded(tmp_path / "north", 1.0).identity.public
    document = read_toml(tmp_path / "north" / FILE)
    for restorers, fits in (([own, public_text(key_of("anne"))], False), (PERSONS, True)):
        (tmp_path / "north" / FILE).write_text(tomli_w.dumps(document | {"restorers": restorers}), encoding="utf-8")
        if fits:
            assert load_institution(tmp_path / "north").file.restorers == tuple(PERSONS)
        else:
            with pytest.raises(InputError, match="E_INSTITUTION"):
                load_institution(tmp_path / "north")


def test_a_person_is_not_mapped_to_another(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("who,a,b\n1,true,x\n2,false,y\n", encoding="utf-8")
    schema, source = replace(SCHEMA, person="who"), Source(path="table.csv")
    assert len(load_source(source, tmp_path, schema)) == 2
    with pytest.raises(SchemaError, match="E_MAPPING"):
        load_source(replace(source, mapping={"who": ColumnMapping(recode={"1": "2"})}), tmp_path, schema)


def test_a_witness_lies_where_it_was_put(tmp_path: Path) -> None:
    founded(tmp_path / "north", 1.0)
    document = read_toml(tmp_path / "north" / FILE)
    (tmp_path / "north" / FILE).write_text(tomli_w.dumps(document | {"witness": "../elsewhere"}), encoding="utf-8")
    assert load_institution(tmp_path / "north").witness == tmp_path / "north" / "../elsewhere"


PERSONS = [public_text(key_of("anne")), public_text(key_of("bert"))]


@pytest.mark.parametrize(("mode", "fits"), [(0o600, True), (0o640, True), (0o604, False), (0o602, False)])
def test_a_relays_key_is_not_everybodys(tmp_path: Path, mode: int, fits: bool) -> None:
    key, path = ec.generate_private_key(ec.SECP384R1()), tmp_path / "node.key"
    form = serialization.PrivateFormat.OpenSSH
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    os.chmod(path, mode)  # noqa: PTH101 - modes are what this is about
    if fits:
        assert load_node_key(path).private_numbers() == key.private_numbers()
    else:
        with pytest.raises(SecretError, match="E_SECRET"):
            load_node_key(path)


def test_a_sum_is_not_broken_by_what_is_missing() -> None:
    rule = Linear((0, 1, 2), (1, -1, -1), 0, 0, (9, 9, 9))  # the first is the sum of the others
    rows = np.array([[3, 1, 2], [4, 1, 2], [-1, 1, 2], [3, -1, 2], [9, 1, 2]])  # the last: a special value
    assert rule.broken(rows).tolist() == [False, True, False, False, False]


# What is drawn and answered


class Model:
    """Always the first cell of every column, and where it completes a row, the last that is allowed."""

    rows = 10

    def __init__(self, schema: Schema) -> None:
        self._sizes = schema.sizes

    def sample(self, rows: int, rng: np.random.Generator, allowed: Any) -> np.ndarray:
        return np.zeros((rows, len(self._sizes)), np.int16)

    def complete(self, codes: np.ndarray, known: np.ndarray, rng: np.random.Generator, allowed: Any) -> np.ndarray:
        last = [np.flatnonzero(allowed.get(j, np.ones(size)))[-1] for j, size in enumerate(self._sizes)]
        return np.where(known, codes, np.array(last, np.int16))


def test_a_model_without_such_rows_draws_none() -> None:
    rng, model = np.random.default_rng(0), Model(SCHEMA)
    second = Selection(((1, 1),), False)
    with pytest.raises(ReleaseError, match="E_CONDITION"):
        drawn_codes(model, SCHEMA, 5, rng, {1: second})  # type: ignore[arg-type]
    assert len(drawn_codes(model, SCHEMA, 5, rng, {1: Selection(((0, 0),), False)})) == 5  # type: ignore[arg-type]


def test_what_is_there_stays_when_blanks_are_filled_in() -> None:
    """To the last digit, though the schema's grid is coarser; and no blank is filled in with a blank."""
    coarse = Continuous(name="c", lower=0.0, upper=10.0, bins=5)
    schema = Schema(columns=(*SCHEMA.columns, coarse))
    table = pd.DataFrame({"b": ["x", "y", None], "c": [2.75, None, 4.125]})
    filled = imputed(Model(schema), schema, table, np.random.default_rng(0))  # type: ignore[arg-type]
    assert filled["b"].tolist() == ["x", "y", "y"]
    assert [filled["c"].iloc[0], filled["c"].iloc[2]] == [2.75, 4.125]
    assert filled.notna().all().all()


def test_a_noised_count_is_as_uncertain_as_its_noise() -> None:
    """A pair's table with noise of 3: each count has variance 9, and a column's, of two such, 18."""
    counts = np.array([[10.0, 20.0], [30.0, 40.0]])
    reported = Noised((2, 2), (Measured((0, 1), counts, 3.0, (None, None)),))
    each, column = np.eye(2)[:1], np.ones((1, 2))
    pair = Products((0, 1), (each, each))
    assert [float(v[0]) for v in reported.sums(pair)] == pytest.approx([10.0, 9.0])
    assert [float(v[0]) for v in reported.sums(Products((0,), (each,)))] == pytest.approx([30.0, 18.0])
    assert [float(v[0]) for v in reported.sums(Products((0, 1), (column, column)))] == pytest.approx([100.0, 36.0])


@pytest.mark.parametrize("sigma", [0.0, -1.0])
def test_stored_noise_is_positive(sigma: float) -> None:
    kept = stored.tensors(Noised((2, 2), (Measured((0, 1), np.ones((2, 2)), 3.0, (None, None)),)))
    assert len(stored.read((2, 2), kept)[0].tables) == 1
    with pytest.raises(ReleaseError, match="E_RELEASE_TOUCHED"):
        stored.read((2, 2), kept | {"sigma": np.array([sigma])})
