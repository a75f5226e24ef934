r"""Unadjusted Langevin dynamics on any log-density.

The step's stationary law is biased by its finite size; on N(0, s²) its variance is s² / (1 - η / 2s²).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.errors import NonFiniteError
from hebm.latents import Latents
from hebm.randomness import NoiseSource, standard_normal

__all__ = ["LangevinInfo", "LogDensity", "langevin_step", "value_and_grad"]

LogDensity = Callable[[Latents], Tensor]


class LangevinInfo(NamedTuple):
    """Diagnostics of one step: log-density *before* the step [B] nats, and its gradient's norm [B]."""

    log_density: Tensor
    grad_norm: Tensor


def value_and_grad(log_density: LogDensity, latents: Latents) -> tuple[Tensor, Latents]:
    """One evaluation of a log-density [B] and its gradients, shaped like the latents.

    A target that has a ``value_and_grad`` method of its own (a gradient written out by hand) is asked for it;
    any other goes through autograd, which leaves the parameters' ``.grad`` alone.
    """
    by_hand = getattr(log_density, "value_and_grad", None)
    if by_hand is not None:
        with torch.no_grad():
            value, grads = by_hand(latents)
        return value, grads
    leaves = tuple(z.detach().requires_grad_() for z in latents)
    with torch.enable_grad():
        value = log_density(leaves)
        grads = torch.autograd.grad(value.sum(), leaves)
    return value.detach(), grads


def langevin_step(
    latents: Latents,
    log_density: LogDensity,
    *,
    step_size: float,
    temperature: float = 1.0,
    generator: NoiseSource = None,
    free: Latents | None = None,
) -> tuple[Latents, LangevinInfo]:
    r"""Move every chain by one unadjusted Langevin step.

    .. math:: z' = z + \eta \nabla_z \log p(z) + \sqrt{2 \eta \tau}\,\epsilon, \quad \epsilon \sim N(0, I)

    Args:
        latents: Positions, top level first; level l is [B, d_l].
        log_density: Target up to a constant, [B] nats, differentiable in the latents.
        step_size: The step :math:`\eta > 0`, in squared units of the latents.
        temperature: :math:`\tau \geq 0`; 1 samples the target, 0 is gradient ascent.
        generator: Source of the noise, on the latents' device; the global stream if None.
        free: Masks that broadcast to the latents, 1 where a latent moves and 0 where it is clamped; all move
            if None.

    Returns:
        New positions without gradient history, and the diagnostics of this step.

    Raises:
        NonFiniteError: If the log-density or a new position is not finite.

    Source: Nijkamp et al. (2019), arXiv:1904.09770; arXiv:2310.09604, whose s is sqrt(2 * step_size).
    """
    moved, info = move(
        latents, log_density, step_size=step_size, temperature=temperature, generator=generator, free=free
    )
    require_finite(info.log_density, moved)
    return moved, info


def move(
    latents: Latents,
    log_density: LogDensity,
    *,
    step_size: float,
    temperature: float,
    generator: NoiseSource,
    free: Latents | None,
) -> tuple[Latents, LangevinInfo]:
    """:func:`langevin_step` without its check, for chains that check once at their end."""
    value, grads = value_and_grad(log_density, latents)
    noise_scale = math.sqrt(2 * step_size * temperature)
    changes = tuple(
        torch.add(step_size * grad, standard_normal(z, generator), alpha=noise_scale)
        for z, grad in zip(latents, grads, strict=True)
    )
    if free is not None:
        changes = tuple(change * mask for change, mask in zip(changes, free, strict=True))
    moved = tuple(z.detach() + change for z, change in zip(latents, changes, strict=True))
    grad_norm = torch.stack([grad.square().sum(1) for grad in grads]).sum(0).sqrt()
    return moved, LangevinInfo(value, grad_norm)


def require_finite(log_density: Tensor, positions: Latents) -> None:
    """Stop if a log-density, or a position that the last step reached, is infinite or not a number.

    Raises:
        NonFiniteError: Naming how many are lost and what to change.
    """
    advice = (
        "lower `sampler.step_size` or the energy's learning rate, or bound the energy (`prior.lipschitz`)."
    )
    finite = torch.isfinite(log_density)
    if not finite.all():
        lost = int((~finite).sum())
        raise NonFiniteError(
            f"the log-density of {lost} of {finite.numel()} chain states is not finite; {advice}"
        )
    finite = torch.cat([torch.isfinite(z) for z in positions], dim=1)
    if not finite.all():
        lost = int((~finite).any(1).sum())
        raise NonFiniteError(
            f"the gradient threw {lost} of {len(finite)} chains out of the finite numbers; {advice}"
        )
