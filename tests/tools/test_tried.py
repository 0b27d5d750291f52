"""The page that says what was run where says no more than was run."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tried", ROOT / "tools" / "tried.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tried", module)  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_row_takes_the_place_of_an_older_one_of_its_kind(tried: ModuleType, tmp_path: Path) -> None:
    row = tried.observed("laws", "failed", 61.4, "pinned", "one thread")
    tried.write(tmp_path, row)
    tried.write(tmp_path, replace(row, setting="two threads"))
    tried.write(tmp_path, replace(row, result="passed", seconds=7))
    rows = json.loads((tmp_path / "tried.json").read_text())
    assert [(r["setting"], r["result"], r["seconds"]) for r in rows] == [
        ("one thread", "passed", 7),
        ("two threads", "failed", 61),
    ]
    page = (tmp_path / "tried.md").read_text()
    assert page == tried.page([tried.Row(**r) for r in rows])
    assert "one thread | passed | 7 |" in page and "two threads | failed | 61 |" in page


def test_a_row_tells_the_interpreter_that_ran(tried: ModuleType) -> None:
    row = tried.observed("laws", "passed", 1, "newest", "")
    assert row.python == ".".join(map(str, sys.version_info[:3]))
    assert "torch " in row.versions and row.processor and row.system and row.date and row.commit


def test_nothing_is_written_unless_it_is_asked_for(
    tried: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(tried, "ROOT", tmp_path)
    words = ["record", "--what", "laws", "--result", "passed", "--seconds", "3"]
    monkeypatch.delenv("RECORD", raising=False)
    tried.main(words)
    assert "laws pinned Python" in capsys.readouterr().out and not list((tmp_path / "docs").iterdir())
    monkeypatch.setenv("RECORD", "1")
    tried.main(words)
    assert {p.name for p in (tmp_path / "docs").iterdir()} == {"tried.json", "tried.md"}


def test_the_page_in_the_docs_is_made_from_what_was_kept(tried: ModuleType) -> None:
    rows = [tried.Row(**row) for row in json.loads((ROOT / "docs" / "tried.json").read_text(encoding="utf-8"))]
    assert (ROOT / "docs" / "tried.md").read_text(encoding="utf-8") == tried.page(rows)
