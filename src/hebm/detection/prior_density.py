r"""How unlikely an image's latents are under the model's own prior."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection.inference import infer, require_count, require_finite
from hebm.models import JointModel

__all__ = ["PriorDensity"]


@dataclass(frozen=True)
class PriorDensity:
    r"""Minus the log-density of the prior, up to log Z, which is the same for all images.

    .. math:: s(x) = -[\log p_0(z) - E(z)], \quad z = E_q z, \quad\text{or its mean over}\quad z \sim q(z|x)

    Args:
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.

    Source: the prior's part of the score of arXiv:2310.09604.
    """

    n_draws: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_draws", self.n_draws, least=0)

    @torch.no_grad()
    def __call__(self, model: JointModel, x: Tensor) -> Tensor:
        """[B] nats."""
        inferred = infer(model, x)
        values = -inferred.expectation(model.prior.log_density, n_draws=self.n_draws, seed=self.seed)
        return require_finite("the prior's density", values).to(x.device)
