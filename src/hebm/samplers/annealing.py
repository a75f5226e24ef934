r"""Annealed importance sampling, forwards and backwards, for log Z = log E_base[exp(-E(z))].

The target is given as log base - E and the base is normalised, so Z is the target's integral. Forward runs carry
exact draws from the base to the target and weigh them,

.. math:: \log w = \sum_{k=1}^K (t_k - t_{k-1})\,(-E(z_{k-1})), \quad z_k \sim T_{t_k}(\cdot \mid z_{k-1}),
    \quad \mathbb E[w] = Z,

whatever the schedule and however badly the kernel T mixes, as long as it leaves each :math:`\pi_t` as it is. The
reverse run plays the same path backwards from draws of the target, and its weights have the mean 1 / Z. By Jensen's
inequality mean log weights bound log Z from below (forward) and from above (minus the reverse).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hebm.errors import ConfigError, NonFiniteError
from hebm.latents import Latents
from hebm.randomness import CommonGenerator
from hebm.samplers.annealing_path import AnnealingPath
from hebm.samplers.annealing_schedule import AnnealingSchedule
from hebm.samplers.base import Kernel
from hebm.samplers.langevin import LogDensity

__all__ = [
    "AnnealingResult",
    "ImportanceEstimate",
    "annealed_importance",
    "importance_log_normalizer",
    "reverse_annealing",
]


class AnnealingResult(NamedTuple):
    """Log-weights [B] in float64, where the chains ended, and the mean acceptance at t_1 to t_K, [K]."""

    log_weights: Tensor
    latents: Latents
    acceptance: Tensor


class ImportanceEstimate(NamedTuple):
    """log Z in nats, its standard error, and the effective number of weights; all of the shape [...]."""

    log_normalizer: Tensor
    se: Tensor
    ess: Tensor


def annealed_importance(
    base: LogDensity,
    target: LogDensity,
    start: Latents,
    schedule: AnnealingSchedule,
    kernel: Kernel,
    *,
    n_moves: int = 1,
    generator: torch.Generator | CommonGenerator | None = None,
    free: Latents | None = None,
) -> AnnealingResult:
    r"""Carry exact draws from the base to the target.

    Args:
        base: Normalised log-density, [B] nats. With clamped levels log p(free, held) will do for log p(free | held):
            both ends of the path contain the difference, so it leaves the weights alone.
        target: log base - E, [B] nats.
        start: Exact draws from the base, top level first.
        schedule: Fixed temperatures; chosen from other particles than these.
        kernel: How particles move at each temperature; it must leave the density as it is (no unadjusted step).
        n_moves: Moves at each temperature.
        generator: Source of the noise, on the latents' device; the global stream if None.
        free: Masks that broadcast to the latents, 1 where a latent moves and 0 where it is clamped.

    Returns:
        ``log_weights`` of Z: the mean of their exponentials is Z in expectation. ``latents`` have been moved at t = 1
        as well; weighted by the weights they are draws from the target.

    Raises:
        NonFiniteError: If a log-density or weight is not finite.

    Source: Neal (2001), Annealed importance sampling, arXiv:physics/9803008.
    """
    path = AnnealingPath(base, target)
    point = path.evaluate(start)
    log_weights, acceptance = torch.zeros_like(point.log_ratio), []
    for t_before, t, step_size in schedule.intervals():
        log_weights = log_weights + (t - t_before) * point.log_ratio
        point, accepted = path.move(
            point, t, kernel, step_size=step_size, n_moves=n_moves, generator=generator, free=free
        )
        acceptance.append(accepted)
    require_finite_weights(log_weights)
    return AnnealingResult(log_weights, point.latents, torch.stack(acceptance))


def reverse_annealing(
    base: LogDensity,
    target: LogDensity,
    start: Latents,
    schedule: AnnealingSchedule,
    kernel: Kernel,
    *,
    n_moves: int = 1,
    generator: torch.Generator | None = None,
    free: Latents | None = None,
) -> AnnealingResult:
    r"""Carry draws from the target back to the base: the mirror image of :func:`annealed_importance`.

    .. math:: \log w' = \sum_{k=K}^1 (t_k - t_{k-1})\,E(z_{k-1}), \quad z_{k-1} \sim T_{t_k}(\cdot \mid z_k)

    It needs a kernel that is reversible, as Metropolis kernels with one proposal per move are.

    Args:
        base: See :func:`annealed_importance`.
        target: See there.
        start: Draws from the target, as exact as can be had: what they miss, the upper bound misses.
        schedule: The schedule of the forward run, to be gone through from its end.
        kernel: The kernel of the forward run.
        n_moves: See there.
        generator: See there.
        free: See there.

    Returns:
        ``log_weights`` of **1 / Z**: the mean of their exponentials is 1 / Z in expectation, so minus its logarithm
        bounds log Z from above in expectation. ``latents`` are where the chains came out next to the base.

    Raises:
        NonFiniteError: If a log-density or weight is not finite.

    Source: Grosse, Ghahramani and Adams (2015), arXiv:1511.02543.
    """
    path = AnnealingPath(base, target)
    point = path.evaluate(start)
    log_weights, acceptance = torch.zeros_like(point.log_ratio), []
    for t_before, t, step_size in reversed(schedule.intervals()):
        point, accepted = path.move(
            point, t, kernel, step_size=step_size, n_moves=n_moves, generator=generator, free=free
        )
        log_weights = log_weights - (t - t_before) * point.log_ratio
        acceptance.append(accepted)
    require_finite_weights(log_weights)
    return AnnealingResult(log_weights, point.latents, torch.stack(acceptance[::-1]))


def importance_log_normalizer(log_weights: Tensor, *, n_blocks: int | None = None) -> ImportanceEstimate:
    r"""log Z = log mean exp of log-weights, by the last axis.

    Without annealing the log-weights are -E(z) of draws from the base; that is enough where the target is close to
    it. Half the variance of the weights (relative, over n) is what the estimate lies below log Z on average.

    The standard error comes from the delta method, se(m) / m for the mean weight m. It knows only the weights it has
    seen: where ``ess`` is a handful, it says nothing.

    Args:
        log_weights: [..., n] nats.
        n_blocks: Number of blocks of consecutive weights that are independent of each other, for weights that are
            not; each weight is its own block if None.

    Raises:
        NonFiniteError: If a weight is not finite.
        ConfigError: If there are fewer than two weights or blocks.
    """
    require_finite_weights(log_weights)
    n = log_weights.shape[-1]
    n_blocks = n if n_blocks is None else min(n_blocks, n)
    if n_blocks < 2:
        raise ConfigError(f"two weights or more are expected, but there are {n} in {n_blocks} blocks.")
    log_weights = log_weights.double()
    largest = log_weights.amax(-1, keepdim=True)
    weights = (log_weights - largest).exp()
    mean = weights.mean(-1)
    blocks = torch.stack([block.mean(-1) for block in weights.tensor_split(n_blocks, -1)], -1)
    se = blocks.std(-1) / n_blocks**0.5 / mean
    ess = weights.sum(-1).square() / weights.square().sum(-1)
    return ImportanceEstimate(mean.log() + largest.squeeze(-1), se, ess)


def require_finite_weights(log_weights: Tensor) -> None:
    """Stop if a log-weight is infinite or not a number.

    Raises:
        NonFiniteError: Naming how many are lost and what to change.
    """
    finite = torch.isfinite(log_weights)
    if not finite.all():
        raise NonFiniteError(
            f"{int((~finite).sum())} of {finite.numel()} log-weights are not finite; start from draws of the base, "
            "raise `ess_share` for smaller changes of temperature, or bound the energy (`prior.lipschitz`)."
        )
