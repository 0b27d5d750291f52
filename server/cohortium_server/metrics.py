"""A coordinator's metrics of its federation: who takes part and is online, certificates, restarts, the progress of runs.

All of it comes from the federation's folder, and the coordinator knows it anyway (docs/metrics.md).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Metric

from cohortium.errors import CohortiumError, InputError
from cohortium.federation.probe import answers_at, load_certificate
from cohortium.flower_names import Api
from cohortium.study.plan import plan
from cohortium.system.documents import load_json
from cohortium.system.logs import about
from cohortium.system.metrics import counter, gauge, served
from cohortium_server import desired_state
from cohortium_server.membership.federation import Federation
from cohortium_server.membership.members import memberships
from cohortium_server.membership.presence import RESTARTS
from cohortium_server.rounds.folder_journal import FolderJournal

NEWEST = 20  # runs that are reported
_STATES = {"invited": "invited", "member": "admitted", "revoked": "revoked"}
_RUN = ("study", "run")
_log = logging.getLogger("cohortium.metrics")


@contextmanager
def metrics_served(federation: Federation) -> Iterator[None]:
    """Serve the federation's metrics within the block, where its file says so. If that address is not available, this is only logged."""
    with ExitStack() as stack:
        if federation.metrics is not None:
            try:
                stack.enter_context(served(Watch(federation).metrics, federation.metrics))
            except InputError as error:  # monitoring must not stop what it monitors
                _log.error("%s", error, extra=about(code=error.code))
        yield


class Watch:
    """Metrics of a federation's folder, read whenever they are requested. What never changes in a run is read once."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._runs: dict[Path, _Run] = {}

    def metrics(self) -> list[Metric]:
        up = answers_at(self._federation.control, Api.HEALTH, self._federation.root_certificate)
        reachable = gauge("cohortium_coordinator_up", "1 if the part that institutions connect to answers.", [((), up)])
        return [reachable, *self._members(up), *self._certificates(), *self._restarts(), *self._progress()]

    def _members(self, up: bool) -> list[Metric]:
        found = memberships(self._federation)
        states = Counter(_STATES[s.state] for s in found)
        there = [((s.institution,), s.online) for s in found if up and s.state == "member" and s.online is not None]
        return [
            gauge(
                "cohortium_coordinator_members",
                "Institutions by membership.",
                [((state,), states[state]) for state in _STATES.values()],
                "state",
            ),
            gauge(
                "cohortium_coordinator_member_online",
                "1 if the institution's relay is connected.",
                there,
                "institution",
            ),
        ]

    def _certificates(self) -> list[Metric]:
        name, what = "cohortium_coordinator_certificate_expiry_timestamp_seconds", "When it expires, in Unix time."
        paths = {"server": self._federation.server_certificate, "root": self._federation.root_certificate}
        rows = [((kind,), load_certificate(path).not_valid_after_utc.timestamp()) for kind, path in paths.items()]
        return [gauge(name, what, rows, "certificate")]

    def _restarts(self) -> list[Metric]:
        try:
            counts: dict[str, int] = dict(load_json(self._federation.state / RESTARTS))
        except (FileNotFoundError, ValueError, TypeError):  # nothing has been started again yet, or the file is damaged
            counts = {}
        name, what = "cohortium_coordinator_process_restarts", "How often a process ended by itself."
        return [counter(name, what, [((process,), count) for process, count in counts.items()], "process")]

    def _progress(self) -> list[Metric]:
        runs = [run for folder in _newest(self._federation.runs) if (run := self._run(folder)) is not None]
        return [
            gauge("cohortium_run_rounds", "Rounds that the run takes.", _of(runs, lambda r: r.rounds), *_RUN),
            gauge(
                "cohortium_run_rounds_done",
                "Rounds that are complete.",
                _of(runs, lambda r: r.journal.rounds_done),
                *_RUN,
            ),
            gauge(
                "cohortium_run_released",
                "1 if the release was written.",
                _of(runs, lambda r: r.journal.is_released),
                *_RUN,
            ),
            gauge("cohortium_run_failed", "1 if the run ended with an error.", _failed(runs), *_RUN, "code"),
            gauge("cohortium_run_changed_timestamp_seconds", "When it last moved.", _of(runs, _Run.changed), *_RUN),
        ]

    def _run(self, folder: Path) -> _Run | None:
        """None for a folder that is no run."""
        if folder not in self._runs:
            try:
                journal = FolderJournal(folder, alone=False)
            except CohortiumError:
                return None
            self._runs[folder] = _Run(journal, plan(journal.study).rounds)
        return self._runs[folder]


@dataclass(frozen=True)
class _Run:
    """A run's journal, read only, and facts of its study's plan, which never change."""

    journal: FolderJournal
    rounds: int

    @property
    def labels(self) -> tuple[str, ...]:
        return self.journal.study.name, self.journal.run

    def failed(self) -> str | None:
        """The code of the error that it ended with."""
        end = desired_state.ended(self.journal.folder)
        return None if end is None or end.error is None else end.error["code"]

    def changed(self) -> float:
        """When the newest of its files was written; names with a dot belong to files that are being written."""
        return max(path.stat().st_mtime for path in self.journal.folder.glob("[!.]*"))


def _of(runs: list[_Run], value: Callable[[_Run], float]) -> list[tuple[tuple[str, ...], float]]:
    return [(run.labels, value(run)) for run in runs]


def _failed(runs: list[_Run]) -> list[tuple[tuple[str, ...], float]]:
    return [((*run.labels, code), 1.0) for run in runs if (code := run.failed()) is not None]


def _newest(runs: Path) -> list[Path]:
    return sorted((p.parent for p in runs.glob("*/run.json")), key=lambda p: -(p / "run.json").stat().st_mtime)[:NEWEST]
