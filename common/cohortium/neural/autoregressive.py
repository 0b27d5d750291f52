"""Provisional: MADE's linear skip and one hidden layer, until its recipe is settled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from cohortium.neural import exact
from cohortium.neural.made import Made
from cohortium.neural.network import Layer, Tape, Tensor

FloatArray = npt.NDArray[np.float64]


class Autoregressive:
    views, draws = 1, 0

    def __init__(self, sizes: tuple[int, ...], order: tuple[int, ...], hidden: int = 0) -> None:
        self.sizes, self.order, self.hidden = sizes, order, hidden
        cells = sum(sizes)
        rank = [order.index(j) for j, k in enumerate(sizes) for _ in range(k)]
        layers = [Layer("skip", cells, cells, True, (tuple(rank), tuple(rank)))]
        if hidden:
            units = tuple(i % max(1, len(sizes) - 1) for i in range(hidden))
            layers.append(Layer("in", cells, hidden, True, (tuple(u + 1 for u in units), tuple(rank))))
            layers.append(Layer("out", hidden, cells, False, (tuple(rank), units)))
        self.layers = tuple(layers)
        self.made = Made(sizes, order)

    def loss(self, tape: Tape, codes: Tensor, uniforms: Tensor) -> Tensor:
        x = exact.one_hot(codes, self.sizes)
        logits = tape.linear("skip", x)
        if self.hidden:
            logits = logits + tape.linear("out", torch.relu(tape.linear("in", x)))
        return exact.cross_entropy(logits, x, self.sizes)

    def start(self, logs: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
        return np.concatenate([np.zeros(self.made.weights), *logs])

    def default_clip(self, multiplier: float) -> float:
        columns = len(self.sizes)
        part = float(min(1.5, max(0.6, 0.6 * (5.5 / multiplier) ** 0.6)))
        return part * (columns * (columns + 1) / 2) ** 0.5

    def evened(self, gradient: FloatArray) -> FloatArray:
        return self.made.evened(torch.tensor(gradient)).numpy()
