r"""The latent attack: a small change of an image that makes the encoder see another one.

.. math:: \min_d \; KL_S\big(q(\cdot|x + d) \,\|\, q(\cdot|x_t)\big) + C |d|^2,
    \qquad 0 \le x + d \le 1

S are the attacked levels, x_t is the target, and the penalty C trades the distortion for the attack's success. Every
step is one of Adam, then the pixels are put back into [0, 1]: Adam's metric is diagonal, so clamping each pixel is the
projection in that metric. All moves are per pixel, so that any number of images, levels' targets and penalties can
share a batch without touching each other.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.attacks.divergence import Encode, kl_over_levels, require_finite_divergence, require_levels
from hebm.errors import ConfigError, ImageShapeError
from hebm.models import LatentPosterior
from hebm.samplers import value_and_grad

__all__ = ["Attacked", "LatentAttack", "require_pixels"]


class Attacked(NamedTuple):
    """Attacked images [B, C, H, W] in [0, 1], and the attack's objective and divergence there, each [B] nats."""

    images: Tensor
    objective: Tensor
    divergence: Tensor


@dataclass(frozen=True)
class LatentAttack:
    """Adam on the pixels, its step size falling linearly to zero; of all points visited the best is kept.

    Args:
        n_steps: Steps of Adam; each is one pass forwards and backwards through the encoder.
        step_size: Adam's first step size, in units of the pixels' range.

    Raises:
        ConfigError: If one of them is not positive.

    Source: Gondim-Ribeiro et al. (2018), arXiv:1806.04646, and the authors' released code (there 3000 steps).
    """

    n_steps: int = 200
    step_size: float = 0.05

    def __post_init__(self) -> None:
        if self.n_steps < 1 or not self.step_size > 0:
            raise ConfigError(
                f"an attack of {self.n_steps} steps of size {self.step_size} was asked for; both must be positive."
            )

    def __call__(
        self, encode: Encode, x: Tensor, target: LatentPosterior, *, levels: Collection[int], penalty: Tensor
    ) -> Attacked:
        """Attack every image towards its own target.

        Gradients are asked for the pixels alone: parameters get no ``.grad``, and none of their settings is changed.

        Args:
            encode: The encoder, e.g. ``model.encode``.
            x: Images in [0, 1], [B, C, H, W].
            target: q(z|x_t) of their targets, [B, d_l] per level.
            levels: The attacked levels, 0 is the top.
            penalty: C of every image, not negative, [B].

        Raises:
            ImageShapeError: If the images are not in [0, 1], or there is not one penalty per image.
            LatentShapeError: If a level does not exist, or none is given.
            NonFiniteError: If the objective is not finite.
        """
        require_pixels(x)
        if penalty.shape != x.shape[:1] or not (penalty >= 0).all():
            raise ImageShapeError(
                f"one penalty >= 0 per image is expected, [{len(x)}], but {list(penalty.shape)} came."
            )
        require_levels(target, levels)
        x, penalty = x.detach(), penalty.to(x)
        moving = x.clone()
        adam = torch.optim.Adam([moving], lr=self.step_size)
        best = Attacked(x, x.new_full(x.shape[:1], torch.inf), x.new_full(x.shape[:1], torch.inf))
        for step in range(self.n_steps + 1):
            objective, (moving.grad,) = value_and_grad(
                lambda images: (
                    kl_over_levels(encode(images[0]), target, levels) + _cost(images[0] - x, penalty)
                ),
                (moving,),
            )
            require_finite_divergence(objective)
            here = Attacked(moving.clone(), objective, objective - _cost(moving - x, penalty))
            best = _better(best, here)
            if step < self.n_steps:
                adam.param_groups[0]["lr"] = self.step_size * (1 - step / self.n_steps)
                adam.step()
                moving.clamp_(0, 1)
        return best


def require_pixels(x: Tensor) -> None:
    """Check images before an attack.

    Raises:
        ImageShapeError: If they are not floating-point [B, C, H, W] in [0, 1].
    """
    if x.ndim != 4 or not x.is_floating_point() or not ((x >= 0) & (x <= 1)).all():
        raise ImageShapeError(
            f"floating-point images [B, C, H, W] in [0, 1] are expected, but {x.dtype} {list(x.shape)} came; "
            "divide bytes by 255."
        )


def _cost(change: Tensor, penalty: Tensor) -> Tensor:
    return penalty * change.square().flatten(1).sum(1)


def _better(best: Attacked, new: Attacked) -> Attacked:
    wins = new.objective < best.objective
    return Attacked(
        torch.where(wins[:, None, None, None], new.images, best.images),
        torch.where(wins, new.objective, best.objective),
        torch.where(wins, new.divergence, best.divergence),
    )
