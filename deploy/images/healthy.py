"""Whether what a container serves can be reached, for its HEALTHCHECK: ``healthy.py coordinator|custodian|relay FOLDER``.

It needs the standard library only, loads nothing of the product, asks no proxy and takes a fraction of a second. A
custodian is healthy if somebody listens at its socket; a relay, if it reaches its custodian; a coordinator, if it shows a
certificate of the federation's own authority that is valid today, over IPv4 or IPv6. Exit status 0 if so, 1 and a line on
standard error if not.
"""

from __future__ import annotations

import socket
import ssl
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT = 5.0  # seconds
LOOPBACKS = ("127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104


def custodian(folder: Path) -> None:
    _reach(folder / _read(folder / "institution.toml").get("socket", "custodian.sock"))


def relay(folder: Path) -> None:
    _reach(folder / _read(folder / "relay.toml")["socket"])


def coordinator(folder: Path) -> None:
    head = _read(folder / "federation.toml")["federation"]
    host, _, port = head.get("listen", head["address"]).rpartition(":")
    host = host.strip("[]")
    context = ssl.create_default_context(cafile=str(folder / "ca" / "root.crt"))
    with _connected(LOOPBACKS if "listen" not in head or host in EVERYWHERE else (host,), int(port)) as plain:
        context.wrap_socket(plain, server_hostname="localhost").close()


def _connected(hosts: tuple[str, ...], port: int) -> socket.socket:
    """To the first of the hosts that answers; OSError of the first where none does."""
    failed: OSError | None = None
    for host in hosts:
        try:
            return socket.create_connection((host, port), TIMEOUT / len(hosts))
        except OSError as error:
            failed = failed or error
    raise failed or OSError("nothing is served")


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def _reach(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(TIMEOUT)
        probe.connect(str(path))


LOOKS: dict[str, Callable[[Path], None]] = {"coordinator": coordinator, "custodian": custodian, "relay": relay}


def main(arguments: list[str]) -> int:
    try:
        who, folder = arguments
        LOOKS[who](Path(folder))
    except (OSError, KeyError, ValueError) as error:  # the texts are about addresses, files and certificates
        sys.stderr.write(f"not healthy: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
