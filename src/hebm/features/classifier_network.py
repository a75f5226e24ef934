r"""The network behind the classifier's features.

Its features are the 128 outputs of the last hidden layer's ReLU, as they are: not whitened, no normalisation
layer anywhere. That is the form of the standard FID's features, and what the classes need weighs most in a
distance. Features standardised one by one weigh blur as much as a wrong garment, and hide the prior's holes
behind the decoder's blur.
"""

import torch
from torch import Tensor, nn

__all__ = ["ARCHITECTURE", "N_FEATURES", "ClassifierNetwork"]

ARCHITECTURE = "classifier-2"  # raise the number when layers, features or training change
N_FEATURES = 128
_WIDTHS = (32, 64, 64)


class ClassifierNetwork(nn.Module):
    """Three convolutions, 128 features, class logits.

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
            layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.ReLU()]
            channels, sides = width, [(side - 1) // stride + 1 for side in sides]
        hidden = nn.Linear(channels * sides[0] * sides[1], N_FEATURES)
        self.body = nn.Sequential(*layers, nn.Flatten(), hidden, nn.ReLU())
        self.head = nn.Linear(N_FEATURES, n_classes)

    def features(self, images: Tensor) -> Tensor:
        """Features, [B, C, H, W] in [0, 1] to [B, 128]."""
        scaled = (2 * images - 1).contiguous(memory_format=torch.channels_last)  # quicker on a CPU
        features: Tensor = self.body(scaled)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, [B, C, H, W] in [0, 1] to [B, K]."""
        logits: Tensor = self.head(self.features(images))
        return logits
