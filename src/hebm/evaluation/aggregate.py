r"""Suite ``aggregate``: prior against aggregate posterior, for models whose latents are few enough to be looked at.

.. math:: q(z) = \frac1N \sum_i q(z|x_i)

is what a prior has to meet. One posterior draw each of held-out images is compared with as many draws of

* ``prior``: the model's own sampler, at its own number of steps,
* ``long_chain``: the same with many more, where the prior has an energy,
* ``standard_normal``: N(0, I),
* ``floor``: posterior draws of as many other held-out images, which is what a prior equal to q(z) would have,

in every level and in all of them together. ``points`` are draws to be plotted, two dimensions a level at most.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hebm.build import build_images
from hebm.config import AggregateConfig, RunConfig
from hebm.errors import DataError
from hebm.evaluation.generate import latents_from_prior
from hebm.evaluation.inferred import infer_images
from hebm.evaluation.label_regions import LabelRegions
from hebm.evaluation.two_samples import energy_distance, histogram_divergence
from hebm.latents import Latents, flatten_latents
from hebm.models import JointModel
from hebm.randomness import named_generator, standard_normal

__all__ = ["evaluate_aggregate"]

DECIMALS = 4


def evaluate_aggregate(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Compare draws of the prior with posterior draws of held-out images.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration.
        seed: Of everything that is drawn.

    Returns:
        The fields of the ``aggregate`` result file; lists per level are top first.

    Raises:
        DataError: If the images are missing, or every label has too few.
        NonFiniteError: If a draw is not finite.
    """
    settings = config.evaluation.aggregate
    draws, labels, has_labels = _posterior_draws(model, config, seed)
    n = len(labels) // 2
    reference, others = (tuple(z[part] for z in draws) for part in (slice(n), slice(n, 2 * n)))
    regions = _regions(reference, labels[:n], config.evaluation.nearest_k)
    systems = {**_prior_draws(model, n, settings, seed), "floor": others}
    compared = {
        name: None if drawn is None else _compared(drawn, reference, others, regions, settings, seed)
        for name, drawn in systems.items()
    }
    prior = systems["prior"]
    assert prior is not None
    return {
        **compared,
        "labels": list(regions[0].labels) if has_labels else None,
        "level_dims": list(model.level_dims),
        "points": {
            "labels": labels[: min(n, settings.n_points)].tolist() if has_labels else None,
            "posterior": _points(reference, settings.n_points),
            "prior": _points(prior, settings.n_points),
        },
        "n_draws": n,
        "n_steps": config.sampler.n_sampling_steps,
        "n_long_steps": settings.n_long_steps,
        "n_resamples": settings.n_resamples,
    }


def _posterior_draws(model: JointModel, config: RunConfig, seed: int) -> tuple[Latents, Tensor, bool]:
    """A posterior draw of each held-out image in random order, on the CPU, and the images' labels (0 if none)."""
    test = build_images(config, "test")
    inferred = infer_images(model, test, 2 * config.evaluation.aggregate.n_samples)
    generator = named_generator(seed, "aggregate", "posterior", device=model.device)
    drawn = inferred.posterior.sample(generator)
    items = inferred.items.cpu()
    labels = torch.zeros(len(items)).long() if test.labels is None else torch.from_numpy(test.labels)[items]
    order = torch.randperm(len(items), generator=named_generator(seed, "aggregate", "order"))
    return tuple(z.cpu().double()[order] for z in drawn), labels[order], test.labels is not None


def _prior_draws(
    model: JointModel, n: int, settings: AggregateConfig, seed: int
) -> dict[str, Latents | None]:
    """n draws of everything that the aggregate posterior is compared with."""

    def of_model(n_steps: int | None) -> Latents:
        blocks = latents_from_prior(model, n, seed=seed, n_steps=n_steps)
        return tuple(torch.cat(level).cpu().double() for level in zip(*blocks, strict=True))

    prior = of_model(None)
    generator = named_generator(seed, "aggregate", "standard normal")
    return {
        "prior": prior,
        "long_chain": None if model.prior.energy is None else of_model(settings.n_long_steps),
        "standard_normal": tuple(standard_normal(z, generator) for z in prior),
    }


def _places(latents: Latents) -> list[Tensor]:
    """All levels together, then each, [n, D] and [n, d_l]."""
    return [flatten_latents(latents), *latents]


def _regions(reference: Latents, labels: Tensor, k: int) -> list[LabelRegions]:
    regions = [LabelRegions.of(draws, labels, k=k) for draws in _places(reference)]
    if not regions[0].labels:
        raise DataError(
            f"no label has more than evaluation.nearest_k = {k} of {len(labels)} held-out images; raise data.limit or "
            "data.holdout."
        )
    return regions


def _compared(
    drawn: Latents,
    reference: Latents,
    others: Latents,
    regions: Sequence[LabelRegions],
    settings: AggregateConfig,
    seed: int,
) -> dict[str, Any]:
    """One system in all places."""
    found = []
    for place, (x, y, z, region) in enumerate(
        zip(_places(drawn), _places(reference), _places(others), regions, strict=True)
    ):
        generator = named_generator(seed, "aggregate", place)
        distance = energy_distance(x, y, n_resamples=settings.n_resamples, generator=generator)
        divergence = histogram_divergence(x, y, n_resamples=settings.n_resamples, generator=generator)
        found.append(
            {
                "energy_distance": distance.value,
                "energy_distance_interval": distance.interval,
                "energy_distance_null_95": distance.null_95,
                "js": divergence.value,
                "js_null_mean": divergence.null_mean,
                "js_null_95": divergence.null_95,
                **region.compare(x, z),
            }
        )
    return {"all": found[0], "levels": found[1:]}


def _points(latents: Latents, n: int) -> list[list[list[float]]]:
    """Some draws to be plotted: per level, [n, 1 or 2]."""
    return [[[round(v, DECIMALS) for v in row] for row in z[:n, :2].tolist()] for z in latents]
