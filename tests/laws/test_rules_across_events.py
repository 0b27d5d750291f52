"""Laws of rules across events: what is left keeps them, nothing else is left out, and there is always enough room for what is to come."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.event_rules import UNLIMITED, Ban, Final, Once, Ordered, bans
from cohortium.errors import SchemaError

NAMES = ("a", "b", "c", "d")
GAP = Continuous(name="gap", lower=0, upper=1)
SOME = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(tuple)
RULES = st.one_of(
    st.builds(Once, column=st.just("x"), categories=st.none() | SOME),
    st.builds(Final, column=st.just("x"), categories=SOME),
    st.builds(Ordered, column=st.just("x"), earlier=SOME, later=SOME),
)


@st.composite
def ruled(draw: st.DrawFn) -> Ban:
    """The rules about one column of four categories, missing or not; those that contradict each other are drawn anew."""
    column = Categorical(name="x", categories=NAMES, nullable=draw(st.booleans()))
    while True:
        try:
            (ban,) = bans(draw(st.lists(RULES, min_size=1, max_size=3)), (GAP, column), "t")
        except SchemaError:
            continue
        return ban


def as_said(ban: Ban, persons: list[int], cells: list[int]) -> list[bool]:
    """Event by event: whether an earlier one of the person forbids it."""
    pairs = list(zip(persons, cells, strict=True))
    return [
        any(who == other and ban.forbids[before, cell] for other, before in pairs[:i])
        for i, (who, cell) in enumerate(pairs)
    ]


@given(ban=ruled(), persons=st.lists(st.integers(0, 3), max_size=14), seed=st.integers(0, 99))
def test_an_event_is_left_out_where_an_earlier_one_of_the_person_forbids_it(
    ban: Ban, persons: list[int], seed: int
) -> None:
    whose = np.array(sorted(persons), np.int64) * 7
    cells = np.random.default_rng(seed).integers(0, len(ban.rank), len(whose))
    broken = ban.broken(whose, cells)
    assert broken.tolist() == as_said(ban, whose.tolist(), cells.tolist())
    assert not ban.broken(whose[~broken], cells[~broken]).any()


def longest(ban: Ban, first: int, most: int) -> int:
    """How many events can follow on a first one, tried out."""
    cells = range(len(ban.rank))
    for count in range(most, 0, -1):
        for rest in itertools.product(cells, repeat=count):
            if not any(as_said(ban, [0] * (count + 1), [first, *rest])):
                return count
    return 0


@settings(max_examples=examples(60), deadline=None)
@given(ban=ruled())
def test_the_room_after_a_first_event_is_what_trying_all_of_them_finds(ban: Ban) -> None:
    for first, room in enumerate(ban.capacity.tolist()):
        assert min(room, 4) == longest(ban, first, 4)
        assert room <= len(ban.rank) or room == UNLIMITED


@given(ban=ruled(), count=st.integers(1, 9), seed=st.integers(0, 99))
def test_whoever_draws_among_what_is_open_never_comes_to_an_end_too_soon(ban: Ban, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    able = np.flatnonzero(ban.capacity >= count - 1)
    if not len(able):
        return
    cells = [int(rng.choice(able))]
    allowed: npt.NDArray[np.bool_] = ~ban.forbids[cells]
    for to_come in range(count - 2, -1, -1):
        open_ = np.flatnonzero(ban.open(allowed, np.array([to_come]))[0])
        assert len(open_)
        cells.append(int(rng.choice(open_)))
        allowed &= ~ban.forbids[cells[-1:]]
    assert not any(as_said(ban, [0] * count, cells))


@given(ban=ruled(), persons=st.lists(st.integers(0, 2), max_size=10), seed=st.integers(0, 99))
def test_at_one_time_nothing_is_left_out_that_another_order_would_keep(ban: Ban, persons: list[int], seed: int) -> None:
    """But for what may happen once, and for what follows on a final event that is there twice."""
    whose = np.array(sorted(persons), np.int64)
    cells = np.random.default_rng(seed).integers(0, len(ban.rank), len(whose))
    order = np.lexsort((cells, ban.rank[cells], whose))
    broken = ban.broken(whose[order], cells[order])
    for who in set(persons):
        theirs, out = cells[order][whose[order] == who], broken[whose[order] == who]
        fewest = min(
            sum(as_said(ban, [0] * len(theirs), list(one)))
            for one in itertools.islice(itertools.permutations(theirs), 800)
        )
        assert out.sum() <= fewest or len(theirs) > 6
