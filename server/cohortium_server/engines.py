"""Engines, which carry the messages of a run; each is installed under a name, like generators."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from cohortium.errors import StudyError
from cohortium.study.consent import Signatures
from cohortium.study.study import Study
from cohortium.system.progress import Progress
from cohortium_server.rounds.journal import Journal
from cohortium_server.rounds.rounds import Outcome


class Engine(Protocol):
    """Runs the rounds of a study that its journal lacks, over the custodians that listen at ``sockets``."""

    def __call__(
        self, study: Study, consents: Signatures, sockets: Sequence[Path], journal: Journal, progress: Progress
    ) -> Outcome: ...


def engine(name: str) -> Engine:
    """The installed engine of a name; StudyError E_GENERATOR names the ones there are."""
    found = {e.name: e for e in entry_points(group="cohortium.engines")}
    if name not in found:
        raise StudyError(
            "E_GENERATOR", "engine", f"no engine {name!r} is installed", f"Installed are {', '.join(sorted(found))}."
        )
    loaded: Engine = found[name].load()
    return loaded
