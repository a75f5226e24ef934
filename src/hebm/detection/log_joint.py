r"""The negative log joint density of image and latents: the published score of this model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection.inference import infer, require_count, require_finite
from hebm.latents import Latents
from hebm.models import JointModel

__all__ = ["LogJoint"]


@dataclass(frozen=True)
class LogJoint:
    r"""Minus the log joint density, up to log Z, which is the same for all images.

    .. math:: s(x) = -[\log p(x|z) + \log p_0(z) - E(z)], \quad z = E_q z,
        \quad\text{or its mean over}\quad z \sim q(z|x)

    Args:
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.

    Source: arXiv:2310.09604 and its supplement (the unnormalised log-posterior).
    """

    n_draws: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_draws", self.n_draws, least=0)

    @torch.no_grad()
    def __call__(self, model: JointModel, x: Tensor) -> Tensor:
        """[B] nats."""
        inferred = infer(model, x)

        def value(latents: Latents) -> Tensor:
            return inferred.distortion(latents).double() - model.prior.log_density(latents)

        values = inferred.expectation(value, n_draws=self.n_draws, seed=self.seed)
        return require_finite("the log joint density", values).to(x.device)
