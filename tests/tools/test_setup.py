"""How the product sets itself up: which Python is taken, and what is said where none will do."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make")
FITTING = ("3.11", "3.12", "3.13", "3.14")
NEEDED = ("sh", "cat", "mkdir", "touch", "chmod")  # by tools/venv.sh and the stubs below

STUB = """#!/bin/sh
case "$*" in
*version_info*) echo {version} ;;
*ensurepip*) exit {missing} ;;
"-m venv "*) mkdir -p "$3/bin" && echo {version} > "$3/made" && for name in python pip; do
	touch "$3/bin/$name" && chmod 755 "$3/bin/$name"; done ;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A search path without any Python."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def stub(path: Path, name: str, version: str, whole: bool = True) -> Path:
    """A Python that prints its version and makes environments, if it is whole."""
    made = path / name
    made.write_text(STUB.format(version=version, missing=0 if whole else 1))
    made.chmod(0o755)
    return made


def set_up(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What ``make`` does before it installs anything, in an environment of that name beside the search path."""
    if MAKE is None:
        pytest.skip("make is not installed")
    venv = path.parent / "venv"
    command = [MAKE, "--no-print-directory", f"VENV={venv}", f"{venv}/bin/pip", *arguments]
    return subprocess.run(command, cwd=ROOT, env={"PATH": str(path)}, capture_output=True, text=True, check=False)


COMMANDS = ("apt install python3 python3-venv", "dnf install", "brew install", "winget install", "uv python", "pyenv")


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({}, "there is no Python at all"),
        ({"python3": "3.10"}, "python3 is 3.10."),
        ({"python3": "3.15"}, "python3 is 3.15."),
        ({"python3.10": "3.10", "python3": "3.9", "python": "2.7"}, "python3 is 3.9, python is 2.7."),
    ],
    ids=["none", "3.10 alone", "3.15 alone", "old ones"],
)
def test_where_no_python_fits_the_message_names_what_installs_one(
    path: Path, there: dict[str, str], found: str
) -> None:
    for name, version in there.items():
        stub(path, name, version)
    done = set_up(path)
    assert done.returncode != 0
    assert f"No Python {', '.join(FITTING[:-1])} or {FITTING[-1]} was found: {found}" in done.stderr
    assert all(command in done.stderr for command in COMMANDS)
    assert not (path.parent / "venv").exists()


@pytest.mark.parametrize("name", ["python3.14", "python3"])
def test_a_python_that_cannot_make_environments_is_reported_before_one_is_begun(path: Path, name: str) -> None:
    """Debian's without its package python3-venv makes half of one, and then says no."""
    stub(path, name, "3.14", whole=False)
    done = set_up(path)
    assert done.returncode != 0
    assert f"{name} is Python 3.14, but" in done.stderr
    assert "sudo apt install python3-venv" in done.stderr
    assert "python3.14-venv" in done.stderr
    assert not (path.parent / "venv").exists()


@pytest.mark.parametrize("version", FITTING)
@pytest.mark.parametrize("name", ["python3", "python", "its own"])
def test_whichever_fits_is_taken_by_whatever_name(path: Path, name: str, version: str) -> None:
    stub(path, f"python{version}" if name == "its own" else name, version)
    done = set_up(path)
    assert done.returncode == 0, done.stderr
    assert (path.parent / "venv" / "made").read_text() == f"{version}\n"


def test_one_that_is_whole_is_taken_before_one_that_is_not(path: Path) -> None:
    stub(path, "python3.11", "3.11", whole=False)
    stub(path, "python3.13", "3.13")
    assert set_up(path).returncode == 0
    assert (path.parent / "venv" / "made").read_text() == "3.13\n"


def test_one_that_is_named_is_taken_or_nothing_is(path: Path) -> None:
    stub(path, "python3", "3.14")
    elsewhere = path.parent / "else where"
    elsewhere.mkdir()
    old, new = stub(elsewhere, "old", "3.10"), stub(elsewhere, "new", "3.12")
    refused = set_up(path, f"PYTHON={old}")
    assert refused.returncode != 0
    assert f"{old} is 3.10." in refused.stderr
    assert "does not run" in set_up(path, f"PYTHON={elsewhere / 'absent'}").stderr
    assert set_up(path, f"PYTHON={new}").returncode == 0
    assert (path.parent / "venv" / "made").read_text() == "3.12\n"


def test_an_environment_that_was_made_half_way_is_made_whole(path: Path) -> None:
    half = path.parent / "venv" / "bin" / "python"
    half.parent.mkdir(parents=True)
    half.touch()
    refused = set_up(path)
    assert refused.returncode != 0
    assert "No Python" in refused.stderr
    stub(path, "python3", "3.14")
    assert set_up(path).returncode == 0
    assert (half.parent / "pip").exists()
    assert set_up(path).stdout.strip().endswith("is up to date.")


def project() -> dict[str, object]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def test_everything_names_the_same_versions() -> None:
    reported = project()
    accepted = SpecifierSet(str(reported["requires-python"]))
    assert [v for v in (f"3.{minor}" for minor in range(30)) if accepted.contains(v)] == list(FITTING)
    classifiers = reported["classifiers"]
    assert isinstance(classifiers, list)
    assert [c[-4:] for c in classifiers if re.search(r"Python :: 3\.\d+$", c)] == list(FITTING)
    script = (ROOT / "tools" / "venv.sh").read_text()
    assert f"\t{' | '.join(FITTING)}) return 0" in script
    assert re.findall(r"python(3\.\d+)", script.split("names=")[1].splitlines()[0]) == list(FITTING)
    for file in ("README.md", "deploy/systemd/README.md"):
        assert re.findall(r"Python 3\.\d+ to 3\.\d+", (ROOT / file).read_text()) == ["Python 3.11 to 3.14"], file


def test_a_python_that_is_too_old_is_refused_when_it_builds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pip before 23.1 does not look at requires-python before it looks for what is required."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or later; this is Python 3\.10, which is too old"):
        runpy.run_path(str(ROOT / "tools" / "backend.py"))


def test_several_environments_stand_side_by_side(path: Path) -> None:
    stub(path, "python3", "3.13")
    done = set_up(path, "--dry-run", "demo")
    assert done.returncode == 0, done.stderr
    assert str(path.parent / "venv") in done.stdout
    assert ".venv/" not in done.stdout
