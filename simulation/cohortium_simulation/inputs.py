"""The inputs of a simulation: its files, read, compared with the schema, and split into institutions' tables.

The counts made here are for the screen of the file's owner, and go nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pandas as pd

from cohortium.commands.reading import print_faults
from cohortium.data.encoding import Codes
from cohortium.data.events import PERSONS
from cohortium.data.readers.faults import Faults
from cohortium.data.readers.forms import Form
from cohortium.data.readers.tables import read_parts
from cohortium.data.schema import Schema
from cohortium.drafting.checking import Fit, Fitting, fittings
from cohortium.drafting.reasons import counted, in_lines_of_all
from cohortium.drafting.tally import census_lines, tally_lines, tally_of
from cohortium.errors import SchemaError
from cohortium.study.study import Study
from cohortium.system.output import print_private, print_status
from cohortium_simulation.holdings import Held
from cohortium_simulation.layout import Layout


def read_tables(
    files: Mapping[str, Path], form: Form, schema: Schema, layout: Layout, seed: int | None, drop_bad_rows: bool
) -> Mapping[str, Held]:
    """A table for each institution, or its tables by name. files: of ``commands/files.py: files_of``.

    SchemaError E_MISFIT, before anything is charged, where no row fits the schema.
    """
    read = {}
    for name, fitting in fittings(schema).items():
        read[name] = _read(files[name], form, layout.columns(schema, name), fitting, drop_bad_rows)
        _report_fit(fitting.found, schema, name)
    rng = np.random.default_rng(seed)
    if schema.tables:
        return _split_linked(read, schema, layout, rng)
    table = read[PERSONS]
    tables = layout.split(table, schema, rng)
    if left := len(table) - sum(map(len, tables.values())):
        print_status(
            f"{left} of {len(table)} rows take part nowhere: no institution is declared for their value of {layout.by!r}"
        )
    _report_empty([name for name, part in tables.items() if part.empty])
    return tables


def _read(data: Path, form: Form, columns: Sequence[str], fitting: Fitting, drop_bad_rows: bool) -> pd.DataFrame:
    faults = Faults(data.name, strict=not drop_bad_rows)
    table = pd.concat(fitting.over(read_parts(data, columns, form=form, faults=faults)), ignore_index=True)
    print_faults(faults)
    return table


def _split_linked(
    read: Mapping[str, pd.DataFrame], schema: Schema, layout: Layout, rng: np.random.Generator
) -> Mapping[str, Held]:
    tables = layout.split_linked(read, schema, rng)
    for name, table in read.items():
        if left := len(table) - sum(len(held[name]) for held in tables.values()):
            print_status(f"{name}: {left} of {len(table)} rows take part nowhere: no institution has their person")
    _report_empty([name for name, held in tables.items() if all(part.empty for part in held.values())])
    return tables


def _report_empty(names: Sequence[str]) -> None:
    if names:
        print_status(f"without rows, and answering all the same: {', '.join(names)}")


def _report_fit(found: Fit, schema: Schema, name: str) -> None:
    if misfits := in_lines_of_all({name: found}, schema):
        print_private(*misfits)
    if found.rows and found.none_fits:
        where = name if schema.tables else "table"
        raise SchemaError(
            "E_MISFIT", where, counted(found), "The lines above list what does not fit. Nothing was charged."
        )


def report_counted(codes: Mapping[str, Codes], study: Study) -> None:
    """Print how many rows the study will count, and what would change that."""
    if study.schema.tables:
        print_private(*(f"{name!r}, {line}" for name, one in codes.items() for line in census_lines(one)))
        return
    tallies = [tally_of(one, study.schema) for one in codes.values()]
    for name, one in zip(codes, tallies, strict=True):
        if one.rows and not one.fitting:
            print_private(f"{name!r}: none of its {one.rows} rows fits the schema; it answers from none.")
    p = study.privacy
    if tallies and (lines := tally_lines(reduce(add, tallies), p.rows_per_person, p.equal_weight, "the study says")):
        print_private(*lines)
