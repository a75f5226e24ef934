r"""The joint prior: the base tilted by one energy over all levels, p(z) = exp(-E(z)) p₀(z) / Z."""

from dataclasses import dataclass

from torch import Tensor, nn

from hebm.distributions import standard_normal_log_prob
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.priors.energy import EnergyNetwork, FrozenEnergy
from hebm.priors.gaussian import GaussianPrior
from hebm.randomness import NoiseSource

__all__ = ["FrozenJointDensity", "JointPrior"]


@dataclass(frozen=True)
class FrozenJointDensity:
    r"""log p₀(z) - E(z) with frozen parameters; takes the levels, or the flat state as a tuple of one."""

    energy: FrozenEnergy

    def __call__(self, latents: Latents) -> Tensor:
        """Log-density up to log Z, [B] nats."""
        flat = flatten_latents(latents)
        return standard_normal_log_prob(flat) - self.energy(flat)

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        """The same value [B] and its gradients, shaped like the latents."""
        flat = flatten_latents(latents)
        energy, energy_grad = self.energy.value_and_grad(flat)
        grad = -energy_grad - flat
        return standard_normal_log_prob(flat) - energy, unflatten_latents(grad, [z.shape[1] for z in latents])


class JointPrior(nn.Module):
    r"""Base prior tilted by an energy over all levels, known up to log Z.

    .. math:: \log p(z) = \log p_0(z) - E(z) - \log Z

    Args:
        base: The Gaussian prior of every level.
        energy: E(z), over the same levels.

    Source: arXiv:2310.09604.
    """

    def __init__(self, base: GaussianPrior, energy: EnergyNetwork) -> None:
        super().__init__()
        self.base = base
        self.energy = energy
        self.level_dims = base.level_dims

    def log_density(self, latents: Latents) -> Tensor:
        """log p₀(z) - E(z), [B] nats; log Z is missing, so never compare it between two models."""
        log_prob: Tensor = self.base.log_prob(latents)
        energy: Tensor = self.energy(latents)
        return log_prob - energy

    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Exact draws from the base, where chains start."""
        return self.base.sample_base(n, like=like, generator=generator)

    def frozen(self) -> FrozenJointDensity:
        """The density with frozen parameters, as a sampler sees it."""
        return FrozenJointDensity(self.energy.frozen())
