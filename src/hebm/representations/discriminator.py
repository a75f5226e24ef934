"""The discriminator of pairs of an image and its codes, D(x, z)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from hebm.models import LadderGeometry
from hebm.nn import conv, halved

__all__ = ["JointDiscriminator"]

LARGEST_MAP = 4
SLOPE = 0.2


class JointDiscriminator(nn.Module):
    """A halving convolution per level with the encoder's channels, the codes through a dense layer, two dense layers.

    Images are halved further until their map is at most 4×4. All layers but the last are spectrally normalised, which
    keeps the discriminator from winning at once; nothing is normalised over a batch, so pairs are judged one by one.

    Args:
        geometry: Image shape and levels.

    Source: Miyato et al. (2018), arXiv:1802.05957, for the spectral normalisation.
    """

    def __init__(self, geometry: LadderGeometry) -> None:
        super().__init__()
        channels, size, _ = geometry.image_shape
        widths = [channels, *(level.channels for level in reversed(geometry.levels))]
        sizes = [size]
        while len(sizes) < len(widths) or sizes[-1] > LARGEST_MAP:
            sizes.append(halved(sizes[-1]))
        widths += [widths[-1]] * (len(sizes) - len(widths))
        self.of_image = nn.ModuleList(
            conv(n_in, n_out, s, halve=True)
            for (n_in, n_out), s in zip(pairwise(widths), sizes[:-1], strict=True)
        )
        hidden = geometry.levels[0].channels
        self.of_codes = nn.Linear(sum(geometry.level_dims), hidden)
        self.of_both = nn.Linear(widths[-1] * sizes[-1] ** 2 + hidden, hidden)
        self.last = nn.Linear(hidden, 1)
        for layer in (*self.of_image, self.of_codes, self.of_both):
            spectral_norm(layer)

    def forward(self, y: Tensor, codes: Tensor) -> Tensor:
        """Images in model coordinates [B, C, H, W] and flat codes [B, D] to logits [B]."""
        for layer in self.of_image:
            y = F.leaky_relu(layer(y), SLOPE)
        seen = torch.cat([y.flatten(1), F.leaky_relu(self.of_codes(codes), SLOPE)], dim=1)
        logits: Tensor = self.last(F.leaky_relu(self.of_both(seen), SLOPE)).squeeze(1)
        return logits
