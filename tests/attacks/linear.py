"""A linear Gaussian encoder and generator on 3×3 images, for which attacks and posteriors have closed forms."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hebm.distributions import DiagonalNormal
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.models import LatentPosterior
from hebm.priors import GaussianPrior, JointPrior

__all__ = ["DIMS", "SHAPE", "LinearModel", "images"]

SHAPE = (1, 3, 3)
DIMS = (2, 1)  # latents of each level, top first
PIXELS = 9
NOISE = 0.5  # scale of p(y|z)


def images(n: int, seed: int, *, low: float = 0.4, high: float = 0.6) -> Tensor:
    """Images whose pixels stay away from 0 and 1, [n, 1, 3, 3] float64."""
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(n, *SHAPE, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class _FrozenLinear:
    slope: Tensor

    def __call__(self, flat: Tensor) -> Tensor:
        return flat @ self.slope

    def value_and_grad(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        return self(flat), self.slope.expand_as(flat)


class LinearEnergy(nn.Module):
    """E(z) = bᵀz, which shifts N(0, I) to N(-b, I)."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.slope = nn.Parameter(slope)

    def forward(self, latents: Latents) -> Tensor:
        return self.frozen()(flatten_latents(latents))

    def frozen(self) -> _FrozenLinear:
        return _FrozenLinear(self.slope.detach())


class LinearModel(nn.Module):
    """z = A x + scale · ε of the encoder, y = W z + noise of the generator; the model's methods that attacks need."""

    image_shape = SHAPE
    level_dims = DIMS
    device = torch.device("cpu")

    def __init__(self, energy_slope: Tensor | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.a = nn.Parameter(torch.randn(3, PIXELS, generator=generator, dtype=torch.float64))
        self.w = nn.Parameter(torch.randn(PIXELS, 3, generator=generator, dtype=torch.float64))
        self.scale = torch.tensor([0.5, 0.8, 0.3], dtype=torch.float64)
        base = GaussianPrior(DIMS)
        self.prior = base if energy_slope is None else JointPrior(base, LinearEnergy(energy_slope))

    def encode(self, x: Tensor) -> LatentPosterior:
        means = unflatten_latents(x.flatten(1) @ self.a.T, DIMS)
        scales = torch.split(self.scale, DIMS)
        levels = zip(means, scales, strict=True)
        return LatentPosterior(tuple(DiagonalNormal(mean, scale.expand_as(mean)) for mean, scale in levels))

    def decode(self, latents: Latents) -> Tensor:
        y = flatten_latents(latents) @ self.w.T
        return ((y + 1) / 2).clamp(0, 1).reshape(-1, *SHAPE)

    def log_likelihood(self, x: Tensor, latents: Latents) -> Tensor:
        y = (2 * x - 1).flatten(1)
        return DiagonalNormal(flatten_latents(latents) @ self.w.T, torch.tensor(NOISE)).log_prob(y)

    def exact_posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [B, 3] and covariance [3, 3] of p(z|x)."""
        w = self.w.detach()
        slope = self.prior.energy.slope.detach() if self.prior.energy is not None else torch.zeros(3).double()
        covariance = torch.linalg.inv(torch.eye(3, dtype=w.dtype) + w.T @ w / NOISE**2)
        return ((2 * x - 1).flatten(1) @ w / NOISE**2 - slope) @ covariance, covariance
