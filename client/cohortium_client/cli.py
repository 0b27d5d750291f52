"""``cohortium institution``, and ``cohortium study sign``: what the people at an institution do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.commands.reading import Separator, Sheet
from cohortium.system.output import (
    Json,
    epsilon_words,
    guarded,
    print_checks,
    print_json,
    print_private,
    print_result,
    print_status,
)
from cohortium.system.platforms import require_serving
from cohortium_client.commands.founding import (
    CAP,
    DELTA,
    Cap,
    Data,
    Delta,
    PasswordFile,
    PopulationName,
    Query,
    Url,
    found,
    tell_of_tables,
    warn_of_length,
)
from cohortium_client.commands.joining import join
from cohortium_client.commands.serving import Folder, relay, serve

if TYPE_CHECKING:
    from cohortium_client.custodian.institution import Institution

institution = typer.Typer(no_args_is_help=True, help="One institution: its folder, its custodian, what it allows.")
for command in (join, serve, relay):
    institution.command()(command)
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study.toml; its schema lies beside it.")]


@institution.command()
def init(
    folder: Folder,
    name: Annotated[str, typer.Option("--name", help="Its name in studies.")],
    data: Data = None,
    separator: Separator = None,
    sheet: Sheet = None,
    url: Url = None,
    query: Query = None,
    password_file: PasswordFile = None,
    population: PopulationName = None,
    cap: Cap = CAP,
    delta: Delta = DELTA,
    as_json: Json = False,
) -> None:
    """Make an institution's folder: institution.toml, policy.toml and a key that never leaves it."""
    with guarded(as_json):
        made = found(folder, name, data, url, query, population, cap, delta, separator, sheet, password_file)
        warn_of_length(made)
        tell_of_tables(made)
        if as_json:
            print_json({"institution": name, "folder": str(folder), "key": made.identity.public})
            return
        print_status(f"{folder}: review institution.toml and policy.toml; the custodian does what they say.")
        print_status("For the study's author, who should compare it with you by telephone:")
        print_result("[[institution]]", f'name = "{name}"', f'key = "{made.identity.public}"')


@institution.command()
def check(
    folder: Folder,
    study: Annotated[Path | None, typer.Option("--study", help="Also whether this study could be answered.")] = None,
    as_json: Json = False,
) -> None:
    """Check everything the custodian and its relay will need; each line that fails ends with what to do."""
    with guarded(as_json):
        require_serving("institution check")
        from cohortium_client.relay import has_joined
        from cohortium_client.relay_preflight import relay_preflight

        if has_joined(folder):  # a relay's own folder, perhaps where there is nothing to read tables with
            print_checks(relay_preflight(folder), as_json)
            return
        from cohortium_client.preflight import preflight

        print_checks(preflight(folder, study), as_json)


@institution.command()
def preview(folder: Folder, study: StudyFile, as_json: Json = False) -> None:
    """Show exactly what would leave this institution: numbers, bytes, bounds, noise, epsilon towards whom.

    The numbers of rows and persons that count are printed on standard error only, and never leave.
    """
    with guarded(as_json):
        from cohortium.study.study import load_study
        from cohortium_client.custodian.institution import load_institution
        from cohortium_client.source.preview import counted
        from cohortium_client.source.preview import preview as previewed

        opened, agreed = load_institution(folder), load_study(study)
        shown = previewed(opened, agreed)
        if as_json:
            print_json(shown)
        else:
            _print_preview(shown)
        print_private(*counted(opened, agreed))


def _print_preview(shown: dict[str, Any]) -> None:
    from cohortium.commands.study import print_forecast

    print_forecast(shown)
    for phase in shown["phases"]:
        print_result(f"• {phase['name']}: {phase['bound']}.")
    print_result(f"• Beside its numbers there leave {'; '.join(shown['beside'])}. Nothing else.")
    here = shown["here"]
    print_result(
        f"• Here: of {here['population']!r} epsilon {epsilon_words(here['spent'], 3)} of {here['cap']:g} is spent at delta {here['delta']:g}; "
        f"after this study it would be {epsilon_words(here['spent_afterwards'], 3)}."
    )
    print_result(
        f"• Would be refused: {here['refused']}" if here["refused"] else f"• The policy allows it: {here['budget']}."
    )


@institution.command()
def approve(
    folder: Folder,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run, as the custodian's log names it.")],
    study: Annotated[
        str, typer.Option("--study", help="The digest of its study, or its beginning; needed where several are signed.")
    ] = "",
) -> None:
    """Let one run of a signed study go ahead, where policy.toml requires it."""
    with guarded():
        from cohortium_client.custodian.agreements import approve as approved

        opened = _opened(folder)
        digest = opened.agreements.find(study)
        with opened.ledger() as ledger:
            approved(digest, run, ledger)
        print_status(f"run {run} of study {digest[:16]}… may go ahead: let the coordinator resume it")


@institution.command()
def withdraw(
    folder: Folder, study: Annotated[str, typer.Argument(metavar="STUDY", help="The study's digest, or its beginning.")]
) -> None:
    """Stop answering a study. What was answered stays charged."""
    with guarded():
        from cohortium_client.custodian.agreements import withdraw as withdrawn

        opened = _opened(folder)
        digest = opened.agreements.find(study)
        with opened.ledger() as ledger:
            withdrawn(digest, ledger)
        print_status(f"study {digest[:16]}… is no longer answered")


def _opened(folder: Path) -> Institution:
    from cohortium_client.custodian.institution import load_institution

    return load_institution(folder)


def sign(
    study: StudyFile,
    institution: Annotated[Path, typer.Option("--as", metavar="FOLDER", help="The institution that signs.")],
    as_json: Json = False,
) -> None:
    """Sign STUDY for an institution, if its policy allows it; from then on its custodian answers it."""
    with guarded(as_json):
        from cohortium.study.consent import read_signatures, unsigned, write_signature
        from cohortium.study.study import load_study
        from cohortium_client.custodian.agreements import agree

        opened, agreed = _opened(institution), load_study(study)
        with opened.ledger() as ledger:
            population = opened.file.population.name
            signature = agree(agreed, opened.identity, opened.policy, ledger, opened.agreements, population)
        path = write_signature(study, agreed, opened.identity.name, signature)
        absent = unsigned(agreed, read_signatures(study, agreed))
        if as_json:
            print_json({"study": agreed.digest, "signature": str(path), "unsigned": absent})
            return
        print_status(f"study {agreed.name!r}, serial {agreed.serial}, digest {agreed.digest}")
        print_status(f"signed by {opened.identity.name!r} in {path}: send this file to the coordinator")
        print_status(f"still to sign: {', '.join(absent)}" if absent else "all institutions have signed")
