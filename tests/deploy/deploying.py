"""What several tests of deploy/ need: where its files are, the lock files read, a stand-in for a coordinator."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from packaging.utils import canonicalize_name
from packaging.version import Version

from cohortium.flower_names import SIGNATURE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
IMAGES = DEPLOY / "images"
NAME = "coordinator.example.org"
FEDERATION = f'[federation]\nname = "clinics"\naddress = "{NAME}:443"\n[[institution]]\nname = "north"\n'


def locked(name: str) -> dict[str, tuple[Version, int]]:
    """Of each package in a lock file, its version and how many hashes it may have."""
    text = (IMAGES / f"requirements-{name}.txt").read_text().replace("\\\n", "")
    found = {}
    for line in (x for x in text.splitlines() if x and not x.startswith("#")):
        pinned = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[\S+\])?==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})*)\s*", line)
        assert pinned, line[:80]
        found[canonicalize_name(pinned[1])] = (Version(pinned[2]), pinned[3].count("--hash"))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Coordinator:
    """A stand-in behind the proxy, which reports what reached it. Leaving its ``with`` block stops it."""

    folder: Path
    port: int
    seen: list[str] = field(default_factory=list)

    def __enter__(self) -> Coordinator:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                stand_in.seen.append(self.path)
                body = self.rfile.read(int(self.headers["content-length"]))
                reported = {"body": hashlib.sha256(body).hexdigest(), "signature": self.headers[SIGNATURE]}
                answer = json.dumps(reported).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *reported: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *about: object) -> None:  # a proxy that does not trust us hangs up
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.crt", self.folder / "server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *about: object) -> None:
        self.server.shutdown()
        self.server.server_close()
