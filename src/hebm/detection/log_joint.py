r"""The negative log joint density of image and latents: the published score of this model."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hebm.detection.expected import ExpectedScore
from hebm.detection.inference import Inferred
from hebm.latents import Latents

__all__ = ["LogJoint"]


@dataclass(frozen=True)
class LogJoint(ExpectedScore):
    r"""Minus the log joint density, up to log Z, which is the same for all images.

    .. math:: s(x) = -[\log p(x|z) + \log p_0(z) - E(z)], \quad z = E_q z,
        \quad\text{or its mean over}\quad z \sim q(z|x)

    Args:
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.

    Source: arXiv:2310.09604 and its supplement (the unnormalised log-posterior).
    """

    quantity = "the log joint density"

    def value(self, inferred: Inferred) -> Callable[[Latents], Tensor]:
        """-[log p(x|z) + log p₀(z) - E(z)]."""
        log_prior = inferred.model.prior.log_density
        return lambda latents: inferred.distortion(latents).double() - log_prior(latents)
