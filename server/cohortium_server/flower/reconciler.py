"""The reconciler brings the link into the state that the federation's folder describes. It holds no state that matters.

Institutions in ``members`` are registered, all others are removed. A run whose desired state is to go on is started, and
restarted if its process died, at growing intervals until a round is complete; one that is to stop is stopped. A run that keeps
dying ends as failed (desired_state.py). All desired states are files in the folder.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from cohortium.errors import CohortiumError, FederationError
from cohortium.system.logs import about
from cohortium.system.platforms import of_the_system
from cohortium_server import desired_state
from cohortium_server.flower.control import Control, control
from cohortium_server.flower.roster import pem
from cohortium_server.flower.tidying import Tidying
from cohortium_server.membership.federation import Federation
from cohortium_server.membership.members import load_members
from cohortium_server.membership.presence import BEGUN
from cohortium_server.rounds.folder_journal import rounds_done

EVERY = 1.0  # seconds
STARTING = 60.0  # seconds that the link may take until it answers
LONGEST = 60.0  # seconds between two starts of a run
_log = logging.getLogger("cohortium.reconciler")


@dataclass
class Reconciler:
    """What was observed so far. online: whether each member was online at the last look.

    alive: the runs whose processes were seen alive. starts: how often each order was started since a round was complete.
    due: when each is to be started again. before: the last fall (desired_state.py) at the time each order was started.
    """

    federation: Federation
    online: dict[str, bool] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    starts: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    due: dict[tuple[str, int, int, int], float] = field(default_factory=dict)
    before: dict[tuple[str, int], desired_state.Fall | None] = field(default_factory=dict)
    reported: dict[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    tidying: Tidying = field(init=False)

    def __post_init__(self) -> None:
        self.tidying = Tidying(self.federation)

    def look(self) -> None:
        """Look once, and act on it. FederationError E_LINK while the link does not answer."""
        with control(self.federation) as link:
            self._members(link)
            self._bury(link)
            numbers = link.unfinished()
            for run in self.federation.runs.glob(f"*/{desired_state.ORDER}"):
                try:
                    self._run(link, run.parent, numbers.get(run.parent.name, []))
                    self.reported.pop(run.parent.name, None)
                except (FederationError, OSError) as error:  # a damaged order, or a full disk, is one run's trouble
                    self._trouble(run.parent.name, error)
        self.tidying.look(busy=bool(numbers or self.alive))

    def _members(self, link: Control) -> None:
        wanted = {pem(one.node): name for name, one in load_members(self.federation).items()}
        there = {node.key: node for node in link.nodes()}
        for key in wanted.keys() - there.keys():
            link.register(key, wanted[key])
            _log.info("registered %s", wanted[key])
        for key in there.keys() - wanted.keys():
            link.unregister(there[key].number)
            _log.info("removed a node that no longer belongs to a member")
        self.online = {name: key in there and there[key].online for key, name in wanted.items()}

    def _bury(self, link: Control) -> None:
        """End the runs that were going on when the coordinator last ended: they ended with it, which Flower notices after a minute."""
        begun = self.federation.state / BEGUN
        if begun.exists():
            for number in chain(*link.unfinished().values()):
                link.stop(number)
            begun.unlink()

    def _run(self, link: Control, run: Path, numbers: list[int]) -> None:
        """numbers: Flower's numbers of the run, as long as Flower counts it as running."""
        order = desired_state.desired(run)
        if order is None or desired_state.ended(run) is not None:
            return
        if order.wanted == "stop" or self._died(run):
            for number in numbers:
                link.stop(number)
                _log.info("run %s was stopped", run.name, extra=about(run=run.name))
        elif not numbers and run.name not in self.alive:  # a live process goes on, whatever state Flower has for it
            self._start(link, run, order.number)

    def _trouble(self, run: str, error: FederationError | OSError) -> None:
        """Log what keeps a run from starting, once and not at every look."""
        found = of_the_system(error) if isinstance(error, OSError) else error
        if self.reported.get(run) != str(found):
            self.reported[run] = str(found)
            _log.error("%s", found, extra=about(code=found.code, run=run))

    def _died(self, run: Path) -> bool:
        """Whether its process was seen alive and is dead now; Flower itself notices after a minute."""
        held = desired_state.is_held(run)
        died = run.name in self.alive and not held
        if held and run.name not in self.alive and (last := desired_state.desired(run)) is not None:
            self.before.setdefault(
                (run.name, last.number), desired_state.last_fall(run)
            )  # another reconciler may have started it
        (self.alive.add if held else self.alive.discard)(run.name)
        return died

    def _start(self, link: Control, run: Path, order: int) -> None:
        if not self._is_due(run, order):
            return
        if (run.name, order) in self.before and self.before[run.name, order] == desired_state.last_fall(run):
            desired_state.fell(run, _gone(run))  # its process had no time to say anything itself
            if desired_state.ended(run) is not None:
                _log.error("run %s has failed", run.name, extra=about(code="E_PROCESS", run=run.name))
                return
        self.before[run.name, order] = desired_state.last_fall(run)
        self.starts[run.name, order, rounds_done(run)] += 1
        link.start({"federation": str(self.federation.folder.absolute()), "resume": run.name})
        _log.info("run %s was started", run.name, extra=about(run=run.name))

    def _is_due(self, run: Path, order: int) -> bool:
        """The first restart comes at once, as after a kill; each further one after a longer pause."""
        rounds = rounds_done(run)
        starts = self.starts[run.name, order, rounds]
        if starts < 2:
            return True
        pause = min(2.0 ** (starts - 1), LONGEST)
        return self.clock() >= self.due.setdefault((run.name, order, rounds, starts), self.clock() + pause)


def _gone(run: Path) -> FederationError:
    what = "its process was killed, or ended without a word; where memory runs out, the system kills"
    return FederationError("E_RUN", run.name, what, "See the coordinator's log and the system's.")


def reconcile(federation: Federation, seen: Callable[[Mapping[str, bool]], object] = lambda online: None) -> None:
    """Look every second until a signal stops the process. ``seen`` is called with who is online whenever that has changed."""
    reconciler, known, trouble = Reconciler(federation), None, Trouble()
    while True:
        try:
            reconciler.look()
            if reconciler.online != known:
                seen(reconciler.online)
                known = dict(reconciler.online)
            trouble = Trouble()
        except (CohortiumError, OSError) as error:
            trouble.report(of_the_system(error) if isinstance(error, OSError) else error)
        time.sleep(EVERY)


@dataclass
class Trouble:
    """Logs what keeps the reconciler from looking, once and not at every look. A link that does not answer may be starting."""

    clock: Callable[[], float] = time.monotonic
    reported: str = ""
    since: float | None = None

    def report(self, error: CohortiumError) -> None:
        self.since = self.clock() if self.since is None else self.since
        starting = error.code == "E_LINK" and self.clock() < self.since + STARTING
        if str(error) != self.reported and not starting:
            self.reported = str(error)
            _log.error("%s", error, extra=about(code=error.code))
