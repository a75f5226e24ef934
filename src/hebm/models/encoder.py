r"""The bottom-up ladder encoder q(z|x) = ∏ N(z_l; μ_l(r_l), diag σ_l²(r_l)).

.. math:: r_1 = \mathrm{trunk}_1(x), \quad r_{l+1} = \mathrm{trunk}_{l+1}(r_l), \quad
          z_l \mid x \sim N\big(\mu_l(\mathrm{ladder}_l(r_{l-1})), \sigma_l^2(\mathrm{ladder}_l(r_{l-1}))\big)

At every level a trunk block and a ladder block of the same form read the same input. The top level has no
ladder block: its map goes through two dense layers.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from hebm.distributions import DiagonalNormal
from hebm.models.geometry import LadderGeometry
from hebm.models.posterior import LatentPosterior
from hebm.nn import TwinBlock, at_least_float32, conv, initialise_convolutions

__all__ = ["LadderEncoder"]

VARIANCE_FLOOR = 1e-6


class GaussianHead(nn.Module):
    """Two linear maps of the features [B, n_in]: mean and log-variance of a level's normal."""

    def __init__(self, n_in: int, n_latents: int) -> None:
        super().__init__()
        self.mean = nn.Linear(n_in, n_latents)
        self.log_variance = nn.Linear(n_in, n_latents)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale, each [B, n_latents], in float32 where the features have less precision."""
        mean = at_least_float32(self.mean(features))
        log_variance = at_least_float32(self.log_variance(features))
        return mean, (log_variance.exp() + VARIANCE_FLOOR).sqrt()


class Reduction(nn.Module):
    """Further halvings before the top level, where its map would be larger than 8×8: conv 4×4, leaky ReLU each."""

    def __init__(self, n_in: int, geometry: LadderGeometry, slope: float) -> None:
        super().__init__()
        n_out = geometry.reduction_channels
        sizes = geometry.reduction_sizes[:-1]
        self.slope = slope
        self.layers = nn.ModuleList(
            conv(n_in if i == 0 else n_out, n_out, size, halve=True) for i, size in enumerate(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, S, S] to the top level's map."""
        for layer in self.layers:
            x = F.leaky_relu(layer(x), self.slope)
        return x


class LadderEncoder(nn.Module):
    """Images to the distributions of all levels.

    Args:
        geometry: Image shape and levels.
        slope: Negative slope of the leaky ReLUs.

    Source: arXiv:2310.09604; layers as in its released code.
    """

    def __init__(self, geometry: LadderGeometry, *, slope: float = 0.01) -> None:
        super().__init__()
        self.geometry = geometry
        self.slope = slope
        channels, size, _ = geometry.image_shape
        lower = list(reversed(geometry.lower))
        sizes = [size, *reversed(geometry.lower_sizes)]
        widths = [channels, *(level.channels for level in lower)]
        self.blocks = nn.ModuleList(
            TwinBlock(n_in, n_out, s, slope)
            for (n_in, n_out), s in zip(pairwise(widths), sizes[:-1], strict=True)
        )
        self.reduction = Reduction(widths[-1], geometry, slope)
        top, top_map = geometry.levels[0], geometry.reduction_sizes[-1] ** 2
        n_top = top_map * (geometry.reduction_channels if self.reduction.layers else widths[-1])
        self.top = nn.ModuleList([nn.Linear(n_top, top.channels), nn.Linear(top.channels, top.channels)])
        flat = [level.channels * s * s for level, s in zip(lower, sizes[1:], strict=True)]
        heads = [GaussianHead(n, level.latents) for n, level in zip(flat, lower, strict=True)]
        self.heads = nn.ModuleList([*heads, GaussianHead(top.channels, top.latents)])
        initialise_convolutions(self)

    def forward(self, y: Tensor) -> LatentPosterior:
        """Images in model coordinates [B, C, H, W] to q(z|x), top level first."""
        features, ladders = self._features(y)
        read = [*(ladder.flatten(1) for ladder in ladders), features]
        levels = [DiagonalNormal(*head(x)) for head, x in zip(self.heads, read, strict=True)]
        return LatentPosterior(tuple(reversed(levels)))

    def trunk(self, y: Tensor) -> Tensor:
        """Images in model coordinates to what the top level's head reads, [B, channels of the top level]."""
        return self._features(y)[0]

    def _features(self, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the heads read: the top level's features, and the ladders from the bottom up."""
        trunk, ladders = y, []
        for block in self.blocks:
            trunk, ladder = block(trunk)
            ladders.append(ladder)
        features = self.reduction(trunk).flatten(1)
        for layer in self.top:
            features = F.leaky_relu(layer(features), self.slope)
        return features, ladders
