"""Which tables are asked follows from columns, cells, targets and noise."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.study import workload
from cohortium.study.plan import pair_query
from cohortium.study.study import Study
from cohortium.study.workload import WIDE_SHARES, pair_tables, triple_share, wide_tables, with_triples

SIZES = (2, 3, 4, 2, 5)


@given(st.floats(1e-3, 100), st.integers(2, 7), st.booleans())
def test_triples_get_their_share_and_no_more(noise: float, columns: int, target: bool) -> None:
    sizes = (3,) * columns
    pairs = pair_tables(sizes, (0,) if target else ())
    tables = with_triples(pairs, sizes, noise)
    added = math.fsum(w for t, w in tables.items() if t not in pairs)
    share = triple_share(noise) if columns > 2 + target else 0
    assert {t: tables[t] for t in pairs} == pairs
    assert added == pytest.approx(share * math.fsum(tables.values()), abs=1e-12)
    assert 0 <= triple_share(noise) <= 0.25


def test_every_triple_once_and_none_under_noise() -> None:
    pairs = pair_tables(SIZES, (3,))
    assert set(with_triples(pairs, SIZES, 2.0)) == set(pairs)
    triples = [t for t in with_triples(pairs, SIZES, 0.5) if len(t) == 3]
    assert sorted(triples) == list(itertools.combinations(range(5), 3))


def test_too_many_cells_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pair_tables(SIZES, ())
    cells = sum(math.prod(SIZES[j] for j in t) for t in itertools.combinations(range(5), 3))
    monkeypatch.setattr(workload, "MAX_TRIPLE_CELLS", cells)
    assert len(with_triples(pairs, SIZES, 0.5)) == 20
    monkeypatch.setattr(workload, "MAX_TRIPLE_CELLS", cells - 1)
    assert with_triples(pairs, SIZES, 0.5) == pairs


@pytest.mark.parametrize(("most", "asked"), [(10, True), (9, False)])
def test_too_many_triples_are_not_asked(monkeypatch: pytest.MonkeyPatch, most: int, asked: bool) -> None:
    monkeypatch.setattr(workload, "MAX_TRIPLES", most)
    pairs = pair_tables(SIZES, ())
    assert (with_triples(pairs, SIZES, 0.5) != pairs) == asked


def test_a_column_alone_is_asked_and_a_wide_target_is_not_crossed() -> None:
    assert pair_tables((4,), (0,)) == {(0,): 1.0}
    assert all(len(t) == 2 for t in pair_tables((65, 3, 3), (0,)))
    assert (0, 1, 2) in pair_tables((64, 3, 3), (0,))


def test_a_study_asks_for_triples_where_epsilon_is_large(study: Study) -> None:
    for epsilon, institutions, all_triples in ((1.0, 1, False), (10.0, 1, True), (10.0, 50, False)):
        many = tuple(replace(study.institutions[0], name=f"i{k}") for k in range(institutions))
        local = replace(study.privacy, epsilon=epsilon, trust="local", rows_per_person=1)
        tables = pair_query(replace(study, privacy=local, institutions=many)).tables
        target = study.target_indices[0]
        assert any(len(t) == 3 and target not in t for t in tables) == all_triples


def test_many_columns_share_the_weight_by_kind() -> None:
    pairs = pair_tables((2,) * 50, (7,))
    tables = wide_tables(pairs, (7,))

    def weight(order: int, target: bool) -> float:
        return math.fsum(w for t, w in tables.items() if len(t) == order and (7 in t) == target)

    assert set(tables) == set(pairs) | {(j,) for j in range(50)}
    found = weight(1, False) + weight(1, True), weight(2, True), weight(2, False), weight(3, True)
    assert found == pytest.approx(WIDE_SHARES)


def test_fewer_columns_or_no_target_stay_as_they_are() -> None:
    for columns, targets in ((49, (7,)), (50, ())):
        pairs = pair_tables((2,) * columns, targets)
        assert wide_tables(pairs, targets) == pairs
