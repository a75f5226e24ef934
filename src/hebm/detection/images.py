"""What every score and every control asks of its images."""

import math

import torch
from torch import Tensor

from hebm.errors import ImageShapeError, NonFiniteError

__all__ = ["require_images"]

ROUNDING = 1e-3  # what resizing may put outside of [0, 1]


def require_images(x: Tensor, image_shape: tuple[int, ...] | None = None) -> None:
    """Check images.

    Args:
        x: Images, [B, C, H, W].
        image_shape: The (C, H, W) they must have, if known.

    Raises:
        ImageShapeError: If they are not floating-point images in [0, 1], of that shape, and at least one.
        NonFiniteError: If a pixel is not finite.
    """
    is_of_shape = x.ndim == 4 and (image_shape is None or tuple(x.shape[1:]) == image_shape)
    if not is_of_shape or not x.is_floating_point():
        wanted = ", ".join(map(str, image_shape)) if image_shape else "C, H, W"
        raise ImageShapeError(
            f"floating-point images [B, {wanted}] in [0, 1] are expected, but {x.dtype} {list(x.shape)} came; resize "
            "them, and divide bytes by 255."
        )
    if x.numel() == 0:
        raise ImageShapeError(f"at least one image with pixels is expected, but {list(x.shape)} came.")
    low, high = (end.item() for end in x.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        broken = (~torch.isfinite(x)).flatten(1).any(1)
        raise NonFiniteError(
            f"{int(broken.sum())} of {len(x)} images have pixels that are not finite (the first is image "
            f"{int(broken.nonzero()[0])} of its batch); leave them out or repair them."
        )
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ImageShapeError(
            f"pixels in [0, 1] are expected, but they lie in [{low:.4g}, {high:.4g}]; divide bytes by 255, map "
            "[-1, 1] by (x + 1) / 2."
        )
