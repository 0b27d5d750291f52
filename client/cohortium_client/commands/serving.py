"""``cohortium institution serve`` and ``relay``: the institution's processes."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.commands.device import print_device
from cohortium.system import logs
from cohortium.system.output import LogStyle, guarded, print_status
from cohortium.system.platforms import require_serving
from cohortium.system.signals import require_meant

if TYPE_CHECKING:
    from cohortium.ledger.store import Ledger
    from cohortium.study.study import Study
    from cohortium.system.address import Address
    from cohortium_client.custodian.custodian import Custodian
    from cohortium_client.custodian.institution import Institution

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
    "its terminal has closed, so it has stopped answering; what it has answered is kept",
    "Serve it again, such that it outlives the terminal (nohup, or systemd: docs/deploy.md): runs that wait for it go on",
)
STOPPING = 3700.0  # seconds that a custodian may take after a signal to finish an answer


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
    """Serve an institution until stopped: its custodian and, if it has joined a federation, its relay."""
    with guarded():
        require_serving("institution serve")
        logs.choose(log)
        from cohortium_client.relay import has_joined, relay_folder

        relay = relay_folder(folder)
        alone = without_relay or not has_joined(relay)
        logs.set_up("custodian" if alone else "institution")
        watching = _watching(metrics, metrics_anywhere, metrics_file)
        if alone:
            _serve_custodian(folder, **watching)
        else:
            _serve_both(folder, relay, watching)


def _serve_both(folder: Path, relay: Path, watching: dict[str, Any]) -> None:
    """Serve custodian and relay; raises before either is started. The relay starts once the custodian serves."""
    from cohortium.system.supervision import Child, supervise
    from cohortium_client.custodian.institution import load_institution
    from cohortium_client.flower.leaving import FINISHING
    from cohortium_client.metrics import require_watchable
    from cohortium_client.preflight import require_ready
    from cohortium_client.relay import load_relay
    from cohortium_client.relay_preflight import require_ready as require_relay_ready
    from cohortium_client.socket.gate import is_served

    opened = load_institution(folder)
    require_ready(opened)
    require_relay_ready(load_relay(relay), opened)
    require_watchable(**watching)
    own, check = [sys.executable, "-m", "cohortium"], f"cohortium institution check {folder}"
    custodian = [*own, "institution", "serve", str(folder), "--without-relay", *_options(watching)]
    carrier, serves = [*own, "institution", "relay", str(relay)], partial(is_served, opened.socket.absolute())
    number = supervise(
        [
            Child("custodian", custodian, patience=STOPPING, check=check),
            Child("relay", carrier, patience=FINISHING + 30, after=serves, check=check),
        ],
        in_turn=True,  # the relay still needs the custodian for the answer that it sends
    )
    require_meant(number, *_HUNG_UP)


def relay(folder: RelayPath, log: LogStyle = None) -> None:
    """Serve the relay alone, for the custodian of another user or container. It has no data, key or ledger."""
    with guarded():
        require_serving("institution relay")
        logs.choose(log)
        logs.set_up("relay", quoting=True)
        from cohortium_client.flower.relay import require_alone, serve_relay
        from cohortium_client.relay import load_relay
        from cohortium_client.relay_preflight import require_ready

        opened = load_relay(folder)
        require_ready(opened)
        require_alone(opened)
        proxy = opened.proxy()
        through = "" if proxy is None else f" through the proxy {proxy} ({proxy.origin})"
        print_status(f"relay of {opened.institution!r} between {opened.address}{through} and {opened.socket}")
        require_meant(serve_relay(opened), *_HUNG_UP)
        print_status("stopped")


def _watching(at: str | None, anywhere: bool, file: Path | None) -> dict[str, Any]:
    """The options of ``watched``; InputError E_METRICS."""
    from cohortium_client.metrics import metrics_address

    return {"address": None if at is None else metrics_address(at, anywhere), "file": file}


def _options(watching: dict[str, Any]) -> list[str]:
    """The same as options of the custodian's own command; that others may reach the address was confirmed before."""
    at, file = watching["address"], watching["file"]
    served = [] if at is None else ["--metrics", str(at), "--metrics-anywhere"]
    return served if file is None else [*served, "--metrics-file", str(file.absolute())]


def _serve_custodian(folder: Path, address: Address | None, file: Path | None) -> None:
    from cohortium_client.commands.fit_report import ELSEWHERE, on_a_terminal, reporting_fit
    from cohortium_client.custodian.institution import load_institution
    from cohortium_client.metrics import watched
    from cohortium_client.preflight import require_ready
    from cohortium_client.socket.service import run_until_stopped
    from cohortium_client.socket.service import serve as served

    opened = load_institution(folder)
    require_ready(opened)
    with opened.ledger().hold() as ledger:
        for study in opened.agreements.values():  # computed now, as it is slow and the result is cached
            opened.policy.caps(study)
        print_device(opened.agreements.values())
        answered = _answered(opened, ledger)
        answering = opened.custodian(ledger)
        with watched(opened, answering, address, file) as custodian:
            _tidy(answering)
            service = served(custodian, opened.socket, opened.file.relay_uid)
            counted = f"{len(opened.agreements)} studies signed, {len(answered)} of them are answered"
            counted += "" if on_a_terminal() else f"; {ELSEWHERE.format(folder)}"
            print_status(f"custodian of {opened.identity.name!r} at {opened.socket}; {counted}")
            with reporting_fit(opened, answered):
                number = run_until_stopped(service)
    require_meant(number, *_HUNG_UP)
    print_status("stopped")


def _answered(opened: Institution, ledger: Ledger) -> list[Study]:
    """The signed studies that are answered; for the others the reason is printed, unless nobody expects an answer any more."""
    from cohortium.errors import LedgerError
    from cohortium_client.custodian.answerable import answers_to, consent_state, refusal, require_clock

    try:
        require_clock(ledger)
    except LedgerError as error:
        print_status(str(error), code=error.code)
    answered = []
    for study in opened.agreements.values():
        if consent_state(ledger, study) != "signed":
            continue
        why = refusal(study, opened.identity, opened.policy, ledger)
        done = answers_to(study, opened.file.population.name, ledger)
        if why is None:
            answered.append(study)
        elif done is None or not done.complete:
            print_status(f"study {study.name!r}, serial {study.serial} is not answered: {why}", code=why.code)
    return answered


def _tidy(custodian: Custodian) -> None:
    """Drop the answers of runs that are over. A failure is harmless: it can be done later."""
    from cohortium.errors import LedgerError

    try:
        custodian.tidy()
    except LedgerError as error:
        print_status(str(error), code=error.code)
