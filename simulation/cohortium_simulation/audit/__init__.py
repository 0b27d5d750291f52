"""``cohortium audit``: attack the installed software with made-up persons, and compare the findings with the claims.

A study takes its whole real path (path.py). Secret randomness decides which canaries are in the tables (canaries.py);
attack.py turns what an attacker sees into scores, noise_runs.py repeats runs to measure the noise, detectors.py holds the
statistical tests and verdict.py draws the conclusions. Detector E, the exact sensitivity of every query, needs no statistics
and is a test: tests/contracts/test_queries.py.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from cohortium.study.plan import Phase
from cohortium.study.study import Study
from cohortium.system.progress import Progress, Silent
from cohortium_simulation.audit.attack import Attack, attack_on, carry_out
from cohortium_simulation.audit.builtin import builtin_studies
from cohortium_simulation.audit.noise_runs import run_for_noise
from cohortium_simulation.audit.path import Path, for_audit, opened, path_of
from cohortium_simulation.audit.verdict import ALPHA, SEES, Finding, of_masks, of_noise, of_reuse, of_scores, of_weights

__all__ = ["ALPHA", "CANARIES", "SEES", "Audit", "Finding", "audit", "builtin_studies"]

CANARIES = 16384
NOISE_RUNS = 4


@dataclass(frozen=True)
class Audit:
    """Everything found about one study. ``digest`` is the study's own, before keys were made for the audit."""

    study: str
    digest: str
    institutions: int
    canaries: int
    findings: tuple[Finding, ...]
    forks: bool
    seconds: float

    @property
    def alarms(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.alarm)

    def document(self) -> dict[str, Any]:
        """A JSON object."""
        return {**asdict(self), "passed": not self.alarms}


def audit(study: Study, canaries: int = CANARIES, progress: Progress | None = None) -> Audit:
    """Run the study on canaries and judge the outputs. Nobody's data are read and nothing is charged to anybody.

    Raises FederationError where a custodian refuses, StudyError where the study has no plan.
    """
    began, progress, run = time.monotonic(), progress or Silent(), for_audit(study)
    findings: list[Finding] = []
    tried = 0
    with opened() as folder:
        with path_of(run, folder) as path:
            attacks = _attacks(path, canaries)
            progress.start(sum(a.design.runs for _, a in attacks) + NOISE_RUNS, f"audit of {study.name}")
            for phase, attack in attacks:
                tried += attack.design.canaries
                for seen in carry_out(path, attack, progress.advance):
                    findings += of_scores(phase.name, seen, study.privacy.delta)
        runs_for_noise = run_for_noise(run, folder, attacks[0][1], progress.advance)
    findings += [
        *of_noise(runs_for_noise),
        *of_weights(runs_for_noise),
        *of_reuse(runs_for_noise),
        *of_masks(runs_for_noise),
    ]
    findings.sort(key=lambda f: f.detector)
    progress.done()
    seconds = time.monotonic() - began
    return Audit(study.name, study.digest, len(run.institutions), tried, tuple(findings), runs_for_noise.forks, seconds)


def _attacks(path: Path, canaries: int) -> list[tuple[Phase, Attack]]:
    first, found = 0, []
    for phase in path.plan.phases:
        found.append((phase, attack_on(path, phase, first, canaries, ALPHA)))
        first += phase.rounds
    return found
