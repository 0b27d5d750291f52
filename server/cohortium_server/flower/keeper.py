"""The keeper: it makes the link what the federation's folder says. It asks nobody and keeps nothing that matters.

Who lies in ``members`` is registered, who lies there no longer is not. A run that is ordered to go on is started, and
started again if its process died; one that is ordered to stop is stopped. Whoever wants something writes it into the folder.
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
from cohortium.logs import about
from cohortium_server import orders
from cohortium_server.federation import Federation
from cohortium_server.flower.control import Control, control
from cohortium_server.flower.roster import pem
from cohortium_server.members import load_members
from cohortium_server.presence import BEGUN
from cohortium_server.tidying import Tidying

EVERY = 1.0  # seconds
MOST_STARTS = 10  # of one order: what dies at once each time is not mended by another start
_log = logging.getLogger("cohortium.keeper")


@dataclass
class Keeper:
    """What was seen so far. online: whether each member was there when it was last looked.

    alive: the runs whose processes were seen to live. starts: how often each order was started.
    """

    federation: Federation
    online: dict[str, bool] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    starts: Counter[tuple[str, int]] = field(default_factory=Counter)
    tidying: Tidying = field(init=False)

    def __post_init__(self) -> None:
        self.tidying = Tidying(self.federation)

    def look(self) -> None:
        """Look once, and do what is to be done. FederationError E_LINK while the link does not answer."""
        with control(self.federation) as link:
            self._members(link)
            self._bury(link)
            numbers = link.unfinished()
            for run in self.federation.runs.glob(f"*/{orders.ORDER}"):
                try:
                    self._run(link, run.parent, numbers.get(run.parent.name, []))
                except FederationError as error:  # a damaged order is one run's trouble
                    _log.error("%s", error, extra=about(code=error.code, run=run.parent.name))
        self.tidying.look(busy=bool(numbers or self.alive))

    def _members(self, link: Control) -> None:
        wanted = {pem(one.node): name for name, one in load_members(self.federation).items()}
        there = {node.key: node for node in link.nodes()}
        for key in wanted.keys() - there.keys():
            link.register(key, wanted[key])
            _log.info("registered %s", wanted[key])
        for key in there.keys() - wanted.keys():
            link.unregister(there[key].number)
            _log.info("a node that is no member's any more was removed")
        self.online = {name: key in there and there[key].online for key, name in wanted.items()}

    def _bury(self, link: Control) -> None:
        """What went on when the coordinator last ended has ended with it; Flower itself notices after a minute."""
        begun = self.federation.state / BEGUN
        if begun.exists():
            for number in chain(*link.unfinished().values()):
                link.stop(number)
            begun.unlink()

    def _run(self, link: Control, run: Path, numbers: list[int]) -> None:
        """numbers: what Flower calls it, as long as Flower thinks that it goes on."""
        order = orders.order(run)
        if order is None or orders.ended(run) is not None:
            return
        if order.wanted == "stop" or self._died(run):
            for number in numbers:
                link.stop(number)
                _log.info("run %s was stopped", run.name, extra=about(run=run.name))
        elif not numbers and run.name not in self.alive:  # one that lives goes on, whatever Flower thinks of it
            self._start(link, run, order.number)

    def _died(self, run: Path) -> bool:
        """Whether its process was seen alive, and lives no more; Flower itself notices after a minute."""
        held = orders.is_held(run)
        died = run.name in self.alive and not held
        (self.alive.add if held else self.alive.discard)(run.name)
        return died

    def _start(self, link: Control, run: Path, order: int) -> None:
        self.starts[run.name, order] += 1
        if self.starts[run.name, order] > MOST_STARTS:
            what = f"its process has died {MOST_STARTS} times"
            orders.end(run, FederationError("E_RUN", run.name, what, "See the coordinator's log, then resume it."))
            return
        link.start({"federation": str(self.federation.folder.absolute()), "resume": run.name})
        _log.info("run %s was started", run.name, extra=about(run=run.name))


def keep(federation: Federation, seen: Callable[[Mapping[str, bool]], object] = lambda online: None) -> None:
    """Look every second until told to stop. ``seen`` hears who is online, when that has changed."""
    keeper, known = Keeper(federation), None
    while True:
        try:
            keeper.look()
            if keeper.online != known:
                seen(keeper.online)
                known = dict(keeper.online)
        except CohortiumError as error:
            starting = error.code == "E_LINK"
            _log.log(logging.DEBUG if starting else logging.ERROR, "%s", error, extra=about(code=error.code))
        time.sleep(EVERY)
