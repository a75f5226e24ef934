r"""Suite ``ood``: which scores tell images of other sets from a run's own, and whether trivial controls do it as well.

The controls look at pixels alone; they are fitted to training images. Recipes are fitted to one half of the test
images, the other half is scored. Each pair has as many images on both sides, so that chance is 1/2 for AUROC and AUPRC.
The score that counts is declared in the configuration; the others are for information: to pick the best of them from
these results is to choose it by looking at what does not belong.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from hebm.config import RunConfig
from hebm.detection import AnomalyScore, ScoreRecipe, build_score, score_images
from hebm.detection.controls import fit_controls
from hebm.detection.inference import evaluating
from hebm.errors import ConfigError, DataError, UnsupportedError
from hebm.evaluation.ood_rows import Ranked, rank
from hebm.evaluation.ood_sets import NormalImages, load_ood_sets, split_normals
from hebm.models import JointModel

__all__ = ["evaluate_ood"]

Scored = dict[str, Tensor]
PNG = ("png_size", "png_size_reversed", "png_size_distance")


def evaluate_ood(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Measure every score and control on every pair.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration; ``evaluation.ood`` says what is compared.
        seed: Of the division of the images, the choice among others, and the resamples.

    Returns:
        The fields of the ``ood`` result file.

    Raises:
        ConfigError: If a score is unknown.
        DataError: If images are missing that the configuration names, or none are left to compare with.
        NonFiniteError: If a score is not finite.
    """
    settings = config.evaluation.ood
    recipes = {name: build_score(name) for name in dict.fromkeys([*settings.scores, settings.declared])}
    normals = split_normals(config, seed=seed)
    sets, left_out = load_ood_sets(config, normals, seed=seed)
    if not sets:
        raise DataError(f"there is no set to compare with: {'; '.join(left_out.values())}")
    controls = _score_controls(normals, sets, n_components=sum(model.level_dims))
    scores, seconds, refused = _score_all(model, recipes, normals, sets)
    pairs = {
        name: _pair(name, controls, scores, settings.declared, n_resamples=settings.n_bootstrap, seed=seed)
        for name in sets
    }
    return {
        "declared": settings.declared,
        "verdict": " ".join(_verdict(name, pair, settings.declared) for name, pair in pairs.items()),
        "pairs": pairs,
        "left_out": {**left_out, **refused},
        "n_calibration": len(normals.calibration),
        "n_train": len(normals.train),
        "n_bootstrap": settings.n_bootstrap,
        "scoring_s_per_1000": seconds,
    }


def _score_controls(normals: NormalImages, sets: Scored, *, n_components: int) -> dict[str, Scored]:
    """Every control on the evaluation images ("") and on each set."""
    fitted = fit_controls(normals.train, n_components=n_components)
    return {name: _on_all(control, normals, sets) for name, control in fitted.items()}


def _score_all(
    model: JointModel,
    recipes: dict[str, AnomalyScore | ScoreRecipe],
    normals: NormalImages,
    sets: Scored,
) -> tuple[dict[str, Scored], dict[str, float], dict[str, str]]:
    """The same for the model's scores; seconds per 1000 images of each; and why this model has not some of them."""
    scores: dict[str, Scored] = {}
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    n_images = len(normals.evaluation) + sum(len(x) for x in sets.values())
    for name, recipe in recipes.items():
        try:
            score = _fitted(model, recipe, normals.calibration)
            started = time.perf_counter()
            scores[name] = _on_all(partial(_scored, model, score), normals, sets)
            seconds[name] = 1000 * (time.perf_counter() - started) / n_images
        except (ConfigError, DataError, UnsupportedError) as error:  # DataError: too few normal images
            refused[name] = str(error)
    return scores, seconds, refused


def _fitted(model: JointModel, score: AnomalyScore | ScoreRecipe, calibration: Tensor) -> AnomalyScore:
    if not isinstance(score, ScoreRecipe):
        return score
    with evaluating(model):
        return score.fit(model, calibration)


def _scored(model: JointModel, score: AnomalyScore, x: Tensor) -> Tensor:
    return score_images(model, x, score)


def _on_all(score: Callable[[Tensor], Tensor], normals: NormalImages, sets: Scored) -> Scored:
    return {"": score(normals.evaluation), **{name: score(x) for name, x in sets.items()}}


def _pair(
    name: str,
    controls: dict[str, Scored],
    scores: dict[str, Scored],
    declared: str,
    *,
    n_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Rows of the controls and the scores, and the declared score's margins over the controls."""
    ranked_controls, ranked_scores = (
        rank(
            {key: values[""] for key, values in group.items()},
            {key: values[name] for key, values in group.items()},
            n_resamples=n_resamples,
            seed=seed,
        )
        for group in (controls, scores)
    )
    ours = ranked_scores.get(declared)
    return {
        "controls": {key: row.to_json() for key, row in ranked_controls.items()},
        "scores": {key: row.to_json() for key, row in ranked_scores.items()},
        "declared_over": _margins(ours, ranked_controls) if ours is not None else None,
    }


def _margins(ours: Ranked, controls: dict[str, Ranked]) -> dict[str, Any]:
    """Margins over every control; the raw PNG size also with its sign reversed, which nobody could have known."""
    margins = {name: ours.margin_over(control) for name, control in controls.items()}
    return {**margins, "png_size_reversed": ours.margin_over(controls["png_size"], reversed_sign=True)}


def _verdict(name: str, pair: dict[str, Any], declared: str) -> str:
    """Plain words: does the declared score beat PNG size, whichever way that is read, and the best control?"""
    margins = pair["declared_over"]
    if margins is None:
        return f"{name}: this model has no score {declared!r}, which was declared."
    ours = pair["scores"][declared]["auroc"]
    png = max((margins[key] for key in PNG), key=lambda margin: margin["control_auroc"])
    others = {key: margin for key, margin in margins.items() if key not in PNG}
    best = max(others, key=lambda key: others[key]["control_auroc"])
    return (
        f"{name}: {declared} {_beats(png)} the size of a PNG file (AUROC {ours:.3f} against "
        f"{png['control_auroc']:.3f}) and {_beats(others[best])} the best other control, {best} "
        f"({others[best]['control_auroc']:.3f})."
    )


def _beats(margin: dict[str, Any]) -> str:
    if margin["interval"][0] > 0:
        return "beats"
    return "does not beat beyond chance" if margin["difference"] > 0 else "does not beat"
