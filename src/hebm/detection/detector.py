"""A calibrated detector: a score, and everything of held-out normal images that its verdicts need."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection.base import AnomalyScore, ScoreRecipe
from hebm.detection.calibration import conformal_p_values, conformal_threshold
from hebm.detection.inference import evaluating
from hebm.detection.parts import anomaly_parts, breaks_first, part_p_values
from hebm.detection.scores import build_score, score_images
from hebm.errors import DataError
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["Detections", "Detector", "calibrate"]

BATCH_SIZE = 500


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

    def __call__(
        self, model: JointModel, x: Tensor, *, rate: float, batch_size: int = BATCH_SIZE
    ) -> Detections:
        """Judge images.

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
        score = score_images(model, x, self.score, batch_size=batch_size).cpu()
        parts = _parts(model, x, batch_size)
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
    batch_size: int = BATCH_SIZE,
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
    if isinstance(wanted, ScoreRecipe):
        n_fit = round(fit_share * len(normals))
        if not 0 < n_fit < len(normals):
            raise DataError(
                f"the score {score!r} is fitted to normal images and calibrated on others, but {len(normals)} held-out "
                f"images with a share of {fit_share} leave {n_fit} to fit; hold out more (data.holdout)."
            )
        order = torch.randperm(len(normals), generator=named_generator(seed, "detection", "fit"))
        with evaluating(model):
            fitted = wanted.fit(model, normals[order[:n_fit]])
        normals = normals[order[n_fit:]]
    else:
        fitted = wanted
    return Detector(
        score,
        fitted,
        score_images(model, normals, fitted, batch_size=batch_size).cpu(),
        _parts(model, normals, batch_size),
        _mean_squared_residual(model, normals, batch_size),
    )


def _parts(model: JointModel, x: Tensor, batch_size: int) -> dict[str, Tensor]:
    with evaluating(model):
        blocks = [anomaly_parts(model, batch) for batch in torch.split(x, batch_size)]
    return {name: torch.cat([block[name] for block in blocks]).cpu() for name in blocks[0]}


def _mean_squared_residual(model: JointModel, x: Tensor, batch_size: int) -> Tensor:
    total = torch.zeros(model.image_shape, dtype=torch.float64)
    with evaluating(model):
        for batch in torch.split(x, batch_size):
            batch = batch.to(next(model.parameters()))
            total += (batch - model.decode(model.encode(batch).mean)).square().sum(0).double().cpu()
    return (total / len(x)).float()
