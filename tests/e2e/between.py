"""A bad line between an institution and the coordinator: it delays what passes, or resets connections.

    python tests/e2e/between.py LISTEN TO FILE

What it does is read from FILE whenever something passes: ``ok``, ``delay SECONDS`` for each chunk either way, or ``cut BYTES``:
each connection is reset once about so many have passed. Both ends are on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK = 16384
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing says RST


@dataclass(frozen=True)
class Line:
    """The line as a test steers it. port: what the institution connects to."""

    port: int
    file: Path

    def does(self, what: str) -> None:
        aside = self.file.with_suffix(".new")
        aside.write_text(what)
        aside.replace(self.file)


@contextlib.contextmanager
def line(folder: Path, listen: int, to: int) -> Iterator[Line]:
    """A line between two ports of this machine, which is gone afterwards."""
    made = Line(listen, folder / f"line-{listen}")
    made.does("ok")
    process = subprocess.Popen([sys.executable, __file__, str(listen), str(to), str(made.file)])
    try:
        yield made
    finally:
        process.kill()
        process.wait()


class Passing:
    """The two directions of one connection, and how much has passed."""

    def __init__(self, file: Path, ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._file, self._ends, self._passed = file, ends, 0
        self._share = random.SystemRandom().uniform(0.5, 1.5)

    async def carry(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                what, _, figure = self._file.read_text().partition(" ")
                self._passed += len(data)
                if what == "cut" and self._passed > float(figure) * self._share:
                    self._reset()
                    return
                if what == "delay":
                    await asyncio.sleep(float(figure))
                to.write(data)
                await to.drain()
        to.close()

    def _reset(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()


async def serve(listen: int, to: int, file: Path) -> None:
    async def connected(source: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            answers, on = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            back.transport.abort()
            return
        passing = Passing(file, (back, on))
        await asyncio.gather(passing.carry(source, on), passing.carry(answers, back))

    async with await asyncio.start_server(connected, "127.0.0.1", listen) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
