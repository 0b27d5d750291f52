"""Who may connect to the custodian: a gate on a Unix domain socket that admits one user, within limits.

gRPC for Python does not report who is at the other end of a socket. The gate accepts the connections, asks the kernel for the user
of each (SO_PEERCRED), closes those of other users and forwards the bytes of the rest to a second socket, in a folder that only
the custodian's own user can enter. It does not interpret what it forwards.

At most ``Limits.connections`` are open. One more takes the place of one that has asked nothing yet, the one that has been
silent longest; a connection whose answer is being made is never given up, however long that takes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from cohortium.errors import FederationError
from cohortium.system import locks

_CHUNK = 1 << 18
_WAITING = 1024  # connections the kernel keeps until the gate looks at them
_LONGEST_PATH = 107  # bytes, of any Unix socket on Linux
LONGEST_SOCKET = _LONGEST_PATH - len("..d/grpc")  # bytes of a custodian's: the inner socket's path is longer
_NOBODY = 65534  # the number under which the kernel reports any user of another user namespace


@dataclass(frozen=True)
class Limits:
    """Limits on what callers may use: connections, bytes of one message, seconds of silence."""

    connections: int = 16
    message: int = 256 << 20
    patience: float = 30.0


@dataclass(eq=False)
class _Link:
    """A caller's connection and the one behind it to the custodian."""

    outer: socket.socket
    inner: socket.socket
    answering: int = 0
    asked: bool = False
    active: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None


class Gate:
    """Lets ``uid`` through from ``listener`` to the socket ``inner``; runs in a thread of its own."""

    def __init__(self, listener: socket.socket, inner: Path, uid: int, limits: Limits) -> None:
        self._listener, self._inner, self._uid, self._limits = listener, inner, uid, limits
        self._links: dict[str, _Link] = {}
        self._lock = Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="gate", daemon=True)

    def open(self) -> None:
        self._listener.setblocking(False)
        self._thread.start()
        self._run(self._begin())

    def shut(self) -> None:
        """Accept nobody else, and drop connections that have not asked anything yet. The others go on."""
        self._run(self._turn_away())
        self._listener.close()

    def close(self, patience: float) -> None:
        """Wait until the other side has sent all it had to send, at most ``patience`` seconds, and end."""
        self._run(self._finish(patience))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def answering(self, peer: str) -> Iterator[None]:
        """While the request of ``peer`` (gRPC's name for a connection) is answered, its connection is kept."""
        link = self._links.get(peer)
        self._count(link, 1)
        try:
            yield
        finally:
            self._count(link, -1)

    def _count(self, link: _Link | None, more: int) -> None:
        if link is not None:  # its caller may have gone meanwhile
            with self._lock:
                link.active = time.monotonic()
                link.answering += more
                link.asked = True

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begin(self) -> None:
        self._accepting, self._tidying = asyncio.create_task(self._accept()), asyncio.create_task(self._tidy())

    async def _turn_away(self) -> None:
        await _ended([self._accepting])
        await _ended([link.task for link in self._links.values() if link.task and not link.asked])

    async def _finish(self, patience: float) -> None:
        tasks = [link.task for link in self._links.values() if link.task]
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        await _ended([self._tidying, *tasks])

    async def _accept(self) -> None:
        while True:
            try:
                outer, _ = await self._loop.sock_accept(self._listener)
            except OSError:  # no descriptors are left
                await asyncio.sleep(0.1)
                continue
            if peer_uid(outer) != self._uid or not self._make_room() or not self._join(outer):
                outer.close()
            await asyncio.sleep(0)  # a connection must have begun before it can be dropped

    def _make_room(self) -> bool:
        if len(self._links) < self._limits.connections:
            return True
        silent = [name for name, link in self._links.items() if not link.answering]
        if silent:
            self._drop(min(silent, key=self._claim))
        return bool(silent)

    def _claim(self, name: str) -> tuple[bool, float]:
        """The smaller, the less is lost by dropping it: a caller that has asked may still be waiting for the answer."""
        link = self._links[name]
        return link.asked, link.active

    def _drop(self, name: str) -> None:
        task = self._links.pop(name).task
        if task is not None:
            task.cancel()

    def _join(self, outer: socket.socket) -> bool:
        """Connect the caller through. Linux gives the inner end a name of its own, by which gRPC identifies it."""
        inner = socket.socket(socket.AF_UNIX)
        try:
            inner.setblocking(False)
            inner.bind("")
            inner.connect(str(self._inner))
        except OSError:
            inner.close()
            return False
        name, link = f"unix-abstract:{inner.getsockname()[1:].decode()}", _Link(outer, inner)
        self._links[name] = link
        link.task = asyncio.create_task(self._splice(name, link))
        return True

    async def _splice(self, name: str, link: _Link) -> None:
        """Pass bytes both ways until the custodian's side has ended."""
        there = asyncio.create_task(self._pump(link, link.outer, link.inner))
        back = asyncio.create_task(self._pump(link, link.inner, link.outer))
        try:
            await back
        finally:
            there.cancel()
            back.cancel()
            await asyncio.wait([there, back])  # a descriptor may only be closed when nobody watches it
            if self._links.get(name) is link:
                del self._links[name]
            link.outer.close()
            link.inner.close()

    async def _pump(self, link: _Link, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # the other side may have gone
            while data := await self._loop.sock_recv(source, _CHUNK):
                link.active = time.monotonic()
                await self._loop.sock_sendall(sink, data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    async def _tidy(self) -> None:
        """Close the connections that were silent for too long while no answer was being made."""
        while True:
            await asyncio.sleep(self._limits.patience / 4)
            late = time.monotonic() - self._limits.patience
            with self._lock:
                silent = [n for n, link in self._links.items() if not link.answering and link.active < late]
            for name in silent:
                self._drop(name)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix domain socket when it connected, as the kernel reports it, not the caller."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def allowed_uid(relay_uid: int | None) -> int:
    """FederationError E_SOCKET for a user that cannot be distinguished from others, or on a system that reports no users."""
    if not hasattr(socket, "SO_PEERCRED"):
        raise refused("this system", "it does not report which user connects", "Run the custodian on Linux.")
    if relay_uid == _NOBODY:
        raise refused(
            f"user {_NOBODY}", "every user without a name here has this number", "Give the relay its own user."
        )
    return os.geteuid() if relay_uid is None else relay_uid


def require_short(path: Path) -> None:
    """FederationError E_SOCKET for a path that is longer than the system takes."""
    if (length := len(os.fsencode(path))) > LONGEST_SOCKET:
        what = f"its path has {length} bytes, and a socket's may have {LONGEST_SOCKET} here"
        fix = 'Set a shorter one in institution.toml, such as socket = "/run/cohortium/NAME.sock", and in relay.toml.'
        raise refused(path.name, what, fix)


def require_place(path: Path) -> None:
    """FederationError E_SOCKET unless a custodian could serve at ``path`` now; nothing is left there."""
    with claimed(path), listening(path, 0o600):
        pass


@contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """The private folder beside the socket ``path``, held by one custodian at a time; else FederationError E_SOCKET.

    The lock ends with the process, however that ends.
    """
    folder = path.parent / f".{path.name}.d"
    require_short(path)
    try:
        with suppress(FileExistsError):
            folder.mkdir(0o700)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise refused(path, _reason(error), "Make its folder, writable for the custodian.") from None
    try:
        _hold(path, descriptor)
        yield folder
    finally:
        os.close(descriptor)


def _hold(path: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise refused(path, "its private folder is open to others", f"Remove .{path.name}.d beside it.")
    if not locks.take(descriptor):
        raise refused(path, "another custodian is serving here", "Stop that one, or choose another path.")


@contextmanager
def listening(path: Path, mode: int) -> Iterator[socket.socket]:
    """A listening socket at ``path``, removed afterwards; that of a dead custodian is replaced, nothing else."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        _clear(path)
        listener.bind(str(path))
        path.chmod(mode)  # nobody can connect before listen
        listener.listen(_WAITING)
    except OSError as error:
        listener.close()
        raise refused(path, _reason(error), "Check the folder and its rights.") from None
    except FederationError:
        listener.close()
        raise
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Remove a socket on which nobody listens. FederationError E_SOCKET for anything else that is there."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise refused(path, "something other than a socket is there", "Choose another path.")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise refused(path, "a living process listens there", "Stop it, or choose another path.")


def is_served(path: Path) -> bool:
    """Whether somebody listens at ``path``."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _reason(error: OSError) -> str:
    return error.strerror or "the system refused"


def refused(where: object, what: str, fix: str) -> FederationError:
    return FederationError("E_SOCKET", str(where), what, fix)
