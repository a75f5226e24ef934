r"""A neural spline flow over all levels: white noise through an invertible map, p₀(z) = N(T(z); 0, I) |det ∂T/∂z|.

The splines act on [-5, 5] per standardised latent and transform and are the identity outside of it, so that
the flow's tails are those of N(0, I) in units of the buffers `mean` and `scale`: standardise first.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hebm.distributions import standard_normal_log_prob
from hebm.errors import LatentShapeError, MissingDependencyError, NonFiniteError, UnsupportedError
from hebm.latents import Latents, check_latents, flatten_latents, kept_indices, unflatten_latents
from hebm.priors.autograd_density import AutogradDensity, frozen_copy
from hebm.randomness import NoiseSource, standard_normal

__all__ = ["FlowPrior"]


class FlowPrior(nn.Module):
    r"""An autoregressive neural spline flow on standardised latents y = (z - mean) / scale.

    .. math:: \log p_0(z) = \log N(T(y); 0, I) + \log |\det \partial T / \partial y| - \sum \log \mathrm{scale}

    It starts as the identity, at N(mean, diag scale²). The density is one pass of each transform's network,
    a draw as many passes as there are latents.

    Args:
        level_dims: Number of latents of each level, top first.
        n_transforms: Number of autoregressive transforms; they go through the latents in alternating order.
        hidden: Widths of the hidden layers of each transform's network.
        bins: Number of spline segments.

    Raises:
        MissingDependencyError: If the optional library zuko is not installed.

    Source: Durkan et al. (2019), arXiv:1906.04032, in the implementation of zuko.
    """

    energy = None
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        level_dims: Sequence[int],
        *,
        n_transforms: int = 3,
        hidden: Sequence[int] = (128, 128),
        bins: int = 8,
    ) -> None:
        super().__init__()
        self.level_dims = tuple(level_dims)
        self.register_buffer("mean", torch.zeros(sum(level_dims)))
        self.register_buffer("scale", torch.ones(sum(level_dims)))
        self.transforms = _spline_transforms(sum(level_dims), n_transforms, hidden, bins)

    @torch.no_grad()
    def standardise_(self, flat: Tensor) -> None:
        """Set `mean` and `scale` to those of posterior samples [N, D].

        Raises:
            LatentShapeError: If the width is not the number of latents.
            NonFiniteError: If a standard deviation is zero or not finite.
        """
        unflatten_latents(flat, self.level_dims)
        scale = flat.double().std(0)
        if not (torch.isfinite(scale) & (scale > 0)).all():
            raise NonFiniteError("the scale of a latent is zero or not finite; check the posterior.")
        self.mean.copy_(flat.double().mean(0))
        self.scale.copy_(scale)

    def _transform(self) -> Any:
        """T as a transform of zuko."""
        return self.transforms()

    def log_prob(self, latents: Latents) -> Tensor:
        """Normalised log-density of all levels, [B] nats."""
        check_latents(latents, self.level_dims)
        flat = flatten_latents(latents)
        with torch.autocast(flat.device.type, enabled=False):
            white, log_det = self._transform().call_and_ladj((flat - self.mean) / self.scale)
        log_prob: Tensor = standard_normal_log_prob(white) + log_det - self.scale.log().sum()
        return log_prob

    def marginal_log_prob(self, latents: Latents, levels: Collection[int]) -> Tensor:
        """Of all levels together; a flow's other marginals have no closed form.

        Raises:
            UnsupportedError: If a level is left out.
        """
        kept_indices(self.level_dims, levels)
        if len(set(levels)) < len(self.level_dims):
            raise UnsupportedError(
                "a flow has no density of some levels without the others; use a base that does, such as mixture."
            )
        return self.log_prob(latents)

    def log_density(self, latents: Latents) -> Tensor:
        """The same as :meth:`log_prob`: this prior is normalised."""
        return self.log_prob(latents)

    def to_white(self, latents: Latents) -> Latents:
        """u = T((z - mean) / scale), cut into levels; N(0, I) under this prior."""
        check_latents(latents, self.level_dims)
        flat = flatten_latents(latents)
        with torch.autocast(flat.device.type, enabled=False):
            return unflatten_latents(self._transform()((flat - self.mean) / self.scale), self.level_dims)

    def from_white(self, white: Latents) -> Latents:
        """z = mean + scale T⁻¹(u), the inverse of :meth:`to_white`."""
        check_latents(white, self.level_dims)
        flat = flatten_latents(white)
        with torch.autocast(flat.device.type, enabled=False):
            return unflatten_latents(self.mean + self.scale * self._transform().inv(flat), self.level_dims)

    @torch.no_grad()
    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Draw n items, one [n, d_l] matrix per level, on the device and in the dtype of `like`.

        Raises:
            NonFiniteError: If the inverse of a spline failed.
        """
        empty = torch.empty(n, sum(self.level_dims), dtype=like.dtype, device=like.device)
        noise = standard_normal(empty, generator).to(self.mean)
        drawn = flatten_latents(self.from_white(unflatten_latents(noise, self.level_dims)))
        if not torch.isfinite(drawn).all():
            raise NonFiniteError(
                "a draw from the flow is not finite; draw in float64, or fit it at a lower rate."
            )
        return unflatten_latents(drawn.to(like), self.level_dims)

    def sample_base_given(
        self, latents: Latents, levels: Collection[int], *, generator: NoiseSource = None
    ) -> Latents:
        """Not available: a flow's conditionals have no closed form.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "a flow has no exact draw of some levels given the others; run a chain on `density()` instead."
        )

    def density(self) -> AutogradDensity:
        """The density with frozen parameters, as a sampler sees it; its gradient is autograd's."""
        return AutogradDensity(frozen_copy(self))


def _spline_transforms(dim: int, n_transforms: int, hidden: Sequence[int], bins: int) -> nn.Module:
    """The lazy composition of zuko's transforms, each the identity at first."""
    try:
        import zuko
    except ImportError as error:
        raise MissingDependencyError(
            "a flow prior needs the optional library zuko; install it by pip install 'hebm[flow]'."
        ) from error
    if dim < 2:
        raise LatentShapeError(f"a flow needs at least two latents, but the levels have {dim} in all.")
    transforms: nn.Module = zuko.flows.NSF(
        dim, transforms=n_transforms, hidden_features=list(hidden), bins=bins
    ).transform
    for network in (m for m in transforms.modules() if isinstance(m, zuko.nn.MaskedMLP)):
        nn.init.zeros_(network[-1].weight)
        nn.init.zeros_(network[-1].bias)
    return transforms
