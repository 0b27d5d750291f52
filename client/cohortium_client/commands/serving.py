"""``cohortium institution serve`` and ``relay``: the institution's processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cohortium import logs
from cohortium.commands.output import guarded, say, say_device

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The institution's folder.")]
RelayPath = Annotated[
    Path, typer.Argument(metavar="RELAY", help="The relay's folder, as cohortium institution join made it.")
]
STOPPING = 3700.0  # seconds that a custodian may take to finish an answer once it is told to stop


def serve(
    folder: Folder,
    without_relay: Annotated[
        bool,
        typer.Option("--without-relay", help="The custodian alone: the relay is another user's, or there is none."),
    ] = False,
) -> None:
    """Serve an institution until told to stop: its custodian and, if it has joined a federation, its relay."""
    with guarded():
        relay = folder / "relay"
        if without_relay or not (relay / "relay.toml").is_file():
            _serve_custodian(folder)
            return
        from cohortium.supervision import Child, supervise
        from cohortium_client.institution import load_institution
        from cohortium_client.relay import load_relay

        logs.set_up("institution")
        load_institution(folder)  # what is wrong is told now, and not by children that are started again and again
        load_relay(relay)
        own = [sys.executable, "-m", "cohortium"]
        supervise(
            [
                Child("custodian", [*own, "institution", "serve", str(folder), "--without-relay"], patience=STOPPING),
                Child("relay", [*own, "institution", "relay", str(relay)]),
            ]
        )


def relay(folder: RelayPath) -> None:
    """Serve the relay alone, for the custodian of another user or container. It has no data, key or ledger."""
    with guarded():
        from cohortium_client.flower.relay import serve_relay
        from cohortium_client.relay import load_relay

        opened = load_relay(folder)
        say(f"relay of {opened.institution!r} between {opened.address} and {opened.socket}")
        serve_relay(opened)
        say("stopped")


def _serve_custodian(folder: Path) -> None:
    from cohortium_client.institution import load_institution
    from cohortium_client.service import run_until_stopped
    from cohortium_client.service import serve as served

    logs.set_up("custodian")
    opened = load_institution(folder)
    with opened.ledger().hold() as ledger:
        for study in opened.agreements.values():  # what takes its time is done before anybody waits for it
            opened.policy.caps(study)
        say_device(opened.agreements.values())
        service = served(opened.custodian(ledger), opened.socket, opened.file.relay_uid)
        say(f"custodian of {opened.identity.name!r} at {opened.socket}; {len(opened.agreements)} studies signed")
        run_until_stopped(service)
    say("stopped")
