r"""What the scores share: checked images, their posteriors, common draws, and expectations under q(z|x)."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hebm.detection.images import require_images
from hebm.errors import ConfigError, NonFiniteError
from hebm.latents import Latents
from hebm.models import JointModel, LatentPosterior
from hebm.randomness import named_generator

__all__ = [
    "Inferred",
    "common_draws",
    "common_noise",
    "evaluating",
    "infer",
    "require_count",
    "require_finite",
]


@dataclass(frozen=True)
class Inferred:
    """Checked images of one batch, with what all scores of them share: they are encoded once, and only if need be.

    Not to be kept while the model learns.

    Args:
        model: The model.
        images: The images as they were given, [B, C, H, W] in [0, 1].
    """

    model: JointModel
    images: Tensor

    @cached_property
    def x(self) -> Tensor:
        """The images on the model's device and in its dtype, without gradient history."""
        return self.images.detach().to(next(self.model.parameters()))

    @cached_property
    def shared(self) -> dict[Hashable, Any]:
        """What one score has worked out and another may use, by a key that says all it depends on."""
        return {}

    @cached_property
    def posterior(self) -> LatentPosterior:
        """q(z|x), without gradient history; inferred when it is first asked for."""
        with torch.no_grad():
            return self.model.encode(self.x)

    def expectation(self, value: Callable[[Latents], Tensor], *, n_draws: int, seed: int) -> Tensor:
        r"""E_q[value(z)] over common draws, or value(E_q z) for ``n_draws=0``: [B] nats in float64.

        Args:
            value: Latents [B, d_l] per level to [B].
            n_draws: Draws per image; 0 takes the posterior mean.
            seed: Of the draws.
        """
        if n_draws == 0:
            return value(self.posterior.mean).double()
        draws = common_draws(self.posterior, n_draws, seed=seed)
        return torch.stack([value(latents).double() for latents in draws]).mean(0)

    def distortion(self, latents: Latents) -> Tensor:
        """-log p(x|z), [B] nats."""
        return -self.model.log_likelihood(self.x, latents)


def infer(model: JointModel, x: Tensor) -> Inferred:
    """Check images; their posteriors are inferred when they are first asked for.

    Raises:
        ImageShapeError: If shape, type or range are not the model's.
        NonFiniteError: If a pixel is not finite.
    """
    require_images(x, model.image_shape)
    return Inferred(model, x)


def common_noise(n_draws: int, dim: int, *, seed: int, like: Tensor) -> Tensor:
    """Noise [n_draws, dim] that all images share, like a tensor; drawn in float64 on the CPU, so that a score depends
    on neither the device nor the dtype beyond rounding."""
    noise = torch.randn(n_draws, dim, generator=named_generator(seed, "detection"), dtype=torch.float64)
    return noise.to(like)


def common_draws(posterior: LatentPosterior, n_draws: int, *, seed: int) -> Iterator[Latents]:
    """n draws z ~ q(z|x) of every image, one after the other, with the same noise for all images."""
    like = posterior[0].mean
    dim = sum(mean.shape[1] for mean in posterior.mean)
    for eps in common_noise(n_draws, dim, seed=seed, like=like):
        yield posterior.at(eps.expand(len(like), dim))


def require_finite(name: str, values: Tensor) -> Tensor:
    """The values, if all are finite.

    Raises:
        NonFiniteError: Otherwise.
    """
    finite = torch.isfinite(values)
    if not finite.all():
        raise NonFiniteError(
            f"{name} is not finite for {int((~finite).sum())} of {values.numel()} images; the run may have diverged: "
            "use an earlier checkpoint."
        )
    return values


def require_count(name: str, value: int, *, least: int) -> None:
    """Check a count among a score's options.

    Raises:
        ConfigError: If it is too small.
    """
    if value < least:
        raise ConfigError(f"`{name}` must be at least {least}, but it is {value}.")


@contextmanager
def evaluating(model: JointModel) -> Iterator[None]:
    """Eval mode and no gradients; every module's own mode is restored."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
