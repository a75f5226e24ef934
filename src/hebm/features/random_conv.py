"""Features of a fixed random convolutional network, for images without labels.

An untrained network still tells textures and layouts apart and needs neither labels nor a download. Its
distances rank models on one image set; they are not comparable to those of any trained network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hebm.errors import ImageShapeError
from hebm.features.extractor import weights_hash
from hebm.features.initialisation import build_empty, initialise_
from hebm.randomness import named_generator

__all__ = ["RandomConvExtractor"]

_VERSION = "random_conv-1"
_WIDTHS = (32, 64, 64)
_GRID = 2  # features keep a 2 x 2 layout of the picture


class RandomConvExtractor:
    """Three random convolutions, averaged over a 2 x 2 grid: 256 features.

    Args:
        channels: Channels C of the images.
        seed: Which random network; the hash follows it.
        device: Where the network lives.
    """

    name = "random_conv"
    is_standard_inception = False
    dim = _WIDTHS[-1] * _GRID * _GRID

    def __init__(self, channels: int, *, seed: int = 0, device: torch.device | str = "cpu") -> None:
        self.channels = channels
        network = build_empty(lambda: _network(channels))
        initialise_(network, named_generator(seed, _VERSION, channels))
        self.hash = weights_hash(network, _VERSION)
        self._device = device
        self._network = network.eval().requires_grad_(False).to(device)

    @property
    def identifier(self) -> str:
        """``name@hash``, the hash cut to 12 digits."""
        return f"{self.name}@{self.hash[:12]}"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features of images, [B, C, H, W] in [0, 1] to [B, 256] float32."""
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise ImageShapeError(
                f"this extractor takes [B, {self.channels}, H, W] images, got {list(images.shape)}; "
                "build one with their number of channels."
            )
        maps = self._network(2 * images.to(self._device, torch.float32) - 1)
        return F.adaptive_avg_pool2d(maps, _GRID).flatten(1)


def _network(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, stride in zip(_WIDTHS, (1, 2, 2), strict=True):
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers)
