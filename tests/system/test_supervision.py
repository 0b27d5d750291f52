"""Processes that are kept alive: started again when they die, ended together, and by the kernel if their reconciler is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 60.0
SUPERVISOR = """
import os, signal, sys, time
from pathlib import Path
from cohortium.errors import CohortiumError
from cohortium.system.supervision import Child, supervise

folder = Path(sys.argv[1])

def sleeper():
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / f"fork.{os.getpid()}").touch()
    time.sleep(600)

def failing():
    (folder / f"failed.{os.getpid()}").touch()
    raise ValueError("SECRET-CANARY")

command = [sys.executable, "-c", "import os, sys, time, pathlib; (pathlib.Path(sys.argv[1]) / f'command.{os.getpid()}').touch(); time.sleep(600)", str(folder)]
def refusing():
    from cohortium.errors import PolicyError
    (folder / f"refused.{os.getpid()}").touch()
    raise PolicyError("E_POLICY", "here", "it is forbidden", "Allow it.")

def later():
    (folder / f"later.{os.getpid()}").touch()
    time.sleep(600)

children = [Child("sleeper", sleeper), Child("command", command)]
if "failing" in sys.argv:
    children.append(Child("failing", failing, check="cohortium institution check X"))
if "refusing" in sys.argv:
    children.append(Child("refusing", refusing))
if "unable" in sys.argv:
    code = "import os, sys, pathlib; (pathlib.Path(sys.argv[1]) / f'unable.{os.getpid()}').touch(); sys.exit(17)"
    children.append(Child("unable", [sys.executable, "-c", code, str(folder)]))
if "after" in sys.argv:
    children.append(Child("later", later, after=lambda: (folder / "go").exists()))
if "settled" in sys.argv:
    from cohortium.system import supervision
    supervision.STABLE_AFTER = -1.0
from cohortium.system import logs
logs.set_up("supervisor")
try:
    supervise(children, lambda counts: (folder / "counts").write_text(repr(counts)))
except CohortiumError as error:
    sys.exit(str(error))
print("ended")
"""


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pids(folder: Path, name: str) -> list[int]:
    return [int(p.suffix[1:]) for p in folder.glob(f"{name}.*")]


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), *words]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        process = started[-1]
        until(lambda: (pids(tmp_path, "fork") and pids(tmp_path, "command")) or process.poll() is not None)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_whoever_is_killed_is_started_again(supervised: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    supervised()
    for name in ("fork", "command"):
        (first,) = pids(tmp_path, name)
        os.kill(first, signal.SIGKILL)
        until(lambda name=name: len(pids(tmp_path, name)) == 2)  # type: ignore[misc]
    until(lambda: (tmp_path / "counts").read_text() == "{'sleeper': 1, 'command': 1}")


def test_on_a_signal_to_stop_all_end(supervised: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    process = supervised()
    process.terminate()
    assert process.communicate(timeout=PATIENCE)[0] == "ended\n"
    assert not any(map(lives, [*pids(tmp_path, "fork"), *pids(tmp_path, "command")]))


def test_each_ends_before_what_it_needs(tmp_path: Path) -> None:
    script = """
import os, signal, sys, time
from pathlib import Path
from cohortium.system.supervision import Child, supervise

def ends(name, seconds):
    def end(*_):
        time.sleep(seconds)
        with Path(sys.argv[1], "ended").open("a") as file:
            file.write(name + " ")
        os._exit(0)
    signal.signal(signal.SIGTERM, end)
    Path(sys.argv[1], f"{name}-{os.getpgid(0) == os.getpid()}").touch()
    time.sleep(600)

supervise([Child("first", lambda: ends("first", 0.0)), Child("second", lambda: ends("second", 0.3))], in_turn=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    until(lambda: (tmp_path / "first-True").exists() and (tmp_path / "second-True").exists())
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)
    assert (tmp_path / "ended").read_text().split() == ["second", "first"]


def test_a_supervisor_that_is_killed_leaves_nobody(
    supervised: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    supervised("stubborn").kill()
    until(lambda: not any(map(lives, [*pids(tmp_path, "fork"), *pids(tmp_path, "command")])))


def test_a_child_that_never_gets_well_is_given_up_after_three_equal_ends_and_its_text_is_not_shown(
    supervised: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = supervised("failing")
    reported = "".join(process.communicate(timeout=PATIENCE))
    assert process.returncode not in (0, None)
    assert len(pids(tmp_path, "failed")) == 3
    assert "E_PROCESS: failing: it has ended 3 times in the same way: ValueError at" in reported
    assert "Run cohortium institution check X." in reported
    assert "SECRET-CANARY" not in reported.replace('raise ValueError("SECRET-CANARY")', "")
    assert not any(map(lives, [*pids(tmp_path, "fork"), *pids(tmp_path, "command")]))


def test_a_child_that_was_well_once_is_restarted_and_each_end_is_reported(
    supervised: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = supervised("failing", "settled")
    until(lambda: len(pids(tmp_path, "failed")) == 4)
    process.terminate()
    reported = process.communicate(timeout=PATIENCE)[1]
    assert len([line for line in reported.splitlines() if "failing has ended (ValueError at" in line]) >= 3


@pytest.mark.parametrize(("word", "file", "code"), [("refusing", "refused", 20), ("unable", "unable", 17)])
def test_a_child_that_refuses_when_it_is_first_started_ends_all_with_its_code(
    supervised: Callable[..., subprocess.Popen[str]], tmp_path: Path, word: str, file: str, code: int
) -> None:
    process = supervised(word)
    reported = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == code
    assert len(pids(tmp_path, file)) == 1
    assert reported.count("E_POLICY: here") == (word == "refusing")
    assert not any(map(lives, [*pids(tmp_path, "fork"), *pids(tmp_path, "command")]))


def test_a_child_may_have_to_wait_for_another(supervised: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    supervised("after")
    time.sleep(0.3)
    assert pids(tmp_path, "later") == []
    (tmp_path / "go").touch()
    until(lambda: pids(tmp_path, "later"))


def test_ends_are_told_apart() -> None:
    from cohortium.system.supervision import ProcessEnd

    assert str(ProcessEnd(-9)) == "killed by SIGKILL"
    assert str(ProcessEnd(1, "ValueError at a.py:1")) == "ValueError at a.py:1, exit code 1"
    assert [ProcessEnd(c).from_outside for c in (-9, -15, -11, 1, 0)] == [True, True, False, False, False]
    assert [ProcessEnd(c).refused for c in (-9, 0, 1, 2, 10, 24)] == [False, False, False, False, True, True]
    assert "signal" in str(ProcessEnd(-63))


def test_a_fork_has_a_name_and_the_code_it_ended_with(tmp_path: Path) -> None:
    from cohortium.system.supervision import forked

    pid = forked(lambda: (tmp_path / "name").write_text(Path("/proc/self/comm").read_text()), "carrier")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "name").read_text() == "carrier\n"
    for work, code in ((lambda: sys.exit(7), 7), (lambda: sys.exit("text"), 1), (lambda: 1 / 0, 1)):
        assert os.waitstatus_to_exitcode(os.waitpid(forked(work, "ends"), 0)[1]) == code


def test_a_fork_ends_though_nobody_reads_its_last_words() -> None:
    from cohortium.system.supervision import forked

    received, said = os.pipe()
    os.close(received)
    pid = forked(lambda: 1 / 0, "unheard", words=said)
    os.close(said)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
