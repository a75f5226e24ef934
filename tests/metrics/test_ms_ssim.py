"""MS-SSIM against its formula in scipy, and how many scales an image gets."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from hebm.errors import NonFiniteError
from hebm.metrics import MetricInputError, image_quality
from hebm.metrics.ms_ssim import ms_ssim, ms_ssim_scales

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def images(n: int, side: int, seed: int) -> Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(image: np.ndarray) -> np.ndarray:
    """The 11×11 window of scale 1.5, borders mirrored."""
    return gaussian_filter(image, 1.5, radius=5, mode="mirror")


def by_scipy(x: np.ndarray, y: np.ndarray, n_scales: int) -> float:
    """The library leaves the borders out at all scales but the last."""
    value, weights = 1.0, WEIGHTS[:n_scales] / WEIGHTS[:n_scales].sum()
    for scale, weight in enumerate(weights):
        mu_x, mu_y = smooth(x), smooth(y)
        var_x, var_y = smooth(x * x) - mu_x**2, smooth(y * y) - mu_y**2
        contrast = (2 * (smooth(x * y) - mu_x * mu_y) + 0.03**2) / (var_x + var_y + 0.03**2)
        luminance = (2 * mu_x * mu_y + 0.01**2) / (mu_x**2 + mu_y**2 + 0.01**2)
        term = contrast * luminance if scale == n_scales - 1 else contrast[5:-5, 5:-5]
        value *= max(term.mean(), 0) ** weight
        x, y = (image[: len(image) // 2 * 2, : len(image) // 2 * 2] for image in (x, y))
        x, y = (image.reshape(len(image) // 2, 2, -1, 2).mean((1, 3)) for image in (x, y))
    return value


@pytest.mark.parametrize(("side", "n_scales"), [(28, 2), (64, 3), (104, 4), (176, 5)])
def test_it_is_its_formula(side: int, n_scales: int) -> None:
    """Contrast at every scale, luminance at the last; the weights' sum is 1."""
    x = images(2, side, 0)
    y = 0.7 * x + 0.3 * images(2, side, 1)
    expected = [by_scipy(a, b, n_scales) for a, b in zip(x[:, 0].numpy(), y[:, 0].numpy(), strict=True)]
    np.testing.assert_allclose(ms_ssim(x, y).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("side", "n_scales"), [(8, 1), (21, 1), (22, 2), (43, 2), (44, 3), (98, 3), (99, 4), (175, 4), (176, 5)]
)
def test_scales_go_by_size(side: int, n_scales: int) -> None:
    """The window must fit; the metric takes the size it says, down to the smallest."""
    assert ms_ssim_scales(side) == n_scales
    assert ms_ssim(images(1, side, 0), images(1, side, 0)).item() == pytest.approx(1)


def test_small_images_have_plain_ssim() -> None:
    """One scale; what is below 0 counts as 0, as with more scales."""
    x = images(3, 8, 0)
    near, opposite = 0.9 * x, 1 - x
    torch.testing.assert_close(ms_ssim(x, near), image_quality(x, near).ssim)
    assert (image_quality(x, opposite).ssim < 0).all()
    assert ms_ssim(x, opposite).tolist() == [0, 0, 0]


def test_every_pair_is_for_itself() -> None:
    """One value per pair, also of a single one."""
    x, y = images(3, 28, 0), images(3, 28, 1)
    whole = ms_ssim(x, y)
    torch.testing.assert_close(torch.cat([ms_ssim(x[i : i + 1], y[i : i + 1]) for i in range(3)]), whole)


def test_bad_images_are_refused() -> None:
    """Other shapes, another range, and what is not finite."""
    x = images(2, 28, 0)
    with pytest.raises(MetricInputError, match="give pairs"):
        ms_ssim(x, x[:1])
    with pytest.raises(MetricInputError, match=r"in \[0, 1\]"):
        ms_ssim(x, 2 * x)
    with pytest.raises(NonFiniteError, match="compared with"):
        ms_ssim(x, x / 0)
