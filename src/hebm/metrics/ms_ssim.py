r"""Multi-scale structural similarity (MS-SSIM) of pairs of images in [0, 1], per pair.

.. math:: \mathrm{MS\text{-}SSIM} = s_M^{\beta_M} \prod_{j=1}^{M-1} c_j^{\beta_j}

c_j is the contrast and structure term after j - 1 halvings, s_M the whole SSIM at the coarsest scale; negative terms
count as 0. The published measure has M = 5 scales and a window of 11 pixels, which asks for 176 pixels a side. Smaller
images get as many scales as the window fits into, with the first weights of the five, scaled to the sum 1. **Values of
different numbers of scales do not compare**, so :func:`ms_ssim_scales` belongs beside every value that is reported.
"""

import torch
from torch import Tensor

from hebm.metrics.image_quality import as_images, image_quality
from hebm.metrics.inputs import ArrayLike, MetricInputError

__all__ = ["ms_ssim", "ms_ssim_scales"]

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SMALLEST_SIDES = {
    5: 176,
    4: 99,
    3: 44,
    2: 22,
}  # 11 · 2^(M - 1), but 4 scales, where torchmetrics asks for 99


def ms_ssim_scales(side: int) -> int:
    """Number of scales M of images whose shorter side has so many pixels: 28 has 2, 64 has 3, 176 the published 5."""
    return next((n for n, smallest in _SMALLEST_SIDES.items() if side >= smallest), 1)


def ms_ssim(x: ArrayLike, y: ArrayLike) -> Tensor:
    """Compare images pair by pair; 1 where they are equal, never below 0.

    With one scale it is the SSIM of :func:`~hebm.metrics.image_quality`, whose window shrinks below 11 pixels a side.

    Args:
        x: Images, [N, C, H, W] in [0, 1].
        y: Others, the same shape and range.

    Returns:
        [N] float64.

    Raises:
        MetricInputError: If the shapes differ, are smaller than 3 x 3, or values leave [0, 1].
        NonFiniteError: If a value is not finite.

    Source: Wang, Simoncelli and Bovik (2003), "Multi-scale structural similarity for image quality assessment".
    """
    first, second = as_images(x, "images"), as_images(y, "the images compared with")
    if first.shape != second.shape:
        raise MetricInputError(
            f"images are {list(first.shape)} but those compared with {list(second.shape)}; give pairs."
        )
    n_scales = ms_ssim_scales(min(first.shape[2:]))
    if n_scales == 1:
        return image_quality(first, second).ssim.clamp(min=0)
    from torchmetrics.functional import image  # seconds to import

    weights = tuple(weight / sum(_WEIGHTS[:n_scales]) for weight in _WEIGHTS[:n_scales])
    values: Tensor = image.multiscale_structural_similarity_index_measure(
        second, first, data_range=1.0, betas=weights, normalize="relu", reduction="none"
    )
    return torch.as_tensor(values).reshape(len(first))
