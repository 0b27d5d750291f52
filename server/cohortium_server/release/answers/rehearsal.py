"""The study rehearsed on the generator's own rows, to measure the errors of answers against a known truth.

A parametric bootstrap (Efron and Tibshirani 1993, chapter 6): as many rows as there are real ones are drawn, counted in the same
cells, noised by the same law and fitted by the same kind of generator. It sees nothing but what was released, so it costs no privacy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from cohortium.system.progress import Progress, Silent
from cohortium.system.side_by_side import side_by_side
from cohortium_server.generators import Generator, Measured
from cohortium_server.generators.counted import CountedGenerator
from cohortium_server.release.answers.noised import Noised
from cohortium_server.release.answers.products import Components, FloatArray, Products, Rows, Units

ROWS = 200_000  # of a kind whose expectations are taken over rows


@dataclass(frozen=True)
class Rehearsal:
    """The truth of a rehearsal, its noised tables, and the model fitted to them."""

    truth: Rows
    noised: Noised
    fitted: Units

    def errors(self, products: Products) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n,) the fit's error of every sum, the error of the noised tables, and the latter's variance."""
        true = len(self.truth.codes) * self.truth.expected(products)
        counted, variance = self.noised.sums(products)
        return self.noised.rows * self.fitted.expected(products) - true, counted - true, variance


def units(generator: Generator, sizes: tuple[int, ...], seed: int | None) -> Units:
    """The units of a fitted generator's expectations: its components, or rows drawn from it where it has none."""
    chances = getattr(generator, "chances", None)
    if chances is not None:
        return Components(len(sizes), chances)
    rows = generator.sample(ROWS, np.random.default_rng(seed), {})
    return Rows(rows, sizes)


def rehearsed(
    generator: CountedGenerator, noised: Noised, seeds: Sequence[int], progress: Progress | None = None
) -> list[Rehearsal]:
    """Rehearsals of a generator that is fitted to counts only; others would have to be trained again.

    They are fitted side by side, each as it would be alone.
    """
    acted = [_acted(generator, noised, seed) for seed in seeds]
    fits = [partial(_fitted, generator, counted, seed) for (_, counted), seed in zip(acted, seeds, strict=True)]
    fitted = side_by_side(fits, progress or Silent())
    return [Rehearsal(truth, counted, units) for (truth, counted), units in zip(acted, fitted, strict=True)]


def _acted(generator: CountedGenerator, noised: Noised, seed: int) -> tuple[Rows, Noised]:
    """The rows that are drawn, and what would have been measured of them."""
    rng, sizes = np.random.default_rng(seed), noised.sizes
    drawn = _people(units(generator, sizes, seed), noised.rows, rng)
    return Rows(drawn, sizes), Noised(sizes, [_counted(table, drawn, sizes, rng) for table in noised.tables])


def _fitted(generator: CountedGenerator, noised: Noised, seed: int, progress: Progress) -> Units:
    return units(generator.refitted(noised.tables, seed, progress), noised.sizes, seed)


def _people(model: Units, rows: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """(rows, columns) codes drawn independently, like people: low-discrepancy sequences would vary less."""
    match model:
        case Components():
            return model.drawn(rows, rng)
        case Rows():
            return model.codes[rng.integers(len(model.codes), size=rows)]
    raise TypeError(type(model).__name__)


def _counted(
    table: Measured, rows: npt.NDArray[np.int16], sizes: tuple[int, ...], rng: np.random.Generator
) -> Measured:
    """The table as it would have been measured on ``rows``. Its noise need not be secure: these rows are made up."""
    maps = [np.arange(sizes[j]) if m is None else m for j, m in zip(table.columns, table.cells, strict=False)]
    shape = table.counts.shape
    places = np.ravel_multi_index([m[rows[:, j]] for j, m in zip(table.columns, maps, strict=True)], shape)
    counts = np.bincount(places, minlength=table.counts.size).reshape(shape)
    return replace(table, counts=counts + rng.normal(0, table.sigma, shape))
