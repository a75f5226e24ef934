r"""The top-down ladder generator p(x|z).

.. math:: h_L = g_L(z_L), \quad h_l = g_l(\mathrm{join}(h_{l+1}, z_l)), \quad x \sim p(x \mid h_1)

Two ladders, as released with arXiv:2310.09604: levels that join by *addition* (a linear map of the level is
added to the stream, no activation at the join) and by *concatenation* (a linear map with leaky ReLU is put
behind the stream's channels, and one more convolution mixes them).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hebm.distributions import ImageDistribution
from hebm.latents import Latents, check_latents
from hebm.models.geometry import LadderGeometry
from hebm.models.likelihood import Likelihood
from hebm.nn import at_least_float32, initialise_convolutions, transposed

__all__ = ["AddLadder", "ConcatLadder", "LadderGenerator"]


def _dense(*widths: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))


def _as_map(values: Tensor, size: int) -> Tensor:
    """Unfold [B, C * size * size] to maps [B, C, size, size]."""
    return values.reshape(len(values), -1, size, size)


def _growth(channels: int, geometry: LadderGeometry) -> nn.ModuleList:
    """Transposed convolutions from the top map up to the highest ladder map (to the image at L = 1)."""
    sizes = list(reversed(geometry.reduction_sizes))
    return nn.ModuleList(transposed(channels, channels, a, b) for a, b in pairwise(sizes))


class AddLadder(nn.Module):
    """Levels join by addition.

    The top level's dense layers end in one value per channel; the level below is added to those values, and
    a linear map unfolds them to the smallest map. Every further level is added to the map it belongs to.

    Args:
        geometry: Image shape and levels.
        top_width: Hidden width of the top level's dense layers.
        slope: Negative slope of the leaky ReLUs.
    """

    def __init__(self, geometry: LadderGeometry, top_width: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        lower, sizes = geometry.lower, geometry.lower_sizes
        channels, size, _ = geometry.image_shape
        start, self.start_size = geometry.reduction_channels, geometry.reduction_sizes[-1]
        self.top = _dense(geometry.levels[0].latents, top_width, top_width, start)
        self.unfold = nn.Linear(start, start * self.start_size**2)
        self.growth = _growth(start, geometry)
        self.join_sizes = (1, *sizes[1:])[: len(lower)]
        self.joins = nn.ModuleList(
            nn.Linear(level.latents, level.channels * s * s)
            for level, s in zip(lower, self.join_sizes, strict=True)
        )
        self.widening = nn.ModuleList(
            transposed(level.channels, level.channels, a, b)
            for level, (a, b) in zip(lower, pairwise([*sizes, size]), strict=True)
        )
        widths = [level.channels for level in lower] or [start]
        out_sizes = [*sizes[1:], size]
        self.mixing = nn.ModuleList(
            transposed(a, b, s, s) for (a, b), s in zip(pairwise([*widths, channels]), out_sizes, strict=True)
        )

    def forward(self, latents: Latents) -> Tensor:
        """[B, d_l] per level, top first, to [B, C, H, W] before the likelihood."""
        top, *lower = latents
        hidden = F.leaky_relu(self.top[0](top), self.slope)
        hidden = self.top[2](F.leaky_relu(self.top[1](hidden), self.slope))
        if lower:
            hidden = hidden + self.joins[0](lower[0])
        hidden = F.leaky_relu(_as_map(self.unfold(hidden), self.start_size), self.slope)
        for layer in self.growth:
            hidden = F.leaky_relu(layer(hidden), self.slope)
        if not lower:
            image: Tensor = self.mixing[0](hidden)
            return image
        for i, (widen, mix) in enumerate(zip(self.widening, self.mixing, strict=True)):
            if i > 0:
                hidden = hidden + _as_map(self.joins[i](lower[i]), self.join_sizes[i])
            hidden = mix(F.leaky_relu(widen(hidden), self.slope))
        return hidden


class ConcatLadder(nn.Module):
    """Levels join by concatenation: the stream's channels first, then as many of the level's.

    Args:
        geometry: Image shape and levels.
        top_width: Hidden width of the top level's dense layers.
        slope: Negative slope of the leaky ReLUs.
    """

    def __init__(self, geometry: LadderGeometry, top_width: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.sizes = geometry.lower_sizes
        self.start_size = geometry.reduction_sizes[-1]
        channels, size, _ = geometry.image_shape
        top, lower = geometry.levels[0], geometry.lower
        start = geometry.reduction_channels if len(geometry.reduction_sizes) > 1 else top.channels
        self.top = _dense(top.latents, top_width, top_width, start * self.start_size**2)
        self.growth = _growth(start, geometry)
        stream = [start, *(level.channels for level in lower)]
        self.joins = nn.ModuleList(
            nn.Linear(level.latents, c * s * s)
            for level, c, s in zip(lower, stream[:-1], self.sizes, strict=True)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [transposed(2 * a, a, s, s), transposed(a, b, s, s_out), transposed(b, b, s_out, s_out)]
            )
            for (a, b), (s, s_out) in zip(pairwise(stream), pairwise([*self.sizes, size]), strict=False)
        )
        self.last = transposed(stream[-1], channels, size, size)

    def forward(self, latents: Latents) -> Tensor:
        """[B, d_l] per level, top first, to [B, C, H, W] before the likelihood."""
        hidden, *lower = latents
        for layer in self.top:
            hidden = F.leaky_relu(layer(hidden), self.slope)
        hidden = _as_map(hidden, self.start_size)
        for layer in self.growth:
            hidden = F.leaky_relu(layer(hidden), self.slope)
        for z, join, block, size in zip(lower, self.joins, self.blocks, self.sizes, strict=True):
            joined = _as_map(F.leaky_relu(join(z), self.slope), size)
            hidden = torch.cat([hidden, joined], dim=1)
            assert isinstance(block, nn.ModuleList)
            for layer in block:
                hidden = F.leaky_relu(layer(hidden), self.slope)
        image: Tensor = self.last(hidden)
        return image


LADDERS = {"add": AddLadder, "concat": ConcatLadder}


class LadderGenerator(nn.Module):
    """Latents of all levels to the distribution of the image.

    Args:
        geometry: Image shape and levels.
        likelihood: What turns the ladder's output into p(x|z).
        merge: How levels join, ``add`` or ``concat``.
        top_width: Hidden width of the top level's dense layers; its channels if None.
        slope: Negative slope of the leaky ReLUs.

    Raises:
        ValueError: If `merge` is unknown.

    Source: arXiv:2310.09604; layers as in its released code.
    """

    def __init__(
        self,
        geometry: LadderGeometry,
        likelihood: Likelihood,
        *,
        merge: str = "concat",
        top_width: int | None = None,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        if merge not in LADDERS:
            raise ValueError(f"merge {merge!r} is unknown; choose one of {sorted(LADDERS)}.")
        self.geometry = geometry
        self.ladder = LADDERS[merge](geometry, top_width or geometry.levels[0].channels, slope)
        self.likelihood = likelihood
        initialise_convolutions(self)

    def forward(self, latents: Latents) -> ImageDistribution:
        """[B, d_l] per level, top first, to p(x|z) over images in model coordinates."""
        check_latents(latents, self.geometry.level_dims)
        distribution: ImageDistribution = self.likelihood(at_least_float32(self.ladder(latents)))
        return distribution
