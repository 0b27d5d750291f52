"""The command ``cohortium`` in a process of its own, in which a test may have something happen at a named place.

What runs is the real command line, with short fits, for nobody asks here how good a release is. The process is forked from
one that has imported everything and has started no thread (multiprocessing's forkserver), so that a start costs
milliseconds and a test can afford hundreds.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import multiprocessing
import os
import pkgutil
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from multiprocessing import forkserver
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import ModuleType
from typing import Any

import fits
import pyarrow

import cohortium
import cohortium.study.expiry
import cohortium_client
import cohortium_client.custodian.answerable
import cohortium_client.custodian.custodian
import cohortium_simulation.engine
from cohortium.cli import build
from cohortium.data.columns import Boolean
from cohortium.data.schema import Schema
from cohortium.ledger import store
from cohortium.study.generators import Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium.system import failpoints

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", "launcher"])


def _modules(package: ModuleType) -> list[str]:
    """All of a package's, without those that need Flower."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [m.name for m in found if "flower" not in m.name and not m.name.endswith((".app", ".__main__"))]


for _room in (  # commands import what they need when they need it; here it is all there before the first fork
    *_modules(cohortium),
    *_modules(cohortium_client),
    "cohortium_server.cli",
    "cohortium_server.engines",
    "cohortium_server.generators.autoregressive",
    "cohortium_server.generators.sweep",
    "cohortium_server.release.report",
    "cohortium_simulation.cli",
    "cohortium_simulation.requested",
    "cohortium_simulation.inputs",
    "encodings.ascii",
    "encodings.utf_8_sig",
    "grpc._channel",
    "grpc._interceptor",
    "grpc._server",
    "matplotlib.pyplot",
    "safetensors.numpy",
    "sklearn.linear_model",
    "torch._dynamo",
):
    importlib.import_module(_room)
_COMMANDS = build()  # a child that becomes another user may not be able to read entry points, nor modules
PATIENCE = 120.0  # seconds that no test needs unless something hangs

pyarrow.table({"a": ["b"]}).to_pandas()  # whatever is only imported when a table is read
plan(  # whatever is only imported when a plan is made
    Study(
        name="warm",
        schema=Schema(columns=(Boolean(name="a"), Boolean(name="b"))),
        privacy=Privacy(epsilon=1.0, delta=1e-6),
        generator=Sweep(components=10),
        institutions=(Institution(name="a"),),
    )
)


gc.freeze()  # so that collecting garbage in a fork copies no memory


@dataclass(frozen=True)
class Mischief:
    """What happens to a process.

    at, nth: the place, and its how-manieth passing there. do: ``kill`` (SIGKILL), ``term`` (SIGTERM), ``stop`` (SIGSTOP),
    ``fill`` (from now on no file may grow, as if the disk were full). uid: the user it runs as. years: how far its clock
    is off. timeout: seconds the coordinator waits for a round. trace: a file to which every place that is passed is
    written. unrecorded: the mutant "send, then record": answers leave at once, and are charged when this file appears.
    """

    at: str = ""
    nth: int = 1
    do: str = "kill"
    uid: int | None = None
    years: int = 0
    timeout: float | None = None
    trace: str = ""
    unrecorded: str = ""


HARMLESS = Mischief()


def _ready() -> None:
    """Start the process that the others are forked from; it must find this module, wherever pytest found it."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


class Process:
    """A command that runs. Leaving its ``with`` block kills it."""

    def __init__(self, home: Path, *arguments: object, mischief: Mischief = HARMLESS) -> None:
        _ready()
        self._out, theirs = Pipe(duplex=False)
        fcntl.fcntl(theirs.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)  # nobody reads until it has ended
        words = [str(a) for a in arguments]
        self._process = _FORKS.Process(target=_command, args=(words, theirs, str(home), mischief), daemon=True)
        self._process.start()
        theirs.close()
        self._printed = b""

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """A signal, if it has not ended."""
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> int:
        """Its exit status, once it has ended: by SIGKILL unless it had ended before."""
        with suppress(ProcessLookupError):
            self.send(signal.SIGKILL)
        return self.wait()

    def wait(self, timeout: float = PATIENCE) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"still running: {self.output}"
        return self._process.exitcode

    @property
    def output(self) -> str:
        """What it has written so far, to either stream."""
        os.set_blocking(self._out.fileno(), False)
        with suppress(BlockingIOError):
            while data := os.read(self._out.fileno(), 1 << 16):
                self._printed += data
        return self._printed.decode()


def _command(arguments: list[str], out: Connection, home: str, mischief: Mischief) -> None:
    """The child's whole life."""
    for stream in (1, 2):
        os.dup2(out.fileno(), stream)
    os.environ["COHORTIUM_HOME"] = home
    fits.shorten()
    _arrange(mischief)
    sys.argv = ["cohortium", *arguments]
    _COMMANDS()


def _arrange(mischief: Mischief) -> None:
    failpoints.reached = _Places(mischief).passed
    if mischief.uid is not None:
        os.setuid(mischief.uid)
    if mischief.years:
        _shift_clocks(mischief.years)
    if mischief.timeout is not None:
        _engine_kwargs()["timeout"] = mischief.timeout
    if mischief.unrecorded:
        careless = _Unrecorded(mischief.unrecorded)
        store.Ledger.charge = lambda *charged: careless.charge(*charged)  # type: ignore[method-assign]


def _engine_kwargs() -> dict[str, Any]:
    defaults: dict[str, Any] = cohortium_simulation.engine.run_in_process.__kwdefaults__
    return defaults


class _Places:
    def __init__(self, mischief: Mischief) -> None:
        self._mischief, self._count = mischief, 0

    def passed(self, name: str) -> None:
        if self._mischief.trace:
            with Path(self._mischief.trace).open("a") as file:
                file.write(name + "\n")
        self._count += name == self._mischief.at
        if name == self._mischief.at and self._count == self._mischief.nth:
            _DEEDS[self._mischief.do]()


def _signal(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def _fill() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


_DEEDS: dict[str, Callable[[], None]] = {
    "kill": _signal(signal.SIGKILL),
    "term": _signal(signal.SIGTERM),
    "stop": _signal(signal.SIGSTOP),
    "fill": _fill,
}


def _shift_clocks(years: int) -> None:
    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=365.25 * years)

    for module in (
        cohortium_client.custodian.custodian,
        cohortium_client.custodian.answerable,
        cohortium.study.expiry,
        store,
    ):
        module.datetime = Shifted  # type: ignore[attr-defined]


class _Unrecorded:
    """Charges as a careless custodian would: the answer leaves first."""

    def __init__(self, go: str) -> None:
        self._go, self._really = Path(go), store.Ledger.charge

    def charge(self, ours: store.Ledger, charge: store.Charge, message: bytes, caps: store.Caps) -> Any:
        with suppress(store._NotMeantError), ours._transaction() as db:
            entry = ours._add(db, charge)
            raise store._NotMeantError
        threading.Thread(target=self._later, args=(ours, charge, message, caps), daemon=True).start()
        return entry, message

    def _later(self, *charged: Any) -> None:
        while not self._go.exists():
            time.sleep(0.01)
        self._really(*charged)


def killing(at: str, nth: int = 1) -> Mischief:
    return Mischief(at=at, nth=nth)


def filling(at: str, nth: int = 1) -> Mischief:
    return Mischief(at=at, nth=nth, do="fill")
