"""``cohortium ledger compact``: frees the space of answers that nobody will ask for again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cohortium.system.output import Json, guarded, print_json, print_result

if TYPE_CHECKING:
    from cohortium_client.custodian.keeping import Compacted

Site = Annotated[
    Path | None,
    typer.Option("--institution", metavar="SITE", help="The institution's folder; its file says what is kept."),
]
Place = Annotated[
    Path | None,
    typer.Option("--ledger", help="Or ledgers of simulations: a file or a folder; by default $COHORTIUM_HOME/ledgers."),
]
Days = Annotated[
    int | None, typer.Option("--days", min=1, help="A run in which nothing was answered for so many days is over.")
]
Runs = Annotated[
    list[str] | None, typer.Option("--run", help="A run that has ended, as its coordinator says; may be repeated.")
]


def compact(site: Site = None, place: Place = None, days: Days = None, run: Runs = None, as_json: Json = False) -> None:
    """Drop the bytes of answers that nobody will ask for again, and free their space; also while a custodian serves.

    Charges, the chain of entries and all receipts stay as they are. A request for an answer that was dropped is
    refused (E_ENDED), never answered anew.
    """
    if site is not None and place is not None:
        raise typer.BadParameter("name an institution or a ledger, not both", param_hint="--ledger")
    with guarded(as_json):
        done = list(_of_institution(site, days, run or []) if site else _of_ledgers(place, days, run or []))
        if as_json:
            print_json({"ledgers": [asdict(one) for one in done]})
        for one in () if as_json else done:
            _print_result(one)


def _of_institution(site: Path, days: int | None, runs: list[str]) -> Iterator[Compacted]:
    from cohortium_client.custodian.institution import load_institution
    from cohortium_client.custodian.keeping import compacted

    opened = load_institution(site)
    with opened.ledger() as ledger:
        yield compacted(ledger, opened.agreements, days or opened.file.ledger.keep_answers, runs)


def _of_ledgers(place: Path | None, days: int | None, runs: list[str]) -> Iterator[Compacted]:
    from cohortium.commands.ledger import ledger_files
    from cohortium.ledger.store import Ledger
    from cohortium_client.custodian.keeping import SILENT_FOR, compacted

    for path in ledger_files(place):
        with Ledger(path) as ledger:
            yield compacted(ledger, {}, days or SILENT_FOR, runs)


def _print_result(one: Compacted) -> None:
    from cohortium.system.checks import in_units

    print_result(
        f"{one.ledger}: {one.dropped} answers dropped, {one.kept} kept; {in_units(one.before)} before, "
        f"{in_units(one.after)} now; {one.entries} entries, chain intact, head {one.head[:16]}…"
    )
