"""The demo: COVID-19 tests in six institutions of very different sizes, from bundled public data to a signed release."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cohortium.data.encoding import encode
from cohortium.data.events import PERSONS
from cohortium.data.schema import Schema, load_schema
from cohortium.errors import ReleaseError
from cohortium.evaluation.fidelity import tvd
from cohortium.evaluation.histories import distances, halves, independent
from cohortium.ledger.caps import Cap
from cohortium.ledger.store import Ledger
from cohortium.study.study import Study
from cohortium.system.documents import load_json
from cohortium.system.progress import Progress
from cohortium_server.release import Release
from cohortium_simulation.experiment import Ledgers, as_study, simulate
from cohortium_simulation.layout import Layout
from cohortium_simulation.made_up import DEMOS, MadeUp
from cohortium_simulation.partition import by_column

NAME = "clinics-covid-2020"
INSTITUTION = "institution"
INSTITUTIONS = ("clinical-lab", "emergency", "inpatient-wards", "intensive-care", "network", "oncology")
DELTA = 1e-6
CAP = 10.0
SPLIT = 11  # how made-up persons are split among their institutions: the same every time
DEMOS_OF = {NAME: INSTITUTIONS, **{made.name: made.institutions for made in DEMOS.values()}}
INSTITUTIONS_PER_PERSON = 2  # true of the bundled table (data/NOTICE)


def run_demo(
    generator: str, epsilon: float, out: Path, seed: int | None, progress: Progress, trust: str | None = None
) -> dict[str, Any]:
    """Run the demo into the folder ``out``, from scratch each time, with ledgers of its own. Returns a JSON object."""
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
    return _run(
        study,
        tables,
        "children-tested-2020",
        out,
        seed,
        progress,
        lambda r: compare(table, r, np.random.default_rng(0)),
    )


def run_made_up(
    data: MadeUp, epsilon: float, out: Path, seed: int | None, progress: Progress, trust: str | None = None
) -> dict[str, Any]:
    """The same on made-up persons with events (made_up.py), under masks unless something else is asked for."""
    schema, tables = data.schema, data.tables
    privacy = {"epsilon": epsilon, "delta": DELTA, "trust": trust or "secure-sum"}
    study = as_study(schema, data.institutions, privacy, {"kind": "histories"}, None, data.name, data.about)
    layout = Layout(dict.fromkeys(data.institutions, ()))
    parts = layout.split_linked(tables, schema, np.random.default_rng(SPLIT))
    return _run(study, parts, data.name, out, seed, progress, lambda r: compare_histories(tables, r))


def _run(
    study: Study,
    tables: Mapping[str, Any],
    population: str,
    out: Path,
    seed: int | None,
    progress: Progress,
    compared: Callable[[Release], list[dict[str, Any]]],
) -> dict[str, Any]:
    began = time.monotonic()
    _fresh(out)
    ledgers = Ledgers(out / "ledgers", population, Cap(CAP, DELTA))
    release = simulate(
        study, tables, out / "release", seed=seed, ledgers=ledgers, progress=progress, learn=True, replace=True
    )
    return {
        "release": str(release.path),
        "report": str(release.path / "report.html"),
        "generator": study.generator.kind,
        "trust": study.privacy.trust,
        "rows": release.manifest["rows"],
        "guarantee": release.manifest["guarantee"],
        "institutions_per_person": study.privacy.institutions_per_person,
        "spent": [_spent(ledgers, name) for name in tables],
        "fidelity": compared(release),
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
        released = next((name for name, known in DEMOS_OF.items() if set(ledgers) <= set(known)), None)
    except (OSError, ValueError, AttributeError):
        released = None
    return set(ledgers) <= set(DEMOS_OF.get(released, ())) and released in DEMOS_OF


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


def compare_histories(real: Mapping[str, pd.DataFrame], release: Release) -> list[dict[str, Any]]:
    """Distances from the real events: of the release, of columns shuffled over all events, and of one half of the persons to the other."""
    schema, rng = release.schema, np.random.default_rng(0)
    half, other = halves(schema, real, PERSONS, rng)
    found = (
        distances(schema, real, release.tables),
        distances(schema, real, independent(schema, real, rng)),
        distances(schema, half, other),
    )
    return [
        {
            "tables": f"{r['table']}: {r['what']}",
            "release": r["distance"],
            "independent": i["distance"],
            "real_half": h["distance"],
        }
        for r, i, h in zip(*found, strict=True)
    ]
