"""What every network keeps; a new one inherits ``NetworkContract``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adding import Adding

from cohortium.neural.architecture import Architecture
from cohortium.neural.network import Network, errors, gradient, length

SIZES, ORDER = (3, 5, 2, 9), (3, 0, 1, 2)


def entries(network: Network, rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(codes, uniforms) of every view of some rows."""
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.integers(0, k, rows) for k in network.sizes], 1)
    codes = torch.tensor(drawn).repeat_interleave(network.views, 0)
    return codes, torch.tensor(rng.random((rows * network.views, network.draws)))


def started(network: Network, seed: int = 0, scale: float = 0.3) -> torch.Tensor:
    """Parameters on their way: a start, moved at random."""
    rng = np.random.default_rng(seed)
    logs = [rng.normal(0, 1, k) for k in network.sizes]
    flat = network.start([part - part.mean() for part in logs], rng)
    return torch.tensor(flat + network.evened(rng.normal(0, scale, len(flat))), dtype=torch.float32)


class NetworkContract:
    """``of`` has the network."""

    def test_its_start_has_all_its_parameters(self, of: Architecture) -> None:
        flat = of.network.start([np.zeros(k) for k in SIZES], np.random.default_rng(0))
        assert flat.shape == (length(of.network),)
        assert np.isfinite(flat).all()

    def test_a_start_repeats_with_its_seed(self, of: Architecture) -> None:
        one, two = (of.network.start([np.zeros(k) for k in SIZES], np.random.default_rng(3)) for _ in range(2))
        assert (one == two).all()

    def test_a_rows_errors_do_not_depend_on_the_rows_beside_it(self, of: Architecture) -> None:
        network, flat = of.network, started(of.network)
        codes, uniforms = entries(network, 91)
        everybody, views = errors(network, flat, codes, uniforms), np.arange(network.views)
        order = np.random.default_rng(1).permutation(91)
        for rows in (order, order[:37], order[:1], order[5:6]):
            chosen = (rows[:, None] * network.views + views).ravel()
            found = errors(network, flat, codes[chosen], uniforms[chosen])
            for (_, x, e), (_, some_x, some_e) in zip(everybody, found, strict=True):
                assert torch.equal(x[chosen], some_x)
                assert torch.equal(e[chosen], some_e)

    @pytest.mark.parametrize("scale", [0.3, 10.0, 1e30])
    def test_a_rows_errors_do_not_depend_on_the_order_of_adding(self, of: Architecture, scale: float) -> None:
        assert_same_in_any_order(of.network, 40, scale)

    def test_what_is_exact_is_nearly_the_ordinary_gradient(self, of: Architecture) -> None:
        network, flat = of.network, started(of.network)
        codes, uniforms = entries(network, 400)
        ordinary, _ = gradient(network, flat, codes, uniforms)
        found = errors(network, flat, codes, uniforms)
        parts = {n.name: n.pack(e.double().T @ x.double(), e.double().sum(0)) for n, x, e in found}
        zero = {n.name: torch.zeros(n.parameters, dtype=torch.float64) for n in network.layers}
        exact = torch.cat([(zero | parts)[n.name] for n in network.layers]) / len(codes)
        assert (exact - ordinary).norm() < 2e-3 * ordinary.norm()

    def test_evening_is_a_projection(self, of: Architecture) -> None:
        vector = np.random.default_rng(0).normal(0, 1, length(of.network))
        once = of.network.evened(vector)
        assert np.linalg.norm(once) <= np.linalg.norm(vector) * (1 + 1e-12)
        np.testing.assert_allclose(of.network.evened(once), once, atol=1e-12)

    def test_its_clip_is_a_number_at_any_noise(self, of: Architecture) -> None:
        for multiplier in (1e-3, 0.5, 5.0, 1e4):
            assert 0 < of.network.default_clip(multiplier) < 1e6


def assert_same_in_any_order(network: Network, rows: int, scale: float) -> None:
    """Inputs and errors of all layers, to the last bit; and nothing is computed that processors round differently."""
    flat = started(network, scale=scale)
    codes, uniforms = entries(network, rows)
    everything = errors(network, flat, codes, uniforms)
    with Adding():
        again = errors(network, flat, codes, uniforms)
    for (_, x, e), (_, found_x, found_e) in zip(everything, again, strict=True):
        assert torch.equal(x, found_x)
        assert torch.equal(e, found_e)
