"""What every network must do. A new kind joins ``KINDS``, or is a subclass of ``NetworkContract`` (test_examples.py)."""

from __future__ import annotations

import pytest
from network_contract import ORDER, SIZES, NetworkContract, assert_same_in_any_order

from cohortium.errors import StudyError
from cohortium.neural.architecture import Architecture
from cohortium.neural.exact import WIDEST

KINDS = {
    "autoregressive": Architecture("autoregressive", SIZES, ORDER),
    "autoregressive, hidden": Architecture("autoregressive", SIZES, ORDER, hidden=7),
    "diffusion": Architecture("diffusion", SIZES, ORDER, views=2),
    "diffusion, hidden": Architecture("diffusion", SIZES, ORDER, hidden=5, views=3),
    "tvae": Architecture("tvae", SIZES, ORDER, hidden=6, latent=3),
    "ctgan": Architecture("ctgan", SIZES, ORDER),
}


WIDE_SIZES = (500, 512)
WIDE = {
    "autoregressive": Architecture("autoregressive", WIDE_SIZES, (1, 0), hidden=3),
    "diffusion": Architecture("diffusion", WIDE_SIZES, (0, 1), hidden=WIDEST),
    "tvae": Architecture("tvae", WIDE_SIZES, (0, 1), hidden=WIDEST - 2, latent=2),
    "ctgan": Architecture("ctgan", WIDE_SIZES, (0, 1)),
    "many columns": Architecture("diffusion", (3,) * 40, tuple(range(40)), hidden=5),  # too many for sums in float32
}


@pytest.mark.parametrize("of", KINDS.values(), ids=KINDS.keys())
class TestEveryNetwork(NetworkContract):
    """Those that an architecture builds."""


@pytest.mark.parametrize("of", WIDE.values(), ids=WIDE.keys())
def test_nor_do_those_of_a_network_as_wide_as_may_be(of: Architecture) -> None:
    assert_same_in_any_order(of.network, 2, 10.0)


def test_a_network_too_wide_to_be_exact_is_refused() -> None:
    with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
        _ = Architecture("tvae", (600, 600), (0, 1), hidden=4, latent=2).network
