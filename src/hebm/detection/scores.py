"""Scores by name, and the one way to score images with any of them."""

import ast
import dataclasses
import difflib
import re
from typing import Any

from torch import Tensor

from hebm.detection.base import AnomalyScore, ScoreRecipe
from hebm.detection.batches import BATCH, in_batches
from hebm.detection.combined import Combined
from hebm.detection.distortion import Distortion
from hebm.detection.elbo import Elbo
from hebm.detection.energy import LatentEnergy
from hebm.detection.inference import evaluating, require_count
from hebm.detection.iwae import Iwae
from hebm.detection.latent_density import LatentDensityScore
from hebm.detection.llr import LevelsAbove, LikelihoodRatio
from hebm.detection.log_joint import LogJoint
from hebm.detection.prior_density import PriorDensity
from hebm.detection.rate import Rate
from hebm.detection.regret import LikelihoodRegret
from hebm.detection.typicality import Typicality
from hebm.errors import ConfigError
from hebm.models import JointModel

__all__ = ["SCORES", "build_score", "detect", "score_images"]

COMMA = re.compile(r",(?![^()]*\))")  # not those of a tuple

SCORES: dict[str, type] = {
    "distortion": Distortion,
    "energy": LatentEnergy,
    "log_joint": LogJoint,
    "elbo": Elbo,
    "iwae": Iwae,
    "rate": Rate,
    "prior_density": PriorDensity,
    "llr": LikelihoodRatio,
    "l_above": LevelsAbove,
    "typicality": Typicality,
    "regret": LikelihoodRegret,
    "latent_density": LatentDensityScore,
    "combined": Combined,
}


def build_score(name: str, **options: Any) -> AnomalyScore | ScoreRecipe:
    """Make a score by its name.

    Args:
        name: A key of :data:`SCORES`, with options behind a colon if wanted: ``"rate:level=0,n_draws=4"``.
        options: Options by keyword; they go before those in the name.

    Raises:
        ConfigError: If the score or an option is unknown (with the nearest name), or a value is wrong.
    """
    name, _, text = name.partition(":")
    if name not in SCORES:
        raise ConfigError(
            f"score {name!r} is unknown{_nearest(name, SCORES)}; choose from {', '.join(SCORES)}."
        )
    options = {**_parsed(name, text), **options}
    known = [field.name for field in dataclasses.fields(SCORES[name])]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"score {name!r} has no option {option!r}{_nearest(option, known)}; it has {', '.join(known)}."
            )
    if isinstance(options.get("parts"), str):
        options["parts"] = tuple(build_score(part) for part in options["parts"].split("+"))
    score: AnomalyScore | ScoreRecipe = SCORES[name](**options)
    return score


def score_images(
    model: JointModel,
    x: Tensor,
    score: str | AnomalyScore | ScoreRecipe,
    *,
    normals: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Score images in batches: eval mode, no gradients; the model is left as it was.

    Args:
        model: The model.
        x: Images in [0, 1], [N, C, H, W]; they may lie on another device than the model.
        score: A score, a recipe, or a name for :func:`build_score`.
        normals: Held-out normal images in [0, 1] for a recipe, [M, C, H, W].
        batch_size: Images scored together; it changes the speed, not the scores.

    Returns:
        [N] in float64 on the images' device; higher is more anomalous.

    Raises:
        ConfigError: If the score is unknown, or a recipe has no normal images.
        ImageShapeError: If the images have another shape or range than the model's.
        NonFiniteError: If an image or a score is not finite.
    """
    require_count("batch_size", batch_size, least=1)
    wanted = build_score(score) if isinstance(score, str) else score
    with evaluating(model):
        fitted = _fitted(model, wanted, normals)
        return in_batches(model, x, fitted, batch_size)


def detect(
    model: JointModel,
    x: Tensor,
    score: str | AnomalyScore | ScoreRecipe = "llr",
    *,
    normals: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Anomaly scores of images, [N]; higher is more anomalous. See :func:`score_images`."""
    return score_images(model, x, score, normals=normals, batch_size=batch_size)


def _fitted(model: JointModel, score: AnomalyScore | ScoreRecipe, normals: Tensor | None) -> AnomalyScore:
    if not isinstance(score, ScoreRecipe):
        return score
    if normals is None:
        raise ConfigError(
            f"the score {type(score).__name__} must see normal images first; pass `normals`, held-out images of the "
            "normal kind, [N, C, H, W] in [0, 1]."
        )
    return score.fit(model, normals)


def _parsed(name: str, text: str) -> dict[str, Any]:
    """``"level=0,seed=1"`` to options; a value is a Python literal, or else a word."""
    options: dict[str, Any] = {}
    for part in filter(None, COMMA.split(text)):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"option {part!r} of score {name!r} has no value; write {part}=VALUE.")
        try:
            options[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            options[key.strip()] = value.strip()
    return options


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
