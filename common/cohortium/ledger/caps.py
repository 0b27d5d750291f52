"""Caps: the most that may ever be spent, and the errors for a charge that would exceed one."""

from __future__ import annotations

from dataclasses import dataclass, field

from cohortium.errors import BudgetError, PolicyError


@dataclass(frozen=True)
class Cap:
    """The most that may ever be spent: epsilon at delta. rule: of the policy, whose cap it is.

    once: it is what a study's whole plan costs; whoever would pass it asks for answers a second time.
    """

    epsilon: float
    delta: float
    rule: str = field(default="", compare=False)
    once: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Caps:
    """What a charge must stay within: of its population over all studies, and of its study over all runs.

    if_all_collude: of its population over all studies, towards somebody who knows what all other institutions sent.
    """

    population: Cap | None = None
    study: Cap | None = None
    if_all_collude: Cap | None = None


NO_CAPS = Caps()


def answered_once(where: str) -> PolicyError:
    """Why a study is not answered a second time; no lack of budget."""
    return PolicyError(
        "E_ANSWERED",
        where,
        "it has been answered here, and the policy lets a study be answered once",
        "Resume the run that it answered, or agree on a higher serial; repeatable = true in policy.toml lets it be answered "
        "again, at its cost again.",
    )


def over_cap(where: str, cap: Cap, total: float, spent: float, restored: bool) -> BudgetError:
    """total, spent: epsilon at the cap's delta, with the charge and without it."""
    return BudgetError(
        "E_BUDGET",
        where,
        f"epsilon would come to {total:.3f} at delta {cap.delta:g}, over the cap of {cap.epsilon:g}; "
        f"{spent:.3f} is spent and {max(0.0, cap.epsilon - spent):.3f} remains",
        f"Ask for a smaller epsilon, or decide on a higher cap{f' ({cap.rule} in policy.toml)' if cap.rule else ''}"
        + (" at a larger delta: the ledger was restored (docs/backup.md)." if restored else "."),
    )
