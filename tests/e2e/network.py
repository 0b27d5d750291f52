"""A second machine, as far as the network is concerned: a namespace that reaches ours by one cable."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

HERE, THERE = "10.231.77.1", "10.231.77.2"  # of a cable that only this test has


@dataclass(frozen=True)
class Elsewhere:
    """A namespace. cable: the end of the cable that lies in it."""

    name: str
    cable: str

    @property
    def inside(self) -> list[str]:
        """What a command is begun with to be run there."""
        return ["ip", "netns", "exec", self.name]

    def slow(self, rate: str) -> None:
        """Let no more than ``rate`` through, both ways, as a narrow line would (tc-tbf: every kernel has it)."""
        for before, cable in ((self.inside, self.cable), ([], self.here)):
            command = [*before, "tc", "qdisc", "add", "dev", cable, "root", "tbf", "rate", rate]
            subprocess.run([*command, "burst", "32kbit", "latency", "400ms"], check=True)

    def cut(self) -> None:
        subprocess.run(["ip", "link", "set", self.here, "down"], check=True)

    def mend(self) -> None:
        subprocess.run(["ip", "link", "set", self.here, "up"], check=True)

    @property
    def here(self) -> str:
        """Our end of the cable."""
        return f"{self.cable}-here"


@contextlib.contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """A namespace that is gone afterwards; the test is skipped, saying so, where none can be made."""
    if os.getuid() != 0 or shutil.which("ip") is None or shutil.which("tc") is None:
        pytest.skip("network namespaces need root, ip and tc")
    there = Elsewhere(f"coh{os.getpid()}", f"coh{os.getpid() % 10000}")
    made = subprocess.run(["ip", "netns", "add", there.name], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("network namespaces cannot be made here")
    try:
        for command in _cabled(there):
            subprocess.run(command, check=True, capture_output=True)
        yield there
    finally:
        subprocess.run(["ip", "netns", "del", there.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", there.here], check=False, capture_output=True)


def _cabled(there: Elsewhere) -> list[list[str]]:
    here = there.here
    return [
        ["ip", "link", "add", here, "type", "veth", "peer", "name", there.cable, "netns", there.name],
        ["ip", "addr", "add", f"{HERE}/30", "dev", here],
        ["ip", "link", "set", here, "up"],
        [*there.inside, "ip", "addr", "add", f"{THERE}/30", "dev", there.cable],
        [*there.inside, "ip", "link", "set", there.cable, "up"],
        [*there.inside, "ip", "link", "set", "lo", "up"],
    ]
