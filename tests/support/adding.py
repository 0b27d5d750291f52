"""Sums added up in an order of our own, which are no numbers where the order could matter.

In which order a product of matrices adds, and whether it rounds between multiplying and adding, follows from the
processor, the library, the number of threads and the shapes. What must not depend on any of that is computed here a
second time, under ``Adding``, and compared to the last bit: what rounds is found on every processor, whatever the first
time's order was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

Tensor = torch.Tensor
HELD = {torch.float32: 2.0**24, torch.float64: 2.0**53}  # up to that many units, every whole number of them is held

ROUNDED_ONCE = {
    "abs", "add", "bitwise_and", "ceil", "clamp", "div", "eq", "floor", "floor_divide", "ge", "gt", "le", "logical_and",
    "lt", "maximum", "minimum", "mul", "nan_to_num", "ne", "neg", "reciprocal", "relu", "remainder", "round", "rsub",
    "sgn", "sqrt", "sub", "threshold_backward", "where",
}  # fmt: skip
"""Done element by element, by IEEE 754's rules if it rounds at all."""

MOVED = {
    "_local_scalar_dense", "_to_copy", "_unique2", "amax", "arange", "cat", "clone", "detach", "expand", "full_like",
    "index", "index_put", "index_select", "lift_fresh", "max", "new_zeros", "ones_like", "permute", "repeat_interleave",
    "scalar_tensor", "scatter", "select", "slice", "slice_backward", "sort", "split_with_sizes", "t", "transpose",
    "unique_consecutive", "unsqueeze", "view", "zeros", "zeros_like",
}  # fmt: skip
"""Chosen, copied or made: nothing is computed."""

OF_INTEGERS = {"cumsum", "sum"}


class Adding(TorchDispatchMode):
    """Within, every sum and product of torch's adds in an order drawn anew, term after term.

    A sum is no number (nan) unless every order gives the same: unless all terms are whole numbers of a unit, and their sizes
    together are so few units that no partial sum rounds. That holds with and without fused multiplication.

    Whatever else computes must be element by element, and rounded as IEEE 754 says; AssertionError if it is not known to
    be (exponentials are not: a vector's last elements may go another way than its first).
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, reported = func._schema.name.removeprefix("aten::").removesuffix("_"), kwargs or {}
        if name in OF_INTEGERS and not args[0].is_floating_point():
            return func(*args, **reported)
        if name in ADDED:
            return ADDED[name](self, *args, **reported)
        assert name in ROUNDED_ONCE | MOVED, f"nobody has looked at how {func} rounds"
        assert not {"alpha", "beta", "accumulate"} & reported.keys(), (
            f"nobody has looked at how {func} rounds with {reported}"
        )
        return func(*args, **reported)

    def added(self, terms: Tensor, units: np.ndarray) -> Tensor:
        """(...) the sum of (terms, ...), each a whole number of its unit."""
        total = torch.zeros(terms.shape[1:], dtype=terms.dtype)
        for at in self._rng.permutation(len(terms)):
            total = total + terms[at]
        sizes = np.abs(terms.double().numpy()).sum(0)
        return _where_it_fits(total, sizes, units.min(0, initial=math.inf))

    def order(self, count: int) -> list[int]:
        drawn: list[int] = self._rng.permutation(count).tolist()
        return drawn


def _where_it_fits(total: Tensor, sizes: np.ndarray, units: np.ndarray) -> Tensor:
    return torch.where(torch.from_numpy(np.asarray(sizes < HELD[total.dtype] * units)), total, math.nan)


def units_of(values: Tensor) -> np.ndarray:
    """The largest power of two that each is a whole number of; infinity for zero."""
    with np.errstate(invalid="ignore"):
        numbers = values.detach().double().numpy()
        mantissas, exponents = np.frexp(numbers)
        whole = (mantissas * 2.0**53).astype(np.int64)
        found = np.ldexp((whole & -whole).astype(np.float64), exponents - 53)
    return np.where(numbers == 0, math.inf, np.where(np.isfinite(numbers), found, math.nan))


def _sum(
    mode: Adding, values: Tensor, dims: list[int] | None = None, keepdim: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    over = sorted(d % values.ndim for d in (dims or range(values.ndim)))
    others = [d for d in range(values.ndim) if d not in over]
    terms = values.permute(*over, *others).reshape(-1, *(values.shape[d] for d in others))
    total = mode.added(terms.to(dtype or values.dtype), units_of(terms))
    for d in over if keepdim else ():
        total = total.unsqueeze(d)
    return total


def _mm(mode: Adding, one: Tensor, other: Tensor) -> Tensor:
    return _product(mode, one, other, None)


def _mv(mode: Adding, matrix: Tensor, vector: Tensor) -> Tensor:
    return _product(mode, matrix, vector[:, None], None)[:, 0]


def _addmm(mode: Adding, more: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return _product(mode, one, other, more)


def _product(mode: Adding, one: Tensor, other: Tensor, more: Tensor | None) -> Tensor:
    """one @ other + more."""
    terms = one.T[:, :, None] * other[:, None, :]
    units = units_of(one.T)[:, :, None] * units_of(other)[:, None, :]
    if more is not None:
        last = more.expand(terms.shape[1:])
        terms, units = torch.cat([terms, last[None]]), np.concatenate([units, units_of(last)[None]])
    return mode.added(terms, units)


def _index_add(mode: Adding, values: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    assert values.ndim == 1 and dim == 0
    total, sizes, units, places = values.clone(), values.abs().double().numpy(), units_of(values), index.numpy()
    for at in mode.order(len(places)):
        total[places[at]] += source[at]
    sizes = sizes + np.bincount(places, source.abs().double().numpy(), len(sizes))
    np.minimum.at(units, places, units_of(source))
    return _where_it_fits(total, sizes, units)


ADDED: dict[str, Callable[..., Tensor]] = {
    "addmm": _addmm,
    "index_add": _index_add,
    "mm": _mm,
    "mv": _mv,
    "sum": _sum,
}
