"""Long runs of one kernel: what is moved, what is kept."""

from collections.abc import Collection
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from hebm.latents import Latents, flatten_latents, level_indices
from hebm.randomness import NoiseSource
from hebm.samplers.langevin import LogDensity
from hebm.samplers.metropolis import require_positive

__all__ = ["AnyKernel", "Draws", "free_mask", "run_chain"]


class _Positions(Protocol):
    @property
    def latents(self) -> Latents: ...

    @property
    def log_density(self) -> Tensor: ...


class _Diagnostics(Protocol):
    @property
    def acceptance(self) -> Tensor: ...


State = TypeVar("State", bound=_Positions)


class AnyKernel(Protocol[State]):
    """A :class:`~hebm.samplers.Kernel`, or a sampler with a richer state, such as parallel tempering."""

    def step(
        self,
        log_density: LogDensity,
        state: State,
        *,
        step_size: float | Tensor | None = None,
        generator: NoiseSource = None,
        free: Latents | None = None,
    ) -> tuple[State, _Diagnostics]:
        """Move every chain once; the state has ``latents`` and ``log_density``, the diagnostics ``acceptance``."""
        ...


class Draws(NamedTuple, Generic[State]):
    """What a run kept, with the draws first, as the diagnostics want it.

    ``positions`` [n_draws, n_chains, sum of d_l], levels side by side; ``log_density`` [n_draws, n_chains] nats at
    those positions; ``acceptance`` [n_draws, n_chains], the mean probability over the moves since the draw before;
    ``state``, from which to go on.
    """

    positions: Tensor
    log_density: Tensor
    acceptance: Tensor
    state: State


def free_mask(latents: Latents, clamped: Collection[int]) -> Latents | None:
    """The kernels' ``free`` argument that clamps whole levels (0 is the top), [1, d_l] each; None if none is clamped.

    Raises:
        LatentShapeError: If a level does not exist.
    """
    if not clamped:
        return None
    level_indices([z.shape[1] for z in latents], clamped)
    return tuple(z.new_full((1, z.shape[1]), float(i not in clamped)) for i, z in enumerate(latents))


def run_chain(
    kernel: AnyKernel[State],
    log_density: LogDensity,
    state: State,
    n_draws: int,
    *,
    thin: int = 1,
    step_size: float | Tensor | None = None,
    clamped: Collection[int] = (),
    generator: NoiseSource = None,
) -> Draws[State]:
    """Move the chains ``n_draws * thin`` times and keep every ``thin``-th position.

    For a burn-in, run first and go on from ``state``.

    Args:
        kernel: What moves the chains.
        log_density: Target up to a constant, [B] nats; it is given the latents as the state has them.
        state: Where the chains start (of a kernel, :func:`~hebm.samplers.evaluate_state`).
        n_draws: Positions to keep, at least 1; they lie on the latents' device.
        thin: Moves per kept position.
        step_size: Another step size than the kernel's own, such as an adapted one.
        clamped: Levels of the state that do not move; the target is then p(free levels | clamped levels).
        generator: Source of the noise; the global stream if None.

    Raises:
        ConfigError: If a count is not positive.
        LatentShapeError: If a clamped level does not exist.
    """
    require_positive("n_draws", n_draws)
    require_positive("thin", thin)
    free = free_mask(state.latents, clamped)
    kept = []
    for _ in range(n_draws):
        accepted = torch.zeros_like(state.log_density)
        for _ in range(thin):
            state, info = kernel.step(log_density, state, step_size=step_size, generator=generator, free=free)
            accepted = accepted + info.acceptance
        kept.append((flatten_latents(state.latents), state.log_density, accepted / thin))
    positions, log_densities, acceptance = (torch.stack(column) for column in zip(*kept, strict=True))
    return Draws(positions, log_densities, acceptance, state)
