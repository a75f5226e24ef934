r"""How unlikely an image's latents are under the model's own prior."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hebm.detection.expected import ExpectedScore
from hebm.detection.inference import Inferred
from hebm.latents import Latents

__all__ = ["PriorDensity"]


@dataclass(frozen=True)
class PriorDensity(ExpectedScore):
    r"""Minus the log-density of the prior, up to log Z, which is the same for all images.

    .. math:: s(x) = -[\log p_0(z) - E(z)], \quad z = E_q z, \quad\text{or its mean over}\quad z \sim q(z|x)

    Args:
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.

    Source: the prior's part of the score of arXiv:2310.09604.
    """

    quantity = "the prior's density"

    def value(self, inferred: Inferred) -> Callable[[Latents], Tensor]:
        """-[log p₀(z) - E(z)]."""
        return lambda latents: -inferred.model.prior.log_density(latents)
