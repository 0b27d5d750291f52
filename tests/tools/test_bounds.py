"""tools/bounds.py, as far as it runs without a network: what is pinned, and what belongs into a wheel."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bounds  # noqa: E402 - a script beside the packages

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ASKED = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
TEXT = (ROOT / "constraints.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_pinned_is_what_is_asked_for(asked: str) -> None:
    wanted = Requirement(asked)
    pins = [Requirement(line) for line in TEXT.splitlines() if not line.startswith("#")]
    found = [p for p in pins if canonicalize_name(p.name) == canonicalize_name(wanted.name)]
    assert found, asked
    for pin in found:
        (version,) = pin.specifier
        assert version.operator == "==" and version.version in wanted.specifier


def test_constraints_are_as_the_target_writes_them_and_name_no_place() -> None:
    assert TEXT.startswith(bounds.HEAD)
    assert f"{bounds.TORCH}\n" in TEXT
    lines = TEXT.removeprefix(bounds.HEAD).splitlines()
    assert lines == bounds.pinned("\n".join(lines))
    assert not re.search(r"://|@|--", TEXT)


def test_markers_stay_where_a_package_has_two_lines_alone() -> None:
    text = (
        "a==1 ; sys_platform == 'linux'\nB==2 ; python_version < '3.12'\nb==3 ; python_version >= '3.12'\nnvidia-x==4\n"
    )
    assert bounds.pinned(text) == ["a==1", 'B==2; python_version < "3.12"', 'b==3; python_version >= "3.12"']


def test_a_wheel_that_holds_too_little_or_too_much_is_reported() -> None:
    assert bounds._differing("wheel", {"a"}, {"a"}) == []
    assert bounds._differing("wheel", {"a", "b"}, {"a", "t"}) == ["the wheel lacks b", "the wheel holds t"]
    assert bounds._differing("sdist", {"a"}, {"a", "t"}, only_missing=True) == []


def test_a_step_that_fails_is_reported_and_the_others_run(capsys: pytest.CaptureFixture[str]) -> None:
    steps, ran = bounds.Steps(), list[str]()
    steps.step("first", lambda: bounds.run(sys.executable, "-c", "raise SystemExit(3)"))
    steps.step("second", lambda: ran.append("second"))
    assert ran == ["second"]
    assert [line.partition(":")[0] for line in steps.failed] == ["first"]
    reported = capsys.readouterr().out
    assert "first: failed" in reported and "second: done" in reported


def test_quick_tests_are_there() -> None:
    assert [path for path in (*bounds.QUICK, bounds.STORY) if not (ROOT / path.partition("::")[0]).is_file()] == []
