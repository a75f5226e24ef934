"""What every extractor promises, the random one, the choice between them and the cache of statistics."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hebm.data import ImageSet, load_images
from hebm.errors import ConfigError, ImageShapeError
from hebm.features import (
    FeatureExtractor,
    RandomConvExtractor,
    build_extractor,
    extract_features,
    feature_statistics,
    image_batches,
    reference_statistics,
)
from hebm.features.cache import default_cache_dir, publish
from hebm.features.extractor import weights_hash
from hebm.features.initialisation import he_uniform_
from hebm.metrics import GaussianStatistics, frechet_distance


def _digits(*, labelled: bool) -> ImageSet:
    digits = load_images("digits", "train", limit=64)
    return digits if labelled else ImageSet("digits", "train", digits.images)


@pytest.fixture(params=["classifier", "random_conv"])
def extractor(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureExtractor:
    return build_extractor(request.param, _digits(labelled=True), cache_dir=tmp_path)


def test_extractor_keeps_its_promises(extractor: FeatureExtractor) -> None:
    """Float32 [B, D], repeatable, without gradient, under name@hash, and never called the standard one."""
    images = next(image_batches(_digits(labelled=True).images))
    features = extractor(images)
    assert features.shape == (64, extractor.dim)
    assert features.dtype == torch.float32
    assert torch.equal(features, extractor(images))
    assert not extractor(images.clone().requires_grad_()).requires_grad
    assert extractor.identifier == f"{extractor.name}@{extractor.hash[:12]}"
    assert not extractor.is_standard_inception


def test_features_tell_noisy_images_from_clean_ones(extractor: FeatureExtractor) -> None:
    """The distance grows with the noise and is zero without."""
    images = torch.cat(list(image_batches(_digits(labelled=True).images)))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    clean = feature_statistics(extractor, [images])
    distances = [
        frechet_distance(clean, feature_statistics(extractor, [(images + scale * noise).clamp(0, 1)]))
        for scale in (0.0, 0.1, 0.3)
    ]
    assert distances[0] < 1e-6 * distances[1] < 1e-6 * distances[2]


def test_random_features_are_the_same_on_every_machine() -> None:
    """The weights come from integers: these hashes hold for every processor and torch version."""
    assert RandomConvExtractor(1).hash.startswith("74f859e519be")
    assert RandomConvExtractor(3).hash.startswith("a41db0ebbef6")
    assert RandomConvExtractor(1, seed=1).hash != RandomConvExtractor(1).hash


def test_he_weights_keep_the_variance_two_over_inputs() -> None:
    """Mean 0 and variance 2 / n_in, within five standard errors; bounded by sqrt(6 / n_in)."""
    weight = torch.empty(500, 8, 5, 5)
    he_uniform_(weight, torch.Generator().manual_seed(0))
    variance = 2 / 200
    assert abs(weight.mean().item()) < 5 * (variance / weight.numel()) ** 0.5
    # a uniform variable's fourth moment is 9/5 of its squared variance
    assert abs(weight.var().item() - variance) < 5 * variance * (0.8 / weight.numel()) ** 0.5
    assert weight.abs().max().item() <= (6 / 200) ** 0.5 * (1 + 1e-6)


def test_random_extractor_refuses_other_channels() -> None:
    """Built for grey images, it does not take colour ones."""
    with pytest.raises(ImageShapeError, match="1, H, W"):
        RandomConvExtractor(1)(torch.zeros(2, 3, 8, 8))


def test_hash_covers_version_names_and_every_value() -> None:
    """Any change of the three changes it; a copy does not."""
    layer, copy = nn.Linear(3, 2), nn.Linear(3, 2)
    copy.load_state_dict(layer.state_dict())
    reference = weights_hash(layer, "v1")
    assert weights_hash(copy, "v1") == reference
    assert weights_hash(layer, "v2") != reference
    assert weights_hash(nn.Sequential(layer), "v1") != reference
    with torch.no_grad():
        copy.bias[1] = torch.nextafter(copy.bias[1], torch.tensor(9.0))
    assert weights_hash(copy, "v1") != reference


def test_auto_takes_the_classifier_only_where_there_are_labels(tmp_path: Path) -> None:
    """Labels decide; a name nobody knows is an error."""
    assert build_extractor("auto", _digits(labelled=True), cache_dir=tmp_path).name == "classifier"
    assert build_extractor("auto", _digits(labelled=False), cache_dir=tmp_path).name == "random_conv"
    with pytest.raises(ConfigError, match="choose auto, classifier, inception or random_conv"):
        build_extractor("vgg", _digits(labelled=True), cache_dir=tmp_path)  # type: ignore[arg-type]


def test_batches_are_the_images_over_255_in_order() -> None:
    """Uneven last batch, range [0, 1], no images lost; float images are refused."""
    images = _digits(labelled=True).images
    batches = list(image_batches(images, batch_size=30))
    assert [len(batch) for batch in batches] == [30, 30, 4]
    np.testing.assert_array_equal((torch.cat(batches) * 255).round().numpy(), images)
    assert torch.cat(batches).max() == 1
    with pytest.raises(ImageShapeError, match="uint8"):
        next(image_batches(images.astype(np.float32)))  # type: ignore[arg-type]


def test_gathered_and_streamed_features_agree() -> None:
    """feature_statistics is GaussianStatistics of extract_features."""
    extractor, images = RandomConvExtractor(1), _digits(labelled=False).images
    streamed = feature_statistics(extractor, image_batches(images, batch_size=10))
    gathered = GaussianStatistics.of(extract_features(extractor, image_batches(images)))
    assert streamed.n == gathered.n == 64
    torch.testing.assert_close(streamed.covariance, gathered.covariance, rtol=1e-4, atol=1e-6)
    assert extract_features(extractor, []).shape == (0, extractor.dim)


class _Counting:
    """Wraps an extractor and counts its calls."""

    def __init__(self, inner: RandomConvExtractor) -> None:
        self.inner, self.calls = inner, 0
        self.name, self.hash, self.identifier = inner.name, inner.hash, inner.identifier
        self.is_standard_inception, self.dim = False, inner.dim

    def __call__(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(images)


def test_reference_statistics_are_computed_once_per_extractor_and_data(tmp_path: Path) -> None:
    """A hit equals the miss to the bit; another network or other images are a miss."""
    images, other = _digits(labelled=False), ImageSet("x", "train", _digits(labelled=False).images[:40])
    first, second = _Counting(RandomConvExtractor(1)), _Counting(RandomConvExtractor(1, seed=1))
    miss = reference_statistics(first, images, cache_dir=tmp_path)
    hit = reference_statistics(first, images, cache_dir=tmp_path)
    assert first.calls == 1
    assert torch.equal(miss.covariance, hit.covariance)
    assert torch.equal(miss.mean, hit.mean)
    assert reference_statistics(first, other, cache_dir=tmp_path).n == 40
    reference_statistics(second, images, cache_dir=tmp_path)
    assert (first.calls, second.calls) == (2, 1)


def test_unreadable_statistics_are_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cut file costs time and a warning, and is replaced."""
    extractor, images = _Counting(RandomConvExtractor(1)), _digits(labelled=False)
    expected = reference_statistics(extractor, images, cache_dir=tmp_path)
    (file,) = tmp_path.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:200])
    with caplog.at_level(logging.WARNING, logger="hebm"):
        again = reference_statistics(extractor, images, cache_dir=tmp_path)
    assert "computed again" in caplog.text
    assert torch.equal(again.covariance, expected.covariance)
    reference_statistics(extractor, images, cache_dir=tmp_path)
    assert extractor.calls == 2


def test_a_cache_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file where the folder should be: the result still comes."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    with caplog.at_level(logging.WARNING, logger="hebm"):
        statistics = reference_statistics(RandomConvExtractor(1), _digits(labelled=False), cache_dir=blocked)
    assert statistics.n == 64
    assert "HEBM_CACHE" in caplog.text


def test_of_two_writers_the_first_stays(tmp_path: Path) -> None:
    """A folder is published whole, and never changed by a later writer."""
    folder = tmp_path / "a"
    publish(folder, lambda partial: (partial / "file").write_text("first") and None)
    publish(folder, lambda partial: (partial / "file").write_text("second") and None)
    assert (folder / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_cache_folder_follows_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """HEBM_CACHE names the parent; without it the user's cache is meant."""
    monkeypatch.setenv("HEBM_CACHE", "/elsewhere")
    assert default_cache_dir() == Path("/elsewhere/features")
    monkeypatch.delenv("HEBM_CACHE")
    assert default_cache_dir() == Path.home() / ".cache" / "hebm" / "features"
