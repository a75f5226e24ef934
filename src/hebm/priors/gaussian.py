r"""The base prior p₀(z) = ∏ N(z_l; 0, I), one standard normal per level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hebm.distributions import standard_normal_log_prob
from hebm.latents import Latents, check_latents, flatten_latents, unflatten_latents
from hebm.randomness import NoiseSource, standard_normal

__all__ = ["GaussianPrior"]


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

    def log_density(self, latents: Latents) -> Tensor:
        """The same as :meth:`log_prob`: this prior is normalised."""
        return self.log_prob(latents)

    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Draw n items, one [n, d_l] matrix per level, on the device and in the dtype of `like`."""
        empty = torch.empty(n, sum(self.level_dims), dtype=like.dtype, device=like.device)
        return unflatten_latents(standard_normal(empty, generator), self.level_dims)

    def frozen(self) -> None:
        """None: the base is the prior, no chain is needed."""
        return
