"""``cohortium institution join``: into a federation, with its kit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cohortium.commands.reading import Separator, Sheet
from cohortium.system.output import Json, guarded, print_json, print_result, print_status
from cohortium_client.commands.founding import CAP, DELTA, Cap, Data, Delta, PasswordFile, PopulationName, Query, Url

if TYPE_CHECKING:
    from cohortium_client.joining import Joined


def join(
    kit: Annotated[Path, typer.Argument(metavar="KIT", help="The zip file that the coordinator sent.")],
    folder: Annotated[Path, typer.Argument(metavar="SITE", help="The institution's folder, or where to make it.")],
    relay: Annotated[
        Path | None, typer.Option("--relay", metavar="RELAY", help="The relay's folder; by default SITE/relay.")
    ] = None,
    data: Data = None,
    separator: Separator = None,
    sheet: Sheet = None,
    url: Url = None,
    query: Query = None,
    password_file: PasswordFile = None,
    population: PopulationName = None,
    cap: Cap = CAP,
    delta: Delta = DELTA,
    rotate_node_key: Annotated[bool, typer.Option("--rotate-node-key", help="Make a new key for the relay.")] = False,
    rotate_identity_key: Annotated[
        bool, typer.Option("--rotate-identity-key", help="Make a new identity; the old key signs that it follows.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Join a federation: keys are made here and stay here. SITE is made as by init where there is none."""
    with guarded(as_json):
        from cohortium.federation.kit import load_kit
        from cohortium_client.commands.founding import found, tell_of_tables, warn_of_length
        from cohortium_client.custodian.institution import FILE, load_institution
        from cohortium_client.joining import join as joined
        from cohortium_client.relay import relay_folder

        received = load_kit(kit)
        if (folder / FILE).exists():
            opened = load_institution(folder)
            if data or url or password_file:
                print_status(f"{folder} is an institution's folder already: its source and policy stay as they are")
        else:
            said = (data, url, query, population, cap, delta, separator, sheet, password_file)
            opened = found(folder, received.institution, *said)
            tell_of_tables(opened)
        warn_of_length(opened)
        made = joined(received, opened, relay or relay_folder(folder), rotate_node_key, rotate_identity_key)
        if as_json:
            print_json(_document(made))
        else:
            _print_result(made, rotate_identity_key)


def _document(made: Joined) -> dict[str, str]:
    of = made.application
    return {
        "federation": of.federation,
        "institution": of.institution,
        "relay": str(made.relay.folder),
        "application": str(made.relay.application),
        "fingerprint": of.fingerprint,
        "key": of.key,
    }


def _print_result(made: Joined, new_identity: bool) -> None:
    of = made.application
    print_status(f"{of.institution!r} is ready for the federation {of.federation!r} at {made.relay.address}.")
    if new_identity:
        print_status(
            "Its identity is new: restart the custodian. Studies that name the old key are to be written and signed anew."
        )
    print_status(f"Send {made.relay.application} to the coordinator, and read this to them by telephone:")
    print_result(of.fingerprint)
