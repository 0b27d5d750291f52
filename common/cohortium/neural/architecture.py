"""Which network a study trains: a frozen value that follows from the study alone, and builds the network on demand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from cohortium.errors import StudyError

if TYPE_CHECKING:
    from cohortium.neural.network import Network

Kind = Literal["autoregressive", "diffusion", "tvae", "ctgan"]


@dataclass(frozen=True)
class Architecture:
    """sizes: cells of each column as the network sees them. order: all columns, the targets last.

    hidden: units of the hidden layers, 0 for none. latent: numbers that a row is squeezed into, where there are such.
    views: random views of a row that are averaged, where there are such.
    """

    kind: Kind
    sizes: tuple[int, ...]
    order: tuple[int, ...]
    hidden: int = 0
    latent: int = 0
    views: int = 1

    @property
    def network(self) -> Network:
        """Raises StudyError E_PLAN_LIMIT where a layer is too wide for exact arithmetic."""
        return _checked(self)


@lru_cache(maxsize=16)
def _checked(of: Architecture) -> Network:
    from cohortium.neural.exact import WIDEST

    network = _built(of)
    widths = [max(n.outputs, 0 if n.one_hot else n.inputs) for n in network.layers if not n.constant]
    if max(widths) > WIDEST:
        raise StudyError(
            "E_PLAN_LIMIT",
            f"generator {of.kind}",
            f"a layer would be {max(widths)} wide, allowed are {WIDEST}; the columns have {sum(of.sizes)} cells",
            "Declare fewer columns, categories or bins, or choose sweep.",
        )
    return network


def _built(of: Architecture) -> Network:
    match of.kind:
        case "autoregressive":
            from cohortium.neural.autoregressive import Autoregressive

            return Autoregressive(of.sizes, of.order, of.hidden)
        case "diffusion":
            from cohortium.neural.diffusion import Diffusion

            return Diffusion(of.sizes, of.order, of.hidden, of.views)
        case "tvae":
            from cohortium.neural.vae import Vae

            return Vae(of.sizes, of.order, of.latent, of.hidden)
        case "ctgan":
            from cohortium.neural.critic import Critic

            return Critic(of.sizes, of.order)
