"""What synthetic rows are good for: models trained on them and tested on real rows, beside models trained on real rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.data.columns.encoding import INVALID
from cohortium.evaluation.estimates import GROUPS
from cohortium.evaluation.measures import Better, Measure, measure_of
from cohortium.evaluation.samples import Sample, Sides, is_ordered, numbers

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
TOPIC = "models"
FAMILIES = ("boosting", "forest", "linear")
MOST_TRAINED = 20_000  # rows
MOST_TESTED = 20_000
RARE = 0.2  # the share of a class below which its average precision is told, too
_CATEGORIES = 254  # of a column, which boosted trees can tell apart


@dataclass(frozen=True)
class Task:
    """Predict one column from all others: its class, or where it is ordered its number."""

    target: int
    classifies: bool


@dataclass(frozen=True)
class Trained:
    """What a model makes of test rows. scores: (rows, classes), or (rows, 1) numbers. classes: by column of ``scores``."""

    scores: FloatArray
    classes: IntArray

    def of(self, wanted: int) -> FloatArray:
        """(rows,) scores of a class; one that the model never saw has none."""
        at = np.flatnonzero(self.classes == wanted)
        return self.scores[:, at[0]] if len(at) else np.zeros(len(self.scores))


def task_of(sides: Sides, target: int) -> Task:
    return Task(target, not is_ordered(sides.schema.columns[target]))


def learning(sides: Sides, targets: Sequence[int]) -> Iterator[Measure]:
    """Measures of every target and family of models."""
    for target in targets:
        task = task_of(sides, target)
        name = sides.schema.names[target]
        test, truth = tested(sides, task)
        if len(test) == 0 or (task.classifies and len(np.unique(truth)) < 2):
            continue  # there is nothing to tell apart
        for family in FAMILIES:
            models = {side: trained(sides, task, family, s, test) for side, s in sides.compared.items()}
            for what, better, statistic, limits in _statistics(task, truth):
                found = {side: statistic(m, test.groups if side == "synthetic" else None) for side, m in models.items()}
                yield measure_of(TOPIC, f"{what}, {family}", name, better, found, limits)


Groups = IntArray | None
Judged = tuple[str, Better, Callable[[Trained, Groups], FloatArray], tuple[float, float]]


def _statistics(task: Task, truth: FloatArray) -> Iterator[Judged]:
    if not task.classifies:
        yield "R²", "more", lambda m, groups: explained(truth, m.scores[:, 0], groups), (-np.inf, 1.0)
        return
    yield "AUC", "more", lambda m, groups: areas(truth, m, groups), (0.0, 1.0)
    classes, counts = np.unique(truth, return_counts=True)
    rare = int(classes[np.argmin(counts)])
    if counts.min() < RARE * len(truth):
        name = "average precision, rarest class"
        yield name, "more", lambda m, groups: precisions(truth == rare, m.of(rare), groups), (0.0, 1.0)


def tested(sides: Sides, task: Task) -> tuple[Sample, FloatArray]:
    """Real rows that no model was trained on, and what is to be predicted."""
    sample = sides.reference.first(MOST_TESTED)
    truth = outcome(sides, task, sample)
    there = ~np.isnan(truth)
    return sample.at(there), truth[there]


def outcome(sides: Sides, task: Task, sample: Sample) -> FloatArray:
    """(rows,) classes, a missing value being one, or numbers, NaN where missing."""
    if task.classifies:
        return sample.cells[:, task.target].astype(np.float64)
    return numbers(sides.schema.columns[task.target], sample.rows.index[:, task.target])


def trained(sides: Sides, task: Task, family: str, sample: Sample, test: Sample) -> Trained:
    """A model of the family, trained on the sample; its scores of the test rows."""
    train = sample.first(MOST_TRAINED)
    truth = outcome(sides, task, train)
    there = ~np.isnan(truth)
    train, truth = train.at(there), truth[there]
    others = [j for j in range(len(sides.sizes)) if j != task.target]
    classes = np.unique(truth)
    if len(classes) < 2 or not others:
        return _constant(task, truth, len(test))
    features = one_hot if family == "linear" else values
    model = _model(family, task, categorical(sides, others))
    model.fit(features(sides, train, others), truth)
    return _scores(model, task, features(sides, test, others))


def _constant(task: Task, truth: FloatArray, rows: int) -> Trained:
    """What can be learnt where all rows are alike."""
    value = 0.0 if task.classifies or not len(truth) else float(truth[0])
    return Trained(np.full((rows, 1), value), np.full(1, INVALID))


def _scores(model: Any, task: Task, rows: Any) -> Trained:
    if task.classifies:
        return Trained(model.predict_proba(rows), model.classes_.astype(np.int64))
    return Trained(model.predict(rows)[:, None], np.zeros(1, np.int64))


def values(sides: Sides, sample: Sample, columns: Sequence[int]) -> FloatArray:
    """(rows, columns) numbers of ordered columns, NaN where missing, and codes of the others."""
    found = np.empty((len(sample), len(columns)))
    for k, j in enumerate(columns):
        column = sides.schema.columns[j]
        found[:, k] = numbers(column, sample.rows.index[:, j]) if is_ordered(column) else sample.cells[:, j]
    return found


def categorical(sides: Sides, columns: Sequence[int]) -> list[bool]:
    """Which of ``values`` are codes without an order, and few enough for trees that tell them apart."""
    return [not is_ordered(sides.schema.columns[j]) and sides.sizes[j] <= _CATEGORIES for j in columns]


def one_hot(sides: Sides, sample: Sample, columns: Sequence[int]) -> Any:
    """(rows, cells of all columns) sparse ones, one a column."""
    from scipy.sparse import csr_matrix

    starts = np.cumsum([0, *(sides.sizes[j] for j in columns)])
    places = sample.cells[:, columns] + starts[:-1]
    ones = np.ones(places.size)
    ends = np.arange(0, places.size + 1, len(columns))
    return csr_matrix((ones, places.ravel(), ends), shape=(len(sample), int(starts[-1])))


def _model(family: str, task: Task, codes: list[bool]) -> Any:
    from sklearn import ensemble, linear_model

    if family == "boosting":
        kind = ensemble.HistGradientBoostingClassifier if task.classifies else ensemble.HistGradientBoostingRegressor
        return kind(random_state=0, categorical_features=codes)
    if family == "forest":
        kind = ensemble.RandomForestClassifier if task.classifies else ensemble.RandomForestRegressor
        return kind(100, min_samples_leaf=5, n_jobs=-1, random_state=0)
    return linear_model.LogisticRegression(max_iter=300) if task.classifies else linear_model.Ridge()


def without_each(rows: int, groups: Groups, statistic: Callable[[npt.NDArray[np.bool_]], float]) -> FloatArray:
    """A statistic of all rows, and then, (GROUPS + 1,), without each group's; (1,) where there are no groups."""
    everybody = np.ones(rows, bool)
    without = () if groups is None else (groups != g for g in range(GROUPS))
    return np.array([statistic(kept) for kept in (everybody, *without)])


def areas(truth: FloatArray, model: Trained, groups: Groups) -> FloatArray:
    """Areas under the receiver operating characteristic: of more than two classes the mean over each against the rest."""
    classes = np.unique(truth)
    judged = classes[1:] if len(classes) == 2 else classes
    each = [(truth == c, model.of(int(c))) for c in judged]

    def area(kept: npt.NDArray[np.bool_]) -> float:
        found = [one for of, scores in each if (one := area_of(of[kept], scores[kept])) is not None]
        return float(np.mean(found)) if found else 0.5

    return without_each(len(truth), groups, area)


def area_of(truth: npt.NDArray[np.bool_], scores: FloatArray) -> float | None:
    """The chance that a row of the class has a higher score than another row (Mann and Whitney 1947); None where all are alike."""
    from scipy.stats import rankdata

    inside = int(truth.sum())
    outside = len(truth) - inside
    if not inside or not outside:
        return None
    ranks = rankdata(scores)[truth].sum()
    return float(ranks - inside * (inside + 1) / 2) / (inside * outside)


def precisions(truth: npt.NDArray[np.bool_], scores: FloatArray, groups: Groups) -> FloatArray:
    """Average precision of one class."""
    from sklearn.metrics import average_precision_score

    def precision(kept: npt.NDArray[np.bool_]) -> float:
        return float(average_precision_score(truth[kept], scores[kept])) if truth[kept].any() else 0.0

    return without_each(len(truth), groups, precision)


def explained(truth: FloatArray, found: FloatArray, groups: Groups) -> FloatArray:
    """Coefficients of determination."""

    def r2(kept: npt.NDArray[np.bool_]) -> float:
        spread = float(np.square(truth[kept] - truth[kept].mean()).sum())
        return 1 - float(np.square(truth[kept] - found[kept]).sum()) / spread if spread else 0.0

    return without_each(len(truth), groups, r2)
