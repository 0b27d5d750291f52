"""Many steps of DP-SGD at the institution, then one message (Abadi et al. 2016, arXiv 1607.00133, at one client).

Every step draws a Poisson sample of the persons, sums their clipped gradients on an integer grid and adds integer
noise; whatever is computed from the noised sums afterwards costs nothing more. Two things are ours:

* a person's gradient is never materialised, and yet its norm is an exact sum of integers: a masked linear layer's
  gradient is error ⊗ input, the input is one-hot, so it is enough to round the error (``clipped_sum``);
* the institution's number of persons, which the average gradient is divided by, is a noised count of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from cohortium.coins import Coins, happens
from cohortium.encoding import Codes
from cohortium.errors import StudyError
from cohortium.noise import Bounded, Noised, Scales, add_noise, noise_multiplier
from cohortium.persons import EqualWeight, at_most, one_of_each
from cohortium.privacy.accounting import Events, Gaussian

if TYPE_CHECKING:
    import torch

    from cohortium.neural.made import Made

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
FINEST = 4096.0  # grid units the noise of a step spans
OUT_GRID = 2.0**20  # grid units of 1 in the message
OUT_LIMIT = 2.0**50
FIXED = 2.0**18  # grid of the errors from which norms are computed
MAX_COLUMNS = 200  # up to which every sum of squares on that grid is below 2**53 and so exact
ROWS_AT_ONCE = 8  # most rows of a person in one step, where persons weigh the same
MIN_CLIP, MAX_CLIP = 1e-6, 1e6
COUNT_SHARE = 0.02  # part of the privacy of a message that the count of persons takes
COUNT_NOISE = 4096.0  # persons; more noise than this saves next to nothing


@dataclass(frozen=True)
class LocalTraining:
    """``steps`` steps of SGD from the coordinator's model; the answer moves the model by a weighted sum.

    The answer is (weight, weight * change of parameters) on a grid; adding up the answers and dividing by the sum of
    the weights gives the average change in which every person weighs the same.

    sizes, order: the network (neural/made.py). sampling_rate: a person's chance to be in a step's sample.
    clip: largest L2 norm of a person's gradient.
    equal_weight: "rows": a person's rows, m at the most, are summed and clipped together; "persons": the
    average of a person's rows is clipped; of more than ``ROWS_AT_ONCE`` rows so many are drawn anew in every step.
    state: flat parameters and learning rate (safetensors), from the coordinator.

    Formal guarantee. Each step is a Gaussian mechanism on a Poisson sample of persons: a person's rows contribute an
    integer vector of norm at most ``clip_units``, checked in integers after rounding (for "rows" by the triangle
    inequality over the rows, for "persons" by the norm itself). Which of a person's rows take part is drawn from coins
    of that person's own: whatever they show, the bound holds, and a mixture of such outcomes tells no more than the
    worst of them (the divergence that defines (epsilon, delta) is jointly convex). Rows with a gradient that is not
    finite contribute zero. The count is one more Gaussian mechanism. Sampling, noise and sums do not depend on the
    micro-batch.

    Why not all rows of a person at once: an average of a few is as good beside the noise, every row expects the same
    weight, 1 / k of its person's, and neither integers that are ever smaller nor memory and time follow from whoever
    has the most rows.
    """

    sizes: tuple[int, ...]
    order: tuple[int, ...]
    steps: int
    sampling_rate: float
    clip: float
    rows_per_person: int = 1
    state: bytes = b""
    equal_weight: EqualWeight = "rows"
    kind = "local-training"

    def __post_init__(self) -> None:
        good = self.steps >= 1 and 0 < self.sampling_rate <= 1
        if not (good and MIN_CLIP <= self.clip <= MAX_CLIP and self.rows_per_person >= 1):
            raise StudyError(
                "E_PLAN_PRIVACY",
                "local training",
                "steps, sampling rate, clip or rows per person is out of range",
                "Correct the study.",
            )
        if len(self.sizes) > MAX_COLUMNS:
            raise StudyError(
                "E_PLAN_LIMIT",
                "local training",
                f"the schema has {len(self.sizes)} columns, allowed are {MAX_COLUMNS}",
                "Declare fewer columns, or use another generator.",
            )

    @cached_property
    def model(self) -> Made:
        from cohortium.neural.device import best_device
        from cohortium.neural.made import Made

        # CUDA's softmax of more than 1024 cells adds them up in an order that depends on where the row lies
        return Made(self.sizes, self.order, best_device() if max(self.sizes) <= 1024 else "cpu")

    @property
    def _lengths(self) -> dict[str, int]:
        return {"parameters": self.model.parameters, "rate": 1}

    @property
    def width(self) -> int:
        return 1 + self.model.parameters

    def with_state(self, state: bytes) -> Self:
        from cohortium.neural.state import read_state

        read_state(state, self._lengths)
        return replace(self, state=state)

    def clip_units(self, multiplier: float) -> int:
        """The clip in grid units: the finest grid on which the noise keeps to its table."""
        return max(1, round(FINEST / multiplier))

    def scales(self, width: int) -> Scales:
        return Scales(((width, 1.0),))

    def events(self, multiplier: float) -> Events:
        units = float(self.clip_units(multiplier))
        step = noise_multiplier(multiplier, units, self.scales(1))
        return (Gaussian(self._count_multiplier(multiplier)), Gaussian(step, self.sampling_rate, self.steps))

    def _count_multiplier(self, multiplier: float) -> float:
        """Noise of the count over its sensitivity, such that it costs about COUNT_SHARE of the steps together."""
        return min(multiplier / (self.sampling_rate * math.sqrt(self.steps * COUNT_SHARE)), COUNT_NOISE)

    def draws(self, multiplier: float) -> tuple[int, float]:
        scale = max(multiplier * self.clip_units(multiplier), 128 + self._count_multiplier(multiplier))
        return 1 + self.steps * self.model.parameters, scale

    def answer(self, codes: Codes, multiplier: float, coins: Coins) -> Noised:
        people = self._people(codes, coins)
        weight = self._noised_count(people, multiplier, coins)
        moved = self._train(people, weight, multiplier, coins)
        message = np.concatenate([[1.0], moved]) * weight * OUT_GRID
        return Noised(np.clip(np.nan_to_num(message), -OUT_LIMIT, OUT_LIMIT).round().astype(np.int64))

    def _people(self, codes: Codes, coins: Coins) -> _People:
        if self.equal_weight == "persons":
            return _People(_shuffled(codes, coins), ROWS_AT_ONCE)
        return _People(at_most(codes, self.rows_per_person, coins))

    def _noised_count(self, people: _People, multiplier: float, coins: Coins) -> float:
        """The number of persons with noise, at least as large as its noise: too small a divisor would blow noise up."""
        noise = self._count_multiplier(multiplier)
        grid = max(1, math.ceil(64 / noise))
        count = Bounded(np.array([people.count * grid]), float(grid), self.scales(1))
        units = noise * math.sqrt(1 + 4 / (noise * grid) ** 2)  # so that the discrete noise is worth ``noise``
        return max(float(add_noise(count, units, coins).values[0]) / grid, noise, 1.0)

    def _train(self, people: _People, persons: float, multiplier: float, coins: Coins) -> FloatArray:
        """(parameters,) the change after all steps."""
        import torch

        from cohortium.neural.state import read_state

        state = read_state(self.state, self._lengths)
        rate = float(state["rate"][0])
        begin = parameters = torch.tensor(state["parameters"], dtype=torch.float64, device=self.model.device)
        units = self.clip_units(multiplier)
        for _ in range(self.steps):
            summed = self._step_sum(people, parameters, units, coins)
            noised = add_noise(Bounded(summed, float(units), self.scales(len(summed))), multiplier, coins)
            gradient = torch.tensor(noised.values, dtype=torch.float64, device=parameters.device) * (
                self.clip / units / (self.sampling_rate * persons)
            )
            parameters = parameters - rate * self.model.evened(gradient)
        moved: FloatArray = (parameters - begin).cpu().numpy()
        return moved

    def _step_sum(self, people: _People, parameters: torch.Tensor, units: int, coins: Coins) -> IntArray:
        """(parameters,) the sum of the sampled persons' clipped gradients, in grid units, exact."""
        import torch

        total = torch.zeros(self.model.parameters, dtype=torch.float64, device=parameters.device)
        for codes, owners in people.sampled(self.sampling_rate, coins):
            batch = torch.tensor(codes, dtype=torch.long, device=parameters.device)
            who = torch.tensor(owners, device=parameters.device)
            total += self._clipped(parameters.float(), batch, who, units)
        return total.to(torch.int64).cpu().numpy()

    def _clipped(self, parameters: torch.Tensor, codes: torch.Tensor, owners: torch.Tensor, units: int) -> torch.Tensor:
        """(parameters,) of a micro-batch. Who has one row is summed the same way whoever else is there."""
        import torch

        if self.equal_weight == "rows":
            return clipped_sum(self.model, parameters, codes, owners, self.clip, units)
        rows = torch.bincount(owners)
        if len(rows) == len(owners):
            return clipped_sum(self.model, parameters, codes, owners, self.clip, units)
        several = rows[owners] > 1
        single, many = owners[~several], torch.unique(owners[several], return_inverse=True)[1]
        alone = torch.arange(len(single), device=owners.device)
        return clipped_sum(self.model, parameters, codes[~several], alone, self.clip, units) + clipped_average(
            self.model, parameters, codes[several], many, self.clip, units
        )

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "steps": self.steps,
            "sampling_rate": self.sampling_rate,
            "clip": self.clip,
            "parameters": self.model.parameters,
        }


def _shuffled(codes: Codes, coins: Coins) -> Codes:
    """The rows in an order drawn by coins."""
    order = np.argsort(coins.words(len(codes)))
    return replace(codes, values=codes.values[order], persons=codes.persons[order])


class _People:
    """Rows grouped by person, so that a micro-batch never splits one. at_once: most rows of a person in a sample."""

    micro_batch = 8192

    def __init__(self, codes: Codes, at_once: int | None = None) -> None:
        order = np.argsort(codes.persons, kind="stable")
        self.values = codes.values[order]
        _, self.first, self.owner, self.rows = np.unique(
            codes.persons[order], return_index=True, return_inverse=True, return_counts=True
        )
        self.count = len(self.rows)
        self.at_once = at_once

    def sampled(self, rate: float, coins: Coins) -> Iterator[tuple[npt.NDArray[np.int16], IntArray]]:
        """(codes, owner 0, 1, ... within the batch) of a Poisson sample of the persons, in micro-batches."""
        chosen = happens(rate, self.count, coins)
        rows = np.flatnonzero(chosen[self.owner]) if self.at_once is None else self._some(chosen, self.at_once, coins)
        _, owners = np.unique(self.owner[rows], return_inverse=True)
        size = max(1, self.micro_batch // (self.at_once or 1))
        for first in range(0, int(owners[-1]) + 1 if len(owners) else 0, size):
            part = slice(*np.searchsorted(owners, [first, first + size]))
            yield self.values[rows[part]], owners[part] - first

    def _some(self, chosen: npt.NDArray[np.bool_], most: int, coins: Coins) -> IntArray:
        """``most`` rows in a row, or all, of every chosen person, from one drawn by coins; after the last the first."""
        begin = one_of_each(self.rows, coins)[chosen]  # everybody draws, so that no draw depends on who is chosen
        rows = self.rows[chosen]
        taken = np.minimum(rows, most)
        place = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
        some: IntArray = np.repeat(self.first[chosen], taken) + (np.repeat(begin, taken) + place) % np.repeat(
            rows, taken
        )
        return some


def clipped_sum(
    model: Made, parameters: torch.Tensor, codes: torch.Tensor, owners: torch.Tensor, clip: float, units: int
) -> torch.Tensor:
    """(parameters,) float64 holding exact integers: the sum over persons of their clipped gradients on the grid.

    owners: (rows,) int64, the person of each row. A row's gradient is error ⊗ one-hot, so rounding the error rounds
    the gradient, and norms are exact sums of integer squares. All rows of a person are scaled by
    clip / max(clip, sum of their norms), rounded to integers, and rounded towards zero instead where rounding to the
    nearest has made the person longer than ``units``. Every row's integers follow from its person's rows alone, to
    the last digit: floating-point sums over several persons would let one person nudge another's rounding.
    """
    import torch

    x = model.one_hot(codes)
    error = model.chances(parameters, codes) - x
    ladder = _Ladder(model.mask.double(), x.double(), owners)
    finite = torch.isfinite(error).all(1, keepdim=True)
    fixed = torch.where(finite, error.double(), 0.0).mul(FIXED).round()
    shrink = clip * FIXED / ladder.norms_of_persons(fixed).clamp(min=clip * FIXED) * (1 - 1e-9)
    scaled = fixed * (shrink * (units / (clip * FIXED)))[:, None]
    nearest = scaled.round()
    shorter = torch.where((ladder.norms_of_persons(nearest) > units)[:, None], scaled.trunc(), nearest)
    integers = torch.where((ladder.norms_of_persons(shorter) > units)[:, None], 0.0, shorter)
    return model.pack(integers.T @ ladder.x, integers.sum(0))


@dataclass(frozen=True)
class _Ladder:
    """Norms of integer gradients, exact: every sum here is of integers below 2**53 and so the same in any order."""

    mask: torch.Tensor
    x: torch.Tensor
    owners: torch.Tensor

    def norms_of_persons(self, integers: torch.Tensor) -> torch.Tensor:
        """(rows,) for each row the summed norms, each rounded up, of its person's rows: at least the norm of their sum."""
        import torch

        squares = integers**2
        rows = (((squares @ self.mask) * self.x).sum(1) + squares.sum(1)).sqrt().ceil()
        return torch.zeros_like(rows).index_add(0, self.owners, rows)[self.owners]


def clipped_average(
    model: Made, parameters: torch.Tensor, codes: torch.Tensor, owners: torch.Tensor, clip: float, units: int
) -> torch.Tensor:
    """(parameters,) float64 holding exact integers: the sum over persons of the clipped average of their rows' gradients.

    owners: (rows,) int64 ascending, the person 0, 1, ... of each row; of everybody at least one row and at most
    ``ROWS_AT_ONCE``. A person's errors are divided by the number of rows, scaled by clip / max(clip, norm of the average),
    and rounded to integers, where each row takes over what rounding left of the row before. A person whose integers
    are longer than ``units``, by their exact norm, is scaled down and rounded once more, twice at most, and is zero
    after that. As in ``clipped_sum`` every row's integers follow from its person's rows alone, to the last digit.
    """
    import torch

    x = model.one_hot(codes)
    error = model.chances(parameters, codes) - x
    finite = torch.isfinite(error).all(1, keepdim=True)
    fixed = torch.where(finite, error.double(), 0.0).mul(FIXED / ROWS_AT_ONCE).round()
    together = _Together(model, codes, owners)
    unclipped = together.rows.double() * (clip * FIXED / ROWS_AT_ONCE)
    scale = units / torch.maximum(together.squares(fixed).sqrt(), unclipped)
    for _ in range(3):
        integers = together.rounded(fixed * scale[owners][:, None])
        squares = together.squares(integers)
        scale = torch.where(squares > units**2, scale * (0.998 * units / squares.sqrt()), scale)
    integers = torch.where((squares > units**2)[owners][:, None], 0.0, integers)
    return model.pack(integers.T @ x.double(), integers.sum(0))


class _Together:
    """Norms of the sums of persons' integer gradients, exact: the sum over all pairs of a person's rows of their products.

    rows: (persons,) how many rows each has. The product of two rows' gradients is the sum over the cells of the
    product of their errors, once for the bias and once for each input column that the cell sees and in which the two
    rows are equal.
    """

    def __init__(self, model: Made, codes: torch.Tensor, owners: torch.Tensor) -> None:
        import torch

        self.owners, self.rows = owners, torch.bincount(owners)
        starts = torch.tensor(model.starts, device=codes.device)
        self._columns = torch.zeros(model.cells, len(model.sizes), dtype=torch.float64, device=codes.device)
        column = torch.repeat_interleave(torch.tensor(model.sizes, device=codes.device))
        self._columns[torch.arange(model.cells, device=codes.device), column] = 1.0
        self._sees = model.mask[starts][:, starts].double()
        first = torch.cumsum(self.rows, 0) - self.rows
        self._place = torch.arange(len(owners), device=codes.device) - first[owners]
        self._pairs = []
        for apart in range(int(self.rows.max()) if len(owners) else 0):
            later = torch.nonzero(self._place >= apart)[:, 0]
            same = (codes[later] == codes[later - apart]).double()
            self._pairs.append((later - apart, later, same, 1.0 if apart == 0 else 2.0))

    def squares(self, integers: torch.Tensor) -> torch.Tensor:
        """(persons,) the squared norm of each one's sum; infinite where that could not be told exactly."""
        import torch

        total = torch.zeros(len(self.rows), dtype=torch.float64, device=integers.device)
        lengths = torch.zeros_like(total)
        for one, other, same, times in self._pairs:
            by_column = (integers[one] * integers[other]) @ self._columns
            products = by_column.sum(1) + ((by_column @ self._sees) * same).sum(1)
            total.index_add_(0, self.owners[one], times * products)
            if times == 1.0:
                lengths.index_add_(0, self.owners, products.sqrt().ceil())
        return torch.where(lengths < 2.0**26, total, torch.inf)  # every partial sum is below lengths**2 < 2**52

    def rounded(self, numbers: torch.Tensor) -> torch.Tensor:
        """(rows, cells) integers whose sum over a person's rows is that of ``numbers``, but for the last rounding."""
        import torch

        integers = torch.empty_like(numbers)
        left = torch.zeros(len(self.rows), numbers.shape[1], dtype=numbers.dtype, device=numbers.device)
        for place in range(len(self._pairs)):
            at = torch.nonzero(self._place == place)[:, 0]
            wanted = numbers[at] + left[self.owners[at]]
            integers[at] = wanted.round()
            left[self.owners[at]] = wanted - integers[at]
        return integers
