r"""Distortion: how badly an image is explained by its own latents."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection.inference import infer, require_count, require_finite
from hebm.models import JointModel

__all__ = ["Distortion"]


@dataclass(frozen=True)
class Distortion:
    r"""Minus the log-likelihood given the latents.

    .. math:: s(x) = -E_{q(z|x)} \log p(x|z), \quad\text{or}\quad -\log p(x | E_q z)

    Args:
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.

    Source: An & Cho (2015), the "reconstruction probability" (SNU Data Mining Center, Special Lecture on IE 2).
    """

    n_draws: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_draws", self.n_draws, least=0)

    @torch.no_grad()
    def __call__(self, model: JointModel, x: Tensor) -> Tensor:
        """[B] nats, with all constants of the likelihood (which may be a density, so it may be negative)."""
        inferred = infer(model, x)
        values = inferred.expectation(inferred.distortion, n_draws=self.n_draws, seed=self.seed)
        return require_finite("the distortion", values).to(x.device)
