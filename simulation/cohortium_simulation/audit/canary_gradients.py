"""Gradients of canaries, as the attacker computes them: the model is the attacker's own choice, and so are the canaries.

The model that is asked at is the network's start for columns without any preference. Of every canary's gradient there only
those coordinates are looked at that this canary moves more than all others together, so no two canaries share one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cohortium.neural.network import Layer, Network, errors
from cohortium.neural.state import write_state
from cohortium.queries import Query
from cohortium.queries.counts import Counts
from cohortium.queries.gradients import GradientSum, Step
from cohortium.queries.local_training import LocalTraining
from cohortium.queries.marginals import Marginals

FloatArray = npt.NDArray[np.float64]
FloatArray32 = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
PASSES = 16  # over which random views of a row are averaged
CLEARLY = 1 + 1e-6


def step_of(query: GradientSum | LocalTraining) -> tuple[Step, int]:
    """A query's step, and how many of them an answer has."""
    return (query.step, query.steps) if isinstance(query, LocalTraining) else (query.step, 1)


def start(step: Step) -> FloatArray:
    """(parameters,) the model that is asked at: the same in every run."""
    network = step.architecture.network
    flat = network.start([np.zeros(k) for k in network.sizes], np.random.default_rng(0))
    return flat.astype(np.float32).astype(np.float64)


def state_of(step: Step, rate: float | None = None) -> bytes:
    """The state that carries it. Where cells are merged, the first ones stay as they are and the rest are merged."""
    tensors = {"parameters": start(step)}
    if "cells" in step.lengths:
        tensors["cells"] = _put_together(step.sizes, step.architecture.sizes)
    if rate is not None:
        tensors["rate"] = np.array([rate])
    return write_state(tensors)


def state_of_counts(query: Query) -> bytes:
    """The state that counts are asked at, the same way; none where counts depend on none. Of weights it chooses the dearest."""
    if not (isinstance(query, Marginals) and query.state_lengths):
        return b""
    cells = {"cells": _put_together(query.sizes, query.merged)} if query.merged else {}
    return write_state(cells | ({"choice": np.array([_dearest(query)])} if query.choices else {}))


def as_asked(query: Counts) -> Counts:
    """The query at that state, with the weights that it chooses."""
    state = state_of_counts(query)
    return query.with_state(state) if state else query


def _dearest(query: Marginals) -> float:
    """The number of the choice that costs most: the one with the finest noise."""
    return float(np.argmin([choice.finest for choice in query.each_choice]))


def _put_together(sizes: Sequence[int], most: Sequence[int]) -> FloatArray:
    kept = zip(sizes, most, strict=True)
    return np.concatenate([np.minimum(np.arange(k), seen - 1) for k, seen in kept]).astype(np.float64)


@dataclass(frozen=True)
class Gradients:
    """Of every canary. own: (canaries, parameters), zero where it is not its own coordinate. norms: (canaries,) of the whole."""

    own: FloatArray32
    norms: FloatArray

    @property
    def lengths(self) -> FloatArray:
        """(canaries,) of what is looked at."""
        found: FloatArray = np.sqrt((self.own**2).sum(1, dtype=np.float64))
        return found

    def scores(self, gradient: FloatArray) -> FloatArray:
        """(canaries,) against a noised gradient, with the noise of one coordinate; 0 where nothing is a canary's own."""
        found: FloatArray = self.own @ gradient / np.maximum(self.lengths, 1e-30)
        return found

    def moves(self, step: Step, rows: int) -> FloatArray:
        """(canaries,) how far each should move its score, in clips, if ``rows`` of its rows count."""
        together = self.norms if step.equal_weight == "persons" else rows * self.norms
        kept = np.minimum(together, step.clip) / np.maximum(self.norms, 1e-30)
        found: FloatArray = kept * self.lengths / step.clip
        return found


def gradients(query: GradientSum | LocalTraining, rows: IntArray) -> Gradients:
    """Of canaries with these codes, (canaries, columns), by the network's own slopes at each row, not clipped."""
    step, _ = step_of(query)
    network, flat = step.architecture.network, torch.tensor(start(step))
    passes = PASSES if network.draws else 1
    total, norms = np.zeros((len(rows), step.parameters), np.float32), np.zeros(len(rows))
    for _ in range(passes):
        one = _of_rows(network, flat, rows)
        total += one / passes
        norms += np.sqrt((one**2).sum(1, dtype=np.float64)) / passes
    if isinstance(query, LocalTraining):  # whose answers hold no more than this
        total = np.stack([network.evened(g.astype(np.float64)) for g in total]).astype(np.float32)
    return Gradients(_own(total), norms)


def _of_rows(network: Network, flat: torch.Tensor, rows: IntArray) -> FloatArray32:
    """(rows, parameters) of one pass; a row's views are averaged."""
    codes = torch.tensor(rows).repeat_interleave(network.views, 0)
    uniforms = torch.rand(len(codes), network.draws, dtype=torch.float64)
    trained = {layer.name: _of_layer(layer, *rest) for layer, *rest in errors(network, flat, codes, uniforms)}
    parts = (trained.get(n.name, torch.zeros(len(codes), n.parameters)) for n in network.layers)
    views = torch.cat(list(parts), 1).view(len(rows), network.views, -1)
    found: FloatArray32 = (views[:, 0] if network.views == 1 else views.mean(1)).numpy()
    return found


def _of_layer(layer: Layer, inputs: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """(rows, parameters of the layer): slopes ⊗ inputs where there are weights, and the slopes of the biases."""
    outputs, at = layer.places // layer.inputs, layer.places % layer.inputs
    return torch.cat([slopes.float()[:, outputs] * inputs.float()[:, at], slopes.float()], 1)


def _own(all_of_them: FloatArray32) -> FloatArray32:
    squares = all_of_them**2
    return np.where(2 * squares > CLEARLY * squares.sum(0), all_of_them, np.float32(0))


def sensitivity(step: Step, multiplier: float) -> float:
    """By how many grid units a person may move a step's sum; the audit's own account of it.

    The clip, and one unit for each coordinate that is rounded after adding up: the weights of layers whose inputs are not
    zeros and ones.
    """
    rounded = sum(n.parameters - n.outputs for n in step.architecture.network.layers if not (n.one_hot or n.constant))
    return step.units(multiplier) + math.sqrt(rounded)
