r"""Maximum likelihood of an energy on a learned base, without chains: the negative phase is weighted base draws.

.. math::
    \nabla_\alpha = E_q[\nabla_\alpha E(z)] - \sum_j w_j \nabla_\alpha E(z_j^0), \qquad
    w_j \propto e^{-E(z_j^0)}, \; z_j^0 \sim p_0

It needs a base near the data side; how near, the effective share of the weights says at every step.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.latents import Latents
from hebm.learners.posterior import PosteriorLatents
from hebm.learners.updates import descend
from hebm.objectives import importance_loss
from hebm.priors import EnergyNetwork, JointPrior

__all__ = ["ImportanceLearner"]


class ImportanceLearner:
    """One step: as many draws of the base as there are data-side latents, weighted by exp(-E).

    Args:
        prior: A learned base tilted by an energy; the energy learns.
        optimizer: Over the energy's parameters.
        stream: Source of the base's draws.
        max_norm: Bound on the gradient's norm.
    """

    def __init__(
        self,
        prior: JointPrior,
        optimizer: Optimizer,
        stream: torch.Generator,
        *,
        max_norm: float | None = None,
    ) -> None:
        self.prior, self.stream, self.max_norm = prior, stream, max_norm
        self.optimizers: dict[str, Optimizer] = {"energy": optimizer}

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Let the energy see latents in the units of the data side."""
        assert isinstance(self.prior.energy, EnergyNetwork)
        self.prior.energy.standardise_(posterior.sample(generator=generator))
        return {}

    def step(self, latents: Latents) -> dict[str, Tensor]:
        """One step of the energy; `energy_prior` is the weighted mean, `weight_share` the weights' effective share."""
        with torch.no_grad():
            base = self.prior.sample_base(len(latents[0]), like=latents[0], generator=self.stream)
        both = tuple(torch.cat(pair) for pair in zip(latents, base, strict=True))
        energy_data, energy_base = self.prior.energy(both).chunk(2)
        loss = importance_loss(energy_data, energy_base)
        norm = descend(loss, self.optimizers["energy"], max_norm=self.max_norm)
        weights = (-energy_base.detach()).softmax(0)
        return {
            "energy_data": energy_data.mean(),
            "energy_prior": (weights * energy_base).sum(),
            "gain_over_base": -loss.detach(),
            "weight_share": 1 / (len(weights) * weights.square().sum()),
            "grad_norm_energy": norm,
        }

    def tensors(self) -> dict[str, Tensor]:
        """No state besides prior and optimiser."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """No state."""
