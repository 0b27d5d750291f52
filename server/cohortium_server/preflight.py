"""Whether a coordinator is ready to serve, or serves as it should: every line that fails ends with what to do."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cohortium.address import Address
from cohortium.checks import Check, checked, failed, in_units, lasting, room, taken, writable
from cohortium.errors import CohortiumError, FederationError, MembershipError, SecretError
from cohortium.exposition import is_loopback
from cohortium.flower.names import COORDINATOR, Api, Call
from cohortium.keys import read_secret
from cohortium.probe import ask
from cohortium_server import authority
from cohortium_server.federation import ANYWHERE, FILE, LOOPBACK, Federation, load_federation
from cohortium_server.members import standings
from cohortium_server.presence import home_of, is_serving

OK, NOT_FOUND = 200, 404
BEHIND_THE_DOOR = (Api.HEALTH, Call.LIST_RUNS, Call.ACQUIRE_TASK, "/")
ANEW = "Delete it and say: cohortium provision federation.toml --out FED."
_PATIENCE = 2.0  # seconds, on this machine
_TIME_ERROR, _TIMEX = 5, 256  # adjtimex(2): the clock is not synchronised; bytes that its structure has at most


def preflight(folder: Path) -> Iterator[Check]:
    """Look at everything in a coordinator's folder, at its addresses and, where it is being served, at what answers."""
    try:
        federation = load_federation(folder)
    except CohortiumError as error:
        yield failed("federation", error)
        return
    names = len(federation.institution_names)
    yield Check("federation", True, f"{federation.name!r} at {federation.address}, {names} institutions")
    yield checked("rights", lambda: _rights(federation))
    yield checked("secrets", lambda: _secrets(federation))
    yield checked("root certificate", lambda: _root(federation))
    yield checked("server's certificate", lambda: _server(federation))
    yield checked("members", lambda: _members(federation))
    yield checked("disk", lambda: room(federation.folder))
    yield checked("files", lambda: _files(federation))
    yield checked("receipts", lambda: writable(home_of(federation.state)))
    yield checked("clock", _clock)
    yield checked("Flower", _flower)
    yield from _served(federation) if is_serving(federation.state) else _to_be_served(federation)


def _rights(federation: Federation) -> str:
    if federation.folder.stat().st_mode & 0o022:
        what = "others may write into the folder"
        raise MembershipError("E_FEDERATION", federation.folder.name, what, "chmod 700 it.")
    for folder in (federation.folder, federation.state, federation.runs, federation.members):
        writable(folder)
    return "its owner alone can write into the folder"


def _secrets(federation: Federation) -> str:
    for path in (federation.executor_secret, federation.control_secret):
        if len(read_secret(path, ANEW).strip()) != 64:
            raise SecretError("E_SECRET", path.name, "it is not 64 hex digits", ANEW)
    read_secret(federation.server_key, authority.RENEW)
    if not federation.root_key.exists():
        return "its owner's alone; the CA's key is kept elsewhere"
    read_secret(federation.root_key, authority.BRING_BACK)
    return "its owner's alone; the CA's key is here, and better kept elsewhere"


def _root(federation: Federation) -> str:
    path = federation.root_certificate
    return lasting(authority.load_certificate(path), "ca/root.crt", "Provision another folder, with new kits.")


def _server(federation: Federation) -> str:
    """Its key, its signature, its names and its dates."""
    authority.check_server(federation, datetime.now(UTC))
    path = federation.server_certificate
    until = lasting(authority.load_certificate(path), path.name, authority.RENEW)
    return f"for {federation.address.host}, signed by the CA, {until}"


def _members(federation: Federation) -> str:
    found = standings(federation)
    members = [s for s in found if s.state == "member"]
    invited = [s.institution for s in found if s.state == "invited"]
    there = [s.institution for s in members if s.online]
    told = f"{len(members)} admitted"
    if is_serving(federation.state):
        told += f", {len(there)} of them online" + (f" ({', '.join(there)})" if there else "")
    return told + (f"; not yet: {', '.join(invited)}" if invited else "")


def _files(federation: Federation) -> str:
    """What takes how much."""
    runs = list(federation.runs.glob("*/run.json"))
    keep = "for ever" if federation.keep_sums is None else f"for {federation.keep_sums} days after the release"
    return (
        f"{len(runs)} runs {in_units(taken(federation.runs))}, whose sums are kept {keep}; "
        f"{federation.link_database.name} {in_units(taken(federation.link_database))}"
    )


def _clock() -> str:
    """There is nobody here to compare with; the kernel knows whether anybody sets its clock."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX))
    kept = {_TIME_ERROR: "; nothing keeps it right, run NTP", -1: ""}.get(state, ", kept right by NTP")
    return f"{datetime.now(UTC).isoformat(timespec='seconds')}{kept}"


def _flower() -> str:
    from cohortium.flower.internals import require_allowed

    return require_allowed(COORDINATOR)


# Before it is served


def _to_be_served(federation: Federation) -> Iterator[Check]:
    for name, address in _doors(federation).items():
        yield checked(name, lambda at=address: _free(at))  # type: ignore[misc]


def _doors(federation: Federation) -> dict[str, Address]:
    doors = {"listen": federation.listen, "control": federation.control}
    return doors if federation.metrics is None else {**doors, "metrics": federation.metrics}


def _free(address: Address) -> str:
    kind = socket.AF_INET6 if address.ip is not None and address.ip.version == 6 else socket.AF_INET
    with socket.socket(kind, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            what = f"it cannot be listened at: {error.strerror}"
            raise FederationError(
                "E_LINK", str(address), what, f"Stop what uses it, or choose another in {FILE}."
            ) from None
    return f"{address} is free; nobody serves now"


# While it is served


def _served(federation: Federation) -> Iterator[Check]:
    yield checked("link", lambda: _link(federation))
    yield checked("listen", lambda: _outer(federation))
    yield checked("control", lambda: _only_here(federation.control))
    if federation.metrics is not None:
        yield checked("metrics", lambda at=federation.metrics: _metrics(at))  # type: ignore[misc]
    yield checked("address", lambda: _address(federation))


def _link(federation: Federation) -> str:
    status = ask(federation.control, Api.HEALTH, federation.root_certificate, patience=_PATIENCE).status
    if status != OK:
        fix = "See the coordinator's log."
        raise FederationError("E_LINK", str(federation.control), f"it is not well: HTTP {status}", fix)
    return f"answers at {federation.control}"


def _outer(federation: Federation) -> str:
    """What institutions reach knows nothing but their own requests."""
    at, root = _from_here(federation.listen), federation.root_certificate
    for path in BEHIND_THE_DOOR:
        status = ask(at, path, root, LOOPBACK, _PATIENCE).status
        if status != NOT_FOUND:
            fix = "Let nobody reach it; stop the coordinator, and see what listens there."
            raise FederationError("E_LINK", str(at), f"it answers {path} with HTTP {status}, not 404", fix)
    return f"answers at {federation.listen}, and nothing but {Api.FLEET}"


def _from_here(address: Address) -> Address:
    return Address(LOOPBACK, address.port) if address.host in (ANYWHERE, "::") else address


def _only_here(address: Address) -> str:
    """No other address of this machine leads to it."""
    for host in _hosts():
        try:
            socket.create_connection((host, address.port), _PATIENCE).close()
        except OSError:
            continue
        fix = "Look for a proxy or a port forwarding that leads there, and remove it."
        raise FederationError(
            "E_LINK", f"{host}:{address.port}", "others can reach what is for this machine alone", fix
        )
    return f"{address} is reached from this machine alone"


def _hosts() -> list[str]:
    """The addresses by which others may reach this machine, as far as its own name and its way out tell."""
    return sorted(h for h in {*_named(), *_way_out()} if not is_loopback(Address(h, 1)))


def _named() -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    except OSError:
        return []


def _way_out() -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: nobody's; nothing is sent
        except OSError:  # there is no network
            return []
        return [str(probe.getsockname()[0])]


def _metrics(address: Address) -> str:
    with socket.create_connection((_from_here(address).host, address.port), _PATIENCE):
        return f"served at {address}" + ("" if is_loopback(address) else ", where other machines may read them")


def _address(federation: Federation) -> str:
    """Where institutions come from may be reached from there alone; but who answers it must be us."""
    try:
        ask(federation.address, "/", federation.root_certificate, patience=_PATIENCE)
    except FederationError:
        return f"{federation.address} is not reached from here; let an institution say cohortium institution check"
    return f"{federation.address} leads here"
