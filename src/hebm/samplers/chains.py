r"""Chains over the levels of a prior: short-run from base noise, clamped levels, and a persistent pool.

A chain moves the *flat* state: all levels side by side in one tensor, one gradient evaluation per step. Short runs take
the fastest path that can run their target (``samplers/kernels``); the reference path, a loop of the step in
``langevin.py``, defines what the others compute.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.errors import LatentShapeError
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.randomness import NoiseSource
from hebm.samplers.kernels import Path, run_fast
from hebm.samplers.langevin import LogDensity, move, require_finite
from hebm.samplers.long_run import free_mask

__all__ = ["ChainResult", "PersistentPool", "ShortRunLangevin"]


class ChainResult(NamedTuple):
    """Where the chains ended, and the log-density of every state they stepped from, [n_steps, B] nats."""

    latents: Latents
    log_density: Tensor


@dataclass(frozen=True)
class ShortRunLangevin:
    r"""K unadjusted Langevin steps on all levels together.

    Args:
        n_steps: K, the number of steps; 0 returns the start.
        step_size: The step η, in squared units of the latents; the paper's s = 0.4 is 0.08.
        temperature: τ; 1 samples the target.
        path: ``reference`` is a loop of the step in ``langevin.py``. ``fused`` draws the same noise and agrees with it
            up to rounding (after 60 steps to 1e-12 in float64, 1e-4 in float32). ``triton`` draws the noise of
            (seed, chain, step), the seed from the generator: equal in law. ``auto`` is ``triton`` on a GPU, else
            ``fused``, else ``reference``, whichever can run the target, and says in the log which.
        checked: Whether numbers that are not finite are an error, which waits for a GPU at the end of every run.
            Otherwise they are for the caller to find.

    Source: arXiv:2310.09604
    """

    n_steps: int = 60
    step_size: float = 0.08
    temperature: float = 1.0
    path: Path = "auto"
    checked: bool = True

    def __call__(
        self,
        log_density: LogDensity,
        initial: Latents,
        *,
        clamped: Collection[int] = (),
        n_steps: int | None = None,
        generator: NoiseSource = None,
    ) -> ChainResult:
        r"""Run the chains; with clamped levels the target is p(free levels | clamped levels).

        Args:
            log_density: Target up to a constant; it is given the flat state as a tuple of one [B, D] tensor.
            initial: Starting positions, top level first; clamped levels keep theirs.
            clamped: Levels that do not move (0 is the top).
            n_steps: Another number of steps than this sampler's own.
            generator: Source of the noise; the global stream if None.

        Raises:
            NonFiniteError: If the log-density was not finite at some step, or the last positions are not, and that is
                `checked`.
            LatentShapeError: If a clamped level does not exist.
            UnsupportedError: If a path was asked for by name and cannot run the target.
        """
        level_dims = [z.shape[1] for z in initial]
        state = flatten_latents(initial).detach()
        mask = free_mask(initial, clamped)
        free = None if mask is None else flatten_latents(mask)[0]
        total = self.n_steps if n_steps is None else n_steps
        ended = run_fast(
            self.path,
            log_density,
            state,
            n_steps=total,
            step_size=self.step_size,
            temperature=self.temperature,
            generator=generator,
            free=free,
        )
        state, log_densities = ended or self._reference(log_density, state, total, generator, free)
        if self.checked:
            require_finite(log_densities, (state,))
        return ChainResult(unflatten_latents(state, level_dims), log_densities)

    def _reference(
        self,
        log_density: LogDensity,
        state: Tensor,
        n_steps: int,
        generator: NoiseSource,
        free: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        trace = []
        for _ in range(n_steps):
            (state,), info = move(
                (state,),
                log_density,
                step_size=self.step_size,
                temperature=self.temperature,
                generator=generator,
                free=None if free is None else (free,),
            )
            trace.append(info.log_density)
        return state, torch.stack(trace) if trace else state.new_empty(0, len(state))


class PersistentPool:
    """A pool of chains that go on from where the last update left them.

    Args:
        start: Positions of all chains, top level first, [n_chains, d_l] each.

    Source: Tieleman (2008), persistent contrastive divergence.
    """

    def __init__(self, start: Latents) -> None:
        self.level_dims = [z.shape[1] for z in start]
        self.state = flatten_latents(start).detach().clone()

    def choose(self, n: int, generator: torch.Generator) -> Tensor:
        """Indices of n different chains.

        Raises:
            LatentShapeError: If the pool has fewer than n chains.
        """
        if n > len(self.state):
            raise LatentShapeError(
                f"{n} chains are asked of a pool of {len(self.state)}; raise `sampler.n_chains`."
            )
        return torch.randperm(len(self.state), generator=generator, device=generator.device)[:n]

    def read(self, indices: Tensor) -> Latents:
        """Positions of the given chains, top level first."""
        return unflatten_latents(self.state[indices], self.level_dims)

    def write(self, indices: Tensor, latents: Latents) -> None:
        """Store where the given chains have moved to."""
        self.state[indices] = flatten_latents(latents).detach()

    def restart(self, fresh: Latents, probability: float, generator: torch.Generator) -> None:
        """Put each chain back to a fresh start with the given probability."""
        picks = torch.rand(len(self.state), generator=generator, device=self.state.device) < probability
        self.state = torch.where(picks[:, None], flatten_latents(fresh), self.state)
