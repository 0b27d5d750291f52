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
EVERY = 1.0  # seconds between two writings of how far a piece of work has come
ROUNDS = "rounds"  # the piece of work that holds all others until the release
BEGINNING, BETWEEN, RELEASING = "beginning", "fitting what has come so far", "making the release"


@dataclass(frozen=True)
class Doing:
    """At a moment. round: the one under way, from 1, of ``rounds``; 0 before the first. since: seconds since 1970.

    what: the coordinator's own work, of which ``done`` of ``total`` steps are done (0 of 0: it is not counted). waiting:
    whom a question, asked at ``since``, waits for, by name, and whether each is connected; while it is not empty the coordinator has nothing to do.
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
        """In a line, without how far a piece of work has come: it changes when something else is done, or waited for."""
        place = f"round {self.round} of {self.rounds}: " if self.round else ""
        if not self.waiting:
            return place + self.what
        names = [name if there else f"{name} (not connected)" for name, there in self.waiting.items()]
        return f"{place}waiting for {', '.join(names)}"

    @property
    def share(self) -> str:
        """How much of a piece of work is done, where it is counted."""
        return "" if self.waiting or not self.total else f"{100 * self.done // self.total} %"


class Diary:
    """Keeps a run's file: a listener of its progress, and of whom its questions wait for."""

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
        """Whom a question waits for, now."""
        if dict(waiting) != self._waiting:
            self._waiting = dict(waiting)
            self._write()

    def close(self) -> None:
        """The run has ended."""
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
        with suppress(OSError):  # a run goes on without it
            aside.touch(0o600)
            aside.write_bytes(canonical_json(asdict(self._written)))
            aside.replace(self._path)


def _within(now: Doing, total: int, what: str, done: int) -> Doing:
    """A piece of work is under way."""
    if what == ROUNDS:
        return replace(now, what=BETWEEN, round=min(done + 1, total), rounds=total)
    return replace(now, what=what, done=done, total=total)


def _of(one: Doing) -> tuple[object, ...]:
    """What it is about: a question waits since it was asked, however many have answered."""
    return one.round, True if one.waiting else one.what


def doing(run: Path) -> Doing | None:
    """What a run is doing, as its process wrote last; None where nothing is written."""
    try:
        return TypeAdapter(Doing).validate_python(load_json(run / FILE))
    except (OSError, ValueError, ValidationError):
        return None
