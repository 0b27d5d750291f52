"""What the charges of a ledger add up to, and whether one more stays within the caps.

The spend belongs to the population, not to the run: a new study on the same people goes on where the last one stopped.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from cohortium.ledger.caps import Cap, Caps, answered_once, over_cap
from cohortium.ledger.chain import Chain
from cohortium.ledger.history import ALL_COLLUDING, Account
from cohortium.ledger.records import Charge, Entry
from cohortium.ledger.restoration import Presumption, Restoration, cost_after
from cohortium.privacy.accounting import Cost, Events, Gaussian, composed, cost, within


class Accounts(Chain):
    """A chain's charges, added up for each population and each of its studies."""

    def _begin(self, path: Path, witness: Path) -> None:
        super()._begin(path, witness)
        self._affordable: dict[tuple[Account, Cap], Events] = {}

    def _learn(self, entry: Entry) -> None:
        super()._learn(entry)
        if isinstance(entry.record, Restoration):
            self._affordable.clear()  # it was affordable before what is presumed now

    def charges(self, population: str | None = None) -> list[Charge]:
        """All charges in order, of one population or of all."""
        records = (e.record for e in self.entries())
        return [r for r in records if isinstance(r, Charge) and population in (None, r.population)]

    def populations(self) -> list[str]:
        """The populations with charges, or with presumed spend."""
        presumed = (e.record.request.population for e in self.entries() if isinstance(e.record, Restoration))
        return sorted({*presumed, *(c.population for c in self.charges())})

    @property
    def presumed(self) -> Presumption | None:
        """What every population counts as having spent before the last restoration; None if there was none."""
        self._refresh()
        return self._known.presumed

    def events(self, population: str, study: str | None = None) -> Events:
        """The events of a population's charges since the last restoration: of one study, of all studies, or as ``ALL_COLLUDING`` see them."""
        self._refresh()
        counted = self._known.events.get((population, study), Counter())
        return composed(Gaussian(z, q, n) for (z, q), n in counted.items())

    def spent(self, population: str, delta: float, more: Events = ()) -> Cost:
        """What the population has spent towards the coordinator, over all studies, and ``more``, at ``delta``.

        Infinite after a restoration at a delta that the presumption uses up.
        """
        return self._cost((population, None), composed((*self.events(population), *more)), delta)

    def spent_if_all_collude(self, population: str, delta: float) -> Cost:
        """The same towards somebody who knows what all other institutions sent."""
        return self._cost((population, ALL_COLLUDING), self.events(population, ALL_COLLUDING), delta)

    def _cost(self, account: Account, events: Events, delta: float) -> Cost:
        """A study's own account has nothing presumed in it: one that a restoration has closed is no longer answered."""
        presumed, study = self.presumed, account[1]
        if presumed is None or study not in (None, ALL_COLLUDING):
            return cost(events, delta)
        bare = math.inf if presumed.bare is None else presumed.bare
        return cost_after(bare if study == ALL_COLLUDING else presumed.epsilon, presumed.delta, events, delta)

    def afford(self, population: str, study: str, events: Events, caps: Caps, if_all_collude: Events = ()) -> None:
        """A dry run: BudgetError E_BUDGET if charging ``events``, or ``if_all_collude``, would pass a cap. Nothing is written.

        PolicyError E_ANSWERED where they are of a study that may be answered once, and was. This is checked first: a higher
        cap would not help.
        """
        if caps.study is not None:
            self._check_cap(f"study {study[:16]}", (population, study), events, caps.study)
        if caps.population is not None:
            self._check_cap(f"population {population!r}", (population, None), events, caps.population)
        if caps.if_all_collude is not None:
            where = f"population {population!r}, if all others collude"
            self._check_cap(where, (population, ALL_COLLUDING), if_all_collude or events, caps.if_all_collude)

    def _check_cap(self, where: str, account: Account, events: Events, cap: Cap) -> None:
        """A part of what was once found affordable is affordable without computing it again."""
        before = self.events(*account)
        after = composed((*before, *events))
        if within(after, self._affordable.get((account, cap), ())):
            return
        total = self._cost(account, after, cap.delta).epsilon
        if not total <= cap.epsilon:  # a cap that is no number allows nothing
            if cap.once and before:
                raise answered_once(where)
            spent = self._cost(account, before, cap.delta).epsilon
            raise over_cap(where, cap, total, spent, restored=self.presumed is not None)
        self._affordable[account, cap] = after
