"""Step 8: what synthetic rows come from. A generator asks for sums and receives them; it never sees the answer of a single institution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Events
from cohortium.errors import StudyError
from cohortium.queries import Query
from cohortium.study.study import Study
from cohortium.system.nearest import offered
from cohortium.system.progress import Progress

Allowed = Mapping[int, npt.NDArray[np.float64]]  # (cells,) of a column, which part of each may be drawn, 0 to 1
Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Sum:
    """The answers of a round added up: (width,) int64, over ``institutions`` answers, each with noise ``multiplier``."""

    query: Query
    values: npt.NDArray[np.int64]
    institutions: int
    multiplier: float


@dataclass(frozen=True)
class Measured:
    """A table as it was measured: counts with noise of standard deviation ``sigma``, in rows.

    cells: for each of the columns, (cells of the schema,) the cell of ``counts`` that each is counted in; None: its own.
    """

    columns: tuple[int, ...]
    counts: npt.NDArray[np.float64]
    sigma: float
    cells: tuple[npt.NDArray[np.int64] | None, ...] = (None, None, None)


@dataclass(frozen=True)
class Curve:
    """How a fit went, for the report: a value a round or a look, all of them noised or synthetic quantities.

    level: what to compare them with, if there is such a thing.
    """

    name: str
    values: tuple[float, ...]
    level: float | None = None


class Generator(Protocol):
    """An ask-and-tell object. A new one passes ``tests/contracts/test_generators.py`` by being installed.

    ``seed`` touches initialisation and sampling only; what is asked follows from the study's plan.
    """

    def __init__(self, study: Study, seed: int | None = None, progress: Progress | None = None) -> None: ...

    def ask(self) -> Query | None:
        """The next query of the plan, at the current model state; None when the generator is fitted."""
        ...

    def tell(self, total: Sum) -> None: ...

    @property
    def rows(self) -> int:
        """The noised number of rows of all institutions together, at least 1."""
        ...

    @property
    def measured(self) -> tuple[Measured, ...]:
        """The noised tables the generator received, for the report."""
        ...

    @property
    def curves(self) -> tuple[Curve, ...]:
        """How the fit went; empty where there is nothing to look at."""
        ...

    def sample(self, rows: int, rng: np.random.Generator, allowed: Allowed) -> npt.NDArray[np.int16]:
        """(rows, columns) codes, exactly ``rows``: a row as likely as in the model, times what is ``allowed`` of its cells."""
        ...

    def complete(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, allowed: Allowed
    ) -> npt.NDArray[np.int16]:
        """(rows, columns) ``codes`` where ``known`` (rows, columns); elsewhere drawn given what is known of the row, and as
        ``allowed``.
        """
        ...

    def tensors(self) -> Tensors:
        """The fitted model, for safetensors."""
        ...

    @classmethod
    def from_tensors(cls, study: Study, tensors: Tensors, progress: Progress | None = None) -> Self:
        """A fitted generator from ``tensors``; raises ReleaseError where they are not this generator's."""
        ...


@runtime_checkable
class DrawsEvents(Protocol):
    """What also draws persons' events. It has methods alone: whether a fitted generator is one is seen without any work."""

    def events(self, index: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Events, ...]:
        """The events of some persons in every table of the schema, which may be none.

        index: (persons, columns) grid indices over the schema's columns (``encoding.draw_indices``), which say how many events
        each person has, and what the first one is.
        """
        ...


def kinds() -> tuple[str, ...]:
    """The installed kinds of generators."""
    return tuple(sorted(e.name for e in entry_points(group="cohortium.generators")))


def generator_class(kind: str) -> type[Generator]:
    """The installed generator of a kind; StudyError E_GENERATOR names the ones there are."""
    found = {e.name: e for e in entry_points(group="cohortium.generators")}
    if kind not in found:
        raise StudyError(
            "E_GENERATOR",
            "generator.kind",
            f"no generator {kind!r} is installed",
            offered(kind, sorted(found), "Installed are"),
        )
    loaded: type[Generator] = found[kind].load()
    return loaded
