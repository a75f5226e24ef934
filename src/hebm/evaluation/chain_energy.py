"""Energy along the prior's chain, beside the energy of latents inferred from held-out images.

Chains of a sampler that tunes itself on the way, or goes through noise levels, cannot be continued: there every length
is a run from the start, and a step of a diffused prior one of each noise level.
"""

from typing import Any

import torch
from torch import Tensor

from hebm.evaluation.chain_walks import own_chains
from hebm.evaluation.generate import BLOCK
from hebm.latents import flatten_latents, unflatten_latents
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

    Raises:
        NonFiniteError: If a chain left the finite numbers.
    """
    energy = model.prior.energy
    if energy is None:
        return None

    def stream(name: str) -> torch.Generator:
        return named_generator(seed, "chain", name, device=model.device)

    start = model.prior.sample_base(BLOCK, like=next(model.parameters()), generator=stream("start"))
    steps = sorted({round(i * n_steps / (n_points - 1)) for i in range(n_points)})
    walk = own_chains(model).walk(flatten_latents(start), steps, lambda: stream("moves"))
    values = [energy(unflatten_latents(flat, model.level_dims)) for flat, _ in walk]
    posterior = energy(model.encode(held_out.to(model.device)).sample(stream("posterior")))
    return {
        "step": steps,
        "mean": [v.mean().item() for v in values],
        "sd": [v.std().item() for v in values],
        "posterior_mean": posterior.mean().item(),
        "posterior_sd": posterior.std().item(),
    }
