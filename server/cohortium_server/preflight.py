"""Whether a coordinator is ready to serve, or serves correctly: every failed check ends with what to do."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path

from cohortium.errors import CohortiumError, FederationError, MembershipError, SecretError
from cohortium.federation.probe import ask
from cohortium.flower_names import COORDINATOR, Api, Call
from cohortium.system.address import Address
from cohortium.system.checks import (
    Check,
    Warned,
    checked,
    failed,
    in_units,
    lasting,
    noted,
    room,
    taken,
    valid,
    writable,
    writes,
)
from cohortium.system.keys import read_secret
from cohortium.system.listening import LOOPBACK, bound, from_here
from cohortium.system.metrics import is_loopback
from cohortium_server.membership import authority
from cohortium_server.membership.federation import FILE, Federation, load_federation
from cohortium_server.membership.members import load_members, memberships
from cohortium_server.membership.presence import home_of, is_serving

OK, NOT_FOUND = 200, 404
BEHIND_THE_DOOR = (Api.HEALTH, Call.LIST_RUNS, Call.ACQUIRE_TASK, "/")
NEW_KITS = "Provision another folder, with new kits."
_SQLITE = b"SQLite format 3\0"  # how its files begin
ANEW = "Delete it and run: cohortium provision federation.toml --out FED."
_PATIENCE = 2.0  # seconds, on this machine
_TIME_ERROR, _TIMEX = 5, 256  # adjtimex(2): the clock is not synchronised; bytes that its structure has at most


def preflight(folder: Path) -> Iterator[Check]:
    """Check everything in a coordinator's folder, its addresses and, where it is being served, what answers there."""
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


def require_ready(federation: Federation) -> None:
    """The checks that a coordinator needs to start; raises the first that fails.

    To be called by the process that holds the federation's state. Warnings go to the log.
    """
    _rights(federation)
    _secrets(federation)
    valid(authority.load_certificate(federation.root_certificate), "ca/root.crt", NEW_KITS)
    authority.check_server(federation, datetime.now(UTC))
    load_members(federation)
    for folder in (federation.state, federation.runs):
        writes(folder)
    writable(home_of(federation.state))
    _link_database(federation)
    for address in _doors(federation).values():
        _free(address)
    for look in (_root, _server, lambda of: room(of.folder)):
        noted(partial(look, federation))


def _link_database(federation: Federation) -> None:
    """FederationError E_LINK unless the file is an SQLite database or does not exist yet; only its header is read."""
    path = federation.link_database
    fix = "Check the disk. Runs do not need this file, so that it may be moved away: it is made anew."
    try:
        beginning = path.open("r+b").read(len(_SQLITE)) if path.exists() else b""
    except OSError as error:
        raise FederationError("E_LINK", path.name, f"it cannot be opened: {error.strerror}", fix) from None
    if beginning not in (b"", _SQLITE):
        raise FederationError("E_LINK", path.name, "it is no database", fix)


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
    return lasting(authority.load_certificate(path), "ca/root.crt", NEW_KITS)


def _server(federation: Federation) -> str:
    """Check the certificate's key, signature, names and dates."""
    authority.check_server(federation, datetime.now(UTC))
    path = federation.server_certificate
    until = lasting(authority.load_certificate(path), path.name, authority.RENEW)
    return f"for {federation.address.host}, signed by the CA, {until}"


def _members(federation: Federation) -> str | Warned:
    known = memberships(federation)
    members = [s for s in known if s.state == "member"]
    invited = [s.institution for s in known if s.state == "invited"]
    there = [s.institution for s in members if s.online]
    summary, away = f"{len(members)} admitted", list[str]()
    if is_serving(federation.state):
        summary += f", {len(there)} of them online" + (f" ({', '.join(there)})" if there else "")
        away = [s.institution for s in members if not s.online]
    summary += f"; not yet: {', '.join(invited)}" if invited else ""
    if away or invited:
        fix = "Their studies wait for them: admit those who have applied, and let those who are away run cohortium institution check."
        return Warned(summary + (f"; away: {', '.join(away)}" if away else ""), fix)
    return summary


def _files(federation: Federation) -> str:
    """The size of each file."""
    runs = list(federation.runs.glob("*/run.json"))
    keep = "for ever" if federation.keep_sums is None else f"for {federation.keep_sums} days after the release"
    return (
        f"{len(runs)} runs {in_units(taken(federation.runs))}, whose sums are kept {keep}; "
        f"{federation.link_database.name} {in_units(taken(federation.link_database))}"
    )


def _clock() -> str | Warned:
    """The coordinator has no other clock to compare with; the kernel reports whether its clock is synchronised."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if state == _TIME_ERROR:
        return Warned(
            f"{now}; nothing keeps it right", "Run NTP: Flower refuses nodes whose clocks are seconds ahead of it."
        )
    return now if state == -1 else f"{now}, kept right by NTP"


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
    try:
        for probe in bound(address):
            probe.close()
    except OSError as error:
        what, fix = f"it cannot be listened at: {error.strerror}", f"Stop what uses it, or choose another in {FILE}."
        raise FederationError("E_LINK", str(address), what, fix) from None
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
    """The public address must answer the institutions' own requests only."""
    places, root = from_here(federation.listen, _PATIENCE), federation.root_certificate
    for at, path in product(places, BEHIND_THE_DOOR):
        status = ask(at, path, root, LOOPBACK, _PATIENCE).status
        if status != NOT_FOUND:
            fix = "Let nobody reach it; stop the coordinator, and see what listens there."
            raise FederationError("E_LINK", str(at), f"it answers {path} with HTTP {status}, not 404", fix)
    tried = f" (tried at {' and '.join(map(str, places))})" if places != [federation.listen] else ""
    return f"answers at {federation.listen}{tried}, and nothing but {Api.FLEET}"


def _only_here(address: Address) -> str:
    """Check that no other address of this machine leads to it."""
    for host in _hosts():
        try:
            socket.create_connection((host, address.port), _PATIENCE).close()
        except OSError:
            continue
        fix = "Look for a proxy or a port forwarding that leads there, and remove it."
        what = "others can reach what is for this machine alone"
        raise FederationError("E_LINK", str(Address(host, address.port)), what, fix)
    return f"{address} is reached from this machine alone"


def _hosts() -> list[str]:
    """The addresses by which others may reach this machine, as far as its own name and its route out show."""
    return sorted(h for h in {*_named(), *_way_out()} if not is_loopback(Address(h, 1)))


def _named() -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)]
    except OSError:
        return []


def _way_out() -> list[str]:
    found = []
    for family, nobodys in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):  # RFC 5737, RFC 3849
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:  # there may be no such network
            probe.connect((nobodys, 9))  # nothing is sent
            found.append(str(probe.getsockname()[0]))
    return found


def _metrics(address: Address) -> str:
    (at, *_) = from_here(address, _PATIENCE)
    with socket.create_connection((at.host, at.port), _PATIENCE):
        return f"served at {address}" + ("" if is_loopback(address) else ", where other machines may read them")


def _address(federation: Federation) -> str | Warned:
    """The address may be reachable only from where institutions are; but whoever answers there must be this coordinator."""
    try:
        ask(federation.address, "/", federation.root_certificate, patience=_PATIENCE)
    except FederationError:
        return Warned(
            f"{federation.address} is not reached from here", "Let an institution run cohortium institution check."
        )
    return f"{federation.address} leads here"
