"""A masked autoregressive model of the columns' cells (MADE, Germain et al. 2015, arXiv 1502.03509), its linear skip alone.

The logits of a column's cells are a bias plus a linear function of the one-hot codes of the columns before it, so the
log likelihood is concave in the parameters: a chain of multinomial logistic regressions, trained together. The last
columns in ``order`` see all others; put the targets there.

Parameters travel as one flat vector: the weights that the mask allows, row by row, then the biases.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch.nn import functional as F

Tensor = torch.Tensor


class Made:
    """The model's shape and its functions; parameters are passed in, (parameters,) float."""

    def __init__(self, sizes: tuple[int, ...], order: tuple[int, ...], device: str = "cpu") -> None:
        if sorted(order) != list(range(len(sizes))):
            raise ValueError("order must name every column once")
        self.sizes, self.order, self.device = sizes, order, device
        self.cells = sum(sizes)
        self.starts = [sum(sizes[:j]) for j in range(len(sizes))]
        rank = torch.empty(len(sizes), dtype=torch.long)
        rank[torch.tensor(order)] = torch.arange(len(sizes))
        cell_rank = torch.repeat_interleave(rank, torch.tensor(sizes)).to(device)
        self.mask = cell_rank[:, None] > cell_rank[None]

    @cached_property
    def weights(self) -> int:
        """How many weights the mask allows."""
        return int(self.mask.sum())

    @property
    def parameters(self) -> int:
        return self.weights + self.cells

    def unpack(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """(cells, cells) weights with zeros where the mask forbids, (cells,) biases."""
        weights = torch.zeros(self.mask.shape, dtype=parameters.dtype, device=parameters.device)
        weights[self.mask] = parameters[: self.weights]
        return weights, parameters[self.weights :]

    def pack(self, weights: Tensor, biases: Tensor) -> Tensor:
        """The flat vector; what the mask forbids is dropped."""
        return torch.cat([weights[self.mask], biases])

    def one_hot(self, codes: Tensor) -> Tensor:
        """(rows, cells) float32 from (rows, columns) int64 codes."""
        x = torch.zeros(len(codes), self.cells, device=codes.device)
        return x.scatter_(1, codes + torch.tensor(self.starts, device=codes.device), 1.0)

    def chances(self, parameters: Tensor, codes: Tensor) -> Tensor:
        """(rows, cells) the probability of every cell of each column given the columns before it.

        Built from element-wise additions in a fixed order and row-wise softmax only: a row's result does not depend
        on which other rows are in the batch, not even in its last digit. Sensitivity rests on that.
        """
        weights, biases = self.unpack(parameters)
        by_input = weights.T.contiguous()
        logits = biases.repeat(len(codes), 1)
        for j, start in enumerate(self.starts):
            logits += by_input[codes[:, j] + start]
        return torch.cat([F.softmax(block, 1) for block in torch.split(logits, list(self.sizes), 1)], 1)

    def evened(self, gradient: Tensor) -> Tensor:
        """``gradient`` without what an input column's weights have in common: their mean over the column's cells.

        One-hot inputs add up to one in every column, so each input column tells a column's intercept anew; only the
        bias tells it now, and larger steps are stable. A projection: it never makes noise larger.
        """
        weights, biases = gradient[: self.weights], gradient[self.weights :]
        group, cells = self._groups
        common = torch.zeros(self.cells * len(self.sizes), dtype=gradient.dtype, device=gradient.device)
        return torch.cat([weights - common.index_add(0, group, weights)[group] / cells, biases])

    @cached_property
    def _groups(self) -> tuple[Tensor, Tensor]:
        """Of each weight of the flat vector, a number of its (output cell, input column), and that column's cells."""
        outputs, inputs = torch.nonzero(self.mask, as_tuple=True)
        sizes = torch.tensor(self.sizes, device=inputs.device)
        column = torch.repeat_interleave(torch.arange(len(sizes), device=inputs.device), sizes)[inputs]
        return outputs * len(sizes) + column, sizes[column]

    def log_likelihood(self, parameters: Tensor, codes: Tensor) -> Tensor:
        """(rows,) natural logarithm of each row's probability."""
        return self.chances(parameters, codes).masked_select(self.one_hot(codes).bool()).view(codes.shape).log().sum(1)

    @torch.no_grad()
    def sample(self, parameters: Tensor, uniforms: Tensor, allowed: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Draw rows column by column; (rows, columns) uniform numbers in, (rows, columns) int64 codes out.

        allowed: for some columns a (cells,) bool tensor of the values that may be drawn. The second result is, per
        row, the log probability of drawing an allowed value everywhere: its importance weight under the conditions.
        """
        weights, biases = self.unpack(parameters.float())
        codes = torch.zeros(uniforms.shape, dtype=torch.long, device=weights.device)
        x = torch.zeros(len(uniforms), self.cells, device=weights.device)
        log_weight = torch.zeros(len(uniforms), dtype=torch.float64, device=weights.device)
        rows = torch.arange(len(uniforms), device=weights.device)
        for j in self.order:
            cells = slice(self.starts[j], self.starts[j] + self.sizes[j])
            chances = F.softmax(F.linear(x, weights[cells], biases[cells]).double(), 1)
            if j in allowed:
                chances = chances * allowed[j]
                log_weight += chances.sum(1).log()
            ladder = chances.cumsum(1)
            drawn = (ladder <= uniforms[:, j : j + 1] * ladder[:, -1:]).sum(1)
            codes[:, j] = torch.minimum(drawn, _last_possible(chances))
            x[rows, self.starts[j] + codes[:, j]] = 1.0
        return codes, log_weight


def _last_possible(chances: Tensor) -> Tensor:
    """(rows,) the last cell with a positive chance: where rounding would step past the end."""
    return chances.shape[1] - 1 - (chances > 0).flip(1).int().argmax(1)
