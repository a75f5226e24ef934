r"""Diffusion recovery: every noise level's energy learns its conditional, by short chains from the noisier latents.

.. math:: \min_{E_t}\; E[E_t(u_t)] - E[E_t(\tilde u_t)], \qquad
    \tilde u_t \sim p(\cdot | u_{t+1}) \text{ by K steps from } u_{t+1}
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.latents import Latents, flatten_latents
from hebm.learners.posterior import PosteriorLatents
from hebm.learners.updates import descend
from hebm.objectives import contrastive_loss
from hebm.priors import RecoveryPrior
from hebm.samplers import RecoveryChains

__all__ = ["RecoveryLearner"]


class RecoveryLearner:
    """All noise levels learn in every step, each from the pair (u_t, u_{t+1}) of the same latents.

    Args:
        prior: The diffused prior.
        sampler: Its chains.
        optimizer: Over all energies' parameters.
        stream: Source of the noise.
        l2: Weight of the energies' squares.
        max_norm: Bound on the gradient's norm.

    Source: Gao et al. (2021), arXiv:2012.08125; in latent space after the diffusion-learned successor of the method.
    """

    def __init__(
        self,
        prior: RecoveryPrior,
        sampler: RecoveryChains,
        optimizer: Optimizer,
        stream: torch.Generator,
        *,
        l2: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        self.prior, self.sampler, self.stream = prior, sampler, stream
        self.optimizers: dict[str, Optimizer] = {"energy": optimizer}
        self.l2, self.max_norm = l2, max_norm

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Nothing to fit at once."""
        return {}

    def step(self, latents: Latents) -> dict[str, Tensor]:
        """One step of every level's energy; the clean level's energies are those that are logged."""
        path = self.prior.diffuse(flatten_latents(latents), self.stream)
        density = self.prior.density()
        losses, energies = [], []
        for level, energy in enumerate(self.prior.energies):
            with torch.no_grad():
                result = self.sampler.level(density, level, path[level + 1], generator=self.stream)
            both = torch.cat([path[level], flatten_latents(result.latents)])
            parts = torch.split(both, list(self.prior.level_dims), 1)
            energies.append(energy(parts).chunk(2))
            losses.append(contrastive_loss(*energies[-1], l2=self.l2).mean())
        norm = descend(torch.stack(losses).sum(), self.optimizers["energy"], max_norm=self.max_norm)
        return {
            "energy_data": energies[0][0].mean(),
            "energy_prior": energies[0][1].mean(),
            "grad_norm_energy": norm,
        }

    def tensors(self) -> dict[str, Tensor]:
        """No state besides prior and optimiser."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """No state."""
