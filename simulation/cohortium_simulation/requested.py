"""The study that a command line requests: a study file, or a schema and options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from cohortium.data.schema import Schema, load_schema
from cohortium.errors import StudyError
from cohortium.study.study import Study, load_study
from cohortium_simulation.experiment import as_study
from cohortium_simulation.layout import Layout, laid_out

BESIDE_A_STUDY = frozenset(
    {
        "data",
        "out",
        "reviewed",
        "study",
        "by",
        "institution",
        "skew",
        "seed",
        "ledger",
        "population",
        "cap",
        "drop_bad_rows",
        "separator",
        "sheet",
        "as_json",
        "replace",
    }
)
"""The only options that may stand beside a study file; the file itself decides everything else."""


@dataclasses.dataclass(frozen=True)
class Split:
    """How the table is to be split: among a number of ``institutions``, or ``by`` a column, with ``declared`` ones."""

    institutions: int | None
    by: str | None
    declared: Sequence[str]
    skew: float | None


def of_file(path: Path, split: Split, reviewed: bool) -> tuple[Study, Layout]:
    """The study in a file, and its layout; SchemaError E_REVIEW where its schema is a draft and ``reviewed`` is false."""
    study = load_study(path)
    study = dataclasses.replace(study, schema=_without_marks(study.schema, reviewed, path.name))
    return study, laid_out(study.schema, None, split.by, split.declared, split.skew, study.institution_names)


def public_schema(path: Path | None, reviewed: bool) -> Schema:
    """The schema in a file; StudyError E_PLAN_INVALID without one, SchemaError E_REVIEW where it is a draft."""
    if path is None:
        raise StudyError("E_PLAN_INVALID", "simulate", "the table is not described", "Pass --schema, or --study.")
    return _without_marks(load_schema(path), reviewed, path.name)


def of_options(
    public: Schema, split: Split, privacy: Mapping[str, Any], generator: Mapping[str, Any], rows: int | None
) -> tuple[Study, Layout]:
    """The study of a schema and options, and its layout."""
    layout = laid_out(public, split.institutions, split.by, split.declared, split.skew)
    return as_study(public, layout.names, privacy, generator, rows), layout


def _without_marks(schema: Schema, reviewed: bool, name: str) -> Schema:
    if reviewed:
        schema = schema.reviewed()
    schema.require_reviewed(name)
    return schema


def require_no_study_options(ctx: typer.Context) -> None:
    """StudyError E_PLAN_INVALID where the command line has an option that the study file decides."""
    given = {name for name in ctx.params if _on_command_line(ctx, name)}
    if clashing := ", ".join(sorted(f"--{name.replace('_', '-')}" for name in given - BESIDE_A_STUDY)):
        raise StudyError(
            "E_PLAN_INVALID", "--study", f"{clashing}: the study decides it", "Leave it out, or edit the study."
        )


def _on_command_line(ctx: typer.Context, option: str) -> bool:
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def promise(epsilon: float | None, delta: float | None, no_privacy: bool) -> dict[str, Any]:
    """How a study's privacy section begins: with epsilon and delta, or with ``mode = "none"``, and never with both."""
    given = _given({"epsilon": epsilon, "delta": delta})
    if no_privacy and given:
        raise StudyError(
            "E_PLAN_PRIVACY", "--no-privacy", "it promises no epsilon and no delta", "Pass the one or the other."
        )
    if not no_privacy and len(given) < 2:
        raise StudyError("E_PLAN_PRIVACY", "simulate", "a promise is missing", "Pass --epsilon and --delta.")
    return {"mode": "none"} if no_privacy else given


def trusting(trust: str | None, dropouts: int, colluders: int) -> dict[str, Any]:
    """The trust mode and its numbers as far as they were given; the study fills in the rest."""
    return _given({"trust": trust, "dropouts": dropouts or None, "colluders": colluders or None})


def counting(rows: int, institutions: int, equal_weight: str) -> dict[str, Any]:
    """What of a person counts: rows at an institution, at how many institutions, and what weighs the same."""
    return {"rows_per_person": rows, "institutions_per_person": institutions, "equal_weight": equal_weight}


def generator_section(
    kind: str | None, targets: Sequence[str], trained: Mapping[str, Any], schema: Schema
) -> dict[str, Any]:
    """A study's generator section. kind: None for the schema's own (``kind_for``). targets: ``A`` or ``A,B`` each.

    trained: of trained generators; None where not given.
    """
    return {
        "kind": kind or kind_for(schema),
        "targets": [name for text in targets for name in text.split(",")],
        **_given(trained),
    }


def kind_for(schema: Schema) -> str:
    """The kind of generator for a schema where none is asked for."""
    return "histories" if schema.tables else "sweep"


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
