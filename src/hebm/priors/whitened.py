r"""A tilted density in white coordinates: z = T(u), u ~ N(0, I) under the base.

.. math:: \log p(u) = \log N(u; 0, I) - E(T(u)) - \log Z
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hebm.distributions import standard_normal_log_prob
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.priors.energy import FrozenEnergy

__all__ = ["Invertible", "WhitenedDensity"]


class Invertible(Protocol):
    """A base that is white noise pushed through an invertible map."""

    level_dims: tuple[int, ...]

    def to_white(self, latents: Latents) -> Latents:
        """u = T⁻¹(z)."""
        ...

    def from_white(self, white: Latents) -> Latents:
        """z = T(u)."""
        ...


@dataclass(frozen=True)
class WhitenedDensity:
    """log N(u; 0, I) - E(T(u)), [B] nats; takes the levels of u, or the flat state as a tuple of one.

    Args:
        base: The map, its parameters frozen.
        energy: The energy over z.
    """

    base: Invertible
    energy: FrozenEnergy

    def __call__(self, white: Latents) -> Tensor:
        """Log-density of u up to log Z, differentiable in u."""
        flat = flatten_latents(white)
        latents = self.base.from_white(unflatten_latents(flat, self.base.level_dims))
        return standard_normal_log_prob(flat) - self.energy(flatten_latents(latents))

    @torch.no_grad()
    def to_white(self, latents: Latents) -> Latents:
        """u = T⁻¹(z)."""
        return self.base.to_white(latents)

    @torch.no_grad()
    def from_white(self, white: Latents) -> Latents:
        """z = T(u)."""
        return self.base.from_white(white)
