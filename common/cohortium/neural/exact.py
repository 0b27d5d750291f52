"""Exact arithmetic, in which a row's result never depends on the rows beside it, not even in its last digit.

Sensitivity relies on that: if one person's presence could change the rounding of everybody else's gradients, the sum
would move by more than that person's clipped gradient. Floating-point matrix products do depend on it (their order of
summation follows from shapes and addresses), so here every sum is one of integers below 2**53 in float64: exact, in
any order, on any device. What is not a sum is either a single operation that IEEE 754 rounds correctly (+, -, *, /),
or looked up in a table. So a CPU and a GPU agree to the last bit, where float64 products are float64
products.

    inputs of a layer       multiples of 2**-12, at most 2**7
    weights                 multiples of 2**-17, at most 2**5
    errors sent backwards   multiples of 2**-16, at most 2**4

A product of an input and a weight is below 2**41 grid units, and of an error and a weight below 2**42: ``WIDEST``
terms stay below 2**53. Where inputs are zeros and ones, ``COLUMNS`` of them ones, products are weights, and on a grid of
2**-14 even float32 adds them up exactly; it is twice as fast.
"""

from __future__ import annotations

from typing import Any

import torch

Tensor = torch.Tensor
INPUT_GRID, LARGEST_INPUT = 2.0**12, 2.0**7
WEIGHT_GRID, LARGEST_WEIGHT = 2.0**17, 2.0**5
ERROR_GRID, LARGEST_ERROR = 2.0**16, 2.0**4
WIDEST = 1024  # inputs or outputs of a layer, single cells of one-hot codes not counted
ONE_HOT_GRID, COLUMNS = 2.0**14, 30  # sums of 30 weights and a bias, each at most 2**5, stay below 2**24


def on_grid(values: Tensor, grid: float, largest: float) -> Tensor:
    """float64, the nearest multiples of 1 / grid, cut to ±largest; what is no number is zero. A new tensor."""
    cut = values.double().clamp(-largest, largest)
    return cut.mul_(grid).round_().div_(grid).nan_to_num_(0.0)


class _Linear(torch.autograd.Function):
    """inputs @ weights.T + biases, exact; the error is put on its grid before it goes back through the weights."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        return torch.addmm(biases, inputs, weights.T)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, None, None]:
        (weights,) = ctx.saved_tensors
        back = on_grid(error, ERROR_GRID, LARGEST_ERROR) @ weights.double() if ctx.needs_input_grad[0] else None
        return back, None, None


def linear(inputs: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """(rows, outputs) float64. All three on their grids (``on_grid``); the error goes straight through rounding."""
    result: Tensor = _Linear.apply(inputs, weights, biases)  # type: ignore[no-untyped-call]
    return result.double()


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return on_grid(values, INPUT_GRID, LARGEST_INPUT)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> Tensor:
        return error


def as_input(values: Tensor) -> Tensor:
    """Values on the grid of a layer's inputs; the error passes as if nothing had been rounded."""
    result: Tensor = _Rounded.apply(values)  # type: ignore[no-untyped-call]
    return result


def softmax(logits: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(rows, cells) float32: softmax within every block of ``sizes``, from tabulated exponentials.

    What is added up are whole numbers of at most 41 bits, in float64; all else is done element by element.
    """
    table, blocks = _POWERS.to(logits.device), []
    for block in torch.split(logits.float(), list(sizes), 1):
        below = (block.amax(1, keepdim=True) - block).clamp_(max=_DEEPEST).mul_(_POWER_GRID)
        place = below.int()
        powers = table[place]
        powers.mul_(below.sub_(place).mul_(-1 / _POWER_GRID).add_(1.0)).round_()  # exp(-x) is nearly 1 - x
        blocks.append(powers.div_(powers.sum(1, keepdim=True, dtype=torch.float64).float()))
    return torch.cat(blocks, 1)


_POWER_GRID, _DEEPEST, _WHOLE = 2.0**10, 40.0, 2.0**40
_POWERS = torch.exp(-torch.arange(int(_DEEPEST * _POWER_GRID) + 1, dtype=torch.float64) / _POWER_GRID)
_POWERS = _POWERS.mul_(_WHOLE).float()
"""exp(-k / 2**10) for k up to 40 * 2**10, in units of 2**-40."""


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, one_hot: Tensor, weights: Tensor | None, sizes: tuple[int, ...]) -> Tensor:
        error = softmax(logits, sizes).sub_(one_hot)
        ctx.save_for_backward(error if weights is None else error * weights)
        return error.new_zeros(len(error))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (error,) = ctx.saved_tensors
        return error * upstream[:, None], None, None, None


def cross_entropy(logits: Tensor, one_hot: Tensor, sizes: tuple[int, ...], weights: Tensor | None = None) -> Tensor:
    """(rows,) the summed negative log likelihood of every block's cell; weights: (rows, cells), equal within a block.

    In float64 the errors alone are computed, exactly; nobody may look at private rows' losses, so their value is 0.
    Public rows, in float32, take the ordinary way.
    """
    if logits.dtype != torch.float64:
        return _ordinary_cross_entropy(logits, one_hot, sizes, weights)
    result: Tensor = _CrossEntropy.apply(logits, one_hot, weights, sizes)  # type: ignore[no-untyped-call]
    return result


def _ordinary_cross_entropy(logits: Tensor, one_hot: Tensor, sizes: tuple[int, ...], weights: Tensor | None) -> Tensor:
    logs = torch.cat([block.log_softmax(1) for block in torch.split(logits, list(sizes), 1)], 1)
    weighted = one_hot if weights is None else one_hot * weights
    return -(logs * weighted.to(logs.dtype)).sum(1)


def one_hot(codes: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(rows, cells) float32 from (rows, columns) int64 codes."""
    starts = torch.tensor([sum(sizes[:j]) for j in range(len(sizes))], device=codes.device)
    x = torch.zeros(len(codes), sum(sizes), device=codes.device)
    return x.scatter_(1, codes + starts, 1.0)


class _Tabulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, table: Tensor, slopes: Tensor, lowest: float, grid: float) -> Tensor:
        place = torch.nan_to_num(values).sub(lowest).mul(grid).round().clamp(0, len(table) - 1).long()
        ctx.save_for_backward(slopes[place])
        return table[place]

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return error * slopes, None, None, None, None


class Tabulated:
    """A function of one number by a table on [lowest, highest], constant beyond; its slope by another table."""

    def __init__(self, function: Any, lowest: float, highest: float, grid: float = 2.0**12) -> None:
        points = torch.arange(round((highest - lowest) * grid) + 1, dtype=torch.float64) / grid + lowest
        points.requires_grad_(True)
        values = function(points)
        (slopes,) = torch.autograd.grad(values.sum(), points)
        slopes[0] = slopes[-1] = 0.0
        self._table, self._slopes, self._lowest, self._grid = values.detach(), slopes, lowest, grid

    def __call__(self, values: Tensor) -> Tensor:
        table, slopes = self._table.to(values.device), self._slopes.to(values.device)
        result: Tensor = _Tabulated.apply(values, table, slopes, self._lowest, self._grid)  # type: ignore[no-untyped-call]
        return result


normal_quantile = Tabulated(lambda u: torch.special.ndtri(u.clamp(2.0**-17, 1 - 2.0**-17)), 0.0, 1.0, 2.0**16)
"""(…) float64 standard normal numbers from uniform ones."""
