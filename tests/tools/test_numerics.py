"""``make numerics`` goes on after what fails, reports it, and keeps a row of every setting."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "numerics.py"


@pytest.fixture
def numerics(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("numerics", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "numerics", module)
    spec.loader.exec_module(module)
    return module


def written(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *settings: str
) -> tuple[int, list[str]]:
    """The exit code, and the rows that were kept, where everything passes under no setting alone."""
    monkeypatch.setattr(module, "_runs", lambda setting, *command: not module.SETTINGS[setting])
    rows, record = tmp_path / "rows", tmp_path / "tried.py"
    record.write_text(f"import sys\nopen({str(rows)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')")
    monkeypatch.setattr(module, "RECORD", record)
    monkeypatch.setattr(sys, "argv", ["numerics", *settings])
    return module.main(), rows.read_text().splitlines()


def test_it_goes_on_after_a_setting_that_fails(
    numerics: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, rows = written(numerics, tmp_path, monkeypatch, "2 threads", "plain")
    assert code == 1
    assert rows == [
        f"record --what numeric laws and mutants --setting {name} --result {result} --seconds 0"
        for name, result in (("2 threads", "failed"), ("plain", "passed"))
    ]
    assert capsys.readouterr().out.splitlines()[-1] == "failed: 2 threads"


def test_without_a_place_to_record_it_records_nothing(
    numerics: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics, "RECORD", tmp_path / "tried.py")
    numerics.record(numerics.Tried("plain", True, True, 1.0))


def test_a_process_runs_under_its_setting(numerics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(numerics.SETTINGS, "tried", {"A_SETTING": "1"})
    look = "import os, sys; sys.exit(os.environ.get('A_SETTING') != '1')"
    assert numerics._runs("tried", "-c", look)
    assert not numerics._runs("plain", "-c", look)
    assert "A_SETTING" not in os.environ


def test_an_unknown_setting_is_refused(numerics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["numerics", "nothing"])
    with pytest.raises(SystemExit):
        numerics.main()
