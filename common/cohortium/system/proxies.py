"""The connection from an institution to its coordinator: direct, or through a proxy that tunnels TLS (CONNECT).

It is the only connection of Cohortium's own that may use a proxy. Traffic within a machine never does: the
processes that speak over loopback have no variable of a proxy in their environment, whatever that was when they began.

A proxy's name and password are secrets: ``Proxy`` shows neither, and hands them to nobody but the client that connects.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from cohortium.errors import FederationError, InputError, SecretError
from cohortium.system.address import Address
from cohortium.system.documents import read_toml
from cohortium.system.platforms import others_may

ENVIRONMENT, NONE = "environment", "none"  # settings other than an address
OF_THE_ENVIRONMENT = "of the environment"
_PORT = 80
_KIND = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII | re.IGNORECASE)
_HTTPS, _ALL, _EXCEPT = "https_proxy", "all_proxy", "no_proxy"
_EXAMPLE = 'Write it like "http://proxy.example.org:3128"'


@dataclass(frozen=True)
class Proxy:
    """origin: where it is configured, for people to find it. credentials: ``name:password`` as in an address, percent-encoded, or nothing."""

    host: str
    port: int
    origin: str
    credentials: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Without the credentials."""
        return f"http://{Address(self.host, self.port)}"

    @property
    def url(self) -> str:
        """With the credentials: for a client alone, and for no text."""
        return f"http://{self.credentials}{'@' * bool(self.credentials)}{Address(self.host, self.port)}"


def parse_proxy(text: str, origin: str) -> Proxy:
    """The proxy at an address such as ``http://proxy.example.org:3128``; InputError E_PROXY, which quotes none of it."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        raise _wrong(origin, "it is not the address of a proxy") from None
    if parts.scheme != "http":
        kind = f"is one of {parts.scheme}://" if _KIND.fullmatch(parts.scheme) else "is of no known kind"
        raise _wrong(origin, f"it {kind}, and used can be those of http:// alone, which pass TLS through")
    if not parts.hostname or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise _wrong(origin, "it is not the address of a proxy")
    return Proxy(parts.hostname, port or _PORT, origin, _credentials(parts))


def _credentials(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[0]


def check_setting(setting: str | None, origin: str) -> None:
    """InputError E_PROXY unless the setting is valid in a file."""
    if setting not in (None, ENVIRONMENT, NONE):
        parse_proxy(setting or "", origin)


def read_setting(file: Path) -> str | None:
    """The setting in an institution's file, which the relay's user need not be allowed to read."""
    if not os.access(file, os.R_OK):
        return None
    setting = read_toml(file).get("proxy")
    return setting if isinstance(setting, str) else None


def way_to(address: Address, setting: str | None, file: Path, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """The proxy for a coordinator's address, or None.

    setting: the one in ``file``: the address of a proxy, "none" or, by default, "environment"; then the
    usual environment variables count (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``), but never for an
    address of this machine. InputError E_PROXY for what no proxy is, or leads to no such address; SecretError E_SECRET
    where the file shows a proxy's password to other users.
    """
    if setting is None or setting == ENVIRONMENT:
        proxy = _of_the_environment(address, os.environ if environ is None else environ)
    else:
        proxy = None if setting == NONE else parse_proxy(setting, f"{file.name}, proxy")
        _check_hidden(proxy, file)
    if proxy is not None and isinstance(address.ip, IPv6Address):  # what httpx would ask it for is no address
        what = f"no proxy is asked for an IPv6 address, as the coordinator's {address} is"
        fix = 'Let the coordinator have a DNS name; where the way is open without a proxy, set proxy = "none".'
        raise InputError("E_PROXY", proxy.origin, what, fix)
    return proxy


def _check_hidden(proxy: Proxy | None, file: Path) -> None:
    if proxy is not None and proxy.credentials and others_may(file.stat().st_mode, 0o077):
        fix = f"Run chmod 600 {file.name}, and change the password."
        raise SecretError("E_SECRET", proxy.origin, "others may read the proxy's password", fix)


def use_only(proxy: Proxy | None, environ: MutableMapping[str, str] | None = None) -> None:
    """Let HTTP clients that this process makes from now on reach https addresses through it, and all others straight."""
    environ = os.environ if environ is None else environ
    for name in _variables(environ):
        del environ[name]
    if proxy is not None:
        environ[_HTTPS.upper()] = proxy.url


@contextmanager
def using_only(proxy: Proxy | None) -> Iterator[None]:
    """The same for a while, in a process that has one thread."""
    before = {name: os.environ[name] for name in _variables(os.environ)}
    use_only(proxy)
    try:
        yield
    finally:
        use_only(None)
        os.environ.update(before)


def _variables(environ: Mapping[str, str]) -> list[str]:
    """HTTP_PROXY, no_proxy, grpc_proxy and whichever else there is: clients differ in which they read."""
    return [name for name in environ if name.lower().endswith("_proxy")]


def _of_the_environment(address: Address, environ: Mapping[str, str]) -> Proxy | None:
    if is_of_this_machine(address.host):
        return None
    variable, text = _variable(_HTTPS, environ)
    if not text:
        variable, text = _variable(_ALL, environ)
    if not text or _excepted(address, _variable(_EXCEPT, environ)[1]):
        return None
    return parse_proxy(text, f"{variable} {OF_THE_ENVIRONMENT}")


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """An environment variable's actual name and its value. The lower-case spelling takes precedence, empty or not."""
    if name in environ:
        return name, environ[name].strip()
    others = [(n, environ[n].strip()) for n in environ if n.lower() == name]
    return next((one for one in others if one[1]), (name, ""))


def is_of_this_machine(host: str) -> bool:
    """Whether a host is this machine itself: loopback, by number or by name (RFC 6761, 6.3)."""
    try:
        ip = ip_address(host)
    except ValueError:
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return ip.is_loopback or (mapped is not None and mapped.is_loopback)


def _excepted(address: Address, text: str) -> bool:
    return any(_names(entry, address) for entry in re.split(r"[\s,]+", text) if entry)


def _names(entry: str, address: Address) -> bool:
    """Whether an entry of NO_PROXY names an address: ``*``, a host, a domain, an IP address or network, with a port or not."""
    host, port = _without_port(entry)
    if port is not None and port != address.port:
        return False
    if host == "*":
        return True
    if address.ip is not None:
        try:
            return address.ip in ip_network(host, strict=False)
        except ValueError:
            return False
    name, domain = address.host.rstrip(".").lower(), host.removeprefix("*").strip(".").lower()
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))


def _without_port(entry: str) -> tuple[str, int | None]:
    entry = entry.rpartition("://")[2].removesuffix("/")
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        return host, int(port[1:]) if port[1:].isdecimal() else None
    host, _, port = entry.partition(":")
    return (host, int(port)) if port.isdecimal() and ":" not in port and host else (entry, None)


# Asking it


def tunnel(address: Address, patience: float, proxy: Proxy) -> socket.socket:
    """A connection to an address through a proxy; FederationError E_PROXY names what prevents it."""
    try:
        connection = socket.create_connection((proxy.host, proxy.port), patience)
    except OSError as error:
        raise _does_not_lead(proxy, f"it does not answer: {reason(error)}") from None
    try:
        connection.sendall(_request(address, proxy))
        status = _answered(connection)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise _does_not_lead(proxy, f"it does not answer as a proxy does: {reason(error)}") from None
    if not 200 <= status < 300:
        connection.close()
        raise _does_not_lead(proxy, *_refusal(status, address, proxy))
    return connection


def _request(address: Address, proxy: Proxy) -> bytes:
    lines = [f"CONNECT {address} HTTP/1.1", f"Host: {address}"]
    if proxy.credentials:
        name, _, password = proxy.credentials.partition(":")
        shown = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {shown}")
    return "\r\n".join([*lines, "", ""]).encode()


def _answered(connection: socket.socket) -> int:
    """The status of the answer. What comes after it is the address' own, and nothing of that comes before it is asked."""
    response = http.client.HTTPResponse(connection, method="CONNECT")
    response.begin()
    return response.status


def _refusal(status: int, address: Address, proxy: Proxy) -> tuple[str, str]:
    """What its answer means, and the next step."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        given = "does not take the name and password it is given" if proxy.credentials else "wants a name and password"
        return (
            f"it {given}",
            f'Write them as "http://name:password@{Address(proxy.host, proxy.port)}", into a file of mode 0600.',
        )
    if status == HTTPStatus.FORBIDDEN:
        return f"it does not allow connections to {address}", "Let whoever runs the proxy allow them."
    if status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        fix = "Ask the coordinator whether it serves now; if it does, whoever runs the proxy why that does not lead there."
        return f"it reaches nobody at {address}: HTTP {status}", fix
    return f"it does not connect to {address}: HTTP {status}", _elsewhere(proxy)


def _does_not_lead(proxy: Proxy, what: str, fix: str = "") -> FederationError:
    return FederationError("E_PROXY", str(proxy), what, fix or _elsewhere(proxy))


def _elsewhere(proxy: Proxy) -> str:
    return f'Ask whoever runs the proxy, or correct what names it: {proxy.origin}. Where none is needed, set proxy = "none".'


def reason(error: Exception) -> str:
    """Why a connection failed, in the system's words, and never in those of the other side."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__


def _wrong(origin: str, what: str) -> InputError:
    return InputError("E_PROXY", origin, what, f'{_EXAMPLE}, or set proxy = "none" where none is needed.')
