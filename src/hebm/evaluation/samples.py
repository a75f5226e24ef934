r"""Suite ``samples``: how close samples and reconstructions come to held-out images.

The reference is the whole test split. ``fd_reconstruction`` is the floor: the same held-out images through
encoder and generator. ``prior_gap`` = fd_prior / fd_reconstruction; 1 means that a sample of the prior is as good
as a reconstruction. ``fd_halves``, the distance between two halves of the test split, says how much of a
distance is sampling noise. ``fd_longer_chain`` is fd_prior with chains three times as long as a sample's: where it
is larger, the short-run chains have not converged, and the number of steps belongs to the model.
``fd_train_posterior`` is the distance of decoded posterior draws of *training* images: what a prior that met the
aggregate posterior of the training images exactly would have. Where training and test split differ (MNIST's do) it is
well above ``fd_reconstruction``, and a prior gap of 1 is out of reach; ``prior_gap_attainable`` is their ratio.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from hebm.build import build_images
from hebm.config import RunConfig
from hebm.data import ImageSet
from hebm.errors import DataError
from hebm.evaluation.chain_energy import energy_along_chain
from hebm.evaluation.generate import images_from_prior, reconstructions
from hebm.features import build_extractor, extract_features, image_batches
from hebm.metrics import (
    GaussianStatistics,
    ImageQualityMean,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["evaluate_samples", "held_out_images"]

N_CHAIN_IMAGES = 500
LONGER_CHAIN = 3


def held_out_images(config: RunConfig) -> ImageSet:
    """The images a run is judged on: its source's test split.

    Raises:
        DataError: If they are missing.
    """
    return build_images(config, "test")


def evaluate_samples(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Compare samples and reconstructions of a model with held-out images.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration.
        seed: Of the samples.

    Returns:
        The fields of the ``samples`` result file.

    Raises:
        DataError: If the images are missing, or there are fewer than two to compare with.
    """
    test = held_out_images(config)
    if len(test) < 2 * (config.evaluation.nearest_k + 1):
        raise DataError(
            f"only {len(test)} held-out images are there, too few to compare with; raise data.holdout or data.limit."
        )
    train = build_images(config, config.data.split)
    extractor = build_extractor(config.evaluation.extractor, train, test, device=model.device)
    real = extract_features(extractor, image_batches(test.images))
    quality = ImageQualityMean()
    rebuilt = extract_features(
        extractor, _watched(reconstructions(model, image_batches(test.images)), quality)
    )
    n_steps = config.sampler.n_sampling_steps
    prior, base, longer = (
        extract_features(
            extractor, images_from_prior(model, config.evaluation.n_samples, seed=seed, n_steps=steps)
        )
        for steps in (None, 0, LONGER_CHAIN * n_steps)
    )
    inferred = extract_features(extractor, _train_posterior(model, train, config.evaluation.n_samples, seed))
    others = {
        "prior": prior,
        "base": base,
        "longer_chain": longer,
        "reconstruction": rebuilt,
        "train_posterior": inferred,
    }
    return {
        **_distances(real, others),
        **_manifold(real, prior, config, seed),
        **quality.compute(),
        "extractor": extractor.identifier,
        "is_standard_inception": extractor.is_standard_inception,
        "n_samples": config.evaluation.n_samples,
        "n_reference": len(test),
        "n_steps": n_steps,
        "energy_along_chain": _chain(model, test, LONGER_CHAIN * n_steps, seed),
    }


@torch.no_grad()
def _train_posterior(model: JointModel, train: ImageSet, n: int, seed: int) -> Iterator[Tensor]:
    """Decoded draws of q(z|x), one each for n training images chosen at random, or for all where there are fewer."""
    order = torch.randperm(len(train), generator=named_generator(seed, "train_images"))[:n]
    generator = named_generator(seed, "train_posterior", device=model.device)
    for x in image_batches(train.images[order.numpy()]):
        yield model.decode(model.encode(x.to(model.device)).sample(generator))


def _watched(pairs: Iterable[tuple[Tensor, Tensor]], quality: ImageQualityMean) -> Iterator[Tensor]:
    for x, x_hat in pairs:
        quality.update(x, x_hat)
        yield x_hat


def _distances(real: Tensor, others: dict[str, Tensor]) -> dict[str, float]:
    statistics = GaussianStatistics.of(real)
    to_real = {
        f"fd_{name}": frechet_distance(statistics, GaussianStatistics.of(features))
        for name, features in others.items()
    }
    half = len(real) // 2
    halves = frechet_distance(GaussianStatistics.of(real[:half]), GaussianStatistics.of(real[half:]))
    floor = to_real["fd_reconstruction"]
    return {
        **to_real,
        "fd_halves": halves,
        "prior_gap": to_real["fd_prior"] / floor,
        "prior_gap_attainable": to_real["fd_train_posterior"] / floor,
    }


def _manifold(real: Tensor, prior: Tensor, config: RunConfig, seed: int) -> dict[str, float]:
    generator = named_generator(seed, "kernel")
    kernel = kernel_distance(real, prior, n_subsets=config.evaluation.n_kid_subsets, generator=generator)
    manifold = precision_recall(real, prior, k=config.evaluation.nearest_k)
    return {
        "kid_prior": kernel.mean,
        "kid_prior_sd": kernel.sd,
        "precision": manifold.precision,
        "recall": manifold.recall,
    }


def _chain(model: JointModel, test: ImageSet, n_steps: int, seed: int) -> dict[str, Any] | None:
    images = torch.cat(list(image_batches(test.images[:N_CHAIN_IMAGES])))
    return energy_along_chain(model, images, n_steps=n_steps, seed=seed)
