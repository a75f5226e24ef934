r"""A chain of Gaussians from the top level down, p₀(z) = N(z_L; 0, I) ∏_l N(z_l; μ_l(z_{>l}), diag σ_l²(z_{>l})).

It is white noise u ~ N(0, I) pushed down the chain, z_l = μ_l(z_{>l}) + σ_l(z_{>l}) u_l, an invertible map.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hebm.distributions import DiagonalNormal
from hebm.errors import UnsupportedError
from hebm.latents import (
    Latents,
    check_latents,
    flatten_latents,
    kept_indices,
    level_indices,
    unflatten_latents,
)
from hebm.nn import activation_named
from hebm.priors.autograd_density import AutogradDensity, frozen_copy
from hebm.randomness import NoiseSource, standard_normal

__all__ = ["ConditionalNormal", "TopDownPrior"]


class ConditionalNormal(nn.Module):
    r"""N(z_l; μ(h), diag σ²(h)) of one level given h, the levels above it; N(0, I) at first.

    .. math:: \mu, a = \mathrm{MLP}(h), \quad \log\sigma = b \tanh(a / b)

    Args:
        n_in: Number of latents above.
        n_out: Number of latents of the level.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        activation: Name of the activation (:data:`hebm.nn.ACTIVATIONS`).
        log_scale_bound: b; scales stay between exp(-b) and exp(b).
    """

    def __init__(
        self, n_in: int, n_out: int, *, width: int, depth: int, activation: str, log_scale_bound: float
    ) -> None:
        super().__init__()
        self.activation = activation_named(activation)
        self.log_scale_bound = log_scale_bound
        layers = [nn.Linear(a, b) for a, b in pairwise([n_in, *[width] * depth, 2 * n_out])]
        nn.init.zeros_(layers[-1].weight)
        nn.init.zeros_(layers[-1].bias)
        self.layers = nn.ModuleList(layers)

    def forward(self, above: Tensor) -> DiagonalNormal:
        """The level's distribution for each row of latents above, [B, n_in]."""
        hidden = above
        for layer in self.layers[:-1]:
            hidden = self.activation.forward(layer(hidden))
        mean, log_scale = self.layers[-1](hidden).chunk(2, dim=1)
        bounded = self.log_scale_bound * torch.tanh(log_scale / self.log_scale_bound)
        return DiagonalNormal(mean, bounded.exp())


class TopDownPrior(nn.Module):
    r"""A chained Gaussian; it starts exactly at N(0, I).

    .. math:: \log p_0(z) = \log N(z_L; 0, I) + \sum_{l < L} \log N(z_l; \mu_l(z_{>l}), \sigma_l^2(z_{>l}))

    Args:
        level_dims: Number of latents of each level, top first.
        width: Width of the hidden layers of each conditional's network.
        depth: Number of its hidden layers.
        activation: Name of the activation.
        log_scale_bound: b; log σ = b tanh(a / b) lies between -b and b, with slope 1 at 0.

    Source: arXiv:2306.06323, the base of its joint prior.
    """

    energy = None

    def __init__(
        self,
        level_dims: Sequence[int],
        *,
        width: int = 128,
        depth: int = 2,
        activation: str = "silu",
        log_scale_bound: float = 4.0,
    ) -> None:
        super().__init__()
        self.level_dims = tuple(level_dims)
        self.conditionals = nn.ModuleList(
            ConditionalNormal(
                sum(level_dims[:level]),
                level_dims[level],
                width=width,
                depth=depth,
                activation=activation,
                log_scale_bound=log_scale_bound,
            )
            for level in range(1, len(level_dims))
        )

    def conditional(self, level: int, above: Latents, like: Tensor) -> DiagonalNormal:
        """p₀ of one level (0 is the top) given those above it; `like` is the level's shape, [B, d_l]."""
        if level == 0:
            return DiagonalNormal(torch.zeros_like(like), torch.ones_like(like))
        with torch.autocast(like.device.type, enabled=False):
            distribution: DiagonalNormal = self.conditionals[level - 1](flatten_latents(above))
            return distribution

    def log_prob(self, latents: Latents) -> Tensor:
        """Normalised log-density of all levels, [B] nats."""
        check_latents(latents, self.level_dims)
        terms = [self.conditional(i, latents[:i], z).log_prob(z) for i, z in enumerate(latents)]
        return torch.stack(terms).sum(0)

    def marginal_log_prob(self, latents: Latents, levels: Collection[int]) -> Tensor:
        """Normalised log-density of the upper levels, the lower ones integrated out, [B] nats.

        Raises:
            UnsupportedError: If the levels are not the uppermost ones: other marginals are not Gaussian.
        """
        check_latents(latents, self.level_dims)
        n_kept = len(set(levels))
        kept_indices(self.level_dims, levels)
        if max(levels) >= n_kept:
            raise UnsupportedError(
                f"a chained Gaussian has the density of its uppermost levels in closed form, but levels "
                f"{sorted(set(levels))} (0 is the top) leave one out; ask for levels 0 to {max(levels)}."
            )
        terms = [self.conditional(i, latents[:i], latents[i]).log_prob(latents[i]) for i in range(n_kept)]
        return torch.stack(terms).sum(0)

    def log_density(self, latents: Latents) -> Tensor:
        """The same as :meth:`log_prob`: this prior is normalised."""
        return self.log_prob(latents)

    def to_white(self, latents: Latents) -> Latents:
        r"""u_l = (z_l - μ_l) / σ_l, which is N(0, I) under this prior; log p₀(z) = log N(u; 0, I) - Σ log σ."""
        check_latents(latents, self.level_dims)
        levels = [self.conditional(i, latents[:i], z) for i, z in enumerate(latents)]
        return tuple((z - level.mean) / level.scale for z, level in zip(latents, levels, strict=True))

    def from_white(self, white: Latents) -> Latents:
        """z_l = μ_l + σ_l u_l from the top down, the inverse of :meth:`to_white`."""
        check_latents(white, self.level_dims)
        latents: Latents = ()
        for i, u in enumerate(white):
            latents = (*latents, self.conditional(i, latents, u).at(u))
        return latents

    @torch.no_grad()
    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Draw n items, one [n, d_l] matrix per level, on the device and in the dtype of `like`."""
        empty = torch.empty(n, sum(self.level_dims), dtype=like.dtype, device=like.device)
        noise = standard_normal(empty, generator).to(next(self.parameters(), empty))
        drawn = self.from_white(unflatten_latents(noise, self.level_dims))
        return tuple(z.to(like) for z in drawn)

    @torch.no_grad()
    def sample_base_given(
        self, latents: Latents, levels: Collection[int], *, generator: NoiseSource = None
    ) -> Latents:
        """Exact draws of some levels (0 is the top) given the others, which come back as they are.

        Raises:
            UnsupportedError: If one of the levels lies above a held one: its conditional is not Gaussian.
        """
        check_latents(latents, self.level_dims)
        columns = level_indices(self.level_dims, levels)
        n_held = len(latents) - len(set(levels))
        if levels and min(levels) < n_held:
            raise UnsupportedError(
                f"a chained Gaussian draws levels exactly only below all held ones, but of the levels "
                f"{sorted(set(levels))} (0 is the top) some lie above; run a chain on `density()` instead."
            )
        noise = standard_normal(flatten_latents(latents)[:, columns], generator)
        drawn = latents[:n_held]
        for u in unflatten_latents(noise, self.level_dims[n_held:]):
            drawn = (*drawn, self.conditional(len(drawn), drawn, u).at(u))
        return drawn

    def density(self) -> AutogradDensity:
        """The density with frozen parameters, as a sampler sees it; its gradient is autograd's."""
        return AutogradDensity(frozen_copy(self))
