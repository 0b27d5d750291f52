"""``cohortium ledger show``, ``verify`` and ``export``: what the people behind this institution's tables have spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.commands.output import guarded, print_json

if TYPE_CHECKING:
    from cohortium.privacy.accounting import Gaussian
    from cohortium.privacy.ledger import Charge, Ledger

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
    """Check every ledger's chain of entries, and every message; the first that does not fit is named."""
    with guarded(as_json):
        from cohortium.privacy.ledger import Ledger

        checked: list[dict[str, Any]] = []
        for path in _files(place):
            with Ledger(path) as opened:
                checked.append({"ledger": path.name, "entries": opened.verify(), "head": opened.head()})
        if as_json:
            print_json({"ledgers": checked})
        else:
            for c in checked:
                typer.echo(f"{c['ledger']}: {c['entries']} entries, chain intact, head {c['head'][:16]}…")


@ledger.command()
def export(
    place: Place = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; by default standard output.")] = None,
) -> None:
    """Write every entry as a line of JSON, for auditors: what was agreed and charged, with its hashes. No message's bytes."""
    with guarded():
        from cohortium.files import write_whole

        text = "".join(line for path in _files(place) for line in _lines(path))
        if out is None:
            typer.echo(text, nl=False)
        else:
            write_whole(out, text.encode())


def _lines(path: Path) -> list[str]:
    import json
    from dataclasses import asdict

    from cohortium.privacy.ledger import Ledger

    with Ledger(path) as opened:
        opened.verify()
        entries = opened.entries()
    kinds = [type(e.record).__name__.lower() for e in entries]
    return [
        json.dumps({"ledger": path.name, "kind": kind, **asdict(e)}) + "\n"
        for e, kind in zip(entries, kinds, strict=True)
    ]


def _files(place: Path | None) -> list[Path]:
    """The ledger files of a place. A file that is asked for must be there: none is ever made by looking."""
    from cohortium.errors import LedgerError
    from cohortium.privacy.ledger import home

    where = place or home() / "ledgers"
    if where.is_dir() or place is None:
        lost = (p.with_suffix("") for p in where.glob("*.sqlite.head"))  # a ledger whose witness is left is opened too
        return sorted({*where.glob("*.sqlite"), *lost})
    if not where.exists() and not where.with_name(where.name + ".head").exists():
        raise LedgerError("E_LEDGER_UNAVAILABLE", where.name, "there is no such ledger", "Check the path.")
    return [where]


def _accounts(path: Path, delta: float | None) -> list[dict[str, Any]]:
    from cohortium.privacy.ledger import Ledger

    with Ledger(path) as opened:
        return [_account(path, opened, population, delta) for population in opened.populations()]


def _account(path: Path, opened: Ledger, population: str, delta: float | None) -> dict[str, Any]:
    from cohortium.privacy.ledger import Charge

    given = [(e.record, e.at) for e in opened.entries() if isinstance(e.record, Charge)]
    charges = [charge for charge, _ in given if charge.population == population]
    stated = delta or min(c.delta for c in charges)
    spent = opened.spent(population, stated)
    return {
        "ledger": path.stem,
        "population": population,
        "answers": len(charges),
        "studies": len({c.study for c in charges}),
        "runs": len({c.run for c in charges}),
        "epsilon": spent.epsilon,
        "delta": stated,
        "method": spent.method,
        "check_epsilon": spent.check,
        "attack_rate": _risk(charges, [e for c in charges for e in c.events]),
        "epsilon_bare": opened.spent_bare(population, stated).epsilon,
        "attack_rate_bare": _risk(charges, [e for c in charges for e in c.bare or c.events]),
        "last": [at for charge, at in given if charge.population == population][-1],
        "head": opened.head(),
    }


def _risk(charges: list[Charge], events: list[Gaussian]) -> float:
    """How many of 100 persons who took part any test can find at 1 in 100 false alarms, after ``events`` of ``charges``."""
    from cohortium.privacy.accounting import attack_rate

    deltas = {c.run: c.delta for c in charges}  # each run's noise may be as far from ideal noise as its delta allows
    return attack_rate(events, min(1.0, sum(deltas.values())))


def _print(accounts: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from cohortium.privacy.guarantee import in_hundred, risk_words

    table = Table(title="Spent so far here, per person", box=SIMPLE)
    numbers = ("answers", "epsilon", "collusion", "at delta", "in 100")
    for heading in ("ledger", "population", *numbers):
        named = heading in ("ledger", "population")
        table.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=not named, overflow="fold")
    for a in accounts:
        table.add_row(
            a["ledger"],
            a["population"],
            str(a["answers"]),
            f"{a['epsilon']:.4f}",
            f"{a['epsilon_bare']:.4f}",
            f"{a['delta']:g}",
            in_hundred(a["attack_rate"]),
        )
    Console().print(table if accounts else "Nothing has been answered yet: there is no ledger.")
    if accounts:
        most, bare = (max(a[k] for a in accounts) for k in ("attack_rate", "attack_rate_bare"))
        Console().print(
            "In 100 persons who took part, so many can be found by who is wrong about 1 in 100 who did not."
        )
        Console().print(f"The most that the coordinator can do with what one institution sent: {risk_words(most)}")
        if bare > most:
            Console().print(f"With everything that all other institutions sent, it is {in_hundred(bare)} in 100.")
