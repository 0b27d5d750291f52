"""A mixture of product distributions, fitted to noised tables by descent.

Component b gives every column its own distribution P[b, column]; the model's table of columns i and j is the mean over
b of P[b, i] ⊗ P[b, j], so all pair tables together are one small matrix product and a gradient step is cheap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cohortium.system.progress import Progress, advancing
from cohortium_server.generators.contest import Contest, Yardstick
from cohortium_server.generators.data_thinning import best_length, thinned
from cohortium_server.generators.densities import nearest_shares
from cohortium_server.generators.loss import Loss
from cohortium_server.generators.raking import raked
from cohortium_server.generators.shares import Table, single_columns

FloatArray = npt.NDArray[np.float64]
RATE, RISE = 0.2, 20  # learning rate, and steps in which it is reached; a fit has no fewer
FEWEST = 10  # components of a member
SPREAD = 0.5  # of the random start around the single columns' distributions
MOST = 800  # steps
FEW = 3  # members, for which no length is chosen
LOOK = 10  # steps between looks at the held-out tables
LEAST = 1e-9  # the chance of a cell in which nobody seems to be, where columns are independent


@dataclass(frozen=True)
class Fitted:
    """logits: (components, cells) float32 of what is to be released. contest: of the fit with independent columns."""

    logits: npt.NDArray[np.float32]
    contest: Contest


def fit(
    sizes: Sequence[int],
    tables: Sequence[Table],
    components: int,
    seed: int | None,
    device: str,
    progress: Progress,
    targets: Sequence[int] = (),
) -> Fitted:
    """About ``components`` whose tables are close to the truth behind the noised ones; or one, where that is closer (``contest``).

    Squared error weighted by the noise's precision; Adam from the noised single columns. Under much noise the components
    are several mixtures, each fitted by itself: what they make of the noise differs and cancels out in their mean
    (``members``). A long fit would fit noise, so its length is chosen first, from what is noised already (``data_thinning``);
    where noise is so little that a few members suffice, the longest was best wherever it was tried. In the end single
    columns are moved to where they were measured, as far as noise leaves no doubt (``calibration``).
    """
    rng = np.random.default_rng(seed)
    shape = members(sizes, tables, components)
    progress.start(2 * MOST, "fitting")

    def descent(told: Sequence[Table]) -> Iterator[torch.Tensor]:
        return advancing(_descent(sizes, told, shape, rng, device), progress)

    steps, chosen = MOST, shape[0] > FEW
    one, other = thinned(tables, rng) if chosen else (tables, tables)
    judged = Yardstick(sizes, other, targets, device, rng)
    if chosen:
        steps = best_length(descent(one), lambda p: judged.look(p.flatten(0, 1)), LOOK, RISE)
    fitted = next(itertools.islice(descent(tables), steps, None)).flatten(0, 1)
    if not chosen:
        judged.look(fitted)
    progress.done()
    contest = judged.against(independent(sizes, one), held_out=chosen)
    if contest.independent_wins:
        return Fitted(independent(sizes, tables), contest)
    return Fitted(raked(fitted.detach().cpu().numpy(), sizes, single_columns(sizes, tables)), contest)


def independent(sizes: Sequence[int], tables: Sequence[Table]) -> npt.NDArray[np.float32]:
    """(1, cells) logits of one component: the noised single columns, each as the nearest shares."""
    alone = [nearest_shares(t.shares, 1.0) for t in single_columns(sizes, tables)]
    return np.log(np.maximum(np.concatenate(alone), LEAST))[None].astype(np.float32)


def members(sizes: Sequence[int], tables: Sequence[Table], components: int) -> tuple[int, int]:
    """(members, components of each): one large mixture under little noise, many small ones under much.

    The strength of what the pairs tell beyond their single columns is sum((pair - product)² / σ² - 1), about 0 where
    that is noise alone. A member has 2.3 sqrt(strength / cells) components. The form and the 2.3 were found on Adult, Bank
    and Covid at epsilon 1 to 10 and then held on Heart and SDNist (docs/generators.md).
    """
    singles = [alone / alone.sum() for alone in _singles(sizes, tables)]
    strength = 0.0
    for table in (t for t in tables if len(t.columns) == 2):
        i, j = table.columns
        beyond = table.shares - np.outer(singles[i], singles[j])
        strength += float((beyond**2).sum()) / table.sigma**2 - beyond.size
    each = min(components, max(FEWEST, round(2.3 * math.sqrt(max(0.0, strength) / sum(sizes)))))
    return max(1, round(components / each)), each


def _descent(
    sizes: Sequence[int], tables: Sequence[Table], shape: tuple[int, int], rng: np.random.Generator, device: str
) -> Iterator[torch.Tensor]:
    """The (members, components, cells) logits after 0, 1, ... MOST steps; the same tensor each time."""
    loss = Loss(sizes, tables, device, rng)
    generator = torch.Generator().manual_seed(rng.integers(2**62).item())
    start = torch.tensor(np.log(np.concatenate(_singles(sizes, tables))), dtype=torch.float32)
    spread = SPREAD * torch.randn(*shape, len(start), generator=generator)
    logits = (start + spread).to(device).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _rate)
    for _ in range(MOST):
        yield logits
        optimiser.zero_grad()
        loss(logits).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    yield logits


def _rate(step: int) -> float:
    """Of the largest learning rate: it rises first, for fits that are over soon, and falls along a cosine."""
    return min(1.0, (step + 1) / RISE) * 0.5 * (1 + math.cos(math.pi * step / MOST))


def _singles(sizes: Sequence[int], tables: Sequence[Table]) -> list[FloatArray]:
    """(cells,) proportions of every column, none below half its noise."""
    return [np.maximum(alone.shares, max(1e-4, 0.5 * alone.sigma)) for alone in single_columns(sizes, tables)]
