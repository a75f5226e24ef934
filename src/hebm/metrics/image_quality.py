r"""How close a reconstruction is to its image: MSE, PSNR and SSIM, per image, images in [0, 1].

.. math:: \mathrm{mse} = \tfrac{1}{CHW} |x - \hat x|^2, \quad
   \mathrm{mse}_{\pm 1} = 4\,\mathrm{mse}, \quad \mathrm{psnr} = -10 \log_{10} \mathrm{mse}

Papers give the MSE of images on [0, 1] or on [-1, 1], often without saying which; both are reported.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hebm.errors import NonFiniteError
from hebm.metrics.inputs import ArrayLike, MetricInputError

__all__ = ["ImageQuality", "ImageQualityMean", "as_images", "image_quality"]

_WINDOW = 11  # side of the Gaussian window, whose scale is 1.5 pixels
_SCALE = 1.5


class ImageQuality(NamedTuple):
    """Per-image values, each [N] float64; psnr in dB, infinite where the images are equal."""

    mse: Tensor
    mse_pm1: Tensor
    psnr: Tensor
    ssim: Tensor


class ImageQualityMean:
    """Means over images, one batch at a time; the mean PSNR is that of the images' values in dB.

    (The PSNR of the mean MSE is another, never larger number; the field averages per image.)
    """

    def __init__(self) -> None:
        self.n = 0
        self._sums = torch.zeros(4, dtype=torch.float64)

    def update(self, x: ArrayLike, x_hat: ArrayLike) -> None:
        """Take in a batch of images and reconstructions, both [B, C, H, W] in [0, 1]."""
        quality = image_quality(x, x_hat)
        self._sums = self._sums + torch.stack([values.sum() for values in quality])
        self.n += len(quality.mse)

    def compute(self) -> dict[str, float]:
        """Means by name: ``mse``, ``mse_pm1``, ``psnr``, ``ssim``."""
        if self.n == 0:
            raise MetricInputError("a mean over images needs at least 1 image, got 0.")
        return dict(zip(ImageQuality._fields, (self._sums / self.n).tolist(), strict=True))


def image_quality(x: ArrayLike, x_hat: ArrayLike) -> ImageQuality:
    """Compare images with their reconstructions.

    SSIM uses the 11 x 11 Gaussian window of scale 1.5, borders mirrored, data range 1, mean over channels
    and pixels. Images smaller than 11 pixels get the largest odd window that fits, the scale shrunk in
    proportion (8 x 8: window 7, scale 0.95); such values compare only with one another. It is computed in float32,
    in which convolutions are many times quicker on a CPU; that moves an image's value by less than 1e-4.

    Args:
        x: Images, [N, C, H, W] in [0, 1].
        x_hat: Reconstructions, the same shape and range.

    Raises:
        MetricInputError: If the shapes differ, are smaller than 3 x 3, or values leave [0, 1].
        NonFiniteError: If a value is not finite.

    Source: Wang et al. (2004), IEEE Trans. Image Processing 13(4), eq. (13).
    """
    images, reconstructions = as_images(x, "images"), as_images(x_hat, "reconstructions")
    if images.shape != reconstructions.shape:
        raise MetricInputError(
            f"images are {list(images.shape)} but reconstructions {list(reconstructions.shape)}; "
            "give one reconstruction per image."
        )
    mse = (images - reconstructions).square().flatten(1).mean(1)
    return ImageQuality(mse, 4 * mse, -10 * mse.log10(), _ssim(images, reconstructions))


def as_images(values: ArrayLike, name: str) -> Tensor:
    """Turn images into a float64 tensor on the CPU.

    Args:
        values: Images, [N, C, H, W] in [0, 1].
        name: What they are, for the error message.

    Returns:
        The same numbers, [N, C, H, W] float64.

    Raises:
        MetricInputError: If there is none, they are smaller than 3 x 3, or values leave [0, 1].
        NonFiniteError: If a value is not finite.
    """
    images = torch.as_tensor(values).detach().to("cpu", torch.float64)
    if images.ndim != 4 or min(images.shape) < 1 or min(images.shape[2:]) < 3:
        raise MetricInputError(f"{name} must be [N, C, H, W] of at least 3 x 3, got {list(images.shape)}.")
    if not torch.isfinite(images).all():
        raise NonFiniteError(f"{name} are not finite.")
    if images.min() < 0 or images.max() > 1:
        low, high = images.min().item(), images.max().item()
        raise MetricInputError(
            f"{name} must be in [0, 1], got [{low:.3g}, {high:.3g}]; rescale or clamp them."
        )
    return images


def _ssim(x: Tensor, x_hat: Tensor) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure  # seconds to import

    side = min(x.shape[2:])
    window = min(_WINDOW, side - 1 + side % 2)
    values = structural_similarity_index_measure(
        x_hat.float(), x.float(), sigma=_SCALE * window / _WINDOW, data_range=1.0, reduction="none"
    )
    assert isinstance(values, Tensor)  # a tuple only where more is asked for
    return values.double().reshape(len(x))
