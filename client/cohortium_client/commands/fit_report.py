"""Reports on the owner's terminal how many of the table's rows fit the studies that are answered, while the custodian serves.

A custodian answers from the rows that fit, however few, and nothing that leaves says how many. Its log may be collected by
machines that must not see its table. Where standard error is not a terminal, no row is therefore read for this report, and the
line that announces the custodian says where to look instead, the same whatever the rows hold. Serving does not wait for it: the
rows are read in a thread, part by part, each schema once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from cohortium.errors import CohortiumError
from cohortium.study.study import Study
from cohortium.system import logs
from cohortium.system.output import print_private
from cohortium_client.custodian.institution import Institution
from cohortium_client.source.source import faults_of, read_tables

ELSEWHERE = "what fits the schema is shown on a terminal only: cohortium institution check {}"


def on_a_terminal() -> bool:
    """Whether standard error is read by a person, as far as can be known."""
    return not logs.structured() and sys.stderr.isatty()


@contextmanager
def reporting_fit(institution: Institution, studies: Sequence[Study]) -> Iterator[None]:
    """Report it while the ``with`` block runs; after the block nothing reads the table."""
    if not (studies and on_a_terminal()):
        yield
        return
    ended = Event()
    reader = Thread(target=_report, args=(institution, studies, ended), name="fit report")
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join()


def _report(institution: Institution, studies: Sequence[Study], ended: Event) -> None:
    for study in {study.schema.digest: study for study in studies}.values():
        try:
            lines = how_rows_fit(institution, study, ended)
        except (CohortiumError, OSError) as error:
            lines = [f"its table cannot be read now: {error}"]
        if not ended.is_set():
            print_private(*(f"study {study.name!r}: {line}" for line in lines))


def how_rows_fit(institution: Institution, study: Study, ended: Event) -> list[str]:
    """Lines for a screen: how many rows of the institution's table fit a study's schema, and why the others do not."""
    from cohortium.drafting.checking import fittings
    from cohortium.drafting.reasons import HERE, counted_in_all, in_lines_of_all

    schema, by_table = study.schema, fittings(study.schema)
    tables = read_tables(institution.file.source, institution.folder, schema, faults_of(schema))
    for name, parts in tables.items():
        for _ in by_table[name].over(parts):
            if ended.is_set():
                return []
    found = {name: fitting.found for name, fitting in by_table.items()}
    return in_lines_of_all(found, schema) or [f"{counted_in_all(found)} {HERE}"]
