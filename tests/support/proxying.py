"""A little proxy for tests, as institutions have them on their way out: it connects where CONNECT says, and does nothing else."""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Thread

PROXY_VARIABLES = [
    name
    for said in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy")
    for name in (said, said.upper())
]


@dataclass
class Connecting:
    """A proxy that is being served. asked: the addresses it was asked for. status: what it answers everybody with instead.

    credentials: ``name:password`` that it wants.
    """

    credentials: str = ""
    status: int = 200
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.credentials}{'@' * bool(self.credentials)}127.0.0.1:{self.port}"

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                Thread(target=self._answer, args=(caller,), daemon=True).start()

    def _answer(self, caller: socket.socket) -> None:
        with contextlib.suppress(OSError), caller:
            head = b""
            while b"\r\n\r\n" not in head:
                head += (more := caller.recv(4096))
                if not more or not head[:1].isalpha():  # who has gone, or speaks TLS to it
                    return
            first, *headers = head.decode().split("\r\n")
            method, target, _ = first.split(" ")
            self.asked.append(target)
            status = 405 if method != "CONNECT" else self._judged(headers)
            there = _reached(target) if status == 200 else None
            if there is None:
                caller.sendall(f"HTTP/1.1 {503 if status == 200 else status} Nobody\r\n\r\n".encode())
                return
            with there:
                caller.sendall(b"HTTP/1.1 200 So\r\n\r\n")
                _spliced(caller, there)

    def _judged(self, headers: list[str]) -> int:
        shown = base64.b64encode(self.credentials.encode()).decode()
        if self.credentials and f"Proxy-Authorization: Basic {shown}" not in headers:
            return 407
        return self.status


def _reached(target: str) -> socket.socket | None:
    host, _, port = target.rpartition(":")
    with contextlib.suppress(OSError):
        return socket.create_connection((host.strip("[]"), int(port)), 10)
    return None


def _spliced(one: socket.socket, other: socket.socket) -> None:
    back = Thread(target=_copied, args=(other, one), daemon=True)
    back.start()
    _copied(one, other)
    back.join()


def _copied(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def connecting(credentials: str = "", status: int = 200) -> Iterator[Connecting]:
    """A proxy on loopback, gone afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Connecting(credentials, status, port=int(listener.getsockname()[1]))
        Thread(target=proxy._serve, args=(listener,), daemon=True).start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def nowhere() -> dict[str, str]:
    """Every variable by which programs are pointed to a proxy, in small letters and in capitals, leading to where nobody is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{probe.getsockname()[1]}"
    return {name: "" if "no_" in name.lower() else gone for name in PROXY_VARIABLES}
