"""What every prior p(z) over all levels offers.

A *base* is normalised and drawn from exactly. A prior with an energy is a base tilted by it, known up to log Z.
"""

from collections.abc import Collection
from typing import Protocol

from torch import Tensor, nn

from hebm.latents import Latents
from hebm.priors.energy import FrozenEnergy
from hebm.randomness import NoiseSource

__all__ = ["BasePrior", "Energy", "LatentDensity", "Prior", "base_of"]


class LatentDensity(Protocol):
    """A density over latents, up to a constant, whose parameters are frozen: what a sampler moves on.

    It takes the levels, or the flat state as a tuple of one.
    """

    def __call__(self, latents: Latents) -> Tensor:
        """Log-density up to a constant, [B] nats, differentiable in the latents."""
        ...

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        """The same value and its gradients, shaped like the latents."""
        ...


class Energy(Protocol):
    """E(z) over all levels, in nats: low is likely."""

    def __call__(self, latents: Latents) -> Tensor:
        """Energy of each item, [B] nats."""
        ...

    def frozen(self) -> FrozenEnergy:
        """The same function with frozen parameters."""
        ...


class Prior(Protocol):
    """p(z) over all levels, top first."""

    level_dims: tuple[int, ...]

    @property
    def energy(self) -> nn.Module | None:
        """The energy that tilts the base (an :class:`Energy`); None if the base is the prior."""
        ...

    def log_density(self, latents: Latents) -> Tensor:
        """Log-density up to a constant, [B] nats, differentiable in latents and parameters."""
        ...

    def density(self) -> LatentDensity:
        """The same with frozen parameters, as a sampler sees it."""
        ...

    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Exact draws from the base, where chains start; on the device and in the dtype of `like`."""
        ...

    def sample_base_given(
        self, latents: Latents, levels: Collection[int], *, generator: NoiseSource = None
    ) -> Latents:
        """Exact draws of some levels (0 is the top) from the base given the others, which are returned as they are.

        Raises:
            UnsupportedError: If this base has no such conditional in closed form; a chain is needed.
        """
        ...


class BasePrior(Prior, Protocol):
    """A prior without energy: normalised."""

    def log_prob(self, latents: Latents) -> Tensor:
        """Normalised log-density, [B] nats, differentiable in latents and parameters."""
        ...

    def marginal_log_prob(self, latents: Latents, levels: Collection[int]) -> Tensor:
        """Normalised log-density of some levels (0 is the top), the others integrated out, [B] nats.

        Args:
            latents: All levels, top first; what the other levels hold is not looked at.
            levels: The levels, at least one.

        Raises:
            LatentShapeError: If a level does not exist, or none is given.
            UnsupportedError: If this base has no such marginal in closed form.
        """
        ...


def base_of(prior: Prior) -> BasePrior:
    """What the energy tilts, normalised; the prior itself if it has no energy."""
    return prior if prior.energy is None else prior.base  # type: ignore[return-value, attr-defined]
