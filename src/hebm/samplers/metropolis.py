r"""The Metropolis test, and the per-chain arithmetic shared by the kernels that end in one.

.. math:: \alpha = \min(1, e^r), \quad r = \log \frac{p(z')\, q(z \mid z')}{p(z)\, q(z' \mid z)}
"""

import torch
from torch import Tensor

from hebm.errors import ConfigError
from hebm.latents import Latents
from hebm.randomness import NoiseSource, standard_normal
from hebm.samplers.base import ChainState, MoveInfo

__all__ = ["chain_dot", "column", "hold", "log_uniform", "metropolis", "require_positive"]


def metropolis(
    state: ChainState, proposal: ChainState, log_ratio: Tensor, generator: NoiseSource
) -> tuple[ChainState, MoveInfo]:
    """Go to the proposal with probability min(1, exp(log_ratio)), each chain for itself.

    A ratio that is not finite is a rejection: the acceptance is 0 and the energy error infinite. The ratios of our
    kernels hold the proposal's log-density and gradient, so that a finite state stays finite.

    Args:
        state: Where the chains are.
        proposal: Where they might go.
        log_ratio: r, [B] nats; the energy error is -r.
        generator: Source of one draw per chain; the global stream if None.
    """
    log_ratio = torch.where(torch.isfinite(log_ratio), log_ratio, -torch.inf)
    accepted = log_uniform(log_ratio, generator) <= log_ratio
    picked = ChainState(
        _pick(accepted, proposal.latents, state.latents),
        torch.where(accepted, proposal.log_density, state.log_density),
        _pick(accepted, proposal.grads, state.grads),
    )
    return picked, MoveInfo(log_ratio.clamp(max=0).exp(), accepted, -log_ratio)


def _pick(accepted: Tensor, new: Latents, old: Latents) -> Latents:
    return tuple(torch.where(accepted[:, None], a, b) for a, b in zip(new, old, strict=True))


def log_uniform(like: Tensor, generator: NoiseSource) -> Tensor:
    """Logarithms of uniform draws, log Φ(ε) with ε ~ N(0, 1): never infinite, shaped like the template."""
    log_u: Tensor = torch.special.log_ndtr(standard_normal(like, generator))
    return log_u


def column(step_size: float | Tensor) -> float | Tensor:
    """A step size per chain, [B], as the column [B, 1] that multiplies a level; any other as it is."""
    return step_size[:, None] if isinstance(step_size, Tensor) and step_size.ndim == 1 else step_size


def hold(vectors: Latents, free: Latents | None) -> Latents:
    """Changes, gradients or momenta with the clamped entries set to zero; all are free if None."""
    if free is None:
        return vectors
    return tuple(vector * mask for vector, mask in zip(vectors, free, strict=True))


def chain_dot(a: Latents, b: Latents) -> Tensor:
    """Inner product over all levels, [B]."""
    return torch.stack([(u * v).sum(1) for u, v in zip(a, b, strict=True)]).sum(0)


def require_positive(name: str, value: float) -> None:
    """Check a step size or a count where a kernel is made.

    Raises:
        ConfigError: If it is not positive.
    """
    if not value > 0:
        raise ConfigError(f"`{name}` is {value}; a positive number is expected.")
