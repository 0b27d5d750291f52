"""Turns an outcome into a release: draw, judge, write, sign."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Events, codes_at, table_at
from cohortium.data.schema import Schema
from cohortium.ledger.location import home
from cohortium.study.consent import require_signable
from cohortium.study.study import dumps_schema, dumps_study
from cohortium.study.wording import UNMASKED
from cohortium.system import failpoints
from cohortium.system.canonical import canonical_json
from cohortium.system.keys import load_or_create_key
from cohortium.system.progress import Silent
from cohortium.system.versions import version_of
from cohortium_server.gate import Verdict, judge
from cohortium_server.generators import Measured, Tensors
from cohortium_server.release.account import account, guarantee_documents, privacy_unit
from cohortium_server.release.answers import Answers
from cohortium_server.release.answers.stored import FILE as ANSWERS
from cohortium_server.release.carried import Carried, carried
from cohortium_server.release.folder import is_of, new_folder
from cohortium_server.release.linked import drawn_rows, file_of, tables_of
from cohortium_server.release.manifest import FORMS, write_manifest
from cohortium_server.release.page.evidence import Evidence
from cohortium_server.release.tables import write_table
from cohortium_server.rounds.rounds import Outcome

NOTICE = "Differentially private is not the same as anonymous by law: have the guarantee judged for your purpose."


def write_release(
    outcome: Outcome, out: Path, seed: int | None = None, learn: bool = False, replace: bool = False
) -> Path:
    """Draw, judge and write a release into the folder ``out``, whole or not at all.

    learn: store the laws of the model's errors, from two more fits, so that queries need not wait for them.
    Raises ReleaseError E_GATE if the gate refuses, E_RELEASE_EXISTS if ``out`` holds anything but a release of
    the same run, or with ``replace`` any release: what was put there meanwhile stays, and the new release is beside it;
    NotPrivateError E_NOT_PRIVATE for a study without privacy, which has no release (unprotected.py); SchemaError
    E_REVIEW for a study whose schema is a draft with marks left.
    """
    from safetensors.numpy import save_file

    require_signable(outcome.study)
    rng = np.random.default_rng(seed)
    rows = outcome.study.release.rows or outcome.generator.rows
    drawn = drawn_rows(outcome.generator, outcome.study.schema, rows, rng)
    synthetic = codes_at(drawn.index, outcome.study.schema)
    verdict = judge(outcome, synthetic, drawn.events)
    verdict.require()
    table, tables = table_at(drawn.index, outcome.study.schema), tables_of(drawn, outcome.study.schema, rng)
    # alone: nobody waits for what the model adds
    answers = Answers.of(outcome.study, outcome.generator, alone=True, released=lambda: table)
    kept = _carried(outcome, synthetic)
    with new_folder(out, replace or is_of(out, outcome.run)) as folder:
        for name, one in tables.items():
            for suffix in (".parquet", ".csv"):
                write_table(one, folder / f"{file_of(name)}{suffix}")
        write_model(folder, outcome)
        save_file(_answering(outcome, learn), folder / ANSWERS)
        (folder / "study.toml").write_text(dumps_study(outcome.study), encoding="utf-8", newline="\n")
        (folder / "schema.toml").write_text(dumps_schema(outcome.study.schema), encoding="utf-8", newline="\n")
        (folder / "ledger.json").write_text(json.dumps(account(outcome), indent=1), encoding="utf-8", newline="\n")
        (folder / "report.html").write_text(
            _report(outcome, synthetic, drawn.events, verdict, answers, kept), encoding="utf-8", newline="\n"
        )
        for path in folder.iterdir():
            path.chmod(0o644)  # a release is for everybody
        failpoints.passed("release written")
        signer = load_or_create_key(home() / FORMS[outcome.kind].key)
        statement = _statement(outcome, rows, verdict, kept) | counted_events(outcome.study.schema, drawn.events)
        write_manifest(folder, statement, signer, outcome.kind)
        failpoints.passed("manifest signed")
    failpoints.passed("release published")
    return out


def _answering(outcome: Outcome, learn: bool) -> Tensors:
    """The basis of answers. If the errors' law cannot be found, the release, which was paid for, is written without it."""
    progress = getattr(outcome.generator, "progress", None) or Silent()
    answers = changed(Answers.of(outcome.study, outcome.generator), progress=progress)
    try:
        return answers.tensors(learn)
    except np.linalg.LinAlgError:
        return answers.tensors()


def write_model(folder: Path, outcome: Outcome, mark: str = "") -> None:
    """Write ``model.safetensors`` and the files it refers to; with ``mark``, their names begin with it and they say so inside."""
    from safetensors.numpy import save_file

    tensors = {k: np.ascontiguousarray(v) for k, v in outcome.generator.tensors().items()}
    save_file(tensors, folder / f"{mark}model.safetensors", {"privacy": "none"} if mark else None)
    described = {
        **({"privacy": "none"} if mark else {}),
        "kind": outcome.study.generator.kind,
        "tensors": {k: list(v.shape) for k, v in tensors.items()},
        "rows": outcome.generator.rows,
    }
    (folder / f"{mark}model.json").write_bytes(canonical_json(described))


def _carried(outcome: Outcome, synthetic: npt.NDArray[np.int16]) -> Carried:
    study, generator = outcome.study, outcome.generator
    evidence = Evidence(study.schema.sizes, synthetic, generator.measured, generator.rows)
    return carried(study.schema, study.target_indices, evidence)


def _statement(outcome: Outcome, rows: int, verdict: Verdict, kept: Carried) -> dict[str, Any]:
    return {
        "study": outcome.study.digest,
        "name": outcome.study.name,
        "run": outcome.run,
        "rows": rows,
        "unit": privacy_unit(outcome.study),
        "guarantee": asdict(outcome.spent.cost),
        "guarantees": guarantee_documents(outcome),
        "trust": outcome.study.privacy.trust,
        **({} if outcome.masked else {"masks": UNMASKED}),
        "institutions": list(outcome.study.institution_names),
        "generator": outcome.study.generator.kind,
        "verdict": [asdict(c) for c in verdict.criteria],
        "carries": kept.document(),
        "software": software(),
        "notice": NOTICE,
    }


def counted_events(schema: Schema, events: Sequence[Events]) -> dict[str, Any]:
    """How many rows each table of events has, where there are any, for the manifest."""
    each = {t.name: len(one) for t, one in zip(schema.tables, events, strict=True)}
    return {"events": each} if each else {}


def software() -> dict[str, str]:
    names = ("cohortium", "torch", "numpy", "dp-accounting", "flwr")
    return {"python": platform.python_version(), **{name: version_of(name) for name in names}}


def _report(
    outcome: Outcome, synthetic: Any, events: tuple[Events, ...], verdict: Verdict, answers: Answers, kept: Carried
) -> str:
    from cohortium_server.release.report import Facts, render_report

    provenance = {"study digest": outcome.study.digest, "run": outcome.run, **software()}
    measured: Sequence[Measured] = outcome.generator.measured
    return render_report(
        Facts(
            outcome.kind,
            outcome.study,
            outcome.spent,
            synthetic,
            tuple(measured),
            outcome.generator.rows,
            verdict.criteria,
            provenance,
            outcome.generator.curves,
            answers,
            kept,
            outcome.masked,
            events,
            getattr(outcome.generator, "steps", None),
        )
    )
