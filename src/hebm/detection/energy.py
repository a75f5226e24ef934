r"""The energy of an image's latents: what the joint prior adds to its base."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection.inference import infer, require_count, require_finite
from hebm.errors import ConfigError
from hebm.models import JointModel

__all__ = ["LatentEnergy"]


@dataclass(frozen=True)
class LatentEnergy:
    r"""Energy of the latents; high is unlikely under the prior, compared with its base.

    .. math:: s(x) = E(E_q z), \quad\text{or}\quad E_{q(z|x)} E(z)

    Args:
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.

    Source: arXiv:2310.09604 (E = -f); log p₀ and log p(x|z) of its anomaly score left out.
    """

    n_draws: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_draws", self.n_draws, least=0)

    @torch.no_grad()
    def __call__(self, model: JointModel, x: Tensor) -> Tensor:
        """[B] nats.

        Raises:
            ConfigError: If the model's prior has no energy.
        """
        energy = model.prior.energy
        if energy is None:
            raise ConfigError(
                f"the score 'energy' needs a prior with an energy, but this model's is {type(model.prior).__name__}; "
                "choose 'prior_density', or a model with one."
            )
        inferred = infer(model, x)
        values = inferred.expectation(energy, n_draws=self.n_draws, seed=self.seed)
        return require_finite("the energy", values).to(x.device)
