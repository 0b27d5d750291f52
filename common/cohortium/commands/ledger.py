"""``cohortium ledger show`` and ``verify``: what the people behind this institution's tables have spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.commands.output import guarded, print_json

if TYPE_CHECKING:
    from cohortium.privacy.ledger import Ledger

ledger = typer.Typer(no_args_is_help=True, help="The durable record of every answer ever given.")
Place = Annotated[
    Path | None, typer.Option("--ledger", help="A ledger file or a folder of them; by default $COHORTIUM_HOME/ledgers.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@ledger.command()
def show(
    place: Place = None,
    delta: Annotated[
        float | None, typer.Option(help="State epsilon at this delta; by default the smallest that was promised.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what every population has spent, in every ledger."""
    with guarded(as_json):
        accounts = [a for path in _files(place) for a in _accounts(path, delta)]
        if as_json:
            print_json({"ledgers": accounts})
        else:
            _print(accounts)


@ledger.command()
def verify(place: Place = None, as_json: Json = False) -> None:
    """Check every ledger's chain of entries; the first entry that does not fit is named."""
    with guarded(as_json):
        from cohortium.privacy.ledger import Ledger

        checked: list[dict[str, Any]] = []
        for path in _files(place):
            with Ledger(path) as opened:
                checked.append({"ledger": path.name, "entries": len(opened.entries()), "head": opened.head()})
        if as_json:
            print_json({"ledgers": checked})
        else:
            for c in checked:
                typer.echo(f"{c['ledger']}: {c['entries']} entries, chain intact, head {c['head'][:16]}…")


def _files(place: Path | None) -> list[Path]:
    """The ledger files of a place. A file that is asked for must be there: none is ever made by looking."""
    from cohortium.errors import LedgerError
    from cohortium.privacy.ledger import home

    where = place or home() / "ledgers"
    if place is not None and not where.exists():
        raise LedgerError("E_LEDGER_UNAVAILABLE", where.name, "there is no such ledger", "Check the path.")
    return sorted(where.glob("*.sqlite")) if where.is_dir() or place is None else [where]


def _accounts(path: Path, delta: float | None) -> list[dict[str, Any]]:
    from cohortium.privacy.ledger import Ledger

    with Ledger(path) as opened:
        return [_account(path, opened, population, delta) for population in opened.populations()]


def _account(path: Path, opened: Ledger, population: str, delta: float | None) -> dict[str, Any]:
    entries = [e for e in opened.entries() if e.charge.population == population]
    stated = delta or min(e.charge.delta for e in entries)
    spent = opened.spent(population, stated)
    return {
        "ledger": path.stem,
        "population": population,
        "answers": len(entries),
        "studies": len({e.charge.study for e in entries}),
        "runs": len({e.charge.run for e in entries}),
        "epsilon": spent.epsilon,
        "delta": stated,
        "method": spent.method,
        "check_epsilon": spent.check,
        "last": entries[-1].at,
        "head": opened.head(),
    }


def _print(accounts: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Spent so far, per person")
    for heading in ("ledger", "population", "runs", "answers", "epsilon", "at delta", "last answer"):
        table.add_column(heading, justify="right" if heading in ("runs", "answers", "epsilon", "at delta") else "left")
    for a in accounts:
        table.add_row(
            a["ledger"],
            a["population"],
            str(a["runs"]),
            str(a["answers"]),
            f"{a['epsilon']:.4f}",
            f"{a['delta']:g}",
            a["last"],
        )
    Console().print(table if accounts else "Nothing has been answered yet: there is no ledger.")
