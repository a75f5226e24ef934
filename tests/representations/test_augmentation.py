"""Views are the affine maps and the grey values that the ranges allow, drawn without looking at the image."""

import pytest
import torch
from torch import Tensor

from hebm.errors import ImageShapeError
from hebm.representations import Augmentation, random_views

STILL = Augmentation(smallest_area=1, aspect=1, rotation=0, shear=0, brightness=0, contrast=0)
SIZE = 65
CENTRE = slice(26, 39)  # far enough from the edge for every map below


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, channels: int = 1, size: int = 8) -> Tensor:
    return torch.rand(n, channels, size, size, generator=stream(99), dtype=torch.float64)


def coordinates() -> Tensor:
    """Pixel centres of the square [-1, 1]², [2, S, S]: x, then y."""
    axis = (2 * torch.arange(SIZE, dtype=torch.float64) + 1) / SIZE - 1
    return torch.stack([axis.expand(SIZE, -1), axis[:, None].expand(-1, SIZE)])


def drawn_maps(augmentation: Augmentation, n: int = 800) -> tuple[Tensor, Tensor]:
    """(A, t) of every view, read off views of images whose values are their pixels' own coordinates."""
    ramps = (coordinates() / 2 + 0.5).expand(n, -1, -1, -1)
    seen = 2 * random_views(ramps, augmentation, stream())[:, :, CENTRE, CENTRE] - 1
    p = coordinates()[:, CENTRE, CENTRE].flatten(1)
    design = torch.cat([p, torch.ones_like(p[:1])]).T.expand(n, -1, -1)
    found = torch.linalg.lstsq(design, seen.flatten(2).transpose(1, 2)).solution.transpose(1, 2)
    return found[..., :2], found[..., 2]


def test_without_any_range_views_are_the_images() -> None:
    """The limit of no change."""
    x = images(5, channels=3)
    torch.testing.assert_close(random_views(x, STILL, stream()), x, atol=1e-12, rtol=0)


def test_maps_fill_their_ranges_and_no_more() -> None:
    """Area, aspect, angle and shear of A = √a R(θ) [[√r, s], [0, 1/√r]], uniform between their ends."""
    asked = Augmentation(0.5, 1.5, 20.0, 0.2, brightness=0, contrast=0)
    maps, _ = drawn_maps(asked)
    area = torch.linalg.det(maps)
    angle = torch.atan2(maps[:, 1, 0], maps[:, 0, 0])
    cos, sin = angle.cos(), angle.sin()
    upper = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], 1) @ maps
    upper = upper / area.sqrt()[:, None, None]
    aspect = (upper[:, 0, 0] / upper[:, 1, 1]).log()
    ends = {
        "area": (area, 0.5, 1.0),
        "angle": (angle.rad2deg(), -20.0, 20.0),
        "aspect": (aspect, -torch.tensor(1.5).log().item(), torch.tensor(1.5).log().item()),
        "shear": (upper[:, 0, 1], -0.2, 0.2),
    }
    for name, (values, low, high) in ends.items():
        width, n = high - low, len(values)
        assert low - 1e-9 <= values.min() < low + 0.02 * width, name
        assert high + 1e-9 >= values.max() > high - 0.02 * width, name
        assert abs(values.mean() - (low + high) / 2) < 5 * width / (12 * n) ** 0.5, name


def test_crops_stay_inside_and_reach_every_edge() -> None:
    """|t| is at most the room that the crop leaves, in x and y alike and unrelated."""
    maps, shift = drawn_maps(Augmentation(0.3, 1, 0, 0, 0, 0))
    side = maps[:, 0, 0]
    torch.testing.assert_close(maps[:, 1, 1], side)
    share = shift / (1 - side)[:, None]
    moves = side < 0.95
    assert share[moves].abs().max() <= 1 + 1e-6
    assert share[moves].max() > 0.97
    assert share[moves].min() < -0.97
    assert abs(torch.corrcoef(share[moves].T)[0, 1]) < 5 / moves.sum() ** 0.5


def test_contrast_turns_about_the_mean_and_brightness_shifts() -> None:
    """x' = mean + c (x - mean) + b with c in 1 ± 0.4 and b in ± 0.2; each image has its own."""
    x = 0.4 + 0.2 * images(600)
    views = random_views(x, Augmentation(1, 1, 0, 0, brightness=0.2, contrast=0.4), stream())
    mean = x.mean((1, 2, 3), keepdim=True)
    shift = (views - x).mean((1, 2, 3))
    factor = ((views - mean - shift[:, None, None, None]) / (x - mean)).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-6, atol=1e-6)
    for values, low, high in ((shift, -0.2, 0.2), (factor[:, 0], 0.6, 1.4)):
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high >= values.max() > high - 0.02 * (high - low)
    assert abs(torch.corrcoef(torch.stack([shift, factor[:, 0]]))[0, 1]) < 5 / 600**0.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 13])
def test_shape_type_and_range_are_kept(channels: int, size: int) -> None:
    """Black and white images stay within [0, 1] whatever brightness and contrast do."""
    x = images(50, channels, size).round().float()
    views = random_views(x, Augmentation(), stream())
    assert views.shape == x.shape
    assert views.dtype == x.dtype
    assert views.min() == 0
    assert views.max() == 1


def test_views_are_drawn_without_looking_at_the_images() -> None:
    """The maps are the same whatever the images are, so views of a sum are sums of views; labels cannot enter."""
    geometry = Augmentation(brightness=0, contrast=0)
    a, b = images(20) / 2, images(20).flip(0) / 2
    of_a, of_b, of_sum = (random_views(x, geometry, stream()) for x in (a, b, a + b))
    torch.testing.assert_close(of_a + of_b, of_sum)


def test_views_are_reproducible_and_every_image_has_its_own() -> None:
    """Same generator, same views; another one, or the next draw, others; the global stream is untouched."""
    before = torch.random.get_rng_state()
    x = images(1).expand(4, -1, -1, -1)
    generator = stream()
    first, second = random_views(x, Augmentation(), generator), random_views(x, Augmentation(), generator)
    assert torch.equal(first, random_views(x, Augmentation(), stream()))
    assert not torch.equal(first, second)
    assert len({tuple(view.flatten().tolist()) for view in first}) == 4
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "ranges",
    [
        {"smallest_area": 0},
        {"smallest_area": 1.1},
        {"aspect": 0.9},
        {"rotation": -1},
        {"contrast": 1.0},
        {"brightness": -0.1},
        {"shear": -0.1},
    ],
)
def test_impossible_ranges_are_refused(ranges: dict[str, float]) -> None:
    """Named before any image is touched."""
    with pytest.raises(ValueError, match="smallest_area"):
        Augmentation(**ranges)


def test_bytes_and_flat_images_are_refused() -> None:
    """Views need images in [0, 1]."""
    for wrong in (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, 64)):
        with pytest.raises(ImageShapeError, match="floating-point images"):
            random_views(wrong, Augmentation(), stream())
