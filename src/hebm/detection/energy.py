r"""The energy of an image's latents: what the joint prior adds to its base."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hebm.detection.expected import ExpectedScore
from hebm.detection.inference import Inferred
from hebm.errors import ConfigError
from hebm.latents import Latents

__all__ = ["LatentEnergy"]


@dataclass(frozen=True)
class LatentEnergy(ExpectedScore):
    r"""Energy of the latents; high is unlikely under the prior, compared with its base.

    .. math:: s(x) = E(E_q z), \quad\text{or}\quad E_{q(z|x)} E(z)

    Args:
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.

    Source: arXiv:2310.09604 (E = -f); log p₀ and log p(x|z) of its anomaly score left out.
    """

    quantity = "the energy"

    def value(self, inferred: Inferred) -> Callable[[Latents], Tensor]:
        """E(z).

        Raises:
            ConfigError: If the model's prior has no energy.
        """
        prior = inferred.model.prior
        if prior.energy is None:
            raise ConfigError(
                f"the score 'energy' needs a prior with an energy, but this model's is {type(prior).__name__}; "
                "choose 'prior_density', or a model with one."
            )
        return prior.energy
