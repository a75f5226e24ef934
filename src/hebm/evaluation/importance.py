r"""Importance weights of posterior draws: the bounds on log p(x).

.. math:: \log w_{ik} = \log p(x_i | z_{ik}) + \log p_0(z_{ik}) - E(z_{ik}) - \log q(z_{ik} | x_i),
    \quad z_{ik} \sim q(z | x_i)

.. math:: \mathcal L_k = E \log \tfrac{1}{k} \sum_{j=1}^k w_{ij} - \log Z \;\le\; \log p(x_i)

Everything here leaves out log Z.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.distributions import standard_normal_log_prob
from hebm.errors import ConfigError, NonFiniteError
from hebm.evaluation.inferred import InferredImages, posterior_draws
from hebm.latents import flatten_latents
from hebm.models import JointModel
from hebm.priors import Prior, base_of

__all__ = [
    "LatentTerms",
    "importance_bound",
    "latent_terms",
    "log_likelihoods",
    "variational_bound",
]


class LatentTerms(NamedTuple):
    """Log-densities of K posterior draws of N images, each [N, K] nats in float64.

    ``log_base`` is log p₀(z), normalised; ``log_standard`` log N(z; 0, I); ``energy`` E(z), zero for a prior without
    one; ``log_posterior`` log q(z|x).
    """

    log_base: Tensor
    log_standard: Tensor
    energy: Tensor
    log_posterior: Tensor

    @property
    def log_prior(self) -> Tensor:
        """log p₀(z) - E(z), [N, K] nats, up to log Z."""
        return self.log_base - self.energy

    @property
    def log_ratio(self) -> Tensor:
        """log p₀(z) - E(z) - log q(z|x), [N, K] nats, up to log Z: the weights but for log p(x|z)."""
        return self.log_prior - self.log_posterior


@torch.no_grad()
def latent_terms(
    prior: Prior, inferred: InferredImages, n_draws: int, *, seed: int, stream: str = "posterior"
) -> LatentTerms:
    """The terms that need no decoding.

    Args:
        prior: The prior.
        inferred: N images with their posteriors.
        n_draws: K.
        seed: The user's seed.
        stream: Of the draws.

    Raises:
        NonFiniteError: If a term is not finite.
    """
    base, blocks = base_of(prior).density(), []
    for draws in posterior_draws(inferred, n_draws, seed=seed, stream=stream):
        log_base = base(draws.latents)
        energy = torch.zeros_like(log_base) if prior.energy is None else prior.energy(draws.latents)
        log_standard = standard_normal_log_prob(flatten_latents(draws.latents))
        blocks.append((log_base, log_standard, energy, draws.posterior.log_prob(draws.latents)))
    terms = LatentTerms(*(_matrix(column, n_draws) for column in zip(*blocks, strict=True)))
    for name, value in terms._asdict().items():
        _require_finite(name, value)
    return terms


@torch.no_grad()
def log_likelihoods(model: JointModel, inferred: InferredImages, n_draws: int, *, seed: int) -> Tensor:
    """log p(x|z) of the same draws, in model coordinates, [N, K] nats in float64.

    Raises:
        NonFiniteError: If one is not finite.
    """
    blocks = []
    for draws in posterior_draws(inferred, n_draws, seed=seed):
        x = inferred.images.batch(draws.items).repeat_interleave(n_draws, 0)
        blocks.append(model.log_likelihood(x, draws.latents))
    values = _matrix(blocks, n_draws)
    _require_finite("log_likelihood", values)
    return values


def variational_bound(log_likelihood: Tensor, terms: LatentTerms, rate: Tensor) -> Tensor:
    r"""The ELBO of every image, [N] nats, up to log Z; in closed form what can be.

    .. math:: E_q\big[\log p(x|z) + \log p_0(z) - \log N(z; 0, I) - E(z)\big] - KL(q(z|x) \| N(0, I))

    Args:
        log_likelihood: [N, K].
        terms: Of the same draws.
        rate: KL to N(0, I) of all levels together, [N] nats.
    """
    drawn = log_likelihood + (terms.log_base - terms.log_standard) - terms.energy
    return drawn.mean(1) - rate.double()


def importance_bound(log_weights: Tensor, k: int) -> Tensor:
    """log mean exp of k weights, averaged over the groups of k there are: [N, K] to [N] nats, up to log Z.

    Raises:
        ConfigError: If there are fewer than k weights.

    Source: Burda et al. (2016), arXiv:1509.00519, eq. (8).
    """
    n_groups = log_weights.shape[1] // k
    if n_groups == 0:
        raise ConfigError(f"a bound of {k} samples needs as many, but there are {log_weights.shape[1]}.")
    groups = log_weights[:, : n_groups * k].reshape(len(log_weights), n_groups, k)
    return (groups.logsumexp(2) - math.log(k)).mean(1)


def _matrix(blocks: list[Tensor] | tuple[Tensor, ...], n_draws: int) -> Tensor:
    return torch.cat(tuple(blocks)).double().view(-1, n_draws)


def _require_finite(name: str, values: Tensor) -> None:
    finite = torch.isfinite(values)
    if not finite.all():
        raise NonFiniteError(
            f"{name} of posterior draws is not finite in {int((~finite).sum())} of {values.numel()} cases; the run "
            "may have diverged: evaluate an earlier checkpoint."
        )
