r"""Suite ``attack``: how far small changes of an image move what the model takes it for, and what a defence undoes.

* The latent attack (:mod:`hebm.attacks.latent_attack`) makes an image be taken for a target; its curve and the area
  under it, ``auddc``, say what that costs. Higher is more robust.
* The attack in an L∞ ball (:mod:`hebm.attacks.linf_attack`) moves the latents as far as it can; MS-SSIM of inputs and
  of reconstructions, the symmetric KL of the attacked levels' latents, and the accuracy of a classifier of latents say
  how far that is.

Both attack all levels together and each level alone. The defence (:mod:`hebm.attacks.defence`) knows nothing of the
attack, and **the attacks know nothing of the defence**: they aim at the encoder, so a gain is against attackers who do
not adapt. A system's own reconstructions of the clean images are its reference: the defended system is compared with
itself. Intervals are 95 % bootstrap percentiles over images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hebm.attacks import (
    DistanceCurve,
    HMCDefence,
    LatentAttack,
    LinfAttack,
    Reconstructions,
    distance_curves,
    symmetric_kl,
    take_rows,
)
from hebm.build import build_images
from hebm.config import AttackConfig, RunConfig
from hebm.evaluation.attack_images import (
    LatentClassifier,
    Victims,
    choose_victims,
    fit_latent_classifier,
    posterior_scale,
)
from hebm.evaluation.attack_systems import Answers, Chains, Inputs, ask_defended, ask_encoder
from hebm.evaluation.inferred import infer_images
from hebm.metrics import percentile_interval
from hebm.metrics.ms_ssim import ms_ssim, ms_ssim_scales
from hebm.models import JointModel, LatentPosterior
from hebm.randomness import derive_seed, named_generator

__all__ = ["attack_inputs", "attacked_levels", "evaluate_attack", "latent_results", "linf_results", "summary"]

BUDGETS = np.linspace(0, 1, 21)  # abscissae of the curves
N_RESAMPLES = 2000
SYSTEMS = ("without_defence", "with_defence")


def evaluate_attack(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Attack a model, with and without its defence.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration.
        seed: Of the images, the attacks' starts and the chains.

    Returns:
        The fields of the ``attack`` result file.

    Raises:
        DataError: If images are missing, or there are too few.
        NonFiniteError: If a divergence or density is not finite.
    """
    settings = config.evaluation.attack
    test, train = (build_images(config, split) for split in ("test", config.data.split))
    victims = choose_victims(test, settings.n_images, settings.n_pairs, seed=seed, device=model.device)
    known = infer_images(model, train, settings.n_probe_images)
    classifier = fit_latent_classifier(known, train, seed=seed)
    inputs = attack_inputs(model, victims, settings, seed=seed)
    defence = HMCDefence(
        n_warmup=settings.n_warmup,
        n_draws=settings.n_draws,
        n_leapfrog=settings.n_leapfrog,
        target_acceptance=settings.target_acceptance,
    )
    defended, chains = ask_defended(model, inputs, defence, posterior_scale(known), seed=seed)
    answers = dict(zip(SYSTEMS, (ask_encoder(model, inputs), defended), strict=True))
    sets = attacked_levels(len(model.level_dims))
    per_level: dict[str, dict[str, Any]] = {
        name: {
            "levels": list(levels),
            "latent": latent_results(inputs, answers, settings, place, seed),
            "linf": linf_results(inputs, answers, settings, place, levels, victims.labels, classifier, seed),
        }
        for place, (name, levels) in enumerate(sets.items())
    }
    return {
        **{
            f"auddc_{system}": [row["latent"][system]["auddc"]["mean"] for row in per_level.values()]
            for system in SYSTEMS
        },
        "attacked": list(sets),
        "per_level": per_level,
        "clean": {
            system: _clean(inputs, answers[system], victims.labels, classifier, seed) for system in SYSTEMS
        },
        "defence": _defence_facts(model, settings, chains),
        "n_pairs": len(inputs.target),
        "n_images": len(inputs.original),
        "penalties": list(settings.penalties),
        "ms_ssim_scales": ms_ssim_scales(min(model.image_shape[1:])),
    }


def attacked_levels(n_levels: int) -> dict[str, tuple[int, ...]]:
    """Names and numbers of the level sets that are attacked: all together, and each alone where there are several."""
    alone = {f"level_{level}": (level,) for level in range(n_levels)} if n_levels > 1 else {}
    return {"all": tuple(range(n_levels)), **alone}


def attack_inputs(model: JointModel, victims: Victims, settings: AttackConfig, *, seed: int) -> Inputs:
    """Attack the encoder in every way.

    Args:
        model: The model.
        victims: Images and targets.
        settings: Of the attacks.
        seed: Of the L∞ attacks' starts.

    Returns:
        The originals with attacked images by set of levels, and within it by radius or penalty.
    """
    sets = attacked_levels(len(model.level_dims))
    latent, linf = [], []
    for name, levels in sets.items():
        latent.append(_latent_attacked(model, victims, levels, settings))
        for radius in settings.radii:
            attack = LinfAttack(radius, settings.n_linf_steps, settings.n_restarts)
            starts = named_generator(seed, "attack", "linf", name, str(radius))
            linf.append(attack(model.encode, victims.originals, levels=levels, generator=starts).images)
    return Inputs(victims.originals, torch.stack(linf, 1), victims.targets, torch.cat(latent, 1))


def _latent_attacked(
    model: JointModel, victims: Victims, levels: tuple[int, ...], settings: AttackConfig
) -> Tensor:
    """Attacked images of every pair and penalty, [P, K, C, H, W]."""
    n_pairs, n_penalties = len(victims.targets), len(settings.penalties)
    with torch.no_grad():
        target = model.encode(victims.targets)
    rows = torch.arange(n_pairs, device=model.device).repeat_interleave(n_penalties)
    originals = victims.originals[:n_pairs]
    attacked = LatentAttack(settings.n_steps, settings.step_size)(
        model.encode,
        originals[rows],
        take_rows(target, rows),
        levels=levels,
        penalty=originals.new_tensor(settings.penalties).repeat(n_pairs),
    )
    return attacked.images.reshape(n_pairs, n_penalties, *model.image_shape)


def latent_results(
    inputs: Inputs, answers: dict[str, Answers], settings: AttackConfig, place: int, seed: int
) -> dict[str, Any]:
    """Curves and areas of the latent attack on one set of levels.

    Args:
        inputs: What was shown.
        answers: Of both systems, by name.
        settings: Of the attacks.
        place: Which set of :func:`attacked_levels`; the attacked images are in that order.
        seed: Of the resamples.
    """
    k = len(settings.penalties)
    rows, n_pairs = slice(place * k, (place + 1) * k), len(inputs.target)
    results: dict[str, Any] = {}
    areas: dict[str, list[float | None]] = {}
    for system, answer in answers.items():
        images = answer.images
        rebuilt = Reconstructions(images.original[:n_pairs], images.target, images.latent[:, rows])
        curves = distance_curves(inputs.original[:n_pairs], inputs.target, inputs.latent[:, rows], rebuilt)
        areas[system] = [None if curve is None else curve.area for curve in curves]
        results[system] = {"auddc": summary(areas[system], seed=seed), "curve": _mean_curve(curves)}
    results["auddc_gain"] = summary(_differences(areas), seed=seed)
    return results


def _mean_curve(curves: Sequence[DistanceCurve | None]) -> dict[str, Any]:
    rows = [curve.at(BUDGETS) for curve in curves if curve is not None]
    mean = np.mean(rows, axis=0).tolist() if rows else None
    se = (np.std(rows, axis=0, ddof=1) / len(rows) ** 0.5).tolist() if len(rows) > 1 else None
    return {"budget": BUDGETS.tolist(), "mean": mean, "se": se}


def _differences(areas: dict[str, list[float | None]]) -> list[float | None]:
    pairs = zip(areas["with_defence"], areas["without_defence"], strict=True)
    return [None if a is None or b is None else a - b for a, b in pairs]


def linf_results(
    inputs: Inputs,
    answers: dict[str, Answers],
    settings: AttackConfig,
    place: int,
    levels: tuple[int, ...],
    labels: Tensor | None,
    classifier: LatentClassifier | None,
    seed: int,
) -> list[dict[str, Any]]:
    """What the L∞ attack on one set of levels achieves: one entry per radius.

    Args:
        inputs: What was shown.
        answers: Of both systems, by name.
        settings: Of the attacks.
        place: Which set of :func:`attacked_levels`; the attacked images are in that order.
        levels: The levels of that set.
        labels: Classes of the originals, or None.
        classifier: Of latents, or None.
        seed: Of the resamples.
    """
    results = []
    n_attacks, n_images = inputs.linf.shape[1], len(inputs.original)
    for number, radius in enumerate(settings.radii):
        column = place * len(settings.radii) + number
        rows = torch.arange(n_images, device=inputs.original.device) * n_attacks + column
        same = ms_ssim(inputs.original, inputs.linf[:, column])
        entry: dict[str, Any] = {"radius": radius, "ms_ssim_input": summary(same, seed=seed)}
        for system, answer in answers.items():
            moved = take_rows(answer.posterior_linf, rows)
            rebuilt = ms_ssim(answer.images.original, answer.images.linf[:, column])
            entry[system] = {
                "ms_ssim_reconstruction": summary(rebuilt, seed=seed),
                "latent_skl": summary(symmetric_kl(moved, answer.posterior_original, levels), seed=seed),
                "accuracy": _accuracy(classifier, moved, labels, seed),
            }
        results.append(entry)
    return results


def _accuracy(
    classifier: LatentClassifier | None, posterior: LatentPosterior, labels: Tensor | None, seed: int
) -> dict[str, Any] | None:
    if classifier is None or labels is None:
        return None
    return summary(classifier.is_right(posterior, labels), seed=seed)


def _clean(
    inputs: Inputs, answer: Answers, labels: Tensor | None, classifier: LatentClassifier | None, seed: int
) -> dict[str, Any]:
    """What a system does where nothing is attacked: classifier's accuracy, and squared error of reconstructions."""
    error = (answer.images.original - inputs.original).square().flatten(1).mean(1)
    return {
        "accuracy": _accuracy(classifier, answer.posterior_original, labels, seed),
        "mse": summary(error, seed=seed),
    }


def _defence_facts(model: JointModel, settings: AttackConfig, chains: Chains) -> dict[str, Any]:
    return {
        "has_energy": model.prior.energy is not None,
        "n_moves": settings.n_warmup + settings.n_draws,
        "n_leapfrog": settings.n_leapfrog,
        "step_size": float(np.mean(chains.step_sizes)),
        "acceptance": chains.acceptance.mean().item(),
        "acceptance_lowest": chains.acceptance.min().item(),
    }


def summary(values: Tensor | Sequence[float | None], *, seed: int) -> dict[str, Any]:
    """Mean over images with its standard error, median, a 95 % bootstrap interval of the mean, and the values.

    Args:
        values: One per image; None where an image has no value, which is left out of the statistics and counted.
        seed: Of the resamples; the same for values of the same images, so that intervals go together.

    Returns:
        ``mean``, ``se``, ``median``, ``interval``, ``n`` and ``per_image``; null where there are too few values.
    """
    listed = values.tolist() if isinstance(values, Tensor) else list(values)
    kept = np.array([value for value in listed if value is not None])
    if len(kept) == 0:
        return {"mean": None, "se": None, "median": None, "interval": None, "n": 0, "per_image": listed}
    draws = np.random.default_rng(derive_seed(seed, "attack", "bootstrap")).choice(
        kept, (N_RESAMPLES, len(kept))
    )
    return {
        "mean": float(kept.mean()),
        "se": float(kept.std(ddof=1) / len(kept) ** 0.5) if len(kept) > 1 else None,
        "median": float(np.median(kept)),
        "interval": percentile_interval(draws.mean(1)) if len(kept) > 1 else None,
        "n": len(kept),
        "per_image": listed,
    }
