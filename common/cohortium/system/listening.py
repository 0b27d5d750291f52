"""Listening addresses, in both address families where the machine has both, and how the machine reaches itself there."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address

from cohortium.system.address import Address

ANYWHERE, ANYWHERE_6 = "0.0.0.0", "::"  # noqa: S104
LOOPBACK, LOOPBACK_6 = "127.0.0.1", "::1"
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # of a family that the system lacks, or of another machine


def everywhere(reached: Address) -> Address:
    """Where to listen by default for those who reach this machine at an address: at its port, in its family or, for a name,
    in both.
    """
    both = not isinstance(reached.ip, IPv4Address) and (reached.ip is not None or socket.has_dualstack_ipv6())
    return Address(ANYWHERE_6 if both else ANYWHERE, reached.port)


def bound(address: Address) -> list[socket.socket]:
    """Sockets at all that an address means, at least one: ``[::]`` is every address of both families where the system can,
    a name each of its addresses that are here. OSError if one of them is taken, or none is here.
    """
    made: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, place in _places(address):
            try:
                made.append(_bound(family, place))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                absent = error
        if not made:
            raise absent or OSError(errno.EADDRNOTAVAIL, "there is no such address")
    except OSError:
        for one in made:
            one.close()
        raise
    return made


def host_of(address: Address) -> str:
    """Where to listen at an address, as this system can: without IPv6, ``[::]`` is every address that it has."""
    return ANYWHERE if address.host == ANYWHERE_6 and not socket.has_dualstack_ipv6() else address.host


def _places(address: Address) -> list[tuple[int, tuple[str, int]]]:
    """Families, and hosts and ports in them."""
    host = host_of(address)
    found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), (str(at[0]), int(at[1]))) for family, *_, at in found))


def _bound(family: int, place: tuple[str, int]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, place[0] != ANYWHERE_6)
        made.bind(place)
    except OSError:
        made.close()
        raise
    return made


def from_here(listening: Address, patience: float) -> list[Address]:
    """Where this machine reaches what listens at an address: each of them that answers, else the one that should."""
    places = _own(listening)
    return [place for place in places if _connects(place, patience)] or places[:1]


def _own(listening: Address) -> list[Address]:
    hosts = {ANYWHERE: [LOOPBACK], ANYWHERE_6: [LOOPBACK_6, LOOPBACK]}.get(listening.host, [listening.host])
    return [Address(host, listening.port) for host in hosts]


def _connects(place: Address, patience: float) -> bool:
    try:
        socket.create_connection((place.host, place.port), patience).close()
    except OSError:
        return False
    return True
