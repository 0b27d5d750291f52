"""Every column from those before it: a masked autoregressive network (MADE, Germain et al. 2015, arXiv 1502.03509).

Model. The logits of a column's cells are a bias plus a linear function of the one-hot codes of the columns before it, a
chain of multinomial logistic regressions that are trained together; with ``hidden`` units also a function of these,
ReLUs of the columns before. The last columns in ``order`` see all others; put the targets there. Without hidden units the log
likelihood is concave in the parameters, and with them it starts there, for their outputs start at zero.

Loss. The negative log likelihood of a row, divided by the length that a row's gradient is expected to have.

What is not in the paper serves the clip, and follows from the noised single columns alone, which the network carries in a
layer of its own that is not trained ("columns": no inputs, its biases are the columns' centred log proportions):

* Inputs are centred: one-hot codes less the column's proportions. A row of common cells then has a short gradient; a
  person moves a sum by less for the same signal, so that less noise does. On the public benchmark table gradients are shorter by a
  sixth, which the clip follows. Nothing else repeats a column's intercept either, so larger steps are stable.
* Independent columns with proportions p have a gradient whose squared length is expected to be the sum over columns j of
  g_j (1 + sum of g_i over the columns i before j), with g = 1 - sum p². The loss is divided by its root: a clip means the
  same on every table, and so does a learning rate.

Both are computed from parameters only, hence alike for every row, and on the grids of ``exact``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from cohortium.neural import exact
from cohortium.neural.drawing import one_of
from cohortium.neural.network import Layer, Tape, Tensor, split

FloatArray = npt.NDArray[np.float64]
SHORTEST = 2.0**-3  # expected gradient; tables with a smaller one are not scaled up further
CLIP, CLIP_NOISE, CLIP_POWER = 1.1, 7.8, 0.17  # chosen on a public table (docs/generators.md)
LEAST_CLIP, MOST_CLIP = 1.0, 2.5
CANDIDATES = 16  # completions of a row that one is chosen from


class Autoregressive:
    """sizes: cells of each column. order: all column positions, the targets last. hidden: ReLU units, 0 for none."""

    views, draws = 1, 0

    def __init__(self, sizes: tuple[int, ...], order: tuple[int, ...], hidden: int = 0) -> None:
        self.sizes, self.order, self.hidden = sizes, order, hidden
        self._starts = [sum(sizes[:j]) for j in range(len(sizes))]
        self._ranks = tuple(order.index(j) for j, k in enumerate(sizes) for _ in range(k))
        self._units = tuple(i % max(1, len(sizes) - 1) for i in range(hidden))
        self.layers = self._layers()

    def _layers(self) -> tuple[Layer, ...]:
        """Unit u sees the columns of rank up to u, and is seen by those of higher rank."""
        cells, ranks, units = sum(self.sizes), self._ranks, self._units
        layers = (
            Layer("columns", 0, cells, constant=True),
            Layer("skip", cells, cells, ranks=(ranks, ranks), centred=True),
        )
        if not units:
            return layers
        into = Layer("in", cells, len(units), ranks=(tuple(u + 1 for u in units), ranks), centred=True)
        return (*layers, into, Layer("out", len(units), cells, ranks=(ranks, units)))

    def loss(self, tape: Tape, codes: Tensor, uniforms: Tensor) -> Tensor:
        """(rows,) in units of the expected length of a row's gradient."""
        ones = exact.one_hot(codes, self.sizes)
        columns = tape.constant("columns")
        centre = self._centre(columns)
        logits = tape.centred("skip", ones, centre) + columns
        if self.hidden:
            logits = logits + tape.linear("out", torch.relu(tape.centred("in", ones, centre)))
        return exact.cross_entropy(logits, ones, self.sizes) * self._scale(centre)

    def _centre(self, columns: Tensor) -> Tensor:
        """(cells,) the proportions of every column's cells, on the grid of inputs."""
        return exact.as_input(exact.softmax(columns[None], self.sizes))[0]

    def _scale(self, centre: Tensor) -> Tensor:
        """() one over the expected length of a row's gradient at independent columns."""
        squares = torch.split(centre * centre, list(self.sizes))
        before = total = torch.zeros((), dtype=centre.dtype, device=centre.device)
        for j in self.order:
            scale = exact.as_input(1.0 - squares[j].sum())
            total, before = total + scale * (1.0 + before), before + scale
        return 1.0 / total.sqrt().clamp(min=SHORTEST)

    def expected_length(self, flat: FloatArray) -> float:
        """Of a row's gradient at independent columns: what the loss is divided by."""
        columns = torch.tensor(flat[: sum(self.sizes)])
        return float(1.0 / self._scale(self._centre(columns)))

    def start(self, logs: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
        """(parameters,) independent columns, as noised; hidden units see random combinations of cells."""
        parts = {layer.name: np.zeros(layer.parameters) for layer in self.layers}
        parts["columns"] = np.concatenate([*logs]).astype(np.float64)
        if self.hidden:
            layer = self.layers[2]
            seen = np.array([u + 1.0 for u in self._units])[layer.places.numpy() // layer.inputs]
            parts["in"][: len(seen)] = rng.normal(size=len(seen)) / np.sqrt(seen)
        return np.concatenate([parts[layer.name] for layer in self.layers])

    def default_clip(self, multiplier: float) -> float:
        """In units of the expected length; the less noise, the fewer rows are clipped."""
        part = CLIP * (CLIP_NOISE / max(multiplier, 1e-6)) ** CLIP_POWER
        return float(min(MOST_CLIP, max(LEAST_CLIP, part)))

    def evened(self, gradient: FloatArray) -> FloatArray:
        """``gradient`` with zeros for what is not trained, so that the noise there goes nowhere."""
        trained = gradient.copy()
        trained[: self.layers[0].parameters] = 0.0
        return trained

    @torch.no_grad()
    def sample(self, flat: Tensor, uniforms: Tensor, allowed: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Draw rows column by column; (rows, columns) uniform numbers in, (rows, columns) int64 codes out.

        allowed: for some columns the weights of their cells, (cells,) or of every row (rows, cells): true or 1 where a
        cell may be drawn, 0 where not. The second result is, per row, the logarithm of the chance of drawing what is allowed
        everywhere: its importance weight under the conditions, -inf where nothing allowed is possible.
        """
        folded = self._folded(flat)
        codes = torch.zeros(uniforms.shape, dtype=torch.long, device=flat.device)
        x = torch.zeros(len(uniforms), sum(self.sizes), device=flat.device)
        h = torch.zeros(len(uniforms), self.hidden, device=flat.device)
        log_weight = torch.zeros(len(uniforms), dtype=torch.float64, device=flat.device)
        for rank, j in enumerate(self.order):
            probabilities = folded.logits(self._cells(j), x, h).double().softmax(1)
            if j in allowed:
                probabilities = probabilities * allowed[j]
                log_weight += probabilities.sum(1).log()
            codes[:, j] = one_of(probabilities, uniforms[:, j])
            x[torch.arange(len(x)), self._starts[j] + codes[:, j]] = 1.0
            folded.light(x, h, [i for i, u in enumerate(self._units) if u == rank])
        return codes, log_weight

    def impute(
        self,
        flat: Tensor,
        codes: Tensor,
        known: Tensor,
        rng: np.random.Generator,
        allowed: Mapping[int, Tensor] | None = None,
        candidates: int = CANDIDATES,
    ) -> Tensor:
        """(rows, columns) int64: ``codes`` where ``known`` is true, and elsewhere drawn given what is known of the row.

        allowed: for some columns the (cells,) weights of the cells that may be filled in, as in ``sample``.

        Importance resampling (Rubin 1987): each row is completed ``candidates`` times, every missing column given the
        known and drawn ones before it, and one completion is chosen in proportion to the chance that the model gives to the
        known cells after it. Exact where a row's known columns come before its missing ones in ``order``, otherwise in
        the limit of many candidates. A row whose known cells are impossible in every completion keeps any of them.
        """
        many, held = codes.repeat_interleave(candidates, 0), known.repeat_interleave(candidates, 0)
        uniforms = torch.tensor(rng.random(tuple(many.shape)), device=codes.device)
        drawn, log_weight = self.sample(flat, uniforms, self._held(many, held, allowed or {}))
        weights = log_weight.view(len(codes), candidates).clamp(min=-1e300).softmax(1)
        chosen = one_of(weights, torch.tensor(rng.random(len(codes)), device=codes.device))
        completed = drawn.view(len(codes), candidates, -1)[torch.arange(len(codes)), chosen]
        return torch.where(known, codes, completed)

    def _held(self, codes: Tensor, held: Tensor, allowed: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Per column (rows, cells) weights: where it is held, of the cell in ``codes`` alone, else those ``allowed``."""
        limits = {}
        for j, k in enumerate(self.sizes):
            others = allowed.get(j, torch.ones(k, device=codes.device)).double()
            if j in allowed or bool(held[:, j].any()):
                limits[j] = torch.where(held[:, j : j + 1], F.one_hot(codes[:, j].clamp(0, k - 1), k).double(), others)
        return limits

    def _cells(self, j: int) -> slice:
        return slice(self._starts[j], self._starts[j] + self.sizes[j])

    def _folded(self, flat: Tensor) -> _Folded:
        """The same function of plain one-hot codes, the columns and their centring taken into the biases."""
        parts = [layer.unpack(part) for layer, part in split(self, flat.double())]
        (_, columns), (weights, biases), *hidden = parts
        centre = self._centre(columns)
        none = (torch.zeros(0, len(columns), device=flat.device), torch.zeros(0, device=flat.device))
        (into, thresholds), (out, more) = hidden or (none, (none[0].T, torch.zeros_like(columns)))
        plain = (weights, columns + biases + more - weights @ centre, into, thresholds - into.double() @ centre, out)
        return _Folded(*(t.float() for t in plain))


@dataclass(frozen=True)
class _Folded:
    """weights: (cells, cells); biases: (cells,); into: (hidden, cells); thresholds: (hidden,); out: (cells, hidden)."""

    weights: Tensor
    biases: Tensor
    into: Tensor
    thresholds: Tensor
    out: Tensor

    def logits(self, cells: slice, x: Tensor, h: Tensor) -> Tensor:
        return F.linear(x, self.weights[cells], self.biases[cells]) + h @ self.out[cells].T

    def light(self, x: Tensor, h: Tensor, units: list[int]) -> None:
        """Those hidden units whose columns have all been drawn by now."""
        if units:
            h[:, units] = F.linear(x, self.into[units], self.thresholds[units]).relu()
