"""Columns of numbers on a grid, in cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cohortium.data.columns import grids
from cohortium.data.columns.base import MAX_CELLS, BaseColumn, without_empty
from cohortium.data.columns.grids import Digits, Endings, Even
from cohortium.data.columns.written import written
from cohortium.system.texts import has_unseen, starts_formula

MAX_DECIMALS = 22  # powers of ten up to that one are floats
FINE_CELLS = 1024  # cells of a column of numbers that does not declare bins
_SAME = 4.5e-16  # two floats next to each other, as readers of text may differ by one
_LEAST, _MOST = 1e-290, 1e290  # bounds of a grid of significant digits


@dataclass(frozen=True, kw_only=True)
class Continuous(BaseColumn):
    """Numbers on a grid from ``lower`` to ``upper``; values beyond are clipped to the bounds, except those in ``special``.

    The grid is ``lower + i * 10**-decimals``, or ``lower + i * step``; with ``endings`` it holds the numbers that exceed a
    multiple of the step by one of the endings (prices in .49 and .99); with ``digits`` it holds the numbers of that many
    significant digits, for ranges over many powers of ten.

    By default a grid of at most FINE_CELLS values has one cell per value, and a larger one FINE_CELLS cells, narrow
    everywhere and narrowest around zero (``fine_cuts``): enough for any shape; which of them a generator merges follows
    from noised counts. So bounds may be as wide as public knowledge requires.
    ``bins`` cells instead cut the grid evenly on the scale ``linear`` or ``asinh`` (for heavy tails), or ``edges`` names
    the cuts; a grid of at most ``bins`` values has one cell per value. Each of ``points`` (a cap) has a cell of its own.
    ``format`` declares how the numbers are written, where that is not as 1234.5 (``written.py``), for reading and for
    release.
    """

    kind: Literal["continuous"] = "continuous"
    lower: float
    upper: float
    decimals: Annotated[int, Field(ge=0, le=MAX_DECIMALS)] = 0
    step: Annotated[float, Field(gt=0)] | None = None
    endings: tuple[float, ...] = ()
    digits: Annotated[int, Field(ge=1, le=12)] | None = None
    bins: Annotated[int, Field(ge=1, le=MAX_CELLS)] | None = None
    scale: Literal["linear", "asinh"] = "linear"
    edges: tuple[float, ...] | None = None
    points: tuple[float, ...] = ()
    format: str | None = None
    special: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.format is not None:
            _check_format(self, self.format)
        if not (math.isfinite(self.lower) and math.isfinite(self.upper) and self.lower < self.upper):
            raise self.invalid("lower must be a finite number below upper", "Declare the bounds the public knows.")
        if self.digits is None and max(abs(self.lower), abs(self.upper)) > 2**50 / 10**self.decimals:
            raise self.invalid("the grid of bounds and decimals is too fine", "Declare fewer decimals.")  # for floats
        _check_grid(self)
        if any(not self.lower <= p <= self.upper for p in self.points) or len(set(self.points)) < len(self.points):
            raise self.invalid("points must be distinct and within the bounds", "Correct points.")
        if len(set(self.point_indices.tolist())) < len(self.point_indices):
            raise self.invalid(
                "two points are the same value of its grid", "Declare more decimals, or remove one of them."
            )
        if len({*self.points, *self.special}) < len(self.points) + len(self.special):
            raise self.invalid("a special value is listed twice, or is one of the points", "Remove one of the two.")
        edges = self.edges
        if edges is not None and (
            not edges or list(edges) != sorted(set(edges)) or not self.lower < edges[0] <= edges[-1] <= self.upper
        ):
            raise self.invalid("edges must ascend strictly between lower and upper", "Correct edges.")

    @cached_property
    def axis(self) -> Even | Endings | Digits:
        """The grid of its values but the special ones."""
        if self.digits is not None:
            return Digits(self.lower, self.upper, self.digits)
        if self.step is not None and self.endings:
            return Endings(self.lower, self.upper, self.decimals, self.step, self.endings)
        return Even(self.lower, self.upper, self.decimals, self.step)

    @property
    def grid(self) -> int:
        """Number of representable values but the special ones."""
        return self.axis.count

    @property
    def fineness(self) -> float:
        """The step of the grid, in units of its values; of a grid of digits of the smallest value."""
        step = self.axis.exact_step if isinstance(self.axis, Even) else self.axis.exact(1) - self.axis.exact(0)
        return float(step)

    @cached_property
    def point_indices(self) -> npt.NDArray[np.int64]:
        """Of the points, and behind the grid of the special values."""
        points = self.axis.nearest(np.array(self.points, np.float64))
        return np.append(points, self.grid + np.arange(len(self.special)))

    def index_of(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """(rows,) the index of each number: a special value's own, else that of the nearest value; of one that is not finite, -1."""
        finite = np.isfinite(numbers)
        index = self.axis.nearest(np.clip(np.where(finite, numbers, self.lower), self.lower, self.upper))
        for k, special in enumerate(self.special):
            index = np.where(np.isclose(numbers, special, rtol=_SAME, atol=0.0), self.grid + k, index)
        return np.where(finite, index, -1).astype(np.int64)

    def numbers_at(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(rows,) the numbers at some indices."""
        beyond = index >= self.grid
        numbers = self.axis.numbers(np.where(beyond, 0, index))
        return np.where(beyond, np.array([*self.special, 0.0])[np.where(beyond, index - self.grid, -1)], numbers)

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.axis.whole and all(float(x).is_integer() and abs(x) < 2**53 for x in self.special)

    @cached_property
    def _shadows(self) -> npt.NDArray[np.int64]:
        """(some,) indices of the grid at which a special value would stand."""
        inside = [x for x in self.special if self.lower <= x <= self.upper and grids.holds(self.axis, x)]
        return np.sort(self.axis.nearest(np.array(inside, np.float64)))

    @cached_property
    def taken(self) -> npt.NDArray[np.int64]:
        """(some,) ascending indices of the grid that are never drawn in a bin: their values are points or special ones."""
        return np.sort(np.append(self.point_indices[: len(self.points)], self._shadows))

    @cached_property
    def cuts(self) -> npt.NDArray[np.int64]:
        """(bins + 1,) int64 grid indices: bin b holds the indices cuts[b] .. cuts[b + 1] - 1."""
        return without_empty(self._all_cuts(), self._shadows)

    def _all_cuts(self) -> npt.NDArray[np.int64]:
        if self.edges is not None:
            inner = np.array(self.edges)
        elif self.digits is not None and self.grid > (self.bins or FINE_CELLS):  # all powers of ten are alike
            inner = np.logspace(math.log10(self.lower), math.log10(self.upper), (self.bins or FINE_CELLS) + 1)[1:-1]
        elif self.bins is None:
            return fine_cuts(self.grid, self._zero)
        elif self.grid <= self.bins:
            return np.arange(self.grid + 1, dtype=np.int64)
        elif not isinstance(self.axis, Even):
            return np.unique(np.linspace(0, self.grid, self.bins + 1).round().astype(np.int64))
        else:
            low, high = self.warp(np.array([self.lower, self.upper]))
            inner = self.unwarp(np.linspace(low, high, self.bins + 1)[1:-1])
        if isinstance(self.axis, Even):
            index = np.ceil(self.axis.index(inner) - 1e-9).astype(np.int64)
        else:
            index = np.array([grids.ends(self.axis, grids.decimal(x))[0] for x in inner.tolist()], np.int64)
        return np.unique(np.concatenate([[0], np.clip(index, 0, self.grid), [self.grid]]))

    @property
    def _zero(self) -> float:
        """The index of zero, on a grid that has one or would have it further out."""
        match self.axis:
            case Endings() as axis:
                return float(-axis.first)
            case _:
                return -self.lower * 10.0**self.decimals if self.step is None else -self.lower / self.step

    @property
    def values(self) -> int:
        return len(self.cuts) - 1 + len(self.points) + len(self.special)

    @property
    def summary(self) -> str:
        return f"{self.lower:.15g} to {self.upper:.15g}"

    @property
    def softening(self) -> float:
        return max(self.fineness, (self.upper - self.lower) / 1000)

    def warp(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The scale on which bins are equally wide and values are spread inside a bin."""
        if self.scale == "linear":
            return x
        return np.arcsinh((x - max(self.lower, 0.0)) / self.softening)

    def unwarp(self, y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.scale == "linear":
            return y
        return np.sinh(y) * self.softening + max(self.lower, 0.0)


def fine_cuts(grid: int, zero: float) -> npt.NDArray[np.int64]:
    """(cells + 1,) int64: the indices of a grid in at most FINE_CELLS cells, cell b those from cuts[b] to cuts[b + 1] - 1.

    A quarter of the cells is spread evenly over the grid, the others evenly on asinh's scale in steps of the grid from
    index ``zero``, or from the end that is nearest to it: they are single values there, and in proportion to the distance further out.
    """
    if grid <= FINE_CELLS:
        return np.arange(grid + 1, dtype=np.int64)
    zero = min(max(zero, 0.0), float(grid))
    low, high = np.arcsinh([-zero, grid - zero])

    def place(index: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = index / grid / 4 + 3 / 4 * (np.arcsinh(index - zero) - low) / (high - low)
        return np.round(found, 12)

    wanted = np.arange(1, FINE_CELLS) / FINE_CELLS
    below, there = np.zeros(len(wanted)), np.full(len(wanted), float(grid))
    while (there - below > 1).any():  # the least index whose place is not below the one wanted
        middle = np.floor((below + there) / 2)
        reached = place(middle) >= wanted
        below, there = np.where(reached, below, middle), np.where(reached, middle, there)
    return np.unique(np.concatenate([[0], there, [grid]])).astype(np.int64)


def _check_format(column: BaseColumn, text: str) -> None:
    how = written(text)
    if how is None or has_unseen(text) or starts_formula(how.before):
        fix = 'Write how 1234.5 would be, such as "1234,5", "$1,234.5" or "1.234,5 EUR".'
        raise column.invalid(f"format {text!r} is not how a number is written", fix)
    if how.plain:
        raise column.invalid("its format is how numbers are written anyway", "Leave it out.")


def _check_grid(column: Continuous) -> None:
    """Bounds and points must lie on a declared grid, so that none of them is ever replaced by a neighbour."""
    declared = column.digits is not None or column.step is not None
    (_check_digits if column.digits is not None else _check_steps)(column)
    for bound, at in ((column.lower, "lower"), (column.upper, "upper")):
        if declared and not _on_grid(column, bound):
            raise column.invalid(f"{at} is not on its grid", "Move it to the next value of the grid.")
    if any(not _on_grid(column, point) for point in column.points):
        raise column.invalid("a point is not on its grid", "Correct it, or declare a finer grid.")


def _check_digits(column: Continuous) -> None:
    if column.step is not None or column.endings or column.decimals or column.scale != "linear" or column.lower <= 0:
        what = "a grid of significant digits has a lower bound above zero, and no decimals, step, endings or scale"
        raise column.invalid(what, "Remove those; declare zero and values below it in special.")
    if not (column.lower >= _LEAST and column.upper <= _MOST):
        raise column.invalid("its bounds are out of reach", f"Declare bounds from {_LEAST} to {_MOST}.")


def _check_steps(column: Continuous) -> None:
    if column.step is None:
        if column.endings:
            raise column.invalid("endings without a step", 'Declare their period: step = 1.0 for prices in ".99".')
        return
    if column.endings and column.scale != "linear":
        raise column.invalid("a grid of endings has no scale", "Remove the scale.")
    if column.endings and list(column.endings) != sorted({e for e in column.endings if 0 <= e < column.step}):
        raise column.invalid("endings must ascend from 0 to less than the step", "Correct endings.")
    finest = (column.lower, column.step, *column.endings)
    if max(grids.places(grids.decimal(x)) for x in finest) > column.decimals:
        raise column.invalid("step, endings and lower have more decimals than it", "Declare as many decimals.")


def _on_grid(column: Continuous, number: float) -> bool:
    """Whether a number between the bounds is a value of a grid of steps, endings or digits."""
    exact = grids.decimal(number)
    if column.digits is not None:
        return len(exact.as_tuple().digits) <= column.digits
    step = Decimal(1).scaleb(-column.decimals) if column.step is None else grids.decimal(column.step)
    if column.endings:
        return any((exact - grids.decimal(ending)) % step == 0 for ending in column.endings)
    return (exact - grids.decimal(column.lower)) % step == 0
