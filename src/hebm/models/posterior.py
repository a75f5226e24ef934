r"""q(z|x) = ∏ q(z_l|x): one diagonal normal per level, independent given x."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.distributions import DiagonalNormal
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.randomness import NoiseSource, standard_normal

__all__ = ["LatentPosterior"]


@dataclass(frozen=True)
class LatentPosterior:
    """Distributions of all levels, top first; iterate or index to get one level's.

    Args:
        levels: One normal over [B, d_l] per level.
    """

    levels: tuple[DiagonalNormal, ...]

    def __iter__(self) -> Iterator[DiagonalNormal]:
        """The levels' distributions, top first."""
        return iter(self.levels)

    def __len__(self) -> int:
        """Number of levels."""
        return len(self.levels)

    def __getitem__(self, level: int) -> DiagonalNormal:
        """One level's distribution; 0 is the top."""
        return self.levels[level]

    @property
    def mean(self) -> Latents:
        """Means of all levels, top first."""
        return tuple(level.mean for level in self.levels)

    @property
    def scale(self) -> Latents:
        """Standard deviations of all levels, top first."""
        return tuple(level.scale for level in self.levels)

    def sample(self, generator: NoiseSource = None) -> Latents:
        """Reparametrised draws of all levels, with one draw of noise for the flat state."""
        return self.at(standard_normal(flatten_latents(self.mean), generator))

    def at(self, eps: Tensor) -> Latents:
        r"""The points :math:`\mu_l + \sigma_l\epsilon_l` for a given flat noise [B, D], top level first."""
        noise = unflatten_latents(eps, [mean.shape[1] for mean in self.mean])
        return tuple(level.at(part) for level, part in zip(self.levels, noise, strict=True))

    def log_prob(self, latents: Latents) -> Tensor:
        r""":math:`\sum_l \log q(z_l|x)`, [B] nats."""
        return torch.stack([q.log_prob(z) for q, z in zip(self.levels, latents, strict=True)]).sum(0)

    def rate_per_level(self) -> Latents:
        r"""KL(q(z_l|x) ‖ N(0, I)) of each level in closed form, top first, each [B] nats."""
        return tuple(level.kl_to_standard() for level in self.levels)
