r"""How many nats the energy saves on each level, given the others.

.. math:: g_l = E_q\big[\log p(z_l | z_{-l}) - \log p_0(z_l | z_{-l})\big]
    = E_q\big[-E(z) - \log Z_l(z_{-l})\big], \quad
    Z_l(z_{-l}) = E_{p_0(z_l | z_{-l})} \exp(-E(z_l, z_{-l}))
"""

from typing import Any

import torch
from torch import Tensor

from hebm.config import LikelihoodConfig
from hebm.errors import UnsupportedError
from hebm.evaluation.inferred import InferredImages, posterior_draws
from hebm.evaluation.log_z import annealing_kernel, interval_around
from hebm.latents import Latents
from hebm.priors import Prior, base_of, weighted_draws_given
from hebm.randomness import named_generator
from hebm.samplers import LogNormalizer, bracket_conditional_log_normalizer, importance_log_normalizer

__all__ = ["gain_of_level"]

ITEMS = 20  # items whose base draws are weighted together


@torch.no_grad()
def gain_of_level(
    prior: Prior, inferred: InferredImages, level: int, settings: LikelihoodConfig, *, seed: int
) -> dict[str, Any] | None:
    """The gain of one level (0 is the top), with one posterior draw per image.

    log Z of every image comes from plain importance weights where enough of them count, otherwise from annealing with
    the other levels clamped.

    Args:
        prior: A prior with an energy.
        inferred: The images.
        level: The level.
        settings: Numbers of draws and particles.
        seed: The user's seed.

    Returns:
        ``interval`` (what the normalisers leave open), ``se`` (over images) and ``share_annealed``, in nats; None if
        the base cannot draw this level given the others.

    Raises:
        NonFiniteError: If a weight is not finite.
    """
    assert prior.energy is not None
    blocks = [draws.latents for draws in posterior_draws(inferred, 1, seed=seed, stream="gain")]
    latents = tuple(torch.cat(parts) for parts in zip(*blocks, strict=True))
    try:
        lower, upper, se, ess = _by_importance(prior, latents, level, settings, seed)
    except UnsupportedError:
        return None
    lower_se, upper_se = se, se.clone()
    poor = (ess < settings.min_conditional_ess).nonzero().squeeze(1)
    if len(poor):
        bracket = _by_annealing(prior, tuple(z[poor] for z in latents), level, settings, seed)
        for ours, theirs in (
            (lower, bracket.lower), (upper, bracket.upper),
            (lower_se, bracket.lower_se), (upper_se, bracket.upper_se),
        ):  # fmt: skip
            ours[poor] = theirs
    saved = -prior.energy(latents).double()
    low, high = interval_around(
        lower.mean().item(), upper.mean().item(), _se_of_mean(lower_se), _se_of_mean(upper_se)
    )
    per_image = saved - (lower + upper) / 2
    return {
        "interval": (saved.mean().item() - high, saved.mean().item() - low),
        "se": per_image.std().item() / len(per_image) ** 0.5,
        "share_annealed": len(poor) / len(saved),
    }


def _by_importance(
    prior: Prior, latents: Latents, level: int, settings: LikelihoodConfig, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log Z_l twice (as lower and as upper bound), its error and the effective number of weights, each [N]."""
    n, parts = settings.n_conditional_draws, []
    for block, items in enumerate(
        torch.split(torch.arange(len(latents[0]), device=latents[0].device), ITEMS)
    ):
        generator = named_generator(seed, "gain", level, block, device=latents[0].device)
        given = tuple(z[items] for z in latents)
        _, log_weights = weighted_draws_given(prior, given, [level], n, generator=generator)
        estimate = importance_log_normalizer(log_weights)
        parts.append((estimate.log_normalizer, estimate.log_normalizer, estimate.se, estimate.ess))
    lower, upper, se, ess = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return lower, upper, se, ess


def _by_annealing(
    prior: Prior, latents: Latents, level: int, settings: LikelihoodConfig, seed: int
) -> LogNormalizer:
    generator = named_generator(seed, "gain", level, "annealed", device=latents[0].device)
    base = base_of(prior)
    return bracket_conditional_log_normalizer(
        base.density(),
        prior.density(),
        latents,
        [level],
        lambda given: base.sample_base_given(given, [level], generator=generator),
        kernel=annealing_kernel(settings),
        n_particles=settings.n_conditional_particles,
        n_pilot=settings.n_conditional_particles // 2,
        ess_share=settings.conditional_ess_share,
        n_equilibrate=settings.n_equilibrate,
        generator=generator,
    )


def _se_of_mean(se: Tensor) -> float:
    return se.square().sum().sqrt().item() / len(se)
