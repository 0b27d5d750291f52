"""The generator of a conditional tabular GAN and its game against the critic: all at the coordinator, all public.

The generator G turns a latent vector into chances of cells, one softmax a column; given the vector the columns are
drawn independently of one another. ``critic.Critic`` scores such soft rows as it would score the drawn ones on average,
so there is no need of Gumbel noise or of a straight-through estimate (CTGAN, arXiv 1907.00503, has the former). The
latent vectors are a fixed set of points, spread as evenly as a normal distribution allows (a scrambled Sobol sequence),
all equally likely: means over them are exact. With vectors drawn anew at every step their chance dominates the error.

The game. Institutions answer with r, the noised mean gradient of real rows' scores. It does not depend on the critic's
parameters V, so one answer holds for the whole game

    max over V, min over G:  V · (r - mean gradient of scores of G's rows) - |V|² / 4,

a Wasserstein GAN whose critic is held small by ridge instead of a gradient penalty; in it G minimises the squared
distance between the two means, the maximum mean discrepancy of Li et al. 2017 (arXiv 1705.08584). The critic plays its
best answer, V = 2 (r - mean gradient), which is known in closed form; then the generator takes a step of Adam. (A critic
that lags behind, even by one step, makes the game swing, and now and then lose all that was learnt.) The released
generator is an average over the last steps. The game ends early where the distance is down to what noise alone would
make it; all of this costs no privacy.

Conditions need no extra input: by Bayes' rule latent vectors are weighted with the chances they give to the allowed
cells, and cells are then drawn among the allowed ones. That is exact for the model, for any set of conditions, however
rare what they allow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cohortium.neural.critic import Critic
from cohortium.neural.device import one_thread
from cohortium.neural.drawing import one_of, sobol
from cohortium.neural.network import Plain, gradient, length
from cohortium.system.progress import Progress

Tensor = torch.Tensor
FloatArray = npt.NDArray[np.float64]
LATENT, HIDDEN = 64, 256
POINTS = 1024  # latent vectors
STEPS = 1000
RATE = 0.01  # of Adam; constant for the first half of the game, then falling to nothing
BETAS = (0.9, 0.99)
MEMORY = 0.99  # a step, of the average that is released
SPREAD = 0.3  # how far the start's log chances spread around the single columns'
AT_NOISE = 0.95  # of the distance that noise alone makes, at which the game ends


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


class GanGenerator:
    """``start``, then ``add_answer`` for each noised answer, then ``play``, then ``sample``. The same seeds, the same rows."""

    def __init__(
        self, sizes: tuple[int, ...], order: tuple[int, ...], latent: int = LATENT, hidden: int = HIDDEN
    ) -> None:
        self.sizes = sizes
        self.critic = Critic(sizes, order)
        self.generator = Generator(sizes, latent, hidden).requires_grad_(False)
        self._points = _points(latent)
        self._real: FloatArray = np.zeros(length(self.critic))
        self._precision = 0.0

    def start(self, logs: Sequence[FloatArray], rng: np.random.Generator) -> None:
        """logs: for every column its noised log proportions."""
        self.generator.start(logs, torch.Generator().manual_seed(int(rng.integers(2**62))))

    def add_answer(self, slopes: FloatArray, noise: float) -> None:
        """One more answer, slopes: (parameters,) the noised mean gradient of the critic's loss over all real rows.

        noise: the standard deviation of its noise in a coordinate. Answers are averaged by their precision, one round
        after the other or one institution after the other.
        """
        precision = max(noise, 1e-9) ** -2
        self._precision += precision
        self._real = self._real + (-slopes - self._real) * (precision / self._precision)

    def play(self, progress: Progress, steps: int = STEPS) -> list[float]:
        """Train the generator in the game, and return the distance between the means before every step.

        Without an answer the generator stays at the single columns.
        """
        if not self._precision:
            return []
        return self._played(self._real, AT_NOISE * len(self._real) / self._precision, progress, steps)

    def practise(self, codes: npt.NDArray[np.int16], progress: Progress, steps: int = STEPS // 2) -> None:
        """Play against public rows (rows, columns) before the answers of real ones."""
        rows = torch.tensor(codes, dtype=torch.long)
        slope, _ = gradient(self.critic, torch.zeros(len(self._real)), rows, torch.zeros(len(rows), 0))
        self._played(-slope.double().numpy(), 0.0, progress, steps)

    def _played(self, real: FloatArray, enough: float, progress: Progress, steps: int) -> list[float]:
        game = _Game(self.critic, self.generator, torch.tensor(real, dtype=torch.float32), self._points, steps)
        distances = list[float]()
        progress.start(steps, "the game")
        with one_thread():
            while len(distances) < steps and not (distances and distances[-1] < enough):
                distances.append(game.step())
                progress.advance()
        progress.done()
        game.finish()
        return distances

    @torch.no_grad()
    def chances(self) -> FloatArray:
        """(points, cells) the columns' distributions at every latent vector, all equally likely."""
        found: FloatArray = self.generator(self._points).double().numpy()
        return found

    @torch.no_grad()
    def sample(self, rows: int, rng: np.random.Generator, allowed: Mapping[int, FloatArray]) -> npt.NDArray[np.int16]:
        """(rows, columns) codes from a Sobol sequence. allowed: for some columns the (cells,) weights of their cells."""
        every = [allowed.get(j, np.ones(size)) for j, size in enumerate(self.sizes)]
        blocks = [
            block.double() * torch.tensor(cells)
            for block, cells in zip(torch.split(self.generator(self._points), list(self.sizes), 1), every, strict=True)
        ]
        logs = torch.stack([block.sum(1).clamp(min=1e-300).log() for block in blocks]).sum(0)
        weights = (logs - logs.max()).exp()
        drawn = []
        for points in sobol(rows, len(blocks) + 1, rng):
            uniforms = torch.tensor(points)
            chosen = one_of(weights, uniforms[:, 0])
            columns = [one_of(block[chosen], u) for block, u in zip(blocks, uniforms.T[1:], strict=True)]
            drawn.append(torch.stack(columns, 1).to(torch.int16).numpy())
        return rng.permutation(np.concatenate(drawn))

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

    def __init__(self, critic: Critic, generator: Generator, real: Tensor, points: Tensor, steps: int) -> None:
        self._critic, self._generator, self._real, self._points = critic, generator, real, points
        self._weights = list(generator.requires_grad_(True).parameters())
        self._average = [w.detach().clone() for w in self._weights]
        self._adam = torch.optim.Adam(self._weights, RATE, betas=BETAS)
        self._step, self._steps = 0, steps

    def step(self) -> float:
        """The critic answers, the generator steps; the squared distance between real and fake means before."""
        forged = self._generator(self._points)
        fake = self._fake(forged.detach())
        best = 2 * (self._real - fake)
        score = self._critic.score(Plain(self._critic, best), forged).mean()
        self._descend(torch.autograd.grad(score, self._weights))
        self._step += 1
        return float((self._real - fake).square().sum())

    def _fake(self, forged: Tensor) -> Tensor:
        """(parameters,) slopes of the mean score of forged rows at the critic's parameters; at any, as it is linear."""
        flat = torch.zeros_like(self._real).requires_grad_(True)
        return torch.autograd.grad(self._critic.score(Plain(self._critic, flat), forged).mean(), flat)[0]

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


def _points(latent: int) -> Tensor:
    """(POINTS, latent) the latent vectors; always the same."""
    uniforms = torch.tensor(next(sobol(POINTS, latent, np.random.default_rng(0))))
    points: Tensor = torch.special.ndtri(uniforms.clamp(1e-6, 1 - 1e-6)).float()
    return points
