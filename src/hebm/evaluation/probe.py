r"""Suite ``probe``: what a small classifier reads from the codes of each level.

The codes are posterior means, of training images to learn from and of held-out ones to be judged on; they are
inferred once. ``mean`` and ``sd`` are over the probes' seeds. The interval covers 95 %: held-out images are a sample
(Wilson), and so are seeds; the encoder's own seed is not in it. The cross-entropy bounds what a level tells of the
label, in nats: :math:`I(z_l; y) \ge H(y) - \mathrm{CE}`.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hebm.build import build_images
from hebm.config import ProbeConfig, RunConfig
from hebm.data import ImageSet
from hebm.errors import DataError
from hebm.evaluation.inferred import infer_images
from hebm.evaluation.probe_network import (
    LabelledCodes,
    linear_accuracy,
    probe_score,
    standardised,
    train_probe,
)
from hebm.latents import Latents, flatten_latents
from hebm.metrics import entropy, label_information
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["ProbeData", "accuracy_interval", "evaluate_probe", "inferred_codes", "probe_levels"]

COVERAGE_95 = 1.96


class ProbeData(NamedTuple):
    """One level's codes to learn from and to be judged on."""

    train: LabelledCodes
    test: LabelledCodes


def evaluate_probe(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Read the labels from each level's codes, and from all of them together.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration.
        seed: Of the probes.

    Returns:
        The fields of the ``probe`` result file; lists are top level first.

    Raises:
        DataError: If the images are missing or have no labels, or a held-out label is not among the training ones.
    """
    train_set, test_set = (build_images(config, split) for split in (config.data.split, "test"))
    train_labels, test_labels = _class_indices(train_set, test_set)
    train, test = inferred_codes(model, train_set), inferred_codes(model, test_set)
    labels = [torch.from_numpy(array).to(model.device) for array in (train_labels, test_labels)]
    settings = config.evaluation.probe
    levels = [
        probe_levels(codes, labels, settings, seed=seed, name=str(level))
        for level, codes in enumerate(zip(train, test, strict=True))
    ]
    together = probe_levels(
        (flatten_latents(train), flatten_latents(test)), labels, settings, seed=seed, name="all"
    )
    return {
        **{key: [level[key] for level in levels] for key in levels[0]},
        "all_levels": together,
        "label_entropy": entropy(test_labels),
        "chance": float(np.bincount(test_labels).max() / len(test_labels)),
        "codes": "posterior mean",
        "n_seeds": settings.n_seeds,
        "n_train": len(train_set),
        "n_test": len(test_set),
        "n_classes": int(train_labels.max()) + 1,
    }


def inferred_codes(model: JointModel, image_set: ImageSet) -> Latents:
    """Posterior means of all images of a set, [N, d_l] per level, top first."""
    return infer_images(model, image_set, len(image_set)).posterior.mean


def probe_levels(
    codes: tuple[Tensor, Tensor],
    labels: Sequence[Tensor],
    settings: ProbeConfig,
    *,
    seed: int,
    name: str,
) -> dict[str, Any]:
    """Probe one set of codes with several seeds, and with a linear classifier.

    Args:
        codes: To learn from and to be judged on, [N, d] and [M, d].
        labels: Classes of both, [N] and [M], from 0 up.
        settings: Of the probes.
        seed: The user's seed.
        name: Of the random stream.
    """
    train, test = (LabelledCodes(*pair) for pair in zip(standardised(*codes), labels, strict=True))
    n_classes = int(labels[0].max()) + 1
    scores = [
        probe_score(
            train_probe(train, n_classes, settings, generator=named_generator(seed, "probe", name, i)), test
        )
        for i in range(settings.n_seeds)
    ]
    accuracies = [score.accuracy for score in scores]
    cross_entropy = fmean(score.cross_entropy for score in scores)
    return {
        "accuracy": accuracies,
        "mean": fmean(accuracies),
        "sd": stdev(accuracies),
        "interval": accuracy_interval(accuracies, len(labels[1])),
        "linear": linear_accuracy(train, test),
        "cross_entropy": cross_entropy,
        "label_information": label_information(cross_entropy, labels[1].cpu()),
    }


def accuracy_interval(accuracies: Sequence[float], n_items: int) -> list[float]:
    r"""A 95 % interval of the mean accuracy of several seeds on the same n items.

    .. math:: \frac{p + z^2/2n}{1 + z^2/n} \pm \sqrt{\Big(\frac{z}{1 + z^2/n}\Big)^2
        \Big(\frac{p(1-p)}{n} + \frac{z^2}{4n^2}\Big) + z^2 \frac{s^2}{S}}, \quad z = 1.96

    the Wilson interval of a share p of n items, widened by the spread s of S seeds.
    """
    p, z = fmean(accuracies), COVERAGE_95
    shrink = 1 + z**2 / n_items
    of_items = (z / shrink) ** 2 * (p * (1 - p) / n_items + z**2 / (4 * n_items**2))
    of_seeds = z**2 * stdev(accuracies) ** 2 / len(accuracies)
    centre, half = (p + z**2 / (2 * n_items)) / shrink, math.sqrt(of_items + of_seeds)
    return [max(0.0, centre - half), min(1.0, centre + half)]


def _class_indices(train: ImageSet, test: ImageSet) -> list[NDArray[np.int64]]:
    """Labels of both sets as 0, 1, ... in the order of the training labels' values."""
    if train.labels is None or test.labels is None:
        raise DataError(f"{train.name}: a probe reads labels, but this set has none; evaluate another suite.")
    classes = np.unique(train.labels)
    if unknown := sorted(set(test.labels.tolist()) - set(classes.tolist())):
        raise DataError(
            f"{train.name}: the held-out label {unknown[0]} is not among the training labels; raise data.limit."
        )
    return [np.searchsorted(classes, labels).astype(np.int64) for labels in (train.labels, test.labels)]
