r"""Random views of small images: a crop that is resized, a small affine map, brightness and contrast.

.. math:: x'(p) = \mathrm{clip}\big(\bar v + c\,(v(p) - \bar v) + b\big), \quad v(p) = x(A p + t), \quad
          A = \sqrt{a}\; R(\theta) \begin{pmatrix} \sqrt{r} & s \\ 0 & 1/\sqrt{r} \end{pmatrix}

for points p of the square [-1, 1]², bilinear between pixels, mirrored outside. Every image has its own share a of the
area, aspect r, angle, shear s, shift t (as far as the crop leaves room), contrast c and brightness b. They are drawn
without looking at the image, and there are no labels to look at. Nothing is mirrored: digits and letters are not
what their mirror images are.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hebm.errors import ImageShapeError

__all__ = ["Augmentation", "random_views"]

N_DRAWS = 8


@dataclass(frozen=True)
class Augmentation:
    """How far views may be from their image; each quantity is uniform on its range (the aspect's logarithm is).

    Args:
        smallest_area: Least share of the area that a crop keeps, in (0, 1].
        aspect: Greatest ratio of a crop's sides, at least 1.
        rotation: Greatest angle, degrees.
        shear: Greatest shear.
        brightness: Greatest shift of all values, on the [0, 1] scale.
        contrast: Greatest relative change of the contrast, below 1.

    Raises:
        ValueError: If a range is impossible.
    """

    smallest_area: float = 0.4
    aspect: float = 1.3
    rotation: float = 15.0
    shear: float = 0.15
    brightness: float = 0.2
    contrast: float = 0.4

    def __post_init__(self) -> None:
        least = min(self.rotation, self.shear, self.brightness, self.contrast)
        if not 0 < self.smallest_area <= 1 or self.aspect < 1 or least < 0 or self.contrast >= 1:
            raise ValueError(
                "an augmentation needs smallest_area in (0, 1], aspect >= 1, contrast in [0, 1) and no negative "
                f"range, got {self}."
            )


def random_views(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Draw one view of every image.

    Args:
        images: [B, C, H, W] in [0, 1].
        augmentation: How far views may be from their image.
        generator: Source of the draws, on the images' device.

    Returns:
        Views of the same shape, in [0, 1].

    Raises:
        ImageShapeError: If these are no floating-point images.

    Source: the kinds of change follow Chen et al. (2020), arXiv:2002.05709; the affine map stands in for their
    blur and colour, which small grey images do not have.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise ImageShapeError(
            f"floating-point images [B, C, H, W] in [0, 1] are expected, but {images.dtype} {list(images.shape)} came."
        )
    draws = torch.rand(N_DRAWS, len(images), generator=generator, dtype=images.dtype, device=images.device)
    grid = F.affine_grid(_affine_maps(draws[:6], augmentation), list(images.shape), align_corners=False)
    views: Tensor = F.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    contrast, shift = (2 * draws[6:] - 1)[..., None, None, None].unbind()
    mean = views.mean((1, 2, 3), keepdim=True)
    changed = mean + (1 + augmentation.contrast * contrast) * (views - mean)
    return (changed + augmentation.brightness * shift).clamp(0, 1)


def _affine_maps(draws: Tensor, augmentation: Augmentation) -> Tensor:
    """From uniform draws [6, B] to the maps (A, t), [B, 2, 3]."""
    area, aspect, angle, shear, x, y = draws
    area = augmentation.smallest_area + (1 - augmentation.smallest_area) * area
    width = (math.log(augmentation.aspect) * (aspect - 0.5)).exp()
    angle = math.radians(augmentation.rotation) * (2 * angle - 1)
    shear = augmentation.shear * (2 * shear - 1)
    cos, sin, side = angle.cos(), angle.sin(), area.sqrt()
    room = 1 - side  # from the crop's edge to the image's, in half widths of the image
    rows = (
        torch.stack([side * cos * width, side * (cos * shear - sin / width), room * (2 * x - 1)], dim=1),
        torch.stack([side * sin * width, side * (sin * shear + cos / width), room * (2 * y - 1)], dim=1),
    )
    return torch.stack(rows, dim=1)
