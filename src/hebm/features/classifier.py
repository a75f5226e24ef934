"""Features of a small classifier trained on the labels of the image set itself.

Inception weights ask for a download and were trained on photographs; where images have labels, a network
that tells the classes apart is the smaller and more telling extractor. Two trainings differ, so distances are
comparable only under one hash.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hebm.data import ImageSet
from hebm.errors import DataError, ImageShapeError, NonFiniteError
from hebm.features.classifier_network import ARCHITECTURE, N_FEATURES, ClassifierNetwork
from hebm.features.extractor import image_batches, weights_hash
from hebm.features.initialisation import build_empty, initialise_
from hebm.randomness import named_generator

__all__ = ["ClassifierExtractor", "default_epochs", "train_classifier"]

_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 1e-2


class ClassifierExtractor:
    """A trained classifier seen as a feature extractor.

    Args:
        network: The trained network; put into evaluation mode, its parameters frozen.
        test_accuracy: Share of held-out images it classifies rightly, where that was measured.
        device: Where it lives.
    """

    name = "classifier"
    is_standard_inception = False
    dim = N_FEATURES

    def __init__(
        self,
        network: ClassifierNetwork,
        *,
        test_accuracy: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.test_accuracy = test_accuracy
        self.hash = weights_hash(network, f"{ARCHITECTURE} {network.image_shape} {network.n_classes}")
        self._device = device

    @property
    def identifier(self) -> str:
        """``name@hash``, the hash cut to 12 digits."""
        return f"{self.name}@{self.hash[:12]}"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features of images, [B, C, H, W] in [0, 1] to [B, 128] float32."""
        features: Tensor = self.network.features(self._checked(images))
        return features

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Most likely class of each image, [B] int64."""
        logits: Tensor = self.network(self._checked(images))
        return logits.argmax(1)

    def _checked(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != self.network.image_shape:
            expected = list(self.network.image_shape)
            raise ImageShapeError(
                f"this classifier was trained on images {expected}, got {list(images.shape[1:])}; "
                "use the extractor of the same image set."
            )
        return images.to(self._device, torch.float32)


def default_epochs(n_images: int) -> int:
    """Passes over the data that show about 300,000 images, at least 3 and at most 40."""
    return min(max(round(300_000 / n_images), 3), 40)


def train_classifier(
    train_set: ImageSet,
    test_set: ImageSet | None = None,
    *,
    seed: int = 0,
    epochs: int | None = None,
    device: torch.device | str = "cpu",
) -> ClassifierExtractor:
    """Train the classifier of an image set; about a minute for 60,000 images of 28 x 28 on one CPU core.

    The same data, seed and machine give the same bits on a CPU, and so the same hash.

    Args:
        train_set: Labelled images.
        test_set: Labelled images for the accuracy that the extractor carries; None measures none.
        seed: Of the first weights and the order of the images.
        epochs: Passes over the data; by default as many as show 300,000 images.
        device: Where to train.

    Raises:
        DataError: If there are no labels, or fewer than two classes.
        NonFiniteError: If the loss is not finite.
    """
    labels = _labels(train_set)
    network = build_empty(lambda: ClassifierNetwork(train_set.image_shape, int(labels.max()) + 1))
    initialise_(network, named_generator(seed, ARCHITECTURE, "init"))
    network = network.to(device).train()
    order = named_generator(seed, ARCHITECTURE, "data")
    _fit(network, train_set, labels, epochs or default_epochs(len(labels)), order, device)
    extractor = ClassifierExtractor(network, device=device)
    if test_set is not None:
        extractor.test_accuracy = _accuracy(extractor, test_set)
    return extractor


def _fit(
    network: ClassifierNetwork,
    train_set: ImageSet,
    labels: NDArray[np.int64],
    epochs: int,
    order: torch.Generator,
    device: torch.device | str,
) -> None:
    """Minimise the cross-entropy: AdamW, one cycle of the learning rate, no augmentation."""
    n = len(labels)
    batch_size = min(256 if n > 10_000 else 64, n)
    n_batches = n // batch_size
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=epochs * n_batches)
    for epoch in range(epochs):
        shuffled = torch.randperm(n, generator=order).numpy()[: n_batches * batch_size]
        for rows in np.split(shuffled, n_batches):
            images = torch.from_numpy(train_set.images[rows]).to(device).float() / 255
            loss = F.cross_entropy(network(images), torch.from_numpy(labels[rows]).to(device))
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
        if not torch.isfinite(loss):
            raise NonFiniteError(
                f"the classifier's loss is not finite after epoch {epoch + 1}; check the images."
            )


def _accuracy(extractor: ClassifierExtractor, image_set: ImageSet) -> float:
    labels = _labels(image_set)
    predicted = torch.cat([extractor.predict(batch).cpu() for batch in image_batches(image_set.images)])
    return float((predicted == torch.tensor(labels)).float().mean())


def _labels(image_set: ImageSet) -> NDArray[np.int64]:
    if image_set.labels is None:
        raise DataError(
            f"{image_set.name}: a classifier needs labels and this set has none; "
            "use the extractor `random_conv`, or `inception` if you have its weight file."
        )
    if image_set.labels.min() < 0 or image_set.labels.max() < 1:
        raise DataError(
            f"{image_set.name}: labels must be classes from 0 up, at least two of them; "
            "use the extractor `random_conv` instead."
        )
    return image_set.labels
