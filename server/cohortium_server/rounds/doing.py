"""The progress of a run: a small file in its folder, written by the process that runs it and read by anybody who checks on it.

It holds the number of the round, the names of the institutions that are waited for and whether each is connected, and what the
coordinator itself is doing. All of that is the coordinator's own knowledge; nothing in it comes from an answer, and it stays in
the coordinator's folder. It is removed when the run ends and is not part of the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cohortium.system.canonical import canonical_json
from cohortium.system.documents import load_json

FILE = "doing.json"
EVERY = 1.0  # seconds between two updates of a piece of work's progress
ROUNDS = "rounds"  # the piece of work that contains all others until the release
BEGINNING, BETWEEN, RELEASING = "beginning", "fitting what has come so far", "making the release"


@dataclass(frozen=True)
class Doing:
    """The state of a run. round: the current one, from 1, of ``rounds``; 0 before the first. since: seconds since 1970.

    what: the coordinator's own work, with ``done`` of ``total`` steps done (0 of 0: not counted). waiting: the institutions
    that a request, sent at ``since``, waits for, and whether each is connected; while there are any, the coordinator is idle.
    """

    what: str = BEGINNING
    round: int = 0
    rounds: int = 0
    done: int = 0
    total: int = 0
    waiting: Mapping[str, bool] = field(default_factory=dict)
    since: float = 0.0

    @property
    def words(self) -> str:
        """One line without the progress of a piece of work: it changes only when the work or the waiting changes."""
        place = f"round {self.round} of {self.rounds}: " if self.round else ""
        if not self.waiting:
            return place + self.what
        names = [name if there else f"{name} (not connected)" for name, there in self.waiting.items()]
        return f"{place}waiting for {', '.join(names)}"

    @property
    def share(self) -> str:
        """The part of a piece of work that is done, where it is counted."""
        return "" if self.waiting or not self.total else f"{100 * self.done // self.total} %"


class Diary:
    """Writes a run's file: a listener of its progress, and of whom its requests wait for."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = folder / FILE, clock
        self._open: list[tuple[int, str, int]] = []  # total, what, how much is done
        self._waiting: dict[str, bool] = {}
        self._over = False
        self._written = Doing()
        self._at = 0.0
        self._write()

    def start(self, total: int, what: str) -> None:
        self._open.append((total, what, 0))
        self._write()

    def advance(self, by: int = 1) -> None:
        total, what, done = self._open.pop()
        self._open.append((total, what, done + by))
        if what == ROUNDS or self._clock() >= self._at + EVERY:
            self._write()

    def done(self) -> None:
        _, what, _ = self._open.pop()
        self._over = self._over or what == ROUNDS
        self._write()

    def waits(self, waiting: Mapping[str, bool]) -> None:
        """Record whom a request waits for now."""
        if dict(waiting) != self._waiting:
            self._waiting = dict(waiting)
            self._write()

    def close(self) -> None:
        """Remove the file: the run has ended."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _now(self) -> Doing:
        now = Doing(what=RELEASING if self._over else BEGINNING, waiting=self._waiting)
        for piece in self._open:
            now = _within(now, *piece)
        return now

    def _write(self) -> None:
        now, self._at = self._now(), self._clock()
        goes_on = self._written.since and _of(now) == _of(self._written)
        self._written = replace(now, since=self._written.since if goes_on else self._at)
        aside = self._path.with_suffix(".new")
        with suppress(OSError):  # the run can do without it
            aside.touch(0o600)
            aside.write_bytes(canonical_json(asdict(self._written)))
            aside.replace(self._path)


def _within(now: Doing, total: int, what: str, done: int) -> Doing:
    """The state within a piece of work."""
    if what == ROUNDS:
        return replace(now, what=BETWEEN, round=min(done + 1, total), rounds=total)
    return replace(now, what=what, done=done, total=total)


def _of(one: Doing) -> tuple[object, ...]:
    """What the state is about: a request waits since it was sent, however many have answered."""
    return one.round, True if one.waiting else one.what


def doing(run: Path) -> Doing | None:
    """The state that a run's process wrote last; None where there is none."""
    try:
        return TypeAdapter(Doing).validate_python(load_json(run / FILE))
    except (OSError, ValueError, ValidationError):
        return None
