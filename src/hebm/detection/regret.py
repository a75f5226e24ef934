r"""Likelihood regret: how much an image's bound gains from a posterior of its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection.base import InferredScore
from hebm.detection.inference import Inferred, common_noise, require_count
from hebm.distributions import DiagonalNormal, standard_normal_log_prob
from hebm.errors import ConfigError
from hebm.latents import Latents, flatten_latents, unflatten_latents

__all__ = ["LikelihoodRegret"]


@dataclass(frozen=True)
class LikelihoodRegret(InferredScore):
    r"""The bound with the best posterior of this image, minus that with the encoder's.

    .. math:: s(x) = \max_{\mu, \sigma} \mathcal L(x; \mu, \sigma) - \mathcal L(x; \mu(x), \sigma(x)), \qquad
        \mathcal L = E_{N(\mu, \sigma^2)}\big[\log p(x|z) + \log p_0(z) - E(z)\big] + H(N(\mu, \sigma^2))

    log Z cancels. The maximum is looked for by Adam on the image's own (μ, log σ), from the encoder's; each image moves
    by itself. Both bounds use the same common draws, which do not change between steps, so that the value is
    deterministic.

    Args:
        n_steps: Steps of Adam, at least 1.
        lr: Its rate.
        n_draws: Common draws, at least 1; few draws are fitted themselves, which raises all values.
        seed: Of the draws.

    Source: Xiao, Yan & Amit (2020), arXiv:2003.02977, who adapt the encoder's weights or, faster, as here its output.
    """

    quantity = "the likelihood regret"

    n_steps: int = 30
    lr: float = 0.05
    n_draws: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_steps", self.n_steps, least=1)
        require_count("n_draws", self.n_draws, least=1)
        if not self.lr > 0:
            raise ConfigError(f"`lr` must be positive, but it is {self.lr}.")

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats, not negative: the best bound on Adam's way, where the encoder's is the first."""
        mean, scale = flatten_latents(inferred.posterior.mean), flatten_latents(inferred.posterior.scale)
        noise = common_noise(self.n_draws, mean.shape[1], seed=self.seed, like=mean)
        bounds = torch.stack(list(self._bounds_on_the_way(inferred, mean, scale.log(), noise)))
        return bounds.amax(0) - bounds[0]

    def _bounds_on_the_way(
        self, inferred: Inferred, mean: Tensor, log_scale: Tensor, noise: Tensor
    ) -> Iterator[Tensor]:
        """Bounds [B] before every step and after the last."""
        mean, log_scale = mean.clone().requires_grad_(), log_scale.clone().requires_grad_()
        optimizer = torch.optim.Adam([mean, log_scale], lr=self.lr)
        for _ in range(self.n_steps):
            with torch.enable_grad():
                bound = _bound(inferred, mean, log_scale, noise)
                grads = torch.autograd.grad(-bound.sum(), (mean, log_scale))  # touches no parameter's .grad
            yield bound.detach()
            mean.grad, log_scale.grad = grads
            optimizer.step()
        yield _bound(inferred, mean.detach(), log_scale.detach(), noise)


def _bound(inferred: Inferred, mean: Tensor, log_scale: Tensor, noise: Tensor) -> Tensor:
    """L(x; μ, σ) up to log Z, [B] nats; the KL to N(0, I) is exact."""
    model, posterior = inferred.model, DiagonalNormal(mean, log_scale.exp())

    def value(flat: Tensor) -> Tensor:
        latents: Latents = unflatten_latents(flat, model.level_dims)
        beyond = model.prior.log_density(latents) - standard_normal_log_prob(flat)
        return beyond.double() - inferred.distortion(latents)

    drawn = torch.stack([value(posterior.at(eps)) for eps in noise]).mean(0)
    return drawn - posterior.kl_to_standard()
