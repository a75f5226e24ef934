r"""The network behind the classifier's features.

Its features are the 128 inputs of the last hidden layer's ReLU, standardised on the training data: before the
ReLU they have no atom at zero, so a Gaussian describes them better, and with variance 1 each the Fréchet
distance has a scale one can read (a shift of every feature by one standard deviation costs 128).
"""

import torch
from torch import Tensor, nn

__all__ = ["ARCHITECTURE", "N_FEATURES", "ClassifierNetwork"]

ARCHITECTURE = "classifier-1"  # raise the number when layers, features or training change
N_FEATURES = 128
_WIDTHS = (32, 64, 64)


class ClassifierNetwork(nn.Module):
    """Three convolutions, 128 standardised features, class logits.

    Args:
        image_shape: Channels, height, width; sides from 8 up. Above 40 pixels they are halved first.
        n_classes: Number of logits.
    """

    def __init__(self, image_shape: tuple[int, int, int], n_classes: int) -> None:
        super().__init__()
        self.image_shape, self.n_classes = image_shape, n_classes
        channels, *sides = image_shape
        layers: list[nn.Module] = []
        if min(sides) > 40:
            layers.append(nn.AvgPool2d(2))
            sides = [side // 2 for side in sides]
        for width, stride in zip(_WIDTHS, (2 if min(sides) > 16 else 1, 2, 2), strict=True):
            convolution = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            channels, sides = width, [(side - 1) // stride + 1 for side in sides]
        hidden = nn.Linear(channels * sides[0] * sides[1], N_FEATURES, bias=False)
        self.body = nn.Sequential(*layers, nn.Flatten(), hidden, nn.BatchNorm1d(N_FEATURES, affine=False))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(N_FEATURES, n_classes))

    def features(self, images: Tensor) -> Tensor:
        """Standardised features, [B, C, H, W] in [0, 1] to [B, 128]."""
        scaled = (2 * images - 1).contiguous(memory_format=torch.channels_last)  # quicker on a CPU
        features: Tensor = self.body(scaled)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, [B, C, H, W] in [0, 1] to [B, K]."""
        logits: Tensor = self.head(self.features(images))
        return logits
