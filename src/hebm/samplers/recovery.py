r"""Draw from a diffused prior: chains on one conditional after another, from the noisiest level to the clean one."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.randomness import NoiseSource
from hebm.samplers.chains import ChainResult, ShortRunLangevin
from hebm.samplers.langevin import LogDensity
from hebm.samplers.metropolis_chains import MetropolisChains

__all__ = ["RecoveryChains"]


class _Diffused(Protocol):
    @property
    def sigmas(self) -> tuple[float, ...]: ...

    def __call__(self, latents: Latents) -> Tensor: ...

    def conditional(self, level: int, noisier: Tensor | None) -> LogDensity: ...


@dataclass(frozen=True)
class RecoveryChains:
    r"""K Langevin steps per noise level, started at the noisier latents.

    Args:
        n_steps: K.
        relative_step: η of a level in units of its σ²; at the noisiest level, whose target has no recovery term, of 1.
        checked: Whether numbers that are not finite are an error (:class:`~hebm.samplers.ShortRunLangevin`).

    Source: Gao et al. (2021), arXiv:2012.08125.
    """

    n_steps: int = 30
    relative_step: float = 0.08
    checked: bool = True

    def level(
        self,
        log_density: _Diffused,
        level: int,
        noisier: Tensor,
        *,
        n_steps: int | None = None,
        generator: NoiseSource,
    ) -> ChainResult:
        """Run one level's chains from the noisier latents, flat [B, D]."""
        noisiest = level == len(log_density.sigmas) - 1
        eta = self.relative_step * (1.0 if noisiest else log_density.sigmas[level] ** 2)
        target = log_density.conditional(level, None if noisiest else noisier)
        chains = ShortRunLangevin(n_steps=self.n_steps, step_size=eta, checked=self.checked)
        return chains(target, (noisier,), n_steps=n_steps, generator=generator)

    @torch.no_grad()
    def __call__(
        self,
        log_density: _Diffused,
        initial: Latents,
        *,
        clamped: Collection[int] = (),
        n_steps: int | None = None,
        generator: NoiseSource = None,
    ) -> ChainResult:
        """Run all levels' chains; with clamped levels, Metropolis chains on the clean marginal instead.

        Args:
            log_density: The frozen diffused prior.
            initial: N(0, I) noise, top level first.
            clamped: Levels that do not move.
            n_steps: Another number of steps per noise level.
            generator: Source of the noise.
        """
        steps = self.n_steps if n_steps is None else n_steps
        if clamped:
            chains = MetropolisChains(steps)
            return chains(log_density, initial, clamped=clamped, generator=generator)
        flat, traces = flatten_latents(initial), []
        for level in reversed(range(len(log_density.sigmas))):
            result = self.level(log_density, level, flat, n_steps=steps, generator=generator)
            flat = flatten_latents(result.latents)
            traces.append(result.log_density)
        return ChainResult(unflatten_latents(flat, [z.shape[1] for z in initial]), torch.cat(traces))
