"""A study to be run, read from a federation's folder; and the record of how its run ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cohortium.errors import FederationError, StudyError
from cohortium.flower_names import MODULE
from cohortium.study.consent import Signatures, read_signatures, require_all
from cohortium.study.study import Study, load_study
from cohortium.system.logs import about, without_text
from cohortium.system.platforms import is_about_files, of_the_system
from cohortium.system.progress import Progress, listening
from cohortium_server import desired_state
from cohortium_server.flower.roster import nodes_of
from cohortium_server.release import require_no_release, write_release
from cohortium_server.rounds.doing import Diary
from cohortium_server.rounds.folder_journal import FolderJournal
from cohortium_server.rounds.journal import Journal
from cohortium_server.rounds.rounds import ROUND_TIMEOUT, Outcome

PATIENCE = 120.0  # seconds to wait for an institution that is absent or lost
_BETWEEN = (MODULE, "httpx", "httpcore")  # errors of these mean that the link is gone, or has given the run up
_log = logging.getLogger("cohortium.run")


@dataclass(frozen=True)
class Job:
    """A study that all have signed, to be run, and what is done with its outcome.

    members: its institutions by the public keys of their nodes; None where all nodes take part. simulated: the nodes' custodians
    run in this process. diary: where progress is recorded.
    """

    study: Study
    consents: Signatures
    journal: Journal
    finish: Callable[[Outcome], object]
    progress: Progress | None = None
    timeout: float = ROUND_TIMEOUT
    patience: float = PATIENCE
    members: Mapping[bytes, str] | None = None
    simulated: bool = False
    diary: Diary | None = None


def record_failure(run: Path, error: Exception) -> None:
    """Record why the run's process ends: an error that a person must fix ends the run, anything else may be tried again.

    The text of a foreign exception is never recorded.
    """
    if isinstance(error, OSError) and is_about_files(error):
        desired_state.end(run, of_the_system(error))
        return
    from_outside = type(error).__module__.partition(".")[0] in _BETWEEN
    place = without_text(error)
    failure = FederationError("E_RUN", run.name, f"its process has failed: {place}", "See the coordinator's log.")
    desired_state.fell(run, failure, "" if from_outside else place)
    end = desired_state.ended(run)
    failed = (end and end.raised()) or failure
    _log.error("%s", failed, extra=about(code=failed.code, run=run.name))


@contextmanager
def written(diary: Diary | None) -> Iterator[None]:
    """Within the block the diary also records the coordinator's own work; afterwards it is closed."""
    if diary is None:
        yield
        return
    with listening(diary), closing(diary):
        yield


def folder_job(config: Mapping[str, Any]) -> Job:
    """The study of a federation folder, or with ``resume`` a run of it that stopped.

    Its release goes to ``out``, by default to the place in the run's order, or to the folder's ``release``; its journal
    is in the folder's ``runs``.
    """
    folder, seed = absolute("federation", config["federation"]), _seed(config.get("seed", ""))
    resume = str(config.get("resume", ""))
    replace = bool(config.get("replace"))
    if not resume:  # checked before anything is asked, as answers are charged
        require_no_release(_out(folder, config, {}), replace)
    journal = _journal(folder, resume, seed)
    out, replace = _out(folder, config, journal.settings), replace or bool(journal.settings.get("replace"))
    require_no_release(out, replace, journal.run)
    finish = partial(write_release, out=out, seed=journal.settings.get("seed", seed), learn=True, replace=replace)
    members = nodes_of(folder, journal.study)
    diary = Diary(journal.folder)
    return Job(journal.study, journal.consents, journal, finish, members=members, diary=diary)


def _out(folder: Path, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Path:
    return absolute("out", config.get("out") or settings.get("out") or folder / "release")


def _journal(folder: Path, resume: str, seed: int | None) -> FolderJournal:
    if resume:
        return FolderJournal(folder / "runs" / Path(resume).name)
    study = load_study(folder / "study.toml")
    consents = read_signatures(folder / "study.toml", study)
    require_all(study, consents)
    return FolderJournal.begin(folder / "runs", study, consents, seed, {})


def absolute(key: str, value: object) -> Path:
    """A folder. Flower chooses the directory in which this program starts, so a relative path would mean nothing."""
    path = Path(str(value))
    if not path.is_absolute():
        fix = f"Run it with -c '{key}=\"/...\"'."
        raise StudyError("E_PLAN_INVALID", key, "it is not the absolute path of a folder", fix)
    return path


def _seed(value: object) -> int | None:
    """An empty text, the bundle's default, is no seed."""
    if value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise StudyError("E_PLAN_INVALID", "seed", "it is not a whole number", "Run it with -c 'seed=7', or without.")
