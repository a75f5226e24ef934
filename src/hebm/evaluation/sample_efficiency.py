r"""Suite ``sample_efficiency``: what a linear probe reads from codes when few images have labels.

The representation is learned from all training images, without labels; the probe learns from a share of them, and is
judged on the whole test split, whatever ``data.limit`` says, so that runs on fewer images are judged by the same.
Subsets are nested and stratified, and the same for every representation; ± is the sample deviation over subsets. What
all images have is the only one of its kind, so there is no deviation.

Codes are posterior means, in units of the training images' mean and spread (pixels: in one common unit, since a pixel
that is hardly ever lit has none of its own). ``level_0`` is the top; ``top_k`` are the k top levels; ``trunk`` is what
the top level's mean is a linear map of.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hebm.build import build_images
from hebm.config import RunConfig
from hebm.errors import NonFiniteError, UnsupportedError
from hebm.evaluation.control_codes import Codes, ImagePair, control_codes, joined, model_codes, trunk_codes
from hebm.evaluation.label_subsets import nested_order, subset_sizes
from hebm.evaluation.linear_probe import fit_linear_probe
from hebm.evaluation.probe_network import standardised
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["evaluate_sample_efficiency"]

Labels = NDArray[np.int64]


def evaluate_sample_efficiency(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Probe a run's codes, and its controls', with more and more labels.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration.
        seed: Of the subsets and of the controls.

    Returns:
        The fields of the ``sample_efficiency`` result file.

    Raises:
        UnsupportedError: If the images have no labels, or a test label is not among the training ones.
        ConfigError: If the smallest share has too few images.
        NonFiniteError: If a control's loss, or a code, is not finite.
    """
    settings = config.evaluation.sample_efficiency
    images = ImagePair(build_images(config, config.data.split), build_images(_unlimited(config), "test"))
    labels = _labels(images)
    sizes = subset_sizes(settings.shares, labels[0])
    orders = [
        nested_order(labels[0], named_generator(seed, "sample_efficiency", "subset", i))
        for i in range(settings.n_subsets)
    ]
    judge = _Judge(labels, orders, sizes, settings.weight_variances)
    found = {name: judge.curve(name, codes) for name, codes in _own_codes(model, images)}
    facts = {}
    for control in settings.controls:
        made, facts[control] = control_codes(control, config, images, seed=seed, device=model.device)
        found |= {name: judge.curve(name, codes) for name, codes in made.items()}
    return {
        "shares": list(settings.shares),
        "n_labels": sizes,
        "representations": found,
        "controls": facts,
        "chance": float(np.unique(labels[1], return_counts=True)[1].max() / len(labels[1])),
        "n_train": len(labels[0]),
        "n_test": len(labels[1]),
        "n_classes": len(np.unique(labels[0])),
    }


def _unlimited(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"data": config.data.model_copy(update={"limit": None})})


def _labels(images: ImagePair) -> tuple[Labels, Labels]:
    train, test = (image_set.labels for image_set in images)
    if train is None or test is None or len(np.unique(train)) < 2:
        raise UnsupportedError(
            f"{images.train.name}: probes read labels of two classes or more, which this set does not have; "
            "evaluate another suite."
        )
    if unknown := sorted(set(test.tolist()) - set(train.tolist())):
        raise UnsupportedError(
            f"{images.train.name}: the test label {unknown[0]} is not among the training labels, so no probe can learn "
            "it; raise data.limit, or evaluate a run without data.held_out_labels."
        )
    return train, test


def _own_codes(model: JointModel, images: ImagePair) -> Iterator[tuple[str, Codes]]:
    levels = model_codes(model, images)
    yield from ((f"level_{i}", codes) for i, codes in enumerate(levels))
    yield from ((f"top_{k}", joined(levels[:k])) for k in range(2, len(levels)))
    yield "all", joined(levels)
    yield "trunk", trunk_codes(model, images)


def _in_units(name: str, codes: Codes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not all(torch.isfinite(part).all() for part in codes):
        raise NonFiniteError(f"the codes of {name} are not finite; look at the run's losses.")
    train, test = (part.double() for part in codes)
    train, test = _in_common_units(train, test) if name == "pixels" else standardised(train, test)
    return train.numpy(), test.numpy()


def _in_common_units(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    mean = train.mean(0)
    unit = (train - mean).square().mean().sqrt()
    return (train - mean) / unit, (test - mean) / unit


@dataclass(frozen=True)
class _Judge:
    """What all representations have in common."""

    labels: tuple[Labels, Labels]
    orders: list[NDArray[np.int64]]
    sizes: list[int]
    variances: tuple[float, ...]

    def curve(self, name: str, codes: Codes) -> dict[str, Any]:
        """Accuracy at every number of labels: a list per number, one value per subset."""
        train, test = _in_units(name, codes)
        probes = [
            [
                fit_linear_probe(train[rows], self.labels[0][rows], self.variances)
                for rows in self.subsets(size)
            ]
            for size in self.sizes
        ]
        accuracy = [[probe.accuracy(test, self.labels[1]) for probe in row] for row in probes]
        return {
            "mean": [fmean(row) for row in accuracy],
            "sd": [stdev(row) if len(row) > 1 else None for row in accuracy],
            "n": [len(row) for row in accuracy],
            "accuracy": accuracy,
            "weight_variance": [[probe.variance for probe in row] for row in probes],
            "n_not_converged": sum(not probe.has_converged for row in probes for probe in row),
            "dim": train.shape[1],
        }

    def subsets(self, size: int) -> list[NDArray[np.int64]]:
        """Rows of every subset of a size; there is only one of all."""
        return [order[:size] for order in self.orders[: 1 if size == len(self.labels[0]) else None]]
