"""What many tests need: a small public schema, tables of made-up people, a study, and a home of their own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fits
import pandas as pd
import pytest
import typer.testing
from effort import PHASES, examples
from hypothesis import settings
from visits import NAMES, everybody

from cohortium import cli
from cohortium.data.schema import Schema, schema_from_document
from cohortium.ledger.store import Ledger
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.study import Institution, Privacy, Study

if TYPE_CHECKING:  # most tests need neither, and importing them takes longer than most tests
    from cohortium_server.release import Release

SUPPORT = Path(__file__).parent / "support"
CONTRACTS = ("generator_contract", "network_contract", "query_contract", "source_contract")
pytest.register_assert_rewrite(*({p.stem for p in SUPPORT.glob("*.py")} - set(sys.modules)), *CONTRACTS)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Of processes that share the tests, each has a folder of a short name: a socket's path has some hundred bytes at most."""
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        config.option.basetemp = Path(config.option.basetemp).with_name(worker["workerid"].removeprefix("gw"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pgm is fitted with a library that is not installed for everybody (the extra ``pgm``; ``make pgm`` installs it)."""
    if find_spec("mbi") is not None:
        return
    missing = pytest.mark.skip(reason="the extra pgm is not installed")
    for item in items:
        kind = getattr(item, "callspec", None)
        if kind is not None and kind.params.get("kind") == "pgm":
            item.add_marker(missing)


# A busy machine is not a fault. Examples are counted in tests/support/effort.py; what says no number tries hypothesis' 100.
settings.register_profile("untimed", settings(), deadline=None, max_examples=examples(100), phases=PHASES)
settings.load_profile("untimed")

# To make the command line takes a fifth of a second, and tests call it a thousand times: it is made once in a process.
cli.build = cache(cli.build)
typer.testing._get_command = cache(typer.testing._get_command)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys and ledgers of a test lie in its own folder."""
    monkeypatch.setenv("COHORTIUM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def schema() -> Schema:
    return schema_from_document(
        {
            "name": "visits",
            "column": [
                {"name": "id", "person": True},
                {"name": "sex", "kind": "categorical", "categories": ["f", "m"]},
                {"name": "age", "kind": "continuous", "lower": 0, "upper": 100, "bins": 5},
                {"name": "ward", "kind": "categorical", "categories": ["a", "b", "c"], "nullable": True},
                {"name": "seen", "kind": "datetime", "lower": "2020-01-01", "upper": "2020-12-31", "bins": 4},
                {"name": "urgent", "kind": "boolean"},
                {"name": "result", "kind": "categorical", "categories": ["negative", "positive"], "target": True},
            ],
        }
    )


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    return everybody()


@pytest.fixture(scope="session")
def study(schema: Schema) -> Study:
    return Study(
        name="visits",
        schema=schema,
        privacy=Privacy(epsilon=5.0, delta=1e-6),
        generator=Sweep(components=60),
        institutions=tuple(Institution(name=n) for n in NAMES),
    )


@pytest.fixture(scope="session")
def training_study(study: Study) -> Study:
    return replace(study, generator=Autoregressive(rounds=3, steps=2))


@pytest.fixture
def with_privacy(study: Study) -> Callable[..., Study]:
    """The study with some privacy parameters changed."""

    def change(**changes: Any) -> Study:
        return replace(study, privacy=replace(study.privacy, **changes))

    return change


@pytest.fixture(scope="session")
def _released(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release, and the home of those who made it."""
    from cohortium_simulation.experiment import simulate

    folder = tmp_path_factory.mktemp("released")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COHORTIUM_HOME", str(folder / "home"))
        fits.shorten(patch.setattr)
        patch.setattr(Ledger, "drop", lambda ledger, runs: 0)  # tests look at what was sent
        simulate(study, everybody(), folder / "release", seed=1)
    return folder


@pytest.fixture
def release(_released: Path, home: Path, tmp_path: Path) -> Release:
    """A release of ``study`` over ``tables``, for the test to spoil."""
    from cohortium_server.release import load_release

    shutil.copytree(_released / "home", home)
    shutil.copytree(_released / "release", tmp_path / "release")
    return load_release(tmp_path / "release")


@pytest.fixture
def short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of all that is around a fit and not of how good it is."""
    fits.shorten(monkeypatch.setattr)
