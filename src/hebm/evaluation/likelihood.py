r"""Suite ``likelihood``: bounds on log p(x) of held-out images, and what prior and levels contribute.

.. math:: \log p(x) \ge E \log \tfrac1k \sum_{j=1}^k w_j - \log Z
    \ge E_q[\log p(x|z) + \log p_0(z) - E(z) - \log q(z|x)] - \log Z

An interval [low, high] is what log Z leaves open: from its upper to its lower bound, with two standard errors on
either side. The standard error over images (``_se``) stands beside it and is not part of it.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hebm.build import build_images
from hebm.config import RunConfig
from hebm.evaluation.bounded_mean import bounded_mean, mean_and_se
from hebm.evaluation.importance import importance_bound, latent_terms, log_likelihoods, variational_bound
from hebm.evaluation.inferred import InferredImages, infer_images
from hebm.evaluation.log_z import Interval, LogZ, measure_log_z
from hebm.evaluation.prior_values import density_values, energy_values
from hebm.models import JointModel
from hebm.priors import RecoveryPrior

__all__ = ["active_units", "bits_per_dim", "evaluate_likelihood", "likelihood_measure"]

LONG_BOUND = 1000
ACTIVE_VARIANCE = 0.01
MEASURES = {
    "density": "density of y = 2x - 1; add D log 2 nats for the density of x in [0, 1], D the number of values",
    "probability": "probability of the pixel values",
    "cross_entropy": "cross-entropy of grey levels, which is no log-likelihood; binarise the data for that",
}
OF_RECOVERY = (
    "log Z, and all that needs it, belongs to the clean marginal N(z; 0, I) exp(-E_0(z)) / Z, from which the sampler "
    "of this prior does not draw exactly."
)


def evaluate_likelihood(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Bound the log-likelihood of held-out images, and measure what prior and levels contribute.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration.
        seed: Of everything that is drawn.

    Returns:
        The fields of the ``likelihood`` result file.

    Raises:
        DataError: If the images are missing, or there are fewer than two.
        NonFiniteError: If a density or weight is not finite.
    """
    settings = config.evaluation.likelihood
    test_set, train_set = (build_images(config, split) for split in ("test", config.data.split))
    test = infer_images(model, test_set, settings.n_images)
    train = infer_images(model, train_set, len(test))
    log_z = measure_log_z(model, settings, seed=seed)
    terms = latent_terms(model.prior, test, settings.n_importance, seed=seed)
    log_likelihood = log_likelihoods(model, test, settings.n_importance, seed=seed)
    rates = test.posterior.rate_per_level()
    measure = likelihood_measure(config.model.likelihood, test_set.images)
    on_all = _bounds(log_likelihood + terms.log_ratio, log_z)
    on_few = _long_bounds(model, test.thinned(settings.n_images_1000), log_z, seed)
    best = list(on_all["iwae_k"].values())[-1]
    return {
        "log_z_lower": log_z.interval[0],
        "log_z_upper": log_z.interval[1],
        "log_z": log_z.to_json(),
        **bounded_mean("elbo", variational_bound(log_likelihood, terms, torch.stack(rates).sum(0)), log_z),
        **{key: {**on_few[key], **on_all[key]} for key in on_all},
        "iwae_k_same_images": on_few["iwae_k"],
        "likelihood_measure": MEASURES[measure],
        "bits_per_dim": bits_per_dim(best, math.prod(model.image_shape))
        if measure == "probability"
        else None,
        "distortion": -log_likelihood.mean().item(),
        "rate_per_level": [rate.double().mean().item() for rate in rates],
        "active_units": active_units(test.posterior.mean),
        "n_units": list(model.level_dims),
        **density_values(model, terms, train, log_z, seed=seed),
        **energy_values(model, terms, test, log_z, settings, seed=seed),
        "n_images": len(test),
        "n_images_train": len(train),
        "n_importance": settings.n_importance,
        "note": OF_RECOVERY if isinstance(model.prior, RecoveryPrior) else None,
    }


def likelihood_measure(likelihood: str, images: NDArray[np.uint8]) -> str:
    """Of what p(x|z) is the density: ``density``, ``probability``, or ``cross_entropy`` (Bernoulli on grey images).

    Args:
        likelihood: Name of the likelihood.
        images: uint8 [N, C, H, W].
    """
    if likelihood == "discretized_logistic":
        return "probability"
    if likelihood == "bernoulli":
        is_binary = all(np.isin(image, (0, 255)).all() for image in images)
        return "probability" if is_binary else "cross_entropy"
    return "density"


def bits_per_dim(log_probability: Interval, n_dims: int) -> list[float]:
    r"""Nats per image to bits per dimension, :math:`-\log P(x) / (D \log 2)`; the ends change places.

    Both discrete likelihoods are probabilities of pixel values, so y = 2x - 1 brings no Jacobian.
    """
    return [-end / (n_dims * math.log(2)) for end in reversed(log_probability)]


def active_units(means: tuple[Tensor, ...]) -> list[int]:
    """Units of each level, top first, whose posterior mean has a variance over images above 0.01.

    Args:
        means: Posterior means, [N, d_l] per level.

    Source: Burda et al. (2016), arXiv:1509.00519, section 5.
    """
    return [int((mean.double().var(0) > ACTIVE_VARIANCE).sum()) for mean in means]


def _bounds(log_weights: Tensor, log_z: LogZ) -> dict[str, dict[str, Any]]:
    """Bounds of 1, 10, ... samples, as many as there are weights, from one set of draws [N, K]."""
    sizes = [10**i for i in range(len(str(log_weights.shape[1])))]
    means = {str(k): mean_and_se(importance_bound(log_weights, k)) for k in sizes}
    return {
        "iwae_k": {k: list(log_z.under(mean)) for k, (mean, _) in means.items()},
        "iwae_k_se": {k: se for k, (_, se) in means.items()},
        "iwae_k_n_images": {k: len(log_weights) for k in means},
    }


def _long_bounds(model: JointModel, few: InferredImages, log_z: LogZ, seed: int) -> dict[str, dict[str, Any]]:
    """The same with 1000 draws of a few images."""
    terms = latent_terms(model.prior, few, LONG_BOUND, seed=seed)
    return _bounds(log_likelihoods(model, few, LONG_BOUND, seed=seed) + terms.log_ratio, log_z)
