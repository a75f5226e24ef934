r"""The joint prior: a base tilted by one energy over all levels, p(z) = exp(-E(z)) p₀(z) / Z."""

import copy
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn

from hebm.errors import UnsupportedError
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.priors.base import BasePrior, Energy, LatentDensity
from hebm.priors.energy import FrozenEnergy
from hebm.priors.whitened import WhitenedDensity
from hebm.randomness import NoiseSource

__all__ = ["FrozenJointDensity", "JointPrior"]


@dataclass(frozen=True)
class FrozenJointDensity:
    r"""log p₀(z) - E(z) with frozen parameters; takes the levels, or the flat state as a tuple of one.

    Args:
        base: The base's density, normalised.
        energy: The energy.
        proposals: What draws from the base, for samplers that propose from it.
    """

    base: LatentDensity
    energy: FrozenEnergy
    proposals: BasePrior

    def __call__(self, latents: Latents) -> Tensor:
        """Log-density up to log Z, [B] nats."""
        return self.base(latents) - self.energy(flatten_latents(latents))

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        """The same value [B] and its gradients, shaped like the latents."""
        base, base_grads = self.base.value_and_grad(latents)
        energy, energy_grad = self.energy.value_and_grad(flatten_latents(latents))
        parts = unflatten_latents(energy_grad, [z.shape[1] for z in latents])
        return base - energy, tuple(b - e for b, e in zip(base_grads, parts, strict=True))

    def whitened(self) -> WhitenedDensity:
        """The density in white coordinates of the base.

        Raises:
            UnsupportedError: If the base has none.
        """
        if not hasattr(self.proposals, "from_white"):
            raise UnsupportedError(
                f"{type(self.proposals).__name__} has no white coordinates; choose another `sampler.kind`."
            )
        base = copy.deepcopy(self.proposals)
        for parameter in base.parameters():  # type: ignore[attr-defined]
            parameter.requires_grad_(False)
        return WhitenedDensity(base, self.energy)  # type: ignore[arg-type]


class JointPrior(nn.Module):
    r"""Base prior tilted by an energy over all levels, known up to log Z.

    .. math:: \log p(z) = \log p_0(z) - E(z) - \log Z

    Args:
        base: A normalised prior over all levels that is drawn from exactly.
        energy: E(z), over the same levels.

    Source: arXiv:2310.09604, whose base is N(0, I).
    """

    def __init__(self, base: nn.Module, energy: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.energy = energy
        self.level_dims: tuple[int, ...] = self._base.level_dims

    @property
    def _base(self) -> BasePrior:
        return self.base  # type: ignore[return-value]

    @property
    def _energy(self) -> Energy:
        return self.energy  # type: ignore[return-value]

    def log_density(self, latents: Latents) -> Tensor:
        """log p₀(z) - E(z), [B] nats; log Z is missing, so never compare it between two models."""
        return self._base.log_prob(latents) - self._energy(latents)

    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Exact draws from the base, where chains start."""
        return self._base.sample_base(n, like=like, generator=generator)

    def sample_base_given(
        self, latents: Latents, levels: Collection[int], *, generator: NoiseSource = None
    ) -> Latents:
        """Exact draws of some levels from the base given the others."""
        return self._base.sample_base_given(latents, levels, generator=generator)

    def density(self) -> FrozenJointDensity:
        """The density with frozen parameters, as a sampler sees it."""
        return FrozenJointDensity(self._base.density(), self._energy.frozen(), self._base)
