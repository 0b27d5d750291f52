"""Did a person take part? Rows that were copied, that are nearer than others', or where synthetic rows are denser than real ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cohortium.evaluation.attacks.findings import Attack
from cohortium.evaluation.attacks.targets import Targets
from cohortium.evaluation.neighbours import Places, nearest

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
FALSE_ALARMS = (0.01, 0.1)  # shares of persons held out at which thresholds are set, by persons who are not tested
NEIGHBOURS = 5
CHANCE = 0.01  # released rows like a person's by chance, fewer of which are no accident


def copies(targets: Targets) -> Attack:
    """Whether a person's row is released as it is, in every column, and is too rare for that to happen by chance.

    How often rows meet by chance is estimated from the shares that the row's values have among persons whom the attacker knows.
    """
    rows = np.unique(targets.synthetic.rows.index, axis=0)
    rare = expected(rows, targets.known.rows.index) * len(targets.synthetic) < CHANCE
    found = {row.tobytes() for row in rows[rare]}
    members, others = (
        np.array([row.tobytes() in found for row in s.rows.index], bool) for s in (targets.members, targets.others)
    )
    words = "Who claims that whoever has a row like a rare released one took part, is"
    return Attack("copies", "", members, others, 0, words)


def expected(rows: IntArray, known: IntArray) -> FloatArray:
    """(rows,) the share of rows like each, were columns independent; a value that nobody known has counts as one person's."""
    chances = np.ones(len(rows))
    for values, column in zip(rows.T, known.T, strict=True):
        there, counts = np.unique(column, return_counts=True)
        at = np.searchsorted(there, values).clip(0, len(there) - 1)
        chances *= np.where(there[at] == values, counts[at], 1) / len(column)
    return chances


def by_distance(targets: Targets) -> Iterator[Attack]:
    """Whoever is near a synthetic row took part (distance to the closest record)."""
    synthetic = targets.space.of(targets.synthetic)
    scores = [-_distance(targets.space.of(s), synthetic, 1) for s in (targets.members, *targets.others_halved)]
    words = "Who claims that whoever is nearest to a released row took part, is"
    yield from _thresholds("membership by distance", scores, words)


def by_density(targets: Targets) -> Iterator[Attack]:
    """Whoever is where synthetic rows are denser than real ones took part (DOMIAS, van Breugel et al. 2023).

    Densities are those of the fifth nearest rows, among synthetic ones and among others that the attacker knows.
    """
    synthetic, known = targets.space.of(targets.synthetic), targets.space.of(targets.known)
    scores = [_ratio(targets.space.of(s), synthetic, known) for s in (targets.members, *targets.others_halved)]
    words = "Who claims that whoever is where released rows are denser than known ones took part, is"
    yield from _thresholds("membership by density", scores, words)


def _distance(rows: Places, others: Places, count: int) -> FloatArray:
    """(rows,) to the so-manieth nearest other."""
    return nearest(rows, others, count)[1][:, -1].astype(np.float64)


def _ratio(rows: Places, synthetic: Places, known: Places) -> FloatArray:
    far, near = (np.maximum(1e-6, _distance(rows, o, NEIGHBOURS)) for o in (known, synthetic))
    return np.log(far) - np.log(near)


def _thresholds(name: str, scores: list[FloatArray], words: str) -> Iterator[Attack]:
    """scores: of members, of others who set the threshold, and of others who are tested. More is likelier."""
    members, setting, others = scores
    for alarms in FALSE_ALARMS:
        least = np.quantile(setting, 1 - alarms)
        of = f"{100 * alarms:g} % false alarms"
        yield Attack(name, of, members > least, others > least, 0, words)
