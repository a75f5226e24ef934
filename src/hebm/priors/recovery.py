r"""A diffused prior: one energy per noise level, each tilting N(0, I), drawn from the noisiest level to the clean one.

.. math::
    u_0 = z, \qquad u_{t+1} = \sqrt{1 - \sigma_{t+1}^2}\, u_t + \sigma_{t+1} \epsilon

.. math::
    p(u_t | u_{t+1}) \propto \exp\Big(-E_t(u_t) - \tfrac12 |u_t|^2
        - \tfrac{1}{2\sigma_{t+1}^2} \big|u_{t+1} - \sqrt{1 - \sigma_{t+1}^2}\, u_t\big|^2\Big)

The recovery term makes each conditional nearly Gaussian, so that short chains from u_{t+1} reach it.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hebm.distributions import standard_normal_log_prob
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.priors.energy import EnergyNetwork, FrozenEnergy
from hebm.priors.gaussian import GaussianPrior
from hebm.randomness import NoiseSource, standard_normal

__all__ = ["FrozenRecoveryDensity", "RecoveryConditional", "RecoveryPrior"]


@dataclass(frozen=True)
class RecoveryConditional:
    """log p(u_t | u_{t+1}) up to a constant; without a noisier state, the marginal log p(u_t).

    Args:
        energy: E_t.
        sigma: σ_{t+1}.
        noisier: u_{t+1}, flat [B, D]; None for the marginal.
    """

    energy: FrozenEnergy
    sigma: float
    noisier: Tensor | None

    def __call__(self, latents: Latents) -> Tensor:
        """Log-density up to a constant, [B] nats."""
        flat = flatten_latents(latents)
        value = standard_normal_log_prob(flat) - self.energy(flat)
        if self.noisier is None:
            return value
        residual = self.noisier - math.sqrt(1 - self.sigma**2) * flat
        return value - 0.5 * residual.square().sum(1) / self.sigma**2

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        """The same value [B] and its gradients, shaped like the latents."""
        flat = flatten_latents(latents)
        energy, energy_grad = self.energy.value_and_grad(flat)
        value, grad = standard_normal_log_prob(flat) - energy, -flat - energy_grad
        if self.noisier is not None:
            shrink = math.sqrt(1 - self.sigma**2)
            residual = self.noisier - shrink * flat
            value = value - 0.5 * residual.square().sum(1) / self.sigma**2
            grad = grad + shrink * residual / self.sigma**2
        return value, unflatten_latents(grad, [z.shape[1] for z in latents])


@dataclass(frozen=True)
class FrozenRecoveryDensity:
    """The marginal of the clean latents, and the conditionals that lead to it.

    Args:
        energies: E_t, the clean level first.
        sigmas: σ_{t+1} of every level.
    """

    energies: tuple[FrozenEnergy, ...]
    sigmas: tuple[float, ...]

    def conditional(self, level: int, noisier: Tensor | None) -> RecoveryConditional:
        """p(u_t | u_{t+1}) of one noise level; the marginal where nothing noisier is given."""
        return RecoveryConditional(self.energies[level], self.sigmas[level], noisier)

    def __call__(self, latents: Latents) -> Tensor:
        """log p(u_0) up to a constant, [B] nats."""
        return self.conditional(0, None)(latents)

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        """The same value [B] and its gradients."""
        return self.conditional(0, None).value_and_grad(latents)


class RecoveryPrior(nn.Module):
    r"""One energy per noise level; `energy` is that of the clean latents, log p(z) = log N(z; 0, I) - E_0(z) - log Z.

    Args:
        energies: E_0 (clean) to E_{T-1}, over the same levels.
        sigmas: σ_1 to σ_T in (0, 1), how much noise each step adds; all together should leave almost no signal.

    Source: Gao et al. (2021), arXiv:2012.08125, diffusion recovery likelihood; here in the latents.
    """

    def __init__(self, energies: Sequence[EnergyNetwork], sigmas: Sequence[float]) -> None:
        super().__init__()
        self.level_dims = energies[0].level_dims
        self.base = GaussianPrior(self.level_dims)
        self.energies = nn.ModuleList(energies)
        self.sigmas = tuple(sigmas)

    @property
    def energy(self) -> nn.Module:
        """E_0, of the clean latents."""
        return self.energies[0]

    def log_density(self, latents: Latents) -> Tensor:
        """log N(z; 0, I) - E_0(z), [B] nats."""
        energy: Tensor = self.energies[0](latents)
        log_prob: Tensor = self.base.log_prob(latents)
        return log_prob - energy

    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """N(0, I), where the noisiest chain starts."""
        return self.base.sample_base(n, like=like, generator=generator)

    def sample_base_given(
        self, latents: Latents, levels: Collection[int], *, generator: NoiseSource = None
    ) -> Latents:
        """Fresh noise in the given levels."""
        return self.base.sample_base_given(latents, levels, generator=generator)

    def density(self) -> FrozenRecoveryDensity:
        """All densities with frozen parameters, as a sampler sees them."""
        energies = [e.frozen() for e in self.energies if isinstance(e, EnergyNetwork)]
        return FrozenRecoveryDensity(tuple(energies), self.sigmas)

    @torch.no_grad()
    def diffuse(self, flat: Tensor, generator: NoiseSource) -> list[Tensor]:
        """u_0 = z to u_T, each [B, D]."""
        path = [flat]
        for sigma in self.sigmas:
            noise = standard_normal(flat, generator)
            path.append(math.sqrt(1 - sigma**2) * path[-1] + sigma * noise)
        return path
