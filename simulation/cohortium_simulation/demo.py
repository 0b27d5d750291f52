"""The demo: COVID-19 tests in six institutions of very different sizes, from bundled public data to a signed release."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cohortium.data.encoding import encode
from cohortium.data.schema import Schema, load_schema
from cohortium.errors import ReleaseError
from cohortium.evaluation.fidelity import tvd
from cohortium.ledger.caps import Cap
from cohortium.ledger.store import Ledger
from cohortium.system.documents import load_json
from cohortium.system.progress import Progress
from cohortium_server.release import Release
from cohortium_simulation.experiment import Ledgers, as_study, simulate
from cohortium_simulation.partition import by_column

NAME = "clinics-covid-2020"
INSTITUTION = "institution"
INSTITUTIONS = ("clinical-lab", "emergency", "inpatient-wards", "intensive-care", "network", "oncology")
DELTA = 1e-6
CAP = 10.0
INSTITUTIONS_PER_PERSON = 2  # true of the bundled table (data/NOTICE)


def run_demo(
    generator: str, epsilon: float, out: Path, seed: int | None, progress: Progress, trust: str | None = None
) -> dict[str, Any]:
    """Run the demo into the folder ``out``, from scratch each time, with ledgers of its own. Returns a JSON object."""
    began = time.monotonic()
    table, schema = demo_data()
    parts = by_column(table, INSTITUTION, {name: (name,) for name in INSTITUTIONS})
    tables = {name: part.drop(columns=INSTITUTION) for name, part in parts.items()}
    privacy = {
        "epsilon": epsilon,
        "delta": DELTA,
        "rows_per_person": 1,
        "institutions_per_person": INSTITUTIONS_PER_PERSON,
        **({} if trust is None else {"trust": trust}),
    }
    study = as_study(
        schema,
        INSTITUTIONS,
        privacy,
        {"kind": generator},
        None,
        NAME,
        "share a test cohort for triage models",
    )
    _fresh(out)
    ledgers = Ledgers(out / "ledgers", "children-tested-2020", Cap(CAP, DELTA))
    release = simulate(
        study, tables, out / "release", seed=seed, ledgers=ledgers, progress=progress, learn=True, replace=True
    )
    return {
        "release": str(release.path),
        "report": str(release.path / "report.html"),
        "generator": generator,
        "trust": study.privacy.trust,
        "rows": release.manifest["rows"],
        "guarantee": release.manifest["guarantee"],
        "institutions_per_person": INSTITUTIONS_PER_PERSON,
        "spent": [_spent(ledgers, name) for name in tables],
        "fidelity": compare(table, release, np.random.default_rng(0)),
        "seconds": time.monotonic() - began,
    }


def demo_data() -> tuple[pd.DataFrame, Schema]:
    """The bundled table, all institutions together, and its schema."""
    folder = files("cohortium_simulation") / "data"
    with as_file(folder / "covid_testing.parquet") as data, as_file(folder / "schema.toml") as schema:
        return pd.read_parquet(data), load_schema(schema)


def _fresh(out: Path) -> None:
    """Remove what an earlier demo left in ``out``; anything else there is refused and stays."""
    if out.exists() and not _is_demos(out):
        raise ReleaseError(
            "E_RELEASE_EXISTS",
            out.name,
            "it holds something that is not an earlier demo",
            "Choose another folder with --out.",
        )
    shutil.rmtree(out, ignore_errors=True)


def _is_demos(out: Path) -> bool:
    """Whether all in a folder is a demo's: somebody's own ledgers and release may lie side by side under the same names."""
    if not out.is_dir() or not {p.name for p in out.iterdir()} <= {"ledgers", "release"}:
        return False
    ledgers = [p.name.partition(".")[0] for p in (out / "ledgers").glob("[!.]*")]
    try:
        released = load_json(out / "release" / "manifest.json").get("name")
    except FileNotFoundError:
        released = NAME
    except (OSError, ValueError, AttributeError):
        released = None
    return set(ledgers) <= set(INSTITUTIONS) and released == NAME


def _spent(ledgers: Ledgers, institution: str) -> dict[str, Any]:
    with Ledger(ledgers.folder / f"{institution}.sqlite") as ledger:
        spent = ledger.spent(str(ledgers.population), DELTA)
        return {
            "institution": institution,
            "answers": len(ledger.charges()),
            "epsilon": spent.epsilon,
            "delta": spent.delta,
        }


def compare(real: pd.DataFrame, release: Release, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Distances from the real table: of the release, of independently shuffled columns, and of one random half to the other."""
    anonymous = replace(release.schema, person=None)
    codes, synthetic = (encode(table, anonymous).values for table in (real, release.synthetic))
    apart = rng.permuted(codes, axis=0)
    half, other = np.array_split(rng.permutation(codes), 2)
    words = {1: "one column", 2: "two columns", 3: "three columns"}
    sizes = release.schema.sizes
    return [
        {
            "tables": words[k],
            "release": tvd(codes, synthetic, sizes, k),
            "independent": tvd(codes, apart, sizes, k),
            "real_half": tvd(half, other, sizes, k),
        }
        for k in words
    ]
