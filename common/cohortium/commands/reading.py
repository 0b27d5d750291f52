"""Options of commands that read a table: how its file is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cohortium.system.output import print_private, print_status

if TYPE_CHECKING:
    from cohortium.data.readers.faults import Faults
    from cohortium.data.readers.forms import Form

TABLE = "CSV, Parquet or Excel file (.xlsx); CSV may be packed by gzip or zstd."
SEVERAL = "Repeat it for linked tables: a file's name is its table's, or write NAME=FILE."
Separator = Annotated[
    str | None,
    typer.Option(
        "--separator", help="What separates a CSV file's cells, such as ; or tab, where its first line leaves a choice."
    ),
]
Sheet = Annotated[str | None, typer.Option("--sheet", help="The sheet of a workbook, where several hold something.")]


def form_of(separator: str | None, sheet: str | None) -> Form:
    """InputError E_FORM for an invalid separator."""
    from cohortium.data.readers.forms import Form

    return Form(separator=separator, sheet=sheet)


def print_form(data: Path, form: Form) -> None:
    """Print how a file was read, where that is unusual."""
    from cohortium.data.readers.tables import seen

    for line in seen(data, form):
        print_status(f"{data.name}: {line}")


def print_faults(faults: Faults) -> None:
    """Print what was skipped in a table: for its owner alone."""
    if faults.found:
        print_private(*(f"{fault}. {fault.kind.fix}" for fault in faults.found))
