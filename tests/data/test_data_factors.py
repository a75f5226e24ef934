"""The generated set: every factor shows in the pixels, at every size, and nothing else does."""

import hashlib

import numpy as np
import pytest

from hebm.data import ImageSet, load_images
from hebm.data.factors import FACTORS, N_ITEMS, factor_values, render
from hebm.errors import DataError, ImageShapeError

BASE = np.array([[0, 1, 2, 1, 2, 3, 1, 1]])  # an item in the middle of everything


def test_the_factors_of_both_splits_are_different_combinations() -> None:
    """No combination is in both or twice; values fill their ranges evenly; labels are shapes."""
    cards = [factor.n_values for factor in FACTORS]
    train, test = (factor_values(split) for split in ("train", "test"))
    codes = np.ravel_multi_index(np.concatenate([train, test]).T, cards)
    assert len(np.unique(codes)) == len(codes) == N_ITEMS["train"] + N_ITEMS["test"]
    for column, n_values in zip(train.T, cards, strict=True):
        counts = np.bincount(column, minlength=n_values)
        expected = len(train) / n_values
        assert len(counts) == n_values
        assert abs(counts - expected).max() < 5 * np.sqrt(expected)
    loaded = load_images("factors", "test", size=8, limit=50)
    assert loaded.factors is not None
    assert loaded.labels is not None
    np.testing.assert_array_equal(loaded.factors, test[:50])
    np.testing.assert_array_equal(loaded.labels, test[:50, 0])
    assert loaded.factor_names == tuple(factor.name for factor in FACTORS)


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3), (32, 1), (128, 3)])
def test_every_value_of_every_factor_makes_another_image(size: int, channels: int) -> None:
    """Changing one factor alone changes pixels, at every size and in grey."""
    for column, factor in enumerate(FACTORS):
        values = np.repeat(BASE, factor.n_values, axis=0)
        values[:, column] = np.arange(factor.n_values)
        images = render(values, size=size, channels=channels).astype(int)
        assert images.shape == (factor.n_values, channels, size, size)
        for i in range(factor.n_values):
            for j in range(i):
                assert abs(images[i] - images[j]).max() > 4, (factor.name, i, j)


def test_what_a_factor_means_shows_in_the_moments() -> None:
    """x and y move the centre of mass by the same steps, size the area by its square, colour nothing of the form."""

    def images(column: int) -> np.ndarray:
        values = np.repeat(BASE, FACTORS[column].n_values, axis=0)
        values[:, column] = np.arange(FACTORS[column].n_values)
        return render(values, size=128, channels=1)[:, 0].astype(float)

    ticks = (2 * np.arange(128) + 1) / 128 - 1
    for column, axis in ((3, 1), (4, 2)):  # x shows along the columns of pixels, y along the rows
        mass = images(column).sum(axis)
        np.testing.assert_allclose(np.diff((mass @ ticks) / mass.sum(1)), 0.18, atol=0.002)
    solid = [(images(column) > 0).sum((1, 2)) for column in (1, 5)]
    np.testing.assert_allclose(
        solid[0] / solid[0][0], (np.array([0.36, 0.44, 0.52, 0.6]) / 0.36) ** 2, rtol=0.06
    )
    assert len(set(solid[1])) == 1
    rims = images(6).sum((1, 2))
    assert (np.diff(rims) > 0).all()
    colour = images(5).max((1, 2))
    np.testing.assert_allclose(colour / 255, [0.394, 0.498, 0.616, 0.702, 0.891, 1.0], atol=0.003)


def test_a_rim_encloses_a_darker_pattern() -> None:
    """In shares of the colour: rim 1; inside 0.375 if plain, else waves from 0.15 to 0.6, across, along or both."""
    values = np.repeat(np.array([[2, 3, 2, 1, 1, 5, 0, 0]]), 4, axis=0)  # a large white upright square
    values[:, 7] = np.arange(4)
    images = render(values, size=128, channels=1)[:, 0] / 255
    inside = images[:, 40:77, 40:77]
    assert images.max() == 1
    np.testing.assert_allclose(inside[0], 0.375, atol=0.01)
    for pattern in inside[1:]:
        assert pattern.min() == pytest.approx(0.15, abs=0.02)
        assert pattern.max() == pytest.approx(0.6, abs=0.02)
    assert np.ptp(inside[1], axis=0).max() < 0.01 < np.ptp(inside[1], axis=1).min()  # across: columns differ
    assert np.ptp(inside[2], axis=1).max() < 0.01 < np.ptp(inside[2], axis=0).min()


def test_an_edge_pixel_has_the_share_that_is_covered() -> None:
    """The left side of an upright square lies at -0.09 - 0.8 * 0.6, 6.88 pixels from the border of 32."""
    row = render(np.array([[2, 3, 2, 1, 1, 5, 3, 0]]), size=32, channels=1)[0, 0, 15] / 255
    np.testing.assert_allclose(row[5:9], [0, 0.12, 1, 1], atol=0.005)


def test_an_angle_turns_the_figure() -> None:
    """The principal axis of the ellipse turns by 16 degrees a step, clockwise as rows count downwards."""
    values = np.repeat(BASE, 5, axis=0)
    values[:, 2] = np.arange(5)
    values[:, 7] = 0
    images = render(values, size=128, channels=1)[:, 0].astype(float)
    rows, columns = np.indices((128, 128))
    angles = []
    for image in images:
        share = image / image.sum()
        u, v = columns - (share * columns).sum(), rows - (share * rows).sum()
        angles.append(0.5 * np.arctan2(2 * (share * u * v).sum(), (share * (u**2 - v**2)).sum()))
    turned = np.rad2deg(np.unwrap(np.array(angles), period=np.pi))
    np.testing.assert_allclose(np.diff(turned), 16, atol=0.5)


def test_figures_lie_inside_the_image() -> None:
    """The border is black, so no factor is cut off."""
    images = render(factor_values("test")[:1500], size=64, channels=1)[:, 0]
    assert images[:, [0, -1]].max() == images[:, :, [0, -1]].max() == 0


def test_a_larger_image_is_the_same_picture() -> None:
    """Averaged over blocks of pixels, the large image is the small one but for the edges."""
    values = factor_values("test")[:100]
    small, large = (render(values, size=size, channels=3).astype(float) for size in (32, 128))
    blocks = large.reshape(100, 3, 32, 4, 32, 4).mean((3, 5))
    assert abs(blocks - small).mean() < 1.5
    assert np.corrcoef(blocks.ravel(), small.ravel())[0, 1] > 0.995


def test_grey_images_are_the_grey_values_of_the_coloured_ones() -> None:
    """Luma of the palette, so one channel keeps all factors."""
    values = factor_values("test")[:50]
    colour, grey = (render(values, size=16, channels=channels).astype(float) for channels in (3, 1))
    luma = np.tensordot([0.299, 0.587, 0.114], colour, axes=(0, 1))
    np.testing.assert_allclose(grey[:, 0], luma, atol=1.01)


def test_the_set_is_the_same_every_time() -> None:
    """The first images are the same whatever their number, and on every machine."""
    few, more = (load_images("factors", "train", size=8, limit=n).images for n in (5, 300))
    np.testing.assert_array_equal(few, more[:5])
    digest = hashlib.sha256(factor_values("train").astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("947825290e287bea")


def test_wrong_requests_are_refused() -> None:
    """Sizes outside 8 to 128, unknown splits, rows of factors that do not fit the images."""
    for size in (7, 129):
        with pytest.raises(ImageShapeError, match="8 to 128"):
            load_images("factors", size=size)
    with pytest.raises(DataError, match="splits train, test"):
        load_images("factors", "extra")
    images = np.zeros((3, 1, 8, 8), np.uint8)
    with pytest.raises(DataError, match="2 rows of factors"):
        ImageSet("mine", "train", images, factors=np.zeros((2, 1), np.int64), factor_names=("a",))
    with pytest.raises(DataError, match="2 factors came with 1 names"):
        ImageSet("mine", "train", images, factors=np.zeros((3, 2), np.int64), factor_names=("a",))


def test_a_subset_keeps_its_factors() -> None:
    """In the order of the indices."""
    chosen = load_images("factors", "test", size=8, limit=10).subset([7, 2])
    assert chosen.factors is not None
    np.testing.assert_array_equal(chosen.factors, factor_values("test")[[7, 2]])
    assert chosen.factor_names[0] == "shape"
