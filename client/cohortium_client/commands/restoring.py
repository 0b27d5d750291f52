"""``cohortium ledger request-restore`` and ``restore``: a backup in the place of an institution's ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cohortium.commands.writing import Replace, require_new
from cohortium.system.output import Json, guarded, print_json, print_status

if TYPE_CHECKING:
    from cohortium_client.custodian.institution import Institution

BackupFile = Annotated[Path, typer.Argument(metavar="BACKUP", help="What cohortium ledger backup wrote.")]
Site = Annotated[Path, typer.Option("--institution", metavar="SITE", help="The institution's folder.")]


def request_restore(
    backup: BackupFile,
    site: Site,
    out: Annotated[Path, typer.Option("--out", metavar="REQUEST", help="The file that two persons will sign.")],
    presume: Annotated[
        float | None, typer.Option(help="The largest cap that ever held, where policy.toml has a smaller one now.")
    ] = None,
    presume_if_all_collude: Annotated[
        float | None, typer.Option(help="The same of epsilon_if_all_collude, where there always was such a cap.")
    ] = None,
    receipts: Annotated[
        list[Path] | None, typer.Option(help="Receipts that a coordinator has of this institution; may be repeated.")
    ] = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Write down what is lost and what will be presumed spent if BACKUP takes the ledger's place."""
    with guarded(as_json):
        from dataclasses import asdict

        from cohortium.ledger.restoration import Restoration, in_words, write_request
        from cohortium_client.restoring import draft, heads_of

        require_new(out, replace)
        opened = _opened(site)
        shown = [head for file in receipts or [] for head in heads_of(opened, file)]
        request = draft(opened, backup, shown, (presume, presume_if_all_collude))
        if request is not None:
            write_request(out, Restoration(request, {}))
        if as_json:
            print_json({"needed": request is not None, "request": None if request is None else asdict(request)})
        elif request is None:
            print_status("Restoring this backup loses nothing: run cohortium ledger restore; no request is needed.")
        else:
            print_status(*in_words(request).splitlines())
            print_status(
                f"{out}: two of the restorers in institution.toml sign it: cohortium ledger sign-restore {out} --key FILE"
            )


def restore(
    backup: BackupFile,
    site: Site,
    request: Annotated[
        Path | None, typer.Option("--request", help="The request, signed by two; not needed where nothing is lost.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put BACKUP into the ledger's place. What lay there is kept beside it."""
    with guarded(as_json):
        from dataclasses import asdict

        from cohortium.ledger.restoration import read_request
        from cohortium_client.restoring import restore as restored

        opened = _opened(site)
        done = restored(opened, backup, None if request is None else read_request(request))
        if as_json:
            print_json({"ledger": str(opened.ledger_file), **asdict(done)})
            return
        print_status(f"{opened.ledger_file}: restored, {done.entries} entries, head {done.head[:16]}…")
        if done.restored:
            print_status(
                "Studies signed so far are no longer answered: each needs a higher serial, and to be signed again."
            )
            print_status("cohortium ledger show says what is presumed spent; docs/backup.md how to go on.")


def _opened(site: Path) -> Institution:
    from cohortium_client.custodian.institution import load_institution

    return load_institution(site)
