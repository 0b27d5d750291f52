"""The study rehearsed on the generator's own rows, to see how far answers end up from a truth that is known.

A parametric bootstrap (Efron and Tibshirani 1993, chapter 6): as many rows as there are real ones are drawn, counted, noised by
the same law and fitted by the same kind of generator. It sees nothing but what was released, so it costs no privacy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium.coins import SecureCoins
from cohortium.encoding import Codes
from cohortium.plan import plan
from cohortium.queries.marginals import Marginals
from cohortium.study import Study
from cohortium_server.generators import Generator, Sum, generator_class
from cohortium_server.release.answers.noised import Noised
from cohortium_server.release.answers.products import Components, FloatArray, Products, Rows, Units

ROWS = 200_000  # of a kind whose expectations are taken over rows


@dataclass(frozen=True)
class Rehearsal:
    """What was true there, what was told with noise, and what the fit made of it."""

    truth: Rows
    noised: Noised
    fitted: Units

    def errors(self, products: Products) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n,) the fit's error of every sum, the error of the noised tables, and the latter's variance."""
        true = len(self.truth.codes) * self.truth.expected(products)
        told, variance = self.noised.told(products)
        return self.noised.rows * self.fitted.expected(products) - true, told - true, variance


def units(generator: Generator, sizes: tuple[int, ...], seed: int | None) -> Units:
    """What a fitted generator's expectations are taken over: its components, or, of another kind, rows of it."""
    chances = getattr(generator, "chances", None)
    if chances is not None:
        return Components(len(sizes), chances)
    rows = generator.sample(ROWS, np.random.default_rng(seed), {})
    return Rows(rows, sizes)


def can_rehearse(study: Study) -> bool:
    """Whether the kind is fitted to counts and nothing else; others would have to be trained again."""
    return all(isinstance(p.query, Marginals) for p in plan(study).phases)


def rehearsed(study: Study, generator: Generator, seed: int | None) -> Rehearsal:
    """A rehearsal of a study that ``can_rehearse``."""
    rng = np.random.default_rng(seed)
    drawn = _people(units(generator, study.schema.sizes, seed), generator.rows, rng)
    codes = Codes(drawn, np.arange(len(drawn)), study.schema.sizes)
    twin, told = generator_class(study.generator.kind)(study, seed), 0
    while (query := twin.ask()) is not None:
        assert isinstance(query, Marginals)  # noqa: S101 - as all of the plan
        multiplier = generator.measured[told].sigma / query.sigmas(1.0)[0]
        twin.tell(_answered(query, codes, multiplier, rng))
        told += len(query.tables)
    sizes = study.schema.sizes
    return Rehearsal(Rows(drawn, sizes), Noised(sizes, twin.measured), units(twin, sizes, seed))


def _people(model: Units, rows: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """(rows, columns) codes drawn by chance, as people are: even sequences would have less of it."""
    match model:
        case Components():
            return model.drawn(rows, rng)
        case Rows():
            return model.codes[rng.integers(len(model.codes), size=rows)]
    raise TypeError(type(model).__name__)


def _answered(query: Marginals, codes: Codes, multiplier: float, rng: np.random.Generator) -> Sum:
    """One answer with all the noise that the real sum had. It protects nobody: these rows are made up."""
    scales = np.repeat(query.sigmas(multiplier), query.lengths) * query.grid
    noised = query.contribute(codes, SecureCoins()).values + rng.normal(0, scales)
    return Sum(query, np.rint(noised).astype(np.int64), 1, multiplier)
