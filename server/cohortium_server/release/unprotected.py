"""The output of a study without privacy: a folder in which every file says so.

File names begin with ``NOT-PRIVATE-``. The CSV file begins with a line that a reader cannot miss, the Parquet and safetensors
files say it in their metadata, the JSON documents in an entry and the page in a red banner. No epsilon appears anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jinja2 import Environment, StrictUndefined

from cohortium.data.encoding import codes_at
from cohortium.errors import ReleaseError, StudyError
from cohortium.ledger.location import home
from cohortium.study.study import dumps_schema, dumps_study
from cohortium.system.keys import load_or_create_key
from cohortium_server.gate import Verdict, sound
from cohortium_server.release.folder import new_folder, require_free
from cohortium_server.release.linked import drawn_rows, file_of, tables_of
from cohortium_server.release.manifest import FORMS, MANIFEST, MARK, UNPROTECTED, write_manifest
from cohortium_server.release.page.columns import column_views
from cohortium_server.release.page.drawing import bars
from cohortium_server.release.page.evidence import Evidence
from cohortium_server.release.page.numerals import number, percent
from cohortium_server.release.tables import safe_for_spreadsheets
from cohortium_server.release.writing import counted_events, software, write_model
from cohortium_server.rounds.rounds import Outcome

WARNING = (
    "This release has no privacy protection: it was made from the real tables without noise and may hold what single "
    "persons' rows say. It is for research on public tables. Guard it like the tables it was made from."
)


def write_unprotected(outcome: Outcome, out: Path, seed: int | None = None) -> Path:
    """Draw and write the output of a study without privacy into the folder ``out``, whole or not at all.

    Raises StudyError E_PLAN_PRIVACY for a study with privacy; SchemaError E_REVIEW for a draft's; ReleaseError as ``require_free_of_releases``, or E_GATE
    where rows or model are broken.
    """
    if outcome.study.privacy.mode != "none":
        raise StudyError("E_PLAN_PRIVACY", "release", "its study promises privacy", "Release it with write_release.")
    outcome.study.schema.require_reviewed()
    require_free_of_releases(out)
    rng = np.random.default_rng(seed)
    rows = outcome.study.release.rows or outcome.generator.rows
    drawn = drawn_rows(outcome.generator, outcome.study.schema, rows, rng)
    synthetic = codes_at(drawn.index, outcome.study.schema)
    verdict = sound(outcome, synthetic, drawn.events)
    verdict.require()
    with new_folder(out, replace=True) as folder:
        for name, table in tables_of(drawn, outcome.study.schema, rng).items():
            _write_table(folder, file_of(name), table)
        write_model(folder, outcome, MARK)
        (folder / "study.toml").write_text(dumps_study(outcome.study), encoding="utf-8", newline="\n")
        (folder / "schema.toml").write_text(dumps_schema(outcome.study.schema), encoding="utf-8", newline="\n")
        (folder / f"{MARK}ledger.json").write_text(
            json.dumps(_account(outcome), indent=1), encoding="utf-8", newline="\n"
        )
        (folder / f"{MARK}report.html").write_text(_report(outcome, synthetic), encoding="utf-8", newline="\n")
        statement = _statement(outcome, len(synthetic), verdict) | counted_events(outcome.study.schema, drawn.events)
        signer = load_or_create_key(home() / FORMS["not-private"].key)
        write_manifest(folder, statement, signer, "not-private")
        for path in folder.iterdir():
            path.chmod(0o600)  # for its owner only
        folder.chmod(0o700)
    return out


def require_free_of_releases(out: Path) -> None:
    """ReleaseError E_RELEASE_EXISTS if ``out`` holds anything but an older folder of this kind: a release was paid for."""
    require_free(out)
    if (out / MANIFEST).is_file() and f'"format":"{UNPROTECTED}"'.encode() not in (out / MANIFEST).read_bytes():
        raise ReleaseError("E_RELEASE_EXISTS", out.name, "it holds a release with privacy", "Choose another folder.")


def _write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = pa.Table.from_pandas(table, preserve_index=False)
    marked = plain.replace_schema_metadata({**(plain.schema.metadata or {}), "privacy": "none", "warning": WARNING})
    pq.write_table(marked, folder / f"{MARK}{name}.parquet")
    with (folder / f"{MARK}{name}.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(f'"# NOT PRIVATE. {WARNING}"\n')
        safe_for_spreadsheets(table).to_csv(file, index=False, lineterminator="\n")


def _account(outcome: Outcome) -> Mapping[str, Any]:
    """The queries, in place of a release's ``ledger.json``: nobody was charged, and nothing is guaranteed."""
    asked = [{"phase": p.name, "rounds": p.rounds, "query": p.query.describe()} for p in outcome.plan.phases]
    return {
        "privacy": "none",
        "warning": WARNING,
        "run": outcome.run,
        "study": outcome.study.digest,
        "asked": asked,
        "charged": [],
    }


def _statement(outcome: Outcome, rows: int, verdict: Verdict) -> dict[str, Any]:
    return {
        "privacy": "none",
        "warning": WARNING,
        "study": outcome.study.digest,
        "name": outcome.study.name,
        "run": outcome.run,
        "rows": rows,
        "trust": outcome.study.privacy.trust,
        "institutions": list(outcome.study.institution_names),
        "generator": outcome.study.generator.kind,
        "verdict": [asdict(c) for c in verdict.criteria],
        "software": software(),
    }


def _report(outcome: Outcome, synthetic: npt.NDArray[np.int16]) -> str:
    """The page, with synthetic shares beside the real ones; no other report shows real ones."""
    study, generator = outcome.study, outcome.generator
    evidence = Evidence(study.schema.sizes, synthetic, generator.measured, generator.rows)
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(percent=percent, number=number)
    page.globals.update(bars=bars, style=_file("report.css"))
    return page.from_string(_file("unprotected.html")).render(
        warning=WARNING,
        study=study,
        phases=outcome.plan.phases,
        rows=len(synthetic),
        columns=column_views(study.schema.columns, evidence),
        provenance={"study digest": study.digest, "run": outcome.run, **software()},
    )


def _file(name: str) -> str:
    return (resources.files("cohortium_server.release.page") / name).read_text(encoding="utf-8")
