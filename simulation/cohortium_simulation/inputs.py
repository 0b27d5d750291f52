"""The inputs of a simulation: one file, read, compared with the schema, and split into institutions' tables.

The counts made here are for the screen of the file's owner, and go nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pandas as pd

from cohortium.commands.reading import print_faults
from cohortium.data.encoding import Codes
from cohortium.data.readers.faults import Faults
from cohortium.data.readers.forms import Form
from cohortium.data.readers.tables import read_parts
from cohortium.data.schema import Schema
from cohortium.drafting.checking import Fit, Fitting
from cohortium.drafting.reasons import counted, in_lines
from cohortium.drafting.tally import tally_lines, tally_of
from cohortium.errors import SchemaError
from cohortium.study.study import Study
from cohortium.system.output import print_private, print_status
from cohortium_simulation.layout import Layout


def read_tables(
    data: Path, form: Form, schema: Schema, layout: Layout, seed: int | None, drop_bad_rows: bool
) -> dict[str, pd.DataFrame]:
    """A table for each institution. SchemaError E_MISFIT, before anything is charged, where no row fits the schema."""
    faults, fitting = Faults(data.name, strict=not drop_bad_rows), Fitting(schema)
    parts = read_parts(data, layout.columns(schema), form=form, faults=faults)
    table = pd.concat(fitting.over(parts), ignore_index=True)
    print_faults(faults)
    _report_fit(fitting.found, schema)
    tables = layout.split(table, schema, np.random.default_rng(seed))
    if left := len(table) - sum(map(len, tables.values())):
        print_status(
            f"{left} of {len(table)} rows take part nowhere: no institution is declared for their value of {layout.by!r}"
        )
    if empty := [name for name, part in tables.items() if part.empty]:
        print_status(f"without rows, and answering all the same: {', '.join(empty)}")
    return tables


def _report_fit(found: Fit, schema: Schema) -> None:
    if misfits := in_lines(found, schema):
        print_private(*misfits)
    if found.rows and found.none_fits:
        raise SchemaError(
            "E_MISFIT", "table", counted(found), "The lines above list what does not fit. Nothing was charged."
        )


def report_counted(codes: Mapping[str, Codes], study: Study) -> None:
    """Print how many rows the study will count, and what would change that."""
    tallies = [tally_of(one, study.schema) for one in codes.values()]
    for name, one in zip(codes, tallies, strict=True):
        if one.rows and not one.fitting:
            print_private(f"{name!r}: none of its {one.rows} rows fits the schema; it answers from none.")
    p = study.privacy
    if tallies and (lines := tally_lines(reduce(add, tallies), p.rows_per_person, p.equal_weight, "the study says")):
        print_private(*lines)
