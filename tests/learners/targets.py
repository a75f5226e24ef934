"""A data side of two levels with one latent each whose density is known, and divergences from it by quadrature."""

from functools import cache

import torch
from torch import Tensor

from hebm.latents import Latents
from hebm.learners import PosteriorLatents

__all__ = [
    "divergence",
    "gaussian_floor",
    "grid_weights",
    "moments",
    "posterior",
    "target_log_prob",
    "target_moments",
    "top_down_floor",
]

WEIGHTS = torch.tensor([0.6, 0.4])
MEANS = torch.tensor([[1.0, 0.8], [-1.1, -0.3]])
COVARIANCES = torch.tensor([[[0.2, 0.1], [0.1, 0.25]], [[0.25, -0.1], [-0.1, 0.2]]])
SCALE = 0.25  # of every posterior
AXIS = torch.linspace(-5, 5, 201)
CELL = (AXIS[1] - AXIS[0]).item() ** 2


@cache
def grid() -> Latents:
    """Points of the plane, rows are the top level."""
    points = torch.cartesian_prod(AXIS, AXIS)
    return points[:, :1], points[:, 1:]


@cache
def target_log_prob() -> Tensor:
    """log q on the grid: two correlated modes."""
    flat = torch.cat(grid(), 1)
    parts = [
        torch.distributions.MultivariateNormal(mean, covariance).log_prob(flat)
        for mean, covariance in zip(MEANS, COVARIANCES, strict=True)
    ]
    return torch.logsumexp(torch.stack(parts) + WEIGHTS.log()[:, None], 0)


@cache
def posterior(n: int = 4000) -> PosteriorLatents:
    """Posteriors whose average over all images is the target."""
    generator = torch.Generator().manual_seed(17)
    component = (torch.rand(n, generator=generator) > WEIGHTS[0]).long()
    noise = torch.randn(n, 2, generator=generator)
    lower = torch.linalg.cholesky(COVARIANCES - SCALE**2 * torch.eye(2))
    mean = MEANS[component] + (lower[component] @ noise[:, :, None])[:, :, 0]
    return PosteriorLatents(mean, torch.full_like(mean, SCALE), (1, 1))


def grid_weights(log_density: Tensor) -> Tensor:
    """A density on the grid, normalised there: log Z by quadrature."""
    return log_density.double().softmax(0)


def divergence(log_density: Tensor) -> float:
    """KL(q | p) in nats of a density on the grid, normalised by its own log Z."""
    q = grid_weights(target_log_prob())
    return (q * (q.clamp_min(1e-300).log() - log_density.double().log_softmax(0))).sum().item()


def moments(flat: Tensor) -> Tensor:
    """E z and E z zᵀ and the weight of the upper mode of points [N, 2], each row's."""
    a, b = flat.double().unbind(1)
    return torch.stack([a, b, a * a, b * b, a * b, (a > 0).double()], 1)


def target_moments() -> Tensor:
    """Expected moments under q."""
    return (grid_weights(target_log_prob())[:, None] * moments(torch.cat(grid(), 1))).sum(0)


def gaussian_floor() -> float:
    """KL(q | N(m, C)) of the Gaussian with the target's moments: no other is closer."""
    m = target_moments()
    mean = m[:2]
    second = torch.stack([torch.stack([m[2], m[4]]), torch.stack([m[4], m[3]])])
    best = torch.distributions.MultivariateNormal(mean, second - torch.outer(mean, mean))
    return divergence(best.log_prob(torch.cat(grid(), 1).double()))


def top_down_floor() -> float:
    """KL(q | p) of N(z_top; 0, 1) and the conditional with the target's mean and variance for each z_top."""
    q = grid_weights(target_log_prob()).reshape(len(AXIS), -1)
    rows = q / q.sum(1, keepdim=True)
    mean = rows @ AXIS.double()
    variance = rows @ AXIS.double().square() - mean.square()
    top = -0.5 * AXIS.double().square()[:, None]
    offset = (AXIS.double()[None] - mean[:, None]).square() / variance[:, None]
    return divergence((top - 0.5 * offset - 0.5 * variance.log()[:, None]).flatten())
