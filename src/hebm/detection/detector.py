"""A calibrated detector: a score, and everything of held-out normal images that its verdicts need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.detection.base import AnomalyScore, ScoreRecipe, score_inferred
from hebm.detection.batches import BATCH, inferred_batches
from hebm.detection.calibration import conformal_p_values, conformal_threshold
from hebm.detection.inference import Inferred, evaluating, require_count
from hebm.detection.parts import breaks_first, part_p_values, parts_of
from hebm.detection.scores import build_score
from hebm.errors import DataError
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["Detections", "Detector", "calibrate", "n_fitted"]


class _Values(NamedTuple):
    """Score and parts of images, [B] each, on the CPU."""

    score: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True)
class Detections:
    """What is found about N images, on the CPU.

    Args:
        score: [N] in float64, higher is more anomalous.
        p_value: Conformal p-value of the score, [N].
        anomalous: Whether p ≤ the false-positive rate, [N] bool.
        parts: Every part's values, [N] nats each.
        part_p_values: Their conformal p-values, [N] each.
        breaks_first: Name of the part with the smallest p-value, N of them.
    """

    score: Tensor
    p_value: Tensor
    anomalous: Tensor
    parts: dict[str, Tensor]
    part_p_values: dict[str, Tensor]
    breaks_first: list[str]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.score)

    def most_anomalous(self, n: int) -> list[int]:
        """Indices of the n images of highest score, highest first; ties in the order of the images."""
        return self.score.argsort(descending=True, stable=True)[:n].tolist()


@dataclass(frozen=True)
class Detector:
    """A score with its calibration; all tensors on the CPU. Made by :func:`calibrate`.

    Args:
        name: The score's name with its options, as :func:`~hebm.detection.build_score` reads it.
        score: The score, fitted where it is a recipe.
        calibration: Scores of n held-out normal images, [n] in float64.
        part_calibration: Values of every part of the same images, [n] each.
        residual: Their mean squared residual at every pixel, [C, H, W].
    """

    name: str
    score: AnomalyScore
    calibration: Tensor
    part_calibration: dict[str, Tensor]
    residual: Tensor

    def threshold(self, rate: float) -> float:
        """The score above which an image is anomalous at a false-positive rate.

        Raises:
            ConfigError: If the rate needs more calibration images than there are.
        """
        return conformal_threshold(self.calibration, rate)

    def __call__(self, model: JointModel, x: Tensor, *, rate: float, batch_size: int = BATCH) -> Detections:
        """Judge images; each batch is encoded once.

        Args:
            model: The model that the detector was calibrated with.
            x: Images in [0, 1], [N, C, H, W].
            rate: The false-positive rate wanted, between 0 and 1.
            batch_size: Images scored together; it changes the speed, not the verdicts.

        Raises:
            ConfigError: If the rate needs more calibration images than there are.
            ImageShapeError: If the images have another shape or range than the model's.
            NonFiniteError: If an image or a score is not finite.
        """
        self.threshold(rate)
        require_count("batch_size", batch_size, least=1)
        with evaluating(model):
            batches = inferred_batches(model, x, batch_size)
            score, parts = _joined([_values(self.score, inferred) for inferred in batches])
        p_value = conformal_p_values(self.calibration, score)
        return Detections(
            score,
            p_value,
            p_value <= rate,
            parts,
            part_p_values(self.part_calibration, parts),
            breaks_first(self.part_calibration, parts),
        )


def calibrate(
    model: JointModel,
    normals: Tensor,
    score: str,
    *,
    fit_share: float = 0.5,
    seed: int = 0,
    batch_size: int = BATCH,
) -> Detector:
    """Calibrate a score on held-out normal images.

    A recipe is fitted to a random share of them and calibrated on the others: the images that calibrate must be as new
    to the score as those it will judge.

    Args:
        model: The model.
        normals: Normal images that the model has not learned from, in [0, 1], [N, C, H, W].
        score: The score's name with its options.
        fit_share: Share of the images that a recipe is fitted to; not looked at for other scores.
        seed: Chooses those.
        batch_size: Images scored together.

    Raises:
        ConfigError: If the score is unknown.
        DataError: If there are too few images.
        NonFiniteError: If a score is not finite.
    """
    wanted = build_score(score)
    require_count("batch_size", batch_size, least=1)
    n_fit = n_fitted(score, len(normals), fit_share)
    with evaluating(model):
        if isinstance(wanted, ScoreRecipe):
            order = torch.randperm(len(normals), generator=named_generator(seed, "detection", "fit"))
            wanted, normals = wanted.fit(model, normals[order[:n_fit]]), normals[order[n_fit:]]
        values, residuals = [], []
        for inferred in inferred_batches(model, normals, batch_size):
            values.append(_values(wanted, inferred))
            residuals.append(_squared_residual(inferred))
    residual = sum(residuals, torch.zeros_like(residuals[0])) / len(normals)
    return Detector(score, wanted, *_joined(values), residual.float())


def n_fitted(score: str, n_normals: int, fit_share: float) -> int:
    """How many of the normal images a score is fitted to, none if it is no recipe; the others calibrate it.

    Raises:
        ConfigError: If the score is unknown.
        DataError: If the share leaves none to fit, or none to calibrate.
    """
    if not isinstance(build_score(score), ScoreRecipe):
        return 0
    n_fit = round(fit_share * n_normals)
    if not 0 < n_fit < n_normals:
        raise DataError(
            f"the score {score!r} is fitted to normal images and calibrated on others, but {n_normals} held-out "
            f"images with a share of {fit_share} leave {n_fit} to fit; hold out more (data.holdout)."
        )
    return n_fit


def _values(score: AnomalyScore, inferred: Inferred) -> _Values:
    values = score_inferred(score, inferred).cpu()
    return _Values(values, {name: part.cpu() for name, part in parts_of(inferred).items()})


def _joined(batches: Sequence[_Values]) -> _Values:
    """Of all batches, one after the other."""
    parts = {name: torch.cat([batch.parts[name] for batch in batches]) for name in batches[0].parts}
    return _Values(torch.cat([batch.score for batch in batches]), parts)


def _squared_residual(inferred: Inferred) -> Tensor:
    """Sum over the images, [C, H, W] in float64 on the CPU."""
    residual = inferred.x - inferred.model.decode(inferred.posterior.mean)
    return residual.square().sum(0).double().cpu()
