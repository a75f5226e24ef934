"""What every prior p(z) over all levels offers."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from hebm.latents import Latents
from hebm.priors.energy import EnergyNetwork
from hebm.randomness import NoiseSource

__all__ = ["LatentDensity", "Prior"]


class LatentDensity(Protocol):
    """A density over latents, up to a constant, whose parameters are frozen: what a sampler moves on."""

    def __call__(self, latents: Latents) -> Tensor:
        """Log-density up to a constant, [B] nats, differentiable in the latents."""
        ...

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        """The same value and its gradients, shaped like the latents."""
        ...


class Prior(Protocol):
    """p(z) over all levels, top first."""

    level_dims: Sequence[int]
    energy: EnergyNetwork | None

    def log_density(self, latents: Latents) -> Tensor:
        """Log-density up to a constant, [B] nats, differentiable in latents and parameters."""
        ...

    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Exact draws from the base, where chains start; on the device and in the dtype of `like`."""
        ...

    def frozen(self) -> LatentDensity | None:
        """The density as a sampler sees it; None if the base is the prior, so that no chain is needed."""
        ...
