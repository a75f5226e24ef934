r"""What the scores share: checked images, their posteriors, common draws, and expectations under q(z|x)."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.errors import ConfigError, ImageShapeError, NonFiniteError
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

ROUNDING = 1e-3  # what resizing may put outside of [0, 1]


@dataclass(frozen=True)
class Inferred:
    """Images with their posteriors.

    Args:
        model: The model.
        x: Images on the model's device and in its dtype, [B, C, H, W].
        posterior: q(z|x).
    """

    model: JointModel
    x: Tensor
    posterior: LatentPosterior

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
    """Check images and infer their posteriors, without gradient history.

    Raises:
        ImageShapeError: If shape, type or range are not the model's.
        NonFiniteError: If a pixel is not finite.
    """
    if not x.is_floating_point() or x.ndim != 4 or tuple(x.shape[1:]) != model.image_shape:
        raise ImageShapeError(
            f"floating-point images [B, {', '.join(map(str, model.image_shape))}] in [0, 1] are expected, but "
            f"{x.dtype} {list(x.shape)} came; resize them, and divide bytes by 255."
        )
    if len(x) == 0:
        raise ImageShapeError("at least one image is expected, but the batch is empty.")
    low, high = (end.item() for end in x.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        broken = (~torch.isfinite(x)).flatten(1).any(1)
        raise NonFiniteError(
            f"{int(broken.sum())} of {len(x)} images have pixels that are not finite (the first is image "
            f"{int(broken.nonzero()[0])} of its batch); leave them out or repair them."
        )
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ImageShapeError(
            f"pixels in [0, 1] are expected, but they lie in [{low:.4g}, {high:.4g}]; divide bytes by 255, map "
            "[-1, 1] by (x + 1) / 2."
        )
    with torch.no_grad():
        x = x.detach().to(next(model.parameters()))
        return Inferred(model, x, model.encode(x))


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
