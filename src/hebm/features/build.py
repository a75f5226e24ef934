"""From the name of an extractor to the extractor."""

from pathlib import Path
from typing import Literal

import torch

from hebm.data import ImageSet
from hebm.errors import ConfigError
from hebm.features.classifier_cache import load_or_train_classifier
from hebm.features.extractor import FeatureExtractor
from hebm.features.inception_weights import load_inception
from hebm.features.random_conv import RandomConvExtractor

__all__ = ["ExtractorKind", "build_extractor"]

ExtractorKind = Literal["auto", "classifier", "inception", "random_conv"]


def build_extractor(
    kind: ExtractorKind,
    train_set: ImageSet,
    test_set: ImageSet | None = None,
    *,
    device: torch.device | str = "cpu",
    cache_dir: Path | None = None,
    seed: int = 0,
) -> FeatureExtractor:
    """Make the extractor for an image set.

    Args:
        kind: ``auto`` is ``classifier`` where the training images have labels, else ``random_conv``.
        train_set: Training images; a classifier is trained on them unless the cache has it.
        test_set: Held-out images, for the classifier's accuracy.
        device: Where to put it.
        cache_dir: Where networks are kept; by default ``$HEBM_CACHE/features`` or ``~/.cache/hebm/features``.
        seed: Of the classifier's training, or of the random network.

    Raises:
        ConfigError: If the kind is unknown.
        DataError: If a classifier is asked for without labels, or a cached file is damaged.
        MissingDataError: If the Inception weights are not there and cannot be downloaded.
    """
    if kind == "auto":
        kind = "random_conv" if train_set.labels is None else "classifier"
    if kind == "classifier":
        return load_or_train_classifier(train_set, test_set, cache_dir=cache_dir, seed=seed, device=device)
    if kind == "inception":
        return load_inception(cache_dir=cache_dir, device=device)
    if kind == "random_conv":
        return RandomConvExtractor(train_set.image_shape[0], seed=seed, device=device)
    raise ConfigError(f"unknown extractor {kind!r}; choose auto, classifier, inception or random_conv.")
