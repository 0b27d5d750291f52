"""Numbers and moments that say nothing but wide bounds keep their shape, from the institutions' tables to the release."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cohortium.data.binning import merged_sizes
from cohortium.data.encoding import encode
from cohortium.data.schema import Schema, schema_from_document
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.histograms import NestedHistograms
from cohortium.queries.marginals import Marginals
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium_server.generators import Sum, generator_class
from cohortium_server.release import Release, load_release
from cohortium_simulation.experiment import simulate

NAMES = ("north", "south", "west")
CODES = tuple(f"{letter}{k:02d}" for letter in "ABCDE" for k in range(40))


def schema() -> Schema:
    """What somebody writes who knows little: bounds far wider than the values, the flat rate, no bins, a whole list of codes."""
    return schema_from_document(
        {
            "column": [
                {
                    "name": "cost",
                    "kind": "continuous",
                    "lower": -1_000_000,
                    "upper": 10_000_000,
                    "decimals": 2,
                    "points": [1250],
                },
                {"name": "age", "kind": "continuous", "lower": 0, "upper": 120, "nullable": True},
                {"name": "seen", "kind": "datetime", "lower": "1990-01-01", "upper": "2030-12-31"},
                {"name": "code", "kind": "categorical", "categories": list(CODES)},
                {"name": "ill", "kind": "boolean", "target": True},
            ]
        }
    )


def visits(rows: int, seed: int) -> pd.DataFrame:
    """A third of the costs are nothing, some are the flat rate; ages are rounded to tens by a few; three codes are common."""
    rng = np.random.default_rng(seed)
    ill = rng.random(rows) < 0.3
    cost = np.exp(rng.normal(5 + ill, 1.2, rows)).round(2)
    cost = np.where(rng.random(rows) < 0.33, 0.0, np.where(rng.random(rows) < 0.15, 1250.0, cost))
    age = rng.normal(45 + 20 * ill, 12, rows).clip(0, 105).round()
    age = np.where(rng.random(rows) < 0.2, age.round(-1), age)
    common = rng.choice(CODES[:3], rows, p=[0.5, 0.3, 0.2])
    return pd.DataFrame(
        {
            "cost": cost,
            "age": np.where(rng.random(rows) < 0.1, np.nan, age),
            "seen": pd.Timestamp("2021-03-01") + pd.to_timedelta(rng.integers(0, 90, rows), "D"),
            "code": np.where(rng.random(rows) < 0.8, common, rng.choice(CODES[100:140], rows)),
            "ill": ill,
        }
    )


TABLES = {name: visits(9_000, seed) for seed, name in enumerate(NAMES)}
REAL = pd.concat(TABLES.values(), ignore_index=True)


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(
        name="visits",
        schema=schema(),
        privacy=Privacy(epsilon=2.0, delta=1e-6, trust="secure-sum"),
        generator=Sweep(components=60),
        institutions=tuple(Institution(name=n) for n in NAMES),
    )


@pytest.fixture(scope="module")
def release(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("shapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COHORTIUM_HOME", str(folder / "home"))
        simulate(study, TABLES, folder / "release", seed=1)
        return load_release(folder / "release")


def distance(real: pd.Series, synthetic: pd.Series) -> float:
    """Of Kolmogorov and Smirnov."""
    if real.dtype.kind == "M":
        real, synthetic = (values.astype("datetime64[s]") for values in (real, synthetic))
    one, other = (np.sort(values.dropna().to_numpy().astype(np.float64)) for values in (real, synthetic))
    at = np.union1d(one, other)
    below = (np.searchsorted(values, at, side="right") / len(values) for values in (one, other))
    return float(np.abs(np.subtract(*below)).max())


def test_two_rounds_cost_no_more_than_was_promised(study: Study) -> None:
    agreed = plan(study)
    assert [p.name for p in agreed.phases] == ["columns", "pairs"]
    assert agreed.cost.epsilon <= study.privacy.epsilon
    columns, pairs = agreed.phases
    assert isinstance(columns.query, NestedHistograms)
    assert columns.query.width < sum(study.schema.sizes) + 3 * (16 + 128 + 2)
    assert isinstance(pairs.query, Marginals)
    assert 10 * pairs.query.width < sum(math.prod(study.schema.sizes[j] for j in t) for t in pairs.query.tables)
    coarse = replace(study, schema=Schema(columns=study.schema.columns[4:]))
    assert [p.name for p in plan(coarse).phases] == ["pairs"]  # nothing is merged, nothing is asked before


def test_shapes_are_kept(release: Release) -> None:
    synthetic = release.synthetic
    for name in ("cost", "age", "seen"):
        assert distance(REAL[name], synthetic[name]) < 0.05, name
    far = REAL["cost"].max()  # the bounds are hundreds of times as far
    assert synthetic["cost"].between(-0.001 * far, 2 * far).mean() > 0.9
    assert synthetic["seen"].between(pd.Timestamp("2021-01-01"), pd.Timestamp("2021-08-01")).mean() > 0.9


def test_values_that_many_share_are_kept_to_the_digit(release: Release) -> None:
    share = (release.synthetic["cost"] == 0).mean()
    assert share == pytest.approx((REAL["cost"] == 0).mean(), abs=0.01)
    share = (release.synthetic["cost"] == 1250).mean()
    assert share == pytest.approx((REAL["cost"] == 1250).mean(), abs=0.01)


def test_values_lie_on_their_grid(release: Release) -> None:
    synthetic = release.synthetic
    cents = synthetic["cost"] * 100
    assert (cents - cents.round()).abs().max() < 1e-6
    assert str(synthetic["age"].dtype) == "Int64"
    assert (synthetic["seen"] == synthetic["seen"].dt.normalize()).all()
    assert synthetic["age"].isna().mean() == pytest.approx(0.1, abs=0.02)


def test_a_long_list_keeps_its_common_codes_and_something_of_the_others(release: Release, study: Study) -> None:
    assert merged_sizes(study.schema, 16)[3] == 64
    real, synthetic = (t["code"].value_counts(normalize=True) for t in (REAL, release.synthetic))
    for code in CODES[:3]:
        assert synthetic[code] == pytest.approx(real[code], abs=0.02)
    rare = synthetic.reindex(CODES[100:140]).fillna(0).sum()
    assert rare == pytest.approx(real.reindex(CODES[100:140]).sum(), abs=0.05)


def test_relations_are_kept_over_merged_cells(release: Release) -> None:
    for table in (REAL, release.synthetic):
        ages = table.groupby("ill")["age"].mean()
        assert ages[True] - ages[False] == pytest.approx(20, abs=3)


def test_conditions_hold_to_the_value_and_blanks_are_filled(release: Release) -> None:
    old = release.sample(300, where={"age": 93}, seed=1)
    assert (old["age"] == 93).all()
    table = release.sample(50, seed=2)
    table.loc[:, "cost"] = np.nan
    filled = release.impute(table)
    assert filled["cost"].notna().all()
    known = table["age"].notna()
    assert (filled["age"][known] == table["age"][known]).all()


def test_a_table_of_nobody_is_still_a_table(study: Study) -> None:
    alone = replace(study, institutions=study.institutions[:1], privacy=Privacy(epsilon=1.0, delta=1e-6))
    generator = generator_class("sweep")(alone, 1)
    nobody = encode(visits(3, 0).iloc[:0], alone.schema)
    for phase in plan(alone).phases:
        query = generator.ask()
        assert query is not None
        generator.tell(
            Sum(query, query.answer(nobody, phase.multiplier, SecureRandomness()).values, 1, phase.multiplier)
        )
    assert generator.ask() is None
    assert generator.sample(50, np.random.default_rng(0), {}).shape == (50, 5)


def test_trained_generators_spread_as_well(study: Study, home: Path, tmp_path: Path) -> None:
    alone, privacy = study.institutions[:1], Privacy(epsilon=8.0, delta=1e-6)
    trained = replace(study, generator=Autoregressive(rounds=3, steps=2), privacy=privacy, institutions=alone)
    real = TABLES["north"]["cost"]
    made = simulate(trained, {"north": TABLES["north"]}, tmp_path / "trained", seed=1).synthetic["cost"]
    assert distance(real, made) < 0.1
    assert (made < 2 * real.max()).mean() > 0.9
