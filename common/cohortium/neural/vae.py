"""A variational autoencoder for tables (Kingma & Welling 2014, arXiv 1312.6114; TVAE, Xu et al. 2019, arXiv 1907.00503).

Model. A row has ``latent`` numbers z, standard normal and hidden. Given them its columns are independent, and the
logits of all cells are a bias, plus a linear function of z, plus a linear function of ``hidden`` ReLUs of z. The
encoder guesses z from a row's one-hot codes: a normal distribution for every number, whose means and log-variances are
linear in the codes.

Loss. The evidence lower bound with one draw of z: the cross entropy of all columns plus ``beta`` times the
Kullback-Leibler divergence of the guess from the standard normal distribution. Encoder, decoder and all scales are
trained on private rows, so the gradient of all of them is clipped and noised together.

What is different from TVAE, and why.

* The encoder has no hidden layer and the decoder has one, with a linear way around it: fewer parameters that reach the loss
  only through others. With a hidden layer in the encoder, 100 noised steps end far from where these do.
* All columns are categorical, so the loss has no learned widths and no factor for the reconstruction: ``beta`` is 1,
  at which the bound is one on the likelihood. Fewer latent numbers than TVAE's 128: the clip is shared by all.
* Biases start at the noised single columns. What training leaves wrong in them, chiefly because guesses do not add up
  to the distribution that z is later drawn from, ``calibrated`` puts right from the same noised counts, at no cost.
* Rows are drawn from quasi-random points, and under conditions from latent numbers that are likely given them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from cohortium.neural import exact
from cohortium.neural.drawing import CHUNK, one_of, resampled, sobol
from cohortium.neural.network import Layer, Tape, Tensor, split

FloatArray = npt.NDArray[np.float64]
CodeArray = npt.NDArray[np.int16]
HIDDEN = 64
LEAST_LATENT, MOST_LATENT = 4, 32
LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE = -8.0, 4.0
FIRST_DEVIATION = 0.5  # of the guesses, before training
FIRST_LINEAR, FIRST_HIDDEN = (
    0.1,
    0.3,
)  # standard deviation of a logit at the start, per latent number and from the ReLUs
CLIP, CLIP_WITHOUT_NOISE = 2.5, 16.0  # times the root of the columns
CALIBRATIONS, CALIBRATION_POINTS = 30, 1 << 13
RAREST = 1e-6  # proportion that a cell is calibrated to at least
OVERSAMPLING = 8  # latent points drawn for one that is kept under conditions
_deviation = exact.Tabulated(lambda v: torch.exp(v / 2), LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE)


def default_latent(columns: int) -> int:
    """About three latent numbers for five columns. More of them describe rows better than their distribution."""
    return min(MOST_LATENT, max(LEAST_LATENT, round(0.6 * columns)))


class Vae:
    """sizes: cells of each column. order: the columns' positions, the targets last; all columns are decoded alike.

    latent: numbers that a row is guessed from, 0 for ``default_latent``. hidden: ReLUs of the decoder, 0 for none: it
    is linear then. A view is one draw of the latent numbers.
    """

    views = 1

    def __init__(
        self, sizes: tuple[int, ...], order: tuple[int, ...], latent: int = 0, hidden: int = HIDDEN, beta: float = 1.0
    ) -> None:
        self.sizes, self.order, self.hidden, self.beta = sizes, order, hidden, beta
        self.latent = self.draws = latent or default_latent(len(sizes))
        encoder = Layer("encoder", sum(sizes), 2 * self.latent, True)
        decoder = Layer("decoder", self.latent + hidden, sum(sizes))
        between = (Layer("hidden", self.latent, hidden),) if hidden else ()
        self.layers: tuple[Layer, ...] = (encoder, *between, decoder)

    def loss(self, tape: Tape, codes: Tensor, uniforms: Tensor) -> Tensor:
        """(rows,) the negative evidence lower bound, at the one draw of z that ``uniforms`` (rows, latent) stand for."""
        x = exact.one_hot(codes, self.sizes)
        guess = tape.linear("encoder", x)
        mean = guess[:, : self.latent]
        log_variance = guess[:, self.latent :].clamp(LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE)
        deviation = _deviation(log_variance)
        z = mean + deviation * exact.normal_quantile(uniforms)
        divergence = 0.5 * (mean * mean + deviation * deviation - log_variance - 1.0)
        return exact.cross_entropy(self._decoded(tape, z), x, self.sizes) + self.beta * divergence.sum(1)

    def _decoded(self, tape: Tape, z: Tensor) -> Tensor:
        """(rows, cells) logits."""
        if not self.hidden:
            return tape.linear("decoder", z)
        return tape.linear("decoder", torch.cat([z, torch.relu(tape.linear("hidden", z))], 1))

    def start(self, logs: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
        """(parameters,) nearly independent columns, as noised; a guess is a random sum of a row's cells.

        logs: for every column the centred logarithms of its noised proportions. Means have about the spread of the
        prior: latent numbers that tell something from the first step on keep what they tell.
        """
        cells, n = sum(self.sizes), self.latent
        encoder = np.zeros((2 * n, cells))
        encoder[:n] = rng.normal(size=(n, cells)) / math.sqrt(len(self.sizes))
        guess = np.concatenate([np.zeros(n), np.full(n, 2 * math.log(FIRST_DEVIATION))])
        parts = [encoder.ravel(), guess]
        deviations = np.full(n, FIRST_LINEAR)
        if self.hidden:
            parts += [rng.normal(size=self.hidden * n) / math.sqrt(n), np.zeros(self.hidden)]
            deviations = np.concatenate([deviations, np.full(self.hidden, FIRST_HIDDEN / math.sqrt(self.hidden))])
        decoder = rng.normal(size=(cells, len(deviations))) * deviations
        return np.concatenate([*parts, decoder.ravel(), *logs])

    def default_clip(self, multiplier: float) -> float:
        """About a third of a row's gradient, which is as long as the root of the columns, several times.

        Every row is then clipped, and counts the same; how far below its length the clip lies has no influence on an
        optimiser that divides by the gradient's size, as Adam does. Without noise nobody is clipped.
        """
        return (CLIP if multiplier > 0 else CLIP_WITHOUT_NOISE) * math.sqrt(len(self.sizes))

    def evened(self, gradient: FloatArray) -> FloatArray:
        """The gradient itself: all of it is trained."""
        return gradient

    @torch.no_grad()
    def calibrated(self, flat: FloatArray, counts: Sequence[FloatArray], sigmas: Sequence[float]) -> FloatArray:
        """``flat`` with the decoder's biases moved until single columns are drawn as the noised counts suggest.

        counts, sigmas: for every column its noised counts, (cells,), and the standard deviation of their noise. What is
        aimed at lies between the model's proportions and the noised ones (``_between``). By iterative proportional
        fitting, which moves a bias by the logarithm of the wanted proportion over the present one. Only noised answers
        are used: nothing is charged.
        """
        points = np.random.default_rng(0)  # the same points each time: a function of its arguments
        z = _normal(next(sobol(CALIBRATION_POINTS, self.latent, points)))
        decoder = _Decoder(self, flat)
        noised = zip(counts, sigmas, decoder.proportions(z), strict=True)
        wanted = torch.cat([_between(column, sigma, present) for column, sigma, present in noised])
        for _ in range(CALIBRATIONS):
            present = torch.cat(decoder.proportions(z)).clamp(min=RAREST)
            decoder.biases += (wanted.clamp(min=RAREST) / present).log().clamp(-1.0, 1.0).float()
        return np.concatenate([flat[: -sum(self.sizes)], decoder.biases.double().numpy()])

    @torch.no_grad()
    def decoded(self, flat: FloatArray, points: int, rng: np.random.Generator) -> FloatArray:
        """(points, cells) the columns' distributions at some latent points."""
        z = torch.cat([_normal(uniforms) for uniforms in sobol(points, self.latent, rng)])
        probabilities = torch.cat([block.softmax(1) for block in _Decoder(self, flat).blocks(z)], 1)
        decoded: FloatArray = probabilities.double().numpy()
        return decoded

    @torch.no_grad()
    def sample(
        self, flat: FloatArray, rows: int, rng: np.random.Generator, allowed: Mapping[int, FloatArray]
    ) -> CodeArray:
        """(rows, columns) int16, drawn from the model. allowed: for some columns the (cells,) weights of their cells.

        Under conditions by importance resampling (Rubin 1987): of ``OVERSAMPLING`` latent points for a row, one is
        chosen in proportion to the chance that the model gives there to what is allowed, and given it the columns,
        independent of one another, are drawn from what is allowed. Exact in the limit of many points.
        """
        decoder = _Decoder(self, flat)
        conditions = {j: torch.tensor(cells, dtype=torch.float64).log() for j, cells in allowed.items()}
        chunks = self._likely(decoder, rows, rng, conditions) if conditions and rows else self._even(rows, rng)
        drawn = [decoder.drawn(z, uniforms, conditions) for z, uniforms in chunks]
        codes = np.concatenate(drawn) if drawn else np.zeros((0, len(self.sizes)), np.int16)
        return rng.permutation(codes)

    def _even(self, rows: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """(chunk, latent) points and (chunk, columns) uniform numbers, even together."""
        for points in sobol(rows, self.latent + len(self.sizes), rng):
            yield _normal(points[:, : self.latent]), torch.tensor(points[:, self.latent :])

    def _likely(
        self, decoder: _Decoder, rows: int, rng: np.random.Generator, conditions: Mapping[int, Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The same, with points from the distribution that z has under the conditions."""
        points, log_weights = [], []
        for uniforms in sobol(rows * OVERSAMPLING, self.latent, rng):
            points.append(_normal(uniforms))
            log_weights.append(decoder.log_chance(points[-1], conditions))
        chosen = torch.cat(points)[resampled(torch.cat(log_weights).numpy(), rows, rng)]
        for z in torch.split(chosen, CHUNK):
            yield z, torch.tensor(rng.random((len(z), len(self.sizes))))


class _Decoder:
    """From latent numbers to cells, in float32. biases: (cells,)."""

    def __init__(self, network: Vae, flat: FloatArray) -> None:
        self._network = network
        layers = {layer.name: layer.unpack(part) for layer, part in split(network, torch.tensor(flat).float())}
        self._hidden, (self._weights, self.biases) = layers.get("hidden"), layers["decoder"]

    @cached_property
    def _starts(self) -> list[int]:
        return [sum(self._network.sizes[:j]) for j in range(len(self._network.sizes))]

    def _features(self, z: Tensor) -> Tensor:
        return z if self._hidden is None else torch.cat([z, F.linear(z, *self._hidden).relu()], 1)

    def blocks(self, z: Tensor) -> tuple[Tensor, ...]:
        """For every column (rows, cells) logits."""
        logits = F.linear(self._features(z), self._weights, self.biases)
        return tuple(torch.split(logits, list(self._network.sizes), 1))

    def proportions(self, z: Tensor) -> list[Tensor]:
        """For every column (cells,) float64, the mean chances over all points."""
        return [block.softmax(1).double().mean(0) for block in self.blocks(z)]

    def log_chance(self, z: Tensor, conditions: Mapping[int, Tensor]) -> Tensor:
        """(rows,) float64, the logarithm of the chance that all conditions hold. conditions: log weights of cells."""
        features, total = self._features(z), torch.zeros(len(z), dtype=torch.float64)
        for j, cells in conditions.items():
            block = slice(self._starts[j], self._starts[j] + self._network.sizes[j])
            logs = F.linear(features, self._weights[block], self.biases[block]).double().log_softmax(1)
            total += (logs + cells).logsumexp(1)
        return total

    def drawn(self, z: Tensor, uniforms: Tensor, conditions: Mapping[int, Tensor]) -> CodeArray:
        """(rows, columns) a cell of every column, never one that a condition forbids."""
        blocks = list(self.blocks(z))
        for j, cells in conditions.items():
            blocks[j] = blocks[j] + cells
        columns = [one_of(block.softmax(1), uniforms[:, j]) for j, block in enumerate(blocks)]
        codes: CodeArray = torch.stack(columns, 1).numpy().astype(np.int16)
        return codes


def _between(counts: FloatArray, sigma: float, present: Tensor) -> Tensor:
    """(cells,) float64: the noised proportions, shrunk towards the model's ``present`` ones by the noise's part in what
    lies between them (James & Stein 1961, the positive part). Without noise the noised proportions themselves.
    """
    positive = torch.tensor(counts, dtype=torch.float64).clamp(min=0.0)
    total = positive.sum().clamp(min=1.0)
    apart = positive / total - present
    noise = (len(counts) - 1) * (sigma / total) ** 2
    kept = (1.0 - noise / (apart * apart).sum().clamp(min=1e-12)).clamp(min=0.0)
    return present + kept * apart


def _normal(points: FloatArray) -> Tensor:
    """float32, over the same range as the draws in training."""
    numbers: Tensor = torch.special.ndtri(torch.tensor(points).clamp(2.0**-17, 1 - 2.0**-17))
    return numbers.float()
