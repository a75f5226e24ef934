"""Energy along the prior's chain, beside the energy of latents inferred from held-out images."""

from typing import Any

import torch
from torch import Tensor

from hebm.evaluation.generate import BLOCK
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["energy_along_chain"]


@torch.no_grad()
def energy_along_chain(
    model: JointModel, held_out: Tensor, *, n_steps: int, n_points: int = 31, seed: int
) -> dict[str, Any] | None:
    """Mean and standard deviation of the energy over chains from base noise, at steps 0 to n_steps.

    Args:
        model: The model.
        held_out: Images [B, C, H, W] in [0, 1] whose posterior samples give the level to reach.
        n_steps: Length of the chain.
        n_points: How many steps are looked at.
        seed: The user's seed.

    Returns:
        ``step``, ``mean``, ``sd`` (nats), ``posterior_mean``, ``posterior_sd``; None without an energy.
    """
    energy, density = model.prior.energy, model.prior.density()
    if energy is None:
        return None
    generator = named_generator(seed, "chain", device=model.device)
    state = model.prior.sample_base(BLOCK, like=next(model.parameters()), generator=generator)
    steps = sorted({round(i * n_steps / (n_points - 1)) for i in range(n_points)})
    means, sds, at = [], [], 0
    for step in steps:
        state = model.sampler(density, state, n_steps=step - at, generator=generator).latents
        values, at = energy(state), step
        means.append(values.mean().item())
        sds.append(values.std().item())
    posterior = energy(model.encode(held_out.to(model.device)).sample(generator))
    return {
        "step": steps,
        "mean": means,
        "sd": sds,
        "posterior_mean": posterior.mean().item(),
        "posterior_sd": posterior.std().item(),
    }
