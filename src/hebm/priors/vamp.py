r"""A mixture of the encoder's outputs, p₀(z) = Σ_k w_k q(z | u_k), where u_1, ..., u_K are training images.

Two phases: the posteriors are those of a trained encoder and do not move; the weights are uniform or learned.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from hebm.distributions import DiagonalNormal
from hebm.errors import LatentShapeError
from hebm.latents import Latents, check_latents, unflatten_latents
from hebm.priors.autograd_density import frozen_copy
from hebm.priors.gaussian_components import GaussianComponents
from hebm.priors.precision import DiagonalFactors
from hebm.randomness import NoiseSource

__all__ = ["VampPrior"]


class VampPrior(nn.Module):
    r"""Σ_k w_k N(m_k, diag s_k²) over the flat state, with the means and scales of K posteriors.

    Args:
        level_dims: Number of latents of each level, top first.
        pseudo_posteriors: q(z | u_k) of K images over the flat state, means and scales [K, D]; copied.
        learn_weights: Whether the weights, uniform at first, are parameters that learn.

    Raises:
        LatentShapeError: If means or scales do not have as many columns as there are latents.

    Source: Tomczak & Welling (2018), arXiv:1705.07120, there with learned images u_k and uniform weights.
    """

    energy = None
    means: Tensor
    scales: Tensor

    def __init__(
        self, level_dims: Sequence[int], pseudo_posteriors: DiagonalNormal, *, learn_weights: bool = False
    ) -> None:
        super().__init__()
        self.level_dims = tuple(level_dims)
        mean, scale = pseudo_posteriors.mean.detach(), pseudo_posteriors.scale.detach()
        unflatten_latents(mean, level_dims)
        if scale.shape != mean.shape:
            raise LatentShapeError(
                f"scales [{mean.shape[0]}, {mean.shape[1]}] like the means are expected, but their shape is "
                f"{list(scale.shape)}."
            )
        self.register_buffer("means", mean.clone())
        self.register_buffer("scales", scale.clone())
        self.logits = nn.Parameter(mean.new_zeros(len(mean)), requires_grad=learn_weights)

    def components(self) -> GaussianComponents:
        """The mixture as tensors, differentiable in the weights."""
        return GaussianComponents(self.logits.log_softmax(0), self.means, DiagonalFactors(1 / self.scales))

    def log_prob(self, latents: Latents) -> Tensor:
        """Normalised log-density of all levels, [B] nats."""
        check_latents(latents, self.level_dims)
        return self.components()(latents)

    def log_density(self, latents: Latents) -> Tensor:
        """The same as :meth:`log_prob`: this prior is normalised."""
        return self.log_prob(latents)

    @torch.no_grad()
    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Draw n items, one [n, d_l] matrix per level, on the device and in the dtype of `like`."""
        return unflatten_latents(self.components().draw(n, like=like, generator=generator), self.level_dims)

    @torch.no_grad()
    def sample_base_given(
        self, latents: Latents, levels: Collection[int], *, generator: NoiseSource = None
    ) -> Latents:
        """Exact draws of some levels (0 is the top) given the others, which come back as they are."""
        return self.components().draw_levels_given(latents, self.level_dims, levels, generator)

    def density(self) -> GaussianComponents:
        """The density with frozen parameters, as a sampler sees it; its gradient is written out by hand."""
        return frozen_copy(self).components()
