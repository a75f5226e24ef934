r"""Rate: how far the posterior is from the prior, over all levels or on one.

.. math:: KL(q(z|x) \| p(z)) = \sum_l r_l(x) + E_q[E(z)] + \log Z, \qquad
    r_l(x) = E_q\big[\log q(z_l|x) - \log p_0(z_l | z_{\text{above } l})\big]

The chain rule of the base splits the rate into levels; the energy couples them and belongs to none.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection.base import InferredScore
from hebm.detection.inference import Inferred, require_count
from hebm.distributions import standard_normal_log_prob
from hebm.errors import ConfigError
from hebm.latents import Latents
from hebm.priors import base_of

__all__ = ["Rate", "rate_of_all"]


@dataclass(frozen=True)
class Rate(InferredScore):
    r"""Rate of all levels, or of one.

    All levels: KL(q(z|x) ‖ p(z)) up to log Z. One level: r_l, under the base given the levels above, without the
    energy; the levels' rates and the energy add up to the rate. What has no closed form (a learned base, the energy)
    is a mean over common draws, relative to N(0, I), whose part is exact.

    Args:
        level: The level, 0 is the top; None for all.
        n_draws: Common draws of q(z|x), at least 1.
        seed: Of the draws.

    Source: the rate of arXiv:2310.09604's bound; by level after Havtorn et al. (2021), arXiv:2102.08248.
    """

    quantity = "the rate"

    level: int | None = None
    n_draws: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_draws", self.n_draws, least=1)
        require_count("level", self.level or 0, least=0)

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats, up to log Z where all levels are asked for.

        Raises:
            ConfigError: If the model does not have the level.
            UnsupportedError: If the base cannot tell one level's density given those above (a flow).
        """
        n_levels = len(inferred.model.level_dims)
        if self.level is not None and self.level >= n_levels:
            raise ConfigError(
                f"level {self.level} does not exist: this model has levels 0 (top) to {n_levels - 1} (bottom)."
            )
        if self.level is None:
            return rate_of_all(inferred, n_draws=self.n_draws, seed=self.seed)
        return _rate_of(inferred, self.level, n_draws=self.n_draws, seed=self.seed)


def rate_of_all(inferred: Inferred, *, n_draws: int, seed: int) -> Tensor:
    """KL(q(z|x) ‖ p(z)) up to log Z, [B] nats: exact to N(0, I), the rest by common draws."""
    prior = inferred.model.prior
    exact = torch.stack(inferred.posterior.rate_per_level()).double().sum(0)

    def beyond(latents: Latents) -> Tensor:
        standard = torch.stack([standard_normal_log_prob(z) for z in latents]).double().sum(0)
        return standard - prior.log_density(latents)

    return exact + inferred.expectation(beyond, n_draws=n_draws, seed=seed)


def _rate_of(inferred: Inferred, level: int, *, n_draws: int, seed: int) -> Tensor:
    base = base_of(inferred.model.prior)
    exact = inferred.posterior[level].kl_to_standard().double()
    above = range(level)

    def beyond(latents: Latents) -> Tensor:
        given_above = base.marginal_log_prob(latents, range(level + 1)).double()
        if level:
            given_above = given_above - base.marginal_log_prob(latents, above)
        return standard_normal_log_prob(latents[level]) - given_above

    return exact + inferred.expectation(beyond, n_draws=n_draws, seed=seed)
