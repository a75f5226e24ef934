r"""Parallel tempering: replicas between a base that mixes and the target, which swap their positions.

.. math::
    \log \pi_\beta(z) = (1 - \beta) \log p_0(z) + \beta \log p(z), \qquad 1 = \beta_0 > \dots > \beta_R \geq 0

Replicas r and r + 1 swap with probability min(1, e^r) each time their turn comes, with u = log p - log p_0 and

.. math::
    r = (\beta_r - \beta_{r+1}) \, (u(z_{r+1}) - u(z_r)).

For an energy prior with its base, u is -E: the energy is tempered and the base stays. Without a base, π_β is p^β.
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.errors import ConfigError
from hebm.latents import Latents
from hebm.randomness import NoiseSource
from hebm.samplers.base import ChainState, Kernel, evaluate_state
from hebm.samplers.langevin import LogDensity, value_and_grad
from hebm.samplers.metropolis import log_uniform, require_positive

__all__ = ["ParallelTempering", "TemperingInfo", "TemperingState"]


class TemperingState(NamedTuple):
    """All replicas of all chains, replica 0 the cold one: the positions z are [B, n_replicas, d_l] each.

    ``target`` holds z, log p(z) [B, n_replicas] and its gradients, ``base`` the same of log p_0. Chains come first,
    so that processes which share the chains draw the noise that one process would.
    """

    target: ChainState
    base: ChainState
    n_moves: int

    @property
    def latents(self) -> Latents:
        """Positions of the cold replica, which has the target's law; top level first, [B, d_l] each."""
        return tuple(z[:, 0] for z in self.target.latents)

    @property
    def log_density(self) -> Tensor:
        """Log-density of the target at the cold replica, [B] nats."""
        return self.target.log_density[:, 0]


class TemperingInfo(NamedTuple):
    """Diagnostics of one step. Of the last inner move: ``acceptance``, ``accepted``, ``energy_error`` of the cold
    replica [B], and ``replica_acceptance`` of all [B, n_replicas]. Of the swaps [B, n_replicas - 1]: the probability
    ``swap_acceptance`` with which neighbours would swap, also where it was not their turn, and who ``swapped``."""

    acceptance: Tensor
    accepted: Tensor
    energy_error: Tensor
    replica_acceptance: Tensor
    swap_acceptance: Tensor
    swapped: Tensor


@dataclass(frozen=True)
class ParallelTempering:
    """Moves every replica by an inner kernel, then lets neighbours swap: even pairs, next time odd ones.

    A step costs ``moves_per_swap`` inner moves of all replicas and one evaluation of them.

    Args:
        inner: Kernel that leaves any log-density as it is, such as MALA or HMC.
        inverse_temperatures: β_0 = 1 down to β_R.
        base: log p_0, up to a constant, [B] nats; constant if None. The target must be finite where it has mass.
        moves_per_swap: Inner moves between swaps.

    Raises:
        ConfigError: If the inverse temperatures do not fall from 1 to 0 or above (above 0 without a base).

    Source: Geyer (1991), Computing Science and Statistics, 23rd Symposium on the Interface; the alternation of even
    and odd pairs: Syed et al. (2022), arXiv:1905.02939
    """

    inner: Kernel
    inverse_temperatures: tuple[float, ...]
    base: LogDensity | None = None
    moves_per_swap: int = 1

    def __post_init__(self) -> None:
        require_positive("moves_per_swap", self.moves_per_swap)
        betas = self.inverse_temperatures
        falling = all(a > b for a, b in itertools.pairwise(betas))
        if not betas or betas[0] != 1 or not falling or betas[-1] < (0 if self.base else 1e-300):
            raise ConfigError(
                f"`inverse_temperatures` are {list(betas)}; they start with 1 and fall, not below 0, and to 0 only "
                "with a base."
            )

    def start(self, log_density: LogDensity, latents: Latents) -> TemperingState:
        """All replicas of each chain at one position; levels are [B, d_l].

        Raises:
            NonFiniteError: If the log-density of target or base is not finite there.
        """
        n = len(self.inverse_temperatures)
        return self._evaluate(log_density, tuple(z.repeat_interleave(n, dim=0) for z in latents), n_moves=0)

    def step(
        self,
        log_density: LogDensity,
        state: TemperingState,
        *,
        step_size: float | Tensor | None = None,
        generator: NoiseSource = None,
        free: Latents | None = None,
    ) -> tuple[TemperingState, TemperingInfo]:
        """Move all replicas, then swap.

        Args:
            log_density: Target up to a constant, [B] nats, differentiable in the latents.
            state: Where the replicas are (:meth:`start` makes the first).
            step_size: Another step size than the inner kernel's; [B] gives each chain, [1, n_replicas] each
                temperature its own.
            generator: Source of the noise; the global stream if None.
            free: Masks that broadcast to [B, d_l], 1 where a latent moves and 0 where it is clamped.

        Raises:
            NonFiniteError: If target or base are not finite where a replica went.
        """
        n_chains, n = state.target.log_density.shape
        betas = state.target.log_density.new_tensor(self.inverse_temperatures)
        tempered = _Tempered(log_density, self._base, betas.repeat(n_chains))
        inner_state = tempered.combine(_rows(state.target), _rows(state.base))
        if isinstance(step_size, Tensor):
            per_replica = step_size[:, None] if step_size.ndim == 1 else step_size
            step_size = per_replica.expand(n_chains, n).reshape(-1)
        if free is not None:
            free = tuple(mask if len(mask) == 1 else mask.repeat_interleave(n, dim=0) for mask in free)
        for _ in range(self.moves_per_swap):
            inner_state, info = self.inner.step(
                tempered, inner_state, step_size=step_size, generator=generator, free=free
            )
        moved = self._evaluate(log_density, inner_state.latents, n_moves=state.n_moves + 1)
        swapped_state, swap_acceptance, swapped = _swap(moved, betas, state.n_moves % 2, generator)
        acceptance, accepted, error = (value.reshape(n_chains, n) for value in info)
        cold = (acceptance[:, 0], accepted[:, 0], error[:, 0])
        return swapped_state, TemperingInfo(*cold, acceptance, swap_acceptance, swapped)

    @property
    def _base(self) -> LogDensity:
        return _Constant() if self.base is None else self.base

    def _evaluate(self, log_density: LogDensity, rows: Latents, n_moves: int) -> TemperingState:
        n = len(self.inverse_temperatures)
        target, base = (_by_chain(evaluate_state(f, rows), n) for f in (log_density, self._base))
        return TemperingState(target, base, n_moves)


def _swap(
    state: TemperingState, betas: Tensor, parity: int, generator: NoiseSource
) -> tuple[TemperingState, Tensor, Tensor]:
    """Exchange the positions of neighbours r, r + 1 with r of the given parity."""
    excess = state.target.log_density - state.base.log_density
    log_ratio = (betas[:-1] - betas[1:]) * excess.diff(dim=1)
    turn = torch.arange(len(betas) - 1, device=betas.device) % 2 == parity
    swapped = (log_uniform(log_ratio, generator) <= log_ratio) & turn
    up = swapped.long()
    order = torch.arange(len(betas), device=betas.device).expand(len(up), -1).clone()
    order[:, :-1] += up
    order[:, 1:] -= up
    reordered = TemperingState(_reorder(state.target, order), _reorder(state.base, order), state.n_moves)
    return reordered, log_ratio.clamp(max=0).exp(), swapped


def _reorder(state: ChainState, order: Tensor) -> ChainState:
    latents, grads = (
        tuple(torch.take_along_dim(z, order[..., None], dim=1) for z in levels)
        for levels in (state.latents, state.grads)
    )
    return ChainState(latents, torch.take_along_dim(state.log_density, order, dim=1), grads)


def _by_chain(rows: ChainState, n: int) -> ChainState:
    latents, grads = (
        tuple(z.reshape(-1, n, *z.shape[1:]) for z in levels) for levels in (rows.latents, rows.grads)
    )
    return ChainState(latents, rows.log_density.reshape(-1, n), grads)


def _rows(state: ChainState) -> ChainState:
    latents, grads = (tuple(z.flatten(0, 1) for z in levels) for levels in (state.latents, state.grads))
    return ChainState(latents, state.log_density.flatten(), grads)


@dataclass(frozen=True)
class _Tempered:
    target: LogDensity
    base: LogDensity
    betas: Tensor  # one per row

    def __call__(self, latents: Latents) -> Tensor:
        return (1 - self.betas) * self.base(latents) + self.betas * self.target(latents)

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        target, base = (
            ChainState(latents, *value_and_grad(density, latents)) for density in (self.target, self.base)
        )
        combined = self.combine(target, base)
        return combined.log_density, combined.grads

    def combine(self, target: ChainState, base: ChainState) -> ChainState:
        value = (1 - self.betas) * base.log_density + self.betas * target.log_density
        beta = self.betas[:, None]
        grads = tuple((1 - beta) * g0 + beta * g for g0, g in zip(base.grads, target.grads, strict=True))
        return ChainState(target.latents, value, grads)


class _Constant:
    def __call__(self, latents: Latents) -> Tensor:
        return latents[0].new_zeros(len(latents[0]))

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        return self(latents), tuple(torch.zeros_like(z) for z in latents)
