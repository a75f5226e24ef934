"""What all priors have in common that are weighted Gaussian components over the flat state."""

from abc import ABC, abstractmethod
from collections.abc import Collection

import torch
from torch import Tensor, nn

from hebm.latents import Latents, check_latents, flatten_latents, kept_indices, unflatten_latents
from hebm.priors.autograd_density import frozen_copy
from hebm.priors.gaussian_components import GaussianComponents
from hebm.randomness import NoiseSource

__all__ = ["ComponentsPrior"]


class ComponentsPrior(nn.Module, ABC):
    """A normalised prior, drawn from exactly, that gives its components as tensors; it holds no state of its own."""

    energy = None
    level_dims: tuple[int, ...]

    @abstractmethod
    def components(self) -> GaussianComponents:
        """The prior as tensors, differentiable in its parameters."""

    def log_prob(self, latents: Latents) -> Tensor:
        """Normalised log-density of all levels, [B] nats."""
        check_latents(latents, self.level_dims)
        return self.components()(latents)

    def marginal_log_prob(self, latents: Latents, levels: Collection[int]) -> Tensor:
        """Normalised log-density of some levels (0 is the top), the others integrated out, [B] nats."""
        check_latents(latents, self.level_dims)
        columns = kept_indices(self.level_dims, levels)
        return self.components().marginal(columns)((flatten_latents(latents)[:, columns],))

    def log_density(self, latents: Latents) -> Tensor:
        """The same as :meth:`log_prob`: this prior is normalised."""
        return self.log_prob(latents)

    @torch.no_grad()
    def sample_base(self, n: int, *, like: Tensor, generator: NoiseSource = None) -> Latents:
        """Draw n items, one [n, d_l] matrix per level, on the device and in the dtype of `like`."""
        return unflatten_latents(self.components().draw(n, like=like, generator=generator), self.level_dims)

    @torch.no_grad()
    def sample_base_given(
        self, latents: Latents, levels: Collection[int], *, generator: NoiseSource = None
    ) -> Latents:
        """Exact draws of some levels (0 is the top) given the others, which come back as they are."""
        return self.components().draw_levels_given(latents, self.level_dims, levels, generator)

    def density(self) -> GaussianComponents:
        """The density with frozen parameters, as a sampler sees it; its gradient is written out by hand."""
        return frozen_copy(self).components()
