r"""A mixture of the encoder's outputs, p₀(z) = Σ_k w_k q(z | u_k), where u_1, ..., u_K are training images.

Two phases: the posteriors are those of a trained encoder and do not move; the weights are uniform or learned.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from hebm.distributions import DiagonalNormal
from hebm.errors import LatentShapeError
from hebm.latents import unflatten_latents
from hebm.priors.components_prior import ComponentsPrior
from hebm.priors.gaussian_components import GaussianComponents
from hebm.priors.precision import DiagonalFactors

__all__ = ["VampPrior"]


class VampPrior(ComponentsPrior):
    r"""Σ_k w_k N(m_k, diag s_k²) over the flat state, with the means and scales of K posteriors.

    Args:
        level_dims: Number of latents of each level, top first.
        pseudo_posteriors: q(z | u_k) of K images over the flat state, means and scales [K, D]; copied.
        learn_weights: Whether the weights, uniform at first, are parameters that learn.

    Raises:
        LatentShapeError: If means or scales do not have as many columns as there are latents.

    Source: Tomczak & Welling (2018), arXiv:1705.07120, there with learned images u_k and uniform weights.
    """

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
