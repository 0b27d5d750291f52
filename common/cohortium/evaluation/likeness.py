"""How alike rows are as a whole: whether a model can tell them apart, whether they are where real ones are, and what questions say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cohortium.evaluation.estimates import jackknifed, means
from cohortium.evaluation.learning import Trained, areas, categorical, values
from cohortium.evaluation.measures import Measure, against_reference, measure_of
from cohortium.evaluation.neighbours import Space, distances
from cohortium.evaluation.samples import Sample, Sides

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
TOPIC = "rows"
TOLD_APART = "AUC of telling rows from real ones"
MOST_TOLD_APART = 8_000  # rows of each side
MOST_NEIGHBOURS = 3_000
NEIGHBOURS = 5
QUESTIONS = 300


def likeness(sides: Sides, rng: np.random.Generator) -> Iterator[Measure]:
    yield told_apart(sides)
    yield from support(sides)
    yield questions(sides, rng)
    if sides.schema.constraints:
        yield breaking(sides)


def told_apart(sides: Sides) -> Measure:
    """The classifier two-sample test (Lopez-Paz and Oquab 2017): the AUC by which boosted trees tell a row from a real one.

    Trained on half of the rows, tested on the others; 0.5 is no better than a guess.
    """
    found = {k: _apart(sides, sample) for k, sample in sides.compared.items()}
    return measure_of(TOPIC, TOLD_APART, "", "less", found, (0.0, 1.0))


def _apart(sides: Sides, other: Sample) -> FloatArray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = range(len(sides.sizes))
    both = [s.first(min(MOST_TOLD_APART, len(sides.reference), len(other))) for s in (sides.reference, other)]
    rows = np.vstack([values(sides, s, columns) for s in both])
    groups = np.concatenate([s.groups for s in both])
    truth = np.repeat([0.0, 1.0], [len(s) for s in both])
    train = np.concatenate([s.rows.persons % 2 == 0 for s in both])  # no person is on both sides
    model = HistGradientBoostingClassifier(random_state=0, categorical_features=categorical(sides, columns))
    model.fit(rows[train], truth[train])
    scores = Trained(model.predict_proba(rows[~train]), np.array([0, 1]))
    return areas(truth[~train], scores, groups[~train])


def support(sides: Sides) -> Iterator[Measure]:
    """Precision and recall of Kynkäänniemi et al. (2019), recall as the coverage of Naeem et al. (2020).

    A real row's neighbourhood reaches to its fifth nearest real row. Coverage: the share of real rows with another row in their
    neighbourhood. Precision: the share of rows that lie in some real row's neighbourhood.
    """
    reference = sides.reference.first(MOST_NEIGHBOURS)
    space = Space(sides)
    places = space.of(reference)
    reach = np.sort(distances(places, places), axis=1)[:, min(NEIGHBOURS, len(places) - 1)]
    covered, precise = {}, {}
    for side, sample in sides.compared.items():
        other = sample.first(MOST_NEIGHBOURS)
        inside: npt.NDArray[np.bool_] = distances(places, space.of(other)) <= reach[:, None]
        covered[side] = means(np.asarray(inside.any(axis=1)), reference.groups)
        precise[side] = means(np.asarray(inside.any(axis=0)), other.groups)
    yield measure_of(TOPIC, "coverage: real rows with one nearby", "", "more", covered, (0.0, 1.0))
    yield measure_of(TOPIC, "precision: rows near a real one", "", "more", precise, (0.0, 1.0))


def questions(sides: Sides, rng: np.random.Generator) -> Measure:
    """The mean error of the share of rows that fulfil conditions on one to three columns, of ``QUESTIONS`` random ones."""
    asked = [_question(sides, rng) for _ in range(QUESTIONS)]

    def errors(reference: Sample, other: Sample) -> FloatArray:
        shares = (np.array([means(_fulfil(s, q), s.groups) for q in asked]) for s in (reference, other))
        first, second = shares
        found: FloatArray = np.abs(first - second).mean(axis=0)
        return found

    return against_reference(sides, TOPIC, "mean error of a share under conditions", "", errors)


Question = dict[int, tuple[int, int]]


def _question(sides: Sides, rng: np.random.Generator) -> Question:
    """By column the first and the last cell that fulfil it: round the values of a real row, so that most are not empty."""
    row = sides.reference.cells[rng.integers(len(sides.reference))]
    columns = rng.choice(len(sides.sizes), min(len(sides.sizes), int(rng.integers(1, 4))), replace=False)
    return {int(j): _range(int(row[j]), sides.ordered[j], rng) for j in columns}


def _range(cell: int, ordered: int, rng: np.random.Generator) -> tuple[int, int]:
    if cell >= ordered:
        return cell, cell
    return int(rng.integers(0, cell + 1)), int(rng.integers(cell, ordered))


def _fulfil(sample: Sample, question: Question) -> npt.NDArray[np.bool_]:
    found = np.ones(len(sample), bool)
    for j, (first, last) in question.items():
        found &= (first <= sample.cells[:, j]) & (sample.cells[:, j] <= last)
    return found


def breaking(sides: Sides) -> Measure:
    """The share of rows that break one of the schema's constraints; real ones that do are left out before."""
    broken = sides.schema.rules.broken(sides.synthetic.rows.index)
    found = jackknifed(means(broken, sides.synthetic.groups)).within(0.0, 1.0)
    return Measure(TOPIC, "rows that break a constraint", "", "less", found)
