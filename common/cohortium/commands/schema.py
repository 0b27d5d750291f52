"""``cohortium schema``: propose a schema from a table, and check one."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cohortium.commands.reading import SEVERAL, TABLE, Separator, Sheet, form_of, print_faults, print_form
from cohortium.data.readers.faults import Faults
from cohortium.errors import InputError, SchemaError
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
    out: Annotated[Path, typer.Option(help="Where to write the proposal.")],
    data: Annotated[str | None, typer.Argument(help=TABLE)] = None,
    more: Annotated[
        list[str] | None, typer.Option("--data", metavar="FILE", help=f"Or here. {SEVERAL}", show_default=False)
    ] = None,
    target: Annotated[list[str] | None, typer.Option(help="A column to predict; repeat it, or list A,B.")] = None,
    person: Annotated[
        list[str] | None,
        typer.Option(
            help="The column that identifies whose row it is; of linked tables each of its names. "
            "Looked for in these, where it is not named."
        ),
    ] = None,
    clock: Annotated[
        list[str] | None, typer.Option("--time", help="Of linked tables, a column that orders a person's rows.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A column to leave out; repeat it, or list A,B.")] = None,
    drop_bad_rows: Annotated[
        bool, typer.Option(help="Leave out rows, and take cells for missing, that cannot be read, instead of stopping.")
    ] = False,
    separator: Separator = None,
    sheet: Sheet = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
    as_json: Json = False,
) -> None:
    """Propose a schema from DATA, or from the linked tables of several files. A person must review it before it is used."""
    with guarded(as_json):
        from cohortium.commands.files import tables_of

        _refuse_overwriting(out, force)
        given = [*([data] if data else []), *(more or [])]
        files = tables_of(given)
        if not files:
            raise InputError("E_ARGUMENT", "schema draft", "no file is named", "Pass one, or several with --data.")
        form = form_of(separator, sheet)
        faults = {name: Faults(path.name, strict=not drop_bad_rows) for name, path in files.items()}
        wanted = _Wanted(_listed(target), _listed(person), _listed(drop), _listed(clock))
        proposal = _draft_linked(files, form, wanted, faults) if len(files) > 1 else _draft(files, form, wanted, faults)
        _write(out, proposal)
        if not as_json:
            for name, path in files.items():
                print_form(path, form)
                print_faults(faults[name])
        _print_draft(proposal, out, as_json)
        _print_counted(proposal.tally)
        if proposal.schema.person is None and not as_json:
            print_status(
                "Each row counts as a person of its own: where persons have several rows, name the column that identifies them (--person)."
            )


@schema.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="SCHEMA", help="Schema file.")],
    data: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help=f"A table to compare with it: {TABLE} {SEVERAL}")
    ] = None,
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
        from cohortium.commands.files import files_of
        from cohortium.data.events import PERSONS
        from cohortium.data.schema import load_schema

        declared = load_schema(path)
        if not reviewed:
            declared.require_reviewed(path.name)
        form = form_of(separator, sheet)
        compared = _compared(files_of(data, declared), form, declared) if data else None
        misfit = _none_fits(compared)
        if as_json:
            _print_document(declared, compared, misfit)
            return
        print_result(f"{path.name} is a valid schema of {len(declared.names)} columns, digest {declared.digest[:16]}.")
        breaking = compared.fits[PERSONS].breaking if compared and not declared.tables else ()
        for k, one in enumerate(declared.constraints):
            rows = f" ({breaking[k]} rows break it)" if breaking else ""
            print_result(f"Constraint {k + 1}: {one}{rows}.")
        for table in declared.tables:
            for rule in table.rules:
                print_result(f"Table {table.name!r}, rule: {rule}.")
        for file in compared.files.values() if compared else ():
            print_form(file, form)
        if compared:
            _print_compared(compared, declared)
        if misfit is not None:
            raise misfit


@dataclass(frozen=True)
class _Compared:
    """How tables, by name, fit a schema. lines: what becomes of the rows of linked ones."""

    files: Mapping[str, Path]
    fits: Mapping[str, Fit]
    faults: Mapping[str, Faults]
    lines: Sequence[str] = ()


def _print_document(declared: Schema, compared: _Compared | None, misfit: SchemaError | None) -> None:
    """The check as one JSON object; leaves with the exit code of ``misfit``."""
    from cohortium.data.events import PERSONS

    documents = _fit_documents(compared) if compared else {}
    print_json(
        {
            **({} if misfit is None else {"error": misfit.as_dict()}),
            "schema": declared.name,
            "digest": declared.digest,
            "review": list(declared.marks),
            "cells": dict(zip(declared.names, declared.sizes, strict=True)),
            "constraints": [str(one) for one in declared.constraints],
            "data": (documents if declared.tables else documents[PERSONS]) if compared else None,
        }
    )
    if compared and not declared.tables and (tally := compared.fits[PERSONS].tally):
        _print_counted(tally)
    if misfit is not None:
        raise typer.Exit(misfit.exit_code)


def _none_fits(compared: _Compared | None) -> SchemaError | None:
    """SchemaError E_MISFIT for the first table of which no row fits, or that has none; None where there is no table."""
    from cohortium.drafting.reasons import counted

    for name, found in compared.fits.items() if compared else ():
        if found.none_fits:
            where = name if compared and len(compared.fits) > 1 else "table"
            return SchemaError("E_MISFIT", where, counted(found), "See what does not fit; is it the right table?")
    return None


def _listed(options: list[str] | None) -> list[str]:
    return [name.strip() for option in options or [] for name in option.split(",") if name.strip()]


def _refuse_overwriting(out: Path, force: bool) -> None:
    if out.exists() and not force:
        what = "the file exists, and may have been reviewed"
        raise SchemaError("E_RELEASE_EXISTS", out.name, what, "Choose another name, or pass --force.")


@dataclass(frozen=True)
class _Wanted:
    """What a draft is told of columns: what is predicted, whose rows are, what is left out, what orders rows."""

    targets: Sequence[str]
    persons: Sequence[str]
    drop: Sequence[str]
    clocks: Sequence[str]


def _draft(files: Mapping[str, Path], form: Form, wanted: _Wanted, faults: Mapping[str, Faults]) -> Draft:
    from cohortium.data.readers.tables import header, read_parts
    from cohortium.drafting import draft as drafts
    from cohortium.drafting.facts import check_names

    ((name, data),) = files.items()
    if len(wanted.persons) > 1 or wanted.clocks:
        what = "one table has one column of persons, and none that orders their rows"
        raise InputError("E_ARGUMENT", "schema draft", what, "Name several files, or --person once.")
    person = next(iter(wanted.persons), None)
    targets, drop, names = wanted.targets, wanted.drop, header(data, form)
    check_names([*targets, *wanted.persons, *drop], names)
    kept = [name for name in names if name not in drop or name in targets or name == person]
    parts = read_parts(data, kept, form=form, faults=faults[name])
    return drafts.draft(parts, name or data.stem, targets, person, [name for name in drop if name in kept])


def _draft_linked(files: Mapping[str, Path], form: Form, wanted: _Wanted, faults: Mapping[str, Faults]) -> Draft:
    from functools import partial

    from cohortium.data.readers.tables import header, read_parts
    from cohortium.drafting.keys import Given
    from cohortium.drafting.linked import draft_linked

    tables = {
        name: Given(
            header(path, form),
            partial(read_parts, path, form=form, faults=faults[name]),
            partial(read_parts, path, form=form, faults=Faults(path.name)),
        )
        for name, path in files.items()
    }
    return draft_linked(tables, wanted.targets, wanted.persons, wanted.drop, wanted.clocks)


def _write(out: Path, proposal: Draft) -> None:
    from cohortium.drafting.rendering import render

    try:
        out.write_text(render(proposal), encoding="utf-8", newline="\n")
    except OSError:
        fix = "Choose a folder that exists and can be written."
        raise InputError("E_INPUT_NOT_FOUND", out.name, "it cannot be written", fix) from None


def _print_draft(proposal: Draft, out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    schema = proposal.schema
    if as_json:
        tables = {"tables": {t.name: [c.name for c in t.columns] for t in schema.tables}} if schema.tables else {}
        notes = [{k: v for k, v in asdict(n).items() if k != "table" or schema.tables} for n in proposal.notes]
        print_json({"schema": str(out), "columns": list(schema.own_names), **tables, "review": notes})
        return
    for note in proposal.notes:
        show = print_private if note.seen else print_status
        show(f"{note.where}: {'. '.join(filter(None, (note.text, note.seen)))}")
    if schema.tables:
        _print_tables(proposal)
    if any(note.seen for note in proposal.notes):
        print_status("Values shown here are private: they stay on this screen.")
    print_status(
        f"{out.name}: a proposal of {len(schema.own) + sum(len(t.columns) for t in schema.tables)} columns. Review it before you use it: go through every line "
        "marked REVIEW, then delete the line."
    )


def _print_tables(proposal: Draft) -> None:
    """Which table was taken for what."""
    schema = proposal.schema
    of_events = [t.name for t in schema.tables]
    persons = [name for name in proposal.tallies if name not in of_events]
    said = f"{persons[0]!r} is the table of persons" if persons else "no table is of persons, who have no columns"
    print_status(f"{said}; whose a row is says {schema.person!r}.")
    for table in schema.tables:
        kind = "a set of rows" if table.time is None else f"a table of events, in the order of {table.time!r},"
        print_status(f"{table.name!r} is {kind} of {table.person!r}.")


def _compared(files: Mapping[str, Path], form: Form, declared: Schema) -> _Compared:
    """Each table is read once."""
    from cohortium.data.events import PERSONS
    from cohortium.data.linked import encode_linked_parts
    from cohortium.data.readers.tables import read_parts
    from cohortium.drafting.checking import fittings
    from cohortium.drafting.tally import census_lines

    faults, by_table, tables = {n: Faults(file.name) for n, file in files.items()}, fittings(declared), {}
    for name, part in declared.parts.items():
        names = [*part.names, *([part.person] if part.person else [])]
        parts = read_parts(files[name], names, form=form, faults=faults[name])
        tables[name] = by_table[name].over(parts)
    if declared.tables:
        lines = census_lines(encode_linked_parts(tables, declared))
    else:
        lines = []
        deque(tables[PERSONS], maxlen=0)
    return _Compared(files, {name: one.found for name, one in by_table.items()}, faults, lines)


def _fit_documents(compared: _Compared) -> dict[str, object]:
    return {name: _fit_document(found, compared.faults[name]) for name, found in compared.fits.items()}


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


def _print_compared(compared: _Compared, declared: Schema) -> None:
    for name, found in compared.fits.items():
        if declared.tables:
            print_result(f"Table {name!r}:")
        _print_fit(found, declared.parts[name], compared.faults[name], not declared.tables)
    if compared.lines:
        print_result("Together:", *compared.lines)
    print_status("These counts are private: they stay on this screen.")


def _print_fit(found: Fit, declared: Schema, faults: Faults, alone: bool) -> None:
    """alone: whether it is the only table, of which a study counts some rows a person."""
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
    if found.tally and alone:
        _print_counted(replace(found.tally, rows=found.tally.fitting, left_out=0))  # those left out are listed above
