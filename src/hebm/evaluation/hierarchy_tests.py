r"""Suite ``hierarchy``: whether the levels divide the work, beyond pictures. Three questions, top level first.

*How much does a level know of the image?* :math:`I(x; z_l)` of held-out images, by posterior draws against the
mixture of all posteriors; at most log N.

*What moves when a level is exchanged?* Two held-out images that differ in an attribute exchange the posterior mean
of one level; the image decoded from it is judged by a classifier trained on real images. ``follows`` is the share
that now has the attribute of the image the level came from, ``keeps`` the share that kept its own. Counted are
pairs whose two plain reconstructions are judged rightly: of the others nothing can be said.

*Do the levels have to fit together?* Each level of the prior's own samples is redrawn from p(z_l | the other levels),
or pasted from another sample. The conditional draw leaves the law of the samples as it is, so its Fréchet distance
to held-out images stays that of the samples; the pasted one's excess is what the coupling of the levels is worth.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hebm.build import build_images
from hebm.config import RunConfig
from hebm.data import ImageSet
from hebm.errors import ConfigError
from hebm.evaluation.generate import BLOCK, latents_from_prior
from hebm.evaluation.inferred import InferredImages, infer_images
from hebm.features import (
    FeatureExtractor,
    build_extractor,
    extract_features,
    image_batches,
    load_or_train_classifier,
)
from hebm.latents import Latents, flatten_latents
from hebm.metrics import GaussianStatistics, frechet_distance, image_information
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["evaluate_hierarchy", "level_information", "redrawn_distances", "swap_shares"]

Judge = Callable[[Tensor], Tensor]
"""Images [B, C, H, W] in [0, 1] to classes [B]."""


def evaluate_hierarchy(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Measure what each level holds.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration.
        seed: Of everything that is drawn.

    Returns:
        The fields of the ``hierarchy`` result file; ``swap`` is None where the images have no labels.

    Raises:
        DataError: If the images are missing.
        ConfigError: If an attribute is asked for that the images do not have.
    """
    settings = config.evaluation.hierarchy
    train_set, test_set = (build_images(config, split) for split in (config.data.split, "test"))
    attributes = _attributes(train_set, settings.attributes)
    inferred = infer_images(model, test_set, len(test_set))
    swaps = {}
    for name, labels in attributes.items():
        held_out = replace(test_set, labels=_attributes(test_set, (name,))[name])
        judge = load_or_train_classifier(replace(train_set, labels=labels), held_out, device=model.device)
        assert held_out.labels is not None
        truth = torch.from_numpy(held_out.labels).to(model.device)
        shares = swap_shares(model, inferred, truth, judge.predict, settings.n_swaps, seed=seed)
        swaps[name] = {**shares, "judge_accuracy": judge.test_accuracy, "judge": judge.identifier}
    extractor = build_extractor(config.evaluation.extractor, train_set, test_set, device=model.device)
    return {
        **level_information(inferred.thinned(settings.n_images), seed=seed),
        "swap": swaps or None,
        **redrawn_distances(model, extractor, test_set, settings.n_redrawn, seed=seed),
        "n_images": min(settings.n_images, len(test_set)),
        "extractor": extractor.identifier,
        "n_redrawn": settings.n_redrawn,
        "n_reference": len(test_set),
    }


def level_information(inferred: InferredImages, *, seed: int) -> dict[str, Any]:
    r"""I(x; z_l) of each level and of all together, nats, with standard errors and the ceiling log N.

    The rate is an upper bound of it: the difference is KL(aggregate posterior ‖ N(0, I)) of that level.
    """
    generator = named_generator(seed, "hierarchy", "information", device=inferred.items.device)
    posterior = inferred.posterior
    draws = posterior.sample(generator)
    levels = [image_information(z, q.mean, q.scale) for z, q in zip(draws, posterior, strict=True)]
    together = image_information(*map(flatten_latents, (draws, posterior.mean, posterior.scale)))
    return {
        "image_information": [level.value for level in levels],
        "image_information_se": [level.se for level in levels],
        "image_information_all": together.value,
        "image_information_ceiling": together.ceiling,
        "rate_per_level": [rate.double().mean().item() for rate in posterior.rate_per_level()],
    }


def swap_shares(
    model: JointModel, inferred: InferredImages, labels: Tensor, judge: Judge, n_swaps: int, *, seed: int
) -> dict[str, Any]:
    """Exchange each level between pairs of images that differ in a label, and judge what comes out.

    Args:
        model: The model.
        inferred: N images with their posteriors.
        labels: Their classes, int64 [N].
        judge: The classifier.
        n_swaps: Pairs to draw.
        seed: The user's seed.

    Returns:
        ``follows``, ``keeps``, ``other`` (per level, top first; None where no pair can be judged), the binomial
        standard error of ``follows``, and the number of pairs judged of those drawn.
    """
    first, second = _pairs(labels, n_swaps, seed)
    means = inferred.posterior.mean
    recognised = _judged(model, means, judge) == labels
    counted = recognised[first] & recognised[second]
    n_pairs, first, second = len(first), first[counted], second[counted]
    counts = {
        "n_judged": len(first),
        "n_pairs": n_pairs,
        "reconstruction_accuracy": _share(recognised),
    }
    if len(first) == 0:
        return {"follows": None, "follows_se": None, "keeps": None, "other": None, **counts}
    outcomes = []
    for level in range(len(means)):
        swapped = tuple(z[second] if i == level else z[first] for i, z in enumerate(means))
        label = _judged(model, swapped, judge)
        outcomes.append((_share(label == labels[second]), _share(label == labels[first])))
    return {
        "follows": [follows for follows, _ in outcomes],
        "follows_se": [(p * (1 - p) / len(first)) ** 0.5 for p, _ in outcomes],
        "keeps": [keeps for _, keeps in outcomes],
        "other": [1 - follows - keeps for follows, keeps in outcomes],
        **counts,
    }


@torch.no_grad()
def redrawn_distances(
    model: JointModel, extractor: FeatureExtractor, reference: ImageSet, n: int, *, seed: int
) -> dict[str, Any]:
    """Fréchet distances of samples, and of the same with one level redrawn or pasted, to images.

    Args:
        model: The model.
        extractor: What the distances are measured with.
        reference: The images.
        n: Number of samples; the next sample's level is pasted into each.
        seed: The user's seed.
    """
    real = GaussianStatistics.of(extract_features(extractor, image_batches(reference.images)))
    blocks = list(latents_from_prior(model, n, seed=seed))
    latents: Latents = tuple(torch.cat(level) for level in zip(*blocks, strict=True))

    def distance(changed: Latents) -> float:
        images = (model.decode(block) for block in _blocks(changed))
        return frechet_distance(real, GaussianStatistics.of(extract_features(extractor, images)))

    levels = range(len(latents))
    return {
        "fd_prior": distance(latents),
        "fd_conditional": [distance(_resampled(model, latents, level, seed)) for level in levels],
        "fd_pasted": [
            distance(tuple(z.roll(1, 0) if i == level else z for i, z in enumerate(latents)))
            for level in levels
        ],
    }


def _resampled(model: JointModel, latents: Latents, level: int, seed: int) -> Latents:
    device = latents[0].device
    redrawn = [
        model.resample(block, [level], generator=named_generator(seed, "redraw", level, i, device=device))
        for i, block in enumerate(_blocks(latents))
    ]
    return tuple(torch.cat(parts) for parts in zip(*redrawn, strict=True))


def _blocks(latents: Latents) -> list[Latents]:
    return list(zip(*(torch.split(z, BLOCK) for z in latents), strict=True))


@torch.no_grad()
def _judged(model: JointModel, latents: Latents, judge: Judge) -> Tensor:
    labels = [judge(model.decode(block)) for block in _blocks(latents)]
    return torch.cat(labels).to(latents[0].device)


def _pairs(labels: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Up to n pairs of items with different labels, drawn with replacement."""
    generator = named_generator(seed, "hierarchy", "pairs")
    first, second = torch.randint(len(labels), (2, 4 * n), generator=generator).to(labels.device)
    differ = (labels[first] != labels[second]).nonzero().squeeze(1)[:n]
    return first[differ], second[differ]


def _share(values: Tensor) -> float:
    return values.double().mean().item()


def _attributes(image_set: ImageSet, names: tuple[str, ...] | None) -> dict[str, NDArray[np.int64]]:
    """What can be read from the images: the factors where they are known, otherwise the label, if there is one."""
    if image_set.factors is not None:
        known = dict(zip(image_set.factor_names, image_set.factors.T, strict=True))
    else:
        known = {} if image_set.labels is None else {"label": image_set.labels}
    if unknown := [name for name in names or () if name not in known]:
        raise ConfigError(
            f"{image_set.name} has no attribute {unknown[0]!r}; set evaluation.hierarchy.attributes to some of "
            f"{', '.join(known) or 'none'}, or to null for all."
        )
    return {name: known[name].copy() for name in names or known}
