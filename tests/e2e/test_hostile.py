"""A coordinator that sends a bundle with hostile code: nothing of it runs anywhere, and the study goes its way all the same."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from deployed import until
from killing import STUDY, check, federation

from cohortium.study.consent import read_signatures
from cohortium.study.study import load_study
from cohortium_server import desired_state
from cohortium_server.flower import control as said
from cohortium_server.membership.federation import load_federation
from cohortium_server.rounds.folder_journal import FolderJournal

HOSTILE = """
import os, pathlib
pathlib.Path({marker!r} + "." + str(os.getpid())).write_text("ran as " + str(os.getuid()))
app = None
"""
PYPROJECT = """
[project]
name = "hostile"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "cohortium"

[tool.flwr.app.components]
serverapp = "cohortium_server.app:app"
clientapp = "hostile:app"

[tool.flwr.app.config]
federation = ""
out = ""
seed = ""
resume = ""
"""
SHADOWED = ("hostile", "cohortium_client/app", "cohortium_client/__init__", "cohortium/__init__", "sitecustomize")
SHADOWED_AT_COORDINATOR = ("cohortium_server/app", "cohortium_server/__init__")


def bundle(folder: Path, marker: Path) -> Path:
    """A bundle whose every module, those that hide the installed ones first, writes down that it ran."""
    made = folder / "hostile"
    for name in (*SHADOWED, *SHADOWED_AT_COORDINATOR):
        path = made / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HOSTILE.format(marker=str(marker)))
    (made / "pyproject.toml").write_text(PYPROJECT)
    return made


@pytest.mark.timeout(1800)
def test_hostile_code_neither_runs_nor_reaches_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with federation() as made:
        traces = made.folder / "traces"
        traces.mkdir()
        traces.chmod(0o777)
        sent = bundle(made.folder, traces / "ran")
        runpy.run_path(str(sent / "hostile.py"))  # the trap works
        (trace,) = traces.iterdir()
        trace.unlink()

        file = made.agree(STUDY.format(serial=1, rounds=2))
        study = load_study(file)
        out = made.folder / "out" / "release-1"
        made.writable(out.parent)
        settings = {"out": str(out), "seed": 1, "at": str(made.fed)}
        journal = FolderJournal.begin(made.fed / "runs", study, read_signatures(file, study), 1, settings)
        journal.close()
        made.give(made.fed / "runs", made.coordinator_user)

        monkeypatch.setattr(said, "BUNDLE", sent)
        said._bundle.cache_clear()
        with said.control(load_federation(made.fed)) as link:
            link.start({"federation": str(made.fed), "resume": journal.run})
        said._bundle.cache_clear()
        until(lambda: (out / "manifest.json").exists(), "the installed apps have run the study")
        check(made, None, journal.folder, 1)
        assert list(traces.iterdir()) == []
        for name in made.names:
            unpacked = [p for p in (made.relay(name) / "flower").rglob("*") if p.suffix == ".py"]
            assert unpacked == [], "not even unpacked"
        assert desired_state.desired(journal.folder) is None
