"""A wire with a tap: whatever crosses a custodian's socket, in both directions, byte by byte."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from cohortium.federation import wire
from cohortium_client.protocol.custodian_pb2 import Message

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Exchange:
    """The bytes of one connection: ``asked`` on their way to the custodian, ``sent`` on their way back."""

    def __init__(self) -> None:
        self.asked, self.sent = bytearray(), bytearray()

    @property
    def request(self) -> wire.Request | None:
        """What was asked, if it came through whole."""
        body = _body(self.asked)
        return None if body is None else wire.decode_request(body)

    @property
    def answer(self) -> bytes | None:
        """What was answered, if it came through whole."""
        return _body(self.sent)

    @property
    def fragment(self) -> bytes:
        """Of an answer that broke off, what came through: from its first byte on."""
        data = payload(bytes(self.sent))
        return data[data.find(wire.MAGIC) :] if wire.MAGIC in data else b""


def frames(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The frames of one direction of HTTP/2, each as its 9 bytes of head (length, type, flags, stream: RFC 9113, 4.1)
    and its body; the last one as far as it came.
    """
    stream, found = stream.removeprefix(_PREFACE), []
    while len(stream) >= 9:
        end = 9 + int.from_bytes(stream[:3], "big")
        found.append((stream[:9], stream[9:end]))
        stream = stream[end:]
    return found


def payload(stream: bytes) -> bytes:
    """The content of the DATA frames of one direction of HTTP/2, as far as it came; gRPC does not pad them."""
    return b"".join(body for head, body in frames(stream) if head[3] == 0)


def _body(stream: bytearray) -> bytes | None:
    """The one message of a direction: gRPC puts a flag and a length (uint32, big-endian) before it."""
    data = payload(bytes(stream))
    length = int.from_bytes(data[1:5], "big")
    if len(data) < 5 or len(data) < 5 + length:
        return None
    assert data[0] == 0, "compressed"
    return bytes(Message.FromString(data[5 : 5 + length]).data)


class Tap:
    """Listens at a socket of its own and passes everything on to the custodian's; exchanges are kept in order."""

    def __init__(self, listen: Path, custodian: Path) -> None:
        self.socket, self._custodian = listen, custodian
        self.exchanges: list[Exchange] = []
        self._links: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(listen))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until every connection has ended, so that all that was sent is here."""
        until = time.monotonic() + timeout
        for link in list(self._links):
            link.join(max(0.0, until - time.monotonic()))
            assert not link.is_alive(), "a connection does not end"
        self._links = [link for link in self._links if link.is_alive()]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                outer, _ = self._listener.accept()
                self._join(outer)

    def _join(self, outer: socket.socket) -> None:
        inner, exchange = socket.socket(socket.AF_UNIX), Exchange()
        try:
            inner.connect(str(self._custodian))
        except OSError:
            inner.close()
            outer.close()
            return
        self.exchanges.append(exchange)
        link = threading.Thread(target=_link, args=(outer, inner, exchange), daemon=True)
        self._links.append(link)
        link.start()


def _link(outer: socket.socket, inner: socket.socket, exchange: Exchange) -> None:
    back = threading.Thread(target=_pump, args=(inner, outer, exchange.sent), daemon=True)
    back.start()
    _pump(outer, inner, exchange.asked)
    back.join()
    outer.close()
    inner.close()


def _pump(source: socket.socket, sink: socket.socket, record: bytearray) -> None:
    """Whoever sends is recorded before anybody receives it, and to the end even if nobody does."""
    received = True
    with suppress(OSError):
        while data := source.recv(1 << 16):
            record += data
            try:
                if received:
                    sink.sendall(data)
            except OSError:
                received = False
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
