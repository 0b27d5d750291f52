"""Whether what a container serves can be reached, for its HEALTHCHECK: ``healthy.py coordinator|custodian|relay FOLDER``.

It needs the standard library only, loads nothing of the product and takes a fraction of a second. A custodian is healthy
if somebody listens at its socket; a relay, if it reaches its custodian; a coordinator, if it shows a certificate of the
federation's own authority that is valid today. Exit status 0 if so, 1 and a line on standard error if not.
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


def custodian(folder: Path) -> None:
    _reach(folder / _read(folder / "institution.toml").get("socket", "custodian.sock"))


def relay(folder: Path) -> None:
    _reach(folder / _read(folder / "relay.toml")["socket"])


def coordinator(folder: Path) -> None:
    head = _read(folder / "federation.toml")["federation"]
    host, _, port = head.get("listen", head["address"]).rpartition(":")
    here = host if "listen" in head and host != "0.0.0.0" else "127.0.0.1"  # noqa: S104
    context = ssl.create_default_context(cafile=str(folder / "ca" / "root.crt"))
    with socket.create_connection((here, int(port)), TIMEOUT) as plain:
        context.wrap_socket(plain, server_hostname="localhost").close()


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
