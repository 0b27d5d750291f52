"""The sum over persons of their clipped gradients: a vector of integers that one person moves by a known length.

A person's gradient is never materialised. At one entry (a view of a row) the gradient of a layer is error ⊗ input, so

* the inner product of two entries' gradients is (error · error) (input · input + 1), summed over the layers, and a
  person's norm is the root of the sum over all pairs of that person's entries;
* scaling and rounding the errors scales and rounds the gradient, and the sum over all entries is one matrix product.

Every person's integers follow from that person's rows alone, to the last digit (``exact``). Their length is that of the
scaled gradient and, at most, that of half a unit in every error that was rounded: so much room is left below the clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from cohortium.neural.exact import INPUT_GRID, WIDEST
from cohortium.neural.network import Layer, Network, errors

Tensor = torch.Tensor
IntArray = npt.NDArray[np.int64]
FIXED, LARGEST_ERROR = 2.0**18, 2.0**3  # grid of the errors that norms are computed from: squares add up below 2**53
CANCELLING = 16.0  # times the clip that the lengths of a person's entries may add up to
INEXACT = 2.0**-38  # of the square of what entries' lengths add up to: far above what their products are rounded by
PARTS = int(INPUT_GRID)  # of a unit, in which sums are exact
assert WIDEST * (FIXED * LARGEST_ERROR) ** 2 <= 2.0**52  # noqa: S101 - a fact about the constants above


@dataclass(frozen=True)
class Batch:
    """Some persons' rows. codes: (rows, columns) int64; owners: (rows,) int64 ascending, the person 0, 1, ... of each.

    uniforms: (rows * views, draws) float64 in [0, 1), all views of a row one after the other.
    """

    codes: Tensor
    owners: Tensor
    uniforms: Tensor


def clipped_sum(network: Network, flat: Tensor, batch: Batch, clip: float, units: int, together: bool) -> Tensor:
    """(parameters,) int64 parts of a unit, a unit being clip / units: the sum of the persons' clipped gradients, exact.

    together: False: a person's rows are added up, and clipped by the sum of their norms. True: their average is
    clipped, by its own norm.

    Guarantee. Every person's part follows from that person alone and has an L2 norm of at most ``units``. So adding or
    removing a person moves the sum of all batches, once it is rounded to whole units (``to_units``), by at most
    ``units + sqrt(n)``, n being the weights of layers whose inputs are not zeros and ones: a coordinate that is rounded
    moves by less than one unit more. Sums of batches must not be rounded one by one: a person shifts who is in which.

    Edge cases: an error that is no number counts as zero; nobody in the batch gives zeros; a person whose rounding alone
    could pass the clip, or whose entries cancel one another by more than ``CANCELLING``, gives zeros.
    """
    views = network.views
    groups = _Groups(batch.owners.repeat_interleave(views), views, together)
    codes = batch.codes if views == 1 else batch.codes.repeat_interleave(views, 0)
    entries = [_Entries(layer, x, _fixed(slopes)) for layer, x, slopes in errors(network, flat, codes, batch.uniforms)]
    lengths, apart = groups.lengths(entries)
    room = units * (1 - 2.0**-30) - groups.rounding(entries)
    scale = room / torch.maximum(lengths, groups.shares * (clip * FIXED))
    kept = torch.where((room > 0) & (apart * scale <= CANCELLING * units), scale, 0.0)[groups.of_persons]
    summed = {e.layer.name: e.scaled_sum(kept) for e in entries}
    each = [summed[layer.name] if layer.name in summed else _nothing(layer, kept) for layer in network.layers]
    return torch.cat(each).mul_(PARTS).long()


def to_units(parts: IntArray) -> IntArray:
    """Whole units, the nearest, of a sum in parts."""
    return (parts + PARTS // 2) // PARTS


def _nothing(layer: Layer, like: Tensor) -> Tensor:
    return torch.zeros(layer.parameters, dtype=like.dtype, device=like.device)


def _fixed(slopes: Tensor) -> Tensor:
    """Errors as multiples of 1 / FIXED, counted; what is no number is zero."""
    cut = slopes.double().clamp(-LARGEST_ERROR, LARGEST_ERROR)  # a new tensor: layers share slopes
    return cut.mul_(FIXED).round_().nan_to_num_(0.0)


@dataclass(frozen=True)
class _Entries:
    """A layer at all entries. errors: (entries, outputs) integers in float64; inputs: (entries, inputs)."""

    layer: Layer
    inputs: Tensor
    errors: Tensor

    def inner(self, apart: int) -> Tensor:
        """(entries - apart,) inner products of each entry's gradient with that of the entry ``apart`` places later."""
        end = len(self.errors) - apart
        slopes = self.errors[:end] * self.errors[apart:]
        inputs = self.inputs[:end] * self.inputs[apart:] if apart else self._squares
        if self.layer.ranks is None:
            return slopes.sum(1) * (inputs.sum(1) + 1.0)
        to_outputs, to_inputs = self._by_rank
        by_output, seen = slopes @ to_outputs, inputs @ to_inputs.to(inputs.dtype)
        total = slopes.sum(1)
        for rank in range(by_output.shape[1]):  # one after the other: the same order for every entry
            total = total + by_output[:, rank] * seen[:, rank]
        return total

    @cached_property
    def _by_rank(self) -> tuple[Tensor, Tensor]:
        """(outputs, ranks): an output's rank; (inputs, ranks): the ranks of the outputs that see an input."""
        of_outputs, of_inputs = (torch.tensor(r, device=self.errors.device) for r in self.layer.ranks or ((), ()))
        ranks = torch.unique(of_outputs)
        return (of_outputs[:, None] == ranks).double(), (ranks > of_inputs[:, None]).double()

    @property
    def rounding(self) -> Tensor:
        """(entries,) the squared norm of what rounding every error to a whole unit can add to an entry's gradient."""
        return (self._squares.sum(1, dtype=torch.float64) + 1.0) * (self.layer.outputs / 4)

    @cached_property
    def _squares(self) -> Tensor:
        return self.inputs if self.layer.one_hot else self.inputs * self.inputs  # zeros and ones are their own

    def scaled_sum(self, scale: Tensor) -> Tensor:
        """(parameters,) units: the sum over the entries of their errors times ``scale``, rounded, ⊗ inputs."""
        slopes = self.errors.mul(scale[:, None]).round_()
        return self.layer.pack(slopes.T @ self.inputs.double(), slopes.sum(0))


class _Groups:
    """Which entries belong together: all views of a row (of a person's rows, where together) are averaged.

    of_persons: (entries,) the person of each. shares: (persons,) how many entries of equal weight a person's are
    divided by.
    """

    def __init__(self, of_persons: Tensor, views: int, together: bool) -> None:
        self.of_persons = of_persons
        entries = torch.arange(len(of_persons), device=of_persons.device)
        group = of_persons if together else entries // views
        self._first, self._many = _runs(group)
        self._persons = of_persons[self._first]
        persons = int(of_persons[-1]) + 1 if len(of_persons) else 0
        self._none = torch.zeros(persons, dtype=torch.float64, device=of_persons.device)
        self.shares = torch.full_like(self._none, float(views))
        if together:
            self.shares = self._many.double()
        self._groups = torch.arange(len(self._many), device=group.device).repeat_interleave(self._many)
        self._left = (self._first + self._many).repeat_interleave(self._many) - entries  # in the group, with itself

    def rounding(self, layers: list[_Entries]) -> Tensor:
        """(persons,) the norm that rounding can add to each one's part, rounded up."""
        squares = sum((layer.rounding for layer in layers), start=torch.zeros((), dtype=torch.float64))
        return self._none.index_add(0, self.of_persons, (squares.sqrt() * 1.001).ceil())

    def lengths(self, layers: list[_Entries]) -> tuple[Tensor, Tensor]:
        """(persons,) the norm of each one's part, rounded up; (persons,) that of its entries' norms added up."""
        most = int(self._many.max()) if len(self._many) else 0
        total, alone = torch.zeros_like(self._left, dtype=torch.float64), None
        for apart in range(most):
            products = sum((layer.inner(apart) for layer in layers), start=torch.zeros((), dtype=torch.float64))
            alone = products if alone is None else alone
            both = torch.where(self._left[: len(products)] > apart, products * (1.0 if apart == 0 else 2.0), 0.0)
            total = torch.cat([total[: len(both)] + both, total[len(both) :]])
        squares = torch.zeros_like(self._many, dtype=torch.float64)
        for place in range(most):
            at = (self._first + place).clamp(max=len(total) - 1)
            squares = squares + torch.where(place < self._many, total[at], 0.0)
        apart_norms = torch.zeros_like(squares).index_add(
            0, self._groups, (total if alone is None else alone).sqrt().ceil()
        )
        norms = (squares.clamp(min=0.0) + INEXACT * apart_norms * apart_norms).sqrt().ceil()
        return (
            self._none.index_add(0, self._persons, norms),
            self._none.index_add(0, self._persons, apart_norms),
        )


def _runs(sorted_numbers: Tensor) -> tuple[Tensor, Tensor]:
    """(runs,) where every run of equal numbers begins, and (runs,) how long it is."""
    _, many = torch.unique_consecutive(sorted_numbers, return_counts=True)
    return torch.cumsum(many, 0) - many, many
