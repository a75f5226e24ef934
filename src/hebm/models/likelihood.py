r"""Likelihoods p(x|h) over images in model coordinates y = 2x - 1, from the ladder's output h [B, C, H, W]."""

import math

import torch
from torch import Tensor, nn

from hebm.distributions import Bernoulli, DiagonalNormal, DiscretizedLogistic, ImageDistribution

__all__ = [
    "LIKELIHOODS",
    "BernoulliLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "LogisticLikelihood",
    "make_likelihood",
]

LIKELIHOODS = ("gaussian", "gaussian_learned", "bernoulli", "discretized_logistic")


class GaussianLikelihood(nn.Module):
    r"""N(tanh(h), scale²) per pixel. The paper's weight G of the squared error is 1 / (2 scale²).

    Args:
        scale: Standard deviation in model coordinates (pixels span [-1, 1]).
        learned: Whether the scale is one learned number, starting at `scale`.

    Source for the learned scale: Rybkin et al. (2021), arXiv:2006.13202.
    """

    log_scale: Tensor

    def __init__(self, scale: float, *, learned: bool = False) -> None:
        super().__init__()
        value = torch.tensor(math.log(scale))
        if learned:
            self.log_scale = nn.Parameter(value)
        else:
            self.register_buffer("log_scale", value, persistent=False)

    def forward(self, h: Tensor) -> ImageDistribution:
        """The distribution of the image."""
        return DiagonalNormal(torch.tanh(h), self.log_scale.exp())


class BernoulliLikelihood(nn.Module):
    """Bernoulli(sigmoid(h)) per pixel."""

    def forward(self, h: Tensor) -> ImageDistribution:
        """The distribution of the image."""
        return Bernoulli(h)


class LogisticLikelihood(nn.Module):
    r"""Logistic(tanh(h), s) integrated over the 256 grey levels; one learned s per channel, starting at `scale`."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((channels, 1, 1), math.log(scale)))

    def forward(self, h: Tensor) -> ImageDistribution:
        """The distribution of the image."""
        return DiscretizedLogistic(torch.tanh(h), self.log_scale.exp())


Likelihood = GaussianLikelihood | BernoulliLikelihood | LogisticLikelihood


def make_likelihood(kind: str, channels: int, scale: float) -> Likelihood:
    """The likelihood a configuration names; `scale` is the fixed or the starting scale, in model coordinates.

    Raises:
        ValueError: If no likelihood has that name.
    """
    match kind:
        case "gaussian":
            return GaussianLikelihood(scale)
        case "gaussian_learned":
            return GaussianLikelihood(scale, learned=True)
        case "bernoulli":
            return BernoulliLikelihood()
        case "discretized_logistic":
            return LogisticLikelihood(channels, scale)
    raise ValueError(f"likelihood {kind!r} is unknown; choose one of {sorted(LIKELIHOODS)}.")
