"""How differently a model treats groups of persons, if it was trained on synthetic rows, and if on real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cohortium.evaluation.estimates import GROUPS
from cohortium.evaluation.learning import Task, Trained, tested, trained
from cohortium.evaluation.measures import Measure, measure_of
from cohortium.evaluation.samples import Sample, Sides, is_ordered

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
TOPIC = "fairness"
LEAST = 50  # real rows of a group, fewer of which say nothing


def fairness(sides: Sides, targets: Sequence[int], groups: Sequence[int]) -> Iterator[Measure]:
    """The gaps of boosted trees, for every target with two classes or more, its most frequent one against all others.

    Parity gap: the largest difference between two groups in how often they are said to be in the class. Gap of equalised odds
    (Hardt et al. 2016): the larger of the two differences in how often that is right, and how often wrong. A person is said to be
    in the class if their score is among so many of the highest as the training rows have in it. The ceiling is the gap of a model
    trained on real rows; there is no floor, as a model that knows nothing may have any.
    """
    for target in targets:
        if is_ordered(sides.schema.columns[target]):
            continue
        test, truth = tested(sides, Task(target, True))
        if len(np.unique(truth)) < 2:
            continue
        samples = {"synthetic": sides.synthetic, "real": sides.real}
        models = {side: trained(sides, Task(target, True), "boosting", s, test) for side, s in samples.items()}
        class_ = _class(truth)
        for group in groups:
            if group != target:
                yield from _gaps(sides, (target, group), class_, test, truth, models)


def _class(truth: FloatArray) -> int:
    """The second most frequent one: of two the rarer."""
    classes, counts = np.unique(truth, return_counts=True)
    return int(classes[np.argsort(-counts, kind="stable")[1]])


def _gaps(
    sides: Sides, columns: tuple[int, int], class_: int, test: Sample, truth: FloatArray, models: dict[str, Trained]
) -> Iterator[Measure]:
    whose = test.cells[:, columns[1]]
    there = [int(g) for g in np.unique(whose) if (whose == g).sum() >= LEAST]
    if len(there) < 2:
        return
    of = " by ".join(sides.schema.names[j] for j in columns)
    chosen = {
        side: _highest(m.of(class_), float((sides.compared[side].cells[:, columns[0]] == class_).mean()))
        for side, m in models.items()
    }
    truly = truth == class_
    parity = {s: _spread(c, whose, there, test.groups) for s, c in chosen.items()}
    odds = {
        s: np.maximum(*(_spread(c[t], whose[t], there, test.groups[t]) for t in (truly, ~truly)))
        for s, c in chosen.items()
    }
    yield measure_of(TOPIC, "parity gap", of, "less", parity, (0.0, 1.0))
    yield measure_of(TOPIC, "gap of equalised odds", of, "less", odds, (0.0, 1.0))


def _highest(scores: FloatArray, share: float) -> BoolArray:
    """(rows,) whether a score is among that share of the highest."""
    most = round(share * len(scores))
    found = np.zeros(len(scores), bool)
    found[np.argsort(-scores, kind="stable")[:most]] = True
    return found


def _spread(chosen: BoolArray, whose: IntArray, there: Sequence[int], groups: IntArray) -> FloatArray:
    """(GROUPS + 1,) the largest difference between two groups of persons, in all rows and without each group of the jackknife."""
    found = np.empty(GROUPS + 1)
    for k in range(GROUPS + 1):
        kept = groups != k - 1
        rates = [float(chosen[kept & (whose == g)].mean()) for g in there if (kept & (whose == g)).any()]
        found[k] = max(rates) - min(rates) if rates else 0.0
    return found
