"""Graphical models estimated from noised tables, by mirror descent on the exact inference of mbi.

The loss is the squared error over the noise's variance, whose expectation at the truth is half the number of cells.
Mirror descent (McKenna, Sheldon, Miklau 2019, arXiv 1901.09136, algorithm 1) moves the potentials θ of the cliques
against the loss's slope at the marginals μ(θ): no derivative of the inference is needed. Momentum saves steps: on a model
of 40,000 cells a hundred steps do what took plain mirror descent thousands. A step that makes the loss larger is not
taken, and half the rate is tried from rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.errors import StudyError
from cohortium.system.extras import how_to_install
from cohortium.system.progress import Progress, advancing
from cohortium_server.generators.chordal import Chordal, Clique, Step, conditional, largest
from cohortium_server.generators.data_thinning import best_length, thinned
from cohortium_server.generators.shares import Table

FloatArray = npt.NDArray[np.float64]
Impossible = Callable[[Clique], npt.NDArray[np.bool_]]
MOMENTUM = 0.9
FASTER = 1.1  # the rate, after every step that made the loss smaller
ROUGH = 120  # steps at most of a fit that only says what is to be fitted next
MOST = 600  # steps of the last one
LOOK = 5  # steps between looks at the held-out tables
NEVER = -40.0  # the log chance of what is impossible: small enough, and finite
COMPILED = {
    "xla_backend_optimization_level": 0
}  # steps are short beside compiling: 4 s instead of 8, and 24 ms instead of 18


def check_installed() -> None:
    """StudyError E_GENERATOR where the extra is missing: before anything is asked of anybody."""
    if find_spec("mbi") is None:
        raise StudyError("E_GENERATOR", "generator.kind", "pgm is fitted with mbi", how_to_install("pgm"))


@cache
def _library() -> tuple[Any, Any]:
    """mbi, and what is compiled for every structure: (potentials, loss) to (marginals, loss, slope in the marginals)."""
    import jax

    jax.config.update("jax_enable_x64", True)  # as mbi asks for
    jax.config.update("jax_enable_compilation_cache", False)
    import mbi

    def look(potentials: Any, loss: Any) -> tuple[Any, Any, Any]:
        marginals = mbi.marginal_oracles.message_passing_hugin(potentials, 1.0)
        return marginals, *jax.value_and_grad(loss)(marginals)

    return mbi, jax.jit(look, compiler_options=COMPILED)


@dataclass(frozen=True)
class _Place:
    """Where a descent is: potentials and marginals of the cliques, the loss there and its slope in the marginals."""

    potentials: Any
    marginals: Any
    loss: float
    slope: Any


class Estimation:
    """Of one structure: inference is compiled once for it.

    start: positive distributions of the single columns. impossible: of a clique, which of its cells nobody can be in.
    """

    def __init__(self, steps: Sequence[Step], start: Sequence[FloatArray], impossible: Impossible) -> None:
        (self._mbi, self._look), self._steps, self._start = _library(), tuple(steps), tuple(start)
        self._impossible = impossible
        self._sizes, self._cliques = tuple(map(len, start)), largest(steps)
        self._domain = self._mbi.Domain(tuple(range(len(start))), self._sizes)

    def rough(self, tables: Sequence[Table]) -> Chordal:
        """Fitted down to the loss that noise alone leaves, or for some steps."""
        noise = sum(t.shares.size for t in tables) / 2
        for place in itertools.islice(self._descent(tables), ROUGH):
            if place.loss <= noise:
                break
        return self._model(place)

    def fitted(self, tables: Sequence[Table], rng: np.random.Generator, progress: Progress) -> Chordal:
        """Fitted for as long as thinned tables tell: a longer fit would fit noise (``data_thinning``)."""
        one, other = thinned(tables, rng)
        progress.start(2 * MOST, "fitting")
        held_out = self._loss(other)
        places = advancing(itertools.islice(self._descent(one), MOST), progress)
        best = best_length(places, lambda place: float(held_out(place.marginals)), LOOK)
        last = next(itertools.islice(advancing(self._descent(tables), progress), best, None))
        progress.done()
        return self._model(last)

    def _descent(self, tables: Sequence[Table]) -> Iterator[_Place]:
        """Where it is after 0, 1, ... steps."""
        loss, rate = self._loss(tables), min(t.sigma for t in tables) ** 2
        here = self._at(self._potentials(), loss)
        move = 0.0 * here.slope
        while True:
            yield here
            move = MOMENTUM * move - (1 - MOMENTUM) * rate * here.slope
            there = self._at(here.potentials + move, loss)
            if there.loss <= here.loss:
                here, rate = there, FASTER * rate
            else:
                move, rate = 0.0 * move, rate / 2

    def _at(self, potentials: Any, loss: Any) -> _Place:
        marginals, value, slope = self._look(potentials, loss)
        return _Place(potentials, marginals, float(value), slope)

    def _loss(self, tables: Sequence[Table]) -> Any:
        told = [self._mbi.LinearMeasurement(t.shares.ravel(), t.columns, t.sigma) for t in tables]
        return self._mbi.marginal_loss.from_linear_measurements(told, self._domain)

    def _potentials(self) -> Any:
        """Those of independent columns at the start: each column's in the first clique that has it."""
        done, factors = set[int](), {}
        for clique in self._cliques:
            values = np.where(self._impossible(clique), NEVER, 0.0)
            for axis, j in enumerate(clique):
                if j not in done:
                    values += np.log(self._start[j]).reshape([-1 if a == axis else 1 for a in range(len(clique))])
            done |= set(clique)
            factors[clique] = self._mbi.Factor(self._domain.project(clique), values)
        return self._mbi.CliqueVector(self._domain, self._cliques, factors)

    def _model(self, place: _Place) -> Chordal:
        scopes = [step.scope for step in self._steps]
        joints = [np.asarray(place.marginals.project(s).transpose(s).values) for s in scopes]
        return Chordal(self._sizes, self._steps, tuple(map(conditional, joints)))
