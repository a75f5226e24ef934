r"""The base prior p₀(z) = ∏ N(z_l; 0, I), one standard normal per level."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hebm.distributions import standard_normal_log_prob
from hebm.latents import (
    Latents,
    check_latents,
    flatten_latents,
    kept_indices,
    level_indices,
    unflatten_latents,
)
from hebm.randomness import NoiseSource, standard_normal

__all__ = ["GaussianPrior", "StandardNormalDensity"]


class GaussianPrior(nn.Module):
    """N(0, I) per level: normalised and sampled exactly.

    Args:
        level_dims: Number of latents of each level, top first.
    """

    energy = None

    def __init__(self, level_dims: Sequence[int]) -> None:
        super().__init__()
        self.level_dims = tuple(level_dims)

    def log_prob(self, latents: Latents) -> Tensor:
        """Normalised log-density of all levels, [B] nats."""
        check_latents(latents, self.level_dims)
        return standard_normal_log_prob(flatten_latents(latents))

    def marginal_log_prob(self, latents: Latents, levels: Collection[int]) -> Tensor:
        """Normalised log-density of some levels, [B] nats: under this base the levels are independent."""
        check_latents(latents, self.level_dims)
        columns = kept_indices(self.level_dims, levels)
        return standard_normal_log_prob(flatten_latents(latents)[:, columns])

    def log_density(self, latents: Latents) -> Tensor:
        """The same as :meth:`log_prob`: this prior is normalised."""
        return self.log_prob(latents)

    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Draw n items, one [n, d_l] matrix per level, on the device and in the dtype of `like`."""
        empty = torch.empty(n, sum(self.level_dims), dtype=like.dtype, device=like.device)
        return unflatten_latents(standard_normal(empty, generator), self.level_dims)

    def sample_base_given(
        self, latents: Latents, levels: Collection[int], *, generator: NoiseSource = None
    ) -> Latents:
        """Draw the given levels anew: under this base the levels are independent."""
        check_latents(latents, self.level_dims)
        level_indices(self.level_dims, levels)
        fresh = self.sample_base(len(latents[0]), like=latents[0], generator=generator)
        return tuple(new if i in levels else z for i, (new, z) in enumerate(zip(fresh, latents, strict=True)))

    def density(self) -> "StandardNormalDensity":
        """The density as a sampler sees it."""
        return StandardNormalDensity()


@dataclass(frozen=True)
class StandardNormalDensity:
    """log N(z; 0, I), normalised; takes the levels, or the flat state as a tuple of one."""

    is_standard_normal: ClassVar[bool] = True

    def __call__(self, latents: Latents) -> Tensor:
        """Log-density, [B] nats."""
        return standard_normal_log_prob(flatten_latents(latents))

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        """The same value [B] and its gradients -z."""
        return self(latents), tuple(-z for z in latents)
