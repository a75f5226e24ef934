"""What every sampler offers: a kernel that moves a state, with diagnostics of each move.

The target is any callable from latents to a log-density up to a constant, [B] nats. The state carries the target's
value and gradient at the current positions, so that a move evaluates them only where it goes.
"""

from typing import NamedTuple, Protocol

from torch import Tensor

from hebm.latents import Latents
from hebm.randomness import NoiseSource
from hebm.samplers.langevin import LogDensity, require_finite, value_and_grad

__all__ = ["ChainState", "Kernel", "MoveInfo", "evaluate_state"]


class ChainState(NamedTuple):
    """Positions, top level first ([B, d_l] each), and the target's log-density [B] and gradients there."""

    latents: Latents
    log_density: Tensor
    grads: Latents


class MoveInfo(NamedTuple):
    """Diagnostics of one move, each [B]: the probability with which it was accepted (1 where nothing is ever
    rejected), whether it was, and the error of the total energy that a numerical trajectory made, in nats."""

    acceptance: Tensor
    accepted: Tensor
    energy_error: Tensor


class Kernel(Protocol):
    """One move of every chain; pure: a state comes in, another goes out."""

    def step(
        self,
        log_density: LogDensity,
        state: ChainState,
        *,
        step_size: float | Tensor | None = None,
        generator: NoiseSource = None,
        free: Latents | None = None,
    ) -> tuple[ChainState, MoveInfo]:
        """Move every chain once.

        Args:
            log_density: Target up to a constant, [B] nats, differentiable in the latents.
            state: Where the chains are (:func:`evaluate_state` makes the first).
            step_size: Another step size than the kernel's own; a tensor [B] gives each chain its own.
            generator: Source of the noise, on the latents' device; the global stream if None.
            free: Masks that broadcast to the latents, 1 where a latent moves and 0 where it is clamped.
        """
        ...


def evaluate_state(log_density: LogDensity, latents: Latents) -> ChainState:
    """The state of chains at given positions: one evaluation of the target.

    Raises:
        NonFiniteError: If the log-density there is not finite.
    """
    positions = tuple(z.detach() for z in latents)
    value, grads = value_and_grad(log_density, positions)
    require_finite(value, positions)
    return ChainState(positions, value, grads)
