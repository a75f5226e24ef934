"""MSE, PSNR and SSIM against hand calculation and a scipy implementation."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hebm.errors import NonFiniteError
from hebm.metrics import ImageQualityMean, MetricInputError, image_quality


def _images(n: int, side: int, seed: int, *, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, side, side, generator=generator, dtype=torch.float64)


def test_a_constant_error_has_known_mse_and_psnr() -> None:
    """An error of 0.1 everywhere: mse 0.01, on [-1, 1] 0.04, PSNR 20 dB."""
    x = torch.full((2, 3, 16, 16), 0.5, dtype=torch.float64)
    quality = image_quality(x, x + torch.tensor([0.1, 0.01]).double()[:, None, None, None])
    torch.testing.assert_close(quality.mse, torch.tensor([1e-2, 1e-4]).double())
    torch.testing.assert_close(quality.psnr, torch.tensor([20.0, 40.0]).double())
    mapped = ((2 * (x + 0.1) - 1) - (2 * x - 1)).square().mean().item()
    assert quality.mse_pm1[0].item() == pytest.approx(mapped)


def _ssim_by_scipy(x: np.ndarray, y: np.ndarray, window: int) -> float:
    from scipy.ndimage import gaussian_filter

    def smooth(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5 * window / 11, radius=window // 2, mode="mirror")

    mu_x, mu_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mu_x**2, smooth(y * y) - mu_y**2
    cov = smooth(x * y) - mu_x * mu_y
    numerator = (2 * mu_x * mu_y + 0.01**2) * (2 * cov + 0.03**2)
    return float((numerator / ((mu_x**2 + mu_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))).mean())


@pytest.mark.parametrize(("side", "window"), [(32, 11), (11, 11), (8, 7), (7, 7), (4, 3)])
def test_ssim_is_that_of_its_formula_in_the_documented_window(side: int, window: int) -> None:
    """Side 11 and up use the 11 x 11 window, smaller images the largest odd one that fits."""
    x, y = _images(3, side, 0, channels=2), _images(3, side, 1, channels=2)
    y = 0.7 * x + 0.3 * y
    expected = [
        np.mean([_ssim_by_scipy(a, b, window) for a, b in zip(xs, ys, strict=True)])
        for xs, ys in zip(x.numpy(), y.numpy(), strict=True)
    ]
    np.testing.assert_allclose(image_quality(x, y).ssim.numpy(), expected, atol=1e-5)


def test_equal_images_have_perfect_quality() -> None:
    """mse 0, PSNR infinite, SSIM 1; one image alone works too."""
    quality = image_quality(_images(1, 12, 2), _images(1, 12, 2))
    assert [values.item() for values in quality] == [0, 0, math.inf, pytest.approx(1)]


def test_streamed_means_are_the_means_of_per_image_values() -> None:
    """Uneven batches weigh by images; the PSNR is averaged in dB."""
    x, y = _images(7, 12, 3), _images(7, 12, 4)
    streamed = ImageQualityMean()
    streamed.update(x[:5], y[:5])
    streamed.update(x[5:], y[5:])
    quality = image_quality(x, y)
    expected = {name: values.mean().item() for name, values in quality._asdict().items()}
    assert streamed.compute() == pytest.approx(expected, rel=1e-12)
    assert streamed.n == 7


def test_bad_images_are_refused() -> None:
    """Other shapes, another range, non-finite values and an empty mean each say so."""
    x = _images(2, 8, 5)
    with pytest.raises(MetricInputError, match="one reconstruction per image"):
        image_quality(x, x[:1])
    with pytest.raises(MetricInputError, match=r"in \[0, 1\], got"):
        image_quality(2 * x - 1, x)
    with pytest.raises(MetricInputError, match="at least 3 x 3"):
        image_quality(x[..., :2], x[..., :2])
    with pytest.raises(NonFiniteError, match="reconstructions"):
        image_quality(x, x * math.nan)
    with pytest.raises(MetricInputError, match="at least 1 image"):
        ImageQualityMean().compute()
