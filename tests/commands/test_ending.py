"""How commands end: by a signal, with a line and its code; by whom they are asked twice, at once; and nothing is written over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from typer import Exit
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.errors import FederationError, ReleaseError
from cohortium.ledger.location import home
from cohortium.ledger.store import Ledger
from cohortium.study.study import Study
from cohortium.system.output import guarded
from cohortium.system.progress import Silent
from cohortium.system.signals import SAME, EndRequests, Interrupted, leaving
from cohortium_client.custodian.custodian import Custodian
from cohortium_server.release.folder import new_folder
from cohortium_simulation.cli import _left
from cohortium_simulation.demo import _fresh
from cohortium_simulation.draining import Drain
from cohortium_simulation.experiment import Ledgers, simulate

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

PATIENCE = 60.0
NAMES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
WAITS = {
    "a sleep": "time.sleep(600)",
    "an event": "threading.Event().wait()",
    "an event for a time": "threading.Event().wait(600)",
    "a queue": "queue.Queue().get()",
    "a thread": "[t := threading.Thread(target=time.sleep, args=(600,), daemon=True), t.start(), t.join()]",
    "a process": "subprocess.run(['sleep', '600'])",
    "a socket": "[pair := socket.socketpair(), pair[0].recv(1)]",
    "a pool": "concurrent.futures.ThreadPoolExecutor().submit(time.sleep, 600).result()",
}

# Whoever runs the tests may ignore signals, or block them in the thread that starts a process: each sets its own. It does so
# itself, for Python that runs between a fork and the program, beside the threads of other tests, can end the process silently.
SIGNALS = """
import signal, sys
ignored = {"SIGHUP"} & set(sys.argv)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
"""

# ``cohortium`` with one command, which works until it is asked to end; what it prints is what the test waits for.
COMMAND = f"""{SIGNALS}
import concurrent.futures, queue, socket, subprocess, threading, time
import typer
from cohortium import cli
from cohortium.system.output import guarded
from cohortium.system.signals import leaving

def rest():
    if "elsewhere" in modes:  # the kernel may give a signal that is sent to a process to any of its threads
        give = lambda: signal.pthread_kill(threading.get_ident(), int(modes[1]))
        threading.Timer(0.3, give).start()
    eval(modes[2] if "elsewhere" in modes else "time.sleep(600)")

def build():
    app = typer.Typer()
    @app.command()
    def work():
        with guarded("json" in modes), leaving(lambda: ("half of it is kept", "Say work again")):
            try:
                print("ready", flush=True)
                rest()
            finally:
                if "slowly" in modes:
                    print("ending", flush=True)
                    rest()
    return app

modes, sys.argv[1:] = sys.argv[1:], []
if "beside" in modes:
    threading.Thread(target=time.sleep, args=(60,)).start()
cli.build = build
cli.main()
"""


def started(*modes: str) -> subprocess.Popen[str]:
    """modes: ``beside``, ``json``, ``slowly``, a signal that it ignores; or ``elsewhere``, the signal, and on what it waits."""
    command = [sys.executable, "-c", COMMAND, *modes]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if (line := process.stdout.readline()) != "ready\n":
        _, err = process.communicate(timeout=PATIENCE)
        pytest.fail(f"it printed {line!r}, then ended with {process.returncode}: {err}")
    return process


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_ends_a_command_with_a_line_and_its_code(name: str) -> None:
    """Whatever a thread is still at work on."""
    with started("beside") as process:
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (NAMES[name], "")
    assert err == f"E_INTERRUPTED: {name}: half of it is kept. Say work again.\n"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("waiting", WAITS.values(), ids=WAITS)
def test_a_signal_is_handled_whatever_the_command_waits_on_and_whichever_thread_got_it(waiting: str, name: str) -> None:
    with started("elsewhere", str(int(getattr(signal, name))), waiting) as process:
        try:
            _, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, err.count("\n")) == (NAMES[name], 1), err
    assert err.startswith(f"E_INTERRUPTED: {name}: half of it is kept")


def test_as_json_it_is_one_object() -> None:
    with started("json") as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (143, "")
    assert '"code": "E_INTERRUPTED"' in out and '"where": "SIGTERM"' in out


def test_asked_again_it_ends_at_once() -> None:
    with started("slowly") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None and process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE / 2)
    assert (process.returncode, err.count("\n")) == (130, 1)
    assert err.startswith("E_INTERRUPTED: ended at once")


def test_who_is_to_outlive_its_terminal_does() -> None:
    with started("SIGHUP") as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 143


def test_a_terminal_that_is_gone_is_no_reason_to_end_otherwise() -> None:
    """Its code states how it ended, although nobody reads the line."""
    with started() as process:
        assert process.stderr is not None
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 129


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (Interrupted(signal.SIGTERM), 143)])
def test_where_nobody_says_what_is_left_nothing_goes_on(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as caught, guarded():
        raise error
    assert caught.value.exit_code == code
    assert "nothing of it is still running" in capsys.readouterr().err


def test_the_innermost_knows_best_what_is_left() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, leaving(lambda: ("outer", "")), leaving(lambda: ("inner", "")):
        raise KeyboardInterrupt
    assert caught.value.left[0] == "inner"  # type: ignore[attr-defined]


def test_a_second_term_is_the_same_wish_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager signals all of a service's processes, and the one that keeps the others alive signals them, too."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for again, after, at_once in (
        (signal.SIGTERM, SAME / 2, False),
        (signal.SIGTERM, SAME * 2, True),
        (signal.SIGINT, 0.0, True),
        (signal.SIGHUP, SAME * 2, False),
    ):
        now[0], wishes = 0.0, EndRequests()
        wishes.record(signal.SIGTERM)
        now[0] = after
        wishes.record(again)
        assert (wishes.first, wishes.at_once) == (signal.SIGTERM, at_once)


# What serves

SUPERVISOR = f"""{SIGNALS}
import os, time
from pathlib import Path
from cohortium.system.supervision import Child, supervise

def sleeper():
    (Path(sys.argv[1]) / f"fork.{{os.getpid()}}").touch()
    time.sleep(600)

file = "import os, pathlib, sys, time; (pathlib.Path(sys.argv[1]) / f'command.{{os.getpid()}}').touch(); time.sleep(600)"
command = [sys.executable, "-c", file, sys.argv[1]]
print(supervise([Child("sleeper", sleeper), Child("command", command)]))
"""


@pytest.mark.parametrize("ignored", [False, True], ids=["handled", "ignored"])
def test_who_keeps_others_alive_ends_them_when_its_terminal_goes_unless_it_ignores_that(
    tmp_path: Path, ignored: bool
) -> None:
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), *(["SIGHUP"] if ignored else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + PATIENCE
        while len(made := list(tmp_path.iterdir())) < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
        for path in made:  # a terminal signals everybody in its foreground
            os.kill(int(path.suffix[1:]), signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        if ignored:
            time.sleep(0.5)
            assert process.poll() is None and len(list(tmp_path.iterdir())) == 2
            process.terminate()
        out, _ = process.communicate(timeout=PATIENCE)
    assert out == f"{15 if ignored else 1}\n"
    assert len(list(tmp_path.iterdir())) == 2  # nobody was started again


# A simulation


class Meanwhile:
    """A custodian that is still answering, until ``go``."""

    def __init__(self) -> None:
        self.asked, self.go, self.done = threading.Event(), threading.Event(), False

    def answer(self, data: bytes) -> bytes:
        self.asked.set()
        self.go.wait(PATIENCE)
        self.done = True
        return data


def test_whoever_leaves_waits_for_those_who_answer_and_lets_nobody_else_in() -> None:
    late = Meanwhile()
    with pytest.raises(KeyboardInterrupt), Drain() as drain:
        behind = drain.before(late)
        answering = threading.Thread(target=behind.answer, args=(b"x",))
        answering.start()
        assert late.asked.wait(PATIENCE)
        threading.Timer(0.2, late.go.set).start()
        raise KeyboardInterrupt
    assert late.done
    answering.join(PATIENCE)
    with pytest.raises(FederationError, match="E_CUSTODIAN_GONE"):
        behind.answer(b"x")


class Interrupting(Silent):
    """Somebody presses Ctrl-C while institutions answer the first round."""

    def __init__(self, pressed: threading.Event) -> None:
        self._pressed = pressed

    def start(self, total: int, what: str) -> None:
        if what == "rounds":
            threading.Timer(0.3, self._press).start()

    def _press(self) -> None:
        self._pressed.set()
        signal.raise_signal(signal.SIGINT)


def test_an_interrupted_simulation_ends_in_order(
    study: Study,
    tables: Mapping[str, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody is still answering when its ledger is closed, and that ledger holds whole entries alone."""
    inside, most, pressed = [0], [0], threading.Event()
    answer, closed = Custodian.answer, Ledger.close

    def answering(custodian: Custodian, data: bytes) -> bytes:
        inside[0] += 1
        try:
            pressed.wait(PATIENCE)
            time.sleep(0.2)
            return answer(custodian, data)
        finally:
            inside[0] -= 1

    def closing(ledger: Ledger) -> None:
        most[0] = max(most[0], inside[0])
        closed(ledger)

    monkeypatch.setattr(Custodian, "answer", answering)
    monkeypatch.setattr(Ledger, "close", closing)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            simulate(study, tables, tmp_path / "out", progress=Interrupting(pressed))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (most[0], inside[0]) == (0, 0)
    assert "E_LEDGER_UNAVAILABLE" not in caplog.text
    assert not (tmp_path / "out").exists()
    for name in study.institution_names:
        with Ledger(home() / "ledgers" / f"{name}.sqlite") as ledger:
            assert ledger.verify() == len(ledger.entries())
    monkeypatch.setattr(Custodian, "answer", answer)
    assert simulate(study, tables, tmp_path / "out").path == tmp_path / "out"  # taken up again


def test_what_an_interrupted_simulation_leaves_is_reported_as_it_is(tmp_path: Path) -> None:
    left = _left(tmp_path / "out", Ledgers())
    assert "ended without a release" in left()[0] and "stay charged" in left()[0]
    assert "charged" not in _left(tmp_path / "out", None)()[0]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{}")
    assert "its release is complete" in left()[0]


# Nothing is written over


def test_a_release_that_came_meanwhile_stays_and_the_new_one_lies_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        pytest.raises(ReleaseError, match=r"E_RELEASE_EXISTS: out: something .* beside it, as out-"),
        new_folder(out, False) as made,
    ):
        (made / "new").touch()
        out.mkdir()
        (out / "manifest.json").write_text("older")
    assert (out / "manifest.json").read_text() == "older"
    (beside,) = [p for p in tmp_path.iterdir() if p.name.startswith("out-")]
    assert (beside / "new").exists()


def test_of_two_who_replace_a_release_at_once_both_are_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text("older")
    with new_folder(out, True) as first:
        (first / "manifest.json").write_text("first")
        with new_folder(out, True) as second:
            (second / "manifest.json").write_text("second")
    assert (out / "manifest.json").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("words", [("sample", "{there}", "--rows", "5"), ("impute", "{there}", "--data", "{out}"),
                                   ("ledger", "export"), ("ledger", "request-restore", "{there}", "--institution", "{there}")],
                         ids=lambda w: " ".join(w[:2]))  # fmt: skip
def test_a_command_overwrites_no_file_unless_it_is_asked_to(tmp_path: Path, words: tuple[str, ...]) -> None:
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    said = [w.format(there=tmp_path, out=out) for w in words]
    result = CliRunner().invoke(build(), [*said, "--out", str(out)])
    assert result.exit_code == 17 and "E_RELEASE_EXISTS" in result.output and "--replace" in result.output
    assert "E_RELEASE_EXISTS" not in CliRunner().invoke(build(), [*said, "--out", str(out), "--replace"]).output
    assert out.read_text() in ("mine", "")


def test_a_demo_removes_nothing_but_a_demo(tmp_path: Path) -> None:
    (tmp_path / "x" / "ledgers").mkdir(parents=True)
    (tmp_path / "x" / "ledgers" / "institution-01.sqlite").write_text("mine")
    with pytest.raises(ReleaseError, match="E_RELEASE_EXISTS"):
        _fresh(tmp_path / "x")
    (tmp_path / "x" / "ledgers" / "institution-01.sqlite").rename(tmp_path / "x" / "ledgers" / "emergency.sqlite")
    _fresh(tmp_path / "x")
    assert not (tmp_path / "x").exists()
