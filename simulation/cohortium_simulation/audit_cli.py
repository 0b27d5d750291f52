"""``cohortium audit``: attack the installed software on made-up persons and compare the outputs with the claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cohortium.system.output import Json, console, guarded, print_json, print_result, progress

if TYPE_CHECKING:
    from cohortium_simulation.audit import Audit

EXACT = (
    "E, the exact bound on what one person changes, needs no statistics: it is tested when the software is built, "
    "by tests/contracts/test_queries.py."
)
CAUTION = (
    "No alarm means that these attacks found no contradiction. It proves no privacy: that rests on docs/privacy.md."
)


def audit(
    study: Annotated[
        Path | None,
        typer.Option(
            "--study", help="A study.toml: its own plan, schema and privacy. By default small ones of each kind."
        ),
    ] = None,
    canaries: Annotated[
        int | None, typer.Option("--canaries", min=100, max=1_000_000, help="About how many made-up persons to try.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Attack the installed software on made-up persons. Nobody's data are read; keys and ledgers are made and thrown away."""
    with guarded(as_json):
        from cohortium.neural.device import one_thread
        from cohortium.study.study import load_study
        from cohortium_simulation.audit import ALPHA, CANARIES, SEES, builtin_studies
        from cohortium_simulation.audit import audit as run

        studies = builtin_studies() if study is None else (load_study(study),)
        with one_thread():
            audits = [run(s, canaries or CANARIES, progress(as_json)) for s in studies]
        if as_json:
            passed = not any(a.alarms for a in audits)
            print_json({"passed": passed, "alpha": ALPHA, "sees": SEES, "audits": [a.document() for a in audits]})
        else:
            _show(audits, SEES)
        _end(audits, as_json)


def _end(audits: Sequence[Audit], as_json: bool) -> None:
    """An alarm is an error; with JSON only the exit code shows it, so that one object is printed."""
    from cohortium.errors import AuditError

    rang = [f"{f.detector} {f.name}" for a in audits for f in a.alarms]
    if not rang:
        return
    if as_json:
        raise typer.Exit(AuditError.exit_code)
    raise AuditError(
        "E_AUDIT",
        "audit",
        f"{len(rang)} of the tests contradict what is claimed: {', '.join(dict.fromkeys(rang))}",
        "Answer no study with this installation. Repeat the audit, then report it.",
    )


def _show(audits: Sequence[Audit], sees: dict[str, str]) -> None:
    screen = console()
    for one in audits:
        screen.print(_table(one))
    for detector, words in sees.items():
        print_result(f"{detector} {words}")
    print_result(EXACT)
    if not all(a.forks for a in audits):
        print_result("Forked processes were not tested: this system has none, or they did not answer in time.")
    print_result(CAUTION)


def _table(one: Audit) -> object:
    from rich.table import Table

    table = Table(
        title=f"Study {one.study}: {one.canaries} canaries in {one.institutions} institutions, {one.seconds:.0f} s"
    )
    for heading in ("", "test", "of", "found", "claimed", "verdict"):
        table.add_column(heading)
    letter = ""
    for f in one.findings:
        if f.detector != letter:
            table.add_section()
            letter = f.detector
        table.add_row(f.detector, f.name, f.where, f.found, f.claimed, "ALARM" if f.alarm else "no alarm")
    return table
