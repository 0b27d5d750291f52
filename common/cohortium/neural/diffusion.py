"""Diffusion: cells are covered at random, and a network uncovers them.

Model. Discrete diffusion with an absorbing state (D3PM, Austin et al. 2021, arXiv 2107.03006, section 3.1): noise
covers the cells of a row, more of them at higher levels, until all are covered; the network gives every covered
column's probabilities from the visible columns. In continuous time this is an order-agnostic autoregressive model
(Hoogeboom et al. 2022, arXiv 2110.02037; Sahoo et al. 2024, arXiv 2406.07524): a row is drawn by uncovering its
columns one by one in a random order, and any columns that are known can be uncovered first, so conditions and
imputation need no other network. Every kind of column is cells here: categories, bins, missing.

Network. The one-hot codes of what can be seen, nothing where covered, and one indicator a covered column; a linear
map to the logits of all columns, and beside it a layer of ReLU units where ``hidden`` is not 0. Without them every
column is a multinomial logistic regression on the others: convex, and so little disturbed by noise. The indicators
let the probabilities shift with what is covered, which codes of nothing but zeros could not.

Loss. A view of a row covers m of its D columns, m uniform on 1..D. The bound on the log likelihood weighs the cross
entropy of the covered columns by D / m (Hoogeboom et al.); here it is sqrt(D / m), with which the gradient is about
equally long at all levels: a clip then takes as much from one level as from another. A network that could tell all
levels apart would have the same optimum under both. The views of a row take their levels from even parts of 1..D
(stratified), so that rows differ less in the length of their averaged gradient; four views under one clip are worth
much more than one.

Different from the papers: one-hot inputs and a linear map in place of a transformer or a U-Net, no embedding of the
level (the indicators tell it), rows in a block of rows share a random order, and no more than one column is uncovered
at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from cohortium.neural import exact
from cohortium.neural.drawing import one_of, resampled
from cohortium.neural.network import Layer, Tape, Tensor, split

FloatArray = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int16]
COVERED = -1  # the code of a cell that is not known
BLOCK = 1024  # rows that are uncovered in one order; a power of two keeps evenly spread points even within it
OVERSAMPLING = 16  # draws of the conditioned columns for one that is kept, where there are several of several cells
LENGTH = 0.4  # of a gradient beside the longest there could be: at or a little above the median row of a fresh network


class Diffusion:
    """sizes: cells of each column. order: all columns. hidden: ReLU units, 0 for none. views: covered views of a row.

    Cells and hidden units are at most ``exact.WIDEST`` each.
    """

    def __init__(self, sizes: tuple[int, ...], order: tuple[int, ...], hidden: int = 0, views: int = 4) -> None:
        self.sizes, self.order, self.hidden, self.views = sizes, order, hidden, views
        self.draws = 1 + len(sizes)  # how many are covered, and a number for each column to decide which
        cells, inputs = sum(sizes), sum(sizes) + len(sizes)
        layers = [Layer("skip", inputs, cells, one_hot=True)]
        if hidden:
            layers += [Layer("in", inputs, hidden, one_hot=True), Layer("out", hidden, cells)]
        self.layers = tuple(layers)
        self._of_cells = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))  # a cell's column

    # Training

    def loss(self, tape: Tape, codes: Tensor, uniforms: Tensor) -> Tensor:
        """(rows,) weighted cross entropy of the covered columns."""
        covered, many = self._cover(uniforms)
        cells = covered[:, self._of_cells.to(covered.device)]
        row = exact.one_hot(codes, self.sizes)
        seen = torch.cat([torch.where(cells, 0.0, row), covered.double()], 1)
        weights = torch.where(cells, self._weight_of(many)[:, None], 0.0)
        return exact.cross_entropy(self._logits(tape, seen), row, self.sizes, weights)

    def _logits(self, tape: Tape, seen: Tensor) -> Tensor:
        logits = tape.linear("skip", seen)
        if self.hidden:
            logits = logits + tape.linear("out", torch.relu(tape.linear("in", seen)))
        return logits

    def _cover(self, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, columns) bool, what is covered; (rows,) int64, how many are."""
        columns = len(self.sizes)
        view = torch.arange(len(uniforms), device=uniforms.device) % self.views  # a row's views follow one another
        level = (view + uniforms[:, 0]) / self.views
        many = (level * columns).floor().long().clamp(0, columns - 1) + 1
        places = uniforms[:, 1:].argsort(dim=1, stable=True).argsort(1)  # ties fall alike in any batch
        return places < many[:, None], many

    def _weight_of(self, many: Tensor) -> Tensor:
        columns = len(self.sizes)
        table = torch.tensor([math.sqrt(columns / m) for m in range(1, columns + 1)], dtype=torch.float64)
        return table.to(many.device)[many - 1]

    def start(self, logs: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
        """(parameters,) independent columns. logs: each column's centred log proportions."""
        skip = np.concatenate([np.zeros(self.layers[0].parameters - sum(self.sizes)), *logs])
        if not self.hidden:
            return skip
        _, inner, outer = self.layers
        weights = rng.normal(0.0, 1 / math.sqrt(self.hidden), inner.parameters - inner.outputs)
        return np.concatenate([skip, weights, np.zeros(inner.outputs + outer.parameters)])

    def default_clip(self, multiplier: float) -> float:
        """About the median length of a row's gradient; a smaller clip bends the marginals more than it spares noise.

        With D columns, a view's error has a squared length of at most 2 D and its input of D, and a bias; averaging
        views takes off what differs between them.
        """
        columns = len(self.sizes)
        part = LENGTH + (1 - LENGTH) / columns**2  # of few columns a rare cell's gradient is long, and must not be bent
        return part * math.sqrt(columns * (columns + 1) * (1 + 2 / self.views))

    def evened(self, gradient: FloatArray) -> FloatArray:
        """Without what no chance depends on: a shift of all cells of a column, and a column's weights to itself."""
        whole = torch.tensor(gradient)
        parts = [self._even(layer, part) if layer.name != "in" else part for layer, part in split(self, whole)]
        return torch.cat(parts).numpy()

    def _even(self, layer: Layer, part: Tensor) -> Tensor:
        weights, biases = layer.unpack(part)
        weights = torch.cat([w - w.mean(0) for w in torch.split(weights, list(self.sizes))])
        biases = torch.cat([b - b.mean() for b in torch.split(biases, list(self.sizes))])
        if layer.name == "skip":
            own = self._of_cells[:, None] == self._of_cells[None]
            weights[:, : len(own)] = torch.where(own, 0.0, weights[:, : len(own)])
        return layer.pack(weights, biases)

    # Sampling

    def sample(
        self,
        flat: FloatArray,
        uniforms: FloatArray,
        rng: np.random.Generator,
        allowed: Mapping[int, npt.NDArray[np.generic]],
    ) -> Codes:
        """(rows, columns) codes, drawn by (rows, columns) uniform numbers; rng gives the orders.

        allowed: for some columns the (cells,) weights of their cells, or which there may be. Conditioned columns are
        uncovered first. Exact for the model if at most one of them leaves a choice; with several, by importance
        resampling among OVERSAMPLING times as many draws, which is exact in the limit.
        """
        codes = np.full((len(uniforms), len(self.sizes)), COVERED, dtype=np.int16)
        weights = {j: torch.tensor(np.asarray(w), dtype=torch.float64) for j, w in allowed.items()}
        return self._uncovered(flat, codes, uniforms, rng, weights)

    def fill(
        self,
        flat: FloatArray,
        codes: Codes,
        uniforms: FloatArray,
        rng: np.random.Generator,
        within: Mapping[int, npt.NDArray[np.generic]],
    ) -> Codes:
        """(rows, columns) the rows with their COVERED cells drawn given the others, which stay as they are.

        within: for some columns the weights of their cells, applied when the column's turn comes.
        """
        weights = {j: torch.tensor(np.asarray(w), dtype=torch.float64) for j, w in within.items()}
        return self._uncovered(flat, codes, uniforms, rng, {}, weights)

    @torch.no_grad()
    def _uncovered(
        self,
        flat: FloatArray,
        codes: Codes,
        uniforms: FloatArray,
        rng: np.random.Generator,
        allowed: Mapping[int, Tensor],
        within: Mapping[int, Tensor] | None = None,
    ) -> Codes:
        parameters = {layer.name: layer.unpack(part) for layer, part in split(self, torch.tensor(flat).float())}
        done = []
        for begin in range(0, len(codes), BLOCK):
            part = slice(begin, begin + BLOCK)
            rows = _Rows(self.sizes, parameters, torch.tensor(codes[part]).long())
            points = torch.tensor(uniforms[part])
            if allowed:
                rows = rows.given(allowed, points, rng)
            for j in rng.permutation(len(self.sizes)):
                rows.uncover(int(j), points[:, j], (within or {}).get(int(j)))
            done.append(rows.codes.numpy().astype(np.int16))
        return np.concatenate(done) if done else codes


@dataclass
class _Rows:
    """Rows that are being uncovered. codes: (rows, columns) int64, COVERED where not known yet."""

    sizes: tuple[int, ...]
    parameters: Mapping[str, tuple[Tensor, Tensor]]
    codes: Tensor

    def __post_init__(self) -> None:
        self._starts = [sum(self.sizes[:j]) for j in range(len(self.sizes))]
        self._seen = torch.zeros(len(self.codes), sum(self.sizes) + len(self.sizes))
        self._seen[:, sum(self.sizes) :] = 1.0
        for j in range(len(self.sizes)):
            self._show(j, self.codes[:, j] != COVERED)

    def _show(self, column: int, rows: Tensor) -> None:
        """Lets the network see a column of some rows."""
        at = torch.nonzero(rows)[:, 0]
        self._seen[at, self._starts[column] + self.codes[at, column]] = 1.0
        self._seen[at, sum(self.sizes) + column] = 0.0

    def probabilities(self, column: int) -> Tensor:
        """(rows, cells) float64 of a column, given what is seen."""
        cells = slice(self._starts[column], self._starts[column] + self.sizes[column])
        weights, biases = self.parameters["skip"]
        logits = F.linear(self._seen, weights[cells], biases[cells])
        if "in" in self.parameters:
            weights, biases = self.parameters["out"]
            units = torch.relu(F.linear(self._seen, *self.parameters["in"]))
            logits = logits + F.linear(units, weights[cells], biases[cells])
        return F.softmax(logits.double(), 1)

    def uncover(self, column: int, points: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Draws a column of the rows where it is covered. (rows,) the chance that a draw without ``allowed`` kept to it."""
        covered = self.codes[:, column] == COVERED
        if not covered.any():
            return torch.ones(len(points), dtype=torch.float64)
        probabilities = self.probabilities(column)
        probabilities = probabilities if allowed is None else probabilities * allowed
        self.codes[:, column] = torch.where(covered, one_of(probabilities, points), self.codes[:, column])
        self._show(column, covered)
        return probabilities.sum(1)

    def given(self, allowed: Mapping[int, Tensor], points: Tensor, rng: np.random.Generator) -> _Rows:
        """The rows with their conditioned columns uncovered: those without a choice first."""
        columns = sorted(allowed, key=lambda j: int((allowed[j] > 0).sum()))
        choices = sum(int((allowed[j] > 0).sum()) > 1 for j in columns)
        if choices <= 1:
            for j in columns:
                self.uncover(j, points[:, j], allowed[j])
            return self
        trials = _Rows(self.sizes, self.parameters, self.codes.repeat_interleave(OVERSAMPLING, 0))
        weights = torch.ones(len(trials.codes), dtype=torch.float64)
        for j in columns:
            weights *= trials.uncover(j, torch.tensor(rng.random(len(trials.codes))), allowed[j])
        chosen = rng.permutation(resampled(weights.clamp(min=1e-300).log().numpy(), len(self.codes), rng))
        return _Rows(self.sizes, self.parameters, trials.codes[torch.tensor(chosen)])
