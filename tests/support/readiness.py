"""A coordinator and a relay's folder to be checked before they serve, and what may be wrong with them."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from enrolment import joined, written

from cohortium.flower_names import Call
from cohortium.system.checks import Check
from cohortium.system.keys import private_pem
from cohortium_client.relay_preflight import relay_preflight
from cohortium_server.membership import authority
from cohortium_server.membership.federation import Federation
from cohortium_server.membership.provisioning import provision
from cohortium_server.preflight import preflight as coordinator_preflight

ACTIVATE = str(Call.ACTIVATE_NODE)
Statuses = dict[str, int]


@contextmanager
def answering(
    federation: Federation,
    statuses: Statuses,
    ahead: float = 0.0,
    host: str = "127.0.0.1",
    at: socket.socket | None = None,
) -> Iterator[int]:
    """A server with the federation's certificate that answers each path so, 404 where nothing is said; its port.

    ahead: seconds by which its clock is. at: where it is to listen, if that is bound already.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.get(self.path, 404))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + ahead, usegmt=True)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(federation.server_certificate, federation.server_key)
    with ThreadingHTTPServer((host, 0), Handler) as server:
        if at is not None:
            at.listen()
            server.socket.close()
            server.socket = at
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def failing(found: list[Check]) -> dict[str, str]:
    """What failed, by its name; each failure says what to do."""
    for line in found:
        assert line.passed or line.fix.endswith("."), line
        assert not line.passed or line.warning or not line.fix
    return {line.name: line.found for line in found if not line.passed}


class Relay:
    """An institution that has joined, and the coordinator that it is led to."""

    def __init__(self, folder: Path) -> None:
        self.fed = provision(written(folder, address="localhost:1"), folder / "fed").federation
        self.joined = joined(self.fed, "north", folder / "north")
        self.folder = folder / "north" / "relay"

    def lead_to(self, port: int) -> None:
        self.change("localhost:1", f"localhost:{port}")

    def change(self, old: str, new: str) -> None:
        path = self.folder / "relay.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def checked(self) -> list[Check]:
        return list(relay_preflight(self.folder))

    def checked_over(self, statuses: Statuses, ahead: float = 0.0) -> list[Check]:
        with answering(self.fed, statuses, ahead) as port:
            self.lead_to(port)
            return self.checked()


@pytest.fixture(name="relay")
def relay_fixture(tmp_path: Path) -> Relay:
    return Relay(tmp_path)


Change = Callable[[Relay], object]
BROKEN: dict[str, tuple[Change, str]] = {
    "no root certificate": (lambda r: (r.folder / "root.crt").unlink(), "relay's folder"),
    "a root certificate that is none": (lambda r: (r.folder / "root.crt").write_text("x"), "root certificate"),
    "a key that everybody reads": (lambda r: (r.folder / "node.key").chmod(0o644), "relay's key"),
    "a key that is none": (lambda r: (r.folder / "node.key").write_text("x"), "relay's key"),
    "no application": (lambda r: (r.folder / "application.json").unlink(), "relay's key"),
    "a file that is not TOML": (lambda r: (r.folder / "relay.toml").write_text("="), "relay's folder"),
}


def provisioned(folder: Path, outer: int, inner: int, **head: object) -> Federation:
    doors = {"listen": f"127.0.0.1:{outer}", "control": f"127.0.0.1:{inner}", "address": f"localhost:{outer}"}
    return provision(written(folder, **{**doors, **head}), folder / "fed").federation


def lines(fed: Federation) -> list[Check]:
    return list(coordinator_preflight(fed.folder))


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


Harm = Callable[[Federation], object]
HARMED: dict[str, tuple[Harm, str]] = {
    "a folder that others write": (lambda f: f.folder.chmod(0o777), "rights"),
    "a secret that others read": (lambda f: f.control_secret.chmod(0o644), "secrets"),
    "a secret that is cut short": (lambda f: f.executor_secret.write_text("ab"), "secrets"),
    "no secret": (lambda f: f.executor_secret.unlink(), "secrets"),
    "a server's key that others read": (lambda f: f.server_key.chmod(0o640), "secrets"),
    "a CA's key that others read": (lambda f: f.root_key.chmod(0o640), "secrets"),
    "no root certificate": (lambda f: f.root_certificate.unlink(), "root certificate"),
    "a certificate that is none": (lambda f: f.server_certificate.write_text("x"), "server's certificate"),
    "another server's key": (
        lambda f: f.server_key.write_bytes(private_pem(authority.new_private_key())),
        "server's certificate",
    ),
    "a member who is none": (lambda f: (f.members / "west.json").write_text("{}"), "members"),
    "no federation.toml": (lambda f: (f.folder / "federation.toml").unlink(), "federation"),
}
