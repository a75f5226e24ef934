r"""Distortion: how badly an image is explained by its own latents."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hebm.detection.expected import ExpectedScore
from hebm.detection.inference import Inferred
from hebm.latents import Latents

__all__ = ["Distortion"]


@dataclass(frozen=True)
class Distortion(ExpectedScore):
    r"""Minus the log-likelihood given the latents.

    .. math:: s(x) = -E_{q(z|x)} \log p(x|z), \quad\text{or}\quad -\log p(x | E_q z)

    With all constants of the likelihood, which may be a density, so that it may be negative.

    Args:
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.

    Source: An & Cho (2015), the "reconstruction probability" (SNU Data Mining Center, Special Lecture on IE 2).
    """

    quantity = "the distortion"

    def value(self, inferred: Inferred) -> Callable[[Latents], Tensor]:
        """-log p(x|z)."""
        return inferred.distortion
