r"""The few distributions of the model; `sample` takes a generator, every log-probability is [B], in nats.

Images enter in *model coordinates* y = 2x - 1 in [-1, 1], where x in [0, 1] is what the user sees.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hebm.randomness import NoiseSource, standard_normal

__all__ = [
    "Bernoulli",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "ImageDistribution",
    "standard_normal_log_prob",
]

N_BINS = 256


class ImageDistribution(Protocol):
    """p(y|z) of one batch of images."""

    @property
    def mean(self) -> Tensor:
        """Mean image, [B, C, H, W] in model coordinates."""
        ...

    def log_prob(self, y: Tensor) -> Tensor:
        """Log-probability of images [B, C, H, W] in model coordinates: [B] nats."""
        ...


def standard_normal_log_prob(z: Tensor) -> Tensor:
    r"""Log-density of N(0, I): :math:`-\tfrac12 |z|^2 - \tfrac{d}{2}\log 2\pi`, [B, d] to [B] nats."""
    return -0.5 * z.square().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)


@dataclass(frozen=True)
class DiagonalNormal:
    r"""N(mean, diag(scale²)); a latent level [B, d] or a batch of images [B, C, H, W].

    Args:
        mean: Means, [B, ...].
        scale: Standard deviations, broadcastable to the means.
    """

    mean: Tensor
    scale: Tensor

    def sample(self, generator: NoiseSource = None) -> Tensor:
        r"""Draw :math:`\mu + \sigma\epsilon`, differentiable in mean and scale; shaped like the mean."""
        return self.at(standard_normal(self.mean, generator))

    def at(self, eps: Tensor) -> Tensor:
        r"""The point :math:`\mu + \sigma\epsilon` for a given noise."""
        return self.mean + self.scale * eps

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Log-density, summed over all but the batch: :math:`-\sum[\tfrac{(v-\mu)^2}{2\sigma^2} + \log\sigma +
        \tfrac12\log 2\pi]`, [B] nats."""
        log_scale = self.scale.log().expand_as(self.mean)
        per_element = ((value - self.mean) / self.scale).square() / 2 + log_scale
        return -per_element.flatten(1).sum(1) - 0.5 * math.log(2 * math.pi) * self.mean[0].numel()

    def kl_to_standard(self) -> Tensor:
        r"""KL(N(mean, scale²) ‖ N(0, I)) = :math:`\tfrac12\sum[\mu^2 + \sigma^2 - 1 - \log\sigma^2]`, [B] nats."""
        per_unit = self.mean.square() + self.scale.square() - 1 - 2 * self.scale.log()
        return 0.5 * per_unit.sum(1)

    def kl_to(self, other: "DiagonalNormal") -> Tensor:
        r"""KL(self ‖ other) = :math:`\sum[\log\tfrac{\sigma'}{\sigma} + \tfrac{\sigma^2 + (\mu - \mu')^2}{2\sigma'^2} -
        \tfrac12]`, primes the other's, [B] nats."""
        ratio = self.scale / other.scale
        per_unit = ratio.square() + ((self.mean - other.mean) / other.scale).square() - 1 - 2 * ratio.log()
        return 0.5 * per_unit.flatten(1).sum(1)


@dataclass(frozen=True)
class Bernoulli:
    r"""Independent pixels that are 1 with probability sigmoid(logits); grey images enter as probabilities.

    For x in (0, 1) the value is the cross-entropy, which is no log-probability of grey images: binarise the
    data to report likelihoods.

    Args:
        logits: Log-odds of a white pixel, [B, C, H, W].
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean image in model coordinates, [B, C, H, W]."""
        return 2 * torch.sigmoid(self.logits) - 1

    def log_prob(self, y: Tensor) -> Tensor:
        r""":math:`\sum x \log p + (1 - x)\log(1 - p)` with x = (y + 1) / 2, [B] nats."""
        x = (y + 1) / 2
        per_pixel = F.binary_cross_entropy_with_logits(self.logits, x, reduction="none")
        return -per_pixel.flatten(1).sum(1)


@dataclass(frozen=True)
class DiscretizedLogistic:
    r"""Logistic density integrated over the 256 grey levels; the outer bins reach to infinity.

    .. math:: P(y) = \mathrm{sigmoid}((y + 1/255 - \mu)/s) - \mathrm{sigmoid}((y - 1/255 - \mu)/s)

    Args:
        mean: Locations, [B, C, H, W] in model coordinates.
        scale: Logistic scale s, broadcastable to the mean.

    Source: Kingma et al. (2016), arXiv:1606.04934, appendix A.
    """

    mean: Tensor
    scale: Tensor

    def log_prob(self, y: Tensor) -> Tensor:
        """Log-probability of the grey level nearest to each value, summed over pixels, [B] nats."""
        level = torch.round((y + 1) / 2 * (N_BINS - 1))
        centre = level / (N_BINS - 1) * 2 - 1
        half_bin = 1 / (N_BINS - 1)
        upper = (centre + half_bin - self.mean) / self.scale
        lower = (centre - half_bin - self.mean) / self.scale
        # log(sigmoid(u) - sigmoid(l)) = logsig(u) + logsig(-l) + log(1 - exp(l - u)), stable in both tails
        inner = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))
        per_pixel = torch.where(level == 0, F.logsigmoid(upper), inner)
        per_pixel = torch.where(level == N_BINS - 1, F.logsigmoid(-lower), per_pixel)
        return per_pixel.flatten(1).sum(1)
