"""``cohortium ledger``: what the people behind this institution's tables have spent, and backups of that record.

``backup`` is for the system's administrator. A restoration takes several persons and so several commands: the institution
runs ``request-restore`` and ``restore`` (its own commands), its restorers run ``restorer-key`` and ``sign-restore``, each
where their key is. The command that applies a restoration signs nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.commands.writing import Replace, require_new
from cohortium.system.output import Json, console, epsilon_words, guarded, print_json, print_result

if TYPE_CHECKING:
    from cohortium.ledger.records import Charge
    from cohortium.ledger.store import Ledger
    from cohortium.privacy.accounting import Cost, Events

ledger = typer.Typer(no_args_is_help=True, help="The durable record of every answer ever given.")
Place = Annotated[
    Path | None, typer.Option("--ledger", help="A ledger file or a folder of them; by default $COHORTIUM_HOME/ledgers.")
]


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
        accounts = [a for path in ledger_files(place) for a in _accounts(path, delta)]
        if as_json:
            print_json({"ledgers": accounts})
        else:
            _print(accounts)


@ledger.command()
def verify(place: Place = None, as_json: Json = False) -> None:
    """Check every ledger's chain of entries, and every message; the first that does not fit is named."""
    with guarded(as_json):
        checked = [one for path in ledger_files(place) for one in _verified(path)]
        if as_json:
            print_json({"ledgers": checked})
        else:
            for c in checked:
                print_result(f"{c['ledger']}: {c['entries']} entries, chain intact, head {c['head'][:16]}…")


@ledger.command()
def export(
    place: Place = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; by default standard output.")] = None,
    replace: Replace = False,
) -> None:
    """Write every entry as a line of JSON, for auditors: what was agreed and charged, with its hashes. No message's bytes."""
    with guarded():
        from cohortium.system.files import write_whole

        if out is not None:
            require_new(out, replace)
        text = "".join(line for path in ledger_files(place) for line in _lines(path))
        if out is None:
            typer.echo(text, nl=False)  # JSON, whose escapes are in it
        else:
            write_whole(out, text.encode())


@ledger.command()
def backup(
    place: Annotated[Path, typer.Option("--ledger", help="The ledger's file.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; it must not be there yet.")],
    as_json: Json = False,
) -> None:
    """Copy a ledger, also while its custodian serves. The copy is read back and verified."""
    with guarded(as_json):
        from cohortium.ledger.backup import back_up
        from cohortium.ledger.shelf import require_alone
        from cohortium.ledger.store import Ledger

        (path,) = ledger_files(place) if not place.is_dir() else [place]
        require_alone(path)
        with Ledger(path) as opened:
            made = back_up(opened, out)
        if as_json:
            print_json({"backup": str(out), **asdict(made)})
        else:
            print_result(f"{out}: {made.entries} entries, chain intact, head {made.head}")


@ledger.command(name="restorer-key")
def restorer_key(
    out: Annotated[Path, typer.Option("--out", help="The private key's file; only this person can read it.")],
    as_json: Json = False,
) -> None:
    """Make the key of one of an institution's restorers, or show the public part of the one that is there."""
    with guarded(as_json):
        from cohortium.system.keys import load_or_create_key, public_text

        public = public_text(load_or_create_key(out))
        if as_json:
            print_json({"key": str(out), "public": public})
        else:
            print_result(f'For restorers = [...] in institution.toml: "{public}"')


@ledger.command(name="sign-restore")
def sign_restore(
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="What cohortium ledger request-restore wrote.")],
    key: Annotated[Path, typer.Option("--key", help="The private key of the restorer who signs.")],
    as_json: Json = False,
) -> None:
    """Sign a request to restore a ledger, after reading it."""
    with guarded(as_json):
        from cohortium.ledger.restoration import in_words, read_request, signed, write_request
        from cohortium.system.keys import load_key

        done = signed(read_request(request), load_key(key))
        write_request(request, done)
        if as_json:
            print_json({"request": done.request.digest, "signers": list(done.signers)})
        else:
            print_result(*in_words(done.request).splitlines())
            print_result(f"Signed by {len(done.signers)}: {', '.join(done.signers)}")


def _lines(path: Path) -> list[str]:
    import json

    from cohortium.ledger.shelf import is_shelf, opened

    lines = []
    with opened(path) as ledgers:
        for name, ledger in ledgers:
            ledger.verify()
            file = f"{name}.sqlite" if is_shelf(path) else path.name
            entries = ((type(e.record).__name__.lower(), e) for e in ledger.entries())
            lines += [json.dumps({"ledger": file, "kind": kind, **asdict(e)}) + "\n" for kind, e in entries]
    return lines


def _verified(path: Path) -> list[dict[str, Any]]:
    """The verification of a file's ledgers; those of a shelf share a chain, and are reported as one."""
    from cohortium.ledger.shelf import Shelf, is_shelf
    from cohortium.ledger.store import Ledger

    with Shelf(path) if is_shelf(path) else Ledger(path) as ledger:
        return [{"ledger": path.name, "entries": ledger.verify(), "head": ledger.head()}]


def ledger_files(place: Path | None) -> list[Path]:
    """The ledger files of a place. A file that is named must exist: looking never creates one."""
    from cohortium.errors import LedgerError
    from cohortium.ledger.location import home

    where = place or home() / "ledgers"
    if where.is_dir() or place is None:
        lost = (p.with_suffix("") for p in where.glob("*.sqlite.head"))  # a ledger whose witness is left is opened too
        return sorted({*where.glob("*.sqlite"), *lost})
    if not where.exists() and not where.with_name(where.name + ".head").exists():
        raise LedgerError("E_LEDGER_UNAVAILABLE", where.name, "there is no such ledger", "Check the path.")
    return [where]


def _accounts(path: Path, delta: float | None) -> list[dict[str, Any]]:
    from cohortium.ledger.shelf import opened

    with opened(path) as ledgers:
        return [_account(name, one, population, delta) for name, one in ledgers for population in one.populations()]


def _account(name: str, opened: Ledger, population: str, delta: float | None) -> dict[str, Any]:
    from cohortium.ledger.history import ALL_COLLUDING
    from cohortium.ledger.records import Charge

    given = [(e.record, e.at) for e in opened.entries() if isinstance(e.record, Charge)]
    mine = [(charge, at) for charge, at in given if charge.population == population]
    charges = [charge for charge, _ in mine]
    stated = delta or _least_delta(opened, charges)
    spent, bare = opened.spent(population, stated), opened.spent_if_all_collude(population, stated)
    return {
        "ledger": name,
        "population": population,
        "answers": len(charges),
        "studies": len({c.study for c in charges}),
        "runs": len({c.run for c in charges}),
        "epsilon": spent.bound,
        "delta": stated,
        "method": spent.method,
        "check_epsilon": None if spent.bound is None else spent.check,
        "attack_rate": _risk(opened, charges, opened.events(population), spent),
        "epsilon_bare": bare.bound,
        "attack_rate_bare": _risk(opened, charges, opened.events(population, ALL_COLLUDING), bare),
        "last": mine[-1][1] if mine else None,
        "head": opened.head(),
        "restored": opened.restored_at,
        "presumed": None if opened.presumed is None else asdict(opened.presumed),
    }


def _least_delta(opened: Ledger, charges: list[Charge]) -> float:
    """The smallest that was promised; after a restoration beside the one that is presumed."""
    presumed = opened.presumed
    promised = min((c.delta for c in charges), default=0.0)
    return promised if presumed is None else presumed.delta + promised


def _risk(opened: Ledger, charges: list[Charge], events: Events, spent: Cost) -> float:
    """How many of 100 persons who took part any test can find at 1 in 100 false alarms, after ``events`` of ``charges``.

    Each run's noise may be as far from ideal noise as its delta allows. Of what is presumed no more is known than one
    point of the curve, which has all of delta in it.
    """
    from cohortium.privacy.accounting import FALSE_POSITIVES, attack_rate, max_true_positive_rate

    if opened.presumed is not None:
        return (
            max_true_positive_rate(FALSE_POSITIVES, (spent.epsilon,), (spent.delta,))
            if spent.bound is not None
            else 1.0
        )
    deltas = {c.run: c.delta for c in charges}
    return attack_rate(events, min(1.0, sum(deltas.values())))


def _print(accounts: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from cohortium.study.guarantee import in_hundred, risk_words

    table = Table(title="Spent so far here, per person", box=SIMPLE)
    numbers = ("answers", "epsilon", "collusion", "at delta", "found of 100")
    for heading in ("ledger", "population", *numbers):
        named = heading in ("ledger", "population")
        table.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=not named, overflow="fold")
    for a in accounts:
        table.add_row(
            a["ledger"],
            a["population"],
            str(a["answers"]),
            epsilon_words(a["epsilon"]),
            epsilon_words(a["epsilon_bare"]),
            f"{a['delta']:g}",
            in_hundred(a["attack_rate"]),
        )
    console().print(table if accounts else "Nothing has been answered yet: there is no ledger.")
    for a in (a for a in accounts if a["presumed"] is not None):
        p = a["presumed"]
        console().print(
            f"{a['ledger']} was restored on {a['restored'][:10]}: of what its people had spent before, epsilon "
            f"{p['epsilon']:g} at delta {p['delta']:g} is presumed; two persons signed it."
        )
    if accounts:
        most, bare = (max(a[k] for a in accounts) for k in ("attack_rate", "attack_rate_bare"))
        console().print(
            "Found of 100: of 100 persons who took part, how many somebody can find at most who is wrong about 1 of 100 who did not."
        )
        console().print(f"The most that the coordinator can do with what one institution sent: {risk_words(most)}")
        if bare > most:
            console().print(f"With everything that all other institutions sent, it is {in_hundred(bare)} in 100.")
