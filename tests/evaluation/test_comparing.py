"""Comparisons of synthetic rows with real ones: each measure against another implementation, and what all of them say together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cohorts import COHORT, cohort
from scipy.stats import ks_2samp, spearmanr, wasserstein_distance
from sklearn.metrics import mutual_info_score, roc_auc_score

from cohortium.errors import InputError, SchemaError
from cohortium.evaluation import learning, likeness, pairs, shapes
from cohortium.evaluation.evaluation import NO_HOLDOUT, NO_TARGET, Asked, Evaluation, evaluate
from cohortium.evaluation.neighbours import distances, nearest
from cohortium.evaluation.samples import BINS, Sides, sides

ILL, WARD = COHORT.index("ill"), COHORT.index("ward")
ASKED = Asked(targets=(ILL,), groups=(WARD,), guarantee=(1.0, 1e-6))


def three(rows: int = 2000, seed: int = 5) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Real rows, others held out, and as many of independent columns."""
    rng = np.random.default_rng(seed)
    real, held = cohort(rows, rng), cohort(rows, rng, rows)
    mixed = cohort(rows, rng)
    return (
        real,
        held,
        pd.DataFrame({c: mixed[c].sample(frac=1, random_state=k).to_numpy() for k, c in enumerate(mixed)}),
    )


def compared(synthetic: pd.DataFrame, real: pd.DataFrame, held: pd.DataFrame | None) -> Sides:
    return sides(COHORT, synthetic, real, held, np.random.default_rng(0))


@pytest.fixture(scope="module")
def honest() -> Evaluation:
    """Of rows that were drawn as the real ones were."""
    real, held, _ = three()
    return evaluate(COHORT, cohort(2000, np.random.default_rng(9)), real, held, ASKED)


@pytest.fixture(scope="module")
def mixed() -> Evaluation:
    real, held, independent = three()
    return evaluate(COHORT, independent, real, held, ASKED)


def test_distances_of_columns_are_scipys() -> None:
    real, held, independent = three()
    table = independent.assign(age=(independent["age"] * 0.9 + 3).round(2))
    found = {(m.name, m.of): m for m in shapes.shapes(compared(table, real, held))}
    for column in ("age", "crp"):
        one, other = held[column].dropna(), table[column].dropna()
        assert found[shapes.KS, column].synthetic.value == pytest.approx(ks_2samp(one, other).statistic, abs=1e-9)
        scaled = wasserstein_distance(one, other) / np.std(one)
        assert found[shapes.WASSERSTEIN, column].synthetic.value == pytest.approx(scaled, rel=1e-6)
    shares = [t["ward"].value_counts(normalize=True).reindex(["a", "b", "c"]) for t in (held, table)]
    assert found[shapes.TVD, "ward"].synthetic.value == pytest.approx(float((shares[0] - shares[1]).abs().sum()) / 2)


def test_what_columns_say_of_each_other_is_as_scikit_learn_and_scipy_have_it() -> None:
    both = compared(*[three()[k] for k in (2, 0, 1)])
    cells = both.reference.cells
    shape = both.sizes[0], both.sizes[1]
    table = np.zeros((1, *shape))
    np.add.at(table[0], (cells[:, 0], cells[:, 1]), 1 / len(cells))
    bits = mutual_info_score(cells[:, 0], cells[:, 1]) / np.log(2)
    assert pairs.mutual_information(table)[0] == pytest.approx(bits)
    ordered = cells[(cells[:, 2] < both.ordered[2])]
    numbers = np.zeros((1, both.ordered[1], both.ordered[2]))
    np.add.at(numbers[0], (ordered[:, 1], ordered[:, 2]), 1.0)
    assert pairs.rank_correlation(numbers)[0] == pytest.approx(spearmanr(ordered[:, 1], ordered[:, 2]).statistic)


def test_areas_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    truth, groups = rng.integers(0, 3, 500).astype(float), rng.integers(0, 20, 500)
    scores = rng.random((500, 3)) + np.eye(3)[truth.astype(int)]
    model = learning.Trained(scores, np.arange(3))
    expected = np.mean([roc_auc_score(truth == c, scores[:, c]) for c in range(3)])
    found = learning.areas(truth, model, groups)
    assert found[0] == pytest.approx(expected)
    kept = groups != 4
    assert found[5] == pytest.approx(np.mean([roc_auc_score(truth[kept] == c, scores[kept, c]) for c in range(3)]))


def test_a_class_that_a_model_never_saw_gets_no_score() -> None:
    model = learning.Trained(np.ones((4, 1)), np.array([0]))
    assert model.of(1).tolist() == [0, 0, 0, 0] and model.of(0).tolist() == [1, 1, 1, 1]


def test_neighbours_are_the_nearest_ones() -> None:
    rng = np.random.default_rng(1)
    one, other = (rng.random((n, 3)).astype(np.float32) for n in (40, 70))
    places, apart = nearest(one, other, 4)
    slow = np.sqrt(((one[:, None] - other[None]) ** 2).sum(axis=2))
    assert np.allclose(np.sort(slow, axis=1)[:, :4], apart, atol=1e-3)
    assert np.allclose(np.take_along_axis(slow, places, axis=1), apart, atol=1e-3)
    assert np.allclose(distances(one, other), slow, atol=1e-3)


def test_rows_drawn_as_the_real_ones_are_as_good_as_others(honest: Evaluation) -> None:
    for name in ("mean total variation distance over pairs", "mean total variation distance over triples"):
        assert (honest.one(name).way or 0) > 0.9
    assert honest.one("AUC of telling rows from real ones").synthetic.value < 0.54
    assert honest.one("coverage: real rows with one nearby").synthetic.value > 0.9
    assert (honest.one("AUC, boosting", "ill").way or 0) > 0.9
    gap = honest.one("parity gap", "ill by ward")
    assert gap.ceiling is not None and gap.floor is None and abs(gap.synthetic.value - gap.ceiling) < 0.12


def test_independent_columns_are_at_the_floor_of_what_is_about_several_and_at_the_ceiling_of_single_ones(
    mixed: Evaluation,
) -> None:
    for name in (
        "mean total variation distance over pairs",
        "mean difference of mutual information over pairs",
        "AUC of telling rows from real ones",
    ):
        assert abs(mixed.one(name).way or 0) < 0.25, name
    assert mixed.one("AUC of telling rows from real ones").synthetic.value > 0.65
    assert mixed.one("AUC, linear", "ill").synthetic.value < 0.6
    assert mixed.one(shapes.TVD, "age").synthetic.value < 0.05
    assert "independent columns" in mixed.one("AUC, linear", "ill").sentence


def test_intervals_hold_the_value_that_many_more_persons_have() -> None:
    """The distance from the law itself is not what a sample has; two samples of one law are compared, again and again."""
    held = 0
    everything = cohort(60_000, np.random.default_rng(77))
    other = everything.assign(age=(everything["age"] * 0.8).round(2))
    truth = ks_2samp(everything["age"], other["age"]).statistic
    for seed in range(30):
        rng = np.random.default_rng(seed)
        made = cohort(1500, rng).assign(age=lambda t: (t["age"] * 0.8).round(2))
        both = compared(made, cohort(1500, rng), cohort(1500, rng, 1500))
        found = next(m for m in shapes.shapes(both) if (m.name, m.of) == (shapes.KS, "age")).synthetic
        held += found.low <= truth <= found.high
    assert held >= 25


def test_without_a_hold_out_half_of_the_persons_are_compared_with_and_nothing_is_attacked() -> None:
    real, _, independent = three(600)
    twice = pd.concat([real, real])  # two rows a person
    found = evaluate(COHORT, independent, twice, None, replace(ASKED, targets=()))
    assert not found.findings and NO_HOLDOUT in found.notes and NO_TARGET in found.notes
    assert found.rows["real"] + found.rows["reference"] == 1200
    parts = sides(COHORT, independent, twice, None, np.random.default_rng(0))
    assert not set(parts.real.rows.persons.tolist()) & set(parts.reference.rows.persons.tolist())
    for sample in (parts.real, parts.reference):
        groups = pd.Series(sample.groups).groupby(sample.rows.persons).nunique()
        assert (groups == 1).all()  # all rows of a person are left out together


def test_rows_that_do_not_fit_and_persons_beyond_the_limit_are_counted() -> None:
    real, held, independent = three(400)
    real.loc[:9, "ward"] = "z"
    found = evaluate(COHORT, independent, real, held, Asked(most=300))
    assert any(n.startswith("10 real rows do not fit") for n in found.notes)
    assert any("persons, chosen at random, were left out" in n for n in found.notes)
    assert max(found.rows.values()) == 300


@pytest.mark.parametrize("short", [0, 1, 2])
def test_too_few_persons_are_refused_and_no_value_is_told(short: int) -> None:
    tables = list(three(300))
    tables[short] = tables[short].head(15)
    with pytest.raises(InputError) as caught:
        evaluate(COHORT, tables[2], tables[0], tables[1])
    assert caught.value.code == "E_EVALUATION" and "15" not in str(caught.value)


def test_of_a_person_so_many_rows_count_as_in_the_study() -> None:
    real, held, independent = three(300)
    thrice = pd.concat([real] * 3, ignore_index=True)
    for most, rows in ((1, 300), (2, 600), (None, 900)):
        found = sides(COHORT, independent, thrice, held, np.random.default_rng(0), rows_each=most).real
        assert len(found) == rows and set(np.bincount(found.rows.persons)) == {most or 3}


def test_a_missing_column_is_named() -> None:
    real, held, independent = three(300)
    with pytest.raises(SchemaError, match="crp"):
        evaluate(COHORT, independent, real.drop(columns="crp"), held)


def test_the_same_seed_finds_the_same_and_another_does_not() -> None:
    real, held, independent = three(200)
    first, again = (
        evaluate(COHORT, independent, real, held, Asked(seed=1)).table["synthetic"].tolist() for _ in range(2)
    )
    assert first == again
    one, other = (
        sides(COHORT, independent, real, None, np.random.default_rng(s)).reference.rows.persons for s in (1, 2)
    )
    assert one.tolist() != other.tolist()


def test_ordered_columns_are_compared_in_groups_of_equally_many_rows() -> None:
    parts = compared(*[three()[k] for k in (2, 0, 1)])
    age = COHORT.index("age")
    assert parts.ordered[age] == BINS and parts.sizes[age] == BINS
    assert np.bincount(parts.reference.cells[:, age], minlength=BINS).min() > 2000 / BINS / 2
    assert parts.sizes[COHORT.index("crp")] == parts.ordered[COHORT.index("crp")] + 1  # a missing value's cell


def test_questions_are_about_cells_that_real_rows_have() -> None:
    parts, rng = compared(*[three(400)[k] for k in (2, 0, 1)]), np.random.default_rng(0)
    for _ in range(50):
        question = likeness._question(parts, rng)
        assert 1 <= len(question) <= 3
        assert likeness._fulfil(parts.reference, question).any()
