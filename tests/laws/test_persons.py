"""Laws of how much a person counts: never more than promised, and nobody's share depends on anybody else."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from cohortium.data.encoding import Codes
from cohortium.errors import StudyError
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.contribution_bounding import at_most, one_of_each, split_units
from cohortium.queries.marginals import Marginals
from cohortium.study.generators import Autoregressive, Diffusion, Tvae
from cohortium.study.plan import plan
from cohortium.study.study import Privacy, Study

ALPHA = 1e-7
PERSONS = st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 4), max_size=60)
SALT = st.integers(0, 2**32)


class RowCoins:
    """One word for each row that follows from its person and its place among that person's rows."""

    def __init__(self, persons: np.ndarray, salt: int) -> None:
        seen: Counter[int] = Counter()
        self._keys = []
        for person in persons.tolist():
            self._keys.append(f"{salt}/{person}/{seen[person]}".encode())
            seen[person] += 1

    def words(self, count: int) -> np.ndarray:
        assert count == len(self._keys)
        return np.array([int.from_bytes(hashlib.sha256(k).digest()[:8], "little") for k in self._keys], np.uint64)


def shares(persons: np.ndarray, units: int, salt: int) -> np.ndarray:
    return split_units(persons, units, RowCoins(persons, salt))


def rows_of(persons: np.ndarray) -> Codes:
    """Every row with a value of its own, so that it can be recognised afterwards."""
    return Codes(np.arange(len(persons), dtype=np.int16)[:, None], persons, (max(1, len(persons)),))


@given(persons=PERSONS, units=st.integers(1, 10_000), salt=SALT)
def test_every_person_has_all_units_and_no_row_two_more_than_another(persons: list[int], units: int, salt: int) -> None:
    who = np.array(persons, np.int64)
    given_out = shares(who, units, salt)
    assert given_out.dtype == np.int64
    for person in set(persons):
        theirs = given_out[who == person]
        assert theirs.sum() == units
        assert 0 <= theirs.min() <= theirs.max() <= theirs.min() + 1


@given(persons=PERSONS, theirs=st.integers(1, 80), units=st.integers(1, 300), salt=SALT)
@example(persons=[0, 0, 0], theirs=2, units=2, salt=0)
def test_nobodys_units_or_rows_depend_on_another_person(persons: list[int], theirs: int, units: int, salt: int) -> None:
    who = np.array(persons, np.int64)
    places = np.random.default_rng(salt).integers(0, len(who) + 1, theirs)
    newcomer = 2**62 + 1
    both = np.insert(who, places, newcomer)
    old = both != newcomer
    np.testing.assert_array_equal(shares(both, units, salt)[old], shares(who, units, salt))
    m = units % 5 + 1
    kept = at_most(rows_of(both), m, RowCoins(both, salt))
    alone = at_most(rows_of(who), m, RowCoins(who, salt))
    names = np.flatnonzero(old)[alone.values[:, 0]]
    np.testing.assert_array_equal(kept.values[kept.persons != newcomer, 0], names)
    assert (kept.persons == newcomer).sum() == min(theirs, m)


@given(persons=PERSONS, units=st.integers(1, 50), cells=st.integers(1, 6), salt=SALT)
@settings(max_examples=examples(50))
def test_a_persons_counts_are_never_longer_than_its_units(
    persons: list[int], units: int, cells: int, salt: int
) -> None:
    """The proof in integers: nonnegative, of sum U, so of L2 norm at most U; reached where all rows are in one cell."""
    who = np.array(persons, np.int64)
    given_out, cell = shares(who, units, salt), np.random.default_rng(salt).integers(0, cells, len(who))
    for person in set(persons):
        mine = who == person
        counts = [int(given_out[mine & (cell == c)].sum()) for c in range(cells)]
        assert sum(c * c for c in counts) <= units**2
        assert cells > 1 or sum(c * c for c in counts) == units**2


def test_units_left_over_are_dealt_evenly() -> None:
    """30 units, persons of 7 and of 100 rows: 2 of 7 rows have one more; 30 of 100 have the only one."""
    who, trials = np.repeat([3, 1], [7, 100]), 4000
    more = sum(split_units(who, 30, SecureRandomness()) - np.where(who == 3, 4, 0) for _ in range(trials))
    for person, chance in ((3, 2 / 7), (1, 0.3)):
        for count in more[who == person]:
            assert stats.binomtest(int(count), trials, chance).pvalue > ALPHA / len(who)


def test_one_of_each_is_a_row_of_each() -> None:
    class Rigged:
        def words(self, count: int) -> np.ndarray:
            return np.resize(np.array([0, 2**64 - 1], np.uint64), count)

    rows = np.array([1, 1, 7, 7, 2**31 - 1, 2**31 - 1])
    assert one_of_each(rows, Rigged()).tolist() == [0, 0, 0, 6, 0, 2**31 - 2]


def test_nobody_is_dealt_nothing() -> None:
    nobody = np.zeros(0, np.int64)
    assert len(split_units(nobody, 10, SecureRandomness())) == len(one_of_each(nobody, SecureRandomness())) == 0


# In a study

EQUAL = Privacy(epsilon=5.0, delta=1e-6, equal_weight="persons")


def test_equal_persons_cost_the_noise_of_one_row(study: Study) -> None:
    for generator in (study.generator, Autoregressive(rounds=2), Diffusion(rounds=2, steps=1), Tvae(rounds=2)):
        rows = plan(replace(study, generator=generator)).phases
        persons = plan(replace(study, generator=generator, privacy=EQUAL)).phases
        for one, other in zip(rows, persons, strict=True):
            assert other.multiplier == pytest.approx(one.multiplier, rel=2e-3)
            asked = getattr(other.query, "step", other.query)
            assert asked.equal_weight == "persons"  # type: ignore[attr-defined]
            if isinstance(one.query, Marginals) and isinstance(other.query, Marginals):
                assert other.query.sigmas(other.multiplier) == pytest.approx(one.query.sigmas(one.multiplier), rel=2e-3)


def test_equal_persons_need_a_person_column_and_leave_rows_per_person_alone(study: Study) -> None:
    with pytest.raises(StudyError, match="E_PRIVACY_UNIT"):
        replace(study, privacy=EQUAL, schema=replace(study.schema, person=None))
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        replace(study, privacy=replace(EQUAL, rows_per_person=2))


def test_another_way_of_counting_is_another_study(study: Study) -> None:
    assert replace(study, privacy=EQUAL).digest != study.digest
    assert EQUAL.counted == "all rows together count as much as one row"
    assert study.privacy.counted == "one row counts at most"
    assert replace(study.privacy, rows_per_person=3).counted == "at most 3 rows count"
