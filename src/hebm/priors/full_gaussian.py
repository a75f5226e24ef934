r"""One Gaussian over all levels, p₀(z) = N(z; m, C): the levels are correlated."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hebm.errors import LatentShapeError, NonFiniteError
from hebm.latents import unflatten_latents
from hebm.priors.components_prior import ComponentsPrior
from hebm.priors.gaussian_components import GaussianComponents
from hebm.priors.precision import DenseFactors, TriangularFactors, precision_factors

__all__ = ["FullGaussianPrior"]


class FullGaussianPrior(ComponentsPrior):
    r"""N(m, C) over the flat state; learned by gradient through the Cholesky factor L of C⁻¹ = L Lᵀ, or fitted.

    It starts at N(0, I).

    Args:
        level_dims: Number of latents of each level, top first.
    """

    def __init__(self, level_dims: Sequence[int]) -> None:
        super().__init__()
        self.level_dims = tuple(level_dims)
        self.mean = nn.Parameter(torch.zeros(sum(level_dims)))
        self.factor = TriangularFactors(1, sum(level_dims))

    def components(self) -> GaussianComponents:
        """The Gaussian as a mixture of one, differentiable in the parameters."""
        return GaussianComponents(self.mean.new_zeros(1), self.mean[None], DenseFactors(self.factor()))

    @torch.no_grad()
    def fit_(self, flat: Tensor, *, relative_floor: float = 1e-9) -> None:
        """Set mean and covariance to those of posterior *samples*: the maximum of the likelihood, in float64.

        Args:
            flat: One sample z ~ q(z|x) for each of N items, [N, D]; means would make the covariance too small.
            relative_floor: Principal variances below this fraction of the largest one are raised to it; those
                above are left alone. It matters only for units that are constant or copies of others.

        Raises:
            LatentShapeError: If the width is not the number of latents.
            NonFiniteError: If the covariance is not finite, or zero.
        """
        unflatten_latents(flat, self.level_dims)
        if len(flat) < 2:
            raise LatentShapeError(f"at least two samples are expected, but the shape is {list(flat.shape)}.")
        mean = flat.double().mean(0)
        centred = flat.double() - mean
        covariance = centred.T @ centred / len(flat)
        if not torch.isfinite(covariance).all() or not covariance.any():
            raise NonFiniteError("the covariance of the samples is zero or not finite; check the posterior.")
        variances, axes = torch.linalg.eigh(covariance)
        covariance = axes * variances.clamp(min=(relative_floor * variances[-1]).item()) @ axes.T
        self.mean.copy_(mean)
        self.factor.load_(precision_factors(covariance[None]))
