"""Several scores of the same images: each batch is encoded once for all of them."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection import AnomalyScore, ScoreRecipe
from hebm.detection.base import score_inferred
from hebm.detection.batches import inferred_batches
from hebm.detection.inference import evaluating
from hebm.errors import ConfigError, DataError, UnsupportedError
from hebm.models import JointModel

__all__ = ["ScoredTogether", "score_together"]

REFUSALS = (ConfigError, DataError, UnsupportedError)  # DataError: too few normal images


@dataclass(frozen=True)
class ScoredTogether:
    """What came of several scores.

    Args:
        values: Of each score that the model has, [N] in float64 on the images' device; higher is more anomalous.
        seconds: That it took; what scores share, such as the encoding, counts for the first that needs it.
        refused: Why the model does not have the others.
    """

    values: dict[str, Tensor]
    seconds: dict[str, float]
    refused: dict[str, str]


def score_together(
    model: JointModel, scores: Mapping[str, AnomalyScore | ScoreRecipe], x: Tensor, *, normals: Tensor
) -> ScoredTogether:
    """Score images by every score that the model has.

    Args:
        model: The model; eval mode, and left as it was.
        scores: Scores and recipes by name.
        x: Images in [0, 1], [N, C, H, W].
        normals: Held-out normal images in [0, 1] for the recipes, [M, C, H, W].

    Raises:
        ImageShapeError: If the images have another shape or range than the model's.
        NonFiniteError: If an image or a score is not finite.
    """
    fitted: dict[str, AnomalyScore] = {}
    refused: dict[str, str] = {}
    parts: dict[str, list[Tensor]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    with evaluating(model):
        for name, score in scores.items():
            try:
                fitted[name] = score.fit(model, normals) if isinstance(score, ScoreRecipe) else score
            except REFUSALS as error:
                refused[name] = str(error)
        for inferred in inferred_batches(model, x):
            for name, fitted_score in fitted.items():
                started = time.perf_counter()
                try:
                    parts[name].append(score_inferred(fitted_score, inferred))
                except REFUSALS as error:
                    refused[name] = str(error)
                seconds[name] += time.perf_counter() - started
    kept = [name for name in fitted if name not in refused]
    return ScoredTogether(
        {name: torch.cat(parts[name]) for name in kept}, {name: seconds[name] for name in kept}, refused
    )
