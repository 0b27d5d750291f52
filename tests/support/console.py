"""The command line within this process: what a command prints, and the files it starts from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from visits import people

from cohortium.cli import build

runner = CliRunner()


def call(*arguments: object, code: int = 0) -> str:
    """Standard output of ``cohortium ARGUMENTS``."""
    result = runner.invoke(build(), [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout


def call_json(*arguments: object, code: int = 0) -> dict[str, object]:
    """The one JSON object on standard output."""
    document: dict[str, object] = json.loads(call(*arguments, "--json", code=code))
    return document


@pytest.fixture(name="data")
def data_fixture(tmp_path: Path) -> Path:
    people(3000, 0).to_csv(tmp_path / "visits.csv", index=False)
    return tmp_path / "visits.csv"


@pytest.fixture(name="drafted")
def drafted_fixture(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "schema.toml"
    call("schema", "draft", data, "--target", "result", "--person", "id", "--out", path)
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "REVIEW:" not in line))
    return path
