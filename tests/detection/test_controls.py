"""Pixel controls: values by hand, and one contract for all of them."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hebm.detection.controls import Control, MeanIntensity, NearestNeighbour, PcaError, PngSize, fit_controls
from hebm.detection.controls.names import all_controls
from hebm.errors import ImageShapeError, NonFiniteError

CONTROLS = all_controls(n_components=3)
every_control = pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)


def _images(n: int, *, channels: int = 1, size: int = 6, seed: int = 0) -> Tensor:
    """Smooth 8-bit images: a ramp of random slope, and a little noise."""
    generator = torch.Generator().manual_seed(seed)
    slope = torch.rand(n, channels, 1, 1, generator=generator)
    ramp = slope * torch.linspace(0, 1, size) * torch.linspace(0.5, 1, size)[:, None]
    noise = 0.02 * torch.rand(n, channels, size, size, generator=generator)
    return ((0.9 * ramp + noise) * 255).round() / 255


def test_mean_intensity_by_hand() -> None:
    """Raw: the mean over pixels and channels. Two-sided: its distance from the normal images' mean, on either side."""
    normals = torch.stack([torch.full((3, 2, 2), v) for v in (0.2, 0.4)])
    x = torch.stack([torch.full((3, 2, 2), v) for v in (0.1, 0.3, 0.5)])
    x[2, 0] = 0.8  # one channel: the mean is 0.6
    raw, two_sided = MeanIntensity().fit(normals)(x), MeanIntensity(two_sided=True).fit(normals)(x)
    assert raw.tolist() == pytest.approx([0.1, 0.3, 0.6])
    assert two_sided.tolist() == pytest.approx([0.2, 0.0, 0.3], abs=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_size_is_that_of_the_file_and_larger_for_noise(channels: int) -> None:
    """As many bytes as Pillow writes; a flat image has few, noise many; two-sided, both are unusual."""
    noise = torch.randint(256, (1, channels, 16, 16), generator=torch.Generator().manual_seed(0)) / 255
    flat, normals = torch.full_like(noise, 0.5), _images(20, channels=channels, size=16)
    sizes = PngSize().fit(normals)(torch.cat([flat, normals[:1], noise]))
    assert sizes[0] < sizes[1] < sizes[2]
    for x, size in ((noise, sizes[2]), (normals[:1], sizes[1])):
        file = io.BytesIO()
        pixels = (x[0] * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "PNG", compress_level=9)
        assert size == len(file.getvalue())
        assert np.array_equal(np.asarray(Image.open(file)).reshape(pixels.shape), pixels)
    two_sided = PngSize(two_sided=True).fit(normals)
    mean = PngSize().fit(normals)(normals).mean()
    assert torch.allclose(two_sided(flat), mean - sizes[0])
    assert torch.allclose(two_sided(noise), sizes[2] - mean)


def test_png_pixels_are_rounded_to_the_nearest_grey_level() -> None:
    """Noise below half a grey level is no noise; cut off instead of rounded, it would be."""
    noise = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    almost_flat, flat = (7 + 0.8 * (noise - 0.5)) / 255, torch.full_like(noise, 7 / 255)
    score = PngSize().fit(flat)
    assert torch.equal(score(almost_flat), score(flat))


def test_all_controls_are_fitted_to_the_same_images_with_as_many_components_as_asked_for() -> None:
    """Each as if it had been fitted alone."""
    normals, x = _images(40), _images(6, seed=1)
    fitted = fit_controls(normals, n_components=3)
    assert fitted.keys() == CONTROLS.keys()
    for name, control in CONTROLS.items():
        assert torch.equal(fitted[name](x), control.fit(normals)(x))
    assert torch.equal(fitted["pca"](x), PcaError(3).fit(normals)(x))


def test_nearest_neighbour_is_the_euclidean_distance_to_the_kth_nearest() -> None:
    """Over all pairs, by subtraction."""
    normals, x = _images(15, seed=1), _images(4, seed=2)
    distances = (x.double().flatten(1)[:, None] - normals.double().flatten(1)).norm(dim=2).sort(1).values
    assert torch.allclose(NearestNeighbour().fit(normals)(x), distances[:, 0])
    assert torch.allclose(NearestNeighbour(k=3).fit(normals)(x), distances[:, 2])
    assert NearestNeighbour().fit(normals)(normals[:2]).tolist() == pytest.approx([0, 0], abs=1e-7)


def test_pca_error_is_what_the_first_components_leave() -> None:
    """Against the eigenvectors of the covariance; the mean is taken off, so a shifted set changes nothing."""
    normals, x = _images(50, seed=1), _images(5, seed=9)
    flat, others = normals.double().flatten(1), x.double().flatten(1)
    mean = flat.mean(0)
    _, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean))
    kept = vectors[:, -3:]
    rest = (others - mean) - (others - mean) @ kept @ kept.T
    assert torch.allclose(PcaError(3).fit(normals)(x), rest.square().sum(1), rtol=1e-4)


def test_more_components_explain_more_and_too_many_are_capped() -> None:
    """The error of held-out images falls; where there are few pixels or images, one dimension is left."""
    normals, x = _images(50, seed=1), _images(20, seed=2)
    errors = [PcaError(k).fit(normals)(x).mean().item() for k in (1, 4, 16, 35)]
    assert errors == sorted(errors, reverse=True)
    assert PcaError(999).fit(normals)(x).mean().item() == pytest.approx(errors[-1])
    assert errors[-1] > 0
    assert torch.isfinite(PcaError(999).fit(normals[:2])(x)).all()


@every_control
def test_a_control_is_a_function_of_the_image_alone(control: Control) -> None:
    """Float64, one per image; order and batch do not matter; fitted twice, the same; no gradient, nothing global."""
    normals, x = _images(40, channels=3), _images(6, channels=3, seed=1)
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    score, again = control.fit(normals), control.fit(normals)
    whole = score(x.requires_grad_())
    assert whole.shape == (6,)
    assert whole.dtype == torch.float64
    assert not whole.requires_grad
    assert torch.equal(whole, again(x))
    assert torch.allclose(score(x.flip(0)).flip(0), whole, rtol=1e-9, atol=1e-9)
    assert torch.allclose(torch.cat([score(x[:1]), score(x[1:])]), whole, rtol=1e-9, atol=1e-9)
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


@every_control
def test_a_control_refuses_what_is_no_image(control: Control) -> None:
    """Shape, range, type, emptiness and finiteness, when fitting and when scoring."""
    normals = _images(10)
    score = control.fit(normals)
    broken = normals.clone()
    broken[3, 0, 0, 0] = math.nan
    for refuse in (control.fit, score):
        with pytest.raises(ImageShapeError, match=r"pixels in \[0, 1\] .* \[0, 255\]"):
            refuse((255 * normals / normals.max()).round())
        with pytest.raises(ImageShapeError, match=r"floating-point images .* torch.uint8"):
            refuse((255 * normals).byte())
        with pytest.raises(ImageShapeError, match=r"at least one image .* \[0, 1, 6, 6\] came"):
            refuse(normals[:0])
        with pytest.raises(NonFiniteError, match=r"1 of 10 images .* first is image 3"):
            refuse(broken)
    with pytest.raises(ImageShapeError, match=r"\[B, 1, 6, 6\] .* \[10, 1, 6, 5\]"):
        score(normals[..., :5])
    with pytest.raises(ImageShapeError, match=r"\[B, C, H, W\] .* \[1, 6, 6\] came"):
        control.fit(normals[0])
    with pytest.raises(ImageShapeError, match=r"at least one image with pixels .* \[10, 0, 6, 6\] came"):
        control.fit(normals[:, :0])


def test_impossible_options_are_refused() -> None:
    """A neighbour that is not there, components of nothing."""
    with pytest.raises(ImageShapeError, match="neighbour 11 of 10"):
        NearestNeighbour(k=11).fit(_images(10))
    with pytest.raises(ImageShapeError, match=r"two normal images or more .* got 1"):
        PcaError().fit(_images(1))
    with pytest.raises(ImageShapeError, match="got 10 and 0"):
        PcaError(0).fit(_images(10))


def test_bright_noise_is_found_by_every_control() -> None:
    """The direction of each is that of its docstring: brighter, larger, farther and worse explained is anomalous."""
    normals, fresh = _images(60), _images(20, seed=5)
    generator = torch.Generator().manual_seed(0)
    odd = (0.4 + 0.6 * torch.rand(20, 1, 6, 6, generator=generator)).mul(255).round() / 255
    for name, score in fit_controls(normals, n_components=3).items():
        low, high = score(fresh), score(odd)
        if not name.startswith("png"):  # the files of images as small as these are mostly header
            assert high.min() > low.median(), name
        assert high.mean() > low.mean(), name
