"""What is wanted of a run, and how it ended: two small files in its folder, by which its parts agree.

Whoever says ``cohortium coordinator run`` only writes an order. The keeper of a federation sees to it that what is ordered
runs, again if its process died; the process that runs it writes how it ended. So each may be killed at any time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cohortium import locks
from cohortium.canonical import canonical_json
from cohortium.documents import load_json
from cohortium.errors import CohortiumError, FederationError
from cohortium.files import write_whole
from cohortium_server.journal import LOCK

ORDER, END = "order.json", "ended.json"


@dataclass(frozen=True)
class Order:
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
        told = {k: self.error[k] for k in ("code", "where", "what", "fix")}
        kinds = {kind.__name__: kind for kind in CohortiumError.__subclasses__()}
        return kinds.get(self.error["kind"], FederationError)(**told)


def order(run: Path) -> Order | None:
    """What is wanted of the run in a folder; None where nobody has ordered anything."""
    document = _read(run / ORDER)
    return None if document is None else Order(str(document["wanted"]), int(document["number"]))


def give(run: Path, wanted: str) -> Order:
    """Order a run to ``go`` on, or to ``stop``."""
    before = order(run)
    number = (before.number if before else 0) + (wanted == "go")
    write_whole(run / ORDER, canonical_json(asdict(Order(wanted, number))))
    return Order(wanted, number)


def ended(run: Path) -> End | None:
    """How the last order ended; None while it has not."""
    document, last = _read(run / END), order(run)
    if document is None or last is None or document["number"] != last.number:
        return None
    return End(**document)


def end(run: Path, error: CohortiumError | None) -> None:
    """Write how the run's order ended."""
    last = order(run)
    told = End(last.number if last else 0, _document(error) if error else None)
    write_whole(run / END, canonical_json(asdict(told)))


def stopped(run: str, number: int) -> End:
    """The end of an order that another one has taken the place of."""
    error = FederationError("E_RUN", run, "somebody has stopped it", "Resume it.")
    return End(number, _document(error))


def _document(error: CohortiumError) -> dict[str, str]:
    return {**error.as_dict(), "kind": type(error).__name__}


def is_held(run: Path) -> bool:
    """Whether a process runs it now: one that does holds the folder's lock."""
    return locks.is_held(run / LOCK)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = load_json(path)
    except FileNotFoundError:
        return None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise FederationError("E_RUN", path.name, "it is not what was written", "Resume the run, or begin a new one.")
    return document
