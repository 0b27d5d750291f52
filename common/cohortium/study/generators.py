"""The generators that a study may name, and the settings of each: the section ``[generator]`` of a ``study.toml``.

Settings that are left out follow from what is public (defaults.py, docs/generators.md). The models themselves are the
coordinator's (``cohortium_server.generators``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, Strict

from cohortium.data.columns import MAX_CELLS

CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)  # numbers are Strict(): "8" is not 8


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Counts of all pairs of columns in one round; a mixture of product distributions is fitted to them.

    A column of more ordered values than ``bins`` is counted by itself first, and in pairs over so many merged cells.
    targets: columns that every pair is crossed with as well. components: number of product distributions.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    kind: Literal["sweep"] = "sweep"
    targets: tuple[str, ...] = ()
    components: Annotated[int, Strict(), Field(ge=10, le=10_000)] = 500
    bins: Annotated[int, Strict(), Field(ge=2, le=MAX_CELLS)] = 16


@dataclass(frozen=True, kw_only=True)
class Pgm:
    """The counts of ``Sweep``; a graphical model is fitted to a selection of them. Fitting needs the extra ``pgm``.

    method: ``mst``: a spanning tree of pairs; ``aim``: then also the tables that the model fits worst, as long as its
    largest cliques have at most ``cells`` cells together.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    kind: Literal["pgm"] = "pgm"
    method: Literal["mst", "aim"] = "aim"
    targets: tuple[str, ...] = ()
    cells: Annotated[int, Strict(), Field(ge=1000, le=100_000_000)] = 2**19
    bins: Annotated[int, Strict(), Field(ge=2, le=256)] = 16


@dataclass(frozen=True, kw_only=True)
class Histories:
    """The counts of ``Sweep`` about persons, and counts of the steps from each event to the next; for tables of events.

    Steps are drawn one after the other, each column given what is known of the person, as made-up persons' steps come to be
    counted like the real ones'. targets, components, bins: as in ``Sweep``, bins also of the steps' columns. clip: how far a person's steps count
    in full, as the root mean square over tables of the length of the person's counts: about its square different steps do.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    kind: Literal["histories"] = "histories"
    targets: tuple[str, ...] = ()
    components: Annotated[int, Strict(), Field(ge=10, le=10_000)] = 500
    bins: Annotated[int, Strict(), Field(ge=2, le=256)] = 16
    clip: Annotated[float, Strict(), Field(ge=0.1, le=1000)] = 2.0


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Settings of every trained generator: counts of single columns first, then rounds of DP-SGD at the institutions.

    Settings that are left out follow from public facts (defaults.py, docs/generators.md).
    targets: columns that the network puts last. rounds: of training. steps: DP-SGD steps that an institution takes in
    a round before it answers; 1 under secure-sum. sampling_rate: probability that a person is in a step. clip: largest
    norm of a person's gradient. hidden: units of the network's hidden layers. bins: cells that the network keeps of a
    column of ordered values; neighbouring cells are merged by noised counts. warm_start: part of the budget for counts
    of pairs, on which the network is trained before it sees a gradient.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    targets: tuple[str, ...] = ()
    rounds: Annotated[int, Strict(), Field(ge=1, le=5000)] | None = None
    steps: Annotated[int, Strict(), Field(ge=1, le=10_000)] | None = None
    sampling_rate: Annotated[float, Strict(), Field(gt=0, le=1)] | None = None
    clip: Annotated[float, Strict(), Field(gt=0)] | None = None
    hidden: Annotated[int, Strict(), Field(ge=0, le=1024)] | None = None
    bins: Annotated[int, Strict(), Field(ge=2, le=256)] = 16
    warm_start: Annotated[float, Strict(), Field(ge=0, le=0.9)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Autoregressive(Trained):
    """Every column from those before it: a masked autoregressive network with a linear skip."""

    kind: Literal["autoregressive"] = "autoregressive"


@dataclass(frozen=True, kw_only=True)
class Diffusion(Trained):
    """Hidden columns from those that are seen, whichever they are: discrete diffusion with an absorbing state.

    views: noise levels of a row that are averaged before the clip.
    """

    kind: Literal["diffusion"] = "diffusion"
    views: Annotated[int, Strict(), Field(ge=1, le=16)] | None = None


@dataclass(frozen=True, kw_only=True)
class Tvae(Trained):
    """A variational autoencoder. latent: numbers that a row is squeezed into."""

    kind: Literal["tvae"] = "tvae"
    latent: Annotated[int, Strict(), Field(ge=1, le=256)] | None = None


@dataclass(frozen=True, kw_only=True)
class Ctgan(Trained):
    """A conditional adversarial network: institutions train the critic alone, the coordinator the generator."""

    kind: Literal["ctgan"] = "ctgan"


Counted = Sweep | Pgm | Histories  # what is fitted to counts alone
GeneratorPlan = Annotated[
    Sweep | Pgm | Histories | Autoregressive | Diffusion | Tvae | Ctgan, Field(discriminator="kind")
]
