"""What ran a study decides of which kind its release is; tests of the release itself are in test_kinds.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from enlisted import consents
from local_federation import (
    SWEEP,
    Start,
    start_fixture,  # noqa: F401 (fixtures)
)

from cohortium.study.study import Study
from cohortium.system.progress import Silent
from cohortium_client.custodian.custodian import Custodian
from cohortium_client.custodian.institution import open_custodian
from cohortium_server.rounds.journal import BriefJournal
from cohortium_server.rounds.rounds import run_study
from cohortium_server.rounds.transport import Nobody
from cohortium_simulation.federation import write_federation

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is


def test_what_answered_decides_and_no_option(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Custodians of this process are a simulation's, those behind sockets a federation's."""
    from cohortium_simulation.engine import run_in_process, run_over_sockets  # Flower, which survives no fork

    custodians = start(SWEEP).custodians
    assert run_in_process(SWEEP, consents(SWEEP), custodians).kind == "simulation"
    monkeypatch.setattr("cohortium_simulation.engine.Connection", lambda path: custodians[path.name])
    sockets = [Path(name) for name in custodians]
    outcome = run_over_sockets(SWEEP, consents(SWEEP), sockets, BriefJournal(), Silent())
    assert outcome.kind == "federation"


@dataclass(frozen=True)
class Direct:
    """A transport to custodians, which does not say where they are, as Flower's does not."""

    custodians: Mapping[str, Custodian]

    def announce(self, request: bytes) -> None:
        pass

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        return [c.answer(request) for c in self.custodians.values()]


def test_a_folder_of_made_up_institutions_is_a_simulation_whatever_runs_it(
    study: Study, tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    """Flower's own simulation over a folder that write_federation wrote, and what is released of its run again."""
    from cohortium_server.jobs import folder_job

    folder = write_federation(tmp_path / "fed", study, tables)
    job = folder_job({"federation": str(folder), "out": "", "seed": ""})
    assert not job.simulated
    custodians = Direct({n: open_custodian(folder / "institutions" / n) for n in study.institution_names})
    outcome = run_study(job.study, job.consents, custodians, job.journal)
    again = run_study(job.study, job.consents, Nobody(), job.journal)
    assert outcome.kind == again.kind == "simulation"
