"""Chains of a kernel with a Metropolis test, its step tuned on the way; and chains in white coordinates."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch

from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.randomness import NoiseSource
from hebm.samplers.adaptation import MALA_ACCEPTANCE, adapt_step_size
from hebm.samplers.base import evaluate_state
from hebm.samplers.chains import ChainResult, ShortRunLangevin
from hebm.samplers.kernels import Path, run_fast_mala
from hebm.samplers.langevin import LogDensity
from hebm.samplers.long_run import free_mask
from hebm.samplers.mala import MALA

__all__ = ["MetropolisChains", "WhitenedChains"]


@dataclass(frozen=True)
class MetropolisChains:
    """K moves of MALA: the first half tunes the step size to its best acceptance, the second keeps it.

    Args:
        n_steps: K; 0 returns the start.
        step_size: η of the first move, in squared units of the latents.
        path: How the second half runs: ``reference`` is a loop of :class:`~hebm.samplers.MALA`, ``triton`` one launch
            of the GPU's kernel (equal in law), ``auto`` the latter where it can run the target.

    Source: Roberts and Tweedie (1996), Bernoulli 2(4).
    """

    n_steps: int = 60
    step_size: float = 0.08
    path: Path = "auto"

    @torch.no_grad()
    def __call__(
        self,
        log_density: LogDensity,
        initial: Latents,
        *,
        clamped: Collection[int] = (),
        n_steps: int | None = None,
        generator: NoiseSource = None,
    ) -> ChainResult:
        """Run the chains; arguments and errors as of :class:`~hebm.samplers.ShortRunLangevin`."""
        total = self.n_steps if n_steps is None else n_steps
        free = free_mask(initial, clamped)
        state, step_size = evaluate_state(log_density, initial), self.step_size
        if total > 1:
            adapted = adapt_step_size(
                MALA(step_size),
                log_density,
                state,
                n_steps=total // 2,
                initial_step_size=step_size,
                target_acceptance=MALA_ACCEPTANCE,
                generator=generator,
                free=free,
            )
            state, step_size = adapted.state, adapted.step_size
        n_kept = total - total // 2 if total > 1 else total
        fast = run_fast_mala(
            self.path,
            log_density,
            flatten_latents(state.latents),
            n_steps=n_kept,
            step_size=step_size,
            generator=generator,
            free=None if free is None else flatten_latents(free)[0],
        )
        if fast is not None:
            return ChainResult(unflatten_latents(fast[0], [z.shape[1] for z in initial]), fast[1])
        kernel, trace = MALA(step_size), []
        for _ in range(n_kept):
            trace.append(state.log_density)
            state, _ = kernel.step(log_density, state, generator=generator, free=free)
        log_densities = torch.stack(trace) if trace else state.log_density.new_empty(0, len(initial[0]))
        return ChainResult(state.latents, log_densities)


class _Charted(Protocol):
    def __call__(self, latents: Latents) -> torch.Tensor: ...

    def whitened(self) -> "_Chart": ...


class _Chart(Protocol):
    def __call__(self, latents: Latents) -> torch.Tensor: ...

    def to_white(self, latents: Latents) -> Latents: ...

    def from_white(self, white: Latents) -> Latents: ...


@dataclass(frozen=True)
class WhitenedChains:
    r"""Chains on u where the base is z = T(u), u ~ N(0, I): the target there is log N(u; 0, I) - E(T(u)).

    No determinant enters: the base's and the map's cancel. One step size suits all latents there, however narrow the
    base's conditionals are. Clamped chains move in z, since holding a level of z does not hold a coordinate of u.

    Args:
        free: Sampler in white coordinates.
        clamped: Sampler in z, for chains with clamped levels.

    Source: arXiv:2306.06323 tilts such a chained base.
    """

    free: ShortRunLangevin
    clamped: MetropolisChains

    def __call__(
        self,
        log_density: _Charted,
        initial: Latents,
        *,
        clamped: Collection[int] = (),
        n_steps: int | None = None,
        generator: NoiseSource = None,
    ) -> ChainResult:
        """Run the chains on a density that has white coordinates (``whitened()``); the trace is of the target there."""
        if clamped:
            return self.clamped(log_density, initial, clamped=clamped, n_steps=n_steps, generator=generator)
        chart = log_density.whitened()
        moved = self.free(chart, chart.to_white(initial), n_steps=n_steps, generator=generator)
        return ChainResult(chart.from_white(moved.latents), moved.log_density)
