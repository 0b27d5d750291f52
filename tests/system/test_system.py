"""What the system underneath can do: locks that exclude, modes where there are any, and serving where it is safe."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest
from repository import SOURCES
from typer.testing import CliRunner
from without_posix import TAKEN

from cohortium.cli import build
from cohortium.system import files, locks, output, platforms
from cohortium.system.keys import load_or_create_key

FOR_LINUX = {  # require_serving stands before all of these, and an audit asks whether there are forks
    "audit/path.py",
    "cohortium/system/supervision.py",
    "cohortium_client/socket/gate.py",
    "cohortium_client/preflight.py",
    "cohortium_client/relay_preflight.py",
    "cohortium_client/socket/service.py",
    "flower/executor.py",
}
HOLDER = """
import sys, time
from pathlib import Path
from cohortium.system import locks
assert locks.hold(Path(sys.argv[1])) is not None
print("held", flush=True)
time.sleep(600)
"""
posix = pytest.mark.skipif(not platforms.POSIX, reason="there are no modes, no flock and no folders that can be opened")


def opened(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR, 0o600)


def test_who_holds_a_lock_excludes_all_others(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    assert locks.take(first)
    assert not locks.take(second)
    os.close(first)
    assert locks.take(second)
    os.close(second)


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        assert locks.is_held(tmp_path / "lock")
    finally:
        process.kill()
        process.communicate()
    assert not locks.is_held(tmp_path / "lock")


def test_who_wants_to_be_alone_waits_and_then_is(tmp_path: Path) -> None:
    first, second, inside, finish = opened(tmp_path / "lock"), opened(tmp_path / "lock"), Event(), Event()

    def hold() -> None:
        with locks.alone(first):
            inside.set()
            finish.wait(60)

    def want() -> None:
        with locks.alone(second):
            got.append(finish.is_set())

    got: list[bool] = []
    threads = [Thread(target=hold), Thread(target=want)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    time.sleep(0.3)
    assert got == []
    finish.set()
    for thread in threads:
        thread.join(60)
    assert got == [True]
    assert locks.take(first)  # it was given back
    for lock in (first, second):
        os.close(lock)


@posix
def test_here_a_lock_is_flocks(tmp_path: Path) -> None:
    """Versions that call flock themselves, and tools of the system, see it and are seen."""
    import fcntl

    ours, theirs = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    with locks.alone(ours), pytest.raises(BlockingIOError):
        fcntl.flock(theirs, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(theirs, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert not locks.take(ours)
    beside = locks.share(tmp_path / "lock")
    for lock in (ours, theirs, beside):
        os.close(lock)


@pytest.mark.parametrize("here", [True, False], ids=["with pwrite", "without"])
def test_what_is_overwritten_is_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    if not here:
        monkeypatch.delattr(os, "pwrite", raising=False)
        monkeypatch.delattr(os, "fdatasync", raising=False)
    descriptor = files.open_to_overwrite(tmp_path / "head")
    for content in (b"a" * 64, b"b" * 64, b"c\n" * 32):
        files.overwrite(descriptor, content)
        assert (tmp_path / "head").read_bytes() == content
    os.close(descriptor)


def test_a_name_that_is_taken_is_not_given_again(tmp_path: Path) -> None:
    files.write_new(tmp_path / "key", b"first")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o777])
def test_where_there_are_modes_a_secret_is_its_owners_alone(tmp_path: Path, mode: int) -> None:
    load_or_create_key(tmp_path / "key")
    assert not platforms.others_may((tmp_path / "key").stat().st_mode, 0o077)
    assert platforms.others_may(mode, 0o077)


# Serving


@pytest.mark.parametrize(
    "command", ["institution serve", "institution relay", "institution check", "coordinator serve", "coordinator check"]
)
def test_where_nobody_can_tell_who_connects_nobody_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(platforms, "SERVES", False)
    ended = CliRunner().invoke(build(), [*command.split(), str(tmp_path / "folder")])
    assert ended.exit_code == 10
    assert "E_SYSTEM" in ended.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="it is for Linux")
def test_on_linux_it_is_served() -> None:
    platforms.require_serving("here")


WHERE_THERE_IS_ONE = {"files.py": {"pwrite"}, "signals.py": {"pthread_kill"}}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_what_only_posix_has_is_asked_for_where_federations_are_served(path: Path) -> None:
    """Windows' names were looked up in its library's stubs: ``mypy --platform win32`` finds these modules and no others."""
    if any(str(path).endswith(name) for name in FOR_LINUX):
        return
    text = path.read_text(encoding="utf-8")
    for module, names in TAKEN.items():
        found = [n for n in names if f"{module.__name__}.{n}(" in text or f"{module.__name__}.{n}," in text]
        assert set(found) <= WHERE_THERE_IS_ONE.get(path.name, set()), (path, found)


# What shells have letters for


class Shell(io.TextIOWrapper):
    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")

    @property
    def written(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "cp437"])
def test_json_is_the_same_object_whatever_letters_a_shell_has(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    shell, reported = Shell(encoding), {"ε ≤": "Süd, 北, 😀", "e": "e"}
    monkeypatch.setattr(sys, "stdout", shell)
    output.print_json(reported)
    assert json.loads(shell.written.decode("utf-8")) == reported


def test_words_that_a_shell_has_no_letters_for_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell("cp1252")
    monkeypatch.setattr(sys, "stdout", shell)
    output.show_all_letters()
    sys.stdout.write("ε ≤ 3 … é\n")
    assert shell.written.decode("cp1252") == "\\u03b5 \\u2264 3 … é\n"
