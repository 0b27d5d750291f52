"""The desired state of a run, how the run ended, and how often its process failed: small files in the run's folder.

``cohortium coordinator run`` only writes the desired state. The federation's reconciler starts the run, and starts it again if
its process died; the process that runs it records how it ended. Each of them may therefore be killed at any time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cohortium.errors import CohortiumError, FederationError
from cohortium.system import locks
from cohortium.system.canonical import canonical_json
from cohortium.system.documents import load_json
from cohortium.system.files import write_whole
from cohortium_server.rounds.folder_journal import LOCK, rounds_done

ORDER, END, FALLS = "order.json", "ended.json", "falls.json"
SAME = 3  # falls of one cause in a row, after which it counts as permanent
MOST_FALLS = 10  # of any causes, without a round completed between them


@dataclass(frozen=True)
class DesiredState:
    """``go`` or ``stop``. number: how often the run was ordered to go on; an end belongs to one of them."""

    wanted: str
    number: int


@dataclass(frozen=True)
class End:
    """How the order of a number ended: with a release, or with an error: its kind, code, where, what and fix."""

    number: int
    error: dict[str, str] | None = None

    def raised(self) -> CohortiumError | None:
        """The error, as it was raised where the run was."""
        if self.error is None:
            return None
        parts = {k: self.error[k] for k in ("code", "where", "what", "fix")}
        kinds = {kind.__name__: kind for kind in CohortiumError.__subclasses__()}
        return kinds.get(self.error["kind"], FederationError)(**parts)


def desired(run: Path) -> DesiredState | None:
    """The desired state of the run in a folder; None where nobody has ordered anything."""
    document = _read(run / ORDER)
    try:
        return None if document is None else DesiredState(str(document["wanted"]), int(document["number"]))
    except (KeyError, TypeError, ValueError):
        raise _damaged(run / ORDER) from None


def give(run: Path, wanted: str) -> DesiredState:
    """Order a run to ``go`` on, or to ``stop``."""
    before = desired(run)
    number = (before.number if before else 0) + (wanted == "go")
    if wanted == "go":  # earlier ends and falls belong to another order
        for name in (END, FALLS):
            (run / name).unlink(missing_ok=True)
    write_whole(run / ORDER, canonical_json(asdict(DesiredState(wanted, number))))
    return DesiredState(wanted, number)


def ended(run: Path) -> End | None:
    """How the last order ended; None while it has not."""
    document, last = _read(run / END), desired(run)
    try:
        if document is None or last is None or document["number"] != last.number:
            return None
        return End(**document)
    except (KeyError, TypeError):
        raise _damaged(run / END) from None


def end(run: Path, error: CohortiumError | None) -> None:
    """Record how the run's order ended."""
    last = desired(run)
    ending = End(last.number if last else 0, _document(error) if error else None)
    write_whole(run / END, canonical_json(asdict(ending)))


def stopped(run: str, number: int) -> End:
    """The end of an order that another one has replaced."""
    error = FederationError("E_RUN", run, "somebody has stopped it", "Resume it.")
    return End(number, _document(error))


# Processes that end before their order does


@dataclass(frozen=True)
class Fall:
    """How the process of an order ended before the order did.

    number: the order's. rounds: how many were complete. at: when, in UTC. error: as it is shown to people. cause: equal for
    falls of the same kind; empty where somebody else ended the process, which says nothing about the run.
    """

    number: int
    rounds: int
    at: str
    cause: str
    error: dict[str, str]

    def __str__(self) -> str:
        return " ".join(self.error[k] for k in ("code", "where", "what"))


def falls(run: Path) -> list[Fall]:
    """The falls of the last order since the last complete round, in order."""
    last = desired(run)
    return [f for f in _falls(run) if last is not None and (f.number, f.rounds) == (last.number, rounds_done(run))]


def last_fall(run: Path) -> Fall | None:
    """The last fall, of any order."""
    return next(iter(_falls(run)[-1:]), None)


def _falls(run: Path) -> list[Fall]:
    document = _read(run / FALLS)
    try:
        return [] if document is None else [Fall(**f) for f in document["falls"]]
    except (KeyError, TypeError):
        raise _damaged(run / FALLS) from None


def fell(run: Path, error: CohortiumError, cause: str = "") -> None:
    """Record that the run's process fell. The third fall of one cause in a row, and the tenth of any, ends the order.

    In a row: without a round completed between them. A run that was stopped has not fallen.
    """
    last = desired(run)
    if last is None or last.wanted != "go" or ended(run) is not None:
        return
    before, at = falls(run), datetime.now(UTC).isoformat()
    known = [*before, Fall(last.number, rounds_done(run), at, cause, _document(error))]
    write_whole(run / FALLS, canonical_json({"falls": [asdict(f) for f in known[-MOST_FALLS:]]}))
    same = [f.cause for f in known[-SAME:]] == [cause] * SAME
    if (cause and same) or len(known) >= MOST_FALLS:
        end(run, _given_up(run, known))


def _given_up(run: Path, known: list[Fall]) -> FederationError:
    """The error of a run that is not started again; it names the code and the place of its last fall."""
    last = known[-1].error
    what = (
        f"its process has ended {len(known)} times since its last round; the last time {last['code']}: {last['what']}"
    )
    fix = f"{last['fix']} Then resume it: cohortium coordinator resume {run}; nothing is asked or charged again."
    return FederationError("E_PROCESS", last["where"], what, fix)


def _document(error: CohortiumError) -> dict[str, str]:
    return {**error.as_dict(), "kind": type(error).__name__}


def is_held(run: Path) -> bool:
    """Whether a process runs it now, which then holds the folder's lock."""
    return locks.is_held(run / LOCK)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = load_json(path)
    except FileNotFoundError:
        return None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _damaged(path)
    return document


def _damaged(path: Path) -> FederationError:
    return FederationError("E_RUN", path.name, "it is not what was written", "Resume the run, or begin a new one.")
