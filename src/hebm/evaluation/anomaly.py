r"""Suite ``anomaly``: which scores find the images of a label that training has not seen (``data.held_out_labels``).

Anomalies are all images of the label, normal images the test part of the others (:mod:`hebm.data.held_out_label`), so
the base rate b = N_a / (N_a + N_n) is high. It is what an uninformed score has as AUPRC, and no score can fall below
the value of the perfectly wrong order,

.. math:: \frac{1}{N_a} \sum_{k=1}^{N_a} \frac{k}{N_n + k}

which the result file has as ``auprc_floor``: published numbers beneath it come from another protocol.

Recipes are fitted to *training* images: the protocol leaves no other normal ones that are not tested on. Nothing is
chosen by the anomalies: the declared score is the one the configuration names.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hebm.build import build_images
from hebm.config import RunConfig
from hebm.data import ImageSet, ResidentImages
from hebm.detection import build_score
from hebm.detection.controls import PixelScore, fit_controls
from hebm.detection.controls.isolation_forest import IsolationForestScore
from hebm.errors import ConfigError
from hebm.evaluation.ood_rows import Ranked
from hebm.evaluation.together import score_together
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["evaluate_anomaly"]


def evaluate_anomaly(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Rank held-out normal images and anomalies by every score and control.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration; ``evaluation.anomaly`` says which scores.
        seed: Of the choice of training images and of the resamples.

    Returns:
        The fields of the ``anomaly`` result file.

    Raises:
        ConfigError: If no label was held out, or a score is unknown.
        DataError: If the images are missing.
        NonFiniteError: If a score is not finite.
    """
    settings = config.evaluation.anomaly
    if not config.data.held_out_labels:
        raise ConfigError(
            "the suite 'anomaly' needs a run that was trained without one label; train it with --set "
            "data.held_out_labels=[4]."
        )
    recipes = {name: build_score(name) for name in dict.fromkeys([*settings.scores, settings.declared])}
    train = build_images(config, config.data.split)
    normal, anomalous = (_pixels(build_images(config, split)) for split in ("test", "anomalies"))
    calibration = _chosen(train, settings.n_calibration, seed, "calibration")
    found = score_together(model, recipes, torch.cat([normal, anomalous]), normals=calibration)
    return {
        "held_out_label": config.data.held_out_labels[-1],
        "n_normal": len(normal),
        "n_anomalous": len(anomalous),
        "base_rate": len(anomalous) / (len(normal) + len(anomalous)),
        "auprc_floor": worst_average_precision(len(normal), len(anomalous)),
        "n_calibration": len(calibration),
        "declared": settings.declared,
        "scores": {
            name: _row(values, len(normal), settings.n_bootstrap, seed)
            for name, values in found.values.items()
        },
        "controls": _controls(model, config, train, normal, anomalous, seed) if settings.controls else {},
        "left_out": found.refused,
    }


def worst_average_precision(n_normal: int, n_anomalous: int) -> float:
    """Average precision with every normal image ranked above every anomaly."""
    found = np.arange(1, n_anomalous + 1)
    return float((found / (n_normal + found)).mean())


def _controls(
    model: JointModel, config: RunConfig, train: ImageSet, normal: Tensor, anomalous: Tensor, seed: int
) -> dict[str, Any]:
    settings = config.evaluation.anomaly
    seen = _chosen(train, settings.n_train, seed, "controls")
    fitted: dict[str, PixelScore] = {
        **fit_controls(seen, n_components=sum(model.level_dims)),
        "isolation_forest": IsolationForestScore(seed=seed).fit(seen),
    }
    images = torch.cat([normal, anomalous])
    return {
        name: _row(control(images), len(normal), settings.n_bootstrap, seed)
        for name, control in fitted.items()
    }


def _row(scores: Tensor, n_normal: int, n_resamples: int, seed: int) -> dict[str, Any]:
    return Ranked(scores[:n_normal], scores[n_normal:], n_resamples=n_resamples, seed=seed).to_json()


def _pixels(images: ImageSet) -> Tensor:
    return ResidentImages(images, torch.device("cpu")).batch(torch.arange(len(images)))


def _chosen(images: ImageSet, n: int, seed: int, stream: str) -> Tensor:
    """Some images at random, [n, C, H, W] in [0, 1]; all if there are fewer."""
    order = torch.randperm(len(images), generator=named_generator(seed, "anomaly", stream))[:n]
    return ResidentImages(images, torch.device("cpu")).batch(order)
