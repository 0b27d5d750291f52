"""A federation as hospitals would run it: every part a process of its own, made and steered by the commands alone.

Where it may (root, and an interpreter that others can run), every custodian, every relay and the coordinator are users of
their own, and what they may not read they cannot.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from cohortium_server.membership.presence import online

PATIENCE = 400.0  # seconds: a machine under load is slow, and what hangs is told apart from that
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
FIRST_UID = 61000 + 200 * WORKER  # of federations beside each other each has users of its own
FINGERPRINT = re.compile("([0-9A-F]{4}-){7}[0-9A-F]{4}")
FIGURES = "figures"  # what a test is asked to print, whichever process it ran in
COHORTIUM = [sys.executable, "-m", "cohortium"]


def until(true: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, f"{what}: not within {patience:.0f} seconds"
        time.sleep(0.05)


@cache
def can_be_others() -> bool:
    """Whether processes of other users can be started here."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return False
    probe = [*as_user(FIRST_UID), sys.executable, "-c", "import cohortium, pandas, flwr"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def as_user(uid: int | None) -> list[str]:
    """What a command is begun with to be run by a user."""
    return [] if uid is None else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    """A command that serves, with its log."""

    name: str
    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def child(self, name: str) -> int | None:
        """The process of that name below it; of several, the youngest."""
        found = [pid for pid, parent, comm in processes() if comm == name and self.pid in ancestors(pid)]
        return max(found, default=None)


def processes() -> list[tuple[int, int, str]]:
    """Number, parent and name of every process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            head, _, tail = stat.read_text().rpartition(")")
            number, _, comm = head.partition(" (")
            found.append((int(number), int(tail.split()[1]), comm))
    return found


def ancestors(pid: int) -> set[int]:
    parents = {number: parent for number, parent, _ in processes()}
    found = set()
    while pid := parents.get(pid, 0):
        found.add(pid)
    return found


class Deployed:
    """A federation of ``tables`` (name to DataFrame, or to the options of ``join`` that say where its table is)."""

    def __init__(
        self,
        folder: Path,
        schema: str,
        tables: Mapping[str, pd.DataFrame | list[str]],
        host: str = "127.0.0.1",
        cap: float = 20.0,
    ) -> None:
        self.folder, self.names, self.host, self.cap = folder, list(tables), host, cap
        self.port, self.others = free_port(), can_be_others()
        self.home = {"COHORTIUM_HOME": str(folder / "home"), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        self.seconds: dict[str, float] = {}
        self.distances: dict[str, float] = {}
        self.coordinator = self._served("coordinator", self._user(0), "coordinator", "serve", self.fed)
        self.custodians: dict[str, Served] = {}
        self.relays: dict[str, Served] = {}
        folder.chmod(0o755)
        (folder / "schema.toml").write_text(schema)
        with self.timed("provision"):
            self._provision()
        with self.timed("join and admit"):
            for place, (name, table) in enumerate(tables.items()):
                self._join(place, name, table)
            self.give(self.fed, self._user(0))

    @property
    def fed(self) -> Path:
        return self.folder / "fed"

    def site(self, name: str) -> Path:
        return self.folder / name

    def relay(self, name: str) -> Path:
        return self.folder / f"{name}-relay"

    @property
    def coordinator_user(self) -> int | None:
        return self._user(0)

    def _user(self, place: int) -> int | None:
        return FIRST_UID + place if self.others else None

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - began

    def say(self, *words: object, uid: int | None = None, expect: int = 0) -> str:
        """Run a command to its end; what it printed."""
        command = [*as_user(uid), *COHORTIUM, *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, env={**os.environ, **self.home}
        )
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def _served(self, name: str, uid: int | None, *words: object) -> Served:
        command = [*as_user(uid), *COHORTIUM, *map(str, words)]
        environment = {**self.home, "COHORTIUM_LOG": "json"}
        if name == "coordinator":
            environment["COHORTIUM_HOME"] = str(self.fed / "state" / "home")
        return Served(name, command, self.folder / f"{name}.log", environment)

    def _provision(self) -> None:
        invited = "".join(f'\n[[institution]]\nname = "{name}"\n' for name in self.names)
        head = f'[federation]\nname = "clinics"\naddress = "{self.host}:{self.port}"\ncontrol = "127.0.0.1:{free_port()}"\n'
        (self.folder / "federation.toml").write_text(head + invited)
        self.say("provision", "federation.toml", "--out", self.fed)

    def _join(self, place: int, name: str, table: pd.DataFrame | list[str]) -> None:
        where = table
        if isinstance(where, pd.DataFrame):
            data = self.folder / f"{name}.csv"
            where.to_csv(data, index=False)
            where = ["--data", str(data)]
        site, relay, kit = self.site(name), self.relay(name), self.fed / "kits" / f"{name}.zip"
        output = self.say("institution", "join", kit, site, "--relay", relay, *where, "--cap", self.cap)
        spoken = FINGERPRINT.search(output)
        assert spoken is not None, output
        self.say("coordinator", "admit", self.fed, relay / "application.json", "--fingerprint", spoken[0])
        custodian, carrier = self._user(2 * place + 1), self._user(2 * place + 2)
        if self.others:
            self._apart(name, custodian, carrier)
        self.custodians[name] = self._served(name, custodian, "institution", "serve", site, "--without-relay")
        self.relays[name] = self._served(f"{name}-relay", carrier, "institution", "relay", relay)

    def _apart(self, name: str, custodian: int | None, carrier: int | None) -> None:
        """Two users who meet at the socket alone."""
        site, meeting = self.site(name), self.folder / f"{name}-socket"
        meeting.mkdir(mode=0o711)
        meeting.chmod(0o711)
        file = site / "institution.toml"
        head = f'socket = "{meeting}/custodian.sock"\nrelay_uid = {carrier}\n'
        file.write_text(head + file.read_text())
        relay = self.relay(name) / "relay.toml"
        relay.write_text(re.sub(r"(?m)^socket = .*$", f'socket = "{meeting}/custodian.sock"', relay.read_text()))
        for folder, uid in ((site, custodian), (meeting, custodian), (self.relay(name), carrier)):
            self.give(folder, uid)

    def give(self, folder: Path, uid: int | None) -> None:
        if uid is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, uid)

    def agree(self, study: str) -> Path:
        """Write a study of ``study`` and everybody in the federation, and have all sign it. Its file."""
        path = self.folder / "study.toml"
        path.write_text(f"{study}\n{self.say('coordinator', 'members', self.fed, '--roster', uid=self._user(0))}")
        with self.timed("sign"):
            for name in self.names:
                self.say("study", "sign", path, "--as", self.site(name))
                if self.others:
                    self.give(self.site(name), self.owner(name))
        return path

    def owner(self, name: str) -> int | None:
        return self._user(2 * self.names.index(name) + 1)

    def serve(self) -> None:
        """Start everything, and wait until everybody is online."""
        with self.timed("start, until all are online"):
            for one in self.parts:
                one.start()
            until(self.all_online, "everybody is online")

    @property
    def parts(self) -> list[Served]:
        return [self.coordinator, *self.custodians.values(), *self.relays.values()]

    def all_online(self) -> bool:
        for one in self.parts:
            assert one.process is not None, one.name
            assert one.process.poll() is None, f"{one.name} has ended\n{one.log.read_text()[-3000:]}"
        return all(self.online().values())

    def online(self) -> dict[str, bool]:
        return dict.fromkeys(self.names, False) | online(self.fed / "state")

    def run(self, study: Path, out: Path) -> dict[str, Any]:
        """Run a signed study over the federation, to its release."""
        self.writable(out.parent)
        with self.timed("run, to the release"):
            words = ("coordinator", "run", study, "--at", self.fed, "--out", out, "--json")
            found: dict[str, Any] = json.loads(self.say(*words, uid=self._user(0)))
        return found

    def order(self, study: Path, out: Path) -> Served:
        """Have a study run, and do not wait for it."""
        self.writable(out.parent)
        run = self._served(
            "run", self._user(0), "coordinator", "run", study, "--at", self.fed, "--out", out, "--seed", 1
        )
        run.start()
        return run

    def resume(self, run: Path) -> Served:
        """Have a run go on, and do not wait for it."""
        resumed = self._served("resume", self._user(0), "coordinator", "resume", run)
        resumed.start()
        return resumed

    def writable(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.give(folder, self._user(0))

    @property
    def run_folder(self) -> Path:
        """The folder of the one run there is."""
        (found,) = self.fed.glob("runs/*/run.json")
        return found.parent

    def close(self) -> None:
        for one in reversed(self.parts):
            if one.process is not None:
                one.process.send_signal(signal.SIGTERM)
        for one in reversed(self.parts):
            one.stop()

    def logs(self) -> str:
        return "\n".join(f"== {p.name}\n{p.read_text()[-3000:]}" for p in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def deployed(
    schema: str, tables: Mapping[str, pd.DataFrame | list[str]], host: str = "127.0.0.1", cap: float = 20.0
) -> Iterator[Deployed]:
    """A federation that is gone afterwards. In /tmp, since the paths of sockets must be short."""
    with tempfile.TemporaryDirectory(prefix="e2e-", dir="/tmp") as folder:
        federation = Deployed(Path(folder), schema, tables, host, cap)
        try:
            yield federation
        except BaseException:
            print(federation.logs()[-20000:])
            raise
        finally:
            federation.close()
