r"""Chains whose proposals are exact draws from the base of a tilted density (the independence sampler).

.. math:: z' \sim p_0, \qquad \alpha = \min(1, e^{E(z) - E(z')})

The acceptance needs the energy alone. Where the base is close to the target (a mixture fitted to the data side) few
steps converge, from any mode to any other; where it is far, almost nothing is accepted.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hebm.latents import Latents, flatten_latents
from hebm.randomness import NoiseSource
from hebm.samplers.chains import ChainResult
from hebm.samplers.langevin import require_finite
from hebm.samplers.metropolis import log_uniform

__all__ = ["IndependenceChains", "TiltedDensity"]


class _Proposals(Protocol):
    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents: ...

    def sample_base_given(
        self, latents: Latents, levels: Collection[int], *, generator: NoiseSource = None
    ) -> Latents: ...


class TiltedDensity(Protocol):
    """A target log p₀(z) - E(z) that knows its parts."""

    @property
    def proposals(self) -> _Proposals:
        """What draws from p₀."""
        ...

    @property
    def energy(self) -> "_FlatEnergy":
        """E over the flat state."""
        ...


class _FlatEnergy(Protocol):
    def __call__(self, flat: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class IndependenceChains:
    """K moves of the independence sampler.

    Args:
        n_steps: K; 0 returns the start.

    Source: Tierney (1994), Annals of Statistics 22(4).
    """

    n_steps: int = 60

    @torch.no_grad()
    def __call__(
        self,
        log_density: TiltedDensity,
        initial: Latents,
        *,
        clamped: Collection[int] = (),
        n_steps: int | None = None,
        generator: NoiseSource = None,
    ) -> ChainResult:
        """Run the chains; with clamped levels the target is p(free levels | clamped levels).

        The trace is -E(z), the log-density over that of the base: the acceptance needs no more.

        Args:
            log_density: A base tilted by an energy.
            initial: Starting positions, top level first, best drawn from the base; clamped levels keep theirs.
            clamped: Levels that do not move (0 is the top).
            n_steps: Another number of steps than this sampler's own.
            generator: Source of the noise; the global stream if None.

        Raises:
            NonFiniteError: If an energy is not finite.
            UnsupportedError: If levels are clamped and the base has no exact conditional draw.
        """
        free = [level for level in range(len(initial)) if level not in clamped]
        latents = tuple(z.detach() for z in initial)
        energy = log_density.energy(flatten_latents(latents))
        trace = []
        for _ in range(self.n_steps if n_steps is None else n_steps):
            trace.append(-energy)
            proposal = _propose(log_density.proposals, latents, free, generator)
            proposed = log_density.energy(flatten_latents(proposal))
            require_finite(proposed, proposal)
            accepted = log_uniform(energy, generator) <= energy - proposed
            latents = tuple(
                torch.where(accepted[:, None], new, old) for new, old in zip(proposal, latents, strict=True)
            )
            energy = torch.where(accepted, proposed, energy)
        return ChainResult(latents, torch.stack(trace) if trace else energy.new_empty(0, len(energy)))


def _propose(proposals: _Proposals, latents: Latents, free: list[int], generator: NoiseSource) -> Latents:
    if len(free) == len(latents):
        return proposals.sample_base(len(latents[0]), like=latents[0], generator=generator)
    return proposals.sample_base_given(latents, free, generator=generator)
