"""``cohortium coordinator``: running a study; ``cohortium sample``, ``query`` and ``verify``: what users of a release do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.commands.reading import TABLE, Separator, Sheet, form_of
from cohortium.commands.writing import Replace, require_new
from cohortium.system.output import (
    Json,
    guarded,
    print_json,
    print_private,
    print_result,
    print_status,
    progress_if_long,
)
from cohortium.system.progress import listening
from cohortium_server.commands.check import check
from cohortium_server.commands.membership import admit, members, revoke
from cohortium_server.commands.running import release, resume, run, serve, status, stop

if TYPE_CHECKING:
    from cohortium.study.wording import Kind as RunKind
    from cohortium_server.release import Release

Folder = Annotated[Path, typer.Argument(metavar="RELEASE", help="The folder of a release.")]

coordinator = typer.Typer(
    no_args_is_help=True, help="The coordinator: serves a federation, runs signed studies over it."
)
for command in (admit, revoke, members, check, serve, run, resume, status, stop, release):
    coordinator.command()(command)


def sample(
    release: Folder,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many rows.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="The .csv or .parquet file to write; of a release with events the folder, with a file a table.",
        ),
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="result=positive, age=40..60, 'age>=40', 'result!=negative', ward=missing. Repeat it for more columns, or for "
            "more values of one.",
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            "--balance",
            metavar="SHARES",
            help="A column whose values get equal shares, or result=positive:0.3,negative:0.7. Such a sample is not the "
            "population's.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Draw the same rows again.")] = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Draw new synthetic rows from a release. It costs no privacy: only what was released is used."""
    with guarded(as_json):
        from cohortium_server.release import load_release
        from cohortium_server.release.tables import write_table

        require_new(out, replace)
        shown = progress_if_long(as_json)
        opened = load_release(release, progress=shown)
        if opened.schema.tables:
            _sample_tables(opened, rows, out, where, balance, seed, as_json)
            return
        with listening(shown):
            table = opened.sample(rows, where, seed, balance)
        write_table(table, out)
        result = {"rows": len(table), "columns": list(table.columns), "file": str(out), **table.attrs}
        if as_json:
            print_json(result)
            return
        print_result(f"{len(table)} rows in {out}")
        if balance := table.attrs.get("balance"):
            parts = ", ".join(f"{count} {name}" for name, count in balance["rows"].items())
            print_result(f"By {balance['column']}: {parts}. {balance['note']}")


def _sample_tables(
    release: Release,
    persons: int,
    out: Path,
    where: list[str] | None,
    balance: str | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Persons with their events, a file a table, in a folder that appears whole or not at all."""
    from cohortium.errors import ReleaseError
    from cohortium_server.release.tables import write_tables

    if balance is not None:
        what, fix = "persons with events are not drawn in equal shares", "Leave --balance out, or set --where."
        raise ReleaseError("E_CONDITION", "balance", what, fix)
    with listening(release.progress):
        tables = release.sample_tables(persons, where, seed)
    write_tables(tables, out)
    rows = {name: len(table) for name, table in tables.items()}
    if as_json:
        print_json({"rows": rows, "folder": str(out)})
    else:
        print_result(", ".join(f"{count} rows of {name}" for name, count in rows.items()) + f" in {out}")


def query(
    release: Folder,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="CONDITION", help="As in cohortium sample; repeat it for more."),
    ] = None,
    of: Annotated[str | None, typer.Option("--of", metavar="COLUMN", help="The column of a mean.")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="count, share or mean; by default a count, or with --of a mean.")
    ] = None,
    level: Annotated[float, typer.Option("--level", help="The chance that the interval holds the real value.")] = 0.95,
    as_json: Json = False,
) -> None:
    """Estimate a count, share or mean of the real table, with an interval. It costs no privacy: only what was released is used."""
    with guarded(as_json):
        from typing import cast

        from cohortium_server.release import Kind, load_release

        shown = progress_if_long(as_json)
        with listening(shown):
            opened = load_release(release, progress=shown)
        answer = opened.query(where, of, cast("Kind | None", kind), level)
        if as_json:
            print_json(asdict(answer))
            return
        low, estimate, high = (f"{x:.6g}" for x in (answer.low, answer.estimate, answer.high))
        print_result(f"{estimate}, between {low} and {high} with a chance of {answer.level:g} (from {answer.how}).")


def impute(
    release: Folder,
    data: Annotated[Path, typer.Option("--data", help=f"A table with blanks in columns of the schema: {TABLE}")],
    out: Annotated[Path, typer.Option("--out", help="The .csv or .parquet file to write.")],
    undeclared: Annotated[
        str,
        typer.Option(
            "--undeclared",
            help="What becomes of cells that hold no value of the schema: keep lets them stand, blank fills them in, "
            "refuse writes nothing.",
        ),
    ] = "keep",
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Draw the same values again.")] = None,
    separator: Separator = None,
    sheet: Sheet = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Fill the blanks of a table from a release: each row's from its other values. It costs no privacy.

    Existing values stay as they are, all columns in their order. Values that the schema does not declare are counted on this screen.
    """
    with guarded(as_json):
        from cohortium_server.release import load_release
        from cohortium_server.release.owned import impute_file

        require_new(out, replace)
        made = impute_file(load_release(release), data, out, undeclared, seed, form_of(separator, sheet))
        table, given = made.table, [account.column for account in made.columns]
        result = {"rows": len(table), "columns": list(table.columns), "given": given, "file": str(out)}
        if as_json:
            print_json({**result, "imputed": [asdict(account) for account in made.columns]})
        else:
            print_result(f"{len(table)} rows in {out}; given were {', '.join(given)}.")
        if lines := made.lines(undeclared):
            print_private(*lines)
            print_status("Values and counts shown here are private: they stay on this screen.")


def verify(
    release: Folder,
    key: Annotated[str | None, typer.Option("--key", help="The signer's public key, received by another way.")] = None,
    as_json: Json = False,
) -> None:
    """Check, offline, that a release is what was signed; names the file that was changed."""
    with guarded(as_json):
        from cohortium.study.study import load_study
        from cohortium.study.wording import kind_words
        from cohortium_server.release.evidence import check_evidence, check_kind
        from cohortium_server.release.manifest import kind_of
        from cohortium_server.release.manifest import verify as check

        manifest = check(release, key)
        study = load_study(release / "study.toml")
        check_kind(manifest, study)
        with listening(progress_if_long(as_json)):
            check_evidence(release, study)
        kind = kind_of(manifest)
        if as_json:
            print_json({"verified": True, "kind": kind, "release": str(release), "manifest": manifest})
            return
        guarantee = manifest["guarantee"]
        print_result(f"{release}: {len(manifest['files'])} files are what was signed by {manifest['key']}.")
        print_result(kind_words(kind))
        print_result(_signers(len(study.institutions), kind))
        for line in _carries(manifest):
            print_result(line)
        print_result(f"It cost epsilon {guarantee['epsilon']:.4f} at delta {guarantee['delta']:g}; {manifest['unit']}.")
        if key is None:
            print_result("Who that key belongs to is for you to find out; then pass it with --key.")


def _carries(manifest: dict[str, Any]) -> list[str]:
    """What its users can count on, and what not; empty for releases from before that was recorded."""
    from cohortium_server.release.carried import Carried

    if "carries" not in manifest:
        return []
    kept = Carried.read(manifest["carries"])
    return [kept.words, *(f"Of class {c.words}." for c in kept.classes)]


def _signers(count: int, kind: RunKind | None) -> str:
    """What the evidence shows; for made-up institutions only that the account is complete."""
    if kind == "simulation":
        return f"Its {count} institutions are made up: keys of whoever ran it are under the study and every answer."
    return f"All {count} institutions have signed its study, and for every answer they gave."
