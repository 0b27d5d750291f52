"""Which network a study trains: a frozen value that follows from the study alone, and builds the network on demand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

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
        return _built(self)


@lru_cache(maxsize=16)
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

            return Critic(of.sizes, of.order, of.hidden)
