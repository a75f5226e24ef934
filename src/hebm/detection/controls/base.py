"""What a control offers: fit it to normal images, and it scores others by their pixels; higher is more anomalous."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hebm.detection.images import require_images

__all__ = ["Control", "PixelScore", "Statistic", "StatisticScore", "as_scores", "check_pixels", "flat_pixels"]


class PixelScore(Protocol):
    """A fitted control."""

    def __call__(self, x: Tensor) -> Tensor:
        """Score images [B, C, H, W] in [0, 1]: [B] in float64 on their device, higher is more anomalous.

        Raises:
            ImageShapeError: If they have another shape or range than the normal images.
            NonFiniteError: If a pixel is not finite.
        """
        ...


class Control(Protocol):
    """A control before it has seen any image. Its direction is fixed; no anomaly is ever looked at."""

    def fit(self, normals: Tensor) -> PixelScore:
        """Fit to normal images [N, C, H, W] in [0, 1].

        Raises:
            ImageShapeError: If these are no images, or none.
            NonFiniteError: If a pixel is not finite.
        """
        ...


class Statistic(Protocol):
    """One number per image: [B, C, H, W] to [B]."""

    def __call__(self, x: Tensor) -> NDArray[np.float64]:
        """Describe every image by one number."""
        ...


@dataclass(frozen=True)
class StatisticScore:
    r"""s(x) = t(x), or its distance :math:`|t(x) - \bar t|` from the normal images' mean.

    Args:
        statistic: t.
        image_shape: (C, H, W) of the normal images.
        centre: :math:`\bar t`; None for t itself.
    """

    statistic: Statistic
    image_shape: tuple[int, ...]
    centre: float | None

    def __call__(self, x: Tensor) -> Tensor:
        """[B] in the statistic's unit."""
        values = self.statistic(check_pixels(x, self.image_shape))
        return as_scores(values if self.centre is None else np.abs(values - self.centre), x)


def check_pixels(x: Tensor, image_shape: tuple[int, ...] | None = None) -> Tensor:
    """Checked images on the CPU, without gradient history.

    Args:
        x: Images, [B, C, H, W].
        image_shape: The (C, H, W) they must have, if known.

    Raises:
        ImageShapeError: If they are not floating-point images in [0, 1], of that shape, and at least one.
        NonFiniteError: If a pixel is not finite.
    """
    require_images(x, image_shape)
    return x.detach().cpu()


def flat_pixels(x: Tensor, image_shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """The same check, and one row of pixels per image, [B, C H W] in float64."""
    rows: NDArray[np.float64] = check_pixels(x, image_shape).flatten(1).double().numpy()
    return rows


def as_scores(values: NDArray[np.float64], x: Tensor) -> Tensor:
    """Scores [B] in float64 on the images' device."""
    return torch.as_tensor(values, dtype=torch.float64, device=x.device)
