"""A network address as people write it: ``host:port``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated

from pydantic import BeforeValidator

from cohortium.system.problems import in_words

_WRITTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+):([0-9]{1,5})", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
LARGEST_PORT = 65535


@dataclass(frozen=True)
class Address:
    """host: a DNS name or an IP address (without brackets). port: 1 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if isinstance(self.ip, IPv6Address) else f"{self.host}:{self.port}"

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """The host, where it is an IP address."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


def parse_address(text: str) -> Address:
    """The address in ``text``, ``host:port`` or ``[IPv6]:port``; ValueError states what is wrong."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise ValueError("it is not host:port")
    address = Address(written[1].strip("[]"), int(written[2]))
    if not 1 <= address.port <= LARGEST_PORT:
        raise ValueError(f"its port is not between 1 and {LARGEST_PORT}")
    if isinstance(address.ip, IPv6Address) != text.startswith("["):
        raise ValueError("its host is no IPv6 address in brackets")
    if address.ip is None and not _is_name(address.host):
        raise ValueError("its host is neither a DNS name nor an IP address")
    return address


def _is_name(host: str) -> bool:
    labels = host.split(".")
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def _validated(value: object) -> Address:
    try:
        return parse_address(value) if isinstance(value, str) else _as_it_is(value)
    except ValueError as error:
        raise in_words(str(error)) from None


def _as_it_is(value: object) -> Address:
    if not isinstance(value, Address):
        raise ValueError("it is not host:port")
    return value


AddressField = Annotated[Address, BeforeValidator(_validated)]
"""An address in a file that pydantic reads."""
