"""``cohortium compare``: an experiment of many simulations, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.commands.reading import TABLE, Separator, Sheet, form_of
from cohortium.system.output import Json, guarded, print_json, print_private, print_result, print_status, progress


def compare(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="A TOML file: docs/compare.md.")],
    data: Annotated[Path, typer.Option("--data", help=f"All rows: {TABLE}")],
    out: Annotated[
        Path, typer.Option("--out", help="A folder for runs, table and page; runs that it holds are not run again.")
    ] = Path("comparison"),
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Processes; by default one a processor.")] = None,
    separator: Separator = None,
    sheet: Sheet = None,
    as_json: Json = False,
) -> None:
    """Compare generators, epsilons, partitions and trust modes: what would a federation gain, for whom?

    Interrupted, it goes on where it stopped. Nothing is released and no ledger is charged; what is shown is as private as the rows.
    """
    with guarded(as_json):
        from cohortium.data.readers.tables import read_table
        from cohortium_simulation.compare.comparison import compare as run

        table = read_table(data, form=form_of(separator, sheet))
        found = run(experiment, table, out, jobs=jobs, progress=progress(as_json))
        if as_json:
            failed = [{"run": r.case.label, "seed": r.case.seed, "error": r.error} for r in found.failed]
            print_json({"folder": str(out), "runs": len(found.runs), "failed": failed})
            return
        print_private(*found.sentences)
        print_status("All of this is as private as the real rows: it stays on this screen.")
        for failed_run in found.failed:
            print_status(f"refused: {failed_run.case.label}, seed {failed_run.case.seed}: {failed_run.error}")
        print_result(f"{len(found.runs)} runs in {out}; look at {out / 'compare.html'}")
