"""``cohortium institution serve`` and ``relay``: the institution's processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium import logs
from cohortium.commands.output import LogStyle, guarded, say, say_device
from cohortium.signals import require_meant
from cohortium.system import require_serving

if TYPE_CHECKING:
    from cohortium.address import Address

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The institution's folder.")]
RelayPath = Annotated[
    Path, typer.Argument(metavar="RELAY", help="The relay's folder, as cohortium institution join made it.")
]
MetricsAt = Annotated[
    str | None, typer.Option("--metrics", metavar="ADDRESS", help="Serve metrics there, for example 127.0.0.1:9465.")
]
MetricsAnywhere = Annotated[
    bool, typer.Option("--metrics-anywhere", help="Let ADDRESS be one that other machines reach. Set a firewall first.")
]
MetricsFile = Annotated[
    Path | None, typer.Option("--metrics-file", help="Write metrics into this .prom file, for node_exporter.")
]
_HUNG_UP = (
    "its terminal has closed, so it answers no longer; what it has answered is kept",
    "Serve it again, such that it outlives the terminal (nohup, or systemd: docs/deploy.md): runs that wait for it go on",
)
STOPPING = 3700.0  # seconds that a custodian may take to finish an answer once it is told to stop


def serve(
    folder: Folder,
    without_relay: Annotated[
        bool,
        typer.Option("--without-relay", help="The custodian alone: the relay is another user's, or there is none."),
    ] = False,
    metrics: MetricsAt = None,
    metrics_anywhere: MetricsAnywhere = False,
    metrics_file: MetricsFile = None,
    log: LogStyle = None,
) -> None:
    """Serve an institution until told to stop: its custodian and, if it has joined a federation, its relay."""
    with guarded():
        require_serving("institution serve")
        logs.choose(log)
        from cohortium_client.relay import has_joined, load_relay, relay_folder

        relay = relay_folder(folder)
        alone = without_relay or not has_joined(relay)
        logs.set_up("custodian" if alone else "institution")
        watching = _watching(metrics, metrics_anywhere, metrics_file)
        if alone:
            _serve_custodian(folder, **watching)
            return
        from cohortium.supervision import Child, supervise
        from cohortium_client.institution import load_institution

        load_institution(
            folder
        ).look()  # what is wrong is told now, and not by children that are started again and again
        load_relay(relay)
        own = [sys.executable, "-m", "cohortium"]
        custodian = [*own, "institution", "serve", str(folder), "--without-relay", *_said(watching)]
        told = supervise(
            [
                Child("custodian", custodian, patience=STOPPING),
                Child("relay", [*own, "institution", "relay", str(relay)]),
            ]
        )
        require_meant(told, *_HUNG_UP)


def relay(folder: RelayPath, log: LogStyle = None) -> None:
    """Serve the relay alone, for the custodian of another user or container. It has no data, key or ledger."""
    with guarded():
        require_serving("institution relay")
        logs.choose(log)
        logs.set_up("relay", quoting=True)
        from cohortium_client.flower.relay import serve_relay
        from cohortium_client.relay import load_relay

        opened = load_relay(folder)
        say(f"relay of {opened.institution!r} between {opened.address} and {opened.socket}")
        require_meant(serve_relay(opened), *_HUNG_UP)
        say("stopped")


def _watching(at: str | None, anywhere: bool, file: Path | None) -> dict[str, Any]:
    """What is to be watched, as ``watched`` takes it; InputError E_METRICS."""
    from cohortium_client.metrics import metrics_address

    return {"address": None if at is None else metrics_address(at, anywhere), "file": file}


def _said(watching: dict[str, Any]) -> list[str]:
    """The same as options of the custodian's own command; whether others may reach the address was decided."""
    at, file = watching["address"], watching["file"]
    served = [] if at is None else ["--metrics", str(at), "--metrics-anywhere"]
    return served if file is None else [*served, "--metrics-file", str(file.absolute())]


def _serve_custodian(folder: Path, address: Address | None, file: Path | None) -> None:
    from cohortium_client.institution import load_institution
    from cohortium_client.metrics import watched
    from cohortium_client.service import run_until_stopped
    from cohortium_client.service import serve as served

    opened = load_institution(folder)
    opened.look()
    with opened.ledger().hold() as ledger:
        for study in opened.agreements.values():  # what takes its time is done before anybody waits for it
            opened.policy.caps(study)
        say_device(opened.agreements.values())
        with watched(opened, opened.custodian(ledger), address, file) as custodian:
            service = served(custodian, opened.socket, opened.file.relay_uid)
            say(f"custodian of {opened.identity.name!r} at {opened.socket}; {len(opened.agreements)} studies signed")
            told = run_until_stopped(service)
    require_meant(told, *_HUNG_UP)
    say("stopped")
