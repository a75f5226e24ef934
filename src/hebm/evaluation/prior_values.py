r"""What a prior says of posterior latents, of held-out images and of training images, and what its energy is worth."""

from typing import Any

import torch

from hebm.config import LikelihoodConfig
from hebm.evaluation.bounded_mean import bounded_mean, mean_and_se
from hebm.evaluation.generate import latents_from_prior
from hebm.evaluation.importance import LatentTerms, latent_terms
from hebm.evaluation.inferred import InferredImages
from hebm.evaluation.level_gain import gain_of_level
from hebm.evaluation.log_z import LogZ
from hebm.models import JointModel

__all__ = ["density_values", "energy_values"]

TRAIN_DRAWS = 10  # images differ far more than draws of one image
OF_CHAINS = (
    "kl_joint_base and the samples come from the sampler's chains, which start at the base: chains that are too "
    "short draw from something between base and prior."
)


def density_values(
    model: JointModel, held_out: LatentTerms, train: InferredImages, log_z: LogZ, *, seed: int
) -> dict[str, Any]:
    """E_x E_q log p(z) and the same under the base alone, of held-out images and of training images.

    Args:
        model: The model.
        held_out: Terms of the held-out images' draws.
        train: The training images.
        log_z: Of the prior.
        seed: The user's seed.

    Returns:
        ``held_out_log_prior``, ``held_out_log_base``, ``train_log_prior``, ``train_log_base`` in nats per image, each
        with ``_se``. Where held-out latents are far below those of training, the prior has over-fitted.
    """
    values: dict[str, Any] = {}
    of_train = latent_terms(model.prior, train, TRAIN_DRAWS, seed=seed, stream="train")
    for name, terms in (("held_out", held_out), ("train", of_train)):
        values |= bounded_mean(f"{name}_log_prior", terms.log_prior.mean(1), log_z)
        base, se = mean_and_se(terms.log_base.mean(1))
        values |= {f"{name}_log_base": base, f"{name}_log_base_se": se}
    return values


@torch.no_grad()
def energy_values(
    model: JointModel,
    held_out: LatentTerms,
    test: InferredImages,
    log_z: LogZ,
    settings: LikelihoodConfig,
    *,
    seed: int,
) -> dict[str, Any]:
    r"""What the energy is worth beyond its base.

    .. math:: \text{gain} = E_q[-E(z)] - \log Z, \qquad KL(p \| p_0) = E_p[-E(z)] - \log Z

    Args:
        model: The model.
        held_out: Terms of the held-out images' draws.
        test: These images.
        log_z: Of the prior.
        settings: Numbers of draws and particles.
        seed: The user's seed.

    Returns:
        ``gain_over_base``, ``kl_joint_base``, both with ``_se``, and ``gain_per_level`` (top first; None for a level
        that the base cannot draw given the others), in nats. Without an energy gain and KL are zero, and
        ``gain_per_level`` is None.
    """
    gain = bounded_mean("gain_over_base", -held_out.energy.mean(1), log_z)
    energy = model.prior.energy
    if energy is None:
        return {**gain, "kl_joint_base": [0.0, 0.0], "kl_joint_base_se": 0.0, "gain_per_level": None}
    drawn = [-energy(z).double() for z in latents_from_prior(model, settings.n_prior_samples, seed=seed)]
    few = test.thinned(settings.n_images_conditional)
    levels = range(len(model.level_dims))
    return {
        **gain,
        **bounded_mean("kl_joint_base", torch.cat(drawn), log_z),
        "kl_joint_base_note": OF_CHAINS,
        "gain_per_level": [gain_of_level(model.prior, few, level, settings, seed=seed) for level in levels],
        "gain_per_level_n_images": len(few),
    }
