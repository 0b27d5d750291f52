"""``cohortium sample`` and ``cohortium verify``: what users of a release do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.commands.output import guarded, print_json

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Folder = Annotated[Path, typer.Argument(metavar="RELEASE", help="The folder of a release.")]


def sample(
    release: Folder,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many rows.")],
    out: Annotated[Path, typer.Option("--out", help="The .csv or .parquet file to write.")],
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="column=value; repeat it for more columns, or for more values of one."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Draw the same rows again.")] = None,
    as_json: Json = False,
) -> None:
    """Draw new synthetic rows from a release. It costs no privacy: only what was released is used."""
    with guarded(as_json):
        from cohortium.conditions import parse_where
        from cohortium_server.release import load_release
        from cohortium_server.release.tables import write_table

        table = load_release(release).sample(rows, parse_where(where or []), seed)
        write_table(table, out)
        told = {"rows": len(table), "columns": list(table.columns), "file": str(out)}
        if as_json:
            print_json(told)
        else:
            typer.echo(f"{len(table)} rows in {out}")


def verify(
    release: Folder,
    key: Annotated[str | None, typer.Option("--key", help="The signer's public key, received by another way.")] = None,
    as_json: Json = False,
) -> None:
    """Check, offline, that a release is what was signed; names the file that was touched."""
    with guarded(as_json):
        from cohortium_server.release.manifest import verify as check

        manifest = check(release, key)
        if as_json:
            print_json({"verified": True, "release": str(release), "manifest": manifest})
            return
        guarantee = manifest["guarantee"]
        typer.echo(f"{release}: {len(manifest['files'])} files are what was signed by {manifest['key']}.")
        typer.echo(f"It cost epsilon {guarantee['epsilon']:.4f} at delta {guarantee['delta']:g}; {manifest['unit']}.")
        if key is None:
            typer.echo("Who that key belongs to is for you to find out; then pass it with --key.")
