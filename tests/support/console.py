"""The command line within this process: what a command prints, and the files it starts from."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

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


@cache
def _visits() -> str:
    return people(3000, 0).to_csv(index=False)


@cache
def _reviewed_draft() -> str:
    """A draft takes seconds: it is made once in a process."""
    with TemporaryDirectory() as folder:
        data, path = Path(folder) / "visits.csv", Path(folder) / "schema.toml"
        data.write_text(_visits())
        call("schema", "draft", data, "--target", "result", "--person", "id", "--out", path)
        return "".join(line for line in path.read_text().splitlines(keepends=True) if "REVIEW:" not in line)


@pytest.fixture(name="data")
def data_fixture(tmp_path: Path) -> Path:
    (tmp_path / "visits.csv").write_text(_visits())
    return tmp_path / "visits.csv"


@pytest.fixture(name="drafted")
def drafted_fixture(tmp_path: Path) -> Path:
    (tmp_path / "schema.toml").write_text(_reviewed_draft())
    return tmp_path / "schema.toml"
