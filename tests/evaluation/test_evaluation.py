"""The laws of the fidelity and utility measures, and their agreement with slow, obvious versions."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from cohortium.evaluation import fidelity as fidelity_module
from cohortium.evaluation.fidelity import Fidelity, fidelity, tvd
from cohortium.evaluation.utility import auc_of_synthetic

ADULT = Path(__file__).parents[3] / "shared" / "data" / "adult16"
SIZES = (3, 2, 5, 4)
ORDERS = (1, 2, 3)
PROTOTYPE = [0.06919198580959901, 0.15173029182063555, 0.9108229932147031, 0.9131529605088098]
Codes = npt.NDArray[np.int16]


def codes(rows: int, seed: int, sizes: tuple[int, ...] = SIZES) -> Codes:
    return np.random.default_rng(seed).integers(0, sizes, (rows, len(sizes))).astype(np.int16)


def brute_force(real: Codes, synthetic: Codes, order: int) -> float:
    distances = []
    for table in itertools.combinations(range(real.shape[1]), order):
        ours, theirs = (Counter(map(tuple, c[:, table].tolist())) for c in (real, synthetic))
        cells = set(ours) | set(theirs)
        distances.append(sum(abs(ours[k] / len(real) - theirs[k] / len(synthetic)) for k in cells) / 2)
    return float(np.mean(distances))


@pytest.mark.parametrize("order", ORDERS)
def test_equal_tables_are_at_distance_zero_whatever_their_rows_order_and_number(order: int) -> None:
    table = codes(200, 0)
    assert tvd(table, table[::-1], SIZES, order) == 0
    assert tvd(table, np.concatenate([table, table]), SIZES, order) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_distance_is_symmetric(order: int) -> None:
    assert tvd(codes(200, 0), codes(90, 1), SIZES, order) == tvd(codes(90, 1), codes(200, 0), SIZES, order)


@pytest.mark.parametrize("order", ORDERS)
def test_disjoint_tables_are_at_distance_one(order: int) -> None:
    nothing_shared = np.zeros((50, 4), np.int16), np.ones((70, 4), np.int16)
    assert tvd(*nothing_shared, SIZES, order) == pytest.approx(1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dense", [1 << 22, 0])
def test_distance_agrees_with_brute_force(order: int, dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity_module, "_DENSE", dense)
    monkeypatch.setattr(fidelity_module, "_BLOCK", 64)
    real, synthetic = codes(300, 2), codes(170, 3)
    assert tvd(real, synthetic, SIZES, order) == pytest.approx(brute_force(real, synthetic, order), rel=1e-12)


def test_higher_orders_are_never_closer() -> None:
    result = fidelity(codes(300, 4), codes(300, 5), SIZES)
    assert result.two is not None and result.three is not None
    assert result.one <= result.two <= result.three


def test_tables_of_one_column_have_no_pairs() -> None:
    column = np.array([[0], [1]], np.int16)
    assert fidelity(column, column, (2,)) == Fidelity(0.0, None, None)


def test_a_sample_of_the_triples_stands_for_all_of_them() -> None:
    sizes = (3,) * 20
    real, synthetic = codes(400, 6, sizes), codes(400, 7, sizes)
    everything = tvd(real, synthetic, sizes, 3)
    some = tvd(real, synthetic, sizes, 3, np.random.default_rng(0))
    assert some != everything and some == pytest.approx(everything, rel=0.03)
    assert some == tvd(real, synthetic, sizes, 3, np.random.default_rng(0))


def test_few_tables_are_all_counted_even_with_an_rng() -> None:
    real, synthetic = codes(100, 8), codes(100, 9)
    sampled = tvd(real, synthetic, SIZES, 3, np.random.default_rng(0))
    assert sampled == tvd(real, synthetic, SIZES, 3)


def test_very_large_tables_are_held_by_the_cells_that_occur() -> None:
    sizes = (4096, 4096, 4096)
    real = codes(500, 10, sizes)
    assert tvd(real, real, sizes, 3) == 0
    assert tvd(real, codes(500, 11, sizes), sizes, 3) == pytest.approx(1)


@pytest.mark.parametrize("order", [0, 5])
def test_orders_that_do_not_exist_are_refused(order: int) -> None:
    with pytest.raises(ValueError, match="order"):
        tvd(codes(10, 0), codes(10, 0), SIZES, order)


@pytest.mark.parametrize("wrong", [np.empty((0, 4), np.int16), np.full((2, 4), 3, np.int16), -codes(9, 0) - 1])
def test_codes_outside_the_cells_and_empty_tables_are_refused(wrong: Codes) -> None:
    with pytest.raises(ValueError, match="code"):
        tvd(codes(10, 0), wrong, SIZES, 1)


def labelled(rows: int, classes: int, seed: int, signal: float = 1.0) -> pd.DataFrame:
    """``a`` is the class with probability ``signal``; ``b`` is independent of it."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    a = np.where(rng.random(rows) < signal, y, rng.integers(0, classes, rows))
    return pd.DataFrame({"a": a, "b": rng.integers(0, 4, rows), "y": y})


@pytest.mark.parametrize("classes", [2, 4])
def test_a_perfect_predictor_has_area_one_and_noise_half(classes: int) -> None:
    perfect = auc_of_synthetic(labelled(800, classes, 0), labelled(800, classes, 1), "y")
    noise = auc_of_synthetic(labelled(800, classes, 0, signal=0), labelled(2000, classes, 1, signal=0), "y")
    assert perfect.boosting == perfect.logistic == pytest.approx(1)
    assert abs(noise.logistic - 0.5) < 0.05


def test_training_rows_of_one_class_score_one_half() -> None:
    assert set(vars(auc_of_synthetic(labelled(50, 1, 0), labelled(50, 2, 1), "y")).values()) == {0.5}


def test_a_class_that_was_never_synthesised_counts_as_not_found() -> None:
    train, test = labelled(900, 3, 0), labelled(900, 3, 1)
    without = auc_of_synthetic(train[train["y"] < 2], test, "y")
    assert 0.6 < without.logistic < 0.95 < auc_of_synthetic(train, test, "y").logistic


def test_the_order_of_columns_does_not_matter() -> None:
    train, test = labelled(300, 2, 0, 0.5), labelled(300, 2, 1, 0.5)
    swapped, straight = (auc_of_synthetic(train, table, "y") for table in (test[["y", "b", "a"]], test))
    for one, other in ((swapped.boosting, straight.boosting), (swapped.logistic, straight.logistic)):
        assert one == pytest.approx(other, abs=0.01)  # fitted twice, by threads that add up in any order


def test_test_rows_of_one_class_are_refused() -> None:
    with pytest.raises(ValueError, match="one class"):
        auc_of_synthetic(labelled(50, 2, 0), labelled(50, 1, 1), "y")


@pytest.mark.skipif(not ADULT.is_dir(), reason="the benchmark table is not here")
def test_figures_on_adult_are_those_of_the_prototype() -> None:
    """Every column of the training rows shuffled by itself; classifiers from every fourth training row."""
    domain = json.loads((ADULT / "domain.json").read_text())
    train, test = (pd.read_csv(ADULT / f"{part}.csv")[list(domain)] for part in ("train", "test"))
    rng = np.random.default_rng(0)
    shuffled = np.stack([rng.permutation(train[c].to_numpy()) for c in domain], axis=1)
    distances = fidelity(train.to_numpy(), shuffled, tuple(domain.values()))
    areas = auc_of_synthetic(train[::4], test, "income>50K")
    assert distances.one == 0
    found = [distances.two, distances.three, areas.boosting, areas.logistic]
    assert found == pytest.approx(PROTOTYPE, abs=1e-4)  # classifiers are fitted by sums that round
