"""Contribution bounding: at most m rows of a person count, or all rows together as much as one. Secret randomness chooses.

What is drawn for a person depends on that person's own rows and randomness alone: adding or removing another person does
not change it. So a person moves a sum by that person's own bounded share, and by nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Codes
from cohortium.privacy.randomness import Randomness

IntArray = npt.NDArray[np.int64]
EqualWeight = Literal["rows", "persons"]  # what weighs the same: the used rows, at most m of a person, or the persons


def at_most(codes: Codes, rows_per_person: int, randomness: Randomness) -> Codes:
    """``codes`` with a uniformly random choice of ``rows_per_person`` rows of every person who has more."""
    if _in_order(codes.persons):  # every row its own person: nothing to choose, nothing to copy
        return codes
    order, rank, _ = _shuffled(codes.persons, rows_per_person, randomness)
    if not len(order):
        return codes
    kept = np.ones(len(codes), bool)
    kept[order[rank >= rows_per_person]] = False
    return replace(codes, values=codes.values[kept], persons=codes.persons[kept])


def split_units(persons: IntArray, units: int, randomness: Randomness) -> IntArray:
    """(rows,) the units of each row: the ``units`` of every person, split over that person's rows as evenly as possible.

    Formal guarantee. Of a person with k rows every row has floor(units / k), and units mod k rows, chosen by randomness,
    have one more. So a person's units add up to ``units`` exactly, none is lost to rounding, and each row expects
    units / k. Adding a person's rows up by cells gives nonnegative integers of sum ``units``, whose L2 norm is at
    most their sum: a person moves any table by at most ``units``, as a single row of that many would.

    Edge cases: with more rows than units, ``units`` random rows have one each and the others none.
    """
    if _in_order(persons):
        return np.full(len(persons), units, np.int64)
    order, rank, rows = _shuffled(persons, 1, randomness)
    given = np.full(len(persons), units, np.int64)
    given[order] = units // rows + (rank < units % rows)
    return given


def one_of_each(rows: IntArray, randomness: Randomness) -> IntArray:
    """(persons,) for each person one of the rows 0 .. rows - 1, all with the same chance (up to 2**-32 x rows).

    rows: (persons,) int64 numbers of rows, below 2**31.
    """
    words = randomness.words(len(rows)) >> np.uint64(32)
    return ((words * rows.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def runs(sorted_persons: IntArray) -> tuple[IntArray, IntArray]:
    """(persons,) where the rows of each person begin, and how many there are."""
    starts = np.flatnonzero(np.diff(sorted_persons, prepend=sorted_persons[:1] - 1))
    return starts, np.diff(starts, append=len(sorted_persons))


def _in_order(persons: IntArray) -> bool:
    """Every row is its own person's, as where the schema has no person column."""
    return bool((persons[1:] > persons[:-1]).all())


def _shuffled(persons: IntArray, most: int, randomness: Randomness) -> tuple[IntArray, IntArray, IntArray]:
    """Of the persons with more than ``most`` rows, of whose rows some are chosen at random, all rows: person after person, in random order.

    Returns for each of these rows where it stands, how many of its person's come before it, and how many the person has.
    """
    words = randomness.words(len(persons))
    together = np.argsort(persons)
    _, rows = _within_persons(persons[together])
    many = np.sort(together[rows > most])
    order = many[np.lexsort((words[many], persons[many]))]
    return order, *_within_persons(persons[order])


def _within_persons(sorted_persons: IntArray) -> tuple[IntArray, IntArray]:
    """(rows,) 0, 1, 2, ... within every run of equal persons, and (rows,) the length of the run."""
    starts, lengths = runs(sorted_persons)
    return np.arange(len(sorted_persons)) - np.repeat(starts, lengths), np.repeat(lengths, lengths)
