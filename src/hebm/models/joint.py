"""The composed model: generator, encoder, prior, and the sampler that moves the prior's chains."""

from collections.abc import Collection
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hebm.distributions import ImageDistribution
from hebm.errors import ImageShapeError, UnsupportedError
from hebm.latents import Latents, check_latents
from hebm.models.encoder import LadderEncoder
from hebm.models.generator import LadderGenerator
from hebm.models.posterior import LatentPosterior
from hebm.priors import Prior
from hebm.randomness import NoiseSource

__all__ = ["JointModel", "PriorSampler"]


class ChainEnd(Protocol):
    """What a sampler returns: at least the latents where the chains ended."""

    @property
    def latents(self) -> Latents:
        """Positions, top level first."""
        ...


class PriorSampler(Protocol):
    """Moves latents towards a density; some levels may be clamped.

    The density is a :class:`~hebm.priors.LatentDensity`; some samplers ask for more (a base to propose from, white
    coordinates, noise levels), which the priors they are meant for give.
    """

    def __call__(
        self,
        log_density: Any,
        initial: Latents,
        *,
        clamped: Collection[int] = (),
        n_steps: int | None = None,
        generator: NoiseSource = None,
    ) -> ChainEnd:
        """Run chains from the initial latents."""
        ...


class JointModel(nn.Module):
    """A hierarchical latent model of images x in [0, 1], [B, C, H, W]; latents are top level first.

    Args:
        generator: p(x|z).
        encoder: q(z|x).
        prior: p(z) over all levels.
        sampler: What draws from the prior where it has an energy.
    """

    def __init__(
        self,
        generator: LadderGenerator,
        encoder: LadderEncoder,
        prior: Prior,
        sampler: PriorSampler,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder
        self.prior = prior  # a module: every prior of this library is
        self.sampler = sampler

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images."""
        return self.encoder.geometry.image_shape

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Number of latents of each level, top first."""
        return self.prior.level_dims

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def encode(self, x: Tensor) -> LatentPosterior:
        """Infer q(z|x) of images [B, C, H, W] in [0, 1].

        Raises:
            ImageShapeError: If the images have another shape than the model's, or are not floating point.
        """
        if x.ndim != 4 or tuple(x.shape[1:]) != self.image_shape or not x.is_floating_point():
            raise ImageShapeError(
                f"floating-point images [B, {', '.join(map(str, self.image_shape))}] in [0, 1] are expected, "
                f"but {x.dtype} {list(x.shape)} came; resize them, and divide bytes by 255."
            )
        posterior: LatentPosterior = self.encoder(2 * x - 1)
        return posterior

    def likelihood(self, latents: Latents) -> ImageDistribution:
        """p(x|z) over images in model coordinates y = 2x - 1."""
        distribution: ImageDistribution = self.generator(latents)
        return distribution

    def decode(self, latents: Latents) -> Tensor:
        """Mean images of p(x|z), [B, C, H, W] in [0, 1]."""
        return ((self.likelihood(latents).mean + 1) / 2).clamp(0, 1)

    def log_likelihood(self, x: Tensor, latents: Latents) -> Tensor:
        """log p(x|z) of images in [0, 1], [B] nats (densities are in model coordinates)."""
        return self.likelihood(latents).log_prob(2 * x - 1)

    @torch.no_grad()
    def sample_prior(self, n: int, *, n_steps: int | None = None, generator: NoiseSource = None) -> Latents:
        """Draw latents of n items from the prior: exactly from a base, by chains from base noise with an energy.

        Args:
            n: Number of items.
            n_steps: Another number of chain steps than the sampler's own; 0 draws from the base.
            generator: Source of the noise, on the model's device; the global stream if None.
        """
        initial = self.prior.sample_base(n, like=next(self.parameters()), generator=generator)
        if self.prior.energy is None:
            return initial
        return self.sampler(self.prior.density(), initial, n_steps=n_steps, generator=generator).latents

    @torch.no_grad()
    def resample(
        self,
        latents: Latents,
        levels: Collection[int],
        *,
        n_steps: int | None = None,
        generator: NoiseSource = None,
    ) -> Latents:
        """Redraw some levels from p(z_levels | the other levels), the others held.

        A base draws them exactly where it can. Chains start at the base's conditional draw, or where the base has
        none (:class:`~hebm.errors.UnsupportedError`) at the latents themselves.

        Args:
            latents: All levels, top first, [B, d_l] each.
            levels: The levels to redraw (0 is the top).
            n_steps: Another number of chain steps than the sampler's own.
            generator: Source of the noise, on the latents' device; the global stream if None.
        """
        check_latents(latents, self.level_dims)
        try:
            initial = self.prior.sample_base_given(latents, levels, generator=generator)
            needs_chain = self.prior.energy is not None
        except UnsupportedError:
            initial, needs_chain = latents, True
        if not needs_chain:
            return initial
        held = [i for i in range(len(latents)) if i not in levels]
        return self.sampler(
            self.prior.density(), initial, clamped=held, n_steps=n_steps, generator=generator
        ).latents

    @torch.no_grad()
    def sample(self, n: int, *, n_steps: int | None = None, generator: NoiseSource = None) -> Tensor:
        """Generate n images, [n, C, H, W] in [0, 1]: the mean of p(x|z) at latents drawn from the prior."""
        return self.decode(self.sample_prior(n, n_steps=n_steps, generator=generator))
