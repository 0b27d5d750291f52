"""The sum over persons of clipped gradients on a Poisson sample, on an integer grid: one step of DP-SGD.

Abadi et al. 2016 (arXiv 1607.00133, Algorithm 1), without the division by a batch size, which would be private: what
is answered is the sum, and whoever sums up divides by the sampling rate times a noised count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cohortium.data.binning import merge, read_merged
from cohortium.data.encoding import Codes, HeldArray
from cohortium.errors import StudyError
from cohortium.neural.architecture import Architecture
from cohortium.privacy.accounting import Events, Gaussian
from cohortium.privacy.discrete_gaussian import LARGEST, Bounded, Noised, Scales, add_noise, noise_multiplier
from cohortium.privacy.randomness import Randomness, happens
from cohortium.queries.contribution_bounding import EqualWeight, at_most, one_of_each, runs

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
FloatArray32 = npt.NDArray[np.float32]
FINEST = 2**19  # grid units of the clip: what rounding adds to the sensitivity is then small beside it
ROWS_AT_ONCE = 8  # most rows of a person in one step, where persons weigh the same
ENTRIES_AT_ONCE = 2048  # rows times views of a micro-batch: what bounds memory
MIN_CLIP, MAX_CLIP = 1e-6, 1e6


@dataclass(frozen=True)
class Step:
    """What one step of training asks of a table.

    sizes: cells of every column of the schema; the architecture may see fewer, merged by the state. sampling_rate:
    a person's probability of being in the sample. clip: largest L2 norm of a person's gradient.
    equal_weight: "rows": a person's rows, m = rows_per_person at the most, are added up and clipped together by the
    sum of their norms; "persons": the average of a person's rows is clipped by its norm; of more than ``ROWS_AT_ONCE``
    rows that many are drawn afresh in every step.

    Formal guarantee. On the sample, adding or removing a person moves the sum by at most ``sensitivity`` in L2 norm
    (``neural/clipping.py``); which rows of a person take part, and which random views of them, is drawn from randomness of
    that person's own: whatever they hold, the bound holds, and a mixture of such outcomes reveals no more than the worst
    of them (the divergence that defines (epsilon, delta) is jointly convex). The sample is Poisson: every person is
    sampled independently.
    """

    sizes: tuple[int, ...]
    architecture: Architecture
    sampling_rate: float
    clip: float
    rows_per_person: int = 1
    equal_weight: EqualWeight = "rows"

    def __post_init__(self) -> None:
        good = 0 < self.sampling_rate <= 1 and self.rows_per_person >= 1
        if not (good and MIN_CLIP <= self.clip <= MAX_CLIP):
            raise StudyError(
                "E_PLAN_PRIVACY",
                "training",
                "sampling rate, clip or rows per person is out of range",
                "Correct the study.",
            )

    @cached_property
    def parameters(self) -> int:
        from cohortium.neural.network import length

        return length(self.architecture.network)

    @property
    def lengths(self) -> dict[str, int]:
        """What a state holds: the flat parameters, and where cells are merged, the merged cell of every cell."""
        merges = self.architecture.sizes != self.sizes
        return {"parameters": self.parameters} | ({"cells": sum(self.sizes)} if merges else {})

    def read(self, state: bytes, more: dict[str, int] | None = None) -> dict[str, FloatArray32]:
        """A state's tensors, and ``more`` by their lengths; WireError where it is not one of this step's."""
        from cohortium.neural.state import read_state

        tensors = read_state(state, {**self.lengths, **(more or {})})
        if "cells" in tensors:
            read_merged(tensors["cells"], self.sizes, self.architecture.sizes)
        return tensors

    @cached_property
    def _rounded(self) -> int:
        """Coordinates that are rounded once more after adding up."""
        return sum(n.parameters - n.outputs for n in self.architecture.network.layers if not (n.one_hot or n.constant))

    @cached_property
    def scales(self) -> Scales:
        return Scales(((self.parameters, 1.0),))

    def units(self, multiplier: float) -> int:
        """The clip in grid units: as fine as pays, and no finer than the noise can be drawn for."""
        finest = LARGEST / multiplier * (1 - 1e-9) - math.sqrt(self._rounded)
        return max(1, min(FINEST, math.floor(finest)))

    def sensitivity(self, multiplier: float) -> float:
        """In grid units. The clip, and one unit for each coordinate that is rounded at the end."""
        return (self.units(multiplier) + math.sqrt(self._rounded)) * (1 + 1e-12)

    def effective_multiplier(self, multiplier: float) -> float:
        """The continuous noise multiplier that one step's noise is worth."""
        return noise_multiplier(multiplier, self.sensitivity(multiplier), self.scales)

    def bounded(self, people: People, flat: FloatArray, multiplier: float, randomness: Randomness) -> Bounded:
        """The sum over a sample of ``people``, un-noised, of their clipped gradients at ``flat``."""
        import torch

        from cohortium.neural.clipping import Batch, clipped_sum, to_units
        from cohortium.neural.device import best_device, one_thread

        device, network = best_device(), self.architecture.network
        units, at = self.units(multiplier), torch.tensor(flat, device=device)
        total = np.zeros(self.parameters, np.int64)
        with one_thread():
            for codes, owners, views in self.sampled(people, randomness):
                batch = Batch(*(torch.tensor(a, device=device) for a in (codes, owners, views)))
                together = self.equal_weight == "persons"
                total += clipped_sum(network, at, batch, self.clip, units, together).cpu().numpy()
        return Bounded(to_units(total), self.sensitivity(multiplier), self.scales)

    def sampled(self, people: People, randomness: Randomness) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        """Micro-batches of a Poisson sample of ``people``: codes, owners 0, 1, ..., and the uniform numbers of all views."""
        network = self.architecture.network
        for codes, owners in people.sampled(self.sampling_rate, network.views, randomness):
            yield codes.astype(np.int64), owners, _uniforms(len(codes) * network.views, network.draws, randomness)

    def noised(self, people: People, flat: FloatArray, multiplier: float, randomness: Randomness) -> Noised:
        return add_noise(self.bounded(people, flat, multiplier, randomness), multiplier, randomness)

    def in_gradients(self, values: npt.NDArray[Any], multiplier: float) -> FloatArray:
        """A sum in the units of the loss's gradient."""
        gradients: FloatArray = values * (self.clip / self.units(multiplier))
        return gradients

    def people(self, codes: Codes, state: dict[str, FloatArray32], randomness: Randomness) -> People:
        """The table as persons, cells merged; of each at most m rows, or where persons weigh the same all, shuffled."""
        if self.equal_weight == "persons":
            order = np.argsort(randomness.words(len(codes)))
            codes = replace(codes, values=codes.values[order], persons=codes.persons[order])
        else:
            codes = at_most(codes, self.rows_per_person, randomness)
        if "cells" in state:
            cells = read_merged(state["cells"], self.sizes, self.architecture.sizes)
            codes = replace(codes, values=merge(codes.values, self.sizes, cells))
        return People(codes, ROWS_AT_ONCE if self.equal_weight == "persons" else None)

    def describe(self) -> dict[str, Any]:
        return {
            "network": self.architecture.kind,
            "parameters": self.parameters,
            "sampling_rate": self.sampling_rate,
            "clip": self.clip,
        }


@dataclass(frozen=True)
class GradientSum:
    """One step's sum, at the coordinator's parameters.

    state: the flat parameters (safetensors). Formal guarantee: one Gaussian mechanism on a Poisson sample of persons;
    ``Step`` explains why. Noises of several institutions add up, so it can be masked.
    """

    step: Step
    state: bytes = b""
    kind = "gradient-sum"
    shares_noise = True

    @property
    def width(self) -> int:
        return self.step.parameters

    def with_state(self, state: bytes) -> Self:
        self.step.read(state)
        return replace(self, state=state)

    def events(self, multiplier: float) -> Events:
        return (Gaussian(self.step.effective_multiplier(multiplier), self.step.sampling_rate),)

    def draws(self, multiplier: float) -> tuple[int, float]:
        return self.width, multiplier * self.step.sensitivity(multiplier)

    def reach(self, persons: int) -> int:
        return 2 * persons * FINEST  # the last rounding included

    def answer(self, codes: Codes, multiplier: float, randomness: Randomness) -> Noised:
        state = self.step.read(self.state)
        people = self.step.people(codes, state, randomness)
        return self.step.noised(people, state["parameters"].astype(np.float64), multiplier, randomness)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.step.describe()}


class People:
    """Rows grouped by person, so that a micro-batch never splits one. at_once: most rows of a person in a sample."""

    def __init__(self, codes: Codes, at_once: int | None = None) -> None:
        order = np.argsort(codes.persons, kind="stable")
        self.values = codes.values[order]
        self.first, self.rows = runs(codes.persons[order])
        self.count = len(self.rows)
        self.owner = np.repeat(np.arange(self.count), self.rows)
        self.at_once = at_once

    def sampled(self, rate: float, views: int, randomness: Randomness) -> Iterator[tuple[HeldArray, IntArray]]:
        """(codes, owner 0, 1, ... within the batch) of a Poisson sample of the persons, in micro-batches."""
        chosen = happens(rate, self.count, randomness)
        rows = (
            np.flatnonzero(chosen[self.owner]) if self.at_once is None else self._some(chosen, self.at_once, randomness)
        )
        _, owners, lengths = np.unique(self.owner[rows], return_inverse=True, return_counts=True)
        size = max(1, ENTRIES_AT_ONCE // (views * int(lengths.max(initial=1))))
        for first in range(0, len(lengths), size):
            part = slice(*np.searchsorted(owners, [first, first + size]))
            yield self.values[rows[part]], owners[part] - first

    def _some(self, chosen: npt.NDArray[np.bool_], most: int, randomness: Randomness) -> IntArray:
        """``most`` rows in a row, or all, of every chosen person, from one drawn at random; after the last the first."""
        begin = one_of_each(self.rows, randomness)[chosen]  # everybody draws, so that no draw depends on who is chosen
        rows = self.rows[chosen]
        taken = np.minimum(rows, most)
        place = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
        some: IntArray = np.repeat(self.first[chosen], taken) + (np.repeat(begin, taken) + place) % np.repeat(
            rows, taken
        )
        return some


def _uniforms(entries: int, draws: int, randomness: Randomness) -> FloatArray:
    """(entries, draws) in [0, 1), multiples of 2**-32."""
    if not draws:
        return np.zeros((entries, 0))
    words = randomness.words(entries * ((draws + 1) // 2)).view(np.uint32)
    return words.reshape(entries, -1)[:, :draws] / 2.0**32
