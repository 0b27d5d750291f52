"""``cohortium evaluate``: a release compared with real rows, by whoever holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.commands.reading import TABLE, Separator, Sheet, form_of
from cohortium.commands.writing import Replace, require_new
from cohortium.system.output import (
    Json,
    guarded,
    print_json,
    print_private,
    print_result,
    print_status,
    progress_if_long,
)
from cohortium.system.progress import listening


def evaluate(
    release: Annotated[Path, typer.Argument(metavar="RELEASE", help="The folder of a release.")],
    data: Annotated[Path, typer.Option("--data", help=f"Real rows of persons who took part, or some of them: {TABLE}")],
    holdout: Annotated[
        Path | None,
        typer.Option(
            "--holdout", help="Real rows of persons who took part in nothing. Without them nothing is attacked."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", metavar="COLUMN", help="A column that models predict; by default the study's. Repeat it."
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group", metavar="COLUMN", help="A column whose groups models may treat differently. Repeat it."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The .html page to write; only you may read it.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Make the same random choices again.")] = 0,
    separator: Separator = None,
    sheet: Sheet = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Compare a release with real rows: columns, pairs, models, fairness; and attack it, if persons were held out.

    Everything shown is as private as the real rows. Exit code 21 means that an attack found more than the guarantee allows.
    """
    with guarded(as_json):
        from cohortium.data.readers.tables import read_table
        from cohortium_server.release import load_release

        if out is not None:
            require_new(out, replace)
        shown, form = progress_if_long(as_json), form_of(separator, sheet)
        opened = load_release(release, progress=shown)
        wanted = [*opened.schema.names, *([opened.schema.person] if opened.schema.person else [])]
        real = read_table(data, wanted, form=form)
        others = None if holdout is None else read_table(holdout, wanted, form=form)
        with listening(shown):
            found = opened.evaluate(real, others, target, group or (), seed)
        if out is not None:
            found.write(out)
        if as_json:
            print_json(found.document)
        else:
            print_private(*found.notes, *found.sentences)
            print_status("All of this is as private as the real rows: it stays on this screen.")
            if out is not None:
                print_result(f"The page is {out}; keep it where the rows are.")
        if found.breaks:
            raise typer.Exit(21)
