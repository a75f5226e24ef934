"""The classifier: what it learns, when it is the same, and when its file is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hebm.data import ImageSet, load_images
from hebm.errors import DataError, ImageShapeError
from hebm.features import (
    ClassifierExtractor,
    classifier_cache,
    extract_features,
    image_batches,
    load_or_train_classifier,
    train_classifier,
)
from hebm.features.classifier import default_epochs
from hebm.features.classifier_cache import classifier_folder


def _random_set(shape: tuple[int, int, int], n: int = 24) -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet("noise", "train", rng.integers(0, 256, (n, *shape), dtype=np.uint8), np.arange(n) % 3)


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    return load_images("digits", "train"), load_images("digits", "test")


@pytest.fixture(scope="module")
def trained(digits: tuple[ImageSet, ImageSet]) -> ClassifierExtractor:
    return train_classifier(*digits, epochs=6)


def test_classifier_learns_the_digits(trained: ClassifierExtractor) -> None:
    """97 of 100 held-out digits and more, and the extractor carries the number."""
    assert trained.test_accuracy is not None
    assert trained.test_accuracy > 0.97


def test_features_are_the_last_hidden_activations(
    digits: tuple[ImageSet, ImageSet], trained: ClassifierExtractor
) -> None:
    """128 values per image, none negative, and the logits are a linear map of them."""
    batches = list(image_batches(digits[1].images))
    features = extract_features(trained, batches)
    assert features.shape == (360, 128)
    assert features.dtype == torch.float32
    assert features.min() == 0
    logits = features @ trained.network.head.weight.T + trained.network.head.bias
    assert torch.equal(logits.argmax(1), torch.cat([trained.predict(batch) for batch in batches]))


def test_training_is_a_function_of_data_and_seed_alone() -> None:
    """Same seed, same hash; another seed or one pixel, another; the global stream does not move."""
    images = _random_set((1, 8, 8))
    torch.manual_seed(0)
    first = train_classifier(images, epochs=2)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert train_classifier(images, epochs=2).hash == first.hash
    assert torch.equal(state, torch.get_rng_state())
    assert train_classifier(images, epochs=2, seed=1).hash != first.hash
    pixels = images.images.copy()
    pixels[0, 0, 4, 4] ^= 128
    assert train_classifier(replace(images, images=pixels), epochs=2).hash != first.hash


def test_features_of_an_image_do_not_depend_on_its_batch(
    digits: tuple[ImageSet, ImageSet], trained: ClassifierExtractor
) -> None:
    """Evaluation mode: batch statistics play no part, and nothing carries a gradient."""
    batch = next(image_batches(digits[1].images, batch_size=50))
    together, alone = trained(batch), torch.cat([trained(image[None]) for image in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not trained(batch.requires_grad_()).requires_grad


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_every_image_shape_gives_128_features(shape: tuple[int, int, int]) -> None:
    """8 to 64 pixels, odd sides, grey and colour."""
    images = _random_set(shape, n=6)
    extractor = train_classifier(images, epochs=1)
    assert extract_features(extractor, image_batches(images.images)).shape == (6, extractor.dim) == (6, 128)


def test_epochs_show_equally_many_images_within_limits() -> None:
    """300,000 images: 5 passes over 60,000; never more than 20 passes nor fewer than 3."""
    assert [default_epochs(n) for n in (60_000, 50_000, 1437, 600_000)] == [5, 6, 40, 3]


def test_a_kept_classifier_is_the_one_that_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call trains nothing and gives the same hash, accuracy and bits."""
    images = _random_set((1, 8, 8))
    first = load_or_train_classifier(images, images, cache_dir=tmp_path)
    monkeypatch.setattr(classifier_cache, "train_classifier", None)
    second = load_or_train_classifier(images, cache_dir=tmp_path)
    assert (second.identifier, second.test_accuracy) == (first.identifier, first.test_accuracy)
    batch = next(image_batches(images.images))
    assert torch.equal(first(batch), second(batch))
    assert len(list(tmp_path.iterdir())) == 1  # no partial folder is left
    with pytest.raises(TypeError, match="NoneType"):
        load_or_train_classifier(images, cache_dir=tmp_path, seed=1)


def test_altered_and_damaged_files_are_refused(tmp_path: Path) -> None:
    """One changed weight, or a cut file: the message names the folder and the fix."""
    images = _random_set((1, 8, 8))
    load_or_train_classifier(images, cache_dir=tmp_path)
    folder = classifier_folder(images, cache_dir=tmp_path)
    file = folder / "classifier.safetensors"
    state = load_file(file)
    state["head.bias"][0] += 1e-3
    save_file(state, file)
    with pytest.raises(DataError, match=r"was altered.*delete that folder"):
        load_or_train_classifier(images, cache_dir=tmp_path)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=r"is damaged.*delete that folder"):
        load_or_train_classifier(images, cache_dir=tmp_path)


def test_sets_without_classes_are_refused_with_the_alternatives() -> None:
    """No labels, or one class only."""
    images = _random_set((1, 8, 8))
    with pytest.raises(DataError, match=r"random_conv.*inception"):
        train_classifier(replace(images, labels=None))
    with pytest.raises(DataError, match="at least two"):
        train_classifier(replace(images, labels=np.zeros(24, dtype=np.int64)))


def test_images_of_another_set_are_refused(trained: ClassifierExtractor) -> None:
    """A classifier takes images of the shape it was trained on."""
    with pytest.raises(ImageShapeError, match=r"\[1, 8, 8\], got \[3, 8, 8\]"):
        trained(torch.zeros(2, 3, 8, 8))
