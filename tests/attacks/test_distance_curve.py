"""The distortion-distortion curve by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hebm.attacks import Reconstructions, distance_curves
from hebm.errors import ImageShapeError, NonFiniteError


def image(*pixels: float) -> Tensor:
    """One image of 1×1×n pixels."""
    return torch.tensor(pixels, dtype=torch.float64).reshape(1, 1, 1, -1)


def one_curve(
    attacked: Tensor, rebuilt: Tensor, *, rebuilt_target: float = 0.9, rebuilt_original: float = 0.1
):
    """The curve of the pair 0 → 1 of one pixel; attacked and rebuilt are lists of pixels."""
    (curve,) = distance_curves(
        image(0.0),
        image(1.0),
        attacked.reshape(1, -1, 1, 1, 1),
        Reconstructions(image(rebuilt_original), image(rebuilt_target), rebuilt.reshape(1, -1, 1, 1, 1)),
    )
    return curve


def test_a_curve_by_hand() -> None:
    """Original rebuilt as 0.1, target as 0.9: v = (|x̂_a - 1| - 0.1) / 0.8, sorted by u; the end stays at the lowest."""
    curve = one_curve(
        torch.tensor([0.5, 0.25], dtype=torch.float64), torch.tensor([0.5, 0.3], dtype=torch.float64)
    )
    assert curve is not None
    np.testing.assert_allclose(curve.spent, [0, 0.25, 0.5, 0.5, 1])
    np.testing.assert_allclose(curve.remaining, [1, 0.75, 0.5, 0.5, 0.5])
    assert curve.area == pytest.approx(0.25 * 0.875 + 0.25 * 0.625 + 0.5 * 0.5)
    np.testing.assert_allclose(curve.at(np.array([0, 0.125, 0.5, 0.9])), [1, 0.875, 0.5, 0.5])


def test_the_end_stays_at_the_lowest_even_if_the_last_is_not() -> None:
    """A larger budget need not be spent: after the last attack the curve falls to the lowest v."""
    curve = one_curve(
        torch.tensor([0.4, 0.6], dtype=torch.float64), torch.tensor([0.9, 0.5], dtype=torch.float64)
    )
    assert curve is not None
    np.testing.assert_allclose(curve.remaining, [1, 0, 0.5, 0, 0], atol=1e-12)
    assert curve.area == pytest.approx(0.4 * 0.5 + 0.2 * 0.25)


def test_attacks_that_spend_more_than_the_target_are_left_out() -> None:
    """|d| > |x_t - x| counts nothing; with no attack left the system is untouched and the area 1."""
    original, target = image(0.5, 0.5), image(0.6, 0.5)
    attacked = image(0.1, 0.9)[:, None]
    rebuilt = Reconstructions(original, target, target[:, None])
    (curve,) = distance_curves(original, target, attacked, rebuilt)
    assert curve is not None
    assert curve.area == 1


def test_norms_are_euclidean_over_all_pixels() -> None:
    """Two pixels and two channels count together, without a square."""
    original, target = torch.zeros(1, 2, 1, 2).double(), torch.full((1, 2, 1, 2), 0.5).double()
    attacked = torch.zeros(1, 1, 2, 1, 2).double()
    attacked[0, 0, :, 0, 0] = torch.tensor([0.3, 0.4])  # |d| = 0.5, |x_t - x| = 1
    rebuilt_attacked = target[:, None].clone()
    rebuilt_attacked[0, 0, 1, 0, 1] += 0.25
    rebuilt = Reconstructions(original, target, rebuilt_attacked)
    (curve,) = distance_curves(original, target, attacked, rebuilt)
    assert curve is not None
    assert curve.spent[1] == pytest.approx(0.5)
    assert curve.remaining[1] == pytest.approx(0.25)


def test_a_system_that_follows_its_input_has_area_one_half() -> None:
    """Perfect reconstructions of x + t (x_t - x): v = 1 - u, whatever the pair."""
    generator = torch.Generator().manual_seed(0)
    original, target = torch.rand(2, 5, 1, 3, 3, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.1, 0.35, 0.8, 1.0], dtype=torch.float64)[:, None, None, None]
    attacked = original[:, None] + t * (target - original)[:, None]
    curves = distance_curves(original, target, attacked, Reconstructions(original, target, attacked))
    assert [curve.area for curve in curves if curve is not None] == pytest.approx([0.5] * 5)


def test_a_pair_without_room_has_no_curve() -> None:
    """Where the original's reconstruction is no further from the target than the target's own, v means nothing."""
    pixels = torch.tensor([0.5], dtype=torch.float64)
    assert one_curve(pixels, pixels, rebuilt_original=0.5, rebuilt_target=0.5) is None
    assert one_curve(pixels, pixels, rebuilt_original=0.6, rebuilt_target=0.5) is None


def test_bad_images_are_refused() -> None:
    """Other shapes, a pair of equal images, and values that are not finite."""
    x, y, attacked = image(0.0), image(1.0), image(0.5)[:, None]
    with pytest.raises(ImageShapeError, match="equal images"):
        distance_curves(x, x, attacked, Reconstructions(x, y, attacked))
    with pytest.raises(ImageShapeError, match="are expected"):
        distance_curves(x, y, attacked[0], Reconstructions(x, y, attacked))
    with pytest.raises(ImageShapeError, match="are expected"):
        distance_curves(x, y, attacked, Reconstructions(x, y, attacked[:, :, :, :, :0]))
    with pytest.raises(NonFiniteError, match="not finite"):
        distance_curves(x, y, attacked, Reconstructions(x, y, attacked * math.nan))
