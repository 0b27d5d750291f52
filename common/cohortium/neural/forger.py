"""The generator of a conditional tabular GAN and its game against the critic: all at the coordinator, all public.

The generator G turns a latent vector z ~ N(0, 1) into chances of cells, one softmax a column; given z the columns are
drawn independently of one another. ``critic.Critic`` scores such soft rows as it would score the drawn ones on average,
so there is no need of Gumbel noise or of a straight-through estimate (CTGAN, arXiv 1907.00503, has the former).

The game. Institutions answer with r, the noised mean gradient of real rows' scores. It does not depend on the critic's
parameters V, so one answer holds for the whole game

    max over V, min over G:  V · (r - mean gradient of scores of G's rows) - |V|² / 4,

a Wasserstein GAN whose critic is held small by ridge instead of a gradient penalty; in it G minimises the squared
distance between the two means, the maximum mean discrepancy of Li et al. 2017 (arXiv 1705.08584). Every step draws
latent vectors anew, then critic and generator step at once: the critic by gradient ascent, which averages what G
showed it over the last few steps; the generator by Adam against the critic as it was before it saw these rows, which
keeps G's gradient free of bias. The released generator is an average of the last ones. The game ends early where the
distance is down to what noise alone would make it; all of this costs no privacy.

Conditions need no extra input: given z columns are independent, so by Bayes' rule latent vectors are weighted with the
chances they give to the allowed cells, and cells are then drawn among the allowed ones. That is exact for the model up
to how many latent vectors there are to choose from, for any set of conditions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cohortium.neural.critic import Critic
from cohortium.neural.network import Plain, length

Tensor = torch.Tensor
FloatArray = npt.NDArray[np.float64]
LATENT, HIDDEN = 64, 256
STEPS, BATCH = 1500, 500
RATE = 0.01  # of Adam; constant for the first half of the game, then falling to nothing
BETAS = (0.9, 0.99)
CRITIC_RATE = 1.0  # of gradient ascent; with the ridge, the critic remembers 1 - CRITIC_RATE / 2 of itself a step
MEMORY = 0.99  # a step, of the average that is released
SPREAD = 0.3  # how far the start's log chances spread around the single columns'
AT_NOISE = 0.95  # of the distance that noise alone makes, at which the game ends
CHUNK = 1 << 15
CANDIDATES = 1 << 17  # latent vectors to choose from under conditions, at least


class Generator(nn.Module):
    """Two hidden layers and a linear skip; chances of all cells out."""

    def __init__(self, sizes: tuple[int, ...], latent: int, hidden: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.first, self.second = nn.Linear(latent, hidden), nn.Linear(hidden, hidden)
        self.out, self.skip = nn.Linear(hidden, sum(sizes)), nn.Linear(latent, sum(sizes), bias=False)

    @torch.no_grad()
    def start(self, logs: Sequence[FloatArray], generator: torch.Generator) -> None:
        """Every column near its noised distribution, whatever the latent vector."""
        for layer, spread in ((self.first, 1.0), (self.second, 1.0), (self.out, SPREAD), (self.skip, SPREAD)):
            inputs = layer.in_features
            deviation = spread * (math.sqrt(2 / inputs) if layer in (self.second, self.out) else inputs**-0.5)
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * deviation)
        for hidden in (self.first, self.second):
            hidden.bias.zero_()
        self.out.bias.copy_(torch.tensor(np.concatenate(list(logs))))

    def forward(self, z: Tensor) -> Tensor:
        logits = self.out(torch.relu(self.second(torch.relu(self.first(z))))) + self.skip(z)
        return torch.cat([block.softmax(1) for block in torch.split(logits, list(self.sizes), 1)], 1)


class Forger:
    """``start``, then ``told`` for each noised answer, then ``play``, then ``sample``. The same seeds, the same rows."""

    def __init__(
        self, sizes: tuple[int, ...], order: tuple[int, ...], latent: int = LATENT, hidden: int = HIDDEN
    ) -> None:
        self.sizes, self.latent = sizes, latent
        self.critic = Critic(sizes, order)
        self.generator = Generator(sizes, latent, hidden).requires_grad_(False)
        self._random = torch.Generator()
        self._real: FloatArray = np.zeros(length(self.critic))
        self._precision = 0.0

    def start(self, logs: Sequence[FloatArray], rng: np.random.Generator) -> None:
        """logs: for every column its noised log proportions."""
        self._random.manual_seed(int(rng.integers(2**62)))
        self.generator.start(logs, self._random)

    def told(self, gradient: FloatArray, noise: float) -> None:
        """One more answer: (parameters,) the noised mean gradient of the critic's loss over all real rows.

        noise: the standard deviation of its noise in a coordinate. Answers are averaged by their precision, one round
        after the other or one institution after the other.
        """
        precision = max(noise, 1e-9) ** -2
        self._precision += precision
        self._real = self._real + (-gradient - self._real) * (precision / self._precision)

    def fake_gradient(self, flat: FloatArray, rows: int = BATCH) -> FloatArray:
        """(parameters,) the mean gradient of the scores of freshly forged rows at a critic ``flat``."""
        critic = torch.tensor(flat, dtype=torch.float32).requires_grad_(True)
        score = self.critic.score(Plain(self.critic, critic), self.generator(self._latents(rows))).mean()
        gradient: FloatArray = torch.autograd.grad(score, critic)[0].double().numpy()
        return gradient

    def play(self, steps: int = STEPS, advance: Callable[[], None] = lambda: None) -> None:
        """Train the generator in the game; without an answer it stays at the single columns.

        advance: called after every step.
        """
        if not self._precision:
            return
        game = _Game(self.critic, self.generator, torch.tensor(self._real, dtype=torch.float32), steps)
        enough = AT_NOISE * len(self._real) / self._precision
        for _ in range(steps):
            distance = game.step(self._latents(BATCH))
            advance()
            if distance < enough:
                break
        game.finish()

    def _latents(self, rows: int) -> Tensor:
        return torch.randn(rows, self.latent, generator=self._random)

    @torch.no_grad()
    def sample(
        self, rows: int, rng: np.random.Generator, allowed: Mapping[int, npt.NDArray[np.bool_]]
    ) -> npt.NDArray[np.int16]:
        """(rows, columns) codes. allowed: for some columns the (cells,) values that may be drawn."""
        seeded = torch.Generator().manual_seed(int(rng.integers(2**62)))
        mask = self._mask(allowed)
        z = torch.randn(max(rows, CANDIDATES) if allowed else rows, self.latent, generator=seeded)
        if allowed:
            z = z[_resampled(torch.cat([self._log_weights(part, mask) for part in torch.split(z, CHUNK)]), rows, rng)]
        drawn = [self._drawn(self.generator(part) * mask, seeded) for part in torch.split(z, CHUNK)]
        codes: npt.NDArray[np.int16] = torch.cat([torch.empty(0, len(self.sizes), dtype=torch.int16), *drawn]).numpy()
        return rng.permutation(codes)

    def _mask(self, allowed: Mapping[int, npt.NDArray[np.bool_]]) -> Tensor:
        every = [allowed.get(j, np.ones(size, bool)) for j, size in enumerate(self.sizes)]
        return torch.tensor(np.concatenate(every)).float()

    def _log_weights(self, z: Tensor, mask: Tensor) -> Tensor:
        """(rows,) float64 log chance of drawing allowed cells everywhere."""
        blocks = torch.split(self.generator(z) * mask, list(self.sizes), 1)
        return torch.stack([block.double().sum(1).clamp(min=1e-300).log() for block in blocks]).sum(0)

    def _drawn(self, chances: Tensor, seeded: torch.Generator) -> Tensor:
        """(rows, columns) int16, a cell of every column in proportion to its chance."""
        columns = [_one_of(block.double(), seeded) for block in torch.split(chances, list(self.sizes), 1)]
        return torch.stack(columns, 1).to(torch.int16)

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The generator alone, as one vector: the critic is of no use for drawing rows."""
        return {"generator": nn.utils.parameters_to_vector(self.generator.parameters()).numpy().copy()}

    @property
    def lengths(self) -> dict[str, int]:
        """Of the vectors in ``tensors``, for whoever checks them before ``from_tensors``."""
        return {"generator": sum(p.numel() for p in self.generator.parameters())}

    @classmethod
    def from_tensors(
        cls,
        sizes: tuple[int, ...],
        order: tuple[int, ...],
        tensors: Mapping[str, npt.NDArray[np.float32]],
        latent: int = LATENT,
        hidden: int = HIDDEN,
    ) -> Self:
        """What ``tensors`` gave, of the same shape; check names, ``lengths`` and finiteness before."""
        forger = cls(sizes, order, latent, hidden)
        vector = torch.tensor(tensors["generator"], dtype=torch.float32)
        nn.utils.vector_to_parameters(vector, forger.generator.parameters())
        return forger


class _Game:
    """Critic and generator in turn. real: (parameters,) the noised mean gradient of real rows' scores."""

    def __init__(self, critic: Critic, generator: Generator, real: Tensor, steps: int) -> None:
        self._critic, self._generator, self._real = critic, generator, real
        self._weights = list(generator.requires_grad_(True).parameters())
        self._average = [w.detach().clone() for w in self._weights]
        self._adam = torch.optim.Adam(self._weights, RATE, betas=BETAS)
        self._flat: Tensor | None = None
        self._step, self._steps = 0, steps

    def step(self, z: Tensor) -> float:
        """One step of both; the squared distance between real and fake means as the critic knows it."""
        if self._flat is None:
            self._flat = 2 * (self._real - self._slopes(z, torch.zeros_like(self._real))[0])
        fake, *slopes = self._slopes(z, self._flat)
        self._descend(slopes)
        self._flat = self._flat + CRITIC_RATE * (self._real - fake - self._flat / 2)
        self._step += 1
        return float(self._flat.square().sum()) / 4

    def _slopes(self, z: Tensor, flat: Tensor) -> tuple[Tensor, ...]:
        """Slopes of the mean score of forged rows: at the critic's parameters, then at the generator's."""
        flat = flat.detach().requires_grad_(True)
        score = self._critic.score(Plain(self._critic, flat), self._generator(z)).mean()
        return torch.autograd.grad(score, [flat, *self._weights])

    def _descend(self, slopes: Sequence[Tensor]) -> None:
        """The generator climbs its score."""
        self._adam.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - self._step / self._steps))
        for weight, slope in zip(self._weights, slopes, strict=True):
            weight.grad = -slope
        self._adam.step()
        keep = min(MEMORY, self._step / (self._step + 10))
        torch._foreach_lerp_(self._average, [w.detach() for w in self._weights], 1 - keep)

    def finish(self) -> None:
        """Put the average in place."""
        self._generator.requires_grad_(False)
        for weight, average in zip(self._weights, self._average, strict=True):
            weight.copy_(average)


def _one_of(chances: Tensor, seeded: torch.Generator) -> Tensor:
    """(rows,) int64; never a cell without a chance."""
    ladder = chances.cumsum(1)
    drawn = (ladder <= torch.rand(len(ladder), 1, generator=seeded, dtype=torch.float64) * ladder[:, -1:]).sum(1)
    last = chances.shape[1] - 1 - (chances > 0).flip(1).int().argmax(1)
    return torch.minimum(drawn, last)


def _resampled(log_weights: Tensor, rows: int, rng: np.random.Generator) -> Tensor:
    """(rows,) positions, each in proportion to its weight, by systematic resampling."""
    weights = (log_weights - log_weights.max()).exp().numpy()
    places = (np.arange(rows) + rng.random()) / max(1, rows) * weights.sum()
    chosen = np.searchsorted(np.cumsum(weights), places, side="right")
    return torch.tensor(np.minimum(chosen, len(weights) - 1))
