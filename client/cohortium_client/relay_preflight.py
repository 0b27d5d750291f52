"""Whether an institution's relay is ready: its files, its user's rights, and the response of the coordinator's server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cohortium.errors import CohortiumError, InputError, MembershipError
from cohortium.federation.membership import load_application, node_text
from cohortium.federation.probe import ProbeResult, ask, load_certificate
from cohortium.system.checks import Check, Warned, checked, lasting, noted, valid, writes
from cohortium_client.relay import FILE, Relay, load_node_key, load_relay
from cohortium_client.socket.gate import is_served, require_short

if TYPE_CHECKING:  # a relay's machine may have nothing to read tables with
    from cohortium_client.custodian.institution import Institution

SLACK = 60.0  # seconds by which this clock may be behind the coordinator's without an error
ROOT = "Ask the coordinator for a new join kit, and join again."
SERVER = "Tell the coordinator: cohortium provision federation.toml --out FED --renew."


def relay_preflight(folder: Path, institution: Institution | None = None) -> Iterator[Check]:
    """Check everything that the relay in ``folder`` will need.

    institution: the one that the relay serves, where its folder can be read from here, too; it names the relay's user.
    """
    first = checked("relay's folder", lambda: _folder(load_relay(folder), institution))
    yield first
    if not first.passed:
        return
    relay = load_relay(folder)
    uid = None if institution is None else institution.file.relay_uid
    yield checked("relay's key", lambda: _key(relay, uid))
    yield checked("relay's user", lambda: _user(relay, uid))
    yield checked("relay's socket", lambda: _socket(relay, institution))
    yield checked("root certificate", lambda: lasting(load_certificate(relay.root), relay.root.name, ROOT))
    yield checked("Flower", _flower)
    yield from _coordinator(relay)


def require_ready(relay: Relay, institution: Institution | None = None) -> None:
    """The checks that a relay needs to start; raises the first that fails.

    Whether the coordinator answers is not checked: that may change, and the relay waits for it.
    """
    _folder(relay, institution)
    load_node_key(relay.key)
    if relay.application.exists():
        _key(relay, None)
    require_short(relay.socket)
    _socket(relay, institution)
    relay.proxy()
    valid(load_certificate(relay.root), relay.root.name, ROOT)
    writes(relay.home if relay.home.is_dir() else relay.folder)
    noted(lambda: lasting(load_certificate(relay.root), relay.root.name, ROOT))


def _flower() -> str:
    from cohortium.flower.internals import require_allowed
    from cohortium.flower_names import INSTITUTION

    return require_allowed(INSTITUTION)


def _folder(relay: Relay, institution: Institution | None) -> str:
    if institution is not None and institution.identity.name != relay.institution:
        what = f"it is {relay.institution!r}'s, and the institution is {institution.identity.name!r}"
        raise InputError("E_INSTITUTION", FILE, what, "Join again with this institution's kit.")
    return f"relay of {relay.institution!r} in {relay.federation!r}, to {relay.address}"


def _key(relay: Relay, uid: int | None) -> str:
    key, application = load_node_key(relay.key), load_application(relay.application)
    if application.node != node_text(key):
        what = "it is not the key of application.json"
        raise InputError("E_INSTITUTION", relay.key.name, what, "Join again, and send the new application.")
    _require(relay.key, uid, os.R_OK, "the relay's user cannot read it")
    return f"fingerprint {application.fingerprint}"


def _user(relay: Relay, uid: int | None) -> str:
    """Flower's home is made when the relay starts."""
    where = relay.home if relay.home.is_dir() else relay.folder
    _require(where, uid, os.W_OK | os.X_OK, "the relay's user cannot write into it")
    return "can read the key, and write what Flower remembers"


def _require(path: Path, uid: int | None, wanted: int, what: str) -> None:
    if not _may(path, os.getuid() if uid is None else uid, wanted):
        raise InputError("E_INSTITUTION", path.name, what, "Give the relay's folder to its user: chown -R.")


def _may(path: Path, uid: int, wanted: int) -> bool:
    """Whether a user may do to ``path`` what the bits ``wanted`` say, by its owner, group and mode."""
    status = path.stat()
    if uid == 0:
        return True
    if status.st_uid == uid:
        return status.st_mode >> 6 & wanted == wanted
    shift = 3 if status.st_gid in _groups(uid) else 0
    return status.st_mode >> shift & wanted == wanted


def _groups(uid: int) -> list[int]:
    import pwd  # POSIX has it, as it has users

    if uid == os.getuid():
        return [*os.getgroups(), os.getgid()]
    try:
        user = pwd.getpwuid(uid)
    except KeyError:  # in containers users need no name
        return []
    return os.getgrouplist(user.pw_name, user.pw_gid)


def _socket(relay: Relay, institution: Institution | None) -> str:
    if institution is not None and relay.socket.resolve() != institution.socket.resolve():
        what = f"it leads to {relay.socket}, and the custodian's is {institution.socket.absolute()}"
        raise InputError("E_INSTITUTION", f"{FILE}, socket", what, "Correct the one that is wrong.")
    require_short(relay.socket)
    return f"{relay.socket}, {'a custodian is serving there' if is_served(relay.socket) else 'nobody serves there now'}"


# What the coordinator's server answers


def _coordinator(relay: Relay) -> Iterator[Check]:
    proxy = checked("proxy", lambda: _proxy(relay))
    yield proxy
    if not proxy.passed:
        return
    answered: list[ProbeResult] = []
    first = checked("coordinator", lambda: _reached(relay, answered))
    yield first
    if not first.passed:
        return
    yield checked("clocks", lambda: _clocks(answered[0].ahead))
    yield checked("membership", lambda: _membership(relay))


def _proxy(relay: Relay) -> str:
    """The proxy, and whether it leads to the coordinator. The coordinator's own answer is checked afterwards."""
    proxy = relay.proxy()
    if proxy is None:
        return "none on the way to the coordinator"
    try:
        ask(relay.address, "/", relay.root, proxy=proxy)
    except CohortiumError as error:
        if error.code == "E_PROXY":
            raise
    return f"{proxy} ({proxy.origin}) passes on to {relay.address}"


def _reached(relay: Relay, answered: list[ProbeResult]) -> str:
    answered.append(ask(relay.address, "/", relay.root, proxy=relay.proxy()))
    return f"{relay.address} answers over TLS; its certificate is valid until {answered[0].expires:%Y-%m-%d}"


def _clocks(ahead: float | None) -> str | Warned:
    """Flower accepts a node's signature only if its time is close to the coordinator's."""
    from cohortium_client.flower.registration import ahead_and_behind

    most, least = ahead_and_behind()
    if ahead is None:
        return Warned("the coordinator does not report its time", f"Compare the clocks: {_limits(most, least)}.")
    offset = f"this machine's is {abs(ahead):.0f} s {'ahead of' if ahead >= 0 else 'behind'} the coordinator's"
    limits = _limits(most, least)
    if not -SLACK <= ahead < most - 1:  # it is known to within a second
        raise MembershipError("E_MEMBER", "clock", f"{offset}; {limits}", "Let both machines keep time by NTP.")
    return f"{offset}; {limits}"


def _limits(most: float, least: float) -> str:
    return f"Flower refuses a node that is {most:.0f} s ahead or {least:.0f} s behind"


def _membership(relay: Relay) -> str:
    from cohortium_client.flower.registration import require_member

    require_member(relay)
    return "the coordinator has admitted this relay's key"
