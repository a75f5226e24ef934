r"""Suite ``ood``: which scores tell images of other sets from a run's own, and whether trivial controls do it as well.

The controls look at pixels alone; they are fitted to training images. Recipes are fitted to one half of the test
images, the other half is scored. Each pair has as many images on both sides, so that chance is 1/2 for AUROC and AUPRC.
The score that counts is declared in the configuration; the others are for information: to pick the best of them from
these results is to choose it by looking at what does not belong.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hebm.config import RunConfig
from hebm.detection import build_score
from hebm.detection.controls import fit_controls
from hebm.errors import DataError
from hebm.evaluation.ood_rows import Ranked, rank
from hebm.evaluation.ood_sets import NormalImages, load_ood_sets, split_normals
from hebm.evaluation.together import score_together
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
    fitted = fit_controls(normals.train, n_components=sum(model.level_dims))
    controls = {name: _on_all(control, normals, sets) for name, control in fitted.items()}
    images = torch.cat([normals.evaluation, *sets.values()])
    found = score_together(model, recipes, images, normals=normals.calibration)
    scores = {name: _by_set(values, normals, sets) for name, values in found.values.items()}
    pairs = {
        name: _pair(name, controls, scores, settings.declared, n_resamples=settings.n_bootstrap, seed=seed)
        for name in sets
    }
    return {
        "declared": settings.declared,
        "verdict": " ".join(_verdict(name, pair, settings.declared) for name, pair in pairs.items()),
        "pairs": pairs,
        "left_out": {**left_out, **found.refused},
        "n_calibration": len(normals.calibration),
        "n_train": len(normals.train),
        "n_bootstrap": settings.n_bootstrap,
        "scoring_s_per_1000": {name: 1000 * s / len(images) for name, s in found.seconds.items()},
    }


def _on_all(score: Callable[[Tensor], Tensor], normals: NormalImages, sets: Scored) -> Scored:
    """A control on the evaluation images ("") and on each set."""
    return {"": score(normals.evaluation), **{name: score(x) for name, x in sets.items()}}


def _by_set(scores: Tensor, normals: NormalImages, sets: Scored) -> Scored:
    """The same of the model's scores of all these images, one after the other."""
    sizes = {"": len(normals.evaluation), **{name: len(x) for name, x in sets.items()}}
    return dict(zip(sizes, torch.split(scores, list(sizes.values())), strict=True))


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
