"""What all queries that count have in common: bounded persons, integers on a grid, and noise by the weight of each table."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Codes
from cohortium.errors import StudyError
from cohortium.privacy.accounting import Events, Gaussian
from cohortium.privacy.discrete_gaussian import LARGEST_TABLE, Bounded, Noised, Scales, add_noise, noise_multiplier
from cohortium.privacy.randomness import Randomness
from cohortium.queries.contribution_bounding import EqualWeight, at_most, split_units

IntArray = npt.NDArray[np.int64]
MAX_WIDTH = 20_000_000
AnyTables = TypeVar("AnyTables", bound="Tables")


class Tables(ABC):
    """Tables of whole numbers, which get noise by the weight of each.

    grid: something that is counted once counts ``grid``, so that even little noise is an integer of many grid units. lengths:
    cells of each table. weights: relative precision of each table; a table of weight w gets noise of relative scale 1 / sqrt(w).
    One of weight 0 is not counted: its cells are zeros, with the finest noise.
    """

    weights: tuple[float, ...]
    grid: int
    state: bytes
    kind: ClassVar[str]
    shares_noise: ClassVar[bool] = True
    split_finely: ClassVar[bool]

    @property
    @abstractmethod
    def lengths(self) -> tuple[int, ...]:
        """Cells of each table."""
        ...

    @property
    @abstractmethod
    def sensitivity(self) -> float:
        """L2 bound on the change of values / relative scale when one person is added or removed."""
        ...

    @abstractmethod
    def contribute(self, codes: Codes, randomness: Randomness) -> Bounded:
        """The bounded counts, un-noised."""
        ...

    @abstractmethod
    def with_state(self, state: bytes) -> Self:
        """The same query at another model state; WireError where the state is not one of this query's."""
        ...

    @abstractmethod
    def reach(self, persons: int) -> int:
        """As ``Query.reach``."""
        ...

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What is asked, for people."""
        ...

    @property
    def width(self) -> int:
        return sum(self.lengths)

    def require_room(self) -> None:
        """StudyError E_PLAN_LIMIT where the tables have more cells than an answer may."""
        if self.width > MAX_WIDTH:
            what = f"the tables have {self.width} cells, allowed are {MAX_WIDTH}"
            raise StudyError("E_PLAN_LIMIT", self.kind, what, "Declare fewer bins, or fewer targets.")

    @cached_property
    def scales(self) -> Scales:
        most = max(self.weights)
        return Scales(tuple((n, 1 / math.sqrt(w or most)) for n, w in zip(self.lengths, self.weights, strict=True)))

    @cached_property
    def finest(self) -> float:
        """The smallest relative scale of noise that any answer may have."""
        return self.scales.smallest

    @cached_property
    def widest(self) -> float:
        """The largest."""
        return self.scales.largest

    def sigmas(self, multiplier: float) -> tuple[float, ...]:
        """Standard deviation of the noise of each table, in what is counted."""
        base = multiplier * self.sensitivity / self.grid
        return tuple(base * scale for _, scale in self.scales.runs)

    def events(self, multiplier: float) -> Events:
        finest = Scales(((self.width, self.finest),))
        return (Gaussian(noise_multiplier(multiplier, self.sensitivity, finest)),)

    def draws(self, multiplier: float) -> tuple[int, float]:
        return self.width, multiplier * self.sensitivity * self.widest

    def answer(self, codes: Codes, multiplier: float, randomness: Randomness) -> Noised:
        return add_noise(self.contribute(codes, randomness), multiplier, randomness)

    def in_rows(self, values: npt.NDArray[Any]) -> list[npt.NDArray[np.float64]]:
        """Each table's cells in what is counted, rows or persons, from one answer or a sum."""
        return np.split(values / self.grid, np.cumsum(self.lengths)[:-1])


class Counts(Tables):
    """Tables, in each of which a row is in one cell.

    sizes: cells of every column of the schema.
    tables: the columns of each.
    weights: relative precision of each table; a table of weight w gets noise of relative scale 1 / sqrt(w). One of weight
    0 is not counted: its cells are zeros, with the finest noise.
    grid: a row counts ``grid``, so that even little noise is an integer of many grid units.
    equal_weight: "rows": at most m = rows_per_person rows of a person count, each ``grid``; "persons": all rows of a
    person count, m * grid units together (``contribution_bounding.split_units``), and the tables count persons.

    Formal guarantee. Either way a person's rows have at most m * grid units in all, the same in every table, and a
    row is in one cell of each table: what a person adds to a table are nonnegative integers of sum at most m * grid,
    and their L2 norm is at most their sum. So adding or removing a person changes table t by at most m * grid in L2
    and values / relative scale by at most m * grid * sqrt(sum of weights).

    Edge cases: no rows give the noise alone; a person with more than m rows counts with m random ones, or under
    "persons", with more than m * grid rows, with one unit each of so many random ones.
    """

    sizes: tuple[int, ...]
    tables: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]
    rows_per_person: int
    equal_weight: EqualWeight

    @abstractmethod
    def _count(self, codes: Codes, units: IntArray | None = None) -> IntArray:
        """(width,) the rows in every cell, or their ``units``: sums of integers below 2**53, exact in float64."""
        ...

    @property
    def split_finely(self) -> bool:  # type: ignore[override]
        """Whether what a person adds is split into parts, which a finer grid has more even."""
        return self.equal_weight == "persons"

    @property
    def counted(self) -> tuple[int, ...]:
        """Cells of every column as the finest tables have it."""
        return self.sizes

    def shape(self, table: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.counted[j] for j in table)

    @property
    def sensitivity(self) -> float:
        return self.rows_per_person * self.grid * math.sqrt(math.fsum(self.weights)) * (1 + 1e-12)

    @property
    def each_choice(self) -> tuple[Self, ...]:
        """The queries that a state may make of this one, but for what they count."""
        return (self,)

    def noises(self, multiplier: float) -> list[tuple[tuple[int, ...], int, float]]:
        """Of every table that has a weight: its columns, its cells, and the noise in each, in rows."""
        tables = zip(self.tables, self.lengths, self.sigmas(multiplier), self.weights, strict=True)
        return [(columns, cells, sigma) for columns, cells, sigma, weight in tables if weight > 0]

    def reach(self, persons: int) -> int:
        return persons * self.rows_per_person * self.grid

    def contribute(self, codes: Codes, randomness: Randomness) -> Bounded:
        """The bounded counts, un-noised."""
        if self.equal_weight == "persons":
            counts = self._count(codes, split_units(codes.persons, self.rows_per_person * self.grid, randomness))
        else:
            counts = self.grid * self._count(at_most(codes, self.rows_per_person, randomness))
        return Bounded(counts, self.sensitivity, self.scales)


def fitted_to_grid(query: AnyTables, multiplier: float, units: float = 64.0) -> AnyTables:
    """The same query on the coarsest grid (a power of two) whose finest noise spans at least ``units`` grid units.

    At 64 units the integer noise costs 0.05 % more than continuous noise would (discrete_gaussian.py). Where persons weigh the
    same, on the finest grid instead whose widest noise one table of the sampler draws, with a tenth to spare for a multiplier
    that is not final: the more units a person has, the more evenly they are split. Splitting adds at most 1/4 unit² of
    variance a row, so N / (2 grid)² to a cell of N rows: with 3,686 units to the widest noise's standard deviation
    or more, less than 1 part in 500 of that noise's variance for 100,000 rows of a cell. Nothing is lost otherwise.
    """
    row = multiplier * query.sensitivity / query.grid
    grid = 2 ** math.ceil(math.log2(units / (row * query.finest)))
    if query.split_finely:
        grid = max(grid, 2 ** math.floor(math.log2(0.9 * LARGEST_TABLE / (row * query.widest))))
    return replace(query, grid=max(1, grid))  # type: ignore[type-var]  # every query is a frozen dataclass
