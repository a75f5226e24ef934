"""A linear Gaussian hierarchy: y = W z + c + noise, a Gaussian base, a quadratic energy. All values have closed forms.

The closed forms are written down here from means and covariances, by another way than the library's.
"""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import torch
from tests.quadratic_energy import QuadraticEnergy
from torch import Tensor, nn

from hebm.distributions import DiagonalNormal
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.models import JointModel, LatentPosterior
from hebm.priors import FullGaussianPrior, GaussianPrior, JointPrior, MixturePrior
from hebm.samplers import ShortRunLangevin

DIMS = (2, 1, 2)  # latents of each level, top first
D = sum(DIMS)
SHAPE = (1, 3, 4)
PIXELS = 12
NOISE = 0.15  # scale of p(y|z)
DTYPE = torch.float64
Base = Literal["standard", "full", "mixture"]


def coupled_energy(strength: float) -> QuadraticEnergy:
    """An energy that couples the levels, of any strength."""
    root = torch.randn(D, D, generator=torch.Generator().manual_seed(3), dtype=DTYPE)
    b = torch.tensor([0.5, -0.3, 0.8, 0.2, -0.6], dtype=DTYPE)
    return QuadraticEnergy(strength * root @ root.T / D, strength * b)


class LinearGenerator(nn.Module):
    """N(W z + c, NOISE²)."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.w = nn.Parameter(0.15 * torch.randn(PIXELS, D, generator=generator, dtype=DTYPE))
        self.c = nn.Parameter(0.1 * torch.randn(PIXELS, generator=generator, dtype=DTYPE))
        self.register_buffer("scale", torch.tensor(NOISE, dtype=DTYPE))

    def forward(self, latents: Latents) -> DiagonalNormal:
        mean = flatten_latents(latents) @ self.w.T + self.c
        return DiagonalNormal(mean.view(-1, *SHAPE), self.scale)


class LinearEncoder(nn.Module):
    """N(A y + a, diag s²) with any A, a and s; dropout that does something in train mode alone."""

    def __init__(self, a: Tensor, offset: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.geometry = SimpleNamespace(image_shape=SHAPE)
        self.a, self.offset = nn.Parameter(a), nn.Parameter(offset)
        self.log_scale = nn.Parameter(scale.log())
        self.dropout = nn.Dropout(0.5)

    def forward(self, y: Tensor) -> LatentPosterior:
        mean = self.dropout(y.flatten(1) @ self.a.T + self.offset)
        scale = self.log_scale.exp().expand_as(mean)
        levels = zip(unflatten_latents(mean, DIMS), unflatten_latents(scale, DIMS), strict=True)
        return LatentPosterior(tuple(DiagonalNormal(m, s) for m, s in levels))


@dataclass(frozen=True)
class Gaussian:
    """N(mean, covariance), and log Z of what it was tilted by."""

    mean: Tensor
    covariance: Tensor
    log_z: float = 0.0

    def log_prob(self, flat: Tensor, columns: list[int] | None = None) -> Tensor:
        """Of some columns, the others integrated out."""
        c = list(range(D)) if columns is None else columns
        return torch.distributions.MultivariateNormal(self.mean[c], self.covariance[c][:, c]).log_prob(
            flat[:, c]
        )

    def expected_log_prob(self, q: LatentPosterior, columns: list[int]) -> Tensor:
        """E_q log p of some columns under a diagonal q."""
        precision = torch.linalg.inv(self.covariance[columns][:, columns])
        variance = flatten_latents(q.scale).square()[:, columns]
        return self.log_prob(flatten_latents(q.mean), columns) - 0.5 * (variance * precision.diagonal()).sum(
            1
        )


def base_prior(kind: Base) -> GaussianPrior | FullGaussianPrior | MixturePrior:
    """A base whose levels are correlated, N(0, I) aside."""
    generator = torch.Generator().manual_seed(7)
    roots = torch.randn(2, D, D, generator=generator, dtype=DTYPE)
    covariances = roots @ roots.mT / D + 0.3 * torch.eye(D, dtype=DTYPE)
    means = torch.randn(2, D, generator=generator, dtype=DTYPE)
    if kind == "standard":
        return GaussianPrior(DIMS)
    if kind == "full":
        full = FullGaussianPrior(DIMS).double()
        with torch.no_grad():
            full.mean.copy_(means[0])
            full.factor.load_(lower_of_precision(covariances[:1]))
        return full
    mixture = MixturePrior(DIMS, 2).double()
    mixture.load_components_(torch.tensor([0.3, 0.7], dtype=DTYPE), means, covariances)
    return mixture


def lower_of_precision(covariances: Tensor) -> Tensor:
    return torch.linalg.cholesky(torch.linalg.inv(covariances))


def components(prior: nn.Module) -> tuple[Tensor, list[Gaussian]]:
    """Log-weights (with each component's log Z in them) and tilted components of the prior, up to log Z."""
    base = prior.base if isinstance(prior, JointPrior) else prior
    if isinstance(base, GaussianPrior):
        log_weights, means = torch.zeros(1, dtype=DTYPE), torch.zeros(1, D, dtype=DTYPE)
        covariances = torch.eye(D, dtype=DTYPE)[None]
    else:
        parts = base.components()
        lower = parts.factors.lower.detach()
        log_weights, means = parts.log_weights.detach(), parts.means.detach()
        covariances = torch.linalg.inv(lower @ lower.mT)
    gaussians = [Gaussian(m, c) for m, c in zip(means, covariances, strict=True)]
    if isinstance(prior, JointPrior):
        gaussians = [tilted(g, prior.energy) for g in gaussians]
    return log_weights + torch.tensor([g.log_z for g in gaussians], dtype=DTYPE), gaussians


def tilted(base: Gaussian, energy: nn.Module) -> Gaussian:
    """N(m, C) exp(-E): E e^{-E} by completing the square."""
    a, b = energy.a.detach(), energy.b.detach()
    precision = torch.linalg.inv(base.covariance)
    shift = precision @ base.mean + b
    covariance = torch.linalg.inv(precision + a)
    mean = covariance @ shift
    log_z = 0.5 * (
        torch.logdet(covariance)
        - torch.logdet(base.covariance)
        + shift @ mean
        - base.mean @ precision @ base.mean
    )
    return Gaussian(mean, covariance, log_z.item())


def linear_model(
    base: Base = "full", *, energy: float | None = 0.7, encoder: Literal["exact", "perturbed"] = "perturbed"
) -> JointModel:
    """A model whose encoder is the exact posterior's mean-field part, or away from it.

    With ``exact`` on a standard base W's columns are orthogonal and there is no energy, so that it *is* the posterior.
    """
    generator = LinearGenerator()
    prior: nn.Module = base_prior(base)
    if energy is not None:
        prior = JointPrior(prior, coupled_energy(energy))
    if encoder == "exact":
        with torch.no_grad():
            generator.w.copy_(0.3 * torch.linalg.qr(generator.w)[0])
    w, c = generator.w.detach(), generator.c.detach()
    _, (gaussian, *_) = components(prior)
    precision = torch.linalg.inv(gaussian.covariance)
    posterior = precision + w.T @ w / NOISE**2
    gain = torch.linalg.solve(posterior, w.T / NOISE**2)
    offset = torch.linalg.solve(posterior, precision @ gaussian.mean) - gain @ c
    scale = posterior.diagonal().rsqrt()
    if encoder == "perturbed":
        gain, offset, scale = 1.15 * gain, offset + 0.1, 1.2 * scale
    model = JointModel(generator, LinearEncoder(gain, offset, scale), prior, ShortRunLangevin())  # type: ignore[arg-type]
    return model.eval()


def images_of(model: JointModel, latents: Tensor, *, seed: int, scale: float = NOISE) -> Tensor:
    """Images of flat latents [B, D] with noise, clipped to [0, 1]."""
    noise = torch.randn(len(latents), PIXELS, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    with torch.no_grad():
        mean = latents @ model.generator.w.T + model.generator.c
    return ((mean + scale * noise + 1) / 2).clamp(0, 1).view(-1, *SHAPE)


def normal_latents(model: JointModel, n: int, *, seed: int) -> Tensor:
    """Exact draws from the (single Gaussian) prior."""
    _, (gaussian, *_) = components(model.prior)
    noise = torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    return gaussian.mean + noise @ torch.linalg.cholesky(gaussian.covariance).T


def normal_images(model: JointModel, n: int, *, seed: int = 0) -> Tensor:
    """Images drawn from the model."""
    return images_of(model, normal_latents(model, n, seed=seed), seed=seed + 1)


def strange_images(model: JointModel, n: int, *, seed: int = 0) -> Tensor:
    """Images whose latents lie where the energy is high; twice the noise."""
    latents = normal_latents(model, n, seed=seed)
    _, axes = torch.linalg.eigh(coupled_energy(1.0).a.detach())
    return images_of(model, latents + 6 * axes[:, -1], seed=seed + 1, scale=2 * NOISE)


def broken_images(model: JointModel, n: int, *, seed: int = 0) -> Tensor:
    """Images whose lowest level lies far from where the upper ones would have it."""
    latents = normal_latents(model, n, seed=seed)
    latents[:, -DIMS[-1] :] += torch.tensor([-3.0, 3.0], dtype=DTYPE)
    return images_of(model, latents, seed=seed + 1)


def levels_columns(levels: range) -> list[int]:
    """Columns of the flat state."""
    starts = [sum(DIMS[:i]) for i in range(len(DIMS))]
    return [starts[i] + j for i in levels for j in range(DIMS[i])]


@dataclass(frozen=True)
class Exact:
    """Closed forms of one model and images; "up to log Z" as the scores are: log p₀(z) - E(z) = log p(z) + log Z."""

    model: JointModel
    x: Tensor

    @property
    def q(self) -> LatentPosterior:
        with torch.no_grad():
            return self.model.encode(self.x)

    @property
    def mean(self) -> Tensor:
        return flatten_latents(self.q.mean)

    @property
    def y(self) -> Tensor:
        return (2 * self.x - 1).flatten(1)

    @property
    def w(self) -> Tensor:
        return self.model.generator.w.detach()

    @property
    def prior(self) -> Gaussian:
        _, (gaussian,) = components(self.model.prior)
        return gaussian

    @property
    def base(self) -> Gaussian:
        base = self.model.prior.base if isinstance(self.model.prior, JointPrior) else self.model.prior
        _, (gaussian,) = components(base)
        return gaussian

    def log_likelihood(self, flat: Tensor, spread: Tensor | None = None) -> Tensor:
        """E log p(x|z) of z with the given means [B, D], and one covariance [D, D]."""
        residual = self.y - flat @ self.w.T - self.model.generator.c.detach()
        squares = residual.square().sum(1)
        if spread is not None:
            squares = squares + (self.w.T @ self.w * spread).sum()
        return -0.5 * squares / NOISE**2 - PIXELS * math.log(NOISE * math.sqrt(2 * math.pi))

    def distortion(self) -> Tensor:
        variance = flatten_latents(self.q.scale)[0].square()  # the same for all images
        return -self.log_likelihood(self.mean, torch.diag(variance))

    def entropy(self, columns: list[int]) -> Tensor:
        scale = flatten_latents(self.q.scale)[:, columns]
        return scale.log().sum(1) + 0.5 * len(columns) * math.log(2 * math.pi * math.e)

    def rate(self) -> Tensor:
        everything = list(range(D))
        return -self.entropy(everything) - self.prior.expected_log_prob(self.q, everything) - self.prior.log_z

    def rate_of(self, level: int) -> Tensor:
        """-H(q(z_l)) - E_q log p₀(z_l | above)."""
        above = levels_columns(range(level))
        given = self.base.expected_log_prob(self.q, levels_columns(range(level + 1)))
        if above:
            given = given - self.base.expected_log_prob(self.q, above)
        return -self.entropy(levels_columns(range(level, level + 1))) - given

    def log_evidence(self) -> Tensor:
        """log p(x) + log Z."""
        p = self.prior
        mean = p.mean @ self.w.T + self.model.generator.c.detach()
        covariance = self.w @ p.covariance @ self.w.T + NOISE**2 * torch.eye(PIXELS, dtype=DTYPE)
        return torch.distributions.MultivariateNormal(mean, covariance).log_prob(self.y) + p.log_z

    def bound_above(self, n_lowest: int) -> Tensor:
        """L^{>k} + log Z: the lowest levels follow p(z_b | z_a), affine in z_a with covariance V."""
        p = self.prior
        a = levels_columns(range(len(DIMS) - n_lowest))
        b = [i for i in range(D) if i not in a]
        gain = p.covariance[b][:, a] @ torch.linalg.inv(p.covariance[a][:, a])
        v = p.covariance[b][:, b] - gain @ p.covariance[a][:, b]
        embed = torch.zeros(D, len(a), dtype=DTYPE)  # z = embed z_a + constant + noise of covariance V
        embed[a], embed[b] = torch.eye(len(a), dtype=DTYPE), gain
        constant = torch.zeros(D, dtype=DTYPE)
        constant[b] = p.mean[b] - gain @ p.mean[a]
        noise = torch.zeros(D, D, dtype=DTYPE)
        noise[torch.tensor(b)[:, None], torch.tensor(b)] = v
        flat = self.mean[:, a] @ embed.T + constant
        variance = flatten_latents(self.q.scale).square()[0, a]  # the same for all images
        likelihood = self.log_likelihood(flat, embed @ torch.diag(variance) @ embed.T + noise)
        return likelihood + p.expected_log_prob(self.q, a) + p.log_z + self.entropy(a)

    def bound(self) -> Tensor:
        """L + log Z."""
        return -self.distortion() - self.rate()

    def best_bound(self) -> Tensor:
        """L + log Z of the best diagonal posterior: the exact mean, and variances 1 / Λ_ii."""
        precision = torch.linalg.inv(self.prior.covariance) + self.w.T @ self.w / NOISE**2
        gap = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
        return self.log_evidence() - gap
