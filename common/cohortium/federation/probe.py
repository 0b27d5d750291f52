"""A probe of an address: one HTTPS request that trusts a single CA, as institutions contact their coordinator."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from cohortium.errors import CohortiumError, FederationError, MembershipError
from cohortium.system.address import Address
from cohortium.system.files import unread
from cohortium.system.proxies import Proxy, reason, tunnel

PATIENCE = 5.0  # seconds


@dataclass(frozen=True)
class ProbeResult:
    """status: HTTP's. expires: when the certificate that was shown expires. ahead: seconds that our clock is ahead of
    theirs, to within a second; None where the answer has no Date.
    """

    status: int
    expires: datetime
    ahead: float | None


def ask(
    address: Address,
    path: str,
    root: Path,
    name: str = "",
    patience: float = PATIENCE,
    proxy: Proxy | None = None,
) -> ProbeResult:
    """The answer to ``GET path``, from the server that ``root`` certifies as ``name``, by default the host.

    MembershipError E_CERTIFICATE if the certificate is not to be trusted, FederationError E_LINK if nobody answers so, and
    E_PROXY if the proxy, where one is on the way, does not lead there.
    """
    connection = http.client.HTTPConnection(address.host, address.port)
    try:
        with (
            _connected(address, patience, proxy) as plain,
            _trusting(root).wrap_socket(plain, server_hostname=name or address.host) as connection.sock,
        ):
            asked, expires = time.time(), _expiry(connection.sock)
            connection.request("GET", path)
            response = connection.getresponse()
            middle = (asked + time.time()) / 2
            return ProbeResult(response.status, expires, _ahead(middle, response.getheader("Date")))
    except ssl.SSLCertVerificationError as error:
        raise _untrusted(address, error.verify_message, proxy) from None
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(address, error) from None


def _connected(address: Address, patience: float, proxy: Proxy | None) -> socket.socket:
    if proxy is None:
        return socket.create_connection((address.host, address.port), patience)
    return tunnel(address, patience, proxy)


def answers_at(address: Address, path: str, root: Path) -> bool:
    """Whether it answers that the request was good."""
    try:
        return ask(address, path, root).status == http.client.OK
    except CohortiumError:
        return False


def load_certificate(path: Path) -> x509.Certificate:
    """MembershipError E_CERTIFICATE if there is none, InputError E_INPUT_NOT_FOUND if this user may not read it."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except PermissionError as error:
        raise unread(path, error) from None
    except (OSError, ValueError):
        what, fix = "there is no certificate in PEM", "Put it back from a backup."
        raise MembershipError("E_CERTIFICATE", path.name, what, fix) from None


def _trusting(root: Path) -> ssl.SSLContext:
    load_certificate(root)
    context = ssl.create_default_context(cafile=str(root))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _expiry(connected: Any) -> datetime:
    """Of the certificate that a TLS connection was opened with."""
    return x509.load_der_x509_certificate(connected.getpeercert(binary_form=True)).not_valid_after_utc


def _ahead(at: float, date: str | None) -> float | None:
    """``date`` has whole seconds: the moment was half a second later on average."""
    try:
        theirs = None if date is None else parsedate_to_datetime(date)
    except ValueError:
        return None
    return None if theirs is None else at - theirs.replace(tzinfo=theirs.tzinfo or UTC).timestamp() - 0.5


def _untrusted(address: Address, why: str, proxy: Proxy | None) -> MembershipError:
    what = f"its certificate is not to be trusted: {why}"
    if proxy is not None:
        what += f", through the proxy {proxy}, which must pass TLS on unopened"
    fix = "Check this machine's clock; then ask the coordinator whether the certificate was renewed, and by which CA."
    return MembershipError("E_CERTIFICATE", str(address), what, fix)


def _unreachable(address: Address, error: Exception) -> FederationError:
    fix = "Check the address, the name server and the firewalls; the coordinator may not be serving now."
    return FederationError("E_LINK", str(address), f"nobody answers over TLS: {reason(error)}", fix)
