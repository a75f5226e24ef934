r"""Maximum likelihood by chains: the energy falls on data-side latents and rises on samples of the prior.

.. math:: \nabla_\alpha \mathrm{KL} = E_q[\nabla_\alpha E(z)] - E_{p_\alpha}[\nabla_\alpha E(z)]
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.latents import Latents
from hebm.learners.posterior import PosteriorLatents
from hebm.learners.updates import descend
from hebm.objectives import contrastive_loss
from hebm.priors import GaussianPrior, JointPrior
from hebm.randomness import NoiseSource
from hebm.samplers import PersistentPool

__all__ = ["ChainRunner", "ContrastiveLearner"]


class _End(Protocol):
    @property
    def latents(self) -> Latents: ...


class ChainRunner(Protocol):
    """Moves latents towards a density."""

    def __call__(self, log_density: Any, initial: Latents, *, generator: NoiseSource = None) -> _End:
        """Run chains from the initial latents."""
        ...


class ContrastiveLearner:
    """Short-run chains from draws of the base; or persistent ones, from where the last update left them.

    Args:
        prior: A base tilted by an energy; the energy learns.
        sampler: Runs the chains.
        optimizer: Over the energy's parameters.
        streams: Random streams ``prior`` (chains) and ``pool`` (persistent chains).
        l2: Weight of the energies' squares.
        max_norm: Bound on the gradient's norm.
        pool: Persistent chains; None for short-run ones.
        restart_probability: Chance per update that a persistent chain starts afresh (the replay buffer's noise).

    Source: arXiv:2310.09604; Nijkamp et al. (2019), arXiv:1904.09770 (short-run); Tieleman (2008) (persistent); Du and
    Mordatch (2019), arXiv:1903.08689 (restarts from noise).
    """

    def __init__(
        self,
        prior: JointPrior,
        sampler: ChainRunner,
        optimizer: Optimizer,
        streams: dict[str, torch.Generator],
        *,
        l2: float = 0.0,
        max_norm: float | None = None,
        pool: PersistentPool | None = None,
        restart_probability: float = 0.0,
    ) -> None:
        self.prior, self.sampler, self.streams = prior, sampler, streams
        self.optimizers: dict[str, Optimizer] = {"energy": optimizer}
        self.l2, self.max_norm = l2, max_norm
        self.pool, self.restart_probability = pool, restart_probability

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Start persistent chains anew on a base that has just been fitted."""
        if self.pool is not None and not isinstance(self.prior.base, GaussianPrior):
            stream = self.streams["pool"]
            self.pool.write(
                torch.arange(len(self.pool.state), device=self.pool.state.device),
                self.prior.sample_base(len(self.pool.state), like=self.pool.state, generator=stream),
            )
        return {}

    def step(self, latents: Latents) -> dict[str, Tensor]:
        """One step of the energy."""
        negatives = self._negatives(latents)
        both = tuple(torch.cat(pair) for pair in zip(latents, negatives, strict=True))
        energy_data, energy_prior = self.prior.energy(both).chunk(2)
        loss = contrastive_loss(energy_data, energy_prior, l2=self.l2).mean()
        norm = descend(loss, self.optimizers["energy"], max_norm=self.max_norm)
        return {
            "energy_data": energy_data.mean(),
            "energy_prior": energy_prior.mean(),
            "grad_norm_energy": norm,
        }

    @torch.no_grad()
    def _negatives(self, latents: Latents) -> Latents:
        n, like = len(latents[0]), latents[0]
        density = self.prior.density()
        if self.pool is None:
            start = self.prior.sample_base(n, like=like, generator=self.streams["prior"])
            return self.sampler(density, start, generator=self.streams["prior"]).latents
        stream = self.streams["pool"]
        fresh = self.prior.sample_base(len(self.pool.state), like=like, generator=stream)
        self.pool.restart(fresh, self.restart_probability, stream)
        chosen = self.pool.choose(n, stream)
        moved = self.sampler(density, self.pool.read(chosen), generator=self.streams["prior"]).latents
        self.pool.write(chosen, moved)
        return moved

    def tensors(self) -> dict[str, Tensor]:
        """The persistent chains."""
        return {} if self.pool is None else {"pool": self.pool.state}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put the persistent chains back."""
        if self.pool is not None:
            self.pool.state = tensors["pool"].to(self.pool.state)
