"""How long a command that serves takes to refuse what cannot be served, from the return key to the prompt.

    python benchmarks/refusals.py [--times N] [--out benchmarks/results/refusals.json]

Each mistake is made in a federation of its own, while what it collides with is being served, N times, in turns with what
benchmarks/commands.py compares with. On a busy machine the processor time is the figure to go by.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commands import COHORTIUM, COMPARED, ROOT, Command, Taken, measured, report

from cohortium.errors import CohortiumError, FederationError, LedgerError, MembershipError
from cohortium_client.custodian.institution import load_institution
from cohortium_client.socket.gate import is_served
from cohortium_server.membership import authority
from cohortium_server.membership.federation import load_federation
from cohortium_server.membership.presence import is_serving

WANTED = 3.0  # seconds until it has refused
STARTING = 120.0  # seconds that what is collided with may take to start, on a busy machine
SCHEMA = """
name = "people"

[[column]]
name = "result"
kind = "categorical"
categories = ["negative", "positive"]
"""
FEDERATION = """
[federation]
name = "clinics"
address = "127.0.0.1:{}"
control = "127.0.0.1:{}"

[[institution]]
name = "north"
"""


class Site:
    """A coordinator's folder and an institution's, of which every mistake is made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            self.port, control = one.getsockname()[1], other.getsockname()[1]
        (folder / "schema.toml").write_text(SCHEMA, encoding="utf-8")
        (folder / "table.csv").write_text("result\nnegative\npositive\n", encoding="utf-8")
        (folder / "federation.toml").write_text(FEDERATION.format(self.port, control), encoding="utf-8")
        self.fed, self.site = folder / "fed", folder / "site"
        self.say("provision", folder / "federation.toml", "--out", self.fed)
        kit = self.fed / "kits" / "north.zip"
        self.say("institution", "join", kit, self.site, "--data", folder / "table.csv", "--cap", "1")

    def say(self, *words: object) -> None:
        subprocess.run([*COHORTIUM, *map(str, words)], check=True, capture_output=True)

    @contextmanager
    def served(self, true: Callable[[], bool], *words: object) -> Iterator[None]:
        """Inside, a command serves: it does as soon as something is true."""
        command = [*COHORTIUM, *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                end = time.monotonic() + STARTING
                while not true():
                    if process.poll() is not None or time.monotonic() > end:
                        raise SystemExit(f"{words} does not serve")
                    time.sleep(0.1)
                yield
            finally:
                process.terminate()

    def expire(self) -> None:
        """Give the server a certificate that ended yesterday."""
        fed = load_federation(self.fed)
        root = authority.load_certificate(fed.root_certificate)
        key, own = (authority.load_private_key(path, "") for path in (fed.root_key, fed.server_key))
        began = datetime.now(UTC) - timedelta(days=2)
        made = authority.server_certificate(root, key, fed.address.host, own.public_key(), began, 1)
        fed.server_certificate.write_bytes(authority.pem(made))

    def lengthen(self) -> None:
        """Give its socket a path that is too long for one."""
        file = self.site / "institution.toml"
        file.write_text(f'socket = "{"x" * 120}/custodian.sock"\n{file.read_text(encoding="utf-8")}', encoding="utf-8")


def refused(made: Site, times: int) -> tuple[list[Command], dict[str, Taken]]:
    """Every mistake, and the best of so many tries; one after the other, for each harms what the next one needs."""
    coordinator = (*COHORTIUM, "coordinator", "serve", str(made.fed))
    institution = (*COHORTIUM, "institution", "serve", str(made.site))
    every, best = [*COMPARED], dict[str, Taken]()

    def tried(name: str, words: tuple[str, ...], error: type[CohortiumError]) -> None:
        every.append(Command(name, words, WANTED, error.exit_code))
        best.update(measured([*COMPARED, every[-1]], times))

    opened = load_institution(made.site)
    with made.served(lambda: is_served(opened.socket), *institution[len(COHORTIUM) :], "--without-relay"):
        tried("institution serve, twice", institution, LedgerError)
    state = load_federation(made.fed).state
    with made.served(lambda: is_serving(state), *coordinator[len(COHORTIUM) :]):
        tried("coordinator serve, twice", coordinator, FederationError)
    with socket.create_server(("127.0.0.1", made.port)):
        tried("coordinator serve, its port taken", coordinator, FederationError)
    made.lengthen()
    tried("institution serve, a socket's path too long", institution, FederationError)
    made.expire()
    tried("coordinator serve, an expired certificate", coordinator, MembershipError)
    return every, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "refusals.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.environ["COHORTIUM_HOME"] = str(Path(folder) / "home")
        every, best = refused(Site(Path(folder)), arguments.times)
    report(every, best, f"Refusals at start, best of {arguments.times}", arguments.times, arguments.out)


if __name__ == "__main__":
    main()
