"""``cohortium schema``: propose a schema from a table, and check one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cohortium.commands.reading import TABLE, Separator, Sheet, form_of, print_faults, print_form
from cohortium.data.readers.faults import Faults
from cohortium.errors import SchemaError
from cohortium.system.output import Json, guarded, print_json, print_private, print_result, print_status

if TYPE_CHECKING:
    from cohortium.data.readers.forms import Form
    from cohortium.data.schema import Schema
    from cohortium.drafting.checking import Fit
    from cohortium.drafting.draft import Draft
    from cohortium.drafting.tally import Tally

schema = typer.Typer(no_args_is_help=True, help="Propose a table's schema, and check one.")


@schema.command()
def draft(
    data: Annotated[Path, typer.Argument(help=TABLE)],
    out: Annotated[Path, typer.Option(help="Where to write the proposal.")],
    target: Annotated[list[str] | None, typer.Option(help="A column to predict; repeat it, or list A,B.")] = None,
    person: Annotated[str | None, typer.Option(help="The column that identifies whose row it is.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A column to leave out; repeat it, or list A,B.")] = None,
    drop_bad_rows: Annotated[
        bool, typer.Option(help="Leave out rows, and take cells for missing, that cannot be read, instead of stopping.")
    ] = False,
    separator: Separator = None,
    sheet: Sheet = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
    as_json: Json = False,
) -> None:
    """Propose a schema from DATA. A person must review it before it is used."""
    with guarded(as_json):
        _refuse_overwriting(out, force)
        form = form_of(separator, sheet)
        faults = Faults(data.name, strict=not drop_bad_rows)
        proposal = _draft(data, form, _listed(target), person, _listed(drop), faults)
        _write(out, proposal)
        if not as_json:
            print_form(data, form)
            print_faults(faults)
        _print_draft(proposal, out, as_json)
        _print_counted(proposal.tally)
        if person is None and not as_json:
            print_status(
                "Each row counts as a person of its own: where persons have several rows, name the column that identifies them (--person)."
            )


@schema.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="SCHEMA", help="Schema file.")],
    data: Annotated[Path | None, typer.Option(help=f"A table to compare with it: {TABLE}")] = None,
    separator: Separator = None,
    sheet: Sheet = None,
    drop_bad_rows: Annotated[bool, typer.Option(help="Has no effect any more: check goes on in any case.")] = False,
    reviewed: Annotated[bool, typer.Option("--reviewed", help="Go on although lines are still marked REVIEW.")] = False,
    as_json: Json = False,
) -> None:
    """Check SCHEMA, and how the rows of --data fit it; the counts stay on this screen. A draft must be reviewed first.

    What cannot be read is reported with its place, and passed over as a custodian would.
    """
    with guarded(as_json):
        from cohortium.data.schema import load_schema

        declared = load_schema(path)
        if not reviewed:
            declared.require_reviewed(path.name)
        faults = Faults(data.name if data else "")
        form = form_of(separator, sheet)
        found = _fit(data, form, declared, faults) if data else None
        misfit = _none_fits(found)
        if as_json:
            _print_document(declared, found, faults, misfit)
            return
        print_result(f"{path.name} is a valid schema of {len(declared.names)} columns, digest {declared.digest[:16]}.")
        for k, one in enumerate(declared.constraints):
            rows = f" ({found.breaking[k]} rows break it)" if found else ""
            print_result(f"Constraint {k + 1}: {one}{rows}.")
        if data:
            print_form(data, form)
        if found:
            _print_fit(found, declared, faults)
        if misfit is not None:
            raise misfit


def _print_document(declared: Schema, found: Fit | None, faults: Faults, misfit: SchemaError | None) -> None:
    """The check as one JSON object; leaves with the exit code of ``misfit``."""
    print_json(
        {
            **({} if misfit is None else {"error": misfit.as_dict()}),
            "schema": declared.name,
            "digest": declared.digest,
            "review": list(declared.marks),
            "cells": dict(zip(declared.names, declared.sizes, strict=True)),
            "constraints": [str(one) for one in declared.constraints],
            "data": _fit_document(found, faults) if found else None,
        }
    )
    if found and found.tally:
        _print_counted(found.tally)
    if misfit is not None:
        raise typer.Exit(misfit.exit_code)


def _none_fits(found: Fit | None) -> SchemaError | None:
    """SchemaError E_MISFIT for a table of which no row fits, or that has none; None where there is no table."""
    if found is None or not found.none_fits:
        return None
    from cohortium.drafting.reasons import counted

    return SchemaError("E_MISFIT", "table", counted(found), "See what does not fit; is it the right table?")


def _listed(options: list[str] | None) -> list[str]:
    return [name.strip() for option in options or [] for name in option.split(",") if name.strip()]


def _refuse_overwriting(out: Path, force: bool) -> None:
    if out.exists() and not force:
        what = "the file exists, and may have been reviewed"
        raise SchemaError("E_RELEASE_EXISTS", out.name, what, "Choose another name, or pass --force.")


def _draft(data: Path, form: Form, targets: list[str], person: str | None, drop: list[str], faults: Faults) -> Draft:
    from cohortium.data.readers.tables import header, read_parts
    from cohortium.drafting import draft as drafts
    from cohortium.drafting.facts import check_names

    names = header(data, form)
    check_names([*targets, *([person] if person else []), *drop], names)
    kept = [name for name in names if name not in drop or name in targets or name == person]
    parts = read_parts(data, kept, form=form, faults=faults)
    return drafts.draft(
        parts, data.name.partition(".")[0] or data.stem, targets, person, [name for name in drop if name in kept]
    )


def _write(out: Path, proposal: Draft) -> None:
    from cohortium.drafting.rendering import render
    from cohortium.errors import InputError

    try:
        out.write_text(render(proposal), encoding="utf-8", newline="\n")
    except OSError:
        fix = "Choose a folder that exists and can be written."
        raise InputError("E_INPUT_NOT_FOUND", out.name, "it cannot be written", fix) from None


def _print_draft(proposal: Draft, out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        columns = list(proposal.schema.names)
        print_json({"schema": str(out), "columns": columns, "review": [asdict(note) for note in proposal.notes]})
        return
    for note in proposal.notes:
        show = print_private if note.seen else print_status
        show(f"{note.column!r}: {'. '.join(filter(None, (note.text, note.seen)))}")
    if any(note.seen for note in proposal.notes):
        print_status("Values shown here are private: they stay on this screen.")
    print_status(
        f"{out.name}: a proposal of {len(proposal.schema.names)} columns. Review it before you use it: go through every line "
        "marked REVIEW, then delete the line."
    )


def _fit(data: Path, form: Form, declared: Schema, faults: Faults) -> Fit:
    from cohortium.data.encoding import require_flat
    from cohortium.data.readers.tables import read_parts
    from cohortium.drafting.checking import fit

    require_flat(declared)
    names = [*declared.names, *([declared.person] if declared.person else [])]
    return fit(read_parts(data, names, form=form, faults=faults), declared)


def _fit_document(found: Fit, faults: Faults) -> dict[str, object]:
    from dataclasses import asdict

    misfits = [{"told" if k == "silent" else k: v for k, v in asdict(misfit).items()} for misfit in found.misfits]
    counts = {name: value for name, value in asdict(found).items() if name not in ("nobodys", "tally", "absent")}
    return {**counts, "misfits": misfits, "unread": [fault.as_dict() for fault in faults.found]}


def _print_counted(tally: Tally) -> None:
    """How many rows a study would count: exact counts, which stay on the institution's own screen."""
    from cohortium.drafting.tally import tally_lines

    if lines := tally_lines(tally):
        print_private(*lines)


def _print_fit(found: Fit, declared: Schema, faults: Faults) -> None:
    from cohortium.drafting.reasons import reasons

    for fault in faults.found:
        print_result(f"{fault}. {fault.kind.fix}")
    print_result(f"{found.rows - found.left_out} of {found.rows} rows fit, {found.left_out} would be left out.")
    for name, words in found.words.items():
        shown = ", ".join(f"{json.dumps(word, ensure_ascii=False)} ({count} cells)" for word, count in words.items())
        print_result(
            f"{name!r}: taken for missing: {shown}. What is a value, declare as a category or take out of missing."
        )
    for reason in reasons(found, declared):
        if reason.column is not None:
            print_result(f"{reason.column!r}: {reason.what}. {reason.fix}")
    if found.nobodys:
        print_result(f"{found.nobodys} rows have no person and are left out.")
    if found.tally:
        _print_counted(replace(found.tally, rows=found.tally.fitting, left_out=0))  # those left out are listed above
    print_status("These counts are private: they stay on this screen.")
