r"""The negative importance-weighted bound."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection.base import InferredScore
from hebm.detection.inference import Inferred, common_draws, require_count

__all__ = ["Iwae"]


@dataclass(frozen=True)
class Iwae(InferredScore):
    r"""Minus the importance-weighted bound on log p(x), up to log Z, which is the same for all images.

    .. math:: s(x) = -\log \tfrac1n \sum_{j=1}^n
        \frac{p(x|z_j)\, p_0(z_j)\, e^{-E(z_j)}}{q(z_j|x)}, \quad z_j \sim q(z|x)

    Args:
        n_samples: n, at least 1; the draws are common to all images.
        seed: Of the draws.

    Source: Burda et al. (2016), arXiv:1509.00519, eq. (8).
    """

    quantity = "the importance-weighted bound"

    n_samples: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_samples", self.n_samples, least=1)

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats."""
        log_weights = [
            inferred.model.prior.log_density(latents).double()
            - inferred.distortion(latents)
            - inferred.posterior.log_prob(latents)
            for latents in common_draws(inferred.posterior, self.n_samples, seed=self.seed)
        ]
        return math.log(self.n_samples) - torch.stack(log_weights).logsumexp(0)
