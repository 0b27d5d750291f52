"""What an institution can train: a per-row loss built from linear layers and exact arithmetic.

A network is its ``layers`` and a ``loss`` of rows in which every parameter is used by ``Tape.linear``. That is enough
for everything else here: the flat vector its parameters travel in, and per-row gradients in closed form, because the
gradient of a layer's weights at one row is error ⊗ input (Goodfellow 2015, arXiv 1510.01799).

What a network may do between its layers is what ``exact`` offers, single IEEE operations on elements, and nothing
that looks at another row: there is no batch normalisation to forget.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from cohortium.neural import exact

Tensor = torch.Tensor
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """A linear layer. ranks: of a masked one, the ranks of its outputs and of its inputs; an output sees lower ranks.

    one_hot: its inputs are zeros and ones, at most two ones a column of the table. centred: they are that less a centre
    (``Tape.centred``). constant: it has no inputs and is not trained: its
    biases are constants that the coordinator sets, and ``Tape.constant`` reads.
    """

    name: str
    inputs: int
    outputs: int
    one_hot: bool = False
    ranks: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    constant: bool = False
    centred: bool = False

    @cached_property
    def mask(self) -> Tensor:
        """(outputs, inputs) bool, which weights there are."""
        if self.ranks is None:
            return torch.ones(self.outputs, self.inputs, dtype=torch.bool)
        of_outputs, of_inputs = (torch.tensor(r) for r in self.ranks)
        return of_outputs[:, None] > of_inputs[None]

    @cached_property
    def places(self) -> Tensor:
        """(weights,) int64, where the weights there are lie in the (outputs, inputs) matrix, row by row."""
        return torch.nonzero(self.mask.flatten())[:, 0]

    @property
    def parameters(self) -> int:
        return len(self.places) + self.outputs

    def unpack(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """(outputs, inputs) weights with zeros where the mask forbids, (outputs,) biases."""
        if self.ranks is None:
            return flat[: -self.outputs].view(self.outputs, self.inputs), flat[-self.outputs :]
        weights = torch.zeros(self.outputs * self.inputs, dtype=flat.dtype, device=flat.device)
        weights = weights.index_put((self.places.to(flat.device),), flat[: -self.outputs])
        return weights.view(self.outputs, self.inputs), flat[-self.outputs :]

    def pack(self, weights: Tensor, biases: Tensor) -> Tensor:
        """The flat vector; what the mask forbids is dropped."""
        kept = weights.flatten() if self.ranks is None else weights.flatten()[self.places.to(weights.device)]
        return torch.cat([kept, biases])


class Tape(Protocol):
    """How a network reaches its parameters."""

    def linear(self, name: str, inputs: Tensor) -> Tensor:
        """(rows, outputs) of the layer ``name``. Each layer is used once in a loss."""
        ...

    def centred(self, name: str, one_hot: Tensor, centre: Tensor) -> Tensor:
        """(rows, outputs) of the centred layer ``name`` at ``one_hot - centre``; centre: (inputs,) on the grid of inputs."""
        ...

    def constant(self, name: str) -> Tensor:
        """(outputs,) the numbers of a constant layer."""
        ...


class Network(Protocol):
    """sizes: cells of each column. views: how many random views of a row are averaged into its gradient.

    draws: uniform numbers that a view takes.
    """

    sizes: tuple[int, ...]
    layers: tuple[Layer, ...]
    views: int
    draws: int

    def loss(self, tape: Tape, codes: Tensor, uniforms: Tensor) -> Tensor:
        """(rows,) float64, the loss of every row by itself. codes: (rows, columns) int64; uniforms: (rows, draws)."""
        ...

    def start(self, logs: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
        """(parameters,) before training. logs: (cells,) of every column, centred logarithms of noised counts."""
        ...

    def default_clip(self, multiplier: float) -> float:
        """The clip for a noise multiplier of a whole step's noise; from public numbers alone."""
        ...

    def evened(self, gradient: FloatArray) -> FloatArray:
        """(parameters,) the gradient without what only repeats itself in it, or the same: a projection, never longer."""
        ...


def length(network: Network) -> int:
    """Of the flat vector."""
    return sum(layer.parameters for layer in network.layers)


def split(network: Network, flat: Tensor) -> Iterator[tuple[Layer, Tensor]]:
    """Every layer with its part of the flat vector."""
    yield from zip(network.layers, torch.split(flat, [layer.parameters for layer in network.layers]), strict=True)


class Plain:
    """A tape in ordinary floating point with ordinary gradients: for public rows, at the coordinator."""

    def __init__(self, network: Network, flat: Tensor) -> None:
        self._layers = {layer.name: layer.unpack(part) for layer, part in split(network, flat)}

    def linear(self, name: str, inputs: Tensor) -> Tensor:
        weights, biases = self._layers[name]
        return F.linear(inputs.to(weights.dtype), weights, biases)

    def centred(self, name: str, one_hot: Tensor, centre: Tensor) -> Tensor:
        return self.linear(name, one_hot - centre)

    def constant(self, name: str) -> Tensor:
        return self._layers[name][1].detach()


@dataclass(frozen=True)
class Trace:
    """A layer's inputs and outputs at some rows: (rows, inputs), (rows, outputs)."""

    layer: Layer
    inputs: Tensor
    outputs: Tensor


class Recorded:
    """A tape in exact arithmetic that records what went through each layer."""

    def __init__(self, network: Network, flat: Tensor) -> None:
        few = 2 * len(network.sizes) <= exact.COLUMNS
        self._layers = {
            layer.name: (layer, *(_short if (layer.one_hot or layer.centred) and few else _long)(layer, part))
            for layer, part in split(network, flat)
        }
        self.traces: list[Trace] = []

    def linear(self, name: str, inputs: Tensor) -> Tensor:
        layer, weights, biases = self._layers[name]
        x = inputs.to(weights.dtype) if layer.one_hot else exact.as_input(inputs)
        x = x if x.requires_grad else x.requires_grad_(not layer.one_hot)
        return self._traced(layer, x.detach(), exact.linear(x, weights, biases))

    def centred(self, name: str, one_hot: Tensor, centre: Tensor) -> Tensor:
        layer, weights, biases = self._layers[name]
        x = one_hot.to(weights.dtype)
        outputs = x @ weights.T + (biases.double() - weights.double() @ centre)  # in float64, exact
        return self._traced(layer, x - centre, outputs)

    def _traced(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        if any(trace.layer is layer for trace in self.traces):
            raise ValueError(f"the layer {layer.name!r} is used twice: its gradient would be that of one use only")
        if not outputs.requires_grad:
            outputs.requires_grad_(True)
        self.traces.append(Trace(layer, inputs, outputs))
        return outputs

    def constant(self, name: str) -> Tensor:
        return self._layers[name][2].double()


def _long(layer: Layer, part: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and biases for sums in float64."""
    weights, biases = layer.unpack(part)
    grid, largest = exact.WEIGHT_GRID, exact.LARGEST_WEIGHT
    return exact.on_grid(weights, grid, largest), exact.on_grid(biases, grid * exact.INPUT_GRID, exact.LARGEST_INPUT)


def _short(layer: Layer, part: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and biases for sums of a few of them in float32."""
    weights, biases = (exact.on_grid(t, exact.ONE_HOT_GRID, exact.LARGEST_WEIGHT) for t in layer.unpack(part))
    return weights.float(), biases.float()


def errors(network: Network, flat: Tensor, codes: Tensor, uniforms: Tensor) -> list[tuple[Layer, Tensor, Tensor]]:
    """For every trained layer: itself, its inputs (rows, inputs) and its errors (rows, outputs): the loss's slopes at its
    outputs.
    """
    with torch.enable_grad():
        tape = Recorded(network, flat)
        loss = network.loss(tape, codes, uniforms)
        slopes = torch.autograd.grad(loss.sum(), [t.outputs for t in tape.traces])
    traced = {t.layer.name: (t.layer, t.inputs, slope) for t, slope in zip(tape.traces, slopes, strict=True)}
    return [traced[layer.name] for layer in network.layers if not layer.constant]


def gradient(network: Network, flat: Tensor, codes: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """(parameters,) the plain average gradient at public rows, and their average loss."""
    flat = flat.detach().requires_grad_(True)
    loss = network.loss(Plain(network, flat), codes, uniforms).mean()
    return torch.autograd.grad(loss, flat)[0], loss.detach()
