"""A warm start: a network trained on rows of a sweep, which was fitted to noised tables. It costs nothing beyond them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from cohortium.neural.device import best_device
from cohortium.neural.network import Network, gradient
from cohortium.system.progress import Progress
from cohortium_server.generators import Measured
from cohortium_server.generators.fitting import fit
from cohortium_server.generators.mixture import draw
from cohortium_server.generators.optimisers import Adam, Optimiser
from cohortium_server.generators.tables import as_shares

FloatArray = npt.NDArray[np.float64]
COMPONENTS = 500
MOST_ROWS = 50_000
STEPS, BATCH, RATE = 600, 1024, 0.02


def swept_rows(
    sizes: tuple[int, ...],
    tables: Sequence[Measured],
    targets: Sequence[int],
    rows: int,
    rng: np.random.Generator,
    progress: Progress,
) -> npt.NDArray[np.int16]:
    """(rows, columns) codes drawn from a mixture of products that is fitted to noised tables."""
    told = as_shares(tables, rows, targets)
    logits = fit(sizes, told, COMPONENTS, int(rng.integers(2**31)), best_device(), progress, targets).logits
    return draw(logits, sizes, min(rows, MOST_ROWS), rng, {})


def trained_on(
    network: Network, flat: FloatArray, codes: npt.NDArray[np.int16], rng: np.random.Generator, progress: Progress
) -> FloatArray:
    """The parameters after Adam on public rows, its rate falling to zero."""
    optimiser: Optimiser = Adam()
    progress.start(STEPS, "warm start")
    for number in range(STEPS):
        chosen = torch.tensor(codes[rng.integers(len(codes), size=BATCH)], dtype=torch.long)
        uniforms = torch.tensor(rng.random((BATCH * network.views, network.draws)))
        batch = chosen.repeat_interleave(network.views, 0)
        slope, _ = gradient(network, torch.tensor(flat, dtype=torch.float32), batch, uniforms)
        direction, optimiser = optimiser.step(slope.double().numpy())
        flat = flat - RATE * (1 - number / STEPS) * direction
        progress.advance()
    progress.done()
    return flat
