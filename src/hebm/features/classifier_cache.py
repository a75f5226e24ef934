"""A trained classifier kept on disk: weights as safetensors beside a JSON record, checked on loading."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hebm.data import ImageSet
from hebm.errors import DataError
from hebm.features.cache import cache_name, default_cache_dir, publish
from hebm.features.classifier import ClassifierExtractor, train_classifier
from hebm.features.classifier_network import ARCHITECTURE, ClassifierNetwork
from hebm.features.initialisation import build_empty

__all__ = ["classifier_folder", "load_or_train_classifier"]

_WEIGHTS, _ABOUT = "classifier.safetensors", "classifier.json"


def load_or_train_classifier(
    train_set: ImageSet,
    test_set: ImageSet | None = None,
    *,
    cache_dir: Path | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> ClassifierExtractor:
    """Load the classifier of an image set, or train it and keep it.

    Args:
        train_set: Labelled images; their fingerprint is part of the key.
        test_set: Labelled images for the accuracy, used only where the network is trained.
        cache_dir: Where to keep it; by default ``$HEBM_CACHE/features`` or ``~/.cache/hebm/features``.
        seed: Of the training; part of the key.
        device: Where to put the network.

    Raises:
        DataError: If the set has no labels, or the kept files are damaged or altered.
    """
    folder = classifier_folder(train_set, seed=seed, cache_dir=cache_dir)
    if folder.is_dir():
        return _load(folder, train_set, device)
    extractor = train_classifier(train_set, test_set, seed=seed, device=device)
    about = {
        "architecture": ARCHITECTURE,
        "data": train_set.name,
        "data_fingerprint": train_set.fingerprint,
        "hash": extractor.hash,
        "n_classes": extractor.network.n_classes,
        "seed": seed,
        "test_accuracy": extractor.test_accuracy,
    }
    state = {name: value.cpu().contiguous() for name, value in extractor.network.state_dict().items()}

    def write(partial: Path) -> None:
        save_file(state, partial / _WEIGHTS)
        (partial / _ABOUT).write_text(json.dumps(about, indent=2) + "\n")

    publish(folder, write)
    return extractor


def classifier_folder(train_set: ImageSet, *, seed: int = 0, cache_dir: Path | None = None) -> Path:
    """Where the classifier of this data, seed and architecture is kept."""
    key = cache_name(ARCHITECTURE, train_set.name, train_set.fingerprint[:16], f"seed{seed}")
    return (cache_dir or default_cache_dir()) / key


def _load(folder: Path, train_set: ImageSet, device: torch.device | str) -> ClassifierExtractor:
    try:
        about = json.loads((folder / _ABOUT).read_text())
        network = build_empty(lambda: ClassifierNetwork(train_set.image_shape, int(about["n_classes"])))
        network.load_state_dict(load_file(folder / _WEIGHTS))
        expected, fingerprint, accuracy = about["hash"], about["data_fingerprint"], about["test_accuracy"]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder} is damaged ({error}); delete that folder to train again.") from error
    extractor = ClassifierExtractor(network, test_accuracy=accuracy, device=device)
    if extractor.hash != expected or fingerprint != train_set.fingerprint:
        raise DataError(
            f"{folder} was altered: its weights have the hash {extractor.hash[:12]}, its record says "
            f"{str(expected)[:12]}; delete that folder to train again."
        )
    return extractor
