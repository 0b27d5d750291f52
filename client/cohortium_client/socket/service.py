"""The custodian as a service on a Unix domain socket, and the relay's connection to it.

gRPC carries the bytes of ``cohortium.federation.wire`` and adds nothing to them. Behind the socket stands whatever answers bytes with
bytes; the service does not trust it: an exception, or something that is no message, leaves as a refusal with a code.
Texts that gRPC itself writes for malformed or oversized messages depend only on what the caller has sent.
"""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote

import grpc

from cohortium.errors import FederationError, WireError
from cohortium.federation.wire import FAMILY, Refusal, encode_refusal
from cohortium.system.logs import about, without_text
from cohortium.system.signals import ending, waiting_for
from cohortium_client.protocol.custodian_pb2 import Message
from cohortium_client.protocol.custodian_pb2_grpc import (
    CustodianServicer,
    CustodianStub,
    add_CustodianServicer_to_server,
)
from cohortium_client.socket.gate import Gate, Limits, allowed_uid, claimed, is_served, listening, refused

GRACE = 3600.0  # seconds that an answer may still take once the service is asked to stop
CONNECT_WITHIN = 10.0  # seconds
ANSWER_WITHIN = 6 * 3600.0  # seconds; a custodian that dies is noticed at once
_FRAME = 16  # bytes that protobuf may add to a message
_log = logging.getLogger("cohortium.custodian")  # the institution's own log; nothing of it is sent anywhere


class Answering(Protocol):
    """A custodian as others see it: the reply to a request, as bytes of ``cohortium.federation.wire``."""

    def answer(self, data: bytes) -> bytes: ...


class Service:
    """A custodian that is being served. Leaving its ``with`` block stops it."""

    def __init__(self, server: grpc.Server, gate: Gate, place: ExitStack) -> None:
        self._server, self._gate, self._place = server, gate, place
        self._stopping, self._stopped = Lock(), Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the service has stopped, waiting for it at most ``timeout`` seconds."""
        return self._stopped.wait(timeout)

    def stop(self, grace: float = GRACE) -> None:
        """Accept nobody else, finish and send the answers under way, then remove the socket."""
        with self._stopping:
            if self._stopped.is_set():
                return
            self._gate.shut()
            self._server.stop(grace).wait()
            self._gate.close(min(grace, Limits.patience))
            self._place.close()
            self._stopped.set()


def serve(custodian: Answering, socket: Path, relay_uid: int | None = None, limits: Limits | None = None) -> Service:
    """Answer the requests of one user, ``relay_uid`` or by default our own, at the socket until stopped.

    FederationError E_SOCKET if the path is in use or cannot be used.
    """
    limits, path, uid = limits or Limits(), socket.absolute(), allowed_uid(relay_uid)
    mode = 0o600 if uid == os.geteuid() else 0o666  # the gate looks at the user, whatever the mode
    with ExitStack() as place:
        inner = place.enter_context(claimed(path)) / "grpc"
        gate = Gate(place.enter_context(listening(path, mode)), inner, uid, limits)
        server = _server(_Servicer(custodian, gate, limits), inner, limits)
        gate.open()
        return Service(server, gate, place.pop_all())


def run_until_stopped(service: Service, grace: float = GRACE) -> int:
    """Serve until a signal asks for the end; a second one ends the process at once. To be called by the main thread.

    Returns the signal's number.
    """
    with waiting_for(*ending()) as asked:
        number = asked()
    service.stop(grace)
    return number


class _Servicer(CustodianServicer):
    def __init__(self, custodian: Answering, gate: Gate, limits: Limits) -> None:
        self._custodian, self._gate, self._limits = custodian, gate, limits

    def Answer(self, request: Message, context: grpc.ServicerContext) -> Message:  # noqa: N802 - named by the protocol
        with self._gate.answering(context.peer()):
            return Message(data=_answered(self._custodian, request.data, self._limits.message))


def _answered(custodian: Answering, data: bytes, limit: int) -> bytes:
    """The custodian's reply, if it is a message; a code in every other case. gRPC would send an exception's text."""
    try:
        answer = custodian.answer(data)
        if isinstance(answer, bytes) and answer.startswith(FAMILY) and len(answer) <= limit:
            return answer
        _log.error("the answer was no message, or too long to be sent", extra=about(code="E_CUSTODIAN"))
    except BaseException as error:  # noqa: BLE001 - the caller waits for an answer, and an exception in a worker reaches nobody
        _log.error("failed: %s", without_text(error), extra=about(code="E_CUSTODIAN"))
    return encode_refusal(Refusal("", "E_CUSTODIAN"))


def _server(servicer: _Servicer, inner: Path, limits: Limits) -> grpc.Server:
    """One request a connection and one worker a request: a caller that stalls holds up only itself.

    The gate bounds the connections. gRPC notices a moment later that one was dropped and then frees its worker. The request
    that takes its place waits for that instead of being refused, so there may briefly be twice as many requests.
    """
    workers = ThreadPoolExecutor(limits.connections, thread_name_prefix="custodian")
    options = [*_sizes(limits.message), ("grpc.max_concurrent_streams", 1), ("grpc.so_reuseport", 0)]
    server = grpc.server(workers, options=options, maximum_concurrent_rpcs=2 * limits.connections)
    add_CustodianServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(_address(inner))
    except RuntimeError:
        raise refused(inner, "gRPC cannot listen here", "Choose another folder for the socket.") from None
    server.start()
    return server


@dataclass(frozen=True)
class Connection:
    """A custodian that is served at ``socket``, or will be within ``wait`` seconds.

    Each request opens a new connection, so the custodian may be restarted in between. A request is sent once: a caller that
    got no answer may ask again, and gets the same bytes.
    """

    socket: Path
    wait: float = CONNECT_WITHIN
    limit: int = Limits.message

    def answer(self, data: bytes) -> bytes:
        """FederationError E_CUSTODIAN_GONE without a custodian or its answer; WireError E_WIRE if it is too long."""
        if len(data) > self.limit:
            raise WireError("E_WIRE", "message", f"it is longer than {self.limit} bytes", "Ask for less at once.")
        self._await()
        try:
            with grpc.insecure_channel(_address(self.socket.absolute()), self._options()) as channel:
                return CustodianStub(channel).Answer(Message(data=data), timeout=ANSWER_WITHIN).data
        except grpc.RpcError:
            raise self._gone() from None

    def _await(self) -> None:
        """Wait until a custodian listens at the socket, for example while it is being restarted."""
        until = time.monotonic() + self.wait
        while not is_served(self.socket):
            if time.monotonic() >= until:
                raise self._gone()
            time.sleep(0.05)

    def _options(self) -> list[tuple[str, int]]:
        return [
            *_sizes(self.limit),
            ("grpc.use_local_subchannel_pool", 1),  # a connection of its own for every request
            ("grpc.enable_http_proxy", 0),
        ]

    def _gone(self) -> FederationError:
        return FederationError(
            "E_CUSTODIAN_GONE", str(self.socket), "the custodian cannot be reached", "Start it, then ask again."
        )


def _sizes(limit: int) -> list[tuple[str, int]]:
    return [(f"grpc.max_{way}_message_length", limit + _FRAME) for way in ("send", "receive")]


def _address(path: Path) -> str:
    return "unix:" + quote(str(path))
